"""Spectra: a sinusoid stands where its frequency is, white noise reads its variance, and Parseval's theorem holds."""

import math

import numpy as np
import pytest
import torch

from course_lib.lab.spectra import PARTS, density, radial_spectrum, task_spectra


def test_a_sinusoid_stands_at_its_frequency_with_its_power():
    side, cycles, amplitude = 64, 10, 0.2
    wave = amplitude * torch.sin(2 * math.pi * cycles / side * torch.arange(192, dtype=torch.float64))
    found = radial_spectrum(0.5 + wave.expand(1, 1, 192, 192), side)
    energy = found.power * found.count
    assert abs(float(found.frequency[energy.argmax()]) - cycles / side) < 0.5 / side
    assert found.variance((cycles - 3) / side, (cycles + 3) / side) == pytest.approx(amplitude**2 / 2, rel=1e-6)
    assert found.variance() == pytest.approx(amplitude**2 / 2, rel=1e-6)


def test_parseval_against_numpy():
    image = torch.rand(1, 1, 32, 32, dtype=torch.float64)
    window = np.outer(*[0.5 - 0.5 * np.cos(2 * np.pi * np.arange(32) / 32)] * 2)
    x = image[0, 0].numpy()
    x = x - (x * window).sum() / window.sum()
    power = density(image, 32)
    assert float(power.sum()) / 32**2 == pytest.approx((window**2 * x**2).sum() / (window**2).sum(), rel=1e-12)
    assert radial_spectrum(image, 32).variance() == pytest.approx(float(power.mean()), rel=1e-12)


def test_density_equals_scipys_welch_along_one_axis():
    signal = pytest.importorskip("scipy.signal")
    line = np.random.default_rng(0).standard_normal(256)
    stripes = torch.from_numpy(line).expand(1, 1, 64, 256)
    _, wanted = signal.welch(line, window="hann", nperseg=64, noverlap=32, detrend=False, return_onesided=False)
    # without variation across, the sum over the vertical frequencies is the spectrum of the line
    ours = density(stripes - stripes.mean(), 64).sum(0) / 64
    assert np.allclose(ours.numpy()[3:-3], wanted[3:-3], rtol=1e-9)


def test_white_noise_reads_its_variance_everywhere():
    found = radial_spectrum(0.1 * torch.randn(4, 3, 128, 128), 32)
    assert torch.allclose(found.power[2:], torch.full_like(found.power[2:], 0.01), rtol=0.25)
    assert found.count.sum() == 32**2 and found.frequency[0] == 0


def test_task_spectra_of_a_model_that_changes_nothing():
    clean = torch.rand(1, 3, 64, 64)
    pair = (clean + 0.1 * torch.randn_like(clean), clean)
    model = torch.nn.Identity().train()
    model.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))
    rows = task_spectra(model, {"noise": [pair, pair]}, side=32)
    assert model.training and {row["what"] for row in rows} == set(PARTS)
    power = {what: sum(row["power"] for row in rows if row["what"] == what) for what in PARTS}
    assert power["residual"] == 0 and power["output"] == power["input"] and power["error"] == pytest.approx(power["wanted"])
    assert max(row["frequency"] for row in rows) <= 0.5


def test_small_images_are_refused():
    with pytest.raises(ValueError, match="64 pixels"):
        radial_spectrum(torch.rand(1, 3, 32, 80))
