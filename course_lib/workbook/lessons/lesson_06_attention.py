"""Exercise 06-d, attention between two features: inputs, reference, points, and the mistakes that the check recognises."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.models.dfpir import AttentionPerturbation
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_06_calls import call_attention
from course_lib.workbook.lessons.lesson_06_mask import TOO_MANY, kept, mask_of, masked_softmax
from course_lib.workbook.lessons.lesson_06_shuffle import large_weights, seeded

# ---- 06-d: attention between two features ----------------------------------------------------------------------------


def _split(t: Tensor, heads: int) -> Tensor:
    return t.reshape(len(t), heads, -1, t.shape[2] * t.shape[3])  # (B, n, d, L)


def cosines(q: Tensor, k: Tensor) -> Tensor:
    return F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)


def _attend_with(
    given=lambda s, x: (s, x),
    q=lambda m, s: m.q_dwconv(m.q(s)),
    kv=lambda m, x: m.kv_dwconv(m.kv(x)).chunk(2, dim=1),
    heads=None,
    split=_split,
    scores=lambda q, k, t: cosines(q, k) * t,
    weigh=lambda s, gamma, m: masked_softmax(s, gamma),
    gamma=None,
    mix=lambda w, v: w @ v,
    join=lambda y: y,
    scale=lambda y, s: y * s,
    project=lambda m, y: m.project_out(y),
    after=lambda out, s, x: out,
):
    """The plain AttentionPerturbation with one step replaced."""

    class Variant(AttentionPerturbation):
        def __init__(self, channels, n, share=0.9):
            super().__init__(channels, n, share)
            self.share = gamma or share

        def forward(self, shuffled, x):
            n = heads or self.heads
            first, second = given(shuffled, x)
            query, key, value = (split(part, n) for part in (q(self, first), *kv(self, second)))
            weights = weigh(scores(query, key, self.temperature[:n]), self.share, self)
            y = scale(join(mix(weights, value)).reshape(x.shape), self.scale)
            return after(project(self, y), shuffled, x)

    return Variant


Attention = _attend_with()


def _inputs_d(seed: int) -> dict:
    g = seeded(seed, 64)
    cases = {}
    for name, (C, heads), gamma, B, (H, W) in (
        ("one head, gamma left out", (7, 1), [], 2, (6, 6)),
        ("several heads", (18, 3), [0.6], 2, (5, 5 + seed % 3)),
        ("as many heads as a head has channels", (25, 5), [0.5], 1 + seed % 3, (4, 7)),
    ):
        init = [C, heads, *gamma]
        module = Attention(*init)
        count = kept(C // heads, module.share)
        while True:  # until rounding cannot change a mask, that of the check in eval mode included
            weights = large_weights(module, g) | {"scale": 0.5 + torch.rand(1, generator=g)}
            shuffled, x = (0.2 + torch.randn(B, C, H, W, generator=g) for _ in range(2))
            module.load_state_dict(weights)
            seen = torch.cat([_cosines_of(module, s, y) for s, y in ((shuffled, x), (-shuffled.flip(-1), -x.flip(-1)))])
            falling = seen.sort(dim=-1, descending=True).values
            if (falling[..., count - 1] - falling[..., count]).min() > 2e-4:
                break
        cases[name] = {"init": init, "weights": weights, "x": shuffled, "more": {"the second feature": x}}
        cases[name]["start"] = {"scale": 0.2, "temperature": 1.0}
        cases[name]["advice"] = "see the table of the seven parts above for what each is made of"
    return cases


@torch.no_grad()
def _cosines_of(m: AttentionPerturbation, shuffled: Tensor, x: Tensor) -> Tensor:
    k, _ = m.kv_dwconv(m.kv(x)).chunk(2, dim=1)
    return cosines(_split(m.q_dwconv(m.q(shuffled)), m.heads), _split(k, m.heads))


def _interleaved(t, heads):
    return t.reshape(len(t), -1, heads, t.shape[2] * t.shape[3]).transpose(1, 2)


def _hard_zero(scores, gamma):
    return scores * mask_of(scores, kept(scores.shape[-1], gamma))


def _normed(s, x):
    return tuple(F.layer_norm(t.movedim(1, -1), (t.shape[1],)).movedim(-1, 1) for t in (s, x))


def _mirrored(conv, t):
    return F.conv2d(F.pad(t, (1, 1, 1, 1), mode="reflect"), conv.weight, groups=conv.groups)


_MODE = "The mask is there in one of the modes, training and eval, and not in the other. It does the same in both."
_END = "There is an activation at the end; none belongs there."
_BORDER = "Beyond the border of the picture stand zeros: padding=1 and no other padding_mode."
_SWAPPED = "The features are exchanged: the *query* comes from the shuffled feature, key and value from the original one."

EXERCISE_D = Exercise(
    "06-d", "Attention between two features", ("AttentionPerturbation",),
    {"one head, gamma left out": 1, "several heads": 1, "as many heads as a head has channels": 1}, _inputs_d, call_attention,
    AttentionPerturbation,
    (
        Mistake("features exchanged", _attend_with(lambda s, x: (x, s)), _SWAPPED),
        Mistake("all from the shuffled", _attend_with(lambda s, x: (s, s)),
                "Query, key and value all come from the shuffled feature: key and value come from the original one."),
        Mistake("all from the original", _attend_with(lambda s, x: (x, x)),
                "The shuffled feature has no effect: the query comes from it."),
        Mistake("key from the shuffled", _attend_with(lambda s, x: (s, (s, x)), kv=lambda m, y: (
                m.kv_dwconv(m.kv(y[0])).chunk(2, dim=1)[0], m.kv_dwconv(m.kv(y[1])).chunk(2, dim=1)[1])),
                "The key comes from the shuffled feature: only the query does, key and value come from the original one."),
        Mistake("value from the shuffled", _attend_with(lambda s, x: (s, (s, x)), kv=lambda m, y: (
                m.kv_dwconv(m.kv(y[1])).chunk(2, dim=1)[0], m.kv_dwconv(m.kv(y[0])).chunk(2, dim=1)[1])),
                "The value comes from the shuffled feature: only the query does, key and value come from the original one."),
        Mistake("normalised inside", _attend_with(_normed),
                "The features were normalised inside. The norms stand in the block, before this module."),
        Mistake("features added", _attend_with(lambda s, x: (s + x, x)),
                "The two features were added for the query: it comes from the shuffled one alone."),
        Mistake("k and v exchanged", _attend_with(kv=lambda m, x: m.kv_dwconv(m.kv(x)).chunk(2, dim=1)[::-1]),
                "Key and value are exchanged: the first C of the 2C channels are the key, the rest the value."),
        Mistake("k and v interleaved", _attend_with(kv=lambda m, x: (lambda y: (y[:, 0::2], y[:, 1::2]))(m.kv_dwconv(m.kv(x)))),
                "Key and value were taken in turns. The first C channels are the key, the rest the value: chunk(2, dim=1)."),
        Mistake("q without neighbours", _attend_with(q=lambda m, s: m.q(s)), "q_dwconv is not used: it comes after q."),
        Mistake("kv without neighbours", _attend_with(kv=lambda m, x: m.kv(x).chunk(2, dim=1)),
                "kv_dwconv is not used: it comes after kv."),
        Mistake("no neighbours", _attend_with(q=lambda m, s: m.q(s), kv=lambda m, x: m.kv(x).chunk(2, dim=1)),
                "The depthwise convolutions q_dwconv and kv_dwconv are not used: they come after q and kv."),
        Mistake("q with neighbours first", _attend_with(q=lambda m, s: m.q(m.q_dwconv(s))),
                "q_dwconv came before q: first the 1x1 convolution, then the depthwise one."),
        Mistake("q not mixed", _attend_with(q=lambda m, s: m.q_dwconv(s)),
                "The 1x1 convolution self.q is not used: it comes before q_dwconv."),
        Mistake("relu of the query", _attend_with(q=lambda m, s: F.relu(m.q_dwconv(m.q(s)))),
                "There is an activation on the query; none belongs there."),
        Mistake("other border", _attend_with(kv=lambda m, x: _mirrored(m.kv_dwconv, m.kv(x)).chunk(2, dim=1)), _BORDER),
        Mistake("other border for q", _attend_with(q=lambda m, s: _mirrored(m.q_dwconv, m.q(s))), _BORDER),
        Mistake("other border for both", _attend_with(q=lambda m, s: _mirrored(m.q_dwconv, m.q(s)),
                kv=lambda m, x: _mirrored(m.kv_dwconv, m.kv(x)).chunk(2, dim=1)), _BORDER),
        Mistake("no mask while it trains", _attend_with(
                weigh=lambda s, gamma, m: s.softmax(-1) if m.training else masked_softmax(s, gamma)), _MODE),
        Mistake("mask only while it trains", _attend_with(
                weigh=lambda s, gamma, m: masked_softmax(s, gamma) if m.training else s.softmax(-1)), _MODE),
        Mistake("smallest kept", _attend_with(weigh=lambda s, gamma, m: s.masked_fill(
                ~mask_of(s, kept(s.shape[-1], gamma), largest=False), -torch.inf).softmax(-1)),
                "The mask keeps the smallest scores; it must keep the largest."),
        Mistake("softmax over the queries", _attend_with(weigh=lambda s, gamma, m: masked_softmax(s.mT, gamma).mT),
                "Mask and softmax ran along the wrong axis: each row (a query channel) adds up to 1, dim=-1."),
        Mistake("no softmax", _attend_with(weigh=lambda s, gamma, m: _hard_zero(s, gamma)),
                "The softmax is missing: the scores become weights by 06-c's masked softmax."),
        Mistake("neither mask nor softmax", _attend_with(weigh=lambda s, gamma, m: s),
                "The softmax is missing, and the mask: the scores become weights by 06-c's masked softmax."),
        Mistake("relu for softmax", _attend_with(weigh=lambda s, gamma, m: F.relu(s)),
                "A relu stands where mask and softmax belong: 06-c's masked softmax makes the weights."),
        Mistake("no mask", _attend_with(weigh=lambda s, gamma, m: s.softmax(-1)),
                "The mask is missing: of each row only int(d * gamma) scores stay (06-c)."),
        Mistake("mask times the scores", _attend_with(weigh=lambda s, gamma, m: (s * mask_of(s, kept(s.shape[-1], gamma))).softmax(-1)),
                "The mask is multiplied onto the scores, as in the paper; the code puts minus infinity there (06-c)."),
        Mistake("mask by columns", _attend_with(weigh=lambda s, gamma, m: s.masked_fill(
                ~mask_of(s, kept(s.shape[-1], gamma), -2), -torch.inf).softmax(-1)),
                "The mask keeps the largest of each column. It is each *row* that keeps its largest."),
        Mistake("mask after the softmax", _attend_with(weigh=lambda s, gamma, m: s.softmax(-1) * mask_of(s, kept(s.shape[-1], gamma))),
                "The mask came after the softmax, so the rows no longer add up to 1: mask first (06-c)."),
        Mistake("share always 0.9", _attend_with(gamma=0.9), "gamma has no effect: keep what __init__ is given, self.gamma = gamma."),
        Mistake("share rounded up", _attend_with(weigh=lambda s, gamma, m: s.masked_fill(
                ~mask_of(s, -int(-s.shape[-1] * gamma // 1)), -torch.inf).softmax(-1)), TOO_MANY),
        Mistake("no scale", _attend_with(scale=lambda y, s: y), "self.scale is not used: it multiplies what the attention gives."),
        Mistake("scale in the scores", _attend_with(
                scale=lambda y, s: y, weigh=lambda s, gamma, m: masked_softmax(s * m.scale, gamma)),
                "self.scale multiplies the scores. It comes after the softmax, on the result; the temperature is there for the scores."),
        Mistake("scaled twice", _attend_with(scale=lambda y, s: y * s**2), "self.scale multiplies twice."),
        Mistake("scale added", _attend_with(scale=lambda y, s: y + s), "self.scale was added: multiply by it."),
        Mistake("scale written down", _attend_with(scale=lambda y, s: y * 0.2),
                "0.2 is only where the scale starts. It is learned: multiply by the parameter self.scale."),
        Mistake("divided by the scale", _attend_with(scale=lambda y, s: y / s), "Multiply by self.scale, do not divide."),
        Mistake("one plus the scale", _attend_with(scale=lambda y, s: y * (1 + s)),
                "The result was added to its scaled form: multiply by self.scale alone."),
        Mistake("no temperature", _attend_with(scores=lambda q, k, t: cosines(q, k)),
                "The temperature is not used: multiply the cosines by it before mask and softmax."),
        Mistake("divided by the temperature", _attend_with(scores=lambda q, k, t: cosines(q, k) / t),
                "Multiply by the temperature, do not divide."),
        Mistake("temperature late", _attend_with(scores=lambda q, k, t: cosines(q, k),
                weigh=lambda s, gamma, m: masked_softmax(s, gamma) * m.temperature),
                "The temperature came after the softmax: it multiplies the scores."),
        Mistake("scaled by sqrt(d)", _attend_with(scores=lambda q, k, t: cosines(q, k) * t / q.shape[-2] ** 0.5),
                "The scores are divided by sqrt(d) as well, as the paper writes; in the code the temperature does this work."),
        Mistake("not normalised", _attend_with(scores=lambda q, k, t: q @ k.transpose(-2, -1) * t),
                "q and k were not normalised along the pixels: F.normalize(..., dim=-1), as in MDTA."),
        Mistake("only q normalised", _attend_with(scores=lambda q, k, t: F.normalize(q, dim=-1) @ k.transpose(-2, -1) * t),
                "Only q is normalised: a cosine divides by both lengths."),
        Mistake("only k normalised", _attend_with(scores=lambda q, k, t: q @ F.normalize(k, dim=-1).transpose(-2, -1) * t),
                "Only k is normalised: a cosine divides by both lengths."),
        Mistake("over the heads", _attend_with(scores=lambda q, k, t: F.normalize(q) @ F.normalize(k).transpose(-2, -1) * t),
                "F.normalize works along dim=1 unless told, and that axis holds the heads. The pixels are the last axis: dim=-1."),
        Mistake("squared length", _attend_with(scores=lambda q, k, t: (q / q.square().sum(-1, keepdim=True)) @ (
                k / k.square().sum(-1, keepdim=True)).transpose(-2, -1) * t),
                "You divide by the squared length: the square root is missing, F.normalize(..., dim=-1)."),
        Mistake("across channels", _attend_with(
                scores=lambda q, k, t: F.normalize(q, dim=-2) @ F.normalize(k, dim=-2).transpose(-2, -1) * t),
                "q and k were normalised across channels; a channel is a vector of pixels: dim=-1."),
        Mistake("map transposed", _attend_with(scores=lambda q, k, t: cosines(k, q) * t),
                "The map is transposed: rows belong to the query's channels, q @ k^T."),
        Mistake("map transposed for v", _attend_with(mix=lambda w, v: w.transpose(-2, -1) @ v),
                "The map is transposed before it meets v: weights @ v."),
        Mistake("no attention", _attend_with(mix=lambda w, v: v + 0 * w.sum()), "The map has no effect: weights @ v."),
        Mistake("heads interleaved", _attend_with(split=_interleaved, join=lambda y: y.transpose(1, 2)),
                "The heads were split in the other order: head 0 owns the first C/n channels (n before d in the reshape)."),
        Mistake("heads joined interleaved", _attend_with(join=lambda y: y.transpose(1, 2)),
                "The heads are joined in the other order than they were split: (B, n, d, L) goes straight back to (B, C, H, W)."),
        Mistake("one head", _attend_with(heads=1), "All channels went into one head: each of the n heads has C/n channels of its own."),
        Mistake("no projection", _attend_with(project=lambda m, y: y), "project_out is not used: it comes last."),
        Mistake("projection transposed", _attend_with(project=lambda m, y: F.conv2d(y, m.project_out.weight.transpose(0, 1))),
                "The weight of project_out is transposed: call the layer."),
        Mistake("gelu at the end", _attend_with(after=lambda out, s, x: F.gelu(out)), _END),
        Mistake("relu at the end", _attend_with(after=lambda out, s, x: F.relu(out)), _END),
        Mistake("residual of x", _attend_with(after=lambda out, s, x: out + x), "x was added: no residual here."),
        Mistake("residual of the shuffled", _attend_with(after=lambda out, s, x: out + s),
                "The shuffled feature was added: no residual here."),
        Mistake("query detached", _attend_with(lambda s, x: (s.detach(), x)),
                "The values are right, but no gradient reaches the shuffled feature: do not detach it."),
        Mistake("x detached", _attend_with(lambda s, x: (s, x.detach())),
                "The values are right, but no gradient reaches x: do not detach it."),
    ),
    allowed_imports=("torch", "einops", "math", "course_lib"),
    keep_dtype=True,
)  # fmt: skip
