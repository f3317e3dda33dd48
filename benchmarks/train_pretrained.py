"""Train weights that the package ships, for `skvqdraw.load_pretrained`.

    SKVQDRAW_DATA=folder python benchmarks/train_pretrained.py mnist-60bit
    SKVQDRAW_DATA=folder python benchmarks/train_pretrained.py cifar10-600bit
    SKVQDRAW_DATA=folder python benchmarks/train_pretrained.py cifar10-600bit --go-on 70

Digits: it learns from the 60,000 training images and from three slightly turned, sheared and
stretched copies of each, so that it sees few images often enough to learn them by heart.

Colour: it learns from the 50,000 training images for 45 minutes; with `--go-on` it goes on from the
shipped weights for so many minutes, with mirrored images beside the others. Weights are rounded to
half precision.

It writes the weights, a log, and what some random codes decode to. With `--checkpoint`, a training
that was ended goes on when the same command is given again. `bench_pretrained.py` and
`bench_colour.py` judge the weights.
"""

import argparse
import contextlib
import json
from pathlib import Path

import numpy as np
import torch
from machine import describe
from scipy.ndimage import affine_transform

import skvqdraw
from skvqdraw import VQDRAW, presets
from skvqdraw.datasets import fetch_cifar10, fetch_mnist
from skvqdraw.refiners import ConvRefiner

ROOT = Path(__file__).resolve().parents[1]
SEED = 0
N_COPIES = 3
COLOUR_MINUTES = 45


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
    codes = vq.sample_codes(20_000 // vq.n_features_in_, random_state=SEED)
    np.savez_compressed(
        path, codes=codes, images=vq.decode(codes), after_4_stages=vq.decode(codes[:, :4])
    )


def digits(_):
    """Return an unfitted estimator of digits, and rows to learn from."""
    mnist, rng = fetch_mnist(), np.random.default_rng(SEED)
    images = mnist.data.reshape(-1, *mnist.image_shape)
    pool = np.concatenate([images, *(wiggled(images, rng) for _ in range(N_COPIES))])
    refiner = ConvRefiner((28, 28), n_channels=120, n_blocks=2, hidden_size=0, stages_per_round=3)
    how = {"max_steps": 16_000, "batch_size": 128, "learning_rate": 8e-3, "weight_decay": 0.01}
    vq = VQDRAW(n_stages=10, n_options=64, refiner=refiner, **how)
    return vq, pool.reshape(len(pool), -1) / np.float32(255)


def colours(minutes):
    """Return an estimator of colour images, and rows to learn from."""
    cifar10 = fetch_cifar10()
    if minutes is None:
        vq = presets.cifar10().set_params(max_steps=None, max_time=60 * COLOUR_MINUTES)
        return vq, cifar10.data / np.float32(255)
    mirrored = cifar10.data.reshape(-1, *cifar10.image_shape)[:, :, ::-1]
    pool = np.concatenate([cifar10.data, mirrored.reshape(cifar10.data.shape)])
    vq = skvqdraw.load_pretrained("cifar10-600bit")
    vq.set_params(warm_start=True, max_time=60 * minutes, learning_rate=4e-3)
    return vq, pool / np.float32(255)


def round_to_halves(vq):
    """Let weights be numbers of half precision, which take half the room in a file."""
    with torch.no_grad():
        for weight in vq.network_.parameters():
            weight.copy_(weight.half())


LEARN = {"mnist-60bit": digits, "cifar10-600bit": colours}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=LEARN, help="which weights")
    parser.add_argument("--checkpoint", help="a file to go on from if the training is ended")
    parser.add_argument("--go-on", type=float, help="minutes to train the shipped weights further")
    name, checkpoint, minutes = vars(parser.parse_args()).values()
    if minutes is not None and name != "cifar10-600bit":
        parser.error("--go-on is for colour only")

    vq, X = LEARN[name](minutes)
    log_path = ROOT / f"benchmarks/results/{name}.log"
    goes_on = minutes is not None or (checkpoint is not None and Path(checkpoint).exists())
    with (
        log_path.open("a" if goes_on else "w", buffering=1) as log,
        contextlib.redirect_stdout(log),
    ):
        print(json.dumps(describe()))
        vq.set_params(checkpoint=checkpoint, random_state=SEED, verbose=2).fit(X)
    if name.startswith("cifar10"):
        round_to_halves(vq)
    vq.set_params(verbose=0, checkpoint=None, warm_start=False)
    vq.save(ROOT / f"skvqdraw/weights/{name}.safetensors")
    write_decoded(vq, ROOT / f"tests/data/{name}-decoded.npz")


if __name__ == "__main__":
    main()
