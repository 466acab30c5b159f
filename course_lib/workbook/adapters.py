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


def call_one_of(piece: tuple, arguments: dict) -> Any:
    """For a pair of functions: `arguments["which"]` is the index of the one to call with the rest."""
    arguments = dict(arguments)
    return call_function(piece[arguments.pop("which")], arguments)


def hand_over(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy `weights` into the module's parameters by name or, where names differ, by shape when only one fits. Raises BadPiece."""
    parameters = dict(module.named_parameters())
    left = {name: value for name, value in weights.items() if name not in parameters}
    for name, parameter in parameters.items():
        value = weights.get(name)
        if value is None:
            fitting = [key for key, candidate in left.items() if candidate.shape == parameter.shape]
            if len(fitting) != 1:
                raise BadPiece(f"the parameter {name} {tuple(parameter.shape)} has no counterpart; keep the __init__ of the exercise: {_list(weights)}")
            value = left.pop(fitting[0])
        if value.shape != parameter.shape:
            raise BadPiece(f"the parameter {name} has shape {tuple(parameter.shape)}, expected {tuple(value.shape)}")
        with torch.no_grad():
            parameter.copy_(value)
    if left:
        raise BadPiece(f"parameters missing from your module: {_list(left)}; keep the __init__ of the exercise")


def _list(weights: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(value.shape)}" for name, value in weights.items())


def call_module(piece: type, arguments: dict) -> dict[str, Tensor]:
    """Build piece(*arguments["init"]), hand the weights over, run it on x; gives its output and the gradient of x through it.

    The gradient shows whether the module can be trained: a detached or rounded tensor on the way has none, or a wrong one.
    """
    if is_stub(piece):
        raise NotDone
    module = piece(*arguments["init"])
    if not isinstance(module, nn.Module):
        raise BadPiece(f"{getattr(piece, '__name__', 'the piece')}(...) gives a {type(module).__name__}, expected an nn.Module")
    hand_over(module, arguments["weights"])
    x = arguments["x"].clone().requires_grad_()
    with torch.enable_grad():
        output = module(x)
    if is_stub(output):
        raise NotDone
    if not isinstance(output, Tensor):
        raise BadPiece(f"forward gives a {type(output).__name__}, expected a tensor")
    if not output.requires_grad:
        return {"output": output.detach(), "gradient": torch.zeros_like(x)}
    probe = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad((output * probe).sum(), x, allow_unused=True)
    return {"output": output.detach(), "gradient": torch.zeros_like(x) if gradient is None else gradient}
