"""The pieces of DFPIR (Tian et al., CVPR 2025): the channel shuffle by a text, the masked cross-attention, and the block of both.

B batch, C channels, D width of a text's vector, e `expand` (2: the shuffle is of 2C channels), n heads, d = C/n.
Paper -> here: P_e `text`, F_n `x`, DGM `linear1`, `linear2`; Conv_k `widen`, CS_topK `order`, Conv_h `narrow`; Q `query`; gamma `gamma`.

Speed. Between `widen` and `narrow` stands nothing but the shuffle, so all three are one C x C matrix for each text, and the map of 2C
channels is never made. It also says what the shuffle is: one linear map of the channels for each degradation. The plain form is in
`plain_dfpir.py`.

Where paper and code part. `form="code"` is the authors' code, whose weights fit; `form="paper"` is what the paper writes:

    attention        the paper                                   the code
    mask             0/1, times the scores before the softmax    minus infinity, so that what is left out weighs nothing
    kept             the largest of each column                  the largest of each row
    scores           cosines / sqrt(d)                           cosines times a learned temperature
    output scale     none                                        a learned number, 0.2 at first
    block            x + attention                               attention alone: nothing of x goes by

That queries and keys have length 1 along the pixels the paper does not print, as little as Restormer's; both forms keep it.
The order is made of indices, which have no slope: `linear1` and `linear2` never receive a gradient and stay as they began. Each text is
one fixed shuffle. `guidance` offers ways out: "straight_through" shuffles alike but has the slope of a soft sort, "soft" sorts softly.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.layers import GDFN, LayerNorm, TransposedAttention, row_strips

FORMS = ("code", "paper")
GUIDANCE = ("fixed", "straight_through", "soft")
# Rows of the paper's Table 3 (a): the prompt's part in the channels (none, channel attention, shuffle), and the attention or not.
COMPONENTS = ("", "ca", "ca+caapm", "dgcpm", "dgcpm+caapm", "caapm")


class Guidance(nn.Module):
    """Texts (B, D) -> one number for each of `channels`, (B, channels): two linear layers with nothing between. DFPIR, DGM.

    `guide_width`: of what lies between them, by default D as in the authors' code; small models need less.
    """

    def __init__(self, channels: int, text_width: int, guide_width: int | None = None):
        super().__init__()
        self.linear1 = nn.Linear(text_width, guide_width or text_width)
        self.linear2 = nn.Linear(guide_width or text_width, channels)

    def scores(self, text: Tensor) -> Tensor:
        """In float32 under any autocast: in bf16 half of the latent's channels would come to stand elsewhere."""
        with torch.autocast(text.device.type, enabled=False):
            return self.linear2(self.linear1(text.to(self.linear1.weight.dtype)))


class ChannelPerturbation(Guidance):
    """DGCPM, x (B, C, H, W) and texts (B, D) or (1, D) -> query (B, C, H, W). DFPIR, eq. 2.

    narrow(shuffle(widen(x))): 1x1 convolutions C -> e C -> C, the channels between them in the order of the text's scores, largest first.
    """

    def __init__(self, channels: int, text_width=512, expand: int = 2, guidance: str = "fixed", guide_width=None, tau: float = 0.1):
        super().__init__(expand * channels, text_width, guide_width)
        if guidance not in GUIDANCE:
            raise ValueError(f"ChannelPerturbation: guidance is one of {', '.join(GUIDANCE)}, not {guidance!r}")
        self.guidance, self.tau = guidance, tau
        self.widen = nn.Conv2d(channels, expand * channels, 1)
        self.narrow = nn.Conv2d(expand * channels, channels, 1)

    def order(self, text: Tensor) -> Tensor:
        """(B, e C) int64: place i of the shuffled map is channel order[:, i] of the wide one. A full top-K: a permutation."""
        scores = self.scores(text)
        return scores.topk(scores.shape[1], dim=1).indices

    def permutation(self, text: Tensor) -> Tensor:
        """(B, e C, e C), row i the share of each channel in place i: one 1 a row for "fixed", the soft sort's row for "soft".

        SoftSort (Prillo and Eisenschlos, ICML 2020): softmax(-|s_(i) - s_j| / tau), s the scores at mean 0 and deviation 1, s_(i) the
        i-th largest. "straight_through" has the values of "fixed" and the slope of "soft" (Bengio et al. 2013).
        """
        scores = self.scores(text)
        order = scores.topk(scores.shape[1], dim=1).indices
        hard = F.one_hot(order, scores.shape[1]).to(scores.dtype)
        if self.guidance == "fixed":
            return hard
        s = (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True)
        soft = (-(s.gather(1, order)[:, :, None] - s[:, None, :]).abs() / self.tau).softmax(dim=-1)
        return soft if self.guidance == "soft" else hard + soft - soft.detach()

    def matrix(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """The C x C map that this text's shuffle is, with its constant: (B, C, C) and (B, C)."""
        widen, narrow = self.widen.weight.flatten(1), self.narrow.weight.flatten(1)  # (e C, C), (C, e C)
        if self.guidance == "fixed":
            order = self.order(text)
            rows, offset = widen[order], self.widen.bias[order]  # (B, e C, C), (B, e C)
        else:
            permutation = self.permutation(text)
            rows, offset = permutation @ widen, permutation @ self.widen.bias
        return narrow @ rows, offset @ narrow.T + self.narrow.bias

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        B, C, H, W = x.shape
        weight, bias = self.matrix(text)
        pixels = x.permute(0, 2, 3, 1).reshape(B, H * W, C)  # a view where x lies channels-last
        if len(weight) == 1:
            out = F.linear(pixels, weight[0], bias[0])
        else:
            out = torch.baddbmm(bias[:, None].to(weight.dtype), pixels.to(weight.dtype), weight.transpose(1, 2))
        return out.view(B, H, W, C).permute(0, 3, 1, 2)


class ChannelAttention(Guidance):
    """Channel attention by the text, for comparison: x times sigmoid of the scores, (B, C, H, W) -> same. DFPIR, Table 3, "CA".

    The authors published no code of their ablation; this is the plainest form with the same guidance, whose layers do get gradients.
    """

    def __init__(self, channels: int, text_width: int = 512, guide_width: int | None = None):
        super().__init__(channels, text_width, guide_width)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        return x * self.scores(text).sigmoid()[:, :, None, None].to(x.dtype)


class AttentionPerturbation(TransposedAttention):
    """CAAPM, query features and x, (B, C, H, W) each -> (B, C, H, W): MDTA with the query from elsewhere and a mask. DFPIR, eq. 3.

    Of each row's d scores (of each column's with `form="paper"`) the largest int(d gamma) stay; `gamma=1` keeps all.
    Raises ValueError when C does not divide by the heads, or for a gamma out of (0, 1].
    """

    def __init__(self, channels: int, heads: int, gamma: float = 0.9, form: str = "code", bias: bool = False):
        super().__init__()
        if channels % heads:
            raise ValueError(f"AttentionPerturbation: {channels} channels do not divide into {heads} heads")
        if not 0 < gamma <= 1 or form not in FORMS:
            raise ValueError(f"AttentionPerturbation: gamma lies in (0, 1] and form is code or paper, got {gamma} and {form!r}")
        C = channels
        self.heads, self.form = heads, form
        self.kept = max(1, int(C // heads * gamma + 1e-9))
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1)) if form == "code" else (C // heads) ** -0.5
        self.scale = nn.Parameter(torch.tensor([0.2])) if form == "code" else None
        self.q = nn.Conv2d(C, C, 1, bias=bias)
        self.q_dwconv = nn.Conv2d(C, C, 3, padding=1, groups=C, bias=bias)
        self.kv = nn.Conv2d(C, 2 * C, 1, bias=bias)
        self.kv_dwconv = nn.Conv2d(2 * C, 2 * C, 3, padding=1, groups=2 * C, bias=bias)
        self.project_out = nn.Conv2d(C, C, 1, bias=bias)

    def weights(self, cosine: Tensor) -> Tensor:
        """The masked attention, (B, n, d, d) -> same; `scale` is in it, so that a row sums to `scale` with `form="code"`."""
        scores = cosine * self.temperature
        if self.form == "paper":
            return (scores * self.mask(scores)).softmax(dim=-1)
        if self.kept < scores.shape[-1]:
            scores = scores.masked_fill(~self.mask(scores), -torch.inf)
        return scores.softmax(dim=-1) * self.scale

    def mask(self, scores: Tensor) -> Tensor:
        """True where a score is among the `kept` largest of its row, with `form="paper"` of its column: exactly so many, ties or not."""
        along = -1 if self.form == "code" else -2
        return torch.zeros_like(scores, dtype=torch.bool).scatter(along, scores.topk(self.kept, dim=along).indices, True)

    def forward(self, query: Tensor, x: Tensor) -> Tensor:
        return self.attend(x.shape, self._strips(query, x))

    def _strips(self, query: Tensor, x: Tensor):
        B, C = x.shape[:2]
        for read, keep in row_strips(x, 3 * C):
            q = self.q_dwconv(self.q(query[:, :, read]))[:, :, keep]  # (B, C, h, W)
            kv = self.kv_dwconv(self.kv(x[:, :, read]))[:, :, keep]  # (B, 2C, h, W)
            k, v = kv.permute(0, 2, 3, 1).reshape(B, -1, 2 * C).split(C, dim=-1)  # each (B, L, C), L = h*W
            yield q.permute(0, 2, 3, 1).reshape(B, -1, C), k, v


class DGPB(nn.Module):
    """Degradation-guided perturbation block, x (B, C, H, W) and texts (B, D) or (1, D) -> (B, C, H, W). DFPIR, eqs. 1 and 4.

    F_a = CAAPM(norm(DGCPM(x, text)), norm(x)), then F_a + GDFN(norm(F_a)). `components` is one of COMPONENTS: with "ca" channel attention
    stands in DGCPM's place, without "caapm" F_a is what the first part gives.
    `perturbation(channels, text_width)` (x, text -> query), `attention_perturbation(channels, heads)` (query, x -> F_a) and
    `feed_forward(channels, expansion)` may be your own.
    """

    def __init__(
        self, channels, heads, text_width=512, expansion=2.66, bias=False, norm_bias=True, components="dgcpm+caapm", gamma=0.9, expand=2,
        guidance="fixed", guide_width=None, form="code", perturbation=None, attention_perturbation=None, feed_forward=GDFN,
    ):  # fmt: skip
        super().__init__()
        if components not in COMPONENTS[1:] or form not in FORMS:
            said = f"{', '.join(COMPONENTS[1:])} and form of {', '.join(FORMS)}"
            raise ValueError(f"DGPB: components is one of {said}, got {components!r} and {form!r}")
        parts, C = components.split("+"), channels
        perturbation = perturbation or partial(ChannelPerturbation, expand=expand, guidance=guidance, guide_width=guide_width)
        extra = {"bias": True} if bias else {}
        attention_perturbation = attention_perturbation or partial(AttentionPerturbation, gamma=gamma, form=form, **extra)
        self.residual = form == "paper"
        if "ca" in parts:
            perturbation = partial(ChannelAttention, guide_width=guide_width)
        self.perturb = perturbation(C, text_width) if {"ca", "dgcpm"} & set(parts) else None
        if "caapm" in parts:
            self.norm1, self.norm2 = LayerNorm(C, norm_bias), LayerNorm(C, norm_bias)
        self.attn = attention_perturbation(C, heads) if "caapm" in parts else None
        self.norm3 = LayerNorm(C, norm_bias)
        self.ffn = feed_forward(C, expansion, **extra)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        query = x if self.perturb is None else self.perturb(x, text)
        out = query if self.attn is None else self.attn(self.norm1(query), self.norm2(x))
        out = x + out if self.residual else out
        return out + self.ffn(self.norm3(out))
