"""What estimators of your own are made of.

`CodeTransformer` is the base class of estimators of codes. Those that train a network by gradients
have `TrainedMixin` in front of it, which knows what is trained from a `Task`. What an estimator
learns it declares in `_learned`, each attribute with its kind: an `Array`, a `Number`, a `Spec`, a
`Network`, or a list of `Records`.
"""

from ._base import CodeTransformer
from .files.learned import Array, Number, Records, Spec
from .nn.arrays import Network
from .training.estimator import TrainedMixin
from .training.task import Task

__all__ = [
    "Array",
    "CodeTransformer",
    "Network",
    "Number",
    "Records",
    "Spec",
    "Task",
    "TrainedMixin",
]
