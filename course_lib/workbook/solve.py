"""`make solutions`: executes the solved edition in the quick profile and makes its outputs fit for the repository."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from course_lib.workbook.source import Lesson, LessonError

MAX_BYTES = 3 * 2**20
PROFILE = "quick"


def library_hash(lesson: Lesson) -> str:
    """sha256 of the course_lib files that the lesson imports, directly or through others: the library that it shows."""
    import course_lib

    package = Path(course_lib.__file__).resolve().parent
    code = "\n".join(cell.source for cell in lesson.cells if cell.kind == "code")
    todo, files = _imports(code, ""), set()
    while todo:
        name = todo.pop()
        base = package.parent.joinpath(*name.split("."))
        for path, inside in ((base.with_suffix(".py"), name.rpartition(".")[0]), (base / "__init__.py", name)):
            if path.is_file() and path not in files:
                files.add(path)
                todo |= _imports(path.read_text(encoding="utf-8"), inside)
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _imports(code: str, package: str) -> set[str]:
    """Names of the course_lib modules that Python `code` imports; lines that only IPython understands are skipped."""
    try:
        tree = ast.parse("\n".join("" if re.match(r"\s*[%!]", line) or "{{" in line else line for line in code.split("\n")))
    except SyntaxError:
        return set(re.findall(r"\bcourse_lib(?:\.\w+)*", code))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*parts, node.module or ""]))
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    every = {".".join(name.split(".")[:count]) for name in names for count in range(1, len(name.split(".")) + 1)}
    return {name for name in every if name.split(".")[0] == "course_lib"}


def is_fresh(notebook: dict | None, library: str) -> bool:
    """Whether every code cell has run and the library is the one it ran with."""
    if notebook is None or notebook["metadata"].get("executed", {}).get("library_sha256") != library:
        return False
    return all(cell.get("execution_count") for cell in notebook["cells"] if cell["cell_type"] == "code" and cell["source"].strip())


def execute_solution(lesson: Lesson, root: Path, force: bool = False, say: Callable[[str], object] = print) -> list[str]:
    """Execute solutions/NN.ipynb where it is not fresh (or `force`); returns [its path] if written. LessonError on failure or > 3 MB."""
    from course_lib.paths import write_atomic
    from course_lib.workbook.build import comparable, edition, notebook_path, read_notebook, to_bytes
    from course_lib.workbook.execute import execute_notebook, parameter_names

    relative, library = notebook_path(lesson.name, "solved"), library_hash(lesson)
    solved, old = edition(lesson, "solved"), read_notebook(root / relative)
    if not force and old is not None and comparable(old) == comparable(solved) and is_fresh(old, library):
        say(f"{relative}: executed already, and neither the lesson nor the library it imports changed")
        return []
    with tempfile.TemporaryDirectory(prefix="course-") as folder:
        wanted = {"PROFILE": PROFILE, "SEED": 0, "DEVICE": "auto", "DATA_DIR": "", "OUT_DIR": str(Path(folder) / lesson.name)}
        parameters = {name: value for name, value in wanted.items() if name in parameter_names(solved)}
        path = Path(folder) / f"{lesson.name}.ipynb"
        outcome = execute_notebook(solved, path, parameters, Path(folder), lesson.name)
        if outcome.status == "interrupted":
            raise KeyboardInterrupt
        if outcome.status != "ok":
            raise LessonError(f"{relative}: failed at {outcome.cell}: {outcome.error}; the notebook on disk stays as it was")
        _take_outputs(solved, read_notebook(path), [(folder, "OUT"), (str(root.resolve()), "."), *_machine_paths()])
    solved["metadata"]["executed"] = {"profile": PROFILE, "library_sha256": library}
    content = to_bytes(solved)
    if len(content) > MAX_BYTES:
        size = f"{len(content) / 2**20:.1f} MB with outputs, the limit is 3 MB"
        raise LessonError(f"{relative}: {size}; make its figures fewer or smaller. The notebook on disk stays as it was")
    write_atomic(root / relative, content)
    say(f"{relative}: executed in {outcome.seconds:.0f} s, {len(content) / 2**10:.0f} kB")
    return [relative]


def _machine_paths() -> list[tuple[str, str]]:
    import course_lib

    library = str(Path(course_lib.__file__).resolve().parents[1])
    home = str(Path.home())
    pairs = [(sys.prefix, "ENV"), (str(Path(sys.prefix).resolve()), "ENV"), (sys.base_prefix, "ENV"), (library, ".")]
    return pairs + ([(home, "~")] if home != "/" else [])


def _take_outputs(solved: dict, executed: dict, paths: list[tuple[str, str]]) -> None:
    """Copy outputs by cell id (papermill's own cells have other ids), without machine paths, widgets' state and progress bars' history."""
    ran = {cell["id"]: cell for cell in executed["cells"]}
    for cell in solved["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"] = ran[cell["id"]]["execution_count"]
            cell["outputs"] = _clean(_merged(ran[cell["id"]]["outputs"]), _replacements(paths))
    # papermill's parameter cell took a number and is not kept: count again without a gap.
    for number, cell in enumerate((c for c in solved["cells"] if c["cell_type"] == "code" and c["execution_count"]), 1):
        cell["execution_count"] = number
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = number


def _replacements(paths: list[tuple[str, str]]) -> list[tuple[re.Pattern, str]]:
    both = {(str(Path(path).resolve()), short) for path, short in paths} | set(paths)
    longest_first = sorted(both, key=lambda pair: (-len(pair[0]), pair))
    kernel = (re.compile(r"\S*ipykernel_\d+[/\\]\d+\.py"), "cell.py")
    return [kernel] + [(re.compile(re.escape(path) + r"(?![\w-])"), short) for path, short in longest_first if len(path) > 1]


def _merged(outputs: list) -> list:
    """Join neighbouring pieces of one stream and keep, of lines redrawn with a carriage return, the last state."""
    merged: list = []
    for output in outputs:
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            continue  # a widget shows nothing without its state, which is not kept
        if merged and output["output_type"] == "stream" == merged[-1]["output_type"] and merged[-1]["name"] == output["name"]:
            merged[-1]["text"] += "".join(output["text"])
        else:
            merged.append(output)
    for output in merged:
        if output["output_type"] == "stream":
            lines = "".join(output["text"]).replace("\r\n", "\n").split("\n")
            output["text"] = "\n".join(([part for part in line.split("\r") if part] or [""])[-1] for line in lines)
    return merged


def _clean(value, replacements: list[tuple[re.Pattern, str]], key: str = ""):
    if isinstance(value, str):
        for pattern, short in () if key.startswith("image/") and key != "image/svg+xml" else replacements:
            value = pattern.sub(short, value)
        return value
    if isinstance(value, list):
        return [_clean(item, replacements, key) for item in value]
    if isinstance(value, dict):
        return {name: _clean(item, replacements, name) for name, item in value.items()}
    return value
