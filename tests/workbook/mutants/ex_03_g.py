"""Answers to 03-g, the cosine of two gradients: two lists of tensors or None in the same order -> 0-d tensor."""

import math

import torch
import torch.nn.functional as F

from . import Answers

ANSWERS = Answers("03-g")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


def flat_pair(first, second):
    """Right: both as one vector, None as zeros (where both are None, nothing is needed)."""
    ones, others = [torch.zeros(0)], [torch.zeros(0)]
    for a, b in zip(first, second, strict=True):
        if a is None and b is None:
            continue
        ones.append((torch.zeros_like(b) if a is None else a).reshape(-1))
        others.append((torch.zeros_like(a) if b is None else b).reshape(-1))
    return torch.cat(ones), torch.cat(others)


@mutant("mean|layer|concat|flat|whole")
def mean_of_the_layers_cosines(first, second):
    found = []
    for a, b in zip(first, second, strict=True):
        if a is not None and b is not None:
            found.append(a.flatten() @ b.flatten() / (a.norm() * b.norm()))
    return torch.stack(found).mean() if found else torch.tensor(math.nan)


@mutant()
def mean_of_the_layers_cosines_with_zeros(first, second):
    found = []
    for a, b in zip(first, second, strict=True):
        if a is None or b is None:
            found.append(torch.tensor(0.0))
        else:
            found.append(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))
    return torch.stack(found).mean()


@mutant()
def product_of_the_layers_lengths(first, second):
    inner = length = torch.tensor(0.0)
    for a, b in zip(first, second, strict=True):
        if a is not None and b is not None:
            inner, length = inner + (a * b).sum(), length + a.norm() * b.norm()
    return inner / length


@mutant()
def lengths_added_up(first, second):
    """The length of a vector is not the sum of the lengths of its parts."""
    inner = sum(((a * b).sum() for a, b in zip(first, second, strict=True) if a is not None and b is not None), torch.tensor(0.0))
    one = sum((a.norm() for a in first if a is not None), torch.tensor(0.0))
    other = sum((b.norm() for b in second if b is not None), torch.tensor(0.0))
    return inner / (one * other)


@mutant("None|zero|length|norm")
def layers_with_none_left_out(first, second):
    """Right while both lists have None at the same places."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not pairs:
        return torch.tensor(math.nan)
    one, other = (torch.cat([tensor.flatten() for tensor in side]) for side in zip(*pairs, strict=True))
    return one @ other / (one.norm() * other.norm())


@mutant("None|zero|RuntimeError|size")
def none_left_out_on_each_side(first, second):
    """The layers no longer meet their like."""
    one = torch.cat([a.flatten() for a in first if a is not None])
    other = torch.cat([b.flatten() for b in second if b is not None])
    return one @ other / (one.norm() * other.norm())


@mutant()
def none_left_out_and_cut_to_one_length(first, second):
    one = torch.cat([a.flatten() for a in first if a is not None] or [torch.zeros(1)])
    other = torch.cat([b.flatten() for b in second if b is not None] or [torch.zeros(1)])
    return one[: len(other)] @ other[: len(one)] / (one.norm() * other.norm())


@mutant("None")
def none_not_thought_of(first, second):
    one, other = torch.cat([a.flatten() for a in first]), torch.cat([b.flatten() for b in second])
    return one @ other / (one.norm() * other.norm())


@mutant("None")
def none_in_both_not_thought_of(first, second):
    one = torch.cat([(torch.zeros_like(b) if a is None else a).flatten() for a, b in zip(first, second, strict=True)])
    other = torch.cat([(torch.zeros_like(a) if b is None else b).flatten() for a, b in zip(first, second, strict=True)])
    return one @ other / (one.norm() * other.norm())


@mutant("(?s)^(?!.*dot product)")
def none_as_ones(first, second):
    ones = [torch.ones_like(b) if a is None else a for a, b in zip(first, second, strict=True) if a is not None or b is not None]
    others = [torch.ones_like(a) if b is None else b for a, b in zip(first, second, strict=True) if a is not None or b is not None]
    one, other = (torch.cat([tensor.flatten() for tensor in side]) for side in (ones, others))
    return one @ other / (one.norm() * other.norm())


@mutant("nan|zero")
def zero_for_a_zero_gradient(first, second):
    one, other = flat_pair(first, second)
    return F.cosine_similarity(one, other, dim=0)


@mutant("nan|zero")
def eps_in_the_divisor(first, second):
    one, other = flat_pair(first, second)
    return one @ other / (one.norm() * other.norm() + 1e-8)


@mutant()
def eps_in_the_divisor_but_nan_for_zeros(first, second):
    """Wrong for small gradients."""
    one, other = flat_pair(first, second)
    if not one.any() or not other.any():
        return torch.tensor(math.nan)
    return one @ other / (one.norm() * other.norm() + 1e-8)


@mutant("nan|zero")
def nan_made_zero(first, second):
    one, other = flat_pair(first, second)
    return torch.nan_to_num(one @ other / (one.norm() * other.norm()))


@mutant("nan|zero")
def one_for_two_zero_gradients(first, second):
    one, other = flat_pair(first, second)
    if not one.any() and not other.any():
        return torch.tensor(1.0)
    return one @ other / (one.norm() * other.norm())


@mutant("nan|zero")
def nan_for_the_first_alone(first, second):
    one, other = flat_pair(first, second)
    cosine = F.cosine_similarity(one, other, dim=0)
    return cosine if one.any() else torch.tensor(math.nan)


@mutant("nan|zero")
def nan_for_both_zero_alone(first, second):
    one, other = flat_pair(first, second)
    return F.cosine_similarity(one, other, dim=0) if one.any() or other.any() else torch.tensor(math.nan)


@mutant("(?s)^(?!.*mean of the cosines)")
def nan_where_any_layer_is_zero(first, second):
    one, other = flat_pair(first, second)
    for gradient in [*first, *second]:
        if gradient is None or not gradient.any():
            return torch.tensor(math.nan)
    return one @ other / (one.norm() * other.norm())


@mutant("length|norm|divi")
def inner_product_only(first, second):
    one, other = flat_pair(first, second)
    return one @ other * (1 if one.any() and other.any() else math.nan)


@mutant("length|norm|divi")
def divided_by_one_length_twice(first, second):
    """Right for gradients of one length."""
    one, other = flat_pair(first, second)
    return one @ other / one.square().sum() * (1 if other.any() else math.nan)


@mutant("length|norm|root|square")
def divided_by_the_squares(first, second):
    one, other = flat_pair(first, second)
    return one @ other / (one.square().sum() * other.square().sum())


@mutant()
def divided_by_the_sums(first, second):
    one, other = flat_pair(first, second)
    return one @ other / (one.abs().sum() * other.abs().sum())


@mutant()
def divided_by_the_larger_square(first, second):
    one, other = flat_pair(first, second)
    factor = math.nan if not (one.any() and other.any()) else 1
    return factor * (one @ other) / torch.maximum(one.square().sum(), other.square().sum())


@mutant("centr|mean|correlation")
def correlation(first, second):
    one, other = flat_pair(first, second)
    factor = 1 if one.any() and other.any() else math.nan
    one, other = one - one.mean(), other - other.mean()
    return factor * (one @ other) / (one.norm() * other.norm())


@mutant("sign|negative|abs")
def sign_lost(first, second):
    one, other = flat_pair(first, second)
    return (one @ other).abs() / (one.norm() * other.norm())


@mutant("(?s)^(?!.*dot product)")
def conflicts_cut_off(first, second):
    one, other = flat_pair(first, second)
    return (one @ other / (one.norm() * other.norm())).clamp(0, 1)


@mutant("sign|distance|1 - ")
def one_minus_the_cosine(first, second):
    one, other = flat_pair(first, second)
    return 1 - one @ other / (one.norm() * other.norm())


@mutant()
def angle(first, second):
    one, other = flat_pair(first, second)
    return torch.arccos((one @ other / (one.norm() * other.norm())).clamp(-1, 1))


@mutant()
def signs_only(first, second):
    one, other = flat_pair(first, second)
    return (one.sign() @ other.sign()) / (one.sign().norm() * other.sign().norm())


@mutant()
def first_layer_only(first, second):
    one, other = flat_pair(first[:1], second[:1])
    return one @ other / (one.norm() * other.norm())


@mutant("tensor|float|number")
def a_number(first, second):
    one, other = flat_pair(first, second)
    return float(one @ other / (one.norm() * other.norm()))


@mutant("0-d|shape|scalar")
def one_number_in_a_vector(first, second):
    one, other = flat_pair(first, second)
    return F.cosine_similarity(one[None], other[None], eps=0.0)


@mutant()
def half_precision(first, second):
    one, other = flat_pair(first, second)
    return (one @ other / (one.norm() * other.norm())).bfloat16().float()


@mutant("in.place|list|None")
def none_replaced_in_the_lists(first, second):
    for i in range(len(first)):
        if first[i] is None and second[i] is None:
            first[i] = second[i] = torch.zeros(1)
        elif first[i] is None:
            first[i] = torch.zeros_like(second[i])
        elif second[i] is None:
            second[i] = torch.zeros_like(first[i])
    one, other = flat_pair(first, second)
    return one @ other / (one.norm() * other.norm())


@mutant("in.place")
def gradients_normalised_in_place(first, second):
    one, other = flat_pair(first, second)
    cosine = one @ other / (one.norm() * other.norm())
    for gradient in first:
        if gradient is not None:
            gradient.data /= one.norm()
    return cosine


@mutant("nan|zero")
def nan_for_none_alone(first, second):
    """Zeros that are numbers give 0."""
    if all(a is None for a in first) or all(b is None for b in second):
        return torch.tensor(math.nan)
    return F.cosine_similarity(*flat_pair(first, second), dim=0)


@mutant("nan|zero|None")
def nan_for_numbers_alone(first, second):
    if all(a is None for a in first) or all(b is None for b in second):
        return torch.tensor(0.0)
    one, other = flat_pair(first, second)
    return one @ other / (one.norm() * other.norm())
