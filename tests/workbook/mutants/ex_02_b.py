"""Answers to 02-b, MDTA: wrong ones. The right ones stand in `ex_02_b_right.py`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.workbook.exercises import get_exercise

from . import Answers

ANSWERS = Answers("02-b")
mutant = ANSWERS.mutant
channel_scores = get_exercise("02-a").reference_piece  # what a student has at hand at that point of the lesson


class Given(nn.Module):
    """The `__init__` of the exercise."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(dim, 3 * dim, kernel_size=1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, kernel_size=3, padding=1, groups=3 * dim, bias=False)
        self.project_out = nn.Conv2d(dim, dim, kernel_size=1, bias=False)

    def split(self, x):
        """q, k, v as (B, n, d, L): what most answers begin with."""
        B, C, H, W = x.shape
        return [part.reshape(B, self.heads, C // self.heads, H * W) for part in self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)]


@mutant("head")
class HeadsInterleaved(Given):
    def forward(self, x):
        B, C, H, W = x.shape
        q, k, v = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        q, k, v = (part.reshape(B, C // self.heads, self.heads, H * W).transpose(1, 2) for part in (q, k, v))
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.transpose(1, 2).reshape(B, C, H, W))


@mutant("head")
class HeadsJoinedInterleaved(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.transpose(1, 2).reshape(x.shape))


@mutant("head|chunk")
class HeadsBeforeQkv(Given):
    def forward(self, x):
        B, C, H, W = x.shape
        qkv = self.qkv_dwconv(self.qkv(x)).reshape(B, self.heads, 3 * C // self.heads, H * W)
        q, k, v = qkv.chunk(3, dim=2)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.reshape(B, C, H, W))


@mutant("head")
class OneHeadOnly(Given):
    def forward(self, x):
        B, C, H, W = x.shape
        q, k, v = (part.reshape(B, 1, C, H * W) for part in self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1))
        out = channel_scores(q, k, self.temperature[:1]).softmax(dim=-1) @ v
        return self.project_out(out.reshape(B, C, H, W))


@mutant("dim=-1|last axis|rows|keys")
class SoftmaxOverQueries(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        out = channel_scores(q, k, self.temperature).softmax(dim=-2) @ v
        return self.project_out(out.reshape(x.shape))


@mutant("dim=-1|last axis|rows|keys")
class SoftmaxOverHeads(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        out = torch.softmax(channel_scores(q, k, self.temperature), 1) @ v
        return self.project_out(out.reshape(x.shape))


@mutant("softmax")
class NoSoftmax(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return self.project_out((channel_scores(q, k, self.temperature) @ v).reshape(x.shape))


@mutant("temperature")
class TemperatureAfterSoftmax(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        attention = channel_scores(q, k, torch.ones_like(self.temperature)).softmax(dim=-1) * self.temperature
        return self.project_out((attention @ v).reshape(x.shape))


@mutant("temperature")
class NoTemperature(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        attention = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)).softmax(dim=-1)
        return self.project_out((attention @ v).reshape(x.shape))


@mutant("normali|length")
class PlainProducts(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        return self.project_out((attention @ v).reshape(x.shape))


@mutant("sqrt|divi|scale")
class ScaledOnceMore(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        attention = (channel_scores(q, k, self.temperature) / math.sqrt(q.shape[2])).softmax(dim=-1)
        return self.project_out((attention @ v).reshape(x.shape))


@mutant("transpose|attention @ v|map")
class MapTransposed(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        attention = channel_scores(q, k, self.temperature).softmax(dim=-1)
        return self.project_out((attention.transpose(-2, -1) @ v).reshape(x.shape))


@mutant("depthwise|dwconv")
class NoDepthwise(Given):
    def forward(self, x):
        B, C, H, W = x.shape
        q, k, v = (part.reshape(B, self.heads, C // self.heads, H * W) for part in self.qkv(x).chunk(3, dim=1))
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.reshape(B, C, H, W))


@mutant("project_out")
class NoProjection(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return (channel_scores(q, k, self.temperature).softmax(dim=-1) @ v).reshape(x.shape)


@mutant("residual|add|x \\+")
class WithResidual(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return x + self.project_out(out.reshape(x.shape))


@mutant("order|q, then k")
class KeysFirst(Given):
    def forward(self, x):
        k, q, v = self.split(x)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.reshape(x.shape))


@mutant("order|q, then k")
class ValuesFirst(Given):
    def forward(self, x):
        v, q, k = self.split(x)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.reshape(x.shape))


@mutant()
class TokenAttention(Given):
    def forward(self, x):
        q, k, v = (part.transpose(-2, -1) for part in self.split(x))
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.transpose(-2, -1).reshape(x.shape))


@mutant()
class SquareImagesOnly(Given):
    def forward(self, x):
        B, C, H, W = x.shape
        q, k, v = self.split(x)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        side = math.isqrt(H * W)
        return self.project_out(out.reshape(B, C, side, side))


@mutant()
class WidthBeforeHeight(Given):
    def forward(self, x):
        B, C, H, W = x.shape
        q, k, v = self.split(x)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.reshape(B, C, W, H)).reshape(B, C, H, W).transpose(-2, -1).reshape(B, C, H, W)


@mutant()
class OneImageOnly(Given):
    def forward(self, x):
        _, C, H, W = x.shape
        q, k, v = (part[0].reshape(self.heads, C // self.heads, H * W) for part in self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1))
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.reshape(1, C, H, W))


@mutant()
class MapOfTheFirstImage(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        attention = channel_scores(q[:1], k[:1], self.temperature).softmax(dim=-1)
        return self.project_out((attention @ v).reshape(x.shape))


@mutant()
class EvenSizesOnly(Given):
    """Adds the scores of the upper and the lower half; the middle row of an odd height is lost."""

    def forward(self, x):
        B, C, H, W = x.shape
        q, k, v = self.split(x)
        half = H // 2 * W
        q, k = torch.cat([q[..., :half], q[..., -half:]], -1), torch.cat([k[..., :half], k[..., -half:]], -1)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.reshape(B, C, H, W))


@mutant("gradient")
class UnderNoGrad(Given):
    @torch.no_grad()
    def forward(self, x):
        q, k, v = self.split(x)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.reshape(x.shape))


@mutant("gradient")
class MapDetached(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        attention = channel_scores(q, k, self.temperature).softmax(dim=-1).detach()
        return self.project_out((attention @ v).reshape(x.shape))


@mutant("temperature")
class TemperatureDetached(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        out = channel_scores(q, k, self.temperature.data).softmax(dim=-1) @ v
        return self.project_out(out.reshape(x.shape))


@mutant("qkv|gradient")
class WeightsCopied(Given):
    def forward(self, x):
        B, C, H, W = x.shape
        weight = torch.tensor(self.qkv.weight.tolist())
        q, k, v = self.qkv_dwconv(F.conv2d(x, weight)).reshape(B, 3, self.heads, C // self.heads, H * W).unbind(1)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.reshape(x.shape))


@mutant("in.place")
class InputOverwritten(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        x.copy_(self.project_out(out.reshape(x.shape)))
        return x


@mutant()
class HalfPrecision(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        attention = channel_scores(q, k, self.temperature).softmax(dim=-1).half()
        return self.project_out((attention.float() @ v.half().float()).reshape(x.shape))


@mutant("dropout|every call|same input|random")
class WithDropout(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        attention = F.dropout(channel_scores(q, k, self.temperature).softmax(dim=-1), 0.1)
        return self.project_out((attention @ v).reshape(x.shape))


@mutant()
class RandomNumbers(Given):
    def forward(self, x):
        return self.project_out(torch.rand_like(x))


@mutant()
class NothingDone(Given):
    def forward(self, x):
        return x


@mutant()
class SizesWrittenDown(Given):
    def forward(self, x):
        q, k, v = (part.reshape(-1, self.heads, 48 // self.heads, 64 * 64) for part in self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1))
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(out.reshape(-1, 48, 64, 64))


@mutant("__init__")
class SeparateConvolutions(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.q, self.k, self.v = (nn.Conv2d(dim, dim, 1, bias=False) for _ in range(3))
        self.project_out = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x):
        q, k, v = (layer(x).unflatten(1, (self.heads, -1)).flatten(3) for layer in (self.q, self.k, self.v))
        return self.project_out((channel_scores(q, k, self.temperature).softmax(-1) @ v).reshape(x.shape))


@mutant("Module")
def a_function(dim, heads):
    return lambda x: x
