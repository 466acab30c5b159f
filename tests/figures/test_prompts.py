"""Pictures of prompts: t-SNE keeps neighbours, the agreement counts other photographs only, maps show the numbers they were given."""

import pytest
import torch

from course_lib.figures.prompts import embedding_map, mixture_figure, neighbour_agreement, number_map, tsne


def clusters(count=20, groups=3, dim=8, apart=8.0):
    generator = torch.Generator().manual_seed(0)
    centres = apart * torch.randn(groups, dim, generator=generator)
    points = torch.cat([centre + torch.randn(count, dim, generator=generator) for centre in centres])
    return points, [group for group in range(groups) for _ in range(count)]


def test_tsne_keeps_clusters_apart_and_is_repeatable():
    points, labels = clusters()
    flat = tsne(points, steps=300)
    assert flat.shape == (60, 2) and torch.isfinite(flat).all() and flat.mean(0).abs().max() < 1e-3
    nearest = torch.cdist(flat, flat).fill_diagonal_(torch.inf).argmin(1).tolist()
    assert sum(labels[i] == labels[j] for i, j in enumerate(nearest)) >= 58
    assert torch.equal(flat, tsne(points, steps=300)) and not torch.equal(flat, tsne(points, steps=300, seed=1))


def test_tsne_affinities_have_the_perplexity_asked_for():
    from course_lib.figures.prompts import _affinities

    p = _affinities(torch.randn(50, 5, generator=torch.Generator().manual_seed(0)).double(), 10.0)
    assert torch.allclose(p, p.T) and p.sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("count", [4, 5, 7])
def test_tsne_of_few_points_and_of_equal_points(count):
    assert torch.isfinite(tsne(torch.randn(count, 3), steps=50)).all()
    assert torch.isfinite(tsne(torch.ones(count, 3), steps=50)).all()


def test_tsne_refuses_what_it_cannot_lay_out():
    with pytest.raises(ValueError, match="at least four"):
        tsne(torch.zeros(3, 2))


def test_agreement_ignores_the_same_photograph():
    points = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
    # the nearest of all is always of the same photograph and of another label
    assert neighbour_agreement(points, ["a", "b", "b", "a"], [0, 0, 1, 1]) == pytest.approx(0.5)
    assert neighbour_agreement(points, ["a", "a", "a", "a"], [0, 0, 1, 1]) == 1
    with pytest.raises(ValueError, match="two or more"):
        neighbour_agreement(points, ["a"] * 4, [0] * 4)


def test_embedding_map_has_every_point_in_every_panel():
    labels = ["noise"] * 3 + ["low_light"] * 2
    figure = embedding_map({"one": torch.rand(5, 2), "two": torch.rand(5, 2)}, labels)
    for axes in figure.axes:
        assert [len(cloud.get_offsets()) for cloud in axes.collections] == [3, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["noise", "low light"]
    with pytest.raises(ValueError, match="5 labels"):
        embedding_map({"one": torch.rand(4, 2)}, labels)


def test_number_map_writes_the_numbers_on_one_scale():
    matrix = torch.tensor([[0.25, -1.5], [0.0, 0.5]])
    figure = number_map({"m": matrix, "n": -matrix}, ["a", "low_light"], ["x", "y"], label="dB")
    first, second = figure.axes[:2]
    assert [text.get_text() for text in first.texts] == ["0.25", "-1.50", "0.00", "0.50"]
    assert [axes.images[0].get_clim() for axes in (first, second)] == [(-1.5, 1.5)] * 2
    assert first.get_yticklabels()[1].get_text() == "low light"
    with pytest.raises(ValueError, match="expected"):
        number_map({"m": matrix}, ["a"], ["x", "y"], label="dB")


def test_mixture_figure_shows_components_weights_and_mixture():
    components, weights = torch.rand(3, 2, 4, 4), {"rain": torch.tensor([0.5, 0.25, 0.25])}
    figure = mixture_figure(components, weights, {"rain": torch.rand(2, 6, 8)}, channel=1)
    axes = [panel for part in figure.subfigs for panel in part.axes]
    assert len(axes) == 3 + 2
    assert torch.equal(torch.as_tensor(axes[2].images[0].get_array().data), components[2, 1])
    assert [text.get_text() for text in axes[3].texts] == ["0.50", "0.25", "0.25"]
    with pytest.raises(ValueError, match="same names"):
        mixture_figure(components, weights, {})
