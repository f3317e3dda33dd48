"""
==============================================
Samples that are what you want: guides
==============================================

A stage proposes 64 variations, and somebody chooses. To encode, the nearest to a row is chosen; to
sample, any. A guide chooses in between: by a part of a row, by a smaller image, by what a
classifier says. Nothing is trained for it, and nothing needs a gradient.

The model is the one of MNIST that comes with the package. With MNIST at hand (see
:func:`skvqdraw.datasets.fetch_mnist`) digits are its test images, otherwise the bundled digits,
enlarged. Some seconds either way.
"""

import numpy as np
from scipy.ndimage import zoom
from sklearn.linear_model import LogisticRegression

from skvqdraw import load_pretrained
from skvqdraw.datasets import fetch_mnist, load_digits_images
from skvqdraw.guides import ClassGuide, FunctionGuide, LinearGuide, MaskGuide, shrinking_matrix
from skvqdraw.plot import SamplesDisplay

vq = load_pretrained("mnist-60bit")
show = {"vmin": 0, "vmax": 1}

# %%
# Digits that the model has not seen.
try:
    mnist = fetch_mnist(download_if_missing=False)
    X, y = mnist.data[:5000] / np.float32(255), mnist.target[:5000]
    digits, factor = mnist.data_test[[3, 2, 1, 18, 4]] / np.float32(255), 2
except OSError:
    print("The bundled 8x8 digits, enlarged, instead of MNIST.")
    bundled = load_digits_images()
    large = zoom(bundled.data.reshape(-1, 8, 8), (1, 2.5, 2.5)).clip(0, 1)
    X = np.pad(large, [(0, 0), (4, 4), (4, 4)]).reshape(-1, 28 * 28)
    X, y, digits = X[:1000], bundled.target[:1000], X[[1004, 1007, 1016, 1010, 1024]]
    factor = 4  # they are blurred anyway

# %%
# The upper half of a digit, completed in eight ways. Left: the digit, and what is known of it.
# Options are drawn by how well their candidates agree with the upper half; `beam_size` codes of
# each sample are kept from stage to stage, so that a choice that turns out badly later is taken
# back.
upper = np.arange(784) < 392
lines = []
for digit in digits:
    eight = vq.sample(8, guide=MaskGuide(digit, upper, beam_size=8), random_state=0)
    lines += [digit, np.where(upper, digit, 0.5), *eight]
_ = SamplesDisplay(np.array(lines), image_shape=(28, 28)).plot(n_columns=10, **show)

# %%
# A classifier's wish. It is a logistic regression of pixels, and knows nothing of codes: any
# classifier with `predict_proba` will do.
classifier = LogisticRegression(C=0.1, max_iter=1000).fit(X, y)
wished = np.arange(10).repeat(5)
guide = ClassGuide(classifier, wished, temperature=0.2)
granted = vq.sample(50, guide=guide, random_state=0)
print(f"{(classifier.predict(granted) == wished).mean():.0%} are what the classifier asked for")
_ = SamplesDisplay(granted, image_shape=(28, 28)).plot(n_columns=10, **show)

# %%
# From 14 x 14 to 28 x 28 pixels: the mean of each square of four is known. At a temperature of 0
# the best options are taken. Above the small images, each pixel repeated; below what they become.
matrix = shrinking_matrix((28, 28), factor)
small = (matrix @ digits.T).T
large = vq.sample(5, guide=LinearGuide(small, matrix, temperature=0, beam_size=8))
repeated = np.kron(small.reshape(5, 28 // factor, -1), np.ones((factor, factor))).reshape(5, -1)
for name, rows in {"each pixel repeated": repeated, "guided": large}.items():
    print(f"squared error {np.square(rows - digits).mean():.4f}, {name}")
lines = np.concatenate([repeated, large, digits])
_ = SamplesDisplay(lines, image_shape=(28, 28)).plot(n_columns=5, **show)

# %%
# Any function of candidates is a guide. This one likes ink on the left, the lower its temperature
# the more.
for temperature in (1.0, 0.01, 0.002):
    guide = FunctionGuide(
        lambda rows, stage: rows.reshape(*rows.shape[:2], 28, 28)[..., :14].mean((2, 3)),
        temperature=temperature,
    )
    left = vq.sample(50, guide=guide, random_state=0).reshape(-1, 28, 28)[:, :, :14]
    print(f"{left.sum() / 50:5.1f} of ink on the left at a temperature of {temperature}")

# %%
# **Take away**: whoever can say which of 64 candidates is better can steer what is drawn, from the
# first stage on.
