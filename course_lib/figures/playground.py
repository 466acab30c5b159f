"""The degradation playground: sliders made from the parameter objects where a notebook shows them, a grid of pictures elsewhere."""

import io
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from course_lib.degradations.base import Parameters
from course_lib.figures.compare import _show
from course_lib.figures.style import INK, new_figure, style
from course_lib.metrics import psnr, ssim

# In the order in which the light meets them.
WEATHER = ("low_light", "haze", "rain", "snow")
LENS = ("gaussian_blur", "defocus", "motion_blur")
SENSOR = ("gaussian_noise", "poisson_gaussian", "resample", "jpeg")


def known_kinds() -> dict[str, type[Parameters]]:
    """Every kind of degradation by its name, as `course_lib.degradations.composite` registers them."""
    from course_lib.degradations.composite import DEGRADATIONS

    return DEGRADATIONS


# ---- can sliders show? -----------------------------------------------------------------------------------------------


def widgets_can_show(choice: str = "auto") -> tuple[bool, str]:
    """(whether sliders would be seen, why), for `choice` "yes", "no" or "auto" (then the environment's COURSE_WIDGETS may say it).

    "auto" asks for evidence of somebody in front of the notebook: Jupyter and VS Code name the cell in every request to run it, a batch
    run (papermill, nbclient, nbconvert, nbval) does not; Colab is known by its module, Kaggle's batch runs by their variable.
    Raises ValueError for another choice.
    """
    asked, where = (choice, "as asked for") if choice != "auto" else (os.environ.get("COURSE_WIDGETS", "auto"), "COURSE_WIDGETS says so")
    if asked not in ("yes", "no", "auto"):
        raise ValueError(f"widgets must be 'yes', 'no' or 'auto', not {asked!r}")
    if asked != "auto":
        return asked == "yes", where
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") == "Batch":
        return False, "Kaggle runs this notebook as a batch"
    if _requested_cell():
        return True, "a notebook window asked for this cell"
    if "google.colab" in sys.modules:
        return True, "this is Colab"
    return False, "nobody sits in front of this run (papermill, a test or a script)"


def _requested_cell() -> str:
    """The id of the notebook cell whose request the kernel is working on; "" without a kernel or where the request names none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    kernel = getattr(shell, "kernel", None)
    try:
        request = kernel.get_parent("shell")
    except (AttributeError, LookupError):  # no kernel, or one that keeps its request elsewhere
        return ""
    return str((request or {}).get("metadata", {}).get("cellId") or "")


# ---- what the parameter objects say about themselves -----------------------------------------------------------------


@dataclass(frozen=True)
class Slider:
    """Range, step and start of one field's slider; `whole` for whole numbers."""

    name: str
    low: float
    high: float
    step: float
    start: float
    whole: bool
    unit: str
    means: str


def sliders_of(kind: type[Parameters]) -> list[Slider]:
    """One slider per field over its drawn range, its start and the zero setting; the strength's reaches half as far again.

    A field that is never drawn gets all that it may be. All inside the limits.
    """
    made = []
    for item in fields(kind):
        (low, high), limits = item.metadata["draw"], item.metadata["limits"]
        if low == high:
            low, high = limits
        more = (high - low) / 2 if item.name == kind.strength else 0
        reached = [low, high + more, item.default, kind.zero.get(item.name, item.default)]
        low, high = max(min(reached), limits[0]), min(max(reached), limits[1])
        whole = isinstance(item.default, int)
        low, high = (math.floor(low), math.floor(high)) if whole else (low, high)
        step = 1 if whole else 10 ** math.floor(math.log10((high - low) / 50)) if high > low else 0.01
        made.append(Slider(item.name, low, high, step, item.default, whole, item.metadata["unit"], item.metadata["means"]))
    return made


def strengths(kind: type[Parameters], count: int = 3) -> list[Parameters]:
    """`count` objects along the field `strength`, evenly over its drawn range, the other fields at their defaults."""
    item = next(item for item in fields(kind) if item.name == kind.strength)
    low, high = item.metadata["draw"]
    values = [low + (high - low) * i / max(1, count - 1) for i in range(count)]
    return [kind(**{item.name: round(value) if isinstance(item.default, int) else value}) for value in values]


def scores(degraded: Tensor, clean: Tensor) -> tuple[float, float]:
    """(PSNR in dB, SSIM) of one image (1, 3, H, W)."""
    return float(psnr(degraded, clean)), float(ssim(degraded, clean))


def _one(image: Tensor) -> Tensor:
    image = image[None] if image.ndim == 3 else image
    if image.ndim != 4 or image.shape[:2] != (1, 3):
        raise ValueError(f"the playground takes one picture, (3, H, W) or (1, 3, H, W), not {tuple(image.shape)}")
    return image.detach().float().cpu()


# ---- pictures --------------------------------------------------------------------------------------------------------


def strength_grid(image: Tensor, kinds: Sequence[str], *, levels: int = 3, seed: int = 0, title: str = ""):
    """(figure, table): a row a kind, its equation at the left, then `levels` strengths from mild to strong with PSNR and SSIM.

    `image`: (3, H, W) or (1, 3, H, W) in [0, 1]. The table (pandas) has kind, parameter, value, PSNR (dB), SSIM. Raises ValueError.
    """
    import pandas

    image, rows, drawn = _one(image), [], []
    for name in kinds:
        if name not in known_kinds():
            raise ValueError(f"unknown degradation {name!r}; there are {', '.join(known_kinds())}")
        made = [(p, degraded := p.apply(image, seed), *scores(degraded, image)) for p in strengths(known_kinds()[name], levels)]
        made.sort(key=lambda entry: -entry[2])  # mild first, whichever way the numbers run
        drawn.append(made)
        for parameters, _, decibels, similarity in made:
            value = getattr(parameters, parameters.strength)
            rows.append({"kind": name, "parameter": parameters.strength, "value": value, "PSNR (dB)": decibels, "SSIM": similarity})
    table = pandas.DataFrame(rows).round({"value": 3, "PSNR (dB)": 2, "SSIM": 3})
    return _draw_grid(drawn, levels, title), table


def _draw_grid(drawn: list[list[tuple]], levels: int, title: str):
    """`drawn`: one row a kind, of (parameters, degraded, PSNR, SSIM)."""
    height, width = drawn[0][0][1].shape[-2:]
    shape = height / width
    side = 5.8 / levels
    with style():
        figure = new_figure(8.5, len(drawn) * (side * shape + 0.45) + (0.4 if title else 0))
        axes = figure.subplots(len(drawn), levels + 1, squeeze=False, width_ratios=[2.6, *[side] * levels])
        for row, made in zip(axes, drawn, strict=True):
            _describe(row[0], made[0][0])
            for panel, (parameters, degraded, decibels, similarity) in zip(row[1:], made, strict=True):
                _show(panel, degraded[0])
                item = next(item for item in fields(parameters) if item.name == parameters.strength)
                value = f"{item.name} {getattr(parameters, item.name):.3g} {item.metadata['unit']}".rstrip()
                panel.set_title(f"{value}\n{decibels:.1f} dB, SSIM {similarity:.2f}", fontsize=8, color=INK)
        if title:
            figure.suptitle(title)
    return figure


def _describe(panel, parameters: Parameters) -> None:
    """Name, equation and the meaning of the strength, as text in a panel of its own."""
    import textwrap

    panel.set_axis_off()
    item = next(item for item in fields(parameters) if item.name == parameters.strength)
    meaning = "\n".join(textwrap.wrap(f"{item.name}: {item.metadata['means']}", 34))
    panel.text(0, 0.95, parameters.kind.replace("_", " "), weight="bold", va="top", transform=panel.transAxes)
    panel.text(0, 0.72, "\n".join(_equations(parameters.equation)), va="top", fontsize=8.5, linespacing=1.5, transform=panel.transAxes)
    panel.text(0, 0.02, meaning, va="bottom", fontsize=7.5, color="0.3", transform=panel.transAxes)


def _equations(latex: str) -> list[str]:
    """The equation in lines that matplotlib can draw; where it cannot, the LaTeX as it is written."""
    from matplotlib.mathtext import MathTextParser

    lines = [f"${part.strip().rstrip(',')}$" for part in latex.split(r"\quad") if part.strip().rstrip(",")]
    try:
        for line in lines:
            MathTextParser("agg").parse(line)
    except ValueError:
        return [latex]
    return lines


# ---- sliders ---------------------------------------------------------------------------------------------------------


class Sliders:
    """The widgets: a list of kinds, a slider a field, the clean and the degraded picture, the equation, PSNR and SSIM, JSON to copy."""

    def __init__(self, image: Tensor, kinds: Sequence[str], seed: int = 0):
        import ipywidgets

        self.image, self._make = _one(image), ipywidgets
        self.kind = ipywidgets.Dropdown(options=list(kinds), description="degradation")
        self.seed = ipywidgets.IntSlider(value=seed, min=0, max=20, description="seed")
        self.controls: dict[str, Any] = {}
        self.panel, self.equation, self.scores = ipywidgets.VBox(), ipywidgets.HTMLMath(), ipywidgets.HTML()
        self.json = ipywidgets.Textarea(description="JSON", layout=ipywidgets.Layout(width="95%", height="60px"))
        width = f"{min(760, 2 * max(200, self.image.shape[-1]) + 8)}px"
        self.picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(width=width))
        left = ipywidgets.VBox([self.kind, self.panel, self.seed], layout=ipywidgets.Layout(min_width="330px"))
        right = ipywidgets.VBox([self.equation, self.picture, self.scores, self.json])
        self.box = ipywidgets.HBox([left, right])
        self.kind.observe(lambda change: self._choose(), names="value")
        self.seed.observe(lambda change: self.update(), names="value")
        self._choose()

    @property
    def parameters(self) -> Parameters:
        """The object that the sliders stand for; `parameters.to_json()` is the text in the box."""
        return known_kinds()[self.kind.value](**{name: control.value for name, control in self.controls.items()})

    def _choose(self) -> None:
        kind = known_kinds()[self.kind.value]
        self.controls, rows = {}, []
        for slider in sliders_of(kind):
            control = self._control(slider)
            control.observe(lambda change: self.update(), names="value")
            self.controls[slider.name] = control
            unit = f" ({slider.unit})" if slider.unit else ""
            rows += [control, self._make.HTML(f"<small>{slider.means}{unit}</small>")]
        self.panel.children = tuple(rows)
        self.equation.value = f"$${kind.equation}$$"
        self.update()

    def _control(self, slider: Slider):
        options = {"min": slider.low, "max": slider.high, "step": slider.step, "value": slider.start, "description": slider.name}
        if slider.whole:
            return self._make.IntSlider(**{name: int(v) if name != "description" else v for name, v in options.items()})
        return self._make.FloatSlider(readout_format=".3g", **options)

    def update(self) -> None:
        """Degrade again and show it; the sliders call this."""
        degraded = self.parameters.apply(self.image, self.seed.value)
        decibels, similarity = scores(degraded, self.image)
        gap = torch.ones(3, self.image.shape[-2], 6)
        self.picture.value = _png(torch.cat([self.image[0], gap, degraded[0]], dim=2))
        self.scores.value = f"left clean, right degraded: <b>PSNR {decibels:.2f} dB, SSIM {similarity:.3f}</b>"
        self.json.value = self.parameters.to_json()


def _png(image: Tensor) -> bytes:
    from PIL import Image

    from course_lib.images import to_uint8

    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image).permute(1, 2, 0).numpy()).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@dataclass
class Playground:
    """What `playground` showed: `shown` is "sliders" or "pictures", `why` says why, `sliders` is there in the first case."""

    image: Tensor
    shown: str
    why: str
    sliders: Sliders | None

    def pictures(self, kinds: Sequence[str], *, levels: int = 3, seed: int = 0):
        """(figure, table) of `strength_grid`, the figure headed by whether it stands in for the sliders."""
        words = "pictures in place of the sliders" if self.shown == "pictures" else "the sliders' kinds, from mild to strong"
        return strength_grid(self.image, kinds, levels=levels, seed=seed, title=words)


def playground(image: Tensor, kinds: Sequence[str] | None = None, *, seed: int = 0, widgets: str = "auto") -> Playground:
    """Show sliders for `kinds` (default: all) on one picture in [0, 1] where they can be seen; says what was shown, and why.

    `widgets`: "auto", "yes" or "no", see `widgets_can_show`. Where sliders cannot show, `.pictures(kinds)` draws the same kinds.
    Raises ValueError for an unknown kind or a batch.
    """
    kinds = list(known_kinds() if kinds is None else kinds)
    if strange := [name for name in kinds if name not in known_kinds()]:
        raise ValueError(f"unknown degradation {strange[0]!r}; there are {', '.join(known_kinds())}")
    seen, why = widgets_can_show(widgets)
    image, sliders = _one(image), None
    if seen:
        try:
            sliders = Sliders(image, kinds, seed)
        except ImportError:
            seen, why = False, "ipywidgets is not installed"
    if seen:
        from IPython.display import display

        display(sliders.box)
    hint = "" if seen else " To force sliders: playground(image, widgets='yes')."
    print(f"Shown: {'sliders' if seen else 'pictures, not sliders'}, because {why}.{hint}")
    return Playground(image, "sliders" if seen else "pictures", why, sliders)
