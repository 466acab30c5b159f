"""AutoDIR: name the worst degradation, remove it, look again (Jiang et al., "AutoDIR: automatic all-in-one image restoration with latent
diffusion", ECCV 2024), at a size that a CPU trains.

    s = softmax of the likeness of the image to a sentence for every degradation           QualityHead, the blind assessment
    stop when "clean" scores highest, or nothing that was not removed before scores enough
    image = restorer(image, the sentence of the highest score); that degradation is done   PromptRestorer; then from the top

The restorer is taught to remove what its sentence names and to leave everything else: on a picture spoilt twice its target is the
picture spoilt once. That is what lets the rounds follow one another.

The published system has about a thousand million parameters (`load_published` opens its file):
- Its assessment is CLIP ViT-L/14, whose image tower was trained on with a fidelity loss, and its names are noise, blur, rain,
  underexposure, haze, low resolution, raindrop, no. Ours is a convolutional network beside one linear layer that reads the sentences.
- Its restorer is Stable Diffusion 1.5, the input's code concatenated as in InstructPix2Pix: latent diffusion from pure noise, guided by
  image and text. Ours walks in pixels and from the input, as RDDM does.
- The autoencoder of Stable Diffusion loses fine detail. A structure-correction module (a NAFNet that sees input and result, 6 channels)
  adds back what the input tells. Ours has no autoencoder, hence nothing to correct.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.datasets.mixture import MixtureDataset, Task, degrade_of
from course_lib.diffusion.chain import starting_noise
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.rddm import RDDM
from course_lib.images import pad_to_multiple
from course_lib.models.equaliser import bands
from course_lib.models.official import CheckpointError, read_checkpoint
from course_lib.models.unet import UNet, embed_time
from course_lib.models.unet_parts import ResidualBlock, unshuffle_down
from course_lib.prompts import CLEAN_SENTENCE, NAMES, SENTENCE, encode_words, encoder_label, refuse_other

KINDS = {"noise": "gaussian_noise", "blur": "motion_blur", "rain": "rain", "haze": "haze", "low light": "low_light"}
DRAWN = {"noise": {"sigma": (10, 50)}, "blur": {"length": (7, 15)}}  # ranges that are not the kind's own


class Round(NamedTuple):
    """One round: its number from 1, the name removed ("clean": nothing was, the end), the scores (N,) before it, the image after it."""

    round: int
    name: str
    scores: Tensor
    image: Tensor


def prompt_of(name: str) -> str:
    """The sentence that stands for one of NAMES. Raises ValueError for another word."""
    if name not in NAMES:
        raise ValueError(f"AutoDIR knows {', '.join(NAMES)}, not {name!r}")
    return CLEAN_SENTENCE if name == "clean" else SENTENCE.format(name)


def next_degradation(scores: Sequence[float], names: Sequence[str], done: set[str], threshold: float) -> str | None:
    """The name with the largest score that is neither "clean" nor done, if that is at least `threshold` and above "clean"'s; else None."""
    table = dict(zip(names, map(float, scores), strict=True))
    worst = max((name for name in names if name != "clean" and name not in done), key=table.get, default="clean")
    return worst if table[worst] >= threshold and table[worst] > table["clean"] else None


class QualityHead(nn.Module):
    """image (B, 3, H, W) in [0, 1] -> logits (B, 6) over NAMES: the cosine of image and sentence, scaled, as CLIP compares them.

    `vectors` (6, D): the encoded sentences; None: they come with the weights. No norms between the convolutions, which would take away the
    brightness and contrast that tell haze and low light. Any size from 16 pixels.
    """

    def __init__(self, text_width: int = 512, widths: Sequence[int] = (24, 48, 64, 96), embed: int = 64, vectors: Tensor | None = None):
        super().__init__()
        self.config = dict(text_width=text_width, widths=list(widths), embed=embed)
        sizes = zip((3, *widths), widths, strict=False)
        self.body = nn.ModuleList(nn.Conv2d(C, out, 3, stride=2, padding=1) for C, out in sizes)
        self.image = nn.Sequential(nn.Linear(2 * (sum(widths) + 3), 128), nn.SiLU(), nn.Linear(128, embed))
        self.text = nn.Linear(text_width, embed, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.0))  # of the cosines, as its logarithm
        self.register_buffer("vectors", torch.zeros(len(NAMES), text_width) if vectors is None else vectors.clone())

    def forward(self, image: Tensor) -> Tensor:
        x = 2 * image - 1
        seen = [x.mean((2, 3)), x.std((2, 3), correction=0)]
        for convolution in self.body:  # mean and deviation of every level: noise and rain are fine, haze and dark are coarse
            x = F.silu(convolution(x))
            seen += [x.mean((2, 3)), x.std((2, 3), correction=0)]
        embedded = F.normalize(self.image(torch.cat(seen, dim=1)), dim=1)  # (B, E)
        sentences = F.normalize(self.text(self.prompts(self.vectors)), dim=1)  # (N, E)
        return self.scale.exp() * embedded @ sentences.T

    def prompts(self, vectors: Tensor) -> Tensor:
        """Vectors (..., D) as both networks read them: less what the six sentences have in common, at length 1."""
        return F.normalize(vectors - self.vectors.mean(0), dim=-1)


class PromptUNet(UNet):
    """(x_t, x_in) (B, 6, H, W), times (B,), prompts (B, D) -> residual (B, 3, H, W). A U-Net of `unet.py` on 2x2 pixels as channels.

    The prompt joins the time embedding, which scales and shifts every block, and so does a summary of the input: mean, deviation, darkest
    and brightest of each channel. In the place of attention each channel's mean over the picture is added: what the whole is like tells
    how much light or haze to take away. Both also set the gains of an equaliser, a share of every band of the input: how much of the fine
    detail is noise is learnt sooner than how to copy every grain. Sides divide by `size_multiple`.
    """

    def __init__(self, dim: int = 32, dim_mults: Sequence[int] = (1, 2, 3), text_width: int = 512):
        mean = dict(attention=lambda channels, depth: nn.AdaptiveAvgPool2d(1), middle=lambda channels: nn.AdaptiveAvgPool2d(1))
        super().__init__(dim, dim_mults, 24, 12, block=ResidualBlock, downsample=unshuffle_down, **mean)
        self.config = dict(dim=dim, dim_mults=list(dim_mults), text_width=text_width)
        self.size_multiple = 2 ** len(dim_mults)
        self.prompt = nn.Sequential(nn.Linear(text_width, 4 * dim), nn.GELU(), nn.Linear(4 * dim, 4 * dim))
        self.summary = nn.Sequential(nn.Linear(12, 4 * dim), nn.GELU(), nn.Linear(4 * dim, 4 * dim))
        self.gains = nn.Linear(4 * dim, 5 * 3)
        self.gains.load_state_dict({key: torch.zeros_like(value) for key, value in self.gains.state_dict().items()})

    def forward(self, pair: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        seen = F.avg_pool2d(pair[:, 3:], self.size_multiple)
        summary = torch.cat([seen.mean((2, 3)), seen.std((2, 3), correction=0), seen.amin((2, 3)), seen.amax((2, 3))], dim=1)  # (B, 12)
        x = start = self.init_conv(F.pixel_unshuffle(pair, 2))  # (B, C, H/2, W/2)
        time, skips = embed_time(self.time_mlp, t, len(x)) + self.prompt(prompt) + self.summary(summary), []
        for level in self.downs:
            x = level.down(x, time, skips)
        x = self.mid_block1(x, time)
        x = self.mid_block2(x + self.mid_attn(x), time)
        for level in self.ups:
            x = level.up(x, time, skips)
        x = self.final_res_block(torch.cat([x, start], dim=1), time)
        gains = self.gains(F.silu(time)).view(-1, 5, 3, 1, 1)
        return F.pixel_shuffle(self.final_conv(x), 2) + (gains * bands(pair[:, 3:])).sum(dim=1)


class WholeResidual(RDDM):
    """RDDM with the residual predicted and not cut to [-1, 1]: a dark picture is further than that from its clean one."""

    def __init__(self, timesteps: int = 1000, sum_scale: float = 0.01):
        super().__init__(timesteps, sum_scale, "pred_res")

    def predict(self, model, x: Tensor, x_in: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x0 = (x_in - self.run(model, x, x_in, t)[0]).clamp(-1, 1)
        residual = x_in - x0
        abar, bbar = self.at("alphas_cumsum", t, x), self.at("betas_cumsum", t, x)
        return residual, (x - x_in - (abar - 1) * residual) / bbar, x0


class PromptRestorer(nn.Module):
    """degraded (B, 3, H, W) in [0, 1] and prompts (B, D) -> the same without what the prompts name; with `clean`, each picture's loss (B,).

    `network`, `process`: keywords of PromptUNet and WholeResidual; `steps`: calls of the network. The starting noise is fixed by a seed.
    """

    def __init__(self, network: dict | None = None, process: dict | None = None, steps: int = 2):
        super().__init__()
        self.network, self.process, self.steps = PromptUNet(**(network or {})), WholeResidual(**(process or {})), steps
        self.config = dict(network=self.network.config, process=dict(process or {}), steps=steps)
        # schedules follow from the configuration: a weights file holds the network alone
        self.process._non_persistent_buffers_set.update(name for name, _ in self.process.named_buffers())

    def forward(self, degraded: Tensor, prompt: Tensor, clean: Tensor | None = None, t: Tensor | None = None, noise: Tensor | None = None):
        network = partial(self.network, prompt=prompt)
        if clean is not None:
            return self.process.loss(network, degraded, clean, t, noise, each=True)
        start = starting_noise((1, *degraded.shape[1:]), 0, degraded.device).expand_as(degraded) if noise is None else noise
        return self.process.sample(network, degraded, self.steps, start)


class AutoDIR(nn.Module):
    """The whole system: image (B, 3, H, W) in [0, 1] -> restored, each picture in rounds of its own; `steps` shows them.

    `head`, `restorer`: keywords of QualityHead and PromptRestorer. `encoder`: one of `text_encoders.ENCODERS`, which encodes the sentences,
    or a label "name:fingerprint" as a weights file has it: the vectors then come with the weights.
    """

    def __init__(self, head: dict | None = None, restorer: dict | None = None, encoder: str = "offline"):
        super().__init__()
        made = None if ":" in encoder else encode_words([prompt_of(name) for name in NAMES], encoder)
        self.encoder, head, restorer = encoder if made is None else made.encoder, dict(head or {}), dict(restorer or {})
        if made is not None:
            head |= dict(vectors=made.vectors, text_width=made.vectors.shape[1])
            restorer["network"] = {**restorer.get("network", {}), "text_width": made.vectors.shape[1]}
        self.head, self.restorer = QualityHead(**head), PromptRestorer(**restorer)
        self.config = dict(head=self.head.config, restorer=self.restorer.config, encoder=self.encoder)

    def scores(self, image: Tensor) -> Tensor:
        """Probabilities (B, 6) over NAMES."""
        with torch.no_grad():
            return self.head(image.clamp(0, 1)).softmax(dim=1)

    def prompt(self, text: str) -> Tensor:
        """The vector (1, D), as the networks read it, of one of NAMES or of any text. Raises PromptError."""
        if text in NAMES:
            vector = self.head.vectors[NAMES.index(text)]
        else:
            name = self.encoder.partition(":")[0]
            refuse_other({"encoder": self.encoder}, encoder_label(name))  # before anything is downloaded for it
            vector = encode_words(text, name).vectors[0].to(self.head.vectors)
        return self.head.prompts(vector[None])

    def remove(self, image: Tensor, text: str) -> Tensor:
        """The images (B, 3, H, W) without what `text` names, one of NAMES or a free text; any size."""
        padded, (height, width) = pad_to_multiple(image, self.restorer.network.size_multiple)
        return self.restorer(padded, self.prompt(text).expand(len(image), -1))[..., :height, :width].clamp(0, 1)

    def steps(self, image: Tensor, most: int = 3, threshold: float = 0.2) -> Iterator[Round]:
        """The rounds on one image (1, 3, H, W), at most `most`, and "clean" where the head says so before. Raises ValueError for more."""
        if image.ndim != 4 or len(image) != 1:
            raise ValueError(f"AutoDIR.steps wants one image (1, 3, H, W), got {tuple(image.shape)}")
        done: set[str] = set()
        while len(done) < most and "clean" not in done:
            scores = self.scores(image)[0]
            name = next_degradation(scores.tolist(), NAMES, done, threshold) or "clean"
            image = image if name == "clean" else self.remove(image, name)
            done.add(name)
            yield Round(len(done), name, scores, image)

    def restore(self, image: Tensor, most: int = 3, threshold: float = 0.2) -> Tensor:
        """Each image of (B, 3, H, W) after its last round."""
        return torch.cat([[round.image for round in self.steps(one[None], most, threshold)][-1] for one in image])

    forward = restore


class OneOfTwo(MixtureDataset):
    """Scenes spoilt once or twice; `dataset[(n, patch)] -> (degraded, target, label, present)`, `target` without what `label` names.

    label: n mod len(names); a second degradation comes in `twice` of the samples, before or after it. present (6,): what is in `degraded`.
    The scene, `context` pixels a side, is spoilt before the patch is cut out. A pure function of (seed, n), like its parent.
    """

    def __init__(self, images: Sequence[Tensor], seed: int, names: Sequence[str] = NAMES, twice: float = 0.4, context: int = 128):
        super().__init__([Task("clean", images, lambda image, rng: image)], seed)
        self.taught, self.twice, self.side = list(names), twice, context

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, int, Tensor]:
        number, patch = key
        scene, rng = super().__getitem__((number, self.side))[1], np.random.default_rng((self.seed, number, 1))
        name, seeds = self.taught[number % len(self.taught)], rng.integers(2**63, size=2)
        others = [other for other in KINDS if other != name] if name != "clean" and rng.random() < self.twice else ["clean"]
        second = str(rng.choice(others))
        target = _spoil(scene, second, seeds[1])
        first = rng.random() < 0.5  # whether the label's degradation came before the other
        degraded = _spoil(_spoil(scene, name, seeds[0]), second, seeds[1]) if first else _spoil(target, name, seeds[0])
        top, left = rng.integers(0, self.side - patch + 1, size=2)
        degraded, target = (image[:, top : top + patch, left : left + patch].contiguous() for image in (degraded, target))
        present = [float(known == name or known == second != "clean") for known in NAMES]
        return degraded, target, NAMES.index(name), torch.tensor(present)


def _spoil(image: Tensor, name: str, seed: int) -> Tensor:
    return image if name == "clean" else degrade_of(KINDS[name], **DRAWN.get(name, {}))(image, np.random.default_rng(seed))


def head_objective(head: QualityHead, batch) -> Tensor:
    """Cross-entropy of the head's scores against the degradations present, each with an equal share."""
    image, _, _, present = batch
    return F.cross_entropy(head(image).float(), present / present.sum(dim=1, keepdim=True))


def train_head(model: AutoDIR, images: Sequence[Tensor], folder: str | Path, *, recipe: dict | None = None, **options):
    """Train `model.head` on clean images (3, H, W). `recipe`: fields of a Recipe, over ours; options and Result of `training.loop.fit`."""
    fields = dict(name="autodir_head", steps=600, patches=(128,), batches=(12,), precision="fp32") | (recipe or {})
    return _fit(model.head, images, NAMES, head_objective, folder, fields, options)


def train_restorer(model: AutoDIR, images: Sequence[Tensor], folder: str | Path, *, recipe: dict | None = None, **options):
    """Train `model.restorer` under the head's sentences, whether or not the head is trained; arguments as in `train_head`."""
    prompts = model.head.prompts(model.head.vectors)

    def objective(restorer: PromptRestorer, batch) -> Tensor:
        degraded, target, label, _ = batch
        # a dark picture is ten times as far from its target as a blurred one, and would teach ten times as loudly
        weight = 1 / (0.3 + 4 * (degraded - target).abs().mean((1, 2, 3)))
        return (weight * restorer(degraded, prompts.to(degraded)[label], target)).mean()

    fields = dict(name="autodir_restorer", steps=800, patches=(64,), batches=(5,), precision="bf16") | (recipe or {})
    return _fit(model.restorer, images, NAMES[:-1], objective, folder, fields, options)


def _fit(model: nn.Module, images: Sequence[Tensor], names: Sequence[str], objective, folder: str | Path, fields: dict, options: dict):
    from course_lib.training.loop import fit
    from course_lib.training.recipe import Recipe

    recipe = Recipe(**(dict(learning_rate=1e-3, warmup=20, ema_decay=0.99) | fields))
    return fit(model, recipe, OneOfTwo(images, recipe.seed, names), None, folder, objective=objective, **options)


# parts of the published system by the beginning of their keys
PARTS = {
    "denoiser": "model.diffusion_model.", "autoencoder": "first_stage_model.", "assessment": "model_assessment.clipmodel.",
    "structure correction": "NAFNet.",
}  # fmt: skip


def load_published(path: str | Path) -> tuple[DDPM, dict[str, dict[str, Tensor]]]:
    """The official autodir.ckpt taken apart: (process, part -> state dict in that network's own keys). Raises CheckpointError.

    Only the process has a counterpart here. The networks have none: the parts fit Stable Diffusion's U-Net with 8 input channels and its
    autoencoder, the CLIPModel (ViT-L/14) of transformers, and the NAFNet of width 64 (2, 2, 4, 8; 12; 2, 2, 2, 2 blocks, 6 channels in).
    """
    state = read_checkpoint(path)
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    parts = {part: {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)} for part, start in PARTS.items()}
    absent = [part for part, tensors in parts.items() if not tensors]
    first = parts["denoiser"].get("input_blocks.0.0.weight", torch.empty(0, 0))
    if absent or "alphas_cumprod" not in state or first.shape[1] != 8:
        found = ", ".join(sorted({str(key).split(".")[0] for key in state})[:6]) or "nothing"
        wanted = ", ".join(absent) or "its schedule or a U-Net of 8 input channels"
        raise CheckpointError(f"{path} is not AutoDIR's checkpoint, without {wanted}; it holds {found}")
    return DDPM(len(state["alphas_cumprod"]), state["alphas_cumprod"].double()), parts
