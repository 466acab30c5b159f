"""Answers to 02-a, cosine scores between channels: q, k (B, n, d, L), temperature (n, 1, 1) -> (B, n, d, d)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange

from . import Answers

ANSWERS = Answers("02-a")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant("pixels|last axis|dim=-1")
def normalised_over_channels(q, k, temperature):
    q = F.normalize(q, dim=-2)
    k = F.normalize(k, dim=-2)
    return q @ k.transpose(-2, -1) * temperature


@mutant("pixels|last axis|dim=-1")
def normalised_with_the_default_axis(q, k, temperature):
    return F.normalize(q) @ F.normalize(k).transpose(-2, -1) * temperature


@mutant("pixels|last axis|dim=-1")
def one_length_a_head(q, k, temperature):
    q = q / q.flatten(2).norm(dim=-1)[..., None, None]
    k = k / k.flatten(2).norm(dim=-1)[..., None, None]
    return q @ k.transpose(-2, -1) * temperature


@mutant("normali|length")
def like_the_usual_transformer(q, k, temperature):
    d = q.shape[2]
    return q @ k.transpose(-2, -1) / math.sqrt(d) * temperature


@mutant("normali|length")
def not_normalised(q, k, temperature):
    return q @ k.transpose(-2, -1) * temperature


@mutant("both|k")
def only_q_normalised(q, k, temperature):
    return F.normalize(q, dim=-1) @ k.transpose(-2, -1) * temperature


@mutant("divide|multipl")
def divided_by_temperature(q, k, temperature):
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return q @ k.transpose(-2, -1) / temperature


@mutant("temperature")
def no_temperature(q, k, temperature):
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return q @ k.transpose(-2, -1)


@mutant("temperature|head")
def first_temperature_for_all(q, k, temperature):
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return q @ k.transpose(-2, -1) * temperature[0].item()


@mutant("softmax")
def softmax_too_early(q, k, temperature):
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return (q @ k.transpose(-2, -1) * temperature).softmax(dim=-1)


@mutant("transpose|quer|row")
def keys_times_queries(q, k, temperature):
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return k @ q.transpose(-2, -1) * temperature


@mutant("shape")
def pixels_attend_to_pixels(q, k, temperature):
    q, k = F.normalize(q, dim=-2), F.normalize(k, dim=-2)
    return q.transpose(-2, -1) @ k * temperature


@mutant()
def only_the_first_image(q, k, temperature):
    one = F.normalize(q[0], dim=-1) @ F.normalize(k[0], dim=-1).transpose(-2, -1) * temperature
    return one.expand(q.shape[0], -1, -1, -1)


@mutant("mean|centre|cosine")
def correlation(q, k, temperature):
    q = F.normalize(q - q.mean(-1, keepdim=True), dim=-1)
    k = F.normalize(k - k.mean(-1, keepdim=True), dim=-1)
    return q @ k.transpose(-2, -1) * temperature


@mutant("length|mean|pixels")
def root_mean_square(q, k, temperature):
    q = q / q.pow(2).mean(-1, keepdim=True).sqrt()
    k = k / k.pow(2).mean(-1, keepdim=True).sqrt()
    return q @ k.transpose(-2, -1) * temperature


@mutant("square root|length")
def divided_by_squared_length(q, k, temperature):
    q = q / q.pow(2).sum(-1, keepdim=True)
    k = k / k.pow(2).sum(-1, keepdim=True)
    return q @ k.transpose(-2, -1) * temperature


@mutant()
def large_eps(q, k, temperature):
    q = q / (q.norm(dim=-1, keepdim=True) + 1e-1)
    k = k / (k.norm(dim=-1, keepdim=True) + 1e-1)
    return q @ k.transpose(-2, -1) * temperature


@mutant()
def eps_under_the_root(q, k, temperature):
    q = q / torch.sqrt(q.pow(2).sum(-1, keepdim=True) + 1e-2)
    k = k / torch.sqrt(k.pow(2).sum(-1, keepdim=True) + 1e-2)
    return q @ k.transpose(-2, -1) * temperature


@mutant()
def half_precision(q, k, temperature):
    q, k = F.normalize(q, dim=-1).half(), F.normalize(k, dim=-1).half()
    return (q @ k.transpose(-2, -1)).float() * temperature


@mutant()
def manhattan_length(q, k, temperature):
    q, k = F.normalize(q, p=1, dim=-1), F.normalize(k, p=1, dim=-1)
    return q @ k.transpose(-2, -1) * temperature


@mutant("in.place")
def written_into_the_arguments(q, k, temperature):
    q /= q.norm(dim=-1, keepdim=True)
    k /= k.norm(dim=-1, keepdim=True)
    return q @ k.transpose(-2, -1) * temperature


@mutant("gradient")
def cut_off_from_training(q, k, temperature):
    with torch.no_grad():
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return q @ k.transpose(-2, -1) * temperature


@mutant("gradient")
def temperature_that_never_learns(q, k, temperature):
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return q @ k.transpose(-2, -1) * temperature.detach()


@mutant("numpy|gradient")
def through_numpy(q, k, temperature):
    q, k = F.normalize(q, dim=-1).numpy(), F.normalize(k, dim=-1).numpy()
    return torch.from_numpy(q @ k.swapaxes(-1, -2)) * temperature


@mutant("list|tensor")
def a_list_of_heads(q, k, temperature):
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return [q[:, i] @ k[:, i].transpose(-2, -1) * temperature[i] for i in range(q.shape[1])]


@mutant()
def random_numbers(q, k, temperature):
    return torch.rand(*q.shape[:3], q.shape[2]) * temperature


@alternative
def by_einsum(q, k, temperature):
    q = q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)
    k = k / torch.linalg.vector_norm(k, dim=-1, keepdim=True)
    return torch.einsum("bncl,bndl->bncd", q, k) * temperature


@alternative
def by_loops(q, k, temperature):
    images = []
    for b in range(q.shape[0]):
        heads = []
        for n in range(q.shape[1]):
            rows = [torch.stack([F.cosine_similarity(x, y, dim=0) for y in k[b, n]]) for x in q[b, n]]
            heads.append(torch.stack(rows) * temperature[n, 0, 0])
        images.append(torch.stack(heads))
    return torch.stack(images)


@alternative
def normalised_afterwards(q, k, temperature):
    gram = torch.matmul(q, k.mT)
    lengths = q.square().sum(-1).sqrt()[..., :, None] * k.square().sum(-1).sqrt()[..., None, :]
    return gram / lengths.clamp_min(1e-12) * temperature[None]


@alternative
def one_batched_product(query, key, tau):
    b, n = query.shape[:2]
    q = rearrange(query / query.norm(dim=-1, keepdim=True), "b n d l -> (b n) d l")
    k = rearrange(key / key.norm(dim=-1, keepdim=True), "b n d l -> (b n) l d")
    return torch.bmm(q, k).view(b, n, q.shape[1], -1).mul(tau)
