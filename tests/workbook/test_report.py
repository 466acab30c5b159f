"""The PDF of a notebook: what is in it, what cannot get into it, and what is said when something is lost."""

import base64
import io
import json
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.workbook import report, report_pandoc, report_tree
from course_lib.workbook.report import ReportError, make_report
from course_lib.workbook.report_text import headings_of, literal, printable, squeezed, terminal
from course_lib.workbook.report_verify import read_pdf

pytest.importorskip("typst")
pytest.importorskip("pypandoc")


def png(width=60, height=40):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 40, width % 255)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shown(**data):
    return new_output("display_data", data={name.replace("_", "/"): value for name, value in data.items()})


def saved(folder, *cells, lang="en", name="02_demo"):
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=list(cells), metadata={"course": {"lesson": name, "lang": lang}}), path)
    return path


def made(path, **options):
    result = make_report(path, records=options.pop("records", {}), **options)
    text, outline = read_pdf(open(result["pdf"], "rb").read())
    return result, text, outline


RECORDS = {
    "lesson": "02_demo",
    "meta": {"profile": "quick", "seed": 7, "device": "cpu", "versions": {"torch": "2.15.0"}},
    "records": [
        {"name": "strip", "kind": "figure", "file": "strip.png", "caption": "Degraded and restored", "piece": "your piece"},
        {"name": "psnr", "kind": "number", "value": 31.23456, "caption": "dB", "piece": "the reference piece"},
    ],
    "checks": [{"id": "02-a", "title": "Temperature", "status": "correct", "points": 2, "max_points": 2, "message": ""}],
}
MATHS = r"""## The norm $\|x\|_2^2$ and more

$$
\begin{aligned} y &= Ax + n \\ \hat x &= \operatorname*{arg\,min}_x \|Ax-y\|_2^2 \tag{7} \end{aligned}
$$

\begin{align} a &= b \end{align}

| Model | PSNR |
|:--|--:|
| Restormer | 31.2 |

<details><summary>Hint</summary>

Use einsum first.

</details>

Press <kbd>Ctrl</kbd> and read [the paper](https://arxiv.org/abs/2111.09881). Done ✅ and ᚠ.
"""


def test_a_whole_notebook_arrives(tmp_path):
    rows = "<thead><tr><th></th><th>method</th></tr></thead><tbody><tr><th>0</th><td>median</td></tr></tbody>"
    table = f'<table class="dataframe">{rows}</table>'
    bar = [new_output("stream", name="stderr", text=text) for text in ("  0%|  | 0/9\r 44%|█ | 4/9", "\r100%|██| 9/9\n")]
    long = new_output("stream", name="stdout", text="\n".join(f"\x1b[32mline {i}\x1b[0m" for i in range(90)))
    fail = new_output("error", ename="ValueError", evalue="bad", traceback=["\x1b[31mValueError\x1b[0m: shapes do not fit"])
    check = shown(text_html='<div class="course-check" data-status="correct">✅ well computed</div>')
    widget = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "IntSlider(3)"})
    code = '# exercise 02-a · 2 points · Temperature\nrecord("strip", fig)'
    path = saved(
        tmp_path,
        new_markdown_cell("# Lesson two\n\nWords."),
        new_markdown_cell(MATHS),
        new_code_cell(code, execution_count=4, outputs=[*bar, long, check, fail, widget, shown(text_html=table), shown(image_png=png())]),
        new_markdown_cell("![a *view*](attachment:a.png)\n\nSetext\n------\n", attachments={"a.png": {"image/png": png(90)}}),
    )
    result, text, outline = made(path, records=RECORDS, author="Ada Lovelace", student_id="2026-1")
    assert result["missing"] == [] and (result["headings"], result["figures"], result["exercises"]) == (3, 2, 1)
    assert outline[0] == "Lesson two" and "Setext" in outline
    for words in (
        "Ada Lovelace",
        "2026-1",
        "quick",
        "torch 2.15.0",
        "2 / 2",
        "31.23",
        "your piece",
        "the reference piece",
        "Exercise 02-a",
        "Figure 1",
        "Degraded and restored (your piece)",
        "Figure 2",
        "a view",
        "method",
        "median",
        "9/9",
        "line 59",
        "well computed",
        "Use einsum first.",
        "shapes do not fit",
        "the paper",
        "Ctrl",
        "Restormer",
        "(7)",
        "interactive in the notebook",
    ):
        assert squeezed(words) in squeezed(text), words
    for words in ("4/9", "line 60", "IntSlider", "[32m", "\0", "✅"):
        assert words not in text, words
    assert "30 more lines" in text and "[correct]" in text and "[runic letter" in text
    assert any("U+16A0" in warning for warning in result["warnings"])
    assert 'link "' not in text and "parallel" not in text


def test_chinese_notebook_in_code_maths_and_headings(tmp_path):
    cells = [
        new_markdown_cell("# 图像复原\n\n## 损失函数 $\\ell_1$ 与数据项\n\n公式 $\\text{损失}=\\|x\\|_1$。"),
        new_code_cell("# exercise 02-b · 3 points · 注意力\nx = 1  # 乘以温度"),
        new_code_cell("plot()", outputs=[shown(image_png=png())]),
        new_markdown_cell("**图：** 训练曲线\n\n后文"),
    ]
    result, text, outline = made(saved(tmp_path, *cells, lang="zh"), author="李雷")
    assert result["missing"] == [] and result["warnings"] == []
    for words in ("李雷", "损失函数", "练习 02-b", "乘以温度", "图 1", "训练曲线", "后文", "没有记录检查结果"):
        assert squeezed(words) in squeezed(text), words
    assert squeezed(text).count("训练曲线") == 1, "the caption line is moved, not copied"


@pytest.mark.parametrize("lost", ["heading", "figure", "exercise"])
def test_what_is_lost_on_the_way_is_named(tmp_path, monkeypatch, lost):
    path = saved(
        tmp_path,
        new_markdown_cell("# Title\n\n## Kept\n\n## Gone away\n\nGone away."),
        new_code_cell("# exercise 02-c · 1 point · X\nx", outputs=[shown(image_png=png())]),
    )
    if lost == "heading":
        whole = report_pandoc.Converter._header
        monkeypatch.setattr(
            report_pandoc.Converter,
            "_header",
            lambda self, block: [] if report_tree.plain_text(block["c"][2]) == "Gone away" else whole(self, block),
        )
        expected = "heading: Gone away"
    elif lost == "figure":
        monkeypatch.setattr(report.Book, "_figure", lambda self, *_, **__: report.Piece(report.typst("")))
        expected = "figure: 1 of the notebook's 1"
    else:
        monkeypatch.setattr(report.Book, "_code", lambda self, *_: [])
        monkeypatch.setattr(report.Book, "_exercise_bar", lambda self, *_: "")
        expected = "exercise: 02-c"
    result, _, _ = made(path)
    assert expected in result["missing"]


INJECTION = """# Title

#read("/etc/passwd") $#read("/etc/passwd")$ `#read("/etc/passwd")` `x`{=typst}

```{=typst}
#panic("raw typst ran")
```

`#panic("raw inline ran")`{=typst}

<div typst:fill="panic(1)" style="x" id="#panic(2)">d</div> [l](#panic) [j](javascript:alert) ]#panic("x")[

![\\"); #panic("x")](/etc/passwd)

![up](../../../../../etc/passwd)

$\\text{"#panic("x")}$
"""


def test_a_notebook_cannot_run_typst_or_read_files(tmp_path):
    html = '<p style="x" id="a">#panic(1)</p><img src="/etc/passwd"><pre lang="typst">#panic("p")</pre><b data-typst="#panic(3)">s</b>'
    code = 'x = "\\"#panic(1)\\\\"  # ``` #read("/etc/passwd")\n"""]#panic(1)["""\n```\n'
    outputs = [shown(text_html=html), new_output("stream", text='")]#panic("s")[')]
    cells = [new_markdown_cell(INJECTION), new_code_cell(code, outputs=outputs)]
    result, text, _ = made(saved(tmp_path, *cells), author='"#panic(1)', student_id='#read("/etc/passwd")', title='T"]#panic(2)')
    assert "root:" not in text
    assert not [warning for warning in result["warnings"] if "refused" in warning], "the text was set, not run and replaced"
    for words in ('#panic("raw typst ran")', '#panic("raw inline ran")', '#read("/etc/passwd")', '")]#panic("s")['):
        assert squeezed(words) in squeezed(text), words
    assert len([one for one in result["missing"] if one.startswith("figure: ")]) == 3, "pictures from elsewhere are named, not read"


def test_images_that_cannot_come_are_named(tmp_path):
    (tmp_path / "near.png").write_bytes(base64.b64decode(png()))
    path = saved(
        tmp_path,
        new_markdown_cell(
            "# T\n\n![near](near.png)\n\n![far](https://example.org/a.png)\n\n![none](no.png)\n\n"
            "[![badge words](https://example.org/b.svg)](https://example.org)"
        ),
        new_code_cell("x", outputs=[shown(image_png=base64.b64encode(b"not a picture").decode())]),
    )
    result, text, _ = made(path)
    assert result["figures"] == 4 and len(result["missing"]) == 3
    assert "Figure 1" in text and "https://example.org/a.png" in text and "badge words" in text and "not a readable image" in text


def test_a_cell_that_typst_or_pandoc_refuses_is_printed_as_text(tmp_path, monkeypatch):
    cells = [new_markdown_cell("# T\n\n## Fine"), new_markdown_cell("BREAK typst"), new_markdown_cell("## After $\\nomacro{x}$")]
    whole = report_pandoc.Converter._paragraph

    def broken(self, block, table):
        return [report_tree.typst("#nonsense(")] if report_tree.plain_text(block["c"]).startswith("BREAK") else whole(self, block, table)

    monkeypatch.setattr(report_pandoc.Converter, "_paragraph", broken)
    result, text, _ = made(saved(tmp_path, *cells))
    assert "BREAK typst" in text and "Fine" in text and result["missing"] == []
    assert any(warning.startswith("cell 2: printed as plain text") for warning in result["warnings"])
    assert any(warning.startswith("cell 3: maths") for warning in result["warnings"])


def test_unclosed_marks_of_one_cell_do_not_reach_the_next(tmp_path):
    texts = (
        "# T\n\n```python\nunclosed",
        "## Two\n\n<!-- open",
        "## Three\n\n<div><b>open",
        "## Four\n\n[a]: x",
        "## Five [a]\n\n<details><summary>S</summary>open hint",
        "## Six\n\n$$\na\n\n+ b\n$$",
    )
    result, text, outline = made(saved(tmp_path, *map(new_markdown_cell, texts)))
    assert result["missing"] == [] and outline == ["T", "Two", "Three", "Four", "Five [a]", "Six"]
    assert "open hint" in text


def test_html_stands_in_where_no_pdf_can_be_made(tmp_path, monkeypatch):
    def absent(*_, **__):
        raise report_pandoc.PandocError("pandoc is missing; install it with: pip install pypandoc_binary")

    monkeypatch.setattr(report_pandoc, "pandoc", absent)
    outputs = [shown(image_png=png()), shown(text_html="<script>evil()</script>")]
    path = saved(tmp_path, new_markdown_cell("# Title 标题"), new_code_cell("x", outputs=outputs))
    result = make_report(path, tmp_path / "out.pdf", records={})
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert result["pdf"] is None and result["html"] == str(tmp_path / "out.html") and not (tmp_path / "out.pdf").exists()
    assert "标题" in page and "data:image/png;base64" in page
    assert "<script" not in page and "http://" not in page.split("</style>")[-1] and "<link" not in page
    assert "pip install" in result["warnings"][-1] and result["missing"]


def test_bad_places_and_files_say_what_to_do(tmp_path):
    good = saved(tmp_path, new_markdown_cell("# T"))
    (tmp_path / "broken.ipynb").write_text("{", encoding="utf-8")
    (tmp_path / "bad.json").write_text("[1]", encoding="utf-8")
    for arguments, options, words in (
        ((tmp_path / "no.ipynb",), {}, "no such file"),
        ((tmp_path / "broken.ipynb",), {}, "broken.ipynb"),
        ((tmp_path,), {}, "is a folder"),
        ((good, tmp_path), {}, "is a folder"),
        ((good, good), {}, "replace a notebook"),
        ((good,), {"lang": "fr"}, "en, zh"),
        ((good,), {"records": tmp_path / "bad.json"}, "bad.json"),
        ((good,), {"records": tmp_path / "none.json"}, "run the notebook first"),
    ):
        with pytest.raises(ReportError, match=words):
            make_report(*arguments, **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["02_demo.ipynb", "bad.json", "broken.ipynb"], "nothing half-written"


def test_records_beside_the_notebook_count_only_for_its_lesson(tmp_path):
    path = saved(tmp_path, new_markdown_cell("# T"), new_code_cell('record("strip", fig)'))
    (tmp_path / "strip.png").write_bytes(base64.b64decode(png()))
    (tmp_path / "records.json").write_text(json.dumps(RECORDS), encoding="utf-8")
    first = make_report(path)
    text, _ = read_pdf(open(first["pdf"], "rb").read())
    assert "Temperature" in text and "Figure 1" in text and first["missing"] == [], "a recorded figure is printed though no output shows it"
    (tmp_path / "records.json").write_text(json.dumps({**RECORDS, "lesson": "03_other"}), encoding="utf-8")
    second = make_report(path)
    assert "Temperature" not in read_pdf(open(second["pdf"], "rb").read())[0] and "no records.json" in second["warnings"][0]


def test_sixty_cells_take_seconds(tmp_path):
    cells = [new_markdown_cell("# T")]
    for i in range(20):
        cells += [
            new_markdown_cell(f"## Part {i} $x_{i}$\n\nText $\\|x\\|_2^2$ 中文 **b**."),
            new_code_cell(f"print({i})", outputs=[shown(image_png=png(50 + i))]),
            new_code_cell("y", outputs=[new_output("stream", text="a\n" * 30)]),
        ]
    started = time.perf_counter()
    result, _, _ = made(saved(tmp_path, *cells))
    assert result["missing"] == [] and result["figures"] == 20
    assert time.perf_counter() - started < 15, "about 2 s on a quiet machine"


@pytest.mark.parametrize(
    ("tex", "clean"),
    [
        (r"\|x\|_2^2", r"\lVert x\rVert _2^2"),
        (r"\left\|x\right\|_1", r"\left\Vert x\right\Vert _1"),
        (r"a \\ \|b\|", r"a \\ \lVert b\rVert "),
        (r"\|a & b\|", r"\Vert a & b\Vert "),
        (r"\begin{align*}a\end{align*}", r"\begin{aligned}a\end{aligned}"),
        (r"a\\|b|", r"a\\|b|"),
    ],
)
def test_tex_is_cleaned_for_pandoc(tex, clean):
    assert report_tree.clean_tex(tex) == clean


def test_text_tools():
    assert terminal("a\r b\rc\n\x1b[1mx\x1b[0m\n\n") == "c\nx"
    assert terminal("abcdef", width=4) == "abcd\nef" and terminal("中文中文", width=4) == "中文\n中文"
    assert literal('a"\\\n#') == '"a\\"\\\\\\n#"'
    assert printable("ok ✅\ufe0f\x07 🦄") == "ok [correct] [unicorn face]" and printable("✅", "zh") == "[正确]"
    assert headings_of("# A\n```\n# no\n```\nB\n---\n<h2>C</h2>\n#no") == [(1, "A"), (2, "B"), (2, "C")]
