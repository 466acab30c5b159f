"""Answers to 06-a, the order of the channels: wrong pairs of `channel_order` and `reorder`. The right ones stand in `ex_06_a_right.py`."""

import torch
from torch import nn

from . import Answers

ANSWERS = Answers("06-a")


def order_of(guide):
    """A right one, for pairs in which the other is wrong."""
    return guide.topk(guide.shape[1], dim=1).indices


def reordered(x, order):
    return torch.take_along_dim(x, order[:, :, None, None], dim=1)


def wrong_order(words=""):
    """Decorator of a wrong `channel_order`, paired with a right `reorder`."""

    def keep(piece):
        ANSWERS.wrong.append((piece.__name__, (piece, reordered), words))
        return piece

    return keep


def wrong_reorder(words=""):
    def keep(piece):
        ANSWERS.wrong.append((piece.__name__, (order_of, piece), words))
        return piece

    return keep


# ---- channel_order ----


@wrong_order("fall|descend|largest|ascend|rising")
def rising(guide):
    return guide.argsort(dim=1)


@wrong_order("fall|descend|largest|ascend|rising")
def smallest_by_topk(guide):
    return guide.topk(guide.shape[1], dim=1, largest=False).indices


@wrong_order("rank|twice|argsort")
def ranks(guide):
    """Where each channel stands, instead of which channel stands there."""
    return guide.argsort(dim=1, descending=True).argsort(dim=1)


@wrong_order("indi|value")
def values(guide):
    return guide.sort(dim=1, descending=True).values


@wrong_order("tuple|indi|tensor")
def topk_as_it_comes(guide):
    """Values and indices."""
    return guide.topk(guide.shape[1], dim=1)


@wrong_order("tuple|indi|tensor")
def values_and_indices(guide):
    values, indices = guide.sort(dim=1, descending=True)
    return values, indices


@wrong_order("axis|dim|batch|image")
def sorted_over_the_batch(guide):
    return guide.argsort(dim=0, descending=True)


@wrong_order("axis|dim|batch|image")
def sorted_over_everything(guide):
    return guide.flatten().argsort(descending=True).reshape(guide.shape)


@wrong_order()
def sorted_over_everything_and_wrapped(guide):
    """The channel of each place of one long order, as if the images were one."""
    return guide.flatten().argsort(descending=True).reshape(guide.shape) % guide.shape[1]


@wrong_order("each image|batch|one order|own")
def one_order_for_the_batch(guide):
    return guide.mean(dim=0).argsort(descending=True).expand_as(guide)


@wrong_order("each image|batch|first|own")
def first_images_order(guide):
    return guide[0].argsort(descending=True).repeat(len(guide), 1)


@wrong_order()
def one_image_alone(guide):
    return guide[:1].argsort(dim=1, descending=True)


@wrong_order("abs|sign|size")
def by_size_without_sign(guide):
    return guide.abs().argsort(dim=1, descending=True)


@wrong_order("shape|all|half|full")
def half_of_the_channels(guide):
    return guide.topk(guide.shape[1] // 2, dim=1).indices


@wrong_order("shape|all|full")
def last_channel_left_out(guide):
    return guide.topk(guide.shape[1] - 1, dim=1).indices


@wrong_order()
def as_many_as_images(guide):
    """k read off the wrong axis."""
    k = guide.shape[0]
    return guide.topk(min(k, guide.shape[1]), dim=1).indices


@wrong_order("shape|argmax|all|full")
def largest_alone(guide):
    return guide.argmax(dim=1)


@wrong_order()
def argmax_everywhere(guide):
    return guide.argmax(dim=1, keepdim=True).expand_as(guide)


@wrong_order()
def upper_half_sorted(guide):
    """The largest half by value, the rest appended as it stands."""
    order = guide.argsort(dim=1, descending=True)
    k = guide.shape[1] // 2
    return torch.cat([order[:, :k], order[:, k:].sort(dim=1).values], dim=1)


@wrong_order()
def reversed_channels(guide):
    """No guide at all."""
    N = guide.shape[1]
    return torch.arange(N - 1, -1, -1).expand(len(guide), N).contiguous()


@wrong_order()
def channels_as_they_stand(guide):
    return torch.arange(guide.shape[1]).repeat(len(guide), 1)


@wrong_order()
def counted_from_one(guide):
    return guide.argsort(dim=1, descending=True) + 1


@wrong_order("every time|random|guide")
def shuffled_by_chance(guide):
    return torch.stack([torch.randperm(guide.shape[1]) for _ in guide])


@wrong_order("every time|random|guide")
def drawn_by_the_guide(guide):
    """The guide as probabilities."""
    return guide.softmax(dim=1).multinomial(guide.shape[1])


@wrong_order("guide|constant|seed|same")
def shuffled_by_a_seed(guide):
    g = torch.Generator().manual_seed(0)
    return torch.stack([torch.randperm(guide.shape[1], generator=g) for _ in guide])


@wrong_order()
def transposed(guide):
    return guide.T.argsort(dim=0, descending=True)


@wrong_order("int64|long|dtype|integer|index")
def as_float(guide):
    return guide.argsort(dim=1, descending=True).float()


@wrong_order("int64|long|dtype|int32")
def as_int32(guide):
    return guide.argsort(dim=1, descending=True).int()


@wrong_order()
def rounded_guide(guide):
    """Values that differ by less than one tie."""
    return guide.round().argsort(dim=1, descending=True, stable=True)


@wrong_order()
def positive_channels_first(guide):
    """Which channels are above zero, not how far."""
    return (guide > 0).int().argsort(dim=1, descending=True, stable=True)


@wrong_order("in.place")
def guide_sorted_in_place(guide):
    order = guide.argsort(dim=1, descending=True)
    guide.data.copy_(guide.gather(1, order))
    return order


@wrong_order("in.place")
def maximum_after_maximum_in_place(guide):
    places = []
    for _ in range(guide.shape[1]):
        best = guide.argmax(dim=1)
        places.append(best)
        guide.data[torch.arange(len(guide)), best] = -float("inf")
    return torch.stack(places, dim=1)


@wrong_order()
def maximum_after_maximum_with_zeros(guide):
    """Zero beats whatever is negative: some channels come twice."""
    left, places = guide.detach().clone(), []
    for _ in range(guide.shape[1]):
        best = left.argmax(dim=1)
        places.append(best)
        left[torch.arange(len(left)), best] = 0.0
    return torch.stack(places, dim=1)


@wrong_order("shape")
def one_hot_rows(guide):
    return nn.functional.one_hot(guide.argsort(dim=1, descending=True), guide.shape[1])


@wrong_order("list|tensor")
def as_a_list(guide):
    return guide.argsort(dim=1, descending=True).tolist()


# ---- reorder ----


@wrong_reorder("gather|scatter|inverse|where|backward|source|target")
def scattered(x, order):
    """The inverse permutation: channel i goes to place order[i]."""
    return torch.zeros_like(x).scatter(1, order[:, :, None, None].expand_as(x), x)


@wrong_reorder("gather|scatter|inverse|where|backward|source|target")
def assigned_to_the_places(x, order):
    out = torch.zeros_like(x)
    for b in range(len(x)):
        out[b, order[b]] = x[b]
    return out


@wrong_reorder("gather|scatter|inverse|where|backward|source|target")
def by_the_argsort_of_the_order(x, order):
    return reordered(x, order.argsort(dim=1))


@wrong_reorder("each image|batch|first|own")
def order_of_the_first_image(x, order):
    return x[:, order[0]]


@wrong_reorder("each image|batch|last|own")
def order_of_the_last_image(x, order):
    for row in order:
        out = x[:, row]
    return out


@wrong_reorder("shape|batch|gather")
def every_order_for_every_image(x, order):
    """(B, B, N, H, W)."""
    return x[:, order]


@wrong_reorder()
def images_instead_of_channels(x, order):
    return x[order % len(x)][:, 0]


@wrong_reorder("shape|expand|H|pixel")
def first_pixel_alone(x, order):
    """The index was not expanded over the pixels."""
    return x.gather(1, order[:, :, None, None])


@wrong_reorder()
def first_pixel_everywhere(x, order):
    return x.gather(1, order[:, :, None, None]).expand_as(x)


@wrong_reorder()
def first_row_for_all_rows(x, order):
    index = order[:, :, None, None].expand(-1, -1, 1, x.shape[3])
    return x.gather(1, index).expand_as(x)


@wrong_reorder()
def rows_of_the_picture(x, order):
    """gather along the height."""
    return x.gather(2, (order[:, :, None, None] % x.shape[2]).expand_as(x))


@wrong_reorder()
def columns_of_the_picture(x, order):
    return x.gather(3, (order[:, :, None, None] % x.shape[3]).expand_as(x))


@wrong_reorder()
def along_the_batch(x, order):
    return x.gather(0, (order[:, :, None, None] % len(x)).expand_as(x))


@wrong_reorder()
def without_the_images_offset(x, order):
    """Flat indices that always point into the first image."""
    return x.flatten(0, 1)[order.flatten()].reshape(x.shape)


@wrong_reorder()
def with_the_offset_of_another_axis(x, order):
    """b * H where b * N belongs."""
    B, N, H, W = x.shape
    places = (order + H * torch.arange(B)[:, None]) % (B * N)
    return x.flatten(0, 1)[places.flatten()].reshape(x.shape)


@wrong_reorder()
def index_laid_along_the_width(x, order):
    """order as (B, 1, 1, N): runs where N = W."""
    B, N, H, W = x.shape
    index = order[:, None, None, :].expand(B, N, H, -1)[..., :W]
    return x.gather(1, index.expand(B, N, H, index.shape[-1]))


@wrong_reorder()
def orders_joined_by_repeat(x, order):
    """repeat where each index must be repeated, interleaved: (B, N*H*W) folded back in another order."""
    B, N, H, W = x.shape
    return x.gather(1, order.repeat(1, H * W).reshape(B, N, H, W))


@wrong_reorder("view|reshape|pixel")
def view_after_the_transposition(x, order):
    """Channels last for the indexing, then reshaped back without turning them."""
    rows = x.flatten(2).transpose(1, 2)  # (B, L, N)
    rows = rows.gather(2, order[:, None].expand(-1, rows.shape[1], -1))
    return rows.reshape(x.shape)


@wrong_reorder("unchanged|as it|order|effect")
def nothing_moved(x, order):
    return x.clone()


@wrong_reorder()
def moved_twice(x, order):
    return reordered(reordered(x, order), order)


@wrong_reorder()
def reversed_order(x, order):
    return reordered(x, order.flip(1))


@wrong_reorder()
def rolled(x, order):
    return torch.stack([image.roll(-int(row[0]), dims=0) for image, row in zip(x, order, strict=True)])


@wrong_reorder()
def order_as_a_weight(x, order):
    return x * order[:, :, None, None]


@wrong_reorder()
def sorted_pixel_by_pixel(x, order):
    """Every pixel by its own values; the order is not looked at."""
    return x.sort(dim=1, descending=True).values


@wrong_reorder()
def added_to_the_original(x, order):
    return x + reordered(x, order)


@wrong_reorder("shape|each|all|image")
def first_image_only(x, order):
    return reordered(x[:1], order[:1])


@wrong_reorder("shape|return|all|image")
def last_image_of_the_loop(x, order):
    for b in range(len(x)):
        out = x[b, order[b]]
    return out


@wrong_reorder("list|tensor")
def list_of_images(x, order):
    return [image[row] for image, row in zip(x, order, strict=True)]


@wrong_reorder("in.place")
def in_place(x, order):
    """Overwrites the features that the block still needs."""
    for b in range(len(x)):
        x[b] = x[b, order[b]]
    return x


@wrong_reorder("in.place")
def in_place_unseen_by_autograd(x, order):
    x.data.copy_(reordered(x.data, order))
    return x


@wrong_reorder("in.place")
def order_overwritten(x, order):
    out = reordered(x, order)
    order.zero_()
    return out


@wrong_reorder("gradient|training")
def detached(x, order):
    return reordered(x.detach(), order)


@wrong_reorder("gradient|training")
def under_no_grad(x, order):
    with torch.no_grad():
        return reordered(x, order)


@wrong_reorder("gradient|training")
def through_a_list(x, order):
    return torch.tensor([[x[b, n].tolist() for n in row] for b, row in enumerate(order.tolist())])


@wrong_reorder("gradient|training")
def first_half_learns(x, order):
    """The moved channels of the second half as data."""
    y, N = reordered(x, order), x.shape[1]
    return torch.cat([y[:, : N // 2], y[:, N // 2 :].detach()], dim=1)


@wrong_reorder()
def half_precision(x, order):
    return reordered(x.bfloat16(), order).to(x.dtype)


@wrong_reorder("float64|double|dtype")
def double_precision(x, order):
    return reordered(x.double(), order)


@wrong_reorder()
def square_pictures_only(x, order):
    B, N, H, _ = x.shape
    return x.reshape(B, N, H, H).gather(1, order[:, :, None, None].expand(B, N, H, H))


@wrong_reorder()
def four_images_written_down(x, order):
    return torch.stack([x[b][order[b]] for b in range(4)])


@wrong_reorder()
def one_place_too_far(x, order):
    """Counts the channels from one."""
    return reordered(x, (order + 1) % x.shape[1])


# ---- the pair ----


def nothing(x, order): ...


ANSWERS.wrong += [
    ("ranks_and_their_inverse", (ranks, lambda x, order: reordered(x, order.argsort(dim=1))), "rank|argsort"),
    ("both_inverse", (ranks, scattered), ""),  # together they do the right thing, neither does alone
    ("rising_and_reversed", (rising, reversed_order), ""),
    ("the_other_way_round", (reordered, order_of), "order|swap|first|other way"),
    ("second_one_missing", (order_of, nothing), "reorder|return|nothing"),
    ("only_one_function", order_of, "reorder|pair|two|both|all"),
]
