"""Latent diffusion: the chain runs on the codes of an autoencoder, a sixteenth of the pixels (Rombach et al., CVPR 2022).

    z = scale * E(x)            encode, codes of deviation about 1
    DDPM or DDIM on z           the same process as on pixels, but not clipped: codes have no bounds
    x = D(z / scale)            decode

Conditions go to the network by name: `concat`, a picture the size of the code, or `context`, a list of vectors for cross-attention
(equations 2 and 3, section 3.3). For restoration the degraded image is encoded and handed over as `concat`.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from course_lib.diffusion import ddim
from course_lib.diffusion.chain import Condition, Model, State, last_state
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.schedules import visited_times
from course_lib.models.autoencoder import AutoencoderKL


class LatentDiffusion(nn.Module):
    """An autoencoder, fixed, with a denoiser of its codes and their process.

    `model(z_t, t, **condition)` answers what `process.prediction` says. Images are (B, 3, H, W) in [0, 1], codes (B, z, H/4, W/4).
    Only the denoiser trains.
    """

    def __init__(self, autoencoder: AutoencoderKL, model: nn.Module, process: DDPM):
        super().__init__()
        self.autoencoder = autoencoder.requires_grad_(False).eval()
        self.model = model
        self.process = process

    def train(self, mode: bool = True) -> "LatentDiffusion":
        """Train or evaluate the denoiser; the autoencoder stays as it is."""
        super().train(mode)
        self.autoencoder.eval()
        return self

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Scaled mean code of an image."""
        return self.autoencoder.scale * self.autoencoder.encode(image).mean

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Image in [0, 1], clamped, of a scaled code."""
        return self.autoencoder.decode(z / self.autoencoder.scale).clamp(0, 1)

    def loss(self, image: Tensor, t: Tensor, epsilon: Tensor, *, weighting: str = "simple", condition: Condition = None) -> Tensor:
        """Mean weighted error of the denoiser at times `t` (B,), a scalar; `epsilon` has the shape of the code (eq. 2 and 3)."""
        return self.process.loss(self.model, self.encode(image), t, epsilon, weighting=weighting, condition=condition)

    def beside(self, degraded: Tensor) -> dict[str, Tensor]:
        """The condition {"concat": code of the degraded image}."""
        return {"concat": self.encode(degraded)}

    def steps(self, noise: Tensor, **options) -> Iterator[State]:
        """The DDIM chain over codes from `noise` (B, z, H/4, W/4), a State after each step; options of ddim.sample."""
        return ddim.steps(self.process, self.model, noise, **{"clip": None, **options})

    def sample(self, noise: Tensor, *, steps: int = 50, progress: bool = False, **options) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] out of standard normal `noise` (B, z, H/4, W/4); options of ddim.sample, `condition` among them."""
        after = options.get("after")
        total = len(visited_times(self.process.T, steps, options.get("spacing", "leading"))) - (after.step if after else 0)
        return self.decode(last_state(self.steps(noise, steps=steps, **options), total, progress, "latent DDIM").x)

    def restore(self, degraded: Tensor, noise: Tensor, *, condition: Condition = None, **options) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] for degraded ones, whose code is handed over as `concat`, with any further `condition`."""
        return self.sample(noise, condition={**self.beside(degraded), **(condition or {})}, **options)


def guided(model: Model, weight: float, without: Condition) -> Model:
    """A model that goes further from the condition `without` towards the one it is called with: classifier-free guidance.

    without + weight * (with - without), in two calls of `model`; weight 1 is the model itself (Ho and Salimans 2022, eq. 6, whose w is
    weight - 1). `without` replaces keywords of the condition, as {"context": the empty prompt's}.
    """

    def answer(x: Tensor, t: Tensor, **condition) -> Tensor:
        plain = model(x, t, **{**condition, **(without or {})})
        return plain + weight * (model(x, t, **condition) - plain)

    return answer
