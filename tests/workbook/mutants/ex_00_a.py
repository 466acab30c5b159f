"""Answers to 00-a, Gaussian noise: clean (B, C, H, W), sigma on the 0-255 scale, noise like clean -> degraded in [0, 1]."""

import torch
import torch.nn.functional as F

from . import Answers

ANSWERS = Answers("00-a")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant("255")
def sigma_not_divided_by_255(clean, sigma, noise):
    return (clean + sigma * noise).clamp(0, 1)


@mutant("clip|clamp")
def not_clipped(clean, sigma, noise):
    return clean + sigma / 255 * noise


@mutant("255|range|scale")
def result_on_the_0_255_scale(clean, sigma, noise):
    return (clean * 255 + sigma * noise).clamp(0, 255)


@mutant()
def clean_scaled_and_clipped_to_one(clean, sigma, noise):
    return (clean * 255 + sigma * noise).clamp(0, 1)


@mutant("clip|clamp|sum")
def noise_clipped_and_not_the_sum(clean, sigma, noise):
    return clean + (sigma / 255 * noise).clamp(0, 1)


@mutant("clip|clamp|sum")
def clipped_before_the_noise(clean, sigma, noise):
    return clean.clamp(0, 1) + sigma / 255 * noise


@mutant("clip|clamp")
def clipped_below_only(clean, sigma, noise):
    return torch.relu(clean + sigma / 255 * noise)


@mutant("clip|clamp")
def clipped_above_only(clean, sigma, noise):
    return (clean + sigma / 255 * noise).clamp(max=1)


@mutant("clip|clamp")
def clipped_to_minus_one(clean, sigma, noise):
    return (clean + sigma / 255 * noise).clamp(-1, 1)


@mutant("variance|squar|standard deviation")
def variance_for_sigma(clean, sigma, noise):
    return (clean + (sigma / 255) ** 2 * noise).clamp(0, 1)


@mutant("variance|square root|standard deviation")
def root_of_sigma(clean, sigma, noise):
    return (clean + (sigma / 255) ** 0.5 * noise).clamp(0, 1)


@mutant()
def divided_by_256(clean, sigma, noise):
    return (clean + sigma / 256 * noise).clamp(0, 1)


@mutant()
def whole_division(clean, sigma, noise):
    return (clean + sigma // 255 * noise).clamp(0, 1)


@mutant("random|another|drawn|given|own")
def noise_of_its_own(clean, sigma, noise):
    return (clean + sigma / 255 * torch.randn_like(clean)).clamp(0, 1)


@mutant("random|drawn|given|own|noise")
def noise_of_its_own_with_a_seed(clean, sigma, noise):
    torch.manual_seed(0)
    return (clean + sigma / 255 * torch.randn_like(clean)).clamp(0, 1)


@mutant()
def uniform_noise_of_its_own(clean, sigma, noise):
    return (clean + sigma / 255 * torch.rand(clean.shape)).clamp(0, 1)


@mutant("sign|subtract|add|plus|\\+")
def noise_subtracted(clean, sigma, noise):
    return (clean - sigma / 255 * noise).clamp(0, 1)


@mutant("brightness|multipl")
def noise_multiplied(clean, sigma, noise):
    return (clean * (1 + sigma / 255 * noise)).clamp(0, 1)


@mutant()
def sigma_forgotten(clean, sigma, noise):
    return (clean + noise).clamp(0, 1)


@mutant()
def sigma_always_25(clean, sigma, noise):
    return (clean + 25 / 255 * noise).clamp(0, 1)


@mutant("picture")
def only_the_noise(clean, sigma, noise):
    return (sigma / 255 * noise).clamp(0, 1)


@mutant()
def stretched_to_the_range(clean, sigma, noise):
    x = clean + sigma / 255 * noise
    return (x - x.min()) / (x.max() - x.min())


@mutant()
def squashed_by_a_sigmoid(clean, sigma, noise):
    return torch.sigmoid(clean + sigma / 255 * noise)


@mutant()
def absolute_value_for_the_lower_clip(clean, sigma, noise):
    return (clean + sigma / 255 * noise).abs().clamp_max(1)


@mutant()
def wrapped_around_like_bytes(clean, sigma, noise):
    return torch.remainder(clean + sigma / 255 * noise, 1)


@mutant()
def noise_rescaled_to_exactly_sigma(clean, sigma, noise):
    return (clean + sigma / 255 * (noise - noise.mean()) / noise.std()).clamp(0, 1)


@mutant()
def noise_of_the_first_image_for_all(clean, sigma, noise):
    return (clean + sigma / 255 * noise[:1]).clamp(0, 1)


@mutant()
def grey_noise(clean, sigma, noise):
    return (clean + sigma / 255 * noise[:, :1]).clamp(0, 1)


@mutant()
def three_channels_taken_for_granted(clean, sigma, noise):
    return torch.stack([(clean[:, c] + sigma / 255 * noise[:, c]).clamp(0, 1) for c in range(3)], dim=1)


@mutant("shape")
def only_the_first_image(clean, sigma, noise):
    return (clean[0] + sigma / 255 * noise[0]).clamp(0, 1)


@mutant("list|tensor")
def a_list_of_images(clean, sigma, noise):
    return [(c + sigma / 255 * n).clamp(0, 1) for c, n in zip(clean, noise, strict=True)]


@mutant()
def rounded_to_bytes(clean, sigma, noise):
    return ((clean + sigma / 255 * noise).clamp(0, 1) * 255).round() / 255


@mutant()
def bytes_that_overflow(clean, sigma, noise):
    return (255 * clean + sigma * noise).int().to(torch.uint8) / 255


@mutant("in.place")
def written_into_clean(clean, sigma, noise):
    clean += sigma / 255 * noise
    return clean.clamp(0, 1)


@mutant("in.place")
def written_into_the_noise(clean, sigma, noise):
    noise.data *= sigma / 255
    return (clean + noise).clamp(0, 1)


@alternative
def on_the_0_255_scale_and_back(clean, sigma, noise):
    return torch.clip((255 * clean + sigma * noise) / 255, 0, 1)


@alternative
def by_masks(image, strength, n):
    x = image + n * (strength / 255)
    x[x < 0] = 0
    x[x > 1] = 1
    return x


@alternative
def on_a_copy(clean, sigma, noise):
    out = clean.clone()
    out.add_(noise, alpha=sigma / 255).clamp_(0, 1)
    return out


@alternative
def by_minimum_and_maximum(clean, sigma, noise):
    x = torch.add(clean, noise * sigma / 255)
    return torch.minimum(torch.maximum(x, torch.zeros_like(x)), torch.ones_like(x))


@alternative
def by_loops_over_images_and_channels(clean, sigma, noise):
    out = torch.zeros_like(clean)
    for b in range(clean.shape[0]):
        for c in range(clean.shape[1]):
            out[b, c] = F.hardtanh(clean[b, c] + sigma / 255.0 * noise[b, c], 0.0, 1.0)
    return out


@alternative
def by_two_relus(clean, sigma, noise):
    return 1 - F.relu(1 - F.relu(clean + sigma / 255 * noise))
