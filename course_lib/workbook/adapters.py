"""How a student's piece is called on an exercise's arguments. No answers here: this file also runs in the grader's sandbox."""

import contextlib
from collections.abc import Callable, Iterator
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
    return _run_module(module, {"x": arguments["x"]}, {name: filled[name] for name in arguments["weights"]})


def _run_module(module: nn.Module, inputs: dict[str, Tensor], filled: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Output of the module on `inputs`, and the gradients of a fixed weighted sum of it by the inputs and by its parameters."""
    given, inputs = inputs, {name: value.detach().clone().requires_grad_() for name, value in inputs.items()}
    with torch.enable_grad():
        output = module(*inputs.values())
    if changed := [name for name, value in given.items() if not torch.equal(inputs[name], value)]:
        raise BadPiece(f"it changes its argument {', '.join(changed)} in place, which others still need: work on a copy")
    if is_stub(output):
        raise NotDone
    if not isinstance(output, Tensor):
        raise BadPiece(f"forward gives a {type(output).__name__}, expected a tensor")
    leaves = inputs | filled
    found = [None] * len(leaves)
    if output.requires_grad:
        probe = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
        with torch.enable_grad():
            found = torch.autograd.grad((output * probe).sum(), list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), found, strict=True)
    gradients = {f"gradient of {name}": torch.zeros_like(leaf) if gradient is None else gradient for (name, leaf), gradient in pairs}
    return {"output": output.detach()} | gradients


def call_plugged(piece: type, arguments: dict) -> dict[str, Tensor]:
    """`call_module` for a piece whose `__init__` is the student's, too, and that shipped weights go into: names and shapes must be theirs.

    `arguments["more"]`: further inputs of forward by name. `arguments["watch"]`: a submodule that forward must call, whose output is
    given as well; `arguments["replace"]` is put in its place. `arguments["varied"]`: parameters that must not start as one number.
    `arguments["advice"]` is said where a shape is wrong.
    Its weights lie in memory as PromptIR lays them, channels last.
    """
    if is_stub(piece):
        raise NotDone
    module = piece(*arguments["init"])
    if not isinstance(module, nn.Module):
        raise BadPiece(f"{getattr(piece, '__name__', 'the piece')}(...) gives a {type(module).__name__}, expected an nn.Module")
    weights = arguments["weights"]
    if vars(module).keys() == vars(nn.Module()).keys() and not module._parameters and not module._modules and not module._buffers:
        raise NotDone  # an __init__ that makes nothing
    _demand_names(module, weights, arguments.get("advice", ""))
    for name in arguments.get("varied", ()):
        start = module.get_parameter(name).detach()
        if start.numel() > 1 and (start == start.flatten()[0]).all():
            raise BadPiece(f"{name} starts with one number everywhere, so its parts could not differ: draw it at random, e.g. torch.rand")
    filled = hand_over(module, weights)
    if frozen := [name for name, parameter in filled.items() if not parameter.requires_grad]:
        raise BadPiece(f"the weights {', '.join(frozen)} are frozen (requires_grad is False): training could not change them")
    for parameter in filled.values():
        parameter.data = _channels_last(parameter.data)
    inputs = {"x": arguments["x"]} | arguments.get("more", {})
    with _watching(module, arguments.get("watch"), arguments.get("replace")) as seen:
        result = _run_module(module, inputs, filled)
    if changed := [name for name, parameter in filled.items() if not torch.equal(parameter, weights[name])]:
        raise BadPiece(f"forward changes the weights {', '.join(changed)} in place: that is left to the optimiser")
    with torch.no_grad():  # once more, as the trained network will be used
        result["output in eval mode, for other features"] = module.eval()(*(-value.flip(-1) for value in inputs.values())).detach()
    return result | seen


@contextlib.contextmanager
def _watching(module: nn.Module, name: str | None, replace: Tensor | None) -> Iterator[dict[str, Tensor]]:
    """What the submodule `name` gives inside the `with`, and `replace` in its place. Raises BadPiece where it is not called once."""
    if name is None:
        yield {}
        return
    if not isinstance(getattr(module, name, None), nn.Module):
        raise BadPiece(f"there is no submodule self.{name}: make it in __init__, so that others can watch what passes through it")
    passed, seen = [], {}

    def look(_module, _inputs, output: Tensor) -> Tensor:
        passed.append(output.detach())
        if replace is None:
            return output
        if output.shape[1:] != replace.shape:
            what = f"what passes self.{name} has shape {tuple(output.shape)}, expected (batch, {', '.join(map(str, replace.shape))})"
            raise BadPiece(what)
        return replace.detach().to(output).expand_as(output)

    handle = getattr(module, name).register_forward_hook(look)
    try:
        yield seen
    finally:
        handle.remove()
    if len(passed) != 1:
        raise BadPiece(f"forward calls self.{name} {len(passed)} times, expected once: what it gives is what others watch and replace")
    seen[f"what passes self.{name}"] = passed[0]


def _demand_names(module: nn.Module, weights: dict[str, Tensor], advice: str) -> None:
    """Raises BadPiece where the module's parameters are not those of `weights` by name and shape."""
    parameters, state = dict(module.named_parameters()), module.state_dict()
    for name in weights.keys() - parameters.keys():
        owner, _, last = name.rpartition(".")
        at = next((part for key, part in module.named_modules() if key == owner), None)
        if isinstance(getattr(at, last, None), Tensor):
            what = "is a buffer" if name in state else "is a plain tensor"
            raise BadPiece(f"{name} {what}, which no optimiser finds: wrap it in nn.Parameter")
    parts, wanted = (list(dict.fromkeys(name.split(".")[0] for name in names)) for names in (parameters, weights))
    if absent := [f"self.{part}" for part in wanted if part not in parts]:
        what = f"{', '.join(absent)} with its parameters is missing; your module has {', '.join(parts) or 'none'}"
        raise BadPiece(f"{what}. The shipped weights are found by these names")
    if missing := {name: value for name, value in weights.items() if name not in parameters}:
        raise BadPiece(f"parameters missing from your module: {_list(missing)}")
    if extra := {name: value for name, value in parameters.items() if name not in weights}:
        raise BadPiece(f"parameters that do not belong there: {_list(extra)}")
    for name, parameter in parameters.items():
        if parameter.shape != weights[name].shape:
            shapes = tuple(parameter.shape), tuple(weights[name].shape)
            raise BadPiece(f"the parameter {name} has shape {shapes[0]}, expected {shapes[1]}" + (f": {advice}" if advice else ""))


def _channels_last(value: Tensor) -> Tensor:
    if value.ndim == 5 and len(value) == 1:
        return _channels_last(value[0])[None]
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def call_with_constants(piece: Callable, arguments: dict) -> Any:
    """`call_function` where the arguments named in `arguments["constants"]` are given as constants: no gradient is asked of them."""
    given = {name: value for name, value in arguments.items() if name != "constants"}
    return call_function(piece, given | {name: given[name].detach() for name in arguments["constants"]})


class _Touched(list):
    """A list that notes whether anybody looked into it."""

    touched = False

    def __iter__(self):
        self.touched = True
        return super().__iter__()

    def __getitem__(self, index):
        self.touched = True
        return super().__getitem__(index)

    def __len__(self):
        self.touched = True
        return super().__len__()


def call_in_place(piece: Callable, arguments: dict) -> dict[str, list[Tensor]]:
    """For a function (slow, fast, ...) that writes into the tensors of the list `slow`: what all tensors hold after it.

    The tensors of the lists named in `arguments["learning"]` require a gradient, as the parameters of a network do. What the piece
    returns, if anything, must be `slow`; it is the stub when it looks into neither list.
    """
    if is_stub(piece):
        raise NotDone
    learning, rest = arguments["learning"], [value for name, value in arguments.items() if name not in ("slow", "fast", "learning")]
    kept = {name: [tensor.detach().clone().requires_grad_(name in learning) for tensor in arguments[name]] for name in ("slow", "fast")}
    lists = {name: _Touched(tensors) for name, tensors in kept.items()}
    try:
        with torch.enable_grad():
            returned = piece(lists["slow"], lists["fast"], *rest)
            if not torch.is_grad_enabled():
                raise BadPiece("it leaves torch's gradients switched off for all that follows: use `with torch.no_grad():`")
    except RuntimeError as error:
        if "leaf" in str(error) and "in-place" in str(error):
            what = "a weight that learns may not be written into while torch records a graph"
            raise BadPiece(f"{what}: put the update under torch.no_grad()") from None
        raise
    if is_stub(returned) and not any(tensors.touched for tensors in lists.values()):
        if all(torch.equal(one, other) for name in kept for one, other in zip(kept[name], arguments[name], strict=True)):
            raise NotDone
    moved = not all(map(_same, kept["slow"], arguments["slow"]))
    if moved and isinstance(returned, (list, tuple)) and not all(map(_same, returned, kept["slow"])):
        raise BadPiece("it gives back other tensors than those of `slow`: return nothing, or `slow`")
    for name, tensors in kept.items():
        for place, tensor in enumerate(tensors):
            if tensor.grad_fn is not None:
                what = f"{name}[{place}] carries a graph after the update, and each step would add to it"
                raise BadPiece(f"{what}: put the update under torch.no_grad()")
            if tensor.requires_grad != (name in learning):
                raise BadPiece(f"the update changes requires_grad of {name}[{place}]; leave it as it is")
    return {name: [tensor.detach().clone() for tensor in tensors] for name, tensors in kept.items()}


def call_number(piece: Callable, arguments: dict) -> dict[str, Any]:
    """A function of plain tensors whose result is a 0-d tensor, which may be NaN: {"NaN": whether, "value": the number, 0 for NaN}."""
    result = call_function(piece, arguments)
    if not isinstance(result, Tensor) or result.ndim:
        kind = f"a tensor of shape {tuple(result.shape)}" if isinstance(result, Tensor) else f"a {type(result).__name__}"
        raise BadPiece(f"the result is {kind}, expected a 0-d tensor, of shape ()")
    return {"NaN": bool(result.isnan()), "value": result.detach().nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)}


def _same(one: Any, other: Tensor) -> bool:
    return isinstance(one, Tensor) and one.shape == other.shape and torch.equal(one, other)


def call_vectors(piece: Callable, arguments: dict) -> Any:
    """A function of lists that gives a list of tensors, all of one dtype; in units of `arguments["unit"]`, so that small ones show."""
    given = {name: value for name, value in arguments.items() if name != "unit"}
    result = call_function(piece, given)
    dtype = next(value[0].dtype for value in given.values() if isinstance(value[0], Tensor))
    if isinstance(result, Tensor):
        return result / arguments["unit"]
    if not isinstance(result, (list, tuple)):
        raise BadPiece(f"the result is a {type(result).__name__}, expected a list of tensors")
    for place, tensor in enumerate(result):
        if not isinstance(tensor, Tensor) or tensor.dtype != dtype:
            kind = str(tensor.dtype).removeprefix("torch.") if isinstance(tensor, Tensor) else type(tensor).__name__
            raise BadPiece(f"result[{place}] is a {kind}, expected a tensor of {str(dtype).removeprefix('torch.')} like what went in")
    return [tensor.detach() / arguments["unit"] for tensor in result]
