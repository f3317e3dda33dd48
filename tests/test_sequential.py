"""Sequential coding against loops over candidates that are written out."""

import weakref

import pytest
import torch

from skvqdraw.nn import DenseRound
from skvqdraw.nn.losses import SquaredError
from skvqdraw.nn.sequential import TILE_ROWS, accumulate_gradients, decode, encode
from skvqdraw.refiners import ConvRefiner, MLPRefiner, PaperRefiner

D, S, K = 16, 8, 5
REFINERS = {
    "mlp": MLPRefiner(hidden_size=12, basis_size=3),
    "conv": ConvRefiner((4, 4), n_channels=8, downsampling=2, basis_size=3),
    "segments": MLPRefiner(hidden_size=12, basis_size=3, segment_length=3),
    "paper": PaperRefiner((4, 4)),
}


def make_network(name, dtype=torch.float64, codebooks=False):
    torch.manual_seed(0)
    network = REFINERS[name].build(D, S, K).to(dtype)
    if codebooks:
        network.start_from_codebooks(0.3 * torch.randn(S, K, D, dtype=dtype).numpy())
        for trunk in network.trunks.values():
            torch.nn.init.normal_(trunk.head.weight, std=0.1)
    elif name != "paper":
        network.start_from_codebooks(torch.randn(1, K, D, dtype=dtype).numpy())
    return network


def make_target(n_rows, dtype=torch.float64):
    return torch.randn(n_rows, D, generator=torch.Generator().manual_seed(1), dtype=dtype)


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


@pytest.mark.parametrize(
    ("name", "codebooks"), [*((name, False) for name in REFINERS), ("mlp", True), ("conv", True)]
)
def test_encode_and_decode_against_a_loop(name, codebooks):
    network, target = make_network(name, codebooks=codebooks), make_target(20)
    with torch.no_grad():
        codes, ends = encode(network, SquaredError(), target, S)
        expected_codes, expected_ends = naive_encode(network, target)
        assert torch.equal(codes, expected_codes)
        torch.testing.assert_close(ends, expected_ends)
        assert torch.equal(decode(network, codes, D), ends)


@pytest.mark.parametrize("name", REFINERS)
def test_prefixes_inside_and_across_rounds(name):
    """Coding fewer stages gives the prefix; decoding a prefix gives the reconstruction so far."""
    network, target = make_network(name), make_target(10)
    with torch.no_grad():
        codes, _ = encode(network, SquaredError(), target, S)
        errors = []
        for length in range(S + 1):
            prefix = decode(network, codes[:, :length], D)
            errors.append(float((prefix - target).square().mean()))
            if length == 0:
                assert not prefix.any()
                continue
            shorter, _ = encode(network, SquaredError(), target, length)
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
def test_codes_do_not_depend_on_how_rows_are_batched(name):
    network = make_network(name, torch.float32)
    target = make_target(2 * TILE_ROWS + 17, torch.float32)
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        codes, ends = encode(network, SquaredError(), target, S)
        assert torch.equal(decode(network, codes, D), ends)
        for rows in (order, [0], range(3), range(100), range(5, TILE_ROWS + 6)):
            rows = torch.as_tensor(rows)
            some_codes, some_ends = encode(network, SquaredError(), target[rows], S)
            assert torch.equal(some_codes, codes[rows])
            assert torch.equal(some_ends, ends[rows])
            assert torch.equal(decode(network, codes[rows], D), ends[rows])


def test_among_equals_the_lowest_index_wins():
    class Constant(torch.nn.Module):
        def forward(self, x, stage):
            return DenseRound(torch.tensor([[2.0], [1.0], [1.0]]).expand(len(x), 3, 1))

    codes, _ = encode(Constant(), SquaredError(), torch.ones(4, 1), 2)
    assert torch.equal(codes, torch.ones(4, 2, dtype=torch.int64))


def naive_training_loss(network, target, weight, aux_weight, cut):
    """`cut(x)` is applied to the reconstruction between network evaluations."""
    x, stage, total = torch.zeros_like(target), 0, 0.0
    while stage < S:
        a_round = network(x, stage)
        for _ in range(a_round.n_stages):
            grid = (a_round.materialise() - target[:, None]).square().mean(-1)
            codes = grid.argmin(1)
            chosen = grid[torch.arange(len(x)), codes]
            total = total + (weight * (chosen + aux_weight * grid.mean(1))).mean() / S
            a_round = a_round.choose(codes)
            stage += 1
        x = cut(a_round.reconstruction())
    return total


def gradients_of(network):
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in network.named_parameters()
    }


@pytest.mark.parametrize("name", REFINERS)
@pytest.mark.parametrize("decay", [0.0, 0.3, 1.0])
def test_training_gradients_against_the_naive_loss(name, decay):
    network, target = make_network(name), make_target(6)
    weight = torch.linspace(0, 2, 6, dtype=torch.float64)
    objective, stage_losses, codes = accumulate_gradients(
        network, SquaredError(), target, weight, S, aux_weight=0.05, gradient_decay=decay
    )
    ours = gradients_of(network)
    network.zero_grad()
    naive = naive_training_loss(
        network, target, weight, 0.05, lambda x: x.detach() * decay + x * (1 - decay)
    )
    naive.backward()
    theirs = gradients_of(network)
    assert float(objective) == pytest.approx(naive.item(), rel=1e-10)
    size = torch.cat([gradient.flatten() for gradient in theirs.values()]).norm()
    for parameter in theirs:
        assert (ours[parameter] - theirs[parameter]).norm() <= 1e-10 * size, parameter
    with torch.no_grad():
        assert torch.equal(codes, encode(network, SquaredError(), target, S)[0])
    assert stage_losses.shape == (S,)


def test_rows_of_no_weight_teach_nothing():
    network, target = make_network("mlp"), make_target(6)
    options = {"aux_weight": 0.05, "gradient_decay": 0.0}
    weight = torch.tensor([2.0, 0, 2, 0, 2, 0], dtype=torch.float64)
    accumulate_gradients(network, SquaredError(), target, weight, S, **options)
    weighted = gradients_of(network)
    network.zero_grad()
    ones = torch.ones(3, dtype=torch.float64)
    accumulate_gradients(network, SquaredError(), target[::2], ones, S, **options)
    for parameter, expected in gradients_of(network).items():
        torch.testing.assert_close(weighted[parameter], expected)


def peak_of_saved_bytes(n_stages, gradient_decay):
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
        )
    return peak


def test_memory_does_not_grow_with_stages_when_gradients_are_cut():
    assert peak_of_saved_bytes(21, 1.0) <= 1.2 * peak_of_saved_bytes(5, 1.0)
    assert peak_of_saved_bytes(21, 0.0) >= 3 * peak_of_saved_bytes(5, 0.0)


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
        encode(Spy(), SpyLoss(), make_target(4, torch.float32), 2, bf16=True)
    assert seen == {"network": torch.bfloat16, "grid": torch.float32, "autocast": False}
