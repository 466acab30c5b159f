"""Exercise 06-a, the order of the channels: inputs, references, points, and the mistakes that the check recognises."""

import torch
from torch import Tensor, nn

from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_06_calls import call_order


def seeded(seed: int, salt: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * salt + seed)


def guides(g: torch.Generator, batch: int, channels: int, step: float) -> Tensor:
    """(batch, channels) of both signs, neighbours 0.4 to 1.6 `step` apart. The images' orders differ, and none is its own inverse."""
    while True:
        place = torch.stack([torch.randperm(channels, generator=g) for _ in range(batch)])
        if telling(place):
            jitter = 0.6 * torch.rand(batch, channels, generator=g)
            return (place + jitter - channels / 2) * step


def telling(order: Tensor) -> bool:
    """Whether the rows of (B, N) differ from each other and from their own inverses, as fetching and sending must not be the same."""
    different = len(order.unique(dim=0)) == len(order)
    return different and not (order == order.argsort(dim=1)).all(dim=1).any()


def large_weights(module: nn.Module, g: torch.Generator) -> dict[str, Tensor]:
    """Weights large enough that every part of the module shows in its output."""
    out = {}
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=g)
        fan_in = max(1, parameter[0].numel())
        out[name] = 1.5 + values.abs() if name == "temperature" else values * (1.5 / fan_in**0.5)
    return out


# ---- 06-a: the order of the channels ---------------------------------------------------------------------------------


def channel_order(guide: Tensor) -> Tensor:
    """(B, N) -> (B, N), int64: for each image its channel indices, the largest guide value first."""
    return guide.topk(guide.shape[1], dim=1).indices


def along(x: Tensor, order: Tensor, dim: int = 1) -> Tensor:
    """x (B, N, H, W) with the axis `dim` in each image's own order (B, N)."""
    return x.gather(dim, order.view(len(order), *(-1 if axis == dim else 1 for axis in (1, 2, 3))).expand_as(x))


def reorder(x: Tensor, order: Tensor) -> Tensor:
    """(B, N, H, W), (B, N) -> (B, N, H, W): channel j of image b is channel order[b, j] of image b."""
    return along(x, order)


def _inputs_a(seed: int) -> dict:
    g = seeded(seed, 61)
    B, N = 2 + seed % 3, 8 + seed % 2
    order = channel_order(guides(g, B, N, 1.0))
    side = 4 + seed % 2
    cube = channel_order(guides(g, side, side, 1.0))
    return {
        "by the guide": {"which": 0, "guide": guides(g, B, N, 0.4)},  # so close that whole numbers would tie
        # as many images as channels hide a sort along the wrong axis in no crash; so far apart that a softmax makes ties of them
        "as many images as channels": {"which": 0, "guide": guides(g, 6, 6, 40.0)},
        "channels in their order": {"which": 1, "x": torch.randn(B, N, 4, 5, generator=g), "order": order},
        "a cube": {"which": 1, "x": torch.randn(side, side, side, side, generator=g), "order": cube},
    }


def _ordered(order):
    return order, reorder


def _moved(move):
    return channel_order, move


def falling(guide, dim=1):
    return guide.argsort(dim=dim, descending=True)


def _flat(guide):
    return falling(guide.flatten(), 0).view(guide.shape)


def _reshaped(x, order):
    pixels = x.flatten(2).transpose(1, 2)  # (B, L, N)
    return pixels.gather(2, order[:, None].expand_as(pixels)).reshape(x.shape)


_RANKS = (
    "These are the ranks: at place c stands where channel c goes. The order is the other way round, at place j stands which channel "
    "comes there: sort once, not twice."
)

EXERCISE_A = Exercise(
    "06-a", "The order of the channels", ("channel_order", "reorder"),
    {"by the guide": 0.5, "as many images as channels": 0.5, "channels in their order": 0.5, "a cube": 0.5}, _inputs_a,
    call_order, (channel_order, reorder),
    (
        Mistake("rising", _ordered(lambda u: u.argsort(1)),
                "The smallest guide value comes first. A top-K starts with the largest: descending=True."),
        Mistake("ranks", _ordered(lambda u: falling(u).argsort(1)), _RANKS),
        Mistake("ranks from the smallest", _ordered(lambda u: u.argsort(1).argsort(1)), _RANKS),
        Mistake("over the images", _ordered(lambda u: falling(u, 0)),
                "The images were sorted against each other (dim=0). Each image sorts its own channels: dim=1."),
        Mistake("over everything", _ordered(_flat), "The whole batch was sorted as one list. Each image sorts its own channels: dim=1."),
        Mistake("by size", _ordered(lambda u: falling(u.abs())),
                "The guide was sorted by its absolute value. The sign counts: the most negative value comes last."),
        Mistake("of the mean", _ordered(lambda u: falling(u.mean(0)[None]).expand_as(u)),
                "All images got one order, that of the mean guide. Each image has a guide of its own."),
        Mistake("of the first image", _ordered(lambda u: falling(u[:1]).expand_as(u)),
                "All images got the first one's order. Each image has a guide of its own."),
        Mistake("half", _ordered(lambda u: u.topk(u.shape[1] // 2, dim=1).indices),
                "Only the best half of the channels is in the list. K is N here, all of them: nothing is dropped, all is reordered."),
        Mistake("without the last", _ordered(lambda u: u.topk(u.shape[1] - 1, dim=1).indices),
                "A channel is missing from the list: K is N here, all of them."),
        Mistake("best alone", _ordered(lambda u: u.argmax(1)), "Only the best channel is named: the list holds all N of each image."),
        Mistake("as they came", _ordered(lambda u: torch.arange(u.shape[1]).expand_as(u)),
                "The channels stand as they came; the guide has no effect."),
        Mistake("from one", _ordered(lambda u: falling(u) + 1), "The channels are numbered from 0."),
        Mistake("softmaxed", _ordered(lambda u: falling(u.softmax(1))),
                "A softmax (or sigmoid) keeps the order only until its values are too small for a float, and then there are ties: sort the "
                "guide itself."),
        Mistake("through sigmoid", _ordered(lambda u: falling(u.sigmoid())),
                "A softmax (or sigmoid) keeps the order only until its values are too small for a float, and then there are ties: sort the "
                "guide itself."),
        Mistake("whole numbers", _ordered(lambda u: falling(u.long())),
                "The guide was cut to whole numbers, which makes ties of close values: sort it as it is."),
        Mistake("sent", _moved(lambda x, order: along(x, order.argsort(1))),
                "You *send* channel j to place order[b, j] (a scatter). The order says which channel to *fetch*: place j gets channel "
                "order[b, j], a gather."),
        Mistake("first image's for all", _moved(lambda x, order: x[:, order[0]]),
                "Every image was put into the first one's order. Each has its own: gather, or an index for the image beside that for the "
                "channel."),
        Mistake("last image's for all", _moved(lambda x, order: x[:, order[-1]]),
                "Every image was put into the last one's order. Each has its own."),
        Mistake("all orders for all", _moved(lambda x, order: x[:, order]),
                "x[:, order] puts *every* image into *every* order, (B, B, N, H, W). Image b needs row b alone: give an index for the "
                "images as well, torch.arange(B)[:, None], or gather."),
        Mistake("one pixel", _moved(lambda x, order: x.gather(1, order[:, :, None, None])),
                "gather gives as much as its index is large, here one pixel a channel: expand the index to x's shape."),
        Mistake("from the first image", _moved(lambda x, order: x[0][order]),
                "All channels come from the first image: image b fetches from image b (in a flat batch, its channels begin at b * N)."),
        Mistake("of a flat batch", _moved(lambda x, order: x.flatten(0, 1)[order.flatten()].view(x.shape)),
                "All channels come from the first image: image b fetches from image b (in a flat batch, its channels begin at b * N)."),
        Mistake("images exchanged", _moved(lambda x, order: along(x, order, 1) if len(x) != x.shape[1] else x[
                order, torch.arange(x.shape[1])[None]]),
                "The order names images instead of channels: dim=1 is the axis to gather along."),
        Mistake("rows", _moved(lambda x, order: along(x, order, 1) if x.shape[1] != x.shape[2] else along(x, order, 2)),
                "The rows of the picture were reordered. The channels are dim=1."),
        Mistake("columns", _moved(lambda x, order: along(x, order, 1) if x.shape[1] != x.shape[3] else along(x, order, 3)),
                "The columns of the picture were reordered. The channels are dim=1."),
        Mistake("order transposed", _moved(lambda x, order: along(x, order if len(x) != x.shape[1] else order.T)),
                "The order is transposed: its rows are images, its columns places."),
        Mistake("reshaped", _moved(_reshaped),
                "The axes are mixed up at the end: a map with the channels last is turned back by transpose, not by view or reshape, which "
                "lay channels of one pixel out as pixels of one channel."),
        Mistake("backwards", _moved(lambda x, order: along(x, order.flip(1))),
                "The channels stand in the opposite order: place 0 gets channel order[b, 0]."),
        Mistake("weighed", _moved(lambda x, order: x * order[:, :, None, None]),
                "The channels were multiplied by the numbers in the order. They are places: fetch the channels by them."),
        Mistake("sorted", _moved(lambda x, order: x.sort(dim=1, descending=True).values),
                "The values of each pixel were sorted. Whole channels change their places, by `order`."),
        Mistake("left alone", _moved(lambda x, order: x * 1), "The channels stand as they came; the order has no effect."),
    ),
)  # fmt: skip
