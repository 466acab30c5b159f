"""Answers to 01-c, patches and back: pairs of functions. The right ones stand in `ex_01_c_right.py`."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange

from . import Answers

ANSWERS = Answers("01-c")


def patchify(x, p):
    """A right one, for pairs in which the other is wrong."""
    return rearrange(x, "b c (y i) (x j) -> b (y x) (c i j)", i=p, j=p)


def unpatchify(tokens, p, height, width):
    return rearrange(tokens, "b (y x) (c i j) -> b c (y i) (x j)", y=height // p, x=width // p, i=p, j=p)


def wrong(name, pair, words=""):
    ANSWERS.wrong.append((name, pair, words))


def both_ways(order):
    """The pair that follows an einops pattern for the tokens, consistently: the round trip is right."""

    def cut(x, p):
        return rearrange(x, f"b c (y i) (x j) -> b {order}", i=p, j=p)

    def join(tokens, p, height, width):
        return rearrange(tokens, f"b {order} -> b c (y i) (x j)", y=height // p, x=width // p, i=p, j=p)

    return cut, join


def cut_of_neighbours_far_apart(x, p):
    """Every (H/p)-th pixel instead of a block."""
    return rearrange(x, "b c (i y) (j x) -> b (y x) (c i j)", i=p, j=p)


def join_of_neighbours_far_apart(tokens, p, height, width):
    return rearrange(tokens, "b (y x) (c i j) -> b c (i y) (j x)", y=height // p, x=width // p, i=p, j=p)


def cut_by_reshape_only(x, p):
    b, c, h, w = x.shape
    return x.reshape(b, (h // p) * (w // p), c * p * p)


def join_by_reshape_only(tokens, p, height, width):
    return tokens.reshape(tokens.shape[0], -1, height, width)


def cut_six_axes_without_permute(x, p):
    b, c, h, w = x.shape
    return x.reshape(b, c, h // p, p, w // p, p).reshape(b, (h // p) * (w // p), c * p * p)


def cut_unfolded_without_permute(x, p):
    b, c, h, w = x.shape
    return x.unfold(2, p, p).unfold(3, p, p).reshape(b, (h // p) * (w // p), c * p * p)


def cut_rows_and_counts_swapped(x, p):
    b, c, h, w = x.shape
    x = x.reshape(b, c, p, h // p, p, w // p).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(b, (h // p) * (w // p), c * p * p)


def join_without_permute(tokens, p, height, width):
    b, _, values = tokens.shape
    return tokens.reshape(b, height // p, width // p, values // p**2, p, p).reshape(b, -1, height, width)


def join_permuted_like_the_cut(tokens, p, height, width):
    b, _, values = tokens.shape
    x = tokens.reshape(b, values // p**2, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(b, values // p**2, height, width)


def join_channels_never_moved(tokens, p, height, width):
    b, _, values = tokens.shape
    x = tokens.reshape(b, height // p, width // p, values // p**2, p, p).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(b, values // p**2, height, width)


def join_width_before_height(tokens, p, height, width):
    b, _, values = tokens.shape
    x = tokens.reshape(b, width // p, height // p, values // p**2, p, p).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(b, values // p**2, height, width)


def join_width_before_height_everywhere(tokens, p, height, width):
    return unpatchify(tokens, p, width, height)


def join_sides_counted_in_patches(tokens, p, height, width):
    return rearrange(tokens, "b (y x) (c i j) -> b c (y i) (x j)", y=height, x=width, i=p, j=p)


def cut_square_only(x, p):
    b, c, h, _ = x.shape
    n = h // p
    return x.reshape(b, c, n, p, n, p).permute(0, 2, 4, 1, 3, 5).reshape(b, n * n, c * p * p)


def join_square_only(tokens, p, height, width):
    side = math.isqrt(tokens.shape[1])
    return rearrange(tokens, "b (y x) (c i j) -> b c (y i) (x j)", y=side, x=side, i=p, j=p)


def cut_colour_only(x, p):
    b, _, h, w = x.shape
    x = x.reshape(b, 3, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(b, (h // p) * (w // p), 3 * p * p)


def join_colour_only(tokens, p, height, width):
    return rearrange(tokens, "b (y x) (c i j) -> b c (y i) (x j)", y=height // p, x=width // p, c=3, i=p, j=p)


def cut_one_image(x, p):
    return patchify(x[:1], p)


def cut_batch_joined(x, p):
    b, c, h, w = x.shape
    return x.unfold(2, p, p).unfold(3, p, p).permute(2, 3, 0, 1, 4, 5).reshape(b, (h // p) * (w // p), c * p * p)


def join_one_image(tokens, p, height, width):
    return unpatchify(tokens[0][None], p, height, width)


def cut_always_by_four(x, patch):
    return patchify(x, 4)


def join_always_by_four(tokens, patch, height, width):
    return unpatchify(tokens, 4, height, width)


def cut_flat(x, p):
    return patchify(x, p).flatten(1)


def cut_as_a_grid(x, p):
    return rearrange(x, "b c (y i) (x j) -> b y x (c i j)", i=p, j=p)


def cut_values_before_tokens(x, p):
    return F.unfold(x, p, stride=p)


def cut_values_before_tokens_reshaped(x, p):
    columns = F.unfold(x, p, stride=p)
    return columns.reshape(columns.shape[0], columns.shape[2], columns.shape[1])


def cut_overlapping(x, p):
    return F.unfold(x, p).transpose(1, 2)


def cut_pixel_unshuffled_without_flatten(x, p):
    return F.pixel_unshuffle(x, p).flatten(2).reshape(x.shape[0], -1, x.shape[1] * p * p)


def join_folded_without_transpose(tokens, p, height, width):
    return F.fold(tokens.reshape(tokens.shape[0], tokens.shape[2], -1), (height, width), p, stride=p)


def cut_counted_by_the_height(x, p):
    """Token y * (H/p) + x: right for square pictures."""
    b, c, h, w = x.shape
    out = x.new_zeros(b, (h // p) * (w // p), c * p * p)
    for y in range(h // p):
        for k in range(w // p):
            out[:, (y * (h // p) + k) % out.shape[1]] = x[:, :, y * p : (y + 1) * p, k * p : (k + 1) * p].flatten(1)
    return out


def cut_centred(x, p):
    return patchify(x - 0.5, p)


def cut_each_patch_normalised(x, p):
    tokens = patchify(x, p)
    return (tokens - tokens.mean(-1, keepdim=True)) / (tokens.std(-1, keepdim=True) + 1e-6)


def cut_means_only(x, p):
    return F.avg_pool2d(x, p).flatten(2).transpose(1, 2)


def cut_detached(x, p):
    return patchify(x.detach(), p)


def join_detached(tokens, p, height, width):
    return unpatchify(tokens.data, p, height, width)


def cut_copied(x, p):
    return torch.tensor(patchify(x, p).tolist())


def join_copied_into_zeros(tokens, p, height, width):
    out = torch.zeros(tokens.shape[0], tokens.shape[2] // p**2, height, width)
    with torch.no_grad():
        out.copy_(unpatchify(tokens, p, height, width))
    return out


def cut_numpy(x, p):
    return torch.from_numpy(patchify(x.numpy(), p))


def join_numpy(tokens, p, height, width):
    return torch.from_numpy(unpatchify(tokens.numpy(), p, height, width))


def cut_in_half(x, p):
    return patchify(x.half(), p).float()


def join_in_half(tokens, p, height, width):
    return unpatchify(tokens.half(), p, height, width).float()


def cut_in_double(x, p):
    """The linear layer behind it is float32 and stops at such tokens."""
    return patchify(x.double(), p)


def join_in_double(tokens, p, height, width):
    return unpatchify(tokens.double(), p, height, width)


def cut_to_bytes(x, p):
    return patchify((x * 255).round() / 255, p)


def join_clipped(tokens, p, height, width):
    return unpatchify(tokens, p, height, width).clamp(0, 1)


def cut_in_place(x, p):
    x.data.copy_(patchify(x, p).reshape(x.shape))
    return x.reshape(x.shape[0], -1, x.shape[1] * p * p)


def cut_to_a_list(x, p):
    return list(patchify(x, p).unbind(1))


wrong("channel_last_in_a_token", both_ways("(y x) (i j c)"), "channel")
wrong("columns_first_in_a_token", both_ways("(y x) (c j i)"), "column|row")
wrong("rows_before_channels_in_a_token", both_ways("(y x) (i c j)"))
wrong("tokens_column_by_column", both_ways("(x y) (c i j)"), "row|column")
wrong("everything_by_columns", both_ways("(x y) (c j i)"), "row|column")
wrong("channels_counted_as_tokens", both_ways("(c y x) (i j)"), "shape|channel")
wrong("pixels_far_apart", (cut_of_neighbours_far_apart, join_of_neighbours_far_apart))
wrong("reshape_only", (cut_by_reshape_only, join_by_reshape_only), "permute|reshape")
wrong("patchify_channel_last", (both_ways("(y x) (i j c)")[0], unpatchify), "channel")
wrong("unpatchify_channel_last", (patchify, both_ways("(y x) (i j c)")[1]), "channel")
wrong("patchify_columns_first", (both_ways("(y x) (c j i)")[0], unpatchify), "column|row")
wrong("unpatchify_columns_first", (patchify, both_ways("(y x) (c j i)")[1]), "column|row")
wrong("patchify_tokens_by_columns", (both_ways("(x y) (c i j)")[0], unpatchify), "row|column")
wrong("unpatchify_tokens_by_columns", (patchify, both_ways("(x y) (c i j)")[1]), "row|column")
wrong("six_axes_without_permute", (cut_six_axes_without_permute, unpatchify), "permute|reshape")
wrong("unfolded_without_permute", (cut_unfolded_without_permute, unpatchify), "channel|bring")
wrong("lengths_in_the_wrong_order", (cut_rows_and_counts_swapped, unpatchify))
wrong("back_without_permute", (patchify, join_without_permute), "permute|reshape")
wrong("back_with_the_permute_of_the_cut", (patchify, join_permuted_like_the_cut))
wrong("back_with_the_channels_left_behind", (patchify, join_channels_never_moved))
wrong("back_with_width_before_height", (patchify, join_width_before_height))
wrong("back_to_a_turned_picture", (patchify, join_width_before_height_everywhere), "shape")
wrong("back_with_sides_in_patches", (patchify, join_sides_counted_in_patches))
wrong("square_pictures_only", (cut_square_only, join_square_only))
wrong("back_to_squares_only", (patchify, join_square_only))
wrong("cut_for_colour_only", (cut_colour_only, unpatchify))
wrong("back_for_colour_only", (patchify, join_colour_only))
wrong("one_image", (cut_one_image, join_one_image), "shape")
wrong("images_mixed", (cut_batch_joined, unpatchify))
wrong("patches_of_four", (cut_always_by_four, join_always_by_four))
wrong("one_long_vector", (cut_flat, unpatchify), "shape")
wrong("a_grid_of_tokens", (cut_as_a_grid, unpatchify), "shape")
wrong("values_before_tokens", (cut_values_before_tokens, unpatchify), "shape|transpose")
wrong("values_before_tokens_reshaped", (cut_values_before_tokens_reshaped, unpatchify))
wrong("overlapping_patches", (cut_overlapping, unpatchify), "shape")
wrong("pixel_unshuffle_reshaped", (cut_pixel_unshuffled_without_flatten, unpatchify))
wrong("fold_without_transpose", (patchify, join_folded_without_transpose))
wrong("counted_by_the_height", (cut_counted_by_the_height, unpatchify))
wrong("centred", (cut_centred, unpatchify))
wrong("patches_normalised", (cut_each_patch_normalised, unpatchify))
wrong("means_only", (cut_means_only, unpatchify), "shape")
wrong("cut_detached", (cut_detached, unpatchify), "gradient")
wrong("back_detached", (patchify, join_detached), "gradient")
wrong("cut_copied_number_by_number", (cut_copied, unpatchify), "gradient")
wrong("back_copied_under_no_grad", (patchify, join_copied_into_zeros), "gradient")
wrong("cut_in_numpy", (cut_numpy, unpatchify), "numpy|gradient")
wrong("back_in_numpy", (patchify, join_numpy), "numpy|gradient")
wrong("cut_in_half_precision", (cut_in_half, unpatchify))
wrong("back_in_half_precision", (patchify, join_in_half))
wrong("cut_in_double_precision", (cut_in_double, unpatchify), "float64|dtype|double")
wrong("back_in_double_precision", (patchify, join_in_double), "float64|dtype|double")
wrong("cut_rounded_to_bytes", (cut_to_bytes, unpatchify))
wrong("back_clipped", (patchify, join_clipped))
wrong("cut_into_the_argument", (cut_in_place, unpatchify), "in.place")
wrong("a_list_of_tokens", (cut_to_a_list, unpatchify), "list|tensor")
wrong("the_other_order", (unpatchify, patchify))
wrong("only_the_first", patchify, "unpatchify")
wrong("both_cut", (patchify, patchify))
