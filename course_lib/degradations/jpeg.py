"""JPEG: degraded = D(Q(E(round(255 clean)))) / 255, the real codec (libjpeg through Pillow), in memory and on the CPU.

E turns RGB into luma and two chroma channels, halves the chroma and takes the cosine transform of 8x8 blocks; Q divides each of the
64 frequencies by its entry of the quantisation table, which the quality scales, and rounds; D undoes E.
Source: ITU-T T.81 | ISO/IEC 10918-1, annexes A and K; the scale 5000/quality below 50 and 200 - 2 quality above is libjpeg's.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from course_lib.degradations.base import Parameters, Seeds, parameter, per_image
from course_lib.images import to_uint8


@dataclass(frozen=True)
class Jpeg(Parameters):
    """JPEG compression. The picture grows worse as `quality` FALLS from 100 to 1 (`worse = -1`); 0 is off."""

    quality: int = parameter(20, draw=(10, 60), limits=(0, 100), means="quality of the codec, 1 worst to 100 best; 0 switches it off")
    subsampling: int = parameter(2, draw=(2, 2), limits=(0, 2), means="chroma: 0 kept whole, 1 halved across, 2 halved both ways (usual)")

    kind = "jpeg"
    equation = r"I = D(Q_q(E(\lfloor 255\, J \rceil))) / 255"
    zero = {"quality": 0}
    strength = "quality"
    worse: ClassVar[int] = -1  # the picture grows worse as the field of `strength` falls; the other kinds have +1

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        return jpeg(clean, self, seeds, clip=clip)


def jpeg(clean: Tensor, parameters: Jpeg | Sequence[Jpeg], seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
    """Compress and expand (B, 3, H, W) in [0, 1]; same shape, dtype and device, on 8-bit levels k/255. Nothing is drawn.

    The codec takes 8 bit: whatever lies outside [0, 1] is cut before it, so `clip` only tells on images where it is off (quality 0).
    Raises ValueError for a wrong shape, seeds or parameters, NaN, or sides above 65535 pixels.
    """
    return per_image(clean, parameters, seeds, clip, _through_the_codec)


def _through_the_codec(image: Tensor, own: Jpeg, _rng: np.random.Generator) -> Tensor:
    from PIL import Image

    if max(image.shape[-2:]) > 65535:
        raise ValueError(f"jpeg: a side may have 65535 pixels at most, the image is {image.shape[-2]}x{image.shape[-1]}")
    array = to_uint8(image[0]).permute(1, 2, 0).cpu().numpy()  # (H, W, 3)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "JPEG", quality=own.quality, subsampling=own.subsampling)
    with Image.open(buffer) as picture:
        expanded = torch.from_numpy(np.array(picture))
    return (expanded.permute(2, 0, 1)[None].to(torch.float64) / 255).to(image)
