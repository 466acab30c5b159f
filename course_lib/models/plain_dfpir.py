"""DFPIR in its plain form: the wide map is made and its channels are picked one by one, queries and keys are normalised along the pixels.

For comparison only, as `plain.py`: `course bench dfpir` measures against it and the tests hold the fast form equal to it. The parameter
names are those of `dfpir.py`, so one state dict fits both.
"""

from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from course_lib.models.dfpir import DFPIR
from course_lib.models.dfpir_blocks import AttentionPerturbation, ChannelPerturbation
from course_lib.models.plain import PlainGDFN, PlainMDTA, plain_norms_and_memory


class PlainChannelPerturbation(ChannelPerturbation):
    """Two 1x1 convolutions and the gather between them. DFPIR, eq. 2. Parameters as in ChannelPerturbation; `guidance` "fixed" only."""

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        order = torch.argsort(self.scores(text), dim=1, descending=True).expand(len(x), -1)
        wide = self.widen(x)
        return self.narrow(torch.stack([image[own] for image, own in zip(wide, order, strict=True)]))


class PlainAttentionPerturbation(AttentionPerturbation):
    """q and k normalised along the pixels, the map masked score by score, then the projection. Parameters as in AttentionPerturbation."""

    def forward(self, query: Tensor, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        k, v = self.kv_dwconv(self.kv(x)).chunk(2, dim=1)
        q, k, v = (rearrange(part, "b (n d) h w -> b n d (h w)", n=self.heads) for part in (self.q_dwconv(self.q(query)), k, v))
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        if self.form == "paper":
            least = scores.sort(dim=-2, descending=True).values[..., self.kept - 1 : self.kept, :]
            out = torch.where(scores >= least, scores, 0.0).softmax(dim=-1) @ v
        else:
            least = scores.sort(dim=-1, descending=True).values[..., self.kept - 1 : self.kept]
            out = torch.where(scores >= least, scores, -torch.inf).softmax(dim=-1) @ v * self.scale
        return self.project_out(rearrange(out, "b n d (h w) -> b (n d) h w", h=height, w=width))


class PlainDFPIR(DFPIR):
    """DFPIR with the plain pieces and maps that stay (B, C, H, W) in memory; same arguments, same results."""

    def __init__(self, **config):
        shuffle = partial(PlainChannelPerturbation, expand=config.get("expand", 2), guide_width=config.get("guide_width"))
        attention = {key: config[key] for key in ("gamma", "form", "bias") if key in config}
        pieces = dict(perturbation=shuffle, attention_perturbation=partial(PlainAttentionPerturbation, **attention))
        super().__init__(**config, **pieces, attention=PlainMDTA, feed_forward=PlainGDFN)
        plain_norms_and_memory(self)

    def _as_stored(self, image: Tensor) -> Tensor:
        return image.contiguous()
