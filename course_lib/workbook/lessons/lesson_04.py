"""Exercises of lesson 04, DDPM to DDNM. Here 04-f and 04-h; the others stand in `lesson_04_{forward,backward,network}.py`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_04_backward import EXERCISE_C, EXERCISE_G
from course_lib.workbook.lessons.lesson_04_calls import call_loss, call_operator, operator_of
from course_lib.workbook.lessons.lesson_04_forward import EXERCISE_A, EXERCISE_B, falling, noise_image, seeded
from course_lib.workbook.lessons.lesson_04_network import EXERCISE_D, EXERCISE_E

# ---- 04-f: the loss --------------------------------------------------------------------------------------------------


def simple_loss(model, x_0: Tensor, t: Tensor, epsilon: Tensor, alpha_bar: Tensor) -> Tensor:
    """Mean squared error between epsilon and model(x_t, t), a scalar. Ho et al. 2020, eq. 14."""
    return F.mse_loss(model(noise_image(x_0, t, epsilon, alpha_bar), t), epsilon)


def _inputs_f(seed: int) -> dict:
    g = seeded(seed, 46)
    cases = {}
    for name, (B, C, H, W), T in (
        ("several images", (4, 3, 4, 6), 8 + seed),
        ("as many images as pixels a side", (4, 4, 4, 4), 9),
        ("one image", (1, 2, 3, 5), 6 + seed),
    ):
        t = torch.randint(1, T - 1, (B,), generator=g)
        if B > 1:
            t[:3] = torch.tensor([0, T - 1, 2])
        weight, bias = 1.5 * torch.randn(C, C, generator=g), torch.randn(C, generator=g)
        x_0, epsilon = 2 * torch.rand(B, C, H, W, generator=g) - 1, torch.randn(B, C, H, W, generator=g)
        cases[name] = {"weight": weight, "bias": bias, "x_0": x_0, "t": t, "epsilon": epsilon, "alpha_bar": falling(T, g)}
    return cases


def _loss_with(
    levels=lambda table, t: table[t],
    place=lambda b: b[:, None, None, None],
    factors=lambda b: (b.sqrt(), (1 - b).sqrt()),
    picture=lambda x: x,
    noisy=lambda x: x,
    target=lambda e, x, v: e,
    error=F.mse_loss,
):
    """simple_loss with one step replaced; v is the third thing that a network may be asked for."""

    def piece(model, x_0, t, epsilon, alpha_bar):
        x_0 = picture(x_0)
        signal, noise = (place(f).to(x_0.dtype) for f in factors(levels(alpha_bar, t)))
        return error(model(noisy(signal * x_0 + noise * epsilon), t), target(epsilon, x_0, signal * epsilon - noise * x_0))

    return piece


def _on_clean(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(x_0, t), epsilon)


def _on_noise(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(epsilon, t), epsilon)


def _against_noisy(model, x_0, t, epsilon, alpha_bar):
    x_t = noise_image(x_0, t, epsilon, alpha_bar)
    return F.mse_loss(model(x_t, t), x_t)


def _against_scaled(model, x_0, t, epsilon, alpha_bar):
    x_t = noise_image(x_0, t, epsilon, alpha_bar)
    return F.mse_loss(model(x_t, t), noise_image(torch.zeros_like(x_0), t, epsilon, alpha_bar))


def _without_gradient(model, x_0, t, epsilon, alpha_bar):
    with torch.no_grad():
        return simple_loss(model, x_0, t, epsilon, alpha_bar)


def _weighted(weight):
    def piece(model, x_0, t, epsilon, alpha_bar):
        bar = alpha_bar[t].float()
        error = (model(noise_image(x_0, t, epsilon, alpha_bar), t) - epsilon).square().mean((1, 2, 3))
        return (weight(bar) * error).mean()

    return piece


_LEVEL = "The noise level is not that of t: t counts from 0, so alpha_bar[t] is right as it stands."
_PLACE = "The noise levels ran along another axis of the picture: image b has the time t[b], so give the factors the shape (B, 1, 1, 1)."
_SUM = "The squares were added up. Take their mean over all values, or the loss grows with the picture."

EXERCISE_F = Exercise(
    "04-f", "The simple loss", ("simple_loss",), {"several images": 1, "as many images as pixels a side": 0.5, "one image": 0.5}, _inputs_f,
    call_loss, simple_loss,
    (
        Mistake("no gradient", _without_gradient,
                "The value is right, but the network was called without a gradient: nothing would be learnt."),
        Mistake("absolute error", _loss_with(error=F.l1_loss), "This is the mean absolute error: the loss is the mean of the squares."),
        Mistake("root", _loss_with(error=lambda o, e: F.mse_loss(o, e).sqrt()),
                "A root was taken of the mean of the squares; leave it out."),
        Mistake("half", _loss_with(error=lambda o, e: F.mse_loss(o, e) / 2), "The loss was halved; it is the plain mean of the squares."),
        Mistake("sum", _loss_with(error=lambda o, e: (o - e).square().sum()), _SUM),
        Mistake("sum of an image", _loss_with(error=lambda o, e: (o - e).square().sum((1, 2, 3)).mean()), _SUM),
        Mistake("sum over the channels", _loss_with(error=lambda o, e: (o - e).square().sum(1).mean()), _SUM),
        Mistake("sum over the batch", _loss_with(error=lambda o, e: (o - e).square().sum(0).mean()), _SUM),
        Mistake("norms", _loss_with(error=lambda o, e: (o - e).flatten(1).norm(dim=1).mean()),
                "This is the mean length of the error. The loss is the mean of the squares, without a root."),
        Mistake("first image", _loss_with(error=lambda o, e: F.mse_loss(o[0], e[0])),
                "Only the first image counts: take the mean over all."),
        Mistake("huber", _loss_with(error=F.smooth_l1_loss), "This is smooth L1 (Huber); the loss is the mean of the squares."),
        Mistake("mean before the square", _loss_with(error=lambda o, e: (o - e).mean().square()),
                "The mean was taken before the square, so errors of both signs cancel: first square, then mean."),
        Mistake("mean of an image first", _loss_with(error=lambda o, e: (o - e).mean((1, 2, 3)).square().mean()),
                "The mean was taken before the square, so errors of both signs cancel: first square, then mean."),
        Mistake("target x_0", _loss_with(target=lambda e, x, v: x), "The target is x_0. This network is asked for the noise, epsilon."),
        Mistake("target v", _loss_with(target=lambda e, x, v: v), "The target is v. This network is asked for the noise, epsilon."),
        Mistake("target x_t", _against_noisy, "The target is x_t itself. This network is asked for the noise, epsilon."),
        Mistake("target scaled", _against_scaled,
                "The target is sqrt(1 - alpha_bar) epsilon, the noise as it was added. The network is asked for epsilon itself."),
        Mistake("minus the noise", _loss_with(target=lambda e, x, v: -e), "A sign is wrong: the error is model(x_t, t) - epsilon."),
        Mistake("clean input", _on_clean, "The network saw the clean picture. It must see x_t, the noisy one."),
        Mistake("noise alone", _on_noise, "The network saw epsilon itself. It must see x_t: picture and noise."),
        Mistake("no roots", _loss_with(factors=lambda b: (b, 1 - b)), "The roots of alpha_bar and 1 - alpha_bar are missing in x_t."),
        Mistake("squares", _loss_with(factors=lambda b: (b, (1 - b * b).sqrt())), "In x_t stands alpha_bar for its root, or its square."),
        Mistake("no root of the signal", _loss_with(factors=lambda b: (b, (1 - b).sqrt())), "In x_t the root of alpha_bar is missing."),
        Mistake("no root of the noise", _loss_with(factors=lambda b: (b.sqrt(), 1 - b)), "In x_t the root of 1 - alpha_bar is missing."),
        Mistake("swapped", _loss_with(factors=lambda b: ((1 - b).sqrt(), b.sqrt())), "The two factors of x_t are swapped."),
        Mistake("noise subtracted", _loss_with(factors=lambda b: (b.sqrt(), -(1 - b).sqrt())), "In x_t the noise is subtracted; add it."),
        Mistake("noise not scaled", _loss_with(factors=lambda b: (b.sqrt(), torch.ones_like(b))),
                "In x_t the noise has no factor: sqrt(1 - alpha_bar)."),
        Mistake("single steps", _loss_with(lambda table, t: (table / torch.cat([table.new_ones(1), table[:-1]]))[t]),
                "In x_t stands alpha_t of the single step. alpha_bar_t, the product, is given already."),
        Mistake("a step early", _loss_with(lambda table, t: torch.cat([table.new_ones(1), table])[t]), _LEVEL),
        Mistake("a step early, round the end", _loss_with(lambda table, t: table[t - 1]), _LEVEL),
        Mistake("a step late", _loss_with(lambda table, t: table[(t + 1).clamp(max=len(table) - 1)]), _LEVEL),
        Mistake("first image's time", _loss_with(lambda table, t: table[t[:1]].expand(len(t))),
                "All images got the first one's noise level."),
        Mistake("along the width", _loss_with(place=lambda b: b), _PLACE),
        Mistake("along the height", _loss_with(place=lambda b: b[:, None]), _PLACE),
        Mistake("along the channels", _loss_with(place=lambda b: b[:, None, None]), _PLACE),
        Mistake("range changed", _loss_with(picture=lambda x: 2 * x - 1), "x_0 lies in [-1, 1] already: do not map it there again."),
        Mistake("range undone", _loss_with(picture=lambda x: (x + 1) / 2), "x_0 stays in [-1, 1]: do not map it to [0, 1]."),
        Mistake("clipped", _loss_with(noisy=lambda x: x.clamp(-1, 1)), "x_t was cut to [-1, 1]. Noise leaves that range, and must."),
        Mistake("weighted by the noise", _weighted(lambda bar: 1 - bar), "The times are weighted. In the simple loss all count alike."),
        Mistake("weighted by the signal", _weighted(lambda bar: bar), "The times are weighted. In the simple loss all count alike."),
        Mistake("weighted by the ratio", _weighted(lambda bar: bar / (1 - bar)),
                "The times are weighted. In the simple loss all count alike."),
    ),
)  # fmt: skip

# ---- 04-h: what the measurement says ---------------------------------------------------------------------------------


def null_space_step(A, y: Tensor, x_0: Tensor) -> Tensor:
    """x_0 with its range part replaced by the measurement's: x_0 + A^+ (y - A x_0). Wang et al. 2023, eq. 13."""
    return x_0 + A.pinv(y - A(x_0))


def _inputs_h(seed: int) -> dict:
    g = seeded(seed, 48)
    cases = {}
    mask = (torch.rand(1, 1, 4, 6, generator=g) < 0.6).float()
    mask[..., 0, :2] = torch.tensor([0.0, 1.0])
    matrix = torch.randn(9, 5, generator=g, dtype=torch.float64) @ torch.randn(5, 2 * 3 * 4, generator=g, dtype=torch.float64)  # rank 5
    for name, words, shape in (
        ("a mask", {"mask": mask}, (2, 3, 4, 6)),
        ("blocks of pixels", {"scale": 2 + seed % 2}, (1 + seed % 2, 3, 6, 12)),
        ("weighted channels", {"weights": [0.3, 0.5, 0.4 + 0.1 * seed]}, (2, 3, 4, 4)),
        ("any matrix", {"matrix": matrix, "inverse": torch.linalg.pinv(matrix, rtol=1e-9)}, (3, 2, 3, 4)),
    ):
        x_0 = 1.5 * torch.randn(shape, generator=g)
        y = operator_of(words, x_0)(torch.randn(shape, generator=g))
        y = y + 0.5 * torch.randn(y.shape, generator=g)  # not every y is the measurement of some picture
        cases[name] = {"A": words, "y": y, "x_0": x_0}
    return cases


def _transposed(A, y, x_0):
    with torch.enable_grad():
        x = torch.zeros_like(x_0).requires_grad_()
        return x_0 + torch.autograd.grad(A(x), x, y - A(x_0))[0]


EXERCISE_H = Exercise(
    "04-h", "What the measurement says", ("null_space_step",),
    {"a mask": 0.5, "blocks of pixels": 0.5, "weighted channels": 0.5, "any matrix": 0.5}, _inputs_h, call_operator, null_space_step,
    (
        Mistake("measurement alone", lambda A, y, x_0: A.pinv(y),
                "This is A^+ y alone, the pseudo-inverse: the null-space part of x_0 is missing, which is what the network is for."),
        Mistake("null space alone", lambda A, y, x_0: x_0 - A.pinv(A(x_0)), "The measurement has no effect: add A^+ y."),
        Mistake("range not taken away", lambda A, y, x_0: x_0 + A.pinv(y),
                "A^+ y was added to the whole x_0, so the range part is there twice: take A^+ A x_0 away."),
        Mistake("wrong sign", lambda A, y, x_0: x_0 - A.pinv(y - A(x_0)), "The correction points away from y: + A^+ (y - A x_0)."),
        Mistake("correction alone", lambda A, y, x_0: A.pinv(y - A(x_0)), "This is the correction alone: add it to x_0."),
        Mistake("range of x_0", lambda A, y, x_0: A.pinv(y) + A.pinv(A(x_0)),
                "You kept the range part of x_0. Its null-space part is what stays: x_0 - A^+ A x_0."),
        Mistake("x_0 unchanged", lambda A, y, x_0: x_0.clone(), "x_0 came back as it was: the measurement must replace its range part."),
        Mistake("half way", lambda A, y, x_0: x_0 + 0.5 * A.pinv(y - A(x_0)), "Only half of the correction was made."),
        Mistake("twice as far", lambda A, y, x_0: x_0 + 2 * A.pinv(y - A(x_0)), "The correction was made twice."),
        Mistake("transposed", _transposed, "You used the transpose of A. It is the pseudo-inverse only for some A: call A.pinv."),
        Mistake("range of x_0 alone", lambda A, y, x_0: A.pinv(A(x_0)), "This is the range part of x_0: y has no effect, and what is "
                "kept is the wrong half."),
        Mistake("clipped", lambda A, y, x_0: null_space_step(A, y, x_0).clamp(-1, 1),
                "The result was cut to [-1, 1], and then A x = y holds no longer."),
        Mistake("cut to [0, 1]", lambda A, y, x_0: null_space_step(A, y, x_0).clamp(0, 1),
                "The result was cut to [0, 1], and then A x = y holds no longer."),
        Mistake("x_0 clipped", lambda A, y, x_0: null_space_step(A, y, x_0.clamp(-1, 1)), "x_0 was cut to [-1, 1]: take it as it comes."),
    ),
    keep_dtype=True,
)  # fmt: skip

EXERCISES = (EXERCISE_A, EXERCISE_B, EXERCISE_C, EXERCISE_D, EXERCISE_E, EXERCISE_F, EXERCISE_G, EXERCISE_H)
