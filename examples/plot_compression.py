"""
Files of codes beside PNG, JPEG, WebP and AVIF
==============================================

What images cost as real files: as codes, and in the usual formats, one file for each image and all
of them in one picture, where they share a head. Then a download that is not over yet.
"""

import io
import warnings
import zlib

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, features

from skvqdraw import VQDRAW, load_pretrained
from skvqdraw.codec import compress, decompress, inspect
from skvqdraw.datasets import fetch_mnist, load_digits_images
from skvqdraw.refiners import ConvRefiner

# %%
# Images that the model has not seen, as bytes.
try:
    mnist = fetch_mnist(download_if_missing=False)
    images, vq = mnist.data_test[:900].reshape(-1, 28, 28), load_pretrained("mnist-60bit")
except OSError:
    print("The bundled 8x8 digits instead of MNIST.")
    digits = load_digits_images()
    refiner = ConvRefiner(digits.image_shape, n_channels=32, downsampling=2)
    vq = VQDRAW(5, 64, refiner=refiner, max_steps=60, random_state=0).fit(digits.data[900:])
    images = np.rint(255 * digits.data[:900]).astype(np.uint8).reshape(-1, 8, 8)
X = images.reshape(len(images), -1) / np.float32(255)


def squared_error(a, b):
    return np.square(a.astype(np.float64) - b).mean() / 255**2


# %%
# A stream holds all images, its head and its checksums. With ``n_stages`` it is shorter and
# coarser; with ``max_error`` each image takes as many stages as it needs.
data = compress(vq, X)
print(f"{len(images)} images, {inspect(data).bits_per_row / 8:.2f} bytes each, all counted")
curves = {"codes": [], "codes, max_error": []}
for n_stages in range(2, vq.n_stages + 1):
    decoded = 255 * decompress(vq, data, n_stages=n_stages)
    n_bytes = len(compress(vq, X, n_stages=n_stages)) if n_stages < vq.n_stages else len(data)
    curves["codes"].append((n_bytes / len(X), squared_error(decoded, 255 * X)))
for max_error in (0.03, 0.02, 0.01, 0.007):
    short = compress(vq, X, max_error=max_error)
    error = squared_error(255 * decompress(vq, short), 255 * X)
    curves["codes, max_error"].append((len(short) / len(X), error))

# %%
# The usual formats. A file for each image is nearly all head; so each is also given all images in
# one picture.
side = int(len(images) ** 0.5)
H, W = images.shape[1:]
mosaic = images[: side**2].reshape(side, side, H, W).swapaxes(1, 2).reshape(side * H, side * W)


def stored(image, form, **settings):
    """Return the bytes of a file, and the error of what it shows."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **settings)
    return file.tell(), squared_error(np.asarray(Image.open(file).convert("L")), image)


forms = {"JPEG": (1, 10, 30), "WebP": (0, 5, 20), "AVIF": (0, 10, 30)}
for form, qualities in forms.items():
    if form != "JPEG" and not features.check(form.lower()):
        continue
    for quality in qualities:
        n_bytes, error = stored(mosaic, form, quality=quality)
        curves.setdefault(f"{form}, one picture", []).append((n_bytes / side**2, error))
        single = np.mean([stored(image, form, quality=quality) for image in images[:10]], axis=0)
        curves.setdefault(f"{form}, single files", []).append(single)

# %%
# Lossless ones, for scale: PNG and zlib.
png = np.mean([stored(image, "PNG")[0] for image in images[:10]])
block = len(zlib.compress(images.tobytes(), 9)) / len(images)
print(f"without loss: {png:.0f} bytes as PNG files, {block:.0f} in one block of zlib")

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, points in curves.items():
    ours, single = name.startswith("codes"), "single" in name
    style = {"marker": "o" if ours else ".", "linewidth": 2 if ours else 1}
    ax.plot(*zip(*points, strict=True), linestyle=":" if single else "-", label=name, **style)
    n_bytes, error = points[-1]
    print(f"{name:>20}: {n_bytes:6.1f} bytes an image, squared error {error:.4f}")
ax.set(xscale="log", yscale="log", xlabel="bytes an image", ylabel="squared error")
ax.axvline(block, color="grey", linestyle="--", label="zlib, one block")
_ = ax.legend(fontsize=7)

# %%
# A download that is not over: its first part has the first stages of all images. What is missing is
# told in a warning, and the rest is decoded.
shares = (0.25, 0.45, 0.65, 0.85, 1)
fig, axes = plt.subplots(len(shares), 1, figsize=(7, 4), layout="constrained")
for ax, share in zip(axes, shares, strict=True):
    part = data[: int(share * len(data))]
    with warnings.catch_warnings(action="ignore"):
        decoded = decompress(vq, part, allow_truncated=True)[:14]
    ax.imshow(np.hstack(decoded.reshape(-1, H, W)), cmap="gray", vmin=0, vmax=1)
    ax.set_ylabel(f"{share:.0%}", rotation=0, ha="right", va="center")
    ax.set(xticks=[], yticks=[])

# %%
# **Take away**: in a file of many small images of one kind, codes take a fraction of what formats
# for any image take, and any first part of it can be seen. What they cost is a model that knows
# this kind alone, and has to be kept.
