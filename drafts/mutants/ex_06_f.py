"""Answers to 06-f, who learns nothing: wrong ones. The right ones stand in `ex_06_f_right.py`."""

import contextlib

import torch

from . import Answers

ANSWERS = Answers("06-f")
mutant = ANSWERS.mutant
PASSES = 4


@contextlib.contextmanager
def gradients_put_back(model):
    """Afterwards every .grad is as it was: what most answers stand in."""
    kept = [(p, p.grad) for p in model.parameters()]
    try:
        yield
    finally:
        for p, grad in kept:
            p.grad = grad


def learners(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def passes(model, loss_of, count=PASSES):
    """The gradients of each pass, {name: tensor or None}."""
    for _ in range(count):
        for p in model.parameters():
            p.grad = None
        loss_of(model).backward()
        yield {name: p.grad for name, p in learners(model).items()}


def nothing_in(grad):
    return grad is None or not grad.any()


def silent(model, loss_of, found=nothing_in, count=PASSES, judge=all):
    """Right as it stands, for answers that change one of its parts."""
    with gradients_put_back(model):
        seen = list(passes(model, loss_of, count))
    return [name for name in learners(model) if judge(found(one[name]) for one in seen)]


# ---- what counts as nothing ----


@mutant("zero|None")
def none_alone(model, loss_of):
    """`p.grad is None` only."""
    return silent(model, loss_of, lambda grad: grad is None)


@mutant("None|zero")
def zero_alone(model, loss_of):
    """Whoever got nothing at all is overlooked."""
    return silent(model, loss_of, lambda grad: grad is not None and not grad.any())


@mutant("None|zero|AttributeError|NoneType")
def none_not_expected(model, loss_of):
    return silent(model, loss_of, lambda grad: bool((grad == 0).all()))


@mutant("tiny|exact|zero|small|thresh")
def tiny_counts_as_nothing(model, loss_of):
    return silent(model, loss_of, lambda grad: grad is None or grad.abs().max() < 1e-8)


@mutant("tiny|exact|zero|small|thresh|close")
def close_to_zero(model, loss_of):
    return silent(model, loss_of, lambda grad: grad is None or torch.allclose(grad, torch.zeros_like(grad)))


@mutant("tiny|exact|zero|small|round")
def rounded(model, loss_of):
    return silent(model, loss_of, lambda grad: grad is None or not grad.half().any())


@mutant("sum|cancel|zero|every")
def sum_of_the_gradient(model, loss_of):
    """Entries of both signs may cancel."""
    return silent(
        model, loss_of, lambda grad: grad is None or abs(float(grad.double().sum())) < 1e-6 * float(grad.abs().max()) or not grad.any()
    )


@mutant("any|all|zero|entr|every")
def one_zero_is_enough(model, loss_of):
    """any() where all() belongs: one dead entry condemns the whole parameter."""
    return silent(model, loss_of, lambda grad: grad is None or bool((grad == 0).any()))


@mutant("first|entr|all|every")
def first_entry_alone(model, loss_of):
    return silent(model, loss_of, lambda grad: grad is None or grad.flatten()[0] == 0)


@mutant("sign|negative|positive|abs")
def nothing_above_zero(model, loss_of):
    """A gradient of negative numbers is one, too."""
    return silent(model, loss_of, lambda grad: grad is None or grad.max() <= 0)


@mutant("weight|zero|grad|value")
def weights_that_are_zero(model, loss_of):
    """Looks at the parameters' values."""
    return [name for name, p in learners(model).items() if not p.detach().any()]


# ---- which passes ----


@mutant("pass|first|four|each|every")
def first_pass_only(model, loss_of):
    return silent(model, loss_of, count=1)


@mutant("pass|two|four|each|every")
def two_passes(model, loss_of):
    return silent(model, loss_of, count=2)


@mutant("pass|three|four|each|every|call")
def three_passes(model, loss_of):
    return silent(model, loss_of, count=3)


@mutant("pass|eight|four|call|more")
def eight_passes(model, loss_of):
    return silent(model, loss_of, count=8)


@mutant("pass|last|four|each|every")
def last_pass_only(model, loss_of):
    with gradients_put_back(model):
        *_, last = passes(model, loss_of)
    return [name for name, grad in last.items() if nothing_in(grad)]


@mutant("pass|any|all|each|every")
def silent_in_any_pass(model, loss_of):
    """Who rests once is not silent."""
    return silent(model, loss_of, judge=any)


@mutant("pass|each|most|every")
def silent_in_most_passes(model, loss_of):
    return silent(model, loss_of, judge=lambda found: sum(found) > PASSES / 2)


@mutant("pass|loss|call|batch|once|again")
def one_loss_four_times(model, loss_of):
    """The same batch again and again."""
    names = learners(model)
    with gradients_put_back(model):
        loss, seen = loss_of(model), []
        for _ in range(PASSES):
            for p in model.parameters():
                p.grad = None
            loss.backward(retain_graph=True)
            seen.append({name: nothing_in(p.grad) for name, p in names.items()})
    return [name for name in names if all(one[name] for one in seen)]


@mutant("sum|cancel|pass|each|accumul|zero_grad")
def added_up_over_the_passes(model, loss_of):
    """zero_grad forgotten between the passes: what one gives the next may take away."""
    with gradients_put_back(model):
        for p in model.parameters():
            p.grad = None
        for _ in range(PASSES):
            loss_of(model).backward()
        return [name for name, p in learners(model).items() if nothing_in(p.grad)]


@mutant("sum|cancel|pass|each|accumul")
def mean_loss_of_the_passes(model, loss_of):
    """One backward through all four."""
    with gradients_put_back(model):
        for p in model.parameters():
            p.grad = None
        sum(loss_of(model) for _ in range(PASSES)).backward()
        return [name for name, p in learners(model).items() if nothing_in(p.grad)]


@mutant("before|zero_grad|old|grad")
def gradients_from_before_counted(model, loss_of):
    """zero_grad forgotten at the start: an old gradient makes a silent parameter look alive."""
    kept = {p: None if p.grad is None else p.grad.clone() for p in model.parameters()}
    seen = []
    for _ in range(PASSES):
        loss_of(model).backward()
        seen.append({name: nothing_in(p.grad) for name, p in learners(model).items()})
    for p, grad in kept.items():
        p.grad = grad
    return [name for name in learners(model) if all(one[name] for one in seen)]


@mutant("backward|pass|loss|grad")
def no_pass_at_all(model, loss_of):
    """Reads what is there."""
    return [name for name, p in learners(model).items() if nothing_in(p.grad)]


@mutant("tiny|step|optimi|weight")
def by_whether_a_step_moves_it(model, loss_of):
    """A step of 1e-3 each: tiny gradients are lost in the rounding, the weights are put back."""
    names = learners(model)
    before = {name: p.detach().clone() for name, p in names.items()}
    with gradients_put_back(model):
        for grads in passes(model, loss_of):
            with torch.no_grad():
                for name, grad in grads.items():
                    if grad is not None:
                        names[name] -= 1e-3 * grad
        found = [name for name, p in names.items() if torch.equal(p, before[name])]
    with torch.no_grad():
        for name, p in names.items():
            p.copy_(before[name])
    return found


# ---- who is named ----


@mutant("learn|not silent|opposite|inver|other")
def those_who_learn(model, loss_of):
    quiet = silent(model, loss_of)
    return [name for name in learners(model) if name not in quiet]


@mutant("frozen|requires_grad")
def frozen_ones_too(model, loss_of):
    quiet = silent(model, loss_of)
    return quiet + [name for name, p in model.named_parameters() if not p.requires_grad]


@mutant("frozen|requires_grad|silent")
def frozen_ones_alone(model, loss_of):
    silent(model, loss_of)
    return [name for name, p in model.named_parameters() if not p.requires_grad]


@mutant("shared|twice|once|name")
def shared_ones_twice(model, loss_of):
    quiet = {id(model.get_parameter(name)) for name in silent(model, loss_of)}
    return [name for name, p in model.named_parameters(remove_duplicate=False) if id(p) in quiet]


@mutant("twice|once|list|name|repeat|often")
def once_for_every_pass(model, loss_of):
    return [name for name in silent(model, loss_of) for _ in range(PASSES)]


@mutant("module|name|parameter|full")
def names_of_the_modules(model, loss_of):
    return list(dict.fromkeys(name.rpartition(".")[0] for name in silent(model, loss_of)))


@mutant("name|full|module")
def last_part_of_the_name(model, loss_of):
    return [name.rpartition(".")[2] for name in silent(model, loss_of)]


@mutant("weight|bias|all|matri")
def matrices_alone(model, loss_of):
    """Biases and other vectors are left out."""
    return [name for name in silent(model, loss_of) if model.get_parameter(name).ndim > 1]


@mutant("weight|bias|all")
def weights_by_name_alone(model, loss_of):
    return [name for name in silent(model, loss_of) if name.endswith("weight")]


@mutant("top|child|deep|nested|all|module")
def children_alone(model, loss_of):
    """Parameters of the model's own and of its children; deeper ones are not looked at."""
    return [name for name in silent(model, loss_of) if name.count(".") < 2]


@mutant("name|list|number|count")
def how_many(model, loss_of):
    return len(silent(model, loss_of))


@mutant("name|list|number|count")
def how_many_numbers(model, loss_of):
    return sum(model.get_parameter(name).numel() for name in silent(model, loss_of))


@mutant("name|str|tensor|list|parameter")
def the_parameters_themselves(model, loss_of):
    return [model.get_parameter(name) for name in silent(model, loss_of)]


@mutant("name|str|pair|tuple|list")
def names_and_shapes(model, loss_of):
    return [(name, tuple(model.get_parameter(name).shape)) for name in silent(model, loss_of)]


@mutant("list|dict|name")
def everybody_with_an_answer(model, loss_of):
    quiet = silent(model, loss_of)
    return {name: name in quiet for name in learners(model)}


@mutant("list|str|name")
def one_line_of_text(model, loss_of):
    return ", ".join(silent(model, loss_of)) or "none"


@mutant("linear|name|every|grad|measure|module")
def by_the_names_of_the_guidance(model, loss_of):
    """What the lesson's DFPIR would give, written down."""
    return [name for name in learners(model) if "linear1" in name or "linear2" in name]


@mutant()
def nobody(model, loss_of):
    return []


@mutant()
def everybody(model, loss_of):
    return list(learners(model))


# ---- what is left behind ----


@mutant("grad|left|as (it|they) (was|were)|before|behind|None")
def gradients_left_behind(model, loss_of):
    seen = list(passes(model, loss_of))
    return [name for name in learners(model) if all(nothing_in(one[name]) for one in seen)]


@mutant("grad|left|as (it|they) (was|were)|before|None")
def gradients_taken_away(model, loss_of):
    """Also those that were there before."""
    quiet = silent(model, loss_of)
    model.zero_grad()
    return quiet


@mutant("grad|left|as (it|they) (was|were)|before|None|zero")
def gradients_filled_with_zeros(model, loss_of):
    """None is not zero: an optimiser with momentum or weight decay would move such a parameter."""
    quiet = silent(model, loss_of)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    return quiet


@mutant("grad|None|zero|as (it|they) (was|were)|before")
def none_put_back_as_zeros(model, loss_of):
    quiet = silent(model, loss_of)
    for p in learners(model).values():
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    return quiet


@mutant("grad|copy|clone|as (it|they) (was|were)|before|changed")
def kept_without_a_copy(model, loss_of):
    """The tensors put aside are those that zero_ and backward write into."""
    kept = {p: p.grad for p in model.parameters()}
    seen = []
    for _ in range(PASSES):
        model.zero_grad(set_to_none=False)
        loss_of(model).backward()
        seen.append({name: nothing_in(p.grad) for name, p in learners(model).items()})
    for p, grad in kept.items():
        p.grad = grad
    return [name for name in learners(model) if all(one[name] for one in seen)]


@mutant("mode|eval|train")
def left_in_training_mode(model, loss_of):
    model.train()
    return silent(model, loss_of)


@mutant("mode|eval|train")
def left_in_eval_mode(model, loss_of):
    quiet = silent(model, loss_of)
    model.eval()
    return quiet


@mutant("mode|eval|train|part|module")
def one_mode_put_back_for_all(model, loss_of):
    """The parts in another mode than the whole are forgotten."""
    mode = model.training
    quiet = silent(model.train(), loss_of)
    model.train(mode)
    return quiet


@mutant("mode|eval|train|pass")
def passes_in_eval_mode(model, loss_of):
    """Modes put back part by part; but what learns in training only looks silent."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    quiet = silent(model, loss_of)
    for module, mode in modes.items():
        module.training = mode
    return quiet


@mutant("mode|eval|train|pass")
def passes_in_training_mode(model, loss_of):
    """Modes put back part by part; but a part in eval mode was to stay there."""
    modes = {module: module.training for module in model.modules()}
    model.train()
    quiet = silent(model, loss_of)
    for module, mode in modes.items():
        module.training = mode
    return quiet


@mutant("requires_grad|frozen|thaw")
def everything_thawed(model, loss_of):
    model.requires_grad_(True)
    return silent(model, loss_of)


@mutant("frozen|requires_grad")
def thawed_for_the_passes(model, loss_of):
    """Put back afterwards, but frozen ones were asked, too."""
    flags = {p: p.requires_grad for p in model.parameters()}
    model.requires_grad_(True)
    quiet = silent(model, loss_of)
    for p, flag in flags.items():
        p.requires_grad_(flag)
    return quiet


@mutant("requires_grad|frozen|silent")
def silent_ones_frozen(model, loss_of):
    quiet = silent(model, loss_of)
    for name in quiet:
        model.get_parameter(name).requires_grad_(False)
    return quiet


@mutant("weight|step|optimi|changed|train")
def trained_on_the_way(model, loss_of):
    """An optimiser steps after each pass."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = [(p, p.grad) for p in model.parameters()]
    seen = []
    for grads in passes(model, loss_of):
        seen.append({name: nothing_in(grad) for name, grad in grads.items()})
        optimizer.step()
    for p, grad in kept:
        p.grad = grad
    return [name for name in learners(model) if all(one[name] for one in seen)]


@mutant("weight|value|changed|random")
def weights_drawn_anew(model, loss_of):
    """A random start, lest a dead unit hides a gradient; and left so."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return silent(model, loss_of)


@mutant("grad|no_grad|backward|requires")
def under_no_grad(model, loss_of):
    with torch.no_grad():
        return silent(model, loss_of)


@mutant("argument|order|swap|callable|parameters")
def arguments_the_other_way_round(loss_of, model):
    return silent(model, loss_of)


@mutant("model|argument|loss_of")
def loss_without_the_model(model, loss_of):
    return silent(model, lambda _: loss_of())
