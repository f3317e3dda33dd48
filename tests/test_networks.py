import itertools

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skvqdraw.nn import FactoredRound
from skvqdraw.nn.blocks import VolumeConv, gelu
from skvqdraw.nn.networks import plan_rounds
from skvqdraw.refiners import (
    ConvRefiner,
    MLPRefiner,
    PaperRefiner,
    Refiner,
    SequenceRefiner,
    VolumeRefiner,
)

REFINERS = [
    MLPRefiner(hidden_size=8, basis_size=3),
    MLPRefiner(hidden_size=8, basis_size=3, stages_per_round=2, rounds_per_trunk=2, n_blocks=0),
    ConvRefiner((4, 8), n_channels=8, downsampling=4, basis_size=3, hidden_size=0),
    ConvRefiner((4, 8), n_channels=8, hidden_size=5, basis_size=3, rounds_per_trunk=2),
    SequenceRefiner(32, n_channels=8, n_blocks=2, basis_size=3),
    SequenceRefiner(8, 4, n_channels=6, downsampling=2, hidden_size=5, rounds_per_trunk=2),
    ConvRefiner((2, 4, 4), n_channels=6, downsampling=2, basis_size=3, n_blocks=1),
    ConvRefiner((4, 8), downsampling=2, hidden_size=5, stages_per_round=(1, 2), splits=(1, 2)),
    VolumeRefiner((2, 4, 4), n_channels=6, downsampling=2, basis_size=3),
    VolumeRefiner((2, 2, 4, 2), n_channels=6, downsampling=1, splits=(1, 2), stages_per_round=1),
]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((10, [3], [1], 1), [(1, 4, 0, 0), (4, 7, 1, 0), (7, 10, 2, 0)]),
        ((8, [3], [1], 9), [(1, 4, 0, 0), (4, 7, 0, 1), (7, 8, 0, 2)]),
        ((8, [2], [1], 2), [(1, 3, 0, 0), (3, 5, 0, 1), (5, 7, 1, 0), (7, 8, 1, 1)]),
        ((3, [1], [1], 1), [(1, 2, 0, 0), (2, 3, 1, 0)]),
        ((9, [3, 1], [1], 1), [(1, 4, 0, 0), *((s, s + 1, s - 3, 0) for s in range(4, 9))]),
        # Rounds of other regions have networks of their own.
        ((30, [3, 1], [1, 4, 16], 9), [(1, 4, 0, 0), (4, 8, 1, 0), (8, 24, 2, 0), (24, 30, 2, 1)]),
        ((1, [3], [1], 1), []),
    ],
)
def test_plan_of_rounds(arguments, expected):
    plan = plan_rounds(*arguments)
    assert [(p.start, p.stop, p.trunk, p.position) for p in plan] == expected


def test_stages_of_regions_share_their_mixing():
    plan = plan_rounds(40, [3, 2, 1], [1, 4, 16], 1)
    assert [p.n_regions for p in plan] == [1, 4, 16, 16]
    assert [(p.mixing.start, p.mixing.stop) for p in plan] == [(0, 3), (3, 5), (5, 6), (6, 7)]
    assert plan[-1].stop == 40
    assert [p.mixing.stop for p in plan_rounds(9, [3, 2], [1, 4], 1)] == [3, 5]
    assert [p.mixing.stop for p in plan_rounds(8, [3, 2], [1, 4], 1)] == [3, 4]


@pytest.mark.parametrize("refiner", REFINERS, ids=repr)
@pytest.mark.parametrize("n_stages", [1, 2, 7])
def test_rounds_serve_every_stage_once(refiner, n_stages):
    network = refiner.build(32, n_stages, 5)
    x, stage, n_evaluations = torch.randn(2, 32), 0, 0
    while stage < n_stages:
        a_round = network(x, stage)
        assert a_round.materialise().shape == (2, 5, 32)
        stage += a_round.n_stages
        n_evaluations += 1
    assert stage == n_stages
    if n_stages == 7 and refiner.stages_per_round == 3:
        assert n_evaluations == 2


@pytest.mark.parametrize("refiner", REFINERS, ids=repr)
def test_proposals_depend_on_stage_and_on_x(refiner):
    network = refiner.build(32, 7, 5)
    x = torch.randn(2, 32)
    late, early = network(x, max(network.plan)).materialise(), network(x, 1).materialise()
    assert not torch.allclose(late, early)
    deltas = late - x[:, None]
    assert not torch.allclose(deltas[0], deltas[1])


@pytest.mark.parametrize("refiner", [each for each in REFINERS if each.splits == 1], ids=repr)
def test_each_stage_has_mixing_rows_of_its_own(refiner):
    network, stage = refiner.build(32, 7, 5), 1
    while stage < 7:
        a_round = network(torch.randn(2, 32), stage)
        for _ in range(a_round.n_stages):
            (gradient,) = torch.autograd.grad(
                a_round.materialise()[:, 3].sum(), network.mixing, retain_graph=True
            )
            assert gradient.abs().sum(-1).nonzero().tolist() == [[stage - 1, 3]]
            # Without a choice, so that no other row is in the sum.
            a_round = FactoredRound(a_round._x_ND, a_round._basis_NDR, a_round._mixing_TKR[1:])
            stage += 1


def test_the_first_round_is_a_table_and_the_basis_of_each_of_its_vectors():
    torch.manual_seed(0)
    network = MLPRefiner(hidden_size=8, stages_per_round=2).build(6, 4, 5)
    table = torch.randn(5, 6)
    network.start_from_table(table.numpy())
    with torch.no_grad():
        first = network(torch.zeros(7, 6), 0)
        assert first.n_stages == 3
        assert torch.equal(first.materialise(), table.expand(7, 5, 6))
        codes = torch.arange(7) % 5
        expected = network(table[codes], 1).materialise()
        torch.testing.assert_close(first.choose(codes).materialise(), expected)
        # However few rows there are: training and coding choose alike.
        assert network(torch.zeros(1, 6), 0).n_stages == 3


@pytest.mark.parametrize(
    ("shape", "refiner"),
    [
        ((6, 2), SequenceRefiner(6, 2, n_channels=4, downsampling=2)),
        ((4, 6, 3), ConvRefiner((4, 6, 3), n_channels=4, downsampling=2)),
        ((4, 2, 6, 3), VolumeRefiner((4, 2, 6, 3), n_channels=4, downsampling=2)),
    ],
)
def test_features_are_patches_of_a_channels_last_grid(shape, refiner):
    grid = np.arange(np.prod(shape)).reshape(shape)
    order = refiner.build(grid.size, 2, 2).feature_order
    corners = itertools.product(*(range(0, side, 2) for side in shape[:-1]))
    patches = [grid[tuple(slice(at, at + 2) for at in corner)].ravel() for corner in corners]
    found = grid.ravel() if order is None else grid.ravel()[order]
    np.testing.assert_array_equal(found, np.concatenate(patches))


@pytest.mark.parametrize(
    ("flat", "deep"),
    [
        (SequenceRefiner(8, 2, n_blocks=1), ConvRefiner((1, 8, 2), downsampling=1, hidden_size=0)),
        (
            ConvRefiner((4, 8, 2), downsampling=1, hidden_size=5),
            VolumeRefiner((1, 4, 8, 2), downsampling=1, hidden_size=5),
        ),
    ],
    ids=["sequences", "images"],
)
def test_one_trunk_serves_sequences_images_and_volumes(flat, deep):
    """A grid that is one patch deep has nothing before or behind it to be seen."""
    torch.manual_seed(0)
    n_features = np.prod(deep.get_params().get("image_shape") or deep.volume_shape)
    trunk, deeper = (each.build(n_features, 2, 2).trunks[0] for each in (flat, deep))
    state = deeper.state_dict()
    for name, weight in trunk.state_dict().items():
        wider = torch.zeros(state[name].shape)
        if wider.ndim == weight.ndim + 1 and "head" not in name:
            axis = 1 if name == "position_map" else 2
            wider.select(axis, wider.shape[axis] // 2).copy_(weight)
        else:
            wider.copy_(weight.view_as(wider))
        state[name] = wider
    deeper.load_state_dict(state)
    x = torch.randn(3, n_features)
    torch.testing.assert_close(deeper(x, 0), trunk(x, 0))


def test_conv_proposals_move_with_the_image():
    """Convolutions on patches: shifting x by a patch shifts the basis, away from the border."""
    torch.manual_seed(0)
    network = ConvRefiner((4, 20), n_channels=8, n_blocks=0, hidden_size=0).build(80, 2, 2)
    trunk = network.trunks[0].eval()
    trunk.norm = torch.nn.Identity()  # group statistics see the whole image
    x = torch.randn(1, 5, 16)
    shifted = torch.roll(x, 1, dims=1)
    basis = trunk(x.reshape(1, 80), 0).view(5, 16, -1)
    moved = trunk(shifted.reshape(1, 80), 0).view(5, 16, -1)
    torch.testing.assert_close(moved[2:4], basis[1:3])


def test_the_layer_that_sees_the_whole_image_adds_to_the_basis():
    torch.manual_seed(0)
    trunk = ConvRefiner((4, 8), n_channels=8, hidden_size=5).build(32, 2, 2).trunks[0]
    x = torch.randn(2, 32)
    both, whole = trunk(x, 0), trunk.whole(x, 0)
    trunk.whole = None
    torch.testing.assert_close(both, trunk(x, 0) + whole)


def test_trunks_have_parameters_of_their_own():
    network = MLPRefiner(hidden_size=8, stages_per_round=1, rounds_per_trunk=2).build(6, 6, 4)
    assert len(network.trunks) == 3
    network(torch.randn(2, 6), 4).materialise().sum().backward()
    used = {name[0] for name, p in network.trunks.named_parameters() if p.grad is not None}
    assert used == {"1"}


@pytest.mark.parametrize(
    ("architecture", "n_features", "n_stages", "segment_length", "n_parameters"),
    [
        ("mnist", 784, 10, None, 537_793),
        ("svhn", 3072, 20, 5, 7_200_260),
        ("cifar10", 3072, 100, 10, 88_852_618),
        ("celeba64", 12_288, 100, 10, 38_358_922),
    ],
)
def test_paper_networks_have_the_parameters_of_the_original(
    architecture, n_features, n_stages, segment_length, n_parameters
):
    refiner = PaperRefiner(architecture=architecture, segment_length=segment_length)
    with torch.device("meta"):  # nothing is computed or kept
        network = refiner.build(n_features, n_stages, 64)
    assert sum(p.numel() for p in network.parameters()) == n_parameters


def fill(module):
    """Give every parameter but the output scales numbers that need no random generator."""
    with torch.no_grad():
        for i, p in enumerate(p for p in module.parameters() if p.ndim > 0):
            waves = torch.cos(torch.arange(p.numel(), dtype=p.dtype) * 0.7 + i)
            p.copy_(waves.view(p.shape) / np.sqrt(p[0].numel()))


@pytest.mark.parametrize(
    ("architecture", "n_channels", "mean_size", "value"),
    # What the original answers with the same parameters, in float64.
    [
        ("mnist", 1, 0.03344547892837, -0.01460596143440),
        ("svhn", 3, 0.05368462438888, -0.09644067053493),
        ("cifar10", 3, 0.00549608432812, 0.00818798690270),
        ("celeba64", 3, 0.01018926053636, 0.02165387646922),
    ],
)
def test_paper_networks_compute_what_the_original_computes(
    architecture, n_channels, mean_size, value
):
    shape = (16, 16, n_channels)
    D = np.prod(shape)
    refiner = PaperRefiner(shape, architecture=architecture, segment_length=2)
    network = refiner.build(D, 4, 2).double()
    fill(network.segments)
    x = torch.sin(torch.arange(D, dtype=torch.float64))[None]
    with torch.no_grad():
        deltas = network(x, 3).materialise() - x[:, None]
    assert float(deltas.abs().mean()) == pytest.approx(mean_size, rel=1e-9)
    assert float(deltas[0, 1].view(shape)[5, 5, 0]) == pytest.approx(value, rel=1e-9)


def test_paper_networks_see_channels_first_and_propose_channels_last():
    network = PaperRefiner((4, 8, 3)).build(96, 1, 2)
    (segment,) = network.segments
    seen = []
    segment.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        segment.layers[-1].weight.zero_()
        segment.layers[-1].bias.copy_(torch.arange(6))
    x = torch.randn(2, 96)
    deltas = network(x, 0).materialise() - x[:, None]
    assert torch.equal(seen[0], x.view(2, 4, 8, 3).movedim(3, 1))
    expected = 0.1 * torch.arange(6.0).view(2, 1, 1, 3).expand(2, 2, 4, 8, 3)
    torch.testing.assert_close(deltas.view(2, 2, 4, 8, 3), expected, atol=1e-5, rtol=0)


def test_paper_networks_have_segments():
    network = PaperRefiner((8, 8, 3), architecture="svhn", segment_length=2).build(192, 5, 2)
    assert [len(segment.layers[-1]) for segment in network.segments] == [2, 2, 1]
    x = torch.randn(2, 192)
    network(x, 3).materialise().sum().backward()
    used = {
        name.split(".")[0] for name, p in network.segments.named_parameters() if p.grad is not None
    }
    assert used == {"1"}
    proposals = [network(x, stage).materialise() for stage in range(1, 5)]
    for i, one in enumerate(proposals):
        assert not any(torch.allclose(one, other) for other in proposals[:i])


def test_paper_network_adds_its_table_to_the_first_stage_only():
    network = PaperRefiner((4, 4)).build(16, 2, 3)
    x = torch.randn(2, 16)
    before = [network(x, stage).materialise() for stage in (0, 1)]
    with torch.no_grad():
        network.table += 1
    torch.testing.assert_close(network(x, 0).materialise(), before[0] + 1)
    assert torch.equal(network(x, 1).materialise(), before[1])


@pytest.mark.parametrize(
    "refiner", [*REFINERS, PaperRefiner(), PaperRefiner(architecture="svhn")], ids=repr
)
def test_refiners_are_specifications(refiner):
    copy = clone(refiner)
    assert copy.get_params() == refiner.get_params()
    assert repr(copy) == repr(refiner)


@pytest.mark.parametrize(
    ("refiner", "message"),
    [
        (ConvRefiner((4, 4)), r"image_shape=\(4, 4\) has 16 values; X has 32 features"),
        (ConvRefiner((2, 16)), r"must be multiples of 4, .*choose another downsampling"),
        (ConvRefiner((32,)), r"\(height, width\) or \(height, width, channels\).*Got \(32,\)"),
        (ConvRefiner(32), "'image_shape' parameter of ConvRefiner must be .*Got 32"),
        (ConvRefiner((4, (8,))), "positive integers"),
        (PaperRefiner((4, 8, 1, 1)), "channels., positive integers or None. Got"),
        (ConvRefiner((-4, -8)), "positive integers"),
        (ConvRefiner((4, 8), n_channels=0), r"'n_channels' parameter of ConvRefiner must be"),
        (MLPRefiner(hidden_size=0), r"must be an int in the range \[1, inf\). Got 0 instead"),
        (MLPRefiner(basis_size=2.5), "'basis_size' parameter of MLPRefiner must be an int"),
        (MLPRefiner(stages_per_round=0), "'stages_per_round' parameter of MLPRefiner"),
        (MLPRefiner(rounds_per_trunk=0), "'rounds_per_trunk' parameter of MLPRefiner"),
        (VolumeRefiner((2, 4, 8)), r"volume_shape=\(2, 4, 8\) has 64 values; X has 32 features"),
        (
            VolumeRefiner((2, 4, 4)),
            "depth, height and width .* must be multiples of 4.*pad the vol",
        ),
        (
            VolumeRefiner((4, 8)),
            r"\(depth, height, width\) or \(depth, height, width, channels\), po",
        ),
        (VolumeRefiner((2, 4, 4), downsampling=2, splits=2), r"sides \(1, 2, 2\) of the grid"),
        (PaperRefiner((2, 16)), "must be multiples of 4"),
        (PaperRefiner((4, 8), architecture="celeba64"), "must be multiples of 8"),
        (PaperRefiner(), r"image_shape=\(28, 28\) has 784 values; X has 32 features"),
        (PaperRefiner(architecture="cifar10"), r"image_shape=\(32, 32, 3\) has 3072 values"),
        (PaperRefiner((4, 8), architecture="cifar"), "'architecture' parameter of PaperRefiner"),
        (PaperRefiner((4, 8), segment_length=0), "'segment_length' parameter of PaperRefiner"),
    ],
)
def test_refiners_say_what_does_not_fit(refiner, message):
    with pytest.raises(ValueError, match=message):
        refiner.build(32, 3, 4)


def test_a_refiner_must_build():
    with pytest.raises(NotImplementedError, match="Refiner must implement build"):
        Refiner().build(4, 2, 2)


def test_gelu_and_its_gradient():
    h = torch.linspace(-7.9, 7.9, 1001, requires_grad=True)
    ours, theirs = gelu(h), torch.nn.functional.gelu(h)
    assert torch.equal(ours, theirs)
    weight = torch.randn(1001)
    (ours_slope,) = torch.autograd.grad(ours, h, weight)
    (theirs_slope,) = torch.autograd.grad(theirs, h, weight)
    torch.testing.assert_close(ours_slope, theirs_slope)


@pytest.mark.parametrize(
    ("shape", "channels_last"),
    [((5, 7, 4, 6), torch.channels_last), ((5, 7, 2, 4, 6), torch.channels_last_3d)],
)
def test_gelu_of_images_in_any_order_in_memory(shape, channels_last):
    images = 3 * torch.randn(shape)
    expected = torch.nn.functional.gelu(images.double()).float()
    for h in (images, images.to(memory_format=channels_last), images[:1]):
        for slopes in (False, True):
            ours = gelu(h.clone().requires_grad_(slopes))
            assert ours.stride() == h.stride()
            torch.testing.assert_close(ours.detach(), expected[: len(h)])
            if h.is_contiguous(memory_format=channels_last):
                assert torch.equal(gelu(h[:1].clone().requires_grad_(slopes)), ours[:1])


def test_no_gradient_of_gelu_is_denormal():
    h = torch.linspace(-40, -7.9, 2 * 2500).view(1, 2, 50, 50)
    # Of contiguous numbers some versions of PyTorch compute another, shorter form.
    h = h.to(memory_format=torch.channels_last).requires_grad_()
    torch.testing.assert_close(gelu(h), torch.nn.functional.gelu(h), rtol=0, atol=1e-14)
    d_out = torch.full_like(h, 1e-6)
    (theirs,) = torch.autograd.grad(torch.nn.functional.gelu(h), h, d_out)
    (ours,) = torch.autograd.grad(gelu(h), h, d_out)
    least = torch.finfo(torch.float32).tiny
    assert ((theirs != 0) & (theirs.abs() < least)).any()
    assert not ((ours != 0) & (ours.abs() < least)).any()
    assert ours.abs().max() < 1e-16


@pytest.mark.parametrize("n_channels", [1, 8])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_volumes_learn_in_bfloat16(depth, n_channels):
    """Where they are one or two deep, processors that have it make numbers of what was in memory."""
    torch.manual_seed(0)
    layer = VolumeConv(n_channels, 8, 3, padding=1).to(memory_format=torch.channels_last_3d)
    h = torch.randn(8, n_channels, depth, 2, 4)
    found = {}
    for bf16 in (False, True):
        in_memory = [torch.full((2**n,), torch.nan) for n in range(6, 19)]
        del in_memory
        with torch.autocast("cpu", enabled=bf16):
            out = layer(h).float()
        (out * torch.ones(8, 1, 1, 1).cumsum(0)).sum().backward()
        found[bf16], layer.weight.grad = (out.detach(), layer.weight.grad), None
    for one, other in zip(found[True], found[False], strict=True):
        assert (one - other).norm() < 0.02 * other.norm()
