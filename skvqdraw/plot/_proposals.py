"""What there is to choose from at one stage: the picture that explains the method."""

from numbers import Integral

import numpy as np

from .._numbers import as_numbers
from ._display import GridDisplay, check_image_shape, fill_grid

_MAX_COLUMNS = 32
# Vermilion: told from grey and from other colours by colour-blind readers too.
_FRAME = {"fill": False, "edgecolor": "#d55e00", "linewidth": 2, "clip_on": False}


class ProposalsDisplay(GridDisplay):
    """All options of one stage for one row, as what they would make of it, nearest first.

    On the left the row, what the stages before have made of it and what this stage makes of it; on
    the right the row's candidates, one for each option, from that with the least squared error to
    that with the largest, the chosen one framed. Draw it with :meth:`from_estimator`.

    The chosen candidate is the first one where codes are chosen greedily by squared error. A search
    with beams (`beam_size`, and `round_beam_size` of :class:`~skvqdraw.VQDRAW`) prefers one that
    leads nearer to the row in the end: set them to 1 to see greedy choices.

    Parameters
    ----------
    original, before : ndarray of shape (n_features,)
        The row, and its reconstruction from the stages before.
    proposals : ndarray of shape (n_options, n_features)
        The candidates, in the order of the options.
    errors : ndarray of shape (n_options,)
        Mean squared error of each candidate.
    chosen, stage : int
        The option in the row's code, and the stage, counted from 0.
    image_shape : tuple of int or None, default=None
        (H, W) or (H, W, 3) to draw rows as images, channels last; None to draw them as signals,
        with the original in grey behind each candidate.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn; the cell in line i and column j has its centre at x=j, y=i.
    frame_ : matplotlib Rectangle
        The frame round the chosen candidate.
    im_, lines_ : matplotlib AxesImage and ndarray of Line2D of shape (n_lines, n_columns)
        All images, and all signals; the one that is not drawn is None.

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
        self.original, self.before, self.proposals = original, before, proposals
        self.errors, self.chosen, self.stage = errors, chosen, stage
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
            As in the constructor.
        vmin, vmax, ax : float, float and matplotlib Axes, default=None
            As :meth:`plot` takes them.

        Returns
        -------
        display : ProposalsDisplay
            The display, drawn.
        """
        cls._check(estimator, "encode", "decode", "proposals")
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
        codes, original = estimator.encode(x), as_numbers(x, "x")[0]
        before = estimator.decode(codes[:, :stage])[0]
        proposals = estimator.proposals(codes[:, :stage])[0]
        errors = np.square(proposals.astype(np.float64) - original).mean(axis=1)
        told = {"chosen": int(codes[0, stage]), "stage": stage}
        display = cls(original, before, proposals, errors=errors, **told, image_shape=image_shape)
        return display.plot(vmin=vmin, vmax=vmax, ax=ax)

    def _draw(self, vmin, vmax, ax):
        order = np.argsort(self.errors, kind="stable")
        # About twice as wide as high, and without a blank end if n_options is a power of two.
        n_columns = min(2 ** int(np.ceil(np.log2(2 * len(order)) / 2)), _MAX_COLUMNS)
        n_rows = max(3, -(-len(order) // n_columns))
        # A column of three rows, a blank one, and those of the proposals.
        cells = np.full((n_rows, n_columns + 2, len(self.original)), np.nan)
        cells[:3, 0] = self.original, self.before, self.proposals[self.chosen]
        cells[:, 2:] = fill_grid(self.proposals[order], n_rows, n_columns)
        shown = self.original if self.image_shape else cells
        ax = self._draw_cells(
            cells, shown, vmin, vmax, ax, behind=self.original, margins=(0.6, 0.25)
        )
        from matplotlib.patches import Rectangle

        line, column = divmod(int(np.flatnonzero(order == self.chosen)[0]), n_columns)
        self.frame_ = ax.add_patch(Rectangle((column + 1.5, line - 0.5), 1, 1, **_FRAME))
        ax.add_patch(Rectangle((-0.5, 1.5), 1, 1, **_FRAME))
        ax.set_yticks(range(3), ["original", "so far", "kept"])
        n_proposals = f"Stage {self.stage}: {len(order)} proposals"
        ax.set_title(f"{n_proposals}, nearest first; kept: option {self.chosen}", fontsize=9)
