"""Lesson sources: solutions/NN_name.py (jupytext percent) read into a `Lesson`, validated, and its translations compared."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

PLACEHOLDERS = ("repository", "branch", "colab_badge", "kaggle_badge", "setup_cell")
TODO_LINE = "...  # your code here"

# Only the exact form {{name}} is a placeholder; `{{ name }}` (an f-string's brace, LaTeX) passes through untouched.
_PLACEHOLDER = re.compile(r"\{\{([a-z][a-z_]{2,})\}\}")
_EXERCISE = re.compile(r"# exercise (\d\d-[a-z0-9]+) · (\d+) points? · (\S.*)")
_MARKER = re.compile(r"[ \t]*###\s*(BEGIN|END)\s+(SOLUTION|HIDDEN)\s*")
_CELL_LINE = re.compile(r"#\s*%%%*(\s.*)?")
_NAME = re.compile(r"\d\d_\w+")
_MAGIC = re.compile(r"^\s*[%!?]", re.MULTILINE)


class LessonError(ValueError):
    """A lesson cannot be read, built or run; the message names the file, the line and what to do."""


@dataclass(frozen=True)
class ExerciseLine:
    """The first line of an exercise cell: `# exercise 02-b · 3 points · MDTA`."""

    id: str
    points: int
    title: str
    line: int


@dataclass(frozen=True)
class Cell:
    """One cell of the source; `line` is the line of its `# %%` in the file, `lang` is None for cells of both editions."""

    kind: str
    source: str
    line: int
    tags: tuple[str, ...] = ()
    lang: str | None = None
    of: str | None = None
    exercise: ExerciseLine | None = None


@dataclass(frozen=True)
class Lesson:
    """A validated lesson: its name (`02_restormer`), its file and its cells in order."""

    name: str
    path: Path
    cells: tuple[Cell, ...]

    @property
    def exercises(self) -> tuple[ExerciseLine, ...]:
        """The exercises in the order of the source."""
        return tuple(cell.exercise for cell in self.cells if cell.exercise)

    @property
    def translated(self) -> bool:
        """Whether at least one Chinese twin exists."""
        return any(cell.lang == "zh" for cell in self.cells)


@dataclass(frozen=True)
class TwinTrouble:
    """A Chinese twin that is `missing` or `stale`; `line` is the line of the cell in the source."""

    kind: str
    path: Path
    line: int
    message: str


def english_hash(english: str) -> str:
    """First 12 hex digits of the sha256 of the stripped English cell: what its twin carries as `of=`."""
    return hashlib.sha256(english.strip().encode()).hexdigest()[:12]


def lesson_paths(root: Path | str | None = None) -> dict[str, Path]:
    """Name -> source file of every lesson under root/solutions, sorted; root defaults to the repository."""
    folder = find_root(root) / "solutions"
    return {path.stem: path for path in sorted(folder.glob("*.py")) if _NAME.fullmatch(path.stem)}


def find_root(root: Path | str | None = None) -> Path:
    """The folder that has solutions/: the one given, or the repository around the caller."""
    if root is not None:
        return Path(root)
    from course_lib.paths import repo_root

    return repo_root()


def select_lessons(names: list[str] | tuple[str, ...] | str | None = None, root: Path | str | None = None) -> list[str]:
    """Full names of the lessons asked for (`02_restormer`, or `02` for short); all when none is named. LessonError if unknown."""
    known = list(lesson_paths(root))
    if not known:
        raise LessonError(f"no lesson found: {find_root(root) / 'solutions'} holds no file like 02_restormer.py; run from the repository")
    if not names:
        return known
    chosen = []
    for name in [names] if isinstance(names, str) else names:
        stem = Path(name).stem if name.endswith((".py", ".ipynb")) else name
        found = [lesson for lesson in known if lesson == stem or lesson.split("_")[0] == stem]
        if len(found) != 1:
            raise LessonError(f"unknown lesson {name!r}; the lessons are: {', '.join(known)}")
        chosen += [lesson for lesson in found if lesson not in chosen]
    return chosen


def load_lesson(name: str, root: Path | str | None = None) -> Lesson:
    """Read and validate one lesson by name. LessonError names file and line."""
    path = lesson_paths(root)[select_lessons([name], root)[0]]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LessonError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return parse_lesson(text, path.stem, path)


def parse_lesson(text: str, name: str, path: Path | str = "") -> Lesson:
    """Parse jupytext percent text into a validated Lesson. LessonError names file and line."""
    import jupytext

    path = Path(path or f"{name}.py")
    body, offset = _without_header(text)
    if not body:
        raise LessonError(f"{path}: no cell in it; a cell starts with '# %%'")
    try:
        notebook = jupytext.reads(body, fmt="py:percent")
    except Exception as error:
        raise LessonError(f"{path}: jupytext cannot read it as py:percent: {error}") from error
    starts = [number for number, line in enumerate(body.split("\n"), offset + 1) if _CELL_LINE.fullmatch(line)]
    if len(starts) != len(notebook.cells):
        raise LessonError(
            f"{path}: {len(starts)} lines start a cell (# %%) but jupytext finds {len(notebook.cells)} cells: "
            "is there text before the first cell, or a '# %%' line inside a string?"
        )
    cells = tuple(_cell(raw, line, path) for raw, line in zip(notebook.cells, starts, strict=True))
    lesson = Lesson(name, path, cells)
    _validate(lesson)
    return lesson


def _without_header(text: str) -> tuple[str, int]:
    # The notebook's metadata come from the build, so jupytext's YAML header needs no parsing, only skipping.
    lines, skip = text.replace("\r\n", "\n").split("\n"), 0
    if lines[0].strip() == "# ---":
        skip = next((number for number, line in enumerate(lines[1:], 2) if line.strip() == "# ---"), 0)
    while skip < len(lines) and not lines[skip].strip():
        skip += 1  # jupytext would make a cell of blank lines
    return "\n".join(lines[skip:]), skip


def _cell(raw, line: int, path: Path) -> Cell:
    source = raw.source.strip("\n")
    first = source.split("\n", 1)[0]
    exercise = None
    if raw.cell_type == "code" and re.match(r"#\s*exercise\b", first, re.IGNORECASE):
        found = _EXERCISE.fullmatch(first.rstrip())
        if not found:
            raise LessonError(f"{path}:{line}: the first line {first!r} should read '# exercise 02-b · 3 points · Title'")
        exercise = ExerciseLine(found[1], int(found[2]), found[3], line)
    tags = raw.metadata.get("tags", [])
    return Cell(raw.cell_type, source, line, tuple(tags), raw.metadata.get("lang"), raw.metadata.get("of"), exercise)


def _validate(lesson: Lesson) -> None:
    seen: dict[str, int] = {}
    for before, cell in zip((None, *lesson.cells), lesson.cells, strict=False):
        where = f"{lesson.path}:{cell.line}"
        _validate_lang(before, cell, where)
        for name in _PLACEHOLDER.findall(cell.source):
            if name not in PLACEHOLDERS:
                known = ", ".join(PLACEHOLDERS)
                raise LessonError(f"{where}: unknown placeholder {{{{{name}}}}}; known: {known} (plain braces: '{{{{ {name} }}}}')")
        blocks = _marked_blocks(cell, where)
        if cell.exercise is None:
            if "SOLUTION" in blocks:
                raise LessonError(f"{where}: a solution outside an exercise; start the code cell with '# exercise 02-b · 3 points · Title'")
        else:
            _validate_exercise(lesson, cell.exercise, blocks, seen, where)
        if cell.kind == "code":
            for edition in ("student", "solved"):
                _validate_python(edition_source(cell.source, edition), edition, where)


def _validate_lang(before: Cell | None, cell: Cell, where: str) -> None:
    if cell.lang is None:
        return
    if cell.kind != "markdown":
        raise LessonError(f"{where}: lang={cell.lang!r} on a {cell.kind} cell; code is shared by both languages")
    if cell.lang not in ("en", "zh"):
        raise LessonError(f"{where}: lang={cell.lang!r}; the languages are en and zh")
    if cell.lang == "zh" and (before is None or before.lang != "en"):
        raise LessonError(f'{where}: a zh cell must stand directly after its English cell (lang="en")')


def _validate_exercise(lesson: Lesson, exercise: ExerciseLine, blocks: list[str], seen: dict[str, int], where: str) -> None:
    if exercise.id in seen:
        raise LessonError(f"{where}: exercise {exercise.id} stands twice (first at line {seen[exercise.id]}); give it an id of its own")
    if exercise.id.split("-")[0] != lesson.name[:2]:
        raise LessonError(f"{where}: exercise {exercise.id} in lesson {lesson.name}; its id should start with {lesson.name[:2]}-")
    if "SOLUTION" not in blocks:
        raise LessonError(f"{where}: exercise {exercise.id} has no '### BEGIN SOLUTION' .. '### END SOLUTION'")
    seen[exercise.id] = exercise.line


def _marked_blocks(cell: Cell, where: str) -> list[str]:
    """Kinds of the marked blocks in order; LessonError if markers do not pair up."""
    opened, blocks = None, []
    for number, line in enumerate(cell.source.split("\n"), 1):
        found = _MARKER.fullmatch(line)
        if not found:
            continue
        if found[1] == "BEGIN" and opened is None:
            opened = found[2]
            blocks.append(opened)
        elif found[1] == "END" and opened == found[2]:
            opened = None
        else:
            raise LessonError(f"{where}: line {number} of the cell, {line.strip()!r}, does not pair with a marker before it")
    if opened:
        raise LessonError(f"{where}: '### BEGIN {opened}' without its '### END {opened}'")
    return blocks


def _validate_python(source: str, edition: str, where: str) -> None:
    if _MAGIC.search(source) or "{{" in source:
        return  # IPython's own syntax and placeholders are not Python's
    try:
        ast.parse(source)
    except SyntaxError as error:
        message = f"{where}: the {edition} edition of this cell is not Python: {error.msg} (line {error.lineno} of the cell)"
        raise LessonError(message) from error


def edition_source(source: str, edition: str) -> str:
    """Cell source of the `student` edition (solutions replaced, hidden text dropped) or the `solved` one (marker lines dropped)."""
    kept, skipping = [], False
    for line in source.split("\n"):
        found = _MARKER.fullmatch(line)
        if not found:
            if not skipping:
                kept.append(line)
        elif edition == "student":
            skipping = found[1] == "BEGIN"
            if found[1] == "BEGIN" and found[2] == "SOLUTION":
                kept.append(line[: len(line) - len(line.lstrip())] + TODO_LINE)
    return "\n".join(kept).strip("\n")


def placeholders(source: str, values: dict[str, str]) -> str:
    """Fill {{name}} from `values`; names are validated when the lesson is read."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], source)


def twin_troubles(lesson: Lesson) -> list[TwinTrouble]:
    """Missing and stale Chinese twins, one entry each; one entry in all for a lesson that has no twin yet."""
    if not lesson.translated:
        return [TwinTrouble("missing", lesson.path, 1, f"{lesson.path.name}: no Chinese twin yet; --lang zh shows the English")]
    troubles, name = [], lesson.path.name
    for cell, after in zip(lesson.cells, (*lesson.cells[1:], None), strict=True):
        if cell.lang != "en":
            continue
        if after is None or after.lang != "zh":
            troubles.append(TwinTrouble("missing", lesson.path, cell.line, f"{name}:{cell.line}: no zh twin; the English is shown"))
        elif after.of != english_hash(cell.source):
            message = f"{name}:{after.line}: zh twin is of {after.of or 'nothing'}, the English is now {english_hash(cell.source)}"
            troubles.append(TwinTrouble("stale", lesson.path, after.line, message))
    return troubles


def stamp(lesson: Lesson) -> tuple[str, list[str]]:
    """Source text with every `of=` set to its English cell's present hash, and a line for each that changed; writes nothing."""
    lines = lesson.path.read_text(encoding="utf-8").split("\n")
    said = []
    for before, cell in zip(lesson.cells, lesson.cells[1:], strict=False):
        wanted = english_hash(before.source)
        if cell.lang != "zh" or cell.of == wanted:
            continue
        head = re.sub(r'\s+of="[^"]*"', "", lines[cell.line - 1]).rstrip()
        lines[cell.line - 1] = f'{head} of="{wanted}"'
        said.append(f"{lesson.path.name}:{cell.line}: of={cell.of or 'none'} -> {wanted}")
    return "\n".join(lines), said
