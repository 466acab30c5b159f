"""Answers to 01-d, multi-head self-attention: more wrong ones. They compute the right thing, but cannot be trained or called as asked."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .ex_01_d import ANSWERS, Given, attend

mutant = ANSWERS.mutant


@mutant()
class SizesWrittenDown(Given):
    def forward(self, x):
        q, k, v = (t.reshape(-1, 64, 4, 16).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        return self.join(attend(q, k, v))


@mutant("every time|random|forward")
class FreshLayersInForward(Given):
    def forward(self, x):
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in nn.Linear(x.shape[-1], 3 * x.shape[-1])(x).chunk(3, dim=-1))
        return self.join(attend(q, k, v))


@mutant("every time|random|forward")
class InitialisedInForward(Given):
    def forward(self, x):
        nn.init.xavier_uniform_(self.proj.weight)
        return self.join(attend(*self.split(x)))


@mutant("grad|train")
class WeightsFrozen(Given):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.qkv.requires_grad_(False)

    def forward(self, x):
        return self.join(attend(*self.split(x)))


@mutant("gradient")
class UnderNoGrad(Given):
    @torch.no_grad()
    def forward(self, x):
        return self.join(attend(*self.split(x)))


@mutant("gradient")
class MapDetached(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return self.join(attend(q.detach(), k.detach(), v))


@mutant("gradient")
class WeightsCopied(Given):
    def forward(self, x):
        out = attend(*self.split(x)).transpose(1, 2).flatten(2)
        return F.linear(out, torch.tensor(self.proj.weight.tolist()), self.proj.bias)


@mutant("in.place")
class InputCentredInPlace(Given):
    def forward(self, x):
        x -= 0
        return self.join(attend(*self.split(x)))


@mutant("float64|dtype|double")
class DoublePrecision(Given):
    """The norm of the block behind it is float32 and stops at such a result."""

    def forward(self, x):
        return self.join(attend(*self.split(x))).double()


@mutant()
class HalfPrecision(Given):
    def forward(self, x):
        q, k, v = (t.bfloat16() for t in self.split(x))
        return self.join(attend(q, k, v).float())


@mutant("every time|random|dropout")
class WithDropout(Given):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        q, k, v = self.split(x)
        return self.join(self.dropout((q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)) @ v)


@mutant("tuple|tensor")
class ResultAndMap(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return self.join(attend(q, k, v)), (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)


@mutant()
class NothingDone(Given):
    def forward(self, x):
        return x


@mutant("__init__")
class WithoutBias(Given):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)

    def forward(self, x):
        return self.join(attend(*self.split(x)))


@mutant("Module")
def a_function(dim, heads):
    return lambda x: x
