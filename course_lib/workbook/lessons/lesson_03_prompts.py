"""Exercises 03-a and 03-b, how a prompt is made: inputs, references, points, and the mistakes that the checks recognise."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.workbook.adapters import call_function
from course_lib.workbook.exercises import Exercise, Mistake


def seeded(seed: int, salt: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * salt + seed)


# ---- 03-a: the weights of the prompt ---------------------------------------------------------------------------------


def prompt_weights(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, C, H, W), (N, C), (N,) -> (B, N): softmax over the components of a linear layer on the mean over the pixels."""
    return F.linear(features.mean(dim=(2, 3)), weight, bias).softmax(dim=1)


def _inputs_a(seed: int) -> dict:
    g = seeded(seed, 31)
    C, N = (6, 4) if seed % 2 else (5, 5)  # as many channels as components hides a transposed weight in no crash

    def draw(*shape):
        return torch.randn(*shape, generator=g)

    several = draw(3, C, 1, 1) * (0.6 + torch.rand(4, 7, generator=g)) + draw(3, C, 4, 7)  # images that differ in their means
    # exp(120) is infinite in float32, so a softmax by hand without the largest taken off gives NaN
    high = 120 + draw(4)
    return {
        "several images": {"features": several, "weight": 0.4 * draw(N, C), "bias": draw(N)},
        "one image, large numbers": {"features": 0.5 + draw(1, 3, 5, 2 + seed), "weight": 1.5 * draw(4, 3), "bias": high},
    }


def _weigh(pool=lambda x: x.mean((2, 3)), linear=F.linear, soft=lambda s: s.softmax(1)):
    return lambda features, weight, bias: soft(linear(pool(features), weight, bias))


def _per_pixel(features, weight, bias):
    return (torch.einsum("bchw,nc->bnhw", features, weight) + bias.view(-1, 1, 1)).softmax(1).mean((2, 3))


EXERCISE_A = Exercise(
    "03-a", "The weights of the prompt", ("prompt_weights",), {"several images": 1, "one image, large numbers": 1}, _inputs_a,
    call_function, prompt_weights,
    (
        Mistake("sum", _weigh(lambda x: x.sum((2, 3))),
                "The pixels were added up: then a larger image has larger numbers and a harder softmax. Take the mean over H and W."),
        Mistake("largest", _weigh(lambda x: x.amax((2, 3))), "The largest pixel was taken. The pooling here is the mean over H and W."),
        Mistake("one pixel", _weigh(lambda x: x[:, :, 0, 0]), "Only one pixel was read: take the mean over all of H and W."),
        Mistake("middle", _weigh(lambda x: x[:, :, x.shape[2] // 2, x.shape[3] // 2]),
                "Only one pixel was read: take the mean over all of H and W."),
        Mistake("batch mean", _weigh(lambda x: x.mean((0, 2, 3))[None].expand(len(x), -1)),
                "The mean ran over the images of the batch as well: every image needs weights of its own."),
        Mistake("softmax over the batch", _weigh(soft=lambda s: s.softmax(0)),
                "The softmax ran over the batch, so the images compete. The components of one image add up to 1: dim=1."),
        Mistake("softmax over all", _weigh(soft=lambda s: s.flatten().softmax(0).view(s.shape)),
                "One softmax over the whole batch. The components of each image add up to 1 by themselves: dim=1."),
        Mistake("no softmax", _weigh(soft=lambda s: s), "The softmax is missing: these are scores, which do not add up to 1."),
        Mistake("sigmoid", _weigh(soft=torch.sigmoid), "A sigmoid gives weights that do not add up to 1: softmax over the components."),
        Mistake("log", _weigh(soft=lambda s: s.log_softmax(1)), "These are logarithms: softmax, not log_softmax."),
        Mistake("hard", _weigh(soft=lambda s: F.one_hot(s.argmax(1), s.shape[1]).to(s)),
                "Only the best component was taken. The softmax gives each its share, and a gradient."),
        Mistake("shares without exp", _weigh(soft=lambda s: s / s.sum(1, keepdim=True)),
                "The scores are divided by their sum: with negative scores these are no weights. Softmax takes exp first."),
        Mistake("no bias", _weigh(linear=lambda p, w, b: F.linear(p, w)), "The bias has no effect: add it, one a component."),
        Mistake("bias subtracted", _weigh(linear=lambda p, w, b: F.linear(p, w) - b), "The bias is added, not subtracted."),
        Mistake("bias late", lambda f, w, b: (f.mean((2, 3)) @ w.T).softmax(1) + b,
                "The bias belongs to the linear layer, before the softmax: after it, the weights no longer add up to 1."),
        Mistake("weight transposed", _weigh(linear=lambda p, w, b: p @ w + b),
                "The weight (N, C) must be transposed: pooled (B, C) times (C, N) gives (B, N). F.linear does it for you."),
        Mistake("image ignored", lambda f, w, b: b.softmax(0).expand(len(f), -1),
                "The image has no effect. The weights are read off its features: mean, then weight and bias."),
        Mistake("softmax per pixel", _per_pixel,
                "The softmax ran at every pixel and the mean came last. First the mean over the pixels, then linear, then softmax."),
        Mistake("softmax of the features", lambda f, w, b: F.linear(f.mean((2, 3)).softmax(1), w, b),
                "The softmax ran over the channels. It comes last, over the N components that the linear layer scores."),
        Mistake("minus", _weigh(soft=lambda s: (-s).softmax(1)), "There is a minus too many: the larger the score, the larger the weight."),
        Mistake("pixel axes flattened", _weigh(lambda x: x.reshape(len(x), -1, x.shape[1]).mean(1)),
                "A reshape mixed channels and pixels: flatten(2) keeps the channels apart, (B, C, H*W); then the mean over the last axis."),
    ),
    keep_dtype=True,
)  # fmt: skip

# ---- 03-b: mixing the components -------------------------------------------------------------------------------------


def mix_prompt(weights: Tensor, components: Tensor, size) -> Tensor:
    """(B, N), (N, P, S, S), (h, w) -> (B, P, h, w): weighted sum of the components, resized bilinearly."""
    return F.interpolate(torch.einsum("bn,npij->bpij", weights, components), tuple(size), mode="bilinear", align_corners=False)


def _inputs_b(seed: int) -> dict:
    g = seeded(seed, 32)
    side, size = ((4, (7, 11)), (6, (6, 2)), (5, (12, 5)))[seed % 3]  # sometimes one side stays as it is

    def draw(batch, count, width, side):
        weights = torch.rand(batch, count, generator=g)  # a weighted sum, whatever the weights add up to
        return {"weights": weights, "components": torch.randn(count, width, side, side, generator=g)}

    return {
        "at their own size": draw(1 + seed % 3, 3, 4, 5) | {"size": (5, 5)},
        "at another size": draw(3, 3 if seed % 2 else 4, 3, side) | {"size": size},
    }


def resized(x, size, **options):
    return F.interpolate(x, tuple(size), **({"mode": "bilinear"} | options))


def mix(weights, components):
    return torch.einsum("bn,npij->bpij", weights, components)


def _mix_with(weigh=lambda w: w, add=mix, resize=resized, **options):
    return lambda weights, components, size: resize(add(weigh(weights), components), size, **options)


def _cut(x, size):
    h, w = size
    return F.pad(x, (0, max(0, w - x.shape[-1]), 0, max(0, h - x.shape[-2])))[..., :h, :w]


EXERCISE_B = Exercise(
    "03-b", "Mixing the components", ("mix_prompt",), {"at their own size": 1, "at another size": 1}, _inputs_b, call_function, mix_prompt,
    (
        Mistake("nearest", _mix_with(mode="nearest"),
                "The resizing takes the nearest value, which F.interpolate does unless told: mode=\"bilinear\"."),
        Mistake("corners", _mix_with(align_corners=True),
                "align_corners=True stretches the map until its corner pixels stay put; prompts are resized with align_corners=False."),
        Mistake("bicubic", _mix_with(mode="bicubic"), "The resizing is bilinear here, not bicubic."),
        Mistake("area", _mix_with(mode="area"), "The resizing is bilinear here; yours averages areas (as adaptive pooling does)."),
        Mistake("antialias", _mix_with(antialias=True), "No antialiasing: plain bilinear, as the published weights were trained with."),
        Mistake("sides swapped", lambda w, c, size: resized(mix(w, c), size[::-1]),
                "Height and width are swapped: size is (h, w), and F.interpolate takes it in this order."),
        Mistake("square", lambda w, c, size: resized(mix(w, c), (size[0], size[0])),
                "The result is square: resize to (h, w), both of `size`."),
        Mistake("not resized", _mix_with(resize=lambda x, size: x), "The sum still has the components' side S: resize it to (h, w)."),
        Mistake("cut", _mix_with(resize=_cut), "The map was cut or padded. Resize it: F.interpolate(..., mode=\"bilinear\")."),
        Mistake("mean", _mix_with(lambda w: w / w.shape[1]),
                "That is a mean: the weights do the sharing already, so *add* the weighted components."),
        Mistake("normalised", _mix_with(lambda w: w / w.sum(1, keepdim=True)),
                "The weights were divided by their sum. Take them as they come; 03-a has seen to the sum."),
        Mistake("softmax again", _mix_with(lambda w: w.softmax(1)), "These are weights already: a second softmax flattens them."),
        Mistake("no weights", _mix_with(lambda w: torch.ones_like(w)), "The weights have no effect: each component counts by its weight."),
        Mistake("equal weights", _mix_with(lambda w: torch.full_like(w, 1 / w.shape[1])),
                "The weights have no effect: each component counts by its weight."),
        Mistake("one for the batch", _mix_with(lambda w: w.mean(0, keepdim=True).expand_as(w)),
                "All images got one mixture: image b has the weights of row b."),
        Mistake("first image's", _mix_with(lambda w: w[:1].expand_as(w)), "All images got the first one's mixture: use row b for image b."),
        Mistake("best only", _mix_with(lambda w: F.one_hot(w.argmax(1), w.shape[1]).to(w)),
                "Only the component with the largest weight was taken: it is the weighted sum of all."),
        Mistake("best times weight", _mix_with(lambda w: w * (w == w.amax(1, keepdim=True))),
                "Only the component with the largest weight was taken: it is the weighted sum of all."),
        Mistake("no sum", lambda w, c, size: resized((w[:, :, None, None, None] * c).flatten(1, 2), size),
                "The components stand beside each other, weighted but not added up: sum over N."),
        Mistake("summed over the channels",
                lambda w, c, size: resized((w[:, :, None, None, None] * c).sum(2), size), "The sum ran over the P channels: sum over N."),
        Mistake("weights reversed", _mix_with(lambda w: w.flip(1)), "Column n of the weights belongs to component n; yours are reversed."),
        Mistake("components transposed", lambda w, c, size: resized(mix(w, c.transpose(-2, -1)), size),
                "Rows and columns of the components are swapped."),
        Mistake("components as one line",
                lambda w, c, size: resized((w @ c.flatten(1)).view(len(w), c.shape[2], c.shape[3], -1).movedim(-1, 1), size),
                "The flat sum was cut apart in another order than it was flattened: (N, P*S*S) goes back to (B, P, S, S)."),
    ),
    keep_dtype=True,
)  # fmt: skip
