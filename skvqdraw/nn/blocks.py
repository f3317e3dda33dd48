"""Parts that several refinement networks share."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

# Where GELU is 0 in float32, and its slope 1e-14.
_GELU_ENDS = -8.0
# What the weights of heads start with, as a share of PyTorch's start. A basis of its size is noise
# that a short fit would have to unlearn first.
_HEAD_START = 0.2


class StageMask(nn.Module):
    """Multiply channels by a learned vector, one for each stage (or round of stages).

    Channels are axis 1. Entries start normal with `mean` and `std`: far enough apart that stages
    behave differently from the first step on.
    """

    def __init__(self, n_stages, n_channels, *, mean=1.0, std=0.5):
        super().__init__()
        self.weight = nn.Parameter(normal(n_stages, n_channels).mul_(std).add_(mean))

    def forward(self, h, stage):
        return h * self.weight[stage].view(-1, *[1] * (h.ndim - 2))


class VolumeConv(nn.Conv3d):
    """Convolution of volumes that learns in bfloat16, too.

    On a CPU, what oneDNN computes in bfloat16 is what was in memory, NaN as a rule: gradients of
    weights where volumes are two deep, outputs where they are one deep and of one channel. There
    it computes in its own precision.
    """

    def forward(self, h):
        if h.shape[2] > 2 or h.device.type != "cpu":
            return super().forward(h)
        with torch.autocast("cpu", enabled=False):
            return super().forward(h.to(self.weight.dtype))


class ConvBlock(nn.Module):
    """Residual block h + conv1(gelu(conv3(norm(h)) * mask)) * mask, of convolutions of one kind."""

    def __init__(self, n_stages, n_channels, layer=nn.Conv2d, dilation=1):
        super().__init__()
        self.norm = group_norm(n_channels)
        self.conv = layer(n_channels, n_channels, 3, padding=dilation, dilation=dilation)
        self.mask = StageMask(n_stages, n_channels)
        self.out = layer(n_channels, n_channels, 1)
        self.out_mask = StageMask(n_stages, n_channels)

    def forward(self, h, stage):
        inner = gelu(self.mask(self.conv(self.norm(h)), stage))
        return h + self.out_mask(self.out(inner), stage)


class LinearBlock(nn.Module):
    """Residual block h + linear(gelu(linear(norm(h)) * mask)) * mask."""

    def __init__(self, n_stages, n_channels):
        super().__init__()
        self.norm = nn.LayerNorm(n_channels)
        self.linear = nn.Linear(n_channels, n_channels)
        self.mask = StageMask(n_stages, n_channels)
        self.out = nn.Linear(n_channels, n_channels)
        self.out_mask = StageMask(n_stages, n_channels)

    def forward(self, h, stage):
        inner = gelu(self.mask(self.linear(self.norm(h)), stage))
        return h + self.out_mask(self.out(inner), stage)


class _Gelu(torch.autograd.Function):
    """GELU whose gradient is never a denormal number."""

    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h)
        return _gelu(h)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):
        (h,) = ctx.saved_tensors
        return _as_in_memory(torch.ops.aten.gelu_backward, d_out, h.clamp(min=_GELU_ENDS))


def gelu(h):
    """Return GELU of each number.

    Far below zero its slope falls under what processors compute at full speed: a thousandth of
    such numbers makes a step of training take twice as long. There the slope at -8 serves, which is
    as good as 0.
    """
    return _Gelu.apply(h) if torch.is_grad_enabled() else _gelu(h)


def _gelu(h):
    return _as_in_memory(F.gelu, h)


def _as_in_memory(function, *images):
    """Return what a function makes of numbers, those of images and volumes in the order of memory.

    Channels are the last axis there. Elsewhere, oneDNN does not take them, and what does is several
    times as slow: it also computes with denormal numbers far below zero.
    """
    if images[0].ndim < 4:
        return function(*images)
    return function(*(h.movedim(1, -1) for h in images)).movedim(-1, 1)


def group_norm(n_channels):
    """Group normalisation in up to 8 groups.

    Never batch normalisation: it would leak the rest of the mini-batch into the proposals.
    """
    return nn.GroupNorm(math.gcd(n_channels, 8), n_channels)


def quiet(head, share=_HEAD_START):
    """Let a head start small."""
    with torch.no_grad():
        head.weight.mul_(share)
        head.bias.mul_(share)
    return head


def normal(*shape):
    """Return standard normal numbers, or only their shape on the device "meta".

    There is nothing to draw there, and PyTorch would import 70 MB of code to draw it.
    """
    numbers = torch.empty(shape)
    return numbers if numbers.is_meta else torch.randn(shape)
