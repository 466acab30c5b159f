"""Answers to 02-f, progressive learning: [patch, batch] at a step."""

import bisect
import itertools
import random

import torch

from . import Answers

ANSWERS = Answers("02-f")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant("one step|border|first step|late")
def late_by_one(step, stages):
    end = 0
    for iterations, patch, batch in stages:
        end += iterations
        if step <= end:
            return [patch, batch]
    return stages[-1][1:]


@mutant("one step|border|early|from 0|count")
def early_by_one(step, stages):
    end = 0
    for iterations, patch, batch in stages:
        end += iterations
        if step + 1 < end:
            return [patch, batch]
    return stages[-1][1:]


@mutant("add|sum|cumulative|length")
def iterations_as_ends(step, stages):
    for iterations, patch, batch in stages:
        if step < iterations:
            return [patch, batch]
    return list(stages[-1][1:])


@mutant("after|end|nothing|None|return")
def nothing_after_the_end(step, stages):
    end = 0
    for iterations, patch, batch in stages:
        end += iterations
        if step < end:
            return [patch, batch]


@mutant("IndexError")
def index_error_after_the_end(step, stages):
    i = 0
    while step >= stages[i][0]:
        step -= stages[i][0]
        i += 1
    return stages[i][1:]


@mutant("after|last|goes on|end")
def first_again_after_the_end(step, stages):
    step %= sum(stage[0] for stage in stages)
    for iterations, patch, batch in stages:
        if step < iterations:
            return [patch, batch]
        step -= iterations


@mutant("after|last|goes on|end")
def first_stage_after_the_end(step, stages):
    end = 0
    for iterations, patch, batch in stages:
        end += iterations
        if step < end:
            return [patch, batch]
    return stages[0][1:]


@mutant("order|batch, patch|\\[patch, batch\\]|swap")
def batch_before_patch(step, stages):
    end = 0
    for iterations, patch, batch in stages:
        end += iterations
        if step < end:
            return [batch, patch]
    return [stages[-1][2], stages[-1][1]]


@mutant("2 values|iterations")
def whole_stage(step, stages):
    end = 0
    for stage in stages:
        end += stage[0]
        if step < end:
            return stage
    return stages[-1]


@mutant("equal|length|iterations")
def stages_of_equal_length(step, stages):
    total = sum(stage[0] for stage in stages)
    index = min(len(stages) - 1, step * len(stages) // total)
    return stages[index][1:]


@mutant()
def always_the_first(step, stages):
    return stages[0][1:]


@mutant()
def always_the_last(step, stages):
    return stages[-1][1:]


@mutant()
def three_stages(step, stages):
    first, second = stages[0][0], stages[0][0] + stages[1][0]
    if step < first:
        return stages[0][1:]
    return stages[1][1:] if step < second else stages[2][1:]


@mutant()
def two_stages(step, stages):
    return stages[0][1:] if step < stages[0][0] else stages[1][1:]


@mutant()
def the_published_borders(step, stages):
    ends = [92_000, 156_000, 204_000, 240_000, 276_000, 300_000]
    index = min(bisect.bisect_right(ends, step), len(stages) - 1)
    return stages[index][1:]


@mutant()
def bisect_on_the_wrong_side(step, stages):
    ends = list(itertools.accumulate(stage[0] for stage in stages))
    return stages[min(bisect.bisect_left(ends, step), len(stages) - 1)][1:]


@mutant()
def patch_between_two_stages(step, stages):
    """Grows linearly inside a stage."""
    start = 0
    for (iterations, patch, batch), (_, following, _) in itertools.pairwise(stages):
        if step < start + iterations:
            return [patch + (following - patch) * (step - start) // iterations, batch]
        start += iterations
    return stages[-1][1:]


@mutant("chang|arguments|in.place|input")
def stages_used_up(step, stages):
    while len(stages) > 1 and step >= stages[0][0]:
        step -= stages.pop(0)[0]
    return stages[0][1:]


@mutant("chang|arguments|in.place|input")
def iterations_overwritten(step, stages):
    for i in range(1, len(stages)):
        stages[i][0] += stages[i - 1][0]
    return next(([p, b] for end, p, b in stages if step < end), stages[-1][1:])


@mutant("float|integer|int")
def floats(step, stages):
    ends = list(itertools.accumulate(stage[0] for stage in stages))
    return [float(value) for value in stages[min(bisect.bisect_right(ends, step), len(stages) - 1)][1:]]


@mutant("patch|2 values|\\[")
def patch_only(step, stages):
    ends = list(itertools.accumulate(stage[0] for stage in stages))
    return stages[min(bisect.bisect_right(ends, step), len(stages) - 1)][1]


@mutant()
def a_random_stage(step, stages):
    return random.choice(stages)[1:]


@alternative
def by_bisection(step, stages):
    ends = list(itertools.accumulate(stage[0] for stage in stages))
    return stages[min(bisect.bisect_right(ends, step), len(stages) - 1)][1:]


@alternative
def by_recursion(step, stages):
    (length, patch, batch), *rest = stages
    return (patch, batch) if step < length or not rest else by_recursion(step - length, rest)


@alternative
def from_the_back(now, plan):
    starts = [sum(stage[0] for stage in plan[:i]) for i in range(len(plan))]
    for start, stage in sorted(zip(starts, plan, strict=True), reverse=True):
        if now >= start:
            return stage[1:]


@alternative
def by_torch(step, stages):
    ends = torch.tensor([stage[0] for stage in stages]).cumsum(0)
    index = min(int((ends <= step).sum()), len(stages) - 1)
    return torch.tensor(stages)[index, 1:].tolist()


@alternative
def one_long_list(step, stages):
    every = [[patch, batch] for iterations, patch, batch in stages for _ in range(iterations)]
    return every[step] if step < len(every) else every[-1]
