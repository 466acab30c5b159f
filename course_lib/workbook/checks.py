"""`check(id, piece)` and `use(id, piece)`: what a student calls. They never raise for a wrong answer: they explain it."""

import hashlib
import html
import inspect
import traceback
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from course_lib.workbook.adapters import BadPiece, NotDone
from course_lib.workbook.exercises import Exercise, get_exercise

SEEDS = (0, 1, 2)
_COLOURS = {"todo": "#8a6d00", "wrong": "#b3261e", "correct": "#1b6e3c"}
_WORDS = {"todo": "not done yet", "wrong": "not right yet", "correct": "correct"}


@dataclass
class CheckResult:
    """Outcome of a check: status `todo`, `wrong` or `correct`, a message, points reached, and each sub-check's outcome."""

    id: str
    title: str
    status: str
    message: str
    points: float
    max_points: float
    subchecks: list[dict] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"{self.id} {self.title}: {_WORDS[self.status]} ({self.points:g} of {self.max_points:g} points)"
        return head + (f"\n{self.message}" if self.message else "")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = "<br>".join(html.escape(line) for line in self.message.splitlines())
        return (
            f'<div class="course-check" data-status="{self.status}" style="border-left:4px solid {_COLOURS[self.status]};padding:4px 10px">'
            f'<b style="color:{_COLOURS[self.status]}">{html.escape(self.id)} {html.escape(self.title)}: {_WORDS[self.status]}</b> '
            f"({self.points:g} of {self.max_points:g} points)" + (f"<br>{lines}" if lines else "") + "</div>"
        )


def compare(got: Any, want: Any, tolerance: float, name: str = "the result") -> str:
    """What is wrong with `got` against `want`, in words; "" when nothing is. Tensors, dicts, lists, tuples and numbers."""
    if isinstance(want, Tensor):
        if not isinstance(got, Tensor):
            return f"{name} is a {type(got).__name__}, expected a tensor of shape {tuple(want.shape)}"
        if got.shape != want.shape:
            return f"{name} has shape {tuple(got.shape)}, expected {tuple(want.shape)}"
        got, want = got.detach().double().cpu(), want.detach().double()
        if not torch.isfinite(got).all():
            return f"{name} holds NaN or infinite values"
        largest = (got - want).abs().max().item() if want.numel() else 0.0
        if largest > tolerance * max(1.0, want.abs().max().item()):
            share = ((got - want).abs() > tolerance * max(1.0, want.abs().max().item())).double().mean().item()
            return f"{name} has the right shape but {share:.0%} of its values are off, by up to {largest:.3g}"
        return ""
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return f"{name} is a {type(got).__name__}, expected a dict with {', '.join(map(str, want))}"
        if set(got) != set(want):
            return f"{name} has the keys {', '.join(map(str, got)) or 'none'}, expected {', '.join(map(str, want))}"
        faults = (compare(got[key], want[key], tolerance, f"`{key}`") for key in want)
        return next((fault for fault in faults if fault), "")
    if isinstance(want, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(want):
            return f"{name} is {_short(got)}, expected {len(want)} values"
        faults = (compare(g, w, tolerance, f"{name}[{i}]") for i, (g, w) in enumerate(zip(got, want, strict=True)))
        return next((fault for fault in faults if fault), "")
    if isinstance(want, float) and isinstance(got, (int, float)):
        return "" if abs(got - want) <= tolerance * max(1.0, abs(want)) else f"{name} is {got!r}, expected {want!r}"
    return "" if got == want else f"{name} is {_short(got)}, expected {_short(want)}"


def _short(value: Any) -> str:
    text = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _clone(value: Any) -> Any:
    """Arguments of one's own: a piece that writes into them spoils nobody else's."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _clone(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_clone(item) for item in value)
    return value


def _run(exercise: Exercise, piece: Any, arguments: dict) -> tuple[Any, str]:
    """(output, "") or (None, what went wrong). Lets NotDone through."""
    try:
        return exercise.call(piece, _clone(arguments)), ""
    except NotDone:
        raise
    except BadPiece as error:
        return None, str(error)
    except Exception as error:  # whatever a student's code raises is an answer to explain, not a crash
        return None, _explain(error)


def _explain(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "course_lib" not in frame.filename and "/torch/" not in frame.filename]
    place = f" at your line `{frames[-1].line}`" if frames and frames[-1].line else ""
    return f"it stopped with {type(error).__name__}{place}: {str(error).strip()[:300]}"


def _recognise(exercise: Exercise, got: Any, arguments: dict) -> str:
    """The hint of the known mistake whose output equals `got`, or ""."""
    for mistake in exercise.mistakes:
        wrong, failed = _run(exercise, mistake.piece, arguments)
        if not failed and not compare(got, wrong, exercise.tolerance):
            return mistake.hint
    return ""


def _hint(exercise: Exercise, outputs: list[tuple[Any, dict]]) -> str:
    for got, arguments in outputs:
        hint = _recognise(exercise, got, arguments)
        if hint:
            return hint
    return ""


def examine(exercise: Exercise, piece: Any, seeds: tuple[int, ...] = SEEDS) -> CheckResult:
    """Compare a piece with the reference on fresh inputs; the piece sees clones, and the global random state stays untouched."""
    result = CheckResult(exercise.id, exercise.title, "todo", "", 0.0, exercise.max_points)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        cases = [exercise.inputs(seed) for seed in seeds]
        messages, failures = [], []
        for name, points in exercise.points.items():
            fault = ""
            for case in cases:
                try:
                    got, fault = _run(exercise, piece, case[name])
                except NotDone:
                    result.message = f"write {' and '.join(exercise.names)}, then run this cell again"
                    return result
                if not fault:
                    fault = compare(got, exercise.reference(_clone(case[name])), exercise.tolerance)
                    if fault:
                        failures.append((got, case[name]))
                if fault:
                    break
            result.subchecks.append({"name": name, "points": 0.0 if fault else points, "max_points": points, "message": fault})
            if fault and fault not in messages:
                messages.append(f"{name}: {fault}" if len(exercise.points) > 1 else fault)
        result.points = sum(sub["points"] for sub in result.subchecks)
        result.status = "wrong" if messages else "correct"
        hint = _hint(exercise, failures) if failures else ""
    result.message = "\n".join(messages + ([hint] if hint else []))
    return result


_used: dict[str, str] = {}  # exercise id -> "your piece" or "the reference piece", as `use` decided


def check(id: str, piece: Any) -> CheckResult:
    """Check your piece against exercise `id` ("02-b"): shows not done yet, not right yet with a hint, or correct; never raises for it.

    The result is also noted for the report. Raises UnknownExercise for an id that no lesson declares.
    """
    from course_lib.workbook.records import note_check

    result = examine(get_exercise(id), piece)
    note_check(result)
    return result


def use(id: str, piece: Any) -> Any:
    """Your piece when it passes its check, else the reference piece, with one line that says which: later sections always run."""
    exercise = get_exercise(id)
    result = examine(exercise, piece, seeds=SEEDS[:1])
    names = " and ".join(exercise.names)
    if result.status == "correct":
        _used[id] = "your piece"
        print(f"{id}: using your {names}")
        return piece
    _used[id] = "the reference piece"
    print(f"{id}: your {names} is {_WORDS[result.status]}; using the reference piece")
    return exercise.reference_piece


def provenance(*ids: str) -> str:
    """Whose pieces these exercises contributed: "your piece", "the reference piece", or which is whose."""
    owners = {id: _used.get(id, "the reference piece") for id in ids}
    if len(set(owners.values())) == 1:
        return next(iter(owners.values()))
    return ", ".join(f"{id}: {owner}" for id, owner in owners.items())


def source_key(*pieces: Any) -> str:
    """Eight hex digits that change when the code of any of `pieces` (functions, classes) changes: names the folder of a run that trains them."""
    digest = hashlib.sha256()
    for piece in pieces:
        # Compiled code rather than text: a class typed into a notebook has no source that Python could find again.
        functions = [piece] if inspect.isfunction(piece) else [f for kind in inspect.getmro(piece) for f in vars(kind).values()] if inspect.isclass(piece) else []
        for function in filter(inspect.isfunction, functions):
            if not str(function.__module__).startswith("torch."):
                digest.update(_code_text(function.__code__).encode())
        digest.update(getattr(piece, "__qualname__", type(piece).__qualname__).encode())
    return digest.hexdigest()[:8]


def _code_text(code: Any) -> str:
    """Everything in a code object that decides what it does, without line numbers and file names."""
    constants = [_code_text(constant) if inspect.iscode(constant) else repr(constant) for constant in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants))
