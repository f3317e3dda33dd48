"""
=================================================
Bits and errors of all estimators, in one picture
=================================================

k-means, :class:`~skvqdraw.ClusterBoosting`, :class:`~skvqdraw.VQVAE`, its two levels and
:class:`~skvqdraw.VQDRAW` on the same rows. Those whose integers are refinements draw a line with
one fit, as any prefix decodes; a VQ-VAE has a point, or one for each level, and a fit for each.

With MNIST at hand (see :func:`skvqdraw.datasets.fetch_mnist`) this takes five minutes on 2 cores;
otherwise the bundled 8x8 digits, a quarter of a minute.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans

from skvqdraw import VQDRAW, VQVAE, ClusterBoosting
from skvqdraw.autoencoders import ConvAutoencoder
from skvqdraw.datasets import fetch_mnist, load_digits_images
from skvqdraw.metrics import rate_distortion_curve
from skvqdraw.plot import RateDistortionDisplay
from skvqdraw.refiners import ConvRefiner

# %%
# The same rows for all.
try:
    data, n_steps = fetch_mnist(download_if_missing=False), (1000, 300)
    refiner, autoencoder = ConvRefiner((28, 28)), ConvAutoencoder((28, 28))
except OSError:
    print("The bundled 8x8 digits instead of MNIST.")
    data, n_steps = load_digits_images(), (80, 40)
    refiner = ConvRefiner((8, 8), n_channels=16, downsampling=2, basis_size=12)
    autoencoder = ConvAutoencoder((8, 8), n_channels=16, n_blocks=1, downsampling=2)
X = data.data[:12_000] / np.float32(data.data.max())
X, X_test = X[: 4 * len(X) // 5], X[4 * len(X) // 5 :]

how = {"autoencoder": autoencoder, "max_steps": n_steps[0], "random_state": 0}
models = {
    "ClusterBoosting": ClusterBoosting(16, 32, random_state=0),
    "VQDRAW": VQDRAW(16, 32, refiner=refiner, max_steps=n_steps[1], random_state=0),
}
places = {
    "VQVAE": [VQVAE(n_options, **how) for n_options in (4, 32)],
    "VQ-VAE-2": [VQVAE(n_options, n_levels=2, **how) for n_options in (4, 32)],
}

# %%
# Errors of rows that were not trained on. Of two levels the whole codes only.
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
sizes = [2**bits for bits in range(1, 8)]
errors = [
    -KMeans(size, n_init=1, random_state=0).fit(X).score(X_test) / X_test.size for size in sizes
]
ax.plot(np.log2(sizes), errors, "k.-", label="KMeans, validation")
for name, model in models.items():
    model.fit(X)
    RateDistortionDisplay.from_estimator(model, X[:500], X_validation=X_test, name=name, ax=ax)
for (name, several), marker in zip(places.items(), "os", strict=True):
    curves = [rate_distortion_curve(vq.fit(X), X[:500], X_validation=X_test) for vq in several]
    bits, found = [curve.bits[-1] for curve in curves], [curve.validation[-1] for curve in curves]
    ax.plot(bits, found, f"{marker}--", label=f"{name}, validation")
    print(name, ", ".join(f"{b:.0f} bits: {e:.4f}" for b, e in zip(bits, found, strict=True)))
curve = rate_distortion_curve(models["VQDRAW"], X[:500], X_validation=X_test)
print(
    "VQDRAW", ", ".join(f"{curve.bits[s]:.0f} bits: {curve.validation[s]:.4f}" for s in (3, 9, 15))
)
ax.set_yscale("log")
_ = ax.legend(loc="upper left", bbox_to_anchor=(1, 1))

# %%
# **Take away**: refinements make more of the same bits here, and one fit serves all of them; a
# VQ-VAE has a fit for each number of bits. Two levels are about where one is, and have a coarse
# version of each row beside.
