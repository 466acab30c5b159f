"""Answers to 06-a, the order of the channels: right pairs, each written differently."""

import torch
import torch.nn.functional as F
from einops import rearrange

from .ex_06_a import ANSWERS, order_of, reordered


def right(name, pair):
    ANSWERS.right.append((name, pair))


def by_argsort(guide):
    return guide.argsort(dim=-1, descending=True)


def of_the_negative(guide):
    return (-guide).argsort(1)


def rising_read_backwards(guide):
    return torch.flip(torch.argsort(guide, dim=1), dims=(1,))


def by_sort_row_by_row(guide):
    return torch.stack([torch.sort(row, descending=True)[1] for row in guide])


def by_counting(guide):
    """The place of a channel is the number of channels with a larger value."""
    place = (guide[:, None, :] > guide[:, :, None]).sum(dim=2)  # (B, N): channel -> place
    return torch.empty_like(place).scatter_(1, place, torch.arange(guide.shape[1]).expand_as(place))


def by_pythons_sorted(guide):
    rows = guide.tolist()
    return torch.tensor([sorted(range(len(row)), key=row.__getitem__, reverse=True) for row in rows])


def maximum_after_maximum(guide):
    left, places = guide.detach().clone(), []
    for _ in range(guide.shape[1]):
        best = left.argmax(dim=1, keepdim=True)
        places.append(best)
        left.scatter_(1, best, -float("inf"))
    return torch.cat(places, dim=1)


def by_gather(x, order):
    B, N, H, W = x.shape
    return x.gather(1, order.view(B, N, 1, 1).expand(B, N, H, W))


def by_advanced_indexing(x, order):
    return x[torch.arange(len(x)).unsqueeze(1), order]


def image_by_image(x, order):
    return torch.stack([image[row] for image, row in zip(x, order, strict=True)])


def by_index_select(x, order):
    return torch.cat([x[b : b + 1].index_select(1, order[b]) for b in range(x.size(0))])


def by_a_permutation_matrix(x, order):
    P = F.one_hot(order, x.shape[1]).to(x.dtype)  # (B, N, N): row i has its one at channel order[i]
    return torch.einsum("bij,bjhw->bihw", P, x)


def by_flat_indices(x, order):
    B, N = order.shape
    flat = (order + N * torch.arange(B)[:, None]).reshape(-1)
    return rearrange(rearrange(x, "b n h w -> (b n) h w")[flat], "(b n) h w -> b n h w", b=B)


def by_filling(x, order):
    out = torch.empty_like(x)
    for b in range(order.shape[0]):
        for place, channel in enumerate(order[b].tolist()):
            out[b, place] = x[b, channel]
    return out


def by_scattering_to_the_inverse(x, order):
    index = order.argsort(dim=1)[..., None].expand(-1, -1, x[0, 0].numel())
    return torch.zeros_like(x).flatten(2).scatter(1, index, x.flatten(2)).view_as(x)


right("by_topk_and_take_along_dim", (order_of, reordered))
right("by_argsort_and_gather", (by_argsort, by_gather))
right("of_the_negative_and_advanced_indexing", (of_the_negative, by_advanced_indexing))
right("image_by_image", [by_sort_row_by_row, image_by_image])
right("backwards_and_index_select", (rising_read_backwards, by_index_select))
right("by_counting_and_a_permutation_matrix", (by_counting, by_a_permutation_matrix))
right("by_pythons_sorted_and_flat_indices", (by_pythons_sorted, by_flat_indices))
right("maximum_after_maximum_and_filling", (maximum_after_maximum, by_filling))
right("scattered_to_the_inverse", (by_argsort, by_scattering_to_the_inverse))
