"""Exercise 06-c, the top-K mask: inputs, reference, points, and the mistakes that the check recognises."""

import torch
from torch import Tensor

from course_lib.workbook.adapters import call_function
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_06_shuffle import seeded

# ---- 06-c: the top-K mask --------------------------------------------------------------------------------------------


def kept(d: int, gamma: float) -> int:
    return max(1, int(d * gamma))


def mask_of(scores: Tensor, count: int, dim: int = -1, largest: bool = True) -> Tensor:
    """True where a score is among the `count` largest along `dim`."""
    return torch.zeros_like(scores, dtype=torch.bool).scatter(dim, scores.topk(count, dim, largest=largest).indices, True)


def masked_softmax(scores: Tensor, gamma: float) -> Tensor:
    """(B, n, d, d) -> same: each row a softmax over its int(d * gamma) largest scores, at least one; 0 elsewhere."""
    return scores.masked_fill(~mask_of(scores, kept(scores.shape[-1], gamma)), -torch.inf).softmax(dim=-1)


def _inputs_c(seed: int) -> dict:
    g = seeded(seed, 63)

    def draw(B, n, d):
        return 1.3 * torch.randn(B, n, d, d, generator=g)

    # Shares of d that are no whole numbers, and whose product with d lies well away from one: int, round and ceil differ.
    d, gamma = ((12, 0.9), (9, 0.75), (13, 0.9))[seed % 3]
    few = ((8, 0.7), (10, 0.65), (11, 0.65))[seed % 3]
    far = 130 * torch.randn(6, 6, 6, 1, generator=g).sign()  # exp(130) is infinite in float32, and exp(-130) zero
    return {
        "most of each row": {"scores": draw(2, 3, d), "gamma": gamma},
        "about half of each row": {"scores": draw(1 + seed % 3, 2, few[0]), "gamma": few[1]},
        "large scores": {"scores": draw(6, 6, 6) + far, "gamma": 0.55},
        "one of each row, or all": {"scores": draw(2, 2, 4), "gamma": (0.1, 1.0, 0.2)[seed % 3]},
    }


def _masked(count=kept, mask=mask_of, fill=lambda s, m: s.masked_fill(~m, -torch.inf), weigh=lambda s: s.softmax(-1),
            after=lambda w, m: w):  # fmt: skip
    """masked_softmax with one step replaced."""

    def piece(scores, gamma):
        m = mask(scores, count(scores.shape[-1], gamma))
        return after(weigh(fill(scores, m)), m)

    return piece


def _flat_mask(axes):
    def mask(scores, count):
        flat = scores.flatten(*axes)
        return mask_of(flat, count * (flat.shape[-1] // scores.shape[-1])).view(scores.shape)

    return mask


TOO_MANY = "One too many stays in each row: int(d * gamma) cuts down to a whole number, it does not round, and nothing is added."
_ROWS = "The mask was made in the wrong direction: each *row* keeps its largest, along the last dimension."

EXERCISE_C = Exercise(
    "06-c", "The top-K mask", ("masked_softmax",),
    {"most of each row": 0.5, "about half of each row": 0.5, "large scores": 0.5, "one of each row, or all": 0.5}, _inputs_c,
    call_function, masked_softmax,
    (
        Mistake("minus a hundred", _masked(fill=lambda s, m: s.masked_fill(~m, -100)),
                "A finite number still gets a weight where the others are smaller yet: -torch.inf."),
        Mistake("all for none", lambda s, gamma: masked_softmax(s, gamma) if int(s.shape[-1] * gamma) else s.softmax(-1),
                "Where int(d * gamma) is 0, all stay: keep at least one, max(1, ...)."),
        Mistake("times the mask", _masked(fill=lambda s, m: s * m),
                "The scores are multiplied by the mask: 0 is a score like any other, and exp(0) = 1 (this is what the paper writes). What "
                "is left out must weigh nothing: minus infinity."),
        Mistake("plus the mask", _masked(fill=lambda s, m: s + m), "The mask was added to the scores: what is left out becomes -inf."),
        Mistake("minus one", _masked(fill=lambda s, m: s.masked_fill(~m, -1)),
                "A finite number still gets a weight: what is left out becomes minus infinity, -torch.inf."),
        Mistake("after the softmax", _masked(fill=lambda s, m: s, after=lambda w, m: w * m),
                "The mask came after the softmax, so the rows no longer add up to 1: mask first, then softmax."),
        Mistake("no mask", _masked(fill=lambda s, m: s), "The mask has no effect: this is the plain softmax."),
        Mistake("inverted", _masked(fill=lambda s, m: s.masked_fill(m, -torch.inf)), "The mask is inverted: the largest scores stay."),
        Mistake("smallest kept", _masked(mask=lambda s, k: mask_of(s, k, largest=False)),
                "The smallest scores stay; it must be the largest."),
        Mistake("largest in size", _masked(mask=lambda s, k: mask_of(s.abs(), k)),
                "The scores were compared by their absolute value. A very negative one is a small one."),
        Mistake("columns", _masked(mask=lambda s, k: mask_of(s, k, -2)), _ROWS),
        Mistake("columns in both", _masked(mask=lambda s, k: mask_of(s, k, -2), weigh=lambda s: s.softmax(-2)),
                "Mask and softmax ran along the columns (dim=-2). A row belongs to a query channel and adds up to 1: dim=-1."),
        Mistake("over a head's map", _masked(mask=_flat_mask((2, 3))),
                "The largest of a whole map stay, so that some rows keep more than others: each row keeps its own."),
        Mistake("over everything", _masked(mask=_flat_mask((0, 3))),
                "The largest of the whole batch stay: each row keeps its own."),
        Mistake("of the first head", _masked(mask=lambda s, k: mask_of(s, k)[:, :1].expand_as(s)),
                "All heads got the first one's mask: each row of each head keeps its own largest."),
        Mistake("of the first image", _masked(mask=lambda s, k: mask_of(s, k)[:1].expand_as(s)),
                "All images got the first one's mask: each row of each image keeps its own largest."),
        Mistake("smallest score filled in", _masked(fill=lambda s, m: torch.where(m, s, s.amin(-1, keepdim=True))),
                "The smallest score still gets a weight: what is left out becomes minus infinity, -torch.inf."),
        Mistake("softmax over the columns", _masked(weigh=lambda s: s.softmax(-2).nan_to_num()),
                "The softmax ran along the columns: rows add up to 1, dim=-1."),
        Mistake("softmax over the heads", _masked(weigh=lambda s: s.softmax(1).nan_to_num()),
                "The softmax ran over the heads: rows add up to 1, dim=-1."),
        Mistake("one too many", _masked(count=lambda d, gamma: min(d, kept(d, gamma) + 1)), TOO_MANY),
        Mistake("rounded up", _masked(count=lambda d, gamma: -int(-d * gamma // 1)), TOO_MANY),
        Mistake("rounded", _masked(count=lambda d, gamma: max(1, int(d * gamma + 0.5))), TOO_MANY),
        Mistake("one too few", _masked(count=lambda d, gamma: max(1, kept(d, gamma) - 1)),
                "One too few stays: with a threshold, the K-th largest itself stays, too (>=)."),
        Mistake("share dropped", _masked(count=lambda d, gamma: max(1, d - kept(d, gamma))),
                "gamma is the share that *stays*; yours drops so many."),
        Mistake("fixed share", _masked(count=lambda d, gamma: kept(d, 0.9)), "gamma is an argument; yours is always 0.9."),
        Mistake("largest only", _masked(count=lambda d, gamma: 1), "Only the largest of each row stays: int(d * gamma) of them do."),
        Mistake("none kept", lambda s, gamma: masked_softmax(s, gamma) if int(s.shape[-1] * gamma) else s.softmax(-1) * 0,
                "Where int(d * gamma) is 0, nothing stays: keep at least one, max(1, ...)."),
        Mistake("no softmax", _masked(weigh=lambda s: s, fill=lambda s, m: s * m),
                "The softmax is missing: these are scores, with zeros where the mask is."),
        Mistake("ones", _masked(weigh=lambda s: s * 0, fill=lambda s, m: s, after=lambda w, m: w + m),
                "This is the mask itself: return the softmax of the scores that stay."),
        Mistake("equal weights", _masked(weigh=lambda s: s * 0, fill=lambda s, m: s, after=lambda w, m: w + m / m.sum(-1, keepdim=True)),
                "Those that stay share equally: their softmax gives the larger score the larger weight."),
        Mistake("twice", _masked(weigh=lambda s: s.softmax(-1).softmax(-1)),
                "The softmax ran twice, which gives weights to what is left out."),
        Mistake("minus too many", _masked(weigh=lambda s: (-s.masked_fill(s == -torch.inf, torch.inf)).softmax(-1)),
                "There is a minus too many: the larger the score, the larger the weight."),
        Mistake("scores detached", _masked(fill=lambda s, m: s.detach().masked_fill(~m, -torch.inf)),
                "The values are right, but no gradient reaches the scores, so query and key would never learn: only the *mask* is a "
                "constant."),
    ),
    keep_dtype=True,
)  # fmt: skip
