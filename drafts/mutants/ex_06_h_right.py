"""Answers to 06-h, a shuffle that learns: right ones, each written differently."""

import torch
import torch.nn.functional as F

from .ex_06_h import ANSWERS, right

alternative = ANSWERS.alternative
alternative(right)


@alternative
def difference_detached(x, guide, tau):
    s, order = guide.sort(dim=-1, descending=True)
    P = torch.softmax(-torch.abs(s.unsqueeze(2) - guide.unsqueeze(1)) / tau, dim=2)
    hard = torch.zeros_like(P).scatter(2, order.unsqueeze(2), 1.0)
    M = P + (hard - P).detach()
    return torch.bmm(M, x.flatten(2)).view_as(x)


@alternative
def gather_and_a_term_of_no_value(x, guide, tau):
    """The hard reorder by a gather, x learns through it; the guide through (P - its value) times a constant x."""
    order = guide.topk(guide.shape[1], dim=1).indices
    hard = torch.take_along_dim(x, order[:, :, None, None], dim=1)
    P = (-torch.cdist(guide.gather(1, order)[..., None], guide[..., None], p=1) / tau).softmax(dim=-1)
    soft = torch.einsum("bij,bjhw->bihw", P, x.detach())
    return hard + (soft - soft.detach())


@alternative
def image_by_image(x, guide, tau):
    out = []
    for image, g in zip(x, guide, strict=True):
        order = torch.argsort(-g)
        rows = []
        for channel in order:
            shares = F.softmax(-(g[channel] - g).abs() / tau, dim=0)
            rows.append(shares - shares.detach() + F.one_hot(channel, len(g)))
        out.append(torch.tensordot(torch.stack(rows), image, dims=1))
    return torch.stack(out)


class _Straight(torch.autograd.Function):
    """Hands on the hard matrix, and the gradient to the soft one."""

    @staticmethod
    def forward(ctx, hard, soft):
        return hard.clone()

    @staticmethod
    def backward(ctx, gradient):
        return None, gradient


@alternative
def by_a_function_of_its_own(x, guide, tau):
    B, N = guide.shape
    order = guide.argsort(dim=1, descending=True)
    s = guide[torch.arange(B)[:, None], order]
    soft = (-(s.view(B, N, 1) - guide.view(B, 1, N)).abs()).div(tau).softmax(-1)
    hard = torch.eye(N, dtype=x.dtype)[order]
    return (_Straight.apply(hard, soft) @ x.reshape(B, N, -1)).reshape(x.shape)


@alternative
def hard_rows_where_the_soft_ones_are_largest(x, guide, tau):
    """Without ties, row i of P is largest at the channel of place i."""
    s = guide.sort(dim=1, descending=True)[0]
    logits = -(s[:, :, None] - guide[:, None, :]).abs() / tau
    P = torch.exp(logits - torch.logsumexp(logits, dim=2, keepdim=True))
    hard = (logits == 0).to(P.dtype)
    return torch.einsum("bij,bjp->bip", hard.detach() - P.detach() + P, x.flatten(2)).unflatten(2, x.shape[2:])
