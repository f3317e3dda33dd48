"""
=================================================
Are all options in use? The error does not tell
=================================================

Two models can have the same error while one of them has options that hardly any row chooses: bits
that are paid for and hold nothing. Counting finds them. Here a model whose last stages are poorly
used is found out, and two cures are tried.

With MNIST at hand (see :func:`skvqdraw.datasets.fetch_mnist`) this runs on 9,000 of its images, in
a minute; otherwise on the bundled 8x8 digits, in some seconds.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from skvqdraw import VQDRAW
from skvqdraw.datasets import fetch_mnist, load_digits_images
from skvqdraw.metrics import code_entropy, code_usage, collision_rate, perplexity
from skvqdraw.plot import CodeUsageDisplay
from skvqdraw.refiners import MLPRefiner

# %%
# Six stages of 64 options, 36 bits. The network is asked once for all six stages, and draws eight
# basis vectors that their options are mixed from: there is little left to tell the last ones apart.
try:
    data = fetch_mnist(download_if_missing=False)
except OSError:
    print("The bundled 8x8 digits instead of MNIST.")
    data = load_digits_images()
X, X_test = train_test_split(data.data[:12_000] / np.float32(data.data.max()), random_state=0)


def fit(basis_size, aux_weight):
    refiner = MLPRefiner(stages_per_round=6, basis_size=basis_size)
    vq = VQDRAW(6, 64, refiner=refiner, aux_weight=aux_weight, max_steps=100, random_state=0)
    return vq.fit(X)


models = {
    "neglected": fit(basis_size=8, aux_weight=0),
    "aux_weight=0.1": fit(basis_size=8, aux_weight=0.1),
    "basis_size=24": fit(basis_size=24, aux_weight=0),
}

# %%
# The errors of the first two are the same. White options were never chosen.
figure, axes = plt.subplots(len(models), figsize=(6, 8), layout="constrained")
for (name, vq), ax in zip(models.items(), axes, strict=True):
    CodeUsageDisplay.from_estimator(vq, X, ax=ax)
    ax.set_title(f"{name}: error {-vq.score(X_test):.4f}")

# %%
# The same in numbers. From few rows, even codes in which every option is as likely as any other
# seem to use fewer options than there are, so as many of those are counted for comparison.
codes = {name: vq.encode(X) for name, vq in models.items()}
codes["uniform codes"] = vq.sample_codes(len(X), random_state=0)
for name, rows in codes.items():
    print(
        f"{name:15s} options never chosen: {(code_usage(rows, 64) == 0).mean():.1%}, "
        f"entropy: {code_entropy(rows).marginal.sum():.1f} of 36 bits, perplexity of the last "
        f"stage: {perplexity(rows)[-1]:.0f} of 64"
    )

# %%
# Another question is how many integers it takes to tell rows apart. Rows that are alike share a
# prefix more often than chance would have it, and that is as it should be.
for name, rows in codes.items():
    print(f"{name:15s} rows not alone with their prefix: {collision_rate(rows).round(3)}")

# %%
# **Take away**: look at the usage of a model before you pay for its bits. `aux_weight` brings idle
# options back at the same error; options that have more to differ in lower the error too.
