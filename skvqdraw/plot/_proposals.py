"""What there is to choose from at one stage: the picture that explains the method."""

from numbers import Integral

import numpy as np

from ._cells import cell_axes, draw_cells, drawn_range
from ._checks import check_code_estimator, check_image_shape, check_matplotlib

_MAX_COLUMNS = 32
# Vermilion: told from grey and from other colours by colour-blind readers too.
_FRAME = {"fill": False, "edgecolor": "#d55e00", "linewidth": 2, "clip_on": False}


class ProposalsDisplay:
    """All options of one stage for one row, as what they would make of it, nearest first.

    On the left the row, what the stages before have made of it and what this stage makes of it; on
    the right the row's candidates, one for each option, from that with the least squared error to
    that with the largest, the chosen one framed. Draw it with :meth:`from_estimator`.

    Parameters
    ----------
    original : ndarray of shape (n_features,)
        The row.
    before : ndarray of shape (n_features,)
        Its reconstruction from the stages before.
    proposals : ndarray of shape (n_options, n_features)
        The candidates, in the order of the options.
    errors : ndarray of shape (n_options,)
        Mean squared error of each candidate.
    chosen : int
        The option in the row's code.
    stage : int
        The stage, counted from 0.
    image_shape : tuple of int or None, default=None
        (H, W) or (H, W, 3) to draw rows as images, channels last; None to draw them as signals.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes; the cell in line i and column j has its centre at x=j, y=i.
    figure_ : matplotlib Figure
        The figure.
    frame_ : matplotlib Rectangle
        The frame round the chosen candidate.
    im_ : matplotlib AxesImage or None
        All images; None if rows are drawn as signals.
    lines_ : ndarray of matplotlib Line2D of shape (n_lines, n_columns) or None
        The signals; None if rows are drawn as images.

    See Also
    --------
    StagesDisplay : What becomes of rows stage by stage.

    Notes
    -----
    The chosen candidate is the first one where codes are chosen greedily by squared error. A search
    with beams (`beam_size`, and `round_beam_size` of :class:`~skvqdraw.VQDRAW`) prefers one that
    leads nearer to the row in the end: set them to 1 to see greedy choices.

    Examples
    --------
    >>> from skvqdraw import load_pretrained
    >>> from skvqdraw.plot import ProposalsDisplay
    >>> vq = load_pretrained("mnist-60bit").set_params(round_beam_size=1)
    >>> digit = vq.sample(random_state=0)
    >>> display = ProposalsDisplay.from_estimator(vq, digit, stage=1, image_shape=(28, 28))
    >>> display.chosen == display.errors.argmin()
    np.True_
    """

    def __init__(self, original, before, proposals, *, errors, chosen, stage, image_shape=None):
        self.original = original
        self.before = before
        self.proposals = proposals
        self.errors = errors
        self.chosen = chosen
        self.stage = stage
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls, estimator, x, *, stage, image_shape=None, vmin=None, vmax=None, ax=None
    ):
        """Encode a row, decode all options of one stage after the choices before, and draw them.

        Parameters
        ----------
        estimator : estimator of codes
            Fitted, such as :class:`~skvqdraw.VQDRAW`.
        x : array-like of shape (n_features,) or (1, n_features)
            The row.
        stage : int
            The stage, in [0, n_stages).
        image_shape : tuple of int or None, default=None
            (H, W) or (H, W, 3) to draw rows as images, channels last; None to draw them as
            signals, with the original in grey behind each candidate.
        vmin, vmax : float or None, default=None
            Values that are drawn white and black, or as the darkest and the brightest colour, or
            at the lower and the upper edge of a signal's cell. None takes them from what is drawn:
            0 and 255 if x is uint8, otherwise the extremes of x (of x and all candidates, for
            signals).
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure, 15 cm wide if there are many options.

        Returns
        -------
        display : ProposalsDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` does not make codes.
        ValueError
            If `x` is not one row, or `stage` or `image_shape` do not fit the estimator.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_code_estimator(estimator, "encode", "decode", "proposals")
        image_shape = check_image_shape(image_shape, estimator.n_features_in_)
        n_stages = len(estimator.code_usage_)
        if not isinstance(stage, Integral) or not 0 <= stage < n_stages:
            raise ValueError(
                f"stage must be an integer in [0, {n_stages}), counted from 0; got {stage!r}. "
                f"The last stage is {n_stages - 1}."
            )
        if np.ndim(x) not in (1, 2) or (np.ndim(x) == 2 and len(x) != 1):
            raise ValueError(
                "x must be one row, of shape (n_features,) or (1, n_features); got shape "
                f"{np.shape(x)}. Pass one of them: X[0]."
            )
        x = x if np.ndim(x) == 2 else np.reshape(x, (1, -1))
        code = estimator.encode(x)[0]
        original = np.asarray(x)[0]
        before = code[None, :stage]
        proposals = estimator.proposals(before)[0]
        display = cls(
            original,
            estimator.decode(before)[0],
            proposals,
            errors=np.square(proposals.astype(np.float64) - original).mean(axis=1),
            chosen=int(code[stage]),
            stage=stage,
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
        display : ProposalsDisplay
            The display itself.
        """
        order = np.argsort(self.errors, kind="stable")
        cells = self._cells(order)
        ax = cell_axes(
            f"{type(self).__name__}.plot",
            ax,
            cells.shape[:2],
            self.image_shape,
            margins=(0.6, 0.25),
        )
        vmin, vmax = drawn_range(vmin, vmax, self.original if self.image_shape else cells)
        self.im_, self.lines_ = draw_cells(
            ax, cells, self.image_shape, vmin=vmin, vmax=vmax, behind=self.original
        )
        from matplotlib.patches import Rectangle

        place = int(np.flatnonzero(order == self.chosen)[0])
        line, column = divmod(place, cells.shape[1] - 2)
        self.frame_ = ax.add_patch(Rectangle((column + 1.5, line - 0.5), 1, 1, **_FRAME))
        ax.add_patch(Rectangle((-0.5, 1.5), 1, 1, **_FRAME))
        ax.set_yticks(range(3), ["original", "so far", "kept"])
        ax.set_title(
            f"Stage {self.stage}: {len(order)} proposals, nearest first; kept: option "
            f"{self.chosen}",
            fontsize=9,
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _cells(self, order):
        """Return the grid: a column of three rows, a blank one, and those of the proposals."""
        n_options, n_features = self.proposals.shape
        # About twice as wide as high, and without a blank end if n_options is a power of two.
        n_columns = min(2 ** int(np.ceil(np.log2(2 * n_options) / 2)), _MAX_COLUMNS)
        n_rows = max(3, -(-n_options // n_columns))
        grid = np.full((n_rows * n_columns, n_features), np.nan)
        grid[:n_options] = self.proposals[order]
        cells = np.full((n_rows, n_columns + 2, n_features), np.nan)
        cells[:3, 0] = self.original, self.before, self.proposals[self.chosen]
        cells[:, 2:] = grid.reshape(n_rows, n_columns, n_features)
        return cells
