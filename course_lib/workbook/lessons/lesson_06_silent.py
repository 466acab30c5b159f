"""Exercise 06-f, who learns nothing: inputs, reference, points, and the mistakes that the check recognises."""

import torch
from torch import nn

from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_06_calls import PASSES, call_silent
from course_lib.workbook.lessons.lesson_06_shuffle import seeded

# ---- 06-f: who learns nothing? ---------------------------------------------------------------------------------------


def silent_parameters(model: nn.Module, loss_of) -> list[str]:
    """Names of the parameters that may learn and whose gradient is None or exactly zero in each of four passes."""
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    silent = dict.fromkeys(learning)
    for _ in range(PASSES):
        gradients = torch.autograd.grad(loss_of(model), list(learning.values()), allow_unused=True)
        for name, gradient in zip(learning, gradients, strict=True):
            if gradient is not None and gradient.any():
                silent.pop(name, None)
    return list(silent)


def _inputs_f(seed: int) -> dict:
    g = seeded(seed, 66)

    def wire(*gains, shape=(2, 3), pattern=None, **more):
        # Patterns of whole numbers other than zero, so that gains of 1 and -1 cancel exactly.
        drawn = torch.randint(1, 9, shape, generator=g) * torch.randn(shape, generator=g).sign()
        gains = list(gains) * (PASSES if len(gains) == 1 else 1)
        return {"weight": torch.randn(shape, generator=g), "pattern": drawn if pattern is None else pattern, "gains": gains} | more

    def named(*wires):
        """The wires in a fresh order, under fresh names of one to three parts; their parameters are not all called weight."""
        parts = ("encoder", "latent", "guide", "shuffle", "norm", "decoder")
        out = {}
        for place in torch.randperm(len(wires), generator=g).tolist():
            path = [parts[i] for i in torch.randperm(len(parts), generator=g)[: place % 3]]
            out[".".join([*path, f"layer{len(out)}"])] = wires[place] | {"called": ("weight", "bias", "scale")[(place // 3 + seed) % 3]}
        return out

    def at(step):
        return [1.0 if k == step else 0.0 for k in range(PASSES)]

    def called_at(step):
        return [1.0 if k == step else None for k in range(PASSES)]

    def before(*shape):
        return torch.randint(1, 9, shape, generator=g).float()

    balanced = torch.tensor([[1.0, -1.0, 2.0], [-2.0, 3.0, -3.0]])  # adds up to zero and is none
    balanced = balanced * float(torch.randint(1, 5, (), generator=g))
    alone = torch.zeros(2, 3)
    alone[1, seed % 3] = -1.0  # a single entry learns, and the largest is 0
    flat = {"weight": torch.zeros(2, 3)}  # the weight is zero, its gradient is not
    kinds = [wire(None), wire(0.0), wire(1.0), wire(None), wire(1.0, frozen=True), wire(2.0, shape=(), frozen=True)]
    kinds.append(wire(None, frozen=True))
    shared = named(*kinds)
    names = [next(name for name, part in shared.items() if part["weight"] is kind["weight"]) for kind in kinds]
    return {
        "None and zero": {"wires": named(
            wire(None), wire(None, shape=(4,)), wire(0.0), wire(0.0, shape=()), wire(None, 0.0, None, 0.0),
            wire(1.0), wire(2.0, shape=(4,)), wire(1.0, shape=()),
            wire(1.0, pattern=balanced), wire(1.0, pattern=alone), wire(-1.0, pattern=alone), wire(3e-13), wire(1.0) | flat,
        )},
        "several passes": {"wires": named(
            wire(None), wire(0.0), wire(1.0), wire(1.0) | flat,
            *(wire(*at(step)) for step in range(PASSES)), *(wire(*called_at(step)) for step in range(PASSES)),
            wire(None, 0.0, 1.0, 0.0), wire(1.0, -1.0, 2.0, -2.0), wire(1.0, 0.0, -1.0, None),
        )},
        "frozen and shared": {"wires": shared | {
            # a shared weight is one parameter: it learns where only one of its places does, and is silent where none does
            "head.one": wire(1.0) | {"shares": names[0]},
            "head.two": wire(None) | {"shares": names[2]},
            "head.three": wire(0.0) | {"shares": names[3]},
            "head.four": wire(1.0, 0.0, None, 2.0) | {"shares": names[1]},
            "head.five": wire(0.0),
            "head.six": wire(1.0) | flat,
        }},
        "left as it was": {"look": True, "wires": named(
            wire(None, before=before(2, 3)), wire(0.0, shape=(4,), before=before(4)), wire(0.0, eval=True), wire(None, eval=True),
            wire(1.0, before=before(2, 3)) | flat, wire(1.0, eval=True),
            wire(1.0, before=before(2, 3), frozen=True), wire(1.0, frozen=True),
            wire(0.0, 2.0, 0.0, 1.0), wire(None, 1.0, None, 1.0, before=before(2, 3)), wire(None, before=torch.zeros(2, 3)),
        )},
    }  # fmt: skip


def _look_with(
    passes=PASSES,
    names=lambda model: {name: p for name, p in model.named_parameters() if p.requires_grad},
    clear="each",  # .grad is set to None before each pass, before the "first" or "never"; "zeros": filled with zeros
    learns=lambda grad: grad is not None and bool(grad.any()),
    decide=lambda seen: not any(seen),
    invert=False,
    restore=True,
    after=lambda model: None,
):
    """silent_parameters by loss.backward() with one step replaced."""

    def piece(model, loss_of):
        parameters = names(model)
        kept = {p: None if p.grad is None else p.grad.clone() for p in model.parameters()}
        seen = {name: [] for name in parameters}
        for step in range(passes):
            if clear == "each" or (clear == "first" and step == 0):
                for p in model.parameters():
                    p.grad = None
            if clear == "zeros":
                for p in model.parameters():
                    p.grad = torch.zeros_like(p)
            loss_of(model).backward()
            for name, p in parameters.items():
                seen[name].append(learns(p.grad))
        for p in model.parameters() if restore else ():
            p.grad = kept[p]
        after(model)
        return [name for name in seen if decide(seen[name]) != invert]

    return piece


def _step(model):
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p -= 0.1


def _unfrozen(model, loss_of):
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for p in frozen:
        p.requires_grad_(True)
    silent = silent_parameters(model, loss_of)
    for p in frozen:
        p.requires_grad_(False)
    return silent


def _unfrozen_for_good(model, loss_of):
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    model.requires_grad_(True)
    return [name for name in silent_parameters(model, loss_of) if name not in frozen]


def _grads_of(value) -> object:
    def after(model):
        for p in model.parameters():
            p.grad = None if value is None else torch.zeros_like(p)

    return after


def _all(model):
    return dict(model.named_parameters())


def _size(reduce):
    return lambda grad: grad is not None and bool(reduce(grad))


_FEW = "reached in some passes only: make four passes, and look at the gradients after each."
_STALE = "A gradient from before the call was taken for one of these passes: set .grad to None before each pass (model.zero_grad())."
_LEFT = (
    "The gradients that the model came with are not there afterwards: keep copies before the first pass and put them back (None where it "
    "was None). torch.autograd.grad(loss, parameters, allow_unused=True) does not touch .grad at all."
)

_TINY = "A tiny gradient was taken for zero. Silent means exactly zero, every entry: a tiny gradient still says where to go."
_MODE = "Some parts are in another mode (training or eval) than they came in: leave the modes alone, or put each part back into its own."
_NONE_FOUND = (
    "None of the silent parameters is named. They *may* learn (requires_grad is True), and their gradient is None or zero in all four "
    "passes."
)

EXERCISE_F = Exercise(
    "06-f", "Who learns nothing?", ("silent_parameters",),
    {"None and zero": 0.5, "several passes": 0.5, "frozen and shared": 0.5, "left as it was": 0.5}, _inputs_f, call_silent,
    silent_parameters,
    (
        Mistake("None alone", _look_with(learns=lambda grad: grad is not None),
                "Only a missing gradient (None) counts as silent. One that is exactly zero in every pass moves nothing either."),
        Mistake("zero alone", _look_with(learns=lambda grad: grad is None or bool(grad.any())),
                "Only a gradient of zeros counts as silent. A missing one (None) moves nothing either."),
        Mistake("one pass", _look_with(1), f"Some parameters are {_FEW} Yours makes one pass."),
        Mistake("two passes", _look_with(2), f"Some parameters are {_FEW} Yours makes two."),
        Mistake("three passes", _look_with(3), f"Some parameters are {_FEW} Yours makes three."),
        Mistake("last pass", _look_with(decide=lambda seen: not seen[-1]), "Only the last pass counts: a parameter that learned in an "
                "earlier one is not silent."),
        Mistake("any pass", _look_with(decide=lambda seen: not all(seen)),
                "A parameter is named that was silent in *some* pass. Silent means in *every* pass."),
        Mistake("added up", _look_with(clear="first", decide=lambda seen: not seen[-1]),
                "backward() adds to .grad. The passes were added up before you looked, so that a gradient of +1 and one of -1 look like "
                "none: look after each pass, and set .grad to None before the next."),
        Mistake("stale", _look_with(clear="never"), _STALE),
        Mistake("stale, left there", _look_with(clear="never", restore=False), _STALE),
        Mistake("sum", _look_with(learns=_size(lambda grad: grad.sum() != 0)),
                "A gradient whose entries *add up* to zero need not be zero: look whether any entry is other than zero, grad.any()."),
        Mistake("mean", _look_with(learns=_size(lambda grad: grad.mean().abs() > 0)),
                "A gradient whose entries *add up* to zero need not be zero: look whether any entry is other than zero, grad.any()."),
        Mistake("largest", _look_with(learns=_size(lambda grad: grad.max() > 0)),
                "A negative gradient is one, too: look whether any entry is other than zero, grad.any()."),
        Mistake("all entries", _look_with(learns=_size(lambda grad: grad.all())),
                "A parameter learns where *any* entry of its gradient is other than zero, not only where all are."),
        Mistake("nearly zero", _look_with(learns=_size(lambda grad: not torch.allclose(grad, torch.zeros_like(grad)))),
                _TINY),
        Mistake("nearly zero, a limit", _look_with(learns=_size(lambda grad: grad.abs().max() > 1e-10)),
                _TINY),
        Mistake("frozen, too", _look_with(names=_all, learns=lambda grad: grad is not None and bool(grad.any())),
                "Frozen parameters (requires_grad False) are named, too. They are told not to learn; silent is what may, but does not."),
        Mistake("frozen set free", _unfrozen,
                "Frozen parameters (requires_grad False) were set free and tested. They are told not to learn: leave them out."),
        Mistake("set free for good", _unfrozen_for_good,
                "requires_grad of the frozen parameters is no longer False: leave it as it is."),
        Mistake("not deep enough", _look_with(names=lambda model: {n: p for n, p in model.named_parameters()
                if p.requires_grad and n.count(".") < 2}),
                "Only the model and its children were looked at. The parts have parts of their own: named_parameters() goes all the way "
                "down."),
        Mistake("weights alone", _look_with(names=lambda model: {n: p for n, p in model.named_parameters()
                if p.requires_grad and n.endswith("weight")}),
                "Only parameters called weight were looked at: all count, biases and scales, too."),
        Mistake("the others", _look_with(invert=True), "Those are the parameters that *do* learn: name the silent ones."),
        Mistake("weights of zero", lambda model, loss_of: [n for n, p in model.named_parameters() if p.requires_grad and not p.any()],
                "The *weights* were tested for zero. It is their gradients that count."),
        Mistake("gradients left", _look_with(restore=False), _LEFT),
        Mistake("gradients cleared", _look_with(after=_grads_of(None)), _LEFT),
        Mistake("gradients of zeros", _look_with(after=_grads_of(0)), _LEFT),
        Mistake("left in training mode", _look_with(after=lambda model: model.train()), _MODE),
        Mistake("left in eval mode", _look_with(after=lambda model: model.eval()), _MODE),
        Mistake("weights changed", _look_with(after=_step),
                "The weights changed: there is a step of an optimiser. backward() alone gives the gradients."),
        Mistake("nobody", lambda model, loss_of: [], _NONE_FOUND),
        Mistake("frozen alone", lambda model, loss_of: [n for n, p in model.named_parameters() if not p.requires_grad], _NONE_FOUND),
    ),
)  # fmt: skip
