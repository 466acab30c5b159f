"""Pictures of DFPIR: strips, cells and dots show the numbers that they were given, and what does not fit is refused."""

import numpy as np
import pytest
import torch

from course_lib.figures.dfpir import block_diagram, feature_maps, matrix_maps, places_diagram, run_dots, shuffle_map, silent_map

SHAPES = dict(
    text=(512,), guide=(8,), x=(4, 16, 16), doubled=(8, 16, 16), shuffled=(8, 16, 16), halved=(4, 16, 16),
    query=(1, 4, 256), key=(1, 4, 256), attention=(1, 4, 4), out=(4, 16, 16),
)  # fmt: skip


def words(axes):
    return [text.get_text() for text in axes.texts]


def test_a_strip_shows_the_channel_that_stands_at_each_place():
    orders = torch.tensor([[2, 0, 1, 3], [3, 2, 1, 0]])
    axes = shuffle_map({"latent": orders}, ["noise", "low_light"]).axes[0]
    assert np.array_equal(axes.images[0].get_array(), [[0, 1, 2, 3], [2, 0, 1, 3], [3, 2, 1, 0]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["before", "noise", "low light"]
    assert axes.images[0].get_clim() == (0, 3)


@pytest.mark.parametrize("orders", [torch.tensor([[0, 1]]), torch.tensor([[0, 2], [1, 0]]), torch.tensor([[0, -1], [1, 0]])])
def test_orders_of_other_rows_or_channels_are_refused(orders):
    with pytest.raises(ValueError, match="panel 'latent'"):
        shuffle_map({"latent": orders}, ["noise", "rain"])


def test_cells_that_are_zero_are_blank_and_crossed_out():
    weights = torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    axes = matrix_maps({"gamma 0.5": weights, "gamma 1": torch.full((3, 3), 1 / 3)}, label="weight", blank_zero=True).axes
    drawn = np.ma.masked_invalid(axes[0].images[0].get_array())
    assert np.array_equal(drawn.mask, (weights == 0).numpy()) and not np.ma.masked_invalid(axes[1].images[0].get_array()).mask.any()
    crosses = {tuple(point) for point in axes[0].collections[0].get_offsets().tolist()}  # (column, row)
    assert crosses == {(1, 0), (0, 1), (1, 2), (2, 2)} and not axes[1].collections
    assert axes[0].images[0].get_clim() == axes[1].images[0].get_clim() == (0, 1)


def test_zeros_stay_cells_where_nobody_asked_for_blanks():
    axes = matrix_maps({"P": torch.eye(3)}, label="share", limit=2.0).axes[0]
    assert np.array_equal(axes.images[0].get_array(), np.eye(3)) and axes.images[0].get_clim() == (0, 2)
    with pytest.raises(ValueError, match="matrix"):
        matrix_maps({"P": torch.ones(2, 3, 3)}, label="share")
    with pytest.raises(ValueError, match="no matrix"):
        matrix_maps({}, label="share")


def test_the_block_says_every_shape_and_marks_the_arrow_of_indices():
    axes = block_diagram(SHAPES).axes[0]
    said = " ".join(words(axes))
    assert all(" × ".join(map(str, shape)) in said for shape in SHAPES.values()) and "8 indices" in said
    dashed = [text for text in axes.texts if getattr(text, "arrow_patch", None) and text.arrow_patch.get_linestyle() == "--"]
    assert len(dashed) == 1 and dashed[0].xy == (5.5, 1.7)
    with pytest.raises(ValueError, match="guide, attention"):
        block_diagram({name: shape for name, shape in SHAPES.items() if name not in ("guide", "attention")})


def test_the_places_say_their_shapes_and_every_skip_goes_through_a_block():
    names = [
        "text",
        "input",
        "output",
        "latent",
        "shuffle4",
        *(f"{part}{k}" for part in ("encoder_level", "shuffle", "decoder_level") for k in (1, 2, 3)),
    ]
    shapes = {name: (number + 1, 64, 64) for number, name in enumerate(names)}
    axes = places_diagram(shapes).axes[0]
    said = {text.get_text().split("\n")[-1]: text.get_position() for text in axes.texts if text.get_text()}
    assert set(said) == {f"{number + 1} × 64 × 64" for number in range(len(names))}
    ends = {(text.xyann, text.xy) for text in axes.texts if getattr(text, "arrow_patch", None)}
    spot = {name: said[f"{number + 1} × 64 × 64"] for number, name in enumerate(names)}
    for k in (1, 2, 3):
        assert (spot[f"encoder_level{k}"], spot[f"shuffle{k}"]) in ends and (spot[f"shuffle{k}"], spot[f"decoder_level{k}"]) in ends
        assert (spot[f"encoder_level{k}"], spot[f"decoder_level{k}"]) not in ends
    assert (spot["latent"], spot["shuffle4"]) in ends and len(ends) == 15
    with pytest.raises(ValueError, match="shuffle2"):
        places_diagram({name: shape for name, shape in shapes.items() if name != "shuffle2"})


def test_feature_maps_are_mean_magnitudes_and_pictures_are_pictures():
    features = torch.stack([torch.full((4, 6), -1.0), torch.full((4, 6), 3.0)])
    rows = {
        "low_light": {"degraded": torch.rand(3, 8, 12), "before": features},
        "rain": {"degraded": torch.rand(3, 8, 12), "before": features},
    }
    axes = feature_maps(rows).axes
    assert axes[0].images[0].get_array().shape == (8, 12, 3) and np.array_equal(axes[1].images[0].get_array(), np.full((4, 6), 2.0))
    assert [a.get_title() for a in axes] == ["degraded", "before", "", ""] and axes[0].get_ylabel() == "low light"
    with pytest.raises(ValueError, match="row 'rain'"):
        feature_maps({**rows, "rain": {"before": features}})
    with pytest.raises(ValueError, match="no features"):
        feature_maps({})


def test_who_learns_nothing_is_marked_and_a_missing_parameter_is_not():
    columns = {"level 1": {"linear1.weight": None, "widen.weight": 1e-3}, "latent": {"linear1.weight": 0.0, "ffn.weight": 1e-5}}
    axes = silent_map(columns).axes[0]
    assert words(axes) == ["none", "none"] and {tuple(text.get_position()) for text in axes.texts} == {(0, 0), (1, 0)}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["linear1.weight", "widen.weight", "ffn.weight"]
    values = np.ma.filled(np.ma.masked_invalid(axes.images[0].get_array()), -1)
    assert np.allclose(values, [[-1, -1], [1e-3, -1], [-1, 1e-5]])
    with pytest.raises(ValueError, match="no gradients"):
        silent_map({})


def test_dots_are_seeds_and_print_has_an_axis_of_its_own():
    values = {"baseline": [24.0, 24.4], "CA": [], "DGCPM": [25.0]}
    left, right = run_dots(values, printed={"baseline": 31.98, "DGCPM": 32.49}, against="baseline").axes
    dots = {tuple(line.get_xdata()): line.get_ydata()[0] for line in left.lines if line.get_marker() == "o"}
    assert dots == {(24.0, 24.4): 0, (25.0,): 2} and words(left) == ["not run yet"]
    assert any(np.allclose(line.get_xdata(), 24.2) for line in left.lines)  # the mean
    assert words(right) == ["31.98", "32.49"] and [list(line.get_xdata()) for line in right.lines] == [[31.98], [32.49]]
    assert left.get_xlim()[1] < right.get_xlim()[0]
    assert len(run_dots(values).axes) == 1
    with pytest.raises(ValueError, match="no recorded run"):
        run_dots({"baseline": []})
