"""Answers to 06-c, the top-K mask: scores (B, n, d, d), gamma -> softmax of each row over its int(d * gamma) largest, at least one."""

import math

import torch

from . import Answers

ANSWERS = Answers("06-c")
mutant = ANSWERS.mutant
INF = float("inf")


def count(scores, gamma):
    return max(1, int(scores.shape[-1] * gamma))


def mask_of(scores, k, dim=-1, largest=True):
    """True where a row has one of its k largest: what most answers begin with."""
    return torch.zeros_like(scores, dtype=torch.bool).scatter(dim, scores.topk(k, dim=dim, largest=largest).indices, True)


def softmax_where(scores, mask):
    return scores.masked_fill(~mask, -INF).softmax(dim=-1)


def right(scores, gamma):
    """A right one, which some answers here spoil."""
    return softmax_where(scores, mask_of(scores, count(scores, gamma)))


@mutant("minus infinity|-inf|before|multipl|zero")
def mask_multiplied_before_the_softmax(scores, gamma):
    """The paper's form: a zero still gets its share."""
    return (scores * mask_of(scores, count(scores, gamma))).softmax(dim=-1)


@mutant("minus infinity|-inf|before|multipl|zero")
def filled_with_zeros(scores, gamma):
    return scores.masked_fill(~mask_of(scores, count(scores, gamma)), 0.0).softmax(dim=-1)


@mutant("1|one|sum|before|share|renormal")
def mask_after_the_softmax(scores, gamma):
    """The rows no longer add up to 1."""
    return scores.softmax(dim=-1) * mask_of(scores, count(scores, gamma))


@mutant("1|one|sum|before|share|renormal")
def smallest_shares_set_to_zero(scores, gamma):
    attention = scores.softmax(dim=-1)
    k = count(scores, gamma)
    return torch.where(attention >= attention.topk(k, dim=-1).values[..., -1:], attention, 0.0)


@mutant("softmax|1|one")
def no_softmax(scores, gamma):
    return scores * mask_of(scores, count(scores, gamma))


@mutant("infinite|softmax|finite")
def no_softmax_minus_infinity(scores, gamma):
    return scores.masked_fill(~mask_of(scores, count(scores, gamma)), -INF)


@mutant("largest|smallest")
def smallest_kept(scores, gamma):
    return softmax_where(scores, mask_of(scores, count(scores, gamma), largest=False))


@mutant("largest|mask|inver|turn|other way")
def mask_inverted(scores, gamma):
    k = min(count(scores, gamma), scores.shape[-1] - 1)
    return softmax_where(scores, ~mask_of(scores, k))


@mutant("row|column|dim|axis")
def largest_of_each_column(scores, gamma):
    k = count(scores, gamma)
    mask = mask_of(scores, k, dim=-2) | mask_of(scores, 1)  # the row's largest, lest a row is empty
    return softmax_where(scores, mask)


@mutant("row|column|dim|axis|NaN")
def largest_of_each_column_plainly(scores, gamma):
    """A row that no column chose is NaN."""
    return softmax_where(scores, mask_of(scores, count(scores, gamma), dim=-2))


@mutant("row|column|dim|axis")
def softmax_of_each_column(scores, gamma):
    masked = scores.masked_fill(~mask_of(scores, count(scores, gamma), dim=-2), -INF)
    return masked.softmax(dim=-2)


@mutant("row|column|dim|axis")
def rows_masked_columns_softmaxed(scores, gamma):
    masked = scores.masked_fill(~mask_of(scores, count(scores, gamma)), -1e9)
    return masked.softmax(dim=-2)


@mutant("row|head|dim|axis|NaN")
def softmax_over_the_heads(scores, gamma):
    return scores.masked_fill(~mask_of(scores, count(scores, gamma)), -1e9).softmax(dim=1)


@mutant("row|each|whole|map")
def largest_of_the_whole_map(scores, gamma):
    """int(d * d * gamma) of each head's map; a row's largest stays in any case."""
    flat = scores.flatten(2)
    mask = mask_of(flat, max(1, int(flat.shape[-1] * gamma))).view_as(scores)
    return softmax_where(scores, mask | mask_of(scores, 1))


@mutant()
def largest_of_all_heads(scores, gamma):
    """As many a row on average, chosen among the rows of all heads."""
    side_by_side = scores.transpose(1, 2).flatten(2)  # (B, d, n * d)
    mask = mask_of(side_by_side, max(1, int(side_by_side.shape[-1] * gamma))).view_as(scores.transpose(1, 2)).transpose(1, 2)
    return softmax_where(scores, mask | mask_of(scores, 1))


@mutant("head|own")
def mask_of_the_first_head(scores, gamma):
    return softmax_where(scores, mask_of(scores, count(scores, gamma))[:, :1].expand_as(scores))


@mutant("image|own|batch")
def mask_of_the_first_image(scores, gamma):
    return softmax_where(scores, mask_of(scores, count(scores, gamma))[:1].expand_as(scores))


@mutant("row|own")
def mask_of_the_first_row(scores, gamma):
    return softmax_where(scores, mask_of(scores, count(scores, gamma))[:, :, :1].expand_as(scores))


@mutant()
def mask_of_the_mean_row(scores, gamma):
    """The same channels for every row: those that are strong on average."""
    return softmax_where(scores, mask_of(scores.mean(dim=-2, keepdim=True), count(scores, gamma)).expand_as(scores))


@mutant("gamma|mask")
def gamma_ignored(scores, gamma):
    return scores.softmax(dim=-1)


@mutant("gamma|0.9")
def nine_tenths_always(scores, gamma):
    return right(scores, 0.9)


@mutant("gamma|half")
def half_always(scores, gamma):
    return right(scores, 0.5)


@mutant("int|round|down|ceil|count|many")
def rounded_up(scores, gamma):
    return softmax_where(scores, mask_of(scores, math.ceil(scores.shape[-1] * gamma)))


@mutant("int|round|down|ceil|count|many")
def rounded_to_the_nearest(scores, gamma):
    return softmax_where(scores, mask_of(scores, max(1, round(scores.shape[-1] * gamma))))


@mutant()
def one_too_many(scores, gamma):
    return softmax_where(scores, mask_of(scores, min(scores.shape[-1], int(scores.shape[-1] * gamma) + 1)))


@mutant()
def one_too_few(scores, gamma):
    """Strictly above the k-th largest."""
    threshold = scores.topk(count(scores, gamma), dim=-1).values[..., -1:]
    mask = scores > threshold
    return softmax_where(scores, mask | mask_of(scores, 1))


@mutant("NaN|one|least")
def one_too_few_and_empty_rows(scores, gamma):
    threshold = scores.topk(count(scores, gamma), dim=-1).values[..., -1:]
    return softmax_where(scores, scores > threshold)


@mutant("one|least|NaN|k|1")
def no_row_keeps_one_at_least(scores, gamma):
    """NaN where d * gamma is below 1."""
    return softmax_where(scores, mask_of(scores, int(scores.shape[-1] * gamma)))


@mutant("one|least|1")
def nothing_kept_gives_zeros(scores, gamma):
    return softmax_where(scores, mask_of(scores, int(scores.shape[-1] * gamma))).nan_to_num(0.0)


@mutant("one|least|1")
def nothing_kept_keeps_everything(scores, gamma):
    k = int(scores.shape[-1] * gamma) or scores.shape[-1]
    return softmax_where(scores, mask_of(scores, k))


@mutant("one|least|1|two")
def two_kept_at_least(scores, gamma):
    return softmax_where(scores, mask_of(scores, min(scores.shape[-1], max(2, int(scores.shape[-1] * gamma)))))


@mutant()
def as_many_dropped_as_should_be_kept(scores, gamma):
    return softmax_where(scores, mask_of(scores, max(1, int(scores.shape[-1] * (1 - gamma)))))


@mutant()
def dropped_share_rounded_down(scores, gamma):
    """int() of what goes: one more may stay."""
    d = scores.shape[-1]
    return softmax_where(scores, mask_of(scores, max(1, d - int(d * (1 - gamma)))))


@mutant("head|d|axis|count|row")
def counted_by_the_heads(scores, gamma):
    k = max(1, int(scores.shape[1] * gamma))
    return softmax_where(scores, mask_of(scores, min(k, scores.shape[-1])))


@mutant("head|d|axis|count|row")
def counted_by_all_channels(scores, gamma):
    """C * gamma channels, of which a head has only d."""
    k = max(1, int(scores.shape[1] * scores.shape[2] * gamma))
    return softmax_where(scores, mask_of(scores, min(k, scores.shape[-1])))


@mutant()
def gamma_as_a_threshold(scores, gamma):
    return softmax_where(scores, (scores > gamma) | mask_of(scores, 1))


@mutant()
def gamma_as_a_share_of_the_largest(scores, gamma):
    """Everything above gamma times the row's maximum."""
    return softmax_where(scores, (scores >= gamma * scores.amax(dim=-1, keepdim=True)) | mask_of(scores, 1))


@mutant()
def gamma_as_a_share_of_the_attention(scores, gamma):
    """Top-p: the largest until their shares reach gamma."""
    shares, order = scores.softmax(dim=-1).sort(dim=-1, descending=True)
    before = shares.cumsum(dim=-1) - shares
    mask = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order, before < gamma)
    return softmax_where(scores, mask)


@mutant()
def gamma_as_a_quantile(scores, gamma):
    """Interpolates between two scores."""
    mask = scores >= torch.quantile(scores, gamma, dim=-1, keepdim=True)
    return softmax_where(scores, mask | mask_of(scores, 1))


@mutant()
def gamma_as_a_temperature(scores, gamma):
    return (right(scores, gamma).log() / gamma).softmax(dim=-1)


@mutant("NaN|minus infinity|-inf")
def mask_times_infinity(scores, gamma):
    """0 times infinity."""
    mask = mask_of(scores, count(scores, gamma)).to(scores.dtype)
    return (scores + (1 - mask) * -INF).softmax(dim=-1)


@mutant("NaN|infinit|-inf")
def plus_infinity(scores, gamma):
    return scores.masked_fill(~mask_of(scores, count(scores, gamma)), INF).softmax(dim=-1)


@mutant("minus infinity|-inf|zero|low enough")
def filled_with_minus_one(scores, gamma):
    return scores.masked_fill(~mask_of(scores, count(scores, gamma)), -1.0).softmax(dim=-1)


@mutant("minus infinity|-inf|zero|low enough")
def filled_with_the_smallest_score(scores, gamma):
    return torch.where(mask_of(scores, count(scores, gamma)), scores, scores.amin(dim=-1, keepdim=True)).softmax(dim=-1)


@mutant()
def reduced_instead_of_masked(scores, gamma):
    """A finite penalty, which high scores hardly feel."""
    return torch.where(mask_of(scores, count(scores, gamma)), scores, scores - 5.0).softmax(dim=-1)


@mutant("shape")
def the_kept_alone(scores, gamma):
    return scores.topk(count(scores, gamma), dim=-1).values.softmax(dim=-1)


@mutant()
def the_kept_in_their_order(scores, gamma):
    """Values sorted, their places lost."""
    kept = scores.topk(count(scores, gamma), dim=-1).values.softmax(dim=-1)
    return torch.nn.functional.pad(kept, (0, scores.shape[-1] - kept.shape[-1]))


@mutant()
def largest_by_size_without_sign(scores, gamma):
    return softmax_where(scores, mask_of(scores.abs(), count(scores, gamma)))


@mutant()
def equal_shares(scores, gamma):
    """The mask's softmax instead of the scores'."""
    mask = mask_of(scores, count(scores, gamma))
    return mask / mask.sum(dim=-1, keepdim=True) + 0 * scores


@mutant()
def shares_without_exp(scores, gamma):
    kept = scores * mask_of(scores, count(scores, gamma))
    return kept / kept.sum(dim=-1, keepdim=True)


@mutant()
def softmax_twice(scores, gamma):
    return right(scores, gamma).softmax(dim=-1)


@mutant()
def masked_then_softmaxed_again(scores, gamma):
    return right(scores.softmax(dim=-1), gamma)


@mutant("log|finite|infinit")
def logarithms(scores, gamma):
    return right(scores, gamma).log()


@mutant()
def scaled_by_the_root_of_d(scores, gamma):
    return right(scores / math.sqrt(scores.shape[-1]), gamma)


@mutant()
def transposed(scores, gamma):
    return right(scores.mT, gamma).mT


@mutant()
def result_transposed(scores, gamma):
    return right(scores, gamma).mT


@mutant("NaN|finite|large|overflow")
def exponentials_by_hand(scores, gamma):
    """Right until a score is above 88."""
    powers = scores.exp() * mask_of(scores, count(scores, gamma))
    return powers / powers.sum(dim=-1, keepdim=True)


@mutant()
def shares_divided_by_a_sum_kept_from_zero(scores, gamma):
    """An epsilon that a well-made softmax does not need."""
    attention = scores.softmax(dim=-1) * mask_of(scores, count(scores, gamma))
    return attention / (attention.sum(dim=-1, keepdim=True) + 1e-2)


@mutant("in.place")
def filled_in_place(scores, gamma):
    scores.data.masked_fill_(~mask_of(scores, count(scores, gamma)), -INF)
    return scores.softmax(dim=-1)


@mutant("in.place")
def filled_in_place_in_the_open(scores, gamma):
    return scores.masked_fill_(~mask_of(scores, count(scores, gamma)), -INF).softmax(dim=-1)


@mutant("gradient|training")
def detached(scores, gamma):
    return right(scores.detach(), gamma)


@mutant("gradient|training")
def under_no_grad(scores, gamma):
    with torch.no_grad():
        return right(scores, gamma)


@mutant("gradient")
def sum_detached(scores, gamma):
    powers = (scores - scores.amax(dim=-1, keepdim=True).detach()).exp() * mask_of(scores, count(scores, gamma))
    return powers / powers.sum(dim=-1, keepdim=True).detach()


@mutant("gradient")
def masked_straight_through(scores, gamma):
    """The gradient of the softmax without a mask."""
    soft = scores.softmax(dim=-1)
    return soft + (right(scores, gamma) - soft).detach()


@mutant()
def half_precision(scores, gamma):
    return right(scores.bfloat16(), gamma).to(scores.dtype)


@mutant("float64|double|dtype")
def double_precision(scores, gamma):
    return right(scores.double(), gamma)


@mutant("every time|random|dropout")
def with_dropout(scores, gamma):
    return torch.nn.functional.dropout(right(scores, gamma), 0.1)


@mutant("every time|random|chance")
def kept_by_chance(scores, gamma):
    """gamma as the probability to stay."""
    return softmax_where(scores, (torch.rand_like(scores) < gamma) | mask_of(scores, 1))


@mutant("shape|each|image")
def one_image_only(scores, gamma):
    return right(scores[:1], gamma)


@mutant("shape|head")
def heads_averaged(scores, gamma):
    return right(scores.mean(dim=1, keepdim=True), gamma)


@mutant("tuple|tensor")
def mask_too(scores, gamma):
    mask = mask_of(scores, count(scores, gamma))
    return softmax_where(scores, mask), mask
