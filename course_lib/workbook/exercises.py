"""What an exercise is: fresh inputs from a seed, a reference, sub-checks with points, the mistakes it recognises.

One declaration serves the check in the notebook, the tests of the mutants and the grader. Inputs and outputs are tensors or JSON, so
that they can cross a process border. How a student's piece is called stands in `adapters.py`, which knows no answers.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Value = Tensor | dict | list | tuple | int | float | str | bool | None


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: `piece` gives its output; a student's output equal to it gets `hint`."""

    name: str
    piece: Any
    hint: str


@dataclass(frozen=True)
class Exercise:
    """One exercise. `inputs(seed)` gives the arguments of every sub-check by its name; `points` says what each is worth.

    `names`: what the cell must define; the piece is that object, or a tuple of them. `call(piece, arguments)` runs a piece.
    `tolerance` is relative to max(1, largest expected value). `allowed_imports`: top-level modules that an answer may import.
    `keep_dtype`: float32 in must give float32 out, because the layers after it take nothing else.
    """

    id: str
    title: str
    names: tuple[str, ...]
    points: dict[str, float]
    inputs: Callable[[int], dict[str, dict[str, Value]]]
    call: Callable[[Any, dict[str, Value]], Value]
    reference_piece: Any
    mistakes: tuple[Mistake, ...] = ()
    tolerance: float = 1e-4
    allowed_imports: tuple[str, ...] = ("torch", "einops", "math")
    keep_dtype: bool = False

    @property
    def max_points(self) -> float:
        return sum(self.points.values())

    def reference(self, arguments: dict[str, Value]) -> Value:
        """The right output for one sub-check's arguments."""
        return self.call(self.reference_piece, arguments)


class UnknownExercise(KeyError):
    """An exercise id that no lesson declares."""

    def __str__(self) -> str:
        return str(self.args[0])


def exercises_of(number: str) -> dict[str, Exercise]:
    """Exercises of a lesson by its number ("02"), id -> Exercise. Raises UnknownExercise."""
    try:
        module = importlib.import_module(f"course_lib.workbook.lessons.lesson_{number}")
    except ModuleNotFoundError:
        raise UnknownExercise(f"no lesson {number!r} declares exercises") from None
    return {exercise.id: exercise for exercise in module.EXERCISES}


def get_exercise(id: str) -> Exercise:
    """The exercise "02-b". Raises UnknownExercise, saying which ids the lesson has."""
    known = exercises_of(id.split("-")[0])
    if id not in known:
        raise UnknownExercise(f"no exercise {id!r}; the lesson has {', '.join(known)}")
    return known[id]
