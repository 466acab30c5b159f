"""`context` of a mixture: a scene is spoilt first and the patch cut out of it, as training on files does."""

import numpy as np
import pytest
import torch

from course_lib.datasets.mixture import MixtureDataset, Task, degrade_of
from course_lib.training.recipe import Recipe, RecipeError

PHOTO = (torch.rand(3, 60, 90, generator=torch.Generator().manual_seed(3)) * 255).round() / 255


def ramp(clean, rng):
    """Adds to every pixel how far right it stands in what is spoilt, 0 to 1: tells the width of the scene and the place of the patch."""
    return clean + torch.linspace(0, 1, clean.shape[2])


def mixture(context, views=1, degrade=ramp, photo=PHOTO):
    return MixtureDataset([Task("ramp", [photo], degrade)], 0, views=views, context=context)


def added(degraded, clean):
    """(slope, first) of what was added along a row, the same in every row and channel."""
    row = (degraded - clean).double()
    assert torch.allclose(row, row[:1, :1].expand_as(row), atol=1e-6)
    return float(row[0, 0, 1] - row[0, 0, 0]), float(row[0, 0, 0])


def test_the_scene_is_spoilt_and_not_the_patch():
    starts = set()
    for number in range(12):
        degraded, clean, label = mixture(48)[number, 16]
        slope, first = added(degraded, clean)
        assert degraded.shape == clean.shape == (3, 16, 16) and label == 0
        assert slope == pytest.approx(1 / 47, abs=1e-5)  # a scene of 48; a patch by itself would have 1 / 15
        starts.add(round(first * 47))
    assert len(starts) > 6 and starts <= set(range(33))
    assert added(*mixture(0)[0, 16][:2])[0] == pytest.approx(1 / 15, abs=1e-5)


def test_a_photograph_smaller_than_the_scene_is_taken_as_far_as_it_goes():
    assert added(*mixture(256)[0, 16][:2])[0] == pytest.approx(1 / 59, abs=1e-5)
    assert mixture(48, photo=PHOTO[:, :20])[0, 16][0].shape == (3, 16, 16)
    with pytest.raises(ValueError, match="smaller than the 24x24 patch"):
        mixture(48, photo=PHOTO[:, :20])[0, 24]


def test_the_key_is_another_place_of_the_same_spoilt_scene():
    degrade = degrade_of("gaussian_noise", sigma=(5, 50), clip=False)
    flat = torch.full((3, 64, 64), 0.5)
    data = mixture(64, views=2, degrade=degrade, photo=flat)
    whole = mixture(64, degrade=degrade, photo=flat)
    for number in range(6):
        query, clean, _, key = data[number, 24]
        scene = whole[number, 64][0]  # the same draws: the patch is then the scene
        for part in (query, key):
            places = [(t, left) for t in range(41) for left in range(41) if torch.equal(scene[:, t : t + 24, left : left + 24], part)]
            assert len(places) == 1
        assert not torch.equal(query, key)


def test_samples_are_a_function_of_seed_and_number():
    one, other = (mixture(48, views=2, degrade=degrade_of("haze")) for _ in range(2))
    for number in (5, 0, 9):
        pairs = zip(one[number, 16], other[number, 16], strict=True)
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs)


def test_haze_over_a_scene_is_smoother_than_over_a_patch():
    """Depth made for one small patch changes as much over 16 pixels as a scene's over all of it."""
    grey = torch.full((3, 200, 200), 0.3)

    def spread(context):
        data = mixture(context, degrade=degrade_of("haze", beta=1.5), photo=grey)
        return np.median([float(data[number, 16][0].std()) for number in range(24)])

    assert spread(192) < 0.5 * spread(0)


@pytest.mark.parametrize("fields", [dict(context=32), dict(context=32, tasks="five-task"), dict(context=-1, tasks="five-task")])
def test_a_recipe_says_what_a_context_goes_with(fields):
    with pytest.raises(RecipeError, match="context goes with tasks"):
        Recipe(patches=(64,), **fields)


def test_a_recipe_without_context_keeps_its_hash():
    assert Recipe(tasks="five-task").hash() == Recipe(tasks="five-task", context=0).hash() != Recipe(tasks="five-task", context=128).hash()
