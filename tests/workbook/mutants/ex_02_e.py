"""Answers to 02-e, what attention costs: a dict of four integers."""

import torch

from . import Answers

ANSWERS = Answers("02-e")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative
KEYS = ("token_multiplications", "token_map", "channel_multiplications", "channel_map")


def right_numbers(height, width, channels, heads):
    L, d = height * width, channels // heads
    return dict(zip(KEYS, (2 * L * L * channels, heads * L * L, 2 * L * d * channels, heads * d * d), strict=True))


@mutant("integer|int|float")
def floats(height, width, channels, heads):
    L, d = height * width, channels / heads
    return {
        "token_multiplications": 2 * heads * L**2 * d,
        "token_map": heads * L**2,
        "channel_multiplications": 2 * heads * d**2 * L,
        "channel_map": heads * d**2,
    }


@mutant("integer|int|float")
def floats_by_true_division(height, width, channels, heads):
    return {name: value / 1 for name, value in right_numbers(height, width, channels, heads).items()}


@mutant("two products|both|mixing|values")
def scores_only(height, width, channels, heads):
    L, d = height * width, channels // heads
    return {
        "token_multiplications": heads * L * L * d,
        "token_map": heads * L * L,
        "channel_multiplications": heads * d * d * L,
        "channel_map": heads * d * d,
    }


@mutant("head")
def one_map_only(height, width, channels, heads):
    numbers = right_numbers(height, width, channels, heads)
    return numbers | {"token_map": (height * width) ** 2, "channel_map": (channels // heads) ** 2}


@mutant("head")
def heads_forgotten(height, width, channels, heads):
    return right_numbers(height, width, channels, 1)


@mutant("head")
def one_head_of_several(height, width, channels, heads):
    numbers = right_numbers(height, width, channels, heads)
    return {name: value // heads for name, value in numbers.items()}


@mutant("head")
def every_head_has_all_channels(height, width, channels, heads):
    L = height * width
    return dict(zip(KEYS, (2 * heads * L * L * channels, heads * L * L, 2 * heads * L * channels**2, heads * channels**2), strict=True))


@mutant()
def square_images_only(height, width, channels, heads):
    return right_numbers(height, height, channels, heads)


@mutant("pixel|height|token")
def one_side_as_tokens(height, width, channels, heads):
    L, d = max(height, width), channels // heads
    return dict(zip(KEYS, (2 * L * L * channels, heads * L * L, 2 * L * d * channels, heads * d * d), strict=True))


@mutant("swap|exchange|other way|mixed up")
def kinds_swapped(height, width, channels, heads):
    n = right_numbers(height, width, channels, heads)
    return {
        "token_multiplications": n["channel_multiplications"],
        "token_map": n["channel_map"],
        "channel_multiplications": n["token_multiplications"],
        "channel_map": n["token_map"],
    }


@mutant("addition|multiplication|twice")
def additions_too(height, width, channels, heads):
    n = right_numbers(height, width, channels, heads)
    return n | {name: 2 * n[name] for name in ("token_multiplications", "channel_multiplications")}


@mutant("projection|two products|only")
def projections_too(height, width, channels, heads):
    n = right_numbers(height, width, channels, heads)
    extra = 4 * channels * channels * height * width
    return n | {name: n[name] + extra for name in ("token_multiplications", "channel_multiplications")}


@mutant()
def off_by_the_diagonal(height, width, channels, heads):
    n = right_numbers(height, width, channels, heads)
    return n | {"token_map": n["token_map"] - height * width}


@mutant()
def forty_eight_channels(height, width, channels, heads):
    return right_numbers(height, width, 48, heads)


@mutant("keys|dict")
def other_names(height, width, channels, heads):
    return {name.replace("multiplications", "mults"): value for name, value in right_numbers(height, width, channels, heads).items()}


@mutant("keys|dict")
def half_of_it(height, width, channels, heads):
    n = right_numbers(height, width, channels, heads)
    return {name: n[name] for name in KEYS[:2]}


@mutant("dict")
def a_tuple(height, width, channels, heads):
    return tuple(right_numbers(height, width, channels, heads).values())


@mutant("integer|int|tensor")
def tensors(height, width, channels, heads):
    return {name: torch.tensor(value) for name, value in right_numbers(height, width, channels, heads).items()}


@mutant("integer|int|text|str")
def texts(height, width, channels, heads):
    return {name: str(value) for name, value in right_numbers(height, width, channels, heads).items()}


@alternative
def by_loop_over_heads(height, width, channels, heads):
    total = dict.fromkeys(KEYS, 0)
    pixels, per_head = height * width, channels // heads
    for _ in range(heads):
        total["token_map"] += pixels * pixels
        total["channel_map"] += per_head * per_head
        for product in ((pixels, per_head, pixels), (pixels, pixels, per_head)):
            total["token_multiplications"] += product[0] * product[1] * product[2]
        for product in ((per_head, pixels, per_head), (per_head, per_head, pixels)):
            total["channel_multiplications"] += product[0] * product[1] * product[2]
    return total


@alternative
def closed_form(h, w, c, n):
    L = h * w
    return {
        "channel_map": c**2 // n,
        "channel_multiplications": 2 * c**2 // n * L,
        "token_map": n * L**2,
        "token_multiplications": 2 * c * L**2,
    }


@alternative
def rounded_at_the_end(height, width, channels, heads):
    L, d = height * width, channels / heads
    return {
        "token_multiplications": int(2 * heads * L**2 * d),
        "token_map": int(heads * L**2),
        "channel_multiplications": int(2 * heads * d**2 * L),
        "channel_map": int(heads * d**2),
    }


@alternative
def from_shapes(height, width, channels, heads):
    q = torch.empty(heads, height * width, channels // heads, device="meta")
    token, channel = q @ q.mT, q.mT @ q
    return {
        "token_map": token.numel(),
        "channel_map": channel.numel(),
        "token_multiplications": 2 * token.numel() * q.shape[2],
        "channel_multiplications": 2 * channel.numel() * q.shape[1],
    }
