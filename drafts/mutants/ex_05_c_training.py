"""Answers to 05-c: more wrong ones. Constructors that are not nn.Conv2d's, and convolutions that cannot be trained as asked."""

import torch
import torch.nn.functional as F
from torch import nn

from .ex_05_c import ANSWERS, Base

mutant = ANSWERS.mutant


@mutant("gradient")
class StatisticsDetached(Base):
    def standard(self, weight):
        var, mean = torch.var_mean(weight.detach(), dim=(1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(var + 1e-5)


@mutant("gradient")
class DeviationDetached(Base):
    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(var + 1e-5).detach()


@mutant("gradient")
class MeanDetached(Base):
    def standard(self, weight):
        mean = weight.mean(dim=(1, 2, 3), keepdim=True).detach()
        var = (weight - mean).square().mean(dim=(1, 2, 3), keepdim=True)
        return (weight - mean) * torch.rsqrt(var + 1e-5)


@mutant("gradient")
class WeightTakenAsData(Base):
    def standard(self, weight):
        return super().standard(weight.data)


@mutant("gradient")
class UnderNoGrad(Base):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


@mutant("gradient")
class InputDetached(Base):
    def forward(self, x):
        return super().forward(x.detach())


@mutant("in place|weight|optimiser|overwrit")
class WeightOverwrittenInForward(Base):
    def forward(self, x):
        self.weight.data = self.standard(self.weight.data)
        return self.convolve(x, self.weight, self.bias)


@mutant("in place|weight|optimiser|overwrit")
class WeightOverwrittenAfterwards(Base):
    """The right output, and a weight that forgets its own scale."""

    def forward(self, x):
        out = super().forward(x)
        with torch.no_grad():
            self.weight.copy_(self.standard(self.weight))
        return out


@mutant("forward|__init__|every|standard")
class StandardisedOnceInInit(nn.Conv2d):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        with torch.no_grad():
            self.weight.copy_(Base.standard(self, self.weight))


@mutant()
class WeightRememberedFromTheFirstCall(Base):
    kept = None

    def forward(self, x):
        if self.kept is None:
            self.kept = self.standard(self.weight)
        return self.convolve(x, self.kept, self.bias)


@mutant()
class PlainInEvalMode(Base):
    def standard(self, weight):
        return super().standard(weight) if self.training else weight


@mutant()
class PlainWhileItTrains(Base):
    def standard(self, weight):
        return weight if self.training else super().standard(weight)


@mutant("view|contiguous|reshape|RuntimeError")
class FlattenedByView(Base):
    """Stops in RDDMNet, whose weights lie channels last."""

    def standard(self, weight):
        rows = weight.view(len(weight), -1)
        var, mean = torch.var_mean(rows, dim=1, correction=0, keepdim=True)
        return ((rows - mean) * torch.rsqrt(var + 1e-5)).view(weight.shape)


@mutant()
class OneMoreParameter(Base):
    """A gain of its own, which the shipped weights do not have."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def standard(self, weight):
        return self.gain * super().standard(weight)


@mutant("frozen|requires_grad|gradient")
class Frozen(Base):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight.requires_grad_(False)


@mutant()
class FreshWeightInForward(Base):
    def forward(self, x):
        return self.convolve(x, self.standard(torch.randn_like(self.weight)), self.bias)


@mutant("random|every time|dropout")
class WithDropout(Base):
    def standard(self, weight):
        return F.dropout(super().standard(weight), 0.1, self.training)


@mutant()
class HalfPrecision(Base):
    def standard(self, weight):
        return super().standard(weight.bfloat16()).to(weight.dtype)


@mutant("float64|double|dtype|float32")
class DoublePrecision(Base):
    def forward(self, x):
        bias = None if self.bias is None else self.bias.double()
        return self.convolve(x.double(), self.standard(self.weight.double()), bias)


@mutant("in.place")
class InputOverwritten(Base):
    def forward(self, x):
        out = super().forward(x)
        x.data.zero_()
        return out


@mutant()
class KernelsOfOnePixelLeftPlain(Base):
    def standard(self, weight):
        return weight if self.kernel_size == (1, 1) else super().standard(weight)


@mutant()
class OneChannelLeftPlain(Base):
    """As if a depthwise filter had nothing to standardise."""

    def standard(self, weight):
        return weight if weight.shape[1] == 1 else super().standard(weight)


class _Short(nn.Module):
    """A constructor that knows less than nn.Conv2d's."""

    def make(self, channels, out, kernel, stride=1, padding=0, bias=True):
        self.stride, self.padding = stride, padding
        self.weight = nn.Parameter(0.1 * torch.randn(out, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None

    def forward(self, x):
        return F.conv2d(x, Base.standard(self, self.weight), self.bias, self.stride, self.padding)


@mutant()
class ThreeByThreeOnly(_Short):
    def __init__(self, channels, out, kernel_size=3, stride=1, padding=1, bias=True):
        super().__init__()
        self.make(channels, out, 3, stride, padding, bias)


@mutant()
class SquareKernelsOnly(_Short):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True):
        super().__init__()
        self.make(in_channels, out_channels, kernel_size, stride, padding, bias)


@mutant()
class ArgumentsForgotten(Base):
    """Takes them and passes three on."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, **more):
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)


@mutant()
class BiasForgottenInInit(Base):
    """A bias whatever was asked."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)


@mutant()
class OrderOfTheArgumentsChanged(Base):
    """Right for keywords."""

    def __init__(self, in_channels, out_channels, kernel_size, padding=0, stride=1, dilation=1, groups=1, bias=True):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)


@mutant("weight|name|conv")
class ConvolutionInside(nn.Module):
    """The weights are called conv.weight, which no shipped file has."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        self.conv = nn.Conv2d(*args, **kwargs)

    def forward(self, x):
        c = self.conv
        return F.conv2d(x, Base.standard(self, c.weight), c.bias, c.stride, c.padding, c.dilation, c.groups)


@mutant()
class TransposedConvolution(nn.ConvTranspose2d):
    def forward(self, x):
        weight = Base.standard(self, self.weight)
        return F.conv_transpose2d(x, weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)


@mutant("Module|class|called|\\(")
def a_function(x, weight, bias=None, stride=1, padding=0):
    return F.conv2d(x, Base.standard(None, weight), bias, stride, padding)


@mutant("tuple|tensor")
class OutputAndWeight(Base):
    def forward(self, x):
        return super().forward(x), self.standard(self.weight)


@mutant()
class ActivationAfterwards(Base):
    def forward(self, x):
        return F.silu(super().forward(x))
