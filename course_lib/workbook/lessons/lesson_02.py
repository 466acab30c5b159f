"""Exercises of lesson 02, Restormer: inputs, references, points, and the mistakes that the checks recognise."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.plain import PlainGDFN, PlainMDTA
from course_lib.workbook.adapters import call_function, call_module, call_one_of
from course_lib.workbook.exercises import Exercise, Mistake


def _generator(seed: int, salt: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * salt + seed)


def _weights(module: nn.Module, g: torch.Generator) -> dict[str, Tensor]:
    """Weights large enough that every part of the module shows in its output."""
    out = {}
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=g)
        fan_in = max(1, parameter[0].numel())
        out[name] = 1.5 + values.abs() if name == "temperature" else values * (1.5 / fan_in**0.5)
    return out


# ---- 02-a: cosine scores between channels ----------------------------------------------------------------------------


def cosine_scores(q: Tensor, k: Tensor, temperature: Tensor) -> Tensor:
    """(B, n, d, L), (B, n, d, L), (n, 1, 1) -> (B, n, d, d): cosine between channels, times the temperature."""
    return F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * temperature


def _inputs_a(seed: int) -> dict:
    g = _generator(seed, 1)
    q, k = (torch.randn(2, 3, 4, 30, generator=g) * 3 for _ in range(2))
    temperature = 0.5 + 2 * torch.rand(3, 1, 1, generator=g)
    return {
        "cosine": {"q": q, "k": k, "temperature": torch.ones(3, 1, 1)},
        "temperature": {"q": q, "k": k, "temperature": temperature},
    }


def _scores_with(normalise=lambda x: F.normalize(x, dim=-1), scale=lambda s, t, q: s * t):
    return lambda q, k, temperature: scale(normalise(q) @ normalise(k).transpose(-2, -1), temperature, q)


def _token_scores(q, k, temperature):
    return F.normalize(q, dim=-1).transpose(-2, -1) @ F.normalize(k, dim=-1) * temperature


EXERCISE_A = Exercise(
    "02-a", "Cosine scores between channels", ("cosine_scores",), {"cosine": 1, "temperature": 1}, _inputs_a, call_function, cosine_scores,
    (
        Mistake("over channels", _scores_with(lambda x: F.normalize(x, dim=-2)),
                "Each channel was normalised against the other channels of its pixel. A channel is a vector of L pixels here: normalise along the last axis."),
        Mistake("not normalised", _scores_with(lambda x: x),
                "The scores are dot products, not cosines: q and k were not normalised, so bright channels win whatever their pattern."),
        Mistake("divided", _scores_with(scale=lambda s, t, q: s / t),
                "The paper writes a division by alpha; the code that everybody's weights come from multiplies by a learnt temperature. Multiply."),
        Mistake("no temperature", _scores_with(scale=lambda s, t, q: s), "The temperature has no effect: multiply the scores by it, one value a head."),
        Mistake("scaled by sqrt(d)", _scores_with(lambda x: x, lambda s, t, q: s * t / q.shape[-2] ** 0.5),
                "That is token attention's 1/sqrt(d). MDTA uses cosines instead: normalise q and k along the pixels and drop the square root."),
        Mistake("scaled by sqrt(L)", _scores_with(lambda x: x, lambda s, t, q: s * t / q.shape[-1] ** 0.5),
                "Scaling by 1/sqrt(L) is no normalisation: the cosine divides by the length of each channel."),
        Mistake("tokens", _token_scores,
                "The map compares pixels with pixels (L x L). MDTA compares channels with channels: q @ k^T, giving d x d."),
        Mistake("softmax already", lambda q, k, temperature: cosine_scores(q, k, temperature).softmax(-1),
                "These are the attention weights already. Return the scores; the softmax comes in the next step."),
    ),
)  # fmt: skip

# ---- 02-b: MDTA ------------------------------------------------------------------------------------------------------


def _inputs_b(seed: int) -> dict:
    g = _generator(seed, 2)
    cases = {}
    for name, dim, heads, height, width in (("one head", 6, 1, 8, 8), ("several heads", 12, 3, 8, 8), ("not square", 8, 2, 6, 10)):
        weights = _weights(PlainMDTA(dim, heads), g)
        cases[name] = {"init": [dim, heads], "weights": weights, "x": torch.randn(2, dim, height, width, generator=g)}
    return cases


def _mdta_with(**changes):
    """PlainMDTA with one step replaced."""

    class Variant(PlainMDTA):
        def forward(self, x):
            B, C, H, W = x.shape
            y = changes.get("mix", lambda s, t: s.qkv_dwconv(s.qkv(t)))(self, x)
            q, k, v = changes.get("order", lambda parts: parts)(y.chunk(3, dim=1))
            split = changes.get("split", lambda t, n: t.reshape(B, n, C // n, H * W))
            q, k, v = (split(part, self.heads) for part in (q, k, v))
            scores = changes.get("scores", cosine_scores)(q, k, self.temperature)
            out = scores.softmax(dim=changes.get("axis", -1)) @ v
            out = changes.get("merge", lambda t: t)(out).reshape(B, C, H, W)
            return self.project_out(out) if changes.get("project", True) else out

    return Variant


EXERCISE_B = Exercise(
    "02-b", "MDTA", ("MDTA",), {"one head": 1, "several heads": 1, "not square": 1}, _inputs_b, call_module, PlainMDTA,
    (
        Mistake("softmax axis", _mdta_with(axis=-2),
                "The softmax ran over the wrong axis: each row (one output channel) must sum to 1 over the channels it mixes, dim=-1."),
        Mistake("no depthwise", _mdta_with(mix=lambda s, t: s.qkv(t)),
                "qkv_dwconv is not used: the 3x3 depthwise convolution is what lets a channel see its neighbourhood before attention."),
        Mistake("no projection", _mdta_with(project=False), "The result of the attention goes through project_out before it leaves the module."),
        Mistake("order", _mdta_with(order=lambda p: (p[1], p[0], p[2])),
                "q and k are swapped: the 3C channels come as q, then k, then v. Each row of the map belongs to a query channel."),
        Mistake("v first", _mdta_with(order=lambda p: (p[2], p[1], p[0])), "The 3C channels come as q, then k, then v; yours took v first."),
        Mistake("heads interleaved", _mdta_with(split=lambda t, n: t.reshape(t.shape[0], -1, n, t.shape[2] * t.shape[3]).transpose(1, 2),
                                                merge=lambda t: t.transpose(1, 2)),
                "Did you split the heads in the other order? Head 0 owns the first C/n channels (n before d in the reshape)."),
        Mistake("no temperature", _mdta_with(scores=lambda q, k, t: cosine_scores(q, k, torch.ones_like(t))),
                "The temperature is not used: multiply the cosine scores by it before the softmax."),
        Mistake("divided", _mdta_with(scores=lambda q, k, t: cosine_scores(q, k, 1 / t)),
                "Multiply by the temperature; the division stands in the paper only."),
        Mistake("not normalised", _mdta_with(scores=lambda q, k, t: q @ k.transpose(-2, -1) * t),
                "q and k were not normalised along the pixels (02-a): the dot products grow with the number of pixels and the softmax saturates."),
        Mistake("over channels", _mdta_with(scores=lambda q, k, t: F.normalize(q, dim=-2) @ F.normalize(k, dim=-2).transpose(-2, -1) * t),
                "q and k were normalised across channels; a channel is a vector of pixels, so normalise along the last axis."),
    ),
)  # fmt: skip

# ---- 02-c: GDFN ------------------------------------------------------------------------------------------------------


def _inputs_c(seed: int) -> dict:
    g = _generator(seed, 3)
    cases = {}
    for name, dim, expansion in (("gate", 6, 2.0), ("published expansion", 10, 2.66)):
        cases[name] = {"init": [dim, expansion], "weights": _weights(PlainGDFN(dim, expansion), g), "x": torch.randn(2, dim, 7, 9, generator=g)}
    return cases


def _gdfn_with(gate=lambda a, b: F.gelu(a) * b, depthwise=True, halves=lambda y: y.chunk(2, dim=1)):
    class Variant(PlainGDFN):
        def forward(self, x):
            y = self.project_in(x)
            return self.project_out(gate(*halves(self.dwconv(y) if depthwise else y)))

    return Variant


EXERCISE_C = Exercise(
    "02-c", "GDFN", ("GDFN",), {"gate": 1, "published expansion": 1}, _inputs_c, call_module, PlainGDFN,
    (
        Mistake("other half", _gdfn_with(lambda a, b: a * F.gelu(b)), "The gelu stands on the first half of the channels; yours is on the second."),
        Mistake("sigmoid", _gdfn_with(lambda a, b: torch.sigmoid(a) * b), "The gate is gelu(first half), not a sigmoid: it may pass more than 1."),
        Mistake("relu", _gdfn_with(lambda a, b: F.relu(a) * b), "The gate is gelu(first half), not relu."),
        Mistake("both", _gdfn_with(lambda a, b: F.gelu(a) * F.gelu(b)), "Only one path is gated: the second half stays linear."),
        Mistake("after the product", _gdfn_with(lambda a, b: F.gelu(a * b)), "gelu first, then the product: gelu(a) * b."),
        Mistake("sum", _gdfn_with(lambda a, b: F.gelu(a) + b), "A gate multiplies; yours adds the two paths."),
        Mistake("tanh", _gdfn_with(lambda a, b: F.gelu(a, approximate="tanh") * b),
                "That is the tanh approximation of gelu; the official weights expect the exact one, F.gelu(x)."),
        Mistake("no depthwise", _gdfn_with(depthwise=False), "dwconv is not used: the 3x3 depthwise convolution comes between project_in and the gate."),
        Mistake("interleaved", _gdfn_with(halves=lambda y: (y[:, 0::2], y[:, 1::2])), "The halves are the first and the last channels (chunk), not every other one."),
    ),
)  # fmt: skip

# ---- 02-d: pixel unshuffle and shuffle -------------------------------------------------------------------------------


def _inputs_d(seed: int) -> dict:
    g = _generator(seed, 4)
    return {
        "unshuffle": {"which": 0, "x": torch.randn(2, 9, 6, 12, generator=g), "factor": 3},
        "shuffle": {"which": 1, "x": torch.randn(2, 12, 6, 4, generator=g), "factor": 2},
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


def _unshuffle_by_view(x, factor):
    return x.reshape(x.shape[0], -1, x.shape[2] // factor, x.shape[3] // factor)


def _shuffle_by_view(x, factor):
    return x.reshape(x.shape[0], -1, x.shape[2] * factor, x.shape[3] * factor)


EXERCISE_D = Exercise(
    "02-d", "Pixel unshuffle and pixel shuffle", ("pixel_unshuffle", "pixel_shuffle"), {"unshuffle": 1, "shuffle": 1}, _inputs_d, call_one_of,
    (F.pixel_unshuffle, F.pixel_shuffle),
    (
        Mistake("factor before channel", (_unshuffle_factor_first, _shuffle_factor_first),
                "The channel order differs: the r*r pixels of channel 0 come first, then those of channel 1 (C before r*r in the reshape)."),
        Mistake("column before row", (_unshuffle_transposed, _shuffle_transposed),
                "Inside a block the order is row by row; yours goes down the columns. Look at the two axes of size r in your permute."),
        Mistake("plain reshape", (_unshuffle_by_view, _shuffle_by_view),
                "A reshape alone only relabels memory: pixels of different rows got mixed. Split H into (H/r, r) and W into (W/r, r), then permute."),
        Mistake("swapped", (F.pixel_shuffle, F.pixel_unshuffle), "The two functions are swapped: unshuffle makes the image smaller and the channels more."),
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
    g = _generator(seed, 5)
    side, other = (8 * int(torch.randint(3, 40, (), generator=g)) for _ in range(2))
    heads = 2 ** int(torch.randint(1, 4, (), generator=g))
    return {
        "one head": {"height": side, "width": side, "channels": 48, "heads": 1},
        "several heads": {"height": side, "width": other + 320, "channels": 48 * heads, "heads": heads},
    }


def _costs_with(**factors):
    def piece(height, width, channels, heads):
        right = attention_costs(height, width, channels, heads)
        return {key: int(value * factors.get(key, lambda n: 1)(heads)) for key, value in right.items()}

    return piece


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


def _call_stage(piece, arguments: dict) -> list:
    """One [patch, batch] a step; tuples count as lists."""
    values = [call_function(piece, {"step": step, "stages": arguments["stages"]}) for step in arguments["steps"]]
    return [list(value) if isinstance(value, (tuple, list)) else value for value in values]


def _inputs_f(seed: int) -> dict:
    g = _generator(seed, 6)
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
    "02-f", "Progressive learning", ("progressive_stage",), {"inside a stage": 1, "at the borders": 0.5, "after the end": 0.5}, _inputs_f, _call_stage,
    progressive_stage,
    (
        Mistake("late", _late, "Off by one: steps count from 0, so a first stage of 5 iterations is steps 0 to 4, and step 5 is the next stage's."),
        Mistake("early", _early, "Off by one: the last step of a stage already got the next stage's patch."),
        Mistake("not cumulative", _not_cumulative, "Iterations are lengths of the stages, not the steps they end at: add them up."),
        Mistake("starts again", _starts_again, "After the last stage the schedule must not start again: stay at the largest patch."),
        Mistake("equal parts", _equal_parts, "The stages have different lengths; yours gives each an equal part."),
        Mistake("order", lambda step, stages: progressive_stage(step, stages)[::-1], "Return the patch first, then the batch."),
    ),
)  # fmt: skip

EXERCISES = (EXERCISE_A, EXERCISE_B, EXERCISE_C, EXERCISE_D, EXERCISE_E, EXERCISE_F)
