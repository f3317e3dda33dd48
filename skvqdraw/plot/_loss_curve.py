"""How a fit went."""

from collections.abc import Mapping

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._checks import check_matplotlib
from ._curves import curve_axes, scale_errors


class LossCurveDisplay:
    """Loss in the course of a fit.

    Draw it with :meth:`from_estimator`.

    Parameters
    ----------
    x : ndarray of shape (n_points,)
        Optimizer steps or stages.
    loss : ndarray of shape (n_points,)
        The loss on training rows.
    validation_loss : ndarray of shape (n_points,) or None, default=None
        The loss on rows set aside.
    entropy : ndarray of shape (n_points,) or None, default=None
        Bits of the codes in use; needs `max_entropy`.
    max_entropy : float or None, default=None
        What `entropy` would be if all options were used equally often.
    x_name : str, default="optimizer step"
        Label of `x`.
    loss_name : str, default="mean squared error"
        Label of `loss`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the loss.
    entropy_ax_ : matplotlib Axes or None
        The axes of the entropy, if it is drawn.
    figure_ : matplotlib Figure
        The figure.
    lines_ : list of matplotlib Line2D
        The curves of `loss`, `validation_loss` and `entropy`, as far as they are drawn.

    See Also
    --------
    RateDistortionDisplay : The error after each stage of a fitted estimator.

    Examples
    --------
    >>> from skvqdraw import load_pretrained
    >>> from skvqdraw.plot import LossCurveDisplay
    >>> display = LossCurveDisplay.from_estimator(load_pretrained("mnist-60bit"))
    >>> display.loss[0] > display.loss[-1]
    np.True_
    """

    def __init__(
        self,
        x,
        loss,
        *,
        validation_loss=None,
        entropy=None,
        max_entropy=None,
        x_name="optimizer step",
        loss_name="mean squared error",
    ):
        self.x = x
        self.loss = loss
        self.validation_loss = validation_loss
        self.entropy = entropy
        self.max_entropy = max_entropy
        self.x_name = x_name
        self.loss_name = loss_name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw what an estimator has recorded in `fit`.

        Parameters
        ----------
        estimator : estimator of codes
            Fitted, with `loss_curve_` as :class:`~skvqdraw.VQDRAW` has it, or with `stage_loss_`,
            one loss for each stage.
        ax : matplotlib Axes, pair of them or None, default=None
            Axes to draw the loss on, or those and others for the entropy; None makes a figure with
            both.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` has neither of the attributes.
        ValueError
            If its `loss_curve_` is empty.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        if hasattr(estimator, "stage_loss_"):
            loss = np.asarray(estimator.stage_loss_)
            stages = np.arange(1, len(loss) + 1)
            return cls(stages, loss, x_name="stages", loss_name="mean loss").plot(ax=ax)
        records = _records(estimator)
        validation_loss = _column(records, "validation_error")
        n_stages, n_options = estimator.code_usage_.shape
        display = cls(
            _column(records, "step"),
            _column(records, "error"),
            validation_loss=None if np.isnan(validation_loss).all() else validation_loss,
            entropy=_column(records, "entropy"),
            max_entropy=n_stages * np.log2(n_options),
        )
        return display.plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, pair of them or None, default=None
            Axes to draw the loss on, or those and others for the entropy; None makes a figure with
            both.

        Returns
        -------
        display : LossCurveDisplay
            The display itself.
        """
        ax, entropy_ax = self._axes(ax)
        from matplotlib.ticker import MaxNLocator

        style = {"markersize": 3}
        self.lines_ = ax.plot(self.x, self.loss, "o-", label="training", **style)
        if self.validation_loss is not None:
            self.lines_ += ax.plot(self.x, self.validation_loss, "s--", label="validation", **style)
            ax.legend()
        ax.set_ylabel(self.loss_name)
        scale_errors(ax)
        if entropy_ax is not None:
            self.lines_ += entropy_ax.plot(self.x, self.entropy, "o-", color="0.3", **style)
            entropy_ax.set_ylabel(f"entropy\n(of {self.max_entropy:.3g} bits)")
            # Near the top is where it should be: no magnifying glass for its noise there.
            low = min(0.8 * self.max_entropy, 0.95 * self.entropy.min())
            entropy_ax.set_ylim(low, 1.02 * self.max_entropy)
        lowest = ax if entropy_ax is None else entropy_ax
        lowest.set_xlabel(self.x_name)
        lowest.xaxis.set_major_locator(MaxNLocator(integer=True))
        self.ax_, self.entropy_ax_, self.figure_ = ax, entropy_ax, ax.figure
        return self

    def _axes(self, ax):
        """Return the axes of the loss, and those of the entropy or None."""
        caller = f"{type(self).__name__}.plot"
        check_matplotlib(caller)
        if np.iterable(ax) and len(ax) != 2:
            raise ValueError(
                "ax must be Axes, a pair of Axes for the loss and the entropy, or None; got "
                f"{len(ax)} of them."
            )
        if ax is None and self.entropy is not None:
            import matplotlib.pyplot as plt

            return plt.subplots(
                2, 1, sharex=True, height_ratios=(3, 1), figsize=(5.9, 4.5), layout="constrained"
            )[1]
        loss_ax, entropy_ax = ax if np.iterable(ax) else (curve_axes(caller, ax), None)
        return loss_ax, None if self.entropy is None else entropy_ax


def _records(estimator):
    """Return `loss_curve_`, or say what is wrong with it."""
    records = getattr(estimator, "loss_curve_", None)
    if records is None or not all(isinstance(record, Mapping) for record in records):
        raise TypeError(
            "estimator must have loss_curve_, the records of a fit as skvqdraw.VQDRAW keeps them, "
            f"or stage_loss_; got {type(estimator).__name__}, which has neither. Of a pipeline, "
            "pass the step that makes the codes."
        )
    if not records:
        raise ValueError(
            "loss_curve_ of estimator must have at least one record; it has none, as fit made no "
            "step. Raise max_steps or max_time and fit again."
        )
    return records


def _column(records, name):
    return np.array([record.get(name, np.nan) for record in records])
