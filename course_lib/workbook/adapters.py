"""How a student's piece is called on an exercise's arguments. No answers here: this file also runs in the grader's sandbox."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class NotDone(Exception):
    """The piece is still the stub."""


class BadPiece(ValueError):
    """The piece cannot be called as the exercise asks; the message is for the student."""


def is_stub(value: Any) -> bool:
    """True for what an unwritten piece is or returns: nothing, or the `...` of the stub."""
    return value is None or value is Ellipsis


def call_function(piece: Callable, arguments: dict) -> Any:
    """The piece on the arguments' values in their order, so that its parameters may have any names. Raises NotDone for the stub."""
    if is_stub(piece):
        raise NotDone
    result = piece(*arguments.values())
    if is_stub(result):
        raise NotDone
    return result


def call_values(piece: Callable, arguments: dict) -> dict:
    """The piece on plain tensors, its values alone: for exercises that nothing is trained *through*, so that a gradient may get lost."""
    plain = {name: value.detach() if isinstance(value, Tensor) else value for name, value in arguments.items()}
    result = call_function(piece, plain)
    return {"result": result.detach() if isinstance(result, Tensor) else result}


def call_one_of(piece: tuple, arguments: dict) -> Any:
    """For a pair of functions: `arguments["which"]` is the index of the one to call with the rest."""
    arguments = dict(arguments)
    return call_function(piece[arguments.pop("which")], arguments)


def hand_over(module: nn.Module, weights: dict[str, Tensor]) -> dict[str, nn.Parameter]:
    """Copy `weights` into the module's parameters by name or, where names differ, by shape when only one fits.

    Gives the parameters by the names of the weights. Raises BadPiece where the two do not match.
    """
    filled: dict[str, nn.Parameter] = {}
    parameters = dict(module.named_parameters())
    left = {name: value for name, value in weights.items() if name not in parameters}
    for name, parameter in parameters.items():
        value = weights.get(name)
        if value is None:
            fitting = [key for key, candidate in left.items() if candidate.shape == parameter.shape]
            if len(fitting) != 1:
                what = f"the parameter {name} {tuple(parameter.shape)} has no counterpart"
                raise BadPiece(f"{what}; keep the __init__ of the exercise: {_list(weights)}")
            value = left.pop(fitting[0])
        filled[name if name in weights else fitting[0]] = parameter
        if value.shape != parameter.shape:
            what = f"the parameter {name} has shape {tuple(parameter.shape)}, expected {tuple(value.shape)}"
            raise BadPiece(f"{what}; keep the __init__ of the exercise")
        with torch.no_grad():
            parameter.copy_(value)
    if left:
        raise BadPiece(f"parameters missing from your module: {_list(left)}; keep the __init__ of the exercise")
    return filled


def _list(weights: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(value.shape)}" for name, value in weights.items())


class PastAverage(nn.Module):
    """A stand-in for attention, (B, L, C) -> same: the mean of a token and those before it, through a layer; for blocks that take any."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.mix = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        counts = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)
        return self.mix(x.cumsum(dim=1) / counts[:, None])


ATTENTIONS = {"causal": PastAverage}  # by name, because what crosses a process border is tensors and JSON


def call_module(piece: type, arguments: dict) -> dict[str, Tensor]:
    """Build piece(*arguments["init"]), hand the weights over, run it on x; gives its output and the gradients of x and the weights.

    `arguments["attention"]`, where there is one, names the class of `ATTENTIONS` that the piece is built with as its next argument.
    The gradients show whether the module can be trained: through a detached or rounded tensor comes none, or a wrong one.
    """
    if is_stub(piece):
        raise NotDone
    given = [ATTENTIONS[arguments["attention"]]] if arguments.get("attention") else []
    module = piece(*arguments["init"], *given)
    if not isinstance(module, nn.Module):
        raise BadPiece(f"{getattr(piece, '__name__', 'the piece')}(...) gives a {type(module).__name__}, expected an nn.Module")
    filled = hand_over(module, arguments["weights"])
    if frozen := [name for name, parameter in filled.items() if not parameter.requires_grad]:
        raise BadPiece(f"the weights {', '.join(frozen)} are frozen (requires_grad is False): training could not change them")
    x = arguments["x"].clone().requires_grad_()
    with torch.enable_grad():
        output = module(x)
    if is_stub(output):
        raise NotDone
    if not isinstance(output, Tensor):
        raise BadPiece(f"forward gives a {type(output).__name__}, expected a tensor")
    leaves = {"x": x} | {name: filled[name] for name in arguments["weights"]}
    found = [None] * len(leaves)
    if output.requires_grad:
        probe = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
        with torch.enable_grad():
            found = torch.autograd.grad((output * probe).sum(), list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), found, strict=True)
    gradients = {f"gradient of {name}": torch.zeros_like(leaf) if gradient is None else gradient for (name, leaf), gradient in pairs}
    return {"output": output.detach()} | gradients
