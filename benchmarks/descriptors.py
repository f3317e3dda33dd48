"""Image descriptors without a download: gradient histograms of two photographs.

The photographs come with scikit-learn (`load_sample_images`). Test rows describe patches inside one
band of pixel rows, training rows patches above and below it. Strips between them, as wide as the
widest patch, stay unused: no training patch shares a pixel with a test patch, nor does the
smoothing reach across. The bands are laid where each of the three parts shows some of the
building, the trees and the flower: the side of a photograph would test on trees and blur alone.

A row describes one patch as SIFT does (D. Lowe, IJCV 2004): 16 x 16 points, at a random place, in a
random direction and 1, 1.4 or 2 pixels apart, in the grey image smoothed by a third of a cell.
Gradients under a Gaussian window are shared out linearly to 4 x 4 cells of 8 directions; these 128
numbers are scaled to length 1, clipped at 0.2 and scaled again, and not whitened. Flat patches are
drawn again, as SIFT's detector passes them over. Unlike SIFT's, the patches are not placed by a
detector, nor turned to their main direction.

Places and directions are continuous, so that all rows differ; but patches overlap, and 100,000 rows
of two photographs say less than as many rows of a large collection.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.datasets import load_sample_images

# Pixel rows, from and up to: the photographs have 427.
TRAIN_BANDS = ((0, 218), (372, 427))
TEST_BANDS = ((250, 340),)
STEPS = (1.0, 1.4, 2.0)
CELL, CELLS, DIRECTIONS = 4, 4, 8
WIDTH = CELL * CELLS
# The least mean gradient of a patch, in grey values of [0, 1] per step. Blur and sky are below:
# scaled to length 1, they would show the noise of the file.
MIN_GRADIENT = 0.005
# Patches at a time: some 50 MB, whatever the number of rows.
CHUNK = 2000


def load_descriptors(n_train=100_000, n_test=10_000, seed=0):
    """Return training rows and test rows, float32, of 128 features."""
    images = [image.mean(axis=2) / 255 for image in load_sample_images().images]
    scales = [(_smooth(image, step), step) for image in images for step in STEPS]
    train_rng, test_rng = np.random.default_rng(seed).spawn(2)
    X_train = _describe(scales, TRAIN_BANDS, n_train, train_rng)
    X_test = _describe(scales, TEST_BANDS, n_test, test_rng)
    return X_train, X_test


def _smooth(image, step):
    """Return the image without the detail that points one step apart cannot show."""
    return gaussian_filter(image, step * CELL / 3).astype(np.float32)


def _describe(scales, bands, n_rows, rng):
    """Return descriptors of patches inside the bands, at random from all scaled images."""
    found = []
    while sum(map(len, found)) < n_rows:
        for image, step in scales:
            dy, dx = _gradients(_patches(image, step, bands, CHUNK // len(scales), rng))
            strength = np.hypot(dy, dx)
            kept = strength.mean(axis=1) >= MIN_GRADIENT
            found.append(_histograms(strength[kept], np.arctan2(dy, dx)[kept]))
    return rng.permutation(np.concatenate(found)[:n_rows])


def _patches(image, step, bands, n_patches, rng):
    """Return turned patches of (WIDTH + 2)² points, each with all its points in one band."""
    offsets = (np.arange(WIDTH + 2) - (WIDTH + 1) / 2) * step
    v, u = np.meshgrid(offsets, offsets, indexing="ij")
    # Turned by any angle, a patch stays within this circle, and interpolation within a pixel more.
    radius = np.hypot(offsets[0], offsets[0]) + 1
    y = _draw_between([(top + radius, end - 1 - radius) for top, end in bands], n_patches, rng)
    x = _draw_between([(radius, image.shape[1] - 1 - radius)], n_patches, rng)
    angle = rng.uniform(0, 2 * np.pi, n_patches)
    sin, cos = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    points = (y[:, None, None] + sin * u + cos * v, x[:, None, None] + cos * u - sin * v)
    return map_coordinates(image, points, order=1)


def _draw_between(intervals, n, rng):
    """Return n numbers, uniform on the union of disjoint intervals."""
    lows, highs = np.array(intervals).T
    chosen = rng.choice(len(lows), n, p=(highs - lows) / (highs - lows).sum())
    return rng.uniform(lows[chosen], highs[chosen])


def _gradients(patches):
    """Return central differences down and across, flattened: (n_patches, WIDTH²) each."""
    dy = (patches[:, 2:, 1:-1] - patches[:, :-2, 1:-1]) / 2
    dx = (patches[:, 1:-1, 2:] - patches[:, 1:-1, :-2]) / 2
    return dy.reshape(len(patches), -1), dx.reshape(len(patches), -1)


def _histograms(strength, angle):
    """Return descriptors of gradients, (n_patches, CELLS * CELLS * DIRECTIONS)."""
    directions = np.arange(DIRECTIONS, dtype=np.float32)[:, None]
    turn = (angle * (DIRECTIONS / (2 * np.pi)))[:, None] - directions
    turn -= DIRECTIONS * np.round(turn / DIRECTIONS)  # the short way round
    by_direction = strength[:, None] * np.maximum(0, 1 - np.abs(turn))
    X = (by_direction @ _cell_weights()).swapaxes(1, 2).reshape(len(strength), -1)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X = np.minimum(X, 0.2)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def _cell_weights():
    """Return the share of each point in each cell, under the window: (WIDTH², CELLS²)."""
    points = np.arange(WIDTH) - (WIDTH - 1) / 2
    centres = (np.arange(CELLS) - (CELLS - 1) / 2) * CELL
    share = np.maximum(0, 1 - np.abs(points[:, None] - centres) / CELL)
    share *= np.exp(-0.5 * (points / (WIDTH / 2)) ** 2)[:, None]
    return np.kron(share, share).astype(np.float32)
