"""Exercise 05-h, the decision in AutoDIR's loop: inputs, reference, points, and the mistakes that the check recognises."""

import torch
from torch import Tensor

from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_05_calls import call_choices
from course_lib.workbook.lessons.lesson_05_process import seeded

# ---- 05-h: what next? ------------------------------------------------------------------------------------------------


def next_degradation(scores: Tensor, names: list[str], done: set[str], threshold: float) -> str | None:
    """(N,) scores -> the name of the strongest degradation left, or None when it is weak or "clean" is as likely."""
    clean = scores[names.index("clean")]
    best = None
    for score, name in zip(scores, names, strict=True):
        if name != "clean" and name not in done and (best is None or score > best[0]):
            best = score, name
    return best[1] if best and best[0] >= threshold and best[0] > clean else None


_WORDS = ("noise", "blur", "rain", "haze", "low light", "snow")


def _inputs_h(seed: int) -> dict:
    g = seeded(seed, 58)

    def case(numbers, done, threshold=0.1, clean=0.0, words=None):
        """Scores of some degradations in order, the first `done` of a list of places, "clean" somewhere between."""
        order = words or [_WORDS[i] for i in torch.randperm(len(_WORDS), generator=g)[: len(numbers)]]
        place = int(torch.randint(len(numbers) + 1, (), generator=g))
        scores = torch.tensor([*numbers[:place], clean, *numbers[place:]])
        names = [*order[:place], "clean", *order[place:]]
        return {"scores": scores, "names": names, "done": [order[i] for i in done], "threshold": threshold}

    def shuffled(*numbers):
        return [numbers[i] for i in torch.randperm(len(numbers), generator=g)]

    drawn = shuffled(0.55, 0.2, 0.12, 0.08, 0.05)
    by_size = sorted(range(5), key=lambda i: -drawn[i])
    return {
        "the strongest that is left": {"cases": [
            case(drawn, [], threshold=0.5),
            case(drawn, by_size[:1]),
            case(drawn, by_size[:2]),
            case(drawn, [by_size[0], by_size[3]]),
            case([0.125, 0.375, 0.125, 0.375], []),  # a tie
            case([0.5, 0.1875, 0.125, 0.1875], [0]),  # a tie behind what is done
            case(shuffled(0.5, 0.375), [], clean=0.125, threshold=0.5),  # just enough
            case([0.5, 0.3, 0.15], [1, 0], clean=0.05, threshold=0.0),
            case([0.4, 0.1, 0.2, 0.3], [0], words=["rain", "blur", "motion blur", "raindrop"]),  # names within names
            case([0.2, 0.6, 0.1], [0], clean=0.1, words=["haze", "unclean lens", "noise"]),
        ]},
        "when to stop": {"cases": [
            case(shuffled(0.3, 0.2, 0.1), [], clean=0.4),  # clean is the largest
            case([0.4, 0.2, 0.1], [0], clean=0.3),  # clean is larger than what is left, though not the largest
            case([0.625, 0.125, 0.125], [0], clean=0.125),  # as likely as clean
            case([0.5, 0.25, 0.125], [0], clean=0.125, threshold=0.25),  # just at the threshold
            case([0.6, 0.2, 0.15], [0], clean=0.05, threshold=0.25),  # below it
            case(shuffled(0.2, 0.3, 0.25, 0.2), [], clean=0.05, threshold=0.4),  # all below it
            case([0.6, 0.3], [1, 0], clean=0.1),  # nothing left
            case(shuffled(0.55, 0.4), [], clean=0.05, threshold=0.35),  # nothing in the way
            case([0.4, 0.3, 0.2], [0], clean=0.1, threshold=0.35),  # what is done is above the threshold, what is left is not
        ]},
    }  # fmt: skip


def _choice(
    left=lambda n, done: n != "clean" and n not in done,
    better=lambda s, best: s > best,
    enough=lambda s, threshold: s >= threshold,
    against=lambda s, clean: s > clean,
    nothing=lambda names: None,
):
    """next_degradation with one step replaced, on plain numbers."""

    def piece(scores, names, done, threshold):
        scores = [float(s) for s in scores]
        best = None
        for i, name in enumerate(names):
            if left(name, done) and (best is None or better(scores[i], scores[best])):
                best = i
        if best is None or not enough(scores[best], threshold) or not against(scores[best], scores[names.index("clean")]):
            return nothing(names)
        return names[best]

    return piece


def _gives_up_at_done(scores, names, done, threshold):
    best = names[int(scores.argmax())]
    return None if best == "clean" or best in done or scores.max() < threshold else best


def _first_above(scores, names, done, threshold):
    clean = scores[names.index("clean")]
    return next((n for s, n in zip(scores, names, strict=True) if n != "clean" and n not in done and s >= threshold and s > clean), None)


def _clean_at(place):
    """The score of "clean" read at a fixed place."""

    def piece(scores, names, done, threshold):
        scores, clean = [float(s) for s in scores], float(scores[place])
        left = [i for i, name in enumerate(names) if name != "clean" and name not in done]
        best = max(left, key=lambda i: scores[i], default=None)
        return None if best is None or scores[best] < threshold or scores[best] <= clean else names[best]

    return piece


def _renormalised(scores, names, done, threshold):
    kept = torch.tensor([n not in done for n in names])
    scores = scores * kept / (scores * kept).sum()
    return next_degradation(scores, names, done, threshold)


def _written(name, piece, hint):
    """A mistake that says None everywhere in some case and is no stub for all that."""

    def known(scores, names, done, threshold):
        return piece(scores, names, done, threshold)

    known.written = True
    return Mistake(name, known, hint)


EXERCISE_H = Exercise(
    "05-h", "What next?", ("next_degradation",), {"the strongest that is left": 1, "when to stop": 1}, _inputs_h, call_choices,
    next_degradation,
    (
        _written("done ignored", _choice(left=lambda n, done: n != "clean"),
                "What is done already was chosen again: the loop would never end."),
        _written("gives up", _gives_up_at_done,
                "The largest score of *all* was taken, and you stop where it is done already. Look among those that are left."),
        _written("weakest", _choice(better=lambda s, best: s < best), "That is the weakest one: take the largest score."),
        _written("last of a tie", _choice(better=lambda s, best: s >= best), "Of two equal scores you take the last; the first counts."),
        _written("first above", _first_above, "That is the first name above the threshold, not the one with the largest score."),
        _written("clean may win", _choice(left=lambda n, done: n not in done, against=lambda s, clean: True),
                'You return "clean". It is no degradation: return None.'),
        _written("says clean", _choice(nothing=lambda names: "clean"), 'When there is nothing to do, return None, not "clean".'),
        _written("empty name", _choice(nothing=lambda names: ""), "When there is nothing to do, return None, not an empty name."),
        _written("clean ignored", _choice(against=lambda s, clean: True),
                'The score of "clean" has no effect: stop unless the best one is larger than it.'),
        _written("as likely as clean", _choice(against=lambda s, clean: s >= clean),
                'A degradation exactly as likely as "clean" was taken; it must be *larger*.'),
        _written("threshold ignored", _choice(enough=lambda s, threshold: True),
                "The threshold has no effect: stop when the best is below it."),
        _written("above the threshold", _choice(enough=lambda s, threshold: s > threshold),
                "A score exactly at the threshold was refused; *at least* the threshold is enough."),
        _written("threshold fixed", _choice(enough=lambda s, threshold: s >= 0.5), "The threshold is an argument; yours is fixed."),
        _written("threshold the wrong way", _choice(enough=lambda s, threshold: s <= threshold),
                "You stop when the score is large: stop when it is *below* the threshold."),
        _written("neither threshold nor clean", _choice(enough=lambda s, threshold: True, against=lambda s, clean: True),
                'Neither the threshold nor the score of "clean" has an effect: both can say stop.'),
        _written("softmax", lambda scores, *rest: next_degradation(scores.softmax(0), *rest),
                "The scores are probabilities already: a second softmax flattens them."),
        _written("clean first", _clean_at(0), '"clean" may stand at any place: names.index("clean") finds it.'),
        _written("clean last", _clean_at(-1), '"clean" may stand at any place: names.index("clean") finds it.'),
        _written("shared anew", _renormalised, "The scores of those that are left were scaled to add up to 1. Compare them as they come."),
    ),
)  # fmt: skip
