"""Answers to 06-g, one prompt, one permutation: wrong pairs of `same_places` and `is_permutation`. The right ones: `ex_06_g_right.py`."""

import torch

from . import Answers

ANSWERS = Answers("06-g")


def share(order_a, order_b):
    """A right one, for pairs in which the other is wrong."""
    return (order_a == order_b).float().mean(dim=1)


def whole(order):
    return (order.sort(dim=1).values == torch.arange(order.shape[1])).all(dim=1)


def wrong_share(words=""):
    """Decorator of a wrong `same_places`, paired with a right `is_permutation`."""

    def keep(piece):
        ANSWERS.wrong.append((piece.__name__, (piece, whole), words))
        return piece

    return keep


def wrong_test(words=""):
    def keep(piece):
        ANSWERS.wrong.append((piece.__name__, (share, piece), words))
        return piece

    return keep


# ---- same_places ----


@wrong_share("shape|image|batch|each")
def one_share_for_the_batch(order_a, order_b):
    return (order_a == order_b).float().mean()


@wrong_share("number|float|tensor|float")
def one_python_number(order_a, order_b):
    return (order_a == order_b).float().mean().item()


@wrong_share("axis|dim|image|place|shape")
def share_of_the_images(order_a, order_b):
    """For each place the share of images that agree: (N,)."""
    return (order_a == order_b).float().mean(dim=0)


@wrong_share("share|count|divide|N|number")
def count_of_the_places(order_a, order_b):
    return (order_a == order_b).sum(dim=1).float()


@wrong_share("float|int|share|dtype|count")
def integer_count(order_a, order_b):
    return (order_a == order_b).sum(dim=1)


@wrong_share("float|int|share|dtype")
def integer_division(order_a, order_b):
    """0 unless all are the same."""
    return (order_a == order_b).sum(dim=1) // order_a.shape[1]


@wrong_share("float|share|bool|all|dtype")
def all_or_nothing(order_a, order_b):
    return (order_a == order_b).all(dim=1)


@wrong_share("share|all")
def all_or_nothing_as_float(order_a, order_b):
    return (order_a == order_b).all(dim=1).float()


@wrong_share("shape|mean|place")
def place_by_place(order_a, order_b):
    return (order_a == order_b).float()


@wrong_share("differ|same|equal|1 -")
def share_that_differs(order_a, order_b):
    return (order_a != order_b).float().mean(dim=1)


@wrong_share()
def channels_in_common(order_a, order_b):
    """Two permutations share every channel, wherever it stands."""
    return (order_a[:, :, None] == order_b[:, None, :]).any(dim=2).float().mean(dim=1)


@wrong_share()
def half_in_common(order_a, order_b):
    """What the two put into their upper halves."""
    k = order_a.shape[1] // 2
    return (order_a[:, :k, None] == order_b[:, None, :k]).any(dim=2).float().mean(dim=1)


@wrong_share()
def correlation(order_a, order_b):
    a, b = (order.float() - order.float().mean(dim=1, keepdim=True) for order in (order_a, order_b))
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)


@wrong_share()
def cosine(order_a, order_b):
    return torch.cosine_similarity(order_a.float(), order_b.float(), dim=1)


@wrong_share()
def nearness(order_a, order_b):
    """How far apart the entries are, as if channel 4 were near channel 5."""
    return 1 - (order_a - order_b).abs().float().mean(dim=1) / order_a.shape[1]


@wrong_share()
def off_by_one_counts_too(order_a, order_b):
    return ((order_a - order_b).abs() <= 1).float().mean(dim=1)


@wrong_share()
def channels_that_stayed(order_a, order_b):
    """Against the order in which nothing moves."""
    return (order_a == torch.arange(order_a.shape[1])).float().mean(dim=1)


@wrong_share()
def against_the_first_order(order_a, order_b):
    return (order_a == order_b[:1]).float().mean(dim=1)


@wrong_share()
def against_the_neighbouring_image(order_a, order_b):
    return (order_a == order_b.roll(1, dims=0)).float().mean(dim=1)


@wrong_share()
def compared_after_sorting(order_a, order_b):
    return (order_a.sort(dim=1).values == order_b.sort(dim=1).values).float().mean(dim=1)


@wrong_share()
def first_run_of_equal_places(order_a, order_b):
    """Stops at the first that differs."""
    return (order_a == order_b).int().cumprod(dim=1).float().mean(dim=1)


@wrong_share("divi|N|number|channel|images")
def divided_by_the_images(order_a, order_b):
    return (order_a == order_b).sum(dim=1) / order_a.shape[0]


@wrong_share("percent|\\[0, 1\\]|share|100")
def in_percent(order_a, order_b):
    return 100 * share(order_a, order_b)


@wrong_share()
def without_the_last_place(order_a, order_b):
    return (order_a == order_b)[:, :-1].float().mean(dim=1)


@wrong_share()
def rounded_to_tenths(order_a, order_b):
    return (share(order_a, order_b) * 10).round() / 10


@wrong_share()
def of_the_permutations_joined(order_a, order_b):
    """The share of fixed points of one after the other."""
    return (order_a.gather(1, order_b % order_a.shape[1]) == torch.arange(order_a.shape[1])).float().mean(dim=1)


@wrong_share("shape")
def as_a_column(order_a, order_b):
    return (order_a == order_b).float().mean(dim=1, keepdim=True)


@wrong_share("list|tensor")
def as_a_list(order_a, order_b):
    return share(order_a, order_b).tolist()


@wrong_share("shape|each|image|all")
def first_image_only(order_a, order_b):
    return share(order_a[:1], order_b[:1])


@wrong_share("in.place")
def first_order_overwritten(order_a, order_b):
    order_a.eq_(order_b)
    return order_a.float().mean(dim=1)


# ---- is_permutation ----


@wrong_test("range|N|0|once|too large|negative")
def no_number_twice(order):
    """1 ... N, or -1, pass as well."""
    return torch.tensor([len(set(row.tolist())) == len(row) for row in order])


@wrong_test("range|N|0|once|too large|negative")
def neighbours_differ_after_sorting(order):
    return (order.sort(dim=1).values.diff(dim=1) != 0).all(dim=1)


@wrong_test("range|N|0|once|start")
def steps_of_one_after_sorting(order):
    """Wherever it starts."""
    return (order.sort(dim=1).values.diff(dim=1) == 1).all(dim=1)


@wrong_test("twice|once|repeat|each")
def all_in_range(order):
    return ((order >= 0) & (order < order.shape[1])).all(dim=1)


@wrong_test("sum|once|repeat|each")
def by_the_sum(order):
    N = order.shape[1]
    return order.sum(dim=1) == N * (N - 1) // 2


@wrong_test("sum|once|repeat|each")
def by_the_sum_in_range(order):
    """0 0 3 3 has the sum of 0 1 2 3."""
    N = order.shape[1]
    return all_in_range(order) & (order.sum(dim=1) == N * (N - 1) // 2)


@wrong_test("once|repeat|each|largest|smallest")
def by_the_extremes(order):
    return (order.amin(dim=1) == 0) & (order.amax(dim=1) == order.shape[1] - 1)


@wrong_test("once|repeat|each|smallest|range")
def by_the_largest(order):
    return order.amax(dim=1) == order.shape[1] - 1


@wrong_test("0|N|count|range|start")
def counted_from_one(order):
    return (order.sort(dim=1).values == torch.arange(1, order.shape[1] + 1)).all(dim=1)


@wrong_test("shape|image|batch|each|row")
def one_answer_for_the_batch(order):
    return whole(order).all()


@wrong_test("bool|tensor|row|each")
def one_python_bool(order):
    return bool(whole(order).all())


@wrong_test("all|every|shape|row")
def row_by_row_as_one(order):
    """True for every row, if all are."""
    return whole(order).all().expand(len(order))


@wrong_test("all|any")
def any_row_will_do(order):
    return whole(order).any().expand(len(order))


@wrong_test("all|any|once")
def any_place_will_do(order):
    return (order.sort(dim=1).values == torch.arange(order.shape[1])).any(dim=1)


@wrong_test("sort|order|unchanged|identity")
def channels_at_their_own_places(order):
    """The identity alone."""
    return (order == torch.arange(order.shape[1])).all(dim=1)


@wrong_test("axis|dim|row|shape")
def columns_sorted(order):
    return (order.sort(dim=0).values == torch.arange(order.shape[1])).all(dim=1)


@wrong_test("axis|dim|row|shape")
def columns_asked(order):
    return (order.sort(dim=1).values == torch.arange(order.shape[1])).all(dim=0)


@wrong_test("bool|float|dtype")
def as_float(order):
    return whole(order).float()


@wrong_test("bool|int|dtype")
def as_int64(order):
    return whole(order).long()


@wrong_test("float|bool|share|once")
def share_of_the_channels_present(order):
    present = (order[:, :, None] == torch.arange(order.shape[1])).any(dim=1)
    return present.float().mean(dim=1)


@wrong_test("once|twice|not|inver")
def the_opposite(order):
    return ~whole(order)


@wrong_test("row|own|first|each")
def same_channels_as_the_first_row(order):
    return (order.sort(dim=1).values == order[:1].sort(dim=1).values).all(dim=1)


@wrong_test()
def inverse_of_the_inverse(order):
    """argsort twice gives the ranks of the row: without ties, the row itself, if it counts from 0; ties lead it astray seldom."""
    return (order.argsort(dim=1).argsort(dim=1) == order.clamp(0, order.shape[1] - 1)).all(dim=1)


@wrong_test("negative|range|index")
def negative_numbers_wrapped(order):
    """-1 taken for the last channel, as indexing does."""
    return whole(order % order.shape[1])


@wrong_test("clamp|range|large|negative")
def clamped_into_the_range(order):
    return whole(order.clamp(0, order.shape[1] - 1))


@wrong_test("index|range|large|negative|out of")
def by_scattering(order):
    """Stops where a number is no place."""
    hits = torch.zeros_like(order).scatter_add(1, order, torch.ones_like(order))
    return (hits == 1).all(dim=1)


@wrong_test("always|True|tensor|look|row")
def always_true(order):
    return torch.ones(len(order), dtype=torch.bool)


@wrong_test()
def number_of_values_in_the_batch(order):
    return torch.full((len(order),), order.unique().numel() == order.shape[1])


@wrong_test("shape")
def place_by_place_in_the_row(order):
    return order.sort(dim=1).values == torch.arange(order.shape[1])


@wrong_test("shape")
def as_a_bool_column(order):
    return whole(order)[:, None]


@wrong_test("list|tensor")
def as_a_list_of_bools(order):
    return whole(order).tolist()


@wrong_test("in.place")
def sorted_in_place(order):
    order.copy_(order.sort(dim=1).values)
    return (order == torch.arange(order.shape[1])).all(dim=1)


@wrong_test("shape|each|row|all")
def first_row_only(order):
    return whole(order[:1])


def nothing(order): ...


ANSWERS.wrong += [
    ("the_other_way_round", (whole, share), "order|swap|first|other way|argument"),
    ("second_one_missing", (share, nothing), "is_permutation|return|nothing"),
    ("only_one_function", share, "is_permutation|pair|two|both|all"),
]
