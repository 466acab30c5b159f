"""Text of a notebook made fit for print: emoji to words, terminal noise off, typst literals, labels in both languages."""

from __future__ import annotations

import html
import re
import unicodedata

LABELS = {
    "en": {
        "figure": "Figure",
        "exercise": "Exercise",
        "points": "points",
        "author": "Author",
        "student_id": "Student id",
        "date": "Run on",
        "points_title": "Points",
        "profile": "Profile",
        "seed": "Seed",
        "device": "Device",
        "versions": "Versions",
        "checks": "Checks",
        "results": "Results",
        "contents": "Contents",
        "title": "Title",
        "status": "Status",
        "total": "Total",
        "name": "Name",
        "value": "Value",
        "made_with": "Made with",
        "correct": "correct",
        "wrong": "wrong",
        "todo": "not done yet",
        "hint": "Hint",
        "error": "Error",
        "notebook": "Notebook",
        "more": "… {n} more lines in the notebook",
        "interactive": "interactive in the notebook",
        "image": "Image not in this PDF: {what}",
        "attachment": "Output not printable, see the notebook: {what}",
        "no_checks": "No check results were recorded.",
        "page": "of",
        "your piece": "your piece",
        "the reference piece": "the reference piece",
        "description": "Description",
        "alert": {"note": "Note", "tip": "Tip", "important": "Important", "warning": "Warning", "caution": "Caution"},
    },
    "zh": {
        "figure": "图",
        "exercise": "练习",
        "points": "分",
        "author": "作者",
        "student_id": "学号",
        "date": "运行日期",
        "points_title": "分数",
        "profile": "配置",
        "seed": "随机种子",
        "device": "设备",
        "versions": "版本",
        "checks": "检查结果",
        "results": "结果",
        "contents": "目录",
        "title": "标题",
        "status": "状态",
        "total": "合计",
        "name": "名称",
        "value": "数值",
        "made_with": "所用部件",
        "correct": "正确",
        "wrong": "错误",
        "todo": "尚未完成",
        "hint": "提示",
        "error": "错误",
        "notebook": "笔记本",
        "more": "……笔记本中还有 {n} 行",
        "interactive": "交互内容，见笔记本",
        "image": "此 PDF 中没有的图片：{what}",
        "attachment": "无法打印的输出，见笔记本：{what}",
        "no_checks": "没有记录检查结果。",
        "page": "/",
        "your piece": "你的实现",
        "the reference piece": "参考实现",
        "description": "说明",
        "alert": {"note": "注", "tip": "提示", "important": "重要", "warning": "警告", "caution": "注意"},
    },
}
EMOJI = {
    "✅": ("[correct]", "[正确]"),
    "❌": ("[wrong]", "[错误]"),
    "❎": ("[wrong]", "[错误]"),
    "⬜": ("[not done yet]", "[尚未完成]"),
    "⏳": ("[not done yet]", "[尚未完成]"),
    "⚠": ("[warning]", "[警告]"),
    "💡": ("[hint]", "[提示]"),
    "🎉": ("[well done]", "[很好]"),
    "📝": ("[note]", "[注]"),
    "🔍": ("[look]", "[看]"),
    "🤔": ("[think]", "[思考]"),
    "📌": ("[note]", "[注]"),
    "⭐": ("[star]", "[星]"),
    "🚀": ("[go]", "[开始]"),
    "🔥": ("[fire]", "[火]"),
    "👍": ("[good]", "[好]"),
    "❓": ("[question]", "[问题]"),
    "❗": ("[important]", "[重要]"),
    "🟢": ("[green]", "[绿]"),
    "🔴": ("[red]", "[红]"),
    "🟡": ("[yellow]", "[黄]"),
}
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufe0e\ufe0f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\uffff]"
)
_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
EMOJI_SIGNS = re.compile("[" + "".join(EMOJI) + "\U0001f000-\U0001faff\U000e0000-\U000e007f]")
FENCE = re.compile(r"^( {0,3}|[ \t>]*)(`{3,}|~{3,})(.*)$")


def words_for(character: str, lang: str = "en") -> str:
    """Words in square brackets that stand for a character which no font has."""
    if "\U0001f3fb" <= character <= "\U0001f3ff" or character >= "\U000e0000":
        return ""  # skin tones and tags only modify the sign before them
    if character in EMOJI:
        return EMOJI[character][lang == "zh"]
    return f"[{unicodedata.name(character, f'U+{ord(character):04X}').lower()}]"


def printable(text: str, lang: str = "en", uncovered: frozenset[str] = frozenset()) -> str:
    """Text without control characters, emoji (and the characters in `uncovered`) replaced by words."""
    text = _CONTROL.sub("", str(text).replace("\r\n", "\n").replace("\r", "\n"))
    text = EMOJI_SIGNS.sub(lambda m: words_for(m.group(), lang), text)
    return "".join(words_for(c, lang) if c in uncovered else c for c in text) if uncovered else text


def literal(text: str) -> str:
    """A typst string literal: the only way in which a notebook's text enters typst outside pandoc's own escaping."""
    text = _CONTROL.sub("", str(text)).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def terminal(text: str, lang: str = "en", limit: int = 60, width: int = 104) -> str:
    """What a terminal would show: no colours, a line redrawn with \\r in its last state, long lines wrapped, at most `limit` lines."""
    lines = []
    for line in _ANSI.sub("", str(text)).replace("\r\n", "\n").split("\n"):
        states = [state for state in line.split("\r") if state.strip()]
        while "\b" in (states[-1] if states else ""):
            states[-1] = re.sub(r"[^\b]?\b", "", states[-1], count=1)
        lines.extend(wrapped(states[-1].expandtabs(8).rstrip() if states else "", width))
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    if len(lines) > limit:
        lines = lines[:limit] + [LABELS[lang]["more"].format(n=len(lines) - limit)]
    return "\n".join(lines)


def wrapped(line: str, width: int) -> list[str]:
    """The line cut into pieces of at most `width` columns (a Chinese character counts two): an unbroken string would run off the page."""
    if len(line) * 2 <= width:
        return [line]
    pieces, start, used = [], 0, 0
    for i, character in enumerate(line):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > width:
            pieces.append(line[start:i])
            start, used = i, 1
    return [*pieces, line[start:]]


def fences(text: str) -> list[tuple[bool, str]]:
    """Markdown cut into (is_code, text) parts at its fenced code blocks; an unclosed fence runs to the end."""
    parts: list[tuple[bool, list[str]]] = [(False, [])]
    mark = ""
    for line in text.split("\n"):
        found = FENCE.match(line)
        if mark:
            parts[-1][1].append(line)
            if found and found[2][0] == mark[0] and len(found[2]) >= len(mark) and not found[3].strip():
                mark = ""
                parts.append((False, []))
        elif found and not (found[2][0] == "`" and "`" in found[3]):
            mark = found[2]
            parts.append((True, [line]))
        else:
            parts[-1][1].append(line)
    return [(code, "\n".join(lines)) for code, lines in parts if lines]


def headings_of(text: str) -> list[tuple[int, str]]:
    """(level, text) of the headings in a markdown text: `#`, underlined and HTML ones, those inside code left out."""
    found = []
    for code, part in fences(text):
        if code:
            continue
        part = re.sub(r"<!--.*?-->", "", part, flags=re.S)
        pattern = r"^ {0,3}(#{1,6})[ \t]+(.+?)[ \t#]*$|^(?![ \t]*[-*+>|])(\S.*)\n {0,3}(=+|-{2,})[ \t]*$|<h([1-6])[^>]*>(.*?)</h\5>"
        for m in re.finditer(pattern, part, flags=re.M | re.I):
            if m[1]:
                found.append((len(m[1]), m[2]))
            elif m[3]:
                found.append((1 if m[4][0] == "=" else 2, m[3].strip()))
            else:
                found.append((int(m[5]), m[6].strip()))
    return found


def visible(heading: str) -> str:
    """A heading as read: no markup, no tags, link addresses off; maths stays as TeX."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", html.unescape(re.sub(r"</?[a-zA-Z][^>]*>", "", heading)))
    return re.sub(r"\*+|`|(?<!\w)_+|_+(?!\w)|\\(?=[^a-zA-Z])", "", text).strip()


def squeezed(text: str) -> str:
    """Letters and digits alone, compatibility forms folded: what survives line breaks, hyphens and ligatures of a PDF."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())
