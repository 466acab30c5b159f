"""Answers to 00-e, low light, then haze: clean, noise (B, 3, H, W), illumination, transmission (B, 1, H, W), gamma, air_light."""

import torch
import torch.nn.functional as F

from . import Answers

ANSWERS = Answers("00-e")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


def low(clean, illumination, gamma, noise):
    """The dark picture, stored: a right one, for answers that go wrong in the haze."""
    return (clean / illumination * illumination**gamma + noise).clamp(0, 1)


def haze(night, t, air_light):
    """A right one, for answers that go wrong in the dark."""
    return (night * t + air_light * (1 - t)).clamp(0, 1)


@mutant("order|first|before|after")
def haze_first(clean, illumination, gamma, noise, transmission, air_light):
    return low(haze(clean, transmission, air_light), illumination, gamma, noise)


@mutant("order|noise|before|after")
def noise_last(clean, illumination, gamma, noise, transmission, air_light):
    dark = clean / illumination * illumination**gamma
    return (haze(dark, transmission, air_light) + noise).clamp(0, 1)


@mutant("order|noise|before|after")
def noise_first(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean + noise, illumination, gamma, 0), transmission, air_light)


@mutant("order|noise|before|after")
def noise_first_and_clipped(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low((clean + noise).clamp(0, 1), illumination, gamma, 0), transmission, air_light)


@mutant("clip|clamp")
def clipped_at_the_end_only(clean, illumination, gamma, noise, transmission, air_light):
    return haze(clean / illumination * illumination**gamma + noise, transmission, air_light)


@mutant("clip|clamp")
def never_clipped(clean, illumination, gamma, noise, transmission, air_light):
    night = clean / illumination * illumination**gamma + noise
    return night * transmission + air_light * (1 - transmission)


@mutant("clip|clamp")
def clipped_before_the_noise(clean, illumination, gamma, noise, transmission, air_light):
    dark = (clean / illumination * illumination**gamma).clamp(0, 1)
    return haze(dark + noise, transmission, air_light)


@mutant()
def clipped_below_only(clean, illumination, gamma, noise, transmission, air_light):
    night = F.relu(clean / illumination * illumination**gamma + noise)
    return F.relu(night * transmission + air_light * (1 - transmission))


@mutant("clip|clamp|reflectance")
def reflectance_clipped(clean, illumination, gamma, noise, transmission, air_light):
    reflectance = (clean / illumination).clamp(0, 1)
    return haze((reflectance * illumination**gamma + noise).clamp(0, 1), transmission, air_light)


@mutant("noise")
def noise_forgotten(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, gamma, 0), transmission, air_light)


@mutant("noise|255")
def noise_divided_by_255(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, gamma, noise / 255), transmission, air_light)


@mutant("noise")
def noise_dimmed_too(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, gamma, noise * illumination**gamma), transmission, air_light)


@mutant("noise|random|own|drawn")
def noise_of_its_own(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, gamma, noise.std() * torch.randn_like(noise)), transmission, air_light)


@mutant("noise|sign|add|subtract")
def noise_subtracted(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, gamma, -noise), transmission, air_light)


@mutant("divi|reflectance|L\\b|illumination")
def not_divided_by_the_illumination(clean, illumination, gamma, noise, transmission, air_light):
    return haze((clean * illumination**gamma + noise).clamp(0, 1), transmission, air_light)


@mutant("illumination|L\\b")
def gamma_of_the_picture(clean, illumination, gamma, noise, transmission, air_light):
    return haze((clean**gamma + noise).clamp(0, 1), transmission, air_light)


@mutant()
def gamma_of_the_reflectance(clean, illumination, gamma, noise, transmission, air_light):
    night = ((clean / illumination) ** gamma * illumination + noise).clamp(0, 1)
    return haze(night, transmission, air_light)


@mutant("power|\\*\\*|exponent")
def multiplied_by_gamma(clean, illumination, gamma, noise, transmission, air_light):
    return haze((clean / illumination * (illumination * gamma) + noise).clamp(0, 1), transmission, air_light)


@mutant("bright|1 / gamma|inverse|power|exponent|gamma")
def power_of_one_over_gamma(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, 1 / gamma, noise), transmission, air_light)


@mutant()
def power_of_minus_gamma(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, -gamma, noise), transmission, air_light)


@mutant("bracket|divi|order|power|illumination|L\\b")
def divided_by_the_power(clean, illumination, gamma, noise, transmission, air_light):
    return haze((clean / illumination**gamma + noise).clamp(0, 1), transmission, air_light)


@mutant()
def divided_by_the_product(clean, illumination, gamma, noise, transmission, air_light):
    night = (clean / (illumination * illumination**gamma) + noise).clamp(0, 1)
    return haze(night, transmission, air_light)


@mutant("multipl|power|illumination|L\\b")
def reflectance_only(clean, illumination, gamma, noise, transmission, air_light):
    return haze((clean / illumination + noise).clamp(0, 1), transmission, air_light)


@mutant()
def gamma_of_the_lesson(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, 2.5, noise), transmission, air_light)


@mutant("haze|transmission|air")
def haze_forgotten(clean, illumination, gamma, noise, transmission, air_light):
    return low(clean, illumination, gamma, noise)


@mutant("dark|low|illumination")
def dark_forgotten(clean, illumination, gamma, noise, transmission, air_light):
    return haze((clean + noise).clamp(0, 1), transmission, air_light)


@mutant("swap|1 - t|share|near")
def transmission_and_rest_swapped(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, gamma, noise), 1 - transmission, air_light)


@mutant()
def exponential_of_the_transmission(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, gamma, noise), torch.exp(-transmission), air_light)


@mutant()
def all_of_the_air_light(clean, illumination, gamma, noise, transmission, air_light):
    return (low(clean, illumination, gamma, noise) * transmission + air_light).clamp(0, 1)


@mutant()
def air_as_dark_as_the_night(clean, illumination, gamma, noise, transmission, air_light):
    """A night has no bright sky, but the data set has."""
    air = air_light * illumination ** (gamma - 1)
    return haze(low(clean, illumination, gamma, noise), transmission, air)


@mutant()
def brackets_forgotten(clean, illumination, gamma, noise, transmission, air_light):
    night = low(clean, illumination, gamma, noise)
    return (night * transmission + air_light * 1 - transmission).clamp(0, 1)


@mutant()
def illumination_at_least_a_quarter(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination.clamp_min(0.25), gamma, noise), transmission, air_light)


@mutant()
def a_hundredth_added_to_the_illumination(clean, illumination, gamma, noise, transmission, air_light):
    night = (clean / (illumination + 1e-2) * illumination**gamma + noise).clamp(0, 1)
    return haze(night, transmission, air_light)


@mutant()
def one_illumination_for_the_picture(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination.mean(dim=(2, 3), keepdim=True), gamma, noise), transmission, air_light)


@mutant()
def illumination_of_the_first_image(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination[:1], gamma, noise), transmission, air_light)


@mutant()
def transmission_of_the_first_image(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination, gamma, noise), transmission[:1], air_light)


@mutant()
def channel_axis_squeezed_away(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean, illumination.squeeze(), gamma, noise), transmission.squeeze(), air_light)


@mutant("shape")
def first_image_only(clean, illumination, gamma, noise, transmission, air_light):
    return haze(low(clean[0], illumination[0], gamma, noise[0]), transmission[0], air_light)


@mutant()
def stored_in_bytes_between(clean, illumination, gamma, noise, transmission, air_light):
    night = (low(clean, illumination, gamma, noise) * 255).round() / 255
    return haze(night, transmission, air_light)


@mutant("two|tuple|tensor")
def both_pictures(clean, illumination, gamma, noise, transmission, air_light):
    night = low(clean, illumination, gamma, noise)
    return night, haze(night, transmission, air_light)


@mutant("in.place")
def written_into_clean(clean, illumination, gamma, noise, transmission, air_light):
    clean /= illumination
    clean *= illumination**gamma
    return haze((clean + noise).clamp(0, 1), transmission, air_light)


@mutant("in.place")
def noise_reused_for_the_result(clean, illumination, gamma, noise, transmission, air_light):
    night = noise.data.add_(clean / illumination * illumination**gamma).clamp_(0, 1)
    return haze(night, transmission, air_light)


@alternative
def power_less_one(clean, illumination, gamma, noise, transmission, air_light):
    """J / L * L^gamma = J * L^(gamma - 1)."""
    night = torch.clip(clean * illumination ** (gamma - 1) + noise, 0, 1)
    return torch.clip(air_light + transmission * (night - air_light), 0, 1)


@alternative
def by_logarithms(image, light, power, n, t, sky):
    dark = image * torch.exp((power - 1) * torch.log(light))
    night = F.hardtanh(torch.add(dark, n), 0.0, 1.0)
    return torch.lerp(torch.full_like(night, sky), night, t.expand_as(night)).clamp(0, 1)


@alternative
def image_by_image(clean, illumination, gamma, noise, transmission, air_light):
    images = []
    for b in range(clean.shape[0]):
        reflectance = clean[b] / illumination[b]
        night = (reflectance * illumination[b].pow(gamma) + noise[b]).clamp(min=0).clamp(max=1)
        images.append((night * transmission[b] + air_light - air_light * transmission[b]).clamp(0, 1))
    return torch.stack(images)


@alternative
def in_place_on_its_own_tensors(clean, illumination, gamma, noise, transmission, air_light):
    night = clean.div(illumination).mul(illumination.pow(gamma)).add(noise)
    night[night < 0] = 0
    night[night > 1] = 1
    night = night.mul(transmission)
    night += air_light * (1 - transmission)
    return night.clamp_(0, 1)


@alternative
def light_of_three_channels(clean, illumination, gamma, noise, transmission, air_light):
    L, t = illumination.repeat(1, 3, 1, 1), transmission.repeat(1, 3, 1, 1)
    night = torch.minimum(torch.maximum(L**gamma * clean / L + noise, torch.tensor(0.0)), torch.tensor(1.0))
    return (t * night + (1 - t) * air_light).clamp(0, 1)
