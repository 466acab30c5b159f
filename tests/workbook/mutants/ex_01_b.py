"""Answers to 01-b, scaled dot-product attention: q (..., Lq, d), k (..., Lk, d), v (..., Lk, e) -> (..., Lq, e)."""

import math

import torch
import torch.nn.functional as F
from einops import einsum

from . import Answers

ANSWERS = Answers("01-b")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant("scale|sqrt|root|divi")
def not_scaled(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v


@mutant("sqrt|root")
def divided_by_d(q, k, v):
    return (q @ k.transpose(-2, -1) / q.shape[-1]).softmax(dim=-1) @ v


@mutant("divi|sqrt|root")
def multiplied_by_root_d(q, k, v):
    return (q @ k.transpose(-2, -1) * math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


@mutant("sqrt|root|d")
def both_divided_by_root_d(q, k, v):
    scale = math.sqrt(q.shape[-1])
    return ((q / scale) @ (k / scale).transpose(-2, -1)).softmax(dim=-1) @ v


@mutant("softmax")
def scaled_after_the_softmax(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(dim=-1) / math.sqrt(q.shape[-1]) @ v


@mutant("d|width|last")
def root_of_the_number_of_queries(q, k, v):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-2])).softmax(dim=-1) @ v


@mutant("d|width|last")
def root_of_the_number_of_keys(q, k, v):
    return (q @ k.transpose(-2, -1) / k.shape[-2] ** 0.5).softmax(dim=-1) @ v


@mutant("d|width|last")
def root_of_the_second_axis(q, k, v):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.size(1))).softmax(dim=-1) @ v


@mutant("width|value|d")
def root_of_the_width_of_the_values(q, k, v):
    return (q @ k.transpose(-2, -1) / math.sqrt(v.shape[-1])).softmax(dim=-1) @ v


@mutant()
def root_of_64(q, k, v):
    return (q @ k.transpose(-2, -1) / 8).softmax(dim=-1) @ v


@mutant("dim=-1|last axis|keys|key")
def softmax_over_the_queries(q, k, v):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-2) @ v


@mutant("axis|keys|dim")
def softmax_over_the_second_axis(q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), 1) @ v


@mutant()
def softmax_over_everything(q, k, v):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.flatten(-2).softmax(dim=-1).reshape(scores.shape) @ v


@mutant("softmax")
def no_softmax(q, k, v):
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) @ v


@mutant()
def sigmoid_for_softmax(q, k, v):
    return torch.sigmoid(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])) @ v


@mutant()
def scores_divided_by_their_sum(q, k, v):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores / scores.sum(dim=-1, keepdim=True) @ v


@mutant()
def exp_without_the_largest_taken_off(q, k, v):
    weights = torch.exp(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
    return weights / weights.sum(dim=-1, keepdim=True) @ v


@mutant()
def all_axes_turned(q, k, v):
    return (q @ k.T / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


@mutant()
def three_axes_only(q, k, v):
    return (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


@mutant()
def three_axes_by_bmm(q, k, v):
    return torch.bmm((torch.bmm(q, k.mT) / math.sqrt(q.shape[-1])).softmax(dim=-1), v)


@mutant()
def four_axes_only(q, k, v):
    scores = torch.einsum("bnqd,bnkd->bnqk", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("bnqk,bnke->bnqe", scores.softmax(dim=-1), v)


@mutant()
def reshaped_for_transposed(q, k, v):
    scores = q @ k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2]) / math.sqrt(q.shape[-1])
    return scores.softmax(dim=-1) @ v


@mutant()
def the_keys_ask(q, k, v):
    return (k @ q.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


@mutant()
def map_transposed(q, k, v):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1).transpose(-2, -1) @ v


@mutant("v|value|key")
def keys_handed_over(q, k, v):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ k


@mutant("v|value")
def values_compared(q, k, v):
    return (q @ v.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ k


@mutant()
def keys_compared_with_keys(q, k, v):
    return (k @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


@mutant()
def channels_attend_to_channels(q, k, v):
    return v @ (q.transpose(-2, -1) @ k / math.sqrt(q.shape[-1])).softmax(dim=-1)


@mutant()
def look_alikes_least(q, k, v):
    return (-q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


@mutant()
def cosines(q, k, v):
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
    return scores.softmax(dim=-1) @ v


@mutant()
def squared_distances(q, k, v):
    return torch.softmax(-torch.cdist(q, k).square() / math.sqrt(q.shape[-1]), dim=-1) @ v


@mutant()
def only_earlier_keys(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@mutant()
def queries_added(q, k, v):
    return q + (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


@mutant()
def shape_of_the_queries(q, k, v):
    return ((q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v).reshape(q.shape)


@mutant()
def map_of_the_first_of_the_batch(q, k, v):
    return (q[:1] @ k[:1].transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


@mutant()
def keys_of_the_whole_batch(q, k, v):
    keys, values = (t.reshape(-1, t.shape[-1]) for t in (k, v))
    return (q @ keys.T / math.sqrt(q.shape[-1])).softmax(dim=-1) @ values


@mutant("map|weights|values|shape")
def the_map_only(q, k, v):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)


@mutant("tuple|tensor")
def result_and_map(q, k, v):
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
    return weights @ v, weights


@mutant("gradient")
def map_detached(q, k, v):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1).detach() @ v


@mutant("gradient")
def keys_under_no_grad(q, k, v):
    with torch.no_grad():
        turned = k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return (q @ turned).softmax(dim=-1) @ v


@mutant("numpy|gradient")
def through_numpy(q, k, v):
    scores = torch.from_numpy(q.numpy() @ k.numpy().swapaxes(-1, -2)) / math.sqrt(q.shape[-1])
    return scores.softmax(dim=-1) @ v


@mutant("in.place")
def queries_scaled_in_place(q, k, v):
    q /= math.sqrt(q.shape[-1])
    return (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v


@mutant("in.place")
def data_scaled_in_place(q, k, v):
    q.data = q.data / math.sqrt(q.shape[-1])
    return (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v


@mutant()
def half_precision(q, k, v):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1).bfloat16().float() @ v


@mutant("float64|dtype|double")
def double_precision(q, k, v):
    """The layers behind it are float32 and stop at such a result."""
    q, k, v = q.double(), k.double(), v.double()
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v


@mutant("every time|random|dropout")
def dropout_left_on(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, dropout_p=0.1)


@alternative
def by_the_fused_one(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


@alternative
def by_einsum(q, k, v):
    scores = einsum(q, k, "... q d, ... k d -> ... q k") * k.shape[-1] ** -0.5
    return einsum(F.softmax(scores, dim=-1), v, "... q k, ... k e -> ... q e")


@alternative
def exponentials_by_hand(queries, keys, values):
    scores = torch.matmul(queries, keys.mT).div(queries.size(-1) ** 0.5)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights @ values / weights.sum(-1, keepdim=True)


@alternative
def each_scaled_by_the_fourth_root(q, k, v):
    root = q.shape[-1] ** 0.25
    return torch.softmax((q / root) @ (k / root).swapaxes(-1, -2), -1) @ v


@alternative
def everything_transposed(q, k, v):
    weights = torch.softmax(k @ q.mT / math.sqrt(q.shape[-1]), dim=-2)  # (..., Lk, Lq): here the keys stand in the rows
    return (v.mT @ weights).mT


@alternative
def one_query_after_the_other(q, k, v):
    rows = []
    for i in range(q.shape[-2]):
        scores = (q[..., i : i + 1, :] * k).sum(dim=-1) / math.sqrt(q.shape[-1])
        rows.append((scores.softmax(dim=-1)[..., None] * v).sum(dim=-2))
    return torch.stack(rows, dim=-2)


@alternative
def keys_in_blocks(q, k, v):
    """Three keys at a time; the largest score, the sum and the average so far are kept up to date."""
    top, total, mean = -math.inf * torch.ones_like(q[..., :1]), 0.0, 0.0
    for some_k, some_v in zip(k.split(3, dim=-2), v.split(3, dim=-2), strict=True):
        scores = q @ some_k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        new = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
        weights, old = torch.exp(scores - new), torch.exp(top - new)
        total, mean, top = total * old + weights.sum(-1, keepdim=True), mean * old + weights @ some_v, new
    return mean / total
