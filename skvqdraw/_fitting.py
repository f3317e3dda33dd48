"""A fit, apart from the estimator until all of it is done."""

import inspect
import json
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from sklearn.base import clone
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from . import losses
from ._checkpoint import DivergenceError, restore
from ._codes import option_counts
from ._coding import coded_tiles
from ._device import is_out_of_memory, resolve_device, trains_in_bf16, undisturbed
from ._fork import Lock
from ._plain import comes_with_package, same_specs
from ._rows import pieces, take_rows
from ._table import first_options
from ._warn import warn
from .nn import Round
from .nn.build import Building
from .nn.preparation import Preparation
from .refiners import MLPRefiner
from .training.batches import prepared_batches
from .training.loop import make_optimizer, train
from .training.state import TrainingState, load_network_arrays, network_arrays

# The random stream from which networks of others start is the process's: one at a time.
_global_stream = Lock()
# Held while the start of a fit has the process to itself.
_starting = Lock()


class Fit:
    """What a fit works on, apart from the estimator until all of it is done.

    It starts from the rows given, goes on from a copy of the estimator's network, or goes on where
    the fit was that left a snapshot.
    """

    def __init__(
        self,
        estimator,
        X,
        rows,
        sample_weight,
        rng,
        *,
        going_on,
        processes,
        started,
        validation_rows=None,
        snapshot=None,
        one_pass=False,
    ):
        self.estimator = estimator
        self.one_pass = one_pass
        self.X = X
        self.sample_weight = sample_weight / sample_weight[rows].mean()
        self.validation_rows = validation_rows
        self.processes = processes
        self.started = started
        self.device = resolve_device(estimator.device)
        self.refiner = MLPRefiner() if estimator.refiner == "auto" else clone(estimator.refiner)
        self.loss = losses.find(estimator.loss)
        self.order_seed = draw_seed(rng)
        try:
            self._set_up(rows, rng, going_on, snapshot)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            ways = ["a smaller refiner", "a smaller n_options"]
            raise self._out_of_memory("before the first step", ways) from error.with_traceback(None)

    def _set_up(self, rows, rng, going_on, snapshot):
        """Make the network and all that training changes."""
        estimator = self.estimator
        self.loss_curve, step = [], 0
        if snapshot is not None:
            network = self._build(seed=0).to(self.device)
            self.preparation = self._preparation(
                network, snapshot.arrays["mean"], snapshot.values["scale"]
            )
        elif going_on:
            _check_same_model(estimator, self.refiner, self.loss)
            network, self.preparation = estimator._prepared()
            network = deepcopy(network)
            self.loss_curve, step = list(estimator.loss_curve_), estimator.n_steps_
        else:
            network = self._start(rows, rng)
        optimizer = make_optimizer(network, estimator.learning_rate, estimator.weight_decay)
        self.state = TrainingState(network, optimizer, step)
        self.watch = _EarlyStopping(estimator.tol * self._unit, network)
        if snapshot is not None:
            restore(self, snapshot)
        self.order_rng = np.random.default_rng(self.order_seed)

    @property
    def n_steps_made(self):
        """Steps of this training, those before an interruption included."""
        return 0 if self.state.totals is None else self.state.step - self.state.first_step

    def _build(self, seed):
        S, K = self.estimator.n_stages, self.estimator.n_options
        return build_network(self.refiner, self.loss, self.X.shape[1], S, K, seed=seed)

    def _preparation(self, network, mean_D, scale):
        return Preparation(self.loss, mean_D, scale, getattr(network, "feature_order", None))

    @property
    def _unit(self):
        """What losses of the network's are multiplied by to be in X's units."""
        return float(self.loss.unit(self.preparation.scale))

    def _start(self, rows, rng):
        """Return a new network, its table started from the rows."""
        network = self._build(draw_seed(rng))
        weight = np.zeros_like(self.sample_weight)
        weight[rows] = self.sample_weight[rows]
        # One thread: sums over several round another way for another number of them. One fit at a
        # time: of two that limit the process's threads, the first to leave would undo the limit.
        with _starting, threadpool_limits(1):
            mean_D, scale = self.loss.mean_and_scale(self.X, weight)
            scale = scale or self._scale_of_constant_data(mean_D)
            self.preparation = self._preparation(network, mean_D, scale)
            if hasattr(network, "start_from_table"):
                centres_KD = first_options(
                    self._prepared,
                    rows,
                    self.X.shape[1],
                    self.estimator.n_options,
                    rng,
                    self.sample_weight,
                )
                network.start_from_table(self.preparation.options(centres_KD))
        network = network.to(self.device)
        self._take_start_from_first(network)
        return network

    def _scale_of_constant_data(self, mean_D):
        """Return a scale where data have none of their own.

        It is nothing beside them, so that they are reconstructed as they are; but not where other
        rows are to follow. Its square is a number.
        """
        if self.one_pass:
            return 1.0
        largest = float(np.abs(mean_D).max()) or 1.0
        return min(max(float(np.finfo(np.float32).eps) * largest, 1e-140), 1e140)

    def _prepared(self, rows):
        """Return rows of X as the network sees them, prepared a piece at a time."""
        prepared_ND = np.empty((len(rows), self.X.shape[1]), dtype=np.float32)
        for piece in pieces(*prepared_ND.shape, whole_tiles=False):
            prepared_ND[piece] = self.preparation.forward(take_rows(self.X, rows[piece]))
        return prepared_ND

    def _take_start_from_first(self, network):
        """Start as process 0 does: another processor may round its own start another way."""
        mean_D = torch.from_numpy(self.preparation.mean_D)
        scale = torch.tensor(self.preparation.scale, dtype=torch.float64, device="cpu")
        self.processes.copy_from_first([*network.state_dict().values(), mean_D, scale])
        # Anew, since it has worked out more from its own.
        self.preparation = self._preparation(network, self.preparation.mean_D, scale.item())

    def train(self, order, *, checkpoint=None, **budget):
        """Train until the budget ends, early stopping says so or the user interrupts.

        Returns whether it was not the user.
        """
        estimator, state = self.estimator, self.state
        precision = estimator.precision
        records = train(
            state,
            prepared_batches(
                self.X,
                order,
                self.sample_weight,
                self.preparation,
                self.processes,
                self.device,
                n_parts=estimator.gradient_accumulation,
            ),
            self.preparation.objective,
            n_stages=estimator.n_stages,
            n_options=estimator.n_options,
            learning_rate=estimator.learning_rate,
            aux_weight=estimator.aux_weight,
            gradient_decay=estimator.gradient_decay,
            round_beam_size=estimator.round_beam_size,
            checkpointing=estimator.gradient_checkpointing,
            bf16=precision == "bf16" or (precision == "auto" and trains_in_bf16(self.device)),
            started=self.started,
            processes=self.processes,
            after_step=checkpoint and partial(checkpoint.write_if_due, self),
            **budget,
        )
        progress = _Progress(self, budget["max_steps"])
        finished = True
        try:
            with self.processes.listening():
                for record in records:
                    self._note(record)
                    progress.show(self.loss_curve[-1])
                    if self.watch.n_bad >= estimator.n_iter_no_change:
                        break
        except KeyboardInterrupt:
            finished = False
            if self.processes.rank == 0:
                message = "Training interrupted by user: the model trained so far is kept."
                if checkpoint and checkpoint.path.exists():
                    message += " To go on from the checkpoint, call fit again."
                warn(message)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            when, ways = f"after step {state.step}", list(self._ways_to_smaller_steps())
            # Without the traceback, which holds on to the tensors of the step.
            raise self._out_of_memory(when, ways) from error.with_traceback(None)
        finally:
            progress.close()
        self.watch.restore_best()
        # Processors that round otherwise have drifted apart by a little.
        self.processes.copy_from_first(state.network.state_dict().values())
        return finished

    def usage_of_options(self, rows):
        """Return the share of rows of X that use each option, or refuse a network gone astray.

        The last record cannot know: it is of the loss before the last step.
        """
        shape = self.estimator.n_stages, self.estimator.n_options
        counts_SK, n_infinite = np.zeros(shape), 0
        for _, _, codes_NS, x_ND in self._coded_tiles(self.processes.share(rows)):
            counts_SK += option_counts(codes_NS.cpu().numpy(), self.estimator.n_options)
            n_infinite += not x_ND.isfinite().all()
        *counts, n_infinite = self.processes.sum([*counts_SK.ravel(), n_infinite])
        if n_infinite:
            raise self._diverged("a reconstruction became infinite or NaN")
        return np.reshape(counts, shape) / len(rows)

    def _note(self, record):
        """Add a record to the loss curve, in units of X and with the validation error."""
        record = self._in_units_of_X(record)
        if self.validation_rows is not None:
            record["validation_error"] = self._error(self.validation_rows)
            self.watch.see(record["validation_error"])
        self.loss_curve.append(record)

    def _error(self, rows):
        """Mean loss of the reconstructions of rows, in X's units."""
        rows, total = self.processes.share(rows), 0.0
        objective = self.preparation.objective
        errors = [
            objective.grid(x_NP[:, None], target_ND)[:, 0].cpu().numpy()
            for _, target_ND, _, x_NP in self._coded_tiles(rows)
        ]
        weight = self.sample_weight[rows]
        if errors:  # there are none where processes outnumber rows
            total = np.multiply(np.concatenate(errors), weight).sum()
        total, weight = self.processes.sum([total, weight.sum()])
        return float(total / weight * self._unit)

    def _coded_tiles(self, rows):
        """Code rows of X as the estimator will, but for the beam between rounds."""
        return coded_tiles(
            self.state.network,
            self.preparation,
            self.X,
            self.estimator.n_stages,
            rows=rows,
            **{**self.estimator._coder_options(), "beam_size": 1},
        )

    def _diverged(self, what):
        return DivergenceError(
            f"{what} by step {self.state.step}. Lower learning_rate (now "
            f"{self.estimator.learning_rate}), or set precision='float32'."
        )

    def _out_of_memory(self, when, ways):
        estimator = self.estimator
        return MemoryError(
            f"out of memory on {self.device} {when}, with batch_size="
            f"{min(estimator.batch_size, len(self.X))} rows of {self.X.shape[1]} features, "
            f"n_stages={estimator.n_stages}, n_options={estimator.n_options} and "
            f"{self.refiner}. Set {ways[0]} or {ways[1]}."
        )

    def _ways_to_smaller_steps(self):
        """Yield what to set, first what changes nothing but the time."""
        estimator, batch_size = self.estimator, min(self.estimator.batch_size, len(self.X))
        n_parts = estimator.gradient_accumulation
        if n_parts < batch_size:
            yield f"gradient_accumulation={2 * n_parts} (now {n_parts})"
        if not estimator.gradient_checkpointing:
            yield "gradient_checkpointing=True (now False)"
        yield f"batch_size={max(batch_size // 2, 1)} (now {batch_size})"
        yield "a smaller refiner"

    def _in_units_of_X(self, record):
        """Return the record with losses in X's units."""
        if not np.isfinite(record["loss"]):
            raise self._diverged(f"the loss became {record['loss']}")
        unit = self._unit
        return {**record, "loss": record["loss"] * unit, "error": record["error"] * unit}


class _EarlyStopping:
    """Counts evaluation points without improvement and keeps the best network seen."""

    def __init__(self, least_improvement, network):
        self.least_improvement = least_improvement
        self.network = network
        self.best_error = self.reference = np.inf
        self.best_arrays = None
        self.n_bad = 0

    def see(self, error):
        """Count in `n_bad` how many points in a row have not improved by enough."""
        if error < self.best_error:
            self.best_error, self.best_arrays = error, network_arrays(self.network)
        if error < self.reference - self.least_improvement:
            self.reference, self.n_bad = error, 0
        else:
            self.n_bad += 1

    def restore_best(self):
        """Put the best network back, if there was one."""
        if self.best_arrays is not None:
            load_network_arrays(self.network, self.best_arrays)


class _Progress:
    """A progress bar (verbose=1) or a line per record (verbose=2)."""

    def __init__(self, fit, max_steps):
        verbose = fit.estimator.verbose if fit.processes.rank == 0 else 0
        step, n_steps_made = fit.state.step, fit.n_steps_made
        title = f"VQDRAW on {fit.device}"
        if fit.processes.size > 1:
            title += f", in {fit.processes.size} processes"
        if n_steps_made:
            title += f", from the checkpoint of step {step}"
        total = None if max_steps is None else step - n_steps_made + max_steps
        self.bar = tqdm(initial=step, total=total, desc=title, unit="step", disable=verbose != 1)
        self.prints_lines = verbose > 1
        if self.prints_lines:
            self.bar.write(title)

    def show(self, record):
        if self.prints_lines:
            forms = {int: ",", float: ",.6g"}
            texts = (f"{name} {value:{forms[type(value)]}}" for name, value in record.items())
            self.bar.write(", ".join(texts))
        self.bar.set_postfix(
            error=f"{record['error']:.4g}", bits=f"{record['entropy']:.1f}", refresh=False
        )
        self.bar.update(record["step"] - self.bar.n)

    def close(self):
        self.bar.close()


def build_network(refiner, loss, n_features, n_stages, n_options, *, seed, try_out=True):
    """Build a network from a seed, and try it out."""
    maker = type(refiner).__name__
    with undisturbed(torch.device("cpu")), _seeded(refiner, seed):
        network = built(refiner, loss, n_features, n_stages, n_options)
        if not isinstance(network, torch.nn.Module):
            raise TypeError(
                f"{maker}.build must return a torch.nn.Module; got {type(network).__name__}."
            )
        if not try_out:
            return network.eval()
        with torch.inference_mode():
            target_ND = torch.zeros(1, n_features)
            a_round = network.eval()(torch.zeros(1, n_features * loss.n_params), 0)
            if not isinstance(a_round, Round):
                raise TypeError(
                    f"{type(network).__name__}, built by {maker}, must return a round, such as "
                    f"skvqdraw.nn.DenseRound; got {type(a_round).__name__}."
                )
            shape = tuple(a_round.losses(target_ND, loss).shape)
    if shape != (1, n_options):
        raise ValueError(
            f"{type(network).__name__}, built by {maker}, must propose n_options={n_options} "
            f"options for each row; losses of shape {shape} came for one row."
        )
    return network


@contextmanager
def _seeded(refiner, seed):
    """Let a network be built on the CPU, in float32 and from a seed.

    Ours draw from a generator of their own. Those of others may draw in any way, and then from the
    process's stream: one at a time, and it is put back.
    """
    with ExitStack() as stack:
        if not comes_with_package(type(refiner)):
            stack.enter_context(_global_stream)
            stack.enter_context(torch.random.fork_rng(devices=[]))
            # Not torch.manual_seed: it would seed every GPU too, which fork_rng does not undo.
            torch.default_generator.manual_seed(seed)
        stack.enter_context(torch.device("cpu"))
        stack.enter_context(Building(torch.Generator("cpu").manual_seed(seed)))
        yield


def built(refiner, loss, n_features, n_stages, n_options):
    """Return what a refiner builds for the parameters of a loss."""
    if loss.n_params == 1:  # the refiner may not know of others
        return refiner.build(n_features, n_stages, n_options)
    if "n_params" not in inspect.signature(refiner.build).parameters:
        raise TypeError(
            f"{type(refiner).__name__}.build must take n_params, since {type(loss).__name__} has "
            f"{loss.n_params} parameters for each feature."
        )
    return refiner.build(n_features, n_stages, n_options, n_params=loss.n_params)


def draw_seed(rng):
    """Return an integer that seeds another generator."""
    return rng.randint(np.iinfo(np.int32).max)


def refuse_differences(processes, identity):
    """Raise in every process if one of them was given something else than process 0."""
    own = json.loads(json.dumps(identity))
    firsts = processes.from_first(lambda: own, lambda own: json.dumps(own).encode(), json.loads)
    differences = [
        f"{name} is {own[name]!r} in process {processes.rank}, {firsts.get(name)!r} in process 0"
        for name in own
        if own[name] != firsts.get(name)
    ]
    problem = processes.first_problem("; ".join(differences))
    if problem:
        raise ValueError(
            f"the processes of a fit must be given the same: {problem}. Give each of them all "
            "rows and the same parameters; it takes its own part of every batch by itself."
        )


def _check_same_model(estimator, refiner, loss):
    """Refuse to go on training with other stages, options, refiner or loss."""
    n_stages, n_options = estimator._code_shape
    fitted_and_same = {
        "n_stages": (n_stages, estimator.n_stages == n_stages),
        "n_options": (n_options, estimator.n_options == n_options),
        "refiner": (estimator.refiner_, same_specs(refiner, estimator.refiner_)),
        "loss": (estimator.loss_, same_specs(loss, estimator.loss_)),
    }
    for name, (fitted, same) in fitted_and_same.items():
        if not same:
            raise ValueError(
                f"{name} cannot change while training goes on; fitted with {fitted}, got "
                f"{getattr(estimator, name)}. Set it back, or start again with warm_start=False "
                "and fit."
            )
