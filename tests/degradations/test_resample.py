"""Down and up again: against Pillow, scikit-image and an integral."""

import numpy as np
import pytest
import torch
from PIL import Image
from rules import check_kind, check_monotone, corner
from skimage.transform import downscale_local_mean

from course_lib.degradations.resample import Resample, resample, shrink


@pytest.mark.parametrize("area", [0, 1])
def test_rules_of_every_kind(area, photos):
    check_kind(Resample, photos, own=Resample(2.7, area))


def test_worse_with_strength(photos):
    check_monotone(Resample, photos, (1, 1.2, 1.5, 2, 2.6, 3, 4, 6, 8, 16))


def pillow(channel, height, width):
    return np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("factor", [1.3, 2, 3, 4.4])
def test_bicubic_equals_pillow(factor, photos):
    image = corner(photos)
    height, width = int(65 / factor + 0.5), int(97 / factor + 0.5)
    reference = [pillow(pillow(channel, height, width), 65, 97) for channel in image[0].numpy()]
    assert np.abs(Resample(factor).apply(image, clip=False)[0].numpy() - np.stack(reference)).max() < 2e-6


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_area_by_a_whole_factor_is_the_local_mean(factor, photos):
    image = photos["coffee"][None, :, :96, :144]
    reference = downscale_local_mean(image[0].double().numpy(), (1, factor, factor))
    assert np.abs(shrink(image, factor, area=True)[0].numpy() - reference).max() < 1e-6


@pytest.mark.parametrize("factor", [1.25, 2.7, 5.1])
def test_area_by_any_factor_is_the_integral_over_the_new_pixel(factor):
    line = np.random.default_rng(0).random(97)
    integral = np.concatenate([[0], np.cumsum(line)])
    edges = np.linspace(0, 97, round(97 / factor) + 1)
    reference = np.diff(np.interp(edges, np.arange(98), integral)) / np.diff(edges)
    image = torch.from_numpy(line).expand(1, 3, 64, 97)
    assert np.abs(shrink(image, factor, area=True)[0, 0, 0].numpy() - reference).max() < 1e-12


@pytest.mark.parametrize("area", [0, 1])
def test_means_stay_and_nothing_moves(area):
    flat = torch.full((1, 3, 33, 47), 0.3)
    assert torch.allclose(Resample(3.3, area).apply(flat), flat, atol=1e-6)
    image = torch.rand(1, 3, 40, 41)
    for axis in (2, 3):
        assert torch.allclose(Resample(3, area).apply(image.flip(axis)), Resample(3, area).apply(image).flip(axis), atol=1e-5)


def test_an_edge_overshoots_only_without_clipping():
    edge = torch.zeros(1, 3, 32, 32)
    edge[..., 16:] = 1
    free = Resample(2).apply(edge, clip=False)
    assert free.max() > 1.01 and free.min() < -0.01 and torch.equal(free.clamp(0, 1), Resample(2).apply(edge))


def test_smallest_images_and_one_object_per_image():
    assert Resample(16).apply(torch.rand(1, 3, 1, 5)).shape == (1, 3, 1, 5)
    image = torch.rand(1, 3, 20, 30)
    both = resample(image.repeat(2, 1, 1, 1), [Resample(1), Resample(4)])
    assert torch.equal(both[:1], image) and torch.equal(both[1:], Resample(4).apply(image))
