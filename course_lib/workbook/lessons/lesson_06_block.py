"""Exercise 06-e, the perturbation block of DFPIR: inputs, reference, points, and the mistakes that the check recognises."""

import torch
import torch.nn.functional as F

from course_lib.models.dfpir import DGPB
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_06_calls import OtherAttention, OtherPerturbation, call_block
from course_lib.workbook.lessons.lesson_06_shuffle import large_weights, seeded

# ---- 06-e: the block -------------------------------------------------------------------------------------------------


class Block(DGPB):
    """The library's block, built as the exercise's is: its two pieces come as classes."""

    def __init__(self, channels, heads, text_width, perturbation, attention):
        super().__init__(channels, heads, text_width, perturbation=perturbation, attention_perturbation=attention)


def _inputs_e(seed: int) -> dict:
    g = seeded(seed, 65)
    cases = {}
    for name, init, B, (H, W) in (
        ("one image", [6, 2, 5], 1, (4, 7 + seed % 2)),
        ("several images", [4, 1, 6], 3, (6, 5)),
    ):
        weights = large_weights(Block(*init, OtherPerturbation, OtherAttention), g)
        for name_of, value in weights.items():
            if "norm" in name_of:
                value += name_of.endswith("weight")  # each norm its own, and not far from what a trained one is
        x = 0.4 + torch.randn(B, init[0], H, W, generator=g)
        x = (x * (0.5 + torch.rand(B, 1, H, W, generator=g))).contiguous(memory_format=torch.channels_last)
        cases[name] = {"init": init, "weights": weights, "x": x, "more": {"text": torch.randn(B, init[2], generator=g)}}
    return cases


def _block_with(
    perturb=lambda m, x, text: m.perturb(x, text),
    first=lambda m, y, x: m.norm1(y),
    second=lambda m, y, x: m.norm2(x),
    attend=lambda m, a, b: m.attn(a, b),
    between=lambda out, y, x, m: out,
    feed=lambda m, out, x: m.ffn(m.norm3(out)),
    join=lambda out, fed, y, x, m: out + fed,
):
    """The block with one step replaced; y: the shuffled feature."""

    class Variant(Block):
        def forward(self, x, text):
            y = perturb(self, x, text)
            out = between(attend(self, first(self, y, x), second(self, y, x)), y, x, self)
            return join(out, feed(self, out, x), y, x, self)

    return Variant


_NO_X = (
    "x was added to what the attention gives, as in a Transformer block (and in the paper). The code does without: the perturbed feature "
    "takes x's place."
)
_NO_ATTENTION = "The attention is not used: out = attn(norm1(shuffled), norm2(x))."
_NO_ACTIVATION = "There is an activation that does not belong there: out = attn(...), then out + ffn(norm3(out))."
_MODE = "The feed-forward network runs in one of the modes, training and eval, and not in the other. It runs in both."

EXERCISE_E = Exercise(
    "06-e", "The block", ("DGPB",), {"one image": 1, "several images": 1}, _inputs_e, call_block, Block,
    (
        Mistake("x added to the attention", _block_with(between=lambda out, y, x, m: out + x), _NO_X),
        Mistake("x added at the end", _block_with(join=lambda out, fed, y, x, m: out + fed + x),
                "x was added at the end. Nothing of x goes by the block: out + ffn(norm3(out)) is the result."),
        Mistake("shuffled added to the attention", _block_with(between=lambda out, y, x, m: out + y),
                "The shuffled feature was added to what the attention gives: no residual there."),
        Mistake("shuffled added at the end", _block_with(join=lambda out, fed, y, x, m: out + fed + y),
                "The shuffled feature was added at the end: out + ffn(norm3(out)) is the result."),
        Mistake("x for out at the end", _block_with(join=lambda out, fed, y, x, m: x + fed),
                "At the end x was added in place of out, the attention's result."),
        Mistake("shuffled for out at the end", _block_with(join=lambda out, fed, y, x, m: y + fed),
                "At the end the shuffled feature was added in place of out, the attention's result."),
        Mistake("x added in both places", _block_with(between=lambda out, y, x, m: out + x, join=lambda out, fed, y, x, m: x + fed),
                "x was added, even twice. Nothing of x goes by the block: the only residual is out + ffn(norm3(out))."),
        Mistake("x's norm added to the attention", _block_with(between=lambda out, y, x, m: out + m.norm2(x)),
                "The normalised x was added to what the attention gives: no residual there."),
        Mistake("shuffled's norm added to the attention", _block_with(between=lambda out, y, x, m: out + m.norm1(y)),
                "The normalised shuffled feature was added to what the attention gives: no residual there."),
        Mistake("out added twice", _block_with(join=lambda out, fed, y, x, m: 2 * out + fed),
                "out was added twice: out + ffn(norm3(out))."),
        Mistake("no residual", _block_with(join=lambda out, fed, y, x, m: fed),
                "The residual around the feed-forward network is missing: out + ffn(norm3(out))."),
        Mistake("no feed-forward", _block_with(join=lambda out, fed, y, x, m: out),
                "The feed-forward network is missing: out + ffn(norm3(out))."),
        Mistake("subtracted", _block_with(join=lambda out, fed, y, x, m: out - fed), "ffn(norm3(out)) is added, not subtracted."),
        Mistake("mean", _block_with(join=lambda out, fed, y, x, m: (out + fed) / 2), "The two are added; yours takes their mean."),
        Mistake("features exchanged", _block_with(attend=lambda m, a, b: m.attn(b, a)),
                "The features are exchanged: attn takes the shuffled one first (for the query), then x."),
        Mistake("norms exchanged", _block_with(lambda m, x, t: m.perturb(x, t), lambda m, y, x: m.norm2(y), lambda m, y, x: m.norm1(x)),
                "norm1 and norm2 are exchanged: norm1 belongs to the shuffled feature, norm2 to x."),
        Mistake("features and norms exchanged", _block_with(first=lambda m, y, x: m.norm1(x), second=lambda m, y, x: m.norm2(y)),
                "The features are exchanged: norm1 and the first place belong to the shuffled one, norm2 and the second to x."),
        Mistake("norm1 for both", _block_with(second=lambda m, y, x: m.norm1(x)), "norm2 is not used: x has a norm of its own."),
        Mistake("norm2 for both", _block_with(first=lambda m, y, x: m.norm2(y)),
                "norm1 is not used: the shuffled feature has a norm of its own."),
        Mistake("shuffled for both", _block_with(second=lambda m, y, x: m.norm2(y)),
                "The attention gets the shuffled feature twice: its second input is x."),
        Mistake("x for both", _block_with(first=lambda m, y, x: m.norm1(x)),
                "The shuffled feature has no effect, the attention gets x twice: shuffled = perturb(x, text), norm1(shuffled) is first."),
        Mistake("shuffled not normalised", _block_with(first=lambda m, y, x: y), "The shuffled feature was not normalised: norm1."),
        Mistake("x not normalised", _block_with(second=lambda m, y, x: x), "x was not normalised before the attention: norm2."),
        Mistake("neither normalised", _block_with(first=lambda m, y, x: y, second=lambda m, y, x: x),
                "Neither feature was normalised before the attention: norm1(shuffled), norm2(x)."),
        Mistake("out not normalised", _block_with(feed=lambda m, out, x: m.ffn(out)),
                "out was not normalised before the feed-forward network: norm3."),
        Mistake("norm after the network", _block_with(feed=lambda m, out, x: m.norm3(m.ffn(out))),
                "norm3 came after the feed-forward network; it comes before."),
        Mistake("norm2 before the network", _block_with(feed=lambda m, out, x: m.ffn(m.norm2(out))),
                "norm2 stands before the feed-forward network; that is norm3's place."),
        Mistake("norm1 before the network", _block_with(feed=lambda m, out, x: m.ffn(m.norm1(out))),
                "norm1 stands before the feed-forward network; that is norm3's place."),
        Mistake("norm1 and norm3 exchanged", _block_with(first=lambda m, y, x: m.norm3(y), feed=lambda m, out, x: m.ffn(m.norm1(out))),
                "norm1 and norm3 are exchanged: norm1 belongs to the shuffled feature, norm3 to the attention's result."),
        Mistake("norm2 and norm3 exchanged", _block_with(second=lambda m, y, x: m.norm3(x), feed=lambda m, out, x: m.ffn(m.norm2(out))),
                "norm2 and norm3 are exchanged: norm2 belongs to x, norm3 to the attention's result."),
        Mistake("no norms", _block_with(first=lambda m, y, x: y, second=lambda m, y, x: x, feed=lambda m, out, x: m.ffn(out)),
                "None of the three norms is used: norm1(shuffled), norm2(x), norm3(out)."),
        Mistake("norm3 without its weights", _block_with(feed=lambda m, out, x: m.ffn(F.layer_norm(
                out.movedim(1, -1), (out.shape[1],)).movedim(-1, 1))),
                "A fresh norm stands before the feed-forward network, which never learns: norm3 of __init__ belongs there."),
        Mistake("norm3 last", _block_with(feed=lambda m, out, x: m.ffn(out), join=lambda out, fed, y, x, m: m.norm3(out + fed)),
                "norm3 came last, after the sum. It comes before the feed-forward network: out + ffn(norm3(out))."),
        Mistake("norm1 of the attention", _block_with(first=lambda m, y, x: y, between=lambda out, y, x, m: m.norm1(out)),
                "norm1 came after the attention. It comes before, on the shuffled feature."),
        Mistake("norm of the sum", _block_with(feed=lambda m, out, x: m.ffn(out), join=lambda out, fed, y, x, m: F.layer_norm(
                (out + fed).movedim(1, -1), (out.shape[1],)).movedim(-1, 1)),
                "The norm came last, after the sum. It comes before the feed-forward network: out + ffn(norm3(out))."),
        Mistake("residual normalised", type("Variant", (Block,), {"forward": lambda m, x, text: (lambda out: out + m.ffn(out))(
                m.norm3(m.attn(m.norm1(m.perturb(x, text)), m.norm2(x))))}),
                "What is added is normalised. The residual goes by the norm: out + ffn(norm3(out))."),
        Mistake("x into the network", _block_with(feed=lambda m, out, x: m.ffn(m.norm3(x))),
                "The feed-forward network gets x: it works on out, the attention's result."),
        Mistake("norm before the shuffle", _block_with(lambda m, x, t: m.perturb(m.norm1(x), t), lambda m, y, x: y),
                "norm1 came before the shuffle; it normalises the *shuffled* feature."),
        Mistake("norms before both", _block_with(lambda m, x, t: m.perturb(m.norm2(x), t)),
                "x was normalised before the shuffle as well: perturb takes x as it is."),
        Mistake("x normalised twice", _block_with(second=lambda m, y, x: m.norm2(m.norm1(x))),
                "x was normalised twice before the attention: norm2 alone."),
        Mistake("shuffled twice", _block_with(lambda m, x, t: m.perturb(m.perturb(x, t), t)), "The shuffle ran twice."),
        Mistake("attention left out", _block_with(attend=lambda m, a, b: a),
                _NO_ATTENTION),
        Mistake("shuffle alone", _block_with(first=lambda m, y, x: y, attend=lambda m, a, b: a), _NO_ATTENTION),
        Mistake("sum for the attention", _block_with(attend=lambda m, a, b: a + b), _NO_ATTENTION),
        Mistake("product for the attention", _block_with(attend=lambda m, a, b: a * b), _NO_ATTENTION),
        Mistake("attention twice", _block_with(between=lambda out, y, x, m: m.attn(m.norm1(out), m.norm2(x))), "The attention ran twice."),
        Mistake("shuffle after the attention", type("Variant", (Block,), {"forward": lambda m, x, text: (lambda out: out + m.ffn(
                m.norm3(out)))(m.perturb(m.attn(m.norm1(x), m.norm2(x)), text))}),
                "The shuffle came after the attention. First shuffled = perturb(x, text), then the attention between it and x."),
        Mistake("relu after the attention", _block_with(between=lambda out, y, x, m: F.relu(out)), _NO_ACTIVATION),
        Mistake("gelu after the attention", _block_with(between=lambda out, y, x, m: F.gelu(out)), _NO_ACTIVATION),
        Mistake("relu at the end", _block_with(join=lambda out, fed, y, x, m: F.relu(out + fed)), _NO_ACTIVATION),
        Mistake("gelu at the end", _block_with(join=lambda out, fed, y, x, m: F.gelu(out + fed)), _NO_ACTIVATION),
        Mistake("norm for the network", _block_with(feed=lambda m, out, x: m.norm3(out)),
                "The feed-forward network is not used: out + ffn(norm3(out))."),
        Mistake("network of the shuffled", _block_with(join=lambda out, fed, y, x, m: out + m.ffn(m.norm3(y))),
                "The feed-forward network gets the shuffled feature: it works on out, the attention's result."),
        Mistake("network before the attention", _block_with(lambda m, x, t: (lambda y: y + m.ffn(m.norm3(y)))(m.perturb(x, t)),
                join=lambda out, fed, y, x, m: out),
                "The feed-forward network came before the attention; it comes after it, out + ffn(norm3(out))."),
        Mistake("network twice", _block_with(between=lambda out, y, x, m: out + m.ffn(m.norm3(out))),
                "The feed-forward network ran twice."),
        Mistake("no network while it trains", _block_with(join=lambda out, fed, y, x, m: out if m.training else out + fed), _MODE),
        Mistake("network only while it trains", _block_with(join=lambda out, fed, y, x, m: out + fed if m.training else out), _MODE),
        Mistake("text of zeros", _block_with(lambda m, x, t: m.perturb(x, 0 * t.detach())), "The text has no effect: perturb(x, text)."),
        Mistake("text normalised", _block_with(lambda m, x, t: m.perturb(x, F.normalize(t, dim=1))),
                "The text was normalised: perturb takes it as it comes."),
        Mistake("text of the first image", _block_with(lambda m, x, t: m.perturb(x, t[:1].expand_as(t))),
                "All images got the first one's text: image b has a text of its own."),
        Mistake("x detached", _block_with(lambda m, x, t: m.perturb(x, t), second=lambda m, y, x: m.norm2(x.detach())),
                "The values are right, but no gradient goes back through the second input, x: do not detach it."),
        Mistake("shuffled detached", _block_with(lambda m, x, t: m.perturb(x, t).detach()),
                "The values are right, but no gradient goes back through the shuffled feature: do not detach it."),
    ),
    allowed_imports=("torch", "einops", "math", "course_lib"),
    keep_dtype=True,
)  # fmt: skip
