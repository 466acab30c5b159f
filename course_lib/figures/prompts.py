"""Pictures of what a network knows about a degradation: prompt components and weights, swaps of prompts, embeddings drawn by t-SNE."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from course_lib.figures.style import INK, MARKERS, PALETTE, new_figure, style

_EXAGGERATED = 12.0  # van der Maaten & Hinton, 2008, sec. 3.4: large P at first, so that clusters form early
_PERPLEXITY_STEPS = 60


def _affinities(points: Tensor, perplexity: float) -> Tensor:
    """Symmetric neighbour probabilities (n, n), each point's Gaussian as wide as gives it `perplexity` neighbours."""
    squared = torch.cdist(points, points).square()
    squared = squared / squared.mean().clamp_min(1e-300)  # the search below then starts near the right width
    itself = torch.eye(len(points), dtype=torch.bool)
    low, high = torch.full((len(points), 1), -20.0).double(), torch.full((len(points), 1), 20.0).double()
    wanted = torch.tensor(perplexity).double().log()
    for _ in range(_PERPLEXITY_STEPS):  # the entropy falls as the width shrinks: bisection on log(1 / (2 width^2))
        middle = (low + high) / 2
        p = (-squared * middle.exp()).masked_fill(itself, -torch.inf).softmax(dim=1)
        entropy = -(p * p.clamp_min(1e-300).log()).sum(1, keepdim=True)
        low, high = torch.where(entropy > wanted, middle, low), torch.where(entropy > wanted, high, middle)
    return ((p + p.T) / (2 * len(points))).clamp_min(1e-12)


def tsne(points: Tensor, *, perplexity: float = 15.0, steps: int = 500, seed: int = 0) -> Tensor:
    """Exact t-SNE of (n, d) points -> (n, 2), the same for the same seed; for some hundreds of points.

    Near points stay near; far distances and the sizes of clusters mean little. The perplexity, about the number of neighbours that
    count, is lowered to (n - 1) / 3 for few points. Raises ValueError for fewer than four points. van der Maaten & Hinton, JMLR 2008.
    """
    if points.ndim != 2 or len(points) < 4:
        raise ValueError(f"t-SNE needs (n, d) with at least four points, got {tuple(points.shape)}")
    p = _affinities(points.detach().double().cpu(), min(perplexity, (len(points) - 1) / 3))
    y = 1e-2 * torch.randn(len(points), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    move, gains, rate = torch.zeros_like(y), torch.ones_like(y), max(len(points) / _EXAGGERATED / 4, 50.0)
    for step in range(steps):
        student = 1 / (1 + torch.cdist(y, y).square())  # Student's t with one degree of freedom
        student.fill_diagonal_(0)
        q = (student / student.sum()).clamp_min(1e-12)
        pull = (p * (_EXAGGERATED if step < steps // 3 else 1) - q) * student
        gradient = 4 * (pull.sum(1, keepdim=True) * y - pull @ y)
        gains = torch.where(gradient * move < 0, gains + 0.2, gains * 0.8).clamp_min(0.01)
        move = (0.5 if step < steps // 3 else 0.8) * move - rate * gains * gradient
        y = y + move
    return (y - y.mean(0)).float()


def neighbour_agreement(points: Tensor, labels: Sequence, photographs: Sequence) -> float:
    """Share of (n, d) points whose nearest neighbour from ANOTHER photograph has the same label, 0 to 1.

    Neighbours from the same photograph are left out: they may be near for what they show. Raises ValueError for one photograph alone.
    """
    numbers = {value: place for place, value in enumerate(dict.fromkeys(photographs))}
    if len(numbers) < 2:
        raise ValueError("neighbour_agreement compares photographs with each other; give two or more")
    photo = torch.tensor([numbers[value] for value in photographs])
    distance = torch.cdist(points.double(), points.double()).masked_fill(photo[:, None] == photo, torch.inf)
    nearest = distance.argmin(1).tolist()
    return sum(labels[i] == labels[j] for i, j in enumerate(nearest)) / len(nearest)


def embedding_map(panels: Mapping[str, Tensor], labels: Sequence[str], *, title: str = ""):
    """Figure of point clouds (n, 2) side by side, one colour and one marker a label. Raises ValueError for unequal numbers."""
    for name, points in panels.items():
        if points.shape != (len(labels), 2):
            raise ValueError(f"panel {name!r}: {len(labels)} labels need points ({len(labels)}, 2), got {tuple(points.shape)}")
    groups = list(dict.fromkeys(labels))
    with style():
        figure = new_figure(9, 9 / max(2, len(panels)) + 0.6)
        for axes, (name, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for index, group in enumerate(groups):
                x, y = points[[label == group for label in labels]].T
                look = dict(color=PALETTE[index % len(PALETTE)], marker=MARKERS[index % len(MARKERS)])
                axes.scatter(x, y, s=18, alpha=0.75, linewidths=0, label=group.replace("_", " "), **look)
            axes.set_title(name)
            axes.set(xticks=[], yticks=[])
            axes.set_aspect("equal", adjustable="datalim")
            axes.spines[["top", "right"]].set_visible(True)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(groups), frameon=False)
        if title:
            figure.suptitle(title)
    return figure


def number_map(
    panels: Mapping[str, Tensor],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    digits: int = 2,
    limits: tuple[float, float] | None = None,
    row_label: str = "",
    column_label: str = "",
):
    """Figure of matrices (rows, columns) side by side on one colour scale, every number written into its cell.

    With values below zero, or `limits` that are symmetric, the scale diverges around zero. Raises ValueError for another shape.
    """
    for name, matrix in panels.items():
        if matrix.shape != (len(rows), len(columns)):
            raise ValueError(f"panel {name!r} is {tuple(matrix.shape)}, expected {(len(rows), len(columns))}")
    values = torch.cat([matrix.double().flatten() for matrix in panels.values()]).nan_to_num(0)
    diverging = values.min() < 0 if limits is None else limits[0] == -limits[1]
    largest = float(values.abs().max()) or 1.0
    low, high = limits or ((-largest, largest) if diverging else (0.0, largest))
    names, heads = [row.replace("_", " ") for row in rows], [column.replace("_", " ") for column in columns]
    wide = max(map(len, heads)) > 4
    with style():
        figure = new_figure(min(9, 2.2 + (0.75 if wide else 0.5) * len(columns) * len(panels)), 1.1 + 0.42 * len(rows))
        axes_row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, (name, matrix) in zip(axes_row, panels.items(), strict=True):
            shown = axes.imshow(matrix, cmap="RdBu_r" if diverging else "cividis", vmin=low, vmax=high, aspect="auto")
            for (i, j), value in _cells(matrix):
                colour = shown.cmap(shown.norm(value))
                dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 0.5
                axes.text(j, i, f"{value:.{digits}f}", ha="center", va="center", fontsize=8, color="white" if dark else INK)
            axes.set_xticks(range(len(columns)), heads, rotation=25 if wide else 0, ha="right" if wide else "center")
            axes.set_yticks(range(len(rows)), names)
            axes.set_xlabel(column_label)
            axes.set_title(name)
            axes.tick_params(length=0)
        axes_row[0].set_ylabel(row_label)
        figure.colorbar(shown, ax=list(axes_row), label=label, shrink=0.9, pad=0.02)
    return figure


def _cells(matrix: Tensor):
    return [((i, j), float(matrix[i, j])) for i in range(matrix.shape[0]) for j in range(matrix.shape[1])]


def mixture_figure(components: Tensor, weights: Mapping[str, Tensor], mixed: Mapping[str, Tensor], *, channel: int = 0):
    """Figure: one channel of the components (N, P, S, S); below, for each picture, its weights (N,) and that channel of its prompt.

    `mixed`: picture -> prompt (P, h, w). All maps share one grey scale. Raises ValueError when the names differ.
    """
    if list(weights) != list(mixed):
        raise ValueError(f"weights are for {list(weights)}, prompts for {list(mixed)}; give the same names in the same order")
    count, maps = len(components), [components[:, channel], *[prompt[None, channel] for prompt in mixed.values()]]
    low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
    scale = dict(cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    with style():
        figure = new_figure(9, 1.9 + 1.7 * len(weights))
        top, *below = figure.subfigures(1 + len(weights), 1, height_ratios=[1.9] + [1.7] * len(weights))
        for index, axes in enumerate(top.subplots(1, count)):
            axes.imshow(components[index, channel], **scale)
            axes.set_title(f"component {index}")
            axes.set(xticks=[], yticks=[])
        for part, name in zip(below, weights, strict=True):
            bars, picture = part.subplots(1, 2, width_ratios=[2.6, 1])
            drawn = bars.bar(range(count), weights[name].tolist(), color=PALETTE[5], edgecolor=INK)
            bars.bar_label(drawn, [f"{float(w):.2f}" for w in weights[name]], fontsize=8, padding=2)
            bars.set(ylim=(0, 1.15), xticks=range(count), ylabel="weight", title=f"{name}: its weights")
            bars.set_xlabel("component")
            picture.imshow(mixed[name][channel], **scale)
            picture.set(xticks=[], yticks=[], title="their mixture, resized")
    return figure
