"""What every sampler shares: the state that it yields, where the noise of its steps comes from, and the progress bar.

A sampler is a generator function: it yields a `State` after every step, so a loop over it may draw, measure or stop when it likes, and
may go on later with `after=state`. The noise of the steps is the caller's:

    generator=None              each picture draws from its own starting noise: the same start gives the same result, in any batch
    generator=7, or [7, 8, 9]   one seed a picture (a single int gives picture i the seed 7 + i): the same in any batch
    generator=torch.Generator   one stream for the batch, as in diffusers; another batch split gives other noise. A list has one a picture
    generator=function          function(t) returns the noise (B, C, H, W) of the step that leaves time t
"""

import sys
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.degradations.base import Seeds, image_seeds
from course_lib.degradations.noise import standard_normal

Noise = None | Seeds | torch.Generator | Sequence[torch.Generator] | Callable[[int], Tensor]
Model = Callable[..., Tensor]  # model(x_t (B, C, H, W), t (B,) int64, **condition) -> (B, C, H, W)
Condition = Mapping[str, Any] | None

_SALT = 0xD1FF  # so that a seed's step noise is not what the same seed gives elsewhere


class State(NamedTuple):
    """Where a chain stands: `step` steps done, `x` has the noise level of time `t` (-1: clean), `x_0` is the estimate that led there."""

    step: int
    t: int
    x: Tensor
    x_0: Tensor


def starting_noise(shape: Sequence[int], seeds: Seeds = 0, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal (B, C, H, W) float32, made on the CPU, picture i from its own seed (a single int: `seeds + i`). Raises ValueError."""
    return torch.stack([standard_normal(shape[1:], seed, device) for seed in image_seeds(seeds, shape[0])])


def step_noise(generator: Noise, start: Tensor) -> Callable[[int, int], Tensor]:
    """A function (step, t) -> noise shaped like `start` (B, C, H, W), same dtype and device, from any of the forms above.

    From seeds it depends on the seed and the step alone, so that a chain can be taken up again in its middle. Raises ValueError.
    """
    if isinstance(generator, torch.Generator):
        return lambda step, t: _stream(generator, start.shape, start)
    if callable(generator):
        return lambda step, t: _given(generator(t), t, start)
    if isinstance(generator, Sequence) and generator and all(isinstance(one, torch.Generator) for one in generator):
        if len(generator) != len(start):
            raise ValueError(f"{len(start)} pictures but {len(generator)} generators")
        return lambda step, t: torch.stack([_stream(one, start.shape[1:], start) for one in generator])
    seeds = [_fingerprint(picture) for picture in start] if generator is None else image_seeds(generator, len(start))

    def draw(step: int, t: int) -> Tensor:
        streams = (np.random.default_rng([_SALT, seed % 2**64, step]) for seed in seeds)
        noise = np.stack([stream.standard_normal(start.shape[1:], dtype=np.float32) for stream in streams])
        return torch.from_numpy(noise).to(start.dtype).to(start.device)  # in this order: not every device has float64

    return draw


def _stream(generator: torch.Generator, shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)


def _given(noise: Tensor, t: int, like: Tensor) -> Tensor:
    if noise.shape != like.shape:
        raise ValueError(f"the noise given for time {t} is {tuple(noise.shape)}, the state is {tuple(like.shape)}")
    return noise.to(like)


def _fingerprint(picture: Tensor) -> int:
    """A seed out of the starting noise of one picture, the same on every device and in float32 and float64."""
    return zlib.crc32(picture.detach().float().cpu().contiguous().numpy().tobytes())


def ask(model: Model, x: Tensor, t: int, condition: Condition) -> Tensor:
    """The network's answer for the whole batch at one time, without gradients. Raises ValueError when its shape is not that of `x`."""
    with torch.no_grad():
        output = model(x, torch.full((len(x),), t, dtype=torch.int64, device=x.device), **(condition or {}))
    if output.shape != x.shape:
        raise ValueError(f"the model turned {tuple(x.shape)} into {tuple(output.shape)}; a denoiser keeps the shape")
    return output


def clipped(x_0: Tensor, clip: float | bool | None) -> Tensor:
    """`x_0` cut to [-clip, clip]; True is 1, and None, False or 0 leaves it alone (as for latents)."""
    return x_0.clamp(-float(clip), float(clip)) if clip else x_0


def last_state(states: Iterable[State], total: int, progress: bool, label: str) -> State:
    """Run a chain to its end, with a bar over its `total` steps when asked. Ctrl-C stops it between two steps and goes through."""
    from tqdm import tqdm

    last = None
    with tqdm(total=total, desc=label, unit="step", disable=not progress, file=sys.stdout, mininterval=0.5, ncols=100) as bar:
        for state in states:
            last = state
            bar.update()
    if last is None:
        raise ValueError(f"{label}: no step is left to do; the state given as `after` is the end of its chain")
    return last


def to_image(x: Tensor) -> Tensor:
    """From the [-1, 1] in which diffusion works to an image in [0, 1], clamped."""
    return ((x + 1) / 2).clamp(0, 1)


def from_image(image: Tensor) -> Tensor:
    """From an image in [0, 1] to the [-1, 1] in which diffusion works."""
    return 2 * image - 1
