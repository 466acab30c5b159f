"""Answers to 01-a, a soft average: distances (Q, N), values (N, C), temperature a number -> (Q, C)."""

import math

import torch
import torch.nn.functional as F

from . import Answers

ANSWERS = Answers("01-a")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant("axis|dim|row|queries")
def weights_sum_to_one_over_the_queries(distances, values, temperature):
    return torch.softmax(-distances / temperature, dim=0) @ values


@mutant("minus|sign|far|negative|-distances")
def the_far_ones_count_most(distances, values, temperature):
    return torch.softmax(distances / temperature, dim=-1) @ values


@mutant("temperature")
def no_temperature(distances, values, temperature):
    return torch.softmax(-distances, dim=-1) @ values


@mutant("temperature|divide")
def multiplied_by_the_temperature(distances, values, temperature):
    return torch.softmax(-distances * temperature, dim=-1) @ values


@mutant()
def gaussian_with_the_temperature_squared(distances, values, temperature):
    return torch.softmax(-distances / (2 * temperature**2), dim=-1) @ values


@mutant()
def half_the_distance(distances, values, temperature):
    return torch.softmax(-0.5 * distances / temperature, dim=-1) @ values


@mutant()
def root_of_the_distance(distances, values, temperature):
    return torch.softmax(-(distances.clamp_min(1e-12).sqrt()) / temperature, dim=-1) @ values


@mutant()
def distance_squared_again(distances, values, temperature):
    return torch.softmax(-(distances**2) / temperature, dim=-1) @ values


@mutant("softmax|NaN|large|largest|zero")
def by_the_formula(distances, values, temperature):
    weights = torch.exp(-distances / temperature)
    return weights / weights.sum(dim=-1, keepdim=True) @ values


@mutant("softmax|large|largest|zero")
def by_the_formula_with_an_eps(distances, values, temperature):
    weights = torch.exp(-distances / temperature)
    return weights / (weights.sum(dim=-1, keepdim=True) + 1e-8) @ values


@mutant()
def by_the_formula_and_nan_made_zero(distances, values, temperature):
    weights = torch.exp(-distances / temperature)
    return torch.nan_to_num(weights / weights.sum(dim=-1, keepdim=True)) @ values


@mutant()
def distances_clamped(distances, values, temperature):
    weights = torch.exp(-(distances / temperature).clamp_max(80))
    return weights / weights.sum(dim=-1, keepdim=True) @ values


@mutant()
def one_minimum_for_all_queries(distances, values, temperature):
    weights = torch.exp(-(distances - distances.min()) / temperature)
    return weights / weights.sum(dim=-1, keepdim=True) @ values


@mutant()
def distances_scaled_to_one(distances, values, temperature):
    distances = distances / distances.amax(dim=-1, keepdim=True)
    return torch.softmax(-distances / temperature, dim=-1) @ values


@mutant()
def weights_not_normalised(distances, values, temperature):
    return torch.exp(-(distances - distances.amin(dim=-1, keepdim=True)) / temperature) @ values


@mutant()
def weights_of_length_one(distances, values, temperature):
    weights = torch.exp(-(distances - distances.amin(dim=-1, keepdim=True)) / temperature)
    return F.normalize(weights, dim=-1) @ values


@mutant()
def logarithm_of_the_weights(distances, values, temperature):
    return F.log_softmax(-distances / temperature, dim=-1) @ values


@mutant()
def powers_of_two(distances, values, temperature):
    return torch.softmax(-distances / temperature * math.log(2), dim=-1) @ values


@mutant()
def inverse_distances(distances, values, temperature):
    weights = 1 / (distances + temperature)
    return weights / weights.sum(dim=-1, keepdim=True) @ values


@mutant()
def sigmoid_for_softmax(distances, values, temperature):
    weights = torch.sigmoid(-(distances - distances.mean(dim=-1, keepdim=True)) / temperature)
    return weights / weights.sum(dim=-1, keepdim=True) @ values


@mutant()
def only_the_nearest(distances, values, temperature):
    return values[distances.argmin(dim=-1)]


@mutant()
def only_the_five_best(distances, values, temperature):
    best, index = (-distances / temperature).topk(5, dim=-1)
    return (best.softmax(dim=-1)[..., None] * values[index]).sum(dim=1)


@mutant()
def the_query_itself_left_out(distances, values, temperature):
    distances = distances.clone()
    distances.fill_diagonal_(math.inf)
    return torch.softmax(-distances / temperature, dim=-1) @ values


@mutant()
def every_query_like_the_first(distances, values, temperature):
    return (torch.softmax(-distances[0] / temperature, dim=-1) @ values).expand(len(distances), -1)


@mutant("shape|values|weights")
def the_weights_only(distances, values, temperature):
    return torch.softmax(-distances / temperature, dim=-1)


@mutant("shape")
def channels_first(distances, values, temperature):
    return (torch.softmax(-distances / temperature, dim=-1) @ values).T


@mutant()
def square_only(distances, values, temperature):
    return torch.softmax(-distances.T / temperature, dim=0).T.reshape(len(values), len(values)) @ values


@mutant()
def weights_transposed(distances, values, temperature):
    return torch.softmax(-distances / temperature, dim=-1).T @ values


@mutant()
def softmax_after_the_average(distances, values, temperature):
    return torch.softmax(-distances / temperature @ values, dim=-1)


@mutant("shape")
def one_number_a_query(distances, values, temperature):
    return (torch.softmax(-distances / temperature, dim=-1) @ values).mean(dim=-1)


@mutant()
def three_channels_only(distances, values, temperature):
    weights = torch.softmax(-distances / temperature, dim=-1)
    return torch.stack([weights @ values[:, 0], weights @ values[:, 1], weights @ values[:, 2]], dim=-1)


@mutant("gradient")
def weights_detached(distances, values, temperature):
    return torch.softmax(-distances / temperature, dim=-1).detach() @ values


@mutant("gradient")
def under_no_grad(distances, values, temperature):
    with torch.no_grad():
        return torch.softmax(-distances / temperature, dim=-1) @ values


@mutant("gradient")
def python_floats(distances, values, temperature):
    rows = []
    for row in distances.tolist():
        weights = [math.exp(-(distance - min(row)) / temperature) for distance in row]
        columns = zip(*values.tolist(), strict=True)
        rows.append([sum(w * v for w, v in zip(weights, column, strict=True)) / sum(weights) for column in columns])
    return torch.tensor(rows)


@mutant("numpy|gradient")
def through_numpy(distances, values, temperature):
    weights = torch.softmax(-distances / temperature, dim=-1)
    return torch.from_numpy(weights.numpy() @ values.numpy())


@mutant("in.place")
def written_into_the_distances(distances, values, temperature):
    distances /= -temperature
    return torch.softmax(distances, dim=-1) @ values


@mutant("in.place")
def written_into_the_data(distances, values, temperature):
    distances.data.mul_(-1 / temperature)
    return torch.softmax(distances, dim=-1) @ values


@mutant("list|tensor")
def a_list(distances, values, temperature):
    return list(torch.softmax(-distances / temperature, dim=-1) @ values)


@mutant("ndarray|tensor")
def an_array(distances, values, temperature):
    return (torch.softmax(-distances / temperature, dim=-1) @ values).detach().numpy()


@mutant()
def half_precision(distances, values, temperature):
    return torch.softmax(-distances / temperature, dim=-1).half().float() @ values


@mutant()
def temperature_a_whole_number(distances, values, temperature):
    return torch.softmax(-distances / max(1, int(temperature)), dim=-1) @ values


@mutant("every time|random")
def a_random_neighbour(distances, values, temperature):
    return values[torch.softmax(-distances / temperature, dim=-1).multinomial(1)[:, 0]]


@alternative
def by_softmin(distances, values, temperature):
    return torch.einsum("qn,nc->qc", F.softmin(distances / temperature, dim=1), values)


@alternative
def nearest_first(D, V, T):
    weights = torch.exp((D.min(dim=1, keepdim=True).values - D) / T)
    return (weights @ V) / weights.sum(dim=1, keepdim=True)


@alternative
def by_logarithms(distances, values, temperature):
    scores = -distances / temperature
    return torch.exp(scores - torch.logsumexp(scores, dim=-1, keepdim=True)).matmul(values)


@alternative
def one_query_after_the_other(distances, values, temperature):
    rows = []
    for row in distances:
        weights = torch.softmax(row / -temperature, dim=0)
        rows.append(sum(w * v for w, v in zip(weights, values, strict=True)))
    return torch.stack(rows)


@alternative
def broadcast_and_summed(distances, values, temperature):
    weights = distances.neg().div(temperature).softmax(-1)
    return (weights.unsqueeze(2) * values.unsqueeze(0)).sum(1)


@alternative
def by_fused_attention(distances, values, temperature):
    q, k = distances.new_zeros(len(distances), 1), values.new_zeros(len(values), 1)
    return F.scaled_dot_product_attention(q[None], k[None], values[None], attn_mask=-distances[None] / temperature)[0]


@alternative
def one_value_at_a_time(distances, values, temperature):
    """The largest score, the sum and the average so far are kept up to date: no row is ever needed whole."""
    top = torch.full_like(distances[:, :1], -math.inf)
    total, mean = torch.zeros_like(top), values.new_zeros(len(distances), values.shape[1])
    for n in range(values.shape[0]):
        score = -distances[:, n : n + 1] / temperature
        new = torch.maximum(top, score)
        old, weight = torch.exp(top - new), torch.exp(score - new)
        total, mean, top = total * old + weight, mean * old + weight * values[n], new
    return mean / total
