"""
Colour images in 75 bytes, beside JPEG and AVIF
===============================================

The model of colour images that comes with the package, on images that it has not seen: photographs
cut into pieces, then small images beside the usual formats at as many bytes.

With CIFAR-10 at hand (see :func:`skvqdraw.datasets.fetch_cifar10`) the small images are its test
images, otherwise pieces of the photographs.
"""

import io
import warnings

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, features
from sklearn.datasets import load_sample_images

from skvqdraw import load_pretrained
from skvqdraw.datasets import fetch_cifar10, load_photo_patches

SHOWN = 10
BYTES = (7, 15, 37, 75)
vq = load_pretrained("cifar10-600bit")


def in_pieces(picture):
    """Return the pieces of 32 x 32 pixels of a picture, as rows."""
    H, W = picture.shape[0] // 32, picture.shape[1] // 32
    pieces = picture.reshape(H, 32, W, 32, 3).swapaxes(1, 2)
    return pieces.reshape(H * W, -1) / np.float32(255)


def together(rows, n_columns):
    """Return the picture of such rows."""
    pieces = np.uint8(255 * rows.clip(0, 1)).reshape(-1, n_columns, 32, 32, 3)
    return pieces.swapaxes(1, 2).reshape(len(pieces) * 32, n_columns * 32, 3)


# %%
# Two photographs of 320 x 192 pixels are 60 pieces each. From left to right: the photograph, then
# what 7, 15, 37 and 75 bytes for each piece decode to. No piece knows of its neighbours.
figure, axes = plt.subplots(2, 5, figsize=(15, 3.7))
for row, photo in zip(axes, load_sample_images().images, strict=True):
    small = np.asarray(Image.fromarray(photo).resize((320, 213)))[:192]
    codes = vq.encode(in_pieces(small))
    row[0].imshow(small)
    for axis, n_bytes in zip(row[1:], BYTES, strict=True):
        axis.imshow(together(vq.decode(codes[:, :n_bytes]), 10))
for axis in axes.flat:
    axis.axis("off")
figure.tight_layout(pad=0.1)
figure.savefig("colour-photo.png", dpi=80)

# %%
# Small images, and what prefixes of their codes decode to: a stage is a byte. The first stages
# refine the whole image, the next ones its quarters and then its sixteenths.
try:
    images = fetch_cifar10(download_if_missing=False).data_test[:196].reshape(-1, 32, 32, 3)
except OSError:
    print("Pieces of photographs instead of CIFAR-10.")
    images = load_photo_patches(196, 32).data.reshape(-1, 32, 32, 3)
X = images.reshape(len(images), -1) / np.float32(255)
codes = vq.encode(X)
shown = {"the image": images}
for n_bytes in BYTES:
    decoded = vq.decode(codes[:, :n_bytes])
    print(f"{n_bytes:2d} bytes: squared error {np.square(decoded - X).mean():.4f}")
    shown[f"{n_bytes} bytes"] = decoded.clip(0, 1).reshape(images.shape)


# %%
# JPEG and AVIF write small images badly, because each file has a head. So they are given all images
# side by side in one picture, at the best quality that takes no more than 75 bytes for each.
def best_below(form, n_bytes):
    """Return the images as a format keeps them, and how many bytes each takes."""
    mosaic = together(X, 14)
    best = None
    for quality in range(1, 50):
        file = io.BytesIO()
        Image.fromarray(mosaic).save(file, form, quality=quality)
        if best is not None and file.tell() > n_bytes * len(images):
            break
        best, size = np.asarray(Image.open(file).convert("RGB")), file.tell() / len(images)
    return in_pieces(best), size


for form in ("JPEG", "AVIF"):
    if form == "AVIF" and not features.check("avif"):
        warnings.warn("this Pillow cannot write AVIF", stacklevel=1)
        continue
    decoded, size = best_below(form, 75)
    error = np.square(decoded - X).mean()
    print(f"{form}, {size:.0f} bytes: squared error {error:.4f}")
    shown[f"{form}, {size:.0f} bytes"] = decoded.reshape(images.shape)

# %%
# From top to bottom: the image, its code at 7 to 75 bytes, and the other formats.
figure, axes = plt.subplots(len(shown), SHOWN, figsize=(SHOWN, len(shown)))
for row, (name, pictures) in zip(axes, shown.items(), strict=True):
    row[0].set_title(name, fontsize=8, loc="left")
    for axis, picture in zip(row, pictures, strict=False):
        axis.imshow(picture)
        axis.axis("off")
figure.tight_layout(pad=0.3)

# %%
# Random codes decode to colours, edges and light that go together, and to no thing that could be
# named: stages that refine a sixteenth of an image are drawn without regard to the others.
figure, axis = plt.subplots(figsize=(6, 6))
axis.imshow(together(vq.sample(100, random_state=0), 10))
axis.axis("off")
figure.tight_layout(pad=0)
figure.savefig("colour-samples.png", dpi=64)

plt.show()

# %%
# **Take away**: in 75 bytes a colour image keeps what can be recognised in it, and its first bytes
# are the same image, coarser. Of the kind that the model learned from, codes have less error than
# JPEG and AVIF, as Pillow writes them by default, in as many bytes; of others, such as smooth
# pieces of large photographs, more.
