"""
======================================
What the two levels of a VQ-VAE-2 hold
======================================

With ``n_levels=2`` :class:`~skvqdraw.VQVAE` has a top grid of few places, which sees much of the
image, and a bottom grid of many, which is encoded and decoded in the light of the top. Codes have
the top first, and it decodes alone: the decoder has learned what to make of it.

With MNIST at hand (see :func:`skvqdraw.datasets.fetch_mnist`) this takes three minutes on 2 cores;
otherwise the bundled 8x8 digits, some seconds.
"""

import matplotlib.pyplot as plt
import numpy as np

from skvqdraw import VQVAE
from skvqdraw.autoencoders import ConvAutoencoder
from skvqdraw.datasets import fetch_mnist, load_digits_images
from skvqdraw.plot import SamplesDisplay, StagesDisplay

# %%
# The top has half the height and width of the bottom.
try:
    data, n_steps = fetch_mnist(download_if_missing=False), 2000
    autoencoder = ConvAutoencoder((28, 28))
except OSError:
    print("The bundled 8x8 digits instead of MNIST.")
    data, n_steps = load_digits_images(), 200
    autoencoder = ConvAutoencoder((8, 8), n_channels=16, downsampling=2)
X = data.data / np.float32(data.data.max())
X, X_test = X[:-200], X[-200:]
vq = VQVAE(16, n_levels=2, autoencoder=autoencoder, max_steps=n_steps, random_state=0).fit(X)
n_top, n_bottom = vq.network_.levels.n_positions
print(f"{n_top} places of the top, {n_bottom} of the bottom")
codes = vq.encode(X_test)
for name, decoded in {"top": vq.decode(codes[:, :n_top]), "both": vq.decode(codes)}.items():
    print(f"{name:5s} error {np.square(decoded - X_test).mean():.4f}")

# %%
# Rows, the mean, what the top alone says, and both.
StagesDisplay.from_estimator(vq, X_test[:8], image_shape=autoencoder.image_shape, vmin=0, vmax=1)

# %%
# The top of one digit with the bottom of another: a row for each top, a column for each bottom. On
# the diagonal they are one digit's.
tops, bottoms = codes[:8, :n_top], codes[:8, n_top:]
pairs = np.hstack([tops.repeat(8, axis=0), np.tile(bottoms, (8, 1))])
mixed = vq.decode(pairs)
display = SamplesDisplay(mixed, image_shape=autoencoder.image_shape)
display.plot(n_columns=8, vmin=0, vmax=1)
grid = mixed.reshape(8, 8, -1)
like_top = np.square(grid - vq.decode(codes[:8])[:, None]).mean()
like_bottom = np.square(grid - vq.decode(codes[:8])[None]).mean()
print(f"from the digit of the top {like_top:.3f}, from that of the bottom {like_bottom:.3f}")

# %%
# All bottoms of one top: the top's digits stay where they are, and differ in detail.
random = vq.sample_codes(40, prefix=tops[0], random_state=0)
plt.figure()
SamplesDisplay(vq.decode(random), image_shape=autoencoder.image_shape).plot(
    n_columns=10, vmin=0, vmax=1, ax=plt.gca()
)

# %%
# **Take away**: the top alone is a blurred digit, and the bottom draws its strokes. Neither says
# the digit alone: mixed ones are between the two.
