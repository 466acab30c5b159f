"""PromptIR: prompting for all-in-one blind image restoration (Potlapalli et al., NeurIPS 2023).

Restormer's U-shape with a prompt block after the latent and after decoder levels 3 and 2. Each looks at its features, mixes N learned
maps (the prompt components) by weights that it reads off them, and lets features and mixture interact. Nobody says which degradation
the image has: the weights are the network's own guess. `watch_prompts` shows them and puts others in their place.

    latent  8C  H/8 -- prompt3, interact3 -> 4C -- up4_3 -> 2C, + encoder_level3 -> decoder_level3  4C  H/4
    decoder_level3  -- prompt2, interact2 -> 4C -- up3_2 -> 2C, + encoder_level2 -> decoder_level2  2C  H/2
    decoder_level2  -- prompt1, interact1 -> 2C -- up2_1 ->  C, + encoder_level1 -> decoder_level1  2C  H, refinement, output, + image

Paper -> here: P_c `prompt_param[0, c]`, w_c `weights`, F_l `x`, PGM `PromptGenBlock`, PIM `PromptInteraction`.
B batch, C `dim`, N prompt components, P channels and S side of a component.

Where the authors' code goes its own way (we follow the code, so that its weights fit):
- After the interaction stands a 1x1 convolution, in the paper also a 3x3; it takes the latent's 8C to 4C, so the upsampling starts from 4C.
- Its flag `decoder=False` is the default and leaves the prompts out, but not the layers sized for them: the forward pass then crashes.
  Here prompts are always there; without them, use Restormer.
- Prompt widths and sides are written as numbers that only fit C = 48; here they follow C (`prompt_widths`, `prompt_sides`).
- All three interaction blocks have the heads of level 3, not those of the levels they stand at.
- Six 1x1 convolutions are built and never called (`chnl_reduce*`, `reduce_noise_channel_*`, 215,296 parameters).
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.layers import GDFN, MDTA, Downsample, TransformerBlock, Upsample
from course_lib.models.restormer import PatchEmbed


class PromptGenBlock(nn.Module):
    """Prompt generation, features (B, C, H, W) -> prompt (B, P, H, W). PromptIR, eq. 2.

    P = conv3x3(resize(sum_c w_c P_c)), w = softmax(linear(mean of x over the pixels)): one weight a component and image.
    The weights pass through the submodule `softmax`, where `watch_prompts` reads and replaces them.
    """

    def __init__(self, features: int, width: int, components: int = 5, side: int = 64):
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, components, width, side, side))
        self.linear_layer = nn.Linear(features, components)  # the paper's 1x1 convolution: after pooling there is one pixel
        self.softmax = nn.Softmax(dim=1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, _, H, W = x.shape
        N, P, S = self.prompt_param.shape[1:4]
        weights = self.softmax(self.linear_layer(x.mean(dim=(2, 3))))  # (B, N)
        # The weighted sum as one product, channels innermost: a free view where the components lie channels-last in memory.
        components = self.prompt_param[0].permute(0, 2, 3, 1).reshape(N, S * S * P)
        prompt = (weights @ components).view(B, S, S, P).permute(0, 3, 1, 2)  # (B, P, S, S)
        if (H, W) != (S, S):  # official training patches of 128 pixels meet their size exactly: 16, 32 and 64 at the three levels
            prompt = F.interpolate(prompt, (H, W), mode="bilinear", align_corners=False)
        return self.conv3x3(prompt)  # (B, P, H, W)


class PromptInteraction(nn.Module):
    """Prompt interaction, x (B, C, H, W) and prompt (B, P, H, W) -> (B, out_channels, H, W). PromptIR, eqs. 3 and 4.

    conv1x1(GDFN(MDTA([x; P]))), a Transformer block on both, concatenated: its 1x1 convolutions mix feature channels with prompt channels.
    """

    def __init__(self, features, width, out_channels, heads, expansion=2.66, bias=False, norm_bias=True, attention=MDTA, feed_forward=GDFN):
        super().__init__()
        self.block = TransformerBlock(features + width, heads, expansion, bias, norm_bias, attention, feed_forward)
        self.reduce = nn.Conv2d(features + width, out_channels, 1, bias=bias)

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        return self.reduce(self.block(torch.cat([x, prompt], dim=1)))  # (B, C + P, H, W) -> (B, out_channels, H, W)


def default_prompt_widths(dim: int, heads: int) -> list[int]:
    """Channels P of the prompts at decoder level 2, level 3 and the latent: 4/3, 8/3 and 20/3 of `dim` as in the official 64, 128, 320.

    Rounded so that features and prompt together divide by 8 and by `heads`.
    """
    unit = math.lcm(8, heads)
    features = (2 * dim, 4 * dim, 8 * dim)
    wanted = (dim * 4 / 3, dim * 8 / 3, dim * 20 / 3)
    return [max(1, round((f + p) / unit), f // unit + 1) * unit - f for f, p in zip(features, wanted, strict=True)]


def default_prompt_sides(dim: int) -> list[int]:
    """Sides S of the prompt components: 64, 32, 16 at dim 48, less in proportion (dim 16 to 24: 32, 16, 8, for patches of 64 pixels)."""
    side = 4 * math.ceil(dim / 12)
    return [4 * side, 2 * side, side]


class PromptIR(nn.Module):
    """PromptIR, (B, 3, H, W) in [0, 1] -> same; H and W divide by 8 (`images.pad_to_multiple`). Defaults: the published size, 35.6 M.

    `dim`, `blocks`, `heads`, `norm_bias` as in Restormer. `prompt_widths` and `prompt_sides`: decoder level 2, level 3, latent.
    `prompt(features, width, components, side)` (x -> prompt), `interaction(features, width, out_channels, heads)` (x, prompt -> x),
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
        prompt_components: int = 5,
        prompt_widths: Sequence[int] | None = None,
        prompt_sides: Sequence[int] | None = None,
        attention=MDTA,
        feed_forward=GDFN,
        unshuffle=F.pixel_unshuffle,
        shuffle=F.pixel_shuffle,
        prompt=PromptGenBlock,
        interaction=None,
    ):
        super().__init__()
        if len(blocks) != 4 or len(heads) != 4:
            raise ValueError(f"PromptIR has four levels; got blocks={list(blocks)}, heads={list(heads)}")
        widths = list(prompt_widths or default_prompt_widths(dim, heads[2]))
        sides = list(prompt_sides or default_prompt_sides(dim))
        if len(widths) != 3 or len(sides) != 3:
            raise ValueError(f"PromptIR has three prompts; got prompt_widths={widths}, prompt_sides={sides}")
        self.config = dict(
            in_channels=in_channels, out_channels=out_channels, dim=dim, blocks=list(blocks), refinement_blocks=refinement_blocks,
            heads=list(heads), expansion=expansion, bias=bias, norm_bias=norm_bias,
            prompt_components=prompt_components, prompt_widths=widths, prompt_sides=sides,
        )  # fmt: skip
        pieces = dict(expansion=expansion, bias=bias, norm_bias=norm_bias, attention=attention, feed_forward=feed_forward)
        interaction = interaction or partial(PromptInteraction, **pieces)

        def level(width: int, count: int, head_count: int) -> nn.Sequential:
            return nn.Sequential(*(TransformerBlock(width, head_count, **pieces) for _ in range(count)))

        C = dim
        self.patch_embed = PatchEmbed(in_channels, C)
        self.encoder_level1 = level(C, blocks[0], heads[0])
        self.down1_2 = Downsample(C, unshuffle)
        self.encoder_level2 = level(2 * C, blocks[1], heads[1])
        self.down2_3 = Downsample(2 * C, unshuffle)
        self.encoder_level3 = level(4 * C, blocks[2], heads[2])
        self.down3_4 = Downsample(4 * C, unshuffle)
        self.latent = level(8 * C, blocks[3], heads[3])

        self.prompt3 = prompt(8 * C, widths[2], prompt_components, sides[2])
        self.interact3 = interaction(8 * C, widths[2], 4 * C, heads[2])
        self.up4_3 = Upsample(4 * C, shuffle)
        self.reduce_chan_level3 = nn.Conv2d(6 * C, 4 * C, 1, bias=bias)
        self.decoder_level3 = level(4 * C, blocks[2], heads[2])

        self.prompt2 = prompt(4 * C, widths[1], prompt_components, sides[1])
        self.interact2 = interaction(4 * C, widths[1], 4 * C, heads[2])
        self.up3_2 = Upsample(4 * C, shuffle)
        self.reduce_chan_level2 = nn.Conv2d(4 * C, 2 * C, 1, bias=bias)
        self.decoder_level2 = level(2 * C, blocks[1], heads[1])

        self.prompt1 = prompt(2 * C, widths[0], prompt_components, sides[0])
        self.interact1 = interaction(2 * C, widths[0], 2 * C, heads[2])
        self.up2_1 = Upsample(2 * C, shuffle)
        self.decoder_level1 = level(2 * C, blocks[0], heads[0])
        self.refinement = level(2 * C, refinement_blocks, heads[0])
        self.output = nn.Conv2d(2 * C, out_channels, 3, padding=1, bias=bias)

        reduced = 4 * widths[2] // 5  # the official 320 -> 256
        for name, inputs, outputs in (
            ("chnl_reduce1", widths[0], widths[0]), ("chnl_reduce2", widths[1], widths[1]), ("chnl_reduce3", widths[2], reduced),
            ("reduce_noise_channel_1", C + widths[0], C), ("reduce_noise_channel_2", 2 * C + widths[1], 2 * C),
            ("reduce_noise_channel_3", 4 * C + reduced, 4 * C),
        ):  # fmt: skip
            # Never called. Without a wish for gradients, DistributedDataParallel does not wait for theirs.
            setattr(self, name, nn.Conv2d(inputs, outputs, 1, bias=bias).requires_grad_(False))
        self.to(memory_format=torch.channels_last)

    def _apply(self, fn, recurse=True):
        # `.to(memory_format=torch.channels_last)` refuses tensors of five dimensions: it gets the prompts without their leading 1.
        return super()._apply(lambda t: fn(t[0])[None] if t.ndim == 5 and len(t) == 1 else fn(t), recurse)

    def _as_stored(self, image: Tensor) -> Tensor:
        """Channels-last in memory, which every layer after it keeps; the plain form overrides this."""
        return image.contiguous(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if height % 8 or width % 8:
            raise ValueError(
                f"PromptIR halves the image three times, so both sides must divide by 8; got {height}x{width}. "
                "Use course_lib.evaluation.restore(model, image), which pads and crops."
            )
        encoded1 = self.encoder_level1(self.patch_embed(self._as_stored(image)))  # (B, C, H, W)
        encoded2 = self.encoder_level2(self.down1_2(encoded1))  # (B, 2C, H/2, W/2)
        encoded3 = self.encoder_level3(self.down2_3(encoded2))  # (B, 4C, H/4, W/4)
        latent = self.latent(self.down3_4(encoded3))  # (B, 8C, H/8, W/8)

        x = self.interact3(latent, self.prompt3(latent))  # (B, 4C, H/8, W/8)
        x = torch.cat([self.up4_3(x), encoded3], dim=1)  # (B, 6C, H/4, W/4)
        x = self.decoder_level3(self.reduce_chan_level3(x))  # (B, 4C, H/4, W/4)
        x = self.interact2(x, self.prompt2(x))  # (B, 4C, H/4, W/4)
        x = torch.cat([self.up3_2(x), encoded2], dim=1)  # (B, 4C, H/2, W/2)
        x = self.decoder_level2(self.reduce_chan_level2(x))  # (B, 2C, H/2, W/2)
        x = self.interact1(x, self.prompt1(x))  # (B, 2C, H/2, W/2)
        x = torch.cat([self.up2_1(x), encoded1], dim=1)  # (B, 2C, H, W)
        x = self.refinement(self.decoder_level1(x))  # (B, 2C, H, W)
        return self.output(x) + image


@contextlib.contextmanager
def watch_prompts(model: nn.Module, replace: Mapping[str, Tensor] | None = None) -> Iterator[dict[str, list[Tensor]]]:
    """Prompt weights of every forward pass inside the `with`: {"prompt1": [(B, N), ...], "prompt2": ..., "prompt3": ...} on the CPU.

    `replace` maps some of these names to weights, (N,) or (B, N), that are used instead of the model's own (and are then what is seen).
    Raises ValueError for an unknown name, weights of another shape, or a prompt block of your own without a submodule `softmax`.
    """
    replace = dict(replace or {})
    blocks = {name: module for name, module in model.named_children() if name.startswith("prompt")}
    if not blocks or set(replace) - set(blocks):
        raise ValueError(f"watch_prompts: no prompt {sorted(set(replace) - set(blocks))}; the model has {sorted(blocks) or 'none'}")
    for name, block in blocks.items():
        if not isinstance(getattr(block, "softmax", None), nn.Module):
            words = "let its weights pass through self.softmax = nn.Softmax(dim=1)"
            raise ValueError(f"watch_prompts: {name} is a {type(block).__name__} without a submodule `softmax`; {words}")
    seen: dict[str, list[Tensor]] = {name: [] for name in blocks}

    def look(name, _module, _inputs, weights: Tensor) -> Tensor:
        if name in replace:
            given = torch.as_tensor(replace[name]).to(weights)
            if given.shape not in (weights.shape, weights.shape[1:]):
                raise ValueError(f"watch_prompts: weights of {name} are {tuple(given.shape)}, expected {tuple(weights.shape)} or (N,)")
            weights = given.expand_as(weights)
        seen[name].append(weights.detach().cpu())
        return weights

    handles = [block.softmax.register_forward_hook(partial(look, name)) for name, block in blocks.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
