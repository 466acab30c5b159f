"""Answers to 06-c, the top-K mask: right ones, each written differently."""

import math

import torch
import torch.nn.functional as F

from .ex_06_c import ANSWERS, right

alternative = ANSWERS.alternative
alternative(right)


@alternative
def values_scattered_into_minus_infinity(scores, gamma):
    best = scores.topk(max(1, int(gamma * scores.size(-1))), dim=-1)
    return torch.full_like(scores, -torch.inf).scatter(-1, best.indices, best.values).softmax(-1)


@alternative
def by_the_kth_value(scores, gamma):
    d = scores.shape[-1]
    k = max(int(d * gamma), 1)
    threshold = scores.kthvalue(d - k + 1, dim=-1, keepdim=True).values
    return F.softmax(torch.where(scores < threshold, -math.inf, scores), dim=-1)


@alternative
def softmax_of_the_kept_put_in_their_places(scores, gamma):
    values, indices = torch.sort(scores, dim=-1, descending=True)
    k = int(scores.shape[-1] * gamma) or 1
    return torch.zeros_like(scores).scatter(-1, indices[..., :k], values[..., :k].softmax(-1))


@alternative
def mask_added(scores, gamma):
    """0 where a score stays, minus infinity where it goes."""
    k = max(1, math.floor(scores.shape[-1] * gamma))
    penalty = torch.full_like(scores, float("-inf")).scatter(-1, scores.topk(k).indices, 0.0)
    return (scores + penalty).softmax(dim=-1)


@alternative
def by_ranks(scores, gamma):
    rank = scores.argsort(dim=-1, descending=True).argsort(dim=-1)
    return torch.masked_fill(scores, rank >= max(1, int(scores.shape[-1] * gamma)), -torch.inf).softmax(-1)


@alternative
def renormalised_after_the_softmax(scores, gamma):
    """The same shares by another way: mask, then divide by what is left."""
    attention = scores.softmax(dim=-1)
    k = max(1, int(scores.shape[-1] * gamma))
    kept = attention * torch.zeros_like(attention).scatter(-1, scores.topk(k, dim=-1).indices, 1.0)
    return kept / kept.sum(dim=-1, keepdim=True)


@alternative
def row_after_row(scores, gamma):
    B, n, d, _ = scores.shape
    k = max(1, int(d * gamma))
    rows = []
    for row in scores.reshape(-1, d):
        chosen = sorted(range(d), key=row.tolist().__getitem__)[-k:]
        powers = (row[chosen] - row.detach().max()).exp()
        out = row.new_zeros(d).index_put((torch.tensor(chosen),), powers / powers.sum())
        rows.append(out)
    return torch.stack(rows).reshape(B, n, d, d)


@alternative
def in_double_precision_inside(scores, gamma):
    s = scores.double()
    k = max(1, int(s.shape[3] * gamma))
    s = s - s.amax(3, keepdim=True)
    keep = torch.zeros_like(s, dtype=torch.bool)
    keep[torch.arange(len(s))[:, None, None, None], torch.arange(s.shape[1])[:, None, None], torch.arange(s.shape[2])[:, None],
         s.topk(k, dim=3).indices] = True  # fmt: skip
    powers = torch.where(keep, s.exp(), torch.zeros((), dtype=s.dtype))
    return (powers / powers.sum(3, keepdim=True)).to(scores.dtype)


@alternative
def lowest_number_for_minus_infinity(scores, gamma):
    """exp() of it is zero just the same."""
    k = max(1, int(scores.shape[-1] * gamma))
    mask = F.one_hot(scores.topk(k, dim=-1).indices, scores.shape[-1]).sum(-2).bool()
    return scores.masked_fill(mask.logical_not(), torch.finfo(scores.dtype).min).softmax(dim=-1)
