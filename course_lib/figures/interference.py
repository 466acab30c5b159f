"""Pictures of the task-interference lab: gradient cosines layer by layer, what happens to each frequency, results over the seeds."""

import math
from collections.abc import Mapping, Sequence

from course_lib.figures.style import INK, MARKERS, PALETTE, line_style, new_figure, style


def gradient_map(panels: Mapping[str, Sequence[Mapping]], *, pair: tuple[str, str] | None = None, limit: float = 1.0, title: str = ""):
    """Figure of heat maps, layers down and training steps to the right, red where the tasks pull apart and blue where they agree.

    `panels`: heading -> rows of `lab.gradients` (several seeds are averaged), on one scale from -limit to limit; grey where nothing
    was measured. Raises ValueError for no rows.
    """
    from matplotlib import colormaps

    from course_lib.lab.gradients import WHOLE, heat_map

    maps = {name: heat_map(rows, pair) for name, rows in panels.items()}
    deepest = max(len(layers) for layers, _, _ in maps.values())
    colours = colormaps["RdBu"].with_extremes(bad="0.8")
    with style():
        figure = new_figure(min(9.0, 4.6 * len(maps) + 0.9), 1.4 + 0.2 * deepest)
        axes_row = figure.subplots(1, len(maps), squeeze=False)[0]
        for axes, (name, (layers, steps, matrix)) in zip(axes_row, maps.items(), strict=True):
            layers, matrix = _whole_last(layers, matrix, WHOLE)
            shown = axes.imshow(matrix, cmap=colours, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
            axes.set_yticks(range(len(layers)), layers, fontsize=7.5)
            every = max(1, math.ceil(len(steps) / 9))
            axes.set_xticks(range(0, len(steps), every), steps[::every])
            axes.set(xlabel="step", title=name)
            if layers[-1] == WHOLE:
                axes.axhline(len(layers) - 1.5, color=INK, linewidth=1.5)
        bar = figure.colorbar(shown, ax=list(axes_row), shrink=0.7, pad=0.02, extend="neither" if limit >= 1 else "both")
        bar.set_label("cosine of the two gradients\nred: against each other, blue: together")
        if title:
            figure.suptitle(title)
    return figure


def _whole_last(layers: list[str], matrix, whole: str):
    """The row of the whole model comes last, also where a table names it before layers that other rows added."""
    order = sorted(range(len(layers)), key=lambda place: layers[place] == whole)
    return [layers[place] for place in order], matrix[order]


def wanted_spectra(rows: Sequence[Mapping], tasks: Sequence[str], experiment: str | None = None):
    """Figure, one panel a task: power of the degraded input, the clean picture and the change that is wanted, against frequency.

    `rows`: a table of `lab.spectra` with task, what, frequency, power. Raises ValueError when a task has no row.
    """
    import pandas

    table = pandas.DataFrame(rows)
    if experiment is not None:
        table = table[table["experiment"] == experiment]
    with style():
        figure = new_figure(9, 3.4)
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for axes, task in zip(panels, tasks, strict=True):
            lines = _mean_lines(table[table["task"] == task], "what", task)
            for index, (what, label) in enumerate((("clean", "clean"), ("input", "degraded"), ("wanted", "to be changed"))):
                frequency, power = lines[what]
                look = line_style(index) | {"markevery": 4, "markersize": 4}
                axes.semilogy(frequency, power, label=label, **look)
            axes.set(xlabel="frequency (cycles per pixel)", title=task, xlim=(0, 0.5))
            axes.grid(True, color="#e4e4e4", linewidth=0.6)
        panels[0].set_ylabel("power density")
        panels[0].legend(frameon=False)
    return figure


def kept_spectra(rows: Sequence[Mapping], tasks: Sequence[str], experiments: Sequence[str], *, floor: float = -25.0):
    """Figure, one panel a task: power over that of the clean picture in dB, of the outputs of experiments and (dashed) of the input.

    At 0 dB there is as much of a frequency as in the clean picture, above too much, below too little; values below `floor` lie outside.
    Amounts only: the right amount may be in the wrong place. Means over the seeds. `rows` as in `wanted_spectra`, with experiment; those
    without a row for a task are left out of its panel. Raises ValueError when a task has no row at all.
    """
    import numpy
    import pandas

    table = pandas.DataFrame(rows)
    with style():
        figure = new_figure(9, 3.9)
        panels = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axes, task in zip(panels, tasks, strict=True):
            own = table[(table["task"] == task) & table["experiment"].isin(experiments)]
            shared = _mean_lines(own, "what", task)
            frequency, clean = shared["clean"]
            axes.axhline(0, color=INK, linewidth=2, label="the clean picture")
            axes.plot(frequency, 10 * numpy.log10(shared["input"][1] / clean), color="0.35", linestyle="--", label="degraded input")
            for index, experiment in enumerate(experiments):
                if (own["experiment"] == experiment).any():
                    frequency, power = _mean_lines(own[own["experiment"] == experiment], "what", task)["output"]
                    look = line_style(index if index < 2 else index + 1) | {"markevery": (index, 5), "markersize": 4}  # black is taken
                    axes.plot(frequency, 10 * numpy.log10(power / clean), label=experiment, **look)
            axes.set(xlabel="frequency (cycles per pixel)", title=task, xlim=(0, 0.5))
            axes.set_ylim(bottom=max(floor, axes.get_ylim()[0]))
            axes.grid(True, color="#e4e4e4", linewidth=0.6)
            axes.legend(frameon=False)
        panels[0].set_ylabel("power over the clean picture's (dB)")
    return figure


def _mean_lines(table, column: str, task: str) -> dict:
    """value of `column` -> (frequency, mean power over experiments and seeds), without the emptied zero frequency."""
    if table.empty:
        raise ValueError(f"the table of spectra has no row of task {task!r}")
    table = table[table["frequency"] > 0]
    means = {name: rows.groupby("frequency")["power"].mean() for name, rows in table.groupby(column)}
    return {name: (line.index.to_numpy(), line.to_numpy()) for name, line in means.items()}


def seed_dots(rows: Sequence[Mapping], tasks: Sequence[str], *, against: str | None = None, title: str = ""):
    """Figure, one panel a task: every seed's PSNR as a dot, the mean as a bar mark, the input as a dashed line.

    `rows`: the lab's table of results with experiment, task, seed, psnr, input_psnr. `against`: an experiment whose range of seeds is
    shaded. Experiments keep their order; those without a row for a task show nothing there. Raises ValueError for no rows.
    """
    if not rows:
        raise ValueError("no row of results to draw; train something in the lab first")
    names = list(dict.fromkeys(row["experiment"] for row in rows))
    with style():
        figure = new_figure(9, 1.5 + 0.36 * len(names))
        panels = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
        for axes, task in zip(panels, tasks, strict=True):
            own = [row for row in rows if row["task"] == task]
            for place, name in enumerate(names):
                values = [float(row["psnr"]) for row in own if row["experiment"] == name]
                if not values:
                    words = dict(ha="center", va="center", fontsize=7.5, color="0.45", transform=axes.get_yaxis_transform())
                    axes.text(0.5, place, "not trained for this task", **words)
                    continue
                axes.plot(values, [place] * len(values), linestyle="none", marker=MARKERS[0], color=PALETTE[0], alpha=0.65, markersize=5)
                axes.plot([sum(values) / len(values)] * 2, [place - 0.3, place + 0.3], color=INK, linewidth=2)
                if name == against:
                    axes.axvspan(min(values), max(values), color="#e8e8e8", linewidth=0, zorder=0)
            inputs = [float(row["input_psnr"]) for row in own]
            axes.axvline(sum(inputs) / len(inputs), color="0.35", linestyle="--", linewidth=1, label="degraded input")
            axes.set(xlabel="PSNR (dB)", title=task, ylim=(len(names) - 0.5, -0.5))
            axes.set_yticks(range(len(names)), names)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", frameon=False)
        if title:
            figure.suptitle(title)
    return figure
