"""Answers to 02-b, MDTA: right ones, each written differently."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from .ex_02_b import ANSWERS, Given, channel_scores

alternative = ANSWERS.alternative


@alternative
class ByEinops(Given):
    def forward(self, x):
        q, k, v = rearrange(self.qkv_dwconv(self.qkv(x)), "b (three n d) h w -> three b n d (h w)", three=3, n=self.heads)
        out = channel_scores(q, k, self.temperature).softmax(dim=-1) @ v
        return self.project_out(rearrange(out, "b n d (h w) -> b (n d) h w", h=x.shape[2]))


@alternative
class ByFusedAttention(Given):
    def forward(self, x):
        B, C, H, W = x.shape
        q, k, v = self.qkv_dwconv(self.qkv(x)).view(B, 3, self.heads, C // self.heads, H * W).unbind(dim=1)
        q = F.normalize(q, dim=-1) * self.temperature
        out = F.scaled_dot_product_attention(q, F.normalize(k, dim=-1), v, scale=1.0)
        return self.project_out(out.reshape(B, C, H, W))


@alternative
class OneHeadAfterTheOther(Given):
    def forward(self, x):
        B, C, H, W = x.shape
        y = self.qkv_dwconv(self.qkv(x))
        q, k, v = y[:, :C], y[:, C : 2 * C], y[:, 2 * C :]
        d = C // self.heads
        parts = []
        for n in range(self.heads):
            mine = slice(n * d, (n + 1) * d)
            scores = torch.einsum("bchw,bdhw->bcd", F.normalize(q[:, mine], dim=(2, 3)), F.normalize(k[:, mine], dim=(2, 3)))
            attention = torch.exp(scores * self.temperature[n])
            attention = attention / attention.sum(dim=2, keepdim=True)
            parts.append(torch.einsum("bcd,bdhw->bchw", attention, v[:, mine]))
        return self.project_out(torch.cat(parts, dim=1))


@alternative
class WeightsInSlices(Given):
    """Three convolutions with a third of the weights each, one image at a time."""

    def one(self, x):
        C = x.shape[1]
        parts = []
        for i in range(3):
            mine = slice(i * C, (i + 1) * C)
            y = F.conv2d(x, self.qkv.weight[mine])
            y = F.conv2d(y, self.qkv_dwconv.weight[mine], padding=1, groups=C)
            parts.append(y.reshape(self.heads, C // self.heads, -1))
        q, k, v = parts
        attention = torch.baddbmm(torch.zeros(1), F.normalize(q, dim=-1), F.normalize(k, dim=-1).mT) * self.temperature
        return self.project_out(torch.bmm(attention.softmax(-1), v).reshape(x.shape))

    def forward(self, x):
        return torch.cat([self.one(image[None]) for image in x])


@alternative
class OtherNames(nn.Module):
    """Rewritten from scratch; every parameter is told apart by its shape."""

    def __init__(self, channels, num_heads):
        super().__init__()
        self.out = nn.Conv2d(channels, channels, 1, bias=False)
        self.to_qkv = nn.Sequential(
            nn.Conv2d(channels, channels * 3, 1, bias=False),
            nn.Conv2d(channels * 3, channels * 3, 3, 1, 1, groups=channels * 3, bias=False),
        )
        self.tau = nn.Parameter(torch.ones(num_heads, 1, 1))

    def forward(self, x):
        q, k, v = (part.unflatten(1, (len(self.tau), -1)).flatten(-2) for part in self.to_qkv(x).split(x.shape[1], 1))
        cosine = q @ k.mT / (q.norm(dim=-1)[..., None] * k.norm(dim=-1)[..., None, :])
        out = nn.functional.softmax(cosine * self.tau, dim=3) @ v
        return self.out(out.flatten(1, 2).unflatten(-1, x.shape[2:]))
