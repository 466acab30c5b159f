"""Answers to 03-b, the mixed prompt: right ones, each written differently."""

import torch
import torch.nn.functional as F
from torch import nn

from .ex_03_b import ANSWERS

alternative = ANSWERS.alternative


@alternative
def by_einsum(weights, components, size):
    return F.interpolate(torch.einsum("bn,npij->bpij", weights, components), size=size, mode="bilinear")


@alternative
def by_broadcasting(weights, components, size):
    mixed = (weights[:, :, None, None, None] * components[None]).sum(1)
    return F.interpolate(mixed, tuple(size), mode="bilinear", align_corners=False)


@alternative
def one_component_after_the_other(weights, components, size):
    total = torch.zeros(()).to(components)
    for weight, component in zip(weights.unbind(1), components, strict=True):
        total = total + weight.reshape(-1, 1, 1, 1) * component
    return nn.Upsample(size=tuple(size), mode="bilinear", align_corners=False)(total)


@alternative
def components_resized_first(weights, components, size):
    """Resizing is linear: it may come before the sum."""
    resized = F.interpolate(components, tuple(size), mode="bilinear", align_corners=False)
    return torch.tensordot(weights, resized, dims=1)


@alternative
def by_a_matrix_product(weights, components, size):
    mixed = (weights @ components.flatten(1)).unflatten(1, components.shape[1:])
    if tuple(size) == tuple(mixed.shape[2:]):
        return mixed
    return F.interpolate(mixed, (size[0], size[1]), mode="bilinear", align_corners=False)


def resizing_matrix(old, new):
    """(new, old): two neighbours a row, half a pixel taken into account, clamped at the border."""
    places = ((torch.arange(new, dtype=torch.float64) + 0.5) * old / new - 0.5).clamp(0, old - 1)
    low = places.floor().long().clamp(max=max(old - 2, 0))
    part = places - low
    matrix = torch.zeros(new, old, dtype=torch.float64)
    rows = torch.arange(new)
    matrix[rows, low] += 1 - part
    matrix[rows, (low + 1).clamp(max=old - 1)] += part
    return matrix


@alternative
def resized_by_hand_in_double_precision(weights, components, size):
    rows, columns = (resizing_matrix(components.shape[-1], side) for side in size)
    mixed = torch.einsum("bn,npij->bpij", weights.double(), components.double())
    return (rows @ mixed @ columns.T).to(components.dtype)


@alternative
def by_a_grouped_convolution(weights, components, size):
    """A 1x1 convolution over the components, the pixels in a row."""
    N, P, S, _ = components.shape
    mixed = F.conv1d(components.reshape(1, N, -1), weights[:, :, None])
    return F.interpolate(mixed.reshape(-1, P, S, S), list(size), mode="bilinear", align_corners=False)
