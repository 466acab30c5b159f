"""Exercises of lesson 01, Transformer basics. Here 01-a, 01-c and 01-e; the pieces of a block stand in `lesson_01_blocks.py`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.models.vit import patchify, sinusoidal_positions, unpatchify
from course_lib.workbook.adapters import call_function, call_one_of
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_01_blocks import EXERCISE_B, EXERCISE_D, EXERCISE_F, seeded

# ---- 01-a: a soft average --------------------------------------------------------------------------------------------


def soft_average(distances: Tensor, values: Tensor, temperature: float) -> Tensor:
    """(Q, N), (N, C), a number -> (Q, C): each query's average of the values, weights softmax(-distance / temperature) over the N."""
    return torch.softmax(-distances / temperature, dim=-1) @ values


def _inputs_a(seed: int) -> dict:
    g = seeded(seed, 11)
    near = 3 * torch.rand(4, 7, generator=g)
    values = torch.randn(7, 3, generator=g)
    # exp(-200) is 0 in float32, so a softmax by hand gives 0/0; each query has a distance of its own, so one minimum for all does not help
    far = 200 + 160 * torch.arange(5)[:, None] + 8 * torch.rand(5, 9, generator=g)
    return {
        "near": {"distances": near, "values": values, "temperature": 0.4 + 0.2 * (seed % 3)},
        "everything far away": {"distances": far, "values": torch.randn(9, 2, generator=g), "temperature": 1.5},
    }


def _average_with(weights):
    return lambda distances, values, temperature: weights(distances, temperature) @ values


def _inverse_distance(d, t):
    return (1 / (d + 1e-8)) / (1 / (d + 1e-8)).sum(-1, keepdim=True)


def _over_axis(axis):
    def weights(d, t):
        w = (-d / t).exp()
        return w / (w.sum() if axis is None else w.sum(axis, keepdim=True))

    return weights


EXERCISE_A = Exercise(
    "01-a", "A soft average", ("soft_average",), {"near": 1, "everything far away": 1}, _inputs_a, call_function, soft_average,
    (
        Mistake("no minus", _average_with(lambda d, t: (d / t).softmax(-1)),
                "The farthest get the largest weights: a small distance must give a large weight, so the sign is missing."),
        Mistake("over the queries", _average_with(lambda d, t: (-d / t).softmax(0)),
                "The weights sum to 1 down the columns. Each query (row) shares its weight among the N candidates: dim=-1."),
        Mistake("over the queries by hand", _average_with(_over_axis(0)),
                "The weights sum to 1 down the columns. Each query (row) shares its weight among the N candidates: dim=-1."),
        Mistake("over everything", _average_with(_over_axis(None)),
                "The weights were divided by one sum over all queries. Each row must sum to 1 by itself: dim=-1, keepdim=True."),
        Mistake("one softmax for all", _average_with(lambda d, t: (-d / t).flatten().softmax(0).view(d.shape)),
                "The weights were divided by one sum over all queries. Each row must sum to 1 by itself: dim=-1, keepdim=True."),
        Mistake("not normalised", _average_with(lambda d, t: (-d / t).exp()),
                "The weights do not sum to 1, so this is no average: divide each row by its sum, which is what softmax does."),
        Mistake("temperature multiplied", _average_with(lambda d, t: (-d * t).softmax(-1)),
                "Divide the distances by the temperature: a high temperature makes all weights alike."),
        Mistake("no temperature", _average_with(lambda d, t: (-d).softmax(-1)),
                "The temperature has no effect: divide the distances by it."),
        Mistake("temperature squared", _average_with(lambda d, t: (-d / t**2).softmax(-1)),
                "The temperature is squared. Divide by it once: the distances are squared already."),
        Mistake("temperature late", _average_with(lambda d, t: (-d).softmax(-1) / t),
                "The temperature comes before the softmax; after it, the weights no longer sum to 1."),
        Mistake("twice the temperature", _average_with(lambda d, t: (-d / (2 * t)).softmax(-1)),
                "There is a factor 2 too many: the weights are softmax(-distance / temperature)."),
        Mistake("squared", _average_with(lambda d, t: (-d.square() / t).softmax(-1)),
                "The distances are squared already: use them as they are."),
        Mistake("root", _average_with(lambda d, t: (-d.sqrt() / t).softmax(-1)), "Use the distances as they are, without a root."),
        Mistake("inverse", _average_with(_inverse_distance),
                "The weights are exponential, softmax(-distance / temperature), not 1/distance."),
        Mistake("nearest", lambda d, v, t: v[d.argmin(-1)],
                "Only the nearest candidate was taken. Every candidate counts, by its weight; only that has a gradient."),
        Mistake("plain mean", lambda d, v, t: v.mean(0).expand(len(d), -1), "All candidates got one weight: the distances have no effect."),
        Mistake("weights", lambda d, v, t: (-d / t).softmax(-1), "These are the weights. One product is left: weights @ values."),
        Mistake("sigmoid", _average_with(lambda d, t: torch.sigmoid(-d / t)), "A sigmoid gives weights that do not sum to 1: use softmax."),
    ),
)  # fmt: skip

# ---- 01-c: patches and back ------------------------------------------------------------------------------------------


def _inputs_c(seed: int) -> dict:
    g = seeded(seed, 13)
    p = 3 if seed % 2 == 0 else 2  # 3 shows what holds for powers of two and even sizes only, 2 what holds for 3 only
    channels = 3 + seed % 2  # tokens may hold any number of channels
    return {
        "patchify": {"which": 0, "x": torch.randn(2, 4, 3 * p, 5 * p, generator=g), "patch": p},
        "unpatchify": {"which": 1, "tokens": torch.randn(2, 20, channels * p * p, generator=g), "patch": p,
                       "height": 5 * p, "width": 4 * p},
    }  # fmt: skip


def _pair(cut, join):
    """patchify and unpatchify with another order of the axes; `cut` permutes (b, c, h, i, w, j), `join` gives the axes back."""
    sizes = {"c": 1, "h": 2, "i": 3, "w": 4, "j": 5}

    def wrong_patchify(x, patch):
        B, C, H, W = x.shape
        x = x.reshape(B, C, H // patch, patch, W // patch, patch).permute(0, *(sizes[axis] for axis in cut))
        return x.reshape(B, (H // patch) * (W // patch), C * patch * patch)

    def wrong_unpatchify(tokens, patch, height, width):
        B, _, values = tokens.shape
        lengths = {"c": values // patch**2, "h": height // patch, "i": patch, "w": width // patch, "j": patch}
        x = tokens.reshape(B, *(lengths[axis] for axis in join))
        return x.permute(0, *(1 + join.index(axis) for axis in "chiwj")).reshape(B, -1, height, width)

    return wrong_patchify, wrong_unpatchify


def _cut_by_view(x, patch):
    return x.reshape(x.shape[0], -1, x.shape[1] * patch**2)


def _join_by_view(tokens, patch, height, width):
    return tokens.reshape(tokens.shape[0], -1, height, width)


def _blocks(x, patch):
    B, C, H, W = x.shape
    x = x.reshape(B, C, patch, H // patch, patch, W // patch)  # b c i h j w
    return x.permute(0, 3, 5, 1, 2, 4).reshape(B, -1, C * patch * patch)


def _unblock(tokens, patch, height, width):
    B, _, values = tokens.shape
    x = tokens.reshape(B, height // patch, width // patch, values // patch**2, patch, patch)  # b h w c i j
    return x.permute(0, 3, 4, 1, 5, 2).reshape(B, values // patch**2, height, width)


def _fold(tokens, patch, height, width):
    return F.fold(tokens, (height, width), patch, stride=patch)


EXERCISE_C = Exercise(
    "01-c", "Patches and back", ("patchify", "unpatchify"), {"patchify": 1, "unpatchify": 1}, _inputs_c, call_one_of,
    (patchify, unpatchify),
    (
        Mistake("channel last", _pair("hwijc", "hwijc"),
                "Inside a token the channel comes last; it comes first here: all p*p pixels of channel 0, then those of channel 1."),
        Mistake("column before row", _pair("hwcji", "hwcji"),
                "Inside a patch the order is row by row; yours goes down the columns. Look at the two axes of size p."),
        Mistake("patches by columns", _pair("whcij", "whcij"),
                "The tokens go down the columns of the picture; they are counted row by row, left to right."),
        Mistake("patches and pixels by columns", _pair("whcji", "whcji"),
                "Height and width are swapped: patches, and pixels inside them, are counted row by row."),
        Mistake("channel before patch", _pair("chwij", "chwij"),
                "A token must hold all channels of one patch; yours holds patches of one channel after another: bring c behind h and w."),
        Mistake("no permutation", _pair("chiwj", "chiwj"),
                "A reshape alone only relabels memory: a token got pixels of several patches. Permute the six axes first."),
        Mistake("plain reshape", (_cut_by_view, _join_by_view),
                "A reshape alone only relabels memory: a token got pixels of several patches. Permute the six axes first."),
        Mistake("blocks", (_blocks, _unblock),
                "Pixels far apart got into one token: split H into (H/p, p), with p last, not into (p, H/p)."),
        Mistake("channels in the middle", _pair("hwicj", "hwicj"),
                "Inside a token the order is channel, row, column; yours is row, channel, column."),
        Mistake("token axis last", (lambda x, p: F.unfold(x, p, stride=p), _fold),
                "The axes are swapped: (B, tokens, values), so transpose what unfold gives, and before fold back again."),
        Mistake("sides swapped", (patchify, lambda t, p, h, w: unpatchify(t, p, w, h)), "Height and width are swapped on the way back."),
    ),
    keep_dtype=True,
)  # fmt: skip

# ---- 01-e: where a token is ------------------------------------------------------------------------------------------


def _inputs_e(seed: int) -> dict:
    side, other = 4 + seed % 3, 7 + seed % 2  # never square, where a transposed grid would look like swapped halves
    return {
        "tall grid": {"height": other, "width": side, "dim": 16, "base": 10000.0},
        "wide grid, another base": {"height": side, "width": other, "dim": 24, "base": 60.0 + 20 * seed},
    }


def _waves(angles):
    return torch.cat([angles.sin(), angles.cos()], 1)


def _positions_with(exponent=lambda m: torch.arange(m) / m, waves=_waves, start=0, base=None, join=None):
    """sinusoidal_positions with one choice changed."""

    def piece(height, width, dim, given):
        m = dim // 4
        frequencies = (base or given) ** -exponent(m)
        rows, columns = (waves((start + torch.arange(length))[:, None] * frequencies) for length in (height, width))
        rows, columns = (part[:, : dim // 2] for part in (rows, columns))
        rows, columns = rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)
        return (join or (lambda r, c: torch.cat([r, c], -1).flatten(0, 1)))(rows, columns)

    return piece


def _along_the_line(height, width, dim, base):
    angles = torch.arange(height * width)[:, None] * base ** (-torch.arange(dim // 2) / (dim // 2))
    return _waves(angles)


def _rows_plus_columns(height, width, dim, base):
    def axis(length):
        angles = torch.arange(length)[:, None] * base ** (-torch.arange(dim // 2) / (dim // 2))
        return _waves(angles)

    return (axis(height)[:, None] + axis(width)[None]).flatten(0, 1)


def _all_sines_first(rows, columns):
    parts = [part.chunk(2, -1)[which] for which in (0, 1) for part in (rows, columns)]
    return torch.cat(parts, -1).flatten(0, 1)


def _relative_places(height, width, dim, base):
    frequencies = base ** (-torch.arange(dim // 4) / (dim // 4))
    rows, columns = (torch.linspace(0, 1, length)[:, None] * frequencies for length in (height, width))
    rows, columns = _waves(rows), _waves(columns)
    return torch.cat([rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], -1).flatten(0, 1)


EXERCISE_E = Exercise(
    "01-e", "Where a token is", ("sinusoidal_positions",), {"tall grid": 1, "wide grid, another base": 1}, _inputs_e, call_function,
    sinusoidal_positions,
    (
        Mistake("column first", _positions_with(join=lambda r, c: torch.cat([c, r], -1).flatten(0, 1)),
                "The halves are swapped: the first half of the channels is for the row, the second for the column."),
        Mistake("down the columns", _positions_with(join=lambda r, c: torch.cat([r, c], -1).transpose(0, 1).flatten(0, 1)),
                "The tokens go down the columns; they are counted row by row, as patchify does."),
        Mistake("cosine first", _positions_with(waves=lambda a: torch.cat([a.cos(), a.sin()], 1)), "In each half the sines come first."),
        Mistake("interleaved", _positions_with(waves=lambda a: torch.stack([a.sin(), a.cos()], 2).flatten(1)),
                "Sines and cosines alternate; here all m sines come first, then all m cosines."),
        Mistake("sines only", _positions_with(waves=lambda a: torch.cat([a.sin(), a.sin()], 1)), "The second m channels are cosines."),
        Mistake("all sines first", _positions_with(join=_all_sines_first),
                "The order is row (sines, cosines), then column (sines, cosines); yours has the sines of both first."),
        Mistake("exponent 2i/dim", _positions_with(lambda m: torch.arange(m) / (2 * m)),
                "The frequencies fall too slowly: base**(-i/m) with m = dim/4, the number of frequencies of one axis."),
        Mistake("exponent i/dim", _positions_with(lambda m: torch.arange(m) / (4 * m)),
                "The frequencies fall too slowly: base**(-i/m) with m = dim/4, the number of frequencies of one axis."),
        Mistake("exponent 2i/m", _positions_with(lambda m: 2 * torch.arange(m) / m), "The frequencies fall too fast: base**(-i/m)."),
        Mistake("exponent to 1", _positions_with(lambda m: torch.arange(m) / max(1, m - 1)),
                "The exponent is i/m, so that the slowest frequency lies just above 1/base; yours is i/(m-1)."),
        Mistake("exponent from 1", _positions_with(lambda m: torch.arange(1, m + 1) / m), "i counts from 0: the first frequency is 1."),
        Mistake("frequencies grow", _positions_with(lambda m: -torch.arange(m) / m),
                "The frequencies grow: the exponent is negative, base**(-i/m)."),
        Mistake("base 10000", _positions_with(base=10000.0), "The base is an argument; yours always uses 10000."),
        Mistake("base e", _positions_with(base=2.718281828), "The base has no effect: base**(-i/m) is exp(-i/m * log(base))."),
        Mistake("from 1", _positions_with(start=1), "Rows and columns count from 0."),
        Mistake("times 2 pi", _positions_with(waves=lambda a: torch.cat([(6.2831853 * a).sin(), (6.2831853 * a).cos()], 1)),
                "There is a factor 2 pi too many: the angle is y * base**(-i/m)."),
        Mistake("one line", _along_the_line, "The grid was numbered along one line: give row and column half of the channels each."),
        Mistake("added", _rows_plus_columns, "Row and column codes were added; they stand side by side, half of the channels each."),
        Mistake("relative", _relative_places, "The places were scaled to 0..1: use the plain numbers 0, 1, 2, ... of rows and columns."),
        Mistake("rows for both", _positions_with(join=lambda r, c: torch.cat([r, r], -1).flatten(0, 1)),
                "The second half repeats the row; it must tell the column."),
        Mistake("as a grid", _positions_with(join=lambda r, c: torch.cat([r, c], -1)),
                "Join rows and columns into one axis of tokens: (height*width, dim)."),
        Mistake("channels first", lambda *given: sinusoidal_positions(*given).T, "The axes are swapped: (height*width, dim)."),
    ),
)  # fmt: skip

EXERCISES = (EXERCISE_A, EXERCISE_B, EXERCISE_C, EXERCISE_D, EXERCISE_E, EXERCISE_F)
