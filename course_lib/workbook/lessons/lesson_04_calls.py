"""How the pieces of lesson 04 are called, where `adapters.py` has no way yet. No answers here: this file may run in a grader's sandbox."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.diffusion.operators import Colourisation, Inpainting, Operator, SuperResolution
from course_lib.workbook.adapters import BadPiece, NotDone, call_function, is_stub

_NOBODYS_SEED = 0x5EED_0004  # a lesson begins with seed 0, and whoever sets that again inside a piece would otherwise go unnoticed


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} in {str(value.dtype).removeprefix('torch.')}"
    return f"a {type(value).__name__}"


def _plain(arguments: dict) -> dict:
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in arguments.items()}


@contextlib.contextmanager
def _no_trace() -> Iterator[None]:
    """Raises BadPiece where the code inside leaves torch in another state than it found, which the lesson would go on with."""
    before, grad, dtype = torch.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype()
    torch.default_generator.manual_seed(_NOBODYS_SEED)
    numbers = torch.get_rng_state()
    try:
        yield
        if torch.is_grad_enabled() != grad:
            raise BadPiece("it leaves torch's gradients switched off for all that follows: use `with torch.no_grad():`")
        if torch.get_default_dtype() != dtype:
            raise BadPiece("it changes torch's default dtype for all that follows: give dtype=torch.float64 where you make a tensor")
        if not torch.equal(torch.get_rng_state(), numbers):
            raise BadPiece("it draws random numbers or sets their seed, so the training after it would draw others: all noise is given")
    finally:
        torch.set_rng_state(before)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)


def _ask(piece: Callable, arguments: dict) -> Any:
    with _no_trace():
        return call_function(piece, arguments)


def call_schedule(piece: Callable, arguments: dict) -> dict[str, Tensor]:
    """A function of numbers that gives a schedule (T,) float64: its values and their logarithms, which show the small ones as well."""
    result = _ask(piece, arguments)
    if not isinstance(result, Tensor) or result.dtype != torch.float64:
        raise BadPiece(f"the result is {_kind(result)}, expected a tensor in float64: make its first tensors with dtype=torch.float64")
    result = result.detach()
    return {"alpha_bar": result, "log(alpha_bar)": result.clamp(min=1e-30).log()}


def call_posterior(piece: Callable, arguments: dict) -> dict[str, Tensor]:
    """A function of plain tensors that gives (mean, variance), the variance a number or a 0-d tensor."""
    result = _ask(piece, _plain(arguments))
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise BadPiece(f"the result is {_kind(result)}, expected two things: return mean, variance")
    mean, variance = result
    if is_stub(mean) or is_stub(variance):
        raise BadPiece(f"the {'mean' if is_stub(mean) else 'variance'} is None; return mean, variance")
    if not isinstance(variance, (int, float, Tensor)) or getattr(variance, "ndim", 0):
        raise BadPiece(f"the variance is {_kind(variance)}, expected one number, a float or a tensor of shape ()")
    if isinstance(mean, Tensor) and mean.dtype != arguments["x_0"].dtype:
        raise BadPiece(f"the mean is {_kind(mean)}, expected the dtype of x_0: the network takes no other")
    variance = torch.as_tensor(variance, dtype=torch.float64)
    return {"mean": mean.detach() if isinstance(mean, Tensor) else mean, "variance": variance.detach()}


def call_embedding(piece: type, arguments: dict) -> dict[str, Tensor]:
    """Build piece(*arguments["init"]), a module without weights; run it on `t`, on other times, and, for "any device", as if on a GPU."""
    if is_stub(piece):
        raise NotDone
    module = piece(*arguments["init"])
    if not isinstance(module, nn.Module):
        raise BadPiece(f"{getattr(piece, '__name__', 'the piece')}(...) gives a {type(module).__name__}, expected an nn.Module")
    if learning := [name for name, parameter in module.named_parameters() if parameter.requires_grad]:
        raise BadPiece(f"{', '.join(learning)} would be trained. The frequencies are fixed: no nn.Parameter")
    t = arguments["t"].detach()
    given = {"output": t, "output for other times": t.flip(0) + 2, "output for one time": t[-1:]}
    with torch.no_grad(), _no_trace():
        results = {name: _embed(module, times) for name, times in given.items()}
    if all(map(is_stub, results.values())):
        raise NotDone
    for result in results.values():
        if not isinstance(result, Tensor) or result.dtype not in (torch.float32, torch.float64):
            raise BadPiece(f"forward gives {_kind(result)}, expected a tensor of float32 numbers")
    if arguments.get("any device"):
        _demand_any_device(piece, arguments["init"], t)
    return results


def _embed(module: nn.Module, t: Tensor) -> Any:
    times = t.clone()
    result = module(times)
    if not torch.equal(times, t):
        raise BadPiece("it changes its argument t in place, which others still need: work on a copy")
    return result


def _demand_any_device(piece: type, init: list, t: Tensor) -> None:
    """Raises BadPiece where the module could not work on a GPU: torch plays one, with tensors that have a device but no values."""
    from torch._subclasses import FakeTensorMode

    advice = "make the frequencies in forward with device=t.device, or keep them with self.register_buffer"
    try:
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            result = piece(*init).to("cuda")(torch.zeros(t.shape, dtype=t.dtype, device="cuda"))
    except Exception as error:  # code that reads single numbers cannot run without values, and may still be right
        if "same device" in str(error):
            raise BadPiece(f"it would stop on a GPU, where t lies on another device than a plain tensor of yours: {advice}") from None
        return
    if isinstance(result, Tensor) and result.device.type != "cuda":
        raise BadPiece(f"its result stays on the CPU when t lies on a GPU: {advice}")


class _Denoiser(nn.Module):
    """A small stand-in for a network, (x (B, C, H, W), t (B,)) -> (B, C, H, W), that notes how it is asked."""

    def __init__(self, weight: Tensor, bias: Tensor, t: Tensor):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
        self.wanted, self.calls = t, 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        if not isinstance(t, Tensor) or t.shape != self.wanted.shape:
            raise BadPiece(f"the model was given {_kind(t)} as its times, expected t as it came, (B,)")
        if not torch.equal(t.double(), self.wanted.double()):
            raise BadPiece("the model was given other times than t: it must be asked about the times of x_t, unscaled and unshifted")
        if isinstance(x, Tensor) and x.dtype != self.weight.dtype:
            names = [str(kind).removeprefix("torch.") for kind in (x.dtype, self.weight.dtype)]
            raise BadPiece(f"the model was given x_t in {names[0]}, but its weights are {names[1]}: x_t keeps the dtype of x_0")
        phase = (0.37 * t.to(x.dtype))[:, None] + torch.arange(x.shape[1], dtype=x.dtype)  # (B, C)
        bias = self.bias * torch.cos(phase)
        return torch.einsum("oc,bchw->bohw", self.weight, x.tanh() + 0.3 * x) + bias[:, :, None, None]


def call_loss(piece: Callable, arguments: dict) -> dict[str, Tensor]:
    """piece(model, x_0, t, epsilon, alpha_bar) -> loss, with a small model of the given weight (C, C) and bias (C,).

    Gives the loss and its gradients by the model's weights, which are what training uses.
    """
    given = _plain({name: value for name, value in arguments.items() if name not in ("weight", "bias")})
    model = _Denoiser(arguments["weight"], arguments["bias"], given["t"].clone())
    with torch.enable_grad():
        loss = _ask(piece, {"model": model, **given})
        if not isinstance(loss, Tensor):
            raise BadPiece(f"the loss is {_kind(loss)}, expected a 0-d tensor: a plain number (.item()) keeps no gradient")
        if loss.ndim:
            raise BadPiece(f"the loss is {_kind(loss)}, expected a scalar, a tensor of shape (): the mean over all values")
        if model.calls != 1:
            raise BadPiece(f"the model was called {model.calls} times, expected once")
        if not model.training:
            raise BadPiece("it leaves the model in eval mode, and training goes on with it")
        if any(parameter.grad is not None for parameter in model.parameters()):
            raise BadPiece("it calls backward itself: the training does that, and the gradients would count twice")
        found = [None, None]
        if loss.requires_grad:
            found = torch.autograd.grad(loss, [model.weight, model.bias], allow_unused=True)
    names = "gradient of the model's weight", "gradient of the model's bias"
    gradients = {name: torch.zeros_like(leaf) if g is None else g for name, g, leaf in zip(names, found, model.parameters(), strict=True)}
    return {"loss": loss.detach()} | gradients


def call_step(piece: Callable, arguments: dict) -> dict[str, Any]:
    """A function of plain tensors and numbers that gives one tensor; nothing is trained through it, so a gradient may get lost."""
    result = _ask(piece, _plain(arguments))
    if isinstance(result, Tensor) and result.is_complex():
        raise BadPiece("the result is complex, because a root was taken of a negative number: are two levels swapped in it?")
    return {"output": result.detach() if isinstance(result, Tensor) else result}


class _Matrix(Operator):
    """A picture, flattened, times any matrix (M, C*H*W): y (B, M)."""

    def __init__(self, matrix: Tensor, inverse: Tensor, shape: tuple):
        self.matrix, self.inverse, self.shape = matrix, inverse, shape

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.to(x.dtype).T

    def pinv(self, y: Tensor) -> Tensor:
        return (y @ self.inverse.to(y.dtype).T).reshape(-1, *self.shape)


def operator_of(words: dict, x: Tensor) -> Operator:
    """The operator that `words` describe: {"mask": ...}, {"scale": ...}, {"weights": ...} or {"matrix": ..., "inverse": ...}."""
    if "mask" in words:
        return Inpainting(words["mask"])
    if "scale" in words:
        return SuperResolution(words["scale"])
    if "weights" in words:
        return Colourisation(words["weights"])
    return _Matrix(words["matrix"], words["inverse"], tuple(x.shape[1:]))


def call_operator(piece: Callable, arguments: dict) -> dict[str, Any]:
    """piece(A, y, x_0) for the operator that `arguments["A"]` describes; nothing is trained through it."""
    given = _plain({name: value for name, value in arguments.items() if name != "A"})
    return call_step(piece, {"A": operator_of(arguments["A"], given["x_0"]), **given})
