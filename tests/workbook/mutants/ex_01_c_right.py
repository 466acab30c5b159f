"""Answers to 01-c, patches and back: right ones, each written differently."""

import torch
import torch.nn.functional as F

from .ex_01_c import ANSWERS, patchify, unpatchify


def right(name, pair):
    ANSWERS.right.append((name, pair))


def cut_by_unfold(x, patch):
    return F.unfold(x, kernel_size=patch, stride=patch).transpose(1, 2)


def join_by_fold(tokens, patch, height, width):
    return F.fold(tokens.transpose(1, 2), (height, width), kernel_size=patch, stride=patch)


def cut_by_windows(x, p):
    return x.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)


def join_by_stacking_rows(tokens, p, height, width):
    patches = tokens.unflatten(2, (-1, p, p))
    strips = [torch.cat(list(strip.unbind(1)), dim=-1) for strip in patches.split(width // p, dim=1)]
    return torch.cat(strips, dim=-2)


def cut_by_slices(x, p):
    H, W = x.shape[2:]
    return torch.stack([x[:, :, y : y + p, k : k + p].flatten(1) for y in range(0, H, p) for k in range(0, W, p)], dim=1)


def join_by_slices(tokens, p, height, width):
    out = tokens.new_empty(tokens.shape[0], tokens.shape[2] // (p * p), height, width)
    index = 0
    for y in range(0, height, p):
        for x in range(0, width, p):
            out[:, :, y : y + p, x : x + p] = tokens[:, index].reshape(out.shape[0], out.shape[1], p, p)
            index += 1
    return out


def cut_by_pixel_unshuffle(x, r):
    return F.pixel_unshuffle(x, r).flatten(2).mT


def join_by_pixel_shuffle(tokens, r, height, width):
    return F.pixel_shuffle(tokens.mT.unflatten(2, (height // r, width // r)), r)


def cut_by_convolution(x, p):
    channels = x.shape[1]
    kernels = torch.eye(channels * p * p).to(x).reshape(-1, channels, p, p)
    return F.conv2d(x, kernels, stride=p).flatten(2).transpose(1, 2)


def join_by_convolution(tokens, p, height, width):
    values = tokens.shape[2]
    kernels = torch.eye(values).to(tokens).reshape(values, -1, p, p)
    grid = tokens.transpose(1, 2).reshape(-1, values, height // p, width // p)
    return F.conv_transpose2d(grid, kernels, stride=p)


def cut_by_indices(x, p):
    B, C, H, W = x.shape
    places = torch.arange(C * H * W).reshape(1, C, H, W).double()
    order = patchify(places, p)[0].long()  # where each value of each token comes from
    return x.reshape(B, -1)[:, order]


def join_by_indices(tokens, p, height, width):
    values = tokens.shape[1] * tokens.shape[2]
    places = unpatchify(torch.arange(values).reshape(1, *tokens.shape[1:]), p, height, width)[0]
    return tokens.flatten(1)[:, places.flatten()].view(-1, *places.shape)


def cut_in_two_steps(images, size):
    batch, channels, _, width = images.shape
    strips = images.view(batch, channels, -1, size, width)
    patches = strips.view(*strips.shape[:-1], width // size, size)
    return torch.einsum("bcyixj->byxcij", patches).reshape(batch, -1, channels * size * size)


def join_in_two_steps(tokens, size, height, width):
    grid = tokens.view(len(tokens), height // size, width // size, -1, size, size)
    return torch.movedim(grid, (3, 1, 4, 2, 5), (1, 2, 3, 4, 5)).flatten(4, 5).flatten(2, 3)


right("einops", (patchify, unpatchify))
right("unfold_and_fold", (cut_by_unfold, join_by_fold))
right("windows_and_strips", (cut_by_windows, join_by_stacking_rows))
right("slices", (cut_by_slices, join_by_slices))
right("pixel_shuffle", (cut_by_pixel_unshuffle, join_by_pixel_shuffle))
right("convolutions", (cut_by_convolution, join_by_convolution))
right("indices", (cut_by_indices, join_by_indices))
right("two_steps", [cut_in_two_steps, join_in_two_steps])
