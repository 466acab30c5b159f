"""Pictures of DFPIR: where channels go, what a mask leaves, a block and its shapes, features on their way, who learns, recorded runs."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from course_lib.figures.style import INK, MARKERS, PALETTE, new_figure, style

_BLANK = "#d9d9d9"


def shuffle_map(panels: Mapping[str, Tensor], rows: Sequence[str], *, title: str = ""):
    """Figure of orders of channels: a strip a row of `rows`, its cell j in the colour of the channel that stands at place j afterwards.

    `panels`: heading -> orders (len(rows), N) int, under each other; above each lies the strip before any shuffle. DFPIR, fig. 7, shows
    the same by task. Raises ValueError for another number of orders or indices outside 0 ... N-1.
    """
    for name, orders in panels.items():
        if orders.ndim != 2 or len(orders) != len(rows):
            raise ValueError(f"panel {name!r}: {len(rows)} rows need orders ({len(rows)}, N), got {tuple(orders.shape)}")
        if orders.numel() and not 0 <= int(orders.min()) <= int(orders.max()) < orders.shape[1]:
            raise ValueError(
                f"panel {name!r}: channels are numbered 0 to {orders.shape[1] - 1}, got {int(orders.min())} to {int(orders.max())}"
            )
    names = [row.replace("_", " ") for row in rows]
    with style():
        figure = new_figure(9, len(panels) * (0.75 + 0.26 * (len(rows) + 1)) + (0.3 if title else 0))
        for axes, (name, orders) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items(), strict=True):
            count = orders.shape[1]
            strips = torch.cat([torch.arange(count)[None], orders.long().cpu()])  # (1 + rows, N)
            shown = axes.imshow(strips.numpy(), cmap="viridis", vmin=0, vmax=count - 1, aspect="auto", interpolation="nearest")
            for edge in range(len(strips) - 1):  # a wide gap under the strip before the shuffle, narrow ones between the others
                axes.axhline(edge + 0.5, color="white", linewidth=7 if edge == 0 else 2)
            axes.set_yticks(range(len(strips)), ["before", *names])
            axes.set(title=name, xlabel="place after the shuffle")
            axes.tick_params(left=False)
            axes.spines[:].set_visible(False)
            figure.colorbar(shown, ax=axes, label="channel", pad=0.01, aspect=12)
        if title:
            figure.suptitle(title)
    return figure


def matrix_maps(panels: Mapping[str, Tensor], *, label: str, rows: str = "", columns: str = "", blank_zero: bool = False, limit=None):
    """Figure of matrices (m, n) side by side on one scale from 0; with `blank_zero` cells that are exactly 0 are grey and crossed out.

    `limit`: end of the scale, by default the largest value of all. Raises ValueError for no panel or a tensor that is no matrix.
    """
    if not panels:
        raise ValueError("no matrix to draw; give a dict such as {'gamma 0.9': weights}")
    for name, matrix in panels.items():
        if matrix.ndim != 2:
            raise ValueError(f"panel {name!r} has shape {tuple(matrix.shape)}; expected a matrix (rows, columns)")
    matrices = {name: matrix.detach().float().cpu() for name, matrix in panels.items()}
    top = float(limit if limit is not None else max(float(m.max()) for m in matrices.values())) or 1.0
    with style():
        from matplotlib import colormaps

        colours = colormaps["viridis"].with_extremes(bad=_BLANK)
        figure = new_figure(9, 9 / max(2, len(panels)) * 0.82 + 0.7)
        axes_row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (name, matrix) in zip(axes_row, matrices.items(), strict=True):
            gone = (matrix == 0) if blank_zero else torch.zeros_like(matrix, dtype=torch.bool)
            shown = axes.imshow(matrix.masked_fill(gone, float("nan")).numpy(), cmap=colours, vmin=0, vmax=top, interpolation="nearest")
            if gone.any() and matrix.numel() <= 1600:
                i, j = gone.nonzero().T.numpy()
                axes.scatter(j, i, marker="x", s=max(4.0, 500 / len(matrix)), color="0.55", linewidths=0.8)
            axes.set(title=name, xlabel=columns, xticks=[], yticks=[])
        axes_row[0].set_ylabel(rows)
        figure.colorbar(shown, ax=list(axes_row), label=label, shrink=0.8, pad=0.02)
    return figure


def block_diagram(shapes: Mapping[str, Sequence[int]], *, title: str = ""):
    """Figure of one DGPB with the shapes of a real pass: text, guide, x, doubled, shuffled, halved, query, key, attention, out.

    `shapes`: these ten names -> a shape without the batch. Green: what the words steer; grey: nothing is learned there. Raises ValueError
    naming what is missing.
    """
    wanted = ("text", "guide", "x", "doubled", "shuffled", "halved", "query", "key", "attention", "out")
    if missing := [name for name in wanted if name not in shapes]:
        raise ValueError(f"block_diagram: no shape for {', '.join(missing)}")
    said = {name: " × ".join(map(str, shape)) for name, shape in shapes.items()}
    steered, plain, dead = "#d5ead9", "#cfe3f2", "#e2e2e2"
    places = {  # name -> (x, y, text, colour)
        "text": (0.9, 3.1, "vector of the word", dead),
        "guide": (3.2, 3.1, "two linear layers", dead),
        "order": (5.5, 3.1, "sort: the order", dead),
        "x": (0.9, 1.7, "x from the encoder", plain),
        "doubled": (3.2, 1.7, "1×1 conv: doubled", plain),
        "shuffled": (5.5, 1.7, "shuffled", steered),
        "halved": (7.6, 1.7, "1×1 conv: halved", steered),
        "query": (9.9, 1.7, "norm 1: query", steered),
        "key": (5.5, 0.3, "norm 2: key and value", plain),
        "attention": (9.9, 0.3, "masked attention", steered),
        "out": (12.2, 0.3, "+ FFN of norm 3", steered),
    }
    arrows = [
        ("text", "guide"), ("guide", "order"), ("order", "shuffled"), ("x", "doubled"), ("doubled", "shuffled"), ("shuffled", "halved"),
        ("halved", "query"), ("query", "attention"), ("x", "key"), ("key", "attention"), ("attention", "out"),
    ]  # fmt: skip
    with style():
        figure = new_figure(9.4, 3.0)
        axes = figure.subplots()
        boxes = {}
        for name, (x, y, text, colour) in places.items():
            look = dict(boxstyle="round,pad=0.4", facecolor=colour, edgecolor=INK, linewidth=0.8)
            words = f"{text}\n{said.get(name, said['guide'] + ' indices')}"
            boxes[name] = axes.text(x, y, words, ha="center", va="center", fontsize=7.5, color=INK, linespacing=1.35, bbox=look)
        for start, end in arrows:
            look = dict(arrowstyle="-|>", color=INK, linewidth=1.0, shrinkA=1, shrinkB=1)
            look |= dict(patchA=boxes[start].get_bbox_patch(), patchB=boxes[end].get_bbox_patch())
            if (start, end) == ("order", "shuffled"):  # indices: nothing flows back along this one
                look |= dict(linestyle="--", color="#b3261e")
            if (start, end) == ("x", "key"):
                look |= dict(connectionstyle="angle,angleA=-90,angleB=0,rad=4")
            axes.annotate("", places[end][:2], places[start][:2], arrowprops=look)
        axes.text(5.62, 2.42, "indices only: no gradient", fontsize=7.5, color="#b3261e", va="center")
        axes.set(xlim=(-0.15, 13.2), ylim=(-0.2, 3.6))
        axes.set_axis_off()
        axes.set_title(title)
    return figure


def places_diagram(shapes: Mapping[str, Sequence[int]], *, title: str = ""):
    """Figure of DFPIR's U with its four blocks on the skips and after the latent, with the shapes (C, H, W) of a real pass.

    `shapes`: "text", "input", "output", encoder_level1-3, latent, shuffle1-4, decoder_level1-3. Raises ValueError naming what is missing.
    """
    levels = (1, 2, 3)
    spots = {"input": (0.9, 1.0), "text": (5.0, 1.0), "latent": (3.3, -3.0), "shuffle4": (5.0, -3.0), "output": (9.1, 1.0)}
    for level in levels:
        side = 0.9 + 0.8 * (level - 1)
        spots[f"encoder_level{level}"] = (side, 1.0 - level)
        spots[f"shuffle{level}"] = (5.0, 1.0 - level)
        spots[f"decoder_level{level}"] = (10.0 - side, 1.0 - level)
    if missing := [name for name in spots if name not in shapes]:
        raise ValueError(f"places_diagram: no shape for {', '.join(missing)}")
    colours = {"encoder": "#cfe3f2", "decoder": "#fbe3b3", "latent": "#e9cddd", "shuffle": "#d5ead9"}
    said = {"input": "degraded picture", "output": "refinement, + picture", "text": "vector of the word"}
    with style():
        figure = new_figure(9, 4.4)
        axes = figure.subplots()
        axes.plot([5.0, 5.0], [1.0, -3.0], color=PALETTE[4], linewidth=1.6, linestyle=":", zorder=1)  # the word, behind the boxes
        boxes = {}
        for name, (x, y) in spots.items():
            look = dict(boxstyle="round,pad=0.4", edgecolor=INK, linewidth=0.8)
            look["facecolor"] = next((colour for start, colour in colours.items() if name.startswith(start)), "#f0f0f0")
            words = f"{said.get(name, name)}\n{' × '.join(map(str, shapes[name]))}"
            boxes[name] = axes.text(x, y, words, ha="center", va="center", fontsize=7.5, color=INK, linespacing=1.35, bbox=look)
        way = [
            "input",
            *(f"encoder_level{level}" for level in levels),
            "latent",
            "shuffle4",
            *(f"decoder_level{3 - i}" for i in range(3)),
            "output",
        ]
        arrows = list(zip(way, way[1:], strict=False))
        arrows += [(f"encoder_level{k}", f"shuffle{k}") for k in levels] + [(f"shuffle{k}", f"decoder_level{k}") for k in levels]
        for start, end in arrows:
            look = dict(arrowstyle="-|>", color=INK, linewidth=1.0, shrinkA=1, shrinkB=1)
            look |= dict(patchA=boxes[start].get_bbox_patch(), patchB=boxes[end].get_bbox_patch())
            axes.annotate("", spots[end], spots[start], arrowprops=look)
        axes.set(xlim=(-0.2, 10.2), ylim=(-3.45, 1.45))
        axes.set_axis_off()
        axes.set_title(title)
    return figure


def feature_maps(rows: Mapping[str, Mapping[str, Tensor]], *, title: str = ""):
    """Figure of pictures (3, H, W) in [0, 1] and feature maps (C, h, w), a row a mapping; of features the mean magnitude over the channels.

    Every map has its own scale, from its smallest to its largest value: shapes can be compared, amounts cannot. Headings come from the
    first row. DFPIR, fig. 6. Raises ValueError where rows have different names.
    """
    heads = list(next(iter(rows.values()), {}))
    if not heads:
        raise ValueError("no features to draw")
    with style():
        first = next(iter(next(iter(rows.values())).values()))
        panel = 7.5 / len(heads)
        figure = new_figure(7.5, len(rows) * panel * first.shape[-2] / first.shape[-1] + 0.35 + (0.3 if title else 0))
        for line, (name, maps) in zip(figure.subplots(len(rows), len(heads), squeeze=False), rows.items(), strict=True):
            if list(maps) != heads:
                raise ValueError(f"row {name!r} has {list(maps)}, the first row {heads}; give the same names in the same order")
            for axes, (head, values) in zip(line, maps.items(), strict=True):
                values = values.detach().float().cpu()
                if values.shape[0] == 3:
                    axes.imshow(values.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
                else:
                    axes.imshow(values.abs().mean(0).numpy(), cmap="magma", interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if name == next(iter(rows)):
                    axes.set_title(head)
            line[0].set_ylabel(name.replace("_", " "))
        if title:
            figure.suptitle(title)
    return figure


def silent_map(columns: Mapping[str, Mapping[str, float | None]], *, label: str = "root mean square of the gradient"):
    """Figure of who learns: parameters down, places to the right, colour by the size of the gradient, grey and marked where there is none.

    `columns`: place -> parameter -> a number, or None (or 0) for no gradient; a parameter that a place lacks stays white.
    Raises ValueError for no column.
    """
    if not columns:
        raise ValueError("no gradients to draw")
    names = list(dict.fromkeys(name for own in columns.values() for name in own))
    values = torch.full((len(names), len(columns)), float("nan"))
    silent = []
    for j, own in enumerate(columns.values()):
        for i, name in enumerate(names):
            if own.get(name):
                values[i, j] = own[name]
            elif name in own:
                silent.append((i, j))
    with style():
        from matplotlib.colors import LogNorm
        from matplotlib.patches import Rectangle

        figure = new_figure(3.4 + 1.1 * len(columns), 0.9 + 0.2 * len(names))
        axes = figure.subplots()
        known = values[~values.isnan()]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.1, 1.0)
        shown = axes.imshow(
            values.numpy(), cmap="viridis", norm=LogNorm(low, max(high, 1.01 * low)), aspect="auto", interpolation="nearest"
        )
        for i, j in silent:
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=_BLANK, edgecolor="white", linewidth=0.8))
            axes.text(j, i, "none", ha="center", va="center", fontsize=7.5, color="#b3261e", fontweight="bold")
        axes.set_xticks(range(len(columns)), list(columns))
        axes.set_yticks(range(len(names)), names, fontsize=7.5)
        axes.tick_params(length=0)
        figure.colorbar(shown, ax=axes, label=label, pad=0.02)
    return figure


def run_dots(
    values: Mapping[str, Sequence[float]],
    *,
    printed: Mapping[str, float] | None = None,
    against: str | None = None,
    xlabel: str = "mean PSNR over the tasks (dB)",
    printed_label: str = "printed in the paper (dB)",
):
    """Figure of recorded runs: a dot a seed, a bar at their mean; beside it, on an axis of its own, what the paper prints for the row.

    `values`: experiment -> its seeds' values, empty where it was not run, which is then said. `against`: the experiment whose range of
    seeds is shaded. The two panels share rows and nothing else: they were measured on different data. Raises ValueError for no value.
    """
    if not any(len(own) for own in values.values()):
        raise ValueError("no recorded run to draw")
    names = list(values)
    with style():
        figure = new_figure(9, 1.2 + 0.34 * len(names))
        panels = figure.subplots(1, 2 if printed else 1, squeeze=False, sharey=True, width_ratios=[1.25, 1] if printed else None)[0]
        for place, name in enumerate(names):
            own = [float(value) for value in values[name]]
            if not own:
                words = dict(ha="center", va="center", fontsize=7.5, color="0.45", transform=panels[0].get_yaxis_transform())
                panels[0].text(0.5, place, "not run yet", **words)
                continue
            panels[0].plot(own, [place] * len(own), linestyle="none", marker=MARKERS[0], color=PALETTE[0], alpha=0.65, markersize=5)
            mean = sum(own) / len(own)
            panels[0].plot([mean, mean], [place - 0.3, place + 0.3], color=INK, linewidth=2)
            if name == against:
                panels[0].axvspan(min(own), max(own), color="#e8e8e8", linewidth=0, zorder=0)
        panels[0].set(xlabel=xlabel, title="recorded here: every dot is a seed", ylim=(len(names) - 0.5, -0.5))
        panels[0].set_yticks(range(len(names)), names)
        panels[0].margins(x=0.08)
        if printed:
            for place, name in enumerate(names):
                if name in printed:
                    panels[1].plot(printed[name], place, marker=MARKERS[3], color=PALETTE[1], markeredgecolor=INK, markersize=7)
                    panels[1].annotate(
                        f"{printed[name]:.2f}", (printed[name], place), (7, 0), textcoords="offset points", va="center", fontsize=8
                    )
            panels[1].set(xlabel=printed_label, title="the paper, other data and size")
            panels[1].margins(x=0.25)
            panels[1].tick_params(left=False)
    return figure
