"""What is trained: all that a training knows of an estimator."""

import torch

from ..files.json import comes_with_package


class Task:
    """Base class of what is trained: a network, and what belongs to it.

    A subclass implements `build`, `prepare`, `loss` and `learned`; the rest where its training has
    more to say. Rows are read a batch at a time: X may be larger than memory.

    Attributes
    ----------
    network : torch.nn.Module or None
        What is trained; None before the training begins, unless it goes on with one.
    device : torch.device
        Where to compute. Set before the training begins.
    bf16 : bool
        Whether the network is to compute in bfloat16. Set before the training begins.
    one_pass : bool
        Whether other rows may follow in other calls. Set before the training begins.
    optimizer : torch.optim.Optimizer
        What moves the network's parameters, for `after_step`. Set before the first step.
    wants_places : bool
        Whether batches are to begin with the place of each row in the whole batch, from 0 to 1:
        the same however a batch is cut into parts and shared by processes.
    unit : float
        What `errors` are multiplied by to be in the units of X, and `tol` too.

    Examples
    --------
    >>> import torch
    >>> from skvqdraw.base import Task
    >>> class Mean(Task):
    ...     def build(self):
    ...         return torch.nn.Linear(1, 3, bias=False)
    ...
    ...     def prepare(self, X, y):
    ...         return (torch.tensor(X).float(),)
    ...
    ...     def loss(self, batch, weight):
    ...         return weight @ (batch[0] - self.network.weight[:, 0]).square().mean(1)
    """

    network = None
    device = None
    bf16 = False
    one_pass = False
    optimizer = None
    wants_places = False
    unit = 1.0

    def build(self):
        """Return a new network. It is called under a seed.

        Returns
        -------
        network : torch.nn.Module
            On the CPU.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement build.")

    def learn(self, X, y, rows, sample_weight, rng):
        """Learn from rows, before the first step, what is not trained.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            All rows.
        y : ndarray of shape (n_samples,) or None
            Their labels, where the estimator uses any.
        rows : ndarray of shape (n_rows,)
            Numbers of the rows to train on.
        sample_weight : ndarray of shape (n_samples,)
            Weights, 0 but for the rows to train on.
        rng : RandomState
            To draw from.
        """

    def arrays(self):
        """Return what `learn` learned beside the network; checkpoints hold it.

        Returns
        -------
        arrays : dict of ndarray
            By name.
        """
        return {}

    def load_arrays(self, arrays):
        """Take back what `arrays` returned, here or in another process.

        Parameters
        ----------
        arrays : dict of ndarray
            By name.
        """

    def prepare(self, X, y):
        """Return some rows as `loss` and `gradients` want them.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
            The rows.
        y : ndarray of shape (n_rows,) or None
            Their labels, where the estimator uses any.

        Returns
        -------
        batch : tuple of tensors
            On the CPU, rows first.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement prepare.")

    def loss(self, batch, weight):
        """Return the loss of some rows of a batch.

        Parameters
        ----------
        batch : tuple of tensors
            As `prepare` made them, on the device.
        weight : tensor of shape (n_rows,)
            Weight of each row; those of a whole batch add up to about 1.

        Returns
        -------
        loss : tensor
            The weighted sum over rows, a differentiable scalar.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement loss.")

    def work(self, n_rows):
        """Return how much there is to compute for a step: with little, one thread does it.

        Parameters
        ----------
        n_rows : int
            Rows that are computed together.

        Returns
        -------
        n_multiplications : int or None
            Of one evaluation of the network, about; None if it is not known.
        """
        return

    def sums(self):
        """Return what `gradients` adds to.

        Returns
        -------
        sums : dict of tensors
            Zeros on the device, by name.
        """
        return {"loss": torch.zeros((), device=self.device, dtype=torch.float32)}

    def gradients(self, batch, weight, sums):
        """Add the gradients of some rows of a batch to the network's.

        Parameters
        ----------
        batch : tuple of tensors
            As `prepare` made them, on the device.
        weight : tensor of shape (n_rows,)
            Weight of each row; those of a whole batch add up to about 1.
        sums : dict of tensors
            To be added to in place. They are summed over the batch and over all processes, as the
            gradients are.
        """
        loss = self.loss(batch, weight)
        loss.backward()
        sums["loss"] += loss.detach()

    def after_step(self, sums):
        """Change what the optimizer does not, such as buffers of the network.

        Parameters
        ----------
        sums : dict of tensors
            Those of the step, over all processes.
        """

    def record(self, sums, n_steps):
        """Return what the sums of some steps say.

        Parameters
        ----------
        sums : dict of tensors
            Those of all the steps.
        n_steps : int
            How many.

        Returns
        -------
        record : dict of float
            One is `loss`. They become a record of `loss_curve_`.
        """
        return {name: float(total) / n_steps for name, total in sums.items()}

    def errors(self, X, y, rows):
        """Return the error of some rows: what early stopping watches.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            All rows.
        y : ndarray of shape (n_samples,) or None
            Their labels, where the estimator uses any.
        rows : ndarray of shape (n_rows,)
            Numbers of those asked for.

        Returns
        -------
        errors : ndarray of shape (n_rows,)
            One for each, in the network's units, see `unit`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement errors.")

    def finish(self, X, y, rows, processes):
        """Learn from some training rows what the trained network is worth.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            All rows.
        y : ndarray of shape (n_samples,) or None
            Their labels, where the estimator uses any.
        rows : ndarray of shape (n_rows,)
            Numbers of some rows that were trained on.
        processes : object
            Those that train together: ``processes.share(rows)`` are this one's, ``processes.sum``
            adds up numbers.

        Returns
        -------
        problem : str or None
            What is wrong with the network, if it has gone astray. The last record cannot know: it
            is of the loss before the last step.
        """
        return

    def learned(self):
        """Return what the estimator learned, but for what any training makes.

        Returns
        -------
        learned : dict
            Its attributes by name, such as `code_usage_`.
        """
        return {}

    # For messages, and for networks of this library.

    _ways_to_a_smaller_network = ("a smaller network",)

    def _ways_to_smaller_steps(self):
        """Return what to set so that a step takes less memory, the best first."""
        return []

    def _size(self):
        """Return what memory depends on."""
        return "this network"

    def _is_ours(self):
        """Whether the network is ours; others may draw in any way while they are built."""
        return comes_with_package(type(self))
