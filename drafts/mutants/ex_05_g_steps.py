"""Answers to 05-g: more wrong ones. Steps that go astray, ends that do not come, and samplers that harm what they were given."""

import torch

from .ex_05_g import ANSWERS, Walk, add

mutant = ANSWERS.mutant

# the residual
add("residual_not_clamped", "clamp|clip|cut|\\[-1, 1\\]", cut=lambda self, residual: residual)
add("residual_clamped_to_0_1", "clamp|clip|cut|\\[-1, 1\\]", cut=lambda self, residual: residual.clamp(0, 1))
add("residual_clamped_to_2", "clamp|clip|cut|\\[-1, 1\\]", cut=lambda self, residual: residual.clamp(-2, 2))
add("residual_squashed", cut=lambda self, residual: residual.tanh())
add("residual_scaled_down", cut=lambda self, residual: residual / residual.abs().max().clamp(min=1))
add("residual_with_the_other_sign", "minus", cut=lambda self, residual: -residual.clamp(-1, 1))

# the step
add(
    "residual_added",
    "sign|minus|step|residual",
    move=lambda self, x, d, r, t, s: x + (self.abar[t] - self.abar[s]) * r + (self.dbar[t] - self.dbar[s]) * d,
)
add(
    "input_taken_out",
    "sign|step|delta|dbar",
    move=lambda self, x, d, r, t, s: x - (self.abar[t] - self.abar[s]) * r - (self.dbar[t] - self.dbar[s]) * d,
)
add("shared_term_forgotten", "dbar|delta|shared|step|x_in", move=lambda self, x, d, r, t, s: x - (self.abar[t] - self.abar[s]) * r)
add("residual_forgotten", move=lambda self, x, d, r, t, s: x + (self.dbar[t] - self.dbar[s]) * d)
add("not_moved", "step|move", move=lambda self, x, d, r, t, s: x)
add("step_to_the_estimate", move=lambda self, x, d, r, t, s: d - r)
add("all_the_residual", move=lambda self, x, d, r, t, s: x - self.abar[t] * r + (self.dbar[t] - self.dbar[s]) * d)
add("all_the_input", move=lambda self, x, d, r, t, s: x - (self.abar[t] - self.abar[s]) * r + self.dbar[t] * d)
add("schedules_swapped", move=lambda self, x, d, r, t, s: x - (self.dbar[t] - self.dbar[s]) * r + (self.abar[t] - self.abar[s]) * d)
add(
    "state_for_the_input",
    move=lambda self, x, d, r, t, s: x - (self.abar[t] - self.abar[s]) * r + (self.dbar[t] - self.dbar[s]) * x,
)
add(
    "estimate_for_the_input",
    move=lambda self, x, d, r, t, s: x - (self.abar[t] - self.abar[s]) * r + (self.dbar[t] - self.dbar[s]) * (d - r),
)
add(
    "input_in_0_1_for_the_input",
    move=lambda self, x, d, r, t, s: x - (self.abar[t] - self.abar[s]) * r + (self.dbar[t] - self.dbar[s]) * (d + 1) / 2,
)
add("one_time_only", move=lambda self, x, d, r, t, s: x - (self.abar[t] - self.abar[t - 1]) * r + (self.dbar[t] - self.dbar[t - 1]) * d)
add("state_clamped", move=lambda self, *rest: Walk.move(self, *rest).clamp(-1, 1))
add(
    "noise_removed_as_in_rddm",
    move=lambda self, x, d, r, t, s: Walk.move(self, x, d, r, t, s) - 0.1 * (x - (1 - self.dbar[t]) * d - (self.abar[t] - 1) * r),
)
add("fresh_noise_on_the_way", move=lambda self, x, *rest: Walk.move(self, x, *rest) + 0.01 * torch.randn_like(x))

# the end
add("end_not_clamped", "clamp|clip|last|\\[-1, 1\\]|\\[0, 1\\]", last=lambda self, x, d, r, t: d - r)
add("end_without_the_last_answer", last=lambda self, x, d, r, t: x.clamp(-1, 1))
add("end_by_a_step", "last|end", last=lambda self, x, d, r, t: (x - self.abar[t] * r + self.dbar[t] * d).clamp(-1, 1))
add("end_by_a_step_to_entry_minus_one", "last|end|-1|index", last=lambda self, x, d, r, t: self.move(x, d, r, t, -1).clamp(-1, 1))
add("end_by_a_step_to_time_zero", last=lambda self, x, d, r, t: self.move(x, d, r, t, 0).clamp(-1, 1))
add("end_off_the_state", last=lambda self, x, d, r, t: (x - r).clamp(-1, 1))
add("end_with_the_residual_added", last=lambda self, x, d, r, t: (d + r).clamp(-1, 1))
add("end_clamped_too_early", last=lambda self, x, d, r, t: (d - r).clamp(0, 1))
add("end_handed_the_input_back", last=lambda self, x, d, r, t: d)
add("end_handed_the_residual_back", last=lambda self, x, d, r, t: r)


def way(words=""):
    """Decorator of a wrong answer that takes the right walk another way: (walk, network, arguments by name)."""

    def keep(function):
        def sample(network, degraded, times, noise, abar, dbar, start_std):
            return function(Walk(), network, degraded, times, noise, abar, dbar, start_std)

        sample.__name__ = function.__name__
        mutant(words)(sample)
        return function

    return keep


@way("times|step")
def always_three_steps(walk, network, degraded, times, noise, abar, dbar, start_std):
    T = len(abar)
    return walk.call(network, degraded, [T - 1, round(2 * T / 3) - 1, round(T / 3) - 1, -1], noise, abar, dbar, start_std)


@way("times|step")
def one_step_only(walk, network, degraded, times, noise, abar, dbar, start_std):
    return walk.call(network, degraded, [times[0], -1], noise, abar, dbar, start_std)


@way()
def last_call_left_out(walk, network, degraded, times, noise, abar, dbar, start_std):
    return walk.call(network, degraded, [*times[:-2], -1], noise, abar, dbar, start_std)


@way()
def three_steps_at_most(walk, network, degraded, times, noise, abar, dbar, start_std):
    return walk.call(network, degraded, times if len(times) <= 4 else [*times[:3], -1], noise, abar, dbar, start_std)


@way("IndexError|times|step")
def three_steps_expected(walk, network, degraded, times, noise, abar, dbar, start_std):
    a, b, c, end = times[0], times[1], times[2], times[3]
    return walk.call(network, degraded, [a, b, c, end], noise, abar, dbar, start_std)


@way()
def time_zero_on_the_way(walk, network, degraded, times, noise, abar, dbar, start_std):
    """One call more than asked."""
    return walk.call(network, degraded, [*times[:-1], *([0] if times[-2] else []), -1], noise, abar, dbar, start_std)


@way()
def asked_at_minus_one_too(walk, network, degraded, times, noise, abar, dbar, start_std):
    x_in = walk.read(degraded)
    result = walk.call(network, degraded, times, noise, abar, dbar, start_std)
    again = walk.ask(network, 2 * result - 1, x_in, times[-1]).clamp(-1, 1)
    return ((x_in - again).clamp(-1, 1) + 1) / 2


@way()
def ended_at_time_zero(walk, network, degraded, times, noise, abar, dbar, start_std):
    """Takes 0 for the clean image: one call less where 0 is among the times."""
    return walk.call(network, degraded, [*(t for t in times if t > 0), -1], noise, abar, dbar, start_std)


@way()
def last_step_at_time_zero_already(walk, network, degraded, times, noise, abar, dbar, start_std):
    """`s <= 0` for `s < 0`."""
    move = walk.move
    walk.move = lambda x, d, r, t, s: move(x, d, r, t, s) if s else walk.last(x, d, r, t)
    return walk.call(network, degraded, times, noise, abar, dbar, start_std)


@way()
def schedules_summed_up_once_more(walk, network, degraded, times, noise, abar, dbar, start_std):
    return walk.call(network, degraded, times, noise, abar.cumsum(0) / abar.sum(), dbar, start_std)


@way("in.place|times|list")
def times_used_up(walk, network, degraded, times, noise, abar, dbar, start_std):
    """Takes them off the caller's list: the next picture has none."""
    own = []
    while times:
        own.append(times.pop(0))
    return walk.call(network, degraded, own, noise, abar, dbar, start_std)


@way("in.place")
def degraded_scaled_in_place(walk, network, degraded, times, noise, abar, dbar, start_std):
    result = walk.call(network, degraded, times, noise, abar, dbar, start_std)
    degraded.data.mul_(2).sub_(1)
    return result


@way("in.place")
def noise_scaled_in_place(walk, network, degraded, times, noise, abar, dbar, start_std):
    result = walk.call(network, degraded, times, noise, abar, dbar, start_std)
    noise.data.mul_(start_std)
    return result


@way("in.place|abar|dbar")
def schedules_turned_round_in_place(walk, network, degraded, times, noise, abar, dbar, start_std):
    result = walk.call(network, degraded, times, noise, abar, dbar, start_std)
    dbar.data.copy_(1 - dbar.data)
    return result


@way("tuple|tensor")
def states_too(walk, network, degraded, times, noise, abar, dbar, start_std):
    result = walk.call(network, degraded, times, noise, abar, dbar, start_std)
    return result, [degraded, result]


@way()
def images_one_by_one_with_the_first_noise(walk, network, degraded, times, noise, abar, dbar, start_std):
    images = [Walk().call(network, image[None], times, noise[:1], abar, dbar, start_std) for image in degraded]
    return torch.cat(images)


@way()
def squares_only(walk, network, degraded, times, noise, abar, dbar, start_std):
    side = min(degraded.shape[2:])
    return walk.call(network, degraded[..., :side, :side], times, noise[..., :side, :side], abar, dbar, start_std)


@way()
def times_put_in_rising_order(walk, network, degraded, times, noise, abar, dbar, start_std):
    return walk.call(network, degraded, [*sorted(times[:-1]), -1], noise, abar, dbar, start_std)
