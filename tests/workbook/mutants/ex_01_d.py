"""Answers to 01-d, multi-head self-attention: wrong ones. The right ones stand in `ex_01_d_right.py`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.workbook.exercises import get_exercise

from . import Answers

ANSWERS = Answers("01-d")
mutant = ANSWERS.mutant
attend = get_exercise("01-b").reference_piece  # what a student has at hand at that point of the lesson


class Given(nn.Module):
    """The `__init__` of the exercise."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, x):
        """q, k, v as (B, n, L, d): what most answers begin with."""
        B, L, C = x.shape
        return [t.reshape(B, L, self.heads, C // self.heads).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1)]

    def join(self, out):
        """(B, n, L, d) -> (B, L, C), projected: what most answers end with."""
        return self.proj(out.transpose(1, 2).flatten(2))


@mutant("transpose|reshape|head")
class ReshapedStraightToHeads(Given):
    def forward(self, x):
        B, L, C = x.shape
        q, k, v = (t.reshape(B, self.heads, L, C // self.heads) for t in self.qkv(x).chunk(3, dim=-1))
        return self.join(attend(q, k, v))


@mutant("transpose|reshape|head")
class ReshapedStraightBothWays(Given):
    def forward(self, x):
        B, L, C = x.shape
        q, k, v = (t.reshape(B, self.heads, L, C // self.heads) for t in self.qkv(x).chunk(3, dim=-1))
        return self.proj(attend(q, k, v).reshape(B, L, C))


@mutant("transpose|reshape|back")
class JoinedWithoutTranspose(Given):
    def forward(self, x):
        return self.proj(attend(*self.split(x)).reshape(x.shape))


@mutant("head|first d|interleav")
class HeadsInterleaved(Given):
    def forward(self, x):
        B, L, C = x.shape
        q, k, v = (t.reshape(B, L, C // self.heads, self.heads).permute(0, 3, 1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        return self.proj(attend(q, k, v).permute(0, 2, 3, 1).reshape(B, L, C))


@mutant("head|first d|interleav|back")
class HeadsJoinedInterleaved(Given):
    def forward(self, x):
        return self.proj(attend(*self.split(x)).permute(0, 2, 3, 1).reshape(x.shape))


@mutant("head|chunk|q, then k|three")
class HeadsBeforeQkv(Given):
    def forward(self, x):
        B, L, C = x.shape
        q, k, v = self.qkv(x).reshape(B, L, self.heads, 3 * C // self.heads).transpose(1, 2).chunk(3, dim=-1)
        return self.join(attend(q, k, v))


@mutant("q, then k|order|three|chunk")
class QkvInterleaved(Given):
    def forward(self, x):
        q, k, v = (self.qkv(x)[..., i::3] for i in range(3))
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        return self.join(attend(q, k, v))


@mutant("order|q, then k|swap")
class KeysFirst(Given):
    def forward(self, x):
        k, q, v = self.split(x)
        return self.join(attend(q, k, v))


@mutant("order|q, then k|swap")
class ValuesFirst(Given):
    def forward(self, x):
        v, k, q = self.split(x)
        return self.join(attend(q, k, v))


@mutant()
class KeysAndValuesSwapped(Given):
    def forward(self, x):
        q, v, k = self.split(x)
        return self.join(attend(q, k, v))


@mutant()
class InputHandedOver(Given):
    def forward(self, x):
        q, k, _ = self.split(x)
        return self.join(attend(q, k, x.unflatten(2, (self.heads, -1)).transpose(1, 2)))


@mutant("head")
class OneHeadOnly(Given):
    def forward(self, x):
        return self.proj(attend(*self.qkv(x).chunk(3, dim=-1)))


@mutant()
class TwoHeadsAlways(Given):
    def forward(self, x):
        B, L, C = x.shape
        q, k, v = (t.reshape(B, L, 2, C // 2).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        return self.join(attend(q, k, v))


@mutant("head|transpose")
class HeadsAttendToHeads(Given):
    def forward(self, x):
        q, k, v = (t.transpose(1, 2) for t in self.split(x))
        return self.proj(attend(q, k, v).reshape(x.shape))


@mutant()
class ChannelsAttendToChannels(Given):
    def forward(self, x):
        q, k, v = (t.transpose(-2, -1) for t in self.split(x))
        return self.join(attend(q, k, v).transpose(-2, -1))


@mutant()
class ImagesAttendToImages(Given):
    """Tokens first, as in nn.MultiheadAttention without batch_first."""

    def forward(self, x):
        L, B, C = x.shape
        q, k, v = (t.reshape(L, B * self.heads, C // self.heads).transpose(0, 1) for t in self.qkv(x).chunk(3, dim=-1))
        return self.proj(attend(q, k, v).transpose(0, 1).reshape(L, B, C))


@mutant("scale|root|sqrt|width|head")
class ScaledByTheWholeWidth(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(x.shape[-1])).softmax(dim=-1)
        return self.join(weights @ v)


@mutant("scale|root|sqrt")
class ScaledByD(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return self.join((q @ k.transpose(-2, -1) / q.shape[-1]).softmax(dim=-1) @ v)


@mutant("scale|root|sqrt")
class NotScaled(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return self.join((q @ k.transpose(-2, -1)).softmax(dim=-1) @ v)


@mutant("scale|root|sqrt|twice|attend")
class ScaledTwice(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return self.join(attend(q / math.sqrt(q.shape[-1]), k, v))


@mutant("softmax|keys|axis|dim")
class SoftmaxOverQueries(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return self.join((q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-2) @ v)


@mutant()
class SoftmaxOverHeads(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return self.join((q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=1) @ v)


@mutant("softmax")
class NoSoftmax(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return self.join(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) @ v)


@mutant()
class MeanMapForAllHeads(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1).mean(dim=1, keepdim=True)
        return self.join(weights @ v)


@mutant("proj")
class NoProjection(Given):
    def forward(self, x):
        return attend(*self.split(x)).transpose(1, 2).flatten(2)


@mutant()
class ProjectionWithoutBias(Given):
    def forward(self, x):
        return F.linear(attend(*self.split(x)).transpose(1, 2).flatten(2), self.proj.weight)


@mutant()
class ProjectionTransposed(Given):
    def forward(self, x):
        return attend(*self.split(x)).transpose(1, 2).flatten(2) @ self.proj.weight + self.proj.bias


@mutant()
class ProjectedTwice(Given):
    def forward(self, x):
        return self.proj(self.join(attend(*self.split(x))))


@mutant()
class ValuesProjectedToo(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        v = self.proj(v.transpose(1, 2).flatten(2)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        return attend(q, k, v).transpose(1, 2).flatten(2)


@mutant("residual|add|x \\+|block")
class WithResidual(Given):
    def forward(self, x):
        return x + self.join(attend(*self.split(x)))


@mutant()
class WithNorm(Given):
    def forward(self, x):
        return self.join(attend(*self.split(F.layer_norm(x, x.shape[-1:]))))


@mutant()
class OnlyEarlierTokens(Given):
    def forward(self, x):
        return self.join(F.scaled_dot_product_attention(*self.split(x), is_causal=True))


@mutant()
class NotToItself(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        mask = ~torch.eye(x.shape[1], dtype=torch.bool)
        return self.join(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


@mutant()
class OneImageOnly(Given):
    def forward(self, x):
        _, L, C = x.shape
        q, k, v = (t[0].reshape(L, self.heads, C // self.heads).transpose(0, 1) for t in self.qkv(x).chunk(3, dim=-1))
        return self.proj(attend(q, k, v).transpose(0, 1).reshape(1, L, C))


@mutant()
class MapOfTheFirstImage(Given):
    def forward(self, x):
        q, k, v = self.split(x)
        return self.join(attend(q[:1].expand_as(q), k[:1].expand_as(k), v))


@mutant("chunk|dim|axis")
class TokensChunked(Given):
    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=1)
        return self.proj(attend(q, k, v))
