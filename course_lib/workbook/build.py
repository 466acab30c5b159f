"""Lesson source -> notebooks: the student edition, the Chinese one and the solved one, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from course_lib.workbook.colab import setup_cell
from course_lib.workbook.site import Site, read_site
from course_lib.workbook.source import (
    Cell,
    Lesson,
    LessonError,
    edition_source,
    find_root,
    lesson_paths,
    load_lesson,
    placeholders,
    select_lessons,
    stamp,
    twin_troubles,
)

EDITIONS = ("student", "solved")
LANGUAGES = ("en", "zh")
Say = Callable[[str], object]


def notebook_path(name: str, edition: str, lang: str = "en") -> str:
    """Path of a committed notebook from the repository's root; the solved edition is committed in English only."""
    if edition == "solved":
        return f"solutions/{name}.ipynb"
    return f"notebooks/zh/{name}.ipynb" if lang == "zh" else f"notebooks/{name}.ipynb"


def edition(lesson: Lesson, edition: str = "student", lang: str = "en", site: Site | None = None):
    """Notebook (nbformat 4.5, never executed) of one edition in one language; pure: the same lesson and site give the same notebook.

    `site` fills the placeholders and defaults to [tool.course] of the lesson's repository. LessonError for an unknown edition or language.
    """
    import nbformat

    if edition not in EDITIONS:
        raise LessonError(f"unknown edition {edition!r}; there are {', '.join(EDITIONS)}")
    if lang not in LANGUAGES:
        raise LessonError(f"unknown language {lang!r}; there are {', '.join(LANGUAGES)}")
    site = site or read_site(lesson.path.parent.parent)
    values = _placeholder_values(lesson, site, edition, lang)
    seen: dict[str, int] = defaultdict(int)
    cells = []
    for identity, cell in _in_language(lesson, lang):
        text = _fill(edition_source(cell.source, edition), values)
        if not text.strip():
            continue  # all of it was hidden
        seen[identity] += 1
        make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}.get(cell.kind, nbformat.v4.new_raw_cell)
        cells.append(make(text, id=_cell_id(lesson, cell, identity, seen[identity]), metadata=_cell_metadata(cell)))
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=_notebook_metadata(lesson, edition, lang, cells))
    notebook.nbformat_minor = 5
    return notebook


def _in_language(lesson: Lesson, lang: str):
    """Pairs (identity, cell) of one language; the identity is the English source, so that twins share their cell id."""
    for cell, after in zip(lesson.cells, (*lesson.cells[1:], None), strict=True):
        if cell.lang == "zh":
            continue
        twin = after is not None and cell.lang == "en" and after.lang == "zh"
        yield cell.source, after if twin and lang == "zh" else cell


def _placeholder_values(lesson: Lesson, site: Site, edition: str, lang: str) -> dict[str, str]:
    path = notebook_path(lesson.name, edition, lang)
    return {
        "repository": site.repository,
        "branch": site.branch,
        "colab_badge": site.colab_badge(path),
        "kaggle_badge": site.kaggle_badge(path),
        "setup_cell": setup_cell(site.repository, site.branch),
    }


def _fill(text: str, values: dict[str, str]) -> str:
    # `# {{setup_cell}}` keeps the source file valid Python for linters; the comment sign goes with the placeholder.
    if text.strip().removeprefix("#").strip() == "{{setup_cell}}":
        return values["setup_cell"]
    return placeholders(text, values)


def _cell_id(lesson: Lesson, cell: Cell, identity: str, occurrence: int) -> str:
    # Not the index: an inserted cell must not rename all that follow it.
    if cell.exercise:
        return f"exercise-{cell.exercise.id}"
    return hashlib.sha256(f"{lesson.name}\n{occurrence}\n{identity}".encode()).hexdigest()[:12]


def _cell_metadata(cell: Cell) -> dict:
    metadata: dict = {"tags": list(cell.tags)} if cell.tags else {}
    if cell.lang:
        metadata["lang"] = cell.lang
    if cell.exercise:
        metadata["exercise"] = cell.exercise.id
    return metadata


def _notebook_metadata(lesson: Lesson, edition: str, lang: str, cells: list) -> dict:
    return {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "course": {"lesson": lesson.name, "edition": edition, "lang": lang, "source_sha256": sources_hash(cells)},
    }


def sources_hash(cells: list) -> str:
    """sha256 of the cells' kinds and sources: what a notebook on disk is compared with to see whether somebody edited it."""
    pairs = [[cell["cell_type"], "".join(cell["source"]).rstrip()] for cell in cells]
    return hashlib.sha256(json.dumps(pairs, ensure_ascii=False).encode()).hexdigest()


def to_bytes(notebook) -> bytes:
    """The notebook as it is written to disk: sorted keys, one trailing newline."""
    return (json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def read_notebook(path: Path) -> dict | None:
    """Notebook JSON on disk; None if there is no file. LessonError if it is no notebook."""
    import nbformat

    try:
        return nbformat.from_dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
    except (OSError, ValueError) as error:
        raise LessonError(f"{path}: not a notebook ({error}); move it away and build again") from error


def user_edited(notebook: dict) -> bool:
    """Whether somebody changed a cell after the build wrote this notebook (also true when the build's mark is gone)."""
    return notebook.get("metadata", {}).get("course", {}).get("source_sha256") != sources_hash(notebook.get("cells", []))


def build(
    lessons: list[str] | None = None,
    check: bool = False,
    execute: bool = False,
    force: bool = False,
    root: Path | str | None = None,
    say: Say = print,
) -> list[str]:
    """Write the notebooks of the lessons (all by default), return the paths written; with `check` write nothing, return the stale ones.

    `execute` also runs the solved edition in the quick profile where it is not fresh (`force`: always). Outputs of unchanged cells are
    kept; a notebook that somebody edited is copied to NN.backup-TIME.ipynb first. `say` gets every line of news. LessonError, OSError.
    """
    root = find_root(root)
    done: list[str] = []
    for name in select_lessons(lessons, root):
        lesson = load_lesson(name, root)
        for trouble in twin_troubles(lesson):
            say(f"{trouble.kind} translation: {trouble.message}")
        for relative, notebook in _editions(lesson, read_site(root)).items():
            old = _read_for_build(root / relative, check)
            if check:
                done += [relative] if _stale(old, notebook) else []
            elif _write(root, relative, notebook, old, say):
                done.append(relative)
        if execute and not check:
            from course_lib.workbook.solve import execute_solution

            done += execute_solution(lesson, root, force=force, say=say)
    if check:
        done += _orphans(root, select_lessons(lessons, root), everything=not lessons)
    return list(dict.fromkeys(done))


def _read_for_build(path: Path, check: bool) -> dict | None:
    try:
        return read_notebook(path)
    except LessonError:
        if check:
            return None  # a broken file is a stale one
        raise


def _editions(lesson: Lesson, site: Site) -> dict[str, dict]:
    wanted = [("student", "en"), ("solved", "en")] + ([("student", "zh")] if lesson.translated else [])
    return {notebook_path(lesson.name, kind, lang): edition(lesson, kind, lang, site) for kind, lang in wanted}


def _stale(old: dict | None, new: dict) -> bool:
    return old is None or comparable(old) != comparable(new)


def comparable(notebook: dict) -> list:
    """What `build --check` compares: cell kinds, ids, sources, metadata and the notebook's metadata; never outputs."""
    metadata = {key: value for key, value in notebook.get("metadata", {}).items() if key != "executed"}
    cells = [[cell["cell_type"], cell.get("id"), "".join(cell["source"]), cell.get("metadata", {})] for cell in notebook.get("cells", [])]
    return [metadata, cells]


def _orphans(root: Path, lessons: list[str], everything: bool) -> list[str]:
    """Generated notebooks that the sources no longer give: of a lesson that is gone, or a Chinese one without twins."""
    known, found = set(lesson_paths(root)), []
    for folder in ("notebooks", "notebooks/zh", "solutions"):
        for path in sorted((root / folder).glob("*.ipynb")):
            if ".backup-" in path.name or (not everything and path.stem not in lessons):
                continue
            if path.stem not in known or (folder.endswith("zh") and not load_lesson(path.stem, root).translated):
                found.append(f"{folder}/{path.name} (no source for it: delete it)")
    return found


def _write(root: Path, relative: str, notebook: dict, old: dict | None, say: Say) -> bool:
    """Write one notebook if it differs; keeps outputs of the solved edition, backs up what a person made."""
    from course_lib.paths import write_atomic

    path = root / relative
    solved = notebook["metadata"]["course"]["edition"] == "solved"
    if old is not None:
        if solved:
            _keep_outputs(notebook, old, relative, say)
        elif not _stale(old, notebook):
            if _has_outputs(old):
                say(f"{relative}: left alone, it holds the outputs of a run; delete it for a clean one")
            return False
        if user_edited(old) or (not solved and _has_outputs(old)):
            say(f"{relative}: was edited or run since the last build; kept as {_back_up(path).name}")
    content = to_bytes(notebook)
    if path.exists() and path.read_bytes() == content:
        return False
    write_atomic(path, content)
    say(f"{relative}: written")
    return True


def _has_outputs(notebook: dict) -> bool:
    return any(cell.get("outputs") for cell in notebook.get("cells", []))


def _keep_outputs(new: dict, old: dict, relative: str, say: Say) -> None:
    """Copy outputs of cells with the same source from the executed notebook; say which outputs are dropped."""
    kept = defaultdict(list)
    for cell in old.get("cells", []):
        if cell["cell_type"] == "code" and (cell.get("outputs") or cell.get("execution_count")):
            kept["".join(cell["source"])].append(cell)
    if not kept:
        return
    if "executed" in old["metadata"]:
        new["metadata"]["executed"] = old["metadata"]["executed"]
    dropped = []
    for number, cell in enumerate(new["cells"], 1):
        if cell["cell_type"] != "code":
            continue
        if kept[cell["source"]]:
            before = kept[cell["source"]].pop(0)
            cell["outputs"], cell["execution_count"] = before.get("outputs", []), before.get("execution_count")
        else:
            dropped.append(str(number))
    if dropped:
        say(f"{relative}: cells {', '.join(dropped)} are new or changed and have no output now; `make solutions` executes them")


def _back_up(path: Path) -> Path:
    """Copy `path` beside itself under a name with the time; never over an earlier backup."""
    import shutil
    import time

    stamp_ = time.strftime("%Y%m%d-%H%M%S")
    copy, number = path.with_name(f"{path.stem}.backup-{stamp_}.ipynb"), 2
    while copy.exists():
        copy, number = path.with_name(f"{path.stem}.backup-{stamp_}-{number}.ipynb"), number + 1
    shutil.copy2(path, copy)
    return copy


def stamp_lessons(lessons: list[str] | None = None, root: Path | str | None = None, say: Say = print) -> list[str]:
    """`course build --stamp`: set the `of=` of every Chinese twin to its English cell's hash; says and returns which changed."""
    from course_lib.paths import write_atomic

    changed = []
    for name in select_lessons(lessons, root):
        lesson = load_lesson(name, root)
        text, lines = stamp(lesson)
        if lines:
            write_atomic(lesson.path, text)
        for line in lines:
            say(line)
        changed += lines
    return changed
