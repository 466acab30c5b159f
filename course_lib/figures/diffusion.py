"""Pictures of diffusion: film strips of chains, densities that noise flattens, schedules, losses by noise level, a slider over steps."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from course_lib.figures.style import INK, PALETTE, line_style, new_figure, style

_GAP = 0.08  # white space between two pictures, as a share of their width
_MORE = 1.12  # a film may be so much wider than asked when its pictures get the next whole factor by it
_DPI = 100  # of the records: a film's places are whole dots of it, so that every pixel of a picture is drawn as large as the next


def film(
    rows: Mapping[str, Tensor],
    columns: Sequence[str] = (),
    *,
    notes: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
    width: float = 9.0,
):
    """Figure of rows of small pictures, each row (N, 3, h, w) in [0, 1]: a chain through time, or what several methods make of the same.

    A row's name stands at its left, `columns` above the first row, `notes[name]` under the pictures of a row. Rows may differ in the size
    of their pictures, which are drawn equally wide, the widest by a whole factor where there is room for it. The figure is about `width`
    inches wide, or less. Raises ValueError for rows of unequal number, or for labels of another number.
    """
    counts = {name: len(pictures) for name, pictures in rows.items()}
    if not rows or len(set(counts.values())) != 1:
        raise ValueError(f"a film needs rows of one length, got {counts}")
    count, notes = next(iter(counts.values())), notes or {}
    for what, labels in (("columns", columns), *notes.items()):
        if labels and len(labels) != count:
            raise ValueError(f"{what}: {len(labels)} labels for {count} pictures")
    label = round(20 + 7.5 * max(len(line) for name in rows for line in name.split("\n"))) / _DPI  # inches
    panel, gap = _whole_dots(min(1.35, (width - label - 0.05) / (count + _GAP * (count - 1))), max(row.shape[-1] for row in rows.values()))
    heights = [panel * pictures.shape[-2] / pictures.shape[-1] for pictures in rows.values()]
    below = [0.24 if name in notes else 0.06 for name in rows]
    above = 0.05 + 0.16 * max((1 + text.count("\n") for text in columns), default=0) + (0.28 if title else 0)
    reel = panel * (count + gap * (count - 1))
    whole, high = label + reel + 0.05, above + sum(heights) + sum(below)
    with style():
        figure = new_figure(whole, high)
        figure.set_layout_engine("none")  # every place is known, and pictures shall be equally wide in all rows
        top = high - above
        for index, (name, pictures) in enumerate(rows.items()):
            axes = figure.add_axes((label / whole, (top - heights[index]) / high, reel / whole, heights[index] / high))
            _reel(axes, name, pictures, gap, notes.get(name, ()))
            if columns and not index:
                _above(axes, columns, gap)
            top -= heights[index] + below[index]
        if title:
            figure.suptitle(title, y=1 - 0.04 / high, va="top")
    return figure


def _whole_dots(panel: float, pixels: int) -> tuple[float, float]:
    """The width of a picture of so many pixels in inches, about `panel`, and the gap as a share of it: whole dots, both."""
    dots = int(panel * _DPI * _MORE) // pixels * pixels or int(panel * _DPI)
    return dots / _DPI, round(_GAP * dots) / dots


def _reel(axes, name: str, pictures: Tensor, gap: float, notes: Sequence[str]) -> None:
    """One row as one image in axes whose unit is the width of a picture."""
    pictures = pictures.detach().float().cpu().clamp(0, 1).nan_to_num(0)
    height = pictures.shape[-2] / pictures.shape[-1]
    for place, picture in enumerate(pictures):
        left = place * (1 + gap)
        axes.imshow(picture.permute(1, 2, 0).numpy(), extent=(left, left + 1, 0, height), interpolation="nearest")
    axes.set(xlim=(0, len(pictures) * (1 + gap) - gap), ylim=(0, height), yticks=[height / 2])
    axes.set_yticklabels([name], fontsize=9)
    axes.set_xticks([place * (1 + gap) + 0.5 for place in range(len(notes))], notes, fontsize=7.5)
    axes.tick_params(length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _above(axes, labels: Sequence[str], gap: float) -> None:
    top = axes.secondary_xaxis("top")
    top.set_xticks([place * (1 + gap) + 0.5 for place in range(len(labels))], labels, fontsize=8)
    top.tick_params(length=0, pad=2)
    top.spines["top"].set_visible(False)


def mixture_density(x: Tensor, alpha_bar: Tensor, peaks: Sequence[float], spread: float = 0.06) -> Tensor:
    """q(x_t) of a number that is near one of `peaks`, all equally likely: places x (N,), alpha_bar (T,) -> (N, T), exact.

    Each peak is a Gaussian of deviation `spread`; after t steps its mean is sqrt(alpha_bar) times as far from 0 and its variance
    alpha_bar spread^2 + 1 - alpha_bar.
    """
    mean = alpha_bar.double().sqrt()[:, None] * torch.tensor(list(peaks), dtype=torch.float64)  # (T, peaks)
    deviation = (alpha_bar * spread**2 + 1 - alpha_bar).double().sqrt()[:, None]
    away = (x.double()[:, None, None] - mean) / deviation
    return (torch.exp(-0.5 * away.square()) / (deviation * (2 * torch.pi) ** 0.5)).mean(-1)


def density_figure(alpha_bar: Tensor, paths: Tensor, peaks: Sequence[float], *, spread: float = 0.06, limit: float = 3.0):
    """Figure: how noise turns the density of one number into a standard normal; `paths` (N, T + 1) are drawn over it, x_0 first."""
    x = torch.linspace(-limit, limit, 241, dtype=torch.float64)
    density = mixture_density(x, alpha_bar, peaks, spread)
    normal = torch.exp(-0.5 * x.square()) / (2 * torch.pi) ** 0.5
    with style():
        figure = new_figure(9, 3.2)
        left, middle, right = figure.subplots(1, 3, width_ratios=[1, 6, 1], sharey=True)
        middle.imshow(density, extent=(0, len(alpha_bar), -limit, limit), aspect="auto", origin="lower", cmap="cividis", vmax=1.2, vmin=0)
        for path in paths:
            middle.plot(range(len(path)), path, color="white", linewidth=0.7, alpha=0.85)
        middle.set(
            xlabel="steps of noise, t", title="density of x_t, and some single paths", xlim=(0, len(alpha_bar)), ylim=(-limit, limit)
        )
        left.fill_betweenx(x, 0, density[:, 0], color=PALETTE[5], edgecolor=INK, linewidth=0.8)
        left.set(title="after 1 step", ylabel="value", xticks=[])
        left.invert_xaxis()
        right.fill_betweenx(x, 0, density[:, -1], color=PALETTE[5], edgecolor=INK, linewidth=0.8, label="at the end")
        right.plot(normal, x, color=PALETTE[1], linestyle="--", label="N(0, 1)")
        right.set(title="at the end", xticks=[])
        right.legend(frameon=False, fontsize=7, loc="upper right")
    return figure


def schedule_curves(schedules: Mapping[str, Tensor], *, marks: Sequence[int] = ()):
    """Figure of alpha-bar (T,) of several schedules: the share of the picture's power left, and signal over noise in decibels.

    `marks` are times with a thin vertical line.
    """
    with style():
        figure = new_figure(9, 3.2)
        share, ratio = figure.subplots(1, 2)
        for index, (name, alpha_bar) in enumerate(schedules.items()):
            look = dict(line_style(index), markevery=max(1, len(alpha_bar) // 8), markersize=4)
            share.plot(alpha_bar, label=name, **look)
            ratio.plot(10 * torch.log10(alpha_bar / (1 - alpha_bar)), **look)
        share.set(xlabel="time t", ylabel="share of the power left, alpha-bar", ylim=(-0.03, 1.03))
        ratio.set(xlabel="time t", ylabel="signal over noise (dB)", ylim=(-60, 50))
        ratio.axhline(0, color="0.6", linewidth=0.8)
        for axes in (share, ratio):
            for t in marks:
                axes.axvline(t, color="0.85", linewidth=0.8, zorder=0)
        figure.legend(*share.get_legend_handles_labels(), loc="outside lower center", ncols=len(schedules), frameon=False)
    return figure


def cut_frequency(frequency: Tensor, power: Tensor, alpha_bar: float) -> float:
    """The frequency from which on noise of this level is stronger than the picture, between bins by their logarithms.

    The lowest frequency when noise is stronger everywhere, the highest when it is so nowhere.
    """
    excess = (alpha_bar * power / (1 - alpha_bar)).log()  # below 0: hidden
    seen = (excess >= 0).nonzero().flatten()
    if len(seen) == 0 or seen[-1] == len(power) - 1:
        return float(frequency[0] if len(seen) == 0 else frequency[-1])
    last = int(seen[-1])  # the finest detail that stands out; what is hidden lower down does not count
    share = excess[last] / (excess[last] - excess[last + 1])
    return float((frequency[last].log() * (1 - share) + frequency[last + 1].log() * share).exp())


def noise_floor(frequency: Tensor, power: Tensor, schedules: Mapping[str, Tensor], levels: Mapping[str, float]):
    """Figure: a picture's spectrum and the noise that covers it, and the finest detail that still stands out at every time.

    `frequency` in cycles per pixel and `power` (bins,) of clean pictures in [-1, 1]; `levels`: label -> alpha-bar of the left panel;
    `schedules`: name -> alpha-bar (T,) of the right panel. Noise is drawn over alpha-bar, so that the picture's curve stays where it is.
    """
    with style():
        figure = new_figure(9, 3.4)
        left, right = figure.subplots(1, 2)
        left.loglog(frequency, power, color=INK, linewidth=2)
        left.text(float(frequency[0]), float(power[0]), " clean pictures", fontsize=8, va="bottom", color=INK)
        for index, (label, alpha_bar) in enumerate(levels.items()):
            look = dict(color=PALETTE[index % len(PALETTE)], linestyle=line_style(index)["linestyle"])
            left.axhline((1 - alpha_bar) / alpha_bar, linewidth=1.3, **look)
            left.text(0.49, (1 - alpha_bar) / alpha_bar, label, fontsize=7.5, ha="right", va="bottom", color=look["color"])
        left.set(xlabel="frequency (cycles per pixel)", ylabel="power (lines: noise over alpha-bar)", xlim=(float(frequency.min()), 0.5))
        left.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
        left.minorticks_off()
        left.set_xlim(float(frequency.min()), 0.5)
        for index, (name, alpha_bar) in enumerate(schedules.items()):
            times = range(0, len(alpha_bar), max(1, len(alpha_bar) // 200))
            look = {key: value for key, value in line_style(index).items() if key != "marker"}
            right.plot(times, [cut_frequency(frequency, power, float(alpha_bar[t])) for t in times], label=name, **look)
        right.set(xlabel="time t", ylabel="finest detail above the noise\n(cycles per pixel)", yscale="log")
        right.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
        right.minorticks_off()
        right.legend(frameon=False)
    return figure


def level_figure(curves: Mapping[str, Sequence[float]], times: Sequence[float], *, losses: Sequence[tuple[float, float]] = ()):
    """Figure: mean squared error of the predicted noise at each time, one curve a state of training, logarithmic.

    `losses`: (step, loss) of the training itself, a panel of its own at the left when given. 1 is the error of an answer of zero.
    """
    with style():
        figure = new_figure(9, 3.4)
        panels = figure.subplots(1, 2 if losses else 1, squeeze=False, width_ratios=[2, 3] if losses else [1])[0]
        if losses:
            panels[0].plot(*zip(*losses, strict=True), color="0.3", linewidth=1)
            panels[0].set(xlabel="step", ylabel="training loss, all levels mixed", ylim=(0, None))
        for index, (name, values) in enumerate(curves.items()):
            panels[-1].semilogy(times, values, label=name, markersize=4, **line_style(index))
        panels[-1].axhline(1, color="0.6", linewidth=0.8)
        panels[-1].set(xlabel="time t: little noise left, much noise right", ylabel="squared error of the noise")
        figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def unet_figure(model, x: Tensor, t: Tensor):
    """Figure of a diffusion U-Net (models/unet.py): its stages with the shapes C×H×W of a real pass on x (1, C, H, W) and t (1,).

    Dashed: features that are kept and joined to the channels on the way up, two a level. Orange: blocks that read the time.
    """
    from course_lib.figures.dataflow import trace

    rows = trace(model, x, t, depth=3)
    shapes = {row.name: "×".join(map(str, row.outputs[0][1:])) for row in rows if row.outputs}
    depth, left, middle, right = len(model.downs), 1.5, 4.5, 7.5
    boxes = {
        "in": (left, depth + 1, f"x\n{'×'.join(map(str, x.shape[1:]))}"),
        "out": (right, depth + 1, f"final_conv\n{shapes['final_conv']}"),
    }
    boxes["first"] = (left, depth, f"init_conv\n{shapes['init_conv']}")
    boxes["last"] = (right, depth, f"final_res_block\n{shapes['final_res_block']}")
    for i in range(depth):
        for side, at, name in (("down", left, f"downs.{i}"), ("up", right, f"ups.{depth - 1 - i}")):
            boxes[f"{side}{i}"] = (at, depth - 1 - i, f"{name}: 2 blocks, attention\n{shapes[f'{name}.second']}")
    boxes["mid"] = (middle, -0.6, f"mid: block, attention, block\n{shapes['mid_block2']}")
    boxes["time"] = (middle, depth + 1, f"time_mlp: t to a code\n{shapes['time_mlp.0']} → {shapes['time_mlp']}")
    path = ["in", "first", *(f"down{i}" for i in range(depth)), "mid", *(f"up{i}" for i in reversed(range(depth))), "last", "out"]
    skips = [("first", "last", "kept")] + [(f"down{i}", f"up{i}", "two kept") for i in range(depth)]
    with style():
        figure = new_figure(9, 0.72 * (depth + 2.6))
        axes = figure.add_subplot(xlim=(0, 9), ylim=(-1.1, depth + 1.5))
        axes.set_axis_off()
        for name, (at, height, text) in boxes.items():
            timed = name not in ("in", "out", "first")
            frame = dict(boxstyle="round", facecolor="#f2f2f2", edgecolor=PALETTE[1] if timed else INK, linewidth=1.6 if timed else 1)
            axes.text(at, height, text, ha="center", va="center", fontsize=8, bbox=frame, zorder=3)
        for start, end in zip(path, path[1:], strict=False):
            _way(axes, boxes[start], boxes[end], "-")
        for start, end, label in skips:
            _way(axes, boxes[start], boxes[end], "--")
            axes.text(middle, boxes[start][1] + 0.07, f"{label}, concatenated", ha="center", va="bottom", fontsize=7.5)
        axes.text(middle, depth + 0.5, "the code goes into every orange block", ha="center", fontsize=7.5, color=INK)
    return figure


def _way(axes, start: tuple, end: tuple, line: str) -> None:
    """Arrow from box to box; between columns it begins and ends beside the boxes."""
    aside, shrink = (0.0, 17) if start[0] == end[0] else (0.95, 0)
    look = dict(arrowstyle="-|>", color=INK, linestyle=line, linewidth=1, shrinkA=shrink, shrinkB=shrink)
    axes.annotate("", (end[0] - aside, end[1]), (start[0] + aside, start[1]), arrowprops=look, zorder=1)


class StepSlider:
    """Frames (name -> pictures (N, 3, h, w)) with a slider that chooses one; `.box` is the widget, `.frame` what it shows."""

    def __init__(self, frames: Mapping[str, Tensor], enlarge: int = 4):
        import ipywidgets

        self.frames, self.enlarge = dict(frames), enlarge
        self.slider = ipywidgets.SelectionSlider(options=list(self.frames), description="steps", continuous_update=True)
        self.picture = ipywidgets.Image(format="png")
        self.box = ipywidgets.VBox([self.slider, self.picture])
        self.slider.observe(lambda change: self.update(), names="value")
        self.update()

    @property
    def frame(self) -> Tensor:
        """The pictures that the slider shows now."""
        return self.frames[self.slider.value]

    def update(self) -> None:
        """Draw the chosen frame; the slider calls this."""
        from course_lib.figures.playground import _png

        large = self.frame.detach().cpu().clamp(0, 1).repeat_interleave(self.enlarge, -2).repeat_interleave(self.enlarge, -1)
        gap = torch.ones(3, large.shape[-2], 6)
        self.picture.value = _png(torch.cat([part for picture in large for part in (picture, gap)][:-1], dim=2))


def step_slider(frames: Mapping[str, Tensor], *, widgets: str = "auto") -> StepSlider | None:
    """Show a slider over the frames where it can be seen, and say what was shown; None elsewhere (draw a `film` for everybody).

    `widgets`: "auto", "yes" or "no", see playground.widgets_can_show. Raises ValueError for another choice.
    """
    from course_lib.figures.playground import widgets_can_show

    seen, why = widgets_can_show(widgets)
    slider = None
    if seen:
        try:
            slider = StepSlider(frames)
        except ImportError:
            seen, why = False, "ipywidgets is not installed"
    if slider is not None:
        from IPython.display import display

        display(slider.box)
    hint = "" if seen else " To force the slider: widgets='yes'."
    print(f"Shown: {'a slider' if seen else 'the pictures below, no slider'}, because {why}.{hint}")
    return slider
