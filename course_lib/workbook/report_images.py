"""Images of a notebook: their bytes, kind and printed size."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from pathlib import Path

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
_PAGE_MM, _HEIGHT_MM = 164.0, 132.0  # text width; 45 % of an A4 page


def store_image(folder: Path, data: bytes | None, pixels=None) -> tuple[str, float, float]:
    """Write an image under a name of ours; (file, width mm, height mm) at most a page wide and 45 % of it high."""
    if not data:
        raise ValueError("not an image")
    if b"<svg" in data[:2000].lower():
        extension, (width, height) = "svg", _svg_size(data)
    else:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data)) as image:
                extension, (width, height) = (image.format or "").lower(), image.size
                image.load()
                if extension not in ("png", "jpeg", "gif", "webp"):
                    data, extension = _as_png(image), "png"
        except Exception as error:  # Pillow raises many kinds for a broken file
            raise ValueError("not a readable image") from error
    name = f"{hashlib.sha256(data).hexdigest()[:20]}.{extension}"
    (folder / name).write_bytes(data)
    natural = (pixels / 96 if isinstance(pixels, int | float) and pixels > 0 else width / 110) * 25.4
    millimetres = max(min(natural, _PAGE_MM, _HEIGHT_MM * width / height), 1.0)
    return name, millimetres, millimetres * height / width


def _as_png(image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGBA").save(buffer, "PNG")
    return buffer.getvalue()


def _svg_size(data: bytes) -> tuple[float, float]:
    found = re.search(rb"""viewBox\s*=\s*["']\s*[-\d.]+[\s,]+[-\d.]+[\s,]+([\d.]+)[\s,]+([\d.]+)""", data)
    width, height = (float(found[1]), float(found[2])) if found else (600.0, 400.0)
    return (width, height) if width > 0 and height > 0 else (600.0, 400.0)


def image_bytes(data) -> bytes | None:
    text = "".join(data)
    if "<svg" in text[:2000]:
        return text.encode("utf-8", "replace")
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return None


def image_kind(out) -> str:
    return next((kind for kind in _IMAGES if kind in out.get("data", {})), "")
