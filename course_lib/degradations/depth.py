"""Distance maps for haze. THE CONVENTION: distance in [0, 1], 0 at the camera (near), 1 at the farthest point (sky).

Depth maps of the field are mostly the other way round: disparity, the maps of CDD-11 and those of monocular networks are BRIGHT
where the scene is NEAR. Turn them first: `distance_from_disparity` for true disparity, `1 - map` for a near-is-bright map in [0, 1].
Used unturned, the fog would hang in the foreground and leave the horizon clear.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NEAREST = (0.06, 0.25)  # distance of the ground at the lower edge, as a share of the farthest
MOST_OBJECTS = 7


def procedural_depth(height: int, width: int, rng: np.random.Generator) -> Tensor:
    """An INVENTED distance map (1, 1, height, width) in [0, 1], 0 near, 1 far, float32: not the depth of any photograph.

    A flat ground in perspective runs up to a horizon at a random height; above it lies the sky (1), ridges of hills before it, and
    trees or buildings stand on the ground at random places and hide what is behind; a smooth fractal unevenness varies all but
    the sky. Places are drawn as shares of the sides, so that one seed gives one scene at every size. Raises ValueError.
    """
    if min(height, width) < 1:
        raise ValueError(f"procedural_depth: the sides must be at least 1 pixel, got {height}x{width}")
    y = ((np.arange(height) + 0.5) / height)[:, None]  # 0 at the top, 1 at the bottom
    x = ((np.arange(width) + 0.5) / width)[None, :]
    horizon, nearest = rng.uniform(0.15, 0.6), rng.uniform(*NEAREST)
    distance = np.broadcast_to(_ground(y, horizon, nearest), (height, width))
    for ridge in (0.85, 0.7, 0.55):  # hills, from the farthest on
        top = horizon - rng.uniform(-0.05, 0.22) * (1 - ridge) * 3 + 0.06 * _profile(x, rng)
        hill = ridge + rng.uniform(-0.05, 0.05)
        distance = np.where((y > top) & (distance > hill), hill, distance)
    objects = [_draw_object(rng) for _ in range(rng.integers(0, MOST_OBJECTS + 1))]
    for foot, *shape in objects:
        foot = horizon + foot * (1.1 - horizon)  # feet below the lower edge are common in photographs
        own = float(_ground(np.float64(min(foot, 1.0)), horizon, nearest))
        distance = np.where(_object_mask(x, y, foot, own, shape), np.minimum(distance, own), distance)
    uneven = 1 + 0.12 * _fractal(height, width, rng)
    distance = np.where(distance < 1, np.clip(distance * uneven, 0, 1), 1)
    return torch.from_numpy(np.ascontiguousarray(distance, dtype=np.float32))[None, None]


def distance_from_disparity(disparity: Tensor) -> Tensor:
    """Distance in [0, 1] (0 near, 1 far) of true disparity (near is large), same shape, float32 or the given floating dtype.

    Distance is as one over disparity (stereo with parallel cameras: Z = focal length x baseline / disparity), scaled so that the
    farthest point seen is 1. Zero and negative disparity means infinitely far: 1. NaN and infinite values mark pixels without a
    measurement: they take the farther of the closest measured pixels to their left and right (what one camera cannot see lies
    behind), and 1 on a row without any. Raises ValueError when nothing is measured.
    """
    disparity = disparity if disparity.is_floating_point() else disparity.float()
    known = torch.isfinite(disparity)
    seen = known & (disparity > 0)
    if not seen.any():
        raise ValueError("distance_from_disparity: no finite disparity above 0 in the map")
    distance = torch.where(seen, disparity[seen].min() / torch.where(seen, disparity, 1), 1.0).to(disparity.dtype)
    return torch.where(known, distance, torch.maximum(_carry(distance, known), _carry(distance.flip(-1), known.flip(-1)).flip(-1)))


def motorcycle() -> tuple[Tensor, Tensor]:
    """A photograph (3, 500, 741) in [0, 1] with its measured distance (1, 500, 741) in [0, 1], 0 near, 1 far.

    The left image and the true disparity of Middlebury's Motorcycle (Scharstein et al., GCPR 2014), as scikit-image carries them
    (`skimage.data.stereo_motorcycle`). Raises FileNotFoundError, saying what to do, where scikit-image comes without the picture.
    """
    from skimage.data import stereo_motorcycle

    try:
        left, _, disparity = stereo_motorcycle()
    except (OSError, ImportError, ValueError) as error:  # not in this build, and no pooch or network to fetch it whole
        raise FileNotFoundError(
            "motorcycle: this scikit-image has no motorcycle picture and could not fetch it; install scikit-image from a wheel "
            f"(pip install --force-reinstall scikit-image), or once, online: pip install pooch, then call motorcycle() again ({error})"
        ) from error
    image = torch.from_numpy(np.ascontiguousarray(left.transpose(2, 0, 1))).to(torch.float32) / 255
    return image, distance_from_disparity(torch.from_numpy(disparity)[None])


def _ground(y: np.ndarray, horizon: float, nearest: float) -> np.ndarray:
    """Distance of a flat ground: in perspective its disparity grows linearly from the horizon (distance 1) to the lower edge."""
    down = np.clip((y - horizon) / (1 - horizon), 0, 1)
    return 1 / (1 + down * (1 / nearest - 1))


def _draw_object(rng: np.random.Generator) -> tuple[float, float, float, float, bool]:
    """Foot (share of the ground's height), place, height and width at distance 0.12 in shares of the picture, and whether it is round."""
    tall, wide = rng.uniform(0.3, 1.2), rng.uniform(0.15, 0.5)
    return rng.random() ** 2 * 0.98 + 0.02, rng.uniform(-0.05, 1.05), tall, wide, bool(rng.random() < 0.6)


def _object_mask(x: np.ndarray, y: np.ndarray, foot: float, own: float, shape: tuple[float, float, float, bool]) -> np.ndarray:
    """Where an object with its foot at height `foot` and distance `own` stands: a box or a round crown; farther ones are smaller."""
    place, tall, wide, is_round = shape
    size = 0.12 / own
    across, up = (x - place) / (wide * size / 2), (foot - y) / (tall * size)
    if is_round:
        return np.abs(across) ** 2.5 + np.abs(2 * up - 1) ** 2.5 < 1
    return (np.abs(across) < 1) & (up > 0) & (up < 1)


def _profile(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth line over `x` (1, W): waves of falling height, about within -1 ... 1."""
    waves = np.arange(1, 6)
    phases, heights = rng.uniform(0, 2 * np.pi, waves.size), rng.standard_normal(waves.size) / waves
    return sum(h * np.sin(np.pi * k * x * 1.7 + p) for k, p, h in zip(waves, phases, heights, strict=True))


def _fractal(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth random field (height, width) of standard deviation about 1: grids of 3, 6 and 12 cells a side, each half as strong."""
    field = torch.zeros(1, 1, height, width)
    for octave, cells in enumerate((3, 6, 12)):
        grid = torch.from_numpy(rng.standard_normal((1, 1, cells, cells), dtype=np.float32))
        field += F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=True) / 2**octave
    return field[0, 0].numpy()


def _carry(values: Tensor, known: Tensor) -> Tensor:
    """Each row's last known value so far from the left, 0 before the first and 1 on a row without any."""
    columns = torch.arange(values.shape[-1], device=values.device).expand_as(values)
    last = torch.where(known, columns, -1).cummax(-1).values
    carried = torch.where(last >= 0, values.gather(-1, last.clamp(min=0)), 0.0)
    return torch.where(known.any(-1, keepdim=True), carried, 1.0)
