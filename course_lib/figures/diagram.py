"""Draws the stages of a traced model: a U where resolution falls and rises again, else rows from left to right."""

import math
import re
from dataclasses import dataclass

from course_lib.figures.style import INK, new_figure, style

_MAIN = re.compile("encoder|decoder|latent|refinement")
_FILLS = {"encoder": "#cfe3f2", "decoder": "#fbe3b3", "latent": "#e9cddd", "refinement": "#ffffff", "": "#f0f0f0"}
_BOX_HEIGHT, _MAX_BOX, _PITCH_X, _PITCH_Y = 0.30, 1.0, 1.18, 0.82  # inches
_PER_ROW = 5


@dataclass
class Stage:
    """One box of the diagram; `via` are the modules on the arrow that leads to it."""

    row: object
    level: float  # log2(input height / height), to the nearest half
    via: list
    x: float = 0.0
    y: float = 0.0

    @property
    def role(self) -> str:
        found = _MAIN.search(self.row.name)
        return found.group() if found else ""


def pick_rows(rows: list) -> list:
    """Called modules that make up the model's main path: depth 1, or one deeper for a wrapper or a list of unlike parts."""

    def children(parent: str) -> list:
        return [r for r in rows if r.depth == parent.count(".") + 2 and r.name.startswith(parent + ".") and r.order >= 0]

    top = [r for r in rows if r.depth == 1 and r.order >= 0 and r.outputs]
    if len(top) == 1 and children(top[0].name):
        top = children(top[0].name)
    picked = []
    for row in top:
        unlike = row.kind == "ModuleList" and len({c.outputs for c in children(row.name)}) > 1
        picked += children(row.name) if unlike else [row]
    return sorted(picked, key=lambda r: r.order)


def _level(row, height: int) -> float:
    return round(2 * math.log2(max(1, height) / max(1, row.outputs[0][2]))) / 2


def find_stages(rows: list, input_shape: tuple[int, ...]) -> list[Stage] | None:
    """Boxes of the U in call order, levels included; None when the shapes do not fall and rise again (then it is no U)."""
    rows = [r for r in rows if r.outputs and len(r.outputs[0]) == 4]
    if len(input_shape) != 4 or len(rows) < 3:
        return None
    levels = [_level(r, input_shape[2]) for r in rows]
    turn = levels.index(max(levels))
    if not (max(levels) > levels[0] and max(levels) > levels[-1]):
        return None
    named = [bool(_MAIN.search(r.name)) for r in rows]
    keeps = [len(r.inputs[0]) == 4 and r.inputs[0][2] == r.outputs[0][2] if r.inputs else False for r in rows]
    main = named if any(named) else keeps
    for level in set(levels):  # a level without a box would leave its arrows hanging: its largest module stands in
        here = [i for i, own in enumerate(levels) if own == level]
        if not any(main[i] for i in here):
            main[max(here, key=lambda i: rows[i].parameters)] = True
    # The first and the last module are boxes too where they keep the resolution (an embedding, an output convolution).
    for end in (0, len(rows) - 1):
        main[end] = main[end] or keeps[end] or end == turn
    stages, waiting = [], []
    for row, level, boxed in zip(rows, levels, main, strict=True):
        if boxed:
            stages.append(Stage(row, level, waiting))
            waiting = []
        else:
            waiting.append(row)
    return stages


def place(stages: list[Stage]) -> None:
    """Set x (column) and y (line): a column a level on the way down and up, stages of one level stacked, mirrored in the middle."""
    turn = max(range(len(stages)), key=lambda i: (stages[i].level, -i))
    levels = sorted({s.level for s in stages})
    down, up = stages[: turn + 1], stages[turn + 1 :]
    lines = {level: max(sum(s.level == level for s in half) for half in (down, up)) for level in levels}
    bottom, total = {}, 0
    for level in levels:
        total += lines[level]
        bottom[level] = total - 1
    middle = len(levels) - 1
    for half, sign in ((down, -1), (up, 1)):
        for level in levels:
            own = [s for s in half if s.level == level]
            for index, stage in enumerate(own):
                above = len(own) - 1 - index if half is down else index
                stage.y = -float(bottom[level] - above)
                # Stages after the turn at the deepest level stand to its right, not on top of it.
                shift = middle - levels.index(level)
                stage.x = float(middle + sign * (max(shift, 1) if half is up else shift))


def skip_pairs(stages: list[Stage]) -> list[tuple[Stage, Stage, bool]]:
    """(encoder, decoder, concat?) of each level that has both; concat only where the traced input channels are the sum."""
    turn = max(range(len(stages)), key=lambda i: (stages[i].level, -i))
    pairs = []
    for level in sorted({s.level for s in stages} - {stages[turn].level}):
        left = [s for s in stages[:turn] if s.level == level]
        right = [s for s in stages[turn + 1 :] if s.level == level]
        named = [s for s in left if s.role == "encoder"], [s for s in right if s.role == "decoder"]
        left, right = named if all(named) else (left, right)
        if left and right:
            pairs.append((left[-1], right[0], _concatenates(left[-1].row, right[0])))
    return pairs


def _concatenates(encoder, decoder: Stage) -> bool:
    path = [*decoder.via, decoder.row]
    skip = encoder.outputs[0][1]
    return any(
        a.outputs and b.inputs and len(b.inputs[0]) == 4 and b.inputs[0][1] == a.outputs[0][1] + skip
        for a, b in zip(path, path[1:], strict=False)
    )


def _name(row) -> str:
    return row.name + (f" ×{row.blocks}" if row.blocks > 1 else "")


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[1:])) or "one value a picture"


def draw_diagram(rows: list, input_shape: tuple[int, ...], title: str):
    """Figure of the traced rows (`dataflow.trace(..., depth=2)`). Raises ValueError when no module was called."""
    picked = pick_rows(rows)
    if not picked:
        raise ValueError("the model calls no named module, so there is nothing to draw; give a model made of nn.Module parts")
    stages = find_stages(picked, input_shape)
    with style():
        return _draw_rows(picked, input_shape, title) if stages is None else _draw_u(stages, input_shape, title)


def _canvas(width: float, height: float, title: str):
    """Figure and axes in which one unit is one inch, so that boxes can be sized to their text."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    figure.suptitle(title, y=1 - 0.1 / height, va="top")
    return figure, axes


def _box(axes, x: float, y: float, width: float, role: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    pad = 0.03
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2 + pad, y - _BOX_HEIGHT / 2 + pad), width - 2 * pad, _BOX_HEIGHT - 2 * pad,
            boxstyle=f"round,pad={pad}", facecolor=_FILLS[role], edgecolor=INK, linewidth=1,
        )
    )  # fmt: skip


def _arrow(axes, start: tuple[float, float], end: tuple[float, float], **kwargs) -> None:
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9, **kwargs}
    axes.annotate("", end, start, arrowprops=look, annotation_clip=False)


def _label(axes, x: float, y: float, text: str, **kwargs):
    return axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 8, "color": INK, "linespacing": 1.15, **kwargs})


def _draw_u(stages: list[Stage], input_shape: tuple[int, ...], title: str):
    place(stages)
    columns, lines = max(s.x for s in stages) + 1, 1 - min(s.y for s in stages)
    margin = 1.25
    width, height = 2 * margin + (columns - 1) * _PITCH_X, lines * _PITCH_Y + 0.95
    figure, axes = _canvas(width, height, title)
    widest = max(s.row.outputs[0][1] for s in stages)
    spots = {id(s): (margin + s.x * _PITCH_X, height - 0.95 + s.y * _PITCH_Y) for s in stages}
    boxes = {id(s): 0.3 + (_MAX_BOX - 0.3) * math.sqrt(s.row.outputs[0][1] / widest) for s in stages}
    for stage in stages:
        x, y = spots[id(stage)]
        _box(axes, x, y, boxes[id(stage)], stage.role)
        _label(axes, x, y, str(stage.row.outputs[0][1]))
        _label(axes, x, y - _BOX_HEIGHT / 2 - 0.03, f"{_name(stage.row)}\n{_shape(stage.row.outputs[0])}", va="top")
    for previous, stage in zip(stages, stages[1:], strict=False):
        _connect(axes, previous, stage, spots, boxes)
    for encoder, decoder, concat in skip_pairs(stages):
        (x1, y1), (x2, y2) = spots[id(encoder)], spots[id(decoder)]
        look = {"linestyle": (0, (4, 3)), "linewidth": 1} if concat else {"linestyle": ":", "linewidth": 1, "arrowstyle": "-"}
        _arrow(axes, (x1 + boxes[id(encoder)] / 2, y1), (x2 - boxes[id(decoder)] / 2, y2), **look)
        _label(axes, (x1 + x2) / 2, y1, "skip, concat" if concat else "same resolution", backgroundcolor="white", zorder=3)
    x, y = spots[id(stages[0])]
    _arrow(axes, (x, y + _BOX_HEIGHT / 2 + 0.22), (x, y + _BOX_HEIGHT / 2))
    before = " → ".join(["input", *(_name(r) for r in stages[0].via)])
    _label(axes, x, y + _BOX_HEIGHT / 2 + 0.24, f"{before} {_shape(input_shape)}", va="bottom")
    note = "number in the box: channels · below it: C×H×W from a real pass · additions are not drawn"
    _label(axes, 0.1, 0.08, note, ha="left", va="bottom")
    return figure


def _connect(axes, previous: Stage, stage: Stage, spots: dict, boxes: dict) -> None:
    """Arrow from one box to the next, clear of the labels under the boxes; modules on the way are named beside it."""
    (x1, y1), (x2, y2) = spots[id(previous)], spots[id(stage)]
    half, text = _BOX_HEIGHT / 2, 0.34
    via = "\n".join(_name(r) for r in stage.via)
    if x1 == x2:  # stacked: straight down below the label, or straight up from the box to the label above
        start, end = ((x1, y1 - half - text), (x2, y2 + half)) if y2 < y1 else ((x1, y1 + half), (x2, y2 - half - text))
        _arrow(axes, start, end)
        _label(axes, x1 + 0.08, (start[1] + end[1]) / 2, via, ha="left")
        return
    descending = y2 < y1
    # An elbow, so that no arrow crosses the text under a box: down and to the right, or to the right and up.
    start = (x1, y1 - half - text) if descending else (x1 + boxes[id(previous)] / 2, y1)
    end = (x2 - boxes[id(stage)] / 2, y2) if descending else (x2, y2 - half - text)
    bend = "angle,angleA=-90,angleB=180,rad=0" if descending else "angle,angleA=0,angleB=90,rad=0"
    _arrow(axes, start, end, connectionstyle=bend)
    if descending:
        _label(axes, x1 - 0.08, end[1] + 0.02, via, ha="right")
    else:
        _label(axes, x2 + 0.08, start[1] + 0.02, via, ha="left")


def _draw_rows(rows: list, input_shape: tuple[int, ...], title: str):
    """Boxes in call order, five to a line; width by channels (second dimension) as in the U."""
    pitch, line = 1.75, 0.95
    count = math.ceil((len(rows) + 1) / _PER_ROW)
    width, height = 0.3 + pitch * min(_PER_ROW, len(rows) + 1), 0.75 + line * count
    figure, axes = _canvas(width, height, title)
    channels = [r.outputs[0][1] if len(r.outputs[0]) > 1 else 1 for r in rows]
    sizes = [0.8] + [0.4 + 0.7 * math.sqrt(c / max(channels)) for c in channels]
    texts = [f"input\n{_shape(input_shape)}"] + [f"{_name(r)}\n{_shape(r.outputs[0])}" for r in rows]
    kinds = ["image"] + [r.kind for r in rows]
    for index, (size, text, kind) in enumerate(zip(sizes, texts, kinds, strict=True)):
        x, y = 0.15 + pitch * (index % _PER_ROW + 0.5), height - 0.72 - line * (index // _PER_ROW)
        if index:
            _box(axes, x, y, max(size, 0.07 * len(kind) + 0.12), "encoder")
            size = max(size, 0.07 * len(kind) + 0.12)
        _label(axes, x, y, kind)
        _label(axes, x, y - _BOX_HEIGHT / 2 - 0.03, text, va="top")
        if index + 1 < len(sizes) and (index + 1) % _PER_ROW:
            following = max(sizes[index + 1], 0.07 * len(kinds[index + 1]) + 0.12)
            _arrow(axes, (x + size / 2, y), (x + pitch - following / 2, y))
        elif index + 1 < len(sizes):
            _label(axes, x + pitch / 2 - 0.05, y, "↓", ha="right", fontsize=11)
    return figure
