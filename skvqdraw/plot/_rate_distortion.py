"""Error, or accuracy, against bits."""

from ..metrics import rate_distortion_curve
from ._display import Display, scale_errors

_MARKERS = "os^Dv*PX"
_LABELS = {"squared_error": "mean squared error", "accuracy": "share of features right"}


class RateDistortionDisplay(Display):
    """Error or accuracy of reconstructions against the bits of the code that they take.

    The numbers are those of :func:`skvqdraw.metrics.rate_distortion_curve`. Draw them with
    :meth:`from_estimator`. To compare estimators, draw the second on the `ax_` of the first.

    Parameters
    ----------
    bits, train : ndarray of shape (n_stages,)
        Bits of a row, and the metric of rows that were trained on, after each stage.
    validation : ndarray of shape (n_stages,) or None, default=None
        The same of other rows.
    name : str or None, default=None
        Name of the curve in the legend.
    metric : {"squared_error", "accuracy"}, default="squared_error"
        What `train` and `validation` are. Shares have no logarithmic scale.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn.
    lines_ : list of matplotlib Line2D
        The curve of `train` and, if it is there, that of `validation`.

    Examples
    --------
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.datasets import load_digits_images
    >>> from skvqdraw.plot import RateDistortionDisplay
    >>> X = load_digits_images().data
    >>> vq = VQDRAW(n_stages=3, n_options=4, max_steps=30, random_state=0).fit(X)
    >>> first = RateDistortionDisplay.from_estimator(vq, X, name="4 options")
    >>> vq = vq.set_params(n_options=16).fit(X)
    >>> RateDistortionDisplay.from_estimator(vq, X, name="16 options", ax=first.ax_).bits
    array([ 4.,  8., 12.])
    """

    def __init__(self, bits, train, *, validation=None, name=None, metric="squared_error"):
        self.bits, self.train, self.validation = bits, train, validation
        self.name, self.metric = name, metric

    @classmethod
    def from_estimator(
        cls, estimator, X, *, X_validation=None, metric="squared_error", name=None, ax=None
    ):
        """Measure the error, or the accuracy, after each stage and draw it.

        Parameters
        ----------
        estimator : estimator of codes
            Fitted, such as :class:`~skvqdraw.VQDRAW`.
        X : array-like of shape (n_samples, n_features)
            Rows that were trained on; a few thousand of them will do.
        X_validation : array-like of shape (n_samples, n_features) or None, default=None
            Other rows. A gap between the two curves is what was learned by heart.
        metric : {"squared_error", "accuracy"}, default="squared_error"
            What to measure: "accuracy", the share of features that come back equal, is for symbols.
        name : str or None, default=None
            Name of the curve in the legend; None for the name of the estimator's class.
        ax : matplotlib Axes or None, default=None
            Axes to draw on, such as `ax_` of another display; None makes a figure.

        Returns
        -------
        display : RateDistortionDisplay
            The display, drawn.
        """
        cls._need_matplotlib("from_estimator")
        curve = rate_distortion_curve(estimator, X, X_validation=X_validation, metric=metric)
        name = type(estimator).__name__ if name is None else name
        return cls(**curve, name=name, metric=metric).plot(ax=ax)

    def _draw(self, ax):
        ax = self._axes(ax)
        # One marker for each colour: the curves must be told apart without colours too.
        marker = _MARKERS[len({line.get_color() for line in ax.lines}) % len(_MARKERS)]
        style = {"marker": marker, "markersize": 5}
        if self.validation is None:
            self.lines_ = ax.plot(self.bits, self.train, label=self.name, **style)
        else:
            prefix = "" if self.name is None else f"{self.name}, "
            [main] = ax.plot(self.bits, self.validation, label=f"{prefix}validation", **style)
            style.update(color=main.get_color(), markerfacecolor="white", linestyle="--")
            [train] = ax.plot(self.bits, self.train, label=f"{prefix}training", **style)
            self.lines_ = [train, main]
        ax.set(xlabel="bits per row", ylabel=_LABELS[self.metric])
        if self.metric == "squared_error":
            scale_errors(ax)
        if ax.get_legend_handles_labels()[1]:
            ax.legend()
