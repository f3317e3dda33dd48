"""Train weights that the package ships, for `skvqdraw.load_pretrained`.

    SKVQDRAW_DATA=folder python benchmarks/train_pretrained.py mnist-60bit

It learns from the 60,000 training images and from three slightly turned, sheared and stretched
copies of each, so that it sees few images often enough to learn them by heart. It writes the
weights, a log, and what some random codes decode to. With `--checkpoint`, a training that was ended
goes on when the same command is given again. `bench_pretrained.py` judges the weights.
"""

import argparse
import contextlib
import json
from pathlib import Path

import numpy as np
from machine import describe
from scipy.ndimage import affine_transform

from skvqdraw import VQDRAW
from skvqdraw.datasets import fetch_mnist
from skvqdraw.refiners import ConvRefiner

ROOT = Path(__file__).resolve().parents[1]
SEED = 0
N_COPIES = 3
MODELS = {
    "mnist-60bit": {
        "refiner": ConvRefiner(
            (28, 28), n_channels=120, n_blocks=2, hidden_size=0, stages_per_round=3
        ),
        "max_steps": 16_000,
        "batch_size": 128,
        "learning_rate": 8e-3,
        "weight_decay": 0.01,
    },
}


def wiggled(images, rng):
    """Return uint8 images, each turned, stretched, sheared and moved by a little."""
    turned = np.empty_like(images)
    for image, out in zip(images, turned, strict=True):
        angle, shear = rng.normal(0, 0.08), rng.normal(0, 0.06)
        rows, columns = np.exp(rng.normal(0, 0.04, 2))
        rotation = np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        ) @ np.array([[rows, shear], [0, columns]])
        centre = (np.array(image.shape) - 1) / 2
        offset = centre - rotation @ (centre + rng.normal(0, 0.25, 2))
        # Cubic: linear interpolation would blur strokes that the test images have sharp.
        moved = affine_transform(image.astype(np.float32), rotation, offset, order=3)
        out[:] = np.clip(np.rint(moved), 0, 255)
    return turned


def write_decoded(vq, path):
    """Write random codes and what they decode to, for a test that this never changes."""
    codes = vq.sample_codes(20, random_state=SEED)
    np.savez_compressed(
        path, codes=codes, images=vq.decode(codes), after_4_stages=vq.decode(codes[:, :4])
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=MODELS, help="which weights")
    parser.add_argument("--checkpoint", help="a file to go on from if the training is ended")
    name, checkpoint = vars(parser.parse_args()).values()

    mnist, rng = fetch_mnist(), np.random.default_rng(SEED)
    images = mnist.data.reshape(-1, *mnist.image_shape)
    pool = np.concatenate([images, *(wiggled(images, rng) for _ in range(N_COPIES))])
    X = pool.reshape(len(pool), -1) / np.float32(255)
    vq = VQDRAW(n_stages=10, n_options=64, **MODELS[name], random_state=SEED, verbose=2)
    log_path = ROOT / f"benchmarks/results/{name}.log"
    goes_on = checkpoint is not None and Path(checkpoint).exists()
    with (
        log_path.open("a" if goes_on else "w", buffering=1) as log,
        contextlib.redirect_stdout(log),
    ):
        print(json.dumps(describe()))
        vq.set_params(checkpoint=checkpoint).fit(X)
    vq.set_params(verbose=0, checkpoint=None).save(ROOT / f"skvqdraw/weights/{name}.safetensors")
    write_decoded(vq, ROOT / f"tests/data/{name}-decoded.npz")


if __name__ == "__main__":
    main()
