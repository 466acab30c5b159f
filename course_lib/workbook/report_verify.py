"""What a notebook holds and what of it came through into its PDF, counted from the two alone."""

from __future__ import annotations

import functools
import io
import re

from .report_blocks import EXERCISE, Book
from .report_images import image_kind
from .report_text import LABELS, fences, headings_of, printable, squeezed, visible


def language_of(nb) -> str:
    """`zh` or `en`: the notebook's course metadata, else whether its text is largely Chinese."""
    named = nb.metadata.get("course", {}).get("lang")
    if named in LABELS:
        return named
    text = "".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    han = len(re.findall("[\u4e00-\u9fff]", text))
    return "zh" if han > 0.15 * max(len(re.findall(r"\w", text)), 1) else "en"


def contents_of(nb, lang: str = "en") -> dict:
    """What the notebook holds, counted from its source alone: headings, figures, exercises."""
    headings, figures, exercises = [], 0, []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            headings += [printable(text, lang) for _, text in headings_of(cell.source)]
            text = "\n".join(re.sub(r"`[^`\n]*`", "", part) for code, part in fences(cell.source) if not code)
            text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
            figures += len(re.findall(r"(?<!\[)!\[[^\]]*\][(\[]|<img\b", text))
        elif cell.cell_type == "code":
            exercise = EXERCISE.match(cell.source.split("\n", 1)[0])
            exercises += [exercise[1]] if exercise else []
            for out in cell.get("outputs", []):
                page = "".join(out.get("data", {}).get("text/html", ""))
                figures += 1 if image_kind(out) else 0 if "data-status" in page else len(re.findall(r"<img\b", page))
    return {"headings": headings, "figures": figures, "exercises": exercises}


def compare(wanted: dict, pdf: bytes, book: Book, lang: str) -> list[str]:
    """What of `contents_of` is not in the PDF: headings (bookmark and text), figure labels, exercises."""
    text, outline = read_pdf(pdf)
    flat, missing, words = squeezed(text), [], LABELS[lang]
    titles = [squeezed(entry) for entry in outline]
    for heading in wanted["headings"]:
        parts = [squeezed(visible(printable(part, lang, book.uncovered))) for part in re.split(r"\$[^$]*\$", heading)]
        place = next((i for i, entry in enumerate(titles) if all(part in entry for part in parts)), None)
        if place is None or not all(part in flat for part in parts):
            missing.append(f"heading: {visible(heading)}")
        else:
            titles.pop(place)
    for number in range(1, book.figures + 1):
        if not re.search(rf"{words['figure']}\s*{number}(?!\d)", text):
            missing.append(f"figure: {words['figure']} {number}")
    lost = wanted["figures"] - book.figures - book.inline - sum(one.startswith("figure: ") for one in book.missing)
    missing += [f"figure: {lost} of the notebook's {wanted['figures']}"] if lost > 0 else []
    return missing + [f"exercise: {one}" for one in wanted["exercises"] if squeezed(words["exercise"] + one) not in flat]


@functools.lru_cache(maxsize=2)  # pypdf takes a second for ten pages, and three places ask
def read_pdf(pdf: bytes) -> tuple[str, list[str]]:
    """Text of all pages, and the titles of the bookmarks."""
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(pdf))

    def flat(entries):
        return [title for one in entries for title in (flat(one) if isinstance(one, list) else [one.title])]

    return "\n".join(page.extract_text() for page in reader.pages), flat(reader.outline)
