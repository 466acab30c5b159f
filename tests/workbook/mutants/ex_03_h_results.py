"""Answers to 03-h, PCGrad: more wrong ones, which hand back the wrong thing or harm what they were given."""

import torch

from .ex_03_h import ANSWERS, by_the_book, guarded, right

mutant = ANSWERS.mutant


@mutant()
def two_tasks_only(gradients, orders):
    one, other = gradients[:2]
    return [guarded(one, other), guarded(other, one)]


@mutant()
def neighbours_only(gradients, orders):
    """Right for two tasks."""
    return [guarded(g, gradients[(i + 1) % len(gradients)]) for i, g in enumerate(gradients)]


@mutant("(?s)^(?!.*projected already)")
def first_task_only(gradients, orders):
    return [right(gradients, orders)[0], *gradients[1:]]


@mutant("list|sum|each")
def their_sum(gradients, orders):
    return torch.stack(right(gradients, orders)).sum(0)


@mutant()
def sum_for_everyone(gradients, orders):
    total = torch.stack(right(gradients, orders)).sum(0)
    return [total for _ in gradients]


@mutant()
def their_mean(gradients, orders):
    return [projected / len(gradients) for projected in right(gradients, orders)]


@mutant()
def against_the_sum_of_the_others(gradients, orders):
    """Right for two tasks."""
    total = torch.stack(list(gradients)).sum(0)
    return [guarded(g, total - g) for g in gradients]


@mutant()
def against_the_mean_of_the_others(gradients, orders):
    projected = []
    for i, g in enumerate(gradients):
        parts = [guarded(g, gradients[j]) for j in orders[i] if j != i]
        projected.append(torch.stack(parts).mean(0) if parts else g)
    return projected


@mutant()
def conflict_shared_by_both(gradients, orders):
    """Both give way, half each."""
    return by_the_book(gradients, orders, lambda g, o: g - 0.5 * (g @ o) / (o @ o) * o if g @ o < 0 else g)


@mutant()
def until_nobody_conflicts(gradients, orders):
    """Goes on until no raw gradient is opposed: more than the algorithm does."""
    projected = right(gradients, orders)
    for _ in range(50):
        projected = [
            by_the_book([p if k == i else g for k, g in enumerate(gradients)], orders, guarded)[i] for i, p in enumerate(projected)
        ]
    return projected


@mutant()
def half_precision(gradients, orders):
    return [g.float() for g in right([g.bfloat16() for g in gradients], orders)]


@mutant()
def nothing_returned_for_those_without_conflict(gradients, orders):
    return [new for new, old in zip(right(gradients, orders), gradients, strict=True) if not torch.equal(new, old)]


@mutant("order|list")
def order_used_up(gradients, orders):
    """Takes the tasks off the caller's lists."""
    projected = []
    for i, g in enumerate(gradients):
        order = orders[i]
        while order:
            j = order.pop(0)
            if j != i:
                g = guarded(g, gradients[j])
        projected.append(g)
    return projected


@mutant("order")
def own_place_removed_from_the_order(gradients, orders):
    for i, order in enumerate(orders):
        if i in order:
            order.remove(i)
    return by_the_book(gradients, orders, guarded)


@mutant()
def gradients_emptied(gradients, orders):
    projected = right(gradients, orders)
    gradients.clear()
    return projected


@mutant("order|IndexError|index")
def orders_of_all_tasks_expected(gradients, orders):
    """Stops where an order leaves out the task itself."""
    projected = []
    for i, g in enumerate(gradients):
        for place in range(len(gradients)):
            if orders[i][place] != i:
                g = guarded(g, gradients[orders[i][place]])
        projected.append(g)
    return projected


@mutant()
def place_in_the_order_skipped(gradients, orders):
    """The i-th of the order instead of task i."""
    projected = []
    for i, g in enumerate(gradients):
        for place, j in enumerate(orders[i]):
            if place != i:
                g = guarded(g, gradients[j])
        projected.append(g)
    return projected


@mutant()
def small_conflicts_forgiven(gradients, orders):
    """Wrong for small gradients."""
    return by_the_book(gradients, orders, lambda g, o: guarded(g, o) if g @ o < -1e-6 else g)


@mutant("list")
def stacked(gradients, orders):
    return torch.stack(right(gradients, orders))
