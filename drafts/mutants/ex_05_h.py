"""Answers to 05-h, what to remove next: scores (N,), names, done, threshold -> a name or None."""

from . import Answers

ANSWERS = Answers("05-h")
mutant = ANSWERS.mutant


def candidates(scores, names, done):
    """Right: (score, name) of those that may be asked for."""
    return [(score, name) for score, name in zip(scores.tolist(), names, strict=True) if name not in done and name != "clean"]


def clean_score(scores, names):
    return scores.tolist()[names.index("clean")]


@mutant("done|again|already")
def done_asked_for_again(scores, names, done, threshold):
    score, name = max(candidates(scores, names, set()), key=lambda pair: pair[0])
    return name if score >= threshold and score > clean_score(scores, names) else None


@mutant("done|next|second|stop")
def stops_where_the_largest_is_done(scores, names, done, threshold):
    score, name = max(candidates(scores, names, set()), key=lambda pair: pair[0])
    return name if name not in done and score >= threshold and score > clean_score(scores, names) else None


@mutant("clean")
def clean_is_a_candidate(scores, names, done, threshold):
    pairs = [(score, name) for score, name in zip(scores.tolist(), names, strict=True) if name not in done]
    score, name = max(pairs, key=lambda pair: pair[0])
    return name if score >= threshold else None


@mutant("clean")
def clean_not_compared(scores, names, done, threshold):
    pairs = candidates(scores, names, done)
    score, name = max(pairs, key=lambda pair: pair[0], default=(-1, None))
    return name if score >= threshold else None


@mutant("clean|larger|tie|equal")
def as_large_as_clean_is_enough(scores, names, done, threshold):
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return name if score >= threshold and score >= clean_score(scores, names) else None


@mutant("clean")
def clean_compared_where_it_is_the_largest_of_all_six(scores, names, done, threshold):
    """Looks at place 5."""
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return name if score >= threshold and score > scores.tolist()[min(5, len(names) - 1)] else None


@mutant("clean|last")
def clean_taken_to_be_the_last(scores, names, done, threshold):
    values = scores.tolist()
    pairs = [(score, name) for score, name in zip(values[:-1], names[:-1], strict=True) if name not in done]
    score, name = max(pairs, key=lambda pair: pair[0], default=(-1, None))
    return name if score >= threshold and score > values[-1] else None


@mutant()
def clean_taken_to_be_the_first(scores, names, done, threshold):
    values = scores.tolist()
    pairs = [(score, name) for score, name in zip(values[1:], names[1:], strict=True) if name not in done]
    score, name = max(pairs, key=lambda pair: pair[0], default=(-1, None))
    return name if score >= threshold and score > values[0] else None


@mutant("threshold|at least|>=|equal")
def must_pass_the_threshold(scores, names, done, threshold):
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return name if score > threshold and score > clean_score(scores, names) else None


@mutant("threshold")
def threshold_forgotten(scores, names, done, threshold):
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return name if score > clean_score(scores, names) else None


@mutant("threshold")
def threshold_of_a_half(scores, names, done, threshold):
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return name if score >= 0.5 and score > clean_score(scores, names) else None


@mutant()
def threshold_of_zero_taken_for_none(scores, names, done, threshold):
    return choose(scores, names, done, threshold or 0.5)


@mutant("threshold")
def threshold_or_clean(scores, names, done, threshold):
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return name if score >= threshold or score > clean_score(scores, names) else None


@mutant()
def threshold_for_the_lead_over_clean(scores, names, done, threshold):
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return name if score - clean_score(scores, names) >= threshold else None


@mutant()
def threshold_for_clean(scores, names, done, threshold):
    """Stops where clean reaches it."""
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return name if clean_score(scores, names) < threshold and score > clean_score(scores, names) else None


@mutant("largest|first")
def first_above_the_threshold(scores, names, done, threshold):
    for score, name in candidates(scores, names, done):
        if score >= threshold and score > clean_score(scores, names):
            return name
    return None


@mutant()
def smallest_of_those_that_pass(scores, names, done, threshold):
    pairs = [pair for pair in candidates(scores, names, done) if pair[0] >= threshold and pair[0] > clean_score(scores, names)]
    return min(pairs, key=lambda pair: pair[0])[1] if pairs else None


@mutant()
def last_of_a_tie(scores, names, done, threshold):
    best = None
    for score, name in candidates(scores, names, done):
        if best is None or score >= best[0]:
            best = score, name
    return best[1] if best and best[0] >= threshold and best[0] > clean_score(scores, names) else None


@mutant()
def tie_by_the_alphabet_backwards(scores, names, done, threshold):
    """The larger of the pairs (score, name)."""
    score, name = max(candidates(scores, names, done), default=(-1, None))
    return name if score >= threshold and score > clean_score(scores, names) else None


@mutant()
def tie_by_the_alphabet(scores, names, done, threshold):
    pairs = sorted(candidates(scores, names, done), key=lambda pair: (-pair[0], pair[1]))
    score, name = pairs[0] if pairs else (-1, None)
    return name if score >= threshold and score > clean_score(scores, names) else None


@mutant()
def tie_gives_up(scores, names, done, threshold):
    pairs = sorted(candidates(scores, names, done), key=lambda pair: -pair[0])
    if len(pairs) > 1 and pairs[0][0] == pairs[1][0]:
        return None
    score, name = pairs[0] if pairs else (-1, None)
    return name if score >= threshold and score > clean_score(scores, names) else None


@mutant("name|int|str")
def its_place(scores, names, done, threshold):
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return names.index(name) if score >= threshold and score > clean_score(scores, names) else None


@mutant("name|tuple|str")
def name_and_score(scores, names, done, threshold):
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return (name, score) if score >= threshold and score > clean_score(scores, names) else None


def choose(scores, names, done, threshold):
    """Right."""
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0], default=(-1, None))
    return name if score >= threshold and score > clean_score(scores, names) else None


@mutant("None")
def clean_for_none(scores, names, done, threshold):
    return choose(scores, names, done, threshold) or "clean"


@mutant("None")
def empty_word_for_none(scores, names, done, threshold):
    return choose(scores, names, done, threshold) or ""


@mutant("None")
def word_none(scores, names, done, threshold):
    return str(choose(scores, names, done, threshold))


@mutant("None|bool|False")
def false_for_none(scores, names, done, threshold):
    return choose(scores, names, done, threshold) or False


@mutant("list|str")
def all_that_pass(scores, names, done, threshold):
    return [name for score, name in candidates(scores, names, done) if score >= threshold and score > clean_score(scores, names)]


@mutant("done|in.place")
def name_noted_as_done(scores, names, done, threshold):
    """The caller has yet to remove it."""
    name = choose(scores, names, done, threshold)
    if name is not None:
        done.add(name)
    return name


@mutant("done|in.place")
def clean_noted_as_done(scores, names, done, threshold):
    name = choose(scores, names, done, threshold)
    done.add("clean")
    return name


@mutant("names|in.place")
def names_crossed_out(scores, names, done, threshold):
    name = choose(scores, names, done, threshold)
    for other in done:
        if other in names:
            names.remove(other)
    return name


@mutant("in.place|scores")
def scores_crossed_out(scores, names, done, threshold):
    name = choose(scores, names, done, threshold)
    for place, other in enumerate(names):
        if other in done:
            scores.data[place] = -1.0
    return name


@mutant("ValueError|empty|done|None|max")
def nothing_left_not_thought_of(scores, names, done, threshold):
    """Stops when all are done."""
    score, name = max(candidates(scores, names, done), key=lambda pair: pair[0])
    return name if score >= threshold and score > clean_score(scores, names) else None


@mutant("done|shared|renormal|softmax|sum|share")
def shares_of_what_is_left(scores, names, done, threshold):
    """Scales the scores of the rest to the sum 1."""
    left = sum(score for score, name in zip(scores.tolist(), names, strict=True) if name not in done) or 1.0
    return choose(scores / left, names, done, threshold)


@mutant()
def softmax_again(scores, names, done, threshold):
    return choose(scores.softmax(dim=0), names, done, threshold)


@mutant()
def done_ends_the_loop(scores, names, done, threshold):
    """Right for the first round."""
    return None if done else choose(scores, names, done, threshold)


@mutant()
def one_done_at_most(scores, names, done, threshold):
    return choose(scores, names, set(sorted(done)[:1]), threshold)


@mutant()
def done_looked_for_inside_the_words(scores, names, done, threshold):
    """ "rain" is found in "rain streaks"."""
    left = {name for name in names if any(word in name for word in done)}
    return choose(scores, names, left, threshold)


@mutant()
def clean_looked_for_inside_the_words(scores, names, done, threshold):
    """Leaves out every name that holds it."""
    pairs = [pair for pair in candidates(scores, names, done) if "clean" not in pair[1]]
    score, name = max(pairs, key=lambda pair: pair[0], default=(-1, None))
    return name if score >= threshold and score > clean_score(scores, names) else None


@mutant()
def scores_rounded(scores, names, done, threshold):
    return choose(scores.mul(10).round() / 10, names, done, threshold)


@mutant()
def names_sorted(scores, names, done, threshold):
    return choose(scores, sorted(names), done, threshold)


@mutant()
def usual_names_assumed(scores, names, done, threshold):
    usual = ["noise", "blur", "rain", "haze", "low light", "clean"]
    return choose(scores[: len(usual)], usual[: len(scores)] if len(scores) < 6 else usual, done, threshold)
