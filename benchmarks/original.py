"""The original VQ-DRAW, called from a copy of its repository, for comparison.

    git clone https://github.com/unixpickle/vq-draw

Nothing of it is part of this repository. Its trainer, training loop, network and optimizer run as
they are, with the arguments that its README gives for MNIST. Four things differ from its own
script, all in its favour or of no account to its speed: images come from memory, not through
torchvision; a step looks at one test image for its log, not at 32; nothing is saved on the way; and
the learning rate falls to zero over the budget that it is given, not over 50,000 steps.
"""

import contextlib
import math
import os
import sys
import time
from unittest import mock

import torch
from torch.utils.data import DataLoader, TensorDataset

BATCH = 32  # of its README's command for MNIST
CODED_BATCH = 200
COMMAND = ["train_mnist.py", "--batch", str(BATCH), "--step-limit", "50000"]
# Its standardisation. An error in its units times STD**2 is one in pixels.
MEAN, STD = 0.1307, 0.3081


def import_original(path):
    """Return its package from a copy of its repository."""
    sys.path.insert(0, os.fspath(path))
    import vq_draw

    return vq_draw


def published_weights(path):
    """Return where the repository has its trained MNIST network."""
    return os.path.join(path, "pretrained", "mnist_model.pt")


def standardised(X):
    """Return rows of pixels in [0, 1] as the images that it wants."""
    return (torch.from_numpy(X).view(-1, 1, 28, 28) - MEAN) / STD


def make_trainer(vq_draw, X, X_test, *, checkpoint=""):
    """Return its trainer for MNIST, its network new or from a checkpoint."""

    class Trainer(vq_draw.ImageTrainer):
        default_checkpoint = ""
        default_stages = 10
        default_segment = None
        shape = (1, 28, 28)

        def denormalize_image(self, img):
            return MEAN + STD * img

        def create_datasets(self):
            def loader(rows, batch_size):
                images = standardised(rows)
                data = TensorDataset(images, torch.zeros(len(images)))
                return DataLoader(data, batch_size, shuffle=True)

            return loader(X, self.args.batch), loader(X_test, 1)

        def create_model(self):
            n_options = self.args.options
            network = vq_draw.MNISTRefiner(n_options, self.args.stages)
            return vq_draw.Encoder(self.shape, n_options, network, vq_draw.MSELoss())

        def save(self):
            """Save nothing: a benchmark leaves no files behind."""

        def train(self, *, max_steps=math.inf, max_time=math.inf):
            """Run its training loop for so many steps or seconds."""
            self.max_steps, self.max_time = max_steps, max_time
            self.times = []  # when each batch was asked for, that after the last one included
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                self.main()
            return self

        def cycle_batches(self, loader):
            for batch in super().cycle_batches(loader):
                if loader is self.train_loader:
                    self.times.append(time.perf_counter())
                    if self.share_spent() >= 1:
                        return
                yield batch

        def share_spent(self):
            seconds = time.perf_counter() - self.times[0]
            share = max((len(self.times) - 1) / self.max_steps, seconds / self.max_time)
            return min(share, 1)

        def update_lr(self, step_idx):
            super().update_lr(self.share_spent() * self.args.step_limit)

    # Its constructor reads the command line.
    with (
        mock.patch.object(sys, "argv", [*COMMAND, "--checkpoint", checkpoint]),
        contextlib.redirect_stdout(sys.stderr),
    ):
        return Trainer()


@torch.no_grad()
def encode(model, images):
    """Return the codes (N, S) of standardised images."""
    device = next(model.parameters()).device
    return torch.cat([model(batch.to(device))[0].cpu() for batch in images.split(CODED_BATCH)])


@torch.no_grad()
def decode(model, codes):
    """Return the standardised images of codes or prefixes."""
    device = next(model.parameters()).device
    n_stages = codes.shape[1]
    batches = codes.to(device).split(CODED_BATCH)
    return torch.cat([model.decode(batch, n_stages).cpu() for batch in batches])


def errors_by_stage(model, X):
    """Return the squared error per pixel in [0, 1] after each stage."""
    images = standardised(X)
    codes = encode(model, images)
    decoded = (decode(model, codes[:, : s + 1]) for s in range(codes.shape[1]))
    return [float((x - images).square().mean()) * STD**2 for x in decoded]
