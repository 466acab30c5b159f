"""Exercises of lesson 02, Restormer. Here 02-d to 02-f; the blocks stand in `lesson_02_blocks.py`."""

import torch
import torch.nn.functional as F

from course_lib.workbook.adapters import call_function, call_one_of
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_02_blocks import EXERCISE_A, EXERCISE_B, EXERCISE_C, seeded

# ---- 02-d: pixel unshuffle and shuffle -------------------------------------------------------------------------------


def _inputs_d(seed: int) -> dict:
    g = seeded(seed, 4)
    r = 3 if seed % 2 == 0 else 2  # 3 shows what holds for powers of two and even sizes only, 2 what holds for 3 only
    return {
        "unshuffle": {"which": 0, "x": torch.randn(2, r * r, 3 * r, 5 * r, generator=g), "factor": r},
        "shuffle": {"which": 1, "x": torch.randn(2, 3 * r * r, 5, 4, generator=g), "factor": r},
    }


def _unshuffle_factor_first(x, factor):
    B, C, H, W = x.shape
    return x.reshape(B, C, H // factor, factor, W // factor, factor).permute(0, 3, 5, 1, 2, 4).reshape(B, -1, H // factor, W // factor)


def _shuffle_factor_first(x, factor):
    B, C, H, W = x.shape
    return x.reshape(B, factor, factor, -1, H, W).permute(0, 3, 4, 1, 5, 2).reshape(B, -1, H * factor, W * factor)


def _unshuffle_transposed(x, factor):
    return F.pixel_unshuffle(x.transpose(-2, -1), factor).transpose(-2, -1)


def _shuffle_transposed(x, factor):
    return F.pixel_shuffle(x.transpose(-2, -1), factor).transpose(-2, -1)


def _unshuffle_blocks(x, factor):
    B, C, H, W = x.shape
    x = x.reshape(B, C, factor, H // factor, factor, W // factor)
    return x.permute(0, 1, 2, 4, 3, 5).reshape(B, -1, H // factor, W // factor)


def _shuffle_blocks(x, factor):
    B, C, H, W = x.shape
    return x.reshape(B, -1, factor, factor, H, W).permute(0, 1, 2, 4, 3, 5).reshape(B, -1, H * factor, W * factor)


def _unshuffle_by_view(x, factor):
    return x.reshape(x.shape[0], -1, x.shape[2] // factor, x.shape[3] // factor)


def _shuffle_by_view(x, factor):
    return x.reshape(x.shape[0], -1, x.shape[2] * factor, x.shape[3] * factor)


EXERCISE_D = Exercise(
    "02-d", "Pixel unshuffle and pixel shuffle", ("pixel_unshuffle", "pixel_shuffle"), {"unshuffle": 1, "shuffle": 1}, _inputs_d,
    call_one_of, (F.pixel_unshuffle, F.pixel_shuffle),
    (
        Mistake("factor before channel", (_unshuffle_factor_first, _shuffle_factor_first),
                "The channel order differs: the r*r pixels of channel 0 come first, then those of channel 1 (C before r*r in the "
                "reshape)."),
        Mistake("column before row", (_unshuffle_transposed, _shuffle_transposed),
                "Inside a block the order is row by row; yours goes down the columns. Look at the two axes of size r in your permute."),
        Mistake("blocks", (_unshuffle_blocks, _shuffle_blocks),
                "The picture was cut into r x r large tiles. Neighbouring pixels must go to different channels: split H into (H/r, r), "
                "with r last."),
        Mistake("plain reshape", (_unshuffle_by_view, _shuffle_by_view),
                "A reshape alone only relabels memory: pixels of different rows got mixed. Split H into (H/r, r) and W into (W/r, r), "
                "then permute."),
        Mistake("swapped", (F.pixel_shuffle, F.pixel_unshuffle),
                "The two functions are swapped: unshuffle makes the image smaller and the channels more."),
    ),
)  # fmt: skip

# ---- 02-e: what attention costs --------------------------------------------------------------------------------------


def attention_costs(height: int, width: int, channels: int, heads: int) -> dict[str, int]:
    """Multiplications of scores and mixing, and entries of the attention maps, for token attention and for MDTA."""
    pixels = height * width
    return {
        "token_multiplications": 2 * pixels * pixels * channels,
        "token_map": heads * pixels * pixels,
        "channel_multiplications": 2 * pixels * channels * channels // heads,
        "channel_map": channels * channels // heads,
    }


def _inputs_e(seed: int) -> dict:
    g = seeded(seed, 5)
    side, other = (8 * int(torch.randint(3, 40, (), generator=g)) for _ in range(2))
    heads = 2 ** int(torch.randint(1, 4, (), generator=g))
    return {
        "one head": {"height": side, "width": side, "channels": 40, "heads": 1},
        "several heads": {"height": side, "width": other + 320, "channels": 48 * heads, "heads": heads},
    }


def _costs_with(**factors):
    def piece(height, width, channels, heads):
        right = attention_costs(height, width, channels, heads)
        return {key: int(value * factors.get(key, lambda n: 1)(heads)) for key, value in right.items()}

    return piece


def _kinds_mixed_up(costs):
    other = {"token": "channel", "channel": "token"}
    return {key: costs[f"{other[key.split('_')[0]]}_{key.split('_')[1]}"] for key in costs}


EXERCISE_E = Exercise(
    "02-e", "What attention costs", ("attention_costs",), {"one head": 1, "several heads": 1}, _inputs_e, call_function, attention_costs,
    (
        Mistake("scores only", _costs_with(token_multiplications=lambda n: 0.5, channel_multiplications=lambda n: 0.5),
                "Two products are made: the scores q k^T, and the map times v. Yours counts one of them."),
        Mistake("heads forgotten in channels", _costs_with(channel_multiplications=lambda n: n, channel_map=lambda n: n),
                "With n heads a channel meets only the C/n channels of its head: n maps of (C/n) x (C/n), together C*C/n."),
        Mistake("heads divide tokens", _costs_with(token_multiplications=lambda n: 1 / n),
                "Heads do not make token attention cheaper: n heads of C/n channels each still make L*L*C products."),
        Mistake("heads multiply tokens", _costs_with(token_multiplications=lambda n: n),
                "Each head works on C/n channels only, so the n heads together make L*L*C products, not n times that."),
        Mistake("one map each", _costs_with(token_map=lambda n: 1 / n, channel_map=lambda n: 1 / n),
                "You give the entries of one map; every head has a map of its own, n of them."),
        Mistake("no heads", lambda height, width, channels, heads: attention_costs(height, width, channels, 1),
                "The number of heads has no effect: each of the n heads has C/n channels and a map of its own."),
        Mistake("one head's share",
                lambda height, width, channels, heads: {k: v // heads for k, v in attention_costs(height, width, channels, heads).items()},
                "That is one head's share. Count all n heads."),
        Mistake("all channels in each head",
                _costs_with(token_multiplications=lambda n: n, channel_multiplications=lambda n: n * n, channel_map=lambda n: n * n),
                "A head has C/n channels, not all C of them."),
        Mistake("kinds mixed up", lambda height, width, channels, heads: _kinds_mixed_up(attention_costs(height, width, channels, heads)),
                "The two kinds are mixed up: token attention compares pixels (maps of L x L), channel attention compares channels."),
        Mistake("additions", _costs_with(token_multiplications=lambda n: 2, channel_multiplications=lambda n: 2),
                "That is twice too many: count the multiplications alone, not the additions."),
        Mistake("projections",
                lambda height, width, channels, heads: {
                    key: value + (4 * channels * channels * height * width if "multiplications" in key else 0)
                    for key, value in attention_costs(height, width, channels, heads).items()
                },
                "You counted the four projections (C x C at each pixel) as well; only the two products count here."),
        Mistake("one token map", _costs_with(token_map=lambda n: 1 / n), "Every head has a map of its own: n maps of L x L."),
        Mistake("one side", lambda height, width, channels, heads: attention_costs(height, 1, channels, heads),
                "L is the number of pixels, height times width."),
    ),
)  # fmt: skip

# ---- 02-f: progressive learning --------------------------------------------------------------------------------------


def progressive_stage(step: int, stages: list) -> list:
    """[patch, batch] at `step` (from 0) for stages [iterations, patch, batch]; the last stage goes on for ever."""
    end = 0
    for iterations, patch, batch in stages:
        end += iterations
        if step < end:
            return [patch, batch]
    return [stages[-1][1], stages[-1][2]]


def _call_stage(piece, arguments: dict) -> dict:
    """What each step gets, as text for the message; tuples count as lists."""
    stages = arguments["stages"]
    lengths = ", ".join(str(iterations) for iterations, *_ in stages)
    values = {step: call_function(piece, {"step": step, "stages": stages}) for step in arguments["steps"]}
    return {f"step {step} of stages with {lengths} iterations": list(v) if isinstance(v, tuple) else v for step, v in values.items()}


def _inputs_f(seed: int) -> dict:
    g = seeded(seed, 6)
    lengths = [int(n) for n in torch.randint(5, 60, (5,), generator=g)]
    stages = [[length, 128 + 32 * i, 8 - i] for i, length in enumerate(lengths)]
    ends = [sum(lengths[: i + 1]) for i in range(5)]
    inside = [ends[0] // 2, ends[0] + lengths[1] // 2, ends[2] + lengths[3] // 2]
    return {
        "inside a stage": {"steps": inside, "stages": stages},
        "at the borders": {"steps": [0, ends[0] - 1, ends[0], ends[2] - 1, ends[2]], "stages": stages},
        "after the end": {"steps": [ends[-1], ends[-1] + 1000], "stages": stages},
    }


def _late(step, stages):
    return progressive_stage(max(0, step - 1), stages)


def _early(step, stages):
    return progressive_stage(step + 1, stages)


def _not_cumulative(step, stages):
    return next(([patch, batch] for iterations, patch, batch in stages if step < iterations), [stages[-1][1], stages[-1][2]])


def _starts_again(step, stages):
    return progressive_stage(step % sum(stage[0] for stage in stages), stages)


def _equal_parts(step, stages):
    length = sum(stage[0] for stage in stages) / len(stages)
    return list(stages[min(len(stages) - 1, int(step / length))][1:])


EXERCISE_F = Exercise(
    "02-f", "Progressive learning", ("progressive_stage",), {"inside a stage": 1, "at the borders": 0.5, "after the end": 0.5}, _inputs_f,
    _call_stage, progressive_stage,
    (
        Mistake("late", _late,
                "Off by one: steps count from 0, so a first stage of 5 iterations is steps 0 to 4, and step 5 is the next stage's."),
        Mistake("early", _early, "Off by one: the last step of a stage already got the next stage's patch."),
        Mistake("not cumulative", _not_cumulative, "Iterations are lengths of the stages, not the steps they end at: add them up."),
        Mistake("starts again", _starts_again, "After the last stage the schedule must not start again: stay at the largest patch."),
        Mistake("equal parts", _equal_parts, "The stages have different lengths; yours gives each an equal part."),
        Mistake("first after the end",
                lambda step, stages: progressive_stage(step if step < sum(stage[0] for stage in stages) else 0, stages),
                "After the end the last stage goes on; yours goes back to the first."),
        Mistake("whole stage", lambda step, stages: next(list(s) for s in stages if list(s[1:]) == progressive_stage(step, stages)),
                "Return [patch, batch] only, without the iterations."),
        Mistake("order", lambda step, stages: progressive_stage(step, stages)[::-1], "Return the patch first, then the batch."),
    ),
)  # fmt: skip

EXERCISES = (EXERCISE_A, EXERCISE_B, EXERCISE_C, EXERCISE_D, EXERCISE_E, EXERCISE_F)
