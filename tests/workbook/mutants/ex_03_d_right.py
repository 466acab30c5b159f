"""Answers to 03-d, features and prompt interact: right ones, each written differently."""

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.models.layers import GDFN, MDTA, TransformerBlock

from .ex_03_d import ANSWERS, Given

alternative = ANSWERS.alternative


@alternative
class Plain(Given):
    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat((x, prompt), 1)))


@alternative
class ReducedByEinsum(Given):
    def forward(self, x, prompt):
        both = self.block(torch.hstack([x, prompt]))
        return torch.einsum("bchw,oc->bohw", both, self.reduce.weight[:, :, 0, 0])


@alternative
class BlockWrittenOut(Given):
    """Both residual steps by hand, the pair put into a tensor made for it."""

    def forward(self, x, prompt):
        C = x.shape[1]
        both = x.new_empty(len(x), C + prompt.shape[1], *x.shape[2:])
        both[:, :C], both[:, C:] = x, prompt
        both = both + self.block.attn(self.block.norm1(both))
        both = both + self.block.ffn(self.block.norm2(both))
        return F.conv2d(both, self.reduce.weight)


@alternative
class OneImageAfterTheOther(Given):
    def forward(self, x, prompt):
        pairs = zip(x.split(1), prompt.split(1), strict=True)
        return torch.cat([self.reduce(self.block(torch.cat(pair, dim=1))) for pair in pairs])


@alternative
class ReducedInDoublePrecision(Given):
    def forward(self, x, prompt):
        both = self.block(torch.concat([x, prompt], dim=-3))
        rows = both.double().flatten(2).mT @ self.reduce.weight.double().flatten(1).T
        return rows.mT.unflatten(2, x.shape[2:]).to(x.dtype)


@alternative
class LayersTheOtherWayRound(nn.Module):
    """The reduction is defined first; every argument of the block is named."""

    def __init__(self, channels, prompt_channels, out, num_heads):
        super().__init__()
        total = channels + prompt_channels
        self.reduce = nn.Conv2d(total, out, 1, 1, 0, bias=False)
        self.block = TransformerBlock(dim=total, heads=num_heads, expansion=2.66, bias=False, attention=MDTA, feed_forward=GDFN)

    def forward(self, features, prompt):
        return self.reduce.forward(self.block.forward(torch.cat([features, prompt], dim=1)))
