"""Restormer: efficient Transformer for high-resolution image restoration (Zamir et al., CVPR 2022).

A U-shape of Transformer blocks. Attention is across channels (MDTA), so a block costs the same per pixel at any image size;
the four levels see the image at 1, 1/2, 1/4 and 1/8 of its side. The network predicts what to add to the degraded image.

    image (3, H, W)
      | patch_embed                                                          output, + image
    encoder_level1  C   H    ---------------------------- concatenated -> decoder_level1, refinement  2C
      | down1_2                                                       | up2_1
      encoder_level2  2C  H/2  ----------------- concatenated, reduced -> decoder_level2  2C
        | down2_3                                               | up3_2
        encoder_level3  4C  H/4  ------ concatenated, reduced -> decoder_level3  4C
          | down3_4                                       | up4_3
          latent  8C  H/8  -------------------------------
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.layers import GDFN, MDTA, Downsample, TransformerBlock, Upsample


class PatchEmbed(nn.Module):
    """A 3x3 convolution from image channels to features, (B, 3, H, W) -> (B, C, H, W); the "patches" overlap and are one pixel apart."""

    def __init__(self, in_channels: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Restormer(nn.Module):
    """Restormer, (B, 3, H, W) in [0, 1] -> same; H and W divide by 8 (`images.pad_to_multiple`). Defaults: the published size, 26.1 M.

    `dim` is C at full resolution. `blocks` and `heads` count per level, top to bottom; the decoder mirrors the encoder.
    `norm_bias=False` is the published choice for denoising. `dual_pixel=True` takes six channels (left and right view).
    `attention(dim, heads)`, `feed_forward(dim, expansion)`, `unshuffle(x, 2)` and `shuffle(x, 2)` may be your own.
    Raises ValueError for sides that do not divide by 8.
    """

    size_multiple = 8  # three halvings; `evaluation.restore` and `restore_tiled` pad to it

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        blocks: Sequence[int] = (4, 6, 6, 8),
        refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        expansion: float = 2.66,
        bias: bool = False,
        norm_bias: bool = True,
        dual_pixel: bool = False,
        attention=MDTA,
        feed_forward=GDFN,
        unshuffle=F.pixel_unshuffle,
        shuffle=F.pixel_shuffle,
    ):
        super().__init__()
        if len(blocks) != 4 or len(heads) != 4:
            raise ValueError(f"Restormer has four levels; got blocks={list(blocks)}, heads={list(heads)}")
        self.dual_pixel = dual_pixel
        self.config = dict(
            in_channels=in_channels, out_channels=out_channels, dim=dim, blocks=list(blocks), refinement_blocks=refinement_blocks,
            heads=list(heads), expansion=expansion, bias=bias, norm_bias=norm_bias, dual_pixel=dual_pixel,
        )  # fmt: skip

        def level(width: int, count: int, head_count: int) -> nn.Sequential:
            return nn.Sequential(
                *(TransformerBlock(width, head_count, expansion, bias, norm_bias, attention, feed_forward) for _ in range(count))
            )

        C = dim
        self.patch_embed = PatchEmbed(in_channels, C)
        self.encoder_level1 = level(C, blocks[0], heads[0])
        self.down1_2 = Downsample(C, unshuffle)
        self.encoder_level2 = level(2 * C, blocks[1], heads[1])
        self.down2_3 = Downsample(2 * C, unshuffle)
        self.encoder_level3 = level(4 * C, blocks[2], heads[2])
        self.down3_4 = Downsample(4 * C, unshuffle)
        self.latent = level(8 * C, blocks[3], heads[3])

        self.up4_3 = Upsample(8 * C, shuffle)
        self.reduce_chan_level3 = nn.Conv2d(8 * C, 4 * C, 1, bias=bias)
        self.decoder_level3 = level(4 * C, blocks[2], heads[2])
        self.up3_2 = Upsample(4 * C, shuffle)
        self.reduce_chan_level2 = nn.Conv2d(4 * C, 2 * C, 1, bias=bias)
        self.decoder_level2 = level(2 * C, blocks[1], heads[1])
        self.up2_1 = Upsample(2 * C, shuffle)
        # Level 1 is not reduced after the concatenation: it stays at 2C, as does the refinement.
        self.decoder_level1 = level(2 * C, blocks[0], heads[0])
        self.refinement = level(2 * C, refinement_blocks, heads[0])
        self.skip_conv = nn.Conv2d(C, 2 * C, 1, bias=bias) if dual_pixel else None
        self.output = nn.Conv2d(2 * C, out_channels, 3, padding=1, bias=bias)
        self.to(memory_format=torch.channels_last)

    def _as_stored(self, image: Tensor) -> Tensor:
        """Channels-last in memory, which every layer after it keeps; the plain form overrides this."""
        return image.contiguous(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if height % 8 or width % 8:
            raise ValueError(
                f"Restormer halves the image three times, so both sides must divide by 8; got {height}x{width}. "
                "Use course_lib.evaluation.restore(model, image), which pads and crops."
            )
        embedded = self.patch_embed(self._as_stored(image))  # (B, C, H, W)

        encoded1 = self.encoder_level1(embedded)  # (B, C, H, W)
        encoded2 = self.encoder_level2(self.down1_2(encoded1))  # (B, 2C, H/2, W/2)
        encoded3 = self.encoder_level3(self.down2_3(encoded2))  # (B, 4C, H/4, W/4)
        latent = self.latent(self.down3_4(encoded3))  # (B, 8C, H/8, W/8)

        x = torch.cat([self.up4_3(latent), encoded3], dim=1)  # (B, 8C, H/4, W/4)
        x = self.decoder_level3(self.reduce_chan_level3(x))  # (B, 4C, H/4, W/4)
        x = torch.cat([self.up3_2(x), encoded2], dim=1)  # (B, 4C, H/2, W/2)
        x = self.decoder_level2(self.reduce_chan_level2(x))  # (B, 2C, H/2, W/2)
        x = torch.cat([self.up2_1(x), encoded1], dim=1)  # (B, 2C, H, W)
        x = self.refinement(self.decoder_level1(x))  # (B, 2C, H, W)

        if self.dual_pixel:  # two views in, one image out: there is no single image to add to
            return self.output(x + self.skip_conv(embedded))
        return self.output(x) + image
