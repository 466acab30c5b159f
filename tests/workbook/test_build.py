import json
from pathlib import Path

import nbformat
import pytest

from course_lib.workbook.build import build, edition, read_notebook, stamp_lessons, to_bytes
from course_lib.workbook.source import LessonError, english_hash, load_lesson

NOTEBOOKS = ["notebooks/01_tiny.ipynb", "solutions/01_tiny.ipynb", "notebooks/zh/01_tiny.ipynb"]


def quiet(line):
    pass


def change(course, old, new):
    path = course / "solutions" / "01_tiny.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def exercise_cell(notebook):
    return next(cell for cell in notebook["cells"] if cell["id"] == "exercise-01-a")


def test_editions(course):
    lesson = load_lesson("01_tiny", course)
    student, solved, chinese = (edition(lesson, kind, lang) for kind, lang in (("student", "en"), ("solved", "en"), ("student", "zh")))
    for notebook in (student, solved, chinese):
        nbformat.validate(notebook)
        assert set(notebook.metadata) == {"kernelspec", "language_info", "course"}
    assert exercise_cell(student).source == "# exercise 01-a · 2 points · Doubling\ndef double(x):\n    ...  # your code here"
    assert "y = 2 * x" in exercise_cell(solved).source and "###" not in exercise_cell(solved).source
    assert "assert double(2)" in exercise_cell(solved).source
    assert exercise_cell(student).metadata == {"exercise": "01-a"}
    assert "colab-badge" in student.cells[0].source and "notebooks/01_tiny.ipynb" in student.cells[0].source
    assert chinese.cells[0].source.startswith("# 小课") and "notebooks/zh/01_tiny.ipynb" in chinese.cells[0].source
    assert chinese.cells[3].source == "Double it." and chinese.cells[3].metadata.lang == "en"
    assert [cell.id for cell in student.cells] == [cell.id for cell in chinese.cells]
    assert "OWNER/tiny/archive/main.zip" in student.cells[1].source and "{{" not in student.cells[1].source.split("\n")[0]


def test_build_check_and_bytes(course):
    assert build(root=course, check=True, say=quiet) == NOTEBOOKS
    assert build(root=course, say=quiet) == NOTEBOOKS
    first = {name: (course / name).read_bytes() for name in NOTEBOOKS}
    assert build(root=course, say=quiet) == [] == build(root=course, check=True, say=quiet)
    for name in NOTEBOOKS:
        (course / name).unlink()
    build(root=course, say=quiet)
    assert first == {name: (course / name).read_bytes() for name in NOTEBOOKS}
    change(course, "小课", "小小课")
    assert build(root=course, check=True, say=quiet) == ["notebooks/zh/01_tiny.ipynb"]
    (course / "notebooks" / "99_gone.ipynb").write_bytes(first[NOTEBOOKS[0]])
    assert "notebooks/99_gone.ipynb (no source for it: delete it)" in build(root=course, check=True, say=quiet)


def test_an_inserted_cell_renames_no_other(course):
    before = [cell.id for cell in edition(load_lesson("01", course)).cells]
    change(course, '# %% tags=["setup"]', '# %% [markdown]\n# New.\n\n# %% tags=["setup"]')
    after = [cell.id for cell in edition(load_lesson("01", course)).cells]
    assert [identity for identity in after if identity in before] == before and len(after) == len(before) + 1


def test_outputs_of_unchanged_cells_are_kept(course):
    build(root=course, say=quiet)
    path = course / "solutions" / "01_tiny.ipynb"
    notebook = read_notebook(path)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        cell["execution_count"] = number
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": f"out {number}"}]
    path.write_bytes(to_bytes(notebook))
    said = []
    assert build(root=course, say=said.append) == [] and not any("no output now" in line for line in said)
    change(course, "y = 2 * x", "y = x + x")
    assert build(root=course, say=said.append) == ["solutions/01_tiny.ipynb"]
    built = [cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"]
    assert [bool(cell["outputs"]) for cell in built] == [True, True, False, True]
    assert any("cells 5 are new or changed" in line for line in said)
    assert not list(course.glob("solutions/*backup*"))


def test_a_students_work_is_backed_up(course):
    build(root=course, say=quiet)
    path, said = course / "notebooks" / "01_tiny.ipynb", []
    notebook = read_notebook(path)
    exercise_cell(notebook)["source"] = "def double(x):\n    return x + x"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    mine = path.read_bytes()
    assert build(root=course, check=True, say=said.append) == ["notebooks/01_tiny.ipynb"] and path.read_bytes() == mine
    build(root=course, say=said.append)
    (backup,) = path.parent.glob("01_tiny.backup-*.ipynb")
    assert backup.read_bytes() == mine and any(backup.name in line for line in said)
    assert build(root=course, check=True, say=quiet) == []
    build(root=course, say=quiet)
    assert len(list(path.parent.glob("*backup*"))) == 1


def test_outputs_of_a_students_run_are_left_alone(course):
    build(root=course, say=quiet)
    path, said = course / "notebooks" / "01_tiny.ipynb", []
    notebook = read_notebook(path)
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "hours"}]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert build(root=course, say=said.append) == [] and "hours" in path.read_text() and any("left alone" in line for line in said)


def test_a_file_that_is_no_notebook_is_not_overwritten(course):
    (course / "notebooks").mkdir()
    (course / "notebooks" / "01_tiny.ipynb").write_text("my notes")
    with pytest.raises(LessonError, match="not a notebook"):
        build(root=course, say=quiet)
    assert (course / "notebooks" / "01_tiny.ipynb").read_text() == "my notes"


def test_stamp(course):
    change(course, "# # Tiny", "# # Tiny, changed")
    (line,) = stamp_lessons(root=course, say=quiet)
    wanted = english_hash("# Tiny, changed\n\n{{colab_badge}} and $x^2$")
    assert line.endswith(wanted) and f'of="{wanted}"' in (course / "solutions" / "01_tiny.py").read_text(encoding="utf-8")
    assert stamp_lessons(root=course, say=quiet) == []


def test_site_is_needed(course):
    (course / "pyproject.toml").write_text("[tool.course]\nrepository = 'here'\n")
    with pytest.raises(LessonError, match=r"pyproject.toml: \[tool.course\] needs"):
        build(root=course, say=quiet)


def test_execute_strips_machine_paths_and_runs_once(course):
    change(course, "print(PROFILE, value, OUT_DIR)", "print(PROFILE, value, OUT_DIR)\nprint('10%', end='\\r')\nprint('20%')\nPath.home()")
    said = []
    build(root=course, execute=True, say=said.append)
    path = course / "solutions" / "01_tiny.ipynb"
    notebook = read_notebook(path)
    nbformat.validate(notebook)
    outputs = notebook["cells"][-1]["outputs"]
    assert outputs[0]["text"] == "quick 6 OUT/01_tiny\n20%\n"
    text = path.read_text(encoding="utf-8")
    assert str(course) not in text and str(Path.home()) + '"' not in text and "injected-parameters" not in text and "papermill" not in text
    assert build(root=course, check=True, say=quiet) == []
    assert build(root=course, execute=True, say=said.append) == [] and "executed already" in said[-1]
    change(course, "print('20%')", "raise KeyError('gone')")
    with pytest.raises(LessonError, match=r"failed at In \[5\].*KeyError: 'gone'"):
        build(root=course, execute=True, say=quiet)


def test_execute_refuses_a_huge_notebook(course, monkeypatch):
    monkeypatch.setattr("course_lib.workbook.solve.MAX_BYTES", 4000)
    with pytest.raises(LessonError, match="the limit is 3 MB"):
        build(root=course, execute=True, say=quiet)
