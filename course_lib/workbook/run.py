"""`course run`: executes lessons one after the other and leaves notebook, PDF, metrics and summary in one folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from course_lib.workbook.build import LANGUAGES, edition, notebook_path, read_notebook, user_edited
from course_lib.workbook.execute import Outcome, check_parameters, execute_notebook, parameter_names
from course_lib.workbook.source import Lesson, LessonError, find_root, load_lesson, select_lessons
from course_lib.workbook.summary import COLUMNS, print_table, read_summary, write_summary

EDITIONS = {"solutions": "solved", "notebooks": "student"}


def run_lessons(
    lessons: list[str] | None = None,
    profile: str = "quick",
    edition: str = "solutions",
    lang: str = "en",
    out: str | Path | None = None,
    parameters: dict | None = None,
    root: Path | str | None = None,
    pdf: bool = True,
    say: Callable[[str], object] = print,
) -> list[dict]:
    """Execute lessons (all by default) and return one row per lesson with the columns of summary.csv and `note`, `error`, `out`.

    Writes NN.ipynb, NN.pdf, NN.json, summary.csv and summary.md into `out` (default runs/TIME, with the link runs/latest). A failing
    lesson does not stop the others; Ctrl-C ends the run with status `interrupted`. LessonError for anything unknown or a folder in use.
    """
    _check_choices(profile, edition, lang)
    root = find_root(root)
    chosen = [load_lesson(name, root) for name in select_lessons(lessons, root)]
    jobs = [(lesson, *_notebook(lesson, root, edition, lang, say)) for lesson in chosen]
    wanted = dict(parameters or {})
    for lesson, notebook, _ in jobs:  # all of them before the first runs: a typing error should not cost an hour
        check_parameters(notebook, wanted, lesson.name)
    folder = _folder(root, out, [lesson.name for lesson in chosen])
    rows = read_summary(folder)
    done: list[dict] = []
    for lesson, notebook, shown in jobs:
        row = _run_one(lesson, notebook, folder, profile, edition, shown, wanted, say)
        if pdf and row["status"] != "interrupted":
            _report(row, lesson, folder, shown, say)
        done.append(row)
        rows = [old for old in rows if old["lesson"] != lesson.name] + [row]
        write_summary(folder, rows)
        if row["status"] == "interrupted":
            say(f"stopped; what was done is in {folder}")
            break
    print_table(done, say)
    say(f"results: {folder}")
    return done


def exit_status(rows: list[dict]) -> int:
    """0 if every lesson ran, 130 after Ctrl-C (the shell's number for it), else 1."""
    if any(row["status"] == "interrupted" for row in rows):
        return 130
    return int(any(row["status"] != "ok" for row in rows) or not rows)


def _check_choices(profile: str, edition: str, lang: str) -> None:
    from course_lib.profiles import PROFILES

    for what, value, known in (("profile", profile, PROFILES), ("edition", edition, EDITIONS), ("language", lang, LANGUAGES)):
        if value not in known:
            raise LessonError(f"unknown {what} {value!r}; choose one of {', '.join(known)}")


def _notebook(lesson: Lesson, root: Path, kind: str, lang: str, say: Callable[[str], object]):
    """The notebook to run (built from the source, or the student edition on disk where somebody worked in it) and its language."""
    if lang == "zh" and not lesson.translated:
        say(f"{lesson.name}: no Chinese text yet; showing the English")
        lang = "en"
    relative = notebook_path(lesson.name, EDITIONS[kind], lang)
    if kind == "notebooks":
        own = read_notebook(root / relative)
        if own is not None and user_edited(own):
            say(f"{lesson.name}: running {relative} as it is on disk, because its cells were edited")
            return own, lang
    return edition(lesson, EDITIONS[kind], lang), lang


def _folder(root: Path, out: str | Path | None, names: list[str]) -> Path:
    """The run's folder, made; LessonError if it is a file or holds something that is not an earlier run."""
    from course_lib.paths import ensure_folder

    try:
        if out is None:
            return _new_run(ensure_folder(root / "runs"))
        folder = Path(out).absolute()
        ensure_folder(folder)
    except OSError as error:
        raise LessonError(f"cannot make the folder of the run: {error}") from error
    earlier = {row["lesson"] for row in read_summary(folder)}
    expected = ("summary.csv", "summary.md", *(earlier | (set(names) if earlier else set())))
    found = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    other = [path.name for path in found if path.name not in expected and path.stem not in expected]
    if other:
        raise LessonError(f"{folder} holds other things ({', '.join(other[:3])}); name a new or empty folder with --out")
    return folder


def _new_run(runs: Path) -> Path:
    stamp, number = time.strftime("%Y%m%d-%H%M%S"), 1
    while True:
        folder = runs / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir()
            break
        except FileExistsError:
            number += 1
    latest, fresh = runs / "latest", runs / f".latest-{os.getpid()}"
    if latest.exists() and not latest.is_symlink():
        raise LessonError(f"{latest} is not a link made by a run; move it away")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)  # relative, so that the checkout can be moved
    os.replace(fresh, latest)
    return folder


def _run_one(
    lesson: Lesson, notebook, folder: Path, profile: str, edition: str, lang: str, wanted: dict, say: Callable[[str], object]
) -> dict:
    out_dir, path = folder / lesson.name, folder / f"{lesson.name}.ipynb"
    standard = {"PROFILE": profile, "SEED": 0, "DEVICE": "auto", "DATA_DIR": "", "OUT_DIR": str(out_dir)}
    known = parameter_names(notebook)
    given = {name: value for name, value in standard.items() if name in known} | wanted
    out_dir = Path(folder / str(given.get("OUT_DIR") or out_dir))
    (out_dir / "records.json").unlink(missing_ok=True)  # of an earlier run into the same folder
    outcome = execute_notebook(notebook, path, given, folder, lesson.name)
    if not path.exists():
        _keep_notebook(notebook, path)
    if outcome.status == "failed":
        say(f"{lesson.name}: FAILED at {outcome.cell} of {path.name}: {outcome.error}")
    records, note = _records(out_dir / "records.json")
    numbers = _numbers(records)
    row = {
        "lesson": lesson.name,
        "edition": edition,
        "status": outcome.status,
        "seconds": round(outcome.seconds, 1),
        "degraded_psnr": numbers.get("degraded_psnr", ""),
        "restored_psnr": numbers.get("restored_psnr", ""),
        "note": note,
        "error": outcome.error,
        "out": str(folder),
        "records": str(out_dir / "records.json"),
    }
    _write_metrics(folder / f"{lesson.name}.json", row, outcome, records, profile, lang)
    return row


def _keep_notebook(notebook, path: Path) -> None:
    from course_lib.paths import write_atomic
    from course_lib.workbook.build import to_bytes

    write_atomic(path, to_bytes(notebook))


def _records(path: Path) -> tuple[dict, str]:
    """What the lesson recorded, and a note if it cannot be read."""
    if not path.exists():
        return {}, "no records"
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return (records, "") if isinstance(records, dict) else ({}, "records.json holds no table")
    except (OSError, ValueError) as error:
        return {}, f"records.json cannot be read: {error}"


def _numbers(records: dict) -> dict[str, float]:
    entries = records.get("records", [])
    return {entry["name"]: round(float(entry["value"]), 2) for entry in entries if isinstance(entry.get("value"), (int, float))}


def _write_metrics(path: Path, row: dict, outcome: Outcome, records: dict, profile: str, lang: str) -> None:
    from course_lib.paths import write_atomic

    metrics = {name: row[name] for name in COLUMNS}
    metrics |= {"profile": profile, "lang": lang, "error": outcome.error, "failing_cell": outcome.cell}
    metrics |= {name: records.get(name, empty) for name, empty in (("meta", {}), ("records", []), ("checks", []))}
    for name in ("degraded_psnr", "restored_psnr"):
        metrics[name] = metrics[name] if metrics[name] != "" else None
    write_atomic(path, json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")


def _report(row: dict, lesson: Lesson, folder: Path, lang: str, say: Callable[[str], object]) -> None:
    """Make the PDF; a trouble there is a note in the summary and no failure of the lesson."""
    records = Path(row["records"])
    try:
        from course_lib.workbook.report import make_report

        source, target = folder / f"{lesson.name}.ipynb", folder / f"{lesson.name}.pdf"
        result = make_report(source, target, records=records if records.exists() else None, lang=lang)
        trouble = result["warnings"] if not result["pdf"] else [f"not in the PDF: {part}" for part in result["missing"]]
    except KeyboardInterrupt:
        row["status"], row["note"] = "interrupted", "stopped while the PDF was made"
        return
    except Exception as error:
        trouble = [f"no PDF: {(str(error).strip() or type(error).__name__).splitlines()[0]}"]
    for line in trouble:
        say(f"{lesson.name}: {line}")
    if trouble:
        row["note"] = "; ".join(filter(None, [row["note"], trouble[0], f"and {len(trouble) - 1} more" if trouble[1:] else ""]))
