"""Answers to 03-e, the logits of the contrast: right ones, each written differently."""

import torch
import torch.nn.functional as F
from torch import nn

from .ex_03_e import ANSWERS

alternative = ANSWERS.alternative


@alternative
def by_einsum(query, key, queue, temperature=0.07):
    q, k = F.normalize(query, dim=1), F.normalize(key, dim=1).detach()
    own, others = torch.einsum("bd,bd->b", q, k), torch.einsum("bd,dk->bk", q, queue)
    return torch.cat((own[:, None], others), dim=1).div(temperature)


@alternative
def by_cosine_similarity(query, key, queue, temperature=0.07):
    candidates = torch.cat([key.detach()[:, None], queue.T.expand(len(query), -1, -1)], dim=1)  # (B, 1 + K, D)
    return F.cosine_similarity(query[:, None], candidates, dim=-1) / temperature


@alternative
def one_image_after_the_other(query, key, queue, temperature=0.07):
    rows = []
    for q, k in zip(query, key.detach(), strict=True):
        q, k = q / q.norm(), k / k.norm()
        rows.append(torch.stack([q @ k] + [q @ column for column in queue.T]) / temperature)
    return torch.stack(rows)


@alternative
def in_double_precision_inside(q, k, queue, temperature=0.07):
    with torch.no_grad():
        k = nn.functional.normalize(k.double(), dim=-1)
    wide = q.double() / q.double().square().sum(-1, keepdim=True).sqrt()
    logits = torch.empty(len(q), 1 + queue.shape[1], dtype=torch.float64)
    logits[:, 0] = (wide * k).sum(-1)
    logits[:, 1:] = wide @ queue.double()
    return (logits / temperature).to(q.dtype)


@alternative
def lengths_divided_out_at_the_end(query, key, queue, temperature=0.07):
    key = key.detach()
    own = (query[:, None] @ key[:, :, None])[:, 0] / key.norm(dim=1, keepdim=True)
    return torch.hstack([own, query.matmul(queue)]) / (temperature * query.norm(dim=1, keepdim=True))


@alternative
def queue_normalised_once_more(query, key, queue, temperature=0.07):
    """Its columns have unit length already: nothing changes."""
    q, k = F.normalize(query, dim=1), F.normalize(key.detach(), dim=1)
    similarities = torch.column_stack([(q * k).sum(1), q @ F.normalize(queue, dim=0)])
    return similarities / temperature
