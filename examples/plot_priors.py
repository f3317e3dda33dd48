"""
=======================================================
Which codes are likely? Priors, classes and their bits
=======================================================

Random codes of `VQDRAW` look like data: each option is a variation of the choices before it, so
hardly any code is a bad one. Those of residual k-means are not: its options know nothing of each
other, and some do not go together. A prior says how likely codes are, in bits, and draws better
ones.

With MNIST at hand (see :func:`skvqdraw.datasets.fetch_mnist`) this runs on MNIST, with the model
that comes with the package: three minutes. Otherwise it runs on the bundled 8x8 digits, in ten
seconds.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split

from skvqdraw import VQDRAW, ClusterBoosting, load_pretrained
from skvqdraw.datasets import fetch_mnist, load_digits_images
from skvqdraw.metrics import classification_accuracy_score, prior_bits
from skvqdraw.plot import SamplesDisplay
from skvqdraw.priors import AutoregressivePrior, MarginalPrior, MarkovPrior
from skvqdraw.refiners import ConvRefiner

# %%
# The data, and two ways to code them in as many bits.
try:
    mnist = fetch_mnist(download_if_missing=False)
    X, X_test = mnist.data / np.float32(255), mnist.data_test / np.float32(255)
    y, y_test, image_shape = mnist.target, mnist.target_test, mnist.image_shape
    vq, budget = load_pretrained("mnist-60bit"), {"max_steps": 400}
except OSError:
    print("The bundled 8x8 digits instead of MNIST.")
    digits = load_digits_images()
    X, X_test, y, y_test = train_test_split(digits.data, digits.target, random_state=0)
    image_shape = digits.image_shape
    refiner = ConvRefiner(image_shape, n_channels=32, downsampling=2)
    vq = VQDRAW(6, 16, refiner=refiner, max_steps=100, random_state=0).fit(X)
    budget = {"max_steps": 60, "hidden_size": 64}

n_stages, n_options = vq.n_stages, vq.n_options
boosting = ClusterBoosting(n_stages, n_options, random_state=0).fit(X)

# %%
# Bits of codes of test images. If all options were alike, each stage would take
# ``log2(n_options)``. The less a prior needs, the more there is to know of a code that does not
# say it by itself.
fig, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True, layout="constrained")
print(f"{np.log2(n_options) * n_stages:.0f} bits, of which priors need")
best = {}
for ax, (name, estimator) in zip(
    axes, {"VQDRAW": vq, "ClusterBoosting": boosting}.items(), strict=True
):
    codes, codes_test, priors = estimator.encode(X), estimator.encode(X_test), []
    for prior in (
        MarginalPrior(n_options),
        MarkovPrior(n_options=n_options),
        AutoregressivePrior(n_options, **budget, random_state=0),
    ):
        prior.fit(codes, y)
        priors.append(prior)
        bits = prior_bits(prior, codes_test)
        given = prior_bits(prior, codes_test, y_test).sum()
        title = type(prior).__name__
        print(f"  {bits.sum():5.2f} of {name}, {title}; {given:5.2f} with the class known")
        ax.plot(bits, marker=".", label=title)
    best[name] = max(priors, key=lambda prior: prior.score(codes_test, y_test))
    ax.axhline(np.log2(n_options), color="grey", linestyle=":", label="all alike")
    ax.set(title=name, xlabel="stage", ylim=(0, 1.1 * np.log2(n_options)))
axes[0].set_ylabel("bits of a test code")
axes[1].legend()

# %%
# Random codes, decoded, and codes drawn by the best prior: VQDRAW first, then ClusterBoosting.
show = {"image_shape": image_shape, "n_samples": 40, "n_columns": 10, "random_state": 0}
for name, estimator in {"VQDRAW": vq, "ClusterBoosting": boosting}.items():
    for prior in (None, best[name]):
        display = SamplesDisplay.from_estimator(estimator, prior=prior, vmin=0, vmax=1, **show)
        display.ax_.set_title(f"{name}, {'random codes' if prior is None else 'drawn by a prior'}")

# %%
# From labels to labelled samples, and what they are worth: a classifier that has seen nothing else
# is judged by real images.
samples = vq.sample(len(y), prior=best["VQDRAW"], y=y, random_state=0)
for name, rows in {"real rows": X, "samples": samples}.items():
    linear = RidgeClassifier()
    with_them = classification_accuracy_score(rows, y, X_test, y_test, classifier=linear)
    print(f"{with_them:.1%} of test images recognised after learning from {name}")
_ = SamplesDisplay(
    vq.sample(50, prior=best["VQDRAW"], y=np.arange(10).repeat(5), random_state=0),
    image_shape=image_shape,
).plot(n_columns=10, vmin=0, vmax=1)

# %%
# **Take away**: codes of VQDRAW are nearly uniform, even given the codes before; that is why
# random ones look real. A prior adds classes; the baseline needs one to look like anything.
