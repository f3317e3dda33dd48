"""How often each option is chosen."""

import numpy as np

from .._codes import entropy_bits
from ..metrics import code_usage
from ._display import WIDTH, Display

_MAX_LABELS = 24


class CodeUsageDisplay(Display):
    """How often each option of each stage is chosen, and the entropy of each stage.

    The darker, the more often; options that were never chosen are white. The entropy on the right
    is that of one stage by itself: log2(n_options) bits if all its options are chosen equally
    often, as `sample` of an estimator supposes. The shares are what
    :func:`skvqdraw.metrics.code_usage` returns.

    Parameters
    ----------
    usage : ndarray of shape (n_stages, n_options)
        Share of rows that use each option; each stage sums to 1.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn; the cell of option k of stage s has its centre at x=k, y=s.
    colorbar_, entropy_ax_ : matplotlib Colorbar and Axes
        The legend of the colours, and the axis on the right, whose labels are the entropies.
    im_ : matplotlib AxesImage
        The map; options that were never chosen are masked.

    Examples
    --------
    >>> from skvqdraw import load_pretrained
    >>> from skvqdraw.plot import CodeUsageDisplay
    >>> CodeUsageDisplay.from_estimator(load_pretrained("mnist-60bit")).usage.shape
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
        """
        if X is None:
            cls._check(estimator)
            return cls(estimator.code_usage_).plot(ax=ax)
        cls._check(estimator, "encode")
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
        """
        cls._need_matplotlib("from_codes")
        return cls(code_usage(codes, n_options)).plot(ax=ax)

    def _draw(self, ax):
        n_stages, n_options = self.usage.shape
        ax = self._axes(ax, (WIDTH, 1.6 + 0.2 * min(n_stages, 32)))
        import matplotlib
        from matplotlib.ticker import MaxNLocator

        unused = self.usage == 0
        # The more, the darker: in grey print too, white for none is next to little.
        cmap = matplotlib.colormaps["viridis_r"].with_extremes(bad="white")
        usage = np.ma.masked_where(unused, self.usage)
        self.im_ = ax.imshow(usage, cmap=cmap, vmin=0, aspect="auto", interpolation="nearest")
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
