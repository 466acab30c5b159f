"""Answers to 01-d, multi-head self-attention: right ones, each written differently."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from .ex_01_d import ANSWERS, Given, attend

alternative = ANSWERS.alternative


@alternative
class ByEinops(Given):
    def forward(self, x):
        q, k, v = rearrange(self.qkv(x), "b l (three n d) -> three b n l d", three=3, n=self.heads)
        return self.proj(rearrange(attend(q, k, v), "b n l d -> b l (n d)"))


@alternative
class ByFusedAttention(Given):
    def forward(self, x):
        B, L, C = x.shape
        q, k, v = self.qkv(x).view(B, L, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous().view(B, L, C))


@alternative
class OneHeadAfterTheOther(Given):
    def forward(self, x):
        q, k, v = self.qkv(x).split(x.shape[-1], dim=-1)
        d = x.shape[-1] // self.heads
        parts = []
        for n in range(self.heads):
            mine = slice(n * d, (n + 1) * d)
            scores = torch.einsum("bqd,bkd->bqk", q[..., mine], k[..., mine]) / d**0.5
            parts.append(torch.einsum("bqk,bkd->bqd", F.softmax(scores, dim=2), v[..., mine]))
        return self.proj(torch.cat(parts, dim=-1))


@alternative
class HeadsInTheBatch(Given):
    def forward(self, x):
        B, L, C = x.shape
        q, k, v = (
            t.view(B, L, self.heads, -1).permute(0, 2, 1, 3).reshape(B * self.heads, L, -1) for t in torch.tensor_split(self.qkv(x), 3, -1)
        )
        scores = torch.baddbmm(torch.zeros(1, 1, 1), q, k.mT, alpha=(C // self.heads) ** -0.5)
        out = torch.bmm(scores.softmax(-1), v)
        return self.proj(out.view(B, self.heads, L, -1).swapaxes(1, 2).reshape(B, L, C))


@alternative
class EachHeadProjectsItsShare(Given):
    """The last layer of heads side by side is the sum of what it makes of each; one image at a time."""

    def one(self, tokens):
        d = tokens.shape[1] // self.heads
        q, k, v = (F.linear(tokens, w, b) for w, b in zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True))
        total = self.proj.bias
        for start in range(0, tokens.shape[1], d):
            out = attend(q[:, start : start + d], k[:, start : start + d], v[:, start : start + d])
            total = total + out @ self.proj.weight[:, start : start + d].T
        return total

    def forward(self, x):
        return torch.stack([self.one(tokens) for tokens in x])


@alternative
class ByTorchsFunction(Given):
    def forward(self, x):
        tokens_first = x.transpose(0, 1)
        out, _ = F.multi_head_attention_forward(
            tokens_first, tokens_first, tokens_first, x.shape[-1], self.heads, self.qkv.weight, self.qkv.bias, None, None, False, 0.0,
            self.proj.weight, self.proj.bias, need_weights=False,
        )  # fmt: skip
        return out.transpose(0, 1)


@alternative
class OtherNames(nn.Module):
    """Rewritten around torch's own layer; every parameter is told apart by its shape."""

    def __init__(self, channels, num_heads):
        super().__init__()
        self.inner = nn.MultiheadAttention(channels, num_heads, batch_first=True)

    def forward(self, tokens):
        return self.inner(tokens, tokens, tokens)[0]
