"""Pictures of diffusion: films keep order and labels, densities are exact, the cut frequency is where noise and picture meet."""

import math

import numpy as np
import pytest
import torch

from course_lib.diffusion.schedules import make_alpha_bar
from course_lib.figures.diffusion import (
    cut_frequency,
    density_figure,
    film,
    level_figure,
    mixture_density,
    noise_floor,
    schedule_curves,
    step_slider,
    unet_figure,
)


def test_a_film_shows_every_picture_in_order_with_its_labels():
    pictures = torch.rand(3, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    figure = film({"one": pictures, "two": 1 - pictures}, ["a", "b", "c"], notes={"two": ["x", "y", "z"]}, title="head")
    first, second = figure.axes
    assert [image.get_array().shape for image in first.images] == [(4, 8, 3)] * 3
    for image, picture in zip(second.images, 1 - pictures, strict=True):
        assert torch.allclose(torch.tensor(image.get_array()).permute(2, 0, 1), picture)
    lefts = [image.get_extent()[0] for image in first.images]
    assert lefts == sorted(lefts) and len(set(lefts)) == 3
    assert [text.get_text() for text in second.get_xticklabels()] == ["x", "y", "z"]
    assert [axes.get_yticklabels()[0].get_text() for axes in figure.axes] == ["one", "two"]
    with pytest.raises(ValueError, match="one length"):
        film({"one": pictures, "two": pictures[:2]})
    with pytest.raises(ValueError, match="columns: 2 labels for 3"):
        film({"one": pictures}, ["a", "b"])


def test_every_pixel_of_a_film_is_drawn_as_large_as_the_next():
    """Uneven blocks look like texture, and these pictures are looked at for their texture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    dark, light = 0.25, 0.75
    board = torch.tensor([[light, dark], [dark, light]]).repeat(16, 16).expand(5, 3, 32, 32)
    figure = film({"a row": board, "another": board}, list("abcde"), notes={"a row": list("12345")}, title="head")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = torch.tensor(np.asarray(canvas.buffer_rgba()))[..., 0]
    places = figure.axes[1].get_position()
    high, wide = drawn.shape
    row = drawn[round((1 - places.y1) * high) + 1, round(places.x0 * wide) : round(places.x1 * wide)]
    runs = torch.unique_consecutive(row[row != 255], return_counts=True)[1]
    assert set(runs.tolist()) == {4} and len(runs) == 5 * 32


def test_the_density_has_area_one_and_the_moments_of_the_chain():
    alpha_bar, peaks = make_alpha_bar(50, "cosine"), (0.8, -0.4)
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = mixture_density(x, alpha_bar, peaks, spread=0.05)
    step = float(x[1] - x[0])
    assert torch.allclose(density.sum(0) * step, torch.ones(50, dtype=torch.float64), atol=1e-6)
    mean = (density * x[:, None]).sum(0) * step
    assert torch.allclose(mean, 0.2 * alpha_bar.sqrt(), atol=1e-6)
    second = (density * x[:, None] ** 2).sum(0) * step
    assert torch.allclose(second, alpha_bar * (0.4 + 0.05**2) + 1 - alpha_bar, atol=1e-6)


def test_the_cut_is_where_the_noise_meets_the_picture():
    frequency = torch.linspace(0.01, 0.5, 50, dtype=torch.float64)
    power = frequency**-2  # equal to the noise where alpha_bar / f^2 = 1 - alpha_bar
    for meets in (0.1, 0.3):
        alpha_bar = 1 / (1 + meets**-2)
        assert cut_frequency(frequency, power, alpha_bar) == pytest.approx(meets, abs=1e-6)
    assert cut_frequency(frequency, power, 1e-9) == pytest.approx(0.01) and cut_frequency(frequency, power, 1 - 1e-9) == pytest.approx(0.5)
    assert cut_frequency(frequency, power.flip(0), 0.5) == pytest.approx(0.5)  # what is hidden lower down does not count


def test_curves_have_one_line_for_each_thing():
    alpha_bar = {name: make_alpha_bar(30, name) for name in ("linear", "cosine")}
    share, ratio = schedule_curves(alpha_bar, marks=[10]).axes
    assert len([line for line in share.lines if line.get_label() in alpha_bar]) == 2
    assert share.lines[0].get_ydata()[3] == pytest.approx(float(alpha_bar["linear"][3]))
    assert ratio.lines[1].get_ydata()[5] == pytest.approx(10 * math.log10(float(alpha_bar["cosine"][5] / (1 - alpha_bar["cosine"][5]))))
    frequency = torch.linspace(0.02, 0.5, 20, dtype=torch.float64)
    left, right = noise_floor(frequency, frequency**-2, alpha_bar, {"t = 3": 0.5}).axes
    assert len(right.lines) == 2 and left.lines[1].get_ydata()[0] == pytest.approx(1.0)
    (axes,) = level_figure({"before": [1.0, 0.9], "after": [0.5, 0.1]}, [10, 20]).axes
    assert list(axes.lines[1].get_ydata()) == [0.5, 0.1]
    assert len(level_figure({"a": [1.0]}, [5], losses=[(1, 1.0), (2, 0.5)]).axes) == 2
    middle = density_figure(alpha_bar["linear"], torch.zeros(4, 31), (0.5, -0.5)).axes[1]
    assert len(middle.lines) == 4


def test_the_slider_shows_the_frame_that_it_names(capsys):
    pytest.importorskip("ipywidgets")
    frames = {"2": torch.zeros(2, 3, 4, 4), "10": torch.ones(2, 3, 4, 4)}
    assert step_slider(frames, widgets="no") is None and "no slider" in capsys.readouterr().out
    slider = step_slider(frames, widgets="yes")
    before = slider.picture.value
    slider.slider.value = "10"
    assert torch.equal(slider.frame, frames["10"]) and slider.picture.value != before


def test_the_plan_of_a_network_has_the_shapes_of_a_real_pass():
    from course_lib.models.ddpm_unet import DDPMUNet

    model = DDPMUNet(dim=8, dim_mults=[1, 2, 3], heads=1, head_width=8)
    (axes,) = unet_figure(model, torch.rand(1, 3, 16, 24), torch.tensor([3])).axes
    texts = [text.get_text() for text in axes.texts]
    stages = ["init_conv\n8×16×24", "downs.1: 2 blocks, attention\n8×8×12", "mid: block, attention, block\n24×4×6", "final_conv\n3×16×24"]
    assert set(stages) <= set(texts)
    assert "ups.0: 2 blocks, attention\n24×4×6" in texts and "time_mlp: t to a code\n8 → 32" in texts
