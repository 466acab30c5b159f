"""Composites: CDD-11 against a plain-numpy transcription of its formulas and against its own published pictures; order, replay, seeds."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from course_lib.datasets.photos import load_photos
from course_lib.degradations.composite import CDD11_TASKS, DEGRADATIONS, Composite, composite, draw_composite, step_seed
from course_lib.images import load_image
from course_lib.metrics import psnr
from course_lib.paths import benchmark_root

EXPECTED_ORDER = {
    "low": ["low"], "haze": ["haze"], "rain": ["rain"], "snow": ["snow"],
    "low_haze": ["low", "haze"], "low_rain": ["low", "rain"], "low_snow": ["low", "snow"],
    "haze_rain": ["rain", "haze"], "haze_snow": ["snow", "haze"],
    "low_haze_rain": ["low", "rain", "haze"], "low_haze_snow": ["low", "snow", "haze"],
}  # fmt: skip


@pytest.fixture(scope="module")
def photo():
    return load_photos("test")["chelsea"][None, :, 60:157, 100:231]  # odd sides: (1, 3, 97, 131)


def box(x, window):
    """Mean over window x window of a 2-D array, OpenCV's anchor (offsets -(k//2) .. k-1-k//2) and borders (mirrored, edge not repeated)."""
    weights = np.full(window, 1.0 / window)
    return correlate1d(correlate1d(x, weights, axis=0, mode="mirror"), weights, axis=1, mode="mirror")


def transcription(clean, steps, light, depth, masks, values, noise):
    """facts of CDD-11, line by line, on (H, W, 3) float64."""
    x = clean.astype(np.float64)
    if "low" in steps:
        grey = x @ np.array([0.299, 0.587, 0.114])
        mean_i, mean_p = box(light, 3), box(grey, 3)
        covariance = box(light * grey, 3) - mean_i * mean_p
        variance = box(light * light, 3) - mean_i * mean_i
        a = covariance / (variance + 0.01)
        b = mean_p - a * mean_i
        illumination = (box(a, 3) * light + box(b, 3))[..., None]
        x = np.clip(x / (illumination + 1e-7) * (illumination + 1e-7) ** values["gamma"] + noise, 0, 1)
    if "rain" in steps:
        x = x + masks["rain"]
    if "snow" in steps:
        x = x * (1 - masks["snow"]) + masks["snow"]
    if "haze" in steps:
        transmission = np.exp(-np.minimum(1 - box(depth, 22), 0.7) * values["beta"])[..., None]
        x = np.clip(x * transmission + values["air_light"] * (1 - transmission), 0, 1)
    return x


def to_array(image):
    return image[0].permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize("task", EXPECTED_ORDER)
@pytest.mark.parametrize("seed", [0, 5])
def test_the_eleven_tasks_equal_a_plain_transcription(task, seed, photo):
    rng = np.random.default_rng(seed)
    size = photo.shape[-2:]
    maps = {
        "light": torch.from_numpy(0.2 + 0.8 * rng.random(size)).float()[None, None],
        "depth": torch.from_numpy(rng.random(size)).float()[None, None],
        "rain_mask": torch.from_numpy(rng.random(size) ** 6).float()[None, None],
        "snow_mask": torch.from_numpy(rng.random(size) ** 6).float()[None, None],
    }
    what = draw_composite(task, seed, given=tuple(maps))
    values = {key: value for step in what.steps for key, value in step.to_dict().items()}
    noise = 0.0
    if "low" in EXPECTED_ORDER[task]:  # the draws of the first step, in the order (channel, row, column)
        draws = np.random.default_rng(step_seed(seed, 0)).standard_normal((1, *photo.shape[1:]), dtype=np.float32)
        noise = values["noise"] * draws[0].transpose(1, 2, 0).astype(np.float64)
    masks = {"rain": to_array(maps["rain_mask"]), "snow": to_array(maps["snow_mask"])}
    light, depth = (maps[name][0, 0].double().numpy() for name in ("light", "depth"))
    want = transcription(to_array(photo), EXPECTED_ORDER[task], light, depth, masks, values, noise)
    got = composite(photo, task, [seed], clip=False, **maps)
    assert np.abs(to_array(got) - want).max() < 1e-5
    assert np.allclose(to_array(composite(photo, task, [seed], **maps)), want.clip(0, 1), atol=1e-5)


def test_parameters_are_drawn_from_the_published_ranges():
    drawn = [draw_composite("low_haze_rain", seed).steps for seed in range(400)]
    for number, field, low, high in ((0, "gamma", 2, 3), (0, "noise", 0.03, 0.08), (2, "beta", 1, 2), (2, "air_light", 0.6, 0.9)):
        values = np.array([getattr(steps[number], field) for steps in drawn])
        assert low <= values.min() < low + 0.05 * (high - low) and high - 0.05 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.05 * (high - low)


def test_the_tasks_are_the_eleven_and_rain_never_meets_snow():
    assert {task: list(steps) for task, steps in CDD11_TASKS.items()} == EXPECTED_ORDER


def test_noise_comes_with_low_light_only_and_lies_under_the_haze(photo):
    flat = torch.full((1, 3, 64, 64), 0.5)
    maps = {"light": torch.full((1, 1, 64, 64), 0.5), "depth": torch.zeros(1, 1, 64, 64)}
    low = composite(flat, "low", 3, **maps)
    low_haze = composite(flat, "low_haze", 3, **maps)
    haze = composite(flat, "haze", 3, **maps)
    assert haze.std() < 1e-6 < low.std()
    beta = draw_composite("low_haze", 3).steps[1].beta
    noise_ratio = draw_composite("low_haze", 3).steps[0].noise / draw_composite("low", 3).steps[0].noise
    # haze thins the noise by the transmission
    assert low_haze.std().item() == pytest.approx(low.std().item() * np.exp(-0.7 * beta) * noise_ratio, rel=0.05)


@pytest.mark.parametrize("what", [*EXPECTED_ORDER, "motion_blur+gaussian_noise+jpeg", "haze+rain+resample", "poisson_gaussian+defocus"])
def test_json_replays_the_same_pixels(what, photo):
    image = composite(photo, what, [17])
    again = Composite.from_json(draw_composite(what, 17).to_json())
    assert again == draw_composite(what, 17)
    assert torch.equal(again.apply(photo), image)
    assert json.loads(again.to_json())["seed"] == 17
    assert not torch.equal(composite(photo, what, [18]), image)


@pytest.mark.parametrize("what", [*EXPECTED_ORDER, *([kind] for kind in DEGRADATIONS), "haze+gaussian_noise+jpeg"], ids=str)
def test_batches_split_in_any_way_give_the_same_pixels(what, photo):
    batch = torch.cat([photo, photo.flip(3), photo.flip(2), photo * 0.5])
    whole = composite(batch, what, [3, 1, 4, 1])
    assert whole.shape == batch.shape and whole.dtype == batch.dtype and whole.min() >= 0 and whole.max() <= 1
    parts = [composite(batch[:1], what, [3]), composite(batch[1:3], what, [1, 4]), composite(batch[3:], what, [1])]
    assert torch.equal(whole, torch.cat(parts))
    assert torch.equal(composite(batch, what, 10), composite(batch, what, [10, 11, 12, 13]))
    assert not torch.equal(whole, batch)


def test_order_decides(photo):
    hazed_noise = Composite("a", draw_composite("gaussian_noise+haze", 0).steps).apply(photo)
    noisy_haze = Composite("b", draw_composite("gaussian_noise+haze", 0).steps[::-1]).apply(photo)
    assert psnr(hazed_noise, noisy_haze).item() < 40


def test_composites_do_not_clip_between_the_steps(photo):
    bright = torch.ones_like(photo)
    mask = torch.full((1, 1, *photo.shape[-2:]), 0.5)
    depth = torch.full((1, 1, *photo.shape[-2:]), 0.6)
    hazed = composite(bright, "haze_rain", 0, rain_mask=mask, depth=depth)
    haze = draw_composite("haze_rain", 0).steps[1]
    transmission = np.exp(-0.4 * haze.beta)
    assert torch.allclose(hazed, torch.full_like(hazed, min(1.0, 1.5 * transmission + haze.air_light * (1 - transmission))), atol=1e-5)
    assert composite(bright, "rain", 0, rain_mask=mask, clip=False).max() == 1.5 and composite(bright, "rain", 0, rain_mask=mask).max() == 1


def test_fixed_values_are_kept_and_the_others_stay_as_drawn():
    free = draw_composite("haze+jpeg", 3)
    fixed = draw_composite("haze+jpeg", 3, haze={"beta": 0.25})
    assert fixed.steps[0].beta == 0.25 and fixed.steps[0].air_light == free.steps[0].air_light and fixed.steps[1] == free.steps[1]


def test_zero_settings_give_the_picture_back(photo):
    for kind, parameters in DEGRADATIONS.items():
        assert torch.equal(Composite(kind, (parameters.identity(),)).apply(photo), photo), kind


def test_what_cannot_be_is_said(photo):
    with pytest.raises(ValueError, match="unknown degradation 'fog'.*low_haze_snow"):
        composite(photo, "fog")
    with pytest.raises(ValueError, match="unknown degradation 'fog'"):
        Composite.from_dict({"name": "x", "steps": [{"kind": "fog"}]})
    with pytest.raises(ValueError, match="beta must be a number from"):
        Composite.from_dict({"name": "x", "steps": [{"kind": "haze", "beta": -1}]})
    with pytest.raises(ValueError, match="the depth is .* resize"):
        composite(photo, "haze", depth=torch.rand(1, 1, 5, 5))
    with pytest.raises(ValueError, match="unknown map 'depht'"):
        composite(photo, "haze", depht=torch.rand(1, 1, 97, 131))
    with pytest.raises(ValueError, match="made with a rain_mask from outside"):
        draw_composite("rain", 0, given=("rain_mask",)).apply(photo)
    with pytest.raises(ValueError, match="values are given for 'jpeg'"):
        draw_composite("haze+rain", 0, jpeg={"quality": 5})
    with pytest.raises(ValueError, match="2 seeds"):
        composite(photo, "haze", [1, 2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "published", "mask"), [("low_haze_rain", "l+h+r.jpg", "rain_mask"), ("low_haze_snow", "l+h+s.jpg", "snow_mask")]
)
def test_published_composites_lie_within_the_spread_of_ours(task, published, mask):
    """The authors' own scene: their draw is not known, so its channel statistics must lie in the 1-99 % band of 200 of ours."""
    folder = benchmark_root() / "OneRestore_syn"
    if not (folder / published).is_file():
        pytest.skip("OneRestore_syn is not here; COURSE_DATA_DIR names the folder that holds it")

    clean, wanted = load_image(folder / "clear" / "1.jpg")[None], load_image(folder / published)[None]
    grey = {name: load_image(folder / f"{name}_map" / "1.jpg")[None].mean(1, keepdim=True) for name in ("light", "depth")}
    masks = []
    for path in sorted((folder / mask).iterdir()):
        masks.append(torch.nn.functional.interpolate(load_image(path)[None], size=clean.shape[-2:], mode="bilinear", antialias=True))
    statistics = []
    for seed in range(200):
        degraded = composite(clean, task, seed, **grey, **{mask: masks[seed % len(masks)]})
        statistics.append(torch.cat([degraded.mean((0, 2, 3)), degraded.std((0, 2, 3))]).numpy())
    low, high = np.percentile(statistics, [1, 99], axis=0)
    own = torch.cat([wanted.mean((0, 2, 3)), wanted.std((0, 2, 3))]).numpy()
    assert (low <= own).all() and (own <= high).all(), np.stack([low, own, high])


def test_an_empty_batch_stays_empty():
    empty = torch.zeros(0, 3, 16, 16)
    assert composite(empty, "low_haze").shape == empty.shape
    for kind, parameters in DEGRADATIONS.items():
        assert parameters().apply(empty).shape == empty.shape, kind
