"""Pictures of residual diffusion: the plane of its coefficients, how far tasks lie apart, AutoDIR's rounds, quality against cost."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from course_lib.figures.compare import _images, _show
from course_lib.figures.style import INK, PALETTE, line_style, new_figure, style

_TILE = 0.86  # share of a cell of the plane that its picture fills


def state_map(
    clean: Tensor,
    degraded: Tensor,
    noise: Tensor,
    paths: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    cells: int = 5,
    title: str = "",
):
    """Figure of the plane of the two coefficients: at (abar, bbar) stands the picture clean + abar (degraded - clean) + bbar noise.

    `clean`, `degraded`, `noise`: (3, H, W) or (1, 3, H, W); images in [0, 1], noise standard normal on the scale [-1, 1] of the process.
    `paths`: name -> (abar, bbar), each of any length in [0, 1], drawn over the pictures, a marker at the end where all is degraded.
    Raises ValueError for unequal sizes or a path whose parts differ in length.
    """
    pair = _images({"clean": clean, "degraded": degraded, "noise": noise}, None)
    ticks = torch.linspace(0, 1, cells).tolist()
    half = _TILE / (cells - 1) / 2
    with style():
        figure = new_figure(7.2, 6.0)
        axes = figure.subplots()
        for a in ticks:
            for b in ticks:
                state = pair["clean"] + a * (pair["degraded"] - pair["clean"]) + b * pair["noise"] / 2  # [-1, 1] is twice as wide
                extent = (a - half, a + half, b - half, b + half)
                axes.imshow(state.permute(1, 2, 0).clamp(0, 1).numpy(), extent=extent, interpolation="nearest", zorder=1)
        for index, (name, (abar, bbar)) in enumerate(paths.items()):
            if len(abar) != len(bbar):
                raise ValueError(f"path {name!r}: {len(abar)} values of abar, but {len(bbar)} of bbar")
            look = line_style(index)
            marker = look.pop("marker")
            axes.plot(abar, bbar, linewidth=5, color="white", alpha=0.8, zorder=2)  # so that the line is seen on any picture
            axes.plot(abar, bbar, linewidth=2.4, label=name, zorder=3, **look)
            axes.plot(abar[-1:], bbar[-1:], marker=marker, markersize=9, color=look["color"], markeredgecolor="white", zorder=4)
        edge = half + 0.02
        axes.set(xlim=(-edge, 1 + edge), ylim=(-edge, 1 + edge), xticks=ticks, yticks=ticks)
        axes.set_xlabel(r"$\bar\alpha$: how much of the residual is there")
        axes.set_ylabel(r"$\bar\beta$: standard deviation of the noise")
        axes.set_aspect("equal")
        axes.set_title(title)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(3, len(paths)), frameon=False)
    return figure


def pair_distances(states: Tensor) -> Tensor:
    """(N, N) root mean square differences between N states (N, C, H, W), in their own units."""
    flat = states.detach().double().flatten(1)
    return torch.cdist(flat, flat) / flat.shape[1] ** 0.5


def mean_distance(states: Tensor) -> float:
    """Mean of `pair_distances` over all pairs of different states. Raises ValueError for fewer than two."""
    if len(states) < 2:
        raise ValueError(f"distances need two states or more, got {len(states)}")
    return float(pair_distances(states).sum() / (len(states) * (len(states) - 1)))


def hourglass(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, ylabel: str, title: str = ""):
    """Figure of how far apart tasks are along the walk: name -> (times from 0 to 1, distances). Raises ValueError for unequal lengths."""
    with style():
        figure = new_figure(7.5, 3.4)
        axes = figure.subplots()
        for index, (name, (times, values)) in enumerate(curves.items()):
            if len(times) != len(values):
                raise ValueError(f"curve {name!r}: {len(times)} times, but {len(values)} distances")
            axes.plot(times, values, label=name, markersize=5, markevery=max(1, len(times) // 8), **line_style(index))
        axes.set(xlabel="time t / T:  0 clean, 1 the start of a restoration", ylabel=ylabel, ylim=(0, None), title=title)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def rounds_figure(images: Sequence[Tensor], headings: Sequence[str], scores: Sequence[Sequence[float]], names: Sequence[str]):
    """Figure of a detect-then-restore loop: the pictures in a row; below each what the quality head says of it, as bars.

    `images`: (3, H, W) or (1, 3, H, W), one more than there are rounds; `scores`: one list of probabilities for each, in the order of
    `names`. Raises ValueError where the numbers do not fit.
    """
    if not len(images) == len(headings) == len(scores):
        raise ValueError(f"{len(images)} pictures, {len(headings)} headings and {len(scores)} lists of scores; give one of each")
    if any(len(row) != len(names) for row in scores):
        raise ValueError(f"every list of scores needs {len(names)} numbers, one for each of {', '.join(names)}")
    count, labels = len(images), [name.replace("_", " ") for name in names]
    with style():
        width = min(9.0, 2.5 * max(2, count))
        figure = new_figure(width, width / max(2, count) + 0.35 + 0.25 * len(names))
        axes = figure.subplots(2, max(2, count), height_ratios=[width / max(2, count), 0.25 * len(names)], squeeze=False)
        for column, (image, heading, row) in enumerate(zip(images, headings, scores, strict=True)):
            _show(axes[0, column], _images({"image": image}, None)["image"])
            axes[0, column].set_title(heading, fontsize=9, color=INK)
            values = [float(value) for value in row]
            best = max(range(len(values)), key=values.__getitem__)
            colours = [PALETTE[1] if place == best else PALETTE[5] for place in range(len(values))]
            drawn = axes[1, column].barh(range(len(names)), values, color=colours, edgecolor=INK, linewidth=0.6)
            axes[1, column].bar_label(drawn, [f"{value:.2f}" for value in values], fontsize=7, padding=2)
            axes[1, column].set(xlim=(0, 1.25), xticks=[], yticks=range(len(names)))
            axes[1, column].set_yticklabels(labels if column == 0 else [""] * len(names))
            axes[1, column].tick_params(length=0)
            axes[1, column].invert_yaxis()
            axes[1, column].spines["bottom"].set_visible(False)
        axes[1, 0].set_ylabel("what the head says")
        for column in range(count, max(2, count)):
            axes[0, column].set_axis_off()
            axes[1, column].set_axis_off()
    return figure


def quality_cost(table, *, quality: str, costs: Mapping[str, str], baseline: float | None = None, name: str = "model"):
    """Figure, one panel a cost: `quality` of each row of `table` (pandas) against the cost on a logarithmic axis, the name at the dot.

    `costs`: column -> label of its axis; rows without a positive cost are left out of that panel. `baseline`: a dashed line, as the
    quality of the input. Raises ValueError for a missing column.
    """
    from matplotlib.ticker import LogLocator

    if missing := [column for column in (name, quality, *costs) if column not in table.columns]:
        raise ValueError(f"the table has no column {', '.join(missing)} (found {', '.join(map(str, table.columns))})")
    with style():
        figure = new_figure(4.5 * len(costs), 3.3)
        for axes, (column, label) in zip(figure.subplots(1, len(costs), squeeze=False, sharey=True)[0], costs.items(), strict=True):
            rows = table[table[column].notna() & (table[column].astype(float) > 0)]
            for index, row in enumerate(rows.to_dict("records")):
                look = line_style(index)
                dot = dict(marker=look["marker"], color=look["color"], markersize=8, linestyle="")
                axes.plot(float(row[column]), float(row[quality]), label=row[name], **dot)
            if baseline is not None:
                axes.axhline(baseline, color="0.5", linestyle="--", linewidth=1)
            axes.set(xscale="log", xlabel=label)
            if len(rows) and rows[column].astype(float).max() < 1e4:
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # 0.2, 0.5, 1, ...: a decade alone would leave one tick
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_formatter("")
            axes.margins(x=0.25, y=0.15)
        figure.axes[0].set_ylabel(quality)
        handles = {text: handle for axes in figure.axes for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=min(4, max(1, len(handles))), frameon=False)
    return figure


def step_diagram(shapes: Mapping[str, str], networks: Mapping[str, tuple[str, Sequence[str]]], *, title: str = ""):
    """Figure of one step of a residual walk: state and degraded picture into the networks, their answers into the step back.

    `shapes`: the texts under the boxes "state", "degraded", "together", "step". `networks`: name -> (its answer with shape, the lines that
    stand in its box, e.g. the shapes on its way down). Raises ValueError for a missing shape or no network.
    """
    if missing := [name for name in ("state", "degraded", "together", "step") if name not in shapes]:
        raise ValueError(f"no shape for {', '.join(missing)}")
    if not networks:
        raise ValueError("a step needs a network, with what it answers")
    count = len(networks)
    middle = (count - 1) / 2 * 1.7
    with style():
        figure = new_figure(9, 1.2 + 1.5 * max(count, 1.4))
        axes = figure.subplots()

        def box(x: float, y: float, width: float, height: float, text: str, fill: str) -> None:
            from matplotlib.patches import FancyBboxPatch

            look = dict(boxstyle="round,pad=0.02,rounding_size=0.06", facecolor=fill, edgecolor=INK, linewidth=1)
            axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, **look))
            axes.text(x, y, text, ha="center", va="center", fontsize=8.5, linespacing=1.35)

        def arrow(start: tuple[float, float], end: tuple[float, float], bend: float = 0.0) -> None:
            look = dict(arrowstyle="-|>", color=INK, linewidth=1, shrinkA=0, shrinkB=0, connectionstyle=f"arc3,rad={bend}")
            axes.annotate("", end, start, arrowprops=look)

        box(0.8, middle + 0.7, 1.4, 0.7, f"state $x_t$\n{shapes['state']}", "#f0f0f0")
        box(0.8, middle - 0.7, 1.4, 0.7, f"degraded $x_{{in}}$\n{shapes['degraded']}", "#f0f0f0")
        box(2.9, middle, 1.3, 0.7, f"side by side\n{shapes['together']}", "#ffffff")
        arrow((1.54, middle + 0.7), (2.22, middle + 0.2))
        arrow((1.54, middle - 0.7), (2.22, middle - 0.2))
        for index, (name, (answer, lines)) in enumerate(networks.items()):
            y = (count - 1 - index) * 1.7
            box(5.2, y, 2.1, 1.35, "\n".join([name, *lines]), "#cfe3f2")
            box(7.6, y, 1.5, 0.7, answer, "#fbe3b3")
            arrow((3.59, middle), (4.11, y))
            arrow((6.29, y), (6.81, y))
            arrow((8.39, y), (8.94, middle + (0.15 if y > middle else -0.15 if y < middle else 0)))
        box(9.75, middle, 1.5, 0.8, f"one step back\n$x_s$  {shapes['step']}", "#e9cddd")
        top = (count - 1) * 1.7 + 1.05
        arrow((0.8, middle + 1.09), (9.6, middle + 0.44), bend=-0.32 if count > 1 else -0.22)
        axes.set(xlim=(0, 10.6), ylim=(-0.95, top + 0.55))
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.set_title(title)
    return figure
