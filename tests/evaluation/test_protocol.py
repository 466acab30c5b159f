"""The papers' denoising protocols: noise, cropping, rounding, and the scores of the untouched input."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from course_lib.evaluation import PROTOCOLS, evaluate, mean_scores, noisy_pairs, restore
from course_lib.evaluation.command import clean_files, evaluation_table, find_model
from course_lib.images import ImageError, load_image, save_image


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    generator = torch.Generator().manual_seed(0)
    return [save_image(torch.rand(3, 37 + i, 50, generator=generator), folder / f"{name}.png") for i, name in enumerate("cab")]


def test_promptir_draws_one_stream_in_sorted_order_and_truncates(files):
    stream = np.random.RandomState(0)
    pairs = list(noisy_pairs(files, 25, "promptir"))
    assert [name for name, _, _ in pairs] == ["a", "b", "c"]
    for (_, degraded, clean), path in zip(pairs, sorted(files), strict=True):
        whole = np.asarray((load_image(path) * 255).round().permute(1, 2, 0).numpy(), dtype=np.uint8)
        height, width = whole.shape[:2]
        top, left = height % 16 // 2, width % 16 // 2
        crop = whole[top : top + height // 16 * 16, left : left + width // 16 * 16]
        noisy = np.clip(crop + stream.randn(*crop.shape) * 25, 0, 255).astype(np.uint8)
        assert torch.equal(degraded[0], torch.from_numpy(noisy).permute(2, 0, 1).float() / 255)
        assert torch.equal(clean[0], torch.from_numpy(crop.copy()).permute(2, 0, 1).float() / 255)


def test_restormer_reseeds_for_every_image_and_keeps_floats(files):
    for (_, degraded, clean), path in zip(noisy_pairs(files, 50, "restormer"), sorted(files), strict=True):
        whole = load_image(path)
        assert torch.equal(clean[0], whole)
        np.random.seed(0)
        noise = np.random.normal(0, 50 / 255, (whole.shape[1], whole.shape[2], 3))
        assert np.allclose((degraded - clean)[0].permute(1, 2, 0).numpy(), noise, atol=1e-6)
    assert degraded.min() < 0 and degraded.max() > 1


def test_scores_are_those_of_scikit_image_and_means_of_images(files):
    scores = evaluate(None, noisy_pairs(files, 25, "promptir"))
    for score, (name, degraded, clean) in zip(scores, noisy_pairs(files, 25, "promptir"), strict=True):
        x, y = (image[0].double().permute(1, 2, 0).numpy() for image in (degraded, clean))
        assert score.image == name
        assert score.degraded_psnr == pytest.approx(peak_signal_noise_ratio(y, x, data_range=1), abs=1e-6)
        assert score.restored_ssim == pytest.approx(structural_similarity(x, y, channel_axis=2, data_range=1), abs=1e-5)
    assert mean_scores(scores)["degraded_psnr"] == pytest.approx(np.mean([score.degraded_psnr for score in scores]))


def test_the_result_is_clipped_and_rounded_when_asked(files):
    class Over(torch.nn.Module):
        def forward(self, image):
            return image + 2

    score = evaluate(Over(), noisy_pairs(files[:1], 25, "promptir"))[0]
    clean = load_image(files[0])[:, 2:34, 1:49]
    assert score.restored_psnr == pytest.approx(float(-10 * ((1 - clean.double()) ** 2).mean().log10()), abs=1e-3)

    class Between(torch.nn.Module):
        def forward(self, image):
            return image * 0 + 100.3 / 255

    exact, rounded = (evaluate(Between(), noisy_pairs(files[:1], 25, "promptir"), to_8bit=flag)[0] for flag in (False, True))
    assert exact.restored_psnr != rounded.restored_psnr


def test_every_image_size_is_restored(tiny, files):
    scores = evaluate(tiny, noisy_pairs(files, 25, "restormer"), restorer=restore)
    assert len(scores) == 3 and all(np.isfinite(score.restored_psnr) for score in scores)


def test_errors(files, tmp_path, monkeypatch):
    assert PROTOCOLS == ("promptir", "restormer")
    with pytest.raises(ValueError, match="'ours'; there are promptir, restormer"):
        list(noisy_pairs(files, 25, "ours"))
    with pytest.raises(ValueError, match="no image"):
        mean_scores([])
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    with pytest.raises(ImageError, match=f"{tmp_path}/CBSD68.*COURSE_DATA_DIR"):
        clean_files("CBSD68")
    with pytest.raises(ValueError, match="unknown model 'nope'.*identity"):
        find_model("nope")


@pytest.mark.parametrize("protocol, wanted", [("promptir", (24.83, 20.54, 15.00)), ("restormer", (24.62, 20.18, 14.16))])
def test_the_untouched_input_on_cbsd68(bench, protocol, wanted):
    if not (bench / "CBSD68").is_dir():
        pytest.skip("no CBSD68 in the benchmark folder")
    for sigma, value in zip((15.0, 25.0, 50.0), wanted, strict=True):
        row = evaluation_table("identity", "CBSD68", [sigma], protocol, device="cpu", progress=False)[0]
        assert row["images"] == 68 and row["degraded_psnr"] == pytest.approx(value, abs=0.006) == row["restored_psnr"]
