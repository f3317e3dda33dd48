"""VQ-DRAW: sequential discrete auto-encoding without an encoder."""

from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import clone

from . import losses
from ._base import CodeTransformer
from ._codes import entropy_bits
from ._rows import pieces, take_rows
from ._sklearn import HasMethods, Interval, StrOptions, same_specs, validate_params
from .exceptions import FormatError
from .files.json import comes_with_package, known
from .files.learned import Array, Number, Spec
from .nn.arrays import Network, network_arrays
from .nn.build import built, check_network
from .nn.coding import Coding
from .nn.objective import accumulate_gradients
from .nn.preparation import Preparation
from .nn.refinement import hook
from .nn.start import first_options
from .nn.work import count_multiplications, go_through_stages
from .refiners import MLPRefiner
from .training.estimator import TrainedMixin
from .training.row_task import RowTask


@known
class VQDRAW(TrainedMixin, CodeTransformer):
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
        waste no bits. In coding all rows share the first evaluation of the network, in training
        up to 64 options.
    loss : {"squared_error", "log_loss"} or Loss, default="squared_error"
        What to lower. "log_loss" is for rows of 0 and 1, or of chances between them: what is coded
        are log odds, and reconstructions are chances. :class:`~skvqdraw.losses.Categorical` is for
        symbols, such as those of text, :class:`~skvqdraw.losses.Gaussian` for numbers whose noise
        differs; for one of your own see :class:`~skvqdraw.losses.Loss`. Losses that know their
        gradient and curvature, as all of these do, take about 1 to 1.5 times as long as squared
        error; others write all candidates out, which takes several times as long.
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
        sake of its end. With losses that know their curvature, other than squared error, eight
        candidates are scored at each stage and at most eight hypotheses are kept.
    aux_weight : float, default=0.01
        Weight of the loss of the options that were not chosen, which keeps them near the data and
        so in use. 0 to 0.1.
    gradient_decay : float, default=0.0
        Share of the gradient cut between network evaluations, in [0, 1]. At 1, memory does not
        grow with `n_stages`, for a slightly higher error.
    encoding : {"onehot", "onehot-dense", "ordinal", "soft"}, default="onehot"
        What `transform` returns: a sparse matrix, the same as an ndarray, the integers, or an
        ndarray of how well each option would have served, which tells classifiers more.
    max_steps : int or None, default=1000
        Optimizer steps of a `fit`, 500 to 50,000; None for no limit but `max_time`. 0 leaves the
        network as it starts.
    max_time : float or None, default=None
        Seconds of a `fit`, the start included; whichever of `max_steps` and `max_time` ends first
        counts. A fit that ends by the clock is not reproducible.
    batch_size : int, default=64
        Rows per optimizer step, of all processes together where several make one fit. 32 to 512:
        few for short fits, which want many steps. With fewer than `n_options`, if these are 64 or
        less, the first evaluation of the network, which rows share, weighs more than the others.
    gradient_accumulation : int, default=1
        Parts in which a batch is computed, one after the other, so that it takes less memory. Let
        them have `n_options` rows or more, if these are 64 or less, as each makes the first
        evaluation anew.
    gradient_checkpointing : bool, default=False
        Whether to evaluate the network twice in training, so that memory grows as the square
        root of `n_stages`: for many stages of large images.
    learning_rate : float, default=1e-2
        Highest learning rate of AdamW, after a warm-up over 5 % of the budget; it then falls along
        a cosine. 1e-3 to 2e-2.
        `partial_fit` uses it as it is: lower it to go on after a `fit`.
    weight_decay : float, default=0.2
        Weight decay of AdamW: at each step weights lose this share of themselves, times the
        learning rate. 0 to 0.5; a short fit rids itself of its start by it.
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
    n_jobs : int or None, default=None
        Threads that share the rows to encode and decode on a CPU, each of which computes alone;
        -1 for one per core, as in joblib. None for as many as PyTorch may use
        (``torch.get_num_threads()``), one within a worker of joblib. No code depends on it.
    random_state : int, RandomState instance or None, default=None
        Seed of the start and of the order of rows. An int makes a fit that ends by `max_steps`
        reproducible to the bit on the CPU of one machine. Beside other busy processes that takes
        one thread: ``torch.set_num_threads(1)``.
    verbose : int, default=0
        1 for a progress bar with the error and the bits in use, 2 for a line per evaluation point.

    Attributes
    ----------
    network_ : torch.nn.Module
        The trained refinement network.
    refiner_ : Refiner
        The specification it was built from.
    loss_ : Loss
        The loss that the network was trained with. That of a `Categorical` has its `n_symbols`
        filled in.
    mean_ : ndarray of shape (n_features,) or (n_features * n_statistics,)
        Mean of the training data. With "log_loss" half a row of 1 and half a row of 0 are counted
        in, so that its log odds are finite. With `Categorical`, ``n_features * n_symbols`` numbers:
        the share of rows with each symbol, a row in which all are alike counted in. With
        `Gaussian`, ``n_features * 2``: mean and mean square of each feature side by side.
    scale_ : float
        Root of the mean variance of the training data: the network's unit. Of constant data, a
        ten-millionth of the largest number, so that they are reconstructed as exactly as float32
        allows (in `partial_fit`, after which others may come, 1). With "log_loss", `Categorical`
        and `Gaussian` it is 1.
    code_usage_ : ndarray of shape (n_stages, n_options)
        Share of training rows that use each option, of up to 2048 rows.
    loss_curve_ : list of dict
        One record per evaluation point: `step`, `seconds`, `loss` (the training loss), `error`
        (mean loss after the last stage, on training batches), `entropy` (bits of the
        codes in use, the sum over stages) and, with `early_stopping`, `validation_error`. Losses
        and errors are in the squared units of X, or in nats.
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
        "n_stages": [Interval(Integral, 1, None, closed="left")],
        "n_options": [Interval(Integral, 2, None, closed="left")],
        "loss": [StrOptions(set(losses.NAMES)), HasMethods(["grid", "get_params"])],
        "refiner": [StrOptions({"auto"}), HasMethods(["build", "get_params"])],
        "beam_size": [Interval(Integral, 1, None, closed="left")],
        "round_beam_size": [Interval(Integral, 1, None, closed="left")],
        "aux_weight": [Interval(Real, 0, None, closed="left")],
        "gradient_decay": [Interval(Real, 0, 1, closed="both")],
        "gradient_checkpointing": ["boolean"],
    }
    _softness = 2.0
    _specs_advice = {
        "refiner": "refiner=MLPRefiner() first, which 'auto' stands for, or another one of "
        "skvqdraw.refiners",
        "loss": "loss to an object first",
    }
    _learned: dict = {
        "mean_": Array("M", "float32", "float64"),
        "scale_": Number(Interval(Real, 0, None, closed="neither")),
        "loss_": losses.LearnedLoss("grid"),
        "refiner_": Spec("build"),
        "network_": Network(built_by="refiner_"),
    }
    # Of the result these change nothing, or only what is done with it.
    _free_params = TrainedMixin._free_params | {
        "beam_size",
        "encoding",
        "gradient_checkpointing",
        "n_jobs",
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
        batch_size=64,
        gradient_accumulation=1,
        gradient_checkpointing=False,
        learning_rate=1e-2,
        weight_decay=0.2,
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
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _task(self, resume):
        task = _Drawing(self)
        if resume:
            self._refuse_another_model(task)
            task.preparation = self._preparation(self.network_)
        return task

    def _refuse_another_model(self, task):
        """Refuse to go on training with other stages, options, refiner or loss."""
        n_stages, n_options = self._code_shape
        fitted_and_same = {
            "n_stages": (n_stages, self.n_stages == n_stages),
            "n_options": (n_options, self.n_options == n_options),
            "refiner": (self.refiner_, same_specs(task.refiner, self.refiner_)),
            "loss": (self.loss_, losses.find(self.loss).goes_on(self.loss_)),
        }
        self._refuse_changes(fitted_and_same)

    def _network(self):
        return built(self.refiner_, self.loss_, self.n_features_in_, *self._code_shape)

    def _preparation(self, network):
        return Preparation(self.loss_, self.mean_, self.scale_, hook(network, "feature_order"))

    def _check_learned(self):
        n_means = self.n_features_in_ * self.loss_.n_statistics
        if len(self.mean_) != n_means:
            raise FormatError(f"mean_ must be {n_means} numbers; it is {len(self.mean_)}")
        if not self.loss_.centred and self.scale_ != 1:
            raise FormatError(f"scale_ must be 1 with {self.loss_}; it is {self.scale_}")

    def _validate_X(self, X, *, reset):
        X = super()._validate_X(X, reset=reset)
        loss = losses.find(self.loss) if reset else self.loss_
        loss.check(X)
        if reset:
            self.loss_ = loss.for_data(X)
        return X

    def _fitted_on(self):
        # Where targets are not centred, the loss itself says what rows may be.
        return (self.mean_, self.scale_**2) if self.loss_.centred else None

    def _coding(self, **options):
        """Return what codes rows and decodes codes."""
        validate_params(self, "n_jobs")
        network = self._network_on_device()
        bf16 = self.precision == "bf16"
        preparation = self._preparation(network)
        return Coding(network, preparation, **{"n_jobs": self.n_jobs, "bf16": bf16, **options})

    def _beams(self):
        validate_params(self, "beam_size", "round_beam_size")
        return {"beam_size": self.beam_size, "round_beam_size": self.round_beam_size}

    def _encode(self, X, codes):
        for tile, _, codes_NS, _ in self._coding(**self._beams()).encoded(X, codes.shape[1]):
            codes[tile] = codes_NS.cpu().numpy()

    def _parameters_of_rows(self, X):
        """Yield (slice, parameters) of the reconstructions of rows."""
        beams = self._beams()
        if self.beam_size > 1:  # what the hypotheses of a row share is not computed the same way
            for piece in pieces(*X.shape):
                yield piece, self._parameters(self._codes_of(X[piece]))
            return
        coding = self._coding(**beams)
        for tile, _, _, x_NP in coding.encoded(X, self._code_shape[0]):
            yield tile, coding.preparation.parameters(x_NP)

    def _reconstructions(self, X):
        for tile, params_NP in self._parameters_of_rows(X):
            yield tile, self.loss_.inverse_link(params_NP)

    def _row_losses(self, X):
        for tile, params_NP in self._parameters_of_rows(X):
            yield tile, self.loss_.rows(params_NP, X[tile])

    def _losses_of(self, codes, X):
        return self.loss_.rows(self._parameters(codes), X)

    def _parameters(self, codes):
        """Return the parameters of the reconstructions of codes or prefixes."""
        coding = self._coding()
        shape = len(codes), coding.preparation.width
        params_NP = np.empty(shape, dtype=self.mean_.dtype)
        for tile, x_NP in coding.decoded(codes):
            params_NP[tile] = coding.preparation.parameters(x_NP)
        return params_NP

    def _option_losses(self, X):
        unit, coding = float(self.loss_.unit(self.scale_)), self._coding(**self._beams())
        for tile, codes_NS, losses_NSK in coding.option_losses(X, self._code_shape[0]):
            yield tile, codes_NS.cpu().numpy(), losses_NSK.cpu().double().numpy() * unit

    def _propose(self, codes):
        shape = len(codes), self._code_shape[1], self.n_features_in_
        X = np.empty(shape, dtype=self.mean_.dtype)
        self._coding().propose(codes, X)
        return X

    def _draw(self, drawing, codes):
        n_jobs = {} if drawing.guide.parallel else {"n_jobs": 1}
        coding = self._coding(beam_size=drawing.guide.beam_size, **n_jobs)
        for tile, codes_NS in coding.drawn(drawing, len(codes), self._code_shape[1]):
            codes[tile] = codes_NS.numpy()

    def _decoder(self):
        network = {f"network.{n}": a for n, a in network_arrays(self.network_).items()}
        arrays = {"mean_": self.mean_, "scale_": np.float64(self.scale_), **network}
        return {"loss": self.loss_, "refiner": self.refiner_}, arrays

    def _decode(self, codes):
        return self.loss_.inverse_link(self._parameters(codes))


class _Drawing(RowTask):
    """What a fit of VQDRAW trains. Axes: S stages, K options, N rows, D features."""

    _ways_to_a_smaller_network = ("a smaller refiner", "a smaller n_options")

    def __init__(self, estimator):
        self.estimator = estimator
        auto = estimator.refiner == "auto"
        self.refiner = MLPRefiner() if auto else clone(estimator.refiner)
        # Where X has been seen, the loss knows what X says of it.
        super().__init__(getattr(estimator, "loss_", None) or losses.find(estimator.loss))

    def _is_ours(self):
        return comes_with_package(type(self.refiner))

    def build(self):
        estimator, n_features = self.estimator, self.estimator.n_features_in_
        shape = estimator.n_stages, estimator.n_options
        network = built(self.refiner, self.criterion, n_features, *shape)
        check_network(network, self.refiner, self.criterion, n_features, estimator.n_options)
        return network

    def learn(self, X, y, rows, sample_weight, rng):
        super().learn(X, y, rows, sample_weight, rng)
        start_from_table = hook(self.network, "start_from_table")
        if start_from_table is not None:
            width = len(self.preparation.mean_D)

            def prepared(rows):
                prepared_ND = np.empty((len(rows), width), dtype=np.float32)
                for piece in pieces(*prepared_ND.shape, whole_tiles=False):
                    some = take_rows(X, rows[piece])
                    prepared_ND[piece] = self.preparation.statistics(some)
                return prepared_ND

            n_options = self.estimator.n_options
            options = first_options(prepared, rows, width, n_options, rng, sample_weight)
            start_from_table(self.preparation.options(options))

    def work(self, n_rows):
        width = self.estimator.n_features_in_ * self.criterion.n_params
        stages = partial(go_through_stages, self.network, width, self.estimator.n_stages)
        return count_multiplications(self.network, n_rows, stages, self.estimator.n_options)

    def sums(self):
        S, K = self.estimator.n_stages, self.estimator.n_options
        return {
            "objective": torch.zeros((), device=self.device, dtype=torch.float32),
            "stage_losses_S": torch.zeros(S, device=self.device, dtype=torch.float32),
            "counts_SK": torch.zeros(S, K, device=self.device, dtype=torch.int64),
        }

    def gradients(self, batch, weight, sums):
        estimator, (target_ND,) = self.estimator, batch
        objective, stage_losses_S, codes_NS = accumulate_gradients(
            self.network,
            self.preparation.objective,
            target_ND,
            weight,
            estimator.n_stages,
            aux_weight=estimator.aux_weight,
            gradient_decay=estimator.gradient_decay,
            round_beam_size=estimator.round_beam_size,
            checkpointing=estimator.gradient_checkpointing,
            bf16=self.bf16,
        )
        sums["objective"] += objective
        sums["stage_losses_S"] += stage_losses_S
        self._count(codes_NS, sums["counts_SK"])

    def record(self, sums, n_steps):
        counts_SK = sums["counts_SK"].cpu().numpy()
        return {
            "loss": float(sums["objective"]) / n_steps * self.unit,
            "error": float(sums["stage_losses_S"][-1]) / n_steps * self.unit,
            "entropy": entropy_bits(counts_SK / counts_SK[0].sum()),
        }

    def errors(self, X, y, rows):
        objective = self.preparation.objective
        errors = [
            objective.grid(x_NP[:, None], target_ND)[:, 0].cpu().numpy()
            for _, target_ND, _, x_NP in self._encoded(X, rows)
        ]
        return np.concatenate(errors)

    def finish(self, X, y, rows, processes):
        shape = self.estimator.n_stages, self.estimator.n_options
        encoded = self._encoded(X, processes.share(rows))
        coded = ((codes_NS, x_NP) for _, _, codes_NS, x_NP in encoded)
        return self._learn_usage(coded, shape, len(rows), processes)

    def _encoded(self, X, rows):
        """Code rows of X as the estimator will, but for the beam between rounds."""
        estimator = self.estimator
        options = {**estimator._beams(), "beam_size": 1, "bf16": estimator.precision == "bf16"}
        coding = Coding(self.network, self.preparation, n_jobs=estimator.n_jobs, **options)
        return coding.encoded(X, estimator.n_stages, rows)

    def learned(self):
        return {**super().learned(), "loss_": self.criterion, "refiner_": self.refiner}

    def _size(self):
        estimator = self.estimator
        return f"n_stages={estimator.n_stages}, n_options={estimator.n_options} and {self.refiner}"

    def _ways_to_smaller_steps(self):
        on = self.estimator.gradient_checkpointing
        return [] if on else ["gradient_checkpointing=True (now False)"]
