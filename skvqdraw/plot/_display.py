"""What displays share: what they ask for, their axes, and grids of rows of data.

A row is drawn as an image or as a signal. Its cell (i, j) has its centre at x = j, y = i
(downwards) and sides of 1, so that ticks, frames and labels need not know what is drawn. Axes:
N rows, I J lines and columns of the grid, D features, H W C image.
"""

from importlib.util import find_spec
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..metrics import check_code_estimator

# Inches. A figure that is printed as wide as it is, 15 cm, has its letters in the size they say.
WIDTH = 5.9
_MAX_CELL = 0.8


class Display:
    """A picture that `_draw` of a subclass draws, on axes from `_axes`."""

    def plot(self, *, ax=None):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on, as the class methods take them; None makes a figure.

        Returns
        -------
        display : object
            The display itself.
        """
        self._draw(ax)
        return self

    def _axes(self, ax, figsize=(WIDTH, 3.7), **subplots):
        """Return `ax`, or the axes of a new figure, and keep the first of them."""
        self._need_matplotlib("plot")
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots(figsize=figsize, layout="constrained", **subplots)[1]
        self.ax_ = ax[0] if np.iterable(ax) else ax
        self.figure_ = self.ax_.figure
        return ax

    @classmethod
    def _need_matplotlib(cls, name):
        """Raise ImportError, with what to install, if matplotlib is not there."""
        if find_spec("matplotlib") is None:
            raise ImportError(
                f'{cls.__name__}.{name} needs matplotlib. Install it: pip install "skvqdraw[plot]"'
            )

    @classmethod
    def _check(cls, estimator, *methods):
        """Raise unless matplotlib is there and `estimator` has `methods` and `code_usage_`."""
        cls._need_matplotlib("from_estimator")
        check_code_estimator(estimator, *methods)
        check_is_fitted(estimator)
        if not hasattr(estimator, "code_usage_"):
            raise TypeError(
                "estimator must have code_usage_ of shape (n_stages, n_options), which tells how "
                f"large codes are; got {type(estimator).__name__}, which lacks it. Set it in fit."
            )


class GridDisplay(Display):
    """A grid of rows: of images of `image_shape`, or of signals where that is None."""

    def plot(self, *, vmin=None, vmax=None, ax=None):
        """Draw the display.

        Parameters
        ----------
        vmin, vmax : float or None, default=None
            Values that are drawn white and black, or as the darkest and the brightest colour, or
            at the lower and the upper edge of a signal's cell. None takes them from what is drawn:
            for images 0 and 255 if the originals are uint8, otherwise the extremes of the
            originals; for signals the extremes of all of them.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure, 15 cm wide if there are many columns.

        Returns
        -------
        display : object
            The display itself.
        """
        self._draw(vmin, vmax, ax)
        return self

    def _draw_cells(self, cells_IJD, shown, vmin, vmax, ax, *, behind=None, margins=(0, 0)):
        """Draw each row of `cells_IJD` into its cell and return the axes.

        A row of NaN leaves its cell blank. If `vmin` or `vmax` is None, it is taken from `shown`.
        Signals are drawn on top of `behind`, which broadcasts to all of them, in grey. `margins`
        are the inches that labels take on the left and on top.
        """
        n_rows, n_columns, _ = cells_IJD.shape
        left, top = margins
        width = min((WIDTH - left) / n_columns, _MAX_CELL)
        h, w = (3, 4) if self.image_shape is None else _spacing(self.image_shape)
        height = width * h / w
        ax = self._axes(ax, (n_columns * width + left, n_rows * height + top))
        low, high = (0, 255) if shown.dtype == np.uint8 else (np.nanmin(shown), np.nanmax(shown))
        vmin, vmax = low if vmin is None else vmin, high if vmax is None else vmax
        if vmin > vmax:
            raise ValueError(
                f"vmin must be at most vmax; got vmin={vmin} and vmax={vmax}. Set or swap both."
            )
        self.im_ = self.lines_ = None
        if self.image_shape is None:
            self.lines_ = _draw_signals(ax, cells_IJD, vmin, vmax, behind)
        else:
            self.im_ = _draw_images(ax, cells_IJD, self.image_shape, vmin, vmax)
        ax.set(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.5, -0.5), xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelsize=8)
        return ax


def check_image_shape(image_shape, n_features):
    """Return `image_shape` as (H, W) or (H, W, 3) or None, or say what is wrong with it."""
    if image_shape is None:
        return None
    shape = tuple(image_shape) if np.iterable(image_shape) else (image_shape,)
    if (
        len(shape) not in (2, 3)
        or not all(isinstance(n, Integral) and n >= 1 for n in shape)
        or shape[2:] not in ((), (1,), (3,))
        or np.prod(shape) != n_features
    ):
        raise ValueError(
            "image_shape must be (H, W), (H, W, 1) or (H, W, 3), channels last, with as many "
            f"pixels times channels as a row has features, {n_features}; got {image_shape!r}. "
            "Give the shape of one image, or None to draw rows as signals."
        )
    return shape[:2] if shape[2:] == (1,) else shape


def fill_grid(rows_ND, n_rows, n_columns):
    """Return a grid with the rows in reading order and NaN after the last."""
    grid = np.full((n_rows * n_columns, rows_ND.shape[1]), np.nan)
    grid[: len(rows_ND)] = rows_ND
    return grid.reshape(n_rows, n_columns, -1)


def _spacing(image_shape):
    """Return the pixels from the start of an image to the next, down and across."""
    height, width = image_shape[:2]
    gap = max(1, round(max(height, width) / 16))
    return height + gap, width + gap


def _draw_images(ax, cells_IJD, image_shape, vmin, vmax):
    """Draw one mosaic of all cells, transparent between them."""
    n_rows, n_columns, _ = cells_IJD.shape
    height, width = image_shape[:2]
    coloured = len(image_shape) == 3
    images_IJHWC = cells_IJD.reshape(n_rows, n_columns, height, width, -1)
    if coloured:  # matplotlib itself scales grey images only
        colours_IJHWC = (images_IJHWC - vmin) / ((vmax - vmin) or 1)
        alpha_IJHW1 = np.isfinite(colours_IJHWC[..., :1])
        colours_IJHWC = np.where(alpha_IJHW1, colours_IJHWC, 0).clip(0, 1)
        images_IJHWC = np.concatenate([colours_IJHWC, alpha_IJHW1], axis=-1)
    h, w = _spacing(image_shape)
    gaps = [(0, 0), (0, 0), (0, h - height), (0, w - width), (0, 0)]
    mosaic = np.pad(images_IJHWC, gaps, constant_values=0 if coloured else np.nan)
    mosaic = mosaic.transpose(0, 2, 1, 3, 4).reshape(n_rows * h, n_columns * w, -1)
    mosaic = mosaic[: height - h, : width - w]  # no gap after the last
    x, y = width / w / 2, height / h / 2  # from the centre of an image to its edges
    extent = (-x, n_columns - 1 + x, n_rows - 1 + y, -y)
    style = {"cmap": "gray_r", "vmin": vmin, "vmax": vmax, "aspect": h / w}
    return ax.imshow(mosaic if coloured else mosaic[..., 0], extent=extent, **style)


def _draw_signals(ax, cells_IJD, vmin, vmax, behind):
    """Draw one line for each cell, from `vmin` to `vmax` high."""
    n_rows, n_columns, n_features = cells_IJD.shape
    row_I11, column_J1 = np.arange(n_rows)[:, None, None], np.arange(n_columns)[:, None]
    x_IJD = np.broadcast_to(column_J1 + np.linspace(-0.42, 0.42, n_features), cells_IJD.shape)

    def draw(signals_IJD, **style):
        y_IJD = row_I11 + 0.42 - 0.84 * (signals_IJD - vmin) / ((vmax - vmin) or 1)
        lines = ax.plot(x_IJD.reshape(-1, n_features).T, y_IJD.reshape(-1, n_features).T, **style)
        return np.array(lines, dtype=object).reshape(n_rows, n_columns)

    if behind is not None:
        draw(np.where(np.isfinite(cells_IJD), behind, np.nan), color="0.75", linewidth=2)
    return draw(cells_IJD, color="0", linewidth=0.8)


def scale_errors(ax):
    """Let errors that fall by shares, as they do from bit to bit, fall along straight lines."""
    if not any((line.get_ydata() <= 0).any() for line in ax.lines):
        ax.set_yscale("log")
