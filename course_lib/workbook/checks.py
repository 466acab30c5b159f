"""`check(id, piece)` and `use(id, piece)`: what a student calls. They never raise for a wrong answer: they explain it."""

import hashlib
import html
import inspect
import math
import numbers
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib.workbook.adapters import BadPiece, NotDone, call_module, is_stub
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
        allowed = tolerance * max(1.0, want.abs().max().item() if want.numel() else 0.0)
        if not largest <= allowed < math.inf:  # so put, it also refuses when `want`, the output of a known mistake, is not finite
            if not got.any():
                return f"{name} is zero everywhere"
            share = ((got - want).abs() > allowed).double().mean().item()
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
        near = got == want or abs(got - want) <= tolerance * max(1.0, abs(want)) < math.inf
        return "" if near else f"{name} is {got!r}, expected {want!r}"
    if type(want) is int and not isinstance(got, numbers.Integral):  # 12.0 == 12, and so is a tensor; neither is an integer
        return f"{name} is {_short(got)}, of type {type(got).__name__}; expected the integer {want}"
    equal = got == want
    if not isinstance(equal, bool):  # an array, say
        equal = type(got) is type(want) and bool(getattr(equal, "all", bool)())
    return "" if equal else f"{name} is {_short(got)}, expected {_short(want)}"


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


class _Outcome(NamedTuple):
    """What a piece gave for one sub-check, and the gradient of each tensor argument of a function through it."""

    output: Any
    gradients: dict[str, Tensor]

    def differs(self, want: "_Outcome", tolerance: float) -> str:
        return compare(self.output, want.output, tolerance) or compare(self.gradients, want.gradients, tolerance)


def _run(exercise: Exercise, piece: Any, arguments: dict) -> tuple[_Outcome | None, str]:
    """(outcome, "") or (None, what went wrong). Lets NotDone through.

    A function gets its tensors as leaves that require a gradient, because the lesson trains through it: a function that detaches, leaves
    torch or writes into its arguments gives the right numbers here and spoils the training later.
    """
    if len(exercise.names) > 1 and not is_stub(piece) and not (isinstance(piece, (tuple, list)) and len(piece) == len(exercise.names)):
        return None, f'give all of them, in this order: check("{exercise.id}", ({", ".join(exercise.names)}))'
    own, leaves = _clone(arguments), {}
    if exercise.call is not call_module:  # which makes its own leaf
        leaves = {name: value.requires_grad_() for name, value in own.items() if isinstance(value, Tensor) and value.is_floating_point()}
    try:
        with torch.enable_grad():
            output = exercise.call(piece, own)
            outcome = _Outcome(output, _gradients(output, leaves))
    except NotDone:
        raise
    except BadPiece as error:
        return None, str(error)
    except Exception as error:  # whatever a student's code raises is an answer to explain, not a crash
        return None, _explain(error)
    changed = [name for name, value in arguments.items() if compare(own[name], value, 0.0)]
    if changed:
        return None, f"it changes its argument `{'`, `'.join(changed)}` in place, which others still need: work on a copy"
    dtype = next((value.dtype for value in arguments.values() if isinstance(value, Tensor) and value.is_floating_point()), None)
    result = output.get("output") if isinstance(output, dict) else output
    if exercise.keep_dtype and dtype and isinstance(result, Tensor) and result.dtype != dtype:
        names = [str(kind).removeprefix("torch.") for kind in (result.dtype, dtype)]
        return None, f"the result is {names[0]}, expected {names[1]} like what went in: the layers after it take no other dtype"
    return outcome, ""


def _gradients(output: Any, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of a fixed weighted sum of `output` by each leaf, zero where none arrives; nothing for an output that is no tensor."""
    if not isinstance(output, Tensor) or not leaves:
        return {}
    found = [None] * len(leaves)
    if output.requires_grad:
        probe = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
        found = torch.autograd.grad((output * probe).sum(), list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), found, strict=True)
    return {f"gradient of {name}": torch.zeros_like(leaf) if gradient is None else gradient for (name, leaf), gradient in pairs}


def _explain(error: Exception) -> str:
    # Libraries, Python's own among them; a student's folder may well be called like ours, so the package's place counts and not its name.
    foreign = (str(Path(__file__).parents[1]), str(Path(traceback.__file__).parent), "site-packages", "dist-packages")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not any(part in frame.filename for part in foreign)]
    place = f" at your line `{frames[-1].line}`" if frames and frames[-1].line else ""
    text = str(error).strip()[:300]
    if "in-place operation" in text or "resize variables" in text:
        text += " (It writes into its argument in place, which others still need: work on a copy.)"
    elif "call numpy()" in text:  # torch's own advice, detach(), would cut the training off
        text = "the lesson trains through this code, and numpy keeps no gradient: stay with torch operations"
    return f"it stopped with {type(error).__name__}{place}: {text}"


def _recognise(exercise: Exercise, got: _Outcome, arguments: dict) -> str:
    """The hint of the known mistake whose output equals `got`, or ""."""
    for mistake in exercise.mistakes:
        wrong, failed = _run(exercise, mistake.piece, arguments)
        if not failed and not got.differs(wrong, exercise.tolerance):
            return mistake.hint
    return ""


def _hint(exercise: Exercise, piece: Any, failures: list[tuple[_Outcome, dict, str]]) -> str:
    """A known mistake's hint, else what can be said about any piece: a gradient that is lost, a result that changes."""
    hints = [_recognise(exercise, got, arguments) for got, arguments, _ in failures]
    if any(hints):  # the one that explains most of what failed: a single case may look like another mistake
        return max(filter(None, hints), key=hints.count)
    gradients = [fault for *_, fault in failures if fault.startswith("`gradient")]
    if any("zero everywhere" in fault for fault in gradients):
        return "The values are right, but training does not pass through: look for no_grad, .detach(), .data, .item() or a new tensor."
    if gradients:
        return (
            "The values are right, their gradients are not: look for no_grad, .detach(), .data, .item() on a part of them, "
            "or for a slightly different formula."
        )
    for got, arguments, _ in failures[:1]:
        again, failed = _run(exercise, piece, arguments)
        settled = not got.differs(got, exercise.tolerance)  # NaN differs from itself without any chance in it
        if not failed and settled and again.differs(got, exercise.tolerance):
            return "It gives another result every time it is called with the same input: is there dropout or another random number in it?"
    return ""


_NOTHING = "it gave nothing back (None): it is not written yet, or a path through it ends without `return`"


def _examine_part(exercise: Exercise, piece: Any, cases: list[dict]) -> tuple[str, tuple[_Outcome, dict, str] | None]:
    """One sub-check on every case: (fault, what failed); ("", None) when all are right."""
    for arguments in cases:
        try:
            got, fault = _run(exercise, piece, arguments)
        except NotDone:
            return _NOTHING, None
        if fault:
            return fault, None
        want, failed = _run(exercise, exercise.reference_piece, arguments)
        if failed:
            raise RuntimeError(f"{exercise.id}: the reference piece fails: {failed}")
        fault = got.differs(want, exercise.tolerance)
        if fault:
            return fault, (got, arguments, fault)
    return "", None


def examine(exercise: Exercise, piece: Any, seeds: tuple[int, ...] = SEEDS) -> CheckResult:
    """Compare a piece with the reference on fresh inputs; the piece sees clones, and the global random state stays untouched."""
    result = CheckResult(exercise.id, exercise.title, "todo", "", 0.0, exercise.max_points)
    parts: dict[str, list[str]] = {}  # fault -> the sub-checks that show it
    failures = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        cases = [exercise.inputs(seed) for seed in seeds]
        for name, points in exercise.points.items():
            fault, failure = _examine_part(exercise, piece, [case[name] for case in cases])
            result.subchecks.append({"name": name, "points": 0.0 if fault else points, "max_points": points, "message": fault})
            if fault:
                parts.setdefault(fault, []).append(name)
            if failure:
                failures.append(failure)
        hint = _hint(exercise, piece, failures) if failures else ""
    if parts.get(_NOTHING) == list(exercise.points):
        names = " and ".join(exercise.names)
        result.message = f"write {names}, then run this cell again (a function that lacks its `return` counts as not written)"
        return result
    result.points = sum(sub["points"] for sub in result.subchecks)
    result.status = "wrong" if parts else "correct"
    lines = [f"{', '.join(names)}: {fault}" if len(exercise.points) > 1 else fault for fault, names in parts.items()]
    result.message = "\n".join(lines + ([hint] if hint else []))
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
    result = examine(exercise, piece)
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
    """Eight hex digits that change when the code of any of `pieces` (functions, classes) changes; names the folder of their run."""
    digest = hashlib.sha256()
    for piece in pieces:
        # Compiled code rather than text: a class typed into a notebook has no source that Python could find again.
        functions = (
            [piece]
            if inspect.isfunction(piece)
            else [f for kind in inspect.getmro(piece) for f in vars(kind).values()]
            if inspect.isclass(piece)
            else []
        )
        for function in filter(inspect.isfunction, functions):
            if not str(function.__module__).startswith("torch."):
                digest.update(_code_text(function.__code__).encode())
        digest.update(getattr(piece, "__qualname__", type(piece).__qualname__).encode())
    return digest.hexdigest()[:8]


def _code_text(code: Any) -> str:
    """Everything in a code object that decides what it does, without line numbers and file names."""
    constants = [_code_text(constant) if inspect.iscode(constant) else repr(constant) for constant in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants))
