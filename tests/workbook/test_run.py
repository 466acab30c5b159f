import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from course_lib.workbook.build import build
from course_lib.workbook.execute import execute_notebook
from course_lib.workbook.run import exit_status, run_lessons
from course_lib.workbook.source import LessonError

PARAMETERS = '# %% tags=["parameters"]\nPROFILE = "quick"\nOUT_DIR = ""\n\n'
FAILING = PARAMETERS + "# %%\nprint('before')\n\n# %%\n# the one that fails\nint('x')\n"


def run(course, lessons=None, **choices):
    said = []
    rows = run_lessons(lessons, profile="smoke", root=course, pdf=False, say=said.append, **choices)
    return rows, said


def outputs(path):
    notebook = nbformat.read(path, as_version=4)
    return "".join(output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)


def _heed_ctrl_c():
    """Background jobs of a shell start with SIGINT ignored, and so would what they start in turn."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_failing_lesson_does_not_stop_the_others(course, make_course):
    make_course(course, _00_bad=FAILING)
    rows, said = run(course)
    assert [(row["lesson"], row["status"]) for row in rows] == [("00_bad", "failed"), ("01_tiny", "ok")] and exit_status(rows) == 1
    latest = course / "runs" / "latest"
    assert latest.is_symlink() and not os.path.isabs(os.readlink(latest))
    assert {path.name for path in latest.iterdir()} == {
        *("00_bad.ipynb", "00_bad.json", "01_tiny", "01_tiny.ipynb", "01_tiny.json", "summary.csv", "summary.md")
    }
    assert "before" in outputs(latest / "00_bad.ipynb")
    assert any("FAILED at In [4] (the one that fails)" in line and "ValueError: invalid literal" in line for line in said)
    with (latest / "summary.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["lesson", "edition", "status", "seconds", "degraded_psnr", "restored_psnr"]
    assert (table[0]["degraded_psnr"], table[1]["degraded_psnr"], table[1]["restored_psnr"]) == ("", "20.12", "26.0")
    metrics = json.loads((latest / "01_tiny.json").read_text())
    assert metrics["restored_psnr"] == 26 and metrics["profile"] == "smoke" and len(metrics["records"]) == 2
    assert "ValueError" in (latest / "summary.md").read_text()
    assert any(line.split()[:3] == ["01_tiny", "solutions", "ok"] for line in said)


def test_student_edition_chinese_and_parameters(course):
    rows, said = run(course, ["01"], edition="notebooks", lang="zh", parameters={"SEED": 7})
    folder = Path(rows[0]["out"])
    assert rows[0]["status"] == "ok" and (rows[0]["edition"], rows[0]["restored_psnr"]) == ("notebooks", 20.0)
    text = (folder / "01_tiny.ipynb").read_text(encoding="utf-8")
    assert "小课" in text and "SEED = 7" in text and "BEGIN SOLUTION" not in text
    assert not (course / "notebooks").exists()  # built in memory


def test_an_edited_notebook_is_what_runs(course):
    build(root=course, say=lambda line: None)
    path = course / "notebooks" / "01_tiny.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("...  # your code here", "return 3 * x"), encoding="utf-8")
    rows, said = run(course, edition="notebooks")
    assert rows[0]["restored_psnr"] == 29.0 and any("as it is on disk" in line for line in said)


def test_a_missing_translation_is_said(tmp_path, make_course):
    rows, said = run(make_course(tmp_path, _02_x=PARAMETERS + "# %%\nprint(PROFILE)\n"), lang="zh")
    assert rows[0]["status"] == "ok" and "02_x: no Chinese text yet; showing the English" in said
    assert outputs(Path(rows[0]["out"]) / "02_x.ipynb") == "smoke\n"


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"lessons": ["09"]}, "unknown lesson '09'; the lessons are: 01_tiny"),
        ({"edition": "student"}, "unknown edition 'student'; choose one of solutions, notebooks"),
        ({"lang": "fr"}, "unknown language 'fr'; choose one of en, zh"),
        ({"profile": "huge"}, "unknown profile 'huge'; choose one of smoke, quick, gpu, paper"),
        ({"parameters": {"SEEED": 1}}, "01_tiny: no parameter SEEED in the notebook; it sets DATA_DIR"),
    ],
)
def test_unknown_choices_list_what_exists(course, choices, words):
    with pytest.raises(LessonError, match=re.escape(words)):
        run_lessons(root=course, say=lambda line: None, **choices)
    assert not (course / "runs").exists()


def test_a_folder_in_use_is_left_alone(course, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    with pytest.raises(LessonError, match="holds other things.*thesis.txt"):
        run(course, out=full)
    assert [path.name for path in full.iterdir()] == ["thesis.txt"]
    with pytest.raises(LessonError, match="is a file, but a folder is needed"):
        run(course, out=full / "thesis.txt")
    (course / "runs").write_text("a file")
    with pytest.raises(LessonError, match="runs is a file"):
        run(course)


def test_a_second_run_into_the_same_folder_keeps_the_other_rows(tmp_path, make_course):
    quick = PARAMETERS + "# %%\nprint(PROFILE)\n"
    course, out = make_course(tmp_path / "course", _02_x=quick, _03_y=quick), tmp_path / "out"
    run(course, ["02"], out=out)
    run(course, ["03"], out=out)
    run(course, ["02"], out=out)
    assert [line.split(",")[0] for line in (out / "summary.csv").read_text().split()] == ["lesson", "02_x", "03_y"]


def test_the_kernel_is_this_interpreter(tmp_path, monkeypatch):
    # A user's kernelspec named python3 that points elsewhere must not win, nor an empty PATH matter.
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/nowhere/python"], "display_name": "other", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PATH", "/nowhere")
    cell = nbformat.v4.new_code_cell("import sys, course_lib, os\nprint(sys.executable)\nprint(os.getcwd())")
    path = tmp_path / "a {b}.ipynb"
    outcome = execute_notebook(nbformat.v4.new_notebook(cells=[cell]), path, {}, tmp_path, "x")
    assert (outcome.status, outcome.error) == ("ok", "")
    assert outputs(path).split() == [sys.executable, str(tmp_path)]


def test_a_dead_kernel_is_a_failure(tmp_path, make_course):
    course = make_course(tmp_path, _02_x=PARAMETERS + "# %%\nimport os\nos._exit(3)\n")
    rows, said = run(course)
    assert rows[0]["status"] == "failed" and "DeadKernelError" in rows[0]["error"]
    assert any("code cell 3 (import os)" in line for line in said)


def test_ctrl_c_writes_the_summary(tmp_path, make_course):
    course = make_course(tmp_path, _02_x=PARAMETERS + "# %%\nimport time\nopen('started', 'w').close()\ntime.sleep(60)\n", _03_y=FAILING)
    code = f"from course_lib.workbook.run import *; import sys; sys.exit(exit_status(run_lessons(root={str(course)!r}, pdf=False)))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_ctrl_c
    )
    latest, limit = course / "runs" / "latest", time.monotonic() + 60
    while not (latest / "started").exists() and time.monotonic() < limit:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    rows = (latest / "summary.csv").read_text().split()
    assert len(rows) == 2 and rows[1].startswith("02_x,solutions,interrupted,")
    assert "stopped; what was done is in" in output and "Traceback" not in errors
    nbformat.read(latest / "02_x.ipynb", as_version=4)


def test_a_pdf_that_fails_is_a_note(course, monkeypatch):
    import types

    def broken(*args, **kwargs):
        raise RuntimeError("no typst here")

    monkeypatch.setitem(sys.modules, "course_lib.workbook.report", types.SimpleNamespace(make_report=broken))
    said = []
    (row,) = run_lessons(profile="smoke", root=course, say=said.append)
    assert row["status"] == "ok" and row["note"] == "no PDF: no typst here"
    assert "no PDF: no typst here" in (Path(row["out"]) / "summary.md").read_text() and any("note" in line for line in said)


def test_the_seconds_of_a_cell_are_those_it_ran(tmp_path, capsys):
    cell = nbformat.v4.new_code_cell("import time\ntime.sleep(1.2)")
    execute_notebook(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "x.ipynb", {}, tmp_path, "x")
    (line,) = capsys.readouterr().err.strip().split("\n")
    assert re.match(r"x  cell  1/1 +\d+\.\d s  import time", line) and float(line.split()[3]) >= 1.2
