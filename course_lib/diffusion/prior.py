"""A DDPM and its network in one model: what pictures look like, learnt from clean ones alone. It draws, and DDNM restores with it.

`DiffusionPrior` works on pixels, `LatentPrior` on the codes of an autoencoder.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.diffusion import ddim
from course_lib.diffusion.chain import from_image, to_image
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.latent import LatentDiffusion
from course_lib.diffusion.restorer import spread_times
from course_lib.models.autoencoder import AutoencoderKL
from course_lib.models.ddpm_unet import DDPMUNet
from course_lib.training.checkpoint import load_weights


class DiffusionPrior(nn.Module):
    """`model(clean)` with clean (B, 3, H, W) in [0, 1] -> the loss of each picture, (B,); `model.sample(noise)` -> new pictures.

    `network`: keywords of DDPMUNet, `process`: of DDPM (timesteps, schedule, prediction). Ho et al., NeurIPS 2020.
    """

    def __init__(self, network: dict | None = None, process: dict | None = None):
        super().__init__()
        self.network = DDPMUNet(**(network or {}))
        self.process = DDPM(**(process or {}))
        self.config = dict(network=self.network.config, process=dict(process or {}))

    def forward(self, clean: Tensor, t: Tensor | None = None, noise: Tensor | None = None, weighting: str = "simple") -> Tensor:
        t = spread_times(len(clean), self.T) if t is None else t
        noise = torch.randn_like(clean) if noise is None else noise
        return self.process.losses(self.network, self.encode(clean), t, noise, weighting=weighting)

    def encode(self, image: Tensor) -> Tensor:
        """What the chain runs on, as a `LatentPrior` has it: here the image itself, in [-1, 1]."""
        return from_image(image)

    def decode(self, x: Tensor) -> Tensor:
        """Image in [0, 1], clamped."""
        return to_image(x)

    def sample(self, noise: Tensor, steps: int = 50, eta: float = 0.0, **options) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] out of standard normal `noise` of that shape; options of ddim.sample."""
        return self.decode(ddim.sample(self.process, self.network, noise, steps=steps, eta=eta, **options))

    @property
    def T(self) -> int:
        """Number of times of the process."""
        return self.process.T


class LatentPrior(LatentDiffusion):
    """A `LatentDiffusion` made from its configuration: `autoencoder`, `network` (a DDPMUNet over codes) and `process`, keywords each.

    `model(image)` with image (B, 3, H, W) in [0, 1] -> the loss of each picture, (B,). The autoencoder does not train.
    """

    def __init__(self, autoencoder: dict | None = None, network: dict | None = None, process: dict | None = None):
        coder = AutoencoderKL(**(autoencoder or {}))
        z = coder.latent_channels
        denoiser = DDPMUNet(**{"in_channels": z, "out_channels": z, **(network or {})})
        super().__init__(coder, denoiser, DDPM(**(process or {})))
        self.config = dict(autoencoder=coder.config, network=denoiser.config, process=dict(process or {}))

    def forward(self, image: Tensor, t: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        z = self.encode(image).float()  # half precision is for the networks, not for the chain
        t = spread_times(len(z), self.T) if t is None else t
        noise = torch.randn_like(z) if noise is None else noise
        return self.process.losses(self.model, z, t, noise)

    def begin(self, path: str | Path, images: Sequence[Tensor]) -> None:
        """Take a trained autoencoder from its weights file, and set the scale of the codes by the first 64 of `images` (3, H, W)."""
        load_weights(path, self.autoencoder)
        side = min(min(image.shape[-2:]) for image in images[:64]) // 4 * 4
        self.autoencoder.calibrate(torch.stack([image[:, :side, :side].float() for image in images[:64]]))

    @property
    def network(self) -> nn.Module:
        """The denoiser, under the name that it has in a `DiffusionPrior`."""
        return self.model

    @property
    def T(self) -> int:
        """Number of times of the process."""
        return self.process.T
