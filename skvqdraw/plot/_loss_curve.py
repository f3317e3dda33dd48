"""How a fit went."""

from collections.abc import Mapping

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._display import WIDTH, Display, scale_errors


class LossCurveDisplay(Display):
    """Loss in the course of a fit. Draw it with :meth:`from_estimator`.

    Parameters
    ----------
    x, loss : ndarray of shape (n_points,)
        Optimizer steps or stages, and the loss on training rows there.
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
    ax_, figure_ : matplotlib Axes and Figure
        Where the loss is drawn.
    entropy_ax_ : matplotlib Axes or None
        The axes of the entropy, if it is drawn.
    lines_ : list of matplotlib Line2D
        The curves of `loss`, `validation_loss` and `entropy`, as far as they are drawn.

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
        self.x, self.loss, self.validation_loss = x, loss, validation_loss
        self.entropy, self.max_entropy = entropy, max_entropy
        self.x_name, self.loss_name = x_name, loss_name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw what an estimator has recorded in `fit`.

        Parameters
        ----------
        estimator : estimator of codes
            Fitted, with one or more records in `loss_curve_`, as :class:`~skvqdraw.VQDRAW` has
            them, or with `stage_loss_`, one loss for each stage.
        ax : matplotlib Axes, pair of them or None, default=None
            Axes of the loss, or of the loss and the entropy; None makes a figure with both.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.
        """
        cls._need_matplotlib("from_estimator")
        check_is_fitted(estimator)
        if hasattr(estimator, "stage_loss_"):
            loss = np.asarray(estimator.stage_loss_)
            stages = np.arange(1, len(loss) + 1)
            return cls(stages, loss, x_name="stages", loss_name="mean loss").plot(ax=ax)
        records = getattr(estimator, "loss_curve_", None)
        if records is None or not all(isinstance(record, Mapping) for record in records):
            raise TypeError(
                "estimator must have loss_curve_, the records of a fit as skvqdraw.VQDRAW keeps "
                f"them, or stage_loss_; got {type(estimator).__name__}, which has neither. Of a "
                "pipeline, pass the step that makes the codes."
            )
        if not records:
            raise ValueError(
                "loss_curve_ of estimator must have at least one record; it has none, as fit made "
                "no step. Raise max_steps or max_time and fit again."
            )
        step, loss, validation_loss, entropy = (
            np.array([record.get(name, np.nan) for record in records])
            for name in ("step", "error", "validation_error", "entropy")
        )
        if np.isnan(validation_loss).all():
            validation_loss = None
        n_stages, n_options = estimator.code_usage_.shape
        bits = {"entropy": entropy, "max_entropy": n_stages * np.log2(n_options)}
        return cls(step, loss, validation_loss=validation_loss, **bits).plot(ax=ax)

    def _draw(self, ax):
        if np.iterable(ax) and len(ax) != 2:
            raise ValueError(
                "ax must be Axes, a pair of Axes for the loss and the entropy, or None; got "
                f"{len(ax)} of them."
            )
        both = {"figsize": (WIDTH, 4.5), "nrows": 2, "sharex": True, "height_ratios": (3, 1)}
        axes = self._axes(ax) if self.entropy is None else self._axes(ax, **both)
        ax, entropy_ax = axes if np.iterable(axes) else (axes, None)
        self.entropy_ax_ = entropy_ax = None if self.entropy is None else entropy_ax
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
