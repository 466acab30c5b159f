"""Restoring images of any size: whole, or in overlapping tiles with bounded memory and no seams."""

import math

import torch
from torch import Tensor, nn

from course_lib.images import pad_to_multiple

MULTIPLE = 8  # the models halve the image three times


def restore(model: nn.Module, image: Tensor) -> Tensor:
    """Restore (B, 3, H, W) of any size at once: padded to multiples of 8, restored without gradients, cropped; float32, not clipped."""
    padded, (height, width) = pad_to_multiple(image, MULTIPLE)
    with torch.inference_mode():
        return model(padded)[..., :height, :width].float()


def _starts(size: int, tile: int, stride: int) -> list[int]:
    """Where tiles begin along an axis of `size`: every `stride`, the last one moved back so that it ends at the edge."""
    if size <= tile:
        return [0]
    count = math.ceil((size - tile) / stride) + 1
    return [min(i * stride, size - tile) for i in range(count)]


def _window(tile: int, overlap: int, starts_here: bool, ends_here: bool, device) -> Tensor:
    """Weights (tile,) along an axis: 0 in the outer part that sees no neighbours, a ramp in the middle of the overlap, 1 inside.

    Neighbouring tiles share 2*overlap pixels. The ramp covers the middle `overlap/2` of them, so a pixel counts only where at
    least 3/4 of `overlap` lies between it and the tile's cut edge. At the edge of the image there is nothing to blend with.
    """
    position = torch.arange(tile, device=device, dtype=torch.float32)
    ramp = max(1.0, overlap / 2)
    inside = overlap - ramp / 2
    from_start = ((position + 0.5 - inside) / ramp).clamp(0, 1)
    weight = torch.ones(tile, device=device)
    if not starts_here:
        weight = weight * from_start
    if not ends_here:
        weight = weight * from_start.flip(0)
    return weight


def restore_tiled(model: nn.Module, image: Tensor, tile: int = 512, overlap: int = 32, progress: bool = False) -> Tensor:
    """Restore (B, 3, H, W) of any size in tiles of `tile` pixels a side, (B, 3, H, W) float32 on the image's device, not clipped.

    Each tile sees `overlap` pixels of context on every inner side (neighbours share twice that) and is blended in linearly; where
    a model is local and `overlap` covers its receptive field, the result is the whole-image result. Restormer attends over the whole tile,
    so tiles differ from the whole image, without seams. Memory: one tile's activations plus two images.
    Raises ValueError for a tile that is no multiple of 8 or not larger than twice the overlap.
    """
    if image.ndim != 4:
        raise ValueError(f"restore_tiled wants (B, 3, H, W), not {tuple(image.shape)}")
    if tile % MULTIPLE or overlap % MULTIPLE or tile <= 2 * overlap or overlap < 0:
        raise ValueError(f"restore_tiled: tile ({tile}) and overlap ({overlap}) must divide by {MULTIPLE}, and the tile exceed twice the overlap")
    padded, (height, width) = pad_to_multiple(image, MULTIPLE)
    H, W = padded.shape[-2:]
    if H <= tile and W <= tile:
        return restore(model, image)
    tile_h, tile_w = min(tile, H), min(tile, W)
    tops, lefts = _starts(H, tile_h, tile - 2 * overlap), _starts(W, tile_w, tile - 2 * overlap)

    total = torch.zeros_like(padded, dtype=torch.float32)
    weights = torch.zeros(1, 1, H, W, device=padded.device)
    places = [(top, left) for top in tops for left in lefts]
    if progress:
        from tqdm import tqdm

        places = tqdm(places, desc="restoring", unit="tile", mininterval=1.0)
    with torch.inference_mode():
        for top, left in places:
            rows, columns = slice(top, top + tile_h), slice(left, left + tile_w)
            restored = model(padded[..., rows, columns]).float()
            down = _window(tile_h, overlap, top == 0, top + tile_h == H, padded.device)
            across = _window(tile_w, overlap, left == 0, left + tile_w == W, padded.device)
            weight = torch.outer(down, across)  # (tile_h, tile_w)
            total[..., rows, columns] += restored * weight
            weights[..., rows, columns] += weight
    return total.div_(weights)[..., :height, :width]
