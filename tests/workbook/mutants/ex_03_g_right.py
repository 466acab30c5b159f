"""Answers to 03-g, the cosine of two gradients: right ones, each written differently."""

import math

import torch
import torch.nn.functional as F

from .ex_03_g import ANSWERS, flat_pair

alternative = ANSWERS.alternative


@alternative
def of_two_vectors(first, second):
    one, other = flat_pair(first, second)
    return one @ other / (one.norm() * other.norm())


@alternative
def one_layer_after_the_other(first, second):
    inner, one, other = torch.zeros(3, dtype=torch.float64)
    for a, b in zip(first, second, strict=True):
        if a is not None:
            one = one + a.double().square().sum()
        if b is not None:
            other = other + b.double().square().sum()
        if a is not None and b is not None:
            inner = inner + (a.double() * b.double()).sum()
    return inner / (one.sqrt() * other.sqrt())


@alternative
def by_cosine_similarity(first, second):
    one, other = flat_pair(first, second)
    return F.cosine_similarity(one, other, dim=0, eps=0.0)


@alternative
def by_cosine_similarity_and_a_question(first, second):
    one, other = (side.double() for side in flat_pair(first, second))
    if not one.any() or not other.any():
        return torch.tensor(float("nan"))
    return F.cosine_similarity(one, other, dim=0, eps=1e-30).clamp(-1, 1)


@alternative
def of_unit_vectors(first, second):
    one, other = (side / torch.linalg.vector_norm(side) for side in flat_pair(first, second))
    return torch.dot(one, other)


@alternative
def numbers_in_the_middle(first, second):
    met = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    inner = sum(float(torch.vdot(a.reshape(-1), b.reshape(-1))) for a, b in met)
    lengths = [math.sqrt(sum(float((x.double() ** 2).sum()) for x in side if x is not None)) for side in (first, second)]
    return torch.tensor(inner / math.prod(lengths) if all(lengths) else math.nan)


@alternative
def sizes_from_a_shape_table(first, second):
    """Zeros in place of None, the sizes looked up in whichever list knows them."""
    sizes = [next((x.numel() for x in pair if x is not None), 0) for pair in zip(first, second, strict=True)]
    flat = [
        torch.cat([torch.zeros(size) if x is None else x.detach().ravel() for x, size in zip(side, sizes, strict=True)])
        for side in (first, second)
    ]
    return torch.einsum("p,p->", *flat) / torch.sqrt(flat[0].pow(2).sum()) / torch.sqrt(flat[1].pow(2).sum())


@alternative
def zero_gradients_asked_for_first(first, second):
    one, other = flat_pair(first, second)
    return F.cosine_similarity(one, other, dim=0) if one.any() and other.any() else one.new_tensor(math.nan)
