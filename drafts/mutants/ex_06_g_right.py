"""Answers to 06-g, one prompt, one permutation: right pairs, each written differently."""

import torch

from .ex_06_g import ANSWERS, share, whole


def right(name, pair):
    ANSWERS.right.append((name, pair))


def by_counting(order_a, order_b):
    return torch.sum(order_a.eq(order_b), dim=-1) / order_a.shape[-1]


def by_where(order_a, order_b):
    return torch.where(order_a - order_b == 0, 1.0, 0.0).mean(1)


def row_by_row(order_a, order_b):
    rows = zip(order_a.tolist(), order_b.tolist(), strict=True)
    return torch.tensor([sum(a == b for a, b in zip(*pair, strict=True)) / len(pair[0]) for pair in rows])


def by_what_differs(order_a, order_b):
    return 1 - torch.count_nonzero(order_a - order_b, dim=1) / order_a.size(1)


def by_einsum(order_a, order_b):
    same = (order_a == order_b).float()
    return torch.einsum("bn->b", same) / same.shape[1]


def by_pythons_sorted(order):
    return torch.tensor([sorted(row) == list(range(len(row))) for row in order.tolist()])


def by_counts(order):
    """Each of 0 ... N - 1 exactly once, whatever else there might be."""
    counts = (order.unsqueeze(2) == torch.arange(order.shape[1])).sum(dim=1)
    return counts.eq(1).all(dim=1)


def present_each(order):
    """N places can hold N different channels only once each."""
    return (order[:, :, None] == torch.arange(order.shape[1])).any(dim=1).all(dim=1)


def in_range_and_different(order):
    N = order.shape[1]
    in_range = torch.logical_and(order >= 0, order < N).all(dim=1)
    different = torch.stack([row.unique().numel() == torch.tensor(N) for row in order])
    return in_range & different


def by_sets(order):
    N = order.shape[1]
    return torch.tensor([set(row.tolist()) == set(range(N)) for row in order], dtype=torch.bool)


def by_the_inverse(order):
    """Indexing by the argsort gives 0 ... N - 1."""
    N = order.shape[-1]
    return ~(order.gather(1, order.argsort(dim=1)) - torch.arange(N)).bool().any(dim=1)


right("by_the_mean_and_sort", (share, whole))
right("by_counting_and_pythons_sorted", (by_counting, by_pythons_sorted))
right("by_where_and_counts", (by_where, by_counts))
right("row_by_row_and_sets", [row_by_row, by_sets])
right("by_what_differs_and_present_each", (by_what_differs, present_each))
right("by_einsum_and_in_range", (by_einsum, in_range_and_different))
right("by_counting_and_the_inverse", (by_counting, by_the_inverse))
