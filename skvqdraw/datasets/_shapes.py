"""Shapes of voxels, from a folder or made by formula: nothing is downloaded."""

import numpy as np
from scipy.spatial.transform import Rotation
from sklearn.utils import Bunch, check_random_state

from ._common import check_arrays, check_count, data_path, read_arrays

_KINDS = ["box", "sphere", "torus"]
# Made for training and for tests, where there are no others.
_N_MADE, _N_MADE_TEST = 2000, 500
# All of ModelNet10 lies within these of 30 voxels, along each axis.
_INNER = slice(3, 27)


def make_shapes(n_samples=1000, *, side=32, random_state=None):
    """Make boxes, spheres and tori of voxels, turned any way and a little off the middle.

    In a cube from -1 to 1, half the sides of boxes are from 0.25 to 0.75, the radii of spheres 0.3
    to 0.8, those of tori 0.4 to 0.65 with a tube of 0.15 to 0.3; the centre is off the middle by up
    to 0.2 along each axis. A voxel is full if its middle is inside.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of shapes.
    side : int, default=32
        Voxels along each axis.
    random_state : int, RandomState instance or None, default=None
        Seed of them all.

    Returns
    -------
    shapes : Bunch
        `data` of shape (n_samples, side ** 3), uint8: 1 where a shape is, else 0; `target`, the
        number of the kind of each; `target_names`, the list of kinds; `volume_shape`,
        (side, side, side).

    Raises
    ------
    ValueError
        If n_samples or side is not a positive integer.

    See Also
    --------
    load_shapes : Furniture where it is found, else these.

    Examples
    --------
    >>> from skvqdraw.datasets import make_shapes
    >>> shapes = make_shapes(100, side=16, random_state=0)
    >>> shapes.data.shape, shapes.target_names
    ((100, 4096), ['box', 'sphere', 'torus'])
    """
    check_count("n_samples", n_samples, "1000 is the default.")
    check_count("side", side, "32 is the default.")
    rng = check_random_state(random_state)
    middles = (np.arange(side) + 0.5) / side * 2 - 1
    voxels = np.stack(np.meshgrid(middles, middles, middles, indexing="ij"), -1).reshape(-1, 3)
    target = rng.randint(len(_KINDS), size=n_samples)
    data = np.empty((n_samples, side**3), np.uint8)
    for row, kind in zip(data, target, strict=True):
        turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        x, y, z = ((voxels - rng.uniform(-0.2, 0.2, 3)) @ turn).T
        if kind == 0:
            a, b, c = rng.uniform(0.25, 0.75, 3)
            row[:] = (abs(x) <= a) & (abs(y) <= b) & (abs(z) <= c)
        elif kind == 1:
            row[:] = x**2 + y**2 + z**2 <= rng.uniform(0.3, 0.8) ** 2
        else:
            radius, tube = rng.uniform(0.4, 0.65), rng.uniform(0.15, 0.3)
            row[:] = (np.hypot(x, y) - radius) ** 2 + z**2 <= tube**2
    return Bunch(data=data, target=target, target_names=list(_KINDS), volume_shape=(side,) * 3)


def load_shapes():
    """Load shapes of voxels to learn from, and others to test on. Nothing is downloaded.

    The file ``modelnet10_voxels_30.npz`` in the folder that the environment variable
    ``SKVQDRAW_DATA`` names comes first: ModelNet10, furniture of ten kinds, in the split that it
    came with (arrays `X_train` and `X_test` of 30x30x30 voxels, `y_train` and `y_test`, `classes`).
    Without it, shapes are those of `make_shapes`, 24 voxels a side.

    Returns
    -------
    shapes : Bunch
        `data` and `data_test`, uint8, of shape (3991, 13824) and (908, 13824), or 2,000 and 500
        rows: 1 where a shape is, else 0; `target` and `target_test`, integers; `target_names`, a
        list; `volume_shape`, (24, 24, 24); `name`, ``"ModelNet10"`` or ``"made"``. Some test shapes
        of ModelNet10 are training shapes, too.

    Raises
    ------
    ValueError
        If that file does not hold such arrays.

    References
    ----------
    Zhirong Wu and others, "3D ShapeNets: A Deep Representation for Volumetric Shapes", CVPR 2015.

    Examples
    --------
    >>> from skvqdraw.datasets import load_shapes
    >>> shapes = load_shapes()
    >>> shapes.data.shape[1], shapes.volume_shape
    (13824, (24, 24, 24))
    """
    path = data_path("modelnet10_voxels_30.npz")
    if path is None or not path.is_file():
        made = make_shapes(_N_MADE + _N_MADE_TEST, side=24, random_state=0)
        X, y, names, name = made.data, made.target, made.target_names, "made"
        (data, data_test), (target, target_test) = (np.split(part, [_N_MADE]) for part in (X, y))
    else:
        voxels, voxels_test, y, y_test, classes = _read_furniture(path)
        data, data_test = _inner(voxels), _inner(voxels_test)
        target, target_test = y.astype(int), y_test.astype(int)
        names, name = classes.tolist(), "ModelNet10"
    return Bunch(
        data=data,
        target=target,
        data_test=data_test,
        target_test=target_test,
        target_names=names,
        volume_shape=(24, 24, 24),
        name=name,
    )


def _read_furniture(path):
    names = "X_train", "X_test", "y_train", "y_test", "classes"
    arrays = read_arrays(path, *names)
    right = all(
        X.shape == (*y.shape, 30, 30, 30) and y.dtype.kind in "iu"
        for X, y in zip(arrays[:2], arrays[2:4], strict=True)
    )
    allowed = "have volumes X_train and X_test of 30x30x30 voxels, with integers y_train and y_test"
    check_arrays(path, right, allowed, dict(zip(names, arrays, strict=True)))
    return arrays


def _inner(voxels):
    return voxels[:, _INNER, _INNER, _INNER].reshape(len(voxels), -1)
