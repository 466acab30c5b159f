"""Answers to 01-e, where a token is: codes (height*width, dim) of a grid. The right ones stand in `ex_01_e_right.py`."""

import math

import torch
from einops import rearrange

from . import Answers

ANSWERS = Answers("01-e")
mutant = ANSWERS.mutant


def speeds(dim, base):
    """Right frequencies, for answers that are wrong elsewhere."""
    return base ** (-torch.arange(dim // 4) / (dim // 4))


def clocks(numbers, frequencies):
    """Right codes of numbers on one axis: (length, 2 m)."""
    angles = torch.as_tensor(numbers)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def grid(rows, columns):
    """Right joining of the codes of rows (height, dim/2) and columns (width, dim/2)."""
    height, width = len(rows), len(columns)
    return torch.cat([rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], dim=-1).flatten(0, 1)


def made_of(axis):
    """A whole answer from a function axis(length, dim, base) -> (length, dim/2)."""

    def positions(height, width, dim, base):
        return grid(axis(height, dim, base), axis(width, dim, base))

    return positions


def wrong_axis(words=""):
    """Decorator: the answer that uses a wrong code on both axes."""

    def keep(axis):
        ANSWERS.wrong.append((axis.__name__, made_of(axis), words))
        return axis

    return keep


@mutant("row|column|first half|half")
def column_before_row(height, width, dim, base):
    rows, columns = (clocks(range(n), speeds(dim, base)) for n in (height, width))
    return torch.cat([columns[None].expand(height, -1, -1), rows[:, None].expand(-1, width, -1)], dim=-1).flatten(0, 1)


@mutant("row|order|token|width")
def tokens_column_by_column(height, width, dim, base):
    rows, columns = (clocks(range(n), speeds(dim, base)) for n in (height, width))
    return torch.cat([rows[None].expand(width, -1, -1), columns[:, None].expand(-1, height, -1)], dim=-1).flatten(0, 1)


@mutant("row|order|token|width")
def rows_repeated_the_wrong_way(height, width, dim, base):
    rows, columns = (clocks(range(n), speeds(dim, base)) for n in (height, width))
    return torch.cat([rows.repeat(width, 1), columns.repeat_interleave(height, dim=0)], dim=1)


@mutant()
def rows_and_columns_both_tiled(height, width, dim, base):
    rows, columns = (clocks(range(n), speeds(dim, base)) for n in (height, width))
    return torch.cat([rows.repeat(width, 1), columns.repeat(height, 1)], dim=1)


@mutant()
def meshgrid_by_xy(height, width, dim, base):
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="xy")
    return torch.cat([clocks(ys.flatten(), speeds(dim, base)), clocks(xs.flatten(), speeds(dim, base))], dim=1)


@mutant()
def expanded_and_reshaped_the_wrong_way(height, width, dim, base):
    rows, columns = (clocks(range(n), speeds(dim, base)) for n in (height, width))
    rows = rows[None].expand(width, height, dim // 2).reshape(height, width, dim // 2)
    return torch.cat([rows, columns[None].expand(height, -1, -1)], dim=-1).reshape(height * width, dim)


@mutant()
def square_grids_only(height, width, dim, base):
    axis = clocks(range(height), speeds(dim, base))
    return grid(axis, axis)


@mutant()
def height_and_width_swapped(height, width, dim, base):
    return grid(clocks(range(width), speeds(dim, base)), clocks(range(height), speeds(dim, base)))


@mutant("row|column|one|line")
def numbered_through_as_in_a_sentence(height, width, dim, base):
    m = dim // 2
    return clocks(range(height * width), base ** (-torch.arange(m) / m))


@mutant("half|row|column")
def row_and_column_added(height, width, dim, base):
    m = dim // 2
    rows, columns = (clocks(range(n), base ** (-torch.arange(m) / m)) for n in (height, width))
    return (rows[:, None] + columns[None]).flatten(0, 1)


@mutant()
def rows_twice(height, width, dim, base):
    rows = clocks(range(height), speeds(dim, base))
    return grid(torch.zeros(height, dim // 2), torch.zeros(width, dim // 2)) + rows.repeat_interleave(width, 0).repeat(1, 2)


@mutant("sin|cos|half|order|interleav|altern")
def sines_of_both_first(height, width, dim, base):
    rows, columns = (clocks(range(n), speeds(dim, base)) for n in (height, width))
    code = grid(rows, columns)
    return rearrange(code, "l (side wave m) -> l (wave side m)", side=2, wave=2)


@wrong_axis("sin|cos|altern|interleav")
def sine_and_cosine_in_turns(length, dim, base):
    angles = torch.arange(length)[:, None] * speeds(dim, base)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


@wrong_axis("sin|cos")
def cosines_first(length, dim, base):
    angles = torch.arange(length)[:, None] * speeds(dim, base)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


@wrong_axis()
def sines_only(length, dim, base):
    m = dim // 2
    return (torch.arange(length)[:, None] * base ** (-torch.arange(m) / m)).sin()


@wrong_axis("frequenc|exponent|speed|m")
def every_second_frequency(length, dim, base):
    m = dim // 4
    return clocks(range(length), base ** (-2 * torch.arange(m) / m))


@wrong_axis("frequenc|exponent|speed|m|C/4")
def frequencies_by_half_the_channels(length, dim, base):
    return clocks(range(length), base ** (-torch.arange(dim // 4) / (dim // 2)))


@wrong_axis("frequenc|exponent|speed|m|C/4")
def frequencies_by_all_channels(length, dim, base):
    return clocks(range(length), base ** (-torch.arange(dim // 4) / dim))


@wrong_axis("frequenc|exponent|speed|m|last|1")
def slowest_at_the_base(length, dim, base):
    m = dim // 4
    return clocks(range(length), base ** (-torch.linspace(0, 1, m)))


@wrong_axis("frequenc|exponent|1|0|start|first")
def frequencies_counted_from_one(length, dim, base):
    m = dim // 4
    return clocks(range(length), base ** (-torch.arange(1, m + 1) / m))


@wrong_axis()
def slow_clocks_first(length, dim, base):
    return clocks(range(length), speeds(dim, base).flip(0))


@wrong_axis("minus|sign|faster|exponent|negative|divide")
def clocks_ever_faster(length, dim, base):
    return clocks(range(length), base ** (torch.arange(dim // 4) / (dim // 4)))


@wrong_axis()
def whole_number_exponents(length, dim, base):
    m = dim // 4
    return clocks(range(length), base ** (-(torch.arange(m) // m)).float())


@wrong_axis()
def all_clocks_alike(length, dim, base):
    return clocks(range(length), torch.ones(dim // 4))


@wrong_axis("base")
def base_of_the_paper(length, dim, base):
    return clocks(range(length), speeds(dim, 10000))


@wrong_axis("base")
def base_e(length, dim, base):
    m = dim // 4
    return clocks(range(length), torch.exp(-torch.arange(m) / m))


@wrong_axis()
def logarithm_to_base_ten(length, dim, base):
    m = dim // 4
    return clocks(range(length), torch.exp(-math.log10(base) * torch.arange(m) / m))


@wrong_axis("0|start|first|one")
def counted_from_one(length, dim, base):
    return clocks(torch.arange(1, length + 1), speeds(dim, base))


@wrong_axis()
def places_between_zero_and_one(length, dim, base):
    return clocks(torch.linspace(0, 1, length), speeds(dim, base))


@wrong_axis()
def places_scaled_by_the_side(length, dim, base):
    return clocks(torch.arange(length) / length, speeds(dim, base))


@wrong_axis()
def places_from_the_middle(length, dim, base):
    return clocks(torch.arange(length) - length // 2, speeds(dim, base))


@wrong_axis()
def whole_turns(length, dim, base):
    return clocks(2 * math.pi * torch.arange(length), speeds(dim, base))


@wrong_axis()
def in_degrees(length, dim, base):
    return clocks(torch.arange(length) * math.pi / 180, speeds(dim, base))


@wrong_axis()
def divided_by_the_frequency(length, dim, base):
    return clocks(range(length), 1 / speeds(dim, base))


@wrong_axis()
def half_precision(length, dim, base):
    return clocks(range(length), speeds(dim, base).half().float())


@wrong_axis()
def sixteen_channels_only(length, dim, base):
    return clocks(range(length), speeds(16, base))


@mutant("shape")
def a_grid_of_codes(height, width, dim, base):
    axes = [clocks(range(n), speeds(dim, base)) for n in (height, width)]
    return grid(*axes).reshape(height, width, dim)


@mutant("shape")
def with_a_batch_axis(height, width, dim, base):
    return grid(*(clocks(range(n), speeds(dim, base)) for n in (height, width)))[None]


@mutant("shape")
def channels_first(height, width, dim, base):
    return grid(*(clocks(range(n), speeds(dim, base)) for n in (height, width))).T


@mutant("shape")
def too_many_channels(height, width, dim, base):
    return grid(*(clocks(range(n), base ** (-torch.arange(dim // 2) / (dim // 2))) for n in (height, width)))


@mutant("list|tensor")
def a_list(height, width, dim, base):
    return grid(*(clocks(range(n), speeds(dim, base)) for n in (height, width))).tolist()


@mutant("ndarray|tensor")
def an_array(height, width, dim, base):
    return grid(*(clocks(range(n), speeds(dim, base)) for n in (height, width))).numpy()


@mutant("every time|random")
def random_codes(height, width, dim, base):
    return 0.02 * torch.randn(height * width, dim)


@mutant()
def no_codes(height, width, dim, base):
    return torch.zeros(height * width, dim)
