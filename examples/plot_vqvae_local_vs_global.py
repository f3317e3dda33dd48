"""
==============================================
Random codes of VQ-VAE and of VQ-DRAW, decoded
==============================================

An integer of :class:`~skvqdraw.VQVAE` is a place of the image; one of :class:`~skvqdraw.VQDRAW`
refines what those before it made. Both decode what they encoded. Random codes tell them apart: of
places they are strokes that know nothing of one another, of refinements they are digits. A prior
over the codes, the second phase of a VQ-VAE, tells its places of each other.

With MNIST at hand (see :func:`skvqdraw.datasets.fetch_mnist`) this takes about ten minutes on 2
cores; otherwise the bundled 8x8 digits, a quarter of a minute.
"""

import matplotlib.pyplot as plt
import numpy as np

from skvqdraw import VQDRAW, VQVAE
from skvqdraw.autoencoders import ConvAutoencoder
from skvqdraw.datasets import fetch_mnist, load_digits_images
from skvqdraw.metrics import prior_bits, two_sample_score
from skvqdraw.plot import SamplesDisplay
from skvqdraw.priors import AutoregressivePrior
from skvqdraw.refiners import ConvRefiner

# %%
# A grid of 7x7 places of 32 options on MNIST, of 4x4 places of 16 on the small digits; and for
# VQ-DRAW as many stages of as many options.
try:
    data = fetch_mnist(download_if_missing=False)
    (shape, n_places, n_options), n_steps, n_prior_steps = ((28, 28), 49, 32), 3000, 2000
    autoencoder, refiner = ConvAutoencoder(shape), ConvRefiner(shape, stages_per_round=7)
except OSError:
    print("The bundled 8x8 digits instead of MNIST.")
    data = load_digits_images()
    (shape, n_places, n_options), n_steps, n_prior_steps = ((8, 8), 16, 16), 160, 200
    autoencoder = ConvAutoencoder(shape, n_channels=16, n_blocks=1, downsampling=2)
    refiner = ConvRefiner(shape, n_channels=16, downsampling=2, hidden_size=0, basis_size=8)
X = data.data / np.float32(data.data.max())
n_rows = 4 * len(X) // 5
X, X_test, y = X[:n_rows], X[n_rows:][:2000], data.target[:n_rows]

places = VQVAE(n_options, autoencoder=autoencoder, max_steps=n_steps, random_state=0).fit(X)
refinements = VQDRAW(n_places, n_options, refiner=refiner, max_steps=n_steps // 4, random_state=0)
refinements.fit(X)
for name, model in {"VQVAE": places, "VQDRAW": refinements}.items():
    print(f"{name}: error {-model.score(X_test):.4f} with {n_places * np.log2(n_options):.0f} bits")

# %%
# The prior learns the codes of training rows, and their classes. What it saves is what places say
# of each other.
codes = places.encode(X)
prior = AutoregressivePrior(
    n_options, hidden_size=128, batch_size=128, max_steps=n_prior_steps, random_state=0
).fit(codes, y)
bits = prior_bits(prior, places.encode(X_test)).sum()
print(f"The prior needs {bits:.0f} of the {n_places * np.log2(n_options):.0f} bits of a new row.")

# %%
# Samples, and how often a support vector machine tells them from reconstructions of rows that were
# not trained on: 0.5 is chance.
n_samples = min(len(X_test), 360)
classes = np.arange(n_samples) % 10
samples = {
    "VQVAE, random codes": (places, places.sample(n_samples, random_state=0)),
    "VQVAE, codes of the prior": (
        places,
        places.sample(n_samples, prior=prior, y=classes, temperature=0.8, random_state=0),
    ),
    "VQDRAW, random codes": (refinements, refinements.sample(n_samples, random_state=0)),
}
figure, axes = plt.subplots(3, figsize=(6, 5), layout="constrained")
for (name, (model, rows)), ax in zip(samples.items(), axes, strict=True):
    told_apart = two_sample_score(rows, model.reconstruct(X_test[:n_samples]), random_state=0)
    print(f"{name:26s} told apart {told_apart:.2f}")
    SamplesDisplay(rows[:40], image_shape=shape).plot(n_columns=20, vmin=0, vmax=1, ax=ax)
    ax.set_title(name, fontsize=9)

# %%
# **Take away**: a VQ-VAE without its prior is a compressor. Each place is right by itself, and none
# knows of the others. The prior makes digits of them again, for the price of a second fit; codes of
# VQ-DRAW need none.
