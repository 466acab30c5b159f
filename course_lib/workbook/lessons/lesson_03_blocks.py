"""Exercises 03-c and 03-d, the two prompt blocks of PromptIR: inputs, references, points, and the mistakes that the checks recognise."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.promptir import PromptGenBlock, PromptInteraction
from course_lib.workbook.adapters import call_plugged
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_03_prompts import mix, resized, seeded


def _weights(module: nn.Module, g: torch.Generator) -> dict[str, Tensor]:
    """Weights large enough that every part of the module shows in its output."""
    out = {}
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=g)
        fan_in = 1 if name == "prompt_param" else max(1, parameter[0].numel())
        out[name] = 1.5 + values.abs() if name.endswith("temperature") else values * (1.5 / fan_in**0.5)
    return out


# ---- 03-c: the prompt generation block -------------------------------------------------------------------------------


def _inputs_c(seed: int) -> dict:
    g = seeded(seed, 33)
    cases = {}
    size = ((7, 10), (4, 6), (9, 4))[seed % 3]  # sometimes one side stays as it is
    for name, (features, width, components, side), batch, (H, W) in (
        ("at the components' size", (6, 3, 4, 5), 2, (5, 5)),
        ("at another size", (4, 5, 3, 4), 1 + seed % 3, size),
        ("weights that can be watched", (5, 4, 3, 6), 2, (6, 8)),
    ):
        x = torch.randn(batch, features, 1, 1, generator=g) + torch.randn(batch, features, H, W, generator=g)
        x = x.contiguous(memory_format=torch.channels_last)  # as PromptIR hands it over
        weights = _weights(PromptGenBlock(features, width, components, side), g)
        weights["linear_layer.weight"] *= 0.15  # or else a sum over the pixels saturates, and looks like the best component alone
        cases[name] = {"init": [features, width, components, side], "weights": weights, "x": x, "varied": ["prompt_param"]}
        cases[name]["advice"] = "see the table of the four parts above for what each is made of"
    watched = cases["weights that can be watched"]
    watched |= {"watch": "softmax", "replace": torch.rand(3, generator=g)}
    return cases


def _gen_with(**changes):
    """PromptGenBlock with one step replaced."""

    class Variant(PromptGenBlock):
        def forward(self, x):
            pooled = changes.get("pool", lambda x: x.mean((2, 3)))(x)
            weights = changes.get("weigh", lambda s, p: s.softmax(s.linear_layer(p)))(self, pooled)
            mixed = changes.get("mix", mix)(weights, self.prompt_param[0])
            return changes.get("finish", lambda s, m, size: s.conv3x3(resized(m, size)))(self, mixed, tuple(x.shape[-2:]))

    return Variant


EXERCISE_C = Exercise(
    "03-c", "The prompt generation block", ("PromptGenBlock",),
    {"at the components' size": 1, "at another size": 1, "weights that can be watched": 1}, _inputs_c, call_plugged, PromptGenBlock,
    (
        Mistake("nearest", _gen_with(finish=lambda s, m, size: s.conv3x3(resized(m, size, mode="nearest"))),
                "The resizing takes the nearest value: mode=\"bilinear\"."),
        Mistake("corners", _gen_with(finish=lambda s, m, size: s.conv3x3(resized(m, size, align_corners=True))),
                "The prompts are resized with align_corners=False."),
        Mistake("bicubic", _gen_with(finish=lambda s, m, size: s.conv3x3(resized(m, size, mode="bicubic"))),
                "The resizing is bilinear here, not bicubic."),
        Mistake("sides swapped", _gen_with(finish=lambda s, m, size: s.conv3x3(resized(m, size[::-1]))),
                "Height and width are swapped: resize to x.shape[-2:]."),
        Mistake("convolution first", _gen_with(finish=lambda s, m, size: resized(s.conv3x3(m), size)),
                "The 3x3 convolution came before the resizing. It comes last: it smooths what resizing left."),
        Mistake("no convolution", _gen_with(finish=lambda s, m, size: resized(m, size)), "conv3x3 is not used: it comes last."),
        Mistake("not resized", _gen_with(finish=lambda s, m, size: s.conv3x3(m)),
                "The prompt still has the components' side S: resize it to the features' height and width."),
        Mistake("activation", _gen_with(finish=lambda s, m, size: F.gelu(s.conv3x3(resized(m, size)))),
                "There is an activation after the convolution; the block ends with the convolution."),
        Mistake("relu", _gen_with(finish=lambda s, m, size: F.relu(s.conv3x3(resized(m, size)))),
                "There is an activation after the convolution; the block ends with the convolution."),
        Mistake("best only", _gen_with(mix=lambda w, c: c[w.argmax(1)]),
                "Only the component with the largest weight was taken: it is the weighted sum of all."),
        Mistake("sum", _gen_with(pool=lambda x: x.sum((2, 3))),
                "The pixels were added up: a larger image would get a harder softmax. Take the mean over H and W."),
        Mistake("largest", _gen_with(pool=lambda x: x.amax((2, 3))), "The largest pixel was taken. The pooling here is the mean."),
        Mistake("batch mean", _gen_with(pool=lambda x: x.mean((0, 2, 3))[None].expand(len(x), -1)),
                "The mean ran over the batch as well: every image needs weights of its own."),
        Mistake("softmax over the batch", _gen_with(weigh=lambda s, p: s.softmax(s.linear_layer(p).T).T),
                "The softmax ran over the batch: the components of one image add up to 1, nn.Softmax(dim=1)."),
        Mistake("no softmax", _gen_with(weigh=lambda s, p: s.linear_layer(p)), "The softmax is missing: the scores are no weights yet."),
        Mistake("softmax twice", _gen_with(weigh=lambda s, p: s.softmax(s.linear_layer(p)).softmax(1)),
                "The softmax ran twice, which flattens the weights."),
        Mistake("image ignored", _gen_with(weigh=lambda s, p: s.softmax(s.linear_layer(torch.zeros_like(p)))),
                "The image has no effect: the weights are read off its features, linear_layer(mean over the pixels)."),
        Mistake("no bias", _gen_with(weigh=lambda s, p: s.softmax(p @ s.linear_layer.weight.T)),
                "The bias of linear_layer is not used: call the layer."),
        Mistake("equal weights", _gen_with(mix=lambda w, c: mix(torch.full_like(w, 1 / w.shape[1]), c)),
                "The weights have no effect: each component counts by its weight."),
        Mistake("mean", _gen_with(mix=lambda w, c: mix(w, c) / w.shape[1]),
                "That is a mean: the weights add up to 1 already, so *add* the weighted components."),
        Mistake("first image's", _gen_with(mix=lambda w, c: mix(w[:1].expand_as(w), c)),
                "All images got the first one's prompt: image b has weights of its own."),
        Mistake("convolution twice", _gen_with(finish=lambda s, m, size: s.conv3x3(s.conv3x3(resized(m, size)))), "conv3x3 ran twice."),
        Mistake("one for the batch", _gen_with(mix=lambda w, c: mix(w.mean(0, keepdim=True).expand_as(w), c)),
                "All images got one mixture: image b has weights of its own."),
    ),
    keep_dtype=True,
)  # fmt: skip

# ---- 03-d: prompt interaction ----------------------------------------------------------------------------------------


def _inputs_d(seed: int) -> dict:
    g = seeded(seed, 34)
    cases = {}
    for name, (features, width, out, heads), batch, (H, W) in (
        ("fewer channels out", (6, 4, 3, 2), 2, (6, 6)),
        ("as many out as in, not square", (5, 3, 8, 1), 1 + seed % 3, (5, 8)),  # here the convolution could come first without a crash
        ("several heads", (6, 6, 6, 3), 2, (4, 7)),  # and here features and prompt could be added or mistaken for each other
    ):
        weights = _weights(PromptInteraction(features, width, out, heads), g)
        x, prompt = (0.3 + torch.randn(batch, channels, H, W, generator=g) for channels in (features, width))
        cases[name] = {"init": [features, width, out, heads], "weights": weights, "x": x, "more": {"prompt": prompt}}
        cases[name]["advice"] = "block and reduce work on x and prompt concatenated, features + width channels"
    return cases


def _act_with(forward):
    return type("Variant", (PromptInteraction,), {"forward": forward})


def _both(s, x, prompt):
    return s.reduce(s.block(torch.cat([x, prompt], 1)))


def _block_without_residuals(s, y):
    y = s.block.attn(s.block.norm1(y))
    return s.block.ffn(s.block.norm2(y))


EXERCISE_D = Exercise(
    "03-d", "Prompt interaction", ("PromptInteraction",),
    {"fewer channels out": 1, "as many out as in, not square": 1, "several heads": 1}, _inputs_d, call_plugged, PromptInteraction,
    (
        Mistake("prompt first", _act_with(lambda s, x, p: s.reduce(s.block(torch.cat([p, x], 1)))),
                "The prompt's channels came first. The order is [x, prompt]; the shipped weights count on it."),
        Mistake("convolution first", _act_with(lambda s, x, p: s.block(s.reduce(torch.cat([x, p], 1)))),
                "The 1x1 convolution came before the block. First the block on all C + P channels, then the convolution."),
        Mistake("no block", _act_with(lambda s, x, p: s.reduce(torch.cat([x, p], 1))),
                "The Transformer block is not used: without it features and prompt are only added up, pixel by pixel."),
        Mistake("no convolution", _act_with(lambda s, x, p: s.block(torch.cat([x, p], 1))),
                "The 1x1 convolution is not used: it brings C + P channels to out_channels."),
        Mistake("cut", _act_with(lambda s, x, p: s.block(torch.cat([x, p], 1))[:, : s.reduce.out_channels]),
                "The surplus channels were cut off. The 1x1 convolution `reduce` brings C + P channels to out_channels."),
        Mistake("block twice", _act_with(lambda s, x, p: s.reduce(s.block(s.block(torch.cat([x, p], 1))))), "The block ran twice."),
        Mistake("residual of x", _act_with(lambda s, x, p: x + _both(s, x, p)),
                "x was added. The block holds its own residuals: return what the convolution gives."),
        Mistake("residual of both", _act_with(lambda s, x, p: s.reduce((lambda y: y + s.block(y))(torch.cat([x, p], 1)))),
                "The input of the block was added once more. The block holds its own residuals."),
        Mistake("residual over the block", _act_with(lambda s, x, p: (lambda y: y + s.reduce(s.block(y)))(torch.cat([x, p], 1))),
                "The concatenation was added at the end. The block holds its own residuals: return what the convolution gives."),
        Mistake("block without residuals", _act_with(lambda s, x, p: s.reduce(_block_without_residuals(s, torch.cat([x, p], 1)))),
                "The residuals of the block are missing: call self.block as a whole."),
        Mistake("no prompt", _act_with(lambda s, x, p: s.reduce(s.block(torch.cat([x, torch.zeros_like(p)], 1)))),
                "The prompt has no effect: concatenate x and prompt along the channels."),
        Mistake("x twice", _act_with(lambda s, x, p: _both(s, x, x)), "x stands there twice and the prompt has no effect: [x, prompt]."),
        Mistake("prompt twice", _act_with(lambda s, x, p: _both(s, p, p)), "The features have no effect: [x, prompt]."),
        Mistake("prompt added", _act_with(lambda s, x, p: _both(s, x + p, p)),
                "x and prompt are added as well. They stand beside each other: torch.cat along the channels, nothing else."),
        Mistake("prompt detached", _act_with(lambda s, x, p: _both(s, x, p.detach())),
                "The values are right, but no gradient reaches the prompt, so it would never learn: do not detach it."),
        Mistake("features detached", _act_with(lambda s, x, p: _both(s, x.detach(), p)),
                "The values are right, but no gradient reaches the features: do not detach them."),
        Mistake("activation", _act_with(lambda s, x, p: F.gelu(_both(s, x, p))), "There is an activation at the end; none belongs there."),
        Mistake("relu", _act_with(lambda s, x, p: F.relu(_both(s, x, p))), "There is an activation at the end; none belongs there."),
    ),
    allowed_imports=("torch", "einops", "math", "course_lib"),
    keep_dtype=True,
)  # fmt: skip
