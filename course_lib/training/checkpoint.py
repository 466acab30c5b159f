"""Checkpoints of a run in progress, and weight files: safetensors, written aside and renamed, checked when read.

A checkpoint holds the model, the optimiser, EMA, scaler, the step (which is the position in the data), the sums of the log row in
progress and the random states of Python, NumPy and torch. The learning rate is a function of the step and needs no state.
"""

import hashlib
import json
import random
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.models.official import CheckpointError
from course_lib.paths import ensure_folder, write_atomic

KEEP = 2
_NAME = re.compile(r"checkpoint-(\d{8})\.safetensors$")


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes: a flipped bit is found, which the format alone would not notice."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, tensors: dict[str, Tensor], meta: dict) -> None:
    from safetensors.torch import save

    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    text = json.dumps(meta)
    metadata = {"meta": text, "sha256": _digest(tensors), "meta_sha256": _text_digest(text)}
    write_atomic(path, save(tensors, metadata))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """(tensors, meta) of a file that this course wrote. Raises CheckpointError when it is cut short, altered or not ours."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cut short or not a safetensors file ({error})") from None
    if "sha256" not in metadata:
        raise CheckpointError(f"{path}: not written by this course (no checksum in it); for official weights use load_official")
    meta = metadata.get("meta", "")
    if _digest(tensors) != metadata["sha256"] or metadata.get("meta_sha256", _text_digest(meta)) != _text_digest(meta):
        raise CheckpointError(f"{path}: its checksum does not fit its content; it was altered or damaged")
    return tensors, json.loads(meta)


def save_weights(model: nn.Module, path: str | Path, **meta) -> Path:
    """Write a model's weights with its name and configuration, so that `load_weights(path)` needs nothing else."""
    from course_lib.models import name_of

    _write(Path(path), dict(model.state_dict()), {"model": name_of(model), "config": model.config, **meta})
    return Path(path)


def load_weights(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The model in a weights file, in eval mode; or its weights into `model`. Raises CheckpointError naming missing and unexpected keys."""
    from course_lib.models import create_model

    tensors, meta = read_tensors(path)
    if "model" not in meta:
        raise CheckpointError(f"{path}: a checkpoint of a run in progress, not a weights file; finish the run with `course train`")
    if model is not None:
        _check_encoder(path, meta, model)
    model = model if model is not None else create_model(meta["model"], **meta["config"])
    ours = model.state_dict()
    missing, unexpected = sorted(set(ours) - set(tensors)), sorted(set(tensors) - set(ours))
    other = [key for key in ours if key in tensors and ours[key].shape != tensors[key].shape]
    if missing or unexpected or other:
        kinds = {"missing": missing, "unexpected": unexpected, "of another shape": other}
        found = "; ".join(f"{len(keys)} keys {kind} ({', '.join(keys[:3]) or 'none'})" for kind, keys in kinds.items())
        raise CheckpointError(f"{path} holds another model ({meta['model']} {meta['config']}): {found}")
    model.load_state_dict(tensors)
    return model.eval()


def _check_encoder(path: str | Path, meta: dict, model: nn.Module) -> None:
    """Weights that were trained with one text encoder do not go into a model that is told by another."""
    from course_lib.prompts import PromptError, refuse_other

    made, own = (config.get("encoder") for config in (meta.get("config") or {}, getattr(model, "config", {})))
    if made and own:
        try:
            refuse_other({"encoder": made}, own)
        except PromptError as error:
            raise CheckpointError(f"{path}: {error}") from None


def checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints in a run's folder, oldest first."""
    return sorted(p for p in Path(folder).glob("checkpoint-*.safetensors") if _NAME.search(p.name))


def save_checkpoint(folder: str | Path, step: int, groups: dict[str, dict[str, Tensor]], optimizer, meta: dict) -> Path:
    """Write `checkpoint-<step>.safetensors` into `folder` and keep the last two. Raises OSError (disk full); older ones then stay."""
    tensors = {f"{group}|{key}": value for group, state in groups.items() for key, value in state.items()}
    state = optimizer.state_dict()
    for index, values in state["state"].items():
        for key, value in values.items():
            tensors[f"optimizer|{index}|{key}"] = torch.as_tensor(value)
    tensors["rng|torch"] = torch.get_rng_state()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        tensors["rng|cuda"] = torch.cuda.get_rng_state()
    kind, numbers, position, has_gauss, gauss = np.random.get_state()
    python_state = random.getstate()
    meta = {
        **meta,
        "step": step,
        "param_groups": state["param_groups"],
        "numpy": [kind, numbers.tolist(), position, has_gauss, gauss],
        "python": [python_state[0], list(python_state[1]), python_state[2]],
    }
    path = ensure_folder(folder) / f"checkpoint-{step:08d}.safetensors"
    _write(path, tensors, meta)
    for old in checkpoints(folder)[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def load_latest(folder: str | Path, say=print) -> tuple[dict[str, dict[str, Tensor]], dict] | None:
    """(groups, meta) of the newest whole checkpoint in `folder`, or None; a broken one is named and the one before it used."""
    for path in reversed(checkpoints(folder)):
        try:
            tensors, meta = read_tensors(path)
        except CheckpointError as error:
            say(f"{error}; going back to the checkpoint before it")
            continue
        groups: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            group, _, rest = key.partition("|")
            groups.setdefault(group, {})[rest] = value
        return groups, meta
    return None


def restore_optimizer(optimizer, saved: dict[str, Tensor], meta: dict) -> None:
    """Put the optimiser's state of a checkpoint back."""
    state: dict[int, dict] = {}
    for key, value in saved.items():
        index, _, name = key.partition("|")
        state.setdefault(int(index), {})[name] = value
    groups = [{**group, "betas": tuple(group["betas"])} if "betas" in group else group for group in meta["param_groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    # The file holds every tensor row by row, but the fused step walks weight, gradient and averages in the order in which they lie
    # in memory, without asking for strides: the averages must lie as their weight does, which is channels-last.
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def restore_random_state(saved: dict[str, Tensor], meta: dict) -> None:
    """Put the random states of torch, NumPy and Python of a checkpoint back."""
    torch.set_rng_state(saved["torch"])
    if "cuda" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["cuda"])
    kind, numbers, position, has_gauss, gauss = meta["numpy"]
    np.random.set_state((kind, np.array(numbers, dtype=np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = meta["python"]
    random.setstate((version, tuple(internal), gauss_next))
