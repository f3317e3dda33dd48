"""VQ-DRAW: sequential discrete auto-encoding without an encoder."""

import time
import warnings
from contextlib import contextmanager
from copy import deepcopy
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from tqdm import tqdm

from ._base import CodeTransformer
from ._codes import codes_dtype, option_frequencies
from ._device import resolve_device, trains_in_bf16
from ._residual_kmeans import residual_kmeans
from ._sklearn import HasMethods, Interval, StrOptions, check_sample_weight, fit_context
from .nn import sequential
from .nn.losses import SquaredError
from .refiners import MLPRefiner
from .training.batches import (
    Preparation,
    endless_order,
    mean_and_scale,
    one_pass,
    prepared_batches,
)
from .training.loop import make_optimizer, train
from .training.schedule import constant, warm_up_and_cosine
from .training.state import (
    load_network_arrays,
    load_optimizer_arrays,
    network_arrays,
    optimizer_arrays,
)

# Evaluation points of a fit: each adds a record to `loss_curve_`.
_N_RECORDS = 50
# Rows that start the codebooks, and k-means iterations on them.
_TABLE_ROWS, _TABLE_ITERATIONS = 10_000, 10
_KMEANS_ROWS, _KMEANS_ITERATIONS = 15_000, 25
# Rows of which `code_usage_` is counted.
_USAGE_ROWS = 2048


class VQDRAW(CodeTransformer):
    """Auto-encoder that writes each row as a short sequence of integers.

    At each of `n_stages` a refinement network looks at the present reconstruction and proposes
    `n_options` variations of it; the one nearest to the row is kept and its index written down.
    There is no encoder: choosing is encoding, and following the choices is decoding. A row takes
    ``n_stages * log2(n_options)`` bits, and any prefix of its code decodes to a coarser
    reconstruction.

    Parameters
    ----------
    n_stages : int, default=8
        Number of integers in a code. Each refines the ones before; cost grows in proportion.
    n_options : int, default=64
        Number of proposals to choose from at each stage, at least 2. 16 to 1024; powers of two
        waste no bits.
    refiner : {"auto"} or Refiner, default="auto"
        Specification of the refinement network. "auto" is
        :class:`~skvqdraw.refiners.MLPRefiner` with its defaults. For rows that are images,
        :class:`~skvqdraw.refiners.ConvRefiner` is far better.
    init : {"random", "kmeans"}, default="random"
        Where training starts. "random": the first stage from a few k-means iterations, the rest
        random; ends with a lower error and better balanced codes. "kmeans": static codebooks from
        residual k-means, the network silent; useful before a very short training.
    aux_weight : float, default=0.01
        Weight of the loss of the options that were not chosen, which keeps them near the data and
        so in use. 0 to 0.1.
    gradient_decay : float, default=0.0
        Share of the gradient cut between network evaluations, in [0, 1]. At 1, memory does not
        grow with `n_stages`, for a slightly higher error.
    encoding : {"onehot", "onehot-dense", "ordinal"}, default="onehot"
        What `transform` returns: a sparse matrix, the same as an ndarray, or the integers.
    max_steps : int or None, default=1000
        Optimizer steps of a `fit`; None for no limit but `max_time`. 0 leaves the network as it
        starts.
    max_time : float or None, default=None
        Seconds of a `fit`, the start included; whichever of `max_steps` and `max_time` ends first
        counts. A fit that ends by the clock is not reproducible.
    batch_size : int, default=64
        Rows per optimizer step.
    learning_rate : float, default=2e-3
        Highest learning rate of AdamW, after a warm-up over 5 % of the budget; it then falls along
        a cosine. 5e-4 to 5e-3.
    weight_decay : float, default=0.01
        Weight decay of AdamW.
    early_stopping : bool, default=False
        Whether to set rows aside, stop when their error no longer falls, and keep the best
        network seen.
    validation_fraction : float, default=0.1
        Share of rows set aside, in (0, 1). Only used with `early_stopping`.
    n_iter_no_change : int, default=5
        Evaluation points (of about 50 in a fit) without improvement after which to stop. Only
        used with `early_stopping`.
    tol : float, default=1e-4
        The least improvement that counts, as a share of the variance of the training data. Only
        used with `early_stopping`.
    warm_start : bool, default=False
        Whether `fit` goes on from the present network. Centre and scale stay those of the first
        fit; another `n_stages`, `n_options` or `refiner` is refused.
    device : str, default="auto"
        Where to compute, as PyTorch names it; "auto" is CUDA, then MPS, then the CPU. Resolved
        whenever the estimator computes.
    precision : {"auto", "float32", "bf16"}, default="auto"
        "auto" trains in bfloat16 where the hardware multiplies it natively and encodes and decodes
        in float32; "bf16" uses it everywhere, so that codes are faster and depend on the machine.
    random_state : int, RandomState instance or None, default=None
        Seed of the start and of the order of rows. An int makes a fit that ends by `max_steps`
        reproducible to the bit on one machine.
    verbose : int, default=0
        1 for a progress bar with the error and the bits in use, 2 for a line per evaluation point.

    Attributes
    ----------
    network_ : torch.nn.Module
        The trained refinement network.
    refiner_ : Refiner
        The specification it was built from.
    mean_ : ndarray of shape (n_features,)
        Mean of the training data.
    scale_ : float
        Root of the mean variance of the training data: the network's unit.
    code_usage_ : ndarray of shape (n_stages, n_options)
        Share of training rows that use each option, of up to 2048 rows.
    loss_curve_ : list of dict
        One record per evaluation point: `step`, `seconds`, `loss` (the training loss), `error`
        (mean squared error after the last stage, on training batches), `entropy` (bits of the
        codes in use, the sum over stages) and, with `early_stopping`, `validation_error`. Losses
        and errors are in the squared units of X.
    n_steps_ : int
        Number of optimizer steps made.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen in `fit`, where X has them.

    References
    ----------
    Alex Nichol, "VQ-DRAW: A Sequential Discrete VAE", arXiv:2003.01599, 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvqdraw import VQDRAW
    >>> X = load_digits().data
    >>> vq = VQDRAW(n_stages=4, n_options=16, max_steps=50, random_state=0).fit(X)
    >>> codes = vq.encode(X)
    >>> codes.shape, codes.dtype
    ((1797, 4), dtype('uint8'))
    >>> vq.transform(X).shape
    (1797, 64)
    >>> vq.decode(codes[:, :2]).shape
    (1797, 64)
    """

    _parameter_constraints: dict = {
        **CodeTransformer._parameter_constraints,
        "n_stages": [Interval(Integral, 1, None, closed="left")],
        "n_options": [Interval(Integral, 2, None, closed="left")],
        "refiner": [StrOptions({"auto"}), HasMethods(["build", "get_params"])],
        "init": [StrOptions({"random", "kmeans"})],
        "aux_weight": [Interval(Real, 0, None, closed="left")],
        "gradient_decay": [Interval(Real, 0, 1, closed="both")],
        "max_steps": [Interval(Integral, 0, None, closed="left"), None],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "device": [str],
        "precision": [StrOptions({"auto", "float32", "bf16"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_stages=8,
        n_options=64,
        *,
        refiner="auto",
        init="random",
        aux_weight=0.01,
        gradient_decay=0.0,
        encoding="onehot",
        max_steps=1000,
        max_time=None,
        batch_size=64,
        learning_rate=2e-3,
        weight_decay=0.01,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        warm_start=False,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_stages = n_stages
        self.n_options = n_options
        self.refiner = refiner
        self.init = init
        self.aux_weight = aux_weight
        self.gradient_decay = gradient_decay
        self.encoding = encoding
        self.max_steps = max_steps
        self.max_time = max_time
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None):
        """Train the refinement network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, floats or integers. Kept as they are and cast batch by batch: a memory
            map is never read whole into memory.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss, in the mean and in the scale.

        Returns
        -------
        self : VQDRAW
            The fitted estimator. If a fit fails, it is as it was before.

        Raises
        ------
        FloatingPointError
            If the loss becomes infinite or NaN.
        """
        started = time.perf_counter()
        if self.max_steps is None and self.max_time is None:
            raise ValueError("max_steps and max_time must not both be None; set one of them.")
        with _unchanged_on_failure(self):
            going_on = self.warm_start and hasattr(self, "network_")
            X = self._validate_X(X, reset=not going_on)
            sample_weight = check_sample_weight(sample_weight, X, ensure_non_negative=True)
            rng = check_random_state(self.random_state)
            rows, validation_rows = self._split(sample_weight, rng)
            fit = _Fit(self, rng, keep=going_on)
            if not going_on:
                fit.start(X, rows, sample_weight, rng)
            fit.make_optimizer()
            fit.train(
                X,
                endless_order(rows, self.batch_size, fit.order_rng),
                _mean_one(sample_weight, rows),
                validation_rows=validation_rows,
                schedule=warm_up_and_cosine,
                max_steps=self.max_steps,
                max_time=self.max_time,
                n_records=_N_RECORDS,
                started=started,
            )
            self._store(fit, X, rows)
            vars(self).pop("_partial_fit_state", None)
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Go on training with one pass over the given rows, at a constant learning rate.

        The first call starts the network from its rows: let them be many and typical. Centre and
        scale are theirs for ever; the optimizer's state is kept from call to call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss.

        Returns
        -------
        self : VQDRAW
            The fitted estimator.

        Raises
        ------
        FloatingPointError
            If the loss becomes infinite or NaN.
        """
        started = time.perf_counter()
        with _unchanged_on_failure(self):
            going_on = hasattr(self, "network_")
            X = self._validate_X(X, reset=not going_on)
            sample_weight = check_sample_weight(sample_weight, X, ensure_non_negative=True)
            rng = check_random_state(self.random_state)
            rows = np.flatnonzero(sample_weight > 0)
            fit = _Fit(self, rng, keep=going_on)
            if not going_on:
                fit.start(X, rows, sample_weight, rng)
            fit.make_optimizer()
            if hasattr(self, "_partial_fit_state"):
                fit.order_rng = deepcopy(self._partial_fit_state["order_rng"])
                load_optimizer_arrays(fit.optimizer, self._partial_fit_state["optimizer"])
            order = one_pass(rows, self.batch_size, fit.order_rng)
            fit.train(
                X,
                iter(order),
                _mean_one(sample_weight, rows),
                schedule=constant,
                max_steps=len(order),
                max_time=None,
                n_records=1,
                started=started,
            )
            self._store(fit, X, rows)
            self._partial_fit_state = {
                "order_rng": fit.order_rng,
                "optimizer": optimizer_arrays(fit.optimizer),
            }
        return self

    def _split(self, sample_weight, rng):
        """Return the rows to train on and, for early stopping, those to validate on."""
        rows = np.flatnonzero(sample_weight > 0)
        if not self.early_stopping:
            return rows, None
        n_validation = int(np.ceil(self.validation_fraction * len(rows)))
        if n_validation >= len(rows):
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of n_samples={len(rows)} leaves "
                "no row to train on; give more rows or set early_stopping=False."
            )
        shuffled = rng.permutation(rows)
        return np.sort(shuffled[n_validation:]), np.sort(shuffled[:n_validation])

    def _store(self, fit, X, rows):
        """Assign everything that a fit learns."""
        counted = rows[np.linspace(0, len(rows) - 1, min(_USAGE_ROWS, len(rows))).astype(int)]
        codes = _encode_rows(
            fit.network, fit.preparation, X, self.n_stages, self.n_options, rows=counted
        )
        self.code_usage_ = option_frequencies(codes, self.n_options)
        self.mean_ = fit.preparation.mean_D
        self.scale_ = fit.preparation.scale
        self.refiner_ = fit.refiner
        self.network_ = fit.network
        self.loss_curve_ = fit.loss_curve
        self.n_steps_ = fit.n_steps

    def _prepared(self):
        """Return the network on its device and what leads to and from it."""
        network = self.network_.to(resolve_device(self.device))
        feature_order = getattr(network, "feature_order", None)
        return network, Preparation(self.mean_, self.scale_, feature_order)

    def _encode(self, X):
        network, preparation = self._prepared()
        bf16 = self.precision == "bf16"
        return _encode_rows(network, preparation, X, *self._code_shape, bf16=bf16)

    def _decode(self, codes):
        network, preparation = self._prepared()
        bf16 = self.precision == "bf16"
        device = next(network.parameters()).device
        X = np.empty((len(codes), self.n_features_in_), dtype=self.mean_.dtype)
        with torch.inference_mode():
            for start in range(0, len(codes), sequential.TILE_ROWS):
                tile = slice(start, start + sequential.TILE_ROWS)
                codes_NS = torch.from_numpy(codes[tile].astype(np.int64)).to(device)
                x_ND = sequential.decode(network, codes_NS, self.n_features_in_, bf16=bf16)
                X[tile] = preparation.inverse(x_ND)
        return X

    def __getstate__(self):
        state = super().__getstate__().copy()
        if "network_" in state:
            state["network_"] = network_arrays(state["network_"])
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "network_" in state:
            arrays = self.network_
            self.network_ = build_network(
                self.refiner_, self.n_features_in_, *self._code_shape, seed=0
            )
            load_network_arrays(self.network_, arrays)


class _Fit:
    """What a fit works on, apart from the estimator until all of it is done."""

    def __init__(self, estimator, rng, *, keep):
        self.estimator = estimator
        self.device = resolve_device(estimator.device)
        self.bf16 = estimator.precision == "bf16" or (
            estimator.precision == "auto" and trains_in_bf16(self.device)
        )
        self.order_rng = np.random.default_rng(rng.randint(np.iinfo(np.int32).max))
        self.refiner = MLPRefiner() if estimator.refiner == "auto" else clone(estimator.refiner)
        self.loss_curve, self.n_steps = [], 0
        if keep:
            _check_same_model(estimator, self.refiner)
            network, self.preparation = estimator._prepared()
            self.network = deepcopy(network)
            self.loss_curve = list(estimator.loss_curve_)
            self.n_steps = estimator.n_steps_

    def start(self, X, rows, sample_weight, rng):
        """Build the network and start its codebooks from the rows."""
        estimator = self.estimator
        D, S, K = X.shape[1], estimator.n_stages, estimator.n_options
        self.network = build_network(
            self.refiner, D, S, K, seed=rng.randint(np.iinfo(np.int32).max)
        )
        only_rows = np.zeros_like(sample_weight)
        only_rows[rows] = sample_weight[rows]
        self.preparation = Preparation(
            *mean_and_scale(X, only_rows), getattr(self.network, "feature_order", None)
        )
        if estimator.init == "kmeans" and not hasattr(self.network, "start_from_codebooks"):
            raise ValueError(
                f"init='kmeans' needs a network with a method start_from_codebooks; "
                f"{type(self.network).__name__}, built by {self.refiner}, has none. Use "
                "init='random'."
            )
        if hasattr(self.network, "start_from_codebooks"):
            n_stages, n_rows, max_iter = (
                (S, _KMEANS_ROWS, _KMEANS_ITERATIONS)
                if estimator.init == "kmeans"
                else (1, _TABLE_ROWS, _TABLE_ITERATIONS)
            )
            subset = rng.choice(rows, min(n_rows, len(rows)), replace=False)
            codebooks = residual_kmeans(
                self.preparation.forward(X[subset]).numpy(),
                n_stages,
                K,
                rng,
                max_iter=max_iter,
                sample_weight=sample_weight[subset],
            )
            self.network.start_from_codebooks(codebooks)
        self.network.to(self.device)

    def make_optimizer(self):
        """Make a fresh optimizer for the network."""
        self.optimizer = make_optimizer(
            self.network, self.estimator.learning_rate, self.estimator.weight_decay
        )

    def train(self, X, order, sample_weight, *, validation_rows=None, **budget):
        """Train until the budget ends, early stopping says so or the user interrupts."""
        estimator = self.estimator
        batches = prepared_batches(X, order, sample_weight, self.preparation, self.device)
        records = train(
            self.network,
            self.optimizer,
            batches,
            n_stages=estimator.n_stages,
            n_options=estimator.n_options,
            learning_rate=estimator.learning_rate,
            aux_weight=estimator.aux_weight,
            gradient_decay=estimator.gradient_decay,
            bf16=self.bf16,
            **budget,
        )
        watch = _EarlyStopping(estimator.tol * self.preparation.scale**2, self.network)
        try:
            with _Progress(estimator.verbose, self.device, budget["max_steps"]) as progress:
                for record in records:
                    record = self._in_units_of_X(record)
                    if validation_rows is not None:
                        record["validation_error"] = self._error(X, validation_rows)
                    self.loss_curve.append(record)
                    progress.show(record)
                    if validation_rows is not None and (
                        watch.count(record["validation_error"]) >= estimator.n_iter_no_change
                    ):
                        break
        except KeyboardInterrupt:
            warnings.warn(
                "Training interrupted by user: the model trained so far is kept.", stacklevel=3
            )
        watch.restore()
        if self.loss_curve:
            self.n_steps = self.loss_curve[-1]["step"]

    def _in_units_of_X(self, record):
        """Return the record with losses in X's squared units and steps counted from the start."""
        if not np.isfinite(record["loss"]):
            raise FloatingPointError(
                f"the loss became {record['loss']} by step {record['step']}. Lower learning_rate "
                f"(now {self.estimator.learning_rate}), or set precision='float32'."
            )
        unit = self.preparation.scale**2
        return {
            **record,
            "step": self.n_steps + record["step"],
            "loss": record["loss"] * unit,
            "error": record["error"] * unit,
        }

    def _error(self, X, rows):
        """Mean squared error of the reconstructions of rows, in X's squared units."""
        total = 0.0
        with torch.inference_mode():
            for start in range(0, len(rows), sequential.TILE_ROWS):
                tile = rows[start : start + sequential.TILE_ROWS]
                target_ND = self.preparation.forward(X[tile]).to(self.device)
                codes_NS = sequential.encode(
                    self.network, SquaredError(), target_ND, self.estimator.n_stages
                )
                x_ND = sequential.decode(self.network, codes_NS, X.shape[1])
                total += float((x_ND - target_ND).square().mean(1).sum())
        return total / len(rows) * self.preparation.scale**2


class _EarlyStopping:
    """Counts evaluation points without improvement and keeps the best network seen."""

    def __init__(self, least_improvement, network):
        self.least_improvement = least_improvement
        self.network = network
        self.best_error, self.best_arrays, self.reference, self.n_bad = np.inf, None, np.inf, 0

    def count(self, error):
        """Return how many points in a row have not improved by enough, this one included."""
        if error < self.best_error:
            self.best_error, self.best_arrays = error, network_arrays(self.network)
        if error < self.reference - self.least_improvement:
            self.reference, self.n_bad = error, 0
        else:
            self.n_bad += 1
        return self.n_bad

    def restore(self):
        """Put the best network back, if there was one."""
        if self.best_arrays is not None:
            load_network_arrays(self.network, self.best_arrays)


class _Progress:
    """A progress bar (verbose=1) or a line per record (verbose=2)."""

    def __init__(self, verbose, device, max_steps):
        self.bar = tqdm(
            total=max_steps, desc=f"VQDRAW on {device}", unit="step", disable=verbose != 1
        )
        self.prints_lines = verbose > 1
        if self.prints_lines:
            self.bar.write(f"VQDRAW on {device}")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.bar.close()

    def show(self, record):
        if self.prints_lines:
            self.bar.write(
                ", ".join(
                    f"{name} {value:,.6g}" if isinstance(value, float) else f"{name} {value:,}"
                    for name, value in record.items()
                )
            )
        self.bar.set_postfix(
            error=f"{record['error']:.4g}", bits=f"{record['entropy']:.1f}", refresh=False
        )
        self.bar.update(record["step"] - self.bar.n)


@contextmanager
def _unchanged_on_failure(estimator):
    """Give the estimator its old attributes back if the block raises."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def build_network(refiner, n_features, n_stages, n_options, *, seed):
    """Build a network without reading or seeding the global random stream, and check it."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would seed every GPU as well, which fork_rng does not undo.
        torch.default_generator.manual_seed(seed)
        network = refiner.build(n_features, n_stages, n_options)
    if not isinstance(network, torch.nn.Module):
        raise TypeError(
            f"{type(refiner).__name__}.build must return a torch.nn.Module; got "
            f"{type(network).__name__}."
        )
    with torch.inference_mode():
        a_round = network(torch.zeros(1, n_features), 0)
    for name in ("n_stages", "losses", "choose"):
        if not hasattr(a_round, name):
            raise TypeError(
                f"{type(network).__name__}, built by {type(refiner).__name__}, must return a round "
                f"with {name}, such as skvqdraw.nn.DenseRound; got {type(a_round).__name__}."
            )
    return network


def _check_same_model(estimator, refiner):
    """Refuse to go on training with other stages, options or refiner."""
    wanted = {
        "n_stages": estimator.n_stages,
        "n_options": estimator.n_options,
        "refiner": (type(refiner), refiner.get_params()),
    }
    n_stages, n_options = estimator._code_shape
    fitted = {
        "n_stages": n_stages,
        "n_options": n_options,
        "refiner": (type(estimator.refiner_), estimator.refiner_.get_params()),
    }
    for name, value in wanted.items():
        if value != fitted[name]:
            raise ValueError(
                f"{name} cannot change while training goes on; fitted with "
                f"{getattr(estimator, f'{name}_', fitted[name])}, got {getattr(estimator, name)}. "
                "Set it back, or start again with warm_start=False and fit."
            )


def _mean_one(sample_weight, rows):
    """Return the weights divided by their mean over the rows."""
    return sample_weight / sample_weight[rows].mean()


def _encode_rows(network, preparation, X, n_stages, n_options, *, rows=None, bf16=False):
    """Return the codes of X, or of some of its rows, one tile of rows in memory at a time."""
    n_rows = len(X) if rows is None else len(rows)
    device = next(network.parameters()).device
    codes = np.empty((n_rows, n_stages), dtype=codes_dtype(n_options))
    with torch.inference_mode():
        for start in range(0, n_rows, sequential.TILE_ROWS):
            tile = slice(start, start + sequential.TILE_ROWS)
            target_ND = preparation.forward(X[tile if rows is None else rows[tile]]).to(device)
            codes_NS = sequential.encode(network, SquaredError(), target_ND, n_stages, bf16=bf16)
            codes[tile] = codes_NS.cpu().numpy()
    return codes
