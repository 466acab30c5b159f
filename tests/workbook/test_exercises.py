"""Every wrong answer is refused and explained, every right one accepted, whoever wrote it; the check itself leaves no trace."""

import ast
import builtins
import html
import importlib
import math
import pkgutil
import re

import mutants
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mutants import ex_02_a, ex_02_b, ex_02_c, ex_02_d
from torch import nn

from course_lib.workbook.adapters import BadPiece, NotDone, call_module
from course_lib.workbook.checks import check, examine, provenance, use
from course_lib.workbook.exercises import UnknownExercise, exercises_of, get_exercise
from course_lib.workbook.source import edition_source, lesson_paths, load_lesson

LESSONS = {name[:2]: name for name in lesson_paths()}
EXERCISES = {id: exercise for number in LESSONS for id, exercise in exercises_of(number).items()}
# a module NN_x_right adds to the ANSWERS of ex_NN_x when it is imported
MODULES = [importlib.import_module(f"mutants.{item.name}") for item in pkgutil.iter_modules(mutants.__path__)]
ANSWERS = {module.ANSWERS.id: module.ANSWERS for module in MODULES}


def _wrong():
    for id, answers in ANSWERS.items():
        for name, piece, words in answers.wrong:
            yield pytest.param(id, piece, words, id=f"{id}-{name}")


WRONG = list(_wrong())
RIGHT = [pytest.param(id, piece, id=f"{id}-{name}") for id, answers in ANSWERS.items() for name, piece in answers.right]
MISTAKES = [pytest.param(e, mistake, id=f"{e.id}-{mistake.name}") for e in EXERCISES.values() for mistake in e.mistakes]


def test_every_exercise_has_answers_enough():
    assert set(ANSWERS) == set(EXERCISES)
    for answers in ANSWERS.values():
        assert len(answers.wrong) >= 6 and len(answers.right) >= 3


@pytest.mark.parametrize(("id", "piece", "words"), WRONG)
def test_a_wrong_answer_is_refused(id, piece, words):
    result = check(id, piece)
    assert result.status == "wrong" and 0 <= result.points < result.max_points
    assert result.message.strip() and re.search(words, result.message, re.IGNORECASE), result.message
    assert sum(part["points"] for part in result.subchecks) == result.points
    assert any(part["message"] for part in result.subchecks)
    assert use(id, piece) is get_exercise(id).reference_piece


@pytest.mark.parametrize(("id", "piece"), RIGHT)
def test_a_right_answer_is_accepted(id, piece, capsys):
    result = check(id, piece)
    assert (result.status, result.points, result.message) == ("correct", result.max_points, "")
    assert use(id, piece) is piece and provenance(id) == "your piece"


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_a_known_mistake_gets_its_hint(exercise, mistake):
    result = examine(exercise, mistake.piece)
    assert result.status == "wrong" and result.message.endswith(mistake.hint)
    others = [other.hint for other in exercise.mistakes if other.hint != mistake.hint]
    assert not any(hint in result.message for hint in others)


@pytest.mark.parametrize("id", EXERCISES)
def test_the_reference_is_right_for_other_seeds_too(id):
    exercise = get_exercise(id)
    assert examine(exercise, exercise.reference_piece, seeds=(0, 7, 8, 123)).status == "correct"


@pytest.fixture(scope="module")
def given():
    """Exercise id -> the piece as the student edition gives it, before anything is written."""
    pieces = {}
    for name in LESSONS.values():
        cells = load_lesson(name).cells
        used = {}  # names that the lesson gives to earlier pieces
        for cell in cells:
            for word, id in re.findall(r'^(\w+) = use\("([\w-]+)"', cell.source, re.MULTILINE):
                used[word] = get_exercise(id).reference_piece
        for cell in cells:
            if cell.exercise:
                code = ast.parse(edition_source(cell.source, "student"))
                names = {node.id for node in ast.walk(code) if isinstance(node, ast.Name) and not hasattr(builtins, node.id)}
                # anything else that an earlier cell would have made stands for nothing here
                space = dict.fromkeys(names) | used | {"torch": torch, "nn": nn, "F": F, "math": math, "np": np}
                exec(compile(code, cell.exercise.id, "exec"), space)
                wanted = get_exercise(cell.exercise.id).names
                pieces[cell.exercise.id] = space[wanted[0]] if len(wanted) == 1 else tuple(space[name] for name in wanted)
    return pieces


@pytest.mark.parametrize("id", EXERCISES)
@pytest.mark.parametrize("kind", ["as given", "None", "dots"])
def test_a_stub_is_not_done_yet(id, kind, given, capsys):
    piece = {"as given": given[id], "None": None, "dots": ...}[kind]
    if kind != "as given" and len(get_exercise(id).names) > 1:
        piece = (piece,) * len(get_exercise(id).names)
    result = check(id, piece)
    assert (result.status, result.points) == ("todo", 0) and get_exercise(id).names[0] in result.message
    assert use(id, piece) is get_exercise(id).reference_piece and provenance(id) == "the reference piece"
    assert "using the reference piece" in capsys.readouterr().out


def test_a_branch_without_return_is_wrong_and_keeps_the_other_points():
    piece = next(piece for name, piece, _ in ANSWERS["02-f"].wrong if name == "nothing_after_the_end")
    result = check("02-f", piece)
    assert (result.status, result.points) == ("wrong", 1.5) and "return" in result.message and "after the end" in result.message


def _misspelt(height, width, channels, heads):
    pixels = height * width
    return {"token_map": pixels * heds}  # noqa: F821


class _Misspelt(ex_02_c.Given):
    def forward(self, x):
        return self.projekt_in(x)


def _wrong_call_of_a_library(x, factor):
    return ex_02_d.rearrange(x, "b c (h i) w -> b c h w", i=factor)


@pytest.mark.parametrize(
    ("id", "piece", "words"),
    [
        ("02-e", _misspelt, ("NameError", '`return {"token_map": pixels * heds}', "heds")),
        ("02-c", _Misspelt, ("AttributeError", "`return self.projekt_in(x)`", "projekt_in")),
        ("02-d", (_wrong_call_of_a_library, ex_02_d.shuffle), ("EinopsError", "`return ex_02_d.rearrange(x,")),
        ("02-a", lambda q: q, ("TypeError", "positional argument")),
        ("02-b", 3, ("TypeError", "not callable")),
    ],
)
def test_an_exception_is_explained_with_the_students_line(id, piece, words):
    result = check(id, piece)
    assert result.status == "wrong" and all(word in result.message for word in words), result.message
    assert "course_lib" not in result.message


@pytest.mark.parametrize("id", EXERCISES)
def test_inputs_are_fresh_and_a_check_leaves_no_trace(id, monkeypatch):
    exercise, drawn = get_exercise(id), []
    kept = exercise.inputs

    def inputs(seed):
        drawn.append((kept(seed), kept(seed)))
        return drawn[-1][0]

    object.__setattr__(exercise, "inputs", inputs)
    try:
        for _, piece, _ in ANSWERS[id].wrong:
            torch.manual_seed(5)
            before = torch.get_rng_state()
            examine(exercise, piece)
            assert torch.equal(torch.get_rng_state(), before) and torch.is_grad_enabled()
    finally:
        object.__setattr__(exercise, "inputs", kept)
    assert drawn and all(_same(mine, untouched) for mine, untouched in drawn)
    assert not _same(kept(0), kept(1)) and _same(kept(3), kept(3))


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and torch.equal(a, b) and not a.requires_grad
    if isinstance(a, dict):
        return set(a) == set(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def test_results_show_their_status_in_a_notebook():
    def unsafe(q, k, temperature):
        raise ValueError("<b>&")

    for piece, status in ((None, "todo"), (unsafe, "wrong"), (ex_02_a.by_einsum, "correct")):
        result = check("02-a", piece)
        shown = result._repr_html_()
        assert f'data-status="{status}"' in shown and "02-a" in shown and f"{result.points:g} of 2 points" in shown
        assert all(html.escape(line) in shown for line in result.message.splitlines()) and "<b>&" not in shown
        assert f"{result.points:g} of 2 points" in str(result)


def test_unknown_exercises_are_named():
    with pytest.raises(UnknownExercise, match="02-a, 02-b"):
        check("02-z", None)
    with pytest.raises(UnknownExercise, match="no lesson '77'"):
        check("77-a", None)


def test_the_module_adapter_says_what_it_cannot_call():
    arguments = get_exercise("02-b").inputs(0)["several heads"]
    with pytest.raises(NotDone):
        call_module(None, arguments)
    with pytest.raises(BadPiece, match="keep the __init__"):
        call_module(ex_02_b.SeparateConvolutions, arguments)


@pytest.mark.parametrize("want", [float("inf"), float("nan")])
def test_nothing_equals_what_is_not_finite(want):
    """A recognised mistake that divides by zero must not lend its hint to every other answer."""
    from course_lib.workbook.checks import compare

    assert compare(torch.ones(2), torch.tensor([1.0, want]), 1e-6)
    assert compare(1.0, want, 1e-6)
    assert compare(float("inf"), float("inf"), 1e-6) == ""
