"""Cells of a notebook as parts of a report: code, outputs, figures, hints, checks."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from .report_images import image_bytes, image_kind, store_image
from .report_text import EMOJI_SIGNS, LABELS, literal, printable, squeezed, terminal, visible
from .report_tree import breakable, typst

EXERCISE = re.compile(r"^#\s*exercise\s+([\w-]+)\s*(.*)$", re.I)
CHECK_BOX = re.compile(r"""data-status\s*=\s*["'](correct|wrong|todo)|class\s*=\s*["'][^"']*\b(?:check|status)-(correct|wrong|todo)\b""")
_FIGURE_LINE = re.compile(r"^\*\*(?:figure|fig\.?|图)\s*\d*\s*(?:[:：.]\*\*|\*\*\s*[:：])\s*(.+)$", re.I)


@dataclass
class Piece:
    """One part of a cell: a typst node, a text for pandoc (its key), or a figure with the key of its caption."""

    node: dict | None = None
    text: str = ""
    figure: str = ""
    html: bool = False


@dataclass
class Book:
    """A notebook on its way to typst. `texts` goes to pandoc, `cells` keeps the order; images are files in `folder`."""

    notebook: object
    folder: Path
    home: Path
    lang: str = "en"
    records: dict = field(default_factory=dict)
    records_folder: Path | None = None
    uncovered: frozenset = frozenset()
    texts: dict = field(default_factory=dict)
    cells: dict = field(default_factory=dict)
    warnings: list = field(default_factory=list)
    missing: list = field(default_factory=list)
    figures: int = 0
    inline: int = 0
    cell: int = 0

    def clean(self, text) -> str:
        """Printable text in this report's language."""
        return printable("".join(text) if isinstance(text, list) else text, self.lang, self.uncovered)

    def build(self) -> None:
        """Fill `texts` and `cells` from the notebook."""
        captions = self._figure_lines()
        for i, cell in enumerate(self.notebook.cells):
            self.cell = i
            if cell.cell_type == "markdown":
                pieces = [self._text(cell.source, "markdown")] if cell.source.strip() else []
            elif cell.cell_type == "code":
                pieces = self._code(cell, captions.get(i, []))
            else:
                pieces = [Piece(typst(verbatim(self.clean(cell.source))))] if cell.source.strip() else []
            self.cells[f"{i:04d}"] = pieces

    def add_captions(self, results: list[dict]) -> None:
        """Captions of the cover's results as texts of their own, numbered after the cells; each row then names its text."""
        for i, row in enumerate(row for row in results if row["caption"]):
            self.cell = len(self.notebook.cells) + i
            key = f"{self.cell:04d}"
            self.cells[key] = [self._text(row["caption"].replace("\n", " "), "markdown")]
            row["caption"] = key

    def _text(self, source: str, kind: str) -> Piece:
        key = f"{self.cell:04d}-{len(self.texts)}"
        self.texts[key] = (kind, self.clean(source))
        return Piece(text=key, html=kind == "html")

    def _figure_lines(self) -> dict[int, list[str]]:
        """Captions from `**Figure:** ...` lines: at the head of the markdown cell after the code, else at the end of the one before."""
        found: dict[int, list[str]] = {}
        cells = self.notebook.cells
        for i, cell in enumerate(cells):
            count = sum(image_kind(out) != "" for out in cell.get("outputs", [])) if cell.cell_type == "code" else 0
            if count and (cell.metadata.get("caption") or self._records_of(cell)):
                continue  # it has its captions; a line of text stays text
            for j, from_end in ((i + 1, False), (i - 1, True)):
                while count and 0 <= j < len(cells) and cells[j].cell_type == "markdown" and len(found.get(i, [])) < count:
                    lines = cells[j].source.strip().split("\n")
                    line = _FIGURE_LINE.match(lines[-1 if from_end else 0].strip())
                    if not line:
                        break
                    found.setdefault(i, []).insert(0 if from_end else len(found.get(i, [])), line[1].strip())
                    cells[j].source = "\n".join(lines[:-1] if from_end else lines[1:])
        return found

    # code and outputs ------------------------------------------------------------------------------------------------------------
    def _code(self, cell, captions: list[str]) -> list[Piece]:
        source = self.clean(cell.source)
        pieces: list[Piece] = []
        first = source.split("\n", 1)[0]
        exercise = EXERCISE.match(first)
        if exercise:
            pieces.append(Piece(typst(self._exercise_bar(exercise[1], exercise[2]))))
        language = {"%%bash": "bash", "%%sh": "bash", "%%html": "html", "%%javascript": "js"}.get(first.split(" ")[0], "python")
        if source.strip():
            number = f"[{cell.get('execution_count')}]" if cell.get("execution_count") else ""
            pieces.append(Piece(typst(f"#code-cell({literal(breakable(source.rstrip()))}, {literal(language)}, {literal(number)})")))
        recorded = self._records_of(cell)
        captions = [str(cell.metadata.get("caption"))] if cell.metadata.get("caption") else captions
        waiting = [self._with_piece(r) for r in recorded] if recorded else list(captions)
        had = self.figures
        for out in _merged(cell.get("outputs", [])):
            pieces.extend(self._output(out, waiting))
        if recorded and self.figures == had and self.records_folder:  # recorded, but not shown in the cell
            for record in recorded:
                file = self.records_folder / Path(str(record.get("file", ""))).name
                if file.is_file():
                    pieces.append(self._figure(file.read_bytes(), self._with_piece(record), str(file.name), recorded=True))
        return pieces

    def _records_of(self, cell) -> list[dict]:
        """The figures that a cell recorded, in the order of its record(...) calls."""
        known = {r.get("name"): r for r in self.records.get("records", []) if r.get("kind") == "figure"}
        return [known[name] for name in re.findall(r"\brecord\(\s*['\"]([^'\"]+)['\"]", cell.source) if name in known]

    def _with_piece(self, record: dict) -> str:
        piece = record.get("piece")
        caption = record.get("caption") or record.get("name", "")
        return f"{caption} ({LABELS[self.lang].get(piece, piece)})" if piece else caption

    def _exercise_bar(self, identity: str, rest: str) -> str:
        words = LABELS[self.lang]
        parts = [part.strip() for part in re.split(r"[·|]", rest) if part.strip()]
        points = next((m[1] for part in parts if (m := re.match(r"([\d.]+)\s*(?:points?|分)", part))), "")
        title = " · ".join(part for part in parts if not re.match(r"[\d.]+\s*(?:points?|分)", part))
        status = next((str(c.get("status")) for c in self.records.get("checks", []) if c.get("id") == identity), "")
        status = status if status in ("correct", "wrong", "todo") else ""
        arguments = (f"{words['exercise']} {identity}", title, f"{points} {words['points']}" if points else "", status)
        return f"#exercise-bar({', '.join(literal(a) for a in arguments)})"

    def _output(self, out, captions: list[str]) -> list[Piece]:
        words = LABELS[self.lang]
        if out.output_type == "stream":
            return self._stream(terminal(out.text, self.lang))
        if out.output_type == "error":
            lines = terminal("\n".join(out.get("traceback", [])), self.lang, limit=10**6).split("\n")
            last = "\n".join(lines[-14:]).strip() or f"{out.get('ename')}: {out.get('evalue')}"
            title = f"{words['error']}: {out.get('ename', '')}"
            return [Piece(typst(f"#error-box({literal(self.clean(title))}, {literal(self.clean(last))})"))]
        data = out.get("data", {})
        kind = image_kind(out)
        if kind:
            caption = str(out.metadata.get("caption") or (captions.pop(0) if captions else "") or out.metadata.get("alt") or "")
            size = out.metadata.get(kind)
            return [self._figure(image_bytes(data[kind]), caption, kind, size.get("width") if isinstance(size, dict) else None)]
        if any("widget" in name for name in data):
            return [Piece(typst(f"#note({literal(words['interactive'])})"))]
        if "text/html" in data:
            return self._html("".join(data["text/html"]), out)
        if "text/markdown" in data:
            return [self._text("".join(data["text/markdown"]), "markdown")]
        if "text/latex" in data:
            tex = "".join(data["text/latex"]).strip()
            return [self._text(tex if tex.startswith(("$", "\\begin")) else f"$$\n{tex}\n$$", "markdown")]
        if "text/plain" in data:
            text = terminal("".join(data["text/plain"]), self.lang)
            table = _frame(text)
            return [self._text(table, "markdown")] if table else self._stream(text)
        return [Piece(typst(f"#note({literal(words['attachment'].format(what=', '.join(data)))})"))] if data else []

    def _stream(self, text: str) -> list[Piece]:
        text = self.clean(text)
        if re.fullmatch(r"\|.*\|\n\|[\s:|-]+\|(\n\|.*\|)+", text):  # a markdown table that was printed
            return [self._text(text, "markdown")]
        return [Piece(typst(f"#output({literal(text)})"))] if text.strip() else []

    def _html(self, source: str, out) -> list[Piece]:
        status = CHECK_BOX.search(source)
        if not status:
            moving = re.search(r"<(?:iframe|video|audio|canvas|script)\b", source, re.I)
            if moving and not re.search(r"<(?:table|img|p|pre|h\d)\b", source, re.I):
                return [Piece(typst(f"#note({literal(LABELS[self.lang]['interactive'])})"))]
            return [self._text(source, "html")]
        text = re.sub(r"<(?:style|script)\b.*?</(?:style|script)>", "", source, flags=re.S | re.I)
        text = re.sub(r"<(?:br|/p|/div|/li|/tr|/summary)\b[^>]*>", "\n", text, flags=re.I)
        lines = [re.sub(r"[ \t]+", " ", line).strip() for line in html.unescape(re.sub(r"<[^>]*>", "", text)).split("\n")]
        message = self.clean(EMOJI_SIGNS.sub("", "\n".join(line for line in lines if line))).strip()  # the box says it in words
        return [Piece(typst(f"#status-box({literal(status[1] or status[2])}, {literal(message)})"))]

    # images ------------------------------------------------------------------------------------------------------------------------
    def _figure(self, data: bytes | None, caption: str, name: str, pixels=None, recorded: bool = False) -> Piece:
        try:
            file, width, _ = store_image(self.folder, data, pixels)
        except ValueError as error:
            return Piece(typst(self._absent(f"{name}: {error}", caption) + "[]"))
        self.figures += 1
        if recorded:
            self.inline -= 1  # printed, though the notebook itself shows no image here
        key = self._text(caption.replace("\n", " "), "markdown").text if caption else ""
        return Piece(text=key, figure=f"#fig({literal(file)}, {width:.1f}mm)")

    def place_image(self, source: str, block: bool | None, alt: str):
        """Typst for an image in a text: (before, after) round its caption, or one call where `block` is not set."""
        try:
            file, width, height = store_image(self.folder, self._find(source))
        except ValueError as error:
            before = self._absent(f"{source[:120]} ({error})", alt)
            return (before + "[", "]") if block else before + "[]"
        if block:
            self.figures += 1
            return f"#fig({literal(file)}, {width:.1f}mm)[", "]"
        self.inline += 1
        return f"#inline-image({literal(file)}, {min(width, 38.0, 38.0 * width / height):.1f}mm)"

    def _absent(self, what: str, alt: str) -> str:
        what = f"{what} {alt}".strip()
        self.missing.append(f"figure: {what}")
        self.warnings.append(f"cell {self.cell + 1}: image not in the PDF: {what}")
        return f"#missing-image({literal(self.clean(LABELS[self.lang]['image'].format(what=what)))})"

    def _find(self, source: str) -> bytes:
        """Bytes of an attachment, data address or file beside the notebook. ValueError says why not."""
        if source.startswith("data:"):
            head, _, body = source.partition(",")
            return image_bytes(body) if head.endswith("base64") else unquote(body).encode()
        if source.startswith("attachment:"):
            bundle = self.notebook.cells[self.cell].get("attachments", {}).get(unquote(source.partition(":")[2]), {})
            if not bundle:
                raise ValueError("the notebook does not hold this attachment")
            return image_bytes(next(iter(bundle.values())))
        if re.match(r"[a-z][a-z0-9+.-]*:|//", source, re.I):
            raise ValueError("on the web, reports are made without a network")
        from course_lib.paths import repo_root

        path = (self.home / unquote(source.split("?")[0].split("#")[0])).resolve()
        allowed = [self.home.resolve()]
        allowed += [repo_root().resolve()] if self.home.resolve().is_relative_to(repo_root().resolve()) else []
        if not any(path.is_relative_to(folder) for folder in allowed):  # a hand-in must not print the grader's files
            raise ValueError("outside the notebook's folder")
        if not path.is_file():
            raise ValueError("no such file")
        return path.read_bytes()


def _merged(outputs: list) -> list:
    """Streams of one name that follow each other as one: a progress bar comes in pieces."""
    merged: list = []
    for out in outputs:
        out = type(out)(out)
        out["text"] = "".join(out.get("text", ""))
        if merged and out.output_type == "stream" and merged[-1].output_type == "stream" and out.get("name") == merged[-1].get("name"):
            merged[-1]["text"] += out["text"]
        else:
            merged.append(out)
    return merged


def _frame(text: str) -> str:
    """A pandas table printed as text, as a markdown table; empty where the columns are not plain to see."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) < 2 or not lines[0].startswith(" "):
        return ""
    head, rows = re.split(r"\s{2,}", lines[0].strip()), [re.split(r"\s{2,}", line.strip()) for line in lines[1:]]
    if not all(len(row) == len(head) + 1 for row in rows):
        return ""
    cells = [["", *head], ["---"] * (len(head) + 1), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in cells)


def verbatim(text: str) -> str:
    """Typst that prints a text as it stands."""
    return f'#listing({literal(breakable(text))}, "text")'


def same_heading(one: str, other: str) -> bool:
    """Whether two headings read the same, markup and spacing aside."""
    return squeezed(visible(one)) == squeezed(visible(other))
