"""Answers to 03-b, the mixed prompt: weights (B, N), components (N, P, S, S), size (h, w) -> (B, P, h, w)."""

import torch
import torch.nn.functional as F

from . import Answers

ANSWERS = Answers("03-b")
mutant = ANSWERS.mutant


def mix(weights, components):
    """Right: the first half of most answers."""
    return torch.einsum("bn,npij->bpij", weights, components)


def resize(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


@mutant("align_corners|corner")
def corners_aligned(weights, components, size):
    return F.interpolate(mix(weights, components), size, mode="bilinear", align_corners=True)


@mutant("bilinear|nearest")
def nearest(weights, components, size):
    return F.interpolate(mix(weights, components), size)


@mutant("bilinear|bicubic")
def bicubic(weights, components, size):
    return F.interpolate(mix(weights, components), size, mode="bicubic", align_corners=False)


@mutant("bilinear|area|pool")
def by_pooling(weights, components, size):
    return F.adaptive_avg_pool2d(mix(weights, components), size)


@mutant("antialias|smaller|bilinear")
def antialiased(weights, components, size):
    """Differs where the prompt gets smaller."""
    return F.interpolate(mix(weights, components), size, mode="bilinear", align_corners=False, antialias=True)


@mutant("size|shape")
def not_resized(weights, components, size):
    return mix(weights, components)


@mutant("size|shape|crop")
def cropped(weights, components, size):
    return mix(weights, components)[:, :, : size[0], : size[1]]


@mutant()
def tiled(weights, components, size):
    h, w = size
    mixed = mix(weights, components)
    S = mixed.shape[-1]
    return mixed.repeat(1, 1, -(-h // S), -(-w // S))[:, :, :h, :w]


@mutant("size|shape|height|width|\\(h, w\\)")
def size_swapped(weights, components, size):
    return resize(mix(weights, components), (size[1], size[0]))


@mutant("transpos|height|width|rows")
def prompt_transposed(weights, components, size):
    return resize(mix(weights, components).transpose(2, 3), size)


@mutant("size|shape")
def square_results_only(weights, components, size):
    return resize(mix(weights, components), (size[0], size[0]))


@mutant()
def height_alone_looked_at(weights, components, size):
    mixed = mix(weights, components)
    return mixed if size[0] == mixed.shape[2] else resize(mixed, size)


@mutant()
def width_alone_looked_at(weights, components, size):
    mixed = mix(weights, components)
    return mixed if size[1] == mixed.shape[3] else resize(mixed, size)


@mutant()
def only_made_larger(weights, components, size):
    mixed = mix(weights, components)
    if size[0] <= mixed.shape[2] and size[1] <= mixed.shape[3]:
        return mixed[:, :, : size[0], : size[1]]
    return resize(mixed, size)


@mutant()
def by_a_whole_factor(weights, components, size):
    factor = max(size[0] // components.shape[-1], 1)
    return F.interpolate(mix(weights, components), scale_factor=factor, mode="bilinear", align_corners=False)


@mutant()
def by_the_factor_of_the_height(weights, components, size):
    factor = size[0] / components.shape[-1]
    return F.interpolate(mix(weights, components), scale_factor=factor, mode="bilinear", align_corners=False)


@mutant()
def resized_twice(weights, components, size):
    return resize(resize(mix(weights, components), (2 * size[0], 2 * size[1])), size)


@mutant()
def one_side_after_the_other_with_a_stop(weights, components, size):
    """Resizes the rows; the columns by the nearest."""
    mixed = resize(mix(weights, components), (size[0], components.shape[-1]))
    return F.interpolate(mixed, size)


@mutant("sum|mean")
def mean_of_the_components(weights, components, size):
    return resize((weights[:, :, None, None, None] * components).mean(dim=1), size)


@mutant("weight")
def weights_forgotten(weights, components, size):
    return resize(components.sum(dim=0)[None].expand(len(weights), -1, -1, -1), size)


@mutant("weight|largest|sum")
def largest_component_only(weights, components, size):
    best = weights.argmax(dim=1)
    return resize(weights.gather(1, best[:, None])[:, :, None, None] * components[best], size)


@mutant("softmax|weight")
def softmax_again(weights, components, size):
    return resize(mix(weights.softmax(dim=1), components), size)


@mutant()
def weights_made_to_add_up_to_one(weights, components, size):
    return resize(mix(weights / weights.sum(dim=1, keepdim=True), components), size)


@mutant()
def last_weight_is_the_rest(weights, components, size):
    mixed = mix(weights[:, :-1], components[:-1])
    rest = 1 - weights[:, :-1].sum(dim=1)
    return resize(mixed + rest[:, None, None, None] * components[-1], size)


@mutant()
def negative_prompts_cut_off(weights, components, size):
    return resize(F.relu(mix(weights, components)), size)


@mutant()
def values_kept_between_zero_and_one(weights, components, size):
    return resize(mix(weights, components), size).clamp(0, 1)


@mutant("image|batch")
def weights_of_the_first_image(weights, components, size):
    return resize(mix(weights[:1], components), size).expand(len(weights), -1, -1, -1)


@mutant("image|batch")
def mean_weights_of_the_batch(weights, components, size):
    return resize(mix(weights.mean(dim=0, keepdim=True).expand_as(weights), components), size)


@mutant()
def one_image_only(weights, components, size):
    return resize((weights.reshape(-1, 1, 1, 1) * components).sum(dim=0, keepdim=True), size)


@mutant()
def as_many_images_as_components(weights, components, size):
    return resize(torch.einsum("nb,npij->bpij", weights, components), size)


@mutant()
def batch_and_channels_mixed_up(weights, components, size):
    N, P, S, _ = components.shape
    mixed = weights @ components.reshape(N, -1)
    return resize(mixed.reshape(P, len(weights), S, S).transpose(0, 1), size)


@mutant("channel|order|permute|reshape")
def channels_read_as_the_last(weights, components, size):
    N, P, S, _ = components.shape
    mixed = (weights @ components.reshape(N, -1)).reshape(len(weights), S, S, P)
    return resize(mixed.permute(0, 3, 1, 2), size)


@mutant()
def five_components(weights, components, size):
    mixed = sum(weights[:, n, None, None, None] * components[n] for n in range(5))
    return resize(mixed, size)


@mutant()
def first_component_forgotten(weights, components, size):
    return resize(mix(weights[:, 1:], components[1:]), size)


@mutant()
def sides_of_64(weights, components, size):
    mixed = (weights @ components.flatten(1)).reshape(len(weights), -1, 64, 64)
    return resize(mixed, size)


@mutant("in.place")
def components_overwritten(weights, components, size):
    mixed = mix(weights, components)
    components.data.mul_(weights[0][:, None, None, None])
    return resize(mixed, size)


@mutant("in.place")
def weights_overwritten(weights, components, size):
    weights.data = weights.data * 2
    return resize(mix(weights, components), size) / 2


@mutant("gradient")
def weights_detached(weights, components, size):
    return resize(mix(weights.detach(), components), size)


@mutant("gradient")
def components_detached(weights, components, size):
    return resize(mix(weights, components.data), size)


@mutant("float64|dtype|double")
def double_precision(weights, components, size):
    return resize(mix(weights.double(), components.double()), size)


@mutant()
def half_precision(weights, components, size):
    return resize(mix(weights.bfloat16(), components.bfloat16()).float(), size)


@mutant("tuple|list|tensor")
def a_list_of_images(weights, components, size):
    return list(resize(mix(weights, components), size))
