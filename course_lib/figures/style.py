"""The look that all course figures share. Nothing here touches matplotlib's global settings or needs a display."""

from contextlib import contextmanager
from functools import cache

# Okabe & Ito's colour-blind-safe palette, ordered so that neighbours also differ in lightness (grey prints).
PALETTE = ("#0072B2", "#E69F00", "#000000", "#CC79A7", "#009E73", "#56B4E9")
LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
INK = "#222222"

_SETTINGS = {
    "font.size": 9,
    "font.family": ["sans-serif"],
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "figure.titlesize": 11,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.usetex": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def style():
    """Use the course's matplotlib settings inside the block only; whatever the user had set comes back after it."""
    from matplotlib.style import context

    with context(["default", _SETTINGS]):
        yield


@cache
def _figure_class():
    from io import BytesIO

    from matplotlib.figure import Figure

    class CourseFigure(Figure):
        """A figure that notebooks show once, as a PNG, and that pyplot knows nothing of (so there is nothing to close)."""

        def _repr_png_(self) -> bytes:
            buffer = BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

        def draw(self, renderer):
            # Ticks are made while drawing, so the user's own settings (a dark theme, say) would get into them here.
            with style():
                super().draw(renderer)

        def __reduce_ex__(self, protocol):
            # The class is made on first use, so pickle could not find it by name: a copy becomes a plain Figure.
            _, _, *state = super().__reduce_ex__(protocol)
            return Figure, (), *state

    return CourseFigure


def new_figure(width: float, height: float):
    """Empty matplotlib Figure of `width` x `height` inches, 100 dpi, with constrained layout."""
    return _figure_class()(figsize=(width, height), dpi=100, layout="constrained")


def line_style(index: int) -> dict:
    """Colour, dash pattern and marker of the `index`-th series: three cues, so that colour is never the only one."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": LINES[index % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
    }
