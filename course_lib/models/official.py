"""Official checkpoints into our models, and back: names, wrappings and configuration are read from the file itself."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.models import airnet, create_model, ddpm_unet, dfpir, diffuir, instructir, rddm, unet


class CheckpointError(ValueError):
    """A checkpoint that is broken or of another model; the message says what was found and what to do."""


@dataclass(frozen=True)
class Naming:
    """How one model's official keys map to ours: regex rewrites both ways, and how to read its configuration."""

    model: str
    to_ours: tuple[tuple[str, str], ...]
    to_official: tuple[tuple[str, str], ...]
    read_config: Callable[[Mapping[str, Tensor]], dict]
    only_ours: tuple[str, ...] = ()  # beginnings of our keys that the official file has no place for

    def ours(self, key: str) -> str:
        return _rewrite(key, self.to_ours)

    def official(self, key: str) -> str:
        return _rewrite(key, self.to_official)


def _rewrite(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({key.split(".")[1] for key in state if key.startswith(prefix + ".")})


def _expansion(state: Mapping[str, Tensor]) -> float:
    """The e for which int(C*e) gives every block's hidden width: the middle of the interval that all blocks allow."""
    low, high = 0.0, float("inf")
    for key in state:
        if key.endswith("ffn.project_out.weight"):
            channels, hidden = state[key].shape[:2]
            low, high = max(low, hidden / channels), min(high, (hidden + 1) / channels)
    if low >= high or not low:
        raise CheckpointError("the hidden widths of the feed-forward networks fit no single expansion factor")
    return round((low + high) / 2, 6)


def _trunk_config(state: Mapping[str, Tensor]) -> dict:
    levels = ["encoder_level1", "encoder_level2", "encoder_level3", "latent"]
    embed = state["patch_embed.proj.weight"]
    return dict(
        in_channels=embed.shape[1],
        out_channels=state["output.weight"].shape[0],
        dim=embed.shape[0],
        blocks=[_count(state, level) for level in levels],
        refinement_blocks=_count(state, "refinement"),
        heads=[state[f"{level}.0.attn.temperature"].shape[0] for level in levels],
        expansion=_expansion(state),
        bias="encoder_level1.0.attn.qkv.bias" in state,
        norm_bias="encoder_level1.0.norm1.body.bias" in state,
    )


def _restormer_config(state: Mapping[str, Tensor]) -> dict:
    return dict(_trunk_config(state), dual_pixel="skip_conv.weight" in state)


def _promptir_config(state: Mapping[str, Tensor]) -> dict:
    components = [state[f"prompt{i}.prompt_param"].shape for i in (1, 2, 3)]  # each (1, N, P, S, S)
    return dict(
        _trunk_config(state),
        prompt_components=components[0][1],
        prompt_widths=[shape[2] for shape in components],
        prompt_sides=[shape[3] for shape in components],
    )


def _dfpir_config(state: Mapping[str, Tensor]) -> dict:
    return dict(_trunk_config(state), **dfpir.read_config(state))


_TRUNK_TO_OURS = ((r"\b(norm\d)\.body\.", r"\1."), (r"^((?:down|up)\d_\d)\.body\.0\.", r"\1.conv."))
_TRUNK_TO_OFFICIAL = ((r"\b(norm\d)\.", r"\1.body."), (r"^((?:down|up)\d_\d)\.conv\.", r"\1.body.0."))

NAMINGS = {
    "restormer": Naming("restormer", _TRUNK_TO_OURS, _TRUNK_TO_OFFICIAL, _restormer_config),
    "promptir": Naming(
        "promptir",
        to_ours=(*_TRUNK_TO_OURS, (r"^noise_level(\d)\.", r"interact\1.block."), (r"^reduce_noise_level(\d)\.", r"interact\1.reduce.")),
        to_official=(
            *_TRUNK_TO_OFFICIAL,
            (r"^interact(\d)\.block\.", r"noise_level\1."),
            (r"^interact(\d)\.reduce\.", r"reduce_noise_level\1."),
        ),
        read_config=_promptir_config,
    ),
    "dfpir": Naming("dfpir", (*_TRUNK_TO_OURS, *dfpir.TO_OURS), (*_TRUNK_TO_OFFICIAL, *dfpir.TO_OFFICIAL), _dfpir_config, ("words.",)),
    "instructir": Naming("instructir", (), (), instructir.read_config),
    "airnet": Naming("airnet", airnet.TO_OURS, airnet.TO_OFFICIAL, airnet.read_config),
    "ddpm_unet": Naming("ddpm_unet", unet.TO_OURS, unet.TO_OFFICIAL, ddpm_unet.read_config),
    "rddm": Naming("rddm", rddm.TO_OURS, rddm.TO_OFFICIAL, rddm.read_config),
    "diffuir": Naming("diffuir", diffuir.TO_OURS, diffuir.TO_OFFICIAL, diffuir.read_config),
}


def read_checkpoint(path: str | Path) -> dict:
    """What a .pth/.pt/.ckpt or .safetensors file holds, on the CPU; pickles only with `weights_only=True`. Raises CheckpointError."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        words = f"{path}: not a readable checkpoint ({type(error).__name__}: {reason}); it may be cut short, fetch it again"
        raise CheckpointError(words) from None


def unwrap(content: Mapping) -> dict[str, Tensor]:
    """The state dict inside `params_ema`, `params`, `ema`, `state_dict`, `model` and inside prefixes such as `net.` and `ema_model.`.

    Where a file holds both, these are the averaged weights, not the last: the ones the authors sample with. Raises CheckpointError.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"no state dict in the checkpoint but a {type(content).__name__}; save model.state_dict()")
    for wrapper in ("params_ema", "params", "ema", "state_dict", "model"):
        inner = content.get(wrapper)
        holds_weights = wrapper != "ema" or (isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()))
        if isinstance(inner, Mapping) and holds_weights:  # an `ema` without tensors holds settings
            return unwrap(inner)
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f"no tensors in the checkpoint; its entries are {', '.join(map(str, list(content)[:8])) or 'none'}")
    for prefix in ("module.", "net.", "_orig_mod.", "ema_model.", "model."):
        inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        # Beside net.* Lightning files hold losses; beside ema_model.* stand the last weights, beside a diffusion's model.* its schedule.
        if inside:
            return unwrap(inside)
    return state


def load_official(name: str, checkpoint: str | Path | Mapping) -> nn.Module:
    """Our model, in eval mode, with the weights of an official checkpoint (a path, or a state dict in the official naming).

    The configuration is read from keys and shapes. Raises ValueError for an unknown name and CheckpointError for a file that
    is unreadable or another model's, naming the missing and the unexpected keys.
    """
    if name not in NAMINGS:
        raise ValueError(f"load_official: unknown model {name!r}; there are {', '.join(sorted(NAMINGS))}")
    naming = NAMINGS[name]
    where = checkpoint if isinstance(checkpoint, (str, Path)) else "the state dict"
    state = unwrap(checkpoint if isinstance(checkpoint, Mapping) else read_checkpoint(checkpoint))
    try:
        config = naming.read_config(state)
        model = create_model(naming.model, **config)
    except (KeyError, IndexError, AttributeError, ZeroDivisionError, ValueError):
        # Its own configuration cannot be read: compare with the published size, so that the error still names keys.
        model = create_model(naming.model)
    ours = model.state_dict()
    renamed = {naming.ours(key): value for key, value in state.items()}
    # integer buffers (counters, queue pointers, index tables) are ours to make: a checkpoint may come without them
    missing = [naming.official(key) for key, value in ours.items() if key not in renamed and value.is_floating_point()]
    unexpected = [key for key in state if naming.ours(key) not in ours]
    wrong_shape = [
        f"{naming.official(key)} is {tuple(renamed[key].shape)}, expected {tuple(value.shape)}"
        for key, value in ours.items()
        if key in renamed and renamed[key].shape != value.shape
    ]
    if missing or unexpected or wrong_shape:
        raise CheckpointError(
            f"{where} is not a {name} checkpoint: {len(missing)} keys missing ({_some(missing)}), "
            f"{len(unexpected)} unexpected ({_some(unexpected)}), {len(wrong_shape)} of another shape ({_some(wrong_shape)})"
        )
    model.load_state_dict({**ours, **renamed})
    return model.eval()


def _some(items: list[str]) -> str:
    return ", ".join(items[:4]) + (", ..." if len(items) > 4 else "") if items else "none"


def _naming_of(model: nn.Module) -> Naming:
    from course_lib.models import MODELS

    for kind in type(model).__mro__:  # the nearest first: DFPIR is a Restormer, too
        for naming in NAMINGS.values():
            if kind is MODELS[naming.model]:
                return naming
    raise ValueError(f"no official naming for {type(model).__name__}; there is one for {', '.join(sorted(NAMINGS))}")


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """The model's state dict under the official names (tensors shared, not copied). Raises ValueError for a model without any."""
    naming = _naming_of(model)
    return {naming.official(key): value for key, value in model.state_dict().items() if not key.startswith(naming.only_ours)}


def official_named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """(official name, parameter) pairs: the way to gradients under official names."""
    naming = _naming_of(model)
    for key, parameter in model.named_parameters():
        if not key.startswith(naming.only_ours):
            yield naming.official(key), parameter
