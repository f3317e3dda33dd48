"""What a training is to do, as data."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from .._device import resolve_device, trains_in_bf16
from .schedule import warm_up_and_cosine


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Budget, batches, learning rate, early stopping, checkpoint and place of a training.

    Most of it are the parameters of :class:`~skvqdraw.VQDRAW` of the same names. Those that an
    estimator does not have are at their defaults.
    """

    max_steps: int | None = 1000
    max_time: float | None = None
    batch_size: int = 64
    gradient_accumulation: int = 1
    learning_rate: float = 1e-2
    weight_decay: float = 0.2
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 5
    tol: float = 1e-4
    checkpoint: object = None
    checkpoint_every: float = 30.0
    device: object = "cpu"
    precision: str = "auto"
    verbose: int = 0
    # Progress in [0, 1] -> factor of the learning rate.
    schedule: Callable = warm_up_and_cosine
    # Evaluation points: each adds a record to the loss curve.
    n_records: int = 50
    # Whether to make one pass over the rows, instead of `max_steps` or `max_time`.
    one_pass: bool = False
    # What of all this is a parameter of the estimator.
    params: frozenset = frozenset()

    @classmethod
    def of(cls, estimator, **others):
        """Return the plan that the parameters of an estimator make, but for some."""
        names = {field.name for field in fields(cls)} & estimator._parameter_constraints.keys()
        params = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}
        plan = cls(**{**params, "params": frozenset(params), **others})
        if plan.max_steps is None and plan.max_time is None and not plan.one_pass:
            raise ValueError("max_steps and max_time must not both be None; set one of them.")
        return plan

    def in_bf16(self):
        """Whether the network computes in bfloat16."""
        if self.precision == "auto":
            return trains_in_bf16(resolve_device(self.device))
        return self.precision == "bf16"
