"""Restoring images of any size: whole, or in overlapping tiles with bounded memory and no seams."""

import math

import torch
from torch import Tensor, nn

from course_lib.images import pad_to_multiple

GRID = 8  # tiles begin and end on multiples of this, so that models with up to three halvings see the same grid in every tile


def size_multiple(model: nn.Module) -> int:
    """What the sides of the model's images must divide by: the largest `size_multiple` that it or a part of it states.

    1 for a module that states none; 8 for a plain function, which cannot state any.
    """
    if not isinstance(model, nn.Module):
        return GRID
    return max(getattr(module, "size_multiple", 1) for module in model.modules())


def restore(model: nn.Module, image: Tensor) -> Tensor:
    """Restore (B, 3, H, W) of any size at once: padded to the model's `size_multiple`, cropped; float32, no gradients, not clipped."""
    padded, (height, width) = pad_to_multiple(image, size_multiple(model))
    with torch.inference_mode():
        return model(padded)[..., :height, :width].float()


def _starts(size: int, tile: int, stride: int) -> list[int]:
    """Where tiles begin along an axis of `size`: every `stride`, the last one moved back so that it ends at the edge."""
    if size <= tile:
        return [0]
    count = math.ceil((size - tile) / stride) + 1
    return [min(i * stride, size - tile) for i in range(count)]


def _ramp(tile: int, overlap: int) -> int:
    """Length of the blend between two tiles: half the overlap where there is room, a multiple of 8 as all tile positions must be."""
    return min(GRID * math.ceil(overlap / 2 / GRID), tile - 2 * overlap - GRID)


def _window(tile: int, overlap: int, ramp: int, starts_here: bool, ends_here: bool, device) -> Tensor:
    """Weights (tile,) along an axis: 0 in the outer `overlap` pixels, a ramp over the next `ramp`, then 1.

    Neighbouring tiles share 2*overlap + ramp pixels, so a pixel counts only where all of `overlap` lies between it and the tile's
    cut edge. At the edge of the image there is nothing to blend with.
    """
    position = torch.arange(tile, device=device, dtype=torch.float32)
    from_start = ((position + 0.5 - overlap) / max(1, ramp)).clamp(0, 1)
    weight = torch.ones(tile, device=device)
    if not starts_here:
        weight = weight * from_start
    if not ends_here:
        weight = weight * from_start.flip(0)
    return weight


def restore_tiled(model: nn.Module, image: Tensor, tile: int = 512, overlap: int = 32, progress: bool = False) -> Tensor:
    """Restore (B, 3, H, W) of any size in tiles of `tile` pixels a side, (B, 3, H, W) float32 on the image's device, not clipped.

    Each tile sees `overlap` pixels of context on every inner side, beyond the strip where it is blended linearly with its neighbour; where
    a model is local and `overlap` covers its receptive field, the result is the whole-image result. Restormer attends over the whole tile,
    so tiles differ from the whole image, without seams. Memory: one tile's activations plus two images.
    Both numbers are rounded up to multiples of 8, and a tile too small for its overlap is enlarged to twice the overlap + 16.
    Raises ValueError for a tile below 1 or a negative overlap.
    """
    if image.ndim != 4:
        raise ValueError(f"restore_tiled wants (B, 3, H, W), not {tuple(image.shape)}")
    if tile < 1 or overlap < 0:
        raise ValueError(f"restore_tiled: tile ({tile}) and overlap ({overlap}) must be at least 1 and 0")
    overlap = GRID * math.ceil(overlap / GRID)
    tile = max(GRID * math.ceil(tile / GRID), 2 * overlap + 2 * GRID)
    ramp = _ramp(tile, overlap)
    stride = tile - 2 * overlap - ramp
    padded, (height, width) = pad_to_multiple(image, size_multiple(model))
    H, W = padded.shape[-2:]
    if H <= tile and W <= tile:
        return restore(model, image)
    tile_h, tile_w = min(tile, H), min(tile, W)
    tops, lefts = _starts(H, tile_h, stride), _starts(W, tile_w, stride)

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
            down = _window(tile_h, overlap, ramp, top == 0, top + tile_h == H, padded.device)
            across = _window(tile_w, overlap, ramp, left == 0, left + tile_w == W, padded.device)
            weight = torch.outer(down, across)  # (tile_h, tile_w)
            total[..., rows, columns] += restored * weight
            weights[..., rows, columns] += weight
    return total.div_(weights)[..., :height, :width]
