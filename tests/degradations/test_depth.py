"""Distance maps: range, seeds and shape of the invented ones; disparity turned; the motorcycle."""

import math

import numpy as np
import pytest
import torch

from course_lib.degradations.depth import distance_from_disparity, motorcycle, procedural_depth


def depth_of(seed, height=65, width=97):
    return procedural_depth(height, width, np.random.default_rng(seed))


def test_shape_range_and_seed():
    maps = [depth_of(seed) for seed in range(20)]
    for seed, depth in enumerate(maps):
        assert depth.shape == (1, 1, 65, 97) and depth.dtype == torch.float32
        assert 0 <= depth.min() < 0.35 and depth.max() <= 1
        assert torch.equal(depth, depth_of(seed))
    assert len({float(depth.double().sum()) for depth in maps}) == 20


def test_the_ground_is_near_below_and_the_sky_far_above():
    mean = torch.cat([depth_of(seed) for seed in range(40)]).mean(dim=(0, 1, 3))  # (H,)
    assert mean[0] > 0.9 and mean[-1] < 0.25
    assert (mean[:-8] - mean[8:] > -0.02).all()  # on average it only grows nearer downwards
    skies = [float((depth_of(seed) == 1).double().mean()) for seed in range(40)]
    assert 0.05 < np.mean(skies) < 0.6


def test_things_stand_on_the_ground_and_hide_what_is_behind():
    """Sharp steps between neighbours on one row below the horizon: they come from objects alone."""
    steps = [float(depth_of(seed, 96, 128)[0, 0, 64:].diff(dim=-1).abs().max()) for seed in range(30)]
    assert sum(step > 0.05 for step in steps) > 8 and sum(step < 0.02 for step in steps) >= 2


def test_one_seed_is_one_scene_at_every_size():
    small, large = depth_of(4, 60, 80), depth_of(4, 240, 320)
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    assert float((shrunk - small).abs().mean()) < 0.02
    assert depth_of(0, 1, 1).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        depth_of(0, 0, 5)


def test_distance_is_one_over_disparity():
    disparity = torch.tensor([[[10.0, 20.0, 40.0, 80.0]]])
    assert torch.allclose(distance_from_disparity(disparity), torch.tensor([[[1, 0.5, 0.25, 0.125]]]))
    assert torch.equal(distance_from_disparity(torch.tensor([[1, 2, 4]])), torch.tensor([[1.0, 0.5, 0.25]]))
    assert distance_from_disparity(disparity.double()).dtype == torch.float64


def test_zero_is_far_and_holes_take_the_farther_side():
    nan, inf = math.nan, math.inf
    disparity = torch.tensor(
        [
            [8.0, inf, nan, 4.0, 0.0, 2.0],
            [nan, 8.0, 4.0, inf, inf, inf],
            [nan, nan, inf, nan, -inf, nan],
            [-3.0, 8.0, 2.0, inf, 8.0, nan],
        ]
    )
    expected = torch.tensor(
        [
            [0.25, 0.5, 0.5, 0.5, 1.0, 1.0],
            [0.25, 0.25, 0.5, 0.5, 0.5, 0.5],
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            [1.0, 0.25, 1.0, 1.0, 0.25, 0.25],
        ]
    )
    for shape in ((4, 6), (1, 4, 6), (1, 1, 4, 6)):
        assert torch.equal(distance_from_disparity(disparity.reshape(shape)), expected.reshape(shape))
    for nothing in (torch.zeros(2, 2), torch.full((2, 2), nan), torch.full((2, 2), inf)):
        with pytest.raises(ValueError, match="no finite disparity"):
            distance_from_disparity(nothing)


def test_the_background_lies_behind_the_motorcycle():
    try:
        image, distance = motorcycle()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert image.shape == (3, 500, 741) and distance.shape == (1, 500, 741)
    assert image.dtype == distance.dtype == torch.float32 and 0 <= image.min() and image.max() <= 1
    assert torch.isfinite(distance).all() and 0 < distance.min() and distance.max() == 1
    red = (image[0] > 0.5) & (image[1] < 0.25) & (image[2] < 0.25)  # tank and mudguards
    machine = red[160:300, 300:660]
    assert machine.sum() > 2000
    assert distance[0, :60].mean() > 1.5 * distance[0, 160:300, 300:660][machine].mean()


def test_without_the_motorcycle_the_error_says_what_to_do(monkeypatch):
    import skimage.data

    def offline():
        raise ConnectionError("no internet")

    monkeypatch.setattr(skimage.data, "stereo_motorcycle", offline)
    with pytest.raises(FileNotFoundError, match="pip install.*no internet"):
        motorcycle()
