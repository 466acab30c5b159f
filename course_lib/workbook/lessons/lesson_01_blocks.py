"""Exercises 01-b, 01-d and 01-f, the pieces of a Transformer block: inputs, references, points, and the mistakes the checks recognise."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.vit import MultiHeadSelfAttention, ViTBlock
from course_lib.workbook.adapters import ATTENTIONS, call_function, call_module
from course_lib.workbook.exercises import Exercise, Mistake


def seeded(seed: int, salt: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * salt + seed)


def _weights(module: nn.Module, g: torch.Generator) -> dict[str, Tensor]:
    """Weights large enough that every part of the module shows in its output."""
    out = {}
    for name, parameter in module.named_parameters():
        fan_in = max(1, parameter[0].numel())
        out[name] = torch.randn(parameter.shape, generator=g) * (1.5 / fan_in**0.5)
    return out


# ---- 01-b: scaled dot-product attention ------------------------------------------------------------------------------


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(..., Lq, d), (..., Lk, d), (..., Lk, e) -> (..., Lq, e): softmax(q k^T / sqrt(d)) v. Vaswani et al. 2017, eq. 1."""
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v


def _inputs_b(seed: int) -> dict:
    g = seeded(seed, 12)

    def draw(*shape):
        return 1.5 * torch.randn(*shape, generator=g)

    return {
        "as many queries as keys": {"q": draw(3, 6, 10), "k": draw(3, 6, 10), "v": draw(3, 6, 10)},
        # scores beyond 88, whose exponential no float32 holds
        "heads, fewer keys, wider values": {"q": 25 * draw(2, 3, 7, 6), "k": draw(2, 3, 5, 6), "v": draw(2, 3, 5, 9)},
    }


def _attend_with(scale=lambda q, k, v: q.shape[-1] ** -0.5, weights=lambda s: s.softmax(dim=-1), prepare=lambda t: t):
    def piece(q, k, v):
        scores = prepare(q) @ prepare(k).transpose(-2, -1) * scale(q, k, v)
        return weights(scores) @ v

    return piece


def _scaled_late(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(dim=-1) * q.shape[-1] ** -0.5 @ v


EXERCISE_B = Exercise(
    "01-b", "Scaled dot-product attention", ("scaled_dot_product_attention",),
    {"as many queries as keys": 1, "heads, fewer keys, wider values": 1}, _inputs_b, call_function, scaled_dot_product_attention,
    (
        Mistake("no scale", _attend_with(lambda q, k, v: 1.0),
                "The scores are not scaled: divide them by sqrt(d), the root of the channels of a query, before the softmax."),
        Mistake("divided by d", _attend_with(lambda q, k, v: 1 / q.shape[-1]),
                "The scores are divided by d (or twice by its root). Divide by sqrt(d) once: a sum of d products has a spread of sqrt(d)."),
        Mistake("multiplied", _attend_with(lambda q, k, v: q.shape[-1] ** 0.5), "Divide the scores by sqrt(d); yours multiplies."),
        Mistake("sqrt of the keys", _attend_with(lambda q, k, v: k.shape[-2] ** -0.5),
                "The root is of the channels d (the last axis of q), not of the number of tokens."),
        Mistake("sqrt of the queries", _attend_with(lambda q, k, v: q.shape[-2] ** -0.5),
                "The root is of the channels d (the last axis of q), not of the number of tokens."),
        Mistake("sqrt of the values", _attend_with(lambda q, k, v: v.shape[-1] ** -0.5),
                "The root is of the channels of q and k, over which the product sums; values may have another width."),
        Mistake("fourth root", _attend_with(lambda q, k, v: q.shape[-1] ** -0.25),
                "Divide by sqrt(d): if you scale q and k each by d**-0.25, do both."),
        Mistake("over the queries", _attend_with(weights=lambda s: s.softmax(dim=-2)),
                "The softmax ran over the queries. Each query's weights, one row, must sum to 1 over the keys: dim=-1."),
        Mistake("over the second axis", _attend_with(weights=lambda s: s.softmax(dim=1)),
                "The softmax ran over the queries. Each query's weights, one row, must sum to 1 over the keys: dim=-1."),
        Mistake("over the first axis", _attend_with(weights=lambda s: s.softmax(dim=0)),
                "The softmax ran over axis 0. Each query's weights must sum to 1 over the keys, the last axis of the scores: dim=-1."),
        Mistake("over everything", _attend_with(weights=lambda s: s.flatten(-2).softmax(dim=-1).view(s.shape)),
                "One softmax over the whole map: every row (one query) must sum to 1 by itself, dim=-1."),
        Mistake("no softmax", _attend_with(weights=lambda s: s), "The softmax is missing: scores become weights by softmax(dim=-1)."),
        Mistake("scaled late", _scaled_late, "The scale comes before the softmax: after it, the weights no longer sum to 1."),
        Mistake("sigmoid", _attend_with(weights=torch.sigmoid), "A sigmoid gives weights that do not sum to 1: softmax over the keys."),
        Mistake("hard", _attend_with(weights=lambda s: F.one_hot(s.argmax(-1), s.shape[-1]).to(s)),
                "Only the best key is taken. The softmax lets every key in by its score, and it has a gradient."),
        Mistake("cosine", _attend_with(lambda q, k, v: 1.0, prepare=lambda t: F.normalize(t, dim=-1)),
                "q and k are normalised, so the scores are cosines (lesson 02 has those). Here they are dot products, divided by sqrt(d)."),
        Mistake("cosine, scaled", _attend_with(prepare=lambda t: F.normalize(t, dim=-1)),
                "q and k are normalised. Here the scores are plain dot products, divided by sqrt(d)."),
        Mistake("map transposed", lambda q, k, v: scaled_dot_product_attention(k, q, v),
                "The map is transposed: rows belong to queries and columns to keys, q @ k^T."),
        Mistake("map transposed late", _attend_with(weights=lambda s: s.softmax(-1).transpose(-2, -1)),
                "The map is transposed before it meets v: rows are queries, so it is weights @ v."),
        Mistake("keys as values", lambda q, k, v: scaled_dot_product_attention(q, k, k),
                "The weights average the values v; yours average k."),
        Mistake("queries as values", lambda q, k, v: scaled_dot_product_attention(q, k, q),
                "The weights average the values v; yours average q."),
        Mistake("scores", lambda q, k, v: q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5,
                "These are the scores. Turn them into weights (softmax over the keys) and average the values with them."),
        Mistake("weights", lambda q, k, v: (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1),
                "These are the weights. One product is left: weights @ v."),
        Mistake("residual", lambda q, k, v: q + scaled_dot_product_attention(q, k, v),
                "The queries were added. The residual belongs to the block: return the average alone."),
    ),
    keep_dtype=True,
)  # fmt: skip

# ---- 01-d: multi-head self-attention ---------------------------------------------------------------------------------


def _inputs_d(seed: int) -> dict:
    g = seeded(seed, 14)
    cases = {}
    for name, dim, heads, batch, length in (("one head", 6, 1, 2, 5), ("several heads", 12, 3, 2, 12), ("another length", 8, 2, 3, 9)):
        weights = _weights(MultiHeadSelfAttention(dim, heads), g)
        cases[name] = {"init": [dim, heads], "weights": weights, "x": torch.randn(batch, length, dim, generator=g)}
    return cases


def _split_heads(t: Tensor, n: int) -> Tensor:
    return t.unflatten(-1, (n, -1)).transpose(1, 2)


def _mhsa_with(**changes):
    """MultiHeadSelfAttention with one step replaced."""

    class Variant(MultiHeadSelfAttention):
        def forward(self, x):
            n = changes.get("heads", self.heads)
            parts = changes.get("parts", lambda y, n: y.chunk(3, dim=-1))(self.qkv(x), n)
            q, k, v = changes.get("order", lambda p: p)(parts)
            v = changes.get("values", lambda v, x: v)(v, x)
            q, k, v = (changes.get("split", _split_heads)(t, n) for t in (q, k, v))
            out = changes.get("attend", scaled_dot_product_attention)(q, k, v)
            out = changes.get("merge", lambda t, shape: t.transpose(1, 2).reshape(shape))(out, x.shape)
            out = self.proj(out) if changes.get("project", True) else out
            return changes.get("after", lambda out, x: out)(out, x)

    return Variant


def _tokens_as_heads(t: Tensor, n: int) -> Tensor:
    return t.reshape(t.shape[0], n, t.shape[1], -1)


EXERCISE_D = Exercise(
    "01-d", "Multi-head self-attention", ("MultiHeadSelfAttention",), {"one head": 1, "several heads": 1, "another length": 1}, _inputs_d,
    call_module, MultiHeadSelfAttention,
    (
        Mistake("no projection", _mhsa_with(project=False), "The joined heads go through self.proj before they leave the module."),
        Mistake("heads not transposed", _mhsa_with(split=lambda t, n: t.unflatten(-1, (n, -1)), merge=lambda t, shape: t.reshape(shape)),
                "The heads of one token attend to each other: move the head axis before the tokens, (B, L, n, d) to (B, n, L, d), so "
                "that the last two axes are tokens and channels."),
        Mistake("heads by reshape alone", _mhsa_with(split=_tokens_as_heads, merge=lambda t, shape: t.reshape(shape)),
                "A reshape from (B, L, C) straight to (B, n, L, d) mixes tokens: first (B, L, n, d), then transpose."),
        Mistake("split by reshape alone", _mhsa_with(split=_tokens_as_heads),
                "A reshape from (B, L, C) straight to (B, n, L, d) mixes tokens: first (B, L, n, d), then transpose."),
        Mistake("joined without transposing", _mhsa_with(merge=lambda t, shape: t.reshape(shape)),
                "The heads are not joined again: (B, n, L, d) must be transposed to (B, L, n, d) before the reshape to (B, L, C)."),
        Mistake("joined interleaved", _mhsa_with(merge=lambda t, shape: t.permute(0, 2, 3, 1).reshape(shape)),
                "The heads are joined in the other order than they were split: token, head, channel: (B, L, n, d), then (B, L, C)."),
        Mistake("heads interleaved", _mhsa_with(split=lambda t, n: t.unflatten(-1, (-1, n)).permute(0, 3, 1, 2),
                                                merge=lambda t, shape: t.permute(0, 2, 3, 1).reshape(shape)),
                "The heads are split in the other order: head 0 owns the first C/n channels (n before d in the reshape)."),
        Mistake("split interleaved", _mhsa_with(split=lambda t, n: t.unflatten(-1, (-1, n)).permute(0, 3, 1, 2)),
                "The heads are split in the other order: head 0 owns the first C/n channels (n before d in the reshape)."),
        Mistake("heads before qkv", _mhsa_with(parts=lambda y, n: [p.flatten(2) for p in y.unflatten(-1, (n, -1)).chunk(3, dim=-1)]),
                "The 3C channels were split into heads first. They are q, then k, then v, C channels each: chunk first, then the heads."),
        Mistake("every third", _mhsa_with(parts=lambda y, n: y.unflatten(-1, (-1, 3)).unbind(-1)),
                "Every third channel was taken. The first C channels are q, the next C are k, the last C are v: chunk(3, dim=-1)."),
        Mistake("order", _mhsa_with(order=lambda p: (p[1], p[0], p[2])), "q and k are swapped: the 3C channels come as q, then k, then v."),
        Mistake("v first", _mhsa_with(order=lambda p: (p[2], p[1], p[0])),
                "The 3C channels come as q, then k, then v; yours took v first."),
        Mistake("v, q, k", _mhsa_with(order=lambda p: (p[1], p[2], p[0])),
                "The 3C channels come as q, then k, then v; yours took v first."),
        Mistake("k as v", _mhsa_with(order=lambda p: (p[0], p[1], p[1])),
                "The values are the third part of qkv; yours used the keys again."),
        Mistake("input as values", _mhsa_with(values=lambda v, x: x), "The values are the third part of qkv(x), not x itself."),
        Mistake("one head", _mhsa_with(heads=1), "All channels went into one head: each head has C/n channels and a map of its own."),
        Mistake("scaled by C", _mhsa_with(attend=_attend_with(lambda q, k, v: (q.shape[1] * q.shape[-1]) ** -0.5)),
                "The scale is sqrt(d) with d = C/n, the channels of one head, not sqrt(C)."),
        Mistake("no scale", _mhsa_with(attend=_attend_with(lambda q, k, v: 1.0)), "The scores are not divided by sqrt(d) (01-b)."),
        Mistake("divided by d", _mhsa_with(attend=_attend_with(lambda q, k, v: 1 / q.shape[-1])),
                "The scores are divided twice (`attend` already scales by sqrt(d)), or by d instead of its root."),
        Mistake("softmax axis", _mhsa_with(attend=_attend_with(weights=lambda s: s.softmax(-2))),
                "The softmax ran over the queries: each row must sum to 1 over the keys, dim=-1."),
        Mistake("softmax over heads", _mhsa_with(attend=_attend_with(weights=lambda s: s.softmax(1))),
                "The softmax ran over the heads: each row of a head's map must sum to 1 over the keys, dim=-1."),
        Mistake("no softmax", _mhsa_with(attend=_attend_with(weights=lambda s: s)), "The softmax is missing."),
        Mistake("over the batch", _mhsa_with(split=lambda t, n: t.unflatten(-1, (n, -1)).permute(1, 2, 0, 3),
                                             merge=lambda t, shape: t.permute(2, 0, 1, 3).reshape(shape)),
                "The pictures of a batch attend to each other: the last two axes must be tokens and channels of one picture."),
        Mistake("residual", _mhsa_with(after=lambda out, x: out + x),
                "The input was added. The residual belongs to the block: return the attention alone."),
    ),
    keep_dtype=True,
)  # fmt: skip

# ---- 01-f: the Transformer block -------------------------------------------------------------------------------------


def _inputs_f(seed: int) -> dict:
    g = seeded(seed, 16)
    cases = {}
    for name, dim, heads, attention in (("another attention", 6, 1, "causal"), ("several heads", 12, 3, "")):
        x = 0.5 + 2 * torch.randn(2, 7, dim, generator=g)
        block = ViTBlock(dim, heads, ATTENTIONS[attention]) if attention else ViTBlock(dim, heads)
        cases[name] = {"init": [dim, heads], "attention": attention, "weights": _weights(block, g), "x": x}
    return cases


def _block_with(forward):
    return type("Variant", (ViTBlock,), {"forward": forward})


def _first(s: ViTBlock, x: Tensor) -> Tensor:
    return x + s.attention(s.norm1(x))


def _second(s: ViTBlock, x: Tensor) -> Tensor:
    return x + s.mlp(s.norm2(x))


def _post_norm(s: ViTBlock, x: Tensor) -> Tensor:
    x = s.norm1(x + s.attention(x))
    return s.norm2(x + s.mlp(x))


def _from_normed(s: ViTBlock, x: Tensor) -> Tensor:
    x = s.norm1(x)
    x = s.norm2(x + s.attention(x))
    return x + s.mlp(x)


def _once_around(s: ViTBlock, x: Tensor) -> Tensor:
    return x + s.mlp(s.norm2(s.attention(s.norm1(x))))


EXERCISE_F = Exercise(
    "01-f", "The Transformer block", ("TransformerBlock",), {"another attention": 1, "several heads": 1}, _inputs_f, call_module, ViTBlock,
    (
        Mistake("post-norm", _block_with(_post_norm),
                "The norm comes after the sum: that is the post-norm of the 2017 paper. Here the norm stands inside the branch: "
                "x + attention(norm1(x))."),
        Mistake("residual of the normed", _block_with(_from_normed),
                "The normalised tokens went on as the residual. The branch gets norm(x), but what is added to is x itself."),
        Mistake("one residual around both", _block_with(_once_around),
                "There are two sums, one around the attention and one around the MLP; yours has one around both."),
        Mistake("no first residual", _block_with(lambda s, x: _second(s, s.attention(s.norm1(x)))),
                "The first residual is missing: x + attention(norm1(x))."),
        Mistake("no second residual", _block_with(lambda s, x: s.mlp(s.norm2(_first(s, x)))),
                "The second residual is missing: x + mlp(norm2(x)), with the x that already holds the attention."),
        Mistake("no residuals", _block_with(lambda s, x: s.mlp(s.norm2(s.attention(s.norm1(x))))),
                "Both residuals are missing: each branch is added to what came into it."),
        Mistake("second adds the input", _block_with(lambda s, x: x + s.mlp(s.norm2(_first(s, x)))),
                "The second sum starts from the block's input, so the attention is only seen by the MLP: add to the updated x."),
        Mistake("parallel", _block_with(lambda s, x: _first(s, x) + s.mlp(s.norm2(x))),
                "The MLP got the block's input. It works on the tokens after the attention has been added."),
        Mistake("mlp first", _block_with(lambda s, x: _first(s, _second(s, x))), "The attention comes first, then the MLP."),
        Mistake("no first norm", _block_with(lambda s, x: _second(s, x + s.attention(x))), "norm1 is not used: x + attention(norm1(x))."),
        Mistake("no second norm", _block_with(lambda s, x: (lambda y: y + s.mlp(y))(_first(s, x))),
                "norm2 is not used: x + mlp(norm2(x))."),
        Mistake("no norms", _block_with(lambda s, x: (lambda y: y + s.mlp(y))(x + s.attention(x))), "Neither norm is used."),
        Mistake("one norm twice", _block_with(lambda s, x: (lambda y: y + s.mlp(s.norm1(y)))(_first(s, x))),
                "norm1 is used twice; the second branch has its own, norm2."),
        Mistake("norms swapped", _block_with(lambda s, x: (lambda y: y + s.mlp(s.norm1(y)))(x + s.attention(s.norm2(x)))),
                "The norms are swapped: norm1 before the attention, norm2 before the MLP."),
        Mistake("no attention", _block_with(_second), "The attention is missing."),
        Mistake("no mlp", _block_with(_first), "The MLP is missing: the second half is x + mlp(norm2(x))."),
        Mistake("norm after the branch", _block_with(lambda s, x: (lambda y: y + s.norm2(s.mlp(y)))(x + s.norm1(s.attention(x)))),
                "The norms stand after the branches; they come before: attention(norm1(x)), mlp(norm2(x))."),
        Mistake("doubled", _block_with(lambda s, x: (lambda y: 2 * y + s.mlp(s.norm2(y)))(_first(s, x))),
                "A residual is added twice."),
    ),
    keep_dtype=True,
)  # fmt: skip
