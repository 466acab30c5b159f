"""Pictures of residual diffusion: the plane holds the states it says, distances are root mean squares, numbers are drawn as given."""

import pandas
import pytest
import torch

from course_lib.figures.residual import hourglass, mean_distance, pair_distances, quality_cost, rounds_figure, state_map, step_diagram


def trio():
    clean, degraded = torch.full((3, 8, 8), 0.25), torch.full((3, 8, 8), 0.75)
    return clean, degraded, torch.ones(3, 8, 8)


def test_the_plane_shows_the_state_of_each_cell():
    figure = state_map(*trio(), {"straight": ([0.0, 1.0], [0.0, 0.5])}, cells=3)
    shown = {tuple(round(sum(image.get_extent()[k : k + 2]) / 2, 6) for k in (0, 2)): image.get_array() for image in figure.axes[0].images}
    assert len(shown) == 9
    for (a, b), picture in shown.items():
        expected = min(1.0, 0.25 + a * 0.5 + b * 0.5)  # noise of 1 on the scale [-1, 1] is 0.5 on [0, 1]
        assert torch.allclose(torch.as_tensor(picture).float(), torch.full((8, 8, 3), expected), atol=1e-6)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["straight"]


def test_the_plane_refuses_what_does_not_fit():
    clean, degraded, noise = trio()
    with pytest.raises(ValueError, match="2 values of abar"):
        state_map(clean, degraded, noise, {"bent": ([0.0, 1.0], [0.0])})
    with pytest.raises(ValueError, match="one size"):
        state_map(clean, degraded[:, :4], noise, {})


def test_distances_are_root_mean_squares():
    states = torch.stack([torch.zeros(3, 4, 6), torch.ones(3, 4, 6), torch.full((3, 4, 6), 3.0)])
    distances = pair_distances(states)
    assert torch.allclose(distances, torch.tensor([[0.0, 1, 3], [1, 0, 2], [3, 2, 0]]).double())
    assert mean_distance(states) == pytest.approx(2.0)
    assert mean_distance(2 * states) == pytest.approx(4.0)
    with pytest.raises(ValueError, match="two states"):
        mean_distance(states[:1])


def test_the_hourglass_draws_every_curve():
    figure = hourglass({"one": ([0, 0.5, 1], [0, 1, 2]), "two": ([0, 1], [0, 0.1])}, ylabel="distance")
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [3, 2]
    with pytest.raises(ValueError, match="2 times"):
        hourglass({"one": ([0, 1], [0])}, ylabel="distance")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_rounds_have_a_picture_and_bars_each(count):
    images, names = [torch.rand(1, 3, 16, 16)] * count, ["noise", "low light", "clean"]
    figure = rounds_figure(images, [f"round {i}" for i in range(count)], [[0.7, 0.2, 0.1]] * count, names)
    assert sum(len(axes.images) for axes in figure.axes) == count
    bars = [axes for axes in figure.axes if axes.patches]
    assert len(bars) == count and [patch.get_width() for patch in bars[0].patches] == pytest.approx([0.7, 0.2, 0.1])
    assert [text.get_text() for text in bars[0].get_yticklabels()] == names


def test_rounds_refuse_numbers_that_do_not_fit():
    with pytest.raises(ValueError, match="2 pictures, 1 headings"):
        rounds_figure([torch.rand(3, 8, 8)] * 2, ["a"], [[1.0]] * 2, ["clean"])
    with pytest.raises(ValueError, match="needs 2 numbers"):
        rounds_figure([torch.rand(3, 8, 8)], ["a"], [[1.0]], ["noise", "clean"])


def test_quality_against_cost_leaves_out_what_was_not_measured():
    table = pandas.DataFrame({"model": ["a", "b"], "PSNR (dB)": [25.0, 26.0], "seconds": [0.5, None], "work": [1e9, 2e9]})
    figure = quality_cost(table, quality="PSNR (dB)", costs={"seconds": "seconds", "work": "multiply-adds"}, baseline=20.0)
    assert [len([line for line in axes.lines if line.get_linestyle() == "None"]) for axes in figure.axes] == [1, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    with pytest.raises(ValueError, match="no column joules"):
        quality_cost(table, quality="PSNR (dB)", costs={"joules": "J"})


def test_the_diagram_names_every_part_once():
    shapes = dict(state="3×8×8", degraded="3×8×8", together="6×8×8", step="3×8×8")
    figure = step_diagram(shapes, {"unet0": ("residual", ["down 1: 4×8×8"]), "unet1": ("noise", ["down 1: 4×8×8"])})
    texts = [text.get_text() for text in figure.axes[0].texts if text.get_text()]
    assert len(texts) == 8 and sum("6×8×8" in text for text in texts) == 1
    assert {"residual", "noise"} <= set(texts)
    with pytest.raises(ValueError, match="no shape for step"):
        step_diagram({"state": "", "degraded": "", "together": ""}, {"unet0": ("residual", [])})
    with pytest.raises(ValueError, match="needs a network"):
        step_diagram(shapes, {})
