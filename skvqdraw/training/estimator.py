"""Estimators that train a network: their share of `fit` and `partial_fit`."""

import os
import time
from copy import deepcopy
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import check_random_state

from .._base import CodeTransformer, unchanged_on_failure
from .._device import resolve_device, undisturbed
from .._fork import Lock
from .._numbers import check_weights
from .._sklearn import Interval, StrOptions, fit_context, validate_params
from ..files.learned import Number, Records
from ..nn.arrays import Network
from .distributed import find_processes
from .fit import Fit, draw_seed
from .identity import identity_of, identity_of_memory, refuse_differences
from .plan import Plan
from .schedule import constant

# Held while a network moves to another device.
_moving = Lock()


class TrainedMixin:
    """Mixin of estimators that train a network by gradients.

    A subclass implements `_task`, which says what is trained, and `_network`. Whichever of the
    parameters named in `_parameter_constraints` it has, `fit` takes from it.
    """

    _parameter_constraints: dict = {
        "max_steps": [Interval(Integral, 0, None, closed="left"), None],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "gradient_accumulation": [Interval(Integral, 1, None, closed="left")],
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
        "n_jobs": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Integral, None, -1, closed="right"),
            None,
        ],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    _learned: dict = {
        "network_": Network(),
        "loss_curve_": Records(),
        "n_steps_": Number(Interval(Integral, 0, 2**53, closed="both")),  # exact as a float, too
    }
    # What may change while a fit goes on: where and in how many parts it is computed, and what it
    # says. Of `warm_start`, the model that the fit goes on from is compared.
    _free_params = frozenset(
        {
            "checkpoint",
            "checkpoint_every",
            "device",
            "gradient_accumulation",
            "verbose",
            "warm_start",
        }
    )

    def _task(self, resume):
        """Return a new `Task`, knowing `n_features_in_`.

        To `resume`, it takes what was learned beside the network, of which it is given a copy.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement _task.")

    def _network(self):
        """Return a new network, such as the one that was learned."""
        raise NotImplementedError(f"{type(self).__name__} must implement _network.")

    def _labels(self, X, y):
        """Return what `fit` is to use of y, an array of one label for each row, or None."""
        return

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, floats or integers. Kept as they are and cast batch by batch: a memory
            map is never read whole into memory.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss, and in what is learned of the data besides.

        Returns
        -------
        self : object
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
        plan = Plan.of(self)
        resume = getattr(self, "warm_start", False) and hasattr(self, "network_")
        self._fit(X, y, sample_weight, plan, resume=resume)
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Go on training with one pass over the given rows, at a constant learning rate.

        The first call starts the network from its rows: let them be many and typical. What it
        learns of the data besides, such as their centre and scale, is theirs for ever; the
        optimizer's state is kept from call to call.

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
        self : object
            The fitted estimator.

        Raises
        ------
        FloatingPointError
            If the loss becomes infinite or NaN.
        MemoryError
            If memory does not suffice for a step; the message says what takes less.
        """
        one_pass = {"one_pass": True, "schedule": constant, "n_records": 1}
        plan = Plan.of(self, **one_pass, checkpoint=None, early_stopping=False)
        self._fit(X, y, sample_weight, plan, resume=hasattr(self, "network_"))
        return self

    def _fit(self, X, y, sample_weight, plan, *, resume):
        """Train by a plan, and learn all that was learned: all of it or nothing."""
        started = time.perf_counter()
        device = resolve_device(plan.device)
        with unchanged_on_failure(self), undisturbed(device):
            X = self._validate_X(X, reset=not resume)
            if resume and isinstance(self, CodeTransformer):
                self._widen_range(X)
            y = self._labels(X, y)
            weight = check_weights(sample_weight, X)
            task = self._task(resume)
            if resume:
                task.network = deepcopy(self._network_on_device())
            task.one_pass = plan.one_pass
            memory = vars(self).pop("_partial_fit_state", None) if plan.one_pass else None

            def identity():
                return identity_of(self, X, y, weight, task)

            rng = check_random_state(self.random_state)
            processes = find_processes(device)
            if processes.size > 1:
                rng = self._same_in_all(processes, identity(), memory, plan, rng)
            name = type(self).__name__
            fit = Fit(task, X, y, weight, plan, rng, processes, started, name)
            if resume:
                fit.loss_curve, fit.step = list(self.loss_curve_), self.n_steps_
            fit.run(identity, memory)
            vars(self).update(task.learned())
            self.network_ = task.network
            self.loss_curve_ = fit.loss_curve
            self.n_steps_ = fit.state.step
            vars(self).pop("_partial_fit_state", None)
            if plan.one_pass:
                self._partial_fit_state = fit.memory()

    def _refuse_changes(self, fitted_and_same):
        """Refuse to go on with a parameter that is not the same: {name: (value fitted, same)}."""
        for name, (fitted, same) in fitted_and_same.items():
            if not same:
                raise ValueError(
                    f"{name} cannot change while training goes on; fitted with {fitted}, got "
                    f"{getattr(self, name)}. Set it back, or start again with warm_start=False "
                    "and fit."
                )

    def _same_in_all(self, processes, identity, memory, plan, rng):
        """Refuse to train in processes that were given different things; return a common rng."""
        identity["gradient_accumulation"] = plan.gradient_accumulation
        identity["the kind of device"] = resolve_device(plan.device).type
        identity["what partial_fit goes on from"] = identity_of_memory(memory)
        refuse_differences(processes, identity)
        if isinstance(self.random_state, Integral):
            return rng
        seed = processes.from_first(lambda: draw_seed(rng), lambda seed: str(seed).encode(), int)
        return np.random.RandomState(seed)

    def _network_on_device(self):
        """Return the network, on the device that is now set."""
        for name in {"device", "precision"} & vars(self).keys():
            validate_params(self, name)
        network, device = self.network_, resolve_device(getattr(self, "device", "cpu"))
        # Moving sets all parameters anew, one by one, and other threads may want to use them.
        with _moving, torch.inference_mode(False):
            if next(network.parameters()).device != device:
                network.to(device)
        return network

    def _saved_params(self):
        # Where a fit writes its checkpoints is of the machine that fitted: not for a file to say.
        params = {**super()._saved_params()}
        params.pop("checkpoint", None)
        if isinstance(params.get("device"), torch.device):
            params["device"] = str(params["device"])
        return params
