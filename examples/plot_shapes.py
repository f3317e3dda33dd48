"""
=========================================
Shapes of voxels, stage by stage, in 3-D
=========================================

A shape of 24 x 24 x 24 voxels becomes 20 integers below 64, 120 bits. Any prefix of them is a
coarser shape, and random ones decode to shapes that were never seen.

The shapes are furniture where the folder that ``SKVQDRAW_DATA`` names has it (see
:func:`skvqdraw.datasets.load_shapes`), else boxes, spheres and tori. It runs in half a minute.
"""

import matplotlib.pyplot as plt
import numpy as np

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import load_shapes
from skvqdraw.preprocessing import PatchPCA
from skvqdraw.refiners import VolumeRefiner

shapes = load_shapes()
X, X_test, kinds = shapes.data, shapes.data_test[::4], shapes.target_test[::4]
print(f"{shapes.name}: {len(X)} shapes to learn from, of {X.shape[1]} voxels.")

# %%
# Neighbouring voxels are nearly always equal. So cubes of 8 x 8 x 8 voxels become 32 principal
# components each, and convolutions refine the grid of them.
patches = PatchPCA(shapes.volume_shape, (8, 8, 8), n_components=32)
vq = VQDRAW(
    n_stages=20,
    n_options=64,
    refiner=VolumeRefiner(patches.grid_shape, downsampling=1, stages_per_round=(4, 5)),
    batch_size=32,
    max_steps=100,
    random_state=0,
)
Z = patches.fit_transform(X)
print(
    f"{Z.shape[1]} components keep {patches.explained_variance_ratio_.sum():.0%} of the variance."
)
vq.fit(Z)
Z_test = patches.transform(X_test)
codes = vq.encode(Z_test)


# %%
# How much of a shape comes back: the voxels that are full in both, as a share of those that are
# full in either.
def overlap(rows):
    """Return the intersection over union of what comes back, on average."""
    back, full = rows > 0.5, X_test > 0
    return np.mean((back & full).sum(1) / np.maximum((back | full).sum(1), 1))


boosting = ClusterBoosting(n_stages=20, n_options=64, random_state=0).fit(Z)
fig, ax = plt.subplots(layout="constrained")
stages = np.arange(0, 21, 2)
for name, model in (("VQDRAW", vq), ("ClusterBoosting", boosting)):
    codes_test = model.encode(Z_test)
    curve = [overlap(patches.inverse_transform(model.decode(codes_test[:, :s]))) for s in stages]
    ax.plot(6 * stages, curve, marker="o", label=name)
    print(f"{name}: {curve[5]:.2f} with 60 bits, {curve[-1]:.2f} with 120 bits")
ax.set(xlabel="bits per shape", ylabel="intersection over union", ylim=0)
ax.legend()


# %%
# Two shapes of different kinds that were not trained on, stage by stage.
def draw(ax, voxels, title):
    """Draw one shape: its last axis points up."""
    full = (voxels > 0.5).reshape(shapes.volume_shape)
    ax.voxels(full, facecolors="#7a9cc6", edgecolor="#33507a", linewidth=0.1)
    ax.set(xlim=(0, 24), ylim=(0, 24), zlim=(0, 24))
    ax.set_title(title)
    ax.set_box_aspect((1, 1, 1), zoom=1.2)
    ax.set_axis_off()


shown = [np.flatnonzero(kinds == kind)[0] for kind in (0, 2)]
figure, axes = plt.subplots(2, 4, figsize=(9, 4.8), subplot_kw={"projection": "3d"})
for row, i in zip(axes, shown, strict=True):
    for ax, stage in zip(row, (1, 10, 20), strict=False):
        voxels = patches.inverse_transform(vq.decode(codes[[i], :stage]))[0]
        draw(ax, voxels, f"{6 * stage} bits")
    draw(row[-1], X_test[i], shapes.target_names[kinds[i]])
figure.tight_layout(pad=0.8)

# %%
# Random codes. Each integer is drawn by how often it occurs in codes of the training shapes,
# without regard to the others.
figure, axes = plt.subplots(1, 4, figsize=(9, 2.4), subplot_kw={"projection": "3d"})
for ax, rows in zip(axes, patches.inverse_transform(vq.sample(4, random_state=1)), strict=True):
    draw(ax, rows, "")
figure.tight_layout(pad=0.8)

plt.show()

# %%
# **Take away**: :class:`~skvqdraw.refiners.VolumeRefiner` codes volumes, and
# :class:`~skvqdraw.preprocessing.PatchPCA` before it makes them few numbers. A fit of seconds has
# the place and size of a shape, not yet its edges. Random codes are no furniture and no clean
# boxes: solids decode to a lump between their kinds, furniture to blocks with stumps and loose
# pieces, or to next to nothing. A prior of codes draws integers that go together. :doc:`The
# benchmarks </benchmarks>` tell how far longer fits get.
