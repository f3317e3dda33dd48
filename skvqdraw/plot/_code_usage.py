"""How often each option is chosen."""

import numpy as np

from .._codes import entropy_bits
from ._checks import check_code_estimator, check_matplotlib
from ._curves import curve_axes

_MAX_LABELS = 24


class CodeUsageDisplay:
    """How often each option of each stage is chosen, and the entropy of each stage.

    The darker, the more often; options that were never chosen are white. The entropy on the right
    is that of one stage by itself: log2(n_options) bits if all its options are chosen equally
    often, as `sample` of an estimator supposes. Draw it with :meth:`from_estimator` or
    :meth:`from_codes`.

    Parameters
    ----------
    usage : ndarray of shape (n_stages, n_options)
        Share of rows that use each option; each stage sums to 1.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes; the cell of option k of stage s has its centre at x=k, y=s.
    colorbar_ : matplotlib Colorbar
        The legend of the colours.
    entropy_ax_ : matplotlib Axes
        The axis on the right, whose labels are the entropies.
    figure_ : matplotlib Figure
        The figure.
    im_ : matplotlib AxesImage
        The map; options that were never chosen are masked.

    See Also
    --------
    skvqdraw.metrics.code_usage : The numbers.

    Examples
    --------
    >>> from skvqdraw import load_pretrained
    >>> from skvqdraw.plot import CodeUsageDisplay
    >>> display = CodeUsageDisplay.from_estimator(load_pretrained("mnist-60bit"))
    >>> display.usage.shape
    (10, 64)
    """

    def __init__(self, usage):
        self.usage = usage

    @classmethod
    def from_estimator(cls, estimator, X=None, *, ax=None):
        """Count the options in the codes of rows and draw their shares.

        Parameters
        ----------
        estimator : estimator of codes
            Fitted, such as :class:`~skvqdraw.VQDRAW`.
        X : array-like of shape (n_samples, n_features) or None, default=None
            Rows to encode, ten or more times as many as there are options; None for
            `code_usage_`, which `fit` has counted on training rows.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : CodeUsageDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` does not make codes.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        if X is None:
            check_code_estimator(estimator)
            return cls(estimator.code_usage_).plot(ax=ax)
        check_code_estimator(estimator, "encode")
        return cls.from_codes(estimator.encode(X), estimator.code_usage_.shape[1], ax=ax)

    @classmethod
    def from_codes(cls, codes, n_options, *, ax=None):
        """Count the options in codes and draw their shares.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_stages)
            Integers in ``[0, n_options)``, ten or more times as many rows as there are options.
        n_options : int
            Number of options per stage.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : CodeUsageDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `codes` is not a 2-D array of integers in ``[0, n_options)`` with a row and a
            column.
        """
        from ..metrics import code_usage

        check_matplotlib(f"{cls.__name__}.from_codes")
        return cls(code_usage(codes, n_options)).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : CodeUsageDisplay
            The display itself.
        """
        n_stages, n_options = self.usage.shape
        ax = curve_axes(f"{type(self).__name__}.plot", ax, height=1.6 + 0.2 * min(n_stages, 32))
        import matplotlib
        from matplotlib.ticker import MaxNLocator

        unused = self.usage == 0
        # The more, the darker: in grey print too, white for none is next to little.
        cmap = matplotlib.colormaps["viridis_r"].with_extremes(bad="white")
        self.im_ = ax.imshow(
            np.ma.masked_where(unused, self.usage),
            cmap=cmap,
            vmin=0,
            aspect="auto",
            interpolation="nearest",
        )
        note = " (white: never chosen)" if unused.any() else ""
        ax.set(xlabel=f"option{note}", ylabel="stage")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 4, 5, 8, 10]))
        stages = np.arange(0, n_stages, -(-n_stages // _MAX_LABELS))
        ax.set_yticks(stages)
        self.entropy_ax_ = ax.secondary_yaxis("right")
        self.entropy_ax_.set_yticks(stages, [f"{entropy_bits(self.usage[s]):.2f}" for s in stages])
        self.entropy_ax_.set_ylabel(f"entropy (of {np.log2(n_options):.3g} bits)")
        self.entropy_ax_.tick_params(length=0)
        self.colorbar_ = ax.figure.colorbar(
            self.im_, ax=ax, location="top", label="share of rows", aspect=40
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self
