"""Exercises 05-c and 05-d, what RDDM trains and how: inputs, references, points, and the mistakes that the checks recognise."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.unet_parts import StandardizedConv2d
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_05_calls import call_convolution, call_loss
from course_lib.workbook.lessons.lesson_05_process import images, residual_forward, rising, seeded

# ---- 05-c: weight standardisation ------------------------------------------------------------------------------------


def _inputs_c(seed: int) -> dict:
    g = seeded(seed, 53)
    cases = {}
    size = ((6, 9), (7, 5), (8, 6))[seed % 3]
    for name, init, options, batch in (
        ("a 3x3 layer", [3, 4, 3], {"padding": 1}, 2),
        ("small weights", [4, 4, 1 + 2 * (seed % 2)], {}, 1 + seed % 3),  # beside them eps is large
        # in the order of nn.Conv2d: stride 2 and padding (1, 2) stand fourth and fifth
        ("stride, groups, dilation", [4, 8, (3, 2), 2, (1, 2)], {"dilation": (1, 2), "groups": 4 - 2 * (seed % 2), "bias": False}, 2),
    ):
        layer = StandardizedConv2d(*init, **options)
        filters, *rest = layer.weight.shape
        own = torch.randn(filters, 1, 1, 1, generator=g), 0.3 + torch.rand(filters, 1, 1, 1, generator=g)  # each filter its own
        weight = own[0] + own[1] * torch.randn(filters, *rest, generator=g)
        if name == "small weights":
            weight *= 4e-3
        weights = {"weight": weight} | ({"bias": torch.randn(filters, generator=g)} if options.get("bias", True) else {})
        x = (0.4 + torch.randn(batch, init[0], *size, generator=g)).contiguous(memory_format=torch.channels_last)
        cases[name] = {"init": init, "options": options, "weights": weights, "x": x}
    return cases


def _layer(standard=None, run=None):
    """StandardizedConv2d with one step replaced: `standard(weight)` and `run(layer, x, weight)`."""

    class Variant(nn.Conv2d):
        def forward(self, x):
            weight = (standard or _standard())(self.weight)
            if run:
                return run(self, x, weight)
            return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    return Variant


def _standard(axes=(1, 2, 3), eps=1e-5, correction=0, mean=True, divide=None):
    def piece(w):
        var, middle = torch.var_mean(w, dim=axes, correction=correction, keepdim=True)
        w = w - middle if mean else w
        return divide(w, var) if divide else w / (var + eps).sqrt()

    return piece


def _rerun(**changes):
    """The convolution with some of the layer's settings at their defaults."""

    def run(s, x, w):
        given = {"bias": s.bias, "stride": s.stride, "padding": s.padding, "dilation": s.dilation, "groups": s.groups}
        return F.conv2d(x, w, **(given | changes))

    return run


def _plain(s, x, w):
    return F.conv2d(x, s.weight, s.bias, s.stride, s.padding, s.dilation, s.groups)


def _of_the_input(s, x, w):
    var, mean = torch.var_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
    return _plain(s, (x - mean) / (var + 1e-5).sqrt(), w)


def _after(axes):
    def run(s, x, w):
        y = _plain(s, x, w)
        var, mean = torch.var_mean(y, dim=axes, correction=0, keepdim=True)
        return (y - mean) / (var + 1e-5).sqrt()

    return run


def _detached_statistics(w):
    var, mean = torch.var_mean(w.detach(), dim=(1, 2, 3), correction=0, keepdim=True)
    return (w - mean) / (var + 1e-5).sqrt()


def _detached_variance(w):
    var = w.detach().var(dim=(1, 2, 3), correction=0, keepdim=True)
    return (w - w.mean(dim=(1, 2, 3), keepdim=True)) / (var + 1e-5).sqrt()


_AXES = (
    "The statistics run over the wrong axes. A filter is weight[i], (in, k, k): mean and variance over dim=(1, 2, 3), one each a filter."
)
_SETTINGS = "of the layer has no effect: hand self.stride, self.padding, self.dilation and self.groups to F.conv2d."

EXERCISE_C = Exercise(
    "05-c", "Weight standardisation", ("StandardConv2d",), {"a 3x3 layer": 1, "small weights": 1, "stride, groups, dilation": 1},
    _inputs_c, call_convolution, StandardizedConv2d,
    (
        Mistake("plain", _layer(run=_plain),
                "The weights are used as they are. Standardise them first: subtract the mean, divide by the root."),
        Mistake("mean only", _layer(_standard(divide=lambda w, v: w)),
                "The mean is gone, but the filters keep their size: divide by the root "
                "of (variance + eps)."),
        Mistake("variance only", _layer(_standard(mean=False)), "The mean is not subtracted."),
        Mistake("mean late", _layer(lambda w: w / (w.var(dim=(1, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
                - w.mean(dim=(1, 2, 3), keepdim=True)),
                "The mean was subtracted after the division: subtract it first."),
        Mistake("no root", _layer(_standard(divide=lambda w, v: w / (v + 1e-5))), "You divide by the variance; the root is missing."),
        Mistake("multiplied", _layer(_standard(divide=lambda w, v: w * (v + 1e-5).sqrt())), "Divide by the root, do not multiply."),
        Mistake("sample variance", _layer(_standard(correction=1)),
                "That is the sample variance, divided by n - 1, which torch takes unless told. Here n divides: correction=0."),
        Mistake("no eps", _layer(_standard(eps=0)), "eps is missing: 1e-5 is added to the variance, and for small weights it shows."),
        Mistake("eps outside", _layer(_standard(divide=lambda w, v: w / (v.sqrt() + 1e-5))),
                "eps is added to the standard deviation. It belongs to the variance, inside the root."),
        Mistake("eps as a floor", _layer(_standard(divide=lambda w, v: w / v.clamp(min=1e-5).sqrt())),
                "eps is added to the variance; yours is only a floor for it."),
        Mistake("eps 1e-3", _layer(_standard(eps=1e-3)), "eps is 1e-5, yours is larger."),
        Mistake("eps 1e-6", _layer(_standard(eps=1e-6)), "eps is 1e-5, yours is smaller."),
        Mistake("eps 1e-8", _layer(_standard(eps=1e-8)), "eps is 1e-5, yours is smaller."),
        Mistake("length", _layer(_standard(divide=lambda w, v: w / w.flatten(1).norm(dim=1)[:, None, None, None])),
                "The filters were divided by their length, so that their squares *add up* to 1. Here the *mean* of their squares is 1."),
        Mistake("whole layer", _layer(_standard((0, 1, 2, 3))), "All filters share one mean and one variance. Each filter has its own: "
                "dim=(1, 2, 3)."),
        Mistake("over the filters", _layer(_standard((0,))), _AXES),
        Mistake("input channels", _layer(_standard((0, 2, 3))), _AXES),
        Mistake("kernel", _layer(_standard((2, 3))), _AXES),
        Mistake("channels alone", _layer(_standard((1,))), _AXES),
        Mistake("the input", _layer(run=_of_the_input), "The input was standardised. It is the *weight* that gets mean 0 and variance 1."),
        Mistake("the maps", _layer(run=_after((2, 3))), "The maps were normalised after the convolution; GroupNorm does that. Here the "
                "weights are standardised before it."),
        Mistake("the maps of an image", _layer(run=_after((1, 2, 3))),
                "The maps were normalised after the convolution; GroupNorm does that. "
                "Here the weights are standardised before it."),
        Mistake("the batch", _layer(run=_after((0, 2, 3))), "The maps were normalised after the convolution; GroupNorm does that. Here the "
                "weights are standardised before it."),
        Mistake("no bias", _layer(run=_rerun(bias=None)), "The bias is not used: hand self.bias to F.conv2d."),
        Mistake("no padding", _layer(run=_rerun(padding=0)), f"The padding {_SETTINGS}"),
        Mistake("no stride", _layer(run=_rerun(stride=1)), f"The stride {_SETTINGS}"),
        Mistake("no dilation", _layer(run=_rerun(dilation=1)), f"The dilation {_SETTINGS}"),
        Mistake("statistics detached", _layer(_detached_statistics),
                "The values are right, but mean and variance hold no gradient: they belong to the weight, so do not detach them."),
        Mistake("variance detached", _layer(_detached_variance),
                "The values are right, but the variance holds no gradient: it belongs to the weight, so do not detach it."),
        Mistake("added to the plain one", _layer(lambda w: w + _standard()(w)),
                "The standardised weight was added to the raw one: it takes its place."),
    ),
    keep_dtype=True,
)  # fmt: skip

# ---- 05-d: the loss --------------------------------------------------------------------------------------------------


def rddm_loss(model, x0: Tensor, x_in: Tensor, t: Tensor, noise: Tensor, abar: Tensor, bbar: Tensor) -> Tensor:
    """Mean absolute error of the residual plus that of the noise, which the model sees in the state at times t, 0-d."""
    x_t = residual_forward(x0, x_in, t, noise, abar, bbar)
    residual, epsilon = model(torch.cat([x_t, x_in], dim=1), t)
    return (residual - (x_in - x0)).abs().mean() + (epsilon - noise).abs().mean()


def _inputs_d(seed: int) -> dict:
    g = seeded(seed, 54)
    cases = {}
    for name, (B, C, H, W), T, dtype in (
        ("a square batch", (3, 3, 3, 3), 10, torch.float32),
        ("tables in float64, other sizes", (4, 1, 5, 7) if seed % 2 else (1, 2, 6, 3), 6 + seed % 30, torch.float64),
    ):
        x0, x_in, noise = images(g, B, C, H, W)
        t = torch.randperm(T, generator=g)[:B]
        abar, bbar = rising(g, T, 1.0).to(dtype), rising(g, T, 0.8).to(dtype)
        cases[name] = {"x0": x0, "x_in": x_in, "t": t, "noise": noise, "abar": abar, "bbar": bbar}
        cases[name] |= {"mix": 0.6 * torch.randn(2 * C, 2 * C, generator=g), "time": 0.5 * torch.randn(2 * C, generator=g)}
    return cases


def _l1(got, want):
    return (got - want).abs().mean()


def _loss_with(
    state=residual_forward,
    both=lambda x_t, x_in, x0: torch.cat([x_t, x_in], 1),
    time=lambda t, T: t,
    pair=lambda pair: pair,
    residual=lambda x0, x_in, a: x_in - x0,
    epsilon=lambda noise, b, x0, x_in: noise,
    error=_l1,
    add=lambda first, second: first + second,
):
    """rddm_loss with one step replaced."""

    def piece(model, x0, x_in, t, noise, abar, bbar):
        x_t = state(x0, x_in, t, noise, abar, bbar)
        first, second = pair(model(both(x_t, x_in, x0), time(t, len(abar))))
        a, b = (table[t].to(x0.dtype).reshape(-1, 1, 1, 1) for table in (abar, bbar))
        return add(error(first, residual(x0, x_in, a)), error(second, epsilon(noise, b, x0, x_in)))

    return piece


def _state(formula):
    def state(x0, x_in, t, noise, abar, bbar):
        return formula(x0, x_in, noise, *(table[t].to(x0.dtype).reshape(-1, 1, 1, 1) for table in (abar, bbar)))

    return state


EXERCISE_D = Exercise(
    "05-d", "The loss", ("rddm_loss",), {"a square batch": 1, "tables in float64, other sizes": 1}, _inputs_d, call_loss, rddm_loss,
    (
        Mistake("squares", _loss_with(error=F.mse_loss), "The errors are squared. RDDM takes their absolute values, L1."),
        Mistake("smooth", _loss_with(error=F.smooth_l1_loss), "That is the smooth L1 loss, squares near zero. RDDM's is plain L1."),
        Mistake("roots of mean squares", _loss_with(error=lambda g, w: (g - w).square().mean().sqrt()),
                "That is the root of the mean square. RDDM takes the mean of the absolute values."),
        Mistake("summed up", _loss_with(error=lambda g, w: (g - w).abs().sum()),
                "The errors are added up, so a larger picture has a larger loss: take the mean of each."),
        Mistake("summed up for each image", _loss_with(error=lambda g, w: (g - w).abs().flatten(1).sum(1).mean()),
                "The errors of an image are added up: take the mean over all values, pixels and channels, too."),
        Mistake("signed", _loss_with(error=lambda g, w: (g - w).mean().abs()),
                "The mean came before the absolute value, so that errors of opposite sign cancel."),
        Mistake("no absolute value", _loss_with(error=lambda g, w: (g - w).mean()), "The absolute value is missing: errors cancel."),
        Mistake("mean of the two", _loss_with(add=lambda a, b: (a + b) / 2), "The two losses are added; yours takes their mean."),
        Mistake("residual alone", _loss_with(add=lambda a, b: a), "The noise is missing: its L1 is added."),
        Mistake("noise alone", _loss_with(add=lambda a, b: b), "The residual is missing: its L1 is added."),
        Mistake("difference", _loss_with(add=lambda a, b: a - b), "The two losses are added, not subtracted."),
        Mistake("product", _loss_with(add=lambda a, b: a * b), "The two losses are added, not multiplied."),
        Mistake("residual reversed", _loss_with(residual=lambda x0, x_in, a: x0 - x_in),
                "The residual to predict is degraded minus clean, x_in - x0."),
        Mistake("residual's share", _loss_with(residual=lambda x0, x_in, a: a * (x_in - x0)),
                "The network predicts the whole residual, x_in - x0, not the share abar of it that is in the state."),
        Mistake("clean image", _loss_with(residual=lambda x0, x_in, a: x0),
                "The first output is compared with x0; it is the residual, x_in - x0."),
        Mistake("degraded image", _loss_with(residual=lambda x0, x_in, a: x_in),
                "The first output is compared with x_in; it is x_in - x0."),
        Mistake("noise's share", _loss_with(epsilon=lambda n, b, x0, x_in: b * n),
                "The network predicts the standard normal noise, not bbar times it."),
        Mistake("residual and noise", _loss_with(epsilon=lambda n, b, x0, x_in: x_in - x0 + n),
                "The second output is the noise alone here, not residual plus noise."),
        Mistake("outputs swapped", _loss_with(pair=lambda p: p[::-1]),
                "The outputs are swapped: the residual comes first, then the noise."),
        Mistake("input first", _loss_with(both=lambda x_t, x_in, x0: torch.cat([x_in, x_t], 1)),
                "The degraded image came first. The order is [x_t, x_in]: the shipped weights count on it."),
        Mistake("state twice", _loss_with(both=lambda x_t, x_in, x0: torch.cat([x_t, x_t], 1)),
                "The network gets the state twice. Its second half is the degraded image, x_in."),
        Mistake("input twice", _loss_with(both=lambda x_t, x_in, x0: torch.cat([x_in, x_in], 1)),
                "The network gets the degraded image twice. Its first half is the state, x_t."),
        Mistake("clean image given", _loss_with(both=lambda x_t, x_in, x0: torch.cat([x_t, x0], 1)),
                "The network gets the clean image, which it will not have when it restores: [x_t, x_in]."),
        Mistake("clean image first", _loss_with(state=lambda x0, *rest: x0),
                "The network gets x0 as the state, which it will not have when it restores: make x_t."),
        Mistake("time as a share", _loss_with(time=lambda t, T: t / T), "The time was divided. The network takes t itself."),
        Mistake("time as a share of the last", _loss_with(time=lambda t, T: t / (T - 1)),
                "The time was divided. The network takes t itself."),
        Mistake("time from one", _loss_with(time=lambda t, T: t + 1), "The network gets t + 1; t counts from 0 and stays as it is."),
        Mistake("no time", _loss_with(time=lambda t, T: torch.zeros_like(t)), "The time has no effect: the network gets t."),
        Mistake("time reversed", _loss_with(time=lambda t, T: T - 1 - t), "The network gets the time backwards: hand it t."),
        Mistake("noise not scaled", _loss_with(_state(lambda x0, x_in, n, a, b: x0 + a * (x_in - x0) + n)),
                "In the state the noise is not scaled: x_t = x0 + abar (x_in - x0) + bbar noise."),
        Mistake("no noise", _loss_with(_state(lambda x0, x_in, n, a, b: x0 + a * (x_in - x0))),
                "The state holds no noise: x_t = x0 + abar (x_in - x0) + bbar noise."),
        Mistake("no residual", _loss_with(_state(lambda x0, x_in, n, a, b: x0 + b * n)),
                "The state holds no residual: x_t = x0 + abar (x_in - x0) + bbar noise."),
        Mistake("state's residual reversed", _loss_with(_state(lambda x0, x_in, n, a, b: x0 + a * (x0 - x_in) + b * n)),
                "In the state the residual is reversed: x_t = x0 + abar (x_in - x0) + bbar noise."),
        Mistake("residual reversed in both", _loss_with(_state(lambda x0, x_in, n, a, b: x0 + a * (x0 - x_in) + b * n),
                residual=lambda x0, x_in, a: x0 - x_in),
                "The residual is degraded minus clean, x_in - x0; yours is reversed, in the state and in the loss."),
        Mistake("coefficients swapped", _loss_with(_state(lambda x0, x_in, n, a, b: x0 + b * (x_in - x0) + a * n)),
                "abar and bbar are swapped in the state: x_t = x0 + abar (x_in - x0) + bbar noise."),
        Mistake("from the input", _loss_with(_state(lambda x0, x_in, n, a, b: x_in + a * (x_in - x0) + b * n)),
                "The state starts from x_in: x_t = x0 + abar (x_in - x0) + bbar noise."),
        Mistake("along the wrong axis", _loss_with(lambda x0, x_in, t, n, a, b: x0 + a[t].to(x0) * (x_in - x0) + b[t].to(x0) * n),
                "In the state the times run along the last axis: make abar[t] and bbar[t] (B, 1, 1, 1)."),
    ),
)  # fmt: skip
