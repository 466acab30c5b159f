"""How the pieces of lesson 05 are called, besides `adapters.py`. No answers here either: this file may run in the grader's sandbox."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.workbook.adapters import BadPiece, NotDone, call_function, call_plugged, is_stub


def _plain(arguments: dict) -> dict:
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in arguments.items()}


def _type(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__


def call_plain(piece: Callable, arguments: dict) -> dict:
    """The piece on tensors that ask for no gradient: {"output": its result}. For formulas that nothing is trained through."""
    result = call_function(piece, _plain(arguments))
    return {"output": result.detach() if isinstance(result, Tensor) else result}


def call_table(piece: Callable, arguments: dict) -> Any:
    """A function that gives two tables in float64: the one at `arguments["part"]`, so that each counts by itself."""
    given = {name: value for name, value in arguments.items() if name != "part"}
    result = call_function(piece, given)
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        what = f"a tensor {tuple(result.shape)}" if isinstance(result, Tensor) else f"a {type(result).__name__}"
        raise BadPiece(f"the result is {what}, expected the two tables (abar, bbar)")
    table = result[arguments["part"]]
    if is_stub(table):
        raise NotDone
    if isinstance(table, Tensor) and table.dtype != torch.float64:
        raise BadPiece(f"the table is {_type(table)}, expected float64: give the first tensor that you make dtype=torch.float64")
    return table


def call_convolution(piece: type, arguments: dict) -> dict[str, Tensor]:
    """`call_plugged` for a layer that is built with `arguments["options"]` as keywords besides `arguments["init"]`.

    Given as well: its output after its weights have changed, as in training.
    """
    if is_stub(piece):
        raise NotDone
    made = []

    def build(*init):
        made.append(piece(*init, **arguments["options"]))
        return made[-1]

    result = call_plugged(build, arguments)
    with torch.no_grad():
        for parameter in made[-1].parameters():
            parameter.copy_(parameter.flip(0).clone())
        result["output after the weights have changed"] = made[-1].train()(arguments["x"].detach().clone()).detach()
    return result


class StandIn:
    """A stand-in for a network, (image6, t) -> images: pixel by pixel, with a time that shows. Weights: mix (out, in), time (out,), scale.

    It takes a batch of images and one time for each of them.
    """

    def __init__(self, mix: Tensor, time: Tensor, scale: float, period: float, parts: int = 1):
        self.mix, self.time, self.scale, self.period, self.parts = mix, time, scale, period, parts

    def __call__(self, image6: Tensor, t: Tensor, *rest) -> Tensor | tuple[Tensor, ...]:
        if rest:
            raise BadPiece(f"the network is called with {2 + len(rest)} arguments, expected two: torch.cat([x, x_in], dim=1) and the times")
        if not isinstance(image6, Tensor) or image6.ndim != 4 or image6.shape[1] != self.mix.shape[1]:
            shape = tuple(image6.shape) if isinstance(image6, Tensor) else type(image6).__name__
            raise BadPiece(
                f"the network gets {shape}, expected (B, {self.mix.shape[1]}, H, W): state and degraded image along the channels"
            )
        if not isinstance(t, Tensor) or t.shape != (len(image6),):
            shape = f"shape {tuple(t.shape)}" if isinstance(t, Tensor) else f"type {type(t).__name__}"
            raise BadPiece(f"the network gets a time of {shape}, expected a tensor (B,) = ({len(image6)},): one for each image")
        if image6.dtype != self.mix.dtype:
            raise BadPiece(f"the network gets {_type(image6)}, but its weights are {_type(self.mix)}: keep the dtype of the images")
        times = t.reshape(-1, 1, 1, 1).to(torch.float32) / self.period
        y = F.conv2d(image6, self.mix[:, :, None, None]) + self.time[:, None, None] * (times.sin() + times)
        y = self.scale * y.tanh()
        return y if self.parts == 1 else tuple(y.chunk(self.parts, dim=1))


def call_loss(piece: Callable, arguments: dict) -> dict[str, Any]:
    """A loss (model, tensors ...): its value, and its gradients by the weights of the model, a `StandIn` with two outputs."""
    given = {name: value for name, value in arguments.items() if name not in ("mix", "time")}
    mix, time = (arguments[name].detach().clone().requires_grad_() for name in ("mix", "time"))
    model = StandIn(mix, time, scale=1.5, period=4.0, parts=2)
    with torch.enable_grad():
        loss = call_function(piece, {"model": model} | _plain(given))
    if isinstance(loss, (tuple, list)):
        raise BadPiece(f"the result is a {type(loss).__name__} of {len(loss)}, expected one number: a 0-d tensor")
    if isinstance(loss, Tensor) and loss.ndim:
        raise BadPiece(f"the loss has shape {tuple(loss.shape)}, expected a 0-d tensor: one number for the batch")
    found = [None, None]
    if isinstance(loss, Tensor) and loss.requires_grad:
        found = torch.autograd.grad(loss, (mix, time), allow_unused=True)
    mixed, timed = (torch.zeros_like(w) if g is None else g for w, g in zip((mix, time), found, strict=True))
    output = loss.detach() if isinstance(loss, Tensor) else loss
    return {"output": output, "gradient of the model's weights": mixed, "gradient of the model's time": timed}


def call_sampler(piece: Callable, arguments: dict) -> dict[str, Any]:
    """A sampler (network, degraded, ...) with a `StandIn` for the network: {"output": the images}."""
    given = {name: value for name, value in arguments.items() if name not in ("mix", "time")}
    network = StandIn(arguments["mix"].detach(), arguments["time"].detach(), scale=1.6, period=250.0)
    return call_plain(piece, {"network": network} | given)


def call_choices(piece: Callable, arguments: dict) -> dict[str, Any]:
    """A function (scores, names, done, threshold) -> a name or None, for each of `arguments["cases"]`; None everywhere is the stub.

    `done` is given as a set. A piece with an attribute `written` is no stub, whatever it answers: the known mistakes are such.
    """
    if is_stub(piece):
        raise NotDone
    answers = {}
    for case in arguments["cases"]:
        own = (case["scores"].clone(), list(case["names"]), set(case["done"]), case["threshold"])
        answer = piece(*own)
        if not torch.equal(own[0], case["scores"]):
            raise BadPiece("it changes its argument `scores` in place, which others still need: work on a copy")
        if own[1] != list(case["names"]) or own[2] != set(case["done"]):
            changed = "done" if own[1] == list(case["names"]) else "names"
            raise BadPiece(f"it changes its argument `{changed}` in place: the loop that calls it sees to that, work on a copy")
        if answer is not None and answer is not Ellipsis and not isinstance(answer, str):
            raise BadPiece(f"the result is a {type(answer).__name__}, expected a name (a str) or None")
        seen = ", ".join(f"{name} {score:.3g}" for name, score in zip(case["names"], case["scores"].tolist(), strict=True))
        told = f"{seen}; done: {', '.join(case['done']) or 'nothing'}; threshold {case['threshold']:g}"
        answers[told] = None if answer is Ellipsis else answer
    if all(answer is None for answer in answers.values()) and not getattr(piece, "written", False):
        raise NotDone
    return answers
