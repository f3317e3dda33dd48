"""The image networks of the VQ-DRAW paper: dense, one stage per round.

Axes: N samples, S stages, K options, D features, C H W image.

An architecture is a text that is read word by word. Images pass through it channels first.

- ``conv3:64`` is a 3x3 convolution to 64 channels, ``down5:64`` one that halves the image and
  ``up4:64`` a transposed one that doubles it. ``out`` channels are those of K images. ``own1`` is a
  convolution with weights of its own for each stage.
- ``mask`` multiplies channels by a vector of the stage, ``relu`` is the rectifier, ``norm:8`` group
  normalisation in 8 groups.
- ``[`` and ``]`` enclose a block whose input is added to its output.

The order of mask, rectifier and norm differs between the architectures, and is the original's.
"""

import math
from collections import namedtuple

import torch
from torch import nn

from .blocks import StageMask
from .refinement import RefinementNetwork
from .rounds import DenseRound

Architecture = namedtuple("Architecture", "image_shape downsampling output_scale layers")

_UP_128 = "up4:128 mask relu norm:8 "

ARCHITECTURES = {
    "mnist": Architecture(
        image_shape=(28, 28),
        downsampling=4,
        output_scale=0.1,
        layers=(
            "down3:32 mask relu down3:64 mask relu "
            "conv3:128 mask relu conv3:128 mask relu conv3:64 mask relu "
            "up4:64 mask relu up4:64 mask relu conv3:out"
        ),
    ),
    "svhn": Architecture(
        image_shape=(32, 32, 3),
        downsampling=4,
        output_scale=0.1,
        layers=(
            "down5:64 mask relu norm:4 down5:128 mask relu norm:8 "
            "conv3:128 mask relu norm:8 conv3:256 mask relu norm:8 conv3:128 mask relu norm:8 "
            + 2 * _UP_128
            + "conv3:128 mask relu own1:out"
        ),
    ),
    "cifar10": Architecture(
        image_shape=(32, 32, 3),
        downsampling=4,
        output_scale=0.01,
        layers=(
            "down5:64 relu norm:8 down5:128 relu norm:8 conv3:256 mask "
            + 6
            * (
                "[ relu norm:8 conv3:256 mask relu norm:8 conv1:1024 mask "
                "relu norm:32 conv1:256 mask ] "
            )
            + 2 * _UP_128
            + "conv3:128 mask relu conv5:out"
        ),
    ),
    "celeba64": Architecture(
        image_shape=(64, 64, 3),
        downsampling=8,
        output_scale=0.01,
        layers=(
            "down5:64 relu norm:4 down5:128 relu norm:8 down5:128 relu norm:8 "
            + 6
            * (
                "[ relu norm:8 conv3:128 mask relu norm:8 conv1:512 mask "
                "relu norm:16 conv1:128 mask ] "
            )
            + 3 * _UP_128
            + "conv5:out"
        ),
    ),
}


class PaperNetwork(RefinementNetwork):
    """A network of the VQ-DRAW paper: it writes K images, and adds a table to those of stage 0.

    With `segment_length`, so many stages at a time have parameters of their own; the table, which
    the original keeps outside its network, is there once.
    """

    draws = False

    def __init__(self, architecture, image_shape, n_stages, n_options, segment_length=None):
        super().__init__()
        _, _, output_scale, layers = ARCHITECTURES[architecture]
        self.image_shape = image_shape
        self.segment_length = segment_length or n_stages
        lengths = [
            min(self.segment_length, n_stages - start)
            for start in range(0, n_stages, self.segment_length)
        ]
        self.segments = nn.ModuleList(
            _Segment(layers, image_shape[2], length, n_options, output_scale) for length in lengths
        )
        self.table = nn.Parameter(torch.zeros(n_options, math.prod(image_shape)))

    def forward(self, x_ND, stage):
        H, W, C = self.image_shape
        segment, position = divmod(stage, self.segment_length)
        # Rows are images with channels last, convolutions want them first.
        x_NCHW = x_ND.view(-1, H * W, C).transpose(1, 2).reshape(-1, C, H, W)
        out = self.segments[segment](x_NCHW, position).unflatten(1, (-1, C))
        deltas_NKD = out.permute(0, 1, 3, 4, 2).flatten(2)
        if stage == 0:
            deltas_NKD = deltas_NKD + self.table
        return DenseRound(x_ND[:, None] + deltas_NKD)


class _Segment(nn.Module):
    """The layers of an architecture for `n_stages` stages, and a learned scale of their output."""

    def __init__(self, layers, n_channels, n_stages, n_options, output_scale):
        super().__init__()
        words = iter(layers.split())
        self.layers, _ = _read(words, n_channels, n_channels * n_options, n_stages)
        self.output_scale = nn.Parameter(torch.tensor(output_scale, dtype=torch.float32))

    def forward(self, x_NCHW, stage):
        return self.layers(x_NCHW, stage) * self.output_scale


class _Layers(nn.Sequential):
    """Layers in a row, of which some are told the stage."""

    def forward(self, h, stage):
        for layer in self:
            h = layer(h, stage) if isinstance(layer, _STAGED) else layer(h)
        return h


class _Residual(_Layers):
    def forward(self, h, stage):
        return h + super().forward(h, stage)


class _OwnPerStage(nn.ModuleList):
    def forward(self, h, stage):
        return self[stage](h)


_STAGED = (StageMask, _Layers, _OwnPerStage)


def _read(words, n_channels, n_out, n_stages, kind=_Layers):
    """Return the layers that the words name, up to a closing bracket, and their channels."""
    layers = []
    for word in words:
        name, _, number = word.partition(":")
        if word == "]":
            break
        if word == "[":
            block, n_channels = _read(words, n_channels, n_out, n_stages, _Residual)
            layers.append(block)
        elif word == "mask":
            layers.append(StageMask(n_stages, n_channels, mean=0.0, std=1.0))
        elif word == "relu":
            layers.append(nn.ReLU())
        elif name == "norm":
            layers.append(nn.GroupNorm(int(number), n_channels))
        else:
            width = n_out if number == "out" else int(number)
            layers.append(_convolution(name, n_channels, width, n_stages))
            n_channels = width
    return kind(*layers), n_channels


def _convolution(name, n_in, n_out, n_stages):
    """Return the convolution that a name such as ``down5`` stands for."""
    kind, size = name[:-1], int(name[-1])
    if kind == "own":
        return _OwnPerStage(nn.Conv2d(n_in, n_out, size) for _ in range(n_stages))
    if kind == "up":
        return nn.ConvTranspose2d(n_in, n_out, size, stride=2, padding=1)
    return nn.Conv2d(n_in, n_out, size, stride=2 if kind == "down" else 1, padding=size // 2)
