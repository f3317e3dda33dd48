"""VQ-VAE: an auto-encoder whose latents are vectors of a codebook."""

import math
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import clone

from ._base import CodeTransformer
from ._codes import entropy_bits
from ._device import low_precision
from ._rows import pieces, take_rows
from ._sklearn import HasMethods, Interval, StrOptions, same_specs, validate_params
from .autoencoders import MLPAutoencoder
from .boosting.kmeans import cluster
from .exceptions import FormatError
from .files.json import comes_with_package, known
from .files.learned import Array, Number, Spec
from .losses import SquaredError
from .nn.arrays import Network, network_arrays
from .nn.autoencoders import CodebookNetwork, LevelNetwork
from .nn.codebook import Codebook, straight_through
from .nn.level_coding import LevelCoding
from .nn.preparation import Preparation
from .nn.work import count_multiplications
from .training.estimator import TrainedMixin
from .training.row_task import RowTask

_MOST_LEVELS = 8
_MOST_DIMS = 2**14
_MOST_POSITIONS = 2**16
# In training, the share of rows of which the decoder does not know all levels: so it learns what to
# make of those above alone.
_SHARE_CUT = 1 / 8
# Latents of each option and latents at least from which codebooks start, rows at least and at most
# that these are of, and how many rows are encoded at a time.
_LATENTS_PER_OPTION, _FEWEST_LATENTS, _FEWEST_ROWS, _MOST_ROWS = 16, 4096, 256, 2048
_ROWS_AT_A_TIME = 64
_ITERATIONS = 10  # of k-means on them
# Steps between one look for dead vectors and the next.
_LOOK_EVERY = 10


@known
class VQVAE(TrainedMixin, CodeTransformer):
    """Auto-encoder whose latents are replaced by the nearest vectors of a codebook.

    An encoder turns a row into latents, one for each position: a place of a grid for images, a
    group of units otherwise. The index of the vector nearest to each is written down, and a decoder
    turns the vectors back into the row. Positions are places, not refinements: codes decode whole,
    and unlike those of :class:`VQDRAW`, random ones decode to nothing like a row. A prior that is
    fitted to codes makes it a generator, see `sample`.

    With ``n_levels=2`` it is a VQ-VAE-2: a top level of few positions, and a bottom level that is
    encoded and decoded in the light of the top. Codes have the top first, which decodes alone.

    Parameters
    ----------
    n_options : int, default=64
        Number of vectors of each level's codebook, at least 2. 16 to 1024; powers of two waste no
        bits.
    n_levels : int, default=1
        1 for a VQ-VAE, 2 for a VQ-VAE-2; up to 8.
    code_dim : int, default=8
        Dimensions of a vector. 4 to 16: the fewer, the more of the codebook is in use.
    autoencoder : {"auto"} or Autoencoder, default="auto"
        Specification of encoder and decoder, which says how many positions there are. "auto" is
        :class:`~skvqdraw.autoencoders.MLPAutoencoder` with its defaults; for images,
        :class:`~skvqdraw.autoencoders.ConvAutoencoder` is the better choice.
    commitment_weight : float, default=1.0
        What it weighs that latents are far from their vectors: ``beta`` of the paper. 0.25 to 4.
    codebook_weight : float or None, default=None
        None lets vectors be the moving averages of their latents. A number lets the optimizer move
        them, and is the weight of what it then lowers: ``gamma``, 0.25 to 4.
    encoding : {"onehot", "onehot-dense", "ordinal", "soft"}, default="onehot"
        What `transform` returns: a sparse matrix, the same as an ndarray, the integers, or an
        ndarray of how near each vector is to the latent.
    max_steps : int or None, default=1000
        Optimizer steps of a `fit`, 500 to 50,000; None for no limit but `max_time`. 0 leaves the
        network as it starts.
    max_time : float or None, default=None
        Seconds of a `fit`, the start included; whichever of `max_steps` and `max_time` ends first
        counts. A fit that ends by the clock is not reproducible.
    batch_size : int, default=32
        Rows per optimizer step, of all processes together where several make one fit. 16 to 256.
        With two levels, an eighth of them teach the decoder what to make of the top alone; with
        fewer than 8 rows nothing does.
    gradient_accumulation : int, default=1
        Parts in which a batch is computed, one after the other, so that it takes less memory.
    learning_rate : float, default=6e-3
        Highest learning rate of AdamW, after a warm-up over 5 % of the budget; it then falls along
        a cosine. 1e-3 to 1e-2. `partial_fit` uses it as it is.
    weight_decay : float, default=0.05
        Weight decay of AdamW. 0 to 0.5.
    early_stopping : bool, default=False
        Whether to set rows aside, stop when their error no longer falls, and keep the best
        network seen.
    validation_fraction : float, default=0.1
        Share of rows set aside, in (0, 1), at most 2048 rows. Only used with `early_stopping`.
    n_iter_no_change : int, default=5
        Evaluation points (of about 50 in a fit) without improvement after which to stop. Only
        used with `early_stopping`.
    tol : float, default=1e-4
        The least improvement that counts, as a share of the variance of the training data. Only
        used with `early_stopping`.
    warm_start : bool, default=False
        Whether `fit` goes on from the present network. Centre and scale stay those of the first
        fit; another `n_options`, `n_levels`, `code_dim` or `autoencoder` is refused.
    checkpoint : str, path-like or None, default=None
        File in which `fit` keeps its state, so that after a crash or Ctrl-C the same call of `fit`
        goes on from there. A fit that ends by itself removes the file. `partial_fit` does not use
        it.
    checkpoint_every : float, default=30.0
        Seconds from one writing of `checkpoint` to the next. 10 to 600.
    device : str or torch.device, default="auto"
        Where to compute, as PyTorch names it; "auto" is CUDA, then MPS, then the CPU.
    precision : {"auto", "float32", "bf16"}, default="auto"
        "auto" trains in bfloat16 where the hardware multiplies it natively and encodes and decodes
        in float32; "bf16" uses it everywhere, so that codes depend on the machine.
    n_jobs : int or None, default=None
        Threads that share the rows to encode and decode on a CPU; -1 for one per core, None for as
        many as PyTorch may use. No code depends on it.
    random_state : int, RandomState instance or None, default=None
        Seed of the start and of the order of rows. An int makes a fit that ends by `max_steps`
        reproducible to the bit on the CPU of one machine. Beside other busy processes that takes
        one thread: ``torch.set_num_threads(1)``.
    verbose : int, default=0
        1 for a progress bar with the error and the bits in use, 2 for a line per evaluation point.

    Attributes
    ----------
    network_ : torch.nn.Module
        Encoder, codebooks and decoder. ``network_.levels.n_positions`` are the numbers of positions
        of the levels.
    autoencoder_ : Autoencoder
        The specification that it was built from.
    n_levels_, code_dim_ : int
        Levels, and dimensions of a vector.
    mean_ : ndarray of shape (n_features,)
        Mean of the training data.
    scale_ : float
        Root of the mean variance of the training data: the network's unit.
    code_usage_ : ndarray of shape (n_positions, n_options)
        Share of training rows that use each option at each position, of up to 2048 rows.
    loss_curve_ : list of dict
        One record per evaluation point: `step`, `seconds`, `loss` (the training loss), `error`
        (mean squared error of rows of which the decoder knows all levels, on training batches),
        `entropy` (bits of the codes in use, the sum over positions) and, with `early_stopping`,
        `validation_error`. Losses and errors are in the squared units of X.
    n_steps_ : int
        Number of optimizer steps made.
    data_dtype_ : str
        Name of the dtype of the training rows. Files of older versions lack it.
    data_range_ : tuple of (float, float)
        The least and the largest number of the training rows. Files of older versions lack it.
    row_shape_ : tuple of int or None
        Shape of the images or volumes that rows are, where the network or the command line
        knows it.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen in `fit`, where X has them.

    See Also
    --------
    VQDRAW : Integers that refine one another, of which random ones decode to likely rows.
    skvqdraw.priors.AutoregressivePrior : What to give `sample`.

    Notes
    -----
    Codebooks start from k-means on latents of the network before its training. A vector that nearly
    no latent is near to takes half of those of the busiest one, and nothing that was known of it
    remains.

    References
    ----------
    A. van den Oord, O. Vinyals and K. Kavukcuoglu, "Neural discrete representation learning",
    NeurIPS 2017. A. Razavi, A. van den Oord and O. Vinyals, "Generating diverse high-fidelity
    images with VQ-VAE-2", NeurIPS 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvqdraw import VQVAE
    >>> from skvqdraw.autoencoders import ConvAutoencoder
    >>> X = load_digits().data
    >>> autoencoder = ConvAutoencoder((8, 8), n_channels=16, downsampling=2)
    >>> vq = VQVAE(16, n_levels=2, autoencoder=autoencoder, max_steps=50, random_state=0).fit(X)
    >>> codes = vq.encode(X)  # a grid of 2 x 2, then one of 4 x 4
    >>> codes.shape, codes.dtype
    ((1797, 20), dtype('uint8'))
    >>> vq.decode(codes[:, :4]).shape  # from the top alone
    (1797, 64)
    """

    _parameter_constraints: dict = {
        "n_options": [Interval(Integral, 2, None, closed="left")],
        "n_levels": [Interval(Integral, 1, _MOST_LEVELS, closed="both")],
        "code_dim": [Interval(Integral, 1, _MOST_DIMS, closed="both")],
        "autoencoder": [StrOptions({"auto"}), HasMethods(["build", "get_params"])],
        "commitment_weight": [Interval(Real, 0, None, closed="left")],
        "codebook_weight": [Interval(Real, 0, None, closed="neither"), None],
    }
    _softness = 0.4
    _specs_advice = {
        "autoencoder": "autoencoder=MLPAutoencoder() first, which 'auto' stands for, or another "
        "one of skvqdraw.autoencoders",
    }
    _learned: dict = {
        "mean_": Array("D", "float32", "float64"),
        "scale_": Number(Interval(Real, 0, None, closed="neither")),
        "n_levels_": Number(Interval(Integral, 1, _MOST_LEVELS, closed="both")),
        "code_dim_": Number(Interval(Integral, 1, _MOST_DIMS, closed="both")),
        "autoencoder_": Spec("build"),
        "network_": Network(built_by="autoencoder_"),
    }
    _free_params = TrainedMixin._free_params | {"encoding", "n_jobs"}

    def __init__(
        self,
        n_options=64,
        *,
        n_levels=1,
        code_dim=8,
        autoencoder="auto",
        commitment_weight=1.0,
        codebook_weight=None,
        encoding="onehot",
        max_steps=1000,
        max_time=None,
        batch_size=32,
        gradient_accumulation=1,
        learning_rate=6e-3,
        weight_decay=0.05,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        warm_start=False,
        checkpoint=None,
        checkpoint_every=30.0,
        device="auto",
        precision="auto",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.n_options = n_options
        self.n_levels = n_levels
        self.code_dim = code_dim
        self.autoencoder = autoencoder
        self.commitment_weight = commitment_weight
        self.codebook_weight = codebook_weight
        self.encoding = encoding
        self.max_steps = max_steps
        self.max_time = max_time
        self.batch_size = batch_size
        self.gradient_accumulation = gradient_accumulation
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _task(self, resume):
        task = _Levels(self)
        if resume:
            fitted_and_same = {
                "n_options": (self._code_shape[1], self.n_options == self._code_shape[1]),
                "n_levels": (self.n_levels_, self.n_levels == self.n_levels_),
                "code_dim": (self.code_dim_, self.code_dim == self.code_dim_),
                "autoencoder": (
                    self.autoencoder_,
                    same_specs(task.autoencoder, self.autoencoder_),
                ),
            }
            self._refuse_changes(fitted_and_same)
            task.preparation = self._preparation()
        return task

    def _network(self):
        n_positions, n_options = self._code_shape
        shape = self.n_features_in_, self.n_levels_, self.code_dim_
        network = _built(self.autoencoder_, *shape, n_options)
        if sum(network.levels.n_positions) != n_positions:
            raise FormatError(
                f"code_usage_ must be of {sum(network.levels.n_positions)} positions, as "
                f"{self.autoencoder_} has them; it is of {n_positions}"
            )
        return network

    def _preparation(self):
        return Preparation(SquaredError(), self.mean_, self.scale_)

    def _fitted_on(self):
        return self.mean_, self.scale_**2

    @property
    def _prefix_lengths(self):
        return [0, *map(int, np.cumsum(self.network_.levels.n_positions))]

    def _coding(self):
        """Return what codes rows and decodes codes."""
        validate_params(self, "n_jobs")
        network, bf16 = self._network_on_device(), self.precision == "bf16"
        return LevelCoding(network, self._preparation(), n_jobs=self.n_jobs, bf16=bf16)

    def _encode(self, X, codes):
        for tile, codes_NP in self._coding().encoded(X):
            codes[tile] = codes_NP.cpu().numpy()

    def _decode(self, codes):
        n_known = max(n for n in self._prefix_lengths if n <= codes.shape[1])
        if not n_known:
            return np.repeat(self.mean_[None], len(codes), axis=0)
        coding = self._coding()
        X = np.empty((len(codes), self.n_features_in_), dtype=self.mean_.dtype)
        for tile, x_ND in coding.decoded(codes[:, :n_known]):
            X[tile] = coding.preparation.inverse(x_ND)
        return X

    def _option_losses(self, X):
        coding = self._coding()
        for piece in pieces(len(X), math.prod(self._code_shape)):
            for tile, codes_NP, distances_NPK in coding.distances(X[piece]):
                rows = slice(piece.start + tile.start, piece.start + tile.stop)
                yield rows, codes_NP.cpu().numpy(), distances_NPK.cpu().double().numpy()

    def _decoder(self):
        # Of a network of others, nobody knows what does not decode.
        ours = isinstance(self.network_.levels, LevelNetwork)
        arrays = {"mean_": self.mean_, "scale_": np.float64(self.scale_)}
        for name, array in network_arrays(self.network_).items():
            part, *_, last = name.split(".")
            encodes = ours and name.startswith("levels.encoder.")
            if not (encodes or (part == "codebooks" and last != "vectors")):
                arrays[f"network.{name}"] = array
        return {"autoencoder": self.autoencoder_}, arrays


def _built(spec, n_features, n_levels, code_dim, n_options):
    """Return the network that a specification builds, with codebooks."""
    n_levels, code_dim, n_options = int(n_levels), int(code_dim), int(n_options)
    levels = spec.build(n_features, n_levels, code_dim)
    if not isinstance(levels, torch.nn.Module):
        raise TypeError(
            f"{type(spec).__name__}.build must return a torch.nn.Module; got "
            f"{type(levels).__name__}."
        )
    return CodebookNetwork(levels, [Codebook(n_options, code_dim) for _ in range(n_levels)])


class _Levels(RowTask):
    """What a fit of VQVAE trains.

    Axes: N rows, D features, P positions, M = N x P, C dimensions of a code, K options.
    """

    wants_places = True
    _ways_to_a_smaller_network = ("a smaller autoencoder", "a smaller n_options")
    _n_steps = None

    def __init__(self, estimator):
        super().__init__(SquaredError())
        self.estimator = estimator
        auto = estimator.autoencoder == "auto"
        self.autoencoder = MLPAutoencoder() if auto else clone(estimator.autoencoder)

    def _is_ours(self):
        return comes_with_package(type(self.autoencoder))

    def build(self):
        estimator, D = self.estimator, self.estimator.n_features_in_
        shape = D, estimator.n_levels, estimator.code_dim
        network = _built(self.autoencoder, *shape, estimator.n_options)
        _check_network(network.levels, self.autoencoder, *shape)
        return network

    def learn(self, X, y, rows, sample_weight, rng):
        super().learn(X, y, rows, sample_weight, rng)
        K, fewest = self.estimator.n_options, min(self.network.levels.n_positions)
        n_rows = max(_FEWEST_ROWS, min(_LATENTS_PER_OPTION * K // fewest, _MOST_ROWS))
        rows = np.sort(rng.choice(rows, min(n_rows, len(rows)), replace=False))
        weight_N = sample_weight[rows] / sample_weight[rows].sum()
        for level, book in enumerate(self.network.codebooks):
            latents_NPC = self._latents(level, X, rows)
            latents_MC = latents_NPC.flatten(0, 1)
            weight_M = np.repeat(weight_N, latents_NPC.shape[1])
            n_some = min(max(_LATENTS_PER_OPTION * K, _FEWEST_LATENTS), len(latents_MC))
            some = np.sort(rng.choice(len(latents_MC), n_some, replace=False))
            how = {"max_iter": _ITERATIONS, "tol": 0, "sample_weight": weight_M[some]}
            centres_KC, _ = cluster(latents_MC.numpy()[some], K, rng, **how)
            book.start(latents_MC, torch.from_numpy(centres_KC), torch.from_numpy(weight_M).float())

    @torch.no_grad()
    def _latents(self, level, X, rows):
        """Return the latents (N, P, C) of a level, those above it having their codebooks."""
        found = []

        def quantize(this, latents_NPC):
            if this == level:
                found.append(latents_NPC)
                return None
            book = self.network.codebooks[this]
            return book(book.nearest(latents_NPC)[0])

        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            some = take_rows(X, rows[start : start + _ROWS_AT_A_TIME])
            self.network(self.preparation.forward(some), quantize, last=level)
        return torch.cat(found)

    def work(self, n_rows):
        network = self.network
        row_1D = next(network.parameters()).new_zeros(1, self.estimator.n_features_in_)
        return count_multiplications(
            network, n_rows, lambda: network.decode(network.encode(row_1D)[0])
        )

    def sums(self):
        by_gradient = self.estimator.codebook_weight is not None
        names, P = ("loss", "error", "whole"), sum(self.network.levels.n_positions)
        sums = {name: torch.zeros((), device=self.device, dtype=torch.float32) for name in names}
        shape = P, self.estimator.n_options
        sums["counts_PK"] = torch.zeros(shape, device=self.device, dtype=torch.int64)
        for level, book in enumerate(self.network.codebooks):
            # Here, where each process comes by, whether it has rows or not.
            book.vectors.requires_grad_(by_gradient)
            for name in ("counts", "sums", "squares"):
                sums[f"{name}.{level}"] = torch.zeros_like(getattr(book, name))
        return sums

    def gradients(self, batch, weight, sums):
        loss, errors_N, seen = self._loss(*batch, weight)
        if loss.requires_grad:  # others' networks may have nothing to learn
            loss.backward()
        whole_N = weight * self._knows(len(self.network.codebooks) - 1, batch[0])
        sums["loss"] += loss.detach()
        sums["error"] += whole_N @ errors_N.detach()
        sums["whole"] += whole_N.sum()
        self._count(torch.cat([codes_NP for _, codes_NP, _ in seen], 1), sums["counts_PK"])
        for level, (latents_NPC, codes_NP, weight_N) in enumerate(seen):
            weight_M = weight_N.repeat_interleave(codes_NP.shape[1])
            found = self.network.codebooks[level].statistics(
                latents_NPC.flatten(0, 1), codes_NP.flatten(), weight_M
            )
            for name, of_rows in found.items():
                sums[f"{name}.{level}"] += of_rows

    def _loss(self, places_N, target_ND, weight):
        """Return the loss, the errors of rows, and latents, codes and weights of each level."""
        estimator, seen, apart = self.estimator, [], []

        def quantize(level, latents_NPC):
            book = self.network.codebooks[level]
            codes_NP, _ = book.nearest(latents_NPC.detach())
            vectors_NPC = book(codes_NP)
            # Latents of which the level above is unknown are none that encoding would make.
            weight_N = weight * self._knows(max(level - 1, 0), places_N)
            seen.append((latents_NPC.detach(), codes_NP, weight_N))
            left_N = (latents_NPC - vectors_NPC.detach()).square().mean((1, 2))
            apart.append((weight_N, estimator.commitment_weight * left_N))
            if estimator.codebook_weight is not None:
                left_N = (latents_NPC.detach() - vectors_NPC).square().mean((1, 2))
                apart.append((weight_N, estimator.codebook_weight * left_N))
            known_N11 = self._knows(level, places_N)[:, None, None]
            return straight_through(latents_NPC, vectors_NPC) * known_N11

        with low_precision(self.device, self.bf16):
            x_ND = self.network(target_ND, quantize).float()
        errors_N = (x_ND - target_ND).square().mean(1)
        loss = weight @ errors_N + sum(weight_N @ left_N for weight_N, left_N in apart)
        return loss, errors_N, seen

    def _knows(self, level, places_N):
        """Return 1 for rows of which the decoder knows a level, 0 for the last of a batch."""
        n_cuts = max(len(self.network.codebooks) - 1, 1)
        return (places_N < 1 - _SHARE_CUT * level / n_cuts).float()

    def after_step(self, sums):
        books = self.network.codebooks
        if self._n_steps is None:  # from then on counted here: asking a GPU would take time
            self._n_steps = int(books[0].n_steps)
        self._n_steps += 1
        n_rows = sums["counts_PK"][0].sum()
        for level, (book, P) in enumerate(zip(books, self.network.levels.n_positions, strict=True)):
            seen = {name: sums[f"{name}.{level}"] for name in ("counts", "sums", "squares")}
            book.follow(seen, P * n_rows)
            if self._n_steps % _LOOK_EVERY == 0:
                book.revive(self.optimizer)

    def record(self, sums, n_steps):
        counts_PK = sums["counts_PK"].cpu().numpy()
        whole = max(float(sums["whole"]), np.finfo(np.float32).tiny)
        return {
            "loss": float(sums["loss"]) / n_steps * self.unit,
            "error": float(sums["error"]) / whole * self.unit,
            "entropy": entropy_bits(counts_PK / counts_PK[0].sum()),
        }

    def errors(self, X, y, rows):
        judged = self._coding().judged(X, rows)
        return np.concatenate([errors_N.cpu().numpy() for _, errors_N, _ in judged])

    def finish(self, X, y, rows, processes):
        shape = sum(self.network.levels.n_positions), self.estimator.n_options
        judged = self._coding().judged(X, processes.share(rows))
        coded = ((codes_NP, errors_N) for _, errors_N, codes_NP in judged)
        return self._learn_usage(coded, shape, len(rows), processes)

    def _coding(self):
        estimator = self.estimator
        options = {"n_jobs": estimator.n_jobs, "bf16": estimator.precision == "bf16"}
        return LevelCoding(self.network, self.preparation, **options)

    def learned(self):
        return {
            **super().learned(),
            "n_levels_": int(self.estimator.n_levels),
            "code_dim_": int(self.estimator.code_dim),
            "autoencoder_": self.autoencoder,
        }

    def _size(self):
        estimator = self.estimator
        return f"n_options={estimator.n_options} and {self.autoencoder}"


@torch.no_grad()
def _check_network(levels, spec, n_features, n_levels, code_dim):
    """Try a network out on a row of zeros; refuse one that is not what must be built."""
    n_positions, of_whom = getattr(levels, "n_positions", None), f"built by {type(spec).__name__}"
    told = n_positions if isinstance(n_positions, list) else []
    if len(told) != n_levels or not all(isinstance(n, Integral) and n > 0 for n in told):
        raise ValueError(
            f"{type(levels).__name__}, {of_whom}, must have n_positions, a list of "
            f"n_levels={n_levels} positive integers; got {n_positions}."
        )
    if sum(n_positions) > _MOST_POSITIONS:
        raise ValueError(
            f"n_positions of all levels must be at most {_MOST_POSITIONS} together; got "
            f"{sum(n_positions)}. Let a latent stand for more of a row."
        )
    row_1D, said, found = torch.zeros(1, n_features, dtype=torch.float32), None, []
    for level, seen in zip(range(n_levels), levels.eval().seen(row_1D), strict=True):
        found.append(tuple(levels.latents(level, seen, said).shape))
        said = levels.said(level, row_1D.new_zeros(1, n_positions[level], code_dim), said)
    found.append(tuple(levels.rows(said).shape))
    wanted = [*((1, n, code_dim) for n in n_positions), (1, n_features)]
    if found != wanted:
        raise ValueError(
            f"{type(levels).__name__}, {of_whom}, must make of a row latents of each level, and "
            f"of vectors in their place a row, of shapes {wanted}; got {found}."
        )
