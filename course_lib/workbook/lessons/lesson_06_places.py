"""Exercise 06-g, one prompt, one permutation: inputs, references, points, and the mistakes that the check recognises."""

import torch
from torch import Tensor

from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_06_calls import call_places
from course_lib.workbook.lessons.lesson_06_shuffle import seeded

# ---- 06-g: one prompt, one permutation -------------------------------------------------------------------------------


def same_places(order_a: Tensor, order_b: Tensor) -> Tensor:
    """(B, N), (B, N), int64 -> (B,): for each image the share of places that hold the same channel."""
    return (order_a == order_b).float().mean(dim=1)


def is_permutation(order: Tensor) -> Tensor:
    """(B, N), int64 -> (B,), bool: whether each row holds each of 0 ... N - 1 exactly once."""
    return (order.sort(dim=1).values == torch.arange(order.shape[1], device=order.device)).all(dim=1)


def _inputs_g(seed: int) -> dict:
    g = seeded(seed, 67)

    def permutations(B, N):
        return torch.stack([torch.randperm(N, generator=g) for _ in range(B)])

    def alike(order, counts):
        """`order` with all but counts[b] places of row b exchanged in a circle."""
        other = order.clone()
        for row, count in zip(other, counts, strict=True):
            places = torch.randperm(len(row), generator=g)[count:]
            row[places] = row[places.roll(1)]
        return other

    def spoilt():
        """Rows of 7, some permutations and some not, in a fresh order."""
        good = permutations(3, 7)
        wrong, twice, equal, moved, both = permutations(7, 7), *permutations(4, 7)
        # -1 for 6 and 7 for 0 would be right modulo 7, -1 for 0 and 7 for 6 if clamped, -3 for 3 without its sign.
        for row, old, new in zip(wrong, (6, 0, 0, 6, 3, 1, 5), (-1, 7, -1, 7, -3, 8, -2), strict=True):
            row[row == old] = new
        twice[twice == 3] = 2  # 0 and 6 are there
        equal[equal == 4], equal[equal == 2] = 3, 3  # the sum is right, and so are the smallest and the largest
        both[both == 5], both[both == 0] = 6, -1  # all different but for one, the sum is right
        others = torch.stack([twice, equal, moved + 1, both, torch.full((7,), 3), torch.arange(7)])
        rows = torch.cat([good, wrong, others])
        return rows[torch.randperm(len(rows), generator=g)]

    few = permutations(4, 9 + seed % 2)
    square = permutations(6, 6)
    mixed = permutations(7, 7)
    mixed[seed % 7, 1] = mixed[seed % 7, 2]
    mixed[:, 5 - seed % 3] = mixed[:, 5 - seed % 3].flip(0)
    return {
        "shares": {"which": 0, "order_a": few, "order_b": alike(few, [0, 2 + seed % 3, len(few[0]), 5])},
        "as many images as places": {"which": 0, "order_a": square, "order_b": alike(square, [1, 0, 3, 6, 2, 4])},
        "a number twice or out of range": {"which": 1, "order": spoilt()},
        "as many rows as channels": {"which": 1, "order": mixed},
    }


def _compared(compare):
    return compare, is_permutation


def _tested(test):
    return same_places, test


def _every(order):
    return torch.arange(order.shape[1]).expand_as(order)


def _distinct(order):
    return torch.tensor([len(row.unique()) == len(row) for row in order])


_SUM = "The sum (or mean) of a row can be right by chance, as in 0, 3, 3, 0 for 0, 1, 2, 3: look at every number."
_RANGE = "Only the smallest and the largest number were looked at: between them one may stand twice while another is missing."

EXERCISE_G = Exercise(
    "06-g", "One prompt, one permutation", ("same_places", "is_permutation"),
    {"shares": 0.5, "as many images as places": 0.5, "a number twice or out of range": 0.5, "as many rows as channels": 0.5}, _inputs_g,
    call_places, (same_places, is_permutation),
    (
        Mistake("counted", _compared(lambda a, b: (a == b).float().sum(1)),
                "That is the number of equal places: the share divides it by N (a mean)."),
        Mistake("different", _compared(lambda a, b: (a != b).float().mean(1)), "That is the share of places that *differ*."),
        Mistake("over the images", _compared(lambda a, b: (a == b).float().mean(0)),
                "The mean ran over the images (dim=0): the places of one image are its row, dim=1."),
        Mistake("over everything", _compared(lambda a, b: (a == b).float().mean()),
                "One number for the whole batch: each image has a share of its own, mean(dim=1)."),
        Mistake("place by place", _compared(lambda a, b: (a == b).float()),
                "That says place by place whether they are equal: the share is its mean over the places, dim=1."),
        Mistake("all or nothing", _compared(lambda a, b: (a == b).all(1).float()),
                "That is 1 where *all* places are equal and 0 elsewhere: the share may lie between."),
        Mistake("percent", _compared(lambda a, b: 100 * (a == b).float().mean(1)), "A share lies in [0, 1]; yours is in per cent."),
        Mistake("of the images", _compared(lambda a, b: (a == b).float().sum(1) / len(a)),
                "The count is divided by the number of images: divide by that of places, N."),
        Mistake("in both somewhere", _compared(lambda a, b: torch.stack([torch.isin(p, q).float().mean() for p, q in zip(
                a, b, strict=True)])),
                "You ask whether a channel is *anywhere* in the other order, and there it always is: compare place by place, ==."),
        Mistake("in the first order", _compared(lambda a, b: (a == b[:1]).float().mean(1)),
                "All images were compared with the first row of order_b: row b with row b."),
        Mistake("close", _compared(lambda a, b: ((a - b).abs() <= 1).float().mean(1)),
                "Neighbouring numbers were taken for equal. They are names of channels: 3 and 4 are as different as 3 and 40."),
        Mistake("left in place", _compared(lambda a, b: (a == _every(a)).float().mean(1)),
                "order_a was compared with 0, 1, 2 ...: compare it with order_b."),
        Mistake("where they come to stand", _compared(lambda a, b: (a.argsort(1) == b).float().mean(1)),
                "One order was inverted first: compare them as they are."),
        Mistake("sum", _tested(lambda o: o.sum(1) == o.shape[1] * (o.shape[1] - 1) // 2), _SUM),
        Mistake("mean", _tested(lambda o: o.float().mean(1) == (o.shape[1] - 1) / 2), _SUM),
        Mistake("range", _tested(lambda o: (o.amin(1) == 0) & (o.amax(1) == o.shape[1] - 1)), _RANGE),
        Mistake("within the range", _tested(lambda o: ((o >= 0) & (o < o.shape[1])).all(1)),
                "Every number is in the range, but one may stand twice while another is missing."),
        Mistake("largest alone", _tested(lambda o: o.amax(1) == o.shape[1] - 1), _RANGE),
        Mistake("smallest alone", _tested(lambda o: o.amin(1) == 0), _RANGE),
        Mistake("range and sum", _tested(lambda o: (o.amin(1) == 0) & (o.amax(1) == o.shape[1] - 1) & (
                o.sum(1) == o.shape[1] * (o.shape[1] - 1) // 2)), _RANGE),
        Mistake("distinct", _tested(_distinct),
                "No number stands twice, but they may be other numbers than 0 ... N-1, such as -1 or N."),
        Mistake("distinct and not negative", _tested(lambda o: _distinct(o) & (o >= 0).all(1)),
                "No number stands twice and none is negative, but one may be too large: N and beyond are no channels."),
        Mistake("distinct and not too large", _tested(lambda o: _distinct(o) & (o < o.shape[1]).all(1)),
                "No number stands twice and none is too large, but one may be negative."),
        Mistake("steps of one", _tested(lambda o: (o.sort(1).values.diff(dim=1) == 1).all(1)),
                "The sorted numbers go up by one, but they may start elsewhere: a permutation holds 0 ... N-1, from 0."),
        Mistake("wrapped", _tested(lambda o: is_permutation(o % o.shape[1])),
                "Numbers out of the range were taken modulo N (or as a negative index): -1 and N are no channels."),
        Mistake("negative wrapped", _tested(lambda o: is_permutation(torch.where(o < 0, o + o.shape[1], o))),
                "Negative numbers were taken as an index from the end: -1 is no channel."),
        Mistake("clamped", _tested(lambda o: is_permutation(o.clamp(0, o.shape[1] - 1))),
                "Numbers out of the range were clamped into it: -1 and N are no channels."),
        Mistake("absolute", _tested(lambda o: is_permutation(o.abs())), "The minus sign is lost: a negative number is no channel."),
        Mistake("from one", _tested(lambda o: (o.sort(1).values == _every(o) + 1).all(1)),
                "Channels are numbered from 0: a permutation holds 0 ... N-1."),
        Mistake("never", _tested(lambda o: torch.zeros(len(o), dtype=torch.bool)), "It always says no."),
        Mistake("in order", _tested(lambda o: (o == _every(o)).all(1)),
                "That is the *identity* alone. A permutation holds 0 ... N-1 in any order: sort it first."),
        Mistake("columns", _tested(lambda o: (o.sort(0).values == torch.arange(len(o))[:, None]).all(0)),
                "The columns were tested (dim=0): each image's order is a row."),
        Mistake("one answer", _tested(lambda o: is_permutation(o).all()), "One answer for the whole batch: each row gets its own, (B,)."),
        Mistake("number by number", _tested(lambda o: o.sort(1).values == _every(o)),
                "One answer for each place: a row is a permutation where *all* its places are right, .all(dim=1)."),
        Mistake("any place", _tested(lambda o: (o.sort(1).values == _every(o)).any(1)),
                "*Any* right place is not enough: .all(dim=1)."),
        Mistake("always", _tested(lambda o: torch.ones(len(o), dtype=torch.bool)), "It always says yes."),
        Mistake("the other way", _tested(lambda o: ~is_permutation(o)),
                "Yes and no are exchanged: it is True where a row is *not* a permutation."),
    ),
)  # fmt: skip
