"""Answers to 03-h, PCGrad: a list of flat gradients (P,) and an order of the others for each -> a list of projected gradients."""

import torch
import torch.nn.functional as F

from . import Answers

ANSWERS = Answers("03-h")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant("raw|original|projected|clone")
def against_the_projected_ones(gradients, orders):
    projected = [g.clone() for g in gradients]
    for i, order in enumerate(orders):
        for j in order:
            inner = projected[i] @ projected[j]
            if j != i and inner < 0:
                projected[i] = projected[i] - inner / projected[j].square().sum() * projected[j]
    return projected


@mutant("in.place|raw|list")
def list_overwritten(gradients, orders):
    for i, order in enumerate(orders):
        for j in order:
            inner = gradients[i] @ gradients[j]
            if j != i and inner < 0:
                gradients[i] = gradients[i] - inner / gradients[j].square().sum() * gradients[j]
    return gradients


@mutant("in.place|raw")
def copy_of_the_list_only(gradients, orders):
    """The tensors in it are the caller's own."""
    projected = list(gradients)
    for i, order in enumerate(orders):
        for j in order:
            inner = projected[i] @ gradients[j]
            if j != i and inner < 0:
                projected[i] -= inner / gradients[j].square().sum() * gradients[j]
    return projected


@mutant("in.place")
def inputs_overwritten_at_the_end(gradients, orders):
    projected = by_the_book(gradients, orders)
    for g, p in zip(gradients, projected, strict=True):
        g.copy_(p)
    return projected


def by_the_book(gradients, orders, meet=lambda g, other: g - (g @ other).clamp(max=0) / other.square().sum() * other):
    projected = []
    for i, g in enumerate(gradients):
        for j in orders[i]:
            if j != i:
                g = meet(g, gradients[j])
        projected.append(g)
    return projected


@mutant()
def zero_gradient_divided_by(gradients, orders):
    """0 / 0: a task whose gradient is zero spoils the others."""
    return by_the_book(gradients, orders)


@mutant()
def zero_gradient_conflicts(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: g - (g @ o) / (o @ o) * o if g @ o <= 0 else g)


@mutant("running|again|already|after|sequen|order")
def inner_products_of_the_raw_ones(gradients, orders):
    """Both factors raw: right for two tasks."""
    projected = []
    for i, order in enumerate(orders):
        g = gradients[i]
        for j in order:
            inner = gradients[i] @ gradients[j]
            if j != i and inner < 0:
                g = g - inner / gradients[j].square().sum() * gradients[j]
        projected.append(g)
    return projected


@mutant()
def conflict_asked_of_the_raw_one(gradients, orders):
    projected = []
    for i, order in enumerate(orders):
        g = gradients[i]
        for j in order:
            if j != i and gradients[i] @ gradients[j] < 0:
                g = g - (g @ gradients[j]) / gradients[j].square().sum() * gradients[j]
        projected.append(g)
    return projected


@mutant("conflict|negative|agree|< 0|below")
def always_projected(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: g - (g @ o) / o.square().sum() * o if o.any() else g)


@mutant("conflict|negative|agree|< 0|below|sign")
def projected_where_they_agree(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: g - (g @ o) / o.square().sum() * o if g @ o > 0 else g)


@mutant("conflict|negative")
def never_projected(gradients, orders):
    return [g.clone() for g in gradients]


@mutant("sign|minus|conflict")
def conflict_doubled(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: g + (g @ o) / o.square().sum() * o if g @ o < 0 else g)


@mutant()
def reflected(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: g - 2 * (g @ o) / o.square().sum() * o if g @ o < 0 else g)


@mutant("length|norm|square|divi")
def not_divided(gradients, orders):
    """Right for unit vectors."""
    return by_the_book(gradients, orders, lambda g, o: g - (g @ o) * o if g @ o < 0 else g)


@mutant("length|norm|square|divi")
def divided_by_the_length(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: g - (g @ o) / o.norm() * o if g @ o < 0 else g)


@mutant("length|norm|square|divi|other")
def divided_by_its_own_square(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: g - (g @ o) / g.square().sum() * o if g @ o < 0 else g)


@mutant()
def divided_by_both_lengths(gradients, orders):
    """Right for gradients of one length."""
    return by_the_book(gradients, orders, lambda g, o: g - (g @ o) / (g.norm() * o.norm()) * o if g @ o < 0 else g)


@mutant()
def shrunk_along_itself(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: g - (g @ o) / (g @ g) * g if g @ o < 0 else g)


@mutant()
def made_zero(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: torch.zeros_like(g) if g @ o < 0 else g)


@mutant()
def length_kept(gradients, orders):
    return [F.normalize(p, dim=0) * g.norm() for p, g in zip(right(gradients, orders), gradients, strict=True)]


@mutant()
def conflicts_beyond_a_threshold(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: g - (g @ o) / (o @ o) * o if F.cosine_similarity(g, o, dim=0) < -0.1 else g)


@mutant()
def entries_of_other_sign_made_zero(gradients, orders):
    return by_the_book(gradients, orders, lambda g, o: torch.where(g * o < 0, 0.0, g))


@mutant()
def eps_in_the_divisor(gradients, orders):
    """Wrong for small gradients."""
    return by_the_book(gradients, orders, lambda g, o: g - (g @ o).clamp(max=0) / (o.square().sum() + 1e-6) * o)


@mutant()
def met_himself(gradients, orders):
    """After two conflicts a gradient may oppose what it was itself."""
    projected = []
    for i, g in enumerate(gradients):
        for j in orders[i]:
            inner = g @ gradients[j]
            if inner < 0:
                g = g - inner / gradients[j].square().sum() * gradients[j]
        projected.append(g)
    return projected


@mutant("order")
def order_forgotten(gradients, orders):
    return by_the_book(gradients, [range(len(gradients))] * len(gradients), guarded)


@mutant("order")
def order_backwards(gradients, orders):
    return by_the_book(gradients, [list(reversed(order)) for order in orders], guarded)


@mutant("order")
def first_order_for_all(gradients, orders):
    return by_the_book(gradients, [orders[0]] * len(gradients), guarded)


@mutant("order")
def order_of_its_own(gradients, orders):
    return by_the_book(gradients, [torch.randperm(len(gradients)).tolist() for _ in gradients], guarded)


@mutant()
def order_read_as_places(gradients, orders):
    """As if orders[i][j] said when task j comes."""
    return by_the_book(gradients, [sorted(order, key=lambda j: order[j % len(order)]) for order in orders], guarded)


@mutant()
def first_of_the_order_left_out(gradients, orders):
    """As if every order began with the task itself."""
    return by_the_book(gradients, [list(order)[1:] for order in orders], guarded)


@mutant()
def stops_at_itself(gradients, orders):
    projected = []
    for i, g in enumerate(gradients):
        for j in orders[i]:
            if j == i:
                break
            g = guarded(g, gradients[j])
        projected.append(g)
    return projected


@mutant()
def stops_at_the_first_conflict(gradients, orders):
    projected = []
    for i, g in enumerate(gradients):
        for j in orders[i]:
            if j != i and g @ gradients[j] < 0:
                g = guarded(g, gradients[j])
                break
        projected.append(g)
    return projected


def guarded(g, other):
    inner = g @ other
    return g - inner / other.square().sum() * other if inner < 0 else g


def right(gradients, orders):
    return by_the_book(gradients, orders, guarded)
