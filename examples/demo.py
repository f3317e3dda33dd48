"""A first look: codes of handwritten digits, against cluster boosting, in half a minute.

Prints two tables and draws five pictures, demo-stages.png, demo-samples.png,
demo-boosting-samples.png, demo-mnist-samples.png and demo-completed.png. Needs no download.
"""

import time

import matplotlib
import numpy as np
from scipy.ndimage import zoom
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skvqdraw import VQDRAW, ClusterBoosting, load_pretrained
from skvqdraw.datasets import load_digits_images
from skvqdraw.guides import MaskGuide
from skvqdraw.metrics import rate_distortion_curve
from skvqdraw.plot import SamplesDisplay, StagesDisplay
from skvqdraw.refiners import ConvRefiner

matplotlib.use("Agg")  # no window
N_STAGES, N_OPTIONS = 8, 64


def completed(images):
    """Draw the upper halves of some digits, completed in eight ways by the model of MNIST."""
    vq, upper = load_pretrained("mnist-60bit"), np.arange(784) < 392
    large = zoom(images[[1004, 1007, 1016]].reshape(-1, 8, 8), (1, 2.5, 2.5)).clip(0, 1)
    rows = []
    for digit in np.pad(large, [(0, 0), (4, 4), (4, 4)]).reshape(-1, 784):
        eight = vq.sample(8, guide=MaskGuide(digit, upper, beam_size=8), random_state=0)
        rows += [digit, np.where(upper, digit, 0.5), *eight]
    return SamplesDisplay(np.array(rows), image_shape=(28, 28)).plot(n_columns=10, vmin=0, vmax=1)


def main():
    digits = load_digits_images()
    X, X_test, y, y_test = train_test_split(
        digits.data, digits.target, test_size=450, random_state=0, stratify=digits.target
    )
    print(f"Fitting on {len(X)} digits of 8 x 8 pixels; figures are of {len(X_test)} others.")
    started = time.perf_counter()
    refiner = ConvRefiner(digits.image_shape, n_channels=64, downsampling=2)
    vq = VQDRAW(N_STAGES, N_OPTIONS, refiner=refiner, max_steps=200, random_state=0, verbose=1)
    vq.fit(X)
    print(f"VQDRAW fitted in {time.perf_counter() - started:.0f} s", end=", ")
    started = time.perf_counter()
    greedy = ClusterBoosting(N_STAGES, N_OPTIONS, random_state=0).fit(X)
    beam = ClusterBoosting(N_STAGES, N_OPTIONS, beam_size=16, random_state=0).fit(X)
    print(f"two of ClusterBoosting in {time.perf_counter() - started:.0f} s.\n")

    print("Mean squared error after each stage (pixels are in [0, 1])")
    print("  bits    VQDRAW   ClusterBoosting   the same, beam of 16")
    curves = [rate_distortion_curve(estimator, X_test) for estimator in (vq, greedy, beam)]
    for bits, *errors in zip(curves[0].bits, *(curve.train for curve in curves), strict=True):
        note = "  (one stage of ClusterBoosting is k-means)" if bits == curves[0].bits[0] else ""
        print("{:6.0f} {:9.4f} {:17.4f} {:22.4f}{}".format(bits, *errors, note))

    print("\nAccuracy of logistic regression")
    for name, estimator in {"VQDRAW": vq, "ClusterBoosting": greedy}.items():
        probe = LogisticRegression(max_iter=1000).fit(estimator.transform(X), y)
        score = probe.score(estimator.transform(X_test), y_test)
        print(f"  {score:.3f}  on {curves[0].bits[-1]:.0f} bits of {name}")
    score = LogisticRegression(max_iter=1000).fit(X, y).score(X_test, y_test)
    print(f"  {score:.3f}  on the 64 raw pixels")

    display = StagesDisplay.from_estimator(vq, X_test[:8], image_shape=digits.image_shape)
    display.figure_.savefig("demo-stages.png", dpi=150)
    grid = {"n_samples": 90, "n_columns": 15, "random_state": 0, "vmin": 0, "vmax": 1}
    for name, estimator, image_shape in (
        ("samples", vq, digits.image_shape),
        ("boosting-samples", greedy, digits.image_shape),
        ("mnist-samples", load_pretrained("mnist-60bit"), (28, 28)),
    ):
        display = SamplesDisplay.from_estimator(estimator, image_shape=image_shape, **grid)
        display.figure_.savefig(f"demo-{name}.png", dpi=150)
    completed(digits.data).figure_.savefig("demo-completed.png", dpi=150)
    print(
        "\ndemo-stages.png: digits refined stage by stage. demo-samples.png: random codes, decoded;"
        "\ndemo-boosting-samples.png: those of ClusterBoosting; demo-mnist-samples.png: of the"
        "\nmodel of MNIST that comes with the package. demo-completed.png: upper halves of digits,"
        "\ncompleted by that model."
    )


if __name__ == "__main__":
    main()
