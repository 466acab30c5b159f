"""Answers to 00-d, haze: clean (B, 3, H, W), distance (B, 1, H, W) with 1 far, beta, air_light -> (B, 3, H, W)."""

import math

import torch
from einops import repeat

from . import Answers

ANSWERS = Answers("00-d")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


def mix(clean, t, air_light):
    """A right one, for answers with a wrong transmission."""
    return clean * t + air_light * (1 - t)


@mutant("sign|minus|negative|exp\\(-")
def minus_forgotten(clean, distance, beta, air_light):
    return mix(clean, torch.exp(beta * distance), air_light)


@mutant("swap|1 - t|clean|near")
def transmission_and_rest_swapped(clean, distance, beta, air_light):
    t = torch.exp(-beta * distance)
    return air_light * t + clean * (1 - t)


@mutant("near|far|distance")
def nearness_for_distance(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-beta * (1 - distance)), air_light)


@mutant("beta")
def beta_forgotten(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-distance), air_light)


@mutant()
def beta_outside_the_exponential(clean, distance, beta, air_light):
    return mix(clean, beta * torch.exp(-distance), air_light)


@mutant("beta|multipl|divi|product")
def divided_by_beta(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-distance / beta), air_light)


@mutant("exp")
def distance_outside_the_exponential(clean, distance, beta, air_light):
    return mix(clean, math.exp(-beta) * distance, air_light)


@mutant()
def straight_line_for_the_exponential(clean, distance, beta, air_light):
    return mix(clean, (1 - beta * distance).clamp(0, 1), air_light)


@mutant()
def no_exponential(clean, distance, beta, air_light):
    return mix(clean, beta * distance, air_light)


@mutant("exp|base|natural|e\\b")
def powers_of_two(clean, distance, beta, air_light):
    return mix(clean, 2 ** (-beta * distance), air_light)


@mutant("exp|base|natural|e\\b")
def powers_of_ten(clean, distance, beta, air_light):
    return mix(clean, 10 ** (-beta * distance), air_light)


@mutant()
def distance_squared(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-beta * distance**2), air_light)


@mutant("two|twice|2")
def there_and_back(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-2 * beta * distance), air_light)


@mutant("1 - t|air|share|bright")
def all_of_the_air_light(clean, distance, beta, air_light):
    return clean * torch.exp(-beta * distance) + air_light


@mutant("air")
def no_air_light(clean, distance, beta, air_light):
    return clean * torch.exp(-beta * distance)


@mutant("air|white")
def white_air(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-beta * distance), 1)


@mutant("clean|fade|t\\b|transmission")
def scene_that_does_not_fade(clean, distance, beta, air_light):
    return clean + air_light * (1 - torch.exp(-beta * distance))


@mutant()
def brackets_forgotten(clean, distance, beta, air_light):
    t = torch.exp(-beta * distance)
    return clean * t + air_light * 1 - t


@mutant()
def air_light_subtracted(clean, distance, beta, air_light):
    t = torch.exp(-beta * distance)
    return clean * t - air_light * (1 - t)


@mutant()
def haze_removed(clean, distance, beta, air_light):
    t = torch.exp(-beta * distance)
    return (clean - air_light * (1 - t)) / t


@mutant()
def transmission_at_least_a_tenth(clean, distance, beta, air_light):
    """As in the dark channel prior, where it guards a division."""
    return mix(clean, torch.exp(-beta * distance).clamp_min(0.1), air_light)


@mutant()
def distance_normalised_to_its_farthest(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-beta * distance / distance.max()), air_light)


@mutant()
def distance_stretched_to_zero_and_one(clean, distance, beta, air_light):
    low, high = distance.amin(dim=(2, 3), keepdim=True), distance.amax(dim=(2, 3), keepdim=True)
    return mix(clean, torch.exp(-beta * (distance - low) / (high - low)), air_light)


@mutant()
def the_same_haze_everywhere(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-beta * distance.mean(dim=(2, 3), keepdim=True)), air_light)


@mutant()
def distances_of_the_first_image(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-beta * distance[:1]), air_light)


@mutant()
def channel_axis_squeezed_away(clean, distance, beta, air_light):
    """Right for a single image; for three, each channel gets the distances of another image."""
    return mix(clean, torch.exp(-beta * distance.squeeze()), air_light)


@mutant()
def channel_axis_dropped(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-beta * distance[:, 0]), air_light)


@mutant()
def height_and_width_swapped(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-beta * distance.transpose(2, 3)), air_light)


@mutant("shape")
def first_image_only(clean, distance, beta, air_light):
    return mix(clean[0], torch.exp(-beta * distance[0]), air_light)


@mutant("shape|channel")
def grey_picture(clean, distance, beta, air_light):
    return mix(clean.mean(dim=1, keepdim=True), torch.exp(-beta * distance), air_light)


@mutant("shape|transmission")
def only_the_transmission(clean, distance, beta, air_light):
    return torch.exp(-beta * distance)


@mutant()
def the_numbers_of_the_lesson(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-2.0 * distance), 0.85)


@mutant("air")
def air_as_bright_as_the_brightest_pixel(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-beta * distance), clean.max())


@mutant()
def air_light_and_beta_swapped(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-air_light * distance), beta)


@mutant()
def clipped_to_less_than_the_range(clean, distance, beta, air_light):
    return mix(clean, torch.exp(-beta * distance), air_light).clamp(0, air_light)


@mutant()
def rounded_to_bytes(clean, distance, beta, air_light):
    return (mix(clean, torch.exp(-beta * distance), air_light) * 255).floor() / 255


@mutant("in.place")
def written_into_clean(clean, distance, beta, air_light):
    t = torch.exp(-beta * distance)
    clean *= t
    clean += air_light * (1 - t)
    return clean


@mutant("in.place")
def written_into_the_distance(clean, distance, beta, air_light):
    t = distance.data.mul_(-beta).exp_()
    return mix(clean, t, air_light)


@mutant("list|tensor")
def a_list_of_channels(clean, distance, beta, air_light):
    t = torch.exp(-beta * distance[:, 0])
    return [mix(clean[:, c], t, air_light) for c in range(3)]


@alternative
def from_the_air_towards_the_scene(clean, distance, beta, air_light):
    return air_light + (clean - air_light) * (-beta * distance).exp()


@alternative
def by_lerp(image, d, thickness, sky):
    haze = -torch.expm1(-thickness * d)
    return torch.lerp(image, torch.full_like(image, sky), haze.expand_as(image))


@alternative
def channel_by_channel(clean, distance, beta, air_light):
    out = torch.empty_like(clean)
    for c in range(clean.shape[1]):
        t = math.e ** (-beta * distance[:, 0])
        out[:, c] = clean[:, c] * t + air_light * (1 - t)
    return out


@alternative
def repeated_and_clipped(clean, distance, beta, air_light):
    """The mixture of two values of the range stays in the range: clipping changes nothing."""
    t = repeat(math.exp(-beta) ** distance, "b 1 h w -> b c h w", c=3)
    return (clean * t + air_light * (1 - t)).clamp(0, 1)


@alternative
def image_by_image(clean, distance, beta, air_light):
    images = []
    for image, d in zip(clean, distance, strict=True):
        fading = 1 / torch.exp(beta * d)
        images.append(fading * image + air_light - air_light * fading)
    return torch.stack(images)
