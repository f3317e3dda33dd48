"""Encode the rows of a file on a dask cluster. The workers need skvqdraw and see the file.

python encode_on_cluster.py tcp://scheduler:8786 model.safetensors X.npy codes.npy
"""

import sys

import dask
import dask.array as da
import numpy as np
from dask.distributed import Client

import skvqdraw


def rows_of(path, start, stop):
    """Return rows of a .npy file; a worker runs this, and reads no others."""
    return np.load(path, mmap_mode="r")[start:stop]


def array_on_disk(path, block_rows=10_000):
    """Return a dask array of a .npy file. da.from_array would send the data themselves."""
    X = np.load(path, mmap_mode="r")
    blocks = []
    for start in range(0, len(X), block_rows):
        shape = (min(block_rows, len(X) - start), X.shape[1])
        rows = dask.delayed(rows_of)(path, start, start + shape[0])
        blocks.append(da.from_delayed(rows, shape, X.dtype))
    return da.concatenate(blocks)


if __name__ == "__main__":
    address, model, source, target = sys.argv[1:]
    vq = skvqdraw.load(model)
    X = array_on_disk(source)
    dtype = np.min_scalar_type(vq.n_options - 1)
    codes = X.map_blocks(vq.encode, dtype=dtype, chunks=(X.chunks[0], (vq.n_stages,)))
    with Client(address):
        np.save(target, codes.compute())
