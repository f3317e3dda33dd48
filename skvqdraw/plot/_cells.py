"""A grid of rows of data on one pair of axes, each drawn as an image or as a signal.

Cell (i, j) has its centre at x = j, y = i (downwards) and sides of 1, so that ticks, frames and
labels need not know what is drawn. Axes: I J lines and columns of the grid, D features, H W C
image.
"""

import numpy as np

from ._checks import check_matplotlib

# Inches. A figure that is printed as wide as it is, 15 cm, has its letters in the size they say.
_WIDTH = 5.9
_MAX_CELL = 0.8


def cell_axes(caller, ax, grid_shape, image_shape, *, margins=(0, 0)):
    """Return `ax`, or the axes of a new figure for a grid of cells.

    `margins` are the inches that labels take on the left and on top.
    """
    check_matplotlib(caller)
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    n_rows, n_columns = grid_shape
    width = min((_WIDTH - margins[0]) / n_columns, _MAX_CELL)
    height = 0.75 * width
    if image_shape is not None:
        h, w = _spacing(image_shape)
        height = width * h / w
    figsize = (n_columns * width + margins[0], n_rows * height + margins[1])
    return plt.subplots(figsize=figsize, layout="constrained")[1]


def drawn_range(vmin, vmax, shown):
    """Return `vmin` and `vmax`; those that are None are 0 and 255 or the extremes of `shown`."""
    known = (0, 255) if shown.dtype == np.uint8 else (np.nanmin(shown), np.nanmax(shown))
    vmin = known[0] if vmin is None else vmin
    vmax = known[1] if vmax is None else vmax
    if vmin > vmax:
        raise ValueError(
            f"vmin must be at most vmax; got vmin={vmin} and vmax={vmax}. Set both, or swap them."
        )
    return vmin, vmax


def draw_cells(ax, cells_IJD, image_shape, *, vmin, vmax, behind=None):
    """Draw each row of `cells_IJD` into its cell; a row of NaN leaves its cell blank.

    Signals are drawn on top of `behind`, which broadcasts to all of them, in grey.

    Returns
    -------
    im : AxesImage or None
        All images.
    lines : ndarray of Line2D of shape (I, J) or None
        All signals.
    """
    if image_shape is None:
        im, lines = None, _draw_signals(ax, cells_IJD, vmin, vmax, behind)
    else:
        im, lines = _draw_images(ax, cells_IJD, image_shape, vmin, vmax), None
    n_rows, n_columns, _ = cells_IJD.shape
    ax.set(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.5, -0.5), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=8)
    return im, lines


def _spacing(image_shape):
    """Return the pixels from the start of an image to the next, down and across."""
    height, width = image_shape[:2]
    gap = max(1, round(max(height, width) / 16))
    return height + gap, width + gap


def _draw_images(ax, cells_IJD, image_shape, vmin, vmax):
    """Draw one mosaic of all cells, transparent between them."""
    n_rows, n_columns, _ = cells_IJD.shape
    height, width = image_shape[:2]
    images_IJHWC = cells_IJD.reshape(n_rows, n_columns, height, width, -1)
    if len(image_shape) == 3:  # matplotlib itself scales grey images only
        images_IJHWC = _with_alpha((images_IJHWC - vmin) / ((vmax - vmin) or 1))
    h, w = _spacing(image_shape)
    mosaic = np.pad(
        images_IJHWC,
        [(0, 0), (0, 0), (0, h - height), (0, w - width), (0, 0)],
        constant_values=0 if len(image_shape) == 3 else np.nan,
    )
    mosaic = mosaic.transpose(0, 2, 1, 3, 4).reshape(n_rows * h, n_columns * w, -1)
    mosaic = mosaic[: height - h, : width - w]  # no gap after the last
    return ax.imshow(
        mosaic[..., 0] if len(image_shape) == 2 else mosaic,
        cmap="gray_r",
        vmin=vmin,
        vmax=vmax,
        extent=(
            -width / w / 2,
            n_columns - 1 + width / w / 2,
            n_rows - 1 + height / h / 2,
            -height / h / 2,
        ),
        aspect=h / w,
    )


def _with_alpha(images_IJHWC):
    """Return colours, clipped to [0, 1], with a fourth channel: 0 where they are NaN."""
    opaque = np.isfinite(images_IJHWC[..., :1])
    return np.concatenate([np.where(opaque, images_IJHWC, 0).clip(0, 1), opaque], axis=-1)


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
