"""Small tools on pandoc's tree: inline HTML made into nodes, TeX cleaned for it, plain text of a node."""

from __future__ import annotations

import re

from .report_text import wrapped

_INLINE_TAGS = {
    "b": "Strong",
    "strong": "Strong",
    "i": "Emph",
    "em": "Emph",
    "sub": "Subscript",
    "sup": "Superscript",
    "u": "Underline",
    "s": "Strikeout",
    "del": "Strikeout",
    "kbd": "Strong",
    "mark": "Strong",
}
INLINE_KINDS = {
    "Str",
    "Space",
    "SoftBreak",
    "Emph",
    "Strong",
    "Math",
    "Code",
    "Link",
    "Image",
    "RawInline",
    "LineBreak",
    "Underline",
    "Span",
}
BLOCK_KINDS = {
    "Para",
    "Plain",
    "Header",
    "CodeBlock",
    "RawBlock",
    "BulletList",
    "OrderedList",
    "BlockQuote",
    "Table",
    "Div",
    "Figure",
    "HorizontalRule",
    "LineBlock",
    "DefinitionList",
}


def typst(source: str, kind: str = "RawBlock") -> dict:
    """A pandoc node that is typst already."""
    return {"t": kind, "c": ["typst", source]}


def clean_tex(tex: str) -> str:
    """TeX as pandoc reads it well: norms as fences (so that _2^2 stands beside them), numbered environments as aligned ones, tags kept."""
    tex = _norms(tex)
    tex = re.sub(r"\\operatorname\*?\{arg\s*(?:\\[,;: ])?\s*(min|max)\}", r"\\arg\\\1", tex)
    tex = re.sub(r"\\(begin|end)\{(?:align|eqnarray|multline|split|flalign)\*?\}", r"\\\1{aligned}", tex)
    tex = re.sub(r"\\(begin|end)\{gather\*?\}", r"\\\1{gathered}", re.sub(r"\\(begin|end)\{equation\*?\}", "", tex))
    tex = re.sub(r"\\tag\*?\{([^{}]*)\}", r"\\qquad\\text{(\1)}", tex)
    return re.sub(r"\\label\{[^{}]*\}|\\(?:nonumber|notag)\b", "", tex)


def _norms(tex: str) -> str:
    r"""`\|` as \lVert and \rVert by turns where a pair closes in one group and column, else as \Vert: set close, scripts beside it."""
    pieces = re.split(r"(?<!\\)((?:\\\\)*)(?:\\(left|right))?\\\|", tex)
    texts = [pieces[0], *(tail for tail in pieces[3::3])]
    out, opened = texts[0], False
    for i in range(1, len(texts)):
        before, side = pieces[3 * i - 2] or "", pieces[3 * i - 1]
        inner = texts[i]
        pairs = side is None and not opened and i + 1 < len(texts) and pieces[3 * i + 2] is None
        apart = re.search(r"&|\\\\|\\(?:left|right)\b", inner + ((pieces[3 * i + 1] or "") if pairs else ""))
        closes = inner.count("{") == inner.count("}") and not apart
        if side:
            out += f"{before}\\{side}\\Vert {inner}"
        elif opened:
            out, opened = f"{out}{before}\\rVert {inner}", False
        elif pairs and closes and inner.strip():
            out, opened = f"{out}{before}\\lVert {inner}", True
        else:
            out += f"{before}\\Vert {inner}"
    return out


def join_tags(inlines: list) -> list:
    """Raw inline HTML as pandoc's own nodes: <b>..</b>, <sub>, <br>, <img>, <a>; other tags go, their text stays."""
    stack: list[tuple[str, str, list]] = [("", "", [])]
    for inline in inlines:
        found = re.match(r"<(/?)([a-zA-Z][\w-]*)([^>]*)>", inline["c"][1]) if inline["t"] == "RawInline" else None
        if not found:
            stack[-1][2].append(inline)
            continue
        closing, tag, rest = found[1], found[2].lower(), found[3]
        attributes = {k.lower(): a or b or c for k, a, b, c in re.findall(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", rest)}
        if tag == "br":
            stack[-1][2].append({"t": "LineBreak"})
        elif tag == "img":
            alt = [{"t": "Str", "c": attributes["alt"]}] if attributes.get("alt") else []
            stack[-1][2].append({"t": "Image", "c": [["", [], []], alt, [attributes.get("src", ""), ""]]})
        elif not closing and (tag in _INLINE_TAGS or tag in ("a", "code")):
            stack.append((tag, attributes.get("href", ""), []))
        elif closing and any(tag == one[0] for one in stack[1:]):
            while True:
                name, target, inner = stack.pop()
                stack[-1][2].extend(_tagged(name, target, inner))
                if name == tag:
                    break
    while len(stack) > 1:  # never closed: the words stay
        name, target, inner = stack.pop()
        stack[-1][2].extend(inner)
    return stack[0][2]


def _tagged(tag: str, target: str, inner: list) -> list:
    if tag == "a":
        return [{"t": "Link", "c": [["", [], []], inner, [target, ""]]}]
    if tag == "code":
        return [{"t": "Code", "c": [["", [], []], plain_text(inner)]}]
    return [{"t": _INLINE_TAGS[tag], "c": inner}]


def plain_text(inlines: list) -> str:
    """The text of inline nodes."""
    out = []
    for one in inlines:
        kind, c = one["t"], one.get("c")
        if kind in ("Space", "SoftBreak", "LineBreak"):
            out.append(" ")
        elif kind == "Str":
            out.append(c)
        elif kind in ("Code", "Math"):
            out.append(c[1])
        elif kind in ("Link", "Span", "Image", "Quoted", "Cite"):
            out.append(plain_text(c[1]))
        elif isinstance(c, list) and kind not in ("RawInline", "Note"):
            out.append(plain_text(c))
    return "".join(out)


def raw_html(node) -> list[str]:
    if isinstance(node, dict):
        if node.get("t") == "RawBlock" and node["c"][0] == "html":
            return [node["c"][1]]
        return [text for one in node.values() for text in raw_html(one)]
    return [text for one in node for text in raw_html(one)] if isinstance(node, list) else []


def language(classes: list[str]) -> str:
    name = re.sub(r"[^a-z0-9+#]", "", (classes or ["text"])[0].lower())
    return {"ipython3": "python", "py": "python", "shell": "bash", "console": "bash"}.get(name, name) or "text"


def breakable(code: str) -> str:
    """Code with its unbroken long strings cut: typst breaks lines at spaces alone."""
    cut = (wrapped(line, 100) if max(map(len, line.split()), default=0) > 90 else [line] for line in code.split("\n"))
    return "\n".join(piece for pieces in cut for piece in pieces)
