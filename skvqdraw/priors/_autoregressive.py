"""A network that says how likely options are after those before them.

Axes: N codes, S stages, T stages of a prefix, K options, C classes, H hidden units.
"""

from numbers import Integral

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils import check_consistent_length

from .._codes import check_codes
from .._device import exact
from .._rows import pieces
from .._sklearn import Interval
from .._threads import count_threads, in_order
from ..files.json import known
from ..files.learned import Number
from ..training.estimator import TrainedMixin
from ..training.task import Task
from ._base import Prior, check_training_codes

_WIDEST = 2**14
_DEEPEST = 2**8


class CausalNetwork(torch.nn.Module):
    """What the options before say, added up, then blocks that all stages share.

    Parameters
    ----------
    n_stages, n_options, n_classes : int
        The shape of codes, and how many labels there are.
    hidden_size : int
        Width of what is added up.
    n_blocks : int
        Residual blocks.
    """

    def __init__(self, n_stages, n_options, n_classes, hidden_size, n_blocks):
        super().__init__()
        S, K, H = n_stages, n_options, hidden_size
        self.options = torch.nn.Parameter(0.1 * torch.randn((S - 1) * K, H))
        self.classes = torch.nn.Parameter(0.1 * torch.randn(n_classes, H))
        self.stages = torch.nn.Parameter(0.1 * torch.randn(S, H))
        self.blocks = torch.nn.ModuleList(_Block(S, H) for _ in range(n_blocks))
        self.norm = torch.nn.LayerNorm(H)
        self.heads = torch.nn.Parameter(torch.zeros(S, H, K))
        self.biases = torch.nn.Parameter(torch.zeros(S, 1, K))

    def forward(self, prefix_NT, labels_N, first=0):
        """Return the log odds (T + 1 - first, N, K) of options, at stages from `first` to T."""
        T, K = prefix_NT.shape[1], self.biases.shape[2]
        said_NTH = F.embedding(
            prefix_NT + K * torch.arange(T, device=prefix_NT.device), self.options
        )
        sums_NTH = F.pad(said_NTH.cumsum(1), (0, 0, 1, 0))[:, first:]
        x_NTH = sums_NTH + self.stages[first : T + 1]
        x_NTH = x_NTH + F.embedding(labels_N, self.classes)[:, None]
        for block in self.blocks:
            x_NTH = block(x_NTH, first)
        stages = slice(first, T + 1)
        return torch.baddbmm(
            self.biases[stages], self.norm(x_NTH).transpose(0, 1), self.heads[stages]
        )


class _Block(torch.nn.Module):
    """A residual block, of which each stage has gains of its own."""

    def __init__(self, n_stages, hidden_size):
        super().__init__()
        self.norm = torch.nn.LayerNorm(hidden_size)
        self.up = torch.nn.Linear(hidden_size, 2 * hidden_size)
        self.gains = torch.nn.Parameter(torch.ones(n_stages, 2 * hidden_size))
        self.down = torch.nn.Linear(2 * hidden_size, hidden_size)

    def forward(self, x_NTH, first):
        wide = self.up(self.norm(x_NTH)).relu() * self.gains[first : first + x_NTH.shape[1]]
        return x_NTH + self.down(wide)


@known
class AutoregressivePrior(TrainedMixin, Prior):
    """A network that says how likely each option is after those before it.

    It adds up a vector for each option chosen and one for the class, and a few residual blocks
    turn the sum into the chances of the next option. It is trained as estimators are: to a budget,
    with early stopping, progress and checkpoints.

    Parameters
    ----------
    n_options : int or None, default=None
        Options of each stage. None for the largest integer of the training codes plus one: name it
        where there are few rows.
    hidden_size : int, default=256
        Width of the network: 64 to 512 are useful.
    n_blocks : int, default=2
        Residual blocks of two layers: 1 to 4 are useful.
    max_steps : int or None, default=1000
        Steps at most. None leaves the budget to `max_time`.
    max_time : float or None, default=None
        Seconds at most. None leaves the budget to `max_steps`.
    batch_size : int, default=512
        Codes of a step.
    learning_rate : float, default=2e-3
        The highest rate: it rises at first and falls to the end of the budget. 5e-4 to 5e-3 are
        useful.
    weight_decay : float, default=0.1
        How strongly AdamW pulls weights to 0.
    early_stopping : bool, default=True
        Whether to keep back some codes, to end when they get no likelier, and to keep the network
        that found them the likeliest. Networks learn few codes by heart.
    validation_fraction : float, default=0.1
        Share of codes to keep back, 2048 at most.
    n_iter_no_change : int, default=5
        Evaluations without progress after which training ends; a budget has 50.
    tol : float, default=1e-4
        Progress that counts, in nats a code.
    warm_start : bool, default=False
        Whether `fit` goes on with the network that there is.
    checkpoint : str, path-like or None, default=None
        File from which an interrupted fit goes on.
    checkpoint_every : float, default=30.0
        Seconds between checkpoints.
    device : str or torch.device, default="auto"
        Where to compute; "auto" for a GPU if there is one.
    random_state : int, RandomState instance or None, default=None
        Decides the start and the order of codes.
    verbose : int, default=0
        1 for a progress bar, 2 for a line per evaluation.

    Attributes
    ----------
    network_ : torch.nn.Module
        The network.
    loss_curve_ : list of dict
        About 50 records: ``step``, ``seconds``, ``loss`` in nats a code and, with early stopping,
        ``validation_error``, the same of codes kept back.
    n_steps_ : int
        Steps made.
    classes_ : ndarray of shape (n_classes,) or None
        Labels, if there were any.
    class_counts_ : ndarray of shape (n_classes,)
        How many training codes have them.
    n_stages_, n_options_ : int
        The shape of codes.
    hidden_size_, n_blocks_ : int
        The shape of the network.

    See Also
    --------
    MarkovPrior : Made of counts, in a moment, and the same on every machine.

    Notes
    -----
    Codes of slightly moved copies of rows are training data that cost nothing: pass them together
    with those of the rows, each with its row's label.

    References
    ----------
    A sum of one vector for each value chosen, then layers that all positions share: H. Larochelle
    and I. Murray, "The neural autoregressive distribution estimator", AISTATS 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.priors import AutoregressivePrior
    >>> codes = np.repeat([[0, 1, 0], [1, 0, 1]], 200, axis=0)
    >>> prior = AutoregressivePrior(hidden_size=16, max_steps=200, random_state=0).fit(codes)
    >>> prior.bits([[0, 1, 0], [1, 0, 1]]).round()
    array([1., 1.])
    >>> prior.sample(3, prefix=[1], random_state=0)
    array([[1, 0, 1],
           [1, 0, 1],
           [1, 0, 1]], dtype=uint8)
    """

    _parameter_constraints: dict = {
        "hidden_size": [Interval(Integral, 1, _WIDEST, closed="both")],
        "n_blocks": [Interval(Integral, 0, _DEEPEST, closed="both")],
    }
    _learned: dict = {
        "n_stages_": Number(Interval(Integral, 1, 2**16, closed="both")),
        "n_options_": Number(Interval(Integral, 1, 2**16, closed="both")),
        "hidden_size_": Number(Interval(Integral, 1, _WIDEST, closed="both")),
        "n_blocks_": Number(Interval(Integral, 0, _DEEPEST, closed="both")),
    }

    def __init__(
        self,
        n_options=None,
        *,
        hidden_size=256,
        n_blocks=2,
        max_steps=1000,
        max_time=None,
        batch_size=512,
        learning_rate=2e-3,
        weight_decay=0.1,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        warm_start=False,
        checkpoint=None,
        checkpoint_every=30.0,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_options = n_options
        self.hidden_size = hidden_size
        self.n_blocks = n_blocks
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
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, codes, y=None, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_stages)
            Integers in ``[0, n_options)``: what ``encode`` returned, or others.
        y : array-like of shape (n_samples,), default=None
            Labels of them; None for a distribution that knows no classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each code in the loss.

        Returns
        -------
        self : object
            The fitted prior. If a fit fails, it is as it was before.

        Raises
        ------
        ValueError
            If `codes` is not a 2-D array of such integers with a row and a column, labels do not
            fit, or `checkpoint` cannot be used.
        """
        return super().fit(codes, y, sample_weight)

    def partial_fit(self, codes, y=None, sample_weight=None):
        """Go on training with one pass over the given codes, at a constant learning rate.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_stages)
            Integers in ``[0, n_options)``.
        y : array-like of shape (n_samples,), default=None
            Labels of them, of which the first call has all that there will be.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each code in the loss.

        Returns
        -------
        self : object
            The fitted prior.
        """
        return super().partial_fit(codes, y, sample_weight)

    def _validate_X(self, codes, *, reset):
        if not reset:
            self._refuse_another_network()
            return check_codes(codes, self.n_options_, n_stages=self.n_stages_)
        codes, self.n_options_ = check_training_codes(codes, self.n_options)
        self.n_stages_ = codes.shape[1]
        self.class_counts_ = None  # until there are labels
        self.hidden_size_, self.n_blocks_ = int(self.hidden_size), int(self.n_blocks)
        return codes

    def _refuse_another_network(self):
        """Refuse to go on training with another shape."""
        fitted = {n: getattr(self, f"{n}_") for n in ("n_options", "hidden_size", "n_blocks")}
        same = {name: getattr(self, name) in (None, value) for name, value in fitted.items()}
        self._refuse_changes({name: (value, same[name]) for name, value in fitted.items()})

    def _labels(self, codes, y):
        check_consistent_length(codes, y)
        if self.class_counts_ is None:
            return self._learn_classes(codes, y)
        if y is None and self.classes_ is not None:
            raise ValueError(
                f"y must be given while the training of this {type(self).__name__} goes on: it "
                "began with labels. Pass one for each code."
            )
        return self._labels_of(y, len(codes))

    def _network(self):
        shape = self.n_stages_, self.n_options_, len(self.class_counts_)
        return CausalNetwork(*shape, self.hidden_size_, self.n_blocks_)

    def _task(self, resume):
        return _Likelihood(self)

    def _log_chances(self, prefix_NT, labels_N):
        T = prefix_NT.shape[1]
        return self._log_chances_from(T, prefix_NT, labels_N)[0].numpy()

    def _stage_log_chances(self, codes_NS, labels_N):
        found_NS = np.empty(codes_NS.shape)
        for some in pieces(len(codes_NS), self.n_stages_ * max(self.n_options_, self.hidden_size_)):
            codes = codes_NS[some]
            chances_SNK = self._log_chances_from(0, codes[:, :-1], labels_N[some])
            options_SN1 = torch.from_numpy(codes.T.astype(np.int64))[:, :, None]
            found_NS[some] = chances_SNK.gather(2, options_SN1)[:, :, 0].T.numpy()
        return found_NS

    def _log_chances_from(self, first, prefix_NT, labels_N):
        """Return the log probabilities (T + 1 - first, N, K) of options, float64 on the CPU."""
        network = self._network_on_device()
        device = network.biases.device
        prefix_NT, labels_N = (
            torch.from_numpy(array.astype(np.int64)).to(device) for array in (prefix_NT, labels_N)
        )
        with exact(device):
            return network(prefix_NT, labels_N, first).cpu().double().log_softmax(2)


class _Likelihood(Task):
    """What a fit trains: a network by the likelihood of codes."""

    def __init__(self, estimator):
        self.estimator = estimator

    def build(self):
        return self.estimator._network()

    def prepare(self, codes, labels):
        return torch.from_numpy(codes.astype(np.int64)), torch.from_numpy(labels.astype(np.int64))

    def loss(self, batch, weight):
        return weight @ self._nats(*batch)

    def errors(self, codes, labels, rows):
        @torch.no_grad()
        def nats(some):
            batch = self.prepare(codes[some], labels[some])
            return self._nats(*(t.to(self.device) for t in batch)).cpu().numpy()

        size = self.estimator.batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        return np.concatenate([*in_order(nats, batches, count_threads(None))])

    def work(self, n_rows):
        estimator = self.estimator
        hidden = estimator.hidden_size_
        of_stage = hidden * (4 * hidden * estimator.n_blocks_ + estimator.n_options_)
        return n_rows * estimator.n_stages_ * of_stage

    def _nats(self, codes_NS, labels_N):
        odds_SNK = self.network(codes_NS[:, :-1], labels_N)
        nats_SN = F.cross_entropy(
            odds_SNK.flatten(0, 1), codes_NS.T.flatten(), reduction="none"
        ).view(odds_SNK.shape[:2])
        return nats_SN.sum(0)

    def _size(self):
        estimator = self.estimator
        return f"hidden_size={estimator.hidden_size_} and n_blocks={estimator.n_blocks_}"

    _ways_to_a_smaller_network = ("a smaller hidden_size", "fewer n_blocks")
