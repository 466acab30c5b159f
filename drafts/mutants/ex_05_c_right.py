"""Answers to 05-c, the standardised convolution: right ones, each written differently."""

import torch
import torch.nn.functional as F
from torch import nn

from .ex_05_c import ANSWERS

alternative = ANSWERS.alternative


@alternative
class ByVarMean(nn.Conv2d):
    def forward(self, x):
        var, mean = torch.var_mean(self.weight, dim=(1, 2, 3), unbiased=False, keepdim=True)
        weight = (self.weight - mean) / torch.sqrt(var + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


@alternative
class ByLayerNorm(nn.Conv2d):
    """A filter standardised is a filter layer-normed, eps 1e-5 included."""

    def forward(self, x):
        return self._conv_forward(x, F.layer_norm(self.weight, self.weight.shape[1:]), self.bias)


@alternative
class ByHand(nn.Conv2d):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.eps = 1e-5

    def standardised(self):
        out = self.weight.shape[0]
        rows = self.weight.reshape(out, -1)
        centred = rows - rows.mean(dim=1, keepdim=True)
        variance = (centred**2).mean(dim=1, keepdim=True)
        return (centred * (variance + self.eps) ** -0.5).reshape_as(self.weight)

    def forward(self, x):
        w = self.standardised()
        return F.conv2d(x, w, bias=self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)


@alternative
class OneFilterAfterTheOther(nn.Conv2d):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, **more):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, **more)

    def forward(self, x):
        filters = [(f - f.mean()) / (f.var(correction=0) + 1e-5).sqrt() for f in self.weight]
        out = F.conv2d(x, torch.stack(filters), None, self.stride, self.padding, self.dilation, self.groups)
        return out if self.bias is None else out + self.bias.reshape(1, -1, 1, 1)


@alternative
class InDoublePrecisionInside(nn.Conv2d):
    def forward(self, x):
        w = self.weight.double()
        mean = w.mean((1, 2, 3), keepdim=True)
        var = w.square().mean((1, 2, 3), keepdim=True) - mean.square()
        return self._conv_forward(x, ((w - mean) * (var + 1e-5).rsqrt()).to(x.dtype), self.bias)


@alternative
class FromScratch(nn.Module):
    """Not derived from nn.Conv2d, but built as it is and with its names."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        super().__init__()
        twin = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.weight, self.bias = twin.weight, twin.bias
        self.how = dict(stride=twin.stride, padding=twin.padding, dilation=twin.dilation, groups=twin.groups)

    def forward(self, x):
        var, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        return F.conv2d(x, (self.weight - mean).div((var + 1e-5).sqrt()), self.bias, **self.how)
