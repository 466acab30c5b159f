"""AirNet: all-in-one image restoration for unknown corruption (Li et al., CVPR 2022).

Nobody tells the network what spoilt the image. An encoder (CBDE in the paper) learns to tell degradations apart by contrast: two
crops of one spoilt image are alike, crops of other images are not. A restorer (DGRN) reads the encoder's first features, `code`,
in every block, through a deformable convolution (where to look) and a modulation (how much of each channel).

    image --> encoder: pre --(code)--> body --> embedding --> mlp --> projection q .  k projection <-- key encoder <-- other crop
                        |                                              q . queue  (keys of earlier batches)
                        v
    image --> restorer: head -> groups of degradation-guided blocks, each with the code -> conv, + head -> tail --> restored

The restorer does not add the degraded image: its output is the image itself. All of it runs at full resolution.
Training: L1(restored, clean) + 0.1 * cross-entropy(logits, labels), `airnet_loss`; in the paper after epochs of the cross-entropy
alone (`model.encoder(query, key)`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.deform import DeformConv


class ResidualBlock(nn.Module):
    """leaky(conv-norm-leaky-conv-norm(x) + norm(1x1 x)), (B, C, H, W) -> (B, out, H/stride, W/stride), sides rounded up."""

    def __init__(self, channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(0.1),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.backbone(x) + self.shortcut(x), 0.1)


class DegradationEncoder(nn.Module):
    """Image (B, 3, H, W) -> code (B, E1, H, W), embedding (B, E3) and projection (B, E3), for widths (E1, E2, E3).

    The code is what the restorer reads, the embedding what tells the degradations apart (draw this one), the projection what the
    contrast is measured on.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256)):
        super().__init__()
        first, middle, last = widths
        self.pre = ResidualBlock(3, first)
        self.body = nn.Sequential(ResidualBlock(first, middle, 2), ResidualBlock(middle, last, 2))
        self.mlp = nn.Sequential(nn.Linear(last, last), nn.LeakyReLU(0.1), nn.Linear(last, last))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code = self.pre(image)  # (B, E1, H, W)
        embedding = self.body(code).mean(dim=(2, 3))  # (B, E3)
        return code, embedding, self.mlp(embedding)


def contrastive_logits(q: Tensor, k: Tensor, queue: Tensor, temperature: float = 0.07) -> Tensor:
    """(B, 1 + N) logits of "which key belongs to this query": its own key first, then the queue. He et al., MoCo, 2020, eq. 1.

    q, k: (B, D) of unit length; queue: (D, N), columns of unit length. The right answer is always class 0.
    """
    own = (q * k).sum(dim=1, keepdim=True)  # (B, 1)
    return torch.cat([own, q @ queue], dim=1) / temperature


class MomentumContrast(nn.Module):
    """Query encoder, a key encoder that follows it slowly, and a queue of keys of earlier batches. He et al., MoCo, 2020, alg. 1.

    `encoder(query, key)`, two crops of the same spoilt images (B, 3, H, W) -> (code, logits (B, 1 + N), labels (B,) all zero); each
    call moves the key encoder and the queue, so call it in training only. Only the query encoder gets gradients. Raises ValueError
    for a batch larger than the queue.
    """

    def __init__(
        self, widths=(64, 128, 256), queue: int = 1280, momentum: float = 0.999, temperature: float = 0.07, logits=contrastive_logits
    ):
        super().__init__()
        self.momentum, self.temperature, self.logits = momentum, temperature, logits
        self.encoder_q = DegradationEncoder(widths)
        self.encoder_k = DegradationEncoder(widths).requires_grad_(False)
        self.encoder_k.load_state_dict(self.encoder_q.state_dict())
        self.register_buffer("queue", F.normalize(torch.randn(widths[-1], queue), dim=0))  # (D, N)
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))  # the column that is overwritten next

    @torch.no_grad()
    def follow(self) -> None:
        """key parameter <- momentum * key + (1 - momentum) * query, eq. 2. Running statistics are each encoder's own."""
        for key, query in zip(self.encoder_k.parameters(), self.encoder_q.parameters(), strict=True):
            key.lerp_(query, 1 - self.momentum)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Overwrite the oldest columns of the queue by `keys` (B, D), going on at column 0 after the last."""
        batch, columns = len(keys), self.queue.shape[1]
        if batch > columns:
            raise ValueError(f"AirNet: a batch of {batch} does not fit a queue of {columns} keys; use a larger queue or a smaller batch")
        at = (self.queue_ptr + torch.arange(batch, device=keys.device)) % columns
        self.queue[:, at] = keys.T.to(self.queue.dtype)
        self.queue_ptr.copy_((self.queue_ptr + batch) % columns)

    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code, _, projection = self.encoder_q(query)
        q = F.normalize(_wide(projection), dim=1)
        with torch.no_grad():
            self.follow()
            k = F.normalize(_wide(self.encoder_k(key)[2]), dim=1)
        with torch.autocast(q.device.type, enabled=False):  # divided by 0.07, bf16's rounding would show
            logits = self.logits(q, k, self.queue.clone(), self.temperature)  # a copy: autograd needs it as it was
        self.enqueue(k)
        return code, logits, torch.zeros(len(q), dtype=torch.long, device=q.device)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Modulation(nn.Module):
    """Spatial feature transform, x * gamma(code) + beta(code): (B, C, H, W), (B, E, H, W) -> (B, C, H, W). Wang et al. 2018."""

    def __init__(self, channels: int, code_channels: int):
        super().__init__()

        def branch() -> nn.Sequential:
            first = nn.Conv2d(code_channels, channels, 1, bias=False)
            return nn.Sequential(first, nn.LeakyReLU(0.1), nn.Conv2d(channels, channels, 1, bias=False))

        self.conv_gamma, self.conv_beta = branch(), branch()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return x * self.conv_gamma(code) + self.conv_beta(code)


class DegradationGuided(nn.Module):
    """x + deform(x, code) + modulate(x, code): the module DGM, (B, C, H, W), (B, E, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, code_channels: int, deform=DeformConv, modulation=Modulation):
        super().__init__()
        self.dcn = deform(channels, code_channels)
        self.sft = modulation(channels, code_channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return x + self.dcn(x, code) + self.sft(x, code)


class DegradationGuidedBlock(nn.Module):
    """x + conv(guided(conv(guided(x)))) with a leaky ReLU after all but the last: the block DGB, shapes as DegradationGuided."""

    def __init__(self, channels: int, code_channels: int, deform=DeformConv, modulation=Modulation):
        super().__init__()
        self.dgm1 = DegradationGuided(channels, code_channels, deform, modulation)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.dgm2 = DegradationGuided(channels, code_channels, deform, modulation)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        y = F.leaky_relu(self.dgm1(x, code), 0.1)
        y = F.leaky_relu(self.conv1(y), 0.1)
        y = F.leaky_relu(self.dgm2(y, code), 0.1)
        return x + self.conv2(y)


class GuidedChain(nn.Module):
    """x + conv(part_n(... part_1(x, code) ..., code)): a group (DGG) when the parts are blocks, the trunk when they are groups."""

    def __init__(self, channels: int, parts: Sequence[nn.Module]):
        super().__init__()
        self.body = nn.ModuleList([*parts, nn.Conv2d(channels, channels, 3, padding=1)])

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        y = x
        for part in self.body[:-1]:
            y = part(y, code)
        return x + self.body[-1](y)


class Restorer(GuidedChain):
    """The network DGRN: image (B, 3, H, W) and code (B, E, H, W) -> restored (B, 3, H, W)."""

    def __init__(self, width: int, code_channels: int, groups: int, blocks: int, block):
        chains = [GuidedChain(width, [block(width, code_channels) for _ in range(blocks)]) for _ in range(groups)]
        super().__init__(width, chains)
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.tail = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image: Tensor, code: Tensor) -> Tensor:
        return self.tail(super().forward(self.head(image), code))


class AirNetOutput(NamedTuple):
    """What a training call gives: restored (B, 3, H, W), logits (B, 1 + N), labels (B,)."""

    restored: Tensor
    logits: Tensor
    labels: Tensor


def airnet_loss(output: AirNetOutput, clean: Tensor, weight: float = 0.1) -> Tensor:
    """L1 to the clean image of the query crop plus `weight` times the contrastive cross-entropy. Li et al. 2022."""
    return F.l1_loss(output.restored, clean) + weight * F.cross_entropy(output.logits, output.labels)


class AirNet(nn.Module):
    """AirNet, (B, 3, H, W) in [0, 1] -> same, any size. Defaults: the published size, 8.93 M, of which 7.61 M are trained.

    `model(image)` restores: the image is its own query, and no key is needed. While training, `model(query, key)` with two crops of
    the same spoilt images (same photograph, same degradation, other place) -> AirNetOutput(restored query, logits, labels), which
    `airnet_loss` takes; in eval mode the key is ignored, as in the official code. `model.embed(image)` (B, E3) is what the encoder
    thinks of the degradation.

    `width`: C of the restorer; `groups` of `blocks`; `encoder_widths`: (E1, E2, E3), E1 being the code's channels; `queue`: keys kept
    (published: 256 a batch image). `deform(channels, code_channels)`, `modulation(...)`, `block(channels, code_channels, deform,
    modulation)` and `logits(q, k, queue, temperature)` may be your own. Raises ValueError for a configuration that is not one.
    """

    size_multiple = 1  # no halving in the restorer; the encoder's two round up

    def __init__(
        self,
        width: int = 64,
        groups: int = 5,
        blocks: int = 5,
        encoder_widths: Sequence[int] = (64, 128, 256),
        queue: int = 1280,
        momentum: float = 0.999,
        temperature: float = 0.07,
        block=DegradationGuidedBlock,
        deform=DeformConv,
        modulation=Modulation,
        logits=contrastive_logits,
    ):
        super().__init__()
        if len(encoder_widths) != 3 or min(width, groups, blocks, queue, *encoder_widths) < 1:
            words = f"width={width}, groups={groups}, blocks={blocks}, encoder_widths={list(encoder_widths)}, queue={queue}"
            raise ValueError(f"AirNet takes three encoder widths and counts of at least 1; got {words}")
        self.config = dict(
            width=width, groups=groups, blocks=blocks, encoder_widths=list(encoder_widths),
            queue=queue, momentum=momentum, temperature=temperature,
        )  # fmt: skip
        self.encoder = MomentumContrast(encoder_widths, queue, momentum, temperature, logits)
        self.restorer = Restorer(width, encoder_widths[0], groups, blocks, lambda c, e: block(c, e, deform, modulation))
        self.to(memory_format=torch.channels_last)

    def forward(self, query: Tensor, key: Tensor | None = None) -> Tensor | AirNetOutput:
        query = query.contiguous(memory_format=torch.channels_last)
        if key is None or not self.training:
            return self.restorer(query, self.encoder.encoder_q.pre(query))
        code, logits, labels = self.encoder(query, key)
        return AirNetOutput(self.restorer(query, code), logits, labels)

    def embed(self, image: Tensor) -> Tensor:
        """The encoder's embedding of the degradation, (B, 3, H, W) -> (B, E3)."""
        return self.encoder.encoder_q(image)[1]


# The official names and ours, for `official.py`, which registers them.
TO_OURS = (
    (r"^R\.(head|tail)\.0\.", r"restorer.\1."),
    (r"^R\.", "restorer."),
    (r"^E\.E\.", "encoder."),
    (r"\.E_pre\.", ".pre."),
    (r"^(encoder\.encoder_[qk])\.E\.", r"\1.body."),
)
TO_OFFICIAL = (
    (r"^(encoder\.encoder_[qk])\.body\.", r"\1.E."),
    (r"^(encoder\.encoder_[qk])\.pre\.", r"\1.E_pre."),
    (r"^encoder\.", "E.E."),
    (r"^restorer\.(head|tail)\.", r"R.\1.0."),
    (r"^restorer\.", "R."),
)


def read_config(state: Mapping[str, Tensor]) -> dict:
    """The configuration of an official state dict, from its keys and shapes. Raises KeyError where it is not AirNet's."""
    body = [key.split(".") for key in state if key.startswith("R.body.")]
    encoder = "E.E.encoder_q."
    return dict(
        width=state["R.head.0.weight"].shape[0],
        groups=len({key[2] for key in body}) - 1,  # the last of the body is a convolution
        blocks=len({key[4] for key in body if key[2:4] == ["0", "body"]}) - 1,
        encoder_widths=[state[f"{encoder}{part}.backbone.0.weight"].shape[0] for part in ("E_pre", "E.0", "E.1")],
        queue=state["E.E.queue"].shape[1],
    )
