"""Rain: seeds, strength, and what the streaks of a given angle, density and length must look like."""

import math
import time

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.feature import structure_tensor

from course_lib.degradations.rain import FINE_RAIN, HEAVY_RAIN, LAYERS, Rain, rain, rain_mask, scattered
from course_lib.images import load_image
from course_lib.metrics import psnr


def mask(shape, seed=0, **fields):
    return rain_mask(shape, Rain(**fields), np.random.default_rng(seed))


def leaning(picture):
    """Degrees from the vertical, positive to the right on the way down, of the streaks in (h, w), from the mean structure tensor."""
    smooth = gaussian_filter(picture, 1.5)  # differences over two pixels turn fine lines towards the axes
    rows, mixed, columns = (float(part.mean()) for part in structure_tensor(smooth, order="rc"))
    across = 0.5 * math.atan2(2 * mixed, columns - rows)  # direction of the strongest change, from the horizontal, y down
    return -math.degrees(across)


def mean_psnr(photos, parameters):
    images = [photo[None] for photo in photos.values()]
    return float(np.mean([float(psnr(parameters.apply(image, seed), image)) for seed, image in enumerate(images)]))


def test_the_seed_alone_decides_whatever_the_batch():
    clean = torch.rand(4, 3, 65, 97)
    whole = rain(clean, HEAVY_RAIN, 7)
    assert torch.equal(whole, rain(clean, HEAVY_RAIN, [7, 8, 9, 10]))
    assert torch.equal(whole, torch.cat([rain(clean[:3], HEAVY_RAIN, 7), rain(clean[3:], HEAVY_RAIN, 10)]))
    torch.manual_seed(5), np.random.seed(5)  # the global generators play no part
    assert torch.equal(whole[2:3], HEAVY_RAIN.apply(clean[2:3], 9))
    assert not torch.equal(
        rain_mask((65, 97), HEAVY_RAIN, np.random.default_rng(7)), rain_mask((65, 97), HEAVY_RAIN, np.random.default_rng(8))
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_type_and_odd_sizes_are_kept_and_the_input_untouched(dtype):
    for size in ((65, 97), (1, 1), (7, 200)):
        clean = torch.rand(2, 3, *size).to(dtype)
        before = clean.clone()
        degraded = rain(clean, [Rain(), HEAVY_RAIN], 1)
        assert degraded.dtype == dtype and degraded.shape == clean.shape and torch.equal(clean, before)


def test_nothing_at_zero_and_every_field_comes_back_from_json():
    clean = torch.rand(2, 3, 33, 41)
    assert torch.equal(Rain.identity().apply(clean), clean) and torch.equal(Rain(opacity=0, veil=0).apply(clean), clean)
    assert not torch.equal(Rain(amount=0).apply(clean), clean), "the veil of the defaults is left"
    for seed in range(20):
        drawn = Rain.sample(seed)
        assert Rain.from_json(drawn.to_json()) == drawn


def test_the_equation_with_and_without_clipping():
    clean = torch.rand(1, 3, 60, 80)
    own = Rain(amount=10, opacity=1, veil=0.3, grey=0.8)
    expected = 0.7 * (clean.double() + rain_mask((60, 80), own, np.random.default_rng(3)).double()) + 0.3 * 0.8
    assert (own.apply(clean.double(), 3, clip=False) - expected).abs().max() < 1e-12
    assert expected.max() > 1, "the case that tells clipping from not clipping"
    assert torch.equal(own.apply(clean.double(), 3), expected.clamp(0, 1))
    veiled = Rain(amount=0, veil=1, grey=0.65).apply(clean)
    assert torch.allclose(veiled, torch.full_like(veiled, 0.65))


def test_more_rain_is_less_psnr(photos):
    scores = [mean_psnr(photos, Rain(amount=amount)) for amount in (0, 0.5, 1, 3, 8, 16, 32, 60)]
    assert scores == sorted(scores, reverse=True) and min(-np.diff(scores)) > 0.5
    for field, values in {"veil": (0, 0.1, 0.3, 0.6), "opacity": (0.2, 0.5, 0.9)}.items():
        scores = [mean_psnr(photos, Rain(**{field: value})) for value in values]
        assert scores == sorted(scores, reverse=True)


def test_light_and_heavy_rain_are_as_strong_as_the_benchmarks(photos):
    assert mean_psnr(photos, Rain()) == pytest.approx(25.5, abs=1.5)  # Rain100L: 25.52 dB
    assert 14.5 < mean_psnr(photos, HEAVY_RAIN) < 18


def test_as_many_bright_pixels_as_in_rain100l(photos, bench):
    if not (bench / "Rain100L").is_dir():
        pytest.skip("no Rain100L")

    def shares(pairs):
        added = [(degraded - clean).mean(0) for degraded, clean in pairs]
        return np.mean([[float((light > level).float().mean()) for level in (0.1, 0.3)] for light in added], axis=0)

    files = [f"{number}.png" for number in range(1, 101, 10)]
    real = shares((load_image(bench / "Rain100L/input" / file), load_image(bench / "Rain100L/target" / file)) for file in files)
    ours = shares((Rain().apply(photo[None], seed)[0], photo) for seed, photo in enumerate(photos.values()))
    assert (ours > 0.4 * real).all() and (ours < 2.5 * real).all(), f"ours {ours}, Rain100L {real}"


@pytest.mark.parametrize("angle", [-90, -60, -45, -30, -5, 0, 12, 30, 45, 50, 75])
def test_streaks_lean_as_the_angle_says(angle):
    picture = mask((300, 300), amount=6, angle=angle, spread=0, length=40)[0, 0].double().numpy()
    found = leaning(picture)
    assert abs((found - angle + 90) % 180 - 90) < 2, f"measured {found:.1f} degrees"


def test_positive_angles_fall_to_the_right():
    """Shifted along the way of the drops the picture resembles itself, shifted along the mirrored way it does not."""
    picture = mask((300, 300), amount=4, angle=30, spread=0, length=40)[0, 0]
    step = 10
    along = (picture[:-step, :-6] * picture[step:, 6:]).mean()  # tan 30 degrees = 5.8 / 10
    mirrored = (picture[:-step, 6:] * picture[step:, :-6]).mean()
    assert along > 4 * mirrored


def test_spread_widens_the_angles_and_length_lengthens():
    def order(**fields):
        rows, mixed, columns = (part.mean() for part in structure_tensor(mask((300, 300), **fields)[0, 0].double().numpy(), order="rc"))
        return float(np.hypot(columns - rows, 2 * mixed) / (columns + rows))

    assert order(spread=0) > order(spread=10) + 0.02 > order(spread=30) + 0.04
    assert order(spread=0, length=60) > order(spread=0, length=12) + 0.05


def test_amount_adds_streaks_in_proportion():
    means = [float(mask((256, 256), amount=amount, opacity=0.05).mean()) for amount in (0, 1, 2, 4, 8, 16)]
    assert means[0] == 0 and means == sorted(means)
    assert means[-1] / means[2] == pytest.approx(8, rel=0.25)
    fewer, more = mask((99, 99), amount=5), mask((99, 99), amount=9)
    assert (more >= fewer - 1e-6).all() and more.sum() > fewer.sum(), "the same streaks and some more"


def test_mean_light_is_the_density_times_the_light_of_one_streak():
    """Campbell's theorem: number per area times the mean integral of a streak, taken over the layers."""
    own = Rain(amount=10, length=30, width=2, opacity=0.02, spread=0, angle=25)
    taper = float(np.mean((1 - np.linspace(-1, 1, 10001) ** 2) ** 0.7))
    sigma = 2 / 2.35482
    one = sum(part.share * part.opacity * part.length * part.width for part in LAYERS)
    expected = 10 / 1000 * one * 0.02 * (0.25 + 0.75 / 3) * 30 * taper * math.sqrt(2 * math.pi) * sigma
    found = np.mean([float(rain_mask((300, 400), own, np.random.default_rng(seed)).mean()) for seed in range(12)])
    assert found == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("own", [Rain(), HEAVY_RAIN, FINE_RAIN])
def test_a_crop_and_a_large_picture_show_the_same_rain_up_to_the_border(own):
    masks = [rain_mask((64, 64), own, np.random.default_rng(seed)) for seed in range(100)]
    small, large = torch.cat(masks), rain_mask((500, 700), own, np.random.default_rng(1))
    assert float(small.mean()) == pytest.approx(float(large.mean()), rel=0.15)
    inner = float(small[..., 16:-16, 16:-16].mean())
    for strip in (small[..., :5, :], small[..., -5:, :], small[..., :5], small[..., -5:]):
        assert float(strip.mean()) == pytest.approx(inner, rel=0.3)


def test_a_mask_stays_within_its_bounds():
    for seed in range(30):
        picture = rain_mask((2, 3, 61, 47), Rain.sample(seed), np.random.default_rng(seed))
        assert picture.shape == (1, 1, 61, 47) and picture.dtype == torch.float32 and picture.min() >= 0 and picture.max() <= 1
    lone = mask((200, 200), amount=1, opacity=0.5, width=4)
    assert 0.2 < lone.max() < 0.75, "about the opacity where streaks do not cross"


def test_more_things_are_the_same_and_some_more():
    few, many = scattered(5, 3, np.random.default_rng(2)), scattered(500, 3, np.random.default_rng(2))
    assert np.array_equal(few, many[: len(few)]) and len(many) == pytest.approx(500, abs=110)
    counts = np.array([len(scattered(3.5, 1, np.random.default_rng(seed))) for seed in range(3000)])
    assert counts.mean() == pytest.approx(3.5, abs=0.15) and counts.var() == pytest.approx(3.5, abs=0.4), "a Poisson number"
    assert len(scattered(0, 4, np.random.default_rng(0))) == 0


def test_fast_enough_to_feed_training():
    clean = torch.rand(1, 3, 128, 128)
    for own in (Rain(), HEAVY_RAIN):
        seconds = []
        for seed in range(7):
            start = time.process_time()
            own.apply(clean, seed)
            seconds.append(time.process_time() - start)
        assert min(seconds) < 0.025


def test_errors():
    with pytest.raises(ValueError, match="amount must be a number from 0"):
        Rain(amount=-1)
    with pytest.raises(ValueError, match="no pixels"):
        mask((0, 5))
    with pytest.raises(ValueError, match="expected a floating tensor"):
        rain(torch.zeros(1, 1, 8, 8), Rain())
    with pytest.raises(ValueError, match="2 images but 3 parameter objects"):
        rain(torch.rand(2, 3, 8, 8), [Rain()] * 3)
