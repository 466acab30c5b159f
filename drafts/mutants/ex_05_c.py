"""Answers to 05-c, the standardised convolution: wrong ones. More in `ex_05_c_training.py`, the right ones in `ex_05_c_right.py`."""

import torch
import torch.nn.functional as F
from torch import nn

from . import Answers

ANSWERS = Answers("05-c")
mutant = ANSWERS.mutant


class Base(nn.Conv2d):
    """Right but for `standard`, which most answers spoil."""

    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) / (var + 1e-5).sqrt()

    def convolve(self, x, weight, bias):
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, x):
        return self.convolve(x, self.standard(self.weight), self.bias)


@mutant("standard")
class PlainConvolution(nn.Conv2d):
    pass


@mutant("variance|population|unbiased|correction")
class SampleVariance(Base):
    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True)
        return (weight - mean) * torch.rsqrt(var + 1e-5)


@mutant("eps|root|std")
class EpsBesideTheDeviation(Base):
    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) / (var.sqrt() + 1e-5)


@mutant("eps|NaN|constant|zero")
class NoEps(Base):
    """NaN for a filter of one number."""

    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) / var.sqrt()


@mutant("eps")
class EpsOfHalfPrecision(Base):
    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(var + 1e-3)


@mutant("eps")
class EpsTooSmall(Base):
    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(var + 1e-8)


@mutant()
class VarianceClampedForEps(Base):
    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(var.clamp(min=1e-5))


@mutant("variance|root|divi")
class DividedByTheVariance(Base):
    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) / (var + 1e-5)


@mutant("mean")
class MeanLeftIn(Base):
    def standard(self, weight):
        var = weight.var(dim=(1, 2, 3), correction=0, keepdim=True)
        return weight * torch.rsqrt(var + 1e-5)


@mutant()
class RootMeanSquare(Base):
    """Variance about zero."""

    def standard(self, weight):
        return weight * torch.rsqrt(weight.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-5)


@mutant("variance|divi")
class MeanAlone(Base):
    def standard(self, weight):
        return weight - weight.mean(dim=(1, 2, 3), keepdim=True)


@mutant("length|norm|variance|divi")
class LengthOne(Base):
    def standard(self, weight):
        centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        return F.normalize(centred.flatten(1), dim=1).reshape(weight.shape)


@mutant()
class SpreadInsteadOfDeviation(Base):
    def standard(self, weight):
        centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        return centred / (centred.abs().mean(dim=(1, 2, 3), keepdim=True) + 1e-5)


@mutant("filter|all|dim|each|every")
class OverAllFilters(Base):
    def standard(self, weight):
        return (weight - weight.mean()) * torch.rsqrt(weight.var(correction=0) + 1e-5)


@mutant("filter|dim|axis|axes|each|every")
class OverTheOutputs(Base):
    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=0, correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(var + 1e-5)


@mutant("filter|dim|axis|axes|channel|each|every")
class EveryInputChannelAlone(Base):
    """Right for one channel."""

    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=(2, 3), correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(var + 1e-5)


@mutant("filter|dim|axis|axes|each|every")
class OverTheInputChannelsOnly(Base):
    """Right for kernels of one pixel."""

    def standard(self, weight):
        var, mean = torch.var_mean(weight, dim=1, correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(var + 1e-5)


@mutant()
class MeanOfAllDeviationOfEach(Base):
    def standard(self, weight):
        return (weight - weight.mean()) * torch.rsqrt(weight.var(dim=(1, 2, 3), correction=0, keepdim=True) + 1e-5)


@mutant()
class CountedForSquareKernels(Base):
    """Wrong for a kernel of 1 x 3, and for groups."""

    def standard(self, weight):
        count = self.in_channels * self.kernel_size[0] ** 2
        mean = weight.sum(dim=(1, 2, 3), keepdim=True) / count
        var = (weight - mean).square().sum(dim=(1, 2, 3), keepdim=True) / count
        return (weight - mean) * torch.rsqrt(var + 1e-5)


@mutant()
class CountedForSquareKernelsAndAnyGroups(Base):
    """Wrong for a kernel of 1 x 3 alone."""

    def standard(self, weight):
        count = weight.shape[1] * self.kernel_size[0] ** 2
        mean = weight.sum(dim=(1, 2, 3), keepdim=True) / count
        var = (weight - mean).square().sum(dim=(1, 2, 3), keepdim=True) / count
        return (weight - mean) * torch.rsqrt(var + 1e-5)


@mutant()
class CountedWithoutGroups(Base):
    def standard(self, weight):
        count = self.in_channels * self.kernel_size[0] * self.kernel_size[1]
        mean = weight.sum(dim=(1, 2, 3), keepdim=True) / count
        var = (weight - mean).square().sum(dim=(1, 2, 3), keepdim=True) / count
        return (weight - mean) * torch.rsqrt(var + 1e-5)


@mutant()
class SquareOfTheMeanForgotten(Base):
    def standard(self, weight):
        mean = weight.mean(dim=(1, 2, 3), keepdim=True)
        return (weight - mean) * torch.rsqrt(weight.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-5)


@mutant()
class ScaledByTheFanIn(Base):
    """As networks without normalisation do it."""

    def standard(self, weight):
        return super().standard(weight) / weight[0].numel() ** 0.5


@mutant()
class StandardisedTwice(Base):
    """Differs where eps is felt."""

    def standard(self, weight):
        return super().standard(super().standard(weight))


@mutant("bias")
class BiasForgotten(Base):
    def forward(self, x):
        return self.convolve(x, self.standard(self.weight), None)


@mutant()
class BiasStandardisedToo(Base):
    def forward(self, x):
        bias = self.bias
        if bias is not None:
            bias = (bias - bias.mean()) * torch.rsqrt(bias.var(correction=0) + 1e-5)
        return self.convolve(x, self.standard(self.weight), bias)


@mutant()
class BiasDividedToo(Base):
    def forward(self, x):
        bias = self.bias
        if bias is not None:
            bias = bias * torch.rsqrt(self.weight.flatten(1).var(dim=1, correction=0) + 1e-5)
        return self.convolve(x, self.standard(self.weight), bias)


@mutant("bias|NoneType")
class BiasExpected(Base):
    """Stops for bias=False."""

    def forward(self, x):
        return self.convolve(x, self.standard(self.weight), None) + self.bias[:, None, None]


@mutant("padding|shape|size")
class PaddingForgotten(Base):
    def convolve(self, x, weight, bias):
        return F.conv2d(x, weight, bias, self.stride)


@mutant("stride|shape|size")
class StrideForgotten(Base):
    """Right for stride 1."""

    def convolve(self, x, weight, bias):
        return F.conv2d(x, weight, bias, padding=self.padding, dilation=self.dilation, groups=self.groups)


@mutant("dilation|shape|size")
class DilationForgotten(Base):
    def convolve(self, x, weight, bias):
        return F.conv2d(x, weight, bias, self.stride, self.padding, groups=self.groups)


@mutant("group|channel")
class GroupsForgotten(Base):
    def convolve(self, x, weight, bias):
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation)


@mutant()
class PaddingOfOneAlways(Base):
    def convolve(self, x, weight, bias):
        return F.conv2d(x, weight, bias, self.stride, 1, self.dilation, self.groups)


@mutant()
class PaddingGuessedFromTheKernel(Base):
    def convolve(self, x, weight, bias):
        return F.conv2d(x, weight, bias, self.stride, self.kernel_size[0] // 2, self.dilation, self.groups)


@mutant()
class InputStandardised(Base):
    def forward(self, x):
        var, mean = torch.var_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
        return self.convolve((x - mean) * torch.rsqrt(var + 1e-5), self.weight, self.bias)


@mutant()
class OutputStandardised(Base):
    def forward(self, x):
        return F.instance_norm(self.convolve(x, self.weight, self.bias))
