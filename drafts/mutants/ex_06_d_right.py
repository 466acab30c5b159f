"""Answers to 06-d, attention between two features: right ones, each written differently."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from .ex_06_d import ANSWERS, Given, masked_softmax

alternative = ANSWERS.alternative


@alternative
class ByEinops(Given):
    def forward(self, shuffled, x):
        H = x.shape[2]
        q = rearrange(self.q_dwconv(self.q(shuffled)), "b (n d) h w -> b n d (h w)", n=self.heads)
        k, v = rearrange(self.kv_dwconv(self.kv(x)), "b (two n d) h w -> two b n d (h w)", two=2, n=self.heads)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        out = masked_softmax(scores, self.gamma) @ v * self.scale
        return self.project_out(rearrange(out, "b n d (h w) -> b (n d) h w", h=H))


@alternative
class ByFusedAttention(Given):
    """The mask as a bool matrix for torch's own attention."""

    def forward(self, shuffled, x):
        B, C, H, W = x.shape
        d = C // self.heads
        q = self.q_dwconv(self.q(shuffled)).view(B, self.heads, d, H * W)
        k, v = self.kv_dwconv(self.kv(x)).view(B, 2, self.heads, d, H * W).unbind(dim=1)
        q, k = F.normalize(q, dim=-1) * self.temperature, F.normalize(k, dim=-1)
        with torch.no_grad():
            best = (q @ k.mT).topk(max(1, int(d * self.gamma)), dim=-1).indices
            mask = torch.zeros(B, self.heads, d, d, dtype=torch.bool).scatter(-1, best, True)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        return self.project_out(out.reshape(B, C, H, W)) * self.scale  # the projection has no bias, so the scale may follow it


@alternative
class OneHeadAfterTheOther(Given):
    def forward(self, shuffled, x):
        C = x.shape[1]
        d = C // self.heads
        q, kv = self.q_dwconv(self.q(shuffled)), self.kv_dwconv(self.kv(x))
        parts = []
        for n in range(self.heads):
            mine = slice(n * d, (n + 1) * d)
            a, k, v = q[:, mine], kv[:, :C][:, mine], kv[:, C:][:, mine]
            scores = torch.einsum("bchw,bdhw->bcd", F.normalize(a, dim=(2, 3)), F.normalize(k, dim=(2, 3))) * self.temperature[n]
            attention = scores.softmax(dim=2)
            kept = scores.argsort(dim=2, descending=True).argsort(dim=2) < max(1, int(d * self.gamma))
            attention = torch.where(kept, attention, torch.zeros_like(attention))
            attention = attention / attention.sum(dim=2, keepdim=True)
            parts.append(torch.einsum("bcd,bdhw->bchw", attention, v))
        return self.project_out(self.scale * torch.cat(parts, dim=1))


@alternative
class GramDividedByTheLengths(Given):
    """Products first, lengths afterwards; attention and projection as one matrix an image."""

    def forward(self, shuffled, x):
        B, C, H, W = x.shape
        n, d = self.heads, C // self.heads
        q = self.q_dwconv(self.q(shuffled)).reshape(B, n, d, -1)
        k, v = (part.reshape(B, n, d, -1) for part in self.kv_dwconv(self.kv(x)).split(C, dim=1))
        lengths = q.square().sum(-1).sqrt()[..., None] * k.square().sum(-1).sqrt()[..., None, :]
        scores = torch.einsum("bncl,bndl->bncd", q, k) / lengths * self.temperature
        best = scores.topk(max(1, int(d * self.gamma)), dim=-1)
        weights = torch.zeros_like(scores).scatter(-1, best.indices, best.values.softmax(dim=-1))
        mix = torch.einsum("ond,bnde->bone", self.project_out.weight.view(C, n, d), weights).reshape(B, C, C)
        return ((self.scale * mix) @ v.reshape(B, C, H * W)).reshape(B, C, H, W)


@alternative
class WeightsInSlices(Given):
    """kv cut into a convolution for the key and one for the value, one image at a time."""

    def one(self, shuffled, x):
        C = x.shape[1]
        q = F.conv2d(F.conv2d(shuffled, self.q.weight), self.q_dwconv.weight, padding=1, groups=C)
        k, v = (
            F.conv2d(F.conv2d(x, self.kv.weight[mine]), self.kv_dwconv.weight[mine], padding=1, groups=C)
            for mine in (slice(0, C), slice(C, 2 * C))
        )
        q, k, v = (part.reshape(self.heads, C // self.heads, -1) for part in (q, k, v))
        scores = torch.bmm(F.normalize(q, dim=2), F.normalize(k, dim=2).mT) * self.temperature
        weights = masked_softmax(scores[None], self.gamma)[0]
        return F.conv2d(torch.bmm(weights * self.scale, v).reshape(x.shape), self.project_out.weight)

    def forward(self, shuffled, x):
        return torch.cat([self.one(a, b) for a, b in zip(shuffled.split(1), x.split(1), strict=True)])


@alternative
class PartsTheOtherWayRound(nn.Module):
    """Defined from the last to the first, arguments under other names, the layers called by their forward."""

    def __init__(self, dim, num_heads, keep=0.9):
        super().__init__()
        self.keep = keep
        self.project_out = nn.Conv2d(dim, dim, 1, bias=False)
        self.kv_dwconv = nn.Conv2d(dim * 2, dim * 2, 3, 1, 1, groups=dim * 2, bias=False)
        self.kv = nn.Conv2d(dim, dim * 2, 1, bias=False)
        self.q_dwconv = nn.Conv2d(dim, dim, (3, 3), padding="same", groups=dim, bias=False)
        self.q = nn.Conv2d(dim, dim, 1, bias=False)
        self.scale = nn.Parameter(0.2 * torch.ones(1))
        self.temperature = nn.Parameter(torch.ones((num_heads, 1, 1)))

    def forward(self, a, b):
        q, kv = self.q_dwconv.forward(self.q.forward(a)), self.kv_dwconv.forward(self.kv.forward(b))
        k, v = torch.tensor_split(kv, 2, dim=1)
        q, k, v = (part.unflatten(1, (len(self.temperature), -1)).flatten(3) for part in (q, k, v))
        cosine = q @ k.mT / (torch.linalg.vector_norm(q, dim=-1, keepdim=True) * torch.linalg.vector_norm(k, dim=-1)[..., None, :])
        out = (masked_softmax(cosine * self.temperature, self.keep) @ v).flatten(1, 2).unflatten(2, b.shape[2:])
        return self.project_out.forward(out.mul(self.scale))
