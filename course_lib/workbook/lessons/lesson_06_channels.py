"""Exercise 06-b, degradation-guided channel perturbation: inputs, reference, points, and the mistakes that the check recognises."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.models.dfpir import ChannelPerturbation
from course_lib.workbook.adapters import call_plugged
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_06_shuffle import channel_order, falling, large_weights, reorder, seeded, telling

# ---- 06-b: degradation-guided channel perturbation -------------------------------------------------------------------


def _inputs_b(seed: int) -> dict:
    g = seeded(seed, 62)
    cases = {}
    for name, (C, D), B, (H, W) in (
        ("one image", (5, 6), 1, (4, 7)),
        ("a text for each image", (4, 8), 3, (5, 5 + seed % 2)),  # as many words as wide channels hide a transposed weight in no crash
        ("a cube", (6, 6), 6, (6, 6)),
    ):
        module = ChannelPerturbation(C, D)
        while True:  # until rounding cannot change an order, that of the check in eval mode included
            weights = large_weights(module, g)
            text = torch.randn(B, D, generator=g)
            guide = _guide(weights, torch.cat([text, -text.flip(-1)]))
            gap = guide.sort(dim=1).values.diff(dim=1).min()
            if gap > 2e-3 and telling(channel_order(guide)):
                break
        x = (0.3 + torch.randn(B, C, H, W, generator=g)).contiguous(memory_format=torch.channels_last)  # as DFPIR hands it over
        cases[name] = {"init": [C, D], "weights": weights, "x": x, "more": {"text": text}}
        cases[name]["advice"] = "see the table of the four layers above for what each is made of"
    return cases


def _guide(weights: dict[str, Tensor], text: Tensor) -> Tensor:
    text = F.linear(text, weights["linear1.weight"], weights["linear1.bias"])
    return F.linear(text, weights["linear2.weight"], weights["linear2.bias"])


def _shuffle_with(
    read=lambda text: text,
    between=lambda s, t: s.linear1(t),
    guide=lambda s, t: s.linear2(t),
    order=channel_order,
    widen=lambda s, x: s.widen(x),
    shuffle=lambda wide, order, guide: reorder(wide, order),
    narrow=lambda s, y: s.narrow(y),
    after=lambda out, x: out,
):
    """The plain ChannelPerturbation with one step replaced."""

    class Variant(ChannelPerturbation):
        def forward(self, x, text):
            scores = guide(self, between(self, read(text)))
            return after(narrow(self, shuffle(widen(self, x), order(scores), scores)), x)

    return Variant


def _maps(values):
    return values[:, :, None, None]


def _learning(wide, order, guide):
    """The values of the hard shuffle with a slope for the guide, as in 06-h."""
    first = guide.gather(1, order)
    soft = (-(first[:, :, None] - guide[:, None, :]).abs()).softmax(-1)
    return torch.einsum("bij,bjhw->bihw", F.one_hot(order, order.shape[1]) + soft - soft.detach(), wide)


def _soft(wide, order, guide):
    soft = (-(guide.gather(1, order)[:, :, None] - guide[:, None, :]).abs()).softmax(-1)
    return torch.einsum("bij,bjhw->bihw", soft, wide)


def _of_first_half(guide):
    return channel_order(guide[:, : guide.shape[1] // 2])


def _by_mode(training: bool):
    """Shuffles in this mode alone."""

    class Variant(ChannelPerturbation):
        def forward(self, x, text):
            wide = self.widen(x)
            return self.narrow(reorder(wide, self.order(text)) if self.training == training else wide)

    return Variant


_BIASES = "A bias of linear1 or linear2 is missing in the guide: call the layers, guide = linear2(linear1(text))."
_MODE = "It shuffles in one of the modes, training and eval, and not in the other. It does the same in both."
_BETWEEN = "There is an activation between linear1 and linear2. There is none: the two are one linear map of the text."
_END = "There is an activation after `narrow`; none belongs there."
_INSIDE = "There is an activation between `widen` and `narrow`; nothing but the shuffle stands there."
_WEIGH = (
    "The channels are multiplied by the guide: that is channel attention, the paper's other row. Here the guide gives their *order* alone."
)

EXERCISE_B = Exercise(
    "06-b", "Degradation-guided channel perturbation", ("ChannelPerturbation",),
    {"one image": 1, "a text for each image": 1, "a cube": 1}, _inputs_b, call_plugged, ChannelPerturbation,
    (
        Mistake("relu between", _shuffle_with(between=lambda s, t: F.relu(s.linear1(t))), _BETWEEN),
        Mistake("gelu between", _shuffle_with(between=lambda s, t: F.gelu(s.linear1(t))), _BETWEEN),
        Mistake("tanh between", _shuffle_with(between=lambda s, t: s.linear1(t).tanh()), _BETWEEN),
        Mistake("linear1 left out", _shuffle_with(between=lambda s, t: t), "linear1 is not used: guide = linear2(linear1(text))."),
        Mistake("linear1 twice", _shuffle_with(between=lambda s, t: s.linear1(s.linear1(t))), "linear1 ran twice."),
        Mistake("residual in the text", _shuffle_with(between=lambda s, t: t + s.linear1(t)),
                "The text was added to what linear1 gives: guide = linear2(linear1(text)) and no more."),
        Mistake("text normalised", _shuffle_with(read=lambda t: F.normalize(t, dim=1)),
                "The text was normalised. The code takes the vector as the encoder gives it, and with another length, the biases weigh "
                "differently."),
        Mistake("text standardised", _shuffle_with(read=lambda t: F.layer_norm(t, t.shape[1:])),
                "The text was normalised. The code takes the vector as the encoder gives it."),
        Mistake("biases left out", _shuffle_with(
                between=lambda s, t: F.linear(t, s.linear1.weight), guide=lambda s, t: F.linear(t, s.linear2.weight)), _BIASES),
        Mistake("bias of linear1 left out", _shuffle_with(between=lambda s, t: F.linear(t, s.linear1.weight)), _BIASES),
        Mistake("bias of linear2 left out", _shuffle_with(guide=lambda s, t: F.linear(t, s.linear2.weight)), _BIASES),
        Mistake("rising", _shuffle_with(order=lambda u: u.argsort(1)),
                "The smallest guide value comes first: the largest does (06-a)."),
        Mistake("sent", _shuffle_with(order=lambda u: falling(u).argsort(1)),
                "The shuffle is the inverse one: place j *fetches* channel order[b, j] (06-a)."),
        Mistake("by size", _shuffle_with(order=lambda u: falling(u.abs())),
                "The guide was sorted by its absolute value: the sign counts."),
        Mistake("first image's text", _shuffle_with(read=lambda t: t[:1].expand_as(t)),
                "All images were shuffled by the first one's text: image b has a text of its own."),
        Mistake("mean text", _shuffle_with(read=lambda t: t.mean(0, keepdim=True).expand_as(t)),
                "All images were shuffled by the mean of the texts: image b has a text of its own."),
        Mistake("sorted over the images", _shuffle_with(order=lambda u: falling(u, 0) if len(u) <= u.shape[1] else falling(u)),
                "The images were sorted against each other (dim=0). Each sorts its own channels: dim=1."),
        Mistake("softmax over the images", _shuffle_with(order=lambda u: channel_order(u.softmax(0))),
                "The guide went through a softmax over the batch (dim=0), so that an image's order depends on its neighbours. Sort the "
                "guide as it is."),
        Mistake("centred over the images", _shuffle_with(order=lambda u: channel_order(u - u.mean(0) if len(u) > 1 else u)),
                "The mean over the batch was taken off the guide, so that an image's order depends on its neighbours. Sort the guide as it "
                "is."),
        Mistake("shuffled twice", _shuffle_with(shuffle=lambda wide, order, guide: reorder(reorder(wide, order), order)),
                "The channels were reordered twice."),
        Mistake("shuffled before", _shuffle_with(order=_of_first_half, widen=lambda s, x: x, narrow=lambda s, y: s.narrow(s.widen(y))),
                "x was reordered *before* `widen`, in C channels. The shuffle is in the wide space, of 2C: widen, reorder, narrow."),
        Mistake("shuffled after", _shuffle_with(order=_of_first_half, widen=lambda s, x: s.narrow(s.widen(x)), narrow=lambda s, y: y),
                "The channels were reordered *after* `narrow`, in C channels. The shuffle is in the wide space, of 2C: widen, reorder, "
                "narrow."),
        Mistake("not shuffled while it trains", _by_mode(False), _MODE),
        Mistake("shuffled only while it trains", _by_mode(True), _MODE),
        Mistake("no shuffle", _shuffle_with(shuffle=lambda wide, order, guide: wide),
                "The channels are not reordered, so the text has no effect: shuffle between `widen` and `narrow`."),
        Mistake("shuffled by the features", _shuffle_with(shuffle=lambda wide, order, guide: reorder(wide, falling(wide.mean((2, 3))))),
                "The channels are ordered by their own means. The text gives the order."),
        Mistake("weighed", _shuffle_with(shuffle=lambda wide, order, guide: wide * _maps(guide)), _WEIGH),
        Mistake("weighed by sigmoid", _shuffle_with(shuffle=lambda wide, order, guide: wide * _maps(guide.sigmoid())), _WEIGH),
        Mistake("weighed by softmax", _shuffle_with(shuffle=lambda wide, order, guide: wide * _maps(guide.softmax(1))), _WEIGH),
        Mistake("shuffled and weighed", _shuffle_with(shuffle=lambda wide, order, guide: reorder(wide * _maps(guide), order)), _WEIGH),
        Mistake("shuffled and weighed by softmax",
                _shuffle_with(shuffle=lambda wide, order, guide: reorder(wide * _maps(guide.softmax(1)), order)), _WEIGH),
        Mistake("shuffled and weighed in order",
                _shuffle_with(shuffle=lambda wide, order, guide: reorder(wide, order) * _maps(guide)), _WEIGH),
        Mistake("shuffled and weighed by sigmoid",
                _shuffle_with(shuffle=lambda wide, order, guide: reorder(wide * _maps(guide.sigmoid()), order)), _WEIGH),
        Mistake("best half kept", _shuffle_with(shuffle=lambda wide, order, guide: reorder(wide, order) * _maps(
                (torch.arange(order.shape[1]) < order.shape[1] // 2).expand_as(order))),
                "Half of the channels were dropped. K is 2C, all of them: a full top-K only reorders."),
        Mistake("added to the unshuffled", _shuffle_with(shuffle=lambda wide, order, guide: wide + reorder(wide, order)),
                "The unshuffled channels were added to the shuffled ones: the shuffled ones take their place."),
        Mistake("residual", _shuffle_with(after=lambda out, x: out + x),
                "x was added. No residual here: what `narrow` gives is the result."),
        Mistake("x subtracted", _shuffle_with(after=lambda out, x: out - x),
                "x was subtracted. No residual here: what `narrow` gives is the result."),
        Mistake("relu inside", _shuffle_with(shuffle=lambda wide, order, guide: F.relu(reorder(wide, order))), _INSIDE),
        Mistake("gelu inside", _shuffle_with(shuffle=lambda wide, order, guide: F.gelu(reorder(wide, order))), _INSIDE),
        Mistake("relu at the end", _shuffle_with(after=lambda out, x: F.relu(out)), _END),
        Mistake("gelu at the end", _shuffle_with(after=lambda out, x: F.gelu(out)), _END),
        Mistake("sigmoid at the end", _shuffle_with(after=lambda out, x: out.sigmoid()), _END),
        Mistake("bias of widen left out", _shuffle_with(widen=lambda s, x: F.conv2d(x, s.widen.weight)),
                "The bias of `widen` is not used: call the layer."),
        Mistake("bias of narrow left out", _shuffle_with(narrow=lambda s, y: F.conv2d(y, s.narrow.weight)),
                "The bias of `narrow` is not used: call the layer."),
        Mistake("bias not shuffled", _shuffle_with(
                widen=lambda s, x: F.conv2d(x, s.widen.weight), narrow=lambda s, y: s.narrow(y + s.widen.bias[:, None, None])),
                "The bias of `widen` was not reordered with its channel: reorder what the whole layer gives."),
        Mistake("x beside the wide channels", _shuffle_with(widen=lambda s, x: torch.cat([x, s.widen(x)[:, x.shape[1] :]], 1)),
                "x stands in for half of the wide channels. All 2C are `widen`'s."),
        Mistake("cut instead of narrowed", _shuffle_with(narrow=lambda s, y: y[:, : s.narrow.out_channels]),
                "The first C of the shuffled channels were kept. `narrow`, a 1x1 convolution, brings 2C to C."),
        Mistake("halves added", _shuffle_with(narrow=lambda s, y: sum(y.chunk(2, dim=1))),
                "The two halves were added up. `narrow`, a 1x1 convolution, brings 2C to C."),
        Mistake("repeated instead of widened", _shuffle_with(widen=lambda s, x: x.repeat(1, 2, 1, 1)),
                "x was repeated. `widen`, a 1x1 convolution, makes 2C different channels of it."),
        Mistake("soft", _shuffle_with(shuffle=_soft), "The shuffle is soft, a mixture of channels. It is a hard one here; see 06-h."),
        Mistake("guide learns", _shuffle_with(shuffle=_learning),
                "The values are right, but linear1 and linear2 get a gradient, which the published code does not give them. Here the guide "
                "acts through its indices alone; that it ought to learn is 06-h."),
        Mistake("x detached", _shuffle_with(widen=lambda s, x: s.widen(x.detach())),
                "The values are right, but no gradient reaches x, so the layers before would not learn: do not detach it."),
        Mistake("shuffle detached", _shuffle_with(shuffle=lambda wide, order, guide: reorder(wide, order).detach()),
                "The values are right, but `widen` and the layers before it get no gradient: do not detach what is shuffled."),
    ),
    allowed_imports=("torch", "einops", "math", "course_lib"),
    keep_dtype=True,
)  # fmt: skip
