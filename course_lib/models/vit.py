"""A small Vision Transformer that denoises: patches become tokens, every token attends to every other, the noise comes out.

The plain Transformer of Vaswani et al. 2017 ("Attention is all you need", sections 3.1 to 3.5) on image patches as in ViT (Dosovitskiy et
al. 2021, eq. 1 to 4), with pre-norm blocks. For restoration it keeps full resolution: a convolution before and one after the tokens lets
neighbouring patches overlap, and the network predicts the noise, which is subtracted (residual learning, Zhang et al. 2017, DnCNN).

    image (3, H, W) -- stem 3x3 --> (S, H, W) ------------------------------------------ + -- tail 3x3 --> noise, image - noise
                                       | patchify p, embed       unembed, unpatchify p |
                                       tokens (H/p * W/p, C) + positions -- blocks ----

Notation: B batch, L tokens, C channels of a token (`dim`), n heads, d = C/n, p side of a patch in pixels, S channels of the stem.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut (B, S, H, W) into tokens (B, H/p * W/p, S*p*p): row by row over the picture; inside a token channel, row, column. ViT, sec. 3.1.

    Raises RuntimeError when a side does not divide by `patch`.
    """
    B, S, H, W = x.shape
    x = x.reshape(B, S, H // patch, patch, W // patch, patch)  # b s h i w j
    return x.permute(0, 2, 4, 1, 3, 5).reshape(B, (H // patch) * (W // patch), S * patch * patch)


def unpatchify(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
    """Exact inverse of `patchify`: (B, H/p * W/p, S*p*p) -> (B, S, H, W) with `height` and `width` in pixels."""
    B, _, values = tokens.shape
    x = tokens.reshape(B, height // patch, width // patch, values // patch**2, patch, patch)  # b h w s i j
    return x.permute(0, 3, 1, 4, 2, 5).reshape(B, values // patch**2, height, width)


def sinusoidal_positions(height: int, width: int, dim: int, base: float) -> Tensor:
    """Fixed position codes of a grid, (height*width, dim) float32: half the channels for the row, half for the column.

    Each half holds m = dim/4 sines, then the m cosines of the same angles y * base**(-i/m), i = 0 .. m-1 (Vaswani et al., sec. 3.5, with
    base 10000). Raises ValueError when `dim` does not divide by 4.
    """
    if dim % 4:
        raise ValueError(f"sinusoidal_positions: {dim} channels do not divide by 4 (sine and cosine, row and column)")
    frequencies = base ** (-torch.arange(dim // 4) / (dim // 4))  # (m,)

    def axis(length: int) -> Tensor:
        angles = torch.arange(length)[:, None] * frequencies  # (length, m)
        return torch.cat([angles.sin(), angles.cos()], dim=1)  # (length, dim/2)

    rows = axis(height)[:, None].expand(height, width, dim // 2)
    columns = axis(width)[None].expand(height, width, dim // 2)
    return torch.cat([rows, columns], dim=-1).reshape(height * width, dim)


class MultiHeadSelfAttention(nn.Module):
    """Tokens attend to tokens, (B, L, C) -> same. Vaswani et al., sec. 3.2. Raises ValueError when C does not divide by the heads.

    `qkv` gives q, then k, then v, C channels each; head 0 owns the first C/n of each.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"MultiHeadSelfAttention: {dim} channels do not divide into {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v of tokens (B, L, C), each (B, n, L, d)."""
        B, L, C = x.shape
        return self.qkv(x).view(B, L, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4).unbind(0)

    def weights(self, x: Tensor) -> Tensor:
        """The attention maps (B, n, L, L) that `forward` applies: row = query, sums to 1 over the keys."""
        q, k, _ = self.split(x)
        return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        out = F.scaled_dot_product_attention(q, k, v)  # (B, n, L, d), the maps made block by block and never stored
        return self.proj(out.transpose(1, 2).reshape(x.shape))


class ViTBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); (B, L, C) -> same. ViT, eq. 2 and 3 (pre-norm).

    `attention(dim, heads)` builds the first piece: hand over your own class to train it.
    """

    def __init__(self, dim: int, heads: int, attention=MultiHeadSelfAttention, expansion: int = 2):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, expansion * dim), nn.GELU(), nn.Linear(expansion * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViTDenoiser(nn.Module):
    """Vision Transformer for denoising, (B, 3, H, W) in [0, 1] -> same; H and W divide by `patch`. Predicts the noise and subtracts it.

    `positions`: "sinusoidal", "learnt" (a table of grid x grid tokens, interpolated for other sizes) or "none".
    `block(dim, heads, attention)`, `attention(dim, heads)`, `cut(x, patch)`, `join(tokens, patch, height, width)` and
    `codes(height, width, dim, base)` may be your own. Raises ValueError for sides that do not divide by `patch` and for unknown positions.
    """

    def __init__(
        self,
        dim: int = 64,
        blocks: int = 3,
        heads: int = 4,
        patch: int = 2,
        stem: int = 16,
        positions: str = "sinusoidal",
        base: float = 30.0,
        grid: int = 24,
        block=ViTBlock,
        attention=MultiHeadSelfAttention,
        cut=patchify,
        join=unpatchify,
        codes=sinusoidal_positions,
    ):
        super().__init__()
        if positions not in ("sinusoidal", "learnt", "none"):
            raise ValueError(f"ViTDenoiser: positions={positions!r}; choose sinusoidal, learnt or none")
        self.config = dict(dim=dim, blocks=blocks, heads=heads, patch=patch, stem=stem, positions=positions, base=base, grid=grid)
        self.size_multiple = patch  # `evaluation.restore` and `restore_tiled` pad to it
        self.patch, self.positions, self.base = patch, positions, base
        self.cut, self.join, self.codes = cut, join, codes
        self.stem = nn.Conv2d(3, stem, 3, padding=1)
        self.embed = nn.Linear(stem * patch**2, dim)
        self.table = nn.Parameter(0.02 * torch.randn(1, dim, grid, grid)) if positions == "learnt" else None
        self.blocks = nn.ModuleList(block(dim, heads, attention) for _ in range(blocks))
        self.unembed = nn.Linear(dim, stem * patch**2)
        self.tail = nn.Conv2d(stem, 3, 3, padding=1)
        self._made: dict[tuple[int, int], Tensor] = {}  # codes by grid: a student's function may be slow

    def position_codes(self, height: int, width: int) -> Tensor | float:
        """What is added to the tokens of a height x width grid: (height*width, dim), or 0.0 without positions."""
        if self.positions == "none":
            return 0.0
        if self.table is None:
            if (height, width) not in self._made:
                self._made[height, width] = self.codes(height, width, self.config["dim"], self.base).detach()
            return self._made[height, width].to(self.embed.weight)
        table = self.table
        if table.shape[-2:] != (height, width):
            table = F.interpolate(table, (height, width), mode="bicubic", align_corners=False)
        return table[0].flatten(1).T

    def tokens(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The stem's features (B, S, H, W) and the tokens (B, L, dim) that the first block gets. Raises ValueError."""
        height, width = image.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"ViTDenoiser cuts the image into patches of {self.patch} pixels, so both sides must divide by {self.patch}; got "
                f"{height}x{width}. Use course_lib.evaluation.restore(model, image), which pads and crops."
            )
        features = self.stem((image.contiguous() - 0.5) * 4)  # pixels of spread about 1
        embedded = self.embed(self.cut(features.contiguous(), self.patch))  # (B, L, dim)
        return features, embedded + self.position_codes(height // self.patch, width // self.patch)

    def forward(self, image: Tensor) -> Tensor:
        features, x = self.tokens(image)
        for block in self.blocks:
            x = block(x)
        update = self.join(self.unembed(x), self.patch, *image.shape[-2:])  # (B, S, H, W)
        # Noise of sigma 25 has a spread of 0.1: so the tail too works with numbers of about 1. Without this, training is far slower.
        return image - 0.1 * self.tail(features + update)
