"""Exercises 04-c and 04-g, the way back: inputs, references, points, and the mistakes that the checks recognise."""

import math

import torch
from torch import Tensor

from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_04_calls import call_posterior, call_step
from course_lib.workbook.lessons.lesson_04_forward import falling, seeded


def _root(value: float) -> float:
    return value**0.5 if value >= 0 else math.nan


# ---- 04-c: the posterior ---------------------------------------------------------------------------------------------


def posterior(x_0: Tensor, x_t: Tensor, t: int, alpha_bar: Tensor) -> tuple[Tensor, float]:
    """Mean (B, C, H, W) and variance of q(x_{t-1} | x_t, x_0). Ho et al. 2020, eq. 6 and 7."""
    bar_t, bar_s = float(alpha_bar[t]), float(alpha_bar[t - 1]) if t > 0 else 1.0
    alpha = bar_t / bar_s
    mean = bar_s**0.5 * (1 - alpha) / (1 - bar_t) * x_0 + alpha**0.5 * (1 - bar_s) / (1 - bar_t) * x_t
    return mean, (1 - bar_s) / (1 - bar_t) * (1 - alpha)


def _inputs_c(seed: int) -> dict:
    g = seeded(seed, 43)
    T, cases = 6 + seed, {}
    for name, t, shape in (
        ("in the middle", 2 + seed % 3, (3, 2, 4, 5)),
        ("the last time", T - 1, (1, 3, 5, 2)),
        ("the first time", 0, (2, 3, 3, 3)),
    ):
        x_0, x_t = (torch.randn(shape, generator=g) for _ in range(2))
        cases[name] = {"x_0": x_0, "x_t": x_t, "t": t, "alpha_bar": falling(T, g)}
    return cases


def _posterior_with(
    clean=lambda a, t, s: s**0.5 * (1 - a) / (1 - t),
    noisy=lambda a, t, s: _root(a) * (1 - s) / (1 - t),
    variance=lambda a, t, s: (1 - s) / (1 - t) * (1 - a),
    before=lambda table, t: float(table[t - 1]) if t else 1.0,
    at=lambda table, t: float(table[t]),
    finish=lambda mean: mean,
):
    """posterior with one step replaced; a, t and s are alpha of the step, alpha-bar at t and alpha-bar before it."""

    def piece(x_0, x_t, t, alpha_bar):
        bar_t, bar_s = at(alpha_bar, t), before(alpha_bar, t)
        levels = bar_t / bar_s, bar_t, bar_s
        return finish(clean(*levels) * x_0 + noisy(*levels) * x_t), variance(*levels)

    return piece


def _clean(a, t, s):
    return s**0.5 * (1 - a) / (1 - t)


def _noisy(a, t, s):
    return _root(a) * (1 - s) / (1 - t)


def _of_single_steps(x_0, x_t, t, alpha_bar):
    alpha = alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    return posterior(x_0, x_t, t, alpha)


_WRAPPED = "At t = 0 there is no alpha_bar[t - 1] (Python's index -1 is the *last* one). Before the first step the picture is clean: 1."
_SWAPPED = "The two factors of the mean are swapped, or the two pictures: x_0 has sqrt(alpha_bar_{t-1}) beta_t."
_ROOTS = "A square root is missing in the mean: sqrt(alpha_bar_{t-1}) before x_0, sqrt(alpha_t) before x_t."

EXERCISE_C = Exercise(
    "04-c", "One step back, if x_0 were known", ("posterior",), {"in the middle": 1, "the last time": 0.5, "the first time": 0.5},
    _inputs_c,
    call_posterior, posterior,
    (
        Mistake("wrapped", _posterior_with(before=lambda table, t: float(table[t - 1])), _WRAPPED),
        Mistake("first time stays", _posterior_with(before=lambda table, t: float(table[max(t - 1, 0)])),
                "At t = 0 what lies before is the clean picture, with alpha_bar = 1: the mean is x_0 and the variance 0."),
        Mistake("beta at the first time", lambda x_0, x_t, t, bars: (x_0, 1 - bars[0]) if t == 0 else posterior(x_0, x_t, t, bars),
                "At t = 0 the variance is 0: x_0 is known, so nothing is left open."),
        Mistake("factors swapped", _posterior_with(_noisy, _clean), _SWAPPED),
        Mistake("pictures swapped", lambda x_0, x_t, t, bars: posterior(x_t, x_0, t, bars), _SWAPPED),
        Mistake("no root before x_0", _posterior_with(lambda a, t, s: s * (1 - a) / (1 - t)), _ROOTS),
        Mistake("no root before x_t", _posterior_with(noisy=lambda a, t, s: a * (1 - s) / (1 - t)), _ROOTS),
        Mistake("no roots", _posterior_with(lambda a, t, s: s * (1 - a) / (1 - t), lambda a, t, s: a * (1 - s) / (1 - t)), _ROOTS),
        Mistake("bar of t before x_0", _posterior_with(lambda a, t, s: t**0.5 * (1 - a) / (1 - t)),
                "Before x_0 stands the alpha_bar of the step *before*, sqrt(alpha_bar_{t-1})."),
        Mistake("bar before x_t", _posterior_with(noisy=lambda a, t, s: t**0.5 * (1 - s) / (1 - t)),
                "Before x_t stands sqrt(alpha_t) of the single step, not of alpha_bar_t."),
        Mistake("bar of s before x_t", _posterior_with(noisy=lambda a, t, s: s**0.5 * (1 - s) / (1 - t)),
                "Before x_t stands sqrt(alpha_t) of the single step, not of alpha_bar_{t-1}."),
        Mistake("bars are alphas", _of_single_steps, "alpha_bar is the product already: use alpha_bar[t] as it is, and alpha_t = "
                "alpha_bar[t] / alpha_bar[t-1]."),
        Mistake("alpha is the bar", _posterior_with(lambda a, t, s: _clean(t, t, s), lambda a, t, s: _noisy(t, t, s),
                lambda a, t, s: 1 - s), "alpha_t is that of the single step: alpha_bar[t] / alpha_bar[t - 1]."),
        Mistake("beta", _posterior_with(variance=lambda a, t, s: 1 - a),
                "The variance is beta_t. That is the forward step's; knowing x_0 makes it smaller: times (1 - alpha_bar_{t-1}) / (1 - "
                "alpha_bar_t)."),
        Mistake("fraction turned over", _posterior_with(variance=lambda a, t, s: (1 - t) / (1 - s) * (1 - a) if s < 1 else math.nan),
                "The fraction in the variance is turned over: (1 - alpha_bar_{t-1}) is above, and it makes the variance smaller than "
                "beta_t."),
        Mistake("standard deviation", _posterior_with(variance=lambda a, t, s: _root((1 - s) / (1 - t) * (1 - a))),
                "This is the standard deviation; return the variance."),
        Mistake("variance squared", _posterior_with(variance=lambda a, t, s: ((1 - s) / (1 - t) * (1 - a)) ** 2),
                "The variance was squared."),
        Mistake("logarithm", _posterior_with(variance=lambda a, t, s: math.log(max((1 - s) / (1 - t) * (1 - a), 1e-20))),
                "This is the logarithm of the variance, as some code keeps it. Return the variance."),
        Mistake("variance of q", _posterior_with(variance=lambda a, t, s: 1 - t),
                "That is the variance of q(x_t | x_0), not of the step back."),
        Mistake("variance of q before", _posterior_with(variance=lambda a, t, s: 1 - s),
                "That is the variance of q(x_{t-1} | x_0). Knowing x_t as well makes it smaller: times beta_t / (1 - alpha_bar_t)."),
        Mistake("no variance", _posterior_with(variance=lambda a, t, s: 0.0), "The variance is 0 everywhere; it is only at t = 0."),
        Mistake("minus", _posterior_with(noisy=lambda a, t, s: -_noisy(a, t, s)), "x_t is subtracted: both parts of the mean are added."),
        Mistake("x_0 alone", _posterior_with(lambda a, t, s: s**0.5, lambda a, t, s: 0.0),
                "That is the mean of q(x_{t-1} | x_0): x_t has no effect, though it is known, too."),
        Mistake("x_0 left out", _posterior_with(lambda a, t, s: 0.0), "x_0 has no effect on the mean."),
        Mistake("x_t left out", _posterior_with(noisy=lambda a, t, s: 0.0), "x_t has no effect on the mean."),
        Mistake("beta forgotten", _posterior_with(lambda a, t, s: s**0.5 / (1 - t)), "beta_t is missing before x_0."),
        Mistake("not divided", _posterior_with(lambda a, t, s: s**0.5 * (1 - a), lambda a, t, s: _root(a) * (1 - s)),
                "Both parts of the mean are divided by 1 - alpha_bar_t."),
        Mistake("divided by the root", _posterior_with(lambda a, t, s: s**0.5 * (1 - a) / (1 - t) ** 0.5,
                lambda a, t, s: _root(a) * (1 - s) / (1 - t) ** 0.5),
                "The mean is divided by 1 - alpha_bar_t itself, not by its root."),
        Mistake("a step late", lambda x_0, x_t, t, bars: posterior(x_0, x_t, min(t + 1, len(bars) - 1), bars),
                "Everything is one step late: t counts from 0, so alpha_bar[t] and alpha_bar[t - 1] are the two."),
        Mistake("a step early", lambda x_0, x_t, t, bars: posterior(x_0, x_t, max(t - 1, 0), bars),
                "Everything is one step early: t counts from 0, so alpha_bar[t] and alpha_bar[t - 1] are the two."),
        Mistake("clipped", _posterior_with(finish=lambda mean: mean.clamp(-1, 1)), "The mean was cut to [-1, 1]: it must not be."),
        Mistake("x_0 clipped", lambda x_0, x_t, t, bars: posterior(x_0.clamp(-1, 1), x_t, t, bars),
                "x_0 was cut to [-1, 1]. A sampler does this before; the posterior takes x_0 as it comes."),
    ),
    tolerance=1e-5,
)  # fmt: skip

# ---- 04-g: DDIM ------------------------------------------------------------------------------------------------------


def ddim_step(x_t: Tensor, epsilon: Tensor, bar_t: float, bar_s: float, eta: float, z: Tensor) -> Tensor:
    """x_s (B, C, H, W) from x_t, the noise in it, and fresh noise z. Song et al. 2021, eq. 12 and 16."""
    sigma = eta * ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)) ** 0.5
    x_0 = (x_t - (1 - bar_t) ** 0.5 * epsilon) / bar_t**0.5
    return bar_s**0.5 * x_0 + max(0.0, 1 - bar_s - sigma**2) ** 0.5 * epsilon + sigma * z


def _inputs_g(seed: int) -> dict:
    g = seeded(seed, 47)
    cases = {}
    for name, shape, eta in (
        ("eta 0", (2, 3, 4, 5), 0.0),
        ("eta 1", (3, 3, 3, 3), 1.0),
        ("eta between", (1 + seed % 2, 2, 5, 3), 0.35 + 0.1 * (seed % 4)),
        ("from nearly pure noise", (2, 3, 5, 4), 0.0),
        ("the last step", (2, 3, 3, 4), 0.6),
    ):
        x_t, epsilon, z = (torch.randn(shape, generator=g) for _ in range(3))
        low, high = torch.rand(2, generator=g, dtype=torch.float64).tolist()
        bar_t, bar_s = 0.1 + 0.3 * low, 0.5 + 0.4 * high
        if name == "from nearly pure noise":  # where a chain begins
            bar_t, bar_s = 4e-4 + 4e-4 * low, 0.01 + 0.02 * high
        elif name == "the last step":
            bar_t, bar_s = 0.9 + 0.09 * low, 1.0
        cases[name] = {"x_t": x_t, "epsilon": epsilon, "bar_t": bar_t, "bar_s": bar_s, "eta": eta, "z": z}
    return cases


def _sigma(t, s, eta):
    return eta * _root((1 - s) / (1 - t) * (1 - t / s))


def _ddim_with(
    sigma=_sigma,
    clean=lambda x, e, t: (x - (1 - t) ** 0.5 * e) / t**0.5,
    signal=lambda s: s**0.5,
    rest=lambda t, s, sigma: _root(max(0.0, 1 - s - sigma**2)),
    noise=lambda sigma, eta: sigma,
    finish=lambda x: x,
):
    """ddim_step with one step replaced."""

    def piece(x_t, epsilon, bar_t, bar_s, eta, z):
        add = sigma(bar_t, bar_s, eta)
        x_0 = clean(x_t, epsilon, bar_t)
        return finish(signal(bar_s) * x_0 + rest(bar_t, bar_s, add) * epsilon + noise(add, eta) * z)

    return piece


_SIGMA = "sigma is not right (eq. 16): eta sqrt((1 - bar_s) / (1 - bar_t)) sqrt(1 - bar_t / bar_s)."

EXERCISE_G = Exercise(
    "04-g", "A DDIM step", ("ddim_step",),
    {"eta 0": 0.5, "eta 1": 0.5, "eta between": 1, "from nearly pure noise": 0.5, "the last step": 0.5},
    _inputs_g, call_step, ddim_step,
    (
        Mistake("eta ignored", _ddim_with(lambda t, s, eta: _sigma(t, s, 1.0)),
                "eta has no effect, as if it were 1: sigma = eta times ..."),
        Mistake("no noise", _ddim_with(lambda t, s, eta: 0.0), "eta has no effect, as if it were 0: the step adds sigma z."),
        Mistake("eta squared", _ddim_with(lambda t, s, eta: _sigma(t, s, eta**2)), "eta was squared: sigma is proportional to eta."),
        Mistake("root of eta", _ddim_with(lambda t, s, eta: _sigma(t, s, eta**0.5)),
                "eta stands under the root in your sigma; it stands before it."),
        Mistake("z not scaled", _ddim_with(noise=lambda sigma, eta: 1.0), "z is added whole: it must be multiplied by sigma."),
        Mistake("z scaled by eta", _ddim_with(noise=lambda sigma, eta: eta), "z is multiplied by eta: it must be multiplied by sigma."),
        Mistake("z scaled twice", _ddim_with(noise=lambda sigma, eta: eta * sigma), "z is multiplied by eta twice: sigma has it already."),
        Mistake("z scaled by the variance", _ddim_with(noise=lambda sigma, eta: sigma**2),
                "z is multiplied by sigma^2, the variance. Multiply by the standard deviation, sigma."),
        Mistake("z left out", _ddim_with(noise=lambda sigma, eta: 0.0), "z is missing: the step ends with + sigma z."),
        Mistake("z subtracted", _ddim_with(noise=lambda sigma, eta: -sigma), "sigma z is added, not subtracted."),
        Mistake("sigma squared", _ddim_with(lambda t, s, eta: _sigma(t, s, eta) ** 2),
                "Your sigma is the variance: the square root is missing."),
        Mistake("noise on top", _ddim_with(rest=lambda t, s, sigma: _root(1 - s)),
                "The noise comes on top of all that was there. The old noise must shrink to make room: sqrt(1 - bar_s - sigma^2) epsilon."),
        Mistake("sigma in place of its square", _ddim_with(rest=lambda t, s, sigma: _root(max(0.0, 1 - s - sigma))),
                "Under the root stands sigma, but it must be sigma^2: variances are what adds up."),
        Mistake("sigma outside", _ddim_with(rest=lambda t, s, sigma: _root(1 - s) - sigma),
                "sigma was subtracted outside the root: sqrt(1 - bar_s - sigma^2)."),
        Mistake("sigma added", _ddim_with(rest=lambda t, s, sigma: _root(1 - s + sigma**2)), "sigma^2 is subtracted under the root."),
        Mistake("no root before epsilon", _ddim_with(rest=lambda t, s, sigma: max(0.0, 1 - s - sigma**2)),
                "The root before epsilon is missing: sqrt(1 - bar_s - sigma^2)."),
        Mistake("level of t", _ddim_with(rest=lambda t, s, sigma: _root(max(0.0, 1 - t - sigma**2))),
                "The noise that stays is that of the new level: sqrt(1 - bar_s - sigma^2), with bar_s."),
        Mistake("epsilon left out", _ddim_with(rest=lambda t, s, sigma: 0.0),
                "The second part is missing, sqrt(1 - bar_s - sigma^2) epsilon: the noise that stays."),
        Mistake("epsilon subtracted", _ddim_with(rest=lambda t, s, sigma: -_root(max(0.0, 1 - s - sigma**2))),
                "The noise that stays is added, not subtracted."),
        Mistake("scaled by bar_t", lambda x, e, t, s, eta, z: _ddim_with(signal=lambda s: t**0.5)(x, e, t, s, eta, z),
                "x_0 is multiplied by sqrt(bar_t); the new level is bar_s."),
        Mistake("level of t everywhere", lambda x, e, t, s, eta, z: _ddim_with(
                    signal=lambda s: t**0.5, rest=lambda t, s, sigma: _root(max(0.0, 1 - t - sigma**2)))(x, e, t, s, eta, z),
                "The new picture has the level of the old one: its two parts need bar_s, sqrt(bar_s) and sqrt(1 - bar_s - sigma^2)."),
        Mistake("x_0 not scaled", _ddim_with(signal=lambda s: 1.0), "x_0 has no factor: sqrt(bar_s)."),
        Mistake("no root before x_0", _ddim_with(signal=lambda s: s), "The root of bar_s before x_0 is missing."),
        Mistake("x_t in place of x_0", _ddim_with(clean=lambda x, e, t: x),
                "x_t stands where x_0 belongs: take the noise out of it first."),
        Mistake("x_0 not divided", _ddim_with(clean=lambda x, e, t: x - (1 - t) ** 0.5 * e),
                "The estimate of x_0 must be divided by sqrt(bar_t)."),
        Mistake("x_0 divided by bar_t", _ddim_with(clean=lambda x, e, t: (x - (1 - t) ** 0.5 * e) / t),
                "The estimate of x_0 is divided by bar_t: the root is missing."),
        Mistake("variance in x_0", _ddim_with(clean=lambda x, e, t: (x - (1 - t) * e) / t**0.5),
                "In the estimate of x_0 the root of 1 - bar_t is missing."),
        Mistake("no roots in x_0", _ddim_with(clean=lambda x, e, t: (x - (1 - t) * e) / t),
                "Both roots are missing in the estimate of x_0."),
        Mistake("noise added in x_0", _ddim_with(clean=lambda x, e, t: (x + (1 - t) ** 0.5 * e) / t**0.5),
                "The noise was added in the estimate of x_0; it must be taken away."),
        Mistake("half divided", _ddim_with(clean=lambda x, e, t: x - (1 - t) ** 0.5 * e / t**0.5),
                "Only the noise was divided by sqrt(bar_t): brackets, (x_t - sqrt(1 - bar_t) epsilon) / sqrt(bar_t)."),
        Mistake("clipped x_0", _ddim_with(clean=lambda x, e, t: ((x - (1 - t) ** 0.5 * e) / t**0.5).clamp(-1, 1)),
                "The estimate of x_0 was cut to [-1, 1]. Samplers often do; this piece must not, for it serves latents as well."),
        Mistake("clipped", _ddim_with(finish=lambda x: x.clamp(-1, 1)), "The result was cut to [-1, 1]: noisy pictures leave that range."),
        Mistake("variance of the step", _ddim_with(lambda t, s, eta: eta * _root(1 - t / s)),
                "Your sigma is that of the forward step, sqrt(1 - bar_t / bar_s); the factor sqrt((1 - bar_s) / (1 - bar_t)) is missing."),
        Mistake("first factor alone", _ddim_with(lambda t, s, eta: eta * _root((1 - s) / (1 - t))), _SIGMA),
        Mistake("second factor without root", _ddim_with(lambda t, s, eta: eta * _root((1 - s) / (1 - t)) * (1 - t / s)), _SIGMA),
        Mistake("first factor without root", _ddim_with(lambda t, s, eta: eta * (1 - s) / (1 - t) * _root(1 - t / s)), _SIGMA),
        Mistake("bars are alphas", _ddim_with(lambda t, s, eta: eta * _root((1 - s) / (1 - t) * (1 - t))), _SIGMA),
        Mistake("difference of the bars", _ddim_with(lambda t, s, eta: eta * _root((1 - s) / (1 - t) * (s - t))), _SIGMA),
        Mistake("first factor turned over", _ddim_with(lambda t, s, eta: eta * _root((1 - t) / max(1 - s, 1e-12) * (1 - t / s))), _SIGMA),
        Mistake("all that is left", _ddim_with(lambda t, s, eta: eta * _root(1 - s)), _SIGMA),
        Mistake("no roots anywhere", _ddim_with(clean=lambda x, e, t: (x - (1 - t) * e) / t, signal=lambda s: s,
                rest=lambda t, s, sigma: max(0.0, 1 - s - sigma**2)), "The roots are missing: bar_t and bar_s are shares of the variance."),
    ),
    keep_dtype=True,
)  # fmt: skip
