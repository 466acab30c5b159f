"""Exercises 03-g and 03-h, the task-interference lab: inputs, references, points, and the mistakes that the checks recognise."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.lab.remedies import project_conflicts
from course_lib.workbook.adapters import call_number, call_vectors
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_03_prompts import seeded

# ---- 03-g: do two tasks agree? ---------------------------------------------------------------------------------------


def _pairs(first, second) -> list[tuple[Tensor, Tensor]]:
    """Layer by layer, zeros for None; a layer that neither loss reaches adds nothing and is left out."""
    filled = []
    for a, b in zip(first, second, strict=True):
        if a is not None or b is not None:
            filled.append((torch.zeros_like(b) if a is None else a, torch.zeros_like(a) if b is None else b))
    return filled


def _flat(first, second) -> tuple[Tensor, Tensor]:
    one, other = zip(*_pairs(first, second), strict=True)
    return torch.cat([t.flatten() for t in one]), torch.cat([t.flatten() for t in other])


def gradient_cosine(first, second) -> Tensor:
    """Two lists of tensors or None, layer by layer -> 0-d cosine of the two as flat vectors, None as zeros; NaN when one is all zero."""
    a, b = _flat(first, second)
    return a @ b / (a.norm() * b.norm())


def _inputs_g(seed: int) -> dict:
    g = seeded(seed, 37)
    # Gradients are small: an eps in the denominator would show. One lies channels last, as those of a convolution in PromptIR do.
    shapes, scales = ((4, 3, 3, 3), (6,), (2, 5), ()), (1.0, 4.0, 0.3, 2.0)

    def draw(which=shapes):
        return [2e-4 * s * torch.randn(shape, generator=g) for shape, s in zip(which, scales, strict=False)]

    first, second = draw(), draw()
    second = [b + lean * a for a, b, lean in zip(first, second, (0.9, -0.6, 0.8, 0.0), strict=True)]
    if seed % 2:  # a conflict in the whole
        second = [-b for b in second]
    second[0] = second[0].contiguous(memory_format=torch.channels_last)
    # Layers of one shape, so that a None left out of one list alone shifts the others without a crash.
    equal = [(2, 3)] * 4
    some, other = draw(equal), draw(equal)
    other = [b + 0.8 * a for a, b in zip(some, other, strict=True)]
    some, other = [some[0], None, some[1], some[2], None], [other[0], other[1], None, other[2], None]
    full = [torch.randn(3, 2, generator=g), torch.randn(4, generator=g)]
    zeros = [torch.zeros(3, 2), torch.zeros(4)]
    one, two = ((full, zeros), ([None, None], full), ([torch.zeros(3, 2), None], zeros))[seed % 3]
    return {
        "all layers reached": {"first": first, "second": second},
        "some layers not reached": {"first": some, "second": other} if seed % 2 else {"first": other, "second": some},
        "nothing reached": {"first": one, "second": two},
    }


def _cosine(a, b):
    return a @ b / (a.norm() * b.norm())


def _each(first, second, combine):
    return combine([_cosine(a.flatten(), b.flatten()) for a, b in _pairs(first, second)])


def _of_flat(formula):
    return lambda first, second: formula(*_flat(first, second))


def _without_none(first, second):
    one, other = (torch.cat([t.flatten() for t in layers if t is not None]) for layers in (first, second))
    return _cosine(one, other)


def _common_layers(first, second):
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return gradient_cosine(*zip(*both, strict=True))


def _nan_for_a_layer(first, second):
    cosine = gradient_cosine(first, second)
    return cosine if all(a.any() and b.any() for a, b in _pairs(first, second)) else cosine * torch.nan


def _ones_for_none(first, second):
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None or b is not None]
    return gradient_cosine(
        [torch.ones_like(b) if a is None else a for a, b in both], [torch.ones_like(a) if b is None else b for a, b in both]
    )


def _first_layer(first, second):
    return gradient_cosine(first[:1], second[:1])


def _for_nothing(number):
    return lambda first, second: gradient_cosine(first, second).nan_to_num(nan=number)


EXERCISE_G = Exercise(
    "03-g", "Do two tasks agree?", ("gradient_cosine",), {"all layers reached": 1, "some layers not reached": 0.5, "nothing reached": 0.5},
    _inputs_g, call_number, gradient_cosine,
    (
        Mistake("NaN for a layer", _nan_for_a_layer,
                "One layer that is zero (or None) makes the whole NaN. Only a gradient that is zero in *all* layers has no direction."),
        Mistake("mean of the layers", lambda first, second: _each(first, second, lambda c: torch.stack(c).mean()),
                "That is the mean of the cosines of the layers, where a tiny layer counts as much as a large one. Join all layers into one "
                "vector first."),
        Mistake("mean of the layers, zeros kept out", lambda first, second: _each(first, second, lambda c: torch.stack(c).nanmean()),
                "That is the mean of the cosines of the layers, where a tiny layer counts as much as a large one. Join all layers into one "
                "vector first."),
        Mistake("sum of the layers", lambda first, second: _each(first, second, lambda c: torch.stack(c).sum()),
                "The cosines of the layers were added up. Join all layers into one vector first."),
        Mistake("first layer", _first_layer, "Only the first layer was compared: all layers make one long vector."),
        Mistake("size", _of_flat(lambda a, b: _cosine(a, b).abs()),
                "The sign is lost: below zero means a conflict, and that is what we are after."),
        Mistake("cut off", _of_flat(lambda a, b: _cosine(a, b).clamp(min=0)),
                "Negative values were cut off: below zero means a conflict, and that is what we are after. Keep the sign."),
        Mistake("minus", _of_flat(lambda a, b: -_cosine(a, b)), "The sign is wrong: gradients that agree have a cosine of +1."),
        Mistake("distance", _of_flat(lambda a, b: 1 - _cosine(a, b)), "That is the cosine distance, 1 - cosine: return the cosine."),
        Mistake("zero for nothing", _for_nothing(0.0),
                "A gradient that is zero everywhere has no direction: the answer is NaN. 0 would read as 'at right angles'; it "
                "comes from F.cosine_similarity, and from any small number added to the denominator."),
        Mistake("one for nothing", _for_nothing(1.0), "A zero gradient agrees with nothing: it has no direction, so the answer is NaN."),
        Mistake("ones for None", _ones_for_none, "None was replaced by ones. A layer that is not reached has the gradient zero."),
        Mistake("product", _of_flat(lambda a, b: a @ b), "That is the dot product: divide it by both lengths."),
        Mistake("one length", _of_flat(lambda a, b: a @ b / a.norm()), "Only the first length divides: divide by both."),
        Mistake("other length", _of_flat(lambda a, b: a @ b / b.norm()), "Only the second length divides: divide by both."),
        Mistake("squared lengths", _of_flat(lambda a, b: a @ b / (a.square().sum() * b.square().sum())),
                "You divide by the squared lengths: the square roots are missing."),
        Mistake("length squared", _of_flat(lambda a, b: a @ b / a.square().sum()),
                "You divide by the squared length of the first: divide by the lengths of both."),
        Mistake("sum of absolutes", _of_flat(lambda a, b: a @ b / (a.abs().sum() * b.abs().sum())),
                "The length is the root of the sum of squares, not the sum of absolute values."),
        Mistake("correlation", _of_flat(lambda a, b: _cosine(a - a.mean(), b - b.mean())),
                "The means were taken off, which makes it a correlation: the cosine takes the vectors as they are."),
        Mistake("signs", _of_flat(lambda a, b: (a.sign() * b.sign()).mean()), "That compares signs only: the cosine weighs by size."),
        Mistake("none left out one by one", _without_none,
                "The Nones were left out of each list by itself, so later layers no longer face their partners. Put zeros in their place."),
        Mistake("common layers only", _common_layers,
                "Layers that only one loss reaches were left out of both. Their None counts as zeros: nothing is added to the product, but "
                "the other gradient is still part of its length."),
        Mistake("eps", _of_flat(lambda a, b: a @ b / (a.norm() * b.norm() + 1e-8)),
                "The small number in the denominator is not small beside these gradients, and it hides the NaN: leave it out."),
        Mistake("larger eps", _of_flat(lambda a, b: a @ b / (a.norm() * b.norm() + 1e-6)),
                "The small number in the denominator is not small beside these gradients, and it hides the NaN: leave it out."),
    ),
)  # fmt: skip

# ---- 03-h: gradient surgery ------------------------------------------------------------------------------------------


def _cosines(gradients) -> Tensor:
    stacked = F.normalize(torch.stack(gradients), dim=1)
    return stacked @ stacked.T


def _differ(inputs: dict) -> bool:
    """Whether the order, and projecting against the raw others, decide about the result."""
    right = torch.stack(project_conflicts(*inputs.values()))
    if any(i in order for i, order in enumerate(inputs["orders"])):  # then meeting oneself must matter
        met = _surgery(skip=False)(*inputs.values())
        if (torch.stack(met) - right).abs().max() < 0.05:
            return False
    others = (
        _surgery(against="projected"),
        _surgery(order=sorted),
        _surgery(order=lambda o: o[::-1]),
        _surgery(inner="raw"),
        _surgery(stop=True),
    )
    return all((torch.stack(piece(*inputs.values())) - right).abs().max() > 0.05 for piece in others)


def _surgery(
    against="raw", inner="current", order=list, stop=False, skip=True, when=lambda d: d < 0, remove=lambda g, o, d: g - d / (o @ o) * o
):
    """PCGrad with one step replaced."""

    def piece(gradients, orders):
        done = list(gradients)
        for i, gradient in enumerate(gradients):
            current = gradient
            for j in order(orders[i]):
                if j == i and skip:
                    continue
                other = done[j] if against == "projected" else gradients[j]
                product = (gradient if inner == "raw" else current) @ other
                if when(product):
                    current = remove(current, other, product)
                    if stop:
                        break
            done[i] = current
        return done

    return piece


def _inputs_h(seed: int) -> dict:
    g = seeded(seed, 38)

    def draw(count, size):
        return [torch.randn(size, generator=g) * (0.6 + torch.rand((), generator=g)) for _ in range(count)]

    while True:
        two = draw(2, 6)
        if -0.9 < _cosines(two)[0, 1] < -0.3:
            break
    unit = 1e-4 if seed % 3 == 2 else 1.0  # gradients are small: an eps in the divisor would show
    two = [unit * gradient for gradient in two]
    while True:  # so many tasks in so few dimensions conflict, and order and rawness matter
        orders = [torch.randperm(5, generator=g).tolist() for _ in range(5)]
        if seed % 2:  # without the task itself
            orders = [[j for j in order if j != i] for i, order in enumerate(orders)]
        five = {"gradients": draw(5, 3), "orders": orders}
        if _differ(five):
            break
    base = torch.randn(7, generator=g)
    friends = [base + 0.3 * torch.randn(7, generator=g) for _ in range(2)] + [torch.zeros(7)]  # no loss of the third reaches the weights
    return {
        "without a conflict": {"gradients": friends, "orders": [[1, 2], [2, 0], [0, 1]], "unit": 1.0},
        "two tasks": {"gradients": two, "orders": [[0, 1], [1, 0]], "unit": unit},
        "several, in their order": five | {"unit": 1.0},
    }


def _joined(combine):
    return lambda gradients, orders: combine(torch.stack(project_conflicts(gradients, orders)))


def _against_the_sum(gradients, orders):
    total = torch.stack(list(gradients)).sum(0)
    return [project_conflicts([g, total - g], [[1], []])[0] for g in gradients]


EXERCISE_H = Exercise(
    "03-h", "Gradient surgery", ("project_conflicts",), {"without a conflict": 0.5, "several, in their order": 1.5, "two tasks": 1},
    _inputs_h, call_vectors, project_conflicts,
    (
        Mistake("nothing done", lambda gradients, orders: list(gradients),
                "The gradients came back as they were, conflicts and all: where a dot product is negative, the part along the other goes."),
        Mistake("always", _surgery(when=lambda d: True),
                "You project always. Only conflicts are to go: project when the dot product is negative, else leave the gradient."),
        Mistake("when they agree", _surgery(when=lambda d: d > 0),
                "You project when the two agree. A conflict is a *negative* dot product."),
        Mistake("not squared", _surgery(remove=lambda g, o, d: g - d / o.norm() * o),
                "Divide by the *squared* length of the other gradient: one length for the product, one for the direction."),
        Mistake("not divided", _surgery(remove=lambda g, o, d: g - d * o), "The division by the squared length of the other is missing."),
        Mistake("own length", _surgery(remove=lambda g, o, d: g - d / (g @ g) * o),
                "You divide by the gradient's own squared length; it is the other's."),
        Mistake("both lengths", _surgery(remove=lambda g, o, d: g - d / (g.norm() * o.norm()) * o),
                "You divide by both lengths, as for a cosine. A projection divides by the squared length of the other."),
        Mistake("added", _surgery(remove=lambda g, o, d: g + d / (o @ o) * o),
                "The conflicting part grew: subtract <g_i, g_j> / |g_j|^2 g_j, which is negative already."),
        Mistake("half", _surgery(remove=lambda g, o, d: g - 0.5 * d / (o @ o) * o), "Half of the conflicting part is still there."),
        Mistake("mirrored", _surgery(remove=lambda g, o, d: g - 2 * d / (o @ o) * o),
                "The conflicting part is taken away twice, which reflects the gradient: it must end at right angles to the other."),
        Mistake("along itself", _surgery(remove=lambda g, o, d: g - d / (g @ g) * g),
                "You shorten the gradient along its own direction. What must go is its part along the other, g_j."),
        Mistake("other dropped", _surgery(remove=lambda g, o, d: d / (o @ o) * o),
                "You return the part along the other; it is what must be taken away."),
        Mistake("zeroed", _surgery(remove=lambda g, o, d: torch.zeros_like(g)),
                "The whole gradient was dropped. Only its part along the other goes; the rest still helps the task."),
        Mistake("against the projected", _surgery(against="projected"),
                "You project against gradients that were projected already. The others are the raw ones: keep the input."),
        Mistake("first task only", lambda gradients, orders: [project_conflicts(gradients, orders)[0], *gradients[1:]],
                "Only the first task's gradient was projected: every task has its turn."),
        Mistake("products of the raw", _surgery(inner="raw"),
                "The dot product was taken with the gradient as it came. It must be that of the gradient as it is *now*, after the "
                "projections before: an earlier one may have settled the conflict."),
        Mistake("order ignored", _surgery(order=sorted), "The order has no effect: task i meets the others in the order of orders[i]."),
        Mistake("order reversed", _surgery(order=lambda o: o[::-1]), "The others are met in reversed order."),
        Mistake("first conflict only", _surgery(stop=True), "Only the first conflict was solved: go on with the others."),
        Mistake("one order for all", lambda gradients, orders: project_conflicts(gradients, [orders[0]] * len(gradients)),
                "Every task used orders[0]; task i has orders[i]."),
        Mistake("met himself", _surgery(skip=False),
                "Task i meets itself: where orders[i] names i, skip it. After two conflicts a gradient may oppose what it was."),
        Mistake("sum of the others", _against_the_sum,
                "You project against the sum of the others. Task i meets the others one by one: one may agree and another conflict."),
        Mistake("sum for each", lambda gradients, orders: [sum(project_conflicts(gradients, orders))] * len(gradients),
                "Each entry is the sum of all. Return each task's own gradient: the lab adds them up."),
        Mistake("share", lambda gradients, orders: [g / len(gradients) for g in project_conflicts(gradients, orders)],
                "Each gradient was divided by the number of tasks: return them whole, the lab adds them up."),
        Mistake("sum", _joined(lambda s: s.sum(0)), "You return the sum. Return the list, one gradient a task: the lab adds them up."),
        Mistake("mean", _joined(lambda s: s.mean(0)), "You return the mean. Return the list, one gradient a task: the lab adds them up."),
        Mistake("stacked", _joined(lambda s: s), "Return a list with one gradient a task, not one stacked tensor."),
    ),
)  # fmt: skip
