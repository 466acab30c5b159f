"""Answers to 03-a, the weights of the prompt components: features (B, C, H, W), weight (N, C), bias (N,) -> (B, N)."""

import torch
import torch.nn.functional as F
from torch import nn

from . import Answers

ANSWERS = Answers("03-a")
mutant = ANSWERS.mutant


@mutant("image|batch|row|components|dim")
def softmax_over_the_images(features, weight, bias):
    return F.linear(features.mean(dim=(2, 3)), weight, bias).softmax(dim=0)


@mutant("image|batch|row|components|dim")
def softmax_over_everything(features, weight, bias):
    scores = F.linear(features.mean(dim=(2, 3)), weight, bias)
    return scores.flatten().softmax(dim=0).reshape(scores.shape)


@mutant("softmax|1|one")
def no_softmax(features, weight, bias):
    return F.linear(features.mean(dim=(2, 3)), weight, bias)


@mutant("softmax|1|one")
def sigmoid_for_softmax(features, weight, bias):
    return torch.sigmoid(F.linear(features.mean(dim=(2, 3)), weight, bias))


@mutant()
def sigmoids_divided_by_their_sum(features, weight, bias):
    scores = torch.sigmoid(F.linear(features.mean(dim=(2, 3)), weight, bias))
    return scores / scores.sum(dim=1, keepdim=True)


@mutant()
def scores_divided_by_their_sum(features, weight, bias):
    scores = F.linear(features.mean(dim=(2, 3)), weight, bias)
    return scores / scores.sum(dim=1, keepdim=True)


@mutant()
def softmax_twice(features, weight, bias):
    return F.linear(features.mean(dim=(2, 3)), weight, bias).softmax(dim=1).softmax(dim=1)


@mutant()
def logarithms(features, weight, bias):
    return F.log_softmax(F.linear(features.mean(dim=(2, 3)), weight, bias), dim=1)


@mutant()
def hardest_choice(features, weight, bias):
    scores = F.linear(features.mean(dim=(2, 3)), weight, bias)
    soft = scores.softmax(dim=1)
    return F.one_hot(scores.argmax(dim=1), len(bias)) + soft - soft.detach()


@mutant("softmax|NaN|large|finite")
def exponentials_by_hand(features, weight, bias):
    """Right until a score is above 88."""
    scores = torch.exp(F.linear(features.mean(dim=(2, 3)), weight, bias))
    return scores / scores.sum(dim=1, keepdim=True)


@mutant("bias")
def bias_forgotten(features, weight, bias):
    return (features.mean(dim=(2, 3)) @ weight.T).softmax(dim=1)


@mutant("bias")
def bias_after_the_softmax(features, weight, bias):
    return (features.mean(dim=(2, 3)) @ weight.T).softmax(dim=1) + bias


@mutant("bias")
def bias_subtracted(features, weight, bias):
    return (features.mean(dim=(2, 3)) @ weight.T - bias).softmax(dim=1)


@mutant("mean|pixel")
def sum_of_the_pixels(features, weight, bias):
    return F.linear(features.sum(dim=(2, 3)), weight, bias).softmax(dim=1)


@mutant("mean|pixel")
def largest_pixel(features, weight, bias):
    return F.linear(features.amax(dim=(2, 3)), weight, bias).softmax(dim=1)


@mutant()
def one_pixel(features, weight, bias):
    return F.linear(features[:, :, 0, 0], weight, bias).softmax(dim=1)


@mutant()
def middle_pixel(features, weight, bias):
    _, _, H, W = features.shape
    return F.linear(features[:, :, H // 2, W // 2], weight, bias).softmax(dim=1)


@mutant()
def median_of_the_pixels(features, weight, bias):
    return F.linear(features.flatten(2).median(dim=2).values, weight, bias).softmax(dim=1)


@mutant()
def mean_of_a_square_image(features, weight, bias):
    return F.linear(features.sum(dim=(2, 3)) / features.shape[-1] ** 2, weight, bias).softmax(dim=1)


@mutant()
def mean_of_64_pixels_a_side(features, weight, bias):
    return F.linear(features.sum(dim=(2, 3)) / 64**2, weight, bias).softmax(dim=1)


@mutant()
def border_left_out_of_the_mean(features, weight, bias):
    """Halves the image first: an odd side loses its last row."""
    pooled = F.avg_pool2d(features, 2).mean(dim=(2, 3))
    return F.linear(pooled, weight, bias).softmax(dim=1)


@mutant()
def softmax_of_every_pixel_then_the_mean(features, weight, bias):
    scores = torch.einsum("bchw,nc->bnhw", features, weight) + bias[:, None, None]
    return scores.softmax(dim=1).mean(dim=(2, 3))


@mutant()
def softmax_over_the_pixels(features, weight, bias):
    scores = torch.einsum("bchw,nc->bnhw", features, weight) + bias[:, None, None]
    attention = scores.flatten(2).softmax(dim=2)
    return (attention * scores.flatten(2)).sum(dim=2).softmax(dim=1)


@mutant()
def mean_of_the_batch(features, weight, bias):
    mean = features.mean(dim=(0, 2, 3))
    return F.linear(mean, weight, bias).softmax(dim=0).expand(len(features), -1)


@mutant()
def first_image_only(features, weight, bias):
    return F.linear(features[0].mean(dim=(1, 2)), weight, bias).softmax(dim=0)[None]


@mutant()
def positive_features_only(features, weight, bias):
    return F.linear(features.abs().mean(dim=(2, 3)), weight, bias).softmax(dim=1)


@mutant()
def features_through_relu(features, weight, bias):
    return F.linear(F.relu(features).mean(dim=(2, 3)), weight, bias).softmax(dim=1)


@mutant()
def weight_of_a_square_matrix(features, weight, bias):
    """Runs for N = C alone."""
    return (features.mean(dim=(2, 3)) @ weight + bias).softmax(dim=1)


@mutant()
def divided_by_the_root_of_the_channels(features, weight, bias):
    scores = F.linear(features.mean(dim=(2, 3)), weight, bias)
    return (scores / features.shape[1] ** 0.5).softmax(dim=1)


@mutant()
def layer_of_its_own(features, weight, bias):
    return nn.Linear(weight.shape[1], len(bias))(features.mean(dim=(2, 3))).softmax(dim=1)


@mutant("shape")
def one_pixel_kept(features, weight, bias):
    scores = F.conv2d(F.adaptive_avg_pool2d(features, 1), weight[:, :, None, None], bias)
    return scores.softmax(dim=1)


@mutant()
def squeezed_too_far(features, weight, bias):
    """Loses the batch of one image, too."""
    return F.linear(F.adaptive_avg_pool2d(features, 1).squeeze(), weight, bias).softmax(dim=-1)


@mutant("in.place")
def features_overwritten(features, weight, bias):
    H, W = features.shape[2:]
    features.data.div_(H * W)
    return F.linear(features.sum(dim=(2, 3)), weight, bias).softmax(dim=1)


@mutant("in.place")
def bias_overwritten(features, weight, bias):
    bias.data += 1.0  # the softmax does not see it
    return F.linear(features.mean(dim=(2, 3)), weight, bias).softmax(dim=1)


@mutant("gradient")
def features_detached(features, weight, bias):
    return F.linear(features.detach().mean(dim=(2, 3)), weight, bias).softmax(dim=1)


@mutant("gradient")
def weight_detached(features, weight, bias):
    return F.linear(features.mean(dim=(2, 3)), weight.data, bias).softmax(dim=1)


@mutant("gradient")
def under_no_grad(features, weight, bias):
    with torch.no_grad():
        return F.linear(features.mean(dim=(2, 3)), weight, bias).softmax(dim=1)


@mutant("float64|dtype|double")
def double_precision(features, weight, bias):
    return F.linear(features.double().mean(dim=(2, 3)), weight.double(), bias.double()).softmax(dim=1)


@mutant()
def half_precision(features, weight, bias):
    return F.linear(features.mean(dim=(2, 3)), weight, bias).bfloat16().softmax(dim=1).float()


@mutant("every time|random|dropout")
def with_dropout(features, weight, bias):
    return F.linear(F.dropout(features.mean(dim=(2, 3)), 0.1), weight, bias).softmax(dim=1)


@mutant("tuple|tensor")
def scores_too(features, weight, bias):
    scores = F.linear(features.mean(dim=(2, 3)), weight, bias)
    return scores.softmax(dim=1), scores
