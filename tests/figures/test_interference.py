"""Pictures of the interference lab: what is drawn are the means of the tables that it was given."""

import numpy as np
import pytest

from course_lib.figures.interference import gradient_map, kept_spectra, seed_dots, wanted_spectra
from course_lib.lab.gradients import WHOLE

PAIR = dict(task_a="denoise", task_b="deblur")


def spectra(experiment, seed, scale):
    rows = []
    for frequency in (0.0, 0.1, 0.2, 0.3):
        for what, power in (("clean", 1.0), ("input", 2.0), ("output", scale), ("wanted", 0.5)):
            rows.append(dict(experiment=experiment, seed=seed, task="denoise", what=what, frequency=frequency, power=power))
    return rows


def result(experiment, seed, task, psnr):
    return dict(experiment=experiment, seed=seed, task=task, psnr=psnr, input_psnr=20.0)


def test_gradient_map_averages_seeds_and_puts_the_whole_model_last():
    rows = [
        dict(step=0, layer=layer, cosine=value, **PAIR)
        for layer, values in (("first", (0.2, 0.4)), (WHOLE, (-1.0, -1.0)), ("second", (0.5, 0.7)))
        for value in values
    ]
    axes = gradient_map({"both": rows}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second", WHOLE]
    assert np.allclose(axes.images[0].get_array()[:, 0], [0.3, 0.6, -1.0]) and axes.images[0].get_clim() == (-1, 1)
    with pytest.raises(ValueError, match="no row"):
        gradient_map({"both": []})


def test_what_was_not_measured_is_grey():
    rows = [dict(step=0, layer="a", cosine=float("nan"), **PAIR), dict(step=5, layer="a", cosine=0.5, **PAIR)]
    image = gradient_map({"x": rows}).axes[0].images[0]
    assert image.cmap(image.norm(np.ma.masked_invalid([np.nan]))).tolist()[0][:3] == [0.8, 0.8, 0.8]


def test_kept_spectra_draws_decibels_over_the_clean_picture():
    rows = spectra("both", 0, 0.05) + spectra("both", 1, 0.15) + spectra("alone", 0, 1.0)
    axes = kept_spectra(rows, ["denoise"], ["alone", "both"]).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(lines) == ["the clean picture", "degraded input", "alone", "both"]
    assert np.allclose(lines["both"], -10) and np.allclose(lines["alone"], 0)  # the mean of the seeds is 0.1
    assert np.allclose(lines["degraded input"], 10 * np.log10(2)) and len(lines["both"]) == 3  # without frequency 0
    with pytest.raises(ValueError, match="no row of task 'deblur'"):
        kept_spectra(rows, ["deblur"], ["both"])


def test_wanted_spectra_needs_no_experiment():
    axes = wanted_spectra(spectra("both", 0, 1.0), ["denoise"]).axes[0]
    assert {line.get_label(): line.get_ydata()[0] for line in axes.lines} == {"clean": 1.0, "degraded": 2.0, "to be changed": 0.5}


def test_seed_dots_show_every_seed_its_mean_and_what_is_missing():
    rows = [result("alone", seed, "denoise", 28.0 + seed) for seed in (0, 1)] + [
        result("both", 0, task, 25.0) for task in ("denoise", "deblur")
    ]
    left, right = seed_dots(rows, ["denoise", "deblur"], against="both").axes
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert [sorted(line.get_xdata()) for line in dots] == [[28.0, 29.0], [25.0]]
    assert any(np.allclose(line.get_xdata(), 28.5) for line in left.lines)
    assert [text.get_text() for text in right.texts] == ["not trained for this task"]
    with pytest.raises(ValueError, match="no row of results"):
        seed_dots([], ["denoise"])
