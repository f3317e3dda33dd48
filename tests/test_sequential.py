"""Sequential coding against loops over candidates that are written out."""

import copy
import pickle
import weakref

import pytest
import torch

from skvqdraw._rows import TILE_ROWS
from skvqdraw.losses import LogLoss, SquaredError
from skvqdraw.nn import DenseRound, networks
from skvqdraw.nn.coding import RoundCoder
from skvqdraw.nn.objective import accumulate_gradients, stage_weights
from skvqdraw.refiners import ConvRefiner, MLPRefiner, PaperRefiner

D, S, K = 16, 8, 5
REFINERS = {
    "mlp": MLPRefiner(hidden_size=12, basis_size=3),
    "conv": ConvRefiner((4, 4), n_channels=8, downsampling=2, basis_size=3),
    "shared": MLPRefiner(hidden_size=12, basis_size=3, rounds_per_trunk=2),
    "paper": PaperRefiner((4, 4)),
}


def make_network(name, dtype=torch.float64):
    torch.manual_seed(0)
    network = REFINERS[name].build(D, S, K).to(dtype)
    if name != "paper":
        network.start_from_table(torch.randn(K, D, dtype=dtype).numpy())
    return network


def make_target(n_rows, dtype=torch.float64):
    return torch.randn(n_rows, D, generator=torch.Generator().manual_seed(1), dtype=dtype)


def encode(network, target, n_stages=S, loss=None, *, tile_rows=32, **options):
    coder = RoundCoder(network, loss or SquaredError(), D, tile_rows=tile_rows, **options)
    tiles = target.split(coder.n_samples)
    coded = [coder.encode(coder.filled(tile), n_stages) for tile in tiles]
    return tuple(torch.cat(parts)[: len(target)] for parts in zip(*coded, strict=True))


def decode(network, codes):
    coder = RoundCoder(network, SquaredError(), D, tile_rows=32)
    tiles = codes.split(coder.n_samples)
    return torch.cat([coder.decode(coder.filled(tile)) for tile in tiles])[: len(codes)]


def naive_encode(network, target, n_stages=S):
    """One row at a time, every candidate written out, the network asked at each round."""
    codes, ends = [], []
    for row in target:
        x, code = torch.zeros(1, D, dtype=target.dtype), []
        while len(code) < n_stages:
            a_round = network(x, len(code))
            for _ in range(a_round.n_stages):
                options = a_round.materialise()[0]
                errors = [float(((option - row) ** 2).mean()) for option in options]
                code.append(errors.index(min(errors)))
                a_round = a_round.choose(torch.tensor([code[-1]]))
                x = options[code[-1]][None]
        codes.append(code)
        ends.append(x[0])
    return torch.tensor(codes), torch.stack(ends)


@pytest.mark.parametrize("name", REFINERS)
def test_encode_and_decode_against_a_loop(name):
    network, target = make_network(name), make_target(20)
    with torch.no_grad():
        codes, ends = encode(network, target)
        expected_codes, expected_ends = naive_encode(network, target)
        assert torch.equal(codes, expected_codes)
        torch.testing.assert_close(ends, expected_ends)
        assert torch.equal(decode(network, codes), ends)


@pytest.mark.parametrize("name", REFINERS)
def test_prefixes_inside_and_across_rounds(name):
    """Coding fewer stages gives the prefix; decoding a prefix gives the reconstruction so far."""
    network, target = make_network(name), make_target(10)
    with torch.no_grad():
        codes, _ = encode(network, target)
        errors = []
        for length in range(S + 1):
            prefix = decode(network, codes[:, :length])
            errors.append(float((prefix - target).square().mean()))
            if length == 0:
                assert not prefix.any()
                continue
            shorter, _ = encode(network, target, length)
            assert torch.equal(shorter[:, :length], codes[:, :length])
            x, stage = torch.zeros_like(target), 0
            while stage < length:
                a_round = network(x, stage)
                for _ in range(min(a_round.n_stages, length - stage)):
                    a_round = a_round.choose(codes[:, stage])
                    stage += 1
                x = a_round.reconstruction()
            torch.testing.assert_close(prefix, x)
    assert len(set(errors)) == S + 1


@pytest.mark.parametrize("name", REFINERS)
@pytest.mark.parametrize("beams", [{}, {"round_beam_size": 4}, {"beam_size": 3}], ids=str)
def test_codes_do_not_depend_on_how_rows_are_batched(name, beams):
    network = make_network(name, torch.float32)
    target = make_target(2 * TILE_ROWS + 17, torch.float32)
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(2))
    beams = {**beams, "tile_rows": TILE_ROWS}
    with torch.inference_mode():
        codes, ends = encode(network, target, **beams)
        torch.testing.assert_close(decode(network, codes), ends)
        for rows in (order, [0], range(3), range(100), range(5, TILE_ROWS + 6)):
            rows = torch.as_tensor(rows)
            some_codes, some_ends = encode(network, target[rows], **beams)
            assert torch.equal(some_codes, codes[rows])
            assert torch.equal(some_ends, ends[rows])


def test_among_equals_the_lowest_index_wins():
    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.options = torch.nn.Parameter(torch.tensor([[2.0], [1.0], [1.0]]))

        def forward(self, x, stage):
            return DenseRound(self.options.expand(len(x), 3, 1))

    with torch.no_grad():
        codes, _ = RoundCoder(Constant(), SquaredError(), 1, tile_rows=4).encode(
            torch.ones(4, 1), 2
        )
    assert torch.equal(codes, torch.ones(4, 2, dtype=torch.int64))


def naive_training_loss(network, target, weight, aux_weight, cut, codes):
    """`cut(x)` is applied to the reconstruction between network evaluations."""
    x, stage, total = torch.zeros_like(target), 0, 0.0
    while stage < S:
        a_round = network(x, stage)
        stage_weight = stage_weights(a_round.n_stages, a_round.n_alone)
        for i in range(a_round.n_stages):
            grid = (a_round.materialise() - target[:, None]).square().mean(-1)
            chosen = stage_weight[i] * grid[torch.arange(len(x)), codes[:, stage]]
            total = total + (weight * (chosen + aux_weight * grid.mean(1))).sum() / S
            a_round = a_round.choose(codes[:, stage])
            stage += 1
        x = cut(a_round.reconstruction())
    return total


def test_stage_weights_are_one_on_average_and_most_at_the_end():
    for n_stages, n_alone in [(1, 1), (4, 1), (1, 0), (3, 0), (2, 0), (2, 1)]:
        weights = stage_weights(n_stages, n_alone)
        assert len(weights) == n_stages
        assert sum(weights) == pytest.approx(n_stages)
        assert max(weights) == weights[-1]
    assert stage_weights(3) == pytest.approx([0.3, 0.3, 2.4])
    assert stage_weights(4, n_alone=1) == pytest.approx([1, 0.3, 0.3, 2.4])


def gradients_of(network):
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in network.named_parameters()
    }


@pytest.mark.parametrize("name", REFINERS)
@pytest.mark.parametrize("n_rows", [4, 6], ids=["fewer rows than options", "more"])
@pytest.mark.parametrize(
    ("decay", "checkpointing"), [(0.0, False), (0.3, False), (1.0, False), (0.0, True), (1.0, True)]
)
def test_training_gradients_against_the_naive_loss(name, n_rows, decay, checkpointing):
    network, target = make_network(name), make_target(n_rows)
    weight = torch.linspace(0, 2, n_rows, dtype=torch.float64)
    objective, stage_losses, codes = accumulate_gradients(
        network,
        SquaredError(),
        target,
        weight,
        S,
        aux_weight=0.05,
        gradient_decay=decay,
        round_beam_size=4,
        checkpointing=checkpointing,
    )
    ours = gradients_of(network)
    network.zero_grad()
    naive = naive_training_loss(
        network, target, weight, 0.05, lambda x: x.detach() * decay + x * (1 - decay), codes
    )
    naive.backward()
    theirs = gradients_of(network)
    assert float(objective) == pytest.approx(naive.item(), rel=1e-10)
    size = torch.cat([gradient.flatten() for gradient in theirs.values()]).norm()
    for parameter in theirs:
        assert (ours[parameter] - theirs[parameter]).norm() <= 1e-10 * size, parameter
    assert stage_losses.shape == (S,)
    with torch.no_grad():
        assert torch.equal(codes, encode(network, target, round_beam_size=4)[0])


def test_rows_of_no_weight_teach_nothing():
    network, target = make_network("mlp"), make_target(6)
    options = {"aux_weight": 0.05, "gradient_decay": 0.0}
    weight = torch.tensor([1.0, 0, 1, 0, 1, 0], dtype=torch.float64)
    accumulate_gradients(network, SquaredError(), target, weight, S, **options)
    weighted = gradients_of(network)
    network.zero_grad()
    ones = torch.ones(3, dtype=torch.float64)
    accumulate_gradients(network, SquaredError(), target[::2], ones, S, **options)
    for parameter, expected in gradients_of(network).items():
        torch.testing.assert_close(weighted[parameter], expected)


def peak_of_saved_bytes(n_stages, gradient_decay=0.0, checkpointing=False):
    """The most bytes that autograd holds at any moment of a training step."""
    network = MLPRefiner(hidden_size=64, stages_per_round=2).build(D, n_stages, K)
    live, peak = 0, 0

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor

    def pack(tensor):
        nonlocal live, peak
        saved, size = Saved(tensor), tensor.numel() * tensor.element_size()
        live, peak = live + size, max(peak, live + size)

        def free():
            nonlocal live
            live -= size

        weakref.finalize(saved, free)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        accumulate_gradients(
            network,
            SquaredError(),
            make_target(64, torch.float32),
            torch.ones(64),
            n_stages,
            aux_weight=0.01,
            gradient_decay=gradient_decay,
            checkpointing=checkpointing,
        )
    return peak


def test_memory_does_not_grow_with_stages_when_gradients_are_cut():
    assert peak_of_saved_bytes(21, 1.0) <= 1.2 * peak_of_saved_bytes(5, 1.0)
    assert peak_of_saved_bytes(21) >= 3 * peak_of_saved_bytes(5)


def test_checkpointed_memory_grows_as_the_root():
    few, many = (peak_of_saved_bytes(n, checkpointing=True) for n in (16, 64))
    assert many <= 2.5 * few
    assert many <= peak_of_saved_bytes(64) / 4


def test_low_precision_reaches_the_network_and_never_the_grid():
    seen = {}

    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(D, K * D)

        def forward(self, x, stage):
            deltas = self.linear(x)
            seen["network"] = deltas.dtype
            return DenseRound(x[:, None] + deltas.view(-1, K, D))

    class SpyLoss(SquaredError):
        def grid(self, options, target):
            grid = super().grid(options, target)
            seen["grid"], seen["autocast"] = grid.dtype, torch.is_autocast_enabled("cpu")
            return grid

    with torch.no_grad():
        encode(Spy(), make_target(4, torch.float32), 2, SpyLoss(), bf16=True)
    assert seen == {"network": torch.bfloat16, "grid": torch.float32, "autocast": False}


@pytest.mark.parametrize("name", ["mlp", "conv", "shared"])
def test_wider_beams_find_better_codes(name):
    """Not row by row: what is kept early may lead nowhere. On average, and at the widest, yes."""
    network, target = make_network(name), make_target(60)
    with torch.no_grad():
        errors = [
            float((encode(network, target, **beams)[1] - target).square().mean())
            for beams in ({}, {"round_beam_size": 8}, {"beam_size": 8}, {"beam_size": 64})
        ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def make_wide_network():
    """More options than a search through the table and what follows takes together."""
    torch.manual_seed(0)
    network = MLPRefiner(hidden_size=8, basis_size=3).build(D, 6, TILE_ROWS + 1).double().eval()
    network.start_from_table(torch.randn(TILE_ROWS + 1, D).numpy())
    return network


@torch.inference_mode()
def encode_without_keeping(*arguments, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_MOST_KEPT", 0)
        return encode(*arguments, **options)


@pytest.mark.parametrize("most_kept", [0, 2**25])
@torch.inference_mode()
def test_more_options_than_rows_in_a_tile(most_kept, monkeypatch):
    """Then a search chooses of the table first, whether or not bases are kept for its options."""
    monkeypatch.setattr(networks, "_MOST_KEPT", most_kept)
    network, target = make_wide_network(), make_target(6)
    assert network(target, 0).n_stages == (4 if most_kept else 1)
    codes, ends = encode(network, target, 6)
    expected_codes, expected_ends = naive_encode(network, target, 6)
    wide, _ = encode(network, target, 6, beam_size=3, round_beam_size=4)
    errors = [(decode(network, c) - target).square().mean() for c in (codes, wide)]
    assert torch.equal(codes, expected_codes)
    torch.testing.assert_close(ends, expected_ends)
    assert errors[1] < errors[0]


@pytest.mark.parametrize("loss", [SquaredError(), LogLoss()], ids=type)
@pytest.mark.parametrize("beams", [{}, {"round_beam_size": 4}, {"beam_size": 3}], ids=str)
@pytest.mark.parametrize("n_stages", [1, 3, 4, 6])
def test_kept_bases_change_nothing_but_the_time(n_stages, beams, loss):
    network, target = make_wide_network(), make_target(20).sigmoid()
    with torch.inference_mode():
        codes, ends = encode(network, target, n_stages, loss, **beams)
    expected_codes, expected_ends = encode_without_keeping(network, target, n_stages, loss, **beams)
    assert codes.shape == (20, n_stages)
    assert torch.equal(codes, expected_codes)
    torch.testing.assert_close(ends, expected_ends)


@torch.no_grad()
def change_in_place(network):
    network.trunks[0].head.weight.mul_(-2)


def change_behind_the_back(network):
    network.trunks[0].head.weight.data.mul_(-2)


def change_the_table(network):
    network.table.data.mul_(0.5)


@pytest.mark.parametrize(
    "change", [change_in_place, change_behind_the_back, change_the_table, torch.nn.Module.float]
)
def test_kept_bases_are_those_of_the_weights_there_are(change):
    network, target = make_wide_network(), make_target(20)
    with torch.inference_mode():
        before, _ = encode(network, target, 6)
    change(network)
    target = target.to(network.table.dtype)
    with torch.inference_mode():
        codes, ends = encode(network, target, 6)
    expected_codes, expected_ends = encode_without_keeping(network, target, 6)
    assert torch.equal(codes, expected_codes)
    torch.testing.assert_close(ends, expected_ends)
    assert torch.equal(codes, before) == (change is torch.nn.Module.float)


def test_bases_are_kept_for_coding_only_and_travel_nowhere():
    network = make_wide_network()
    assert network(make_target(2), 0).n_stages == 1
    with torch.inference_mode():
        first = network(make_target(2), 0)
        # The same tensor at the next call: nothing is computed twice.
        assert network(make_target(5), 0)._basis_KDR is first._basis_KDR
        for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert copied._kept is None
            codes = [encode(one, make_target(9), 6)[0] for one in (copied, network)]
            assert torch.equal(*codes)
    assert "kept" not in " ".join(network.state_dict())
    network.train()
    assert network._kept is None
    assert network(make_target(2), 0).n_stages == 1


@pytest.mark.parametrize(("n_options", "n_stages"), [(64, 4), (65, 1)])
def test_training_shares_the_first_evaluation_where_that_is_no_dearer_than_a_batch(
    n_options, n_stages
):
    """By the number of options alone: parts of a batch are trained on as the whole is."""
    network = MLPRefiner(hidden_size=8, basis_size=3).build(D, 6, n_options).train()
    for n_rows in (1, 64, 200):
        assert network(torch.zeros(n_rows, D), 0).n_stages == n_stages


def test_the_widest_beam_is_exhaustive():
    torch.manual_seed(0)
    network = MLPRefiner(hidden_size=8, basis_size=2, stages_per_round=2).build(D, 4, 3).double()
    network.start_from_table(torch.randn(3, D).numpy())
    target = make_target(5)
    everything = torch.cartesian_prod(*[torch.arange(3)] * 4)
    with torch.no_grad():
        ends = decode(network, everything)
        best = (ends[None] - target[:, None]).square().mean(-1).argmin(1)
        codes, x = encode(network, target, 4, beam_size=27)
    assert torch.equal(codes, everything[best])
    torch.testing.assert_close(x, ends[best])


@pytest.mark.parametrize(
    ("name", "beam_size"), [("mlp", 2), ("mlp", 5), ("conv", 5), ("shared", 5), ("paper", 2)]
)
def test_beams_against_a_loop_over_hypotheses(name, beam_size):
    """The best hypotheses after each round, all of their continuations scored one by one."""
    network, target = make_network(name), make_target(1 if name == "paper" else 4)
    with torch.no_grad():
        codes, _ = encode(network, target, beam_size=beam_size, round_beam_size=10**4)
        for row, code in zip(target, codes, strict=True):
            beam = [()]
            while len(beam[0]) < S:
                stage, ends = len(beam[0]), {}
                n_next = network(torch.zeros(K, D).double(), stage).n_stages
                for path in beam:
                    more = torch.cartesian_prod(*[torch.arange(K)] * n_next).view(-1, n_next)
                    paths = torch.cat([torch.tensor(path).expand(len(more), -1), more], 1).long()
                    errors = (decode(network, paths) - row).square().mean(-1)
                    ends.update(zip(map(tuple, paths.tolist()), errors.tolist(), strict=True))
                beam = sorted(ends, key=ends.get)[:beam_size]
            assert code.tolist() == list(beam[0])
