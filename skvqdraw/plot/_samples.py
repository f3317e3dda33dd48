"""What random codes decode to."""

from numbers import Integral

import numpy as np

from ._cells import cell_axes, draw_cells, drawn_range
from ._checks import check_code_estimator, check_image_shape, check_matplotlib


class SamplesDisplay:
    """Decoded random codes in a grid.

    Draw it with :meth:`from_estimator`.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features)
        The rows to draw, from left to right and from top to bottom.
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
    lines_ : ndarray of matplotlib Line2D of shape (n_lines, n_columns) or None
        The signals; None if rows are drawn as images.

    Examples
    --------
    >>> from skvqdraw import load_pretrained
    >>> from skvqdraw.plot import SamplesDisplay
    >>> vq = load_pretrained("mnist-60bit")
    >>> display = SamplesDisplay.from_estimator(vq, image_shape=(28, 28), random_state=0)
    >>> display.samples.shape
    (25, 784)
    """

    def __init__(self, samples, *, image_shape=None):
        self.samples = samples
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        n_samples=25,
        image_shape=None,
        random_state=None,
        n_columns=None,
        vmin=None,
        vmax=None,
        ax=None,
    ):
        """Decode random codes and draw them.

        Parameters
        ----------
        estimator : estimator of codes
            Fitted, such as :class:`~skvqdraw.VQDRAW`.
        n_samples : int, default=25
            Number of codes, 10 to 400.
        image_shape : tuple of int or None, default=None
            (H, W) or (H, W, 3) to draw rows as images, channels last; None to draw them as
            signals.
        random_state : int, RandomState instance or None, default=None
            The seed belongs to the call: the same int gives the same codes.
        n_columns : int or None, default=None
            Columns of the grid; None makes it about square.
        vmin, vmax : float or None, default=None
            Values that are drawn white and black, or as the darkest and the brightest colour, or
            at the lower and the upper edge of a signal's cell. None takes the extremes of the
            samples; of images those of the middle 98 % of the values, and 0 for a lower one near
            it, as decoded pixels overshoot the range of those that were trained on. Give that range
            where it is known.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure, 15 cm wide if there are many columns.

        Returns
        -------
        display : SamplesDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` does not make codes.
        ValueError
            If `image_shape` does not fit the estimator.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_code_estimator(estimator, "sample_codes", "decode")
        image_shape = check_image_shape(image_shape, estimator.n_features_in_)
        codes = estimator.sample_codes(n_samples, random_state=random_state)
        display = cls(estimator.decode(codes), image_shape=image_shape)
        return display.plot(n_columns=n_columns, vmin=vmin, vmax=vmax, ax=ax)

    def plot(self, *, n_columns=None, vmin=None, vmax=None, ax=None):
        """Draw the display.

        Parameters
        ----------
        n_columns : int or None, default=None
            Columns of the grid; None makes it about square.
        vmin, vmax : float or None, default=None
            Values that are drawn white and black, or as the darkest and the brightest colour, or
            at the lower and the upper edge of a signal's cell. None takes them from the samples,
            see :meth:`from_estimator`.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : SamplesDisplay
            The display itself.
        """
        n_samples, n_features = self.samples.shape
        if n_columns is None:
            n_columns = int(np.ceil(np.sqrt(n_samples)))
        if not isinstance(n_columns, Integral) or n_columns < 1:
            raise ValueError(
                f"n_columns must be an integer of at least 1 or None; got {n_columns!r}. None "
                "makes the grid about square."
            )
        n_rows = -(-n_samples // n_columns)
        ax = cell_axes(f"{type(self).__name__}.plot", ax, (n_rows, n_columns), self.image_shape)
        cells = np.full((n_rows * n_columns, n_features), np.nan)
        cells[:n_samples] = self.samples
        shown = _range_of_pixels(self.samples) if self.image_shape else self.samples
        vmin, vmax = drawn_range(vmin, vmax, shown)
        self.im_, self.lines_ = draw_cells(
            ax,
            cells.reshape(n_rows, n_columns, n_features),
            self.image_shape,
            vmin=vmin,
            vmax=vmax,
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _range_of_pixels(samples):
    """Guess the range of the pixels that were trained on: decoded ones overshoot it a little."""
    low, high = np.percentile(samples, [1, 99])
    return np.array([0 if abs(low) < high / 4 else low, high])
