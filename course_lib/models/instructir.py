"""InstructIR: restoration by written instruction (Conde et al., ECCV 2024), the other way to use words.

NAFNet's U-shape (Chen et al., ECCV 2022: no activation but products of halves). After every encoder level and every decoder level stands
an instruction block (ICB): the sentence's vector says how much of each channel passes. No channel changes its place, as it does in DFPIR.

    sentence --> sentence encoder (384) --> fc1 --> length 1: text (256) --> fc2 --> seven scores, what the sentence asks for
                                                       |
    image --> intro --> encoders.0, enc_cond.0 --> downs.0 ... middle_blks ... ups.3 + skip --> decoders.3, dec_cond.3 --> ending, + image

The names are those of the authors' code, so its weights fit as they are. The sentence encoder, bge-micro-v2, is a work of others;
`Instructions` loads it where it can be had.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.layers import LayerNorm

CLASSES = ("noise", "blur", "rain", "haze", "low light", "super-resolution", "enhancement")  # the order of fc2
SENTENCE_ENCODER = "TaylorAI/bge-micro-v2"


def gate(x: Tensor) -> Tensor:
    """NAFNet's SimpleGate, (B, 2C, H, W) -> (B, C, H, W): one half of the channels times the other."""
    first, second = x.chunk(2, dim=1)
    return first * second


class NAFBlock(nn.Module):
    """NAFNet's block, (B, C, H, W) -> same.

    x + beta * conv3(sca(g) g), g = gate(conv2(conv1(norm1(x)))); then y + gamma * conv5(gate(conv4(norm2(y)))). sca: the channels' means,
    mixed. beta and gamma (1, C, 1, 1) start at 0: a fresh block changes nothing.
    """

    def __init__(self, channels: int):
        super().__init__()
        C = channels
        self.norm1, self.norm2 = LayerNorm(C, eps=1e-6), LayerNorm(C, eps=1e-6)
        self.conv1 = nn.Conv2d(C, 2 * C, 1)
        self.conv2 = nn.Conv2d(2 * C, 2 * C, 3, padding=1, groups=2 * C)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(C, C, 1))
        self.conv3 = nn.Conv2d(C, C, 1)
        self.conv4 = nn.Conv2d(C, 2 * C, 1)
        self.conv5 = nn.Conv2d(C, C, 1)
        self.beta, self.gamma = (nn.Parameter(torch.zeros(1, C, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        gated = gate(self.conv2(self.conv1(self.norm1(x))))  # (B, C, H, W)
        y = x + self.beta * self.conv3(self.sca(gated) * gated)
        return y + self.gamma * self.conv5(gate(self.conv4(self.norm2(y))))


class InstructionBlock(nn.Module):
    """ICB, x (B, C, H, W) and texts (B, D) -> (B, C, H, W): x + NAFBlock((gamma x + beta) sigmoid(fc(text))).

    gamma and beta start at 0, so that a fresh block passes x on, whatever the text.
    """

    def __init__(self, channels: int, text_width: int, block=NAFBlock):
        super().__init__()
        self.fc = nn.Linear(text_width, channels)
        self.beta, self.gamma = (nn.Parameter(torch.zeros(1, channels, 1, 1)) for _ in range(2))
        self.block = block(channels)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        passed = self.fc(text).sigmoid()[:, :, None, None]  # (B, C, 1, 1): the share of each channel
        return x + self.block((x * self.gamma + self.beta) * passed)


class InstructIR(nn.Module):
    """InstructIR, image (B, 3, H, W) in [0, 1] and texts (B, D), or one (D,) for all -> (B, 3, H, W), any size. 15.8 M as released.

    `width` is C at full resolution, doubled at each level; `blocks`, `middle_blocks` and `decoder_blocks` count. The input is padded with
    zeros to a multiple of 2^levels, as the authors do. `block(channels)` and `instruction(channels, text_width)` (x, text -> x) may be
    your own. Raises ValueError for texts of another width or number.
    """

    size_multiple = 1  # it pads its own input

    def __init__(
        self,
        width: int = 32,
        blocks: Sequence[int] = (2, 2, 4, 8),
        middle_blocks: int = 4,
        decoder_blocks: Sequence[int] = (2, 2, 2, 2),
        text_width: int = 256,
        in_channels: int = 3,
        block=NAFBlock,
        instruction=InstructionBlock,
    ):
        super().__init__()
        if len(blocks) != len(decoder_blocks):
            raise ValueError(f"InstructIR has as many levels up as down; got blocks={list(blocks)}, decoder_blocks={list(decoder_blocks)}")
        self.config = dict(
            width=width, blocks=list(blocks), middle_blocks=middle_blocks, decoder_blocks=list(decoder_blocks), text_width=text_width,
            in_channels=in_channels,
        )  # fmt: skip
        self.text_width = text_width
        widths = [width << level for level in range(len(blocks))]  # C, 2C, 4C, 8C
        upwards = widths[::-1]

        def level(channels: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(block(channels) for _ in range(count)))

        self.intro = nn.Conv2d(in_channels, width, 3, padding=1)
        self.encoders = nn.ModuleList(map(level, widths, blocks))
        self.enc_cond = nn.ModuleList(instruction(C, text_width) for C in widths)
        self.downs = nn.ModuleList(nn.Conv2d(C, 2 * C, 2, stride=2) for C in widths)
        self.middle_blks = level(2 * widths[-1], middle_blocks)
        self.ups = nn.ModuleList(nn.Sequential(nn.Conv2d(2 * C, 4 * C, 1, bias=False), nn.PixelShuffle(2)) for C in upwards)
        self.decoders = nn.ModuleList(map(level, upwards, decoder_blocks))
        self.dec_cond = nn.ModuleList(instruction(C, text_width) for C in upwards)
        self.ending = nn.Conv2d(width, in_channels, 3, padding=1)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        B, _, height, width = image.shape
        text = text.reshape(-1, text.shape[-1])
        if text.shape[1] != self.text_width or len(text) not in (1, B):
            wanted = f"one text of {self.text_width} numbers, or one for each of {B} images"
            raise ValueError(f"InstructIR wants {wanted}; got {tuple(text.shape)}")
        multiple = 2 ** len(self.encoders)
        padded = F.pad(image, (0, -width % multiple, 0, -height % multiple)).contiguous(memory_format=torch.channels_last)
        x, skips = self.intro(padded), []
        for encoder, condition, down in zip(self.encoders, self.enc_cond, self.downs, strict=True):
            x = condition(encoder(x), text)  # (B, C, H, W), then 2C at H/2, ...
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x)
        for decoder, condition, up, skip in zip(self.decoders, self.dec_cond, self.ups, reversed(skips), strict=True):
            x = condition(decoder(up(x) + skip), text)
        return (self.ending(x) + padded)[..., :height, :width]


class SentenceHead(nn.Module):
    """Sentence vectors (B, 384) -> (text (B, 256) at length 1, scores (B, 7) over CLASSES). InstructIR's trained part of the language."""

    def __init__(self, sentence_width: int = 384, text_width: int = 256, classes: int = len(CLASSES)):
        super().__init__()
        self.fc1 = nn.Linear(sentence_width, text_width)
        self.fc2 = nn.Linear(text_width, classes)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        text = F.normalize(self.fc1(vectors), dim=1)
        return text, self.fc2(text)


def load_head(checkpoint: str | Path | Mapping[str, Tensor]) -> SentenceHead:
    """The authors' language head, in eval mode, from a file or a state dict; its sizes are read from it. Raises CheckpointError."""
    from course_lib.models.official import CheckpointError, read_checkpoint, unwrap

    state = unwrap(checkpoint if isinstance(checkpoint, Mapping) else read_checkpoint(checkpoint))
    wanted = {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    if set(state) != wanted:
        raise CheckpointError(
            f"not InstructIR's language head, which holds {', '.join(sorted(wanted))}; found {', '.join(list(state)[:6])}"
        )
    (text_width, sentence_width), classes = state["fc1.weight"].shape, len(state["fc2.weight"])
    head = SentenceHead(sentence_width, text_width, classes)
    head.load_state_dict(state)
    return head.eval()


class Instructions:
    """Sentences -> what InstructIR reads: `texts(sentences)` (N, 256); `asked(sentences)`: the class of CLASSES that each asks for.

    `head`: a SentenceHead; `encoder`: a folder with the sentence encoder, or its name, found in the cache of the package
    sentence_transformers. With `download=True` that package may fetch it. Raises PromptError with the steps where it is not there.
    """

    def __init__(self, head: SentenceHead, encoder: str | Path = SENTENCE_ENCODER, download: bool = False):
        from course_lib.prompts import PromptError

        if find_spec("sentence_transformers") is None:
            raise PromptError("InstructIR's sentences need the package sentence_transformers: pip install sentence-transformers")
        from sentence_transformers import SentenceTransformer

        try:
            self.encoder = SentenceTransformer(str(encoder), device="cpu", local_files_only=not download)
        except (OSError, ValueError) as error:
            steps = 'a folder of it as Instructions(head, "folder"), or Instructions(head, download=True) on a machine with network'
            raise PromptError(f"the sentence encoder {encoder} is not on this machine ({str(error)[:160]}); give {steps}") from error
        self.head = head

    def vectors(self, sentences: str | Sequence[str]) -> Tensor:
        """Sentence vectors (N, 384), float32: the mean over the tokens, at length 1."""
        sentences = [sentences] if isinstance(sentences, str) else list(sentences)
        made = self.encoder.encode(sentences, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False)
        return torch.as_tensor(made).float()

    @torch.no_grad()
    def texts(self, sentences: str | Sequence[str]) -> Tensor:
        """(N, 256), the second argument of InstructIR."""
        return self.head(self.vectors(sentences))[0]

    @torch.no_grad()
    def asked(self, sentences: str | Sequence[str]) -> list[str]:
        """What each sentence asks to be removed, one of CLASSES."""
        return [CLASSES[index] for index in self.head(self.vectors(sentences))[1].argmax(1).tolist()]


def read_config(state: Mapping[str, Tensor]) -> dict:
    """The arguments of the network that an official state dict belongs to. Raises KeyError where it is another's."""

    def counts(part: str) -> list[int]:
        places = {tuple(map(int, key.split(".")[1:3])) for key in state if key.startswith(part + ".")}
        levels = [level for level, _ in places]
        return [levels.count(level) for level in sorted(set(levels))]

    return dict(
        width=state["intro.weight"].shape[0],
        blocks=counts("encoders"),
        middle_blocks=len({key.split(".")[1] for key in state if key.startswith("middle_blks.")}),
        decoder_blocks=counts("decoders"),
        text_width=state["enc_cond.0.fc.weight"].shape[1],
        in_channels=state["intro.weight"].shape[1],
    )
