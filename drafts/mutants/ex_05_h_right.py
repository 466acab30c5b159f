"""Answers to 05-h, what to remove next: right ones, each written differently."""

import torch

from .ex_05_h import ANSWERS

alternative = ANSWERS.alternative


@alternative
def by_a_loop(scores, names, done, threshold):
    best, best_score = None, float("-inf")
    for name, score in zip(names, scores.tolist(), strict=True):
        if name == "clean" or name in done:
            continue
        if score > best_score:
            best, best_score = name, score
    clean = scores[names.index("clean")].item()
    if best is None or best_score < threshold or best_score <= clean:
        return None
    return best


@alternative
def by_max(scores, names, done, threshold):
    table = dict(zip(names, (float(score) for score in scores), strict=True))
    left = [name for name in names if name not in done | {"clean"}]
    if not left:
        return None
    best = max(left, key=table.get)
    return best if table[best] >= threshold and table[best] > table["clean"] else None


@alternative
def by_a_mask(scores, names, done, threshold):
    scores = scores.detach()
    out = torch.tensor([name in done.union({"clean"}) for name in names])
    masked = scores.masked_fill(out, -torch.inf)
    place = masked.argmax()
    enough = bool(masked[place] >= threshold) and bool(masked[place] > scores[names.index("clean")])
    return names[place] if enough else None


@alternative
def by_a_sort(scores, names, done, threshold):
    order = sorted(range(len(names)), key=lambda i: -float(scores[i]))
    for i in order:
        if names[i] not in done and names[i] != "clean":
            return names[i] if float(scores[i]) >= threshold and float(scores[i]) > float(scores[names.index("clean")]) else None
    return None


@alternative
def by_numpy(scores, names, done, threshold):
    values = scores.numpy().copy()
    clean = values[names.index("clean")]
    for place, name in enumerate(names):
        if name in done or name == "clean":
            values[place] = -1.0
    place = int(values.argmax())
    return names[place] if values[place] >= threshold and values[place] > clean else None


@alternative
def masked_by_zero(scores, names, done, threshold):
    """A probability of 0 is never larger than that of clean."""
    left = torch.tensor([0.0 if name in done or name == "clean" else 1.0 for name in names])
    best, place = (scores * left).max(dim=0)
    return names[int(place)] if best >= threshold and best > scores[names.index("clean")] else None


@alternative
def stops_early(scores, names, done, threshold):
    pairs = list(zip(names, scores.tolist(), strict=True))
    clean = next(score for name, score in pairs if name == "clean")
    passing = [(name, score) for name, score in pairs if name not in done and name != "clean" and score >= threshold and score > clean]
    largest = max((score for _, score in passing), default=None)
    return next((name for name, score in passing if score == largest), None)
