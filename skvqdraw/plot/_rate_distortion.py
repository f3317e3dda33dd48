"""Error against bits."""

from ._checks import check_matplotlib
from ._curves import curve_axes, scale_errors

_MARKERS = "os^Dv*PX"


class RateDistortionDisplay:
    """Error of reconstructions against the bits of the code that they take.

    Draw it with :meth:`from_estimator`. To compare estimators, draw the second on the `ax_` of the
    first.

    Parameters
    ----------
    bits : ndarray of shape (n_stages,)
        Bits of a row after each stage.
    train : ndarray of shape (n_stages,)
        Mean squared error after each stage, of rows that were trained on.
    validation : ndarray of shape (n_stages,) or None, default=None
        The same of other rows.
    name : str or None, default=None
        Name of the curve in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.
    figure_ : matplotlib Figure
        The figure.
    lines_ : list of matplotlib Line2D
        The curve of `train` and, if it is there, that of `validation`.

    See Also
    --------
    skvqdraw.metrics.rate_distortion_curve : The numbers.

    Examples
    --------
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.datasets import load_digits_images
    >>> from skvqdraw.plot import RateDistortionDisplay
    >>> X = load_digits_images().data
    >>> display = None
    >>> for n_options in (4, 16):
    ...     vq = VQDRAW(n_stages=3, n_options=n_options, max_steps=30, random_state=0).fit(X)
    ...     display = RateDistortionDisplay.from_estimator(
    ...         vq, X, name=f"{n_options} options", ax=display and display.ax_
    ...     )
    >>> display.bits
    array([ 4.,  8., 12.])
    """

    def __init__(self, bits, train, *, validation=None, name=None):
        self.bits = bits
        self.train = train
        self.validation = validation
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, X, *, X_validation=None, name=None, ax=None):
        """Measure the error after each stage and draw it.

        Parameters
        ----------
        estimator : estimator of codes
            Fitted, such as :class:`~skvqdraw.VQDRAW`.
        X : array-like of shape (n_samples, n_features)
            Rows that were trained on; a few thousand of them will do.
        X_validation : array-like of shape (n_samples, n_features) or None, default=None
            Other rows. A gap between the two curves is what was learned by heart.
        name : str or None, default=None
            Name of the curve in the legend; None for the name of the estimator's class.
        ax : matplotlib Axes or None, default=None
            Axes to draw on, such as `ax_` of another display; None makes a figure.

        Returns
        -------
        display : RateDistortionDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` does not make codes.
        """
        from ..metrics import rate_distortion_curve

        check_matplotlib(f"{cls.__name__}.from_estimator")
        curve = rate_distortion_curve(estimator, X, X_validation=X_validation)
        name = type(estimator).__name__ if name is None else name
        return cls(**curve, name=name).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : RateDistortionDisplay
            The display itself.
        """
        ax = curve_axes(f"{type(self).__name__}.plot", ax)
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
        ax.set(xlabel="bits per row", ylabel="mean squared error")
        scale_errors(ax)
        if ax.get_legend_handles_labels()[1]:
            ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self
