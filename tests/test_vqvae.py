"""VQ-VAE: latents replaced by vectors of codebooks, on one level and on two."""

import numpy as np
import pytest
import torch
from conftest import assert_same_model
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import skvqdraw
from skvqdraw import VQDRAW, VQVAE, _vqvae
from skvqdraw.autoencoders import Autoencoder, ConvAutoencoder, MLPAutoencoder
from skvqdraw.codec import compress, decode_codes, decompress, inspect
from skvqdraw.exceptions import FormatError
from skvqdraw.guides import FunctionGuide
from skvqdraw.metrics import rate_distortion_curve
from skvqdraw.nn import codebook
from skvqdraw.nn.codebook import Codebook, straight_through
from skvqdraw.plot import ProposalsDisplay, StagesDisplay
from skvqdraw.priors import AutoregressivePrior, MarkovPrior
from skvqdraw.training.batches import prepared_batches
from skvqdraw.training.distributed import SingleProcess

X = load_digits().data / 16
SPECS = {
    "mlp": MLPAutoencoder(n_positions=5, hidden_size=16, n_blocks=1),
    "conv": ConvAutoencoder((8, 8), n_channels=8, n_blocks=1, downsampling=2),
}


def make(spec="conv", **params):
    params = {"n_options": 6, "max_steps": 20, "random_state": 0, **params}
    return VQVAE(autoencoder=SPECS[spec], **params)


@pytest.fixture(scope="module")
def two_levels():
    return make(n_levels=2, max_steps=40).fit(X)


# ---- Codes and what they decode to ---------------------------------------------------------------


@pytest.mark.parametrize("n_levels", [1, 2, 3])
@pytest.mark.parametrize("spec", SPECS)
def test_shapes(spec, n_levels):
    vq = clone(make(spec, n_levels=n_levels, max_steps=2))
    if (spec, n_levels) == ("conv", 3):
        with pytest.raises(ValueError, match="n_channels must be at least 32 where the top level"):
            make(spec, n_levels=n_levels).fit(X)
        vq.set_params(autoencoder__n_channels=32)
    vq.fit(X)
    wanted = {"conv": [1, 4, 16], "mlp": [1, 2, 5]}[spec][-n_levels:]
    assert vq.network_.levels.n_positions == wanted
    codes = vq.encode(X[:7])
    assert codes.shape == (7, sum(wanted))
    assert vq.code_usage_.shape == (sum(wanted), 6)
    np.testing.assert_allclose(vq.code_usage_.sum(1), 1)
    assert vq.transform(X[:7]).shape == (7, 6 * sum(wanted))
    assert vq.decode(codes).shape == (7, 64)
    np.testing.assert_array_equal(vq.decode(codes), vq.reconstruct(X[:7]))
    assert len(vq.get_feature_names_out()) == 6 * sum(wanted)


@pytest.mark.parametrize("shape", [(28, 28), (6, 10, 3), (14, 12, 1)])
@pytest.mark.parametrize("downsampling", [2, 4])
def test_images_of_any_size_that_can_be_cut(shape, downsampling):
    images = np.random.default_rng(0).uniform(size=(20, np.prod(shape)))
    spec = ConvAutoencoder(shape, n_channels=8, n_blocks=0, downsampling=downsampling)
    vq = VQVAE(4, n_levels=2, autoencoder=spec, max_steps=1)
    if shape[0] % downsampling or shape[1] % downsampling:
        with pytest.raises(ValueError, match="must be multiples of 4, the downsampling"):
            vq.fit(images)
        return
    rows, columns = shape[0] // downsampling, shape[1] // downsampling
    top = -(-rows // 2) * -(-columns // 2)
    assert vq.fit(images).network_.levels.n_positions == [top, rows * columns]
    assert vq.reconstruct(images).shape == images.shape


def test_a_latent_sees_its_own_place_of_the_image():
    """Places of a grid are in the order of rows and columns, as pixels are."""
    spec = ConvAutoencoder((8, 8), n_channels=8, n_blocks=0, downsampling=2)
    network = VQVAE(4, autoencoder=spec, max_steps=1).fit(X).network_
    image = torch.zeros(1, 64, requires_grad=True)
    [seen] = network.levels.seen(image)
    # Without the norm of the head, which sees all places.
    seen[0, :, 1, 3].sum().backward()
    rows, columns = image.grad.view(8, 8).nonzero().T
    assert set(rows.tolist()) == {1, 2, 3, 4}
    assert set(columns.tolist()) == {5, 6, 7}


def test_nearest_vectors_are_found():
    book, latents = Codebook(7, 3), torch.randn(50, 4, 3)
    distances = (latents[:, :, None] - book.vectors).square().sum(3)
    codes, least = book.nearest(latents)
    assert torch.equal(codes, distances.argmin(2))
    halves = (distances.min(2).values - latents.square().sum(2)) / 2
    torch.testing.assert_close(least, halves)
    found = 2 * book.distances(latents) + latents.square().sum(2, keepdim=True)
    torch.testing.assert_close(found, distances)


def test_distances_are_held_a_part_at_a_time(monkeypatch):
    book, latents = Codebook(7, 3), torch.randn(50, 4, 3)
    expected = book.nearest(latents)
    monkeypatch.setattr(codebook, "_MOST_DISTANCES", 21)
    for found, whole in zip(book.nearest(latents), expected, strict=True):
        torch.testing.assert_close(found, whole)


def test_codes_are_those_of_latents_one_level_after_another(two_levels):
    network, prepared = two_levels.network_, two_levels._preparation().forward(X[:9])
    with torch.no_grad():
        top, bottom = network.levels.seen(prepared)
        of_top = network.codebooks[0].nearest(network.levels.latents(0, top))[0]
        said = network.levels.said(0, network.codebooks[0](of_top))
        of_bottom, _ = network.codebooks[1].nearest(network.levels.latents(1, bottom, said))
        said = network.levels.said(1, network.codebooks[1](of_bottom), said)
        rows = network.levels.rows(said).numpy() * two_levels.scale_ + two_levels.mean_
    np.testing.assert_array_equal(two_levels.encode(X[:9]), np.hstack([of_top, of_bottom]))
    np.testing.assert_allclose(two_levels.decode(two_levels.encode(X[:9])), rows, atol=1e-5)


def test_levels_depend_on_those_above_and_on_no_other(two_levels):
    codes = two_levels.encode(X[:50])
    network, prepared = two_levels.network_, two_levels._preparation().forward(X[:50])
    with torch.no_grad():
        _, seen = network.levels.seen(prepared)
        said = [
            network.levels.said(0, network.codebooks[0](torch.tensor(top).long()))
            for top in (codes[:, :4], (codes[:, :4] + 1) % 6)
        ]
        latents = [network.levels.latents(1, seen, each) for each in said]
    assert not torch.allclose(*latents)  # the bottom's latents, on the top's codes
    rows = two_levels.decode(codes[:, :4])
    assert not np.allclose(rows, two_levels.decode(codes))
    # The top alone stands for vectors of 0 at the bottom.
    with torch.no_grad():
        zeros = network.levels.said(1, torch.zeros(50, 16, 8), said[0])
        x = network.levels.rows(zeros)
    np.testing.assert_allclose(rows, two_levels._preparation().inverse(x), atol=1e-5)


def test_the_top_alone_is_nearer_than_the_mean():
    vq = make(n_levels=2, n_options=16, max_steps=150).fit(X)
    errors = rate_distortion_curve(vq, X)
    np.testing.assert_allclose(errors.bits, [4 * 4, 20 * 4])
    assert errors.train[1] < 0.6 * errors.train[0] < 0.5 * X.var(axis=0).mean()


def test_codes_of_a_row_do_not_depend_on_the_others(two_levels):
    codes, order = two_levels.encode(X), np.random.default_rng(0).permutation(len(X))
    np.testing.assert_array_equal(two_levels.encode(X[order]), codes[order])
    for size in (1, 3, 100):
        np.testing.assert_array_equal(two_levels.encode(X[:size]), codes[:size])
        np.testing.assert_array_equal(
            two_levels.decode(codes[:size]), two_levels.decode(codes)[:size]
        )
    np.testing.assert_array_equal(two_levels.set_params(n_jobs=1).encode(X), codes)
    two_levels.set_params(n_jobs=None)


def test_soft_assignments_are_by_distance(two_levels):
    vq = make().fit(X).set_params(encoding="soft")
    Z = vq.transform(X[:30]).reshape(30, 16, 6)
    np.testing.assert_array_equal(Z.argmax(2), vq.encode(X[:30]))
    network = vq.network_
    with torch.no_grad():
        _, latents, _ = network.encode(vq._preparation().forward(X[:30]))
        distances = (latents[:, :, None] - network.codebooks[0].vectors).square().sum(3)
    np.testing.assert_array_equal(Z.argsort(2), (-distances).argsort(2))


# ---- What is refused -----------------------------------------------------------------------------


def test_parts_of_a_level_are_refused(two_levels):
    codes = two_levels.encode(X[:5])
    assert two_levels.decode(codes[:, :0]).shape == (5, 64)
    for n_columns in (1, 3, 5, 19):
        message = f"codes must have 0, 4 or 20 columns: .*only whole levels decode; got {n_columns}"
        with pytest.raises(ValueError, match=message):
            two_levels.decode(codes[:, :n_columns])
        with pytest.raises(ValueError, match="prefix must have 0, 4 or 20 columns"):
            two_levels.sample(5, prefix=codes[:, :n_columns])
    with pytest.raises(ValueError, match="codes must have at most 20 columns"):
        two_levels.decode(np.zeros((1, 21), int))
    with pytest.raises(ValueError, match="codes must have 0 or 16 columns"):
        make().fit(X).decode(codes[:, :4])


def test_streams_decode_level_by_level(two_levels):
    data = compress(two_levels, X[:5])
    for n_stages in (4, 20):
        np.testing.assert_array_equal(
            decompress(two_levels, data, n_stages=n_stages),
            two_levels.decode(two_levels.encode(X[:5])[:, :n_stages]).astype(X.dtype),
        )
    with pytest.raises(ValueError, match="codes of n_stages must have 0, 4 or 20 columns"):
        decompress(two_levels, data, n_stages=5)
    n_whole = inspect(data[:-20]).n_whole_stages
    assert 4 < n_whole < 20
    said = f"4 of {n_whole} stages tell what rows are: integers of VQVAE decode level by level"
    with pytest.warns(UserWarning, match=said), pytest.warns(UserWarning, match="are decoded"):
        rows = decompress(two_levels, data[:-20], allow_truncated=True)
    np.testing.assert_array_equal(rows, decompress(two_levels, data, n_stages=4))


def test_norms_of_few_numbers_are_refused():
    """Of two numbers a norm leaves the signs."""
    for shape, n_channels, enough in (((8, 4), 8, 16), ((4, 4), 16, 32), ((4, 4), 2, 32)):
        images = np.random.default_rng(0).normal(size=(20, np.prod(shape)))
        spec = ConvAutoencoder(shape, n_channels=n_channels)
        with pytest.raises(ValueError, match=f"n_channels must be at least {enough} where"):
            VQVAE(4, autoencoder=spec, max_steps=1).fit(images)
        VQVAE(4, autoencoder=spec.set_params(n_channels=enough), max_steps=1).fit(images)
    with pytest.raises(ValueError, match="hidden_size"):
        VQVAE(4, autoencoder=MLPAutoencoder(hidden_size=2)).fit(X)


def test_proposals_and_guides_are_refused(two_levels):
    with pytest.raises(ValueError, match="proposals are not to be had: integers of VQVAE are"):
        two_levels.proposals(np.zeros((2, 4), int))
    with pytest.raises(ValueError, match="guided samples are not to be had"):
        two_levels.sample(2, guide=FunctionGuide(lambda X: X.sum(axis=-1)))
    with pytest.raises(ValueError, match="proposals are not to be had"):
        ProposalsDisplay.from_estimator(two_levels, X[:1], stage=0)


def test_samples(two_levels):
    codes = two_levels.encode(X)
    prior = MarkovPrior(n_options=6).fit(codes, load_digits().target)
    rows = two_levels.sample(4, prior=prior, y=3, random_state=0)
    expected = prior.sample(4, y=3, random_state=0)
    np.testing.assert_array_equal(rows, two_levels.decode(expected))
    assert two_levels.sample(3, random_state=0).shape == (3, 64)
    # The bottom given the top.
    drawn = two_levels.sample_codes(5, prior=prior, prefix=codes[:5, :4], random_state=0)
    np.testing.assert_array_equal(drawn[:, :4], codes[:5, :4])
    with pytest.raises(ValueError, match="this VQVAE has them"):
        two_levels.sample(prior=MarkovPrior().fit(codes[:, :4]))


def test_a_prior_knows_where_things_are():
    vq = make(n_options=8, max_steps=100).fit(X)
    codes = vq.encode(X)
    prior = AutoregressivePrior(8, hidden_size=64, batch_size=128, max_steps=150, random_state=0)
    prior.fit(codes[:1500])
    assert prior.bits(codes[1500:]).mean() < 0.8 * 16 * 3


BAD_PARAMS = {
    "n_options": [(1, r"an int in the range \[2, inf\)"), ("2", "an int")],
    "n_levels": [(0, r"an int in the range \[1, 8\]"), (9, "an int"), (1.0, "an int")],
    "code_dim": [(0, r"an int in the range \[1, 16384\]")],
    "autoencoder": [("conv", "a str among {'auto'}"), (None, "an object implementing 'build'")],
    "commitment_weight": [(-1, r"a float in the range \[0.0, inf\)")],
    "codebook_weight": [(0, r"a float in the range \(0.0, inf\)"), ("ema", "a float")],
    "encoding": [("one-hot", "a str among")],
    "n_jobs": [(0, "an int")],
}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [(name, *case) for name, cases in BAD_PARAMS.items() for case in cases],
)
def test_parameters(name, value, message):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of VQVAE must be .*{message}"):
        VQVAE(**{name: value}).fit(X)


def test_specifications_are_checked():
    with pytest.raises(ValueError, match="'downsampling' parameter of ConvAutoencoder must be"):
        VQVAE(autoencoder=ConvAutoencoder((8, 8), downsampling=3)).fit(X)
    with pytest.raises(ValueError, match=r"image_shape=\(8, 9\) has 72 values"):
        VQVAE(autoencoder=ConvAutoencoder((8, 9))).fit(X)
    with pytest.raises(ValueError, match="'n_positions' parameter of MLPAutoencoder must be"):
        VQVAE(autoencoder=MLPAutoencoder(0)).fit(X)
    with pytest.raises(ValueError, match="autoencoder__n_blocks cannot be set: autoencoder='auto'"):
        VQVAE().set_params(autoencoder__n_blocks=1)
    assert clone(make()).set_params(autoencoder__n_blocks=0).autoencoder.n_blocks == 0


class Halves(Autoencoder):
    """Latents that are the halves of a row; `wrong` says what is wrong with the network."""

    def __init__(self, wrong=""):
        self.wrong = wrong

    def build(self, n_features, n_levels, code_dim):
        return "network" if self.wrong == "kind" else HalvesNetwork(self.wrong)


class HalvesNetwork(torch.nn.Module):
    def __init__(self, wrong):
        super().__init__()
        others = {"positions": 2, "places": [2**17], "strings": ["2"], "none": [0]}
        self.wrong, self.n_positions = wrong, others.get(wrong, [2])
        self.shift = torch.nn.Parameter(torch.zeros(1)) if wrong != "nothing" else 0

    def seen(self, x):
        return [x, x] if self.wrong == "levels" else [x]

    def latents(self, level, seen, said):
        return seen.view(len(seen), 2, -1)[:, :, : 3 if self.wrong == "latents" else None]

    def said(self, level, vectors, said):
        return vectors.flatten(1)

    def rows(self, said):
        return said[:, 1:] if self.wrong == "rows" else said + self.shift


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("kind", TypeError, "Halves.build must return a torch.nn.Module; got str"),
        (
            "positions",
            ValueError,
            "must have n_positions, a list of n_levels=1 positive integers; got 2",
        ),
        ("strings", ValueError, r"a list of n_levels=1 positive integers; got \['2'\]"),
        ("none", ValueError, r"a list of n_levels=1 positive integers; got \[0\]"),
        ("latents", ValueError, r"shapes \[\(1, 2, 4\), .*; got \[\(1, 2, 3\), "),
        ("levels", ValueError, "argument 2 is longer"),
        ("places", ValueError, "n_positions of all levels must be at most 65536"),
        ("rows", ValueError, r"\(1, 8\)\]; got .*, \(1, 7\)\]"),
    ],
)
def test_networks_of_others_are_tried_out(wrong, error, message):
    with pytest.raises(error, match=message):
        VQVAE(4, code_dim=4, autoencoder=Halves(wrong)).fit(X[:, :8])


def test_halves_make_a_product_quantizer_with_one_codebook(tmp_path):
    rows = X[:, 16:24]
    vq = VQVAE(16, code_dim=4, autoencoder=Halves(), max_steps=300, random_state=0).fit(rows)
    halves = ((rows - vq.mean_) / vq.scale_).reshape(-1, 2, 4)
    vectors = vq.network_.codebooks[0].vectors.detach().numpy()
    distances = np.square(halves[:, :, None] - vectors).sum(3)
    np.testing.assert_array_equal(vq.encode(rows), distances.argmin(2))
    vq.save(tmp_path / "halves")
    loaded = skvqdraw.load(tmp_path / "halves", allow=[Halves])
    np.testing.assert_array_equal(loaded.encode(rows), vq.encode(rows))


def test_sizes_may_be_integers_of_numpy():
    n = np.int64(4)
    spec = ConvAutoencoder((np.int64(8), 8), n_channels=8 * n, n_blocks=n, downsampling=n)
    for autoencoder in (spec, MLPAutoencoder(n, hidden_size=n, n_blocks=n)):
        vq = VQVAE(n, n_levels=np.int64(2), code_dim=n, autoencoder=autoencoder, max_steps=1)
        assert vq.fit(X).encode(X[:3]).shape == (3, 5)


def test_networks_without_parameters():
    """Then codebooks learn alone."""
    vq = VQVAE(4, code_dim=4, autoencoder=Halves("nothing"), max_steps=30, random_state=0)
    assert -vq.fit(X[:, 16:24]).score(X[:, 16:24]) < X[:, 16:24].var(axis=0).mean()


# ---- Training ------------------------------------------------------------------------------------


def task_of(vq, rows, n_parts=1):
    """Return the task of a fit as it stands, and the parts of a batch of rows."""
    task = vq._task(resume=True)
    task.network, task.device = vq.network_, torch.device("cpu")
    order, weight = [np.arange(len(rows))], np.ones(len(rows))
    batches = prepared_batches(task, rows, None, weight, order, SingleProcess(), n_parts=n_parts)
    return task, next(batches)


@pytest.mark.parametrize("codebook_weight", [None, 0.7])
def test_gradients_go_straight_through(codebook_weight):
    """They are those of a surrogate, in which codes and ways from latents to vectors are fixed."""
    vq = make("mlp", n_levels=2, codebook_weight=codebook_weight, commitment_weight=0.3)
    vq.fit(X)
    task, [(batch, weight)] = task_of(vq, X[:16])
    network, books = vq.network_, vq.network_.codebooks
    places, target = batch
    known = [torch.ones(16), (places < 7 / 8).float()]
    vq.network_.zero_grad()
    task._loss(*batch, weight)[0].backward()
    fixed = []

    def surrogate(frozen):
        apart = 0.0

        def quantize(level, latents):
            nonlocal apart
            if not frozen:
                codes, _ = books[level].nearest(latents)
                fixed.append((codes, latents.detach(), books[level](codes).detach()))
            codes, at, vectors = fixed[level]
            pulled = (latents - vectors).square().mean((1, 2))
            apart = apart + 0.3 * (weight @ pulled)
            if codebook_weight is not None:
                moved = (at - books[level](codes)).square().mean((1, 2))
                apart = apart + codebook_weight * (weight @ moved)
            return (latents + (vectors - at)) * known[level][:, None, None]

        x = network(target, quantize)
        return weight @ (x - target).square().mean(1) + apart

    with torch.no_grad():
        assert float(surrogate(False)) == pytest.approx(float(task._loss(*batch, weight)[0]))
        for name, parameter in network.named_parameters():
            if parameter.grad is None:
                assert "codebooks" in name
                assert codebook_weight is None
                continue
            step = parameter.grad / parameter.grad.norm()
            values = []
            for sign in (1, -1):
                parameter += sign * 1e-2 * step
                values.append(float(surrogate(True)))
                parameter -= sign * 1e-2 * step
            slope = (values[0] - values[1]) / 2e-2
            assert slope == pytest.approx(float(parameter.grad.norm()), rel=0.03, abs=2e-5), name


def test_straight_through_gives_vectors_and_the_gradient_of_latents():
    latents, vectors = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    out = straight_through(latents, vectors)
    torch.testing.assert_close(out, vectors)
    out.square().sum().backward()
    torch.testing.assert_close(latents.grad, 2 * vectors.detach())
    assert vectors.grad is None


@pytest.mark.parametrize(("n_latents", "share"), [(30, 1 / 12), (10, 1 / 20), (1, 1 / 200)])
def test_moving_averages_against_a_loop(n_latents, share):
    """Of the last 12 steps, or of as many as have 50 latents for each of 4 options."""
    book, rng = Codebook(4, 3), torch.Generator().manual_seed(0)
    book.vectors.requires_grad_(False)
    start = torch.randn(40, 3, generator=rng)
    book.start(start, start[:4], torch.full((40,), 1 / 40))
    codes, _ = book.nearest(start)
    counts = [float((codes == k).sum()) / 40 for k in range(4)]
    sums = [start[codes == k].sum(0) / 40 for k in range(4)]
    for _ in range(20):
        latents = torch.randn(30, 3, generator=rng)
        weight = torch.rand(30, generator=rng) / 30
        nearest = [int((row - book.vectors).square().sum(1).argmin()) for row in latents]
        book.follow(
            book.statistics(latents, torch.tensor(nearest), weight), torch.tensor(n_latents)
        )
        for k in range(4):
            mine = [i for i, code in enumerate(nearest) if code == k]
            counts[k] = (1 - share) * counts[k] + share * float(sum(weight[i] for i in mine))
            sums[k] = (1 - share) * sums[k] + share * sum(weight[i] * latents[i] for i in mine)
            torch.testing.assert_close(book.vectors[k].data, sums[k] / counts[k])
            assert float(book.counts[k]) == pytest.approx(counts[k])


def test_an_eighth_of_rows_knows_less_whatever_levels_there_are():
    for n_levels in (1, 2, 5, 8):
        vq = make("mlp", n_levels=n_levels, max_steps=1).fit(X)
        task = vq._task(resume=True)
        task.network = vq.network_
        places = torch.arange(800) / 800
        known = [int(task._knows(level, places).sum()) for level in range(n_levels)]
        assert known[0] == 800
        assert known[-1] == (700 if n_levels > 1 else 800)
        assert known == sorted(known, reverse=True)


def test_windows_go_by_the_rows_of_a_step():
    """Calls with the same rows learn the same, however many a step may have."""
    fits = [make("mlp", batch_size=size, n_options=32) for size in (8, 1024)]
    for start in range(0, 400, 8):
        for vq in fits:
            vq.partial_fit(X[start : start + 8])
    np.testing.assert_array_equal(*(vq.network_.codebooks[0].counts for vq in fits))
    np.testing.assert_array_equal(*(vq.encode(X) for vq in fits))


def test_vectors_without_latents_stay():
    book = Codebook(3, 2)
    book.vectors.requires_grad_(False)
    book.start(torch.ones(5, 2), torch.tensor([[1.0, 1], [5, 5], [9, 9]]), torch.ones(5) / 5)
    for _ in range(4):
        seen = book.statistics(torch.ones(5, 2), torch.zeros(5).long(), torch.ones(5) / 5)
        book.follow(seen, torch.tensor(5))
    torch.testing.assert_close(book.vectors.data, torch.tensor([[1.0, 1], [5, 5], [9, 9]]))


@pytest.mark.parametrize("by_gradient", [False, True])
def test_dead_vectors_are_revived_and_nothing_of_them_remains(by_gradient):
    book = Codebook(4, 2)
    book.vectors.requires_grad_(by_gradient)
    optimizer = torch.optim.AdamW([book.vectors])
    if by_gradient:
        book.vectors.square().sum().backward()
        optimizer.step()
    with torch.no_grad():
        book.vectors.copy_(torch.tensor([[0.0, 0], [4, 0], [0, 4], [99, 99]]))
        book.counts.copy_(torch.tensor([1.0, 4, 2, 0.01]))
        book.squares.copy_(torch.tensor([1.0, 16, 2, 7]))
        book.sums.copy_(book.vectors * book.counts[:, None])
    before = book.vectors.detach().clone()
    book.revive(optimizer)
    assert book.counts.tolist() == [1, 2, 2, 2]
    assert book.squares.tolist() == [1, 8, 2, 8]
    assert torch.equal(book.vectors[:3], before[:3])
    away = (book.vectors[3] - before[1]).norm()  # by about half the spread of the busiest one's
    assert 0 < away < 4 * 0.5 * 2
    torch.testing.assert_close(book.sums[3], 2 * book.vectors[3].detach())
    torch.testing.assert_close(book.sums[1], 2 * before[1])
    if by_gradient:
        memory = optimizer.state[book.vectors]
        for name in ("exp_avg", "exp_avg_sq"):
            assert not memory[name][3].any()
            assert memory[name][1:3].any()
    again = Codebook(4, 2)
    again.load_state_dict(book.state_dict())
    book.revive(optimizer)  # there is no dead one any more
    assert torch.equal(again.vectors, book.vectors)


def test_many_dead_vectors_share_the_busiest_ones_rows():
    book = Codebook(64, 2)
    book.vectors.requires_grad_(False)
    with torch.no_grad():
        book.counts[0], book.squares[0] = 1, 1
        book.revive(torch.optim.AdamW([book.vectors]))
    assert float(book.counts.sum()) == pytest.approx(1)
    assert float(book.counts.min()) >= 1 / 128
    assert len(torch.unique(book.vectors, dim=0)) == 64


@pytest.mark.parametrize("codebook_weight", [None, 1.0])
@pytest.mark.parametrize("n_levels", [1, 2])
def test_options_are_in_use(n_levels, codebook_weight):
    vq = make(n_options=32, n_levels=n_levels, codebook_weight=codebook_weight, max_steps=150)
    codes = vq.fit(X).encode(X)
    for level in np.split(codes, vq._prefix_lengths[1:-1], axis=1):
        assert len(np.unique(level)) >= 0.8 * 32


def test_a_collapsed_codebook_recovers():
    vq = make(n_options=32, max_steps=0).fit(X)
    with torch.no_grad():
        book = vq.network_.codebooks[0]
        book.vectors[1:] = 1e3
        book.counts[1:] = 0
        book.sums[1:] = 0
    codes = vq.set_params(warm_start=True, max_steps=100).fit(X).encode(X)
    assert len(np.unique(codes)) >= 0.8 * 32


def test_the_error_falls():
    vq = make(n_options=32, max_steps=200).fit(X)
    assert -vq.score(X) < 0.35 * X.var(axis=0).mean()
    errors = [record["error"] for record in vq.loss_curve_]
    assert errors[-1] < errors[0]
    assert errors[-1] == pytest.approx(-vq.score(X), rel=0.3)
    assert set(vq.loss_curve_[0]) == {"step", "seconds", "loss", "error", "entropy"}


def assert_same_fit(vq, other):
    """Equal to the bit."""
    for name, tensor in other.network_.state_dict().items():
        assert torch.equal(vq.network_.state_dict()[name], tensor), name
    np.testing.assert_array_equal(vq.encode(X), other.encode(X))


class CrashError(Exception):
    pass


KINDS = {
    "moving averages": {},
    "gradient": {"codebook_weight": 1.0},
    "two levels": {"n_levels": 2},
    "early stopping": {"early_stopping": True, "n_levels": 2, "tol": 0.0},
    "parts": {"gradient_accumulation": 3, "n_levels": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_that_was_ended_goes_on_the_same(kind, tmp_path, monkeypatch):
    whole, n_steps = make(**KINDS[kind]).fit(X), 0
    real = _vqvae._Levels.after_step

    def crashing(self, sums):
        nonlocal n_steps
        n_steps += 1
        if n_steps in (3, 14, 20):
            raise CrashError
        real(self, sums)

    monkeypatch.setattr(_vqvae._Levels, "after_step", crashing)
    vq = make(**KINDS[kind], checkpoint=tmp_path / "fit", checkpoint_every=0)
    for _ in range(3):
        with pytest.raises(CrashError):
            vq.fit(X)
    vq.fit(X)
    assert n_steps > 20
    assert_same_fit(vq, whole)


def test_parts_of_a_batch_have_its_gradients(two_levels):
    """Also of the rows of which the decoder does not know all levels."""
    gradients, found = [], []
    for n_parts in (1, 3):
        task, parts = task_of(two_levels, X[:40], n_parts)
        assert len(parts) == n_parts
        task.network.zero_grad()
        sums = task.sums()
        for batch, weight in parts:
            task.gradients(batch, weight, sums)
        named = task.network.named_parameters()
        gradients.append({n: p.grad.clone() for n, p in named if p.grad is not None})
        found.append(sums)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found[1], found[0])
    assert float(found[0]["whole"]) == pytest.approx(35 / 40)


def test_training_goes_on():
    vq = make(max_steps=30).fit(X)
    before = -vq.score(X)
    vq.set_params(warm_start=True).fit(X)
    assert vq.n_steps_ == 60
    assert -vq.score(X) < before
    vq.partial_fit(X[:320])
    assert vq.n_steps_ == 70
    for name, value in {
        "n_options": 7,
        "n_levels": 2,
        "code_dim": 3,
        "autoencoder": "auto",
    }.items():
        changed = make(max_steps=30, warm_start=True)
        vars(changed).update(vars(vq))
        with pytest.raises(ValueError, match=f"{name} cannot change while training goes on"):
            changed.set_params(**{name: value}).fit(X)


def test_weights_of_zero_leave_rows_out():
    weight = np.where(np.arange(len(X)) < 900, 1.0, 0.0)
    some = X.copy()
    some[900:] = 1e3
    vq, expected = make().fit(some, sample_weight=weight), make().fit(X, sample_weight=weight)
    assert_same_fit(vq, expected)


def test_constant_data(two_levels):
    constant = np.full((40, 64), 3.5)
    vq = make(n_levels=2).fit(constant)
    np.testing.assert_allclose(vq.reconstruct(constant), constant, rtol=1e-6)


def test_dtype_and_default_dtype():
    expected = make().fit(X.astype(np.float32))
    assert expected.reconstruct(X).dtype == np.float32
    torch.set_default_dtype(torch.float64)
    try:
        vq = make().fit(X.astype(np.float32))
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same_fit(vq, expected)
    with torch.inference_mode(), torch.autocast("cpu"):
        assert_same_fit(make().fit(X.astype(np.float32)), expected)


# ---- Around it -----------------------------------------------------------------------------------


def test_files(two_levels, tmp_path):
    two_levels.save(tmp_path / "model")
    loaded = skvqdraw.load(tmp_path / "model")
    assert_same_model(loaded, two_levels, X)
    assert loaded.fingerprint() == two_levels.fingerprint()
    codes = two_levels.encode(X[:20])
    np.testing.assert_array_equal(loaded.encode(X[:20]), codes)
    np.testing.assert_array_equal(loaded.decode(codes[:, :4]), two_levels.decode(codes[:, :4]))
    np.testing.assert_array_equal(loaded.set_params(n_options=9, n_levels=1).encode(X[:20]), codes)
    assert make(n_levels=2).fit(X).fingerprint() != two_levels.fingerprint()


def test_fingerprints_are_of_what_decodes(two_levels, tmp_path):
    two_levels.save(tmp_path / "model")
    changed, before = skvqdraw.load(tmp_path / "model"), two_levels.fingerprint()
    network = changed.network_
    with torch.no_grad():
        next(network.levels.encoder.parameters()).add_(1)
        network.codebooks[0].counts.add_(1)
    assert changed.fingerprint() == before
    for parameter in (network.codebooks[1].vectors, next(network.levels.decoder.parameters())):
        with torch.no_grad():
            parameter.add_(1)
        assert changed.fingerprint() != before
        before = changed.fingerprint()


def test_all_of_a_network_of_others_counts():
    """Its encoder may decode, too: nobody knows."""
    vq = VQVAE(16, code_dim=4, autoencoder=Halves(), max_steps=2).fit(X[:, :8])
    levels, found = vq.network_.levels, {vq.fingerprint()}
    levels.encoder = torch.nn.Module()
    levels.encoder.register_buffer("counts", torch.zeros(2))
    found.add(vq.fingerprint())
    levels.encoder.counts += 1
    found.add(vq.fingerprint())
    assert len(found) == 3


def test_files_of_other_positions_are_refused(two_levels, tmp_path, monkeypatch):
    wider = np.vstack([two_levels.code_usage_] * 2)
    monkeypatch.setattr(two_levels, "code_usage_", wider)
    with pytest.raises((FormatError, ValueError), match="code_usage_ must be of 20 positions"):
        two_levels.save(tmp_path / "model")


@pytest.mark.parametrize("max_error", [None, 0.03])
def test_streams(two_levels, max_error):
    codes = two_levels.encode(X)
    data = compress(two_levels, X, max_error=max_error)
    found, lengths = decode_codes(data)
    if max_error is None:
        np.testing.assert_array_equal(found, codes)
        np.testing.assert_array_equal(decompress(two_levels, data), two_levels.decode(codes))
        with pytest.raises(ValueError, match="codes of n_stages must have 0, 4 or 20 columns"):
            compress(two_levels, X, n_stages=11)
        return
    assert set(np.unique(lengths)) <= {0, 4, 20}
    errors = np.square(decompress(two_levels, data) - X).mean(axis=1)
    assert (errors[lengths < 20] <= max_error).all()


def test_displays(two_levels):
    display = StagesDisplay.from_estimator(two_levels, X[:2])
    np.testing.assert_allclose(display.bits, np.array([0, 4, 20]) * np.log2(6))
    with pytest.raises(ValueError, match=r"integers in \[0, 4, 20\]"):
        StagesDisplay.from_estimator(two_levels, X[:2], stages=[3])


def test_it_is_at_home_in_a_pipeline():
    pipeline = make_pipeline(MinMaxScaler(), make("mlp", encoding="onehot-dense"))
    Z = pipeline.set_output(transform="pandas").fit_transform(X)
    assert list(Z.columns[:2]) == ["vqvae_s0_o0", "vqvae_s0_o1"]
    assert Z.shape == (len(X), 30)


def test_random_codes_are_worse_than_those_of_vqdraw():
    """What the two are told apart by: of places, random codes are like no row."""
    vq = make(n_options=16, max_steps=150).fit(X)
    drawing = VQDRAW(8, 16, max_steps=60, random_state=0).fit(X)

    def distance(rows):
        return np.square(rows[:, None] - X).mean(2).min(1).mean()

    assert distance(vq.sample(100, random_state=0)) > 1.1 * distance(
        drawing.sample(100, random_state=0)
    )
