"""Low light, and the illumination map with its box mean and guided filter, against scipy."""

import numpy as np
import pytest
import torch

from course_lib.degradations.lime import box_mean, guided_filter, illumination_map
from course_lib.degradations.low_light import LowLight, low_light
from course_lib.images import load_image
from course_lib.metrics import psnr


def scipy_mean(x, window):
    from scipy.ndimage import uniform_filter

    return uniform_filter(x, window, mode="mirror")


@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 22, 31])
@pytest.mark.parametrize("shape", [(40, 53), (9, 5), (1, 6)])
def test_box_mean_is_scipys(window, shape):
    x = torch.rand(2, 3, *shape, dtype=torch.float64)
    expected = np.stack([[scipy_mean(plane, window) for plane in image] for image in x.numpy()])
    np.testing.assert_allclose(box_mean(x, window).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(box_mean(x.float(), window).numpy(), expected, atol=1e-6)


def test_an_even_window_reaches_farther_to_the_left():
    impulse = torch.zeros(1, 1, 1, 9)
    impulse[..., 4] = 1  # offsets -2 ... 1: seen from columns 3 to 6
    assert box_mean(impulse, 4)[0, 0, 0].nonzero().flatten().tolist() == [3, 4, 5, 6]
    for wrong in (0, -3, 2.5):
        with pytest.raises(ValueError, match="window"):
            box_mean(impulse, wrong)


def guided_in_numpy(guide, source, window, eps):
    mean_guide, mean_source = scipy_mean(guide, window), scipy_mean(source, window)
    slope = scipy_mean(guide * source, window) - mean_guide * mean_source
    slope /= scipy_mean(guide**2, window) - mean_guide**2 + eps
    return scipy_mean(slope, window) * guide + scipy_mean(mean_source - slope * mean_guide, window)


@pytest.mark.parametrize(("window", "eps"), [(3, 0.01), (4, 0.001), (15, 0.03), (22, 0.1)])
def test_guided_filter_is_the_papers(window, eps):
    guide, source = torch.rand(2, 2, 1, 37, 45, dtype=torch.float64)
    expected = np.stack([guided_in_numpy(g[0], s[0], window, eps)[None] for g, s in zip(guide.numpy(), source.numpy(), strict=True)])
    np.testing.assert_allclose(guided_filter(guide, source, window, eps).numpy(), expected, atol=1e-10)
    single = guided_filter(guide.float(), source.float(), window, eps)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-6)


def test_guided_filter_keeps_edges_of_the_guide_and_smooths_the_rest():
    step = torch.zeros(1, 1, 20, 40)
    step[..., 20:] = 1
    source = step + 0.1 * torch.randn(step.shape)
    smooth = guided_filter(step, source, 7, 1e-4)
    assert float((smooth - step).abs().max()) < 0.5 * float((source - step).abs().max())
    assert float(smooth[..., 20].mean() - smooth[..., 19].mean()) > 0.9
    with pytest.raises(ValueError, match="both be"):
        guided_filter(step, step[..., 1:], 3, 0.01)
    with pytest.raises(ValueError, match="eps"):
        guided_filter(step, step, 3, 0)


def lime_by_least_squares(first, alpha=0.15, eps=1e-3):
    """LIME's own refinement (its sped-up solver, weights from Gaussian-averaged gradients) with a sparse solver."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.sparse import csr_matrix, diags, eye
    from scipy.sparse.linalg import spsolve

    height, width = first.shape
    pixels = np.arange(first.size).reshape(height, width)
    system = eye(first.size, format="csr")
    for axis, (here, there) in enumerate(((pixels[:-1], pixels[1:]), (pixels[:, :-1], pixels[:, 1:]))):
        step = np.diff(first, axis=axis)
        weight = 1 / (np.abs(gaussian_filter1d(step, 2, axis=axis)) + eps) / (np.abs(step) + eps)
        rows = np.arange(step.size)
        ends = np.concatenate([here.ravel(), there.ravel()])
        values = np.repeat([-1.0, 1.0], step.size)
        gradient = csr_matrix((values, (np.concatenate([rows, rows]), ends)), (step.size, first.size))
        system = system + alpha * gradient.T @ diags(weight.ravel()) @ gradient
    return spsolve(system.tocsc(), first.ravel()).reshape(height, width)


def test_the_map_is_close_to_limes(photos):
    correlations, errors = [], []
    for image in photos.values():
        crop = image[None, :, 100:220, 100:220].double()
        ours, first = illumination_map(crop)[0, 0].numpy(), crop.amax(1)[0].numpy()
        lime = lime_by_least_squares(first)
        correlations.append(np.corrcoef(ours.ravel(), lime.ravel())[0, 1])
        errors.append(np.abs(ours - lime).mean())
        assert np.abs(np.diff(ours)).mean() < 0.5 * np.abs(np.diff(first)).mean()
    assert np.mean(correlations) > 0.8 and np.mean(errors) < 0.05, (correlations, errors)


def test_the_map_resembles_the_published_one(bench):
    folder = bench / "OneRestore_syn"
    if not folder.is_dir():
        pytest.skip("no OneRestore_syn")
    ours = illumination_map(load_image(folder / "clear" / "1.jpg")[None])[0, 0]
    published = load_image(folder / "light_map" / "1.jpg")[0]
    assert np.corrcoef(ours.flatten(), published.flatten())[0, 1] > 0.95
    assert abs(float(ours.mean() - published.mean())) < 0.01 and float((ours - published).abs().mean()) < 0.05


def test_the_map_stays_in_range():
    for clean in (torch.zeros(1, 3, 5, 7), torch.ones(1, 3, 5, 7), torch.rand(2, 3, 65, 97).round(), torch.rand(1, 3, 1, 1)):
        light = illumination_map(clean)
        assert light.shape == (len(clean), 1, *clean.shape[2:]) and 0 <= light.min() and light.max() <= 1
    assert torch.allclose(illumination_map(torch.full((1, 3, 8, 8), 0.3)), torch.tensor(0.3))
    with pytest.raises(ValueError, match="illumination_map"):
        illumination_map(torch.rand(3, 8, 8))


def test_zero_is_the_identity():
    clean = torch.rand(2, 3, 65, 97)
    assert torch.equal(LowLight(gamma=1, noise=0).apply(clean), clean)
    assert torch.equal(LowLight.identity().apply(clean * 3 - 1, clip=False), clean * 3 - 1)
    assert torch.equal(LowLight(gamma=1, noise=0).apply(clean * 3 - 1), (clean * 3 - 1).clamp(0, 1))


def test_the_formula_without_noise():
    clean = torch.rand(1, 3, 33, 31, dtype=torch.float64) * 0.9 + 0.1
    light = illumination_map(clean)
    degraded = LowLight(gamma=2.5, noise=0, exposure=0.5).apply(clean)
    assert torch.allclose(degraded, 0.5 * (clean / light) * light**2.5, atol=1e-9)
    assert torch.equal(LowLight(3, 0).apply(torch.zeros(1, 3, 8, 8)), torch.zeros(1, 3, 8, 8))


def test_the_noise_lies_on_the_darkened_picture():
    clean = torch.rand(1, 3, 128, 128) * 0.2 + 0.7
    for gamma in (1.0, 3.0, 6.0):  # neither weaker nor stronger where it is darker
        noise = low_light(clean, LowLight(gamma, 0.05), 2, clip=False) - low_light(clean, LowLight(gamma, 0.0), 2, clip=False)
        assert float(noise.std()) == pytest.approx(0.05, rel=0.01) and abs(float(noise.mean())) < 1e-3
    dark = low_light(clean * 0.2, LowLight(4, 0.05), 2, clip=False)
    assert dark.min() < -0.1  # noise darkened with the picture would have shrunk to nearly nothing
    assert torch.equal(dark.clamp(0, 1), low_light(clean * 0.2, LowLight(4, 0.05), 2))


def test_the_seed_alone_decides_whatever_the_batch():
    clean = torch.rand(4, 3, 33, 47)
    whole = low_light(clean, LowLight(), 7)
    assert torch.equal(whole, low_light(clean, LowLight(), [7, 8, 9, 10]))
    assert torch.equal(whole, torch.cat([low_light(clean[:3], LowLight(), 7), low_light(clean[3:], LowLight(), 10)]))
    torch.manual_seed(99)
    np.random.seed(99)
    assert torch.equal(whole, LowLight().apply(clean, 7))
    assert not torch.equal(low_light(clean[:1], LowLight(), 7), low_light(clean[:1], LowLight(), 8))
    mixed = low_light(clean[:2], [LowLight(2.0), LowLight(3.0)], 7)
    assert torch.equal(mixed[1:], low_light(clean[1:2], LowLight(3.0), 8))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_shape_type_and_input_are_kept_at_odd_sizes(dtype):
    clean = torch.rand(2, 3, 65, 97).to(dtype)
    before = clean.clone()
    degraded = low_light(clean, LowLight(), 1)
    assert degraded.shape == clean.shape and degraded.dtype == dtype and torch.equal(clean, before)


def test_psnr_falls_along_gamma_on_the_photographs(photos):
    scores = []
    for gamma in (1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0):
        crops = [image[None, :, :200, :240] for image in photos.values()]
        scores.append(np.mean([float(psnr(LowLight(gamma).apply(crop, 3), crop)) for crop in crops]))
    assert all(a > b + 0.2 for a, b in zip(scores, scores[1:], strict=False)), scores


def test_shadows_sink_more_than_lamps(photos):
    for image in photos.values():
        light = illumination_map(image[None])[0, 0]
        ratio = LowLight(2.5, 0).apply(image[None])[0].sum(0) / image.sum(0).clamp(min=1e-3)
        assert ratio[light < light.quantile(0.2)].mean() < 0.6 * ratio[light > light.quantile(0.8)].mean()


def test_parameters():
    assert LowLight.from_json(LowLight.sample(5).to_json()) == LowLight.sample(5)
    with pytest.raises(ValueError, match="gamma"):
        LowLight(gamma=0.5)
    with pytest.raises(ValueError, match="floating tensor"):
        low_light(torch.rand(1, 1, 8, 8), LowLight())
