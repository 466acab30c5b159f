"""Answers to 03-f, the slow copy: slow <- momentum slow + (1 - momentum) fast for lists of tensors, in place."""

import torch

from . import Answers

ANSWERS = Answers("03-f")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant("swap|momentum|other way|slow")
def fast_keeps_the_momentum(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.mul_(1 - momentum).add_(momentum * f)


@mutant("swap|momentum|other way|slow")
def lerp_by_the_momentum(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.lerp_(f, momentum)


@mutant("fast|slow|swap")
def the_fast_one_moves(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            f.mul_(momentum).add_((1 - momentum) * s)


@mutant("fast")
def both_move(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.mul_(momentum).add_(f.mul_(1 - momentum))


@mutant("1 - m|momentum|fast")
def fast_added_as_it_is(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.mul_(momentum).add_(f)


@mutant()
def slow_not_shrunk(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.add_((1 - momentum) * f)


@mutant()
def difference_after_shrinking(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.mul_(momentum)
            s.add_((1 - momentum) * (f - s))


@mutant()
def step_the_wrong_way(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.add_((1 - momentum) * (s - f))


@mutant()
def both_added(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.copy_((s + f) / 2)


@mutant()
def plain_copy(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.copy_(f)


@mutant("momentum")
def always_999(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.mul_(0.999).add_(0.001 * f)


@mutant("in.place|slow")
def names_bound_again(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s = momentum * s + (1 - momentum) * f


@mutant("in.place|slow")
def entries_of_the_list_replaced(slow, fast, momentum):
    """The network holds the old tensors."""
    for i in range(len(slow)):
        slow[i] = (momentum * slow[i] + (1 - momentum) * fast[i]).detach()


@mutant("in.place|slow")
def a_new_list_returned(slow, fast, momentum):
    with torch.no_grad():
        return [momentum * s + (1 - momentum) * f for s, f in zip(slow, fast, strict=True)]


@mutant("in.place|slow")
def copies_changed(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip([s.clone() for s in slow], fast, strict=True):
            s.mul_(momentum).add_((1 - momentum) * f)


@mutant("last|every|all|first")
def returns_inside_the_loop(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.mul_(momentum).add_(f, alpha=1 - momentum)
            return slow


@mutant("last|every|all|3")
def last_one_forgotten(slow, fast, momentum):
    with torch.no_grad():
        for i in range(len(slow) - 1):
            slow[i].mul_(momentum).add_(fast[i], alpha=1 - momentum)


@mutant()
def matrices_only(slow, fast, momentum):
    """Norms and biases stay behind."""
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            if s.ndim > 1:
                s.mul_(momentum).add_(f, alpha=1 - momentum)


@mutant()
def vectors_by_their_mean(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.mul_(momentum).add_((1 - momentum) * f.mean())


@mutant()
def fast_from_the_end(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, reversed(fast), strict=True):
            s.mul_(momentum).add_((1 - momentum) * f)


@mutant()
def weights_that_learn_only(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            if s.requires_grad:
                s.mul_(momentum).add_(f, alpha=1 - momentum)


@mutant("no_grad|graph|RuntimeError|leaf")
def with_a_graph(slow, fast, momentum):
    for s, f in zip(slow, fast, strict=True):
        s.mul_(momentum).add_((1 - momentum) * f)


@mutant("no_grad|graph")
def slow_detached_but_not_fast(slow, fast, momentum):
    """Runs where slow wants no gradient, and leaves it hanging on the graph of fast."""
    for s, f in zip(slow, fast, strict=True):
        s.copy_(momentum * s.detach() + (1 - momentum) * f)


@mutant()
def slow_stops_learning(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.requires_grad_(False).mul_(momentum).add_((1 - momentum) * f)


@mutant()
def fast_stops_learning(slow, fast, momentum):
    for s, f in zip(slow, fast, strict=True):
        s.data.mul_(momentum).add_((1 - momentum) * f.detach_())


@mutant()
def gradients_mode_left_off(slow, fast, momentum):
    """torch.set_grad_enabled(False) lasts."""
    torch.set_grad_enabled(False)
    for s, f in zip(slow, fast, strict=True):
        s.mul_(momentum).add_(f, alpha=1 - momentum)


@mutant()
def half_precision(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.copy_((momentum * s + (1 - momentum) * f).bfloat16())


@mutant()
def fast_made_the_same_tensor(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.mul_(momentum).add_((1 - momentum) * f)
            f.data = s.data


@alternative
def scaled_and_added(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.mul_(momentum).add_(f, alpha=1 - momentum)


@alternative
def by_lerp(slow, fast, momentum):
    with torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s.lerp_(f, 1 - momentum)
    return slow


@alternative
@torch.no_grad()
def copied(slow, fast, momentum):
    for i in range(len(slow)):
        slow[i].copy_(slow[i] * momentum + fast[i] * (1 - momentum))


@alternative
def in_double_precision_inside(slow, fast, m):
    with torch.inference_mode(False), torch.no_grad():
        for s, f in zip(slow, fast, strict=True):
            s[...] = (m * s.double() + (1 - m) * f.double()).to(s.dtype)
    return slow


@alternative
def by_detached_views(slow, fast, momentum):
    """`detach()` shares the memory: what is written into it is written into the tensor."""
    for s, f in zip(slow, fast, strict=True):
        view = s.detach()
        view += (1 - momentum) * (f.detach() - view)


@alternative
def all_at_once(slow, fast, momentum):
    with torch.no_grad():
        torch._foreach_mul_(list(slow), momentum)
        torch._foreach_add_(list(slow), list(fast), alpha=1 - momentum)


@alternative
def by_data(slow, fast, momentum):
    for s, f in zip(slow, fast, strict=True):
        s.data.sub_((1 - momentum) * (s.data - f.data))
