"""How the pieces of lesson 06 are called, besides `adapters.py`. No answers here either: this file may run in the grader's sandbox."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.workbook.adapters import BadPiece, NotDone, call_one_of, call_plugged, is_stub


def _kind(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__


def _floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def call_order(piece: tuple, arguments: dict) -> Any:
    """The pair (channel_order, reorder), `call_one_of`: an order is int64, and what is reordered keeps its dtype."""
    result = call_one_of(piece, arguments)
    if arguments["which"] == 0:
        if isinstance(result, tuple):
            what = f"the result is a {len(result)}-tuple, expected one tensor"
            raise BadPiece(f"{what}: topk and sort give values and indices, take `.indices`")
        if isinstance(result, Tensor) and result.dtype != torch.int64:
            raise BadPiece(f"the order is {_kind(result)}, expected int64: the *numbers* of the channels, not the values of the guide")
    elif isinstance(result, Tensor) and result.dtype != arguments["x"].dtype:
        raise BadPiece(f"the result is {_kind(result)}, expected {_kind(arguments['x'])} like what went in")
    return result


def call_places(piece: tuple, arguments: dict) -> Any:
    """The pair (same_places, is_permutation), `call_one_of`: a share is a float, a yes or no a bool."""
    result = call_one_of(piece, arguments)
    if isinstance(result, Tensor):
        if arguments["which"] == 0 and not _floating(result):
            raise BadPiece(f"the result is {_kind(result)}, expected floats: shares between 0 and 1")
        if arguments["which"] == 1 and result.dtype != torch.bool:
            raise BadPiece(f"the result is {_kind(result)}, expected bool: yes or no for each image")
    return result


def call_attention(piece: type, arguments: dict) -> dict[str, Tensor]:
    """`call_plugged` for a module whose parameters begin at the numbers of `arguments["start"]`, by name."""
    if is_stub(piece):
        raise NotDone

    def build(*init):
        module = piece(*init)
        for name, value in arguments["start"].items():
            parameter = getattr(module, name, None)
            if isinstance(parameter, nn.Parameter) and parameter.shape == arguments["weights"][name].shape:
                if (parameter != value).any():
                    raise BadPiece(f"self.{name} starts at {parameter.flatten()[0].item():.3g}, expected {value:g}")
        return module

    return call_plugged(_named(build, piece), arguments)


def _named(build: Callable, piece: type) -> Callable:
    build.__name__ = getattr(piece, "__name__", "the piece")  # as it stands in messages
    return build


# ---- the block -------------------------------------------------------------------------------------------------------


class OtherPerturbation(nn.Module):
    """A stand-in for the channel perturbation, (x, text) -> same shape as x: a mixture of channels, each scaled by the text."""

    def __init__(self, channels: int, text_width: int):
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)
        self.read = nn.Linear(text_width, channels)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        if not (_floating(text) and text.ndim == 2):
            raise BadPiece("self.perturb takes (x, text): the feature (B, C, H, W), then the text (B, D)")
        return self.mix(x) * (1 + self.read(text).tanh())[:, :, None, None]


class OtherAttention(nn.Module):
    """A stand-in for the attention, (shuffled, x) -> same shape: it tells its two inputs apart."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.q, self.v = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, shuffled: Tensor, x: Tensor) -> Tensor:
        return self.q(shuffled).tanh() * self.v(x) + 0.5 * x.roll(1, dims=-1)


def call_block(piece: type, arguments: dict) -> dict[str, Tensor]:
    """`call_plugged` for a block that is built with the classes of its two pieces after `arguments["init"]`: here stand-ins."""
    if is_stub(piece):
        raise NotDone
    return call_plugged(_named(lambda *init: piece(*init, OtherPerturbation, OtherAttention), piece), arguments)


# ---- who learns nothing ----------------------------------------------------------------------------------------------


class Wire(nn.Module):
    """A parameter of the name `called` and a pattern of the same shape: their product, summed up."""

    def __init__(self, parameter: nn.Parameter, pattern: Tensor, called: str = "weight"):
        super().__init__()
        self.called, self.pattern = called, pattern
        self.register_parameter(called, parameter)

    def forward(self) -> Tensor:
        return (getattr(self, self.called) * self.pattern).sum()


PASSES = 4
_MODES, _WEIGHTS = "the modes (training or eval) of its parts", "the weights"


def _network(wires: dict[str, dict]) -> nn.Module:
    """Modules nested as the dotted names of `wires` say. Each has the keys of `call_silent`."""
    model = nn.Module()
    for name, wire in wires.items():
        *path, last = name.split(".")
        owner = model
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        if wire.get("shares"):
            weight = next(model.get_submodule(wire["shares"]).parameters())
        else:
            weight = nn.Parameter(wire["weight"].clone(), requires_grad=not wire.get("frozen", False))
        owner.add_module(last, Wire(weight, wire["pattern"].clone(), wire.get("called", "weight")))
        owner.get_submodule(last).train(not wire.get("eval", False))
        if "before" in wire:
            weight.grad = wire["before"].clone()
    return model


class _Batches:
    """`loss_of`: at the k-th call the sum over all wires of gain k times the wire; a wire whose gain is None is not called.

    The passes must see the model as it came, itself or a copy of it.
    """

    def __init__(self, wires: dict[str, dict], model: nn.Module):
        self.gains, self.calls, self.came = {name: wire["gains"] for name, wire in wires.items()}, 0, _state(model)

    def __getattr__(self, name: str):
        raise AttributeError(f"`{name}` is asked of loss_of, which is a function: the order of the arguments is (model, loss_of)")

    def __call__(self, model: nn.Module) -> Tensor:
        if self.calls == PASSES:
            raise BadPiece(f"it calls loss_of more than {PASSES} times: make {PASSES} passes, for each takes a forward and a backward")
        now = _state(model)
        for what in (_MODES, _WEIGHTS):
            if now[what] != self.came[what]:
                raise BadPiece(f"{what} changed before pass {self.calls + 1}: make every pass with the model as it came")
        step, self.calls = self.calls, self.calls + 1
        parts = [gains[step] * model.get_submodule(name)() for name, gains in self.gains.items() if gains[step] is not None]
        return torch.stack(parts).sum()


def call_silent(piece: Callable, arguments: dict) -> dict[str, str]:
    """A function (model, loss_of) -> names of parameters: what it says of each parameter and, with `arguments["look"]`, what it changed.

    `arguments["wires"]`: name -> {"weight", "pattern", "gains": PASSES numbers or None} and, where due, "frozen", "eval", "before" (its
    gradient before the call), "called" (the parameter's name), "shares" (the name of the wire whose parameter it has).
    """
    if is_stub(piece):
        raise NotDone
    model = _network(arguments["wires"])
    names, before = [name for name, _ in model.named_parameters()], _state(model)
    with torch.enable_grad():
        found = piece(model, _Batches(arguments["wires"], model))
        graph_kept = torch.is_grad_enabled()
    if is_stub(found):
        raise NotDone
    if not graph_kept:
        raise BadPiece("it leaves torch's gradients switched off for all that follows: use `with torch.no_grad():`")
    if not isinstance(found, (list, tuple, set, frozenset)) or not all(isinstance(name, str) for name in found):
        raise BadPiece(f"the result is a {type(found).__name__}, expected a list of names, as model.named_parameters() gives them")
    if unknown := sorted(set(found) - set(names)):
        raise BadPiece(f"it names {', '.join(unknown)}, but the model's parameters are {', '.join(names)}")
    if len(found) > len(set(found)):
        raise BadPiece("it names a parameter twice")
    said = {f"parameter {name}": "silent" if name in found else "not silent" for name in names}
    if arguments.get("look"):
        said |= {what: "as before" if value == before[what] else "changed" for what, value in _state(model).items()}
    return said


def _state(model: nn.Module) -> dict[str, Any]:
    """What a look at a model must leave alone, in plain lists that can be compared."""
    parameters = dict(model.named_parameters())
    return {
        "the gradients (.grad) from before": {n: None if p.grad is None else p.grad.tolist() for n, p in parameters.items()},
        _MODES: {name: module.training for name, module in model.named_modules()},
        "requires_grad of its parameters": {name: parameter.requires_grad for name, parameter in parameters.items()},
        _WEIGHTS: {name: parameter.detach().tolist() for name, parameter in parameters.items()},
    }
