"""Answers to 06-e, the block: right ones, each written differently."""

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.models.layers import GDFN, LayerNorm

from .ex_06_e import ANSWERS, Given

alternative = ANSWERS.alternative


@alternative
class Plain(Given):
    def forward(self, x, text):
        shuffled = self.perturb(x, text)
        out = self.attn(self.norm1(shuffled), self.norm2(x))
        return out + self.ffn(self.norm3(out))


@alternative
class InOneLine(Given):
    def forward(self, x, text):
        return (out := self.attn(self.norm1(self.perturb(x, text)), self.norm2(x))) + self.ffn(self.norm3(out))


@alternative
class OriginalFirst(Given):
    """The norm of the original before anything else, the sum the other way round."""

    def forward(self, features, words):
        original = self.norm2(features)
        query = self.norm1.forward(self.perturb.forward(features, words))
        out = self.attn.forward(query, original)
        return torch.add(self.ffn(self.norm3(out)), out)


def _norm(layer, x):
    return F.layer_norm(x.movedim(1, -1), (x.shape[1],), layer.weight, layer.bias, layer.eps).movedim(-1, 1)


@alternative
class NormsWrittenOut(Given):
    """Layer norms by torch's function, the feed-forward network by its three convolutions."""

    def forward(self, x, text):
        out = self.attn(_norm(self.norm1, self.perturb(x, text)), _norm(self.norm2, x))
        gate, value = self.ffn.dwconv(self.ffn.project_in(_norm(self.norm3, out))).chunk(2, dim=1)
        return out + self.ffn.project_out(F.gelu(gate) * value)


@alternative
class ImageByImage(Given):
    def one(self, x, text):
        out = self.attn(self.norm1(self.perturb(x, text)), self.norm2(x))
        return torch.stack([out, self.ffn(self.norm3(out))]).sum(dim=0)

    def forward(self, x, text):
        return torch.cat([self.one(x[b : b + 1], text[b : b + 1]) for b in range(len(x))])


@alternative
class PartsTheOtherWayRound(nn.Module):
    """Rewritten from the last part to the first."""

    def __init__(self, dim, num_heads, width, perturbation, attention):
        super().__init__()
        self.ffn = GDFN(dim, 2.66, bias=False)
        self.attn = attention(dim, num_heads)
        self.norm3 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim, bias=True)
        self.norm1 = LayerNorm(dim)
        self.perturb = perturbation(dim, width)

    def forward(self, x, text):
        y = self.attn(self.norm1(self.perturb(x, text)), self.norm2(x))
        y = y + self.ffn(self.norm3(y))
        return y
