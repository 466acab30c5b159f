"""Exercises of lesson 00, orientation. Here 00-d to 00-f; noise, PSNR and SSIM stand in `lesson_00_pieces.py`."""

import torch
import torch.nn.functional as F

from course_lib.workbook.adapters import call_values
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_00_pieces import EXERCISE_A, EXERCISE_B, EXERCISE_C, seeded

# ---- 00-d: haze ------------------------------------------------------------------------------------------------------


def haze(clean, distance, beta, air_light):
    """(B, 3, H, W), (B, 1, H, W) -> hazy (B, 3, H, W): clean t + A (1 - t) with t = exp(-beta distance)."""
    transmission = torch.exp(-beta * distance)
    return clean * transmission + air_light * (1 - transmission)


def _inputs_d(seed: int) -> dict:
    g = seeded(seed, 4)
    clean, distance = torch.rand(2, 3, 6, 8, generator=g), torch.rand(2, 1, 6, 8, generator=g)
    beta, air = (0.6 + float(torch.rand((), generator=g)) for _ in range(2))
    return {
        "the scene fades": {"clean": clean, "distance": distance, "beta": 4 * beta, "air_light": 0.0},  # black air: no veil
        "the air shines": {"clean": clean, "distance": distance, "beta": beta + 0.7, "air_light": 0.6 * air},
    }


def _haze_with(transmission=lambda d, b: torch.exp(-b * d), mix=lambda c, t, a: c * t + a * (1 - t)):
    return lambda clean, distance, beta, air_light: mix(clean, transmission(distance, beta), air_light)


EXERCISE_D = Exercise(
    "00-d", "Haze", ("haze",), {"the scene fades": 1, "the air shines": 1}, _inputs_d, call_values, haze,
    (
        Mistake("swapped", _haze_with(mix=lambda c, t, a: c * (1 - t) + a * t),
                "The shares of scene and air are swapped: t = exp(-beta * distance) is the share of the *scene*, 1 - t what the air adds."),
        Mistake("grows", _haze_with(lambda d, b: torch.exp(b * d)),
                "The exponent has the wrong sign: with distance less light arrives, so t = exp(-beta * distance) falls from 1."),
        Mistake("no veil", _haze_with(mix=lambda c, t, a: c * t),
                "The scene fades, but to black. Haze is bright: the air adds air_light * (1 - t)."),
        Mistake("veil everywhere", _haze_with(mix=lambda c, t, a: c * t + a),
                "The whole air light is added everywhere. Near things have hardly any air before them: weight it by 1 - t."),
        Mistake("veil only", _haze_with(mix=lambda c, t, a: c + a * (1 - t)),
                "The veil is there, but the scene behind it does not fade: multiply clean by t."),
        Mistake("linear", _haze_with(lambda d, b: 1 - b * d),
                "1 - beta * distance is only the beginning of the exponential: it goes below nought for far things. Use torch.exp."),
        Mistake("clipped line", _haze_with(lambda d, b: (1 - b * d).clamp(0, 1)),
                "A straight line is not the exponential: each metre takes the same *share* of what is left. Use torch.exp."),
        Mistake("no exponential", _haze_with(lambda d, b: b * d), "beta * distance is the exponent only: t = torch.exp(-beta * distance)."),
        Mistake("beta outside", _haze_with(lambda d, b: b * torch.exp(-d)), "beta belongs inside the exponent: exp(-beta * distance)."),
        Mistake("distance squared", _haze_with(lambda d, b: torch.exp(-b * d**2)), "No square on the distance: exp(-beta * distance)."),
        Mistake("brackets", _haze_with(mix=lambda c, t, a: c * t + a * 1 - t), "Brackets are missing: air_light * (1 - t)."),
        Mistake("subtracted", _haze_with(mix=lambda c, t, a: c * t - a * (1 - t)),
                "The air *adds* light: a plus before air_light * (1 - t)."),
        Mistake("a tenth left", _haze_with(lambda d, b: torch.exp(-b * d).clamp_min(0.1)),
                "You keep t above a tenth, as the dark channel prior does against a division. Here it may fall to nought."),
        Mistake("same everywhere", _haze_with(lambda d, b: torch.exp(-b * d.mean((2, 3), keepdim=True))),
                "You took the mean distance, so the haze is the same everywhere. Every pixel has its own distance."),
        Mistake("same everywhere in the batch", _haze_with(lambda d, b: torch.exp(-b * d.mean())),
                "You took one mean distance for everything. Every pixel has its own distance."),
        Mistake("beta forgotten", _haze_with(lambda d, b: torch.exp(-d)), "beta has no effect: t = exp(-beta * distance)."),
        Mistake("divided", _haze_with(lambda d, b: torch.exp(-d / b)), "A larger beta is a thicker haze: multiply by beta, not divide."),
        Mistake("distance outside", _haze_with(lambda d, b: torch.exp(torch.tensor(-b)) * d),
                "The distance belongs into the exponent: t = exp(-beta * distance)."),
        Mistake("nearness", _haze_with(lambda d, b: torch.exp(-b * (1 - d))),
                "Here `distance` is 0 near and 1 far, so it goes into the exponent as it is; yours makes the near things hazy."),
        Mistake("there and back", _haze_with(lambda d, b: torch.exp(-2 * b * d)),
                "The light passes the air once, from the thing to the camera: beta * distance, without a factor 2."),
        Mistake("squared", _haze_with(lambda d, b: torch.exp(-(b * d) ** 2)), "No square in the exponent: exp(-beta * distance)."),
        Mistake("base two", _haze_with(lambda d, b: 2 ** (-b * d)), "The base is e: torch.exp(-beta * distance)."),
        Mistake("transmission alone", _haze_with(mix=lambda c, t, a: t), "That is the transmission; now mix scene and air with it."),
    ),
)  # fmt: skip

# ---- 00-e: a night in the haze ---------------------------------------------------------------------------------------


def night_haze(clean, illumination, gamma, noise, transmission, air_light):
    """CDD-11's low_haze: darken by a power of the illumination, add noise, clip, then lay the haze over all of it."""
    night = (clean / illumination * illumination**gamma + noise).clamp(0, 1)
    return (night * transmission + air_light * (1 - transmission)).clamp(0, 1)


def _inputs_e(seed: int) -> dict:
    g = seeded(seed, 5)
    illumination = 0.15 + 0.8 * torch.rand(2, 1, 6, 8, generator=g)
    clean = (illumination * (0.1 + 1.3 * torch.rand(2, 3, 6, 8, generator=g))).clamp(max=1)  # an estimate may lie below the picture
    noise = 0.15 * torch.randn(2, 3, 6, 8, generator=g)  # strong, so that the clipping in the middle shows
    transmission = 0.2 + 0.7 * torch.rand(2, 1, 6, 8, generator=g)
    gamma, air = 2 + float(torch.rand((), generator=g)), 0.6 + 0.3 * float(torch.rand((), generator=g))
    none, clear = torch.zeros_like(noise), torch.ones_like(transmission)
    night = {"clean": clean, "illumination": illumination, "gamma": gamma}
    return {
        "darkness": {**night, "noise": none, "transmission": clear, "air_light": air},
        "noise": {**night, "noise": noise, "transmission": clear, "air_light": air},
        "haze last": {**night, "noise": noise, "transmission": transmission, "air_light": air},
    }


def _dark(clean, light, gamma):
    return clean / light * light**gamma


def _veil(image, t, air):
    return image * t + air * (1 - t)


EXERCISE_E = Exercise(
    "00-e", "A night in the haze", ("night_haze",), {"darkness": 1, "noise": 1, "haze last": 1}, _inputs_e, call_values, night_haze,
    (
        Mistake("haze first", lambda c, L, g, n, t, a: (_dark(_veil(c, t, a), L, g) + n).clamp(0, 1),
                "You lay the haze first and darken it with the rest. In CDD-11 haze is the last step: the air light stays bright and lies "
                "over the noise, too."),
        Mistake("noise last", lambda c, L, g, n, t, a: (_veil(_dark(c, L, g).clamp(0, 1), t, a) + n).clamp(0, 1),
                "The noise comes after the haze. In CDD-11 it comes with the low light, so the haze covers part of it."),
        Mistake("noise first", lambda c, L, g, n, t, a: _veil(_dark(c + n, L, g).clamp(0, 1), t, a),
                "The noise is darkened with the picture. It is made in the sensor, so it is added after the darkening."),
        Mistake("no clipping", lambda c, L, g, n, t, a: _veil(_dark(c, L, g) + n, t, a).clamp(0, 1),
                "Clip to [0, 1] after the noise, *before* the haze: the low-light step ends with a stored picture."),
        Mistake("clipped below only", lambda c, L, g, n, t, a: _veil((_dark(c, L, g) + n).clamp(min=0), t, a),
                "Clip at both ends, .clamp(0, 1): noise may also lift a bright pixel above white."),
        Mistake("clipped above only", lambda c, L, g, n, t, a: _veil((_dark(c, L, g) + n).clamp(max=1), t, a),
                "Clip at both ends, .clamp(0, 1): noise makes many dark pixels negative."),
        Mistake("reflectance clipped", lambda c, L, g, n, t, a: _veil(((c / L).clamp(0, 1) * L**g + n).clamp(0, 1), t, a),
                "You clip the reflectance clean / illumination. Nothing is clipped before the noise is added."),
        Mistake("never clipped", lambda c, L, g, n, t, a: _veil(_dark(c, L, g) + n, t, a),
                "The low-light step ends with a stored picture: clip to [0, 1] after adding the noise, before the haze."),
        Mistake("not divided", lambda c, L, g, n, t, a: _veil((c * L**g + n).clamp(0, 1), t, a),
                "The picture already holds its light once: divide by the illumination before you multiply by its power."),
        Mistake("power of the picture", lambda c, L, g, n, t, a: _veil((c**g + n).clamp(0, 1), t, a),
                "The power is taken of the *illumination*, not of the picture; else the colours of things change as well."),
        Mistake("root", lambda c, L, g, n, t, a: _veil((_dark(c, L, 1 / g) + n).clamp(0, 1), t, a),
                "The exponent is gamma, not 1 / gamma: a power above 1 darkens."),
        Mistake("power of the reflectance", lambda c, L, g, n, t, a: _veil(((c / L) ** g * L + n).clamp(0, 1), t, a),
                "The power belongs to the illumination, not to the reflectance clean / illumination."),
        Mistake("minus gamma", lambda c, L, g, n, t, a: _veil((_dark(c, L, -g) + n).clamp(0, 1), t, a),
                "You divide by the power as well (or raise to -gamma): divide by the illumination, *multiply* by illumination ** gamma."),
        Mistake("mean illumination",
                lambda c, L, g, n, t, a: _veil((_dark(c, L.mean((2, 3), keepdim=True), g) + n).clamp(0, 1), t, a),
                "You took the mean of the illumination. Every pixel has its own: use the map as it is."),
        Mistake("exponential", lambda c, L, g, n, t, a: _veil((_dark(c, L, g) + n).clamp(0, 1), torch.exp(-t), a),
                "The transmission is handed over ready: no exponential of it."),
        Mistake("brackets", lambda c, L, g, n, t, a: ((_dark(c, L, g) + n).clamp(0, 1) * t + a * 1 - t).clamp(0, 1),
                "Brackets are missing: air_light * (1 - transmission)."),
        Mistake("brackets, unclipped", lambda c, L, g, n, t, a: (_dark(c, L, g) + n).clamp(0, 1) * t + a * 1 - t,
                "Brackets are missing in the veil: air_light * (1 - transmission)."),
        Mistake("all the air", lambda c, L, g, n, t, a: ((_dark(c, L, g) + n).clamp(0, 1) * t + a).clamp(0, 1),
                "The whole air light is added everywhere: weight it, air_light * (1 - transmission)."),
        Mistake("all the air, unclipped", lambda c, L, g, n, t, a: (_dark(c, L, g) + n).clamp(0, 1) * t + a,
                "All of the air light is added everywhere: weight it, air_light * (1 - transmission)."),
        Mistake("brighter", lambda c, L, g, n, t, a: _veil((c / L**g + n).clamp(0, 1), t, a),
                "Divide by the illumination itself and *multiply* by its power; yours brightens the picture."),
        Mistake("reflectance", lambda c, L, g, n, t, a: _veil((c / L + n).clamp(0, 1), t, a),
                "That is the picture without any light (the reflectance). Multiply it by illumination ** gamma."),
        Mistake("times gamma", lambda c, L, g, n, t, a: _veil((c / L * (L * g) + n).clamp(0, 1), t, a),
                "gamma is an exponent: illumination ** gamma."),
        Mistake("no darkness", lambda c, L, g, n, t, a: _veil((c + n).clamp(0, 1), t, a),
                "The picture is not darkened: clean / illumination * illumination ** gamma comes first."),
        Mistake("no noise", lambda c, L, g, n, t, a: _veil(_dark(c, L, g).clamp(0, 1), t, a),
                "The noise is not used: add it to the darkened picture."),
        Mistake("subtracted", lambda c, L, g, n, t, a: _veil((_dark(c, L, g) - n).clamp(0, 1), t, a), "Add the noise; yours subtracts it."),
        Mistake("no haze", lambda c, L, g, n, t, a: (_dark(c, L, g) + n).clamp(0, 1),
                "The haze is missing: night * transmission + air_light * (1 - transmission)."),
        Mistake("no veil", lambda c, L, g, n, t, a: (_dark(c, L, g) + n).clamp(0, 1) * t,
                "The scene fades to black; the air is bright: add air_light * (1 - transmission)."),
        Mistake("swapped", lambda c, L, g, n, t, a: _veil((_dark(c, L, g) + n).clamp(0, 1), 1 - t, a),
                "The two shares of the haze are swapped: the scene gets the transmission, the air the rest."),
        Mistake("dark air", lambda c, L, g, n, t, a: _veil((_dark(c, L, g) + n).clamp(0, 1), t, a * L**g),
                "You darken the air light as well. In CDD-11 it keeps its brightness, because haze is the last step."),
        Mistake("dark air by its share", lambda c, L, g, n, t, a: _veil((_dark(c, L, g) + n).clamp(0, 1), t, a * L ** (g - 1)),
                "The air light is darkened with the picture. In CDD-11 it stays bright: haze is the last step."),
    ),
)  # fmt: skip

# ---- 00-f: one gradient step of a filter -----------------------------------------------------------------------------


def _gradient(kernel, noisy, clean, loss=lambda e: e.square().mean(), flip=False):
    own = kernel.detach().clone().requires_grad_()
    with torch.enable_grad():
        error = F.conv2d(noisy, own.flip(-2, -1) if flip else own) - clean
        (gradient,) = torch.autograd.grad(loss(error), own)
    return gradient


def gradient_step(kernel, noisy, clean, rate):
    """kernel (1, 1, k, k), noisy (B, 1, H+k-1, W+k-1), clean (B, 1, H, W) -> the kernel after one step down the mean squared error."""
    return kernel - rate * _gradient(kernel, noisy, clean)


def _inputs_f(seed: int) -> dict:
    g = seeded(seed, 6)
    side = 5 if seed % 2 else 3

    def case(batch, rate):
        clean = torch.rand(batch, 1, 8, 9, generator=g)
        noisy = F.pad(clean, (side // 2,) * 4, mode="replicate")
        noisy = noisy + 0.2 * torch.randn(noisy.shape, generator=g)
        kernel = torch.randn(1, 1, side, side, generator=g) / side
        return {"kernel": kernel, "noisy": noisy, "clean": clean, "rate": rate}

    return {"one picture": case(1, 0.7), "several pictures": case(3, 0.15 + 0.1 * float(torch.rand((), generator=g)))}


def _step_with(scale=lambda g, noisy, rate: rate * g, keep=1.0, **options):
    return lambda kernel, noisy, clean, rate: keep * kernel - scale(_gradient(kernel, noisy, clean, **options), noisy, rate)


def _two_steps(kernel, noisy, clean, rate):
    return gradient_step(gradient_step(kernel, noisy, clean, rate), noisy, clean, rate)


def _towards_the_noise(kernel, noisy, clean, rate):
    r = kernel.shape[-1] // 2
    return gradient_step(kernel, noisy, noisy[..., r:-r, r:-r], rate)


def _sums_to_one(kernel, noisy, clean, rate):
    new = gradient_step(kernel, noisy, clean, rate)
    return new / new.sum()


EXERCISE_F = Exercise(
    "00-f", "One step downhill", ("gradient_step",), {"one picture": 2, "several pictures": 1}, _inputs_f, call_values, gradient_step,
    (
        Mistake("uphill", _step_with(lambda g, n, r: -r * g),
                "The step goes uphill: the gradient points to where the loss grows, so subtract it."),
        Mistake("sum", _step_with(loss=lambda e: e.square().sum()),
                "The loss is the *mean* of the squared errors; you took their sum, and the step is far too long."),
        Mistake("half", _step_with(lambda g, n, r: 0.5 * r * g),
                "The step is half as long as it should be: the derivative of e^2 is 2e."),
        Mistake("gradient alone", lambda k, n, c, r: _gradient(k, n, c),
                "That is the gradient. Return the new kernel: kernel - rate * gradient."),
        Mistake("step alone", lambda k, n, c, r: r * _gradient(k, n, c), "That is the step alone. Return the kernel after it."),
        Mistake("kernel forgotten", _step_with(keep=0.0), "Start from the kernel that was handed over, and take the step from there."),
        Mistake("divided by the rate", _step_with(lambda g, n, r: g / r), "Multiply the gradient by the rate; yours divides by it."),
        Mistake("own rate", _step_with(lambda g, n, r: 0.01 * g), "You use a rate of your own, 0.01. Use the one that is handed over."),
        Mistake("own rate of a tenth", _step_with(lambda g, n, r: 0.1 * g), "You use a rate of your own, 0.1. Use the one handed over."),
        Mistake("not squared", _step_with(loss=lambda e: e.mean()), "The errors are not squared: up and down cancel in their mean."),
        Mistake("squared too late", _step_with(loss=lambda e: e.mean().square()),
                "You square after the mean, when up and down have cancelled. Square each error, then take the mean."),
        Mistake("noise as target",
                lambda k, n, c, r: gradient_step(k, n, n[..., k.shape[-1] // 2 : -(k.shape[-1] // 2),
                                                         k.shape[-1] // 2 : -(k.shape[-1] // 2)] - c, r),
                "Your filter learns to give the *noise* (residual learning). Here its output itself is compared with clean."),
        Mistake("rate forgotten", _step_with(lambda g, n, r: g), "The rate has no effect: the step is rate * gradient."),
        Mistake("absolute error", _step_with(loss=lambda e: e.abs().mean()),
                "That is the gradient of the mean *absolute* error; the loss here is the mean squared error."),
        Mistake("root", _step_with(loss=lambda e: e.square().mean().sqrt()), "The loss is the mean squared error, without a root."),
        Mistake("sum over pictures", _step_with(loss=lambda e: e.square().flatten(1).mean(1).sum()),
                "You average over the pixels of a picture and then *sum* over the pictures: the mean runs over everything."),
        Mistake("flipped", _step_with(flip=True),
                "Your filter is turned by 180 degrees: F.conv2d(noisy, kernel) as it is; no flip is needed."),
        Mistake("learns the noise", _towards_the_noise, "The target is `clean`; yours learns to give the noisy picture back."),
        Mistake("two steps", _two_steps, "Those are two steps. Take one; the loop of the lesson repeats it."),
        Mistake("unit gradient", _step_with(lambda g, n, r: r * g / g.norm()),
                "The gradient was divided by its length. Take it as it is: its length says how far there is to go."),
        Mistake("sums to one", _sums_to_one, "Leave the sum of the kernel alone: training finds it."),
        Mistake("residual", lambda k, n, c, r: gradient_step(k, n, c - n[..., k.shape[-1] // 2 : -(k.shape[-1] // 2),
                                                                        k.shape[-1] // 2 : -(k.shape[-1] // 2)], r),
                "Your filter learns the difference to the noisy picture; here the filtered picture itself is compared with clean."),
        Mistake("unchanged", lambda k, n, c, r: k.clone(), "The kernel comes back unchanged: subtract rate * gradient."),
    ),
    tolerance=1e-5,
)  # fmt: skip

EXERCISES = (EXERCISE_A, EXERCISE_B, EXERCISE_C, EXERCISE_D, EXERCISE_E, EXERCISE_F)
