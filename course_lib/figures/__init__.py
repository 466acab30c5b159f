"""Figures of the course: comparison strips, curves, data-flow diagrams. Each function returns a matplotlib Figure.

A figure made here is not known to pyplot: show it as the last line of a cell (or with `display`), save it with `savefig`.
"""

from course_lib.figures.compare import bars, difference, grid, strip
from course_lib.figures.curves import cost_curves, fit_slope, read_log, training_curves
from course_lib.figures.dataflow import dataflow_diagram, layer_table, trace

__all__ = [
    "bars",
    "cost_curves",
    "dataflow_diagram",
    "difference",
    "fit_slope",
    "grid",
    "layer_table",
    "read_log",
    "strip",
    "trace",
    "training_curves",
]
