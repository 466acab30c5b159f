"""Curves: how a training went, and how cost grows with the number of pixels."""

from collections.abc import Mapping, Sequence

from course_lib.figures.style import INK, line_style, new_figure, style

_NEEDED = ("step", "loss", "lr")


def read_log(source, label: str = "run"):
    """Training log as a pandas DataFrame sorted by step; `source` is a CSV path or a DataFrame.

    After a resume a step can stand twice: the later line is kept. Raises FileNotFoundError, or ValueError for an empty log or
    one without the columns step, loss, lr.
    """
    import pandas

    if isinstance(source, pandas.DataFrame):
        table, where = source.copy(), f"the table of {label!r}"
    else:
        where = str(source)
        try:
            table = pandas.read_csv(source)
        except pandas.errors.EmptyDataError as error:
            raise ValueError(f"{where} is empty; train for a few steps first") from error
    missing = [name for name in _NEEDED if name not in table.columns]
    if missing:
        raise ValueError(f"{where} has no column {', '.join(missing)} (found {', '.join(map(str, table.columns))}); is it a training log?")
    for name in set(table.columns) & {*_NEEDED, "val_psnr", "patch"}:
        table[name] = pandas.to_numeric(table[name], errors="coerce")
    table = table.dropna(subset=["step"]).drop_duplicates("step", keep="last").sort_values("step", ignore_index=True)
    if table.empty:
        raise ValueError(f"{where} has no line; train for a few steps first")
    return table


def patch_spans(table) -> list[tuple[float, float, int]]:
    """[(first step, last step, patch side)] of the stretches trained with one patch size; empty without a `patch` column."""
    if "patch" not in table.columns:
        return []
    rows = table.dropna(subset=["patch"])
    spans: list[tuple[float, float, int]] = []
    for step, patch in zip(rows["step"], rows["patch"], strict=True):
        if spans and spans[-1][2] == int(patch):
            spans[-1] = (spans[-1][0], float(step), int(patch))
        else:
            spans.append((float(step), float(step), int(patch)))
    return [(a, spans[i + 1][0] if i + 1 < len(spans) else b, p) for i, (a, b, p) in enumerate(spans)]


def _mark_patches(panels, logs: dict) -> None:
    """Shade alternate stretches of the patch schedule; runs with different schedules get a line at each change instead."""
    spans = {label: patch_spans(table) for label, table in logs.items()}
    schedules = {tuple(patch for *_, patch in s) for s in spans.values()}
    first = max(spans.values(), key=lambda s: s[-1][1] if s else 0)
    if len(first) > 1 and len(schedules) == 1:
        for index, (start, end, patch) in enumerate(first):
            for axes in panels:
                axes.axvspan(start, end, color="#e4e4e4" if index % 2 else "#f7f7f7", linewidth=0, zorder=0)
            panels[0].annotate(
                f"{patch} px", ((start + end) / 2, 1), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
                ha="center", va="bottom", fontsize=8, color=INK,
            )  # fmt: skip
    elif len(schedules) > 1:
        for index, (label, own) in enumerate(spans.items()):
            for start, _, patch in own[1:]:
                for axes in panels:
                    axes.axvline(start, color=line_style(index)["color"], linewidth=1, linestyle=":", zorder=0)
                panels[0].annotate(
                    f"{label}: {patch} px", (start, 0.98), xycoords=("data", "axes fraction"),
                    rotation=90, ha="right", va="top", fontsize=8,
                )  # fmt: skip


def _every(count: int) -> int:
    return max(1, count // 8)


def _draw_run(loss_axes, psnr_axes, lr_axes, label: str, table, index: int, smoothing: int) -> bool:
    look = line_style(index)
    dots = {**look, "markersize": 4, "markevery": _every(len(table))}
    loss_axes.plot(table["step"], table["loss"], color=look["color"], alpha=0.22, linewidth=0.8)
    smooth = table["loss"].ewm(span=smoothing, ignore_na=True).mean()
    loss_axes.plot(table["step"], smooth, label=label, linewidth=1.6, **dots)
    lr_axes.plot(table["step"], table["lr"], linewidth=1.2, color=look["color"], linestyle=look["linestyle"])
    validated = table.dropna(subset=["val_psnr"]) if "val_psnr" in table.columns else table.iloc[:0]
    if len(validated):
        last = f"{label}: {validated['val_psnr'].iloc[-1]:.2f} dB at step {int(validated['step'].iloc[-1])}"
        psnr_axes.plot(validated["step"], validated["val_psnr"], label=last, linewidth=1.6, **{**dots, "markevery": 1})
    return bool(len(validated))


def training_curves(log_csv_paths: Mapping[str, object], *, smoothing: int | None = None, title: str = ""):
    """Figure of loss, validation PSNR (dB) and learning rate against step for one or several runs.

    `log_csv_paths`: label -> training log (CSV path or DataFrame; columns step, loss, lr and, where there, patch, val_psnr).
    The raw loss is faint; the strong line is its exponential mean over `smoothing` lines (default: a thirtieth of the log).
    Changes of patch size are bands named at the top. Raises as `read_log`, and ValueError without any run.
    """
    if not log_csv_paths:
        raise ValueError("no training log to draw; give a dict such as {'restormer': 'log.csv'}")
    logs = {label: read_log(source, label) for label, source in log_csv_paths.items()}
    with style():
        figure = new_figure(7.5, 5.6)
        loss_axes, psnr_axes, lr_axes = panels = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
        validated = False
        for index, (label, table) in enumerate(logs.items()):
            span = smoothing or max(2, len(table) // 30)
            validated |= _draw_run(loss_axes, psnr_axes, lr_axes, label, table, index, span)
        if not validated:
            psnr_axes.text(0.5, 0.5, "no validation in this log", transform=psnr_axes.transAxes, ha="center", va="center")
        _mark_patches(panels, logs)
        if all((table["loss"].dropna() > 0).all() for table in logs.values()):
            loss_axes.set_yscale("log")
        loss_axes.set_ylabel("training loss")
        psnr_axes.set_ylabel("validation PSNR (dB)")
        if validated:
            psnr_axes.legend(frameon=False, loc="lower right")
        lr_axes.set(ylabel="learning\nrate", xlabel="step")
        lr_axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        if len(logs) > 1:
            loss_axes.legend(frameon=False)
        figure.align_ylabels(panels)
        if title:
            figure.suptitle(title)
    return figure


def fit_slope(pixels: Sequence[float], cost: Sequence[float]) -> tuple[float, float, float]:
    """Exponent of cost = c * pixels^slope by least squares on the logarithms of the larger half of the sizes.

    The small sizes are left out because fixed overhead hides the growth there. Returns (slope, c, smallest size used).
    Raises ValueError with fewer than two different positive sizes.
    """
    import numpy

    x, y = numpy.asarray(pixels, float), numpy.asarray(cost, float)
    usable = numpy.isfinite(x) & numpy.isfinite(y) & (x > 0) & (y > 0)
    sizes = numpy.unique(x[usable])
    if len(sizes) < 2:
        raise ValueError("a slope needs measurements at two different sizes at least")
    smallest = sizes[min(len(sizes) // 2, len(sizes) - 2)]
    used = usable & (x >= smallest)
    slope, intercept = numpy.polyfit(numpy.log(x[used]), numpy.log(y[used]), 1)
    return float(slope), float(numpy.exp(intercept)), float(smallest)


def _cost_panel(axes, table, column: str, series: list) -> None:
    import numpy

    for index, name in enumerate(series):
        rows = table[table["series"] == name].sort_values("pixels")
        known = rows.dropna(subset=[column])
        if known.empty:
            axes.plot([], [], label=f"{name}: not measured", **line_style(index))
            continue
        label = str(name)
        if known["pixels"].nunique() > 1:
            slope, scale, start = fit_slope(known["pixels"], known[column])
            label += f": slope {slope:.2f}"
            x = numpy.array([start, known["pixels"].max()])
            axes.plot(x, scale * x**slope, color=line_style(index)["color"], linewidth=5, alpha=0.25, zorder=1, solid_capstyle="butt")
        lost = len(rows) - len(known)
        if lost:
            label += f" ({lost} of {len(rows)} not measured)"
        axes.plot(known["pixels"], known[column], label=label, markersize=5, linewidth=1.5, **line_style(index))
    axes.set(xscale="log", yscale="log", xlabel="pixels (height x width)")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))  # above the panel: the curves may fill all of it


_COST_LABELS = {"seconds": "seconds", "memory_mb": "peak memory (MB)", "memory": "peak memory", "multiply_adds": "multiply-adds"}


def cost_curves(table, *, title: str = ""):
    """Figure, one log-log panel a quantity, of cost against pixels for each named series, with the fitted slope in the legend.

    `table`: DataFrame or list of dicts with `series`, `pixels` and at least one of `seconds`, `memory_mb`, `memory`, `multiply_adds`;
    an empty value (out of memory, say) is counted in the legend. Slope 1 = linear in pixels, 2 = quadratic; the broad band is the fit
    over the larger half of the sizes. Raises ValueError naming missing columns.
    """
    import pandas

    table = pandas.DataFrame(table)
    missing = [name for name in ("series", "pixels") if name not in table.columns]
    quantities = [name for name in _COST_LABELS if name in table.columns]
    if missing or not quantities:
        wanted = ", ".join(missing) or "a cost: " + " or ".join(_COST_LABELS)
        raise ValueError(f"the cost table lacks {wanted} (found {', '.join(map(str, table.columns)) or 'no column'})")
    series = list(dict.fromkeys(table["series"]))
    for name in quantities:
        bad = table[table[name].notna() & ~(table[name] > 0)]
        if len(bad):
            raise ValueError(f"cost_curves draws logarithms, but {name} is {bad.iloc[0][name]} for series {bad.iloc[0]['series']!r}")
    with style():
        figure = new_figure(4.6 * len(quantities), 3.6)
        for axes, name in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
            _cost_panel(axes, table, name, series)
            axes.set_ylabel(_COST_LABELS[name])
        if title:
            figure.suptitle(title)
    return figure
