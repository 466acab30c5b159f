"""Pictures in and out. Everywhere else an image is a float tensor (B, 3, H, W), RGB, in [0, 1]."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.paths import write_atomic

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


class ImageError(ValueError):
    """A file that is not a readable image; the message names it."""


def load_image(path: str | Path) -> Tensor:
    """Read an image file as (3, H, W) float32 RGB in [0, 1], upright.

    The EXIF orientation is applied, grey is repeated to three channels, transparency is laid over white, 16 bit keeps its precision.
    Raises ImageError (missing, truncated, not an image), naming the file.
    """
    from PIL import Image, ImageOps

    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not an image")
    try:
        with Image.open(path) as file:
            file.load()
            picture = ImageOps.exif_transpose(file)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such image") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: {error}") from None
    except (OSError, EOFError, SyntaxError, ValueError, IndexError, struct.error, zlib.error) as error:  # what Pillow's readers raise
        raise ImageError(f"{path}: cannot be read as an image ({error}); it may be truncated, fetch it again") from None
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        array = np.asarray(picture, dtype=np.float32)
        if picture.mode != "F":  # float files hold [0, 1] already
            array = array / 65535.0
        return torch.from_numpy(np.repeat(array[None], 3, axis=0)).clamp_(0, 1)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    array = np.array(picture.convert("RGB"), dtype=np.uint8)  # (H, W, 3)
    return torch.from_numpy(array).permute(2, 0, 1).to(torch.float32).div_(255.0).contiguous()


def to_uint8(image: Tensor) -> Tensor:
    """Round an image in [0, 1] to 8 bit, same shape, uint8; values outside are clipped. Raises ValueError on NaN."""
    if not torch.isfinite(image).all():
        raise ValueError("to_uint8: the image holds NaN or infinite values")
    return image.detach().float().clamp(0, 1).mul(255).round_().to(torch.uint8)


def save_image(image: Tensor, path: str | Path) -> Path:
    """Write (3, H, W) or (1, 3, H, W) in [0, 1] as an image file whose kind is the suffix. Raises ValueError, OSError."""
    from PIL import Image

    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"save_image wants (3, H, W), not {tuple(image.shape)}")
    path = Path(path)
    kinds = {".jpg": "JPEG", ".tif": "TIFF"}
    kind = kinds.get(path.suffix.lower(), path.suffix[1:].upper())
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f"{path}: unknown image suffix; use one of {', '.join(sorted(IMAGE_SUFFIXES))}")
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image).permute(1, 2, 0).cpu().numpy()).save(buffer, format=kind)
    return write_atomic(path, buffer.getvalue())


def list_images(folder: str | Path) -> list[Path]:
    """The image files directly in `folder`, sorted by name. Raises ImageError when there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder of images")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not files:
        raise ImageError(f"{folder}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return files


def pad_to_multiple(image: Tensor, multiple: int = 8) -> tuple[Tensor, tuple[int, int]]:
    """Pad (B, C, H, W) at the bottom and right until both sides divide by `multiple`; returns it and the old (H, W).

    Reflects, as the official evaluations do; a side too short to reflect (H <= padding) repeats its edge instead.
    """
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    for amount, side, pad in ((bottom, height, (0, 0, 0, bottom)), (right, width, (0, right, 0, 0))):
        if amount:
            image = F.pad(image, pad, mode="reflect" if amount < side else "replicate")
    return image, (height, width)
