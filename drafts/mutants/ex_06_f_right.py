"""Answers to 06-f, who learns nothing: right ones, each written differently."""

import copy

import torch

from .ex_06_f import ANSWERS, silent

alternative = ANSWERS.alternative


@alternative
def in_two_steps(model, loss_of):
    return silent(model, loss_of)


@alternative
def names_struck_off_a_list(model, loss_of):
    kept = {name: p.grad for name, p in model.named_parameters()}
    left = [name for name, p in model.named_parameters() if p.requires_grad]
    for _ in range(4):
        model.zero_grad(set_to_none=True)
        loss_of(model).backward()
        for name, p in model.named_parameters():
            if name in left and p.grad is not None and torch.count_nonzero(p.grad) > 0:
                left.remove(name)
    for name, p in model.named_parameters():
        p.grad = kept[name]
    return left


@alternative
def by_autograd_grad(model, loss_of):
    """Without touching .grad at all."""
    names, parameters = zip(*[(name, p) for name, p in model.named_parameters() if p.requires_grad], strict=True)
    heard = [False] * len(names)
    for _ in range(4):
        grads = torch.autograd.grad(loss_of(model), parameters, allow_unused=True)
        heard = [h or (g is not None and bool((g != 0).any())) for h, g in zip(heard, grads, strict=True)]
    return [name for name, h in zip(names, heard, strict=True) if not h]


@alternative
def largest_of_all_passes(model, loss_of):
    """Copies put aside and put back, zeros for None in between."""
    kept = {p: None if p.grad is None else p.grad.detach().clone() for p in model.parameters()}
    largest = {name: 0.0 for name, p in model.named_parameters() if p.requires_grad}
    try:
        for _ in range(4):
            model.zero_grad()
            loss_of(model).backward()
            for name, p in model.named_parameters():
                if name in largest:
                    largest[name] = max(largest[name], 0.0 if p.grad is None else p.grad.abs().max().item())
    finally:
        for p, grad in kept.items():
            p.grad = grad
    return sorted(name for name, value in largest.items() if value == 0)


@alternative
def on_a_copy(model, loss_of):
    """The model itself is never touched."""
    twin = copy.deepcopy(model)
    alive = set()
    for _ in range(4):
        for p in twin.parameters():
            p.grad = None
        loss_of(twin).backward()
        alive |= {name for name, p in twin.named_parameters() if p.grad is not None and p.grad.any()}
    return [name for name, p in twin.named_parameters() if p.requires_grad and name not in alive]


@alternative
def by_hooks(model, loss_of):
    """Each parameter reports its own gradients on the way."""
    heard = set()
    kept = [(p, p.grad) for p in model.parameters()]
    handles = []
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.grad = None
            handles.append(p.register_hook(lambda grad, name=name: heard.add(name) if (grad != 0).any() else None))
    for _ in range(4):
        loss_of(model).backward()
    for handle in handles:
        handle.remove()
    for p, grad in kept:
        p.grad = grad
    return [name for name, p in model.named_parameters() if p.requires_grad and name not in heard]
