"""The PDF of a notebook, through pandoc and typst from pip wheels alone, and a check of what came through.

Every cell becomes a typst file of its own, so that one that typst refuses can be printed verbatim and named. Typst sees only
a temporary folder; a notebook is somebody's text and could otherwise read the reader's files.
"""

from __future__ import annotations

import copy
import json
import re
import tempfile
from pathlib import Path

from .report_blocks import Book, Piece, same_heading, verbatim
from .report_cover import ReportError, cover, find_records
from .report_pandoc import Converter, PandocError, pandoc_works
from .report_text import LABELS, headings_of, literal, visible
from .report_tree import typst
from .report_verify import compare, contents_of, language_of, read_pdf


class _NoPdf(RuntimeError):
    """The PDF cannot be made at all; the HTML stands in."""


def make_report(notebook, output=None, *, records=None, lang=None, title=None, author="", student_id="", html=False) -> dict:
    """PDF of a notebook file, checked against the notebook.

    `output` defaults to the notebook's name with .pdf; `records` is records.json, its folder or its content (default: beside the
    notebook); `lang` en or zh (default: the notebook's own). Returns {pdf, html, headings, figures, exercises, missing, warnings}:
    counts found in the notebook, `missing` what of it is not in the PDF. Where no PDF can be made, `pdf` is None and an HTML page
    stands in. Raises ReportError.
    """
    path = Path(notebook)
    nb = read_notebook(path)
    target = _target(path, output)
    lang = lang or language_of(nb)
    if lang not in LABELS:
        raise ReportError(f"{path}: no report language {lang!r}; choose one of {', '.join(LABELS)}")
    found, folder, warnings = find_records(path, nb, records)
    wanted = contents_of(nb, lang)
    result = {
        "pdf": None,
        "html": None,
        "headings": len(wanted["headings"]),
        "figures": wanted["figures"],
        "exercises": len(wanted["exercises"]),
        "missing": [],
        "warnings": warnings,
    }
    options = {"lang": lang, "records": found, "records_folder": folder, "title": title, "author": author, "student_id": student_id}
    try:
        pdf, book = _pdf(path, nb, options)
        result["missing"] = book.missing + compare(wanted, pdf, book, lang)
        warnings.extend(book.warnings)
        _write(target, pdf)
        result["pdf"] = str(target)
    except (_NoPdf, PandocError, ImportError) as error:
        left = f" (the older {target.name} is left as it was)" if target.exists() else ""
        warnings.append(f"{path.name}: no PDF, an HTML page stands in{left}: {error}")
        result["missing"] = [f"the PDF itself: {error}"]
        html = True
    if html:
        page = target.with_suffix(".html")
        _write(page, html_page(path, nb).encode("utf-8", "replace"))
        result["html"] = str(page)
    return result


def read_notebook(path: Path):
    """The notebook at `path`, version 4. Raises ReportError."""
    import nbformat

    if not path.is_file():
        raise ReportError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give the .ipynb file of a notebook")
    try:
        nb = nbformat.read(path, as_version=4)
        for cell in nb.cells:
            cell.source = "".join(cell.source)
            cell.cell_type, cell.metadata  # noqa: B018  a cell without them is broken
        return nb
    except Exception as error:  # nbformat raises many kinds for a broken file
        said = f"{type(error).__name__}: {str(error)[:200]}"
        raise ReportError(f"{path}: not a readable notebook ({said}); open and save it in Jupyter") from error


def html_page(path: Path, nb) -> str:
    """One self-contained HTML page of the notebook: images inside, nothing fetched, scripts of the notebook off; maths stays TeX."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(embed_images=True, exclude_input_prompt=True, exclude_output_prompt=True, sanitize_html=True)
    exporter.mathjax_url = exporter.require_js_url = exporter.mermaid_js_url = exporter.jquery_url = ""
    body, _ = exporter.from_notebook_node(copy.deepcopy(nb), resources={"metadata": {"name": path.stem, "path": str(path.parent)}})
    return re.sub(r"<script\b[^>]*>.*?</script>", "", body, flags=re.S | re.I)


# making the PDF ----------------------------------------------------------------------------------------------------------------------
def _pdf(path: Path, nb, options: dict) -> tuple[bytes, Book]:
    """The PDF and its book; a second round replaces the characters that no font of ours has."""
    uncovered: frozenset[str] = frozenset()
    for _ in range(3):
        with tempfile.TemporaryDirectory(prefix="report-") as folder:
            pdf, lost, book = _round(Path(folder), path, nb, options, uncovered)
        if not lost:
            break
        uncovered |= lost
    if uncovered:
        named = ", ".join(f"{c} U+{ord(c):04X}" for c in sorted(uncovered))
        book.warnings.append(f"{path.name}: no font has these characters, their names stand in for them: {named}")
    if "\0" in read_pdf(pdf)[0]:
        book.warnings.append(f"{path.name}: some characters have no glyph in any font and show as boxes")
    return pdf, book


def _round(folder: Path, path: Path, nb, options: dict, uncovered: frozenset) -> tuple[bytes, frozenset, Book]:
    nb, lang = copy.deepcopy(nb), options["lang"]
    book = Book(nb, folder, path.parent, lang, options["records"], options["records_folder"], uncovered)
    first = next(((level, text) for cell in nb.cells if cell.cell_type == "markdown" for level, text in headings_of(cell.source)), (0, ""))
    title = options["title"] or visible(first[1]) or path.stem
    book.build()
    count = sum(len(headings_of(cell.source)) for cell in nb.cells if cell.cell_type == "markdown")
    front = cover(book.clean, path, nb, {**options, "title": title}, count)
    book.add_captions(front["results"])
    converter = Converter(None, lang, book.clean(title) if first[0] == 1 and same_heading(first[1], title) else "")

    def place(source, block, alt):
        book.cell = int(converter.key)
        return book.place_image(source, block, alt)

    converter.place_image = place
    cells = _typst_cells(book, converter)
    (folder / "report.typ").write_bytes((Path(__file__).parent / "report.typ").read_bytes())
    (folder / "words.json").write_text(json.dumps({k: v for k, v in LABELS[lang].items() if isinstance(v, str)}), encoding="utf-8")
    for row in front["results"]:
        row["caption"] = f"cell_{row['caption']}.typ" if row["caption"] else ""
    (folder / "data.json").write_text(json.dumps(front), encoding="utf-8")
    for key, text in cells.items():
        (folder / f"cell_{key}.typ").write_text(f'#import "report.typ": *\n{text}', encoding="utf-8")
    includes = [f'#include "cell_{key}.typ"' for key in book.cells if int(key) < len(nb.cells)]
    main = '#import "report.typ": *\n#show: report.with(json("data.json"))\n' + "\n".join(includes) + "\n"
    (folder / "main.typ").write_text(main, encoding="utf-8")
    pdf, lost = _compile(folder, book)
    return pdf, lost - uncovered, book


def _typst_cells(book: Book, converter: Converter) -> dict[str, str]:
    """Typst text of every cell; what pandoc refuses is printed as it stands."""
    blocks = converter.read(book.texts)
    cells: dict[str, list] = {}
    for key, pieces in book.cells.items():
        cells[key] = [part for piece in pieces for part in _parts(piece, key, blocks, book, converter)]
    try:
        written = converter.typst(cells)
    except PandocError:  # one cell's doing: each on its own, to find which
        if not pandoc_works():
            raise
        written = {}
        for key, parts in cells.items():
            try:
                written.update(converter.typst({key: parts}))
            except PandocError as error:
                written[key] = _verbatim(book, key, f"pandoc refused it: {error}")
    for key, tex in dict.fromkeys(converter.bad_maths):
        book.warnings.append(f"cell {int(key) + 1}: maths that could not be set, shown as TeX: {tex[:80]}")
    return written


def _parts(piece: Piece, key: str, blocks: dict, book: Book, converter: Converter) -> list:
    if piece.figure:
        first = next((b["c"] for b in blocks.get(piece.text, []) if b["t"] in ("Para", "Plain")), [])
        return [typst(piece.figure + "["), [{"t": "Plain", "c": first}], typst("]")]
    if piece.node:
        return [piece.node]
    if piece.text in converter.failed:
        why = converter.failed[piece.text][:120]
        book.warnings.append(f"cell {int(key) + 1}: pandoc could not read a text, it is printed as it stands: {why}")
        return [typst(verbatim(book.texts[piece.text][1]))]
    if piece.html and not blocks.get(piece.text):
        return [typst(f"#note({literal(LABELS[book.lang]['interactive'])})")]
    return [blocks.get(piece.text, [])]


def _verbatim(book: Book, key: str, why: str) -> str:
    book.warnings.append(f"cell {int(key) + 1}: printed as plain text, {why}")
    cells = book.notebook.cells
    return verbatim(book.clean(cells[int(key)].source)) if int(key) < len(cells) else ""


def _compile(folder: Path, book: Book) -> tuple[bytes, frozenset]:
    """Compile main.typ; a cell that typst refuses is replaced by its text. Returns the PDF and the characters without a glyph."""
    import typst as engine

    fonts = engine.Fonts(include_system_fonts=False, font_paths=font_folders(book))
    replaced: set[str] = set()
    while True:
        compiler = engine.Compiler(str(folder / "main.typ"), root=str(folder), font_paths=fonts, ignore_system_fonts=True)
        try:
            pdf = compiler.compile()
            break
        except Exception as error:  # TypstError, or a panic of the compiler
            said = str(getattr(error, "diagnostic", "") or error)
            guilty = [key for key in dict.fromkeys(re.findall(r"cell_(\d+)\.typ", said)) if key not in replaced]
            if not guilty:
                raise _NoPdf(f"typst: {said.strip()[:300]}") from error
            replaced.update(guilty[:1])
            text = _verbatim(book, guilty[0], f"typst refused it: {said.splitlines()[0][:120] if said else ''}")
            (folder / f"cell_{guilty[0]}.typ").write_text(f'#import "report.typ": *\n{text}', encoding="utf-8")
    return pdf, _without_glyph(compiler) if "\0" in read_pdf(pdf)[0] else frozenset()


def _without_glyph(compiler) -> frozenset[str]:
    """Characters that no font has: PDF/A forbids them, so its export names each one."""
    try:
        compiler.compile(pdf_standards="a-2b")
    except Exception as error:
        said = str(getattr(error, "diagnostic", "") or error)
        texts = re.findall(r'the text `"((?:[^"\\]|\\.)*)"`', said)
        plain = "".join(re.sub(r"\\u\{([0-9a-f]+)\}", lambda m: chr(int(m[1], 16)), text) for text in texts)
        return frozenset(c for c in plain if ord(c) > 127)
    return frozenset()


def font_folders(book: Book | None = None) -> list[str]:
    """Folder of the Chinese font's wheel; without it a warning goes to the book."""
    from importlib.resources import files

    try:
        return [str(files("noto_cjk_sans_otc"))]
    except ModuleNotFoundError:
        if book is not None:
            book.warnings.append("no Chinese font: install it with pip install noto-cjk-sans-otc; Chinese text shows as character names")
        return []


# files ----------------------------------------------------------------------------------------------------
def _target(path: Path, output) -> Path:
    target = Path(output) if output is not None else path.with_suffix(".pdf")
    if target.is_dir():
        raise ReportError(f"{target}: is a folder; name the PDF file to write, for example {target / (path.stem + '.pdf')}")
    if target.suffix.lower() == ".ipynb":
        raise ReportError(f"{target}: would replace a notebook; name a file that ends in .pdf")
    return target


def _write(target: Path, data: bytes) -> None:
    from course_lib.paths import write_atomic

    try:
        if target.is_dir():
            raise IsADirectoryError("is a folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, data)
    except OSError as error:
        raise ReportError(f"{target}: cannot be written ({error}); choose another place with -o") from error
