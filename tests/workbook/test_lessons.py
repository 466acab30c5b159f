"""The lessons themselves: untouched, filled in and solved they run from top to bottom; the committed notebooks are the built ones."""

import copy
import json
import os
import shutil
import subprocess
import sys
import time

import nbformat
import pytest

from course_lib.paths import data_root, repo_root
from course_lib.workbook.build import build, edition, notebook_path, to_bytes
from course_lib.workbook.exercises import exercises_of
from course_lib.workbook.run import run_lessons
from course_lib.workbook.source import lesson_paths, load_lesson

LESSONS = sorted(lesson_paths())
MARK = "nbval-check-output"
needs_weights = pytest.mark.skipif(
    not (data_root() / "checkpoints" / "restormer_small_denoise.safetensors").is_file(),
    reason="the lesson shows the shipped model; data/checkpoints/restormer_small_denoise.safetensors is not there",
)


@pytest.fixture(params=LESSONS)
def lesson(request):
    return request.param


@pytest.fixture
def exercises(lesson):
    return exercises_of(lesson[:2])


@pytest.fixture
def lesson_course(lesson, tmp_path):
    """A course of its own with the lesson's source: a student's work in the checkout is neither read nor touched."""
    root = tmp_path / "course"
    (root / "solutions").mkdir(parents=True)
    shutil.copy(repo_root() / "pyproject.toml", root)
    shutil.copy(repo_root() / "solutions" / f"{lesson}.py", root / "solutions")
    return root


def run(root, lesson, kind):
    """One smoke run: (row of the summary, records.json, the executed notebook, what was said)."""
    said = []
    (row,) = run_lessons([lesson], profile="smoke", edition=kind, out=root / "out", root=root, pdf=False, say=said.append)
    assert row["status"] == "ok", row["error"]
    folder = root / "out"
    return row, json.loads((folder / lesson / "records.json").read_text("utf-8")), nbformat.read(folder / f"{lesson}.ipynb", 4), said


def errors(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs if output.output_type == "error"]


@needs_weights
def test_the_untouched_student_edition_runs(lesson, exercises, lesson_course):
    started = time.monotonic()
    row, records, notebook, _ = run(lesson_course, lesson, "notebooks")
    assert time.monotonic() - started < 120  # 20 s on an idle machine
    assert row["edition"] == "notebooks" and not errors(notebook)
    assert "your code here" in "".join(cell.source for cell in notebook.cells)
    assert {item["id"]: (item["status"], item["points"]) for item in records["checks"]} == dict.fromkeys(exercises, ("todo", 0))
    assert records["meta"]["profile"] == "smoke" and records["lesson"] == lesson
    pieces = {item["piece"] for item in records["records"]}
    assert "the reference piece" in pieces and not any("your piece" in str(piece) for piece in pieces)
    assert 15 < row["degraded_psnr"] < 25 and row["restored_psnr"] != ""
    for item in records["records"]:
        assert item["caption"], item["name"]
        assert item["kind"] != "figure" or (lesson_course / "out" / lesson / item["file"]).stat().st_size > 2000


@needs_weights
def test_the_student_edition_filled_in_with_the_solutions(lesson, exercises, lesson_course):
    source = load_lesson(lesson, lesson_course)
    build(root=lesson_course, say=lambda line: None)
    path = lesson_course / notebook_path(lesson, "student")
    notebook, solved = nbformat.read(path, 4), {cell.id: cell.source for cell in edition(source, "solved").cells}
    written = [cell for cell in notebook.cells if "exercise" in cell.metadata]
    assert [cell.metadata["exercise"] for cell in written] and {cell.metadata["exercise"] for cell in written} == set(exercises)
    for cell in written:
        assert "your code here" in cell.source and "your code here" not in solved[cell.id]
        cell.source = solved[cell.id]
    path.write_bytes(to_bytes(notebook))
    _, records, ran, said = run(lesson_course, lesson, "notebooks")
    assert any("as it is on disk" in line for line in said) and not errors(ran)
    expected = {id: ("correct", exercise.max_points) for id, exercise in exercises.items()}
    assert {item["id"]: (item["status"], item["points"]) for item in records["checks"]} == expected
    pieces = {item["piece"] for item in records["records"]} - {None}
    assert pieces == {"your piece"}


@needs_weights
@pytest.mark.slow
def test_the_solved_edition_runs(lesson, exercises, lesson_course):
    _, records, notebook, _ = run(lesson_course, lesson, "solutions")
    assert not errors(notebook) and all(item["status"] == "correct" for item in records["checks"])
    assert sum(item["points"] for item in records["checks"]) == sum(exercise.max_points for exercise in exercises.values())


def test_the_points_of_the_lesson_are_those_of_the_checks(lesson, exercises):
    stated = {line.id: (float(line.points), line.title) for line in load_lesson(lesson).exercises}
    assert stated == {id: (exercise.max_points, exercise.title) for id, exercise in exercises.items()}


def test_the_committed_notebooks_are_the_built_ones(lesson):
    assert build([lesson], check=True, say=lambda line: None) == []


def smoke_copy(folder, lesson, only=()):
    """The committed solved notebook at the smoke profile; with `only`, just the cells that hold one of these words or a mark."""
    notebook = nbformat.read(repo_root() / notebook_path(lesson, "solved"), 4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            assert 'PROFILE = "quick"' in cell.source
            cell.source = cell.source.replace('PROFILE = "quick"', 'PROFILE = "smoke"')
    if only:
        kept = [cell for cell in notebook.cells if cell.cell_type == "code"]
        notebook.cells = [c for c in kept if MARK in c.metadata.get("tags", []) or any(word in c.source for word in only)]
    marked = [cell for cell in notebook.cells if MARK in cell.metadata.get("tags", [])]
    if not all(cell.outputs for cell in marked):
        pytest.skip(f"{notebook_path(lesson, 'solved')} is not executed yet (make solutions)")
    assert marked
    path = folder / f"{lesson}.ipynb"
    nbformat.write(notebook, path)
    return path, notebook


def nbval(path):
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "300"]
    command += ["-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(path.parent), str(path)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [str(repo_root()), os.environ.get("PYTHONPATH", "")])))
    return subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True, timeout=500)


@needs_weights
@pytest.mark.slow
def test_nbval_of_the_committed_solved_notebook(lesson, tmp_path):
    path, notebook = smoke_copy(tmp_path, lesson)
    result = nbval(path)
    cells = sum(1 for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip())
    assert result.returncode == 0 and f"{cells} passed" in result.stdout, result.stdout[-3000:]


def test_nbval_notices_another_number_of_parameters(tmp_path):
    path, notebook = smoke_copy(tmp_path, "02_restormer", only=("PROFILE =", "import torch"))
    result = nbval(path)
    assert result.returncode == 0, result.stdout[-3000:]
    wrong = copy.deepcopy(notebook)
    output = next(cell for cell in wrong.cells if MARK in cell.metadata.get("tags", [])).outputs[0]
    assert "26,126,644" in output.text  # of the official code, layer norm with bias
    output.text = output.text.replace("26,126,644", "26,126,645")
    nbformat.write(wrong, path)
    result = nbval(path)
    assert result.returncode == 1 and "1 failed" in result.stdout and "26,126,645" in result.stdout
