"""Haze: the closed formula, seeds, batches, strength, the convention near = 0."""

import math

import numpy as np
import pytest
import torch

from course_lib.degradations.haze import Haze, haze, transmission
from course_lib.images import load_image
from course_lib.metrics import psnr


def test_a_constant_distance_gives_the_closed_formula():
    clean = torch.rand(2, 3, 9, 13)
    for beta, air, d in ((0.7, 0.9, 0.0), (1.5, 0.8, 0.4), (3.0, 1.0, 1.0)):
        t = math.exp(-beta * d)
        degraded = haze(clean, Haze(beta, air), depth=torch.full((1, 1, 9, 13), d))
        assert torch.allclose(degraded, clean * t + air * (1 - t), atol=1e-6)
    assert float(transmission(torch.tensor(0.5), 2.0)) == pytest.approx(math.exp(-1))


def test_near_stays_clear_and_far_takes_the_air_light():
    clean = torch.rand(1, 3, 4, 40) * 0.5
    depth = torch.linspace(0, 1, 40).expand(1, 1, 4, 40)
    degraded = Haze(beta=10, air_light=0.9).apply(clean, depth=depth)
    assert torch.equal(degraded[..., 0], clean[..., 0])
    assert torch.allclose(degraded[..., -1], torch.tensor(0.9), atol=1e-3)


def test_one_distance_map_for_all_or_one_each_skips_nobody():
    clean, depth = torch.rand(3, 3, 6, 7), torch.rand(3, 1, 6, 7)
    kinds = [Haze(1.0), Haze(0.0), Haze(2.0, 0.7)]  # the identity in the middle must not shift the maps
    whole = haze(clean, kinds, depth=depth)
    for i in range(3):
        assert torch.equal(whole[i : i + 1], haze(clean[i : i + 1], kinds[i], depth=depth[i : i + 1]))
    assert torch.equal(haze(clean, Haze(), depth=depth[:1]), haze(clean, Haze(), depth=depth[:1].expand(3, -1, -1, -1)))


def test_tint_moves_blue_against_red():
    black, far = torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    red, green, blue = Haze(10, 0.8, tint=0.1).apply(black, depth=far)[0, :, 0, 0].tolist()
    assert (red, green, blue) == pytest.approx((0.7, 0.8, 0.9), abs=1e-3)
    assert Haze(10, 0.95, tint=0.2).apply(black, depth=far, clip=False).max() <= 1  # no air brighter than white


def test_the_seed_alone_decides_whatever_the_batch():
    clean = torch.rand(4, 3, 33, 47)
    whole = haze(clean, Haze(), 7)
    assert torch.equal(whole, haze(clean, Haze(), [7, 8, 9, 10]))
    assert torch.equal(whole, torch.cat([haze(clean[:3], Haze(), 7), haze(clean[3:], Haze(), 10)]))
    torch.manual_seed(99)
    np.random.seed(99)
    assert torch.equal(whole, Haze().apply(clean, 7))
    assert not torch.equal(haze(clean[:1], Haze(), 7), haze(clean[:1], Haze(), 8))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_shape_type_and_input_are_kept_at_odd_sizes(dtype):
    clean = torch.rand(2, 3, 65, 97).to(dtype)
    before = clean.clone()
    for depth in (None, torch.rand(1, 1, 65, 97)):
        degraded = haze(clean, Haze(), 1, depth=depth)
        assert degraded.shape == clean.shape and degraded.dtype == dtype
    assert torch.equal(clean, before)
    assert haze(torch.rand(1, 3, 1, 2), Haze()).shape == (1, 3, 1, 2)
    assert haze(clean[:0], Haze()).shape == (0, 3, 65, 97)


def test_zero_is_the_identity_and_clip_is_optional():
    clean = torch.rand(2, 3, 16, 16) * 3 - 1
    assert torch.equal(Haze.identity().apply(clean, clip=False), clean)
    assert torch.equal(Haze(0.0).apply(clean), clean.clamp(0, 1))
    loose = Haze(0.3).apply(clean, 1, clip=False)
    assert loose.min() < 0 and loose.max() > 1
    assert torch.equal(loose.clamp(0, 1), Haze(0.3).apply(clean, 1))


def test_psnr_falls_along_beta_on_the_photographs(photos):
    crops = [image[None, :, :200, :240] for image in photos.values()]
    scores = []
    for beta in (0.1, 0.3, 0.6, 1.2, 2.0, 4.0, 8.0):
        scores.append(np.mean([float(psnr(Haze(beta).apply(crop, 3), crop)) for crop in crops]))
    assert all(a > b + 0.2 for a, b in zip(scores, scores[1:], strict=False)), scores


def test_haze_takes_contrast_and_adds_light(photos):
    for image in photos.values():
        hazy = Haze(2.0, 0.95).apply(image[None], 0)
        detail, hazy_detail = (x.diff(dim=-1).abs().mean() for x in (image, hazy))
        assert hazy_detail < 0.6 * detail and hazy.mean() > image.mean()


def test_real_hazy_pairs_follow_the_model_once_their_maps_are_turned(bench):
    """Two pairs with near-is-bright maps: the best beta and A fit the distance far better than the map as it is."""
    folder = bench / "DA_dehaze_sample"
    if not folder.is_dir():
        pytest.skip("no DA_dehaze_sample")
    for name, limit in (("1", 0.02), ("2", 0.05)):
        hazy, clean = load_image(folder / "train_syn" / f"{name}.jpg")[None].chunk(2, dim=3)
        bright_near = load_image(folder / "train_syn_depth" / f"{name}.png")[None, :1]

        def error(depth, hazy=hazy, clean=clean):
            kinds = [Haze(beta, air) for beta in (0.3, 0.6, 1.2, 2.4) for air in (0.7, 0.8, 0.9, 0.95)]
            return min(float((kind.apply(clean, depth=depth) - hazy).square().mean().sqrt()) for kind in kinds)

        assert error(1 - bright_near) < limit and error(1 - bright_near) < 0.6 * error(bright_near)


def test_errors():
    clean = torch.rand(2, 3, 8, 8)
    for wrong in (torch.rand(8, 8), torch.rand(2, 1, 8, 9), torch.rand(3, 1, 8, 8), torch.rand(2, 3, 8, 8), torch.ones(1, 1, 8, 8).long()):
        with pytest.raises(ValueError, match="depth must be"):
            haze(clean, Haze(), depth=wrong)
    for value in (-0.1, 1.5, math.nan, math.inf):
        with pytest.raises(ValueError, match="0 near, 1 far"):
            haze(clean, Haze(), depth=torch.full((1, 1, 8, 8), value))
    with pytest.raises(ValueError, match="2 images but 3 seeds"):
        haze(clean, Haze(), [1, 2, 3])
    with pytest.raises(ValueError, match="floating tensor"):
        haze(torch.rand(2, 1, 8, 8), Haze())
    with pytest.raises(ValueError, match="beta"):
        Haze(beta=-1)
    assert Haze.from_json(Haze.sample(5).to_json()) == Haze.sample(5)
