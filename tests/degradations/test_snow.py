"""Snow: seeds, strength, and what flakes of a given number, size and motion must look like."""

import math
import time

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.feature import structure_tensor
from skimage.measure import label

from course_lib.degradations.snow import HEAVY_SNOW, LAYERS, Snow, cover, snow, snow_mask
from course_lib.metrics import psnr


def mask(shape, seed=0, **fields):
    return snow_mask(shape, Snow(**fields), np.random.default_rng(seed))


def tensor(picture):
    """Means of the structure tensor of (1, 1, h, w): rows, mixed, columns."""
    smooth = gaussian_filter(picture[0, 0].double().numpy(), 1.5)  # differences over two pixels turn fine lines towards the axes
    return [float(part.mean()) for part in structure_tensor(smooth, order="rc")]


def mean_psnr(photos, parameters):
    images = [photo[None] for photo in photos.values()]
    return float(np.mean([float(psnr(parameters.apply(image, seed), image)) for seed, image in enumerate(images)]))


def test_the_seed_alone_decides_whatever_the_batch():
    clean = torch.rand(4, 3, 65, 97)
    whole = snow(clean, HEAVY_SNOW, 7)
    assert torch.equal(whole, snow(clean, HEAVY_SNOW, [7, 8, 9, 10]))
    assert torch.equal(whole, torch.cat([snow(clean[:3], HEAVY_SNOW, 7), snow(clean[3:], HEAVY_SNOW, 10)]))
    torch.manual_seed(5), np.random.seed(5)  # the global generators play no part
    assert torch.equal(whole[2:3], HEAVY_SNOW.apply(clean[2:3], 9))
    assert not torch.equal(mask((65, 97), 7), mask((65, 97), 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_type_and_odd_sizes_are_kept_and_the_input_untouched(dtype):
    for size in ((65, 97), (1, 1), (7, 200)):
        clean = torch.rand(2, 3, *size).to(dtype)
        before = clean.clone()
        degraded = snow(clean, [Snow(), HEAVY_SNOW], 1)
        assert degraded.dtype == dtype and degraded.shape == clean.shape and torch.equal(clean, before)


def test_nothing_at_zero_and_every_field_comes_back_from_json():
    clean = torch.rand(2, 3, 33, 41)
    for own in (Snow.identity(), Snow(amount=0), Snow(opacity=0)):
        assert torch.equal(own.apply(clean), clean)
    for seed in range(20):
        drawn = Snow.sample(seed)
        assert Snow.from_json(drawn.to_json()) == drawn


def test_the_equation_and_its_ends():
    clean = torch.rand(1, 3, 60, 80, dtype=torch.float64)
    flakes = snow_mask((60, 80), HEAVY_SNOW, np.random.default_rng(3)).double()
    expected = 1 - (1 - clean) * (1 - flakes)  # the image and white snow in "screen" mode
    assert (HEAVY_SNOW.apply(clean, 3) - expected).abs().max() < 1e-12
    assert torch.equal(cover(clean, torch.zeros(1, 1, 60, 80)), clean)
    assert torch.equal(cover(clean, torch.ones(1, 1, 60, 80)), torch.ones_like(clean)), "a mask of one is white"
    assert (HEAVY_SNOW.apply(clean) >= clean).all(), "white flakes never darken"


def test_clipping_only_when_asked():
    clean = torch.rand(1, 3, 60, 80) * 2 - 0.5  # as inside a composite
    free = HEAVY_SNOW.apply(clean, 3, clip=False)
    assert free.min() < 0 and free.max() > 1 and torch.equal(HEAVY_SNOW.apply(clean, 3), free.clamp(0, 1))


def test_more_snow_is_less_psnr(photos):
    scores = [mean_psnr(photos, Snow(amount=amount)) for amount in (0.5, 1, 3, 8, 16, 28, 40)]
    assert scores == sorted(scores, reverse=True) and min(-np.diff(scores)) > 0.5
    for field, values in {"size": (1, 2, 4), "opacity": (0.2, 0.5, 0.9)}.items():
        scores = [mean_psnr(photos, Snow(**{field: value})) for value in values]
        assert scores == sorted(scores, reverse=True)


def test_the_defaults_are_a_visible_snow_and_heavy_is_heavy(photos):
    assert 22 < mean_psnr(photos, Snow()) < 26
    assert 15 < mean_psnr(photos, HEAVY_SNOW) < 18.5


@pytest.mark.parametrize("angle", [-90, -50, -20, 0, 35, 60])
def test_flakes_are_drawn_out_along_their_way(angle):
    rows, mixed, columns = tensor(mask((300, 300), amount=10, angle=angle, spread=0, motion=12, size=2))
    found = -math.degrees(0.5 * math.atan2(2 * mixed, columns - rows))
    assert abs((found - angle + 90) % 180 - 90) < 4, f"measured {found:.1f} degrees"


def test_motion_draws_flakes_out_and_spread_turns_them():
    def order(**fields):
        rows, mixed, columns = tensor(mask((300, 300), **fields))
        return math.hypot(columns - rows, 2 * mixed) / (columns + rows)

    assert order(motion=0) < 0.08
    assert order(motion=12, spread=0) > order(motion=4, spread=0) + 0.1 > order(motion=0) + 0.2
    assert order(motion=12, spread=0) > order(motion=12, spread=45) + 0.2


def test_amount_adds_flakes_in_proportion():
    covers = [-torch.log1p(-mask((256, 256), amount=amount)).mean() for amount in (0, 2, 4, 8, 16, 32)]  # what overlaps adds up
    assert covers[0] == 0 and all(a < b for a, b in zip(covers, covers[1:], strict=False))
    assert float(covers[5] / covers[2]) == pytest.approx(8, rel=0.25)
    fewer, more = mask((99, 99), amount=5), mask((99, 99), amount=9)
    assert (more >= fewer - 1e-6).all() and more.sum() > fewer.sum(), "the same flakes and some more"
    means = [float(mask((256, 256), amount=amount).mean()) for amount in (1, 5, 20, 40)]
    assert means == sorted(means)


def test_the_number_of_flakes_is_the_amount():
    counted = [label(mask((300, 300), seed, amount=2, size=3, motion=0)[0, 0].numpy() > 0.02).max() for seed in range(6)]
    assert np.mean(counted) == pytest.approx(2 / 1000 * 300 * 300, rel=0.15)


def test_a_larger_size_covers_more_by_its_square():
    small, large = (float(mask((512, 512), amount=1, size=size, motion=0, opacity=0.3).mean()) for size in (2.5, 5))
    assert large / small == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("own", [Snow(), HEAVY_SNOW])
def test_a_crop_and_a_large_picture_show_the_same_snow_up_to_the_border(own):
    small = torch.cat([snow_mask((64, 64), own, np.random.default_rng(seed)) for seed in range(100)])
    large = snow_mask((500, 700), own, np.random.default_rng(1))
    assert float(small.mean()) == pytest.approx(float(large.mean()), rel=0.15)
    inner = float(small[..., 16:-16, 16:-16].mean())
    for strip in (small[..., :5, :], small[..., -5:, :], small[..., :5], small[..., -5:]):
        assert float(strip.mean()) == pytest.approx(inner, rel=0.3)


def test_no_flake_is_cut_off_by_its_block(monkeypatch):
    """Were the blocks too small, a large soft flake would end in a straight edge: a jump from a visible opacity to nothing."""
    monkeypatch.setattr("course_lib.degradations.snow.LAYERS", LAYERS[:1])  # the near ones
    for motion in (0, 5, 16):
        picture = mask((400, 400), amount=20, size=5, motion=motion, spread=45, opacity=1)[0, 0]
        assert float(picture.max()) > 0.2
        for values in (picture, picture.T, picture.flip(0), picture.flip(1).T):
            assert float(values[1:][values[:-1] == 0].max()) < 0.06


def test_a_mask_stays_within_its_bounds():
    for seed in range(30):
        picture = snow_mask((2, 3, 61, 47), Snow.sample(seed), np.random.default_rng(seed))
        assert picture.shape == (1, 1, 61, 47) and picture.dtype == torch.float32 and picture.min() >= 0 and picture.max() <= 1
    full = mask((80, 80), amount=40, size=6, opacity=1)
    assert 0.97 < full.max() <= 1


def test_fast_enough_to_feed_training():
    clean = torch.rand(1, 3, 128, 128)
    for own in (Snow(), HEAVY_SNOW):
        seconds = []
        for seed in range(7):
            start = time.process_time()
            own.apply(clean, seed)
            seconds.append(time.process_time() - start)
        assert min(seconds) < 0.025


def test_errors():
    with pytest.raises(ValueError, match="opacity must be a number from 0 to 1"):
        Snow(opacity=1.5)
    with pytest.raises(ValueError, match="no pixels"):
        mask((5, 0))
    with pytest.raises(ValueError, match="expected a floating tensor"):
        snow(torch.zeros(1, 1, 8, 8), Snow())
    with pytest.raises(ValueError, match="2 images but 3 seeds"):
        snow(torch.rand(2, 3, 8, 8), Snow(), [1, 2, 3])
