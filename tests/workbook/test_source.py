import pytest

from course_lib.workbook.source import (
    LessonError,
    edition_source,
    english_hash,
    load_lesson,
    parse_lesson,
    select_lessons,
    twin_troubles,
)

EXERCISE = "# %%\n# exercise 02-b · 3 points · MDTA\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n"


def test_reads_cells_with_their_lines(course):
    lesson = load_lesson("01", course)
    text = lesson.path.read_text(encoding="utf-8").split("\n")
    assert [cell.kind for cell in lesson.cells] == ["markdown", "markdown", "code", "code", "markdown", "code", "code"]
    assert all(text[cell.line - 1].startswith("# %%") for cell in lesson.cells)
    (exercise,) = lesson.exercises
    assert (exercise.id, exercise.points, exercise.title) == ("01-a", 2, "Doubling")
    assert lesson.cells[3].tags == ("parameters",) and lesson.cells[1].lang == "zh"


def test_editions_keep_indentation():
    source = "def f():\n    ### BEGIN SOLUTION\n    a = 1\n\n    return a\n    ### END SOLUTION\n### BEGIN HIDDEN\nf()\n### END HIDDEN"
    assert edition_source(source, "student") == "def f():\n    ...  # your code here"
    assert edition_source(source, "solved") == "def f():\n    a = 1\n\n    return a\nf()"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (EXERCISE + "\n" + EXERCISE, 7, "02-b stands twice"),
        ("# %%\n# exercise 02-b · 3 points · MDTA\nx = 1\n", 1, "no '### BEGIN SOLUTION'"),
        ("# %%\n# exercise 02-b: MDTA\nx = 1\n", 1, "should read"),
        ("# %%\n# exercise 03-b · 1 point · MDTA\n### BEGIN SOLUTION\n### END SOLUTION\n", 1, "should start with 02-"),
        (EXERCISE.replace("### END SOLUTION\n", ""), 1, "without its '### END SOLUTION'"),
        ("# %%\n### END HIDDEN\n", 1, "does not pair"),
        ("# %%\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n", 1, "outside an exercise"),
        ("# %% [markdown]\n# see {{colab_bagde}}\n", 1, "unknown placeholder {{colab_bagde}}"),
        ('# %%\nx = 1\n\n# %% [markdown] lang="zh"\n# 无\n', 4, "directly after its English cell"),
        ('# %% [markdown] lang="fr"\n# non\n', 1, "languages are en and zh"),
        ("# %%\nx = 1\n\n# %%\ndef f(:\n    pass\n", 4, "not Python"),
        ("x = 1\n\n# %%\ny = 2\n", None, "text before the first cell"),
        ("", None, "no cell"),
    ],
)
def test_errors_name_file_and_line(text, line, words):
    with pytest.raises(LessonError) as caught:
        parse_lesson(text, "02_restormer", "solutions/02_restormer.py")
    assert words in str(caught.value)
    assert str(caught.value).startswith("solutions/02_restormer.py" + (f":{line}:" if line else ""))


def test_header_counts_in_line_numbers():
    with pytest.raises(LessonError, match=r"x\.py:5: unknown placeholder"):
        parse_lesson("# ---\n# jupyter: {}\n# ---\n\n# %%\nx = '{{nothing_here}}'\n", "02_x", "x.py")


def test_plain_braces_are_no_placeholder():
    lesson = parse_lesson("# %%\nx = 1\nprint(f'{{ x }} {x}')\n\n# %% [markdown]\n# $\\frac{{a}}{b}$\n", "02_x")
    assert len(lesson.cells) == 2


def test_twins(course):
    (missing,) = twin_troubles(load_lesson("01_tiny", course))
    assert missing.kind == "missing" and "no zh twin" in missing.message
    path = course / "solutions" / "01_tiny.py"
    path.write_text(path.read_text(encoding="utf-8").replace("# # Tiny", "# # Tiny, changed"), encoding="utf-8")
    stale = [trouble for trouble in twin_troubles(load_lesson("01_tiny", course)) if trouble.kind == "stale"]
    assert len(stale) == 1 and f":{stale[0].line}:" in stale[0].message
    assert english_hash(" a\n") == english_hash("a") == "ca978112ca1b"


def test_unknown_lesson_lists_what_exists(course, tmp_path):
    with pytest.raises(LessonError, match="unknown lesson '09_x'; the lessons are: 01_tiny"):
        select_lessons(["09_x"], course)
    with pytest.raises(LessonError, match="no lesson found"):
        select_lessons(None, tmp_path / "empty")
