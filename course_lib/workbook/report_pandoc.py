"""Markdown and HTML of a notebook through pandoc to typst, all cells in three calls; nothing of the notebook reaches typst unescaped.

pandoc reads with raw attributes off and in its sandbox; every raw node of its result is taken out here, and the only raw
typst in what it writes is ours. Hints (`<details>`), images and code are turned into calls of the template.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import tempfile
from pathlib import Path

from .report_text import LABELS, fences, literal, visible
from .report_tree import BLOCK_KINDS, INLINE_KINDS, breakable, clean_tex, join_tags, language, plain_text, raw_html, typst

MARKDOWN = "gfm+tex_math_dollars-footnotes-emoji-yaml_metadata_block-raw_attribute"
HTML = "html-native_divs-native_spans+tex_math_dollars"
_MATHS_ENV = re.compile(r"(?:^|(?<=\n))[ \t]*\\begin\{((?:align|equation|gather|multline|eqnarray)\*?)\}.*?\\end\{\1\}", re.S)
_DETAILS = re.compile(r"<details[^>]*>\s*(?:<summary[^>]*>(.*?)</summary>)?|</details\s*>", re.S | re.I)


class PandocError(RuntimeError):
    """pandoc is missing or refused a text."""


def pandoc(arguments: list[str], text: str | None = None, folder: Path | None = None) -> tuple[str, str]:
    """Run pandoc in its sandbox; returns (output, warnings). Raises PandocError with what it said."""
    try:
        import pypandoc

        program = pypandoc.get_pandoc_path()
    except (ImportError, OSError) as error:
        raise PandocError(f"pandoc is missing ({error}); install it with: pip install pypandoc_binary") from error
    try:
        command = [program, "--sandbox", *arguments]
        done = subprocess.run(command, input=text, cwd=folder, capture_output=True, encoding="utf-8", timeout=120)
    except (subprocess.TimeoutExpired, OSError) as error:
        raise PandocError(f"pandoc did not finish: {error}") from error
    if done.returncode:
        raise PandocError(done.stderr.strip()[-500:] or f"pandoc ended with status {done.returncode}")
    return done.stdout, done.stderr


class Converter:
    """Turns texts (key -> format, text) into typst; `place_image(source, caption, inline)` returns typst for an image."""

    def __init__(self, place_image, lang: str = "en", drop_heading: str = ""):
        self.place_image, self.lang, self.drop_heading = place_image, lang, drop_heading
        self.nonce = "q" + secrets.token_hex(8)  # marks that a notebook cannot guess, so cannot forge
        self.failed: dict[str, str] = {}
        self.bad_maths: list[tuple[str, str]] = []
        self._maths: list[tuple[str, str]] = []
        self._html: dict[str, list] = {}
        self.key = ""

    # reading -------------------------------------------------------------------------------------------------------------------
    def read(self, texts: dict[str, tuple[str, str]]) -> dict[str, list]:
        """Blocks of every text; those that pandoc refuses are named in `failed`."""
        blocks: dict[str, list] = {}
        for reader in (MARKDOWN, HTML):
            chosen = {key: text for key, (kind, text) in texts.items() if (kind == "html") == (reader == HTML)}
            if reader == HTML:  # raw HTML met inside markdown is read in the same call
                raw = {f"raw{i}": text for i, text in enumerate(dict.fromkeys(raw_html(blocks)))}
                self._html = {text: [] for text in raw.values()}
                read = self._read_batch({**chosen, **raw}, reader)
                self._html.update({raw[key]: read.pop(key) for key in list(read) if key in raw})
                blocks.update(read)
            else:
                blocks.update(self._read_batch(chosen, reader))
        return blocks

    def _read_batch(self, texts: dict[str, str], reader: str) -> dict[str, list]:
        if not texts:
            return {}
        with tempfile.TemporaryDirectory() as folder:
            names = []
            for i, text in enumerate(texts.values()):
                mark = f"{self.nonce}cell{i}"
                body = f"<p>{mark}</p>\n{self._marked_html(text)}" if reader == HTML else f"{mark}\n\n{self._marked(text)}\n"
                Path(folder, f"{i}.txt").write_text(body, encoding="utf-8")
                names.append(f"{i}.txt")
            try:  # --file-scope: an unclosed fence, a link label or a bad tag of one cell cannot reach the next
                output, _ = pandoc(["--file-scope", "-f", reader, "-t", "json", *names], folder=Path(folder))
                found = self._split(json.loads(output)["blocks"], list(texts))
            except (PandocError, ValueError, RecursionError) as error:
                if not pandoc_works():
                    raise
                if len(texts) == 1:
                    self.failed[next(iter(texts))] = str(error)
                    return {}
                items = list(texts.items())
                half = len(items) // 2
                return {**self._read_batch(dict(items[:half]), reader), **self._read_batch(dict(items[half:]), reader)}
        return found

    def _split(self, blocks: list, keys: list[str]) -> dict[str, list]:
        found: dict[str, list] = {}
        for block in blocks:
            text = plain_text(block["c"]) if block["t"] in ("Para", "Plain") else ""
            if text.startswith(f"{self.nonce}cell"):
                found[keys[int(text[len(self.nonce) + 4 :])]] = current = []
            else:
                current.append(block)
        if list(found) != keys:
            raise PandocError("the cells could not be told apart")
        return found

    def _marked(self, text: str) -> str:
        parts = []
        for code, part in fences(text):
            if not code:
                part = re.sub(r"\$\$.+?\$\$", lambda m: re.sub(r"\n\s*\n", "\n", m.group()), part, flags=re.S)
                pieces = re.split(r"(\$\$.+?\$\$)", part, flags=re.S)
                pieces[::2] = [_MATHS_ENV.sub(lambda m: f"\n$$\n{m.group().strip()}\n$$\n", piece) for piece in pieces[::2]]
                part = re.sub(
                    r"([ \t]*)(" + _DETAILS.pattern + ")",
                    lambda m: self._hint_mark(m[2], m[3], "\n\n" + m[1], "\n\n" + m[1]),
                    "".join(pieces),
                    flags=_DETAILS.flags,
                )
            parts.append(part)
        return "\n".join(parts)

    def _marked_html(self, text: str) -> str:
        return _DETAILS.sub(lambda m: self._hint_mark(m[0], m[1], "<p>", "</p>"), text)

    def _hint_mark(self, tag: str, summary: str | None, before: str, after: str) -> str:
        if tag.startswith("</"):
            return f"{before}{self.nonce}close{after}"
        return f"{before}{self.nonce}open{visible(summary or '').encode().hex()}{after}"

    # rewriting -----------------------------------------------------------------------------------------------------------------
    def _blocks(self, blocks: list, table: bool = False) -> list:
        out: list = []
        opened = 0
        for block in blocks:
            kind, text = block["t"], plain_text(block["c"]) if block["t"] in ("Para", "Plain") else ""
            if text.startswith(f"{self.nonce}open") and " " not in text:
                title = bytes.fromhex(text[len(self.nonce) + 4 :]).decode() or LABELS[self.lang]["hint"]
                out.append(typst(f"#hint({literal(title)})["))
                opened += 1
            elif text == f"{self.nonce}close":
                out.extend([typst("]")] if opened else [])
                opened = max(opened - 1, 0)
            elif kind == "Header":
                out.extend(self._header(block))
            elif kind == "CodeBlock":
                (_, classes, _), code = block["c"]
                out.append(typst(f"#listing({literal(breakable(code))}, {literal(language(classes))})"))
            elif kind == "RawBlock":
                out.extend(self._blocks(self._html.get(block["c"][1], []), table))
            elif kind == "Figure":
                out.extend(self._blocks(block["c"][2], table))
            elif kind in ("Para", "Plain"):
                out.extend(self._paragraph(block, table))
            elif kind == "Div":
                name = next((c for c in block["c"][0][1] if c in LABELS[self.lang]["alert"]), None)
                inner = [b for b in block["c"][1] if not (b["t"] == "Div" and "title" in b["c"][0][1])]
                inner = self._blocks(inner, table)
                out.extend([typst(f"#hint({literal(LABELS[self.lang]['alert'][name])})["), *inner, typst("]")] if name else inner)
            else:
                out.append({**block, "c": self._walk(block["c"], table or kind == "Table")} if "c" in block else block)
        return out + [typst("]")] * opened

    def _header(self, block: dict) -> list:
        level, _, inlines = block["c"]
        if self.drop_heading and level == 1 and plain_text(inlines) == self.drop_heading:
            self.drop_heading = ""  # it stands on the cover
            return []
        return [{"t": "Header", "c": [level, ["", [], []], self._inlines(inlines)]}]

    def _paragraph(self, block: dict, table: bool) -> list:
        """A paragraph; images in it become figures of their own, except in tables."""
        out, line = [], []
        for inline in self._inlines(join_tags(block["c"])):
            if inline["t"] == "Image":
                _, caption, (source, _) = inline["c"]
                if table:
                    line.append(typst(self.place_image(source, None, plain_text(caption)), "RawInline"))
                    continue
                out.extend([{**block, "c": line}] if any(i["t"] not in ("Space", "SoftBreak") for i in line) else [])
                before, after = self.place_image(source, True, plain_text(caption))
                out.extend([typst(before), *([{"t": "Plain", "c": caption}] if caption else []), typst(after)])
                line = []
            else:
                line.append(inline)
        return out + ([{**block, "c": line}] if any(i["t"] not in ("Space", "SoftBreak") for i in line) or not out else [])

    def _inlines(self, inlines: list) -> list:
        out = []
        for inline in join_tags(inlines):
            kind = inline["t"]
            if kind == "Math":
                tex = clean_tex(inline["c"][1])
                self._maths.append((self.key, tex.strip()))
                out.append({"t": "Math", "c": [inline["c"][0], tex]})
            elif kind == "Link":
                _, inner, (target, _) = inline["c"]
                inner = [i for one in self._inlines(inner) for i in (one["c"][1] if one["t"] == "Image" else [one])]  # a badge: its words
                safe = re.match(r"(https?://|mailto:)", target)
                out.extend([{"t": "Link", "c": [["", [], []], inner, [target, ""]]}] if safe and inner else inner)
            elif kind == "Image":
                out.append({"t": "Image", "c": [["", [], []], self._inlines(inline["c"][1]), inline["c"][2]]})
            elif kind == "Code":
                out.append(typst(f"#raw({literal(inline['c'][1])})", "RawInline"))
            elif kind == "Note":
                out.append({"t": "Note", "c": self._blocks(inline["c"], True)})
            elif kind in ("Span", "Quoted", "Cite"):
                out.extend(self._inlines(inline["c"][1]))
            elif kind != "RawInline":
                out.append({**inline, "c": self._inlines(inline["c"])} if isinstance(inline.get("c"), list) else inline)
        return out

    def _walk(self, node, table: bool):
        """Any other node: block lists inside it are rewritten, attributes (a way into typst) emptied."""
        if not isinstance(node, list):
            return {**node, "c": self._walk(node["c"], table)} if isinstance(node, dict) and "c" in node else node
        if len(node) == 3 and isinstance(node[0], str) and isinstance(node[1], list) and isinstance(node[2], list):
            return ["", [], []]
        kinds = {one["t"] for one in node if isinstance(one, dict) and "t" in one}
        if kinds & INLINE_KINDS:
            return self._inlines(node)
        return self._blocks(node, table) if kinds & BLOCK_KINDS else [self._walk(one, table) for one in node]

    # writing -------------------------------------------------------------------------------------------------------------------
    def typst(self, cells: dict[str, list]) -> dict[str, str]:
        """Cells, each a list of blocks and of our own `typst(...)` nodes, as typst text; pandoc's doubts about maths in `bad_maths`."""
        document: list = []
        for key, parts in cells.items():
            self.key = key
            document.append(typst(f"//{self.nonce}:{key}"))
            for part in parts:
                document.extend(self._blocks(part) if isinstance(part, list) else [part])
        source = json.dumps({"pandoc-api-version": _api_version(), "meta": {}, "blocks": document})
        output, said = pandoc(["-f", "json", "-t", "typst", "--wrap=none"], source)
        doubts = re.findall(r"Could not convert TeX math (.+?), rendering as TeX", said, flags=re.S)
        self.bad_maths = list(dict.fromkeys((key, tex) for key, tex in self._maths for bad in doubts if tex == bad.strip()))
        found = re.split(rf"^//{self.nonce}:(.*)$", output, flags=re.M)
        return dict(zip(found[1::2], found[2::2], strict=True))


def pandoc_works() -> bool:
    """Whether pandoc reads a plain word: else the fault is not a cell's."""
    try:
        return bool(pandoc(["-f", "markdown", "-t", "json"], "x"))
    except PandocError:
        return False


_API: list = []


def _api_version() -> list:
    if not _API:
        _API.extend(json.loads(pandoc(["-f", "markdown", "-t", "json"], "x")[0])["pandoc-api-version"])
    return _API
