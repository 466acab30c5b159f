"""Pictures side by side: degraded / restored / clean strips with a zoomed inset, and maps of the error that is left."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.figures.style import INK, PALETTE, new_figure, style

Zoom = tuple[int, int, int, int] | str | None
_SMALLEST_ZOOM = 24  # pixels; below this side there is nothing to zoom into
_INSET = 0.42  # side of the inset as a share of the panel


def _images(images: Mapping[str, Tensor], clean_key: str | None) -> dict[str, Tensor]:
    """Check a mapping of name -> (3, H, W) or (1, 3, H, W) and return float32 (3, H, W) on the CPU."""
    if not images:
        raise ValueError("no images to show; give a dict such as {'degraded': x, 'restored': y, 'clean': z}")
    if clean_key is not None and clean_key not in images:
        raise ValueError(f"no image named {clean_key!r} among {list(images)}; name the clean one, or clean_key=None where there is none")
    checked = {}
    for name, image in images.items():
        shape = tuple(image.shape)
        image = image[0] if image.ndim == 4 and shape[0] == 1 else image
        if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
            raise ValueError(f"image {name!r} has shape {shape}; expected (3, H, W) or (1, 3, H, W): show one image of a batch at a time")
        checked[name] = image.detach().to("cpu", torch.float32)
    sizes = {name: tuple(image.shape[-2:]) for name, image in checked.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"images of one strip must have one size (height, width), not {sizes}")
    return checked


def detail_box(image: Tensor, share: float = 0.22) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the square patch with the largest mean gradient of an image (3, H, W).

    The side is `share` of the shorter side, at least 12 pixels and never more than the image.
    """
    height, width = image.shape[-2:]
    side = min(height, width, max(12, round(share * min(height, width))))
    grey = image.mean(0)
    gradient = torch.zeros_like(grey)
    gradient[:, :-1] += (grey[:, 1:] - grey[:, :-1]).abs()
    gradient[:-1, :] += (grey[1:, :] - grey[:-1, :]).abs()
    stride = max(1, side // 4)
    score = F.avg_pool2d(gradient.to(torch.float64)[None, None], side, stride)[0, 0]
    best = int(score.argmax())
    return best // score.shape[1] * stride, best % score.shape[1] * stride, side, side


def _zoom_box(zoom: Zoom, reference: Tensor) -> tuple[int, int, int, int] | None:
    height, width = reference.shape[-2:]
    if zoom is None or (zoom == "auto" and min(height, width) < _SMALLEST_ZOOM):
        return None
    if isinstance(zoom, str):
        if zoom != "auto":
            raise ValueError(f"zoom={zoom!r}; give 'auto', None or (top, left, height, width)")
        return detail_box(reference)
    if len(zoom) != 4:
        raise ValueError(f"zoom={zoom}; give (top, left, height, width) in pixels")
    top, left, box_height, box_width = (int(v) for v in zoom)
    if min(top, left) < 0 or min(box_height, box_width) < 1 or top + box_height > height or left + box_width > width:
        raise ValueError(f"zoom={tuple(zoom)} does not lie inside the {height}x{width} image; give (top, left, height, width)")
    return top, left, box_height, box_width


def _score(image: Tensor, clean: Tensor) -> str:
    from course_lib.metrics import psnr

    value = float(psnr(image[None], clean[None]))
    if value == float("inf"):
        return "equal to clean"
    return f"{value:.2f} dB"


def _outline(width: float):
    """White line on a dark rim: seen on any picture, and in grey."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width + 2, foreground="black"), Normal()]


def _show(axes, image: Tensor, **kwargs) -> None:
    array = image.permute(1, 2, 0) if image.ndim == 3 else image
    axes.imshow(array.clamp(0, 1).nan_to_num(0).numpy() if image.ndim == 3 else array.numpy(), interpolation="nearest", **kwargs)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _inset(axes, image: Tensor, box: tuple[int, int, int, int], **kwargs) -> None:
    """Mark `box` in the panel and enlarge it in the corner farthest from it."""
    from matplotlib.patches import Rectangle

    top, left, height, width = box
    image_height, image_width = image.shape[-2:]
    axes.add_patch(
        Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor="white", linewidth=1.2, path_effects=_outline(1.2))
    )
    # Both sides are shares of the panel, so that the inset keeps the box's own proportions.
    scale = _INSET * min(image_height, image_width) / max(height, width)
    share_x, share_y = min(0.9, scale * width / image_width), min(0.9, scale * height / image_height)
    x = 0.02 if left + width / 2 > image_width / 2 else 0.98 - share_x
    y = 0.02 if top + height / 2 <= image_height / 2 else 0.98 - share_y  # axes y runs upwards, rows run downwards
    small = axes.inset_axes((x, y, share_x, share_y))
    _show(small, image[..., top : top + height, left : left + width], aspect="auto", **kwargs)
    small.set_label("zoom")
    frame = {"fill": False, "edgecolor": "white", "linewidth": 1.6, "path_effects": _outline(1.6)}
    small.add_patch(Rectangle((0, 0), 1, 1, transform=small.transAxes, clip_on=False, **frame))


def _draw_row(panels, images: dict[str, Tensor], zoom: Zoom, clean_key: str | None) -> None:
    reference = images[clean_key] if clean_key is not None else list(images.values())[-1]
    box = _zoom_box(zoom, reference)
    for axes, (name, image) in zip(panels, images.items(), strict=False):
        _show(axes, image)
        scored = clean_key is not None and name != clean_key
        axes.set_title(f"{name}\n{_score(image, reference)}" if scored else name, color=INK)
        if box:
            _inset(axes, image, box)


def _panel_size(rows: Sequence[dict[str, Tensor]], width: float) -> tuple[float, list[float]]:
    """Width of a panel and the height of each row's panels, in inches."""
    panel = min(3.2, width / max(len(row) for row in rows))
    return panel, [panel * min(2.0, max(image.shape[-2] / image.shape[-1] for image in row.values())) for row in rows]


def strip(images: Mapping[str, Tensor], *, zoom: Zoom = "auto", clean_key: str | None = "clean", title: str = "", width: float = 9.0):
    """Figure of images side by side, the same box enlarged in each, PSNR against the clean one in the titles.

    `images`: name -> (3, H, W) or (1, 3, H, W), RGB. Shown clamped to [0, 1]; PSNR is taken of the values as given (dB, range 1).
    `zoom`: (top, left, height, width) in pixels, None, or "auto" (the most detailed patch of the clean image; none under 24 pixels).
    `clean_key=None` where no clean image exists: then no PSNR is printed. `width`: inches at most.
    Raises ValueError for a missing clean image, wrong shapes, unequal sizes or a box outside the image.
    """
    return grid([images], zoom=zoom, clean_key=clean_key, titles=None, title=title, width=width)


def grid(
    rows: Sequence[Mapping[str, Tensor]],
    *,
    zoom: Zoom = "auto",
    clean_key: str | None = "clean",
    titles: Sequence[str] | None = None,
    title: str = "",
    width: float = 9.0,
):
    """Figure of several strips under each other; each row is a dict as in `strip` and has its own zoom when it is "auto".

    `titles`: one label a row, at its left. Raises ValueError as `strip` does, and when rows and titles differ in number.
    """
    if not rows:
        raise ValueError("no rows to show; give a list of dicts such as [{'degraded': x, 'clean': z}]")
    if titles is not None and len(titles) != len(rows):
        raise ValueError(f"{len(rows)} rows but {len(titles)} row titles; give one a row")
    checked = [_images(row, clean_key) for row in rows]
    panel, heights = _panel_size(checked, width)
    columns = max(len(row) for row in checked)
    with style():
        figure = new_figure(panel * columns, sum(heights) + 0.5 * len(rows) + (0.35 if title else 0))
        axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
        for index, row in enumerate(checked):
            _draw_row(axes[index], row, zoom, clean_key)
            for empty in axes[index, len(row) :]:
                empty.set_axis_off()
            if titles is not None:
                axes[index, 0].set_ylabel(titles[index])
        if title:
            figure.suptitle(title)
    return figure


def difference(
    images: Mapping[str, Tensor],
    *,
    clean_key: str = "clean",
    zoom: Zoom = None,
    limit: float | None = None,
    title: str = "",
    width: float = 9.0,
):
    """Figure of |image - clean|, mean over RGB, of every other image on ONE colour scale, mean error in the titles.

    `images` as in `strip`. `limit`: end of the scale; by default the 99.5th percentile over all maps, larger errors being drawn
    as the end colour. The colour map grows steadily in lightness, so it also reads in grey. Raises ValueError as `strip` does.
    """
    checked = _images(images, clean_key)
    clean = checked.pop(clean_key)
    if not checked:
        raise ValueError(f"only the clean image {clean_key!r} was given; add at least one image to compare with it")
    maps = {name: (image - clean).abs().mean(0).nan_to_num(float("inf")) for name, image in checked.items()}
    if limit is None:
        values = torch.cat([m.flatten() for m in maps.values()]).sort().values
        limit = float(values[min(len(values) - 1, int(0.995 * len(values)))])
        limit = limit if 0 < limit < float("inf") else 1.0
    box = _zoom_box(zoom, clean)
    panel, heights = _panel_size([checked], width - 0.9)
    with style():
        figure = new_figure(panel * len(maps) + 0.9, heights[0] + 0.5 + (0.35 if title else 0))
        axes = figure.subplots(1, len(maps), squeeze=False)[0]
        scale = {"cmap": "cividis", "vmin": 0.0, "vmax": limit}
        for panel_axes, (name, error) in zip(axes, maps.items(), strict=True):
            _show(panel_axes, error, **scale)
            panel_axes.set_title(f"{name}\nmean error {float(error.mean()):.4f}", color=INK)
            if box:
                _inset(panel_axes, error, box, **scale)
        bar = figure.colorbar(axes[0].images[0], ax=list(axes), extend="max", shrink=0.85, aspect=25)
        bar.set_label(f"|image - {clean_key}|, mean over RGB")
        if title:
            figure.suptitle(title)
    return figure


def bars(values: Mapping[str, float], *, label: str = "PSNR (dB)", baseline: str | None = None, title: str = ""):
    """Horizontal bars with the number written at each; `baseline` names the bar that the others are compared with.

    Raises ValueError for an empty mapping or an unknown baseline.
    """
    if not values:
        raise ValueError("no values to draw; give a dict such as {'degraded': 20.2, 'restored': 28.1}")
    if baseline is not None and baseline not in values:
        raise ValueError(f"baseline {baseline!r} is not among {list(values)}")
    with style():
        figure = new_figure(6.0, 0.8 + 0.36 * len(values))
        axes = figure.subplots()
        drawn = axes.barh(list(values), list(values.values()), color=PALETTE[5], edgecolor=INK, height=0.6)
        texts = [f"{v:.2f}" for v in values.values()]
        if baseline is not None:
            texts = [t if k == baseline else f"{t} ({v - values[baseline]:+.2f})" for t, (k, v) in zip(texts, values.items(), strict=True)]
            axes.axvline(values[baseline], color=INK, linestyle="--", linewidth=1)
            drawn[list(values).index(baseline)].set(facecolor="white", hatch="//")
        axes.bar_label(drawn, texts, padding=3, fontsize=8)
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.set_xlabel(label)
        axes.set_title(title)
    return figure
