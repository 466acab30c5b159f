"""Exercises 02-a to 02-c, the blocks of Restormer: inputs, references, points, and the mistakes that the checks recognise."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.plain import PlainGDFN, PlainMDTA
from course_lib.workbook.adapters import call_function, call_module
from course_lib.workbook.exercises import Exercise, Mistake


def seeded(seed: int, salt: int) -> torch.Generator:
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
    g = seeded(seed, 1)
    loud = torch.tensor([0.03, 1.0, 2.0, 3.0]).reshape(4, 1)  # a quiet channel shows an eps that is too large
    q, k = (torch.randn(2, 3, 4, 30, generator=g) * 3 * loud for _ in range(2))
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
                "Each channel was normalised against the other channels of its pixel. A channel is a vector of L pixels here: normalise"
                " along the last axis."),
        Mistake("not normalised", _scores_with(lambda x: x),
                "The scores are dot products, not cosines: q and k were not normalised, so bright channels win whatever their pattern."),
        Mistake("default axis", _scores_with(lambda x: F.normalize(x)),
                "F.normalize works along dim=1 unless told, and that axis holds the heads. The pixels of a channel are the last axis: "
                "dim=-1."),
        Mistake("length of a head", _scores_with(lambda x: x / x.norm(dim=(-2, -1), keepdim=True)),
                "Each head was divided by one length. Every channel has a length of its own: the norm along the last axis only."),
        Mistake("only q", lambda q, k, temperature: F.normalize(q, dim=-1) @ k.transpose(-2, -1) * temperature,
                "Only q is normalised. A cosine divides by both lengths: normalise k, too."),
        Mistake("only k", lambda q, k, temperature: q @ F.normalize(k, dim=-1).transpose(-2, -1) * temperature,
                "Only k is normalised. A cosine divides by both lengths: normalise q, too."),
        Mistake("transposed", lambda q, k, temperature: cosine_scores(k, q, temperature),
                "The map is transposed: rows belong to queries and columns to keys, q @ k^T."),
        Mistake("mean square", _scores_with(lambda x: F.normalize(x, dim=-1) * x.shape[-1] ** 0.5),
                "The length is the root of the sum of squares over the pixels; yours takes their mean (or the standard deviation)."),
        Mistake("squared length", _scores_with(lambda x: x / x.square().sum(-1, keepdim=True)),
                "You divide by the squared length: the square root is missing."),
        Mistake("divided", _scores_with(scale=lambda s, t, q: s / t),
                "The paper writes a division by alpha; the code that everybody's weights come from multiplies by a learnt temperature. "
                "Multiply."),
        Mistake("no temperature", _scores_with(scale=lambda s, t, q: s),
                "The temperature has no effect: multiply the scores by it, one value a head."),
        Mistake("scaled by sqrt(d)", _scores_with(lambda x: x, lambda s, t, q: s * t / q.shape[-2] ** 0.5),
                "That is token attention's 1/sqrt(d). MDTA uses cosines instead: normalise q and k along the pixels and drop the square"
                " root."),
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
    g = seeded(seed, 2)
    cases = {}
    for name, dim, heads, height, width in (("one head", 6, 1, 8, 8), ("several heads", 12, 3, 8, 8), ("not square", 8, 2, 7, 9)):
        weights = _weights(PlainMDTA(dim, heads), g)
        cases[name] = {"init": [dim, heads], "weights": weights, "x": torch.randn(2, dim, height, width, generator=g)}
    return cases


def _mdta_with(**changes):
    """PlainMDTA with one step replaced."""

    class Variant(PlainMDTA):
        def forward(self, x):
            B, C, H, W = x.shape
            y = changes.get("mix", lambda s, t: s.qkv_dwconv(s.qkv(t)))(self, x)
            heads = changes.get("heads", self.heads)
            temperature = self.temperature[:heads]
            parts = changes.get("parts", lambda y, n: y.chunk(3, dim=1))(y, heads)
            q, k, v = changes.get("order", lambda parts: parts)(parts)
            split = changes.get("split", lambda t, n: t.reshape(B, n, C // n, H * W))
            q, k, v = (split(part, heads) for part in (q, k, v))
            scores = changes.get("scores", cosine_scores)(q, k, temperature)
            attend = changes.get("attend", lambda s, t: s.softmax(dim=changes.get("axis", -1)))
            out = attend(scores, temperature) @ v
            out = changes.get("merge", lambda t: t)(out).reshape(B, C, H, W)
            out = self.project_out(out) if changes.get("project", True) else out
            return changes.get("after", lambda out, x: out)(out, x)

    return Variant


EXERCISE_B = Exercise(
    "02-b", "MDTA", ("MDTA",), {"one head": 1, "several heads": 1, "not square": 1}, _inputs_b, call_module, PlainMDTA,
    (
        Mistake("softmax axis", _mdta_with(axis=-2),
                "The softmax ran over the wrong axis: each row (one output channel) must sum to 1 over the channels it mixes, dim=-1."),
        Mistake("no depthwise", _mdta_with(mix=lambda s, t: s.qkv(t)),
                "qkv_dwconv is not used: the 3x3 depthwise convolution is what lets a channel see its neighbourhood before attention."),
        Mistake("no projection", _mdta_with(project=False),
                "The result of the attention goes through project_out before it leaves the module."),
        Mistake("order", _mdta_with(order=lambda p: (p[1], p[0], p[2])),
                "q and k are swapped: the 3C channels come as q, then k, then v. Each row of the map belongs to a query channel."),
        Mistake("v first", _mdta_with(order=lambda p: (p[2], p[1], p[0])),
                "The 3C channels come as q, then k, then v; yours took v first."),
        Mistake("v, q, k", _mdta_with(order=lambda p: (p[1], p[2], p[0])),
                "The 3C channels come as q, then k, then v; yours took v first, then q, k."),
        Mistake("no softmax", _mdta_with(attend=lambda s, t: s), "The softmax is missing: the scores become weights by softmax(dim=-1)."),
        Mistake("softmax over heads", _mdta_with(axis=1),
                "The softmax ran over the heads: each row of a head's map must sum to 1 over the keys, dim=-1."),
        Mistake("temperature late", _mdta_with(scores=lambda q, k, t: cosine_scores(q, k, torch.ones_like(t)),
                                               attend=lambda s, t: s.softmax(-1) * t),
                "The temperature comes before the softmax: after it, it only scales the result."),
        Mistake("scaled again", _mdta_with(scores=lambda q, k, t: cosine_scores(q, k, t) / q.shape[-2] ** 0.5),
                "The scores are divided by sqrt(d) as well. That is token attention's scale; here the temperature does its work."),
        Mistake("map transposed", _mdta_with(attend=lambda s, t: s.softmax(-1).transpose(-2, -1)),
                "The map is transposed before it meets v: rows are queries, so it is attention @ v."),
        Mistake("residual", _mdta_with(after=lambda out, x: out + x),
                "The input was added. The residual belongs to the block around MDTA: return the attention alone."),
        Mistake("one head", _mdta_with(heads=1),
                "All channels went into one head: each head has C/n channels, a map and a temperature of its own."),
        Mistake("heads joined interleaved", _mdta_with(merge=lambda t: t.transpose(1, 2)),
                "The heads are joined in the other order than they were split: (B, n, d, L) goes straight back to (B, C, H, W)."),
        Mistake("heads before qkv", _mdta_with(parts=lambda y, n: [p.flatten(1, 2) for p in y.unflatten(1, (n, -1)).chunk(3, dim=2)]),
                "The 3C channels were split into heads first. They are q, then k, then v, with C channels each: chunk first, then split"
                " each into heads."),
        Mistake("heads interleaved", _mdta_with(split=lambda t, n: t.reshape(t.shape[0], -1, n, t.shape[2] * t.shape[3]).transpose(1, 2),
                                                merge=lambda t: t.transpose(1, 2)),
                "Did you split the heads in the other order? Head 0 owns the first C/n channels (n before d in the reshape)."),
        Mistake("no temperature", _mdta_with(scores=lambda q, k, t: cosine_scores(q, k, torch.ones_like(t))),
                "The temperature is not used: multiply the cosine scores by it before the softmax."),
        Mistake("divided", _mdta_with(scores=lambda q, k, t: cosine_scores(q, k, 1 / t)),
                "Multiply by the temperature; the division stands in the paper only."),
        Mistake("not normalised", _mdta_with(scores=lambda q, k, t: q @ k.transpose(-2, -1) * t),
                "q and k were not normalised along the pixels (02-a): the dot products grow with the number of pixels and the softmax "
                "saturates."),
        Mistake("over channels", _mdta_with(scores=lambda q, k, t: F.normalize(q, dim=-2) @ F.normalize(k, dim=-2).transpose(-2, -1) * t),
                "q and k were normalised across channels; a channel is a vector of pixels, so normalise along the last axis."),
    ),
)  # fmt: skip

# ---- 02-c: GDFN ------------------------------------------------------------------------------------------------------


def _inputs_c(seed: int) -> dict:
    g = seeded(seed, 3)
    cases = {}
    for name, dim, expansion in (("gate", 6, 2.0), ("published expansion", 10, 2.66)):
        weights = _weights(PlainGDFN(dim, expansion), g)
        cases[name] = {"init": [dim, expansion], "weights": weights, "x": torch.randn(2, dim, 7, 9, generator=g)}
    return cases


def _gdfn_with(gate=lambda a, b: F.gelu(a) * b, depthwise=True, halves=lambda y: y.chunk(2, dim=1), residual=False):
    class Variant(PlainGDFN):
        def forward(self, x):
            y = self.project_in(x)
            out = self.project_out(gate(*halves(self.dwconv(y) if depthwise else y)))
            return out + x if residual else out

    return Variant


EXERCISE_C = Exercise(
    "02-c", "GDFN", ("GDFN",), {"gate": 1, "published expansion": 1}, _inputs_c, call_module, PlainGDFN,
    (
        Mistake("other half", _gdfn_with(lambda a, b: a * F.gelu(b)),
                "The gelu stands on the first half of the channels; yours is on the second."),
        Mistake("sigmoid", _gdfn_with(lambda a, b: torch.sigmoid(a) * b),
                "The gate is gelu(first half), not a sigmoid: it may pass more than 1."),
        Mistake("nothing on the gate", _gdfn_with(lambda a, b: a * b),
                "The activation is missing: the first half goes through gelu before the product."),
        Mistake("one path", _gdfn_with(lambda a, b: F.gelu(a)),
                "The second half, the value that the gate opens or shuts, is not used: gelu(a) * b."),
        Mistake("silu", _gdfn_with(lambda a, b: F.silu(a) * b), "The gate is gelu(first half), not silu."),
        Mistake("residual", _gdfn_with(residual=True),
                "The input was added. The residual belongs to the block around GDFN: return the projection alone."),
        Mistake("relu", _gdfn_with(lambda a, b: F.relu(a) * b), "The gate is gelu(first half), not relu."),
        Mistake("both", _gdfn_with(lambda a, b: F.gelu(a) * F.gelu(b)), "Only one path is gated: the second half stays linear."),
        Mistake("after the product", _gdfn_with(lambda a, b: F.gelu(a * b)), "gelu first, then the product: gelu(a) * b."),
        Mistake("sum", _gdfn_with(lambda a, b: F.gelu(a) + b), "A gate multiplies; yours adds the two paths."),
        Mistake("tanh", _gdfn_with(lambda a, b: F.gelu(a, approximate="tanh") * b),
                "That is the tanh approximation of gelu; the official weights expect the exact one, F.gelu(x)."),
        Mistake("no depthwise", _gdfn_with(depthwise=False),
                "dwconv is not used: the 3x3 depthwise convolution comes between project_in and the gate."),
        Mistake("interleaved", _gdfn_with(halves=lambda y: (y[:, 0::2], y[:, 1::2])),
                "The halves are the first and the last channels (chunk), not every other one."),
    ),
)  # fmt: skip
