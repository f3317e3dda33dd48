"""A first look: codes of handwritten digits, against residual k-means, in half a minute.

Prints two tables and draws three pictures, demo-stages.png, demo-samples.png and
demo-mnist-samples.png. Needs no download.
"""

import time

import matplotlib
import numpy as np
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skvqdraw import VQDRAW, load_pretrained
from skvqdraw.datasets import load_digits_images
from skvqdraw.plot import SamplesDisplay, StagesDisplay
from skvqdraw.refiners import ConvRefiner

matplotlib.use("Agg")  # no window
N_STAGES, N_OPTIONS = 8, 64


def residual_kmeans_errors(X, X_test):
    """Mean squared error on X_test after each stage of residual k-means fitted on X."""
    left, left_test, errors = X.copy(), X_test.copy(), []
    for stage in range(N_STAGES):
        kmeans = KMeans(N_OPTIONS, n_init=1, random_state=stage).fit(left)
        left -= kmeans.cluster_centers_[kmeans.labels_]
        left_test -= kmeans.cluster_centers_[kmeans.predict(left_test)]
        errors.append(np.square(left_test).mean())
    return errors


def stage_errors(vq, X):
    """Mean squared error after each stage."""
    codes = vq.encode(X)
    n_stages = codes.shape[1]
    return [np.square(vq.decode(codes[:, :s]) - X).mean() for s in range(1, n_stages + 1)]


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
    print(f"Fitted in {time.perf_counter() - started:.0f} s.\n")

    print("Mean squared error after each stage (pixels are in [0, 1])")
    print(f"{'bits':>6} {'VQ-DRAW':>9} {'residual k-means':>17}")
    pairs = zip(stage_errors(vq, X_test), residual_kmeans_errors(X, X_test), strict=True)
    for stage, (ours, theirs) in enumerate(pairs, start=1):
        note = "  (plain k-means)" if stage == 1 else ""
        print(f"{stage * np.log2(N_OPTIONS):6.0f} {ours:9.4f} {theirs:17.4f}{note}")

    on_pixels = LogisticRegression(max_iter=1000).fit(X, y).score(X_test, y_test)
    probe = LogisticRegression(max_iter=1000).fit(vq.transform(X), y)
    on_codes = probe.score(vq.transform(X_test), y_test)
    print("\nAccuracy of logistic regression")
    print(f"  on the codes, {N_STAGES * np.log2(N_OPTIONS):.0f} bits a digit  {on_codes:.3f}")
    print(f"  on the 64 raw pixels        {on_pixels:.3f}")

    display = StagesDisplay.from_estimator(vq, X_test[:8], image_shape=digits.image_shape)
    display.figure_.savefig("demo-stages.png", dpi=150)
    grid = {"n_samples": 90, "n_columns": 15, "random_state": 0, "vmin": 0, "vmax": 1}
    display = SamplesDisplay.from_estimator(vq, image_shape=digits.image_shape, **grid)
    display.figure_.savefig("demo-samples.png", dpi=150)
    mnist = load_pretrained("mnist-60bit")
    display = SamplesDisplay.from_estimator(mnist, image_shape=(28, 28), **grid)
    display.figure_.savefig("demo-mnist-samples.png", dpi=150)
    print(
        "\ndemo-stages.png: digits refined stage by stage. demo-samples.png: random codes, decoded."
        "\ndemo-mnist-samples.png: random codes of the model of MNIST that comes with the package."
    )


if __name__ == "__main__":
    main()
