"""DFPIR: degradation-aware feature perturbation for all-in-one restoration (Tian et al., CVPR 2025).

Restormer's U-shape with a perturbation block (DGPB, `dfpir_blocks.py`) after the latent and on each of the three skips. A text, as a
vector, says which degradation the picture has: the network is told, it is not blind. The text puts the channels into an order of its
own (DGCPM), and an attention between the shuffled and the original features, a tenth of it masked, makes the block's output (CAAPM).

    latent ------- shuffle4 - up4_3 -+-> decoder_level3 - up3_2 -+-> decoder_level2 - up2_1 -+-> decoder_level1, refinement
    encoder_level3 ------- shuffle3 -'                           |                           |
    encoder_level2 ------------------------------------ shuffle2 '                           |
    encoder_level1 ---------------------------------------------------------------- shuffle1 '

`dfpir_blocks.py` says where the paper and the authors' code part; both forms are there.

Who tells it: `model(image, text)` hands over vectors; or a model made with `words` (task -> text) has them, and is told the task's name,

    with told(model, "haze"):
        restored = restore(model, image)

as training, validation, `course eval` and `course leaderboard` tell it the true one, which the papers of this line do, too.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from course_lib.models.dfpir_blocks import DGPB, AttentionPerturbation, ChannelAttention, ChannelPerturbation
from course_lib.models.restormer import Restormer
from course_lib.models.told import Words

__all__ = ["DFPIR", "DGPB", "AttentionPerturbation", "ChannelAttention", "ChannelPerturbation"]


class DFPIR(Restormer):
    """DFPIR, image (B, 3, H, W) in [0, 1] and texts (B, D), or one (D,) for all -> (B, 3, H, W). Defaults: the published size, 31.1 M.

    Not blind: without texts it goes by what it was `told`, for which it needs `words` (task -> text) and their `encoder`, see Words.
    H and W divide by 8. `dim`, `blocks`, `heads`, `norm_bias` as in Restormer. The ablations of Table 3: `components` (one of COMPONENTS;
    "" is Restormer itself), `gamma`, and `expand` (1: the shuffle is of C channels, not of 2C). `form`, `guidance` and `guide_width` are
    explained in `dfpir_blocks.py`.
    `perturbation`, `attention_perturbation`: see DGPB; `block(channels, heads, text_width)` (x, text -> x) is your own for the whole of it.
    Raises ValueError for sides that do not divide by 8, or texts of another width or number; RuntimeError where nothing was told.
    """

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
        text_width: int = 512,
        components: str = "dgcpm+caapm",
        gamma: float = 0.9,
        expand: int = 2,
        guidance: str = "fixed",
        guide_width: int | None = None,
        form: str = "code",
        words: Mapping[str, str] | None = None,
        encoder: str = "offline",
        perturbation=None,
        attention_perturbation=None,
        block=None,
        **pieces,
    ):
        super().__init__(in_channels, out_channels, dim, blocks, refinement_blocks, heads, expansion, bias, norm_bias, **pieces)
        self.words = Words(words, encoder, text_width) if words else None
        text_width = text_width if self.words is None else self.words.vectors.shape[1]
        own = dict(components=components, gamma=gamma, expand=expand, guidance=guidance, guide_width=guide_width, form=form)
        self.config = {**self.config, **own, "text_width": text_width}
        self.config |= {} if self.words is None else dict(words=self.words.texts, encoder=self.words.encoder)
        del self.config["dual_pixel"]
        self.text_width = text_width
        if components or block:
            feed_forward = {"feed_forward": pieces["feed_forward"]} if "feed_forward" in pieces else {}
            parts = dict(perturbation=perturbation, attention_perturbation=attention_perturbation, **feed_forward)
            block = block or partial(DGPB, expansion=expansion, bias=bias, norm_bias=norm_bias, **own, **parts)
            self.shuffle1 = block(dim, heads[0], text_width)
            self.shuffle2 = block(2 * dim, heads[1], text_width)
            self.shuffle3 = block(4 * dim, heads[2], text_width)
            self.shuffle4 = block(8 * dim, heads[3], text_width)
            self.to(memory_format=torch.channels_last)
        # Several processes wait for each other's gradients, which a fixed order never gives to its guides: they are left out of it.
        fixed = [name for name, part in self.named_modules() if isinstance(part, ChannelPerturbation) and part.guidance == "fixed"]
        self._ddp_params_and_buffers_to_ignore = [
            f"{name}.{guide}.{kind}" for name in fixed for guide in ("linear1", "linear2") for kind in ("weight", "bias")
        ]

    def _text_of(self, image: Tensor, text: Tensor | None) -> Tensor:
        if text is None and self.words is None:
            raise RuntimeError(
                "DFPIR is not blind: hand it the vector of a text, model(image, text), or make it with words = {task: text} and call it "
                "inside `with told(model, task):`"
            )
        text = self.words() if text is None else text
        text = text.reshape(-1, text.shape[-1])
        if text.shape[1] != self.text_width or len(text) not in (1, len(image)):
            wanted = f"one text of {self.text_width} numbers, or one for each of {len(image)} images"
            raise ValueError(f"DFPIR wants {wanted}; got {tuple(text.shape)}")
        return text

    def perturbed(self, place: int, x: Tensor, text: Tensor | None) -> Tensor:
        """The features of level 1, 2, 3 or of the latent (4) after their block."""
        block = getattr(self, f"shuffle{place}", None)
        return x if block is None else block(x, text)

    def forward(self, image: Tensor, text: Tensor | None = None) -> Tensor:
        height, width = image.shape[-2:]
        if height % 8 or width % 8:
            raise ValueError(
                f"DFPIR halves the image three times, so both sides must divide by 8; got {height}x{width}. "
                "Use course_lib.evaluation.restore, which pads and crops."
            )
        text = self._text_of(image, text) if hasattr(self, "shuffle4") else None  # Restormer itself needs none
        encoded1 = self.encoder_level1(self.patch_embed(self._as_stored(image)))  # (B, C, H, W)
        encoded2 = self.encoder_level2(self.down1_2(encoded1))  # (B, 2C, H/2, W/2)
        encoded3 = self.encoder_level3(self.down2_3(encoded2))  # (B, 4C, H/4, W/4)
        latent = self.perturbed(4, self.latent(self.down3_4(encoded3)), text)  # (B, 8C, H/8, W/8)

        x = torch.cat([self.up4_3(latent), self.perturbed(3, encoded3, text)], dim=1)  # (B, 8C, H/4, W/4)
        x = self.decoder_level3(self.reduce_chan_level3(x))  # (B, 4C, H/4, W/4)
        x = torch.cat([self.up3_2(x), self.perturbed(2, encoded2, text)], dim=1)  # (B, 4C, H/2, W/2)
        x = self.decoder_level2(self.reduce_chan_level2(x))  # (B, 2C, H/2, W/2)
        x = torch.cat([self.up2_1(x), self.perturbed(1, encoded1, text)], dim=1)  # (B, 2C, H, W)
        x = self.refinement(self.decoder_level1(x))  # (B, 2C, H, W)
        return self.output(x) + image


# Official names <-> ours, beyond those of Restormer's trunk.
TO_OURS = (
    (r"^encoder_shuffle_channel(\d)\.", r"shuffle\1."),
    (r"^latent_shuffle_channel\.", "shuffle4."),
    (r"^(shuffle\d)\.linear_layer1\.", r"\1.perturb.linear1."),
    (r"^(shuffle\d)\.linear_layer3\.", r"\1.perturb.linear2."),
    (r"^(shuffle\d)\.conv1x1\.", r"\1.perturb.widen."),
    (r"^(shuffle\d)\.conv_out\.", r"\1.perturb.narrow."),
    (r"^(shuffle\d)\.select_attn\.attn4$", r"\1.attn.scale"),
    (r"^(shuffle\d)\.select_attn\.", r"\1.attn."),
)
TO_OFFICIAL = (
    (r"^(shuffle\d)\.perturb\.linear1\.", r"\1.linear_layer1."),
    (r"^(shuffle\d)\.perturb\.linear2\.", r"\1.linear_layer3."),
    (r"^(shuffle\d)\.perturb\.widen\.", r"\1.conv1x1."),
    (r"^(shuffle\d)\.perturb\.narrow\.", r"\1.conv_out."),
    (r"^(shuffle\d)\.attn\.scale$", r"\1.select_attn.attn4"),
    (r"^(shuffle\d)\.attn\.", r"\1.select_attn."),
    (r"^shuffle4\.", "latent_shuffle_channel."),
    (r"^shuffle(\d)\.", r"encoder_shuffle_channel\1."),
)


def read_config(state: Mapping[str, Tensor]) -> dict:
    """What the perturbation blocks of an official state dict add to the trunk's arguments. Raises KeyError where there are none."""
    guides = [state[f"encoder_shuffle_channel1.linear_layer{number}.weight"] for number in (1, 3)]
    (guide_width, text_width), wide = guides[0].shape, guides[1].shape[0]
    return dict(
        text_width=text_width,
        guide_width=None if guide_width == text_width else guide_width,
        expand=wide // state["encoder_shuffle_channel1.conv_out.weight"].shape[0],
    )
