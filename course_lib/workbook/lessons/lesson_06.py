"""Exercises of lesson 06, DFPIR. Here 06-h; the others: `lesson_06_{shuffle,channels,mask,attention,block,silent,places}.py`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.workbook.adapters import call_function
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_06_attention import EXERCISE_D
from course_lib.workbook.lessons.lesson_06_block import EXERCISE_E
from course_lib.workbook.lessons.lesson_06_channels import EXERCISE_B
from course_lib.workbook.lessons.lesson_06_mask import EXERCISE_C
from course_lib.workbook.lessons.lesson_06_places import EXERCISE_G
from course_lib.workbook.lessons.lesson_06_shuffle import EXERCISE_A, guides, reorder, seeded
from course_lib.workbook.lessons.lesson_06_silent import EXERCISE_F

# ---- 06-h: a shuffle that learns -------------------------------------------------------------------------------------


def soft_matrix(guide: Tensor, tau: float) -> Tensor:
    """SoftSort, (B, N) -> (B, N, N): row i softmax_j(-|s_i - g_j| / tau), s sorted from large to small. Prillo and Eisenschlos, 2020."""
    falling = guide.sort(dim=1, descending=True).values
    return (-(falling[:, :, None] - guide[:, None, :]).abs() / tau).softmax(dim=-1)


def hard_matrix(guide: Tensor) -> Tensor:
    """(B, N) -> (B, N, N): row i has its one 1 at the channel that comes to place i."""
    return F.one_hot(guide.argsort(dim=1, descending=True), guide.shape[1]).to(guide.dtype)


def shuffled_by(matrix: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("bij,bjhw->bihw", matrix, x)


def soft_reorder(x: Tensor, guide: Tensor, tau: float) -> Tensor:
    """(B, N, H, W), (B, N), tau -> (B, N, H, W): the hard reorder, with the slope of the soft matrix for the guide (straight-through)."""
    hard, soft = hard_matrix(guide), soft_matrix(guide, tau)
    return shuffled_by(hard + (soft - soft.detach()), x)


def _inputs_h(seed: int) -> dict:
    g = seeded(seed, 68)
    cases = {}
    for name, (B, N, H, W), step, tau in (
        ("a sharp matrix", (2, 5 + seed % 2, 3, 4), 0.8, 0.25 + 0.1 * (seed % 3)),
        ("a soft matrix", (1 + seed % 3, 7, 4, 2), 0.6, 1.7 + 0.5 * (seed % 2)),
        ("a cube", (4, 4, 4, 4), 1.0, 0.7),
    ):
        cases[name] = {"x": 0.5 + torch.randn(B, N, H, W, generator=g), "guide": guides(g, B, N, step), "tau": tau}
    return cases


def _learn_with(
    slope=lambda d, tau: (-d.abs() / tau).softmax(-1),
    sort=lambda u: u.sort(dim=1, descending=True).values,
    columns=lambda u: u,
    hard=hard_matrix,
    through=lambda hard, soft: hard + (soft - soft.detach()),
    apply=shuffled_by,
):
    """soft_reorder with one step replaced."""

    def piece(x, guide, tau):
        soft = slope(sort(guide)[:, :, None] - columns(guide)[:, None, :], tau)
        return apply(through(hard(guide), soft), x)

    return piece


def _outside(first, second):
    """Straight-through on the result instead of the matrix: first(hard result) + second(soft result)."""

    def piece(x, guide, tau):
        return first(shuffled_by(hard_matrix(guide), x)) + second(shuffled_by(soft_matrix(guide, tau), x))

    return piece


def _change(soft):
    return soft - soft.detach()


def _standard(guide):
    return (guide - guide.mean(1, keepdim=True)) / guide.std(1, keepdim=True)


_SQUARE = "The distances are squared: SoftSort takes their absolute value."

EXERCISE_H = Exercise(
    "06-h", "A shuffle that learns", ("soft_reorder",), {"a sharp matrix": 1, "a soft matrix": 1, "a cube": 1}, _inputs_h, call_function,
    soft_reorder,
    (
        Mistake("hard alone", _learn_with(through=lambda hard, soft: hard),
                "The values are right, but no gradient reaches the guide: the indices of a sort have no slope, which is the fault to mend. "
                "Give the hard matrix the slope of P: hard + (P - P.detach())."),
        Mistake("soft alone", _learn_with(through=lambda hard, soft: soft),
                "The result is the soft mixture P @ x. Its *values* must be those of the hard reorder; only the slope is P's: "
                "hard + (P - P.detach())."),
        Mistake("the wrong way round", _learn_with(through=lambda hard, soft: soft.detach() + (hard - hard.detach())),
                "Value and slope are exchanged: the value is hard's, the slope is P's, hard + (P - P.detach())."),
        Mistake("both", _learn_with(through=lambda hard, soft: hard + soft),
                "Hard and soft were added. P - P.detach() adds nothing to the value and its slope to the gradient."),
        Mistake("mean of both", _learn_with(through=lambda hard, soft: (hard + soft) / 2),
                "That is the mean of hard and soft. The values are those of the hard reorder: hard + (P - P.detach())."),
        Mistake("minus the slope", _learn_with(through=lambda hard, soft: hard - (soft - soft.detach())),
                "The values are right, but the gradient of the guide has the wrong sign: + (P - P.detach())."),
        Mistake("x through P", _outside(lambda hard: hard.detach(), _change),
                "Values and the guide's gradient are right. But x gets its gradient through P; the reorder of x is exact, and so can its "
                "gradient be: take the straight-through step on the matrix, then multiply it by x."),
        Mistake("x twice", _outside(lambda hard: hard, _change),
                "Values and the guide's gradient are right, but x gets its gradient twice, through the hard reorder and through P: take "
                "the straight-through step on the matrix, then multiply it by x."),
        Mistake("x without gradient", _learn_with(apply=lambda P, x: shuffled_by(P, x.detach())),
                "The values and the guide's gradient are right, but none reaches x: do not detach it."),
        Mistake("of the first image", lambda x, guide, tau: soft_reorder(x, guide[:1].expand_as(guide), tau),
                "All images were put into the first one's order: each image has a guide of its own."),
        Mistake("of the mean", lambda x, guide, tau: soft_reorder(x, guide.mean(0, keepdim=True).expand_as(guide), tau),
                "All images were put into the order of the mean guide: each image has a guide of its own."),
        Mistake("weighed by softmax", lambda x, guide, tau: soft_reorder(x, guide, tau) * (guide / tau).softmax(1)[:, :, None, None],
                "The channels are multiplied by the guide's softmax as well: the reorder changes their places alone."),
        Mistake("tau left out", _learn_with(lambda d, tau: (-d.abs()).softmax(-1)), "tau has no effect: divide the distances by it."),
        Mistake("times tau", _learn_with(lambda d, tau: (-d.abs() * tau).softmax(-1)),
                "The distances are multiplied by tau: divide, so that a small one gives a sharp matrix."),
        Mistake("tau squared", _learn_with(lambda d, tau: (-d.abs() / tau**2).softmax(-1)), "tau divides twice."),
        Mistake("tau after the softmax", _learn_with(lambda d, tau: (-d.abs()).softmax(-1) / tau),
                "tau divides after the softmax: it belongs inside."),
        Mistake("squared distances", _learn_with(lambda d, tau: (-d.square() / tau).softmax(-1)), _SQUARE),
        Mistake("half squared distances", _learn_with(lambda d, tau: (-d.square() / (2 * tau**2)).softmax(-1)), _SQUARE),
        Mistake("roots of distances", _learn_with(lambda d, tau: (-(d.abs() + 1e-6).sqrt() / tau).softmax(-1)),
                "The root of the distances was taken: SoftSort takes their absolute value."),
        Mistake("standardised", _learn_with(sort=lambda u: _standard(u).sort(dim=1, descending=True).values, columns=_standard),
                "The values are right, but the guide was standardised first, as in the library. Here P is made of the guide as it is."),
        Mistake("columns normalised", _learn_with(
                lambda d, tau: (lambda P: P / P.sum(1, keepdim=True))((-d.abs() / tau).softmax(-1))),
                "The values are right, but the columns of P were normalised as well (Sinkhorn). In SoftSort only the rows add up to 1."),
        Mistake("softmax over the images", _learn_with(lambda d, tau: (-d.abs() / tau).softmax(0)),
                "The softmax ran over the batch (dim=0). Row i shares place i among the channels j: dim=-1."),
        Mistake("signed distances", _learn_with(lambda d, tau: (-d / tau).softmax(-1)), "The absolute value of the distances is missing."),
        Mistake("far is near", _learn_with(lambda d, tau: (d.abs() / tau).softmax(-1)),
                "The minus is missing, so that the most *distant* channel gets the largest share."),
        Mistake("softmax over the places", _learn_with(lambda d, tau: (-d.abs() / tau).softmax(1)),
                "The softmax ran over the places. Row i shares place i among the channels j: dim=-1."),
        Mistake("no softmax", _learn_with(lambda d, tau: -d.abs() / tau), "The softmax is missing."),
        Mistake("exp without sum", _learn_with(lambda d, tau: (-d.abs() / tau).exp()),
                "The exponentials are not divided by their sum: softmax."),
        Mistake("log softmax", _learn_with(lambda d, tau: (-d.abs() / tau).log_softmax(-1)), "These are logarithms: softmax."),
        Mistake("sorted values detached", _learn_with(sort=lambda u: u.detach().sort(dim=1, descending=True).values),
                "The values are right, but the sorted guide was detached: it holds the guide's gradient, too."),
        Mistake("columns detached", _learn_with(columns=lambda u: u.detach()),
                "The values are right, but the unsorted guide was detached: it holds the guide's gradient, too."),
        Mistake("rising slope", _learn_with(sort=lambda u: u.sort(dim=1).values),
                "The values are right, but P sorts from small to large: row 0 belongs to the *largest* value."),
        Mistake("rising", _learn_with(sort=lambda u: u.sort(dim=1).values, hard=lambda u: hard_matrix(-u)),
                "The smallest guide value comes first: sort with descending=True."),
        Mistake("rising values", _learn_with(hard=lambda u: hard_matrix(-u)),
                "The hard order is rising: the largest guide value comes first, as in P."),
        Mistake("hard transposed", _learn_with(hard=lambda u: hard_matrix(u).transpose(1, 2)),
                "The hard matrix is transposed, which is the inverse shuffle: row i has its 1 at channel order[i]."),
        Mistake("soft transposed", _learn_with(lambda d, tau: (-d.abs() / tau).softmax(-1).transpose(1, 2)),
                "The values are right, but P is transposed: rows are places (sorted values), columns are channels."),
        Mistake("both transposed", _learn_with(apply=lambda P, x: torch.einsum("bji,bjhw->bihw", P, x)),
                "The matrix is applied transposed, which is the inverse shuffle: place i is the sum over j of P[i, j] x[j]."),
        Mistake("hard from P", _learn_with(hard=lambda u: torch.eye(u.shape[1]).expand(len(u), -1, -1)),
                "The values are those of x as it came: the hard reorder is missing."),
        Mistake("rows of the picture", _learn_with(apply=lambda P, x: torch.einsum("bij,bcjw->bciw", P, x) if x.shape[1] == x.shape[2]
                else shuffled_by(P, x)), "The rows of the picture were reordered. The channels are dim=1."),
        Mistake("weighed", lambda x, guide, tau: reorder(x, guide.argsort(1, descending=True)) * (
                lambda s: 1 + s - s.detach())(guide.sort(1, descending=True).values)[:, :, None, None],
                "The values are right, and the guide gets a gradient, but that of a weight on each channel. The slope is P's: "
                "hard + (P - P.detach()) as a matrix."),
    ),
    keep_dtype=True,
)  # fmt: skip

EXERCISES = (EXERCISE_A, EXERCISE_B, EXERCISE_C, EXERCISE_D, EXERCISE_E, EXERCISE_F, EXERCISE_G, EXERCISE_H)
