"""A small autoencoder whose code is nearly normal: the first stage of latent diffusion (Rombach et al., CVPR 2022, section 3.1).

    image (3, H, W) -- encoder --> mean, log variance, each (z, H/4, W/4) -- mean + deviation * epsilon --> z -- decoder --> image

The Kullback-Leibler term draws the codes towards N(0, I) just enough to keep them from spreading out; the picture's details rule the loss.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Gaussian(NamedTuple):
    """What the encoder says of a picture: a normal distribution of codes, mean and log variance (B, z, H/4, W/4)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, epsilon: Tensor) -> Tensor:
        """A code drawn with the given standard normal `epsilon`, same shape (Kingma and Welling 2014, section 2.4)."""
        return self.mean + (0.5 * self.log_variance).exp() * epsilon

    def divergence(self) -> Tensor:
        """KL(N(mean, variance) | N(0, I)) in nats, the mean over the values of the code, (B,)."""
        each = 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)
        return each.flatten(1).mean(1)


class ConvBlock(nn.Module):
    """x + two 3x3 convolutions, each after normalisation and SiLU; (B, C, H, W) -> (B, D, H, W). C and D divide by 8."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, channels), nn.Conv2d(channels, out, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, out), nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)  # begins as the identity
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class AutoencoderKL(nn.Module):
    """Encoder and decoder by a factor of 4, (B, 3, H, W) in [0, 1] -> same; H and W divide by 4. Defaults: 1.6 M parameters.

    `dim` channels at full resolution, 2 dim and 4 dim below, `blocks` at each, `latent_channels` z. `scale` makes codes of deviation 1
    for the diffusion (Rombach et al., appendix G); `calibrate` measures it. Raises ValueError for sides that do not divide by 4 and a
    `dim` that does not divide by 8.
    """

    size_multiple = 4

    def __init__(self, dim: int = 32, blocks: int = 1, latent_channels: int = 4):
        super().__init__()
        if dim % 8:
            raise ValueError(f"AutoencoderKL: dim must divide by 8 (the groups of the norm), got {dim}")
        self.config = dict(dim=dim, blocks=blocks, latent_channels=latent_channels)
        self.latent_channels = z = latent_channels
        C1, C2, C3 = dim, 2 * dim, 4 * dim

        def level(channels: int, out: int) -> list[nn.Module]:
            return [ConvBlock(channels, out), *(ConvBlock(out, out) for _ in range(blocks - 1))]

        self.encoder = nn.Sequential(
            nn.Conv2d(3, C1, 3, padding=1), *level(C1, C1),
            nn.Conv2d(C1, C2, 3, stride=2, padding=1), *level(C2, C2),
            nn.Conv2d(C2, C3, 3, stride=2, padding=1), *level(C3, C3), *level(C3, C3),
            nn.GroupNorm(8, C3), nn.SiLU(), nn.Conv2d(C3, 2 * z, 3, padding=1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(z, C3, 3, padding=1), *level(C3, C3), *level(C3, C3),
            nn.Upsample(scale_factor=2), nn.Conv2d(C3, C2, 3, padding=1), *level(C2, C2),
            nn.Upsample(scale_factor=2), nn.Conv2d(C2, C1, 3, padding=1), *level(C1, C1),
            nn.GroupNorm(8, C1), nn.SiLU(), nn.Conv2d(C1, 3, 3, padding=1),
        )  # fmt: skip
        self.register_buffer("scale", torch.ones(()))

    def encode(self, image: Tensor) -> Gaussian:
        """The distribution of codes of an image in [0, 1], before `scale`. Raises ValueError for sides that do not divide by 4."""
        if image.shape[-2] % 4 or image.shape[-1] % 4:
            raise ValueError(
                f"AutoencoderKL halves the image twice, so both sides must divide by 4; got {image.shape[-2]}x{image.shape[-1]}"
            )
        mean, log_variance = self.encoder(2 * image - 1).chunk(2, dim=1)
        return Gaussian(mean, log_variance.clamp(-30, 20))

    def decode(self, z: Tensor) -> Tensor:
        """An image, about [0, 1] and not clamped, from codes (B, z, H/4, W/4) before `scale`."""
        return (self.decoder(z) + 1) / 2

    def forward(self, image: Tensor) -> Tensor:
        """Through the mean code and back: what the latent can hold of the image."""
        return self.decode(self.encode(image).mean)

    def loss(self, image: Tensor, epsilon: Tensor, kl_weight: float = 1e-3) -> Tensor:
        """Mean absolute error through a drawn code plus `kl_weight` times the divergence, a scalar; `epsilon` like the code."""
        codes = self.encode(image)
        return F.l1_loss(self.decode(codes.sample(epsilon)), image) + kl_weight * codes.divergence().mean()

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> float:
        """Set `scale` to 1 over the deviation of the mean codes of `images` (B, 3, H, W), and return it.

        Raises ValueError when the codes are all the same.
        """
        deviation = float(self.encode(images).mean.std())
        if not deviation > 1e-8:
            raise ValueError("AutoencoderKL.calibrate: the codes of these images do not differ; train the autoencoder first")
        self.scale.fill_(1 / deviation)
        return float(self.scale)


def latent_shape(autoencoder: AutoencoderKL, image: Tensor) -> tuple[int, int, int, int]:
    """Shape of the code of an image batch, for its starting noise."""
    return (len(image), autoencoder.latent_channels, image.shape[-2] // 4, image.shape[-1] // 4)
