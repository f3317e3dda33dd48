"""Rows, and what is known of them stage by stage."""

from numbers import Integral

import numpy as np

from ._cells import cell_axes, draw_cells, drawn_range
from ._checks import check_code_estimator, check_image_shape, check_matplotlib

# More rows or columns are too many for a page.
_MAX_ROWS, _MAX_COLUMNS = 100, 11


class StagesDisplay:
    """Rows of data beside their reconstructions, stage by stage.

    One line of the grid for each row, with the original on the left and what its code shows of it
    after more and more stages. Draw it with :meth:`from_estimator`.

    Parameters
    ----------
    originals : ndarray of shape (n_samples, n_features)
        The rows.
    reconstructions : ndarray of shape (n_samples, n_shown, n_features)
        Their reconstructions.
    bits : ndarray of shape (n_shown,)
        Bits of a code that each of the reconstructions takes.
    image_shape : tuple of int or None, default=None
        (H, W) or (H, W, 3) to draw rows as images, channels last; None to draw them as signals.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes; the cell in line i and column j has its centre at x=j, y=i.
    figure_ : matplotlib Figure
        The figure.
    im_ : matplotlib AxesImage or None
        All images; None if rows are drawn as signals.
    lines_ : ndarray of matplotlib Line2D of shape (n_samples, 1 + n_shown) or None
        The signals; None if rows are drawn as images.

    See Also
    --------
    ProposalsDisplay : What there was to choose from at one of the stages.

    Examples
    --------
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.datasets import load_digits_images
    >>> from skvqdraw.plot import StagesDisplay
    >>> digits = load_digits_images()
    >>> vq = VQDRAW(n_stages=4, n_options=16, max_steps=30, random_state=0).fit(digits.data)
    >>> display = StagesDisplay.from_estimator(vq, digits.data[:8], image_shape=(8, 8))
    >>> display.bits
    array([ 0.,  4.,  8., 12., 16.])
    """

    def __init__(self, originals, reconstructions, *, bits, image_shape=None):
        self.originals = originals
        self.reconstructions = reconstructions
        self.bits = bits
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls, estimator, X, *, image_shape=None, stages=None, vmin=None, vmax=None, ax=None
    ):
        """Encode rows, decode prefixes of their codes and draw them.

        Parameters
        ----------
        estimator : estimator of codes
            Fitted, such as :class:`~skvqdraw.VQDRAW`.
        X : array-like of shape (n_samples, n_features)
            Rows to draw, up to 100; 5 to 10 look well.
        image_shape : tuple of int or None, default=None
            (H, W) or (H, W, 3) to draw rows as images, channels last; None to draw them as
            signals, with the original in grey behind each reconstruction.
        stages : sequence of int or None, default=None
            After how many stages to show the reconstructions, each in [0, n_stages]; 0 stages give
            the mean of the training data. None shows 0 and all of them, of more than ten about
            ten.
        vmin, vmax : float or None, default=None
            Values that are drawn white and black, or as the darkest and the brightest colour, or
            at the lower and the upper edge of a signal's cell. None takes them from what is drawn:
            0 and 255 if X is uint8, otherwise the extremes of X (of X and the reconstructions, for
            signals).
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure, 15 cm wide if there are many columns.

        Returns
        -------
        display : StagesDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` does not make codes.
        ValueError
            If `image_shape` or `stages` do not fit the estimator, or `X` has too many rows.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_code_estimator(estimator, "encode", "decode")
        image_shape = check_image_shape(image_shape, estimator.n_features_in_)
        n_stages, n_options = estimator.code_usage_.shape
        stages = _check_stages(stages, n_stages)
        if np.ndim(X) == 2 and len(X) > _MAX_ROWS:
            raise ValueError(
                f"X must have at most {_MAX_ROWS} rows, which are drawn one below the other; got "
                f"{len(X)}. Pass some of them: X[:10]."
            )
        codes = estimator.encode(X)
        display = cls(
            np.asarray(X),
            np.stack([estimator.decode(codes[:, :s]) for s in stages], axis=1),
            bits=stages * np.log2(n_options),
            image_shape=image_shape,
        )
        return display.plot(vmin=vmin, vmax=vmax, ax=ax)

    def plot(self, *, vmin=None, vmax=None, ax=None):
        """Draw the display.

        Parameters
        ----------
        vmin, vmax : float or None, default=None
            Values that are drawn white and black, or as the darkest and the brightest colour, or
            at the lower and the upper edge of a signal's cell. None takes them from what is drawn,
            see :meth:`from_estimator`.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : StagesDisplay
            The display itself.
        """
        cells = np.concatenate([self.originals[:, None], self.reconstructions], axis=1)
        ax = cell_axes(
            f"{type(self).__name__}.plot", ax, cells.shape[:2], self.image_shape, margins=(0, 0.2)
        )
        vmin, vmax = drawn_range(vmin, vmax, self.originals if self.image_shape else cells)
        self.im_, self.lines_ = draw_cells(
            ax,
            cells,
            self.image_shape,
            vmin=vmin,
            vmax=vmax,
            behind=self.originals[:, None],
        )
        labels = ["original", *(f"{np.round(bits, 1):g} bits" for bits in self.bits)]
        ax.set_xticks(range(len(labels)), labels)
        ax.xaxis.tick_top()
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _check_stages(stages, n_stages):
    """Return numbers of stages as an array, those to show by default for None."""
    if stages is None:
        n_shown = min(n_stages + 1, _MAX_COLUMNS)
        return np.linspace(0, n_stages, n_shown).round().astype(int)
    shown = list(stages) if np.iterable(stages) else [stages]
    if not shown or not all(isinstance(s, Integral) and 0 <= s <= n_stages for s in shown):
        raise ValueError(
            f"stages must be a sequence of integers in [0, {n_stages}], numbers of stages to "
            f"decode; got {stages!r}. [0, {n_stages}] shows the mean and the whole code."
        )
    return np.array(shown)
