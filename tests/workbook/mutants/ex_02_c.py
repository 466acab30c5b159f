"""Answers to 02-c, the gated feed-forward network."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from . import Answers

ANSWERS = Answers("02-c")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


class Given(nn.Module):
    """The `__init__` of the exercise."""

    def __init__(self, dim, expansion=2.66):
        super().__init__()
        hidden = int(dim * expansion)
        self.project_in = nn.Conv2d(dim, 2 * hidden, kernel_size=1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, kernel_size=3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, dim, kernel_size=1, bias=False)


@mutant("first|second|half|gate")
class SecondHalfGates(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(a * F.gelu(b))


@mutant("gate|both|gelu")
class BothThroughGelu(Given):
    def forward(self, x):
        a, b = F.gelu(self.dwconv(self.project_in(x))).chunk(2, dim=1)
        return self.project_out(a * b)


@mutant("gelu")
class GeluOfTheProduct(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(a * b))


@mutant("gelu|activation")
class NoActivation(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(a * b)


@mutant("gelu|relu")
class ReluGate(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.relu(a) * b)


@mutant("gelu|sigmoid")
class SigmoidGate(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(torch.sigmoid(a) * b)


@mutant("gelu|silu")
class SiluGate(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.silu(a) * b)


@mutant()
class SoftmaxGate(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(a.softmax(dim=1) * b)


@mutant("product|multipl|sum|add")
class SumOfThePaths(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(a) + b)


@mutant("gate|value")
class OnePathOnly(Given):
    def forward(self, x):
        a, _ = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(a))


@mutant("half|halves|chunk")
class EverySecondChannel(Given):
    def forward(self, x):
        y = self.dwconv(self.project_in(x))
        return self.project_out(F.gelu(y[:, 0::2]) * y[:, 1::2])


@mutant("depthwise|dwconv")
class NoDepthwise(Given):
    def forward(self, x):
        a, b = self.project_in(x).chunk(2, dim=1)
        return self.project_out(F.gelu(a) * b)


@mutant()
class GeluBeforeDepthwise(Given):
    def forward(self, x):
        a, b = self.dwconv(F.gelu(self.project_in(x))).chunk(2, dim=1)
        return self.project_out(a * b)


@mutant("residual|add|x \\+")
class WithResidual(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return x + self.project_out(F.gelu(a) * b)


@mutant()
class NoProjection(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return F.gelu(a) * b


@mutant("RuntimeError")
class HalvesOfTheHeight(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=2)
        return self.project_out(F.gelu(a) * b)


@mutant()
class FirstImageOnly(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x[:1])).chunk(2, dim=1)
        return self.project_out(F.gelu(a) * b).expand(x.shape)


@mutant()
class SquareImagesOnly(Given):
    def forward(self, x):
        B, C, H, W = x.shape
        y = self.dwconv(self.project_in(x)).reshape(B, -1, H * H)
        a, b = y.chunk(2, dim=1)
        return self.project_out((F.gelu(a) * b).reshape(B, -1, H, H))


@mutant()
class EvenHeightsOnly(Given):
    """Two strips of rows with one row of overlap, to save memory; the last row of an odd height stays zero."""

    def forward(self, x):
        rows = x.shape[2] // 2
        out = torch.zeros_like(x)
        for top in (0, rows):
            first, last = max(0, top - 1), min(x.shape[2], top + rows + 1)
            a, b = self.dwconv(self.project_in(x[:, :, first:last])).chunk(2, dim=1)
            out[:, :, top : top + rows] = self.project_out(F.gelu(a) * b)[:, :, top - first : top - first + rows]
        return out


@mutant()
class ChannelsWrittenDown(Given):
    def forward(self, x):
        y = self.dwconv(self.project_in(x))
        return self.project_out(F.gelu(y[:, :127]) * y[:, 127:])


@mutant("gradient")
class UnderNoGrad(Given):
    def forward(self, x):
        with torch.no_grad():
            a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
            return self.project_out(F.gelu(a) * b)


@mutant("gradient")
class GateDetached(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(a).detach() * b)


@mutant("gradient")
class ProjectionFrozen(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return F.conv2d(F.gelu(a) * b, self.project_out.weight.data)


@mutant("in.place")
class InputClamped(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x.clamp_(-10, 10))).chunk(2, dim=1)
        return self.project_out(F.gelu(a) * b)


@mutant()
class HalfPrecision(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).half().chunk(2, dim=1)
        return self.project_out((F.gelu(a) * b).float())


@mutant()
class WithDropout(Given):
    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.dropout(F.gelu(a) * b, 0.1))


@mutant()
class RandomNumbers(Given):
    def forward(self, x):
        return torch.randn_like(x)


@mutant("__init__")
class FourTimesWider(nn.Module):
    def __init__(self, dim, expansion=2.66):
        super().__init__()
        hidden = dim * 4
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=False)

    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(a) * b)


@mutant("shape")
class WidthRoundedUp(nn.Module):
    def __init__(self, dim, expansion=2.66):
        super().__init__()
        hidden = math.ceil(dim * expansion)
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=False)

    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(a) * b)


@mutant("shape")
class WidthRounded(nn.Module):
    def __init__(self, dim, expansion=2.66):
        super().__init__()
        hidden = round(dim * expansion)
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=False)

    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(a) * b)


@mutant("shape")
class ExpansionIgnored(nn.Module):
    def __init__(self, dim, expansion=2.66):
        super().__init__()
        hidden = int(dim * 2.66)
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=False)

    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(a) * b)


@alternative
class BySlices(Given):
    def forward(self, x):
        y = self.dwconv(self.project_in(x))
        half = y.shape[1] // 2
        gate = y[:, :half]
        opened = 0.5 * gate * (1 + torch.erf(gate / math.sqrt(2)))
        return self.project_out(opened.mul(y[:, half:]))


@alternative
class ByEinops(Given):
    def forward(self, x):
        gate, value = rearrange(self.dwconv(self.project_in(x)), "b (two c) h w -> two b c h w", two=2)
        return torch.einsum("oc,bchw->bohw", self.project_out.weight[:, :, 0, 0], F.gelu(gate) * value)


@alternative
class TwoPathsAndOneImageAtATime(Given):
    def path(self, image, mine):
        y = F.conv2d(image, self.project_in.weight[mine])
        return F.conv2d(y, self.dwconv.weight[mine], padding=1, groups=y.shape[1])

    def forward(self, x):
        hidden = self.project_out.in_channels
        first, second = slice(None, hidden), slice(hidden, None)
        images = [self.project_out(F.gelu(self.path(x[i : i + 1], first)) * self.path(x[i : i + 1], second)) for i in range(len(x))]
        return torch.cat(images, dim=0)


@alternative
class OtherNames(nn.Module):
    def __init__(self, c, e=2.66):
        super().__init__()
        h = int(e * c)
        self.last = nn.Conv2d(h, c, 1, bias=False)
        self.act = nn.GELU()
        self.first = nn.Sequential(nn.Conv2d(c, h * 2, 1, bias=False), nn.Conv2d(h * 2, h * 2, 3, 1, "same", groups=h * 2, bias=False))

    def forward(self, x):
        y = self.first(x).unflatten(1, (2, -1))
        return self.last(self.act(y[:, 0]) * y[:, 1])
