"""Exercises of lesson 03, PromptIR. Here 03-e and 03-f; prompts, their blocks and the lab stand in `lesson_03_{prompts,blocks,lab}.py`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.workbook.adapters import call_in_place, call_with_constants
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_03_blocks import EXERCISE_C, EXERCISE_D
from course_lib.workbook.lessons.lesson_03_lab import EXERCISE_G, EXERCISE_H
from course_lib.workbook.lessons.lesson_03_prompts import EXERCISE_A, EXERCISE_B, seeded

# ---- 03-e: contrast with a queue -------------------------------------------------------------------------------------


def contrastive_logits(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.07) -> Tensor:
    """(B, D), (B, D), (D, K) of unit columns -> (B, 1 + K): cosines with the own key and the queue, over the temperature."""
    query, key = F.normalize(query, dim=1), F.normalize(key.detach(), dim=1)
    return torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature


def _inputs_e(seed: int) -> dict:
    g = seeded(seed, 35)
    cases = {}
    # The second queue is square, so that a transposed one does not crash and gets its hint.
    for name, B, D, K, temperature in (
        ("temperature 1", 3, 6, 9, 1.0),
        ("another temperature", 5, 4, 4, 0.3 + 0.2 * (seed % 3)),
        ("the temperature left out", 1 + seed % 2, 8, 4, None),
    ):
        query, key = ((0.5 + 3 * torch.rand(B, 1, generator=g)) * torch.randn(B, D, generator=g) for _ in range(2))
        queue = F.normalize(torch.randn(D, K, generator=g), dim=0)
        given = {} if temperature is None else {"temperature": temperature}
        cases[name] = {"query": query, "key": key, "queue": queue} | given | {"constants": ["queue"]}
    return cases


def _unit(t):
    return F.normalize(t, dim=1)


def _contrast_with(query=_unit, key=lambda k: _unit(k.detach()), queue=lambda n: n, join=None, scale=lambda s, t: s / t):
    """contrastive_logits with one step replaced."""

    def piece(q, k, n, temperature=0.07):
        q, k, n = query(q), key(k), queue(n)
        own, others = (q * k).sum(1, keepdim=True), q @ n
        return scale((join or (lambda own, others: torch.cat([own, others], 1)))(own, others), temperature)

    return piece


def _default_one(q, k, n, temperature=1.0):
    return contrastive_logits(q, k, n, temperature)


def _all_keys(q, k, n, temperature=0.07):
    q, k = _unit(q), _unit(k.detach())
    return torch.cat([q @ k.T, q @ n], 1) / temperature


def _only_own_scaled(own, others, t):
    return torch.cat([own / t, others], 1)


EXERCISE_E = Exercise(
    "03-e", "Contrast with a queue", ("contrastive_logits",),
    {"temperature 1": 1, "another temperature": 0.5, "the temperature left out": 0.5}, _inputs_e, call_with_constants, contrastive_logits,
    (
        Mistake("key learns", _contrast_with(key=_unit),
                "The values are right, but a gradient reaches the key. The key encoder follows by momentum alone: key.detach()."),
        Mistake("query detached", _contrast_with(query=lambda q: _unit(q.detach()), key=_unit),
                "The gradient flows to the wrong one: the query learns, the key does not. Detach the key."),
        Mistake("both detached", _contrast_with(query=lambda q: _unit(q.detach())),
                "The values are right, but nothing learns: only the key must be detached, not the query."),
        Mistake("length held constant", _contrast_with(query=lambda q: q / q.detach().norm(dim=1, keepdim=True)),
                "The values are right, but the gradient of the normalisation is missing: do not detach the length of the query."),
        Mistake("query not normalised", _contrast_with(query=lambda q: q),
                "The query is not normalised: divide each row by its length, so that the products are cosines."),
        Mistake("key not normalised", _contrast_with(key=lambda k: k.detach()),
                "The key is not normalised: divide each row by its length, so that the products are cosines."),
        Mistake("nothing normalised", _contrast_with(query=lambda q: q, key=lambda k: k.detach()),
                "Neither query nor key is normalised: F.normalize(..., dim=1) divides each row by its length."),
        Mistake("nothing normalised, key learns", _contrast_with(query=lambda q: q, key=lambda k: k),
                "Neither query nor key is normalised (F.normalize, dim=1), and the key must be detached."),
        Mistake("normalised over the batch", _contrast_with(lambda q: F.normalize(q, dim=0), lambda k: F.normalize(k.detach(), dim=0)),
                "The lengths run over the batch (dim=0). A query is a row: F.normalize(..., dim=1)."),
        Mistake("one length", _contrast_with(query=lambda q: q / q.norm(), key=lambda k: k.detach() / k.detach().norm()),
                "The whole batch was divided by one length. Every row has its own: dim=1, keepdim=True."),
        Mistake("sum of absolutes", _contrast_with(lambda q: F.normalize(q, p=1, dim=1), lambda k: F.normalize(k.detach(), p=1, dim=1)),
                "The rows are divided by the sum of absolute values. The length is Euclidean: F.normalize(..., dim=1) as it is."),
        Mistake("softmaxed", _contrast_with(query=lambda q: q.softmax(1), key=lambda k: k.detach().softmax(1)),
                "A softmax is no normalisation of a direction: divide by the Euclidean length, F.normalize(..., dim=1)."),
        Mistake("queue by rows", _contrast_with(queue=lambda n: F.normalize(n, dim=1)),
                "The queue was normalised along its rows. Its columns are the keys, and they have length 1 already."),
        Mistake("queue transposed", _contrast_with(queue=lambda n: n.T),
                "The queue is transposed: it is (D, K), one key a column, so query @ queue gives (B, K)."),
        Mistake("positive last", _contrast_with(join=lambda own, others: torch.cat([others, own], 1)),
                "The positive pair stands last. It comes first: the label of every row is then 0."),
        Mistake("positives only", _contrast_with(join=lambda own, others: own), "The queue is missing: (B, 1 + K), the own key first."),
        Mistake("queue only", _contrast_with(join=lambda own, others: others), "The positive pair is missing: the first of 1 + K columns."),
        Mistake("all keys", _all_keys,
                "Every query meets every key of the batch. Query b has one positive, key b: multiply row by row and sum, (B, 1)."),
        Mistake("temperature multiplied", _contrast_with(scale=lambda s, t: s * t),
                "Divide by the temperature: a small one makes the differences large."),
        Mistake("another default", _default_one, "Left out, the temperature is 0.07: temperature=0.07 in the first line."),
        Mistake("no temperature", _contrast_with(scale=lambda s, t: s), "The temperature has no effect: divide all logits by it."),
        Mistake("root of the temperature", _contrast_with(scale=lambda s, t: s / t**0.5), "Divide by the temperature, not by its root."),
        Mistake("temperature squared", _contrast_with(scale=lambda s, t: s / t**2), "The temperature divides twice."),
        Mistake("temperature of the positive alone", _contrast_with(scale=lambda s, t: torch.cat([s[:, :1] / t, s[:, 1:]], 1)),
                "Only the positive is divided by the temperature: all 1 + K logits are."),
        Mistake("temperature of the queue alone", _contrast_with(scale=lambda s, t: torch.cat([s[:, :1], s[:, 1:] / t], 1)),
                "Only the queue's logits are divided by the temperature: all 1 + K are."),
        Mistake("always 0.07", _contrast_with(scale=lambda s, t: s / 0.07), "The temperature is an argument; yours is always 0.07."),
        Mistake("softmax", _contrast_with(scale=lambda s, t: (s / t).softmax(1)),
                "These are probabilities already. Return the logits; the cross-entropy takes the softmax itself."),
        Mistake("log softmax", _contrast_with(scale=lambda s, t: (s / t).log_softmax(1)),
                "This is log_softmax already. Return the logits; the cross-entropy takes it itself."),
        Mistake("exponential", _contrast_with(scale=lambda s, t: (s / t).exp()), "Return the logits, without exp."),
        Mistake("mean", _contrast_with(query=lambda q: _unit(q) / q.shape[1]),
                "A cosine *sums* the products over D; yours takes their mean."),
        Mistake("distances", _contrast_with(join=lambda own, others: torch.cat([1 - own, 1 - others], 1)),
                "These are distances, 1 - cosine. The own key must get the largest number: return the cosines."),
    ),
    keep_dtype=True,
)  # fmt: skip

# ---- 03-f: the slow encoder ------------------------------------------------------------------------------------------


@torch.no_grad()
def momentum_update(slow, fast, momentum):
    """Lists of tensors of the same shapes: slow <- momentum slow + (1 - momentum) fast, in place. He et al., MoCo, 2020, eq. 2."""
    for follower, leader in zip(slow, fast, strict=True):
        follower.lerp_(leader, 1 - momentum)


def _inputs_f(seed: int) -> dict:
    g = seeded(seed, 36)

    def draw():
        return [torch.randn(shape, generator=g) for shape in ((3, 4), (5,), (), (2, 3, 1, 2))]

    return {
        "plain tensors": {"slow": draw(), "fast": draw(), "momentum": (0.9, 0.25, 0.7)[seed % 3], "learning": []},
        # as in training: the fast weights always learn, the slow ones may say so, too
        "weights of networks": {"slow": draw(), "fast": draw(), "momentum": 0.8, "learning": ["slow", "fast"] if seed % 2 else ["fast"]},
    }


def _follow_with(rule, which=slice(None)):
    """What each pair becomes by `rule(slow, fast, momentum)`, in place."""

    @torch.no_grad()
    def piece(slow, fast, momentum):
        for s, f in list(zip(slow, fast, strict=True))[which]:
            s.copy_(rule(s, f, momentum))

    return piece


@torch.no_grad()
def _moves_fast(slow, fast, momentum):
    for s, f in zip(slow, fast, strict=True):
        f.copy_(momentum * f + (1 - momentum) * s)


@torch.no_grad()
def _moves_fast_only_target(slow, fast, momentum):
    for s, f in zip(slow, fast, strict=True):
        f.copy_(momentum * s + (1 - momentum) * f)


@torch.no_grad()
def _both_move(slow, fast, momentum):
    for s, f in zip(slow, fast, strict=True):
        s.copy_(momentum * s + (1 - momentum) * f)
        f.copy_(s)


@torch.no_grad()
def _matrices_only(slow, fast, momentum):
    for s, f in zip(slow, fast, strict=True):
        if s.ndim > 1:
            s.lerp_(f, 1 - momentum)


EXERCISE_F = Exercise(
    "03-f", "The slow encoder", ("momentum_update",), {"plain tensors": 0.5, "weights of networks": 0.5}, _inputs_f, call_in_place,
    momentum_update,
    (
        Mistake("not in place", lambda slow, fast, momentum: [momentum * s + (1 - momentum) * f for s, f in zip(slow, fast, strict=True)],
                "The tensors of `slow` are as before: `s = ...` or `slow[i] = ...` only makes new ones, and the network keeps the old. "
                "Write into them: s.copy_(...), s.lerp_(...) or s.mul_(...).add_(...)."),
        Mistake("momentum swapped", _follow_with(lambda s, f, m: (1 - m) * s + m * f),
                "The two shares are swapped: `momentum` is what *stays* of slow, so with 0.999 it hardly moves."),
        Mistake("fast moves", _moves_fast, "The fast tensors were changed. The slow ones follow; fast only learns by its gradient."),
        Mistake("fast is written into", _moves_fast_only_target, "The result was written into the fast tensors; it belongs into the slow."),
        Mistake("both move", _both_move, "The slow tensors are right, but the fast ones were changed as well: leave them alone."),
        Mistake("copied", _follow_with(lambda s, f, m: f), "The fast values were copied: the momentum has no effect."),
        Mistake("added whole", _follow_with(lambda s, f, m: m * s + f), "The shares do not add up to 1: (1 - momentum) times fast."),
        Mistake("slow kept whole", _follow_with(lambda s, f, m: s + (1 - m) * f),
                "slow keeps all of itself and gets more: multiply it by momentum first."),
        Mistake("faded", _follow_with(lambda s, f, m: m * s), "The fast tensors have no effect: add (1 - momentum) times fast."),
        Mistake("towards away", _follow_with(lambda s, f, m: s - (1 - m) * (f - s)), "slow moves away from fast: a sign is wrong."),
        Mistake("difference subtracted", _follow_with(lambda s, f, m: m * s - (1 - m) * f), "The fast share is added, not subtracted."),
        Mistake("always 0.999", _follow_with(lambda s, f, m: 0.999 * s + 0.001 * f), "The momentum is an argument; yours is fixed."),
        Mistake("halves", _follow_with(lambda s, f, m: (s + f) / 2), "That is the plain mean: the momentum has no effect."),
        Mistake("first only", _follow_with(lambda s, f, m: m * s + (1 - m) * f, slice(1)),
                "Only the first tensor moved: is there a `return` or `break` inside the loop?"),
        Mistake("last only", _follow_with(lambda s, f, m: m * s + (1 - m) * f, slice(-1, None)),
                "Only the last tensor moved: does the update stand outside the loop?"),
        Mistake("last left out", _follow_with(lambda s, f, m: m * s + (1 - m) * f, slice(-1)), "The last tensor did not move: all do."),
        Mistake("matrices only", _matrices_only, "Only tensors of two or more axes moved; biases and single numbers follow, too: all do."),
        Mistake("twice", _follow_with(lambda s, f, m: m * m * s + (1 - m * m) * f), "The update ran twice."),
    ),
    tolerance=1e-5,
)  # fmt: skip

EXERCISES = (EXERCISE_A, EXERCISE_B, EXERCISE_C, EXERCISE_D, EXERCISE_E, EXERCISE_F, EXERCISE_G, EXERCISE_H)
