"""
==============================================
How much of a digit is in its code? A probe
==============================================

A code is useful if a simple classifier can read it. Here MNIST digits become codes of 60 bits, and
three classifiers of scikit-learn read them, and prefixes of them, without ever seeing a pixel.

With the environment variable ``SKVQDRAW_DATA`` naming a folder that holds ``mnist.npz``, or MNIST
in scikit-learn's cache, this runs on MNIST, with the model that comes with the package: a few
minutes on 2 cores. Otherwise it runs on the bundled 8x8 digits, in half a minute.
"""

import warnings

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skvqdraw import VQDRAW, load_pretrained
from skvqdraw.datasets import fetch_mnist, load_digits_images
from skvqdraw.plot import StagesDisplay
from skvqdraw.refiners import ConvRefiner

# %%
# The data, and an auto-encoder. It sees no labels, and no test image.
try:
    mnist = fetch_mnist(download_if_missing=False)
    X, X_test = mnist.data / np.float32(255), mnist.data_test / np.float32(255)
    y, y_test, image_shape = mnist.target, mnist.target_test, mnist.image_shape
    print("MNIST: 60,000 images to learn from, 10,000 to test on.")
    vq = load_pretrained("mnist-60bit")
except OSError:
    digits = load_digits_images()
    X, X_test, y, y_test = train_test_split(
        digits.data, digits.target, test_size=450, random_state=0, stratify=digits.target
    )
    image_shape = digits.image_shape
    print("The bundled 8x8 digits instead of MNIST.")
    refiner = ConvRefiner(image_shape, n_channels=64, downsampling=2)
    vq = VQDRAW(8, 64, refiner=refiner, max_steps=100, random_state=0).fit(X)

n_stages = vq.n_stages
print(f"Mean squared error per pixel on the test images: {-vq.score(X_test):.5f}")
display = StagesDisplay.from_estimator(vq, X_test[:10], image_shape=image_shape)
display.figure_.savefig("mnist-probe-stages.png", dpi=150)

# %%
# Three classifiers on the first 6, 12, 24, ... bits. Two take the integers one-hot; gradient
# boosting takes them as categories.
codes, codes_test = vq.encode(X), vq.encode(X_test)
mlp = MLPClassifier((256, 256), alpha=0.3, max_iter=15, random_state=0)
warnings.simplefilter("ignore", ConvergenceWarning)
print("\nAccuracy on the test images\n  bits  linear     MLP  boosting")
for s in [1, *range(2, n_stages + 1, 2)]:
    classifiers = [
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(max_iter=300)),
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), mlp),
        HistGradientBoostingClassifier(
            categorical_features=[True] * s, max_iter=30, random_state=0
        ),
    ]
    scores = [c.fit(codes[:, :s], y).score(codes_test[:, :s], y_test) for c in classifiers]
    print(f"{6 * s:6d}  " + "  ".join(f"{score:6.4f}" for score in scores))

# %%
# A linear classifier cannot ask what came before a digit. It reads more where it also sees how near
# the other options came, or what the digits mean together.
some = slice(20_000)
linear = LogisticRegression(max_iter=300)
forms = {
    "one-hot codes": lambda X: vq.set_params(encoding="onehot").transform(X),
    "soft assignments": lambda X: vq.set_params(encoding="soft").transform(X),
    "decoded rows": vq.reconstruct,
}
for name, form in forms.items():
    accuracy = linear.fit(form(X[some]), y[some]).score(form(X_test), y_test)
    print(f"linear, {name}: {accuracy:.4f}")
vq.set_params(encoding="onehot")

# %%
# The same as one pipeline, from pixels to labels. ``FrozenEstimator`` keeps the auto-encoder as it
# is; without it, the pipeline would fit it anew.
pipeline = make_pipeline(FrozenEstimator(vq), mlp).fit(X, y)
print(f"\nPixels -> {6 * n_stages} bits -> MLP: {pipeline.score(X_test, y_test):.4f}")

# %%
# **Take away**: the first stages say most about the class, later ones about the hand that wrote it;
# and a model that saw no labels leaves enough of them in a few bytes.
