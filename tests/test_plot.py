"""What the displays hold is what a naive computation gives, and what they draw is what they hold."""

import inspect
import pickle
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from conftest import make_estimator
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvqdraw import VQDRAW
from skvqdraw._base import CodeTransformer
from skvqdraw._codes import option_frequencies
from skvqdraw.guides import MaskGuide
from skvqdraw.plot import (
    CodeUsageDisplay,
    LossCurveDisplay,
    ProposalsDisplay,
    RateDistortionDisplay,
    SamplesDisplay,
    StagesDisplay,
)
from skvqdraw.priors import MarkovPrior

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot as plt

DRAW = {
    "stages": lambda vq, X, **ax: StagesDisplay.from_estimator(vq, X[:3], **ax),
    "stages, images": lambda vq, X, **ax: StagesDisplay.from_estimator(
        vq, X[:3], image_shape=(8, 8), **ax
    ),
    "samples": lambda vq, X, **ax: SamplesDisplay.from_estimator(vq, **ax),
    "samples, images": lambda vq, X, **ax: SamplesDisplay.from_estimator(
        vq, image_shape=(8, 8), **ax
    ),
    "rate and distortion": lambda vq, X, **ax: RateDistortionDisplay.from_estimator(
        vq, X[:150], X_validation=X[150:], **ax
    ),
    "usage": lambda vq, X, **ax: CodeUsageDisplay.from_estimator(vq, X, **ax),
    "usage of codes": lambda vq, X, **ax: CodeUsageDisplay.from_codes([[0, 2], [1, 2]], 3, **ax),
    "loss": lambda vq, X, **ax: LossCurveDisplay.from_estimator(vq, **ax),
    "proposals": lambda vq, X, **ax: ProposalsDisplay.from_estimator(vq, X[0], stage=1, **ax),
    "proposals, images": lambda vq, X, **ax: ProposalsDisplay.from_estimator(
        vq, X[0], stage=1, image_shape=(8, 8), **ax
    ),
}


class ResidualTables(CodeTransformer):
    """Each stage is a table of rows of what the stages before have left; choices are greedy."""

    def __init__(self, n_stages=3, n_options=5, encoding="onehot"):
        self.n_stages = n_stages
        self.n_options = n_options
        self.encoding = encoding

    def fit(self, X, y=None):
        X = self._validate_X(X, reset=True)
        self.tables_ = np.zeros((0, self.n_options, X.shape[1]))
        self.stage_loss_ = []
        for stage in range(self.n_stages):
            rest = X - self._decode(self._chosen(X))
            rows = np.random.default_rng(stage).choice(len(X), self.n_options, replace=False)
            self.tables_ = np.concatenate([self.tables_, rest[None, rows]])
            self.stage_loss_.append(np.square(X - self._decode(self._chosen(X))).mean())
        self.code_usage_ = option_frequencies(self._chosen(X), self.n_options)
        return self

    def _encode(self, X, codes):
        codes[:] = self._chosen(X)

    def _chosen(self, X):
        codes = np.empty((len(X), 0), dtype=np.uint8)
        for table in self.tables_:
            errors = np.square((X - self._decode(codes))[:, None] - table).sum(axis=2)
            codes = np.column_stack([codes, errors.argmin(axis=1).astype(np.uint8)])
        return codes

    def _decode(self, codes):
        return sum(
            (table[column] for table, column in zip(self.tables_, codes.T, strict=False)),
            np.zeros((len(codes), self.tables_.shape[2])),
        )


@pytest.fixture(autouse=True)
def no_figures_but_of_the_test():
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def tables(X):
    return ResidualTables().fit(X)


@pytest.fixture(scope="module")
def colours():
    """Rows of 2 x 3 pixels in red, green and blue."""
    return np.random.default_rng(0).integers(0, 256, size=(40, 18), dtype=np.uint8)


def image_in(display, i, j, image_shape):
    """Return the pixels that lie around x=j, y=i."""
    pixels = display.im_.get_array()
    left, right, bottom, top = display.im_.get_extent()
    centre_y = (i - top) / (bottom - top) * pixels.shape[0]
    centre_x = (j - left) / (right - left) * pixels.shape[1]
    y, x = centre_y - image_shape[0] / 2, centre_x - image_shape[1] / 2
    assert abs(y - round(y)) < 1e-9
    assert abs(x - round(x)) < 1e-9
    return pixels[round(y) : round(y) + image_shape[0], round(x) : round(x) + image_shape[1]]


def signal_in(display, i, j, vmin, vmax):
    """Return the values of a line that is 0.42 below the middle of its cell at vmin."""
    x, y = display.lines_[i, j].get_data()
    np.testing.assert_allclose(x, np.linspace(j - 0.42, j + 0.42, len(x)))
    return vmin + (i + 0.42 - y) / 0.84 * (vmax - vmin)


# What all displays have in common


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_conventions_of_displays(fitted, X, draw, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("plt.show was called"))
    settings = matplotlib.rcParams.copy()
    display = draw(fitted, X)
    assert plt.get_fignums() == [display.figure_.number]
    assert display.ax_.figure is display.figure_
    assert set(inspect.signature(type(display)).parameters) <= set(vars(display))
    display.figure_.canvas.draw()

    figure, ax = plt.subplots()
    n_figures = len(plt.get_fignums())
    display = draw(fitted, X, ax=ax)
    assert display.ax_ is ax
    assert display.plot(ax=ax) is display
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert len(plt.get_fignums()) == n_figures
    assert matplotlib.rcParams == settings
    assert display.plot() is display
    assert display.ax_ is not ax


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_new_figures_are_15_cm_wide_at_most_and_hold_their_labels(fitted, X, draw):
    figure = draw(fitted, X).figure_
    assert figure.get_figwidth() <= 5.91
    figure.canvas.draw()
    # Both are in inches, and lie in the figure if nothing is cut off.
    drawn, width, height = figure.get_tightbbox(), *figure.get_size_inches()
    assert drawn.x0 >= -0.01
    assert drawn.y0 >= -0.01
    assert drawn.x1 <= width + 0.01
    assert drawn.y1 <= height + 0.01


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_displays_draw_again_after_pickling(fitted, X, draw):
    display = draw(fitted, X)
    parameters = inspect.signature(type(display)).parameters
    kept = pickle.loads(pickle.dumps({name: vars(display)[name] for name in parameters}))
    assert type(display)(**kept).plot().ax_ is not display.ax_


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_without_matplotlib_the_error_names_the_extra(fitted, X, draw, monkeypatch):
    display = draw(fitted, X)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    name = type(display).__name__
    message = r"{} needs matplotlib. Install it: pip install \"skvqdraw\[plot\]\""
    with pytest.raises(ImportError, match=message.format(f"{name}.from_(estimator|codes)")):
        draw(fitted, X)
    with pytest.raises(ImportError, match=message.format(f"{name}.plot")):
        display.plot()


# StagesDisplay


@pytest.mark.parametrize("stages", [None, [0, 2], (3,)])
def test_stages_are_the_reconstructions_from_prefixes(tables, X, stages):
    display = StagesDisplay.from_estimator(tables, X[:4], image_shape=(8, 8), stages=stages)
    shown = [0, 1, 2, 3] if stages is None else stages
    codes = tables.encode(X[:4])
    for i in range(4):
        np.testing.assert_array_equal(image_in(display, i, 0, (8, 8)), X[i].reshape(8, 8))
        for j, s in enumerate(shown):
            expected = sum((tables.tables_[t, codes[i, t]] for t in range(s)), np.zeros(64))
            np.testing.assert_allclose(display.reconstructions[i, j], expected, atol=1e-12)
            drawn = image_in(display, i, j + 1, (8, 8))
            np.testing.assert_array_equal(drawn.ravel(), display.reconstructions[i, j])
    np.testing.assert_array_equal(display.originals, X[:4])
    np.testing.assert_allclose(display.bits, np.log2(5) * np.array(shown))
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["original", *(f"{np.round(s * np.log2(5), 1):g} bits" for s in shown)]
    np.testing.assert_array_equal(display.ax_.get_xticks(), range(len(shown) + 1))


def test_many_stages_are_shown_at_equal_distances(X):
    display = StagesDisplay.from_estimator(ResidualTables(n_stages=20).fit(X), X[:1])
    np.testing.assert_allclose(display.bits / np.log2(5), range(0, 21, 2))


def test_stages_as_signals_lie_on_their_originals(tables, X):
    display = StagesDisplay.from_estimator(tables, X[:3])
    assert display.im_ is None
    everything = np.concatenate([display.originals[:, None], display.reconstructions], axis=1)
    vmin, vmax = everything.min(), everything.max()
    behind = np.array(display.ax_.lines[:15]).reshape(3, 5)  # drawn first, so below
    for i, j in np.ndindex(3, 5):
        np.testing.assert_allclose(
            signal_in(display, i, j, vmin, vmax), everything[i, j], atol=1e-6
        )
        np.testing.assert_array_equal(behind[i, j].get_xdata(), display.lines_[i, j].get_xdata())
        original_y = display.lines_[i, 0].get_ydata()
        np.testing.assert_allclose(behind[i, j].get_ydata(), original_y, atol=1e-6)
    assert display.ax_.get_xlim() == (-0.5, 4.5)
    assert display.ax_.get_ylim() == (2.5, -0.5)


def test_grey_images_share_the_range_of_the_originals(tables, X):
    display = StagesDisplay.from_estimator(tables, 2 * X[:3] - 0.5, image_shape=(8, 8, 1))
    assert display.im_.get_clim() == (-0.5, 1.5)
    assert display.im_.get_cmap().name == "gray_r"
    display.plot(vmin=0)
    assert display.im_.get_clim() == (0, 1.5)
    bytes_ = (255 * X[:3]).astype(np.uint8) // 2
    display = StagesDisplay.from_estimator(tables, bytes_, image_shape=(8, 8))
    assert display.im_.get_clim() == (0, 255)


def test_between_images_there_is_nothing(tables, X):
    display = StagesDisplay.from_estimator(tables, X[:2], image_shape=(8, 8), stages=[1])
    pixels = display.im_.get_array()
    assert pixels.shape == (17, 17)
    assert np.ma.getmaskarray(pixels)[8].all()
    assert np.ma.getmaskarray(pixels)[:, 8].all()
    assert np.ma.getmaskarray(pixels).sum() == 33
    # Pixels are square: one of 17 is as high as it is wide.
    left, right, bottom, top = display.im_.get_extent()
    assert (right - left) == pytest.approx((bottom - top) * display.ax_.get_aspect())


@pytest.mark.parametrize(("unit", "dtype"), [(255, np.uint8), (255, float), (1, float)])
def test_colours_are_the_same_in_all_units(colours, unit, dtype, caplog):
    X = (colours[:5] / 255 * unit).astype(dtype)
    X[0, :2] = 0, unit
    vq = ResidualTables(n_options=4).fit(X)
    display = StagesDisplay.from_estimator(vq, X, image_shape=(2, 3, 3), stages=[1])
    for i in range(5):
        original, coded = image_in(display, i, 0, (2, 3)), image_in(display, i, 1, (2, 3))
        np.testing.assert_allclose(original[..., :3].ravel(), X[i] / unit)
        expected = (display.reconstructions[i, 0] / unit).clip(0, 1)
        np.testing.assert_allclose(coded[..., :3].ravel(), expected)
        assert (original[..., 3] == 1).all()
    assert (display.im_.get_array()[2] == 0).all()  # transparent between the first two rows
    display.plot(vmin=unit / 4, vmax=unit / 2)
    expected = (4 * X.astype(float) / unit - 1).clip(0, 1).reshape(5, 2, 3, 3)
    for i in range(5):
        np.testing.assert_allclose(image_in(display, i, 0, (2, 3))[..., :3], expected[i], atol=1e-9)
    assert not caplog.records  # in which matplotlib says that colours are out of range


# SamplesDisplay


def test_samples_are_those_of_the_estimator_in_reading_order(fitted, X):
    display = SamplesDisplay.from_estimator(
        fitted, n_samples=7, image_shape=(8, 8), random_state=3, n_columns=4
    )
    samples = fitted.sample(7, random_state=3)
    np.testing.assert_array_equal(display.samples, samples)
    for k in range(7):
        drawn = image_in(display, *divmod(k, 4), (8, 8))
        np.testing.assert_array_equal(drawn.ravel(), samples[k])
    assert np.ma.getmaskarray(image_in(display, 1, 3, (8, 8))).all()
    assert SamplesDisplay.from_estimator(fitted, n_samples=7).lines_.shape == (3, 3)
    prior = MarkovPrior(n_options=8).fit(fitted.encode(X), np.arange(len(X)) % 2)
    how = {"prior": prior, "y": 1, "guide": MaskGuide(X[0], X[0] > 0), "random_state": 0}
    display = SamplesDisplay.from_estimator(fitted, n_samples=9, **how)
    np.testing.assert_array_equal(display.samples, fitted.sample(9, **how))


def test_colours_of_samples_leave_blank_cells_transparent(colours):
    vq = ResidualTables().fit(colours)
    display = SamplesDisplay.from_estimator(vq, n_samples=3, image_shape=(2, 3, 3))
    assert (image_in(display, 1, 0, (2, 3))[..., 3] == 1).all()
    assert (image_in(display, 1, 1, (2, 3)) == 0).all()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-0.05, 1.1, (0, 1.1)), (0.1, 1, (0, 1)), (-1, 1, (-1, 1)), (100, 140, (100, 140))],
)
def test_pixels_of_samples_begin_at_0_if_they_begin_about_there(low, high, expected):
    samples = np.full((50, 4), low)
    samples[:25] = high
    samples[0, 0] = -9  # the extreme percent does not count
    display = SamplesDisplay(samples, image_shape=(2, 2)).plot()
    assert display.im_.get_clim() == expected


def test_samples_as_signals_share_one_scale(fitted):
    display = SamplesDisplay.from_estimator(fitted, n_samples=4, random_state=0)
    vmin, vmax = display.samples.min(), display.samples.max()
    for k in range(4):
        drawn = signal_in(display, *divmod(k, 2), vmin, vmax)
        np.testing.assert_allclose(drawn, display.samples[k], atol=1e-6)


# RateDistortionDisplay


def test_rate_and_distortion(tables, X):
    display = RateDistortionDisplay.from_estimator(tables, X[:150], X_validation=X[150:])
    train, validation = display.lines_
    for line, rows in ((train, X[:150]), (validation, X[150:])):
        codes = tables.encode(rows)
        errors = [np.square(tables.decode(codes[:, :s]) - rows).mean() for s in (1, 2, 3)]
        np.testing.assert_allclose(line.get_ydata(), errors)
        np.testing.assert_allclose(line.get_xdata(), np.log2(5) * np.array([1, 2, 3]))
    assert train.get_label() == "ResidualTables, training"
    assert validation.get_label() == "ResidualTables, validation"
    assert display.ax_.get_yscale() == "log"
    assert display.ax_.get_ylabel() == "mean squared error"


def test_shares_of_features_that_are_right(tables, X):
    display = RateDistortionDisplay.from_estimator(tables, X, metric="accuracy")
    codes = tables.encode(X)
    shares = [(tables.decode(codes[:, :s]) == X).mean() for s in (1, 2, 3)]
    np.testing.assert_allclose(display.lines_[0].get_ydata(), shares)
    assert max(shares) > 0
    assert display.ax_.get_yscale() == "linear"
    assert display.ax_.get_ylabel() == "share of features right"


def test_curves_on_the_same_axes_differ_without_colours(tables, X):
    first = RateDistortionDisplay.from_estimator(tables, X, X_validation=X[:50], name="one")
    second = RateDistortionDisplay.from_estimator(tables, X, name="other", ax=first.ax_)
    third = RateDistortionDisplay(second.bits, 2 * second.train).plot(ax=first.ax_)
    train, validation = first.lines_
    assert train.get_color() == validation.get_color()
    assert train.get_linestyle() != validation.get_linestyle()
    assert len({line.get_marker() for line in (train, *second.lines_, *third.lines_)}) == 3
    assert train.get_marker() == validation.get_marker()
    labels = [text.get_text() for text in first.ax_.get_legend().get_texts()]
    assert labels == ["one, validation", "one, training", "other"]


def test_no_error_at_all_has_no_logarithm():
    display = RateDistortionDisplay(np.array([1, 2]), np.array([0.5, 0])).plot()
    assert display.ax_.get_yscale() == "linear"
    assert display.ax_.get_legend() is None


# CodeUsageDisplay


def test_usage_is_what_counting_gives(fitted, X):
    display = CodeUsageDisplay.from_estimator(fitted, X)
    codes = fitted.encode(X)
    for stage, option in np.ndindex(4, 8):
        share = np.mean(codes[:, stage] == option)
        assert display.usage[stage, option] == pytest.approx(share)
    drawn = display.im_.get_array()
    np.testing.assert_array_equal(drawn.mask, display.usage == 0)
    np.testing.assert_array_equal(drawn.filled(0), display.usage)
    assert display.im_.get_clim() == (0, display.usage.max())
    colours = [display.im_.cmap(np.nan), *display.im_.cmap(np.linspace(0, 1, 9))]
    lightness = np.array(colours)[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) < 0).all()  # in grey print, none is next to little
    trained = CodeUsageDisplay.from_estimator(fitted)
    np.testing.assert_array_equal(trained.usage, fitted.code_usage_)


def test_entropies_stand_beside_their_stages():
    codes = np.column_stack([np.arange(8) % 4, np.arange(8) % 2, np.zeros(8, int)])
    display = CodeUsageDisplay.from_codes(codes, n_options=4)
    axis = display.entropy_ax_.yaxis
    assert [label.get_text() for label in axis.get_ticklabels()] == ["2.00", "1.00", "0.00"]
    np.testing.assert_array_equal(axis.get_ticklocs(), [0, 1, 2])
    assert axis.get_label_text() == "entropy (of 2 bits)"
    assert display.ax_.get_xlabel() == "option (white: never chosen)"
    assert CodeUsageDisplay.from_codes(codes[:, :1], 4).ax_.get_xlabel() == "option"


def test_labels_of_many_stages_do_not_touch():
    display = CodeUsageDisplay.from_codes(np.arange(100).reshape(1, 100) % 4, 4)
    np.testing.assert_array_equal(display.ax_.get_yticks(), range(0, 100, 5))
    np.testing.assert_array_equal(display.entropy_ax_.get_yticks(), range(0, 100, 5))


# LossCurveDisplay


def test_loss_curve(X):
    vq = make_estimator(max_steps=10, early_stopping=True).fit(X)
    display = LossCurveDisplay.from_estimator(vq)
    names = ("error", "validation_error", "entropy")
    for line, name in zip(display.lines_, names, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [r["step"] for r in vq.loss_curve_])
        np.testing.assert_array_equal(line.get_ydata(), [r[name] for r in vq.loss_curve_])
    training, validation, entropy = display.lines_
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.axes is validation.axes is display.ax_
    assert entropy.axes is display.entropy_ax_
    assert display.entropy_ax_.get_ylabel() == "entropy\n(of 12 bits)"
    low, high = display.entropy_ax_.get_ylim()
    assert low < display.entropy.min() < 12 < high


def test_loss_curve_without_validation(fitted):
    display = LossCurveDisplay.from_estimator(fitted)
    assert display.validation_loss is None
    assert len(display.lines_) == 2
    assert display.ax_.get_legend() is None


def test_validation_errors_of_a_part_of_the_fit(X):
    vq = make_estimator(max_steps=5, warm_start=True).fit(X)
    vq.set_params(early_stopping=True).fit(X)
    display = LossCurveDisplay.from_estimator(vq)
    assert np.isnan(display.validation_loss[:5]).all()
    assert np.isfinite(display.validation_loss[5:]).all()
    assert display.ax_.get_yscale() == "log"


def test_loss_on_given_axes(fitted):
    axes = plt.subplots(1, 2)[1]
    display = LossCurveDisplay.from_estimator(fitted, ax=axes)
    assert display.ax_ is axes[0]
    assert display.entropy_ax_ is axes[1]
    display = LossCurveDisplay.from_estimator(fitted, ax=axes[0])
    assert display.entropy_ax_ is None
    with pytest.raises(ValueError, match="ax must be Axes, a pair of Axes .*; got 3 of them"):
        display.plot(ax=plt.subplots(1, 3)[1])


def test_loss_of_stages(tables):
    display = LossCurveDisplay.from_estimator(tables)
    np.testing.assert_array_equal(display.x, [1, 2, 3])
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), tables.stage_loss_)
    assert display.ax_.get_xlabel() == "stages"
    assert display.entropy_ax_ is None


def test_no_loss_to_draw(X):
    with pytest.raises(ValueError, match="loss_curve_ of estimator .* Raise max_steps"):
        LossCurveDisplay.from_estimator(make_estimator(max_steps=0).fit(X))
    message = "estimator must have loss_curve_, .* or stage_loss_; got {}, which has neither"
    with pytest.raises(TypeError, match=message.format("KMeans")):
        LossCurveDisplay.from_estimator(KMeans(2, n_init=1).fit(X))
    other_curve = MLPRegressor(hidden_layer_sizes=2, max_iter=500, tol=1).fit(X, X[:, 0])
    with pytest.raises(TypeError, match=message.format("MLPRegressor")):
        LossCurveDisplay.from_estimator(other_curve)
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(VQDRAW())


# ProposalsDisplay


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_proposals_are_all_options_after_the_choices_before(tables, X, stage):
    x = X[5]
    display = ProposalsDisplay.from_estimator(tables, x, stage=stage, image_shape=(8, 8))
    code = tables.encode([x])[0]
    np.testing.assert_array_equal(display.original, x)
    before = sum((tables.tables_[t, code[t]] for t in range(stage)), np.zeros(64))
    np.testing.assert_allclose(display.before, before, atol=1e-12)
    for option in range(5):
        proposal = before + tables.tables_[stage, option]
        np.testing.assert_allclose(display.proposals[option], proposal, atol=1e-12)
        assert display.errors[option] == pytest.approx(np.square(proposal - x).mean())
    assert display.chosen == code[stage] == display.errors.argmin()


@pytest.mark.parametrize("stage", range(4))
def test_the_chosen_proposal_of_a_network_is_the_nearest_if_choices_are_greedy(X, stage):
    vq = make_estimator(round_beam_size=1).fit(X)
    for x in X[:5]:
        display = ProposalsDisplay.from_estimator(vq, x, stage=stage)
        assert display.chosen == vq.encode([x])[0, stage] == display.errors.argmin()
        codes = vq.encode([x])
        np.testing.assert_array_equal(
            display.proposals[display.chosen], vq.decode(codes[:, : stage + 1])[0]
        )


def test_the_picture_of_proposals(tables, X):
    """Of 5 options: a column of three rows, a blank one, and then four proposals to a line."""
    display = ProposalsDisplay.from_estimator(tables, X[:1], stage=1, image_shape=(8, 8))
    chosen = display.proposals[display.chosen]
    for i, row in enumerate([display.original, display.before, chosen]):
        np.testing.assert_array_equal(image_in(display, i, 0, (8, 8)).ravel(), row)
    for place, option in enumerate(np.argsort(display.errors)):
        i, j = divmod(place, 4)
        drawn = image_in(display, i, j + 2, (8, 8)).ravel()
        np.testing.assert_array_equal(drawn, display.proposals[option])
        if option == display.chosen:
            assert display.frame_.get_bbox().extents.tolist() == [
                j + 1.5,
                i - 0.5,
                j + 2.5,
                i + 0.5,
            ]
    for i, j in [(0, 1), (1, 1), (2, 1), (1, 3), (2, 5)]:
        assert np.ma.getmaskarray(image_in(display, i, j, (8, 8))).all()
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == [
        "original",
        "so far",
        "kept",
    ]
    title = f"Stage 1: 5 proposals, nearest first; kept: option {display.chosen}"
    assert display.ax_.get_title() == title


def test_the_frame_is_round_the_chosen_one_wherever_it_is():
    """As after a beam search, which may choose one that is not the nearest."""
    errors = np.array([4.0, 1, 3, 5, 2])
    display = ProposalsDisplay(
        np.zeros(4), np.zeros(4), np.ones((5, 4)), errors=errors, chosen=3, stage=0
    ).plot()
    assert display.frame_.get_xy() == (1.5, 0.5)  # the fifth: the first of the second line


def test_a_row_of_a_data_frame(X):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X).add_prefix("pixel")
    vq = ResidualTables().fit(frame)
    display = ProposalsDisplay.from_estimator(vq, frame[:1], stage=0)
    np.testing.assert_array_equal(display.original, X[0])
    display = StagesDisplay.from_estimator(vq, frame[:2])
    np.testing.assert_array_equal(display.originals, X[:2])


# What is wrong, what was expected, what to do


@pytest.mark.parametrize(
    "image_shape", [(8, 9), (64,), 64, (1, 8, 8), (8, 4, 2), (-8, -8), (8.0, 8), "8x8", (4, 4, 4)]
)
def test_image_shapes_that_do_not_fit(fitted, X, image_shape):
    message = r"image_shape must be \(H, W\).*features, 64; got .*Give the shape of one image"
    for draw in (
        lambda **shape: StagesDisplay.from_estimator(fitted, X[:2], **shape),
        lambda **shape: SamplesDisplay.from_estimator(fitted, **shape),
        lambda **shape: ProposalsDisplay.from_estimator(fitted, X[0], stage=0, **shape),
    ):
        with pytest.raises(ValueError, match=message):
            draw(image_shape=image_shape)


@pytest.mark.parametrize("stages", [[5], [-1], [], [1.0], 5, ["all"]])
def test_stages_that_are_not_there(fitted, X, stages):
    message = r"stages must be a sequence of integers in \[0, 4\].*; got .*whole code"
    with pytest.raises(ValueError, match=message):
        StagesDisplay.from_estimator(fitted, X[:2], stages=stages)


@pytest.mark.parametrize("stage", [4, -1, 1.0, None, [1]])
def test_a_stage_that_is_not_there(fitted, X, stage):
    message = r"stage must be an integer in \[0, 4\), counted from 0; got .* last stage is 3"
    with pytest.raises(ValueError, match=message):
        ProposalsDisplay.from_estimator(fitted, X[0], stage=stage)


def test_several_rows_or_a_wrong_one(fitted, X):
    message = r"x must be one row, .*; got shape \({}.*Pass one of them: X\[0\]"
    for x in (X[:3], X[:0], X[:1, None], 3.0):
        with pytest.raises(ValueError, match=message.format(str(np.shape(x))[1:-1])):
            ProposalsDisplay.from_estimator(fitted, x, stage=0)
    with pytest.raises(ValueError, match="X has 63 features, but VQDRAW is expecting 64"):
        ProposalsDisplay.from_estimator(fitted, X[0, :63], stage=0)


def test_too_many_rows(fitted, X):
    with pytest.raises(ValueError, match=r"X must have at most 100 rows.*got 200.*X\[:10\]"):
        StagesDisplay.from_estimator(fitted, X)


@pytest.mark.parametrize("n_columns", [0, 2.0, "2"])
def test_no_columns(fitted, n_columns):
    message = "n_columns must be an integer of at least 1 or None; got .* about square"
    with pytest.raises(ValueError, match=message):
        SamplesDisplay.from_estimator(fitted, n_columns=n_columns)


def test_a_range_upside_down(fitted, X):
    for draw in (
        lambda **limits: StagesDisplay.from_estimator(fitted, X[:2], **limits),
        lambda **limits: SamplesDisplay.from_estimator(fitted, **limits),
        lambda **limits: ProposalsDisplay.from_estimator(fitted, X[0], stage=0, **limits),
    ):
        with pytest.raises(ValueError, match="vmin must be at most vmax; got vmin=2 and vmax=1"):
            draw(vmin=2, vmax=1)


def test_codes_that_are_none():
    with pytest.raises(ValueError, match=r"codes must be integers in \[0, 2\); got 2"):
        CodeUsageDisplay.from_codes([[0, 2]], 2)
    with pytest.raises(ValueError, match="at least one row"):
        CodeUsageDisplay.from_codes(np.empty((0, 3), int), 2)


OF_ESTIMATORS = {
    "stages": lambda estimator, X: StagesDisplay.from_estimator(estimator, X[:2]),
    "samples": lambda estimator, X: SamplesDisplay.from_estimator(estimator),
    "usage": lambda estimator, X: CodeUsageDisplay.from_estimator(estimator, X),
    "usage in fit": lambda estimator, X: CodeUsageDisplay.from_estimator(estimator),
    "proposals": lambda estimator, X: ProposalsDisplay.from_estimator(estimator, X[0], stage=0),
}


@pytest.mark.parametrize("draw", OF_ESTIMATORS.values(), ids=OF_ESTIMATORS)
def test_what_is_no_estimator_of_codes(fitted, X, draw):
    with pytest.raises(NotFittedError, match="This VQDRAW instance is not fitted yet"):
        draw(VQDRAW(), X)
    with pytest.raises(TypeError, match="fitted estimator of codes.*; got VQDRAW, a class"):
        draw(VQDRAW, X)
    with pytest.raises(TypeError, match=r"estimator must .*got KMeans, which lacks"):
        draw(KMeans(2, n_init=1).fit(X), X)
    with pytest.raises(TypeError, match="estimator must .*got Pipeline, which lacks"):
        draw(make_pipeline(StandardScaler(), clone(fitted)).fit(X), X)


@pytest.mark.parametrize("number", [Decimal, Fraction])
def test_objects_that_are_numbers_are_drawn(fitted, X, number):
    rows = [[number(value) for value in row] for row in X[:2].tolist()]
    stages = StagesDisplay.from_estimator(fitted, rows, image_shape=(8, 8))
    expected = StagesDisplay.from_estimator(fitted, X[:2], image_shape=(8, 8))
    np.testing.assert_array_equal(stages.originals, expected.originals)
    proposals = ProposalsDisplay.from_estimator(fitted, rows[0], stage=1, image_shape=(8, 8))
    assert proposals.original.dtype == np.float64
    np.testing.assert_array_equal(proposals.original, X[0])
    plt.close("all")
