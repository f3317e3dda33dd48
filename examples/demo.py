"""A first look: codes of handwritten digits, against residual k-means, in half a minute.

Prints two tables and draws three pictures, demo-stages.png, demo-samples.png and
demo-mnist-samples.png. Needs no download.
"""

import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skvqdraw import VQDRAW, load_pretrained
from skvqdraw.datasets import load_digits_images
from skvqdraw.refiners import ConvRefiner

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


def tile(images):
    """Put images (rows, columns, height, width) side by side, white lines between."""
    framed = np.pad(images.clip(0, 1), [(0, 0), (0, 0), (0, 1), (0, 1)], constant_values=np.nan)
    rows, columns, height, width = framed.shape
    return framed.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)[:-1, :-1]


def draw_stages(vq, X, image_shape, path):
    """Draw each row of X (in [0, 1]), and what its code shows of it stage by stage."""
    codes = vq.encode(X)
    n_stages = codes.shape[1]
    columns = [X, *(vq.decode(codes[:, :s]) for s in range(n_stages + 1))]
    images = np.stack(columns, 1).reshape(len(X), n_stages + 2, *image_shape)
    figure, ax = plt.subplots(figsize=(0.75 * (n_stages + 2), 0.75 * len(X) + 0.5))
    ax.imshow(tile(images), cmap="gray_r", vmin=0, vmax=1)
    bits = np.log2(vq.n_options)
    labels = ["original", *(f"{stage * bits:.0f} bits" for stage in range(n_stages + 1))]
    width = image_shape[1] + 1
    ax.set_xticks(width * np.arange(n_stages + 2) + (width - 2) / 2, labels, fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def draw_samples(vq, image_shape, path, n_rows=6, n_columns=15):
    """Draw decoded random codes."""
    samples = vq.sample(n_rows * n_columns, random_state=0)
    figure, ax = plt.subplots(figsize=(0.55 * n_columns, 0.55 * n_rows))
    images = samples.reshape(n_rows, n_columns, *image_shape)
    ax.imshow(tile(images), cmap="gray_r", vmin=0, vmax=1)
    ax.axis("off")
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


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

    draw_stages(vq, X_test[:8], digits.image_shape, "demo-stages.png")
    draw_samples(vq, digits.image_shape, "demo-samples.png")
    draw_samples(load_pretrained("mnist-60bit"), (28, 28), "demo-mnist-samples.png")
    print(
        "\ndemo-stages.png: digits refined stage by stage. demo-samples.png: random codes, decoded."
        "\ndemo-mnist-samples.png: random codes of the model of MNIST that comes with the package."
    )


if __name__ == "__main__":
    main()
