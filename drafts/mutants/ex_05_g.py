"""Answers to 05-g, DiffUIR's sampling: wrong ones. More in `ex_05_g_steps.py`, the right ones in `ex_05_g_right.py`."""

import torch

from . import Answers

ANSWERS = Answers("05-g")
mutant = ANSWERS.mutant


class Walk:
    """Right: the pieces of the sampling, one of which most answers spoil."""

    def call(self, network, degraded, times, noise, abar, dbar, start_std):
        self.T, self.abar, self.dbar = len(abar), abar.tolist(), dbar.tolist()
        x_in = self.read(degraded)
        x = self.start(x_in, noise, start_std)
        for t, s in zip(times, times[1:], strict=False):
            residual = self.cut(self.ask(network, x, x_in, t))
            x = self.last(x, x_in, residual, t) if s < 0 else self.move(x, x_in, residual, t, s)
        return self.write(x)

    def read(self, degraded):
        return 2 * degraded - 1

    def start(self, x_in, noise, start_std):
        return (1 - self.dbar[-1]) * x_in + start_std * noise

    def time(self, t, x):
        return torch.full((len(x),), self.abar[t] * self.T, dtype=x.dtype)

    def ask(self, network, x, x_in, t):
        return network(torch.cat([x, x_in], dim=1), self.time(t, x))

    def cut(self, residual):
        return residual.clamp(-1, 1)

    def move(self, x, x_in, residual, t, s):
        return x - (self.abar[t] - self.abar[s]) * residual + (self.dbar[t] - self.dbar[s]) * x_in

    def last(self, x, x_in, residual, t):
        return (x_in - residual).clamp(-1, 1)

    def write(self, x):
        return (x + 1) / 2


def add(name, words="", **methods):
    """A wrong answer from the pieces that differ."""
    kind = type(name, (Walk,), methods)

    def sample(network, degraded, times, noise, abar, dbar, start_std):
        return kind().call(network, degraded, times, noise, abar, dbar, start_std)

    sample.__name__ = name
    mutant(words)(sample)


# the doors
add("input_not_scaled", "\\[-1, 1\\]|2 \\*|scale|range", read=lambda self, degraded: degraded)
add("result_not_scaled_back", "\\[-1, 1\\]", write=lambda self, x: x)
add("result_clamped_only", "\\[-1, 1\\]", write=lambda self, x: x.clamp(0, 1))
add("nothing_scaled", read=lambda self, degraded: degraded, write=lambda self, x: x.clamp(0, 1))
add("centred_only", read=lambda self, degraded: degraded - 0.5, write=lambda self, x: x + 0.5)
add("result_stretched_to_its_range", write=lambda self, x: (x - x.min()) / (x.max() - x.min()))
add("result_cut_to_8_bits", write=lambda self, x: ((x + 1) * 127.5).round() / 255)
add("result_in_half_precision", write=lambda self, x: ((x + 1) / 2).bfloat16().to(x.dtype))
add("result_in_double_precision", "float64|double|dtype|float32", write=lambda self, x: (x.double() + 1) / 2)

# the start
add("start_at_the_input", "start|dbar|delta|shared", start=lambda self, x_in, noise, std: x_in + std * noise)
add("start_from_noise_alone", "start", start=lambda self, x_in, noise, std: std * noise)
add("start_without_noise", "start|noise", start=lambda self, x_in, noise, std: (1 - self.dbar[-1]) * x_in)
add("start_of_full_noise", "start|std|noise", start=lambda self, x_in, noise, std: (1 - self.dbar[-1]) * x_in + noise)
add("start_of_a_tenth", start=lambda self, x_in, noise, std: (1 - self.dbar[-1]) * x_in + 0.1 * noise)
add("start_with_the_variance", start=lambda self, x_in, noise, std: (1 - self.dbar[-1]) * x_in + std**2 * noise)
add("start_with_the_root", start=lambda self, x_in, noise, std: (1 - self.dbar[-1]) * x_in + std**0.5 * noise)
add("start_with_what_has_faded", start=lambda self, x_in, noise, std: self.dbar[-1] * x_in + std * noise)
add("start_not_faded_yet", start=lambda self, x_in, noise, std: (1 - self.dbar[0]) * x_in + std * noise)
add("start_faded_by_abar", start=lambda self, x_in, noise, std: (1 - self.abar[-1]) * x_in + std * noise)
add("start_faded_by_the_root", start=lambda self, x_in, noise, std: (1 - self.dbar[-1]) ** 0.5 * x_in + std * noise)
add("start_faded_noise_and_all", start=lambda self, x_in, noise, std: (1 - self.dbar[-1]) * (x_in + std * noise))
add("start_with_a_sum_once_more", start=lambda self, x_in, noise, std: (1 - min(1, sum(self.dbar))) * x_in + std * noise)
add(
    "start_with_noise_of_its_own",
    "random|every time|noise|start",
    start=lambda self, x_in, noise, std: (1 - self.dbar[-1]) * x_in + std * torch.randn_like(noise),
)
add("start_with_the_first_noise", start=lambda self, x_in, noise, std: (1 - self.dbar[-1]) * x_in + std * noise[:1])
add("start_clamped", start=lambda self, x_in, noise, std: ((1 - self.dbar[-1]) * x_in + std * noise).clamp(-1, 1))

# what the network is told
add("plain_time", "time|abar", time=lambda self, t, x: torch.full((len(x),), t, dtype=x.dtype))
add("whole_plain_time", "time|abar", time=lambda self, t, x: torch.full((len(x),), t))
add("abar_alone", "time|abar", time=lambda self, t, x: torch.full((len(x),), self.abar[t], dtype=x.dtype))
add("abar_by_a_thousand", "time|abar|T", time=lambda self, t, x: torch.full((len(x),), 1000 * self.abar[t], dtype=x.dtype))
add("abar_cut_to_a_whole_number", "time|abar|float", time=lambda self, t, x: torch.full((len(x),), int(self.abar[t] * self.T)))
add("abar_rounded", "time|abar", time=lambda self, t, x: torch.full((len(x),), float(round(self.abar[t] * self.T)), dtype=x.dtype))
add("abar_by_one_less", time=lambda self, t, x: torch.full((len(x),), self.abar[t] * (self.T - 1), dtype=x.dtype))
add("faded_time", time=lambda self, t, x: torch.full((len(x),), self.dbar[t] * self.T, dtype=x.dtype))
add("time_of_what_is_left", time=lambda self, t, x: torch.full((len(x),), (1 - self.abar[t]) * self.T, dtype=x.dtype))
add("time_as_a_number", "\\(B,\\)|shape|time|float", time=lambda self, t, x: self.abar[t] * self.T)
add("time_for_one_image", "\\(B,\\)|shape|time", time=lambda self, t, x: torch.tensor([self.abar[t] * self.T], dtype=x.dtype))
add("time_for_every_pixel", "\\(B,\\)|shape|time", time=lambda self, t, x: torch.full((len(x), 1, 1, 1), self.abar[t] * self.T))
add("input_before_the_state", "order|cat|first", ask=lambda self, net, x, x_in, t: net(torch.cat([x_in, x], 1), self.time(t, x)))
add("state_shown_twice", ask=lambda self, net, x, x_in, t: net(torch.cat([x, x], 1), self.time(t, x)))
add("input_shown_twice", ask=lambda self, net, x, x_in, t: net(torch.cat([x_in, x_in], 1), self.time(t, x)))
add("input_shown_in_0_1", ask=lambda self, net, x, x_in, t: net(torch.cat([x, (x_in + 1) / 2], 1), self.time(t, x)))
add("state_alone", "channel|cat|shape|6", ask=lambda self, net, x, x_in, t: net(x, self.time(t, x)))
add("state_clamped_for_the_network", ask=lambda self, net, x, x_in, t: net(torch.cat([x.clamp(-1, 1), x_in], 1), self.time(t, x)))
add("state_and_input_in_a_batch", ask=lambda self, net, x, x_in, t: net(torch.cat([x, x_in]), self.time(t, x)))


def whole_batch_by_its_first_image(self, net, x, x_in, t):
    residual = net(torch.cat([x[:1], x_in[:1]], 1), self.time(t, x[:1]))
    return residual.expand_as(x)


def mean_over_the_batch(self, net, x, x_in, t):
    return Walk.ask(self, net, x, x_in, t).mean(0, keepdim=True).expand_as(x)


def asked_without_time(self, net, x, x_in, t):
    return net(torch.cat([x, x_in], dim=1))


add("whole_batch_by_its_first_image", ask=whole_batch_by_its_first_image)
add("mean_over_the_batch", ask=mean_over_the_batch)
add("asked_without_time", "argument|t", ask=asked_without_time)
