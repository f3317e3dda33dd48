"""
=====================================================
Random codes of VQ-DRAW and cluster boosting, decoded
=====================================================

:class:`~skvqdraw.ClusterBoosting`, k-means on what is left, offers the same options at each stage
whatever was chosen before; :class:`~skvqdraw.VQDRAW` proposes options that go with the choices so
far. Both decode what they encoded; of random codes one makes digits, the other digits in pieces.

With MNIST at hand (see :func:`skvqdraw.datasets.fetch_mnist`) this fits 9,000 of its images, in
some minutes on 2 cores; otherwise the bundled 8x8 digits, in half a minute.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import fetch_mnist, load_digits_images
from skvqdraw.metrics import probe_score
from skvqdraw.plot import RateDistortionDisplay, SamplesDisplay
from skvqdraw.refiners import ConvRefiner

# %%
# Eight stages of 64 options, 48 bits, and the same rows for all.
try:
    data, n_greys, refiner = fetch_mnist(download_if_missing=False), 255, ConvRefiner((28, 28))
except OSError:
    print("The bundled 8x8 digits instead of MNIST.")
    refiner = ConvRefiner((8, 8), n_channels=64, downsampling=2)
    data, n_greys = load_digits_images(), 16
X, y = data.data[:12_000] / np.float32(data.data.max()), data.target[:12_000]
X, X_test, _, y_test = train_test_split(X, y, random_state=0)
models = {
    "ClusterBoosting": ClusterBoosting(random_state=0),
    "ClusterBoosting, beam": ClusterBoosting(beam_size=8, n_refits=1, random_state=0),
    "VQDRAW": VQDRAW(refiner=refiner, max_steps=200 if n_greys == 16 else 500, random_state=0),
}
for name, model in models.items():
    probe = probe_score(model.fit(X), X_test, y_test).mean()
    print(f"{name}: a linear classifier reads {probe:.3f} of the held-out rows' codes correctly")

# %%
# The error after each stage. Cluster boosting begins as k-means; with a beam worse, to end better.
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for name, model in models.items():
    RateDistortionDisplay.from_estimator(model, X[:2000], X_validation=X_test, name=name, ax=ax)
kmeans = KMeans(64, n_init=1, random_state=0).fit(X)
ax.plot(6, -kmeans.score(X_test) / X_test.size, "k*", markersize=10, label="KMeans, validation")
_ = ax.legend(loc="upper left", bbox_to_anchor=(1, 1))

# %%
# Random codes: every option as likely as any other. Some of cluster boosting's fit a few rows only,
# so it gets a second chance: options drawn as often as training rows use them.
n_samples = len(X_test) // 2
samples = {name: model.sample(n_samples, random_state=0) for name, model in models.items()}
rng, boosting = np.random.default_rng(0), models["ClusterBoosting, beam"]
codes = np.transpose([rng.choice(64, n_samples, p=shares) for shares in boosting.code_usage_])
samples["ClusterBoosting, beam, by usage"] = boosting.decode(codes)
figure, axes = plt.subplots(len(samples), figsize=(6, 7.2), layout="constrained")
for (name, rows), ax in zip(samples.items(), axes, strict=True):
    shown = SamplesDisplay(rows[:36], image_shape=data.image_shape)
    shown.plot(n_columns=12, vmin=0, vmax=1, ax=ax)
    ax.set_title(name, fontsize=9)

# %%
# How often two classifiers tell samples from held-out rows. 0.5 is chance, as for rows themselves.
for name, rows in {"held-out rows": X_test[n_samples : 2 * n_samples], **samples}.items():
    rows = np.round(rows.clip(0, 1) * n_greys) / n_greys  # or the greys would give them away
    both, is_real = np.r_[X_test[:n_samples], rows], np.repeat([1, 0], n_samples)
    scores = [cross_val_score(c, both, is_real).mean() for c in (KNeighborsClassifier(), SVC())]
    print(f"{name:32s} 5 nearest neighbours {scores[0]:.2f}, support vectors {scores[1]:.2f}")

# %%
# **Take away**: nearly all random codes of VQ-DRAW are digits, though a support vector machine can
# tell them from written ones; those of cluster boosting are digits in pieces. Drawn by usage more
# can be read. So balance is one part of it, options that go with the choices before the other.
