"""What flows through a model: shapes, parameters and multiply-adds of every part, taken from one real forward pass."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Shape = tuple[int, ...]
NOT_COUNTED = "norms, activations, softmax, additions, products element by element, pixel shuffles, Fourier transforms"


@dataclass
class Row:
    """One named module: shapes of its tensors at the first call, parameters and multiply-adds with everything inside it."""

    name: str
    kind: str
    depth: int
    blocks: int = 1  # equal children of a Sequential or ModuleList
    parameters: int = 0
    multiply_adds: int = 0
    calls: int = 0
    order: int = -1  # rank of the first call; -1: never entered
    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape, ...] = ()


@dataclass
class _Tracer:
    rows: dict[str, Row]
    stack: list[str] = field(default_factory=list)
    counter: int = 0

    def enter(self, name: str, args: tuple, kwargs: dict) -> None:
        self.stack.append(name)
        self.rows[name].calls += 1
        for prefix in _prefixes(name):
            row = self.rows[prefix]
            if row.order < 0:  # a ModuleList is never called itself: it begins with its first child
                row.order, self.counter = self.counter, self.counter + 1
                row.inputs = tuple(_shapes([args, kwargs]))

    def leave(self, name: str, output) -> None:
        self.stack.pop()
        for prefix in _prefixes(name):
            row = self.rows[prefix]
            if (prefix == name and row.calls == 1) or (prefix != name and row.calls == 0):
                row.outputs = tuple(_shapes(output))

    def count(self, multiply_adds: int) -> None:
        for prefix in {p for name in self.stack for p in _prefixes(name)}:
            self.rows[prefix].multiply_adds += multiply_adds


class _MultiplyAdds(TorchDispatchMode):
    """Counts at the level of torch's own operations, so weights used through `F.conv2d` and attention by matmul count too."""

    def __init__(self, tracer: _Tracer):
        super().__init__()
        from torch.utils import flop_counter  # takes a third of a second to load

        self.tracer, self.formulas, self.attention = tracer, flop_counter.flop_registry, flop_counter.sdpa_flop_count

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in self.formulas:
            self.tracer.count(self.formulas[packet](*args, **(kwargs or {}), out_val=out) // 2)
        elif "scaled_dot_product" in packet.__name__:  # the CPU kernel, missing in the register of older torch
            self.tracer.count(self.attention(args[0].shape, args[1].shape, args[2].shape) // 2)
        return out


def _prefixes(name: str) -> Iterator[str]:
    """ "a.0.b" -> "", "a", "a.0", "a.0.b"."""
    yield ""
    parts = name.split(".") if name else []
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _shapes(value) -> Iterator[Shape]:
    if isinstance(value, Tensor):
        yield tuple(value.shape)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _shapes(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _shapes(item)


def _new_row(name: str, module: nn.Module) -> Row:
    # Only children of one type are a row of blocks; a convolution with a pixel shuffle is not "×2".
    alike = isinstance(module, (nn.Sequential, nn.ModuleList)) and len({type(child) for child in module}) == 1
    return Row(
        name=name,
        kind=type(module).__name__,
        depth=name.count(".") + 1 if name else 0,
        blocks=len(module) if alike else 1,
        parameters=sum(p.numel() for p in module.parameters()),
    )


def trace(model: nn.Module, *inputs: Tensor, depth: int = 2) -> list[Row]:
    """Run the model once (eval mode, no gradients, modes put back) and return one Row a named module, in order of first call.

    Row 0 is the whole model; `depth` limits the rows, not the counting. Multiply-adds: every convolution, linear layer, matrix
    product and scaled-dot-product attention that torch runs, whether a module or a function calls it; not counted: `NOT_COUNTED`.
    Modules that the pass never enters come last with calls=0. Raises whatever the model raises, with the hooks removed.
    """
    modules = dict(model.named_modules())
    tracer = _Tracer({name: _new_row(name, module) for name, module in modules.items()})
    training = {module: module.training for module in modules.values()}
    hooks = []
    try:
        for name, module in modules.items():
            hooks.append(module.register_forward_pre_hook(lambda m, a, k, name=name: tracer.enter(name, a, k), with_kwargs=True))
            hooks.append(module.register_forward_hook(lambda m, a, out, name=name: tracer.leave(name, out)))
        model.eval()
        with torch.no_grad(), _MultiplyAdds(tracer):
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode
    rows = [row for row in tracer.rows.values() if row.depth <= depth]
    return sorted(rows, key=lambda row: row.order if row.order >= 0 else math.inf)


def as_batch(model: nn.Module, image: Tensor) -> Tensor:
    """(3, H, W) or (B, 3, H, W) as a batch on the model's device. Raises ValueError for another number of dimensions."""
    if image.ndim not in (3, 4):
        raise ValueError(f"image has shape {tuple(image.shape)}; expected (3, H, W) or (B, 3, H, W)")
    weight = next(model.parameters(), image)
    return (image if image.ndim == 4 else image[None]).to(weight.device)


def _text(shapes: tuple[Shape, ...]) -> str:
    return ", ".join("×".join(map(str, shape)) for shape in shapes)


def layer_table(model: nn.Module, image: Tensor, *more: Tensor, depth: int = 2):
    """pandas DataFrame with module, type, blocks, input, output, parameters, multiply_adds, calls; shapes B×C×H×W from one real pass.

    `image`: (3, H, W) or (B, 3, H, W); `more`: further inputs of the model (a prompt, a time step). Indented by depth; what the
    multiply-adds leave out stands in `.attrs["not_counted"]`. Raises as `trace` does.
    """
    import pandas

    rows = trace(model, as_batch(model, image), *more, depth=depth)
    table = pandas.DataFrame(
        {
            "module": "  " * max(0, row.depth - 1) + (row.name or "(model)"),
            "type": row.kind,
            "blocks": row.blocks,
            "input": _text(row.inputs),
            "output": _text(row.outputs),
            "parameters": row.parameters,
            "multiply_adds": row.multiply_adds,
            "calls": row.calls,
        }
        for row in _nested(rows)
    )
    table.attrs["not_counted"] = NOT_COUNTED
    return table


def _nested(rows: list[Row]) -> Iterator[Row]:
    """Rows with each module's children directly after it, both in order of first call."""
    children: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        children[row.name.rpartition(".")[0] if row.name else None].append(row)
    waiting = list(children[None])
    while waiting:
        row = waiting.pop(0)
        yield row
        waiting = [child for child in children[row.name] if child is not row] + waiting


def dataflow_diagram(model: nn.Module, image: Tensor, *more: Tensor, title: str = ""):
    """Figure of the model's stages with the shapes C×H×W of a real pass: a U for encoder-decoders, else rows from left to right.

    `image`: (3, H, W) or (B, 3, H, W); `more`: further inputs. Height in the picture is resolution, box width the channels. A dashed
    arrow is a skip whose concatenation the traced channels show; a dotted line only says that both ends have one resolution, as an
    added skip leaves no trace in the shapes. Additions between modules are not drawn. Raises as `trace` does.
    """
    from course_lib.figures.diagram import draw_diagram

    batch = as_batch(model, image)
    return draw_diagram(trace(model, batch, *more, depth=2), tuple(batch.shape), title or f"Data flow of {type(model).__name__}")
