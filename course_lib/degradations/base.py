"""What every degradation shares: a parameter object that is drawn, saved as JSON and shown, and one seed per image.

A kind of degradation is a frozen dataclass of numbers. Each field says, with `parameter(...)`, the range it is drawn from, the range
it may have, its unit and its meaning: sampling, checking, sliders and the printed line all read that one statement.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

Seeds = int | Sequence[int]


def parameter(default: float, *, draw: tuple[float, float], limits: tuple[float, float], unit: str = "", means: str) -> Any:
    """A field of a parameter object: `draw` is where `sample` draws it uniformly, `limits` what is allowed (both ends included).

    An int `default` makes the field an integer, drawn from both ends inclusive.
    """
    return field(default=default, metadata={"draw": draw, "limits": limits, "unit": unit, "means": means})


@dataclass(frozen=True)
class Parameters:
    """Base of the parameter objects. A subclass states `kind`, `equation` and `zero` (the values that give the identity)."""

    kind: ClassVar[str]  # the name under which JSON and `degrade` know it
    equation: ClassVar[str]  # the image-formation equation, LaTeX without dollars
    zero: ClassVar[dict[str, float]]  # the fields, and their values, at which nothing happens to the image
    strength: ClassVar[str]  # the field along which the picture grows worse

    def __post_init__(self):
        for item in fields(self):
            low, high = item.metadata["limits"]
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
                raise ValueError(f"{self.kind}: {item.name} must be a number from {low:g} to {high:g}, got {value!r}")
            if isinstance(item.default, int):
                if value != int(value):
                    raise ValueError(f"{self.kind}: {item.name} must be a whole number, got {value!r}")
                object.__setattr__(self, item.name, int(value))
            else:
                object.__setattr__(self, item.name, float(value))

    @classmethod
    def sample(cls, rng: np.random.Generator | int, **fixed: float) -> Self:
        """Draw every field from its range with `rng` (a generator or a seed), but those given in `fixed`. Raises ValueError.

        A fixed field uses up its draw all the same, so that fixing one leaves the others as they were.
        """
        rng = np.random.default_rng(rng)
        known = [item.name for item in fields(cls)]
        if strange := set(fixed) - set(known):
            raise ValueError(f"{cls.kind} has no parameter {sorted(strange)[0]!r}; it has {', '.join(known)}")
        drawn = {}
        for item in fields(cls):
            low, high = item.metadata["draw"]
            share = rng.random()
            drawn[item.name] = int(low + share * (high - low + 1)) if isinstance(item.default, int) else low + share * (high - low)
        return cls(**{**drawn, **fixed})

    @classmethod
    def identity(cls) -> Self:
        """The object at the zero setting: applying it returns the image (for JPEG: switched off)."""
        return cls(**cls.zero)

    @property
    def is_identity(self) -> bool:
        """Whether the zero setting is given, in which case the image passes untouched."""
        return all(getattr(self, name) == value for name, value in self.zero.items())

    def to_dict(self) -> dict[str, Any]:
        """{"kind": ..., field: value, ...}: plain JSON values."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The object of `to_dict`'s answer. Raises ValueError for another kind or an unknown field."""
        data = dict(data)
        kind = data.pop("kind", cls.kind)
        if kind != cls.kind:
            raise ValueError(f"these are parameters of {kind!r}, not of {cls.kind!r}")
        if strange := set(data) - {item.name for item in fields(cls)}:
            raise ValueError(f"{cls.kind} has no parameter {sorted(strange)[0]!r}")
        return cls(**data)

    def to_json(self) -> str:
        """One line of JSON; `from_json` gives an equal object."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The object that `to_json` wrote. Raises ValueError."""
        return cls.from_dict(json.loads(text))

    def __str__(self) -> str:
        parts = (f"{item.name} {getattr(self, item.name):.4g} {item.metadata['unit']}".rstrip() for item in fields(self))
        return f"{self.kind}: {', '.join(parts)}"

    def _repr_markdown_(self) -> str:
        rows = (f"| {f.name} | {getattr(self, f.name):.4g} | {f.metadata['unit']} | {f.metadata['means']} |" for f in fields(self))
        return "\n".join([f"**{self.kind}**: ${self.equation}$", "", "| parameter | value | unit | meaning |", "|---|---|---|---|", *rows])

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        """Degrade (B, 3, H, W) in [0, 1]; the draws of image i come from its own seed. `clip=False` leaves values outside [0, 1]."""
        raise NotImplementedError


def image_seeds(seeds: Seeds, batch: int) -> list[int]:
    """One seed per image: a single int gives image i the seed `seeds + i`. Raises ValueError for a wrong number of seeds."""
    if isinstance(seeds, (int, np.integer)):
        return [int(seeds) + i for i in range(batch)]
    seeds = [int(seed) for seed in seeds]
    if len(seeds) != batch:
        raise ValueError(f"{batch} images but {len(seeds)} seeds; give one int or one seed per image")
    return seeds


def one_each(parameters: Parameters | Sequence[Parameters], batch: int) -> list[Parameters]:
    """One parameter object per image: a single one serves them all. Raises ValueError for a wrong number of them."""
    if isinstance(parameters, Parameters):
        return [parameters] * batch
    parameters = list(parameters)
    if len(parameters) != batch:
        raise ValueError(f"{batch} images but {len(parameters)} parameter objects; give one, or one per image")
    return parameters


def images_of(clean: Tensor) -> list[Tensor]:
    """The images of (B, 3, H, W) as (1, 3, H, W) each; none of an empty batch (where `split` would still give one piece)."""
    return [clean[i : i + 1] for i in range(clean.shape[0])]


def check_batch(clean: Tensor, kind: str) -> None:
    """Raises ValueError unless `clean` is a floating (B, 3, H, W)."""
    if clean.ndim != 4 or clean.shape[1] != 3 or not clean.is_floating_point():
        raise ValueError(f"{kind}: expected a floating tensor (B, 3, H, W), got {tuple(clean.shape)} {clean.dtype}")


def per_image(
    clean: Tensor,
    parameters: Parameters | Sequence[Parameters],
    seeds: Seeds,
    clip: bool,
    degrade_one: Callable[[Tensor, Any, np.random.Generator], Tensor],
) -> Tensor:
    """Run `degrade_one((1, 3, H, W), parameters, rng) -> (1, 3, H, W)` on each image with a generator of its own seed, and stack.

    `rng` lives on the CPU: what is drawn from it must be drawn there and then moved. An image at the zero setting is not touched.
    Raises ValueError for a wrong shape, number of seeds or of parameter objects.
    """
    batch = clean.shape[0]
    kinds = one_each(parameters, batch)
    check_batch(clean, kinds[0].kind if kinds else "degrade")
    out = []
    for image, own, seed in zip(images_of(clean), kinds, image_seeds(seeds, batch), strict=True):
        if not own.is_identity:
            image = degrade_one(image, own, np.random.default_rng(seed)).to(clean.dtype)
        out.append(image.clamp(0, 1) if clip else image)
    return torch.cat(out) if out else clean.clone()
