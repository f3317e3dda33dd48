"""Rows, and what is known of them stage by stage."""

from numbers import Integral

import numpy as np

from .._numbers import as_numbers
from ._display import GridDisplay, check_image_shape

# More rows or columns are too many for a page.
_MAX_ROWS, _MAX_STAGES = 100, 11


class StagesDisplay(GridDisplay):
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
        (H, W) or (H, W, 3) to draw rows as images, channels last; None to draw them as signals,
        with the original in grey behind each reconstruction.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn; the cell in line i and column j has its centre at x=j, y=i.
    im_, lines_ : matplotlib AxesImage and ndarray of Line2D of shape (n_samples, 1 + n_shown)
        All images, and all signals; the one that is not drawn is None.

    Examples
    --------
    >>> from skvqdraw import load_pretrained
    >>> from skvqdraw.plot import StagesDisplay
    >>> vq = load_pretrained("mnist-60bit")
    >>> digits = vq.sample(5, random_state=0)
    >>> StagesDisplay.from_estimator(vq, digits, image_shape=(28, 28), stages=[0, 2, 10]).bits
    array([ 0., 12., 60.])
    """

    def __init__(self, originals, reconstructions, *, bits, image_shape=None):
        self.originals, self.reconstructions = originals, reconstructions
        self.bits, self.image_shape = bits, image_shape

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
            As in the constructor.
        stages : sequence of int or None, default=None
            After how many stages to show the reconstructions, each in [0, n_stages]; 0 gives the
            mean of the training data. None shows 0 and all of them, of more than ten about ten.
        vmin, vmax, ax : float, float and matplotlib Axes, default=None
            As :meth:`plot` takes them.

        Returns
        -------
        display : StagesDisplay
            The display, drawn.
        """
        cls._check(estimator, "encode", "decode")
        image_shape = check_image_shape(image_shape, estimator.n_features_in_)
        n_stages, n_options = estimator.code_usage_.shape
        stages = _check_stages(stages, getattr(estimator, "_prefix_lengths", range(n_stages + 1)))
        if np.ndim(X) == 2 and len(X) > _MAX_ROWS:
            raise ValueError(
                f"X must have at most {_MAX_ROWS} rows, which are drawn one below the other; got "
                f"{len(X)}. Pass some of them: X[:10]."
            )
        codes = estimator.encode(X)
        reconstructions = np.stack([estimator.decode(codes[:, :s]) for s in stages], axis=1)
        bits = stages * np.log2(n_options)
        display = cls(as_numbers(X, "X"), reconstructions, bits=bits, image_shape=image_shape)
        return display.plot(vmin=vmin, vmax=vmax, ax=ax)

    def _draw(self, vmin, vmax, ax):
        behind = self.originals[:, None]
        cells = np.concatenate([behind, self.reconstructions], axis=1)
        shown = self.originals if self.image_shape else cells
        ax = self._draw_cells(cells, shown, vmin, vmax, ax, behind=behind, margins=(0, 0.2))
        labels = ["original", *(f"{np.round(bits, 1):g} bits" for bits in self.bits)]
        ax.set_xticks(range(len(labels)), labels)
        ax.xaxis.tick_top()


def _check_stages(stages, lengths):
    """Return lengths of prefixes as an array, those to show by default for None."""
    if stages is None:
        n_shown = min(len(lengths), _MAX_STAGES)
        return np.array(lengths)[np.linspace(0, len(lengths) - 1, n_shown).round().astype(int)]
    shown, n_stages = list(stages) if np.iterable(stages) else [stages], lengths[-1]
    if not shown or not all(isinstance(s, Integral) and s in lengths for s in shown):
        allowed = f"[0, {n_stages}]" if len(lengths) > n_stages else f"{[*lengths]}"
        raise ValueError(
            f"stages must be a sequence of integers in {allowed}, numbers of stages to "
            f"decode; got {stages!r}. [0, {n_stages}] shows the mean and the whole code."
        )
    return np.array(shown)
