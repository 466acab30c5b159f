"""Answers to 02-d, pixel unshuffle and pixel shuffle: pairs of functions."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange

from . import Answers

ANSWERS = Answers("02-d")


def unshuffle(x, r):
    """A right one, for pairs in which the other is wrong."""
    return rearrange(x, "b c (h i) (w j) -> b (c i j) h w", i=r, j=r)


def shuffle(x, r):
    return rearrange(x, "b (c i j) h w -> b c (h i) (w j)", i=r, j=r)


def wrong(name, pair, words=""):
    ANSWERS.wrong.append((name, pair, words))


def right(name, pair):
    ANSWERS.right.append((name, pair))


def unshuffle_factor_first(x, r):
    return rearrange(x, "b c (h i) (w j) -> b (i j c) h w", i=r, j=r)


def shuffle_factor_first(x, r):
    return rearrange(x, "b (i j c) h w -> b c (h i) (w j)", i=r, j=r)


def unshuffle_columns_first(x, r):
    b, c, h, w = x.shape
    return x.reshape(b, c, h // r, r, w // r, r).permute(0, 1, 5, 3, 2, 4).reshape(b, c * r * r, h // r, w // r)


def shuffle_columns_first(x, r):
    b, c, h, w = x.shape
    return x.reshape(b, c // r**2, r, r, h, w).permute(0, 1, 4, 3, 5, 2).reshape(b, c // r**2, h * r, w * r)


def unshuffle_offsets_outside(x, r):
    """Blocks of the picture instead of every r-th pixel."""
    return rearrange(x, "b c (i h) (j w) -> b (c i j) h w", i=r, j=r)


def shuffle_offsets_outside(x, r):
    return rearrange(x, "b (c i j) h w -> b c (i h) (j w)", i=r, j=r)


def unshuffle_view_only(x, r):
    b, c, h, w = x.shape
    return x.reshape(b, c * r * r, h // r, w // r)


def shuffle_view_only(x, r):
    b, c, h, w = x.shape
    return x.reshape(b, c // (r * r), h * r, w * r)


def unshuffle_by_two(x, factor):
    x = torch.stack([x[..., 0::2, 0::2], x[..., 0::2, 1::2], x[..., 1::2, 0::2], x[..., 1::2, 1::2]], dim=2)
    return x.flatten(1, 2)


def shuffle_by_two(x, factor):
    b, c, h, w = x.shape
    y = x.reshape(b, c // 4, 2, 2, h, w)
    out = x.new_zeros(b, c // 4, 2 * h, 2 * w)
    for i in range(2):
        for j in range(2):
            out[..., i::2, j::2] = y[:, :, i, j]
    return out


def unshuffle_by_slices_joined(x, r):
    """Right for one channel."""
    return torch.cat([x[:, :, i::r, j::r] for i in range(r) for j in range(r)], dim=1)


def unshuffle_square_only(x, r):
    b, c, h, _ = x.shape
    x = x.reshape(b, c, h // r, r, h // r, r).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(b, c * r * r, h // r, h // r)


def shuffle_square_only(x, r):
    b, c, h, _ = x.shape
    x = x.reshape(b, c // r**2, r, r, h, h).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(b, c // r**2, h * r, h * r)


def unshuffle_one_image(x, r):
    _, c, h, w = x.shape
    return x[0].reshape(1, c, h // r, r, w // r, r).permute(0, 1, 3, 5, 2, 4).reshape(1, c * r * r, h // r, w // r)


def shuffle_one_image(x, r):
    return F.pixel_shuffle(x[:1], r)


def unshuffle_powers_of_two(x, r):
    for _ in range(int(math.log2(r))):
        x = F.pixel_unshuffle(x, 2)
    return x


def shuffle_powers_of_two(x, r):
    for _ in range(int(math.log2(r))):
        x = F.pixel_shuffle(x, 2)
    return x


def unshuffle_even_sizes(x, r):
    """Trims the picture to an even size first."""
    h, w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    return F.pixel_unshuffle(x[..., :h, :w], r)


def unshuffle_in_half(x, r):
    return unshuffle(x.half(), r).float()


def shuffle_in_half(x, r):
    return shuffle(x.half(), r).float()


def unshuffle_numpy(x, r):
    return torch.from_numpy(rearrange(x.numpy(), "b c (h i) (w j) -> b (c i j) h w", i=r, j=r))


def shuffle_numpy(x, r):
    return torch.from_numpy(rearrange(x.numpy(), "b (c i j) h w -> b c (h i) (w j)", i=r, j=r))


def unshuffle_detached(x, r):
    return torch.tensor(unshuffle(x, r).tolist())


def shuffle_detached(x, r):
    return shuffle(x.detach(), r)


def unshuffle_clamping(x, r):
    return unshuffle(x.clamp_(0, 1), r)


def unshuffle_changing_shape(x, r):
    b, c, h, w = x.shape
    x.resize_(b, c, h // r, r, w // r, r)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(b, c * r * r, h // r, w // r)


def unshuffle_strided(x, r):
    return x[..., ::r, ::r].repeat_interleave(r * r, dim=1)


def unshuffle_pooled(x, r):
    return F.avg_pool2d(x, r).repeat_interleave(r * r, dim=1)


def shuffle_interpolated(x, r):
    return F.interpolate(x[:, :: r * r], scale_factor=r)


def shuffle_by_r_channels(x, r):
    b, c, h, w = x.shape
    return x.reshape(b, c // r, r, h, w).permute(0, 1, 3, 2, 4).reshape(b, c // r, h * r, w)


def shuffle_random(x, r):
    b, c, h, w = x.shape
    return x.flatten()[torch.randperm(x.numel())].reshape(b, c // r**2, h * r, w * r)


def nothing(x, r): ...


wrong("channels_inside", (unshuffle_factor_first, shuffle_factor_first), "channel|order|offset")
wrong("channels_inside_shuffle", (unshuffle, shuffle_factor_first), "channel|order|offset")
wrong("columns_first", (unshuffle_columns_first, shuffle_columns_first), "row|column|transpos")
wrong("columns_first_shuffle", (unshuffle, shuffle_columns_first), "row|column|transpos")
wrong("blocks_of_the_picture", (unshuffle_offsets_outside, shuffle_offsets_outside), "neighbour|split|block|tile")
wrong("view_only", (unshuffle_view_only, shuffle_view_only), "reshape|permute|view")
wrong("view_only_shuffle", (unshuffle, shuffle_view_only), "reshape|permute|view")
wrong("factor_two_only", (unshuffle_by_two, shuffle_by_two), "factor|shape")
wrong("slices_joined", (unshuffle_by_slices_joined, shuffle), "channel|order|offset")
wrong("square_only", (unshuffle_square_only, shuffle_square_only))
wrong("one_image_only", (unshuffle_one_image, shuffle_one_image))
wrong("powers_of_two", (unshuffle_powers_of_two, shuffle_powers_of_two))
wrong("even_sizes_only", (unshuffle_even_sizes, shuffle))
wrong("half_precision", (unshuffle_in_half, shuffle_in_half))
wrong("through_numpy", (unshuffle_numpy, shuffle_numpy), "numpy|gradient")
wrong("detached", (unshuffle_detached, shuffle_detached), "gradient")
wrong("clamped_in_place", (unshuffle_clamping, shuffle), "in.place")
wrong("resized_in_place", (unshuffle_changing_shape, shuffle), "in.place|resize")
wrong("strided", (unshuffle_strided, shuffle))
wrong("pooled", (unshuffle_pooled, shuffle))
wrong("interpolated", (unshuffle, shuffle_interpolated))
wrong("too_few_channels_joined", (unshuffle, shuffle_by_r_channels), "shape")
wrong("random_order", (unshuffle, shuffle_random))
wrong("the_other_way_round", (shuffle, unshuffle), "order|swap|first|pixel_unshuffle|other way")
wrong("second_one_missing", (unshuffle, nothing), "pixel_shuffle|return|nothing")
wrong("only_one_function", unshuffle, "pixel_shuffle|pair|two|both")


def unshuffle_by_slices(x, r):
    return torch.stack([x[:, :, i::r, j::r] for i in range(r) for j in range(r)], dim=2).flatten(1, 2)


def shuffle_by_slices(x, r):
    b, c, h, w = x.shape
    out = x.new_empty(b, c // (r * r), h * r, w * r)
    for i in range(r):
        for j in range(r):
            out[:, :, i::r, j::r] = x[:, i * r + j :: r * r]
    return out


def unshuffle_by_unfold(x, r):
    b, c, h, w = x.shape
    return F.unfold(x, kernel_size=r, stride=r).view(b, c * r**2, h // r, w // r)


def shuffle_by_fold(x, r):
    return F.fold(x.flatten(2), (x.shape[2] * r, x.shape[3] * r), kernel_size=r, stride=r)


def unshuffle_by_convolution(x, r):
    kernel = torch.eye(r * r).view(r * r, 1, r, r).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(x, kernel, stride=r, groups=x.shape[1])


def shuffle_by_convolution(x, r):
    c = x.shape[1] // (r * r)
    return F.conv_transpose2d(x, torch.eye(r * r).view(r * r, 1, r, r).repeat(c, 1, 1, 1), stride=r, groups=c)


def unshuffle_in_two_steps(x, r):
    x = x.unflatten(3, (-1, r)).movedim(4, 2)  # b c j h w'
    return x.unflatten(3, (-1, r)).movedim(4, 2).flatten(1, 3)


def shuffle_in_two_steps(x, r):
    x = x.unflatten(1, (-1, r, r))  # b c i j h w
    x = x.movedim(3, -1).flatten(-2)  # b c i h (w j)
    return x.transpose(2, 3).flatten(2, 3)


right("by_einops", (unshuffle, shuffle))
right("by_slices", (unshuffle_by_slices, shuffle_by_slices))
right("by_unfold", (unshuffle_by_unfold, shuffle_by_fold))
right("by_convolution", [unshuffle_by_convolution, shuffle_by_convolution])
right("in_two_steps", (unshuffle_in_two_steps, shuffle_in_two_steps))
right("of_torch", (F.pixel_unshuffle, F.pixel_shuffle))
