"""Mixtures of degradations in a stated order, the eleven tasks of CDD-11 among them; every one can be replayed from its JSON.

CDD-11 (Guo et al., OneRestore, ECCV 2024) spoils a picture in the order low light, rain or snow, haze:

    low:   L = guided filter(guide = illumination map, input = grey(clean), 3x3, eps 0.01)
           x = clip(clean / (L + 1e-7) * (L + 1e-7)^gamma + N(0, n), 0, 1)
    rain:  x = x + mask                     snow:  x = x (1 - mask) + mask
    haze:  t = exp(-min(1 - box22(depth), 0.7) beta),  x = clip(x t + A (1 - t), 0, 1)      depth: near = bright

Nothing clips between rain or snow and haze. Noise comes with low light only, so haze lies over the noise too.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.degradations.base import Parameters, Seeds, check_batch, image_seeds, images_of, parameter
from course_lib.degradations.blur import Defocus, GaussianBlur, MotionBlur
from course_lib.degradations.haze import Haze, fitted_depth
from course_lib.degradations.jpeg import Jpeg
from course_lib.degradations.lime import box_mean, guided_filter, illumination_map
from course_lib.degradations.low_light import LowLight
from course_lib.degradations.noise import GaussianNoise, PoissonGaussian
from course_lib.degradations.rain import Rain
from course_lib.degradations.resample import Resample
from course_lib.degradations.snow import Snow

GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601, what OpenCV's conversion to grey uses
BOX = 22  # CDD-11 smooths its depth maps over 22 pixels
FARTHEST = 0.7  # and lets no point be farther than this


@dataclass(frozen=True)
class Cdd11Low(Parameters):
    """Low light as CDD-11 makes it: a power of the guided illumination, then Gaussian noise."""

    gamma: float = parameter(2.5, draw=(2, 3), limits=(1, 6), means="exponent of the illumination; 1 changes nothing")
    noise: float = parameter(0.055, draw=(0.03, 0.08), limits=(0, 0.5), unit="of full scale", means="standard deviation of the noise")

    kind = "cdd11_low"
    equation = r"I = \mathrm{clip}(J\,(L+10^{-7})^{\gamma-1} + n,\ 0,\ 1)"
    zero = {"gamma": 1.0, "noise": 0.0}
    strength = "gamma"

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        return Composite("cdd11_low", (self,)).apply(clean, seeds, clip=clip)


@dataclass(frozen=True)
class Cdd11Haze(Parameters):
    """Haze as CDD-11 makes it: one grey air light, depth smoothed over 22 pixels and no farther than 0.7."""

    beta: float = parameter(1.5, draw=(1, 2), limits=(0, 6), means="scattering over the depth range")
    air_light: float = parameter(0.75, draw=(0.6, 0.9), limits=(0, 1), means="grey value of the air")

    kind = "cdd11_haze"
    equation = r"I = J\,t + A(1-t),\quad t = e^{-\min(1-\overline{d},\,0.7)\,\beta}"
    zero = {"beta": 0.0}
    strength = "beta"

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        return Composite("cdd11_haze", (self,)).apply(clean, seeds, clip=clip)


DEGRADATIONS: dict[str, type[Parameters]] = {
    kind.kind: kind
    for kind in (
        GaussianNoise, PoissonGaussian, GaussianBlur, MotionBlur, Defocus, Jpeg, Resample, Rain, Snow, Haze, LowLight, Cdd11Low, Cdd11Haze,
    )
}  # fmt: skip

_CDD11 = {"low": "cdd11_low", "haze": "cdd11_haze", "rain": "rain", "snow": "snow"}
CDD11_TASKS: dict[str, tuple[str, ...]] = {
    "low": ("low",), "haze": ("haze",), "rain": ("rain",), "snow": ("snow",),
    "low_haze": ("low", "haze"), "low_rain": ("low", "rain"), "low_snow": ("low", "snow"),
    "haze_rain": ("rain", "haze"), "haze_snow": ("snow", "haze"),
    "low_haze_rain": ("low", "rain", "haze"), "low_haze_snow": ("low", "snow", "haze"),
}  # fmt: skip
"""The eleven tasks by the names of the published folders, with their steps in the order in which they act."""


def guided_illumination(clean: Tensor, light: Tensor | None = None) -> Tensor:
    """L of CDD-11 for `clean` (B, 3, H, W): `light` (B, 1, H, W), the LIME map unless given, guides a 3x3 filter of grey(clean)."""
    grey = (clean * clean.new_tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
    light = illumination_map(clean) if light is None else light.to(clean)
    return guided_filter(light, grey, window=3, eps=0.01).clamp_min(0)  # a power of what lies below nought is no number


def low_step(clean: Tensor, illumination: Tensor, gamma: float, noise: Tensor | float = 0.0) -> Tensor:
    """CDD-11's low light: `illumination` (B, 1, H, W) from `guided_illumination`, `noise` as it is added. Clipped, as published."""
    lit = illumination + 1e-7
    return (clean / lit * lit**gamma + noise).clamp(0, 1)


def haze_step(image: Tensor, depth: Tensor, beta: float, air_light: float) -> Tensor:
    """CDD-11's haze over (B, 3, H, W); `depth` (B or 1, 1, H, W) in [0, 1], near = bright. Clipped, as published."""
    transmission = torch.exp(-(1 - box_mean(depth.to(image), BOX)).clamp_max(FARTHEST) * beta)
    return (image * transmission + air_light * (1 - transmission)).clamp(0, 1)


@dataclass(frozen=True)
class Composite:
    """Steps in the order in which they act, and the seed of their draws: all that is needed to spoil the same picture again.

    `given` names the maps (`depth`, `light`, `rain_mask`, `snow_mask`) that were handed over instead of made; a replay needs them too.
    """

    name: str
    steps: tuple[Parameters, ...]
    seed: int = 0
    given: tuple[str, ...] = ()

    def apply(self, clean: Tensor, seeds: Seeds | None = None, *, clip: bool = True, **maps: Tensor | None) -> Tensor:
        """Degrade (B, 3, H, W); image i draws from `seeds` (default: `self.seed + i`). `maps`: see `composite`. Raises ValueError."""
        check_batch(clean, self.name)
        maps = _known_maps(maps)
        if missing := set(self.given) - set(maps):
            raise ValueError(f"{self.name} was made with a {sorted(missing)[0]} from outside; hand the same one over to replay it")
        seeds = image_seeds(self.seed if seeds is None else seeds, clean.shape[0])
        out = [
            self._one(image, seed, _of_image(maps, i), clip) for i, (image, seed) in enumerate(zip(images_of(clean), seeds, strict=True))
        ]
        return torch.cat(out) if out else clean.clone()

    def _one(self, clean: Tensor, seed: int, maps: dict[str, Tensor], clip: bool) -> Tensor:
        image = clean
        for number, step in enumerate(self.steps):
            if not step.is_identity:
                image = _step(image, clean, step, step_seed(seed, number), maps)
        return (image.clamp(0, 1) if clip else image).to(clean.dtype)

    def to_dict(self) -> dict[str, Any]:
        """{"name", "seed", "steps": [{"kind", ...}], "given"}: plain JSON values."""
        return {"name": self.name, "seed": self.seed, "steps": [step.to_dict() for step in self.steps], "given": list(self.given)}

    def to_json(self) -> str:
        """One line of JSON from which `Composite.from_json` makes the same pixels of the same clean image."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Composite":
        """The composite of `to_dict`'s answer. Raises ValueError for an unknown kind or a field out of range."""
        steps = []
        for step in data["steps"]:
            if step.get("kind") not in DEGRADATIONS:
                raise ValueError(f"unknown degradation {step.get('kind')!r}; there are {', '.join(DEGRADATIONS)}")
            steps.append(DEGRADATIONS[step["kind"]].from_dict(step))
        return cls(data["name"], tuple(steps), int(data.get("seed", 0)), tuple(data.get("given", ())))

    @classmethod
    def from_json(cls, text: str) -> "Composite":
        """The composite that `to_json` wrote. Raises ValueError."""
        return cls.from_dict(json.loads(text))

    def __str__(self) -> str:
        return f"{self.name} (seed {self.seed}): " + " -> ".join(str(step) for step in self.steps)


def _cdd11_rain(seed: int) -> dict[str, float]:
    """Values of a rain like CDD-11's masks: dense, fine, nearly upright streaks that are added to the picture, and no veil."""
    rng = np.random.default_rng([seed, 0x5A1])
    low, high = np.array([[25, 70, 0.9, -10, 0.06], [60, 110, 1.2, 10, 0.09]])  # ranges set beside the authors' three sample masks
    drawn = low + rng.random(5) * (high - low)
    return {**dict(zip(("amount", "length", "width", "angle", "opacity"), drawn.tolist(), strict=True)), "spread": 2.0, "veil": 0.0}


def draw_composite(what: str | Sequence[str], seed: int, *, given: Sequence[str] = (), **fixed: dict[str, float]) -> Composite:
    """Draw a composite's parameters from `seed`: one of `CDD11_TASKS`, or kinds in order ("motion_blur+gaussian_noise+jpeg", or a list).

    "rain", "snow" and "haze" alone are the tasks of CDD-11; a list of one, `["haze"]`, is the degradation of that name.
    `fixed`: values by kind that are not drawn, as in `draw_composite("haze+jpeg", 0, haze={"beta": 1.0})`. Raises ValueError.
    """
    cdd11 = isinstance(what, str) and what in CDD11_TASKS
    if cdd11:
        kinds = [_CDD11[step] for step in CDD11_TASKS[what]]
        fixed = {**fixed, "rain": {**_cdd11_rain(seed), **fixed.get("rain", {})}}
    else:
        kinds = what.split("+") if isinstance(what, str) else list(what)
    for kind in kinds:
        if kind not in DEGRADATIONS:
            known = f"degradations are {', '.join(DEGRADATIONS)}; CDD-11 tasks are {', '.join(CDD11_TASKS)}"
            raise ValueError(f"unknown degradation {kind!r}; {known}")
    if strange := set(fixed) - set(kinds) - ({"rain"} if cdd11 else set()):
        raise ValueError(f"values are given for {sorted(strange)[0]!r}, which is not a step of {what!r}")
    rng = np.random.default_rng([seed, 0xCDD11])  # apart from the streams of the steps
    steps = tuple(DEGRADATIONS[kind].sample(rng, **fixed.get(kind, {})) for kind in kinds)
    return Composite(what if isinstance(what, str) else "+".join(kinds), steps, seed, tuple(given))


def composite(clean: Tensor, what: str | Sequence[str], seeds: Seeds = 0, *, clip: bool = True, **maps: Tensor | None) -> Tensor:
    """Degrade (B, 3, H, W) by a CDD-11 task or an ordered mixture; parameters and draws of an image come from its seed alone.

    `maps`, each (B or 1, 1 or 3, H, W) in [0, 1], replace what would be made: `depth` (near = bright), `light`, `rain_mask`, `snow_mask`.
    `draw_composite(what, seed)` is what was done to an image. Raises ValueError for an unknown name or a map of another size.
    """
    maps = _known_maps(maps)
    out = []
    for i, (image, seed) in enumerate(zip(images_of(clean), image_seeds(seeds, clean.shape[0]), strict=True)):
        out.append(draw_composite(what, seed, given=tuple(maps)).apply(image, clip=clip, **_of_image(maps, i)))
    return torch.cat(out) if out else clean.clone()


def step_seed(seed: int, number: int) -> int:
    """Seed of the step `number` of an image's composite: apart from every other step's and image's."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _step(image: Tensor, clean: Tensor, step: Parameters, seed: int, maps: dict[str, Tensor]) -> Tensor:
    """One step on one image (1, 3, H, W), unclipped but where the published formula clips."""
    size = image.shape[-2:]
    if any(tuple(given.shape[-2:]) != tuple(size) for given in maps.values()):
        name = next(name for name, given in maps.items() if tuple(given.shape[-2:]) != tuple(size))
        raise ValueError(f"the {name} is {tuple(maps[name].shape[-2:])}, the image {tuple(size)}; resize it first")
    if isinstance(step, Cdd11Low):
        rng = np.random.default_rng(seed)
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32)).to(image) * step.noise
        # the map is of the clean picture, as published; the step itself acts on what it is handed
        return low_step(image, guided_illumination(clean, maps.get("light")), step.gamma, noise)
    if isinstance(step, Cdd11Haze):
        depth = maps.get("depth")
        if depth is None:
            depth = 1 - fitted_depth(clean, np.random.default_rng(seed))  # of the scene, whatever was done to the picture before
        return haze_step(image, depth, step.beta, step.air_light)
    if isinstance(step, Haze) and "depth" in maps:
        return step.apply(image, [seed], depth=1 - maps["depth"].to(image), clip=False)  # `haze` takes distance
    if isinstance(step, Rain) and "rain_mask" in maps:
        return image + maps["rain_mask"].to(image)
    if isinstance(step, Snow) and "snow_mask" in maps:
        mask = maps["snow_mask"].to(image)
        return image * (1 - mask) + mask
    return step.apply(image, [seed], clip=False)


def _known_maps(maps: dict[str, Tensor | None]) -> dict[str, Tensor]:
    known = ("depth", "light", "rain_mask", "snow_mask")
    if strange := set(maps) - set(known):
        raise ValueError(f"unknown map {sorted(strange)[0]!r}; maps are {', '.join(known)}")
    return {name: maps[name] for name in known if maps.get(name) is not None}


def _of_image(maps: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """The maps of one image of a batch; a map with one entry serves every image."""
    return {name: given if given.shape[0] == 1 else given[number : number + 1] for name, given in maps.items()}
