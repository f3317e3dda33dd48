"""
====================================
How it works: a digit in ten choices
====================================

There is no encoder. Stage after stage the model proposes 64 variations of what it has so far, the
nearest to the row is kept, and its number written down. What it proposes depends on the choices
before: this is what k-means on what is left cannot do.

The model is the one of MNIST that comes with the package. With MNIST at hand (see
:func:`skvqdraw.datasets.fetch_mnist`) the digit is one of its test images, otherwise one of the
bundled digits, enlarged. A few seconds either way.
"""

import numpy as np
from scipy.ndimage import zoom

from skvqdraw import load_pretrained
from skvqdraw.datasets import fetch_mnist, load_digits_images
from skvqdraw.plot import ProposalsDisplay, StagesDisplay

# %%
# Two digits that the model has not seen. Choices are greedy at first, to keep the story simple.
try:
    mnist = fetch_mnist(download_if_missing=False)
    digits = mnist.data_test[[30, 17]] / np.float32(255)
except OSError:
    print("The bundled 8x8 digits, enlarged, instead of MNIST.")
    small = load_digits_images().data[[13, 6]].reshape(-1, 8, 8)
    large = zoom(small, (1, 2.5, 2.5)).clip(0, 1)  # MNIST's digits, too, are 20 pixels high
    digits = np.pad(large, [(0, 0), (4, 4), (4, 4)]).reshape(-1, 28 * 28)

vq = load_pretrained("mnist-60bit").set_params(beam_size=1, round_beam_size=1)
show = {"image_shape": (28, 28), "vmin": 0, "vmax": 1}

# %%
# Stage 0: all rows start from the same table of 64 digits.
_ = ProposalsDisplay.from_estimator(vq, digits[0], stage=0, **show)

# %%
# Stage 1: variations of the digit that was kept. The other digit is offered variations of its own,
# under the same 64 numbers.
for digit in digits:
    ProposalsDisplay.from_estimator(vq, digit, stage=1, **show)

# %%
# Stage 6: corrections. All proposals are this digit by now, with small differences.
_ = ProposalsDisplay.from_estimator(vq, digits[0], stage=6, **show)

# %%
# Encoding is nothing but this loop, and `encode` is a faster way to run it.
code = []
for _ in range(vq.n_stages):
    proposals = vq.decode([[*code, option] for option in range(vq.n_options)])
    errors = np.square(proposals - digits[0]).mean(axis=1)
    code.append(int(errors.argmin()))
    print(f"{6 * len(code):2d} bits {code}: squared error {errors.min():.4f}")
print(f"the same as encode: {code == vq.encode(digits[:1])[0].tolist()}")

# %%
# Decoding follows the numbers, as far as there are any.
_ = StagesDisplay.from_estimator(vq, digits, **show)

# %%
# The nearest option now is not always the best beginning. `round_beam_size` hypotheses are kept
# from stage to stage by default, and `beam_size` of them from one look of the network to the next.
for beams in ((1, 1), (1, 16), (16, 16)):
    vq.set_params(beam_size=beams[0], round_beam_size=beams[1])
    print(f"beam_size, round_beam_size {beams!s:>8}: squared error {-vq.score(digits[:1]):.4f}")

# %%
# **Take away**: a code is a list of choices, and each choice is among variations of the ones before
# it. So any prefix decodes, and a random code is a digit too.
