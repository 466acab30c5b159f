"""Answers to 06-h, a shuffle that learns: wrong ones. The right ones stand in `ex_06_h_right.py`."""

import torch
import torch.nn.functional as F

from . import Answers

ANSWERS = Answers("06-h")
mutant = ANSWERS.mutant


def order_of(guide):
    return guide.argsort(dim=1, descending=True)


def hard_matrix(guide):
    return F.one_hot(order_of(guide), guide.shape[1]).to(guide.dtype)


def soft_matrix(guide, tau, descending=True, distance=torch.abs, axis=-1):
    """P (B, N, N), row i = place i, column j = channel j."""
    s = guide.sort(dim=1, descending=descending).values
    return (-distance(s[:, :, None] - guide[:, None, :]) / tau).softmax(dim=axis)


def moved(matrix, x):
    return torch.einsum("bij,bjhw->bihw", matrix, x)


def straight(hard, soft):
    """The values of the one, the slope of the other."""
    return hard + soft - soft.detach()


def through(x, guide, soft):
    """Right, given P: what most answers end with."""
    return moved(straight(hard_matrix(guide), soft), x)


def right(x, guide, tau):
    return through(x, guide, soft_matrix(guide, tau))


# ---- the forward ----


@mutant("hard|forward|value|straight")
def soft_forward(x, guide, tau):
    """No hard values at all."""
    return moved(soft_matrix(guide, tau), x)


@mutant("hard|forward|value|straight|swap|detach")
def straight_through_the_wrong_way(x, guide, tau):
    """The values of P, and the gradient of the hard matrix, which has none for the guide."""
    soft, hard = soft_matrix(guide, tau), hard_matrix(guide)
    return moved(soft.detach() + hard - hard.detach(), x)


@mutant("both|detach|sum|twice|value")
def both_added(x, guide, tau):
    return moved(hard_matrix(guide) + soft_matrix(guide, tau), x)


@mutant("half|mean|value|hard")
def mean_of_both(x, guide, tau):
    return moved((hard_matrix(guide) + soft_matrix(guide, tau)) / 2, x)


@mutant("detach|subtract|value")
def difference_of_both(x, guide, tau):
    """+ soft forgotten."""
    soft = soft_matrix(guide, tau)
    return moved(hard_matrix(guide) - soft.detach() + 0 * soft, x)


@mutant("fall|descend|largest|ascend|rising|order")
def rising_order_everywhere(x, guide, tau):
    soft = soft_matrix(guide, tau, descending=False)
    hard = F.one_hot(guide.argsort(dim=1), guide.shape[1]).to(guide.dtype)
    return moved(straight(hard, soft), x)


@mutant("fall|descend|ascend|rising|sort|gradient")
def rising_order_in_the_soft_matrix(x, guide, tau):
    """The forward does not show it: torch.sort rises unless told otherwise."""
    return through(x, guide, soft_matrix(guide, tau, descending=False))


@mutant("fall|descend|ascend|rising|largest")
def rising_order_in_the_hard_matrix(x, guide, tau):
    hard = F.one_hot(guide.argsort(dim=1), guide.shape[1]).to(guide.dtype)
    return moved(straight(hard, soft_matrix(guide, tau)), x)


@mutant("transpos|inverse|scatter|row|column")
def matrices_transposed(x, guide, tau):
    """The inverse permutation."""
    return moved(straight(hard_matrix(guide), soft_matrix(guide, tau)).mT, x)


@mutant("transpos|row|column|gradient|place|channel")
def soft_matrix_transposed(x, guide, tau):
    return through(x, guide, soft_matrix(guide, tau).mT)


@mutant("transpos|inverse|row|column|scatter")
def hard_matrix_transposed(x, guide, tau):
    return moved(straight(hard_matrix(guide).mT, soft_matrix(guide, tau)), x)


@mutant("rank|argsort|twice|inverse")
def ranks(x, guide, tau):
    hard = F.one_hot(order_of(guide).argsort(dim=1), guide.shape[1]).to(guide.dtype)
    return moved(straight(hard, soft_matrix(guide, tau)), x)


@mutant("argmax|hard|sort|once|tie")
def hard_matrix_by_columns(x, guide, tau):
    """The largest of each column at its place: a channel may find none."""
    soft = soft_matrix(guide, tau)
    hard = F.one_hot(soft.argmax(dim=2).flip(1), guide.shape[1]).to(guide.dtype)
    return moved(straight(hard, soft), x)


@mutant("reorder|moved|unchanged|effect")
def nothing_moved(x, guide, tau):
    soft = soft_matrix(guide, tau)
    eye = torch.eye(guide.shape[1], dtype=x.dtype).expand_as(soft)
    return moved(straight(eye, soft), x)


@mutant("each|image|first|own|batch")
def order_of_the_first_image(x, guide, tau):
    return right(x, guide[:1].expand_as(guide), tau)


@mutant("each|image|mean|own|batch")
def mean_guide_of_the_batch(x, guide, tau):
    return right(x, guide.mean(dim=0, keepdim=True).expand_as(guide), tau)


@mutant("round|tau|large|value|hard|exact")
def nearly_hard_forward(x, guide, tau):
    """A small temperature of its own for the forward: near, but no permutation."""
    soft = soft_matrix(guide, tau)
    return moved(straight(soft_matrix(guide, 0.05).detach(), soft), x)


@mutant("weigh|guide|multipl|reorder")
def channels_weighed(x, guide, tau):
    return right(x, guide, tau) * (guide / tau).softmax(dim=1)[:, :, None, None]


# ---- P ----


@mutant("tau|temperature")
def tau_ignored(x, guide, tau):
    return through(x, guide, soft_matrix(guide, 1.0))


@mutant("tau|temperature|divi|multipl")
def multiplied_by_tau(x, guide, tau):
    return through(x, guide, soft_matrix(guide, 1 / tau))


@mutant("tau|temperature|square")
def tau_squared(x, guide, tau):
    return through(x, guide, soft_matrix(guide, tau * tau))


@mutant("tau|temperature|softmax")
def divided_after_the_softmax(x, guide, tau):
    return through(x, guide, soft_matrix(guide, 1.0) / tau)


@mutant("sign|minus|near|distance|-")
def sign_forgotten(x, guide, tau):
    """Far counts more than near."""
    return through(x, guide, soft_matrix(guide, -tau))


@mutant("abs|distance|absolute|\\|")
def no_absolute_value(x, guide, tau):
    """-(s - g) / tau: the same weights in every row, since s falls out of the softmax."""
    return through(x, guide, soft_matrix(guide, tau, distance=lambda d: d))


@mutant("abs|distance|square")
def squared_distance(x, guide, tau):
    return through(x, guide, soft_matrix(guide, tau, distance=torch.square))


@mutant("abs|distance|root")
def root_of_the_distance(x, guide, tau):
    return through(x, guide, soft_matrix(guide, tau, distance=lambda d: (d.abs() + 1e-6).sqrt()))


@mutant("softmax|row|column|dim|axis")
def softmax_over_the_places(x, guide, tau):
    return through(x, guide, soft_matrix(guide, tau, axis=1))


@mutant("softmax|batch|dim|axis")
def softmax_over_the_images(x, guide, tau):
    return through(x, guide, soft_matrix(guide, tau, axis=0))


@mutant("softmax|sum|1|row")
def no_softmax(x, guide, tau):
    s = guide.sort(dim=1, descending=True).values
    return through(x, guide, (-(s[:, :, None] - guide[:, None]).abs() / tau).exp())


@mutant("sort|guide|row|place")
def guide_against_itself(x, guide, tau):
    """The sort forgotten: |g_i - g_j|."""
    return through(x, guide, (-(guide[:, :, None] - guide[:, None]).abs() / tau).softmax(dim=2))


@mutant("sort|place|number|guide")
def guide_against_the_place_numbers(x, guide, tau):
    N = guide.shape[1]
    places = torch.linspace(1, -1, N, dtype=guide.dtype)
    return through(x, guide, (-(places[None, :, None] - guide[:, None]).abs() / tau).softmax(dim=2))


@mutant("standard|normali|scale|mean|deviation")
def guide_standardised(x, guide, tau):
    """As the library does; here it was not asked for."""
    s = (guide - guide.mean(dim=1, keepdim=True)) / guide.std(dim=1, keepdim=True)
    return through(x, guide, soft_matrix(s, tau))


@mutant("guide|softmax|weight")
def guide_through_a_softmax(x, guide, tau):
    return through(x, guide, soft_matrix(guide.softmax(dim=1), tau))


@mutant("guide|softmax|sort|distance")
def softmax_of_the_guide_for_all_places(x, guide, tau):
    """No distances: the same row for every place."""
    P = (guide / tau).softmax(dim=1)[:, None].expand(-1, guide.shape[1], -1)
    return through(x, guide, P)


@mutant("Sinkhorn|row|column|once|normali")
def columns_normalised_too(x, guide, tau):
    """A step of Sinkhorn's, which SoftSort does without."""
    P = soft_matrix(guide, tau)
    return through(x, guide, P / P.sum(dim=1, keepdim=True))


# ---- the gradient ----


@mutant("gradient|guide|learn|soft")
def hard_alone(x, guide, tau):
    """Learns nothing: indices again."""
    return torch.take_along_dim(x, order_of(guide)[:, :, None, None], dim=1)


@mutant("gradient|guide|learn|soft")
def hard_matrix_alone(x, guide, tau):
    return moved(hard_matrix(guide), x)


@mutant("gradient|guide|detach|soft")
def everything_of_the_soft_one_detached(x, guide, tau):
    soft = soft_matrix(guide, tau).detach()
    return moved(hard_matrix(guide) + soft - soft, x)


@mutant("gradient|guide|detach")
def guide_detached(x, guide, tau):
    return right(x, guide.detach(), tau)


@mutant("gradient|sort|detach|take part")
def sorted_values_detached(x, guide, tau):
    s = guide.sort(dim=1, descending=True).values.detach()
    return through(x, guide, (-(s[:, :, None] - guide[:, None]).abs() / tau).softmax(dim=2))


@mutant("gradient|guide|detach|channel")
def columns_detached(x, guide, tau):
    """Only the sorted values learn."""
    s = guide.sort(dim=1, descending=True).values
    return through(x, guide, (-(s[:, :, None] - guide.detach()[:, None]).abs() / tau).softmax(dim=2))


@mutant("gradient|x|detach")
def features_detached(x, guide, tau):
    return right(x.detach(), guide, tau)


@mutant("gradient|x|detach|hard")
def features_detached_in_the_hard_part(x, guide, tau):
    """soft + (hard - soft).detach() on the results: x gets P's gradient instead of the exact one."""
    hard = torch.take_along_dim(x, order_of(guide)[:, :, None, None], dim=1)
    soft = moved(soft_matrix(guide, tau), x)
    return soft + (hard - soft).detach()


@mutant("gradient|x|twice|both|detach|hard")
def gradient_of_the_features_twice(x, guide, tau):
    """hard + soft - soft.detach() on the results: x gets the gradients of both."""
    hard = torch.take_along_dim(x, order_of(guide)[:, :, None, None], dim=1)
    soft = moved(soft_matrix(guide, tau), x)
    return hard + soft - soft.detach()


@mutant("gradient|twice|half|guide")
def gradient_of_the_guide_twice(x, guide, tau):
    soft = soft_matrix(guide, tau)
    return moved(hard_matrix(guide) + 2 * (soft - soft.detach()), x)


@mutant("gradient|sign|minus|guide")
def gradient_of_the_guide_turned_round(x, guide, tau):
    """The detach on the other one."""
    soft = soft_matrix(guide, tau)
    return moved(hard_matrix(guide) + soft.detach() - soft, x)


@mutant("gradient|guide|straight|soft|P")
def gradient_of_a_weight(x, guide, tau):
    """Straight-through by a factor of one: no soft sort in it."""
    factor = 1 + (guide - guide.detach()) / tau
    return torch.take_along_dim(x * factor[:, :, None, None], order_of(guide)[:, :, None, None], dim=1)


@mutant("gradient|no_grad")
def under_no_grad(x, guide, tau):
    with torch.no_grad():
        return right(x, guide, tau)


@mutant("gradient|clip|guide")
def gradient_of_close_neighbours_alone(x, guide, tau):
    """Small weights cut off."""
    P = soft_matrix(guide, tau)
    return through(x, guide, torch.where(P > 0.2, P, 0.0))


@mutant("gradient|order|place|row")
def soft_rows_in_the_channels_order(x, guide, tau):
    """P's rows put back to where the channels came from."""
    P = soft_matrix(guide, tau)
    return through(x, guide, P.gather(1, order_of(guide).argsort(dim=1)[:, :, None].expand_as(P)))


# ---- form ----


@mutant("NaN|sort|finite")
def not_a_number(x, guide, tau):
    """By the logarithm of a matrix of zeros: right values, and NaN for a gradient."""
    return moved(straight(hard_matrix(guide), soft_matrix(guide, tau)).log().exp(), x)


@mutant("float64|double|dtype")
def double_precision(x, guide, tau):
    return right(x.double(), guide.double(), tau)


@mutant()
def half_precision(x, guide, tau):
    y = right(x, guide, tau)
    return y + (y.bfloat16().to(y.dtype) - y).detach()


@mutant("in.place")
def features_overwritten(x, guide, tau):
    y = right(x, guide, tau)
    x.data.copy_(y.detach())
    return y


@mutant("in.place")
def guide_sorted_in_place(x, guide, tau):
    y = right(x, guide, tau)
    guide.data.copy_(guide.detach().sort(dim=1, descending=True).values)
    return y


@mutant("tuple|tensor")
def matrix_too(x, guide, tau):
    return right(x, guide, tau), soft_matrix(guide, tau)


@mutant("shape|matrix|x")
def the_matrix_alone(x, guide, tau):
    return straight(hard_matrix(guide), soft_matrix(guide, tau))


@mutant("shape|each|image|all")
def first_image_only(x, guide, tau):
    return right(x[:1], guide[:1], tau)


@mutant("every time|random|Gumbel|noise")
def with_gumbel_noise(x, guide, tau):
    noise = -torch.log(-torch.log(torch.rand_like(guide).clamp(1e-6, 1 - 1e-6)))
    return right(x, guide + noise, tau)


@mutant()
def square_pictures_only(x, guide, tau):
    B, N, H, W = x.shape
    return right(x, guide, tau).reshape(B, N, H, H)


@mutant()
def pixels_mixed_up(x, guide, tau):
    """Flattened channels last, multiplied channels first."""
    B, N, H, W = x.shape
    M = straight(hard_matrix(guide), soft_matrix(guide, tau))
    return (M @ x.permute(0, 2, 3, 1).reshape(B, N, H * W)).reshape(B, N, H, W)
