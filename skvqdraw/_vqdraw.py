"""VQ-DRAW: sequential discrete auto-encoding without an encoder."""

import os
import time
from copy import deepcopy
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import check_random_state

from . import losses
from ._base import CodeTransformer, unchanged_on_failure
from ._checkpoint import checkpoint_of, identity_of, identity_of_partial_fit
from ._coding import coded_tiles, decoded_tiles, propose_in_tiles
from ._device import resolve_device, undisturbed
from ._fitting import Fit, build_network, draw_seed, refuse_differences
from ._fork import Lock
from ._rows import pieces, unit_weights
from ._sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    check_sample_weight,
    fit_context,
    validate_params,
)
from .nn.preparation import Preparation
from .training.batches import endless_order, one_pass
from .training.distributed import find_processes
from .training.schedule import constant, warm_up_and_cosine
from .training.state import (
    load_network_arrays,
    load_optimizer_arrays,
    network_arrays,
    optimizer_arrays,
)

# Evaluation points of a fit: each adds a record to `loss_curve_`.
_N_RECORDS = 50
# Rows on which a model is judged between steps and at the end: more would cost more than they tell.
_JUDGED_ROWS = 2048
# Held while a network moves to another device.
_moving = Lock()


class VQDRAW(CodeTransformer):
    """Auto-encoder that writes each row as a short sequence of integers.

    At each of `n_stages` a refinement network looks at the present reconstruction and proposes
    `n_options` variations of it; one that leads nearest to the row is kept and its index written
    down. There is no encoder: choosing is encoding, following the choices is decoding. A row takes
    ``n_stages * log2(n_options)`` bits, and any prefix of its code decodes to a coarser
    reconstruction.

    Parameters
    ----------
    n_stages : int, default=8
        Number of integers in a code. Each refines the ones before; cost grows in proportion.
    n_options : int, default=64
        Number of proposals to choose from at each stage, at least 2. 16 to 1024; powers of two
        waste no bits. Up to 256, all rows share the first evaluation of the network in coding.
    loss : {"squared_error", "log_loss"} or Loss, default="squared_error"
        What to lower. "log_loss" is for rows of 0 and 1, or of chances between them: what is coded
        are log odds, and reconstructions are chances. An object is a loss of your own, see
        :class:`~skvqdraw.losses.Loss`. All but squared error write the candidates out, which takes
        several times as long.
    refiner : {"auto"} or Refiner, default="auto"
        Specification of the refinement network. "auto" is
        :class:`~skvqdraw.refiners.MLPRefiner` with its defaults. For rows that are images,
        :class:`~skvqdraw.refiners.ConvRefiner` is the better choice.
    beam_size : int, default=1
        Reconstructions that `encode` keeps from one network evaluation to the next, each to be
        refined, before it settles on the best: lower errors for proportionally more time. 1 to
        32; it may be set after `fit`, which does not use it.
    round_beam_size : int, default=16
        Hypotheses that `fit` and `encode` keep from stage to stage within the stages that one
        network evaluation serves, for each of `beam_size`; they cost little. With both at 1 the
        nearest option is chosen at each stage, and each prefix of a code is as good as can be;
        otherwise the prefixes that end within a network evaluation are a little worse for the
        sake of its end.
    aux_weight : float, default=0.01
        Weight of the loss of the options that were not chosen, which keeps them near the data and
        so in use. 0 to 0.1.
    gradient_decay : float, default=0.0
        Share of the gradient cut between network evaluations, in [0, 1]. At 1, memory does not
        grow with `n_stages`, for a slightly higher error.
    encoding : {"onehot", "onehot-dense", "ordinal"}, default="onehot"
        What `transform` returns: a sparse matrix, the same as an ndarray, or the integers.
    max_steps : int or None, default=1000
        Optimizer steps of a `fit`, 500 to 50,000; None for no limit but `max_time`. 0 leaves the
        network as it starts.
    max_time : float or None, default=None
        Seconds of a `fit`, the start included; whichever of `max_steps` and `max_time` ends first
        counts. A fit that ends by the clock is not reproducible.
    batch_size : int, default=128
        Rows per optimizer step, of all processes together where several make one fit. With
        `n_options` or more, the first evaluation of the network is shared by all rows, and the
        choice at the first stage looks ahead as in `encode`.
    gradient_accumulation : int, default=1
        Parts in which a batch is computed, one after the other, so that it takes less memory. Let
        them have `n_options` rows or more, see `batch_size`.
    gradient_checkpointing : bool, default=False
        Whether to evaluate the network twice in training, so that memory grows as the square
        root of `n_stages`: for many stages of large images.
    learning_rate : float, default=5e-3
        Highest learning rate of AdamW, after a warm-up over 5 % of the budget; it then falls along
        a cosine. 1e-3 to 1e-2: higher for short fits and for images.
        `partial_fit` uses it as it is: lower it to go on after a `fit`.
    weight_decay : float, default=0.01
        Weight decay of AdamW.
    early_stopping : bool, default=False
        Whether to set rows aside, stop when their error no longer falls, and keep the best
        network seen.
    validation_fraction : float, default=0.1
        Share of rows set aside, in (0, 1), at most 2048 rows. Only used with `early_stopping`.
    n_iter_no_change : int, default=5
        Evaluation points (of about 50 in a fit) without improvement after which to stop. Only
        used with `early_stopping`.
    tol : float, default=1e-4
        The least improvement that counts, as a share of the variance of the training data, or in
        nats. Only used with `early_stopping`.
    warm_start : bool, default=False
        Whether `fit` goes on from the present network. Centre and scale stay those of the first
        fit; another `n_stages`, `n_options` or `refiner` is refused.
    checkpoint : str, path-like or None, default=None
        File in which `fit` keeps its state, so that after a crash or Ctrl-C the same call of `fit`
        goes on from there. On the CPU, with a budget of steps, the result is then equal to the
        bit to that of a fit that was never ended. A fit that ends by itself removes the file. One
        of other parameters, data or versions is refused. `partial_fit` does not use it.
    checkpoint_every : float, default=30.0
        Seconds from one writing of `checkpoint` to the next, and so the most that is lost. 10 to
        600; with a hundred times what one writing takes, the fit is slower by 1 %.
    device : str or torch.device, default="auto"
        Where to compute, as PyTorch names it; "auto" is CUDA, then MPS, then the CPU. Resolved
        whenever the estimator computes. Of several GPUs, a process that torchrun started takes
        the one of its number on the machine.
    precision : {"auto", "float32", "bf16"}, default="auto"
        "auto" trains in bfloat16 where the hardware multiplies it natively and encodes and decodes
        in float32; "bf16" uses it everywhere, so that codes are faster and depend on the machine.
    random_state : int, RandomState instance or None, default=None
        Seed of the start and of the order of rows. An int makes a fit that ends by `max_steps`
        reproducible to the bit on the CPU of one machine.
    verbose : int, default=0
        1 for a progress bar with the error and the bits in use, 2 for a line per evaluation point.

    Attributes
    ----------
    network_ : torch.nn.Module
        The trained refinement network.
    refiner_ : Refiner
        The specification it was built from.
    loss_ : Loss
        The loss that the network was trained with.
    mean_ : ndarray of shape (n_features,)
        Mean of the training data. With "log_loss" half a row of 1 and half a row of 0 are counted
        in, so that its log odds are finite.
    scale_ : float
        Root of the mean variance of the training data: the network's unit. Of constant data, a
        ten-millionth of the largest number, so that they are reconstructed as exactly as float32
        allows (in `partial_fit`, after which others may come, 1). With "log_loss" it is 1.
    code_usage_ : ndarray of shape (n_stages, n_options)
        Share of training rows that use each option, of up to 2048 rows.
    loss_curve_ : list of dict
        One record per evaluation point: `step`, `seconds`, `loss` (the training loss), `error`
        (mean loss after the last stage, on training batches), `entropy` (bits of the
        codes in use, the sum over stages) and, with `early_stopping`, `validation_error`. Losses
        and errors are in the squared units of X, or in nats.
    n_steps_ : int
        Number of optimizer steps made.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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
        "loss": [StrOptions(set(losses.NAMES)), HasMethods(["grid", "get_params"])],
        "refiner": [StrOptions({"auto"}), HasMethods(["build", "get_params"])],
        "beam_size": [Interval(Integral, 1, None, closed="left")],
        "round_beam_size": [Interval(Integral, 1, None, closed="left")],
        "aux_weight": [Interval(Real, 0, None, closed="left")],
        "gradient_decay": [Interval(Real, 0, 1, closed="both")],
        "max_steps": [Interval(Integral, 0, None, closed="left"), None],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "gradient_accumulation": [Interval(Integral, 1, None, closed="left")],
        "gradient_checkpointing": ["boolean"],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "checkpoint": [str, os.PathLike, None],
        "checkpoint_every": [Interval(Real, 0, None, closed="left")],
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "float32", "bf16"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_stages=8,
        n_options=64,
        *,
        loss="squared_error",
        refiner="auto",
        beam_size=1,
        round_beam_size=16,
        aux_weight=0.01,
        gradient_decay=0.0,
        encoding="onehot",
        max_steps=1000,
        max_time=None,
        batch_size=128,
        gradient_accumulation=1,
        gradient_checkpointing=False,
        learning_rate=5e-3,
        weight_decay=0.01,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        warm_start=False,
        checkpoint=None,
        checkpoint_every=30.0,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_stages = n_stages
        self.n_options = n_options
        self.loss = loss
        self.refiner = refiner
        self.beam_size = beam_size
        self.round_beam_size = round_beam_size
        self.aux_weight = aux_weight
        self.gradient_decay = gradient_decay
        self.encoding = encoding
        self.max_steps = max_steps
        self.max_time = max_time
        self.batch_size = batch_size
        self.gradient_accumulation = gradient_accumulation
        self.gradient_checkpointing = gradient_checkpointing
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
        MemoryError
            If memory does not suffice for a step; the message says what takes less.
        ValueError
            If `checkpoint` cannot be written, is in use by another fit, is of another fit or is
            damaged.
        """
        started = time.perf_counter()
        if self.max_steps is None and self.max_time is None:
            raise ValueError("max_steps and max_time must not both be None; set one of them.")
        with unchanged_on_failure(self), undisturbed(resolve_device(self.device)):
            going_on = self.warm_start and hasattr(self, "network_")
            X, sample_weight, rng, processes = self._validate(X, sample_weight, going_on=going_on)
            opened = checkpoint_of(self, X, sample_weight, processes, going_on=going_on)
            with opened as (checkpoint, snapshot):
                if snapshot is None:
                    rows, validation_rows = self._split(sample_weight, rng)
                else:
                    rows, validation_rows = snapshot.split(sample_weight)
                fit = Fit(
                    self,
                    X,
                    rows,
                    sample_weight,
                    rng,
                    going_on=going_on,
                    processes=processes,
                    started=started,
                    validation_rows=validation_rows,
                    snapshot=snapshot,
                )
                finished = fit.train(
                    endless_order(rows, self.batch_size, fit.order_rng, n_taken=fit.n_steps_made),
                    checkpoint=checkpoint,
                    schedule=warm_up_and_cosine,
                    max_steps=self.max_steps,
                    max_time=self.max_time,
                    n_records=_N_RECORDS,
                )
                self._store(fit, rows)
                vars(self).pop("_partial_fit_state", None)
                if checkpoint and finished:
                    checkpoint.remove()
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
        MemoryError
            If memory does not suffice for a step; the message says what takes less.
        """
        started = time.perf_counter()
        with unchanged_on_failure(self), undisturbed(resolve_device(self.device)):
            going_on = hasattr(self, "network_")
            X, sample_weight, rng, processes = self._validate(X, sample_weight, going_on=going_on)
            rows = np.flatnonzero(sample_weight)
            fit = Fit(
                self,
                X,
                rows,
                sample_weight,
                rng,
                going_on=going_on,
                processes=processes,
                started=started,
                one_pass=True,
            )
            if hasattr(self, "_partial_fit_state"):
                fit.order_rng = deepcopy(self._partial_fit_state["order_rng"])
                load_optimizer_arrays(fit.state.optimizer, self._partial_fit_state["optimizer"])
            order = one_pass(rows, self.batch_size, fit.order_rng)
            fit.train(
                iter(order),
                schedule=constant,
                max_steps=len(order),
                max_time=None,
                n_records=1,
            )
            self._store(fit, rows)
            self._partial_fit_state = {
                "order_rng": fit.order_rng,
                "optimizer": optimizer_arrays(fit.state.optimizer),
            }
        return self

    def set_params(self, **params):
        """Set parameters of this estimator, of its refiner and of its loss.

        Parameters
        ----------
        **params : dict
            Parameters by name; those of the refiner as ``refiner__hidden_size``.

        Returns
        -------
        self : VQDRAW
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter, or no refiner that could have it.
        """
        advice = {
            "refiner": "refiner=MLPRefiner() first, which 'auto' stands for, or another one of "
            "skvqdraw.refiners",
            "loss": "loss to an object first",
        }
        for name in params:
            owner = name.partition("__")[0]
            value = params.get(owner, getattr(self, owner, None))
            if "__" in name and owner in advice and not hasattr(value, "set_params"):
                raise ValueError(
                    f"{name} cannot be set: {owner}={value!r} has no parameters of its own. Set "
                    f"{advice[owner]}."
                )
        return super().set_params(**params)

    def _validate(self, X, sample_weight, *, going_on):
        """Return what a fit is given, checked: X, weights, random state; and who takes part."""
        X = self._validate_X(X, reset=not going_on)
        sample_weight = unit_weights(
            check_sample_weight(sample_weight, X, ensure_non_negative=True)
        )
        rng = check_random_state(self.random_state)
        device = resolve_device(self.device)
        processes = find_processes(device)
        if processes.size > 1:
            identity = identity_of(self, X, sample_weight, going_on)
            identity["gradient_accumulation"] = self.gradient_accumulation
            identity["the kind of device"] = device.type
            state = getattr(self, "_partial_fit_state", None)
            identity["what partial_fit goes on from"] = identity_of_partial_fit(state)
            refuse_differences(processes, identity)
            if not isinstance(self.random_state, Integral):
                seed = processes.from_first(
                    lambda: draw_seed(rng), lambda seed: str(seed).encode(), int
                )
                rng = np.random.RandomState(seed)
        return X, sample_weight, rng, processes

    def _split(self, sample_weight, rng):
        """Return the rows to train on and, for early stopping, those to validate on."""
        rows = np.flatnonzero(sample_weight)
        if not self.early_stopping:
            return rows, None
        n_validation = min(int(np.ceil(self.validation_fraction * len(rows))), _JUDGED_ROWS)
        if n_validation >= len(rows):
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of n_samples={len(rows)} leaves "
                "no row to train on; give more rows or set early_stopping=False."
            )
        shuffled = rng.permutation(rows)
        return np.sort(shuffled[n_validation:]), np.sort(shuffled[:n_validation])

    def _store(self, fit, rows):
        """Assign everything that a fit learns."""
        judged = rows[np.linspace(0, len(rows) - 1, min(_JUDGED_ROWS, len(rows))).astype(int)]
        self.code_usage_ = fit.usage_of_options(judged)
        self.mean_ = fit.preparation.mean_D
        self.scale_ = fit.preparation.scale
        self.refiner_ = fit.refiner
        self.loss_ = fit.loss
        self.network_ = fit.state.network
        self.loss_curve_ = fit.loss_curve
        self.n_steps_ = fit.state.step

    def _prepared(self):
        """Return the network on its device and what leads to and from it."""
        validate_params(self, "device", "precision")
        network, device = self.network_, resolve_device(self.device)
        # Moving sets all parameters anew, one by one, and other threads may want to use them.
        with _moving, torch.inference_mode(False):
            if next(network.parameters()).device != device:
                network.to(device)
        feature_order = getattr(network, "feature_order", None)
        return network, Preparation(self.loss_, self.mean_, self.scale_, feature_order)

    def _validate_X(self, X, *, reset):
        X = super()._validate_X(X, reset=reset)
        (losses.find(self.loss) if reset else self.loss_).check(X)
        return X

    def _fitted_on(self):
        # Where targets are not centred, the loss itself says what rows may be.
        return (self.mean_, self.scale_**2) if self.loss_.centred else None

    def _coder_options(self):
        validate_params(self, "beam_size", "round_beam_size")
        return {
            "beam_size": self.beam_size,
            "round_beam_size": self.round_beam_size,
            "bf16": self.precision == "bf16",
        }

    def _encode(self, X, codes):
        network, preparation = self._prepared()
        for tile, _, codes_NS, _ in coded_tiles(
            network, preparation, X, codes.shape[1], **self._coder_options()
        ):
            codes[tile] = codes_NS.cpu().numpy()

    def _parameters_of_rows(self, X):
        """Yield (slice, parameters) of the reconstructions of rows."""
        options = self._coder_options()
        if self.beam_size > 1:  # what the hypotheses of a row share is not computed the same way
            for piece in pieces(*X.shape):
                yield piece, self._parameters(self._codes_of(X[piece]))
            return
        network, preparation = self._prepared()
        for tile, _, _, x_NP in coded_tiles(
            network, preparation, X, len(self.code_usage_), **options
        ):
            yield tile, preparation.parameters(x_NP)

    def _reconstructions(self, X):
        for tile, params_NP in self._parameters_of_rows(X):
            yield tile, self.loss_.inverse_link(params_NP)

    def _row_losses(self, X):
        for tile, params_NP in self._parameters_of_rows(X):
            yield tile, self.loss_.rows(params_NP, X[tile])

    def _parameters(self, codes):
        """Return the parameters of the reconstructions of codes or prefixes."""
        network, preparation = self._prepared()
        params_NP = np.empty((len(codes), preparation.width), dtype=self.mean_.dtype)
        for tile, x_NP in decoded_tiles(network, preparation, codes, bf16=self.precision == "bf16"):
            params_NP[tile] = preparation.parameters(x_NP)
        return params_NP

    def _propose(self, codes):
        network, preparation = self._prepared()
        shape = len(codes), self._code_shape[1], self.n_features_in_
        X = np.empty(shape, dtype=self.mean_.dtype)
        propose_in_tiles(network, preparation, codes, X, bf16=self.precision == "bf16")
        return X

    def _decoder(self):
        network = {f"network.{n}": a for n, a in network_arrays(self.network_).items()}
        arrays = {"mean_": self.mean_, "scale_": np.float64(self.scale_), **network}
        return {"loss": self.loss_, "refiner": self.refiner_}, arrays

    def _decode(self, codes):
        return self.loss_.inverse_link(self._parameters(codes))

    def __getstate__(self):
        state = super().__getstate__()
        if "network_" in state:
            state["network_"] = network_arrays(state["network_"])
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "network_" in state:
            arrays = self.network_
            self.network_ = build_network(
                self.refiner_, self.loss_, self.n_features_in_, *self._code_shape, seed=0
            )
            load_network_arrays(self.network_, arrays)
