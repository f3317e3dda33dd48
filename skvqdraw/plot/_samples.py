"""What codes that are drawn decode to."""

from numbers import Integral

import numpy as np

from ._display import GridDisplay, check_image_shape, fill_grid


class SamplesDisplay(GridDisplay):
    """Samples in a grid. Draw those of an estimator with :meth:`from_estimator`.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features)
        The rows to draw, from left to right and from top to bottom.
    image_shape : tuple of int or None, default=None
        (H, W) or (H, W, 3) to draw rows as images, channels last; None to draw them as signals.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn; the cell in line i and column j has its centre at x=j, y=i.
    im_, lines_ : matplotlib AxesImage and ndarray of Line2D of shape (n_lines, n_columns)
        All images, and all signals; the one that is not drawn is None.

    Examples
    --------
    >>> from skvqdraw import load_pretrained
    >>> from skvqdraw.plot import SamplesDisplay
    >>> vq = load_pretrained("mnist-60bit")
    >>> SamplesDisplay.from_estimator(vq, image_shape=(28, 28), random_state=0).samples.shape
    (25, 784)
    """

    def __init__(self, samples, *, image_shape=None):
        self.samples, self.image_shape = samples, image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        n_samples=25,
        prior=None,
        y=None,
        temperature=1.0,
        guide=None,
        image_shape=None,
        random_state=None,
        n_columns=None,
        vmin=None,
        vmax=None,
        ax=None,
    ):
        """Draw codes, decode them and draw what they decode to.

        Parameters
        ----------
        estimator : estimator of codes
            Fitted, such as :class:`~skvqdraw.VQDRAW`.
        n_samples : int, default=25
            Number of codes, 10 to 400.
        prior, y : prior, and label or array-like, default=None
            As ``sample_codes`` of the estimator takes them; without, codes are random.
        temperature : float, default=1.0
            That of the prior.
        guide : Guide or None, default=None
            As ``sample_codes`` takes it.
        image_shape : tuple of int or None, default=None
            As in the constructor.
        random_state : int, RandomState instance or None, default=None
            The seed belongs to the call: the same int gives the same codes.
        n_columns, vmin, vmax, ax : int, float, float and matplotlib Axes, default=None
            As :meth:`plot` takes them.

        Returns
        -------
        display : SamplesDisplay
            The display, drawn.
        """
        cls._check(estimator, "sample_codes", "decode")
        image_shape = check_image_shape(image_shape, estimator.n_features_in_)
        how = {"prior": prior, "y": y, "temperature": temperature, "guide": guide}
        codes = estimator.sample_codes(n_samples, **how, random_state=random_state)
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
            at the lower and the upper edge of a signal's cell. None takes the extremes of the
            samples; of images those of the middle 98 % of the values, and 0 for a lower one near
            it, as decoded pixels overshoot the range of those that were trained on. Give that range
            where it is known.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure, 15 cm wide if there are many columns.

        Returns
        -------
        display : SamplesDisplay
            The display itself.
        """
        n_samples = len(self.samples)
        n_columns = int(np.ceil(np.sqrt(n_samples))) if n_columns is None else n_columns
        if not isinstance(n_columns, Integral) or n_columns < 1:
            raise ValueError(
                f"n_columns must be an integer of at least 1 or None; got {n_columns!r}. None "
                "makes the grid about square."
            )
        cells = fill_grid(self.samples, -(-n_samples // n_columns), n_columns)
        shown = self.samples
        if self.image_shape:  # guess the range of the pixels that were trained on
            low, high = np.percentile(self.samples, [1, 99])
            shown = np.array([0 if abs(low) < high / 4 else low, high])
        self._draw_cells(cells, shown, vmin, vmax, ax)
        return self
