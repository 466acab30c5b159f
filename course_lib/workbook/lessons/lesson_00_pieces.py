"""Exercises 00-a to 00-c: noise, PSNR and SSIM. Inputs, references, points, and the mistakes that the checks recognise."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.workbook.adapters import call_values
from course_lib.workbook.exercises import Exercise, Mistake


def seeded(seed: int, salt: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * salt + seed)


# ---- 00-a: Gaussian noise --------------------------------------------------------------------------------------------


def add_gaussian_noise(clean: Tensor, sigma: float, noise: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1], sigma on the 0-255 scale, standard normal noise -> clip(clean + sigma / 255 * noise, 0, 1)."""
    return (clean + sigma / 255 * noise).clamp(0, 1)


def _inputs_a(seed: int) -> dict:
    g = seeded(seed, 1)
    sigma = 10 + 20 * float(torch.rand((), generator=g))
    noise = torch.randn(2, 3, 8, 9, generator=g)
    middle = 0.45 + 0.1 * torch.rand(2, 3, 8, 9, generator=g)  # four sigma away from both ends: nothing is clipped
    return {
        "noise": {"clean": middle, "sigma": sigma, "noise": noise.clamp(-3, 3)},
        # one channel, because the lesson's filter is trained on single channels
        "clipping": {"clean": torch.rand(3, 1, 8, 9, generator=g), "sigma": 2 * sigma + 20, "noise": noise.reshape(6, 1, 8, 9)[:3]},
    }


def _noise_with(amount: Callable = lambda s: s / 255, mix: Callable = lambda c, n: c + n, clip: Callable = lambda x: x.clamp(0, 1)):
    return lambda clean, sigma, noise: clip(mix(clean, amount(sigma) * noise))


EXERCISE_A = Exercise(
    "00-a", "Gaussian noise", ("add_gaussian_noise",), {"noise": 1, "clipping": 1}, _inputs_a, call_values, add_gaussian_noise,
    (
        Mistake("255 scale", _noise_with(lambda s: s),
                "The noise is 255 times too strong: sigma is given on the 0-255 scale and the picture lies in [0, 1]. Divide by 255."),
        Mistake("sigma forgotten", _noise_with(lambda s: 1.0), "sigma has no effect: multiply the noise by sigma / 255 before you add it."),
        Mistake("both scales", lambda c, s, n: (255 * c + s * n).clamp(0, 1),
                "You compute on the 0-255 scale and clip to [0, 1]. Stay in [0, 1]: divide sigma by 255, leave the picture."),
        Mistake("256", _noise_with(lambda s: s / 256), "Divide by 255, the largest grey level, not by 256, the number of them."),
        Mistake("variance", _noise_with(lambda s: (s / 255) ** 2),
                "You multiply by the variance. Standard normal noise times the *standard deviation* sigma / 255 has the right spread."),
        Mistake("root", _noise_with(lambda s: (s / 255) ** 0.5), "No square root: sigma / 255 is the standard deviation already."),
        Mistake("variance on 255", _noise_with(lambda s: s**2 / 255), "Multiply by sigma / 255, without a square."),
        Mistake("no clipping", _noise_with(clip=lambda x: x),
                "The sum leaves [0, 1] in places, and no stored picture can: clip the sum with .clamp(0, 1)."),
        Mistake("half clipped", _noise_with(clip=lambda x: x.clamp(min=0)), "Clip at the upper end, too: .clamp(0, 1)."),
        Mistake("other half clipped", _noise_with(clip=lambda x: x.clamp(max=1)), "Clip at the lower end, too, to 0: .clamp(0, 1)."),
        Mistake("times", _noise_with(mix=lambda c, n: c * n), "The noise is *added* to the picture; yours multiplies."),
        Mistake("speckle", _noise_with(mix=lambda c, n: c * (1 + n)),
                "Your noise grows with the brightness (speckle). Gaussian noise is added everywhere alike: clean + sigma / 255 * noise."),
        Mistake("subtracted", _noise_with(mix=lambda c, n: c - n),
                "Add the noise, do not subtract it: that looks the same, but it is the negative of the noise that was handed over."),
        Mistake("noise alone", _noise_with(mix=lambda c, n: n), "That is the noise alone; add it to the clean picture."),
        Mistake("only brighter", lambda c, s, n: (c + s / 255 * n.clamp(0, 1)).clamp(0, 1),
                "You clipped the *noise* to [0, 1], so it only brightens. Clip the sum."),
        Mistake("absolute", lambda c, s, n: (c + s / 255 * n.abs()).clamp(0, 1), "Noise goes both ways: no absolute value."),
        Mistake("wrapped", _noise_with(clip=lambda x: x % 1), "The values wrap round at the ends. Clip them: .clamp(0, 1)."),
        Mistake("rescaled", _noise_with(clip=lambda x: (x - x.min()) / (x.max() - x.min())),
                "You stretched the sum to [0, 1]; that changes every pixel. Clip instead: only what lies outside is changed."),
        Mistake("on 255", lambda c, s, n: (255 * c + s * n).clamp(0, 255),
                "The result is on the 0-255 scale; pictures here lie in [0, 1]."),
        Mistake("unchanged", lambda c, s, n: c.clone(), "The picture comes back without noise."),
    ),
    tolerance=1e-5,
)  # fmt: skip

# ---- 00-b: PSNR ------------------------------------------------------------------------------------------------------


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """(B, C, H, W) twice -> (B,): -10 log10 of the mean squared error of each image, for values in [0, 1]."""
    return -10 * (x - y).square().flatten(1).mean(1).log10()


def _inputs_b(seed: int) -> dict:
    g = seeded(seed, 2)

    def case(batch: int) -> dict:
        y = 0.1 + 0.6 * torch.rand(batch, 3, 8, 10, generator=g)
        spread = (0.02 + 0.1 * torch.rand(batch, 3, 1, 1, generator=g)) * torch.tensor([0.3, 1.0, 2.0]).view(1, 3, 1, 1)
        spread = spread * torch.tensor([1.0, 0.3, 0.01])[:batch].view(-1, 1, 1, 1)  # from poor to nearly perfect
        return {"x": (y + spread * (0.3 + torch.randn(y.shape, generator=g))).clamp(0, 1), "y": y}

    return {"one picture": case(1), "a batch": case(3)}


def _error(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().flatten(1).mean(1)


def _psnr_with(value: Callable):
    return lambda x, y: value(_error(x, y))


EXERCISE_B = Exercise(
    "00-b", "PSNR", ("psnr",), {"one picture": 1, "a batch": 1}, _inputs_b, call_values, psnr,
    (
        Mistake("whole batch", lambda x, y: -10 * (x - y).square().mean().log10(),
                "You give one number for the whole batch. Each picture has its own: take the means over the axes 1, 2, 3 and keep axis 0."),
        Mistake("whole batch, repeated", lambda x, y: (-10 * (x - y).square().mean().log10()).repeat(x.shape[0]),
                "Every picture got the error of the whole batch: take the mean over the axes 1, 2, 3 and keep axis 0."),
        Mistake("no minus", _psnr_with(lambda e: 10 * e.log10()), "The sign is the other way round: a smaller error is a larger PSNR."),
        Mistake("natural logarithm", _psnr_with(lambda e: -10 * e.log()), "Decibels use the logarithm to base 10: torch.log10."),
        Mistake("base two", _psnr_with(lambda e: -10 * e.log2()), "Decibels use the logarithm to base 10: torch.log10."),
        Mistake("twenty", _psnr_with(lambda e: -20 * e.log10()),
                "20 log10 belongs to the *root* of the mean squared error; of the mean squared error itself it is 10 log10."),
        Mistake("ten of the root", _psnr_with(lambda e: -10 * e.sqrt().log10()),
                "10 log10 belongs to the mean squared error; of its root it is 20 log10."),
        Mistake("255", _psnr_with(lambda e: 10 * (255**2 / e).log10()),
                "48 dB too much: the peak of these pictures is 1, not 255, so 10 log10(1 / MSE)."),
        Mistake("255 once", _psnr_with(lambda e: 10 * (255 / e).log10()), "The peak of these pictures is 1, not 255: 10 log10(1 / MSE)."),
        Mistake("no ten", _psnr_with(lambda e: -e.log10()), "A *deci*bel is a tenth: the factor 10 is missing."),
        Mistake("absolute error", lambda x, y: -10 * (x - y).abs().flatten(1).mean(1).log10(),
                "You averaged the absolute differences. PSNR squares them."),
        Mistake("absolute error, twenty", lambda x, y: -20 * (x - y).abs().flatten(1).mean(1).log10(),
                "You averaged the absolute differences. PSNR squares them."),
        Mistake("not squared", lambda x, y: -10 * (x - y).flatten(1).mean(1).log10(),
                "The differences are not squared, so errors up and down cancel. Square each difference, then average."),
        Mistake("square of the mean", lambda x, y: -10 * (x - y).flatten(1).mean(1).square().log10(),
                "You average first and square then, so that errors up and down cancel. Square each difference, then average."),
        Mistake("sum", lambda x, y: -10 * (x - y).square().flatten(1).sum(1).log10(),
                "The *mean* squared error: you summed, so a larger picture would have a worse PSNR."),
        Mistake("three times too large", lambda x, y: -10 * (3 * _error(x, y)).log10(),
                "The sum was divided by H * W. There are 3 * H * W values: the mean runs over the channels, too."),
        Mistake("variance", lambda x, y: -10 * (x - y).flatten(1).var(1, correction=0).log10(),
                "That is the variance of the error: a constant offset in brightness would cost nothing. Take the mean of the squares."),
        Mistake("sample variance", lambda x, y: -10 * (x - y).flatten(1).var(1).log10(),
                "That is the variance of the error: a constant offset in brightness would be free. Take the mean of the squares."),
        Mistake("peak of x", lambda x, y: 10 * (x.flatten(1).amax(1).square() / _error(x, y)).log10(),
                "The peak is 1, the largest value that a picture *may* have, not the brightest pixel of this one."),
        Mistake("one peak of x", lambda x, y: 10 * (x.max().square() / _error(x, y)).log10(),
                "The peak is 1, the largest value that a picture *may* have, not the brightest pixel of this one."),
        Mistake("one peak of y", lambda x, y: 10 * (y.max().square() / _error(x, y)).log10(),
                "The peak is 1, the largest value that a picture *may* have, not the brightest pixel of this one."),
        Mistake("capped", _psnr_with(lambda e: (-10 * e.log10()).clamp(max=40)), "Do not cap the PSNR: a better picture has a larger one."),
        Mistake("channels apart", lambda x, y: -10 * (x - y).square().mean((2, 3)).log10(),
                "That is one value a channel. The mean runs over the three channels, too."),
        Mistake("mean of the channels' PSNR", lambda x, y: (-10 * (x - y).square().mean((2, 3)).log10()).mean(1),
                "You averaged the decibels of the channels. Average the squared errors of all channels first, then take the logarithm."),
        Mistake("grey", lambda x, y: -10 * (x.mean(1) - y.mean(1)).square().flatten(1).mean(1).log10(),
                "You compared grey pictures. PSNR is measured here on all three channels."),
        Mistake("mean of pixels' PSNR", lambda x, y: (-10 * ((x - y).square() + 1e-12).log10()).flatten(1).mean(1),
                "Average the squared errors first, then take one logarithm; not a logarithm of each pixel."),
        Mistake("peak of the picture", lambda x, y: 10 * (y.flatten(1).amax(1).square() / _error(x, y)).log10(),
                "The peak is 1, the largest value that a picture *may* have, not the brightest pixel of this one."),
        Mistake("mean squared error", _psnr_with(lambda e: e), "That is the mean squared error: now take -10 log10 of it."),
        Mistake("last axis", lambda x, y: -10 * (x - y).square().mean(-1).log10(),
                "The mean runs over channels, rows *and* columns, the axes 1, 2, 3; yours over the last alone."),
        Mistake("kept axes", lambda x, y: -10 * (x - y).square().mean((1, 2, 3), keepdim=True).log10(),
                "The values are right, but the shape must be (B,): leave out keepdim=True."),
    ),
)  # fmt: skip

# ---- 00-c: SSIM of a window ------------------------------------------------------------------------------------------

C1, C2 = 0.01**2, 0.03**2


def window_ssim(x: Tensor, y: Tensor) -> Tensor:
    """(N, n) twice, N windows of n pixels -> (N,): SSIM with sample variances and covariance (Wang et al. 2004, eq. 13)."""
    return _ssim_with()(x, y)


def _ssim_with(
    divide: Callable = lambda n: n - 1,
    constants: tuple[float, float] = (C1, C2),
    twos: tuple[float, float] = (2.0, 2.0),
    spread: Callable = lambda vx, vy: vx + vy,
    light: Callable = lambda a, b: a / b,
    structure: Callable = lambda a, b: a / b,
    centred: bool = True,
    moments: Callable = lambda vx, vy, cov, n: (vx, vy, cov),
):
    def piece(x, y):
        c1, c2 = constants
        mx, my = x.mean(1), y.mean(1)
        dx, dy = (x - mx[:, None], y - my[:, None]) if centred else (x, y)
        n = divide(x.shape[1])
        vx, vy, cov = dx.square().sum(1) / n, dy.square().sum(1) / n, (dx * dy).sum(1) / n
        vx, vy, cov = moments(vx, vy, cov, n)
        return light(twos[0] * mx * my + c1, mx**2 + my**2 + c1) * structure(twos[1] * cov + c2, spread(vx, vy) + c2)

    return piece


def _inputs_c(seed: int) -> dict:
    g = seeded(seed, 3)
    n = (49, 25, 81)[seed % 3]  # a window may have any size
    contrast = torch.tensor([0.01, 0.03, 0.06, 0.1, 0.2, 0.3]).view(6, 1)
    dark = torch.tensor([0.005, 0.01, 0.05, 0.2, 0.5, 0.6]).view(6, 1)  # in the dark C1 shows, at low contrast C2
    x = dark + 0.1 * dark * torch.rand(6, 1, generator=g) + contrast * torch.rand(6, n, generator=g)
    y = 0.8 * x + 0.01 + 0.6 * contrast * torch.rand(6, n, generator=g)
    y[3:5] = 1 - y[3:5]  # what goes up in x goes down in y
    # dim, so that the rounding of x * x in single precision stays far below C2
    flat = torch.rand(5, 1, generator=g) * torch.tensor([0.01, 0.03, 0.1, 0.2, 0.3]).view(5, 1)
    other = flat * (0.5 + torch.rand(5, 1, generator=g)) + 0.004
    if seed % 3 == 1:
        flat, other = flat[2:3], other[2:3]  # a single window, too, gives (1,)
    return {"textured windows": {"x": x, "y": y}, "flat windows": {"x": flat.repeat(1, n), "y": other.repeat(1, n)}}


EXERCISE_C = Exercise(
    "00-c", "SSIM of a window", ("window_ssim",), {"textured windows": 2, "flat windows": 1}, _inputs_c, call_values, window_ssim,
    (
        Mistake("population", _ssim_with(divide=lambda n: n),
                "You divide by n. The papers' SSIM uses the *sample* variance and covariance: divide by n - 1."),
        Mistake("population covariance", _ssim_with(moments=lambda vx, vy, c, n: (vx, vy, c * n / (n + 1))),
                "Your variances divide by n - 1, your covariance by n. Divide all three by n - 1."),
        Mistake("population variances", _ssim_with(moments=lambda vx, vy, c, n: (vx * n / (n + 1), vy * n / (n + 1), c)),
                "Your covariance divides by n - 1, your variances by n (correction=0). Divide all three by n - 1."),
        Mistake("n - 2", _ssim_with(divide=lambda n: n - 2), "Sample variance and covariance divide by n - 1, not by n - 2."),
        Mistake("n + 1", _ssim_with(divide=lambda n: n + 1), "Sample variance and covariance divide by n - 1, not by n + 1."),
        Mistake("49", _ssim_with(divide=lambda n: 48), "You divide by 48 always. A window may have any number of pixels: n = x.shape[1]."),
        Mistake("sums", _ssim_with(divide=lambda n: 1), "These are sums of squares, no variances yet: divide them by n - 1."),
        Mistake("no sign", _ssim_with(moments=lambda vx, vy, c, n: (vx, vy, c.abs())),
                "The covariance may be negative, where one window goes up and the other down: keep its sign."),
        Mistake("deviations for covariance", _ssim_with(moments=lambda vx, vy, c, n: (vx, vy, (vx * vy).sqrt())),
                "The product of the deviations is no covariance: it does not ask whether the pixels go up and down together."),
        Mistake("raw covariance", lambda x, y: _ssim_with(
                    moments=lambda vx, vy, c, n: (vx, vy, (x * y).sum(1) / n))(x, y),
                "In the covariance the means are not subtracted: (x - mean_x) * (y - mean_y)."),
        Mistake("clipped", lambda x, y: window_ssim(x, y).clamp(min=0),
                "SSIM may be negative, where the windows are opposite: do not clip it."),
        Mistake("distance", lambda x, y: 1 - window_ssim(x, y), "That is 1 - SSIM, a distance. SSIM itself is 1 for equal windows."),
        Mistake("half distance", lambda x, y: (1 - window_ssim(x, y)) / 2,
                "That is a loss made of SSIM. SSIM itself is 1 for equal windows."),
        Mistake("one constant", _ssim_with(constants=(C1, C1)), "C1 stands in both fractions: with the variances it is C2 = 0.03 ** 2."),
        Mistake("other constant", _ssim_with(constants=(C2, C2)), "C2 stands in both fractions: with the means it is C1 = 0.01 ** 2."),
        Mistake("averaged", lambda x, y: (_ssim_with(structure=lambda a, b: 1.0)(x, y) + _ssim_with(light=lambda a, b: 1.0)(x, y)) / 2,
                "The two factors are multiplied; you took their average."),
        Mistake("square of the sum", lambda x, y: _ssim_with(
                    light=lambda a, b: a / ((x.mean(1) + y.mean(1)) ** 2 + C1))(x, y),
                "Below the means stands the sum of their squares, not the square of their sum."),
        Mistake("constants not squared", _ssim_with(constants=(0.01, 0.03)), "The constants are squares: C1 = 0.01 ** 2, C2 = 0.03 ** 2."),
        Mistake("constants for 255", _ssim_with(constants=(2.55**2, 7.65**2)),
                "Those are the constants for pictures from 0 to 255. Ours lie in [0, 1]: C1 = 0.01 ** 2, C2 = 0.03 ** 2."),
        Mistake("constants swapped", _ssim_with(constants=(C2, C1)), "C1 and C2 are swapped: C1 stands with the means."),
        Mistake("no constants", _ssim_with(constants=(0.0, 0.0)),
                "The constants are missing: without them a flat window gives 0 / 0."),
        Mistake("no C1", _ssim_with(constants=(0.0, C2)), "C1 is missing: it stands with the means, above and below."),
        Mistake("no C2", _ssim_with(constants=(C1, 0.0)), "C2 is missing: it stands with the variances, above and below."),
        Mistake("both twos", _ssim_with(twos=(1.0, 1.0)), "Both factors 2 above the line are missing."),
        Mistake("two of the means", _ssim_with(twos=(1.0, 2.0)), "The factor 2 before the product of the means is missing."),
        Mistake("two of the covariance", _ssim_with(twos=(2.0, 1.0)), "The factor 2 before the covariance is missing."),
        Mistake("deviations", _ssim_with(spread=lambda vx, vy: vx.sqrt() + vy.sqrt()),
                "Below the line stand the variances (squares); you took the standard deviations."),
        Mistake("correlation", _ssim_with(spread=lambda vx, vy: 2 * (vx * vy).sqrt()),
                "Below the line the variances are *added*: you multiplied the deviations, so a change of contrast costs nothing."),
        Mistake("product", _ssim_with(spread=lambda vx, vy: vx * vy), "The variances are added, not multiplied."),
        Mistake("not centred", _ssim_with(centred=False),
                "Variances and covariance are taken about the mean: subtract the means of the window first."),
        Mistake("means only", _ssim_with(structure=lambda a, b: 1.0), "Only the means are compared: the second factor is missing."),
        Mistake("structure only", _ssim_with(light=lambda a, b: 1.0), "The means are not compared: the first factor is missing."),
        Mistake("sum", lambda x, y: _ssim_with(structure=lambda a, b: 1.0)(x, y) + _ssim_with(light=lambda a, b: 1.0)(x, y),
                "The two factors are multiplied, not added."),
        Mistake("upside down", lambda x, y: 1 / window_ssim(x, y), "The fraction stands upside down."),
        Mistake("mean of windows", lambda x, y: window_ssim(x, y).mean(), "Return one value a window; the lesson averages them."),
        Mistake("one big window", lambda x, y: window_ssim(x.reshape(1, -1), y.reshape(1, -1)),
                "All windows were taken as one. Each row is a window of its own: means and variances along dim=1."),
        Mistake("down the columns", lambda x, y: window_ssim(x.T, y.T),
                "You went along the wrong axis: a window is a row, so means and variances are taken along dim=1."),
        Mistake("kept axis", lambda x, y: window_ssim(x, y)[:, None], "The values are right, but the shape must be (N,)."),
    ),
)  # fmt: skip
