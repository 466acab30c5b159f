"""Gradients of tasks: the cosine of a known problem, the stages of a model, and a model that does not notice."""

import math

import pytest
import torch
from torch import nn

from course_lib.datasets.mixture import Task, degrade_of
from course_lib.lab.gradients import COLUMNS, WHOLE, cosines, fixed_batches, heat_map, measure, stages, task_gradients


class TwoWeights(nn.Module):
    """Two stages of one weight each; the loss of a task is <batch, weights>, whose gradient is the batch."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False)
        self.unused = nn.Linear(1, 1, bias=False)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        torch.rand(3)
        return (self.first.weight * x[:2]).sum() + (self.second.weight * x[2]).sum()


def value(model, batch):
    return model(batch[0])


def test_cosines_of_known_gradients():
    batches = {"a": (torch.tensor([1.0, 0.0, 2.0]),), "b": (torch.tensor([-1.0, 1.0, 1.0]),)}
    rows = {row["layer"]: row for row in measure(TwoWeights(), batches, step=7, objective=value)}
    assert list(rows) == ["first", "second", "unused", WHOLE]
    assert list(rows["first"]) == COLUMNS and rows["first"]["step"] == 7
    assert rows["first"]["cosine"] == pytest.approx(-1 / math.sqrt(2)) and rows["first"]["norm_ratio"] == pytest.approx(1 / math.sqrt(2))
    assert rows["second"]["cosine"] == pytest.approx(1) and rows["second"]["norm_ratio"] == pytest.approx(2)
    assert rows[WHOLE]["cosine"] == pytest.approx(1 / math.sqrt(5 * 3))
    assert math.isnan(rows["unused"]["cosine"])


def test_the_model_does_not_notice():
    model = TwoWeights().train()
    model.first.weight.grad = torch.full((1, 2), 3.0)
    state = torch.get_rng_state()
    task_gradients(model, {"a": (torch.ones(3),)}, value)
    assert model.training and model.calls.item() == 0
    assert torch.equal(model.first.weight.grad, torch.full((1, 2), 3.0)) and model.second.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_a_restormer_on_fixed_batches(tiny, photos):
    images = list(photos.values())[:2]
    tasks = [Task("noise", images, degrade_of("gaussian_noise", sigma=25.0, clip=False)), Task("blur", images, degrade_of("gaussian_blur"))]
    batches = fixed_batches(tasks, seed=3, count=2, patch=16)
    again = fixed_batches(tasks, seed=3, count=2, patch=16)
    assert all(torch.equal(x, y) for name in batches for x, y in zip(batches[name], again[name], strict=True))
    assert batches["blur"][2].tolist() == [1, 1] and batches["noise"][0].shape == (2, 3, 16, 16)
    rows = measure(tiny, batches)
    layers = [row["layer"] for row in rows]
    assert layers == [*stages(tiny), WHOLE] and {"encoder_level1", "latent", "refinement"} <= set(layers)
    assert all(abs(row["cosine"]) <= 1 for row in rows) and rows == measure(tiny, batches)
    same = measure(tiny, {"x": batches["noise"], "y": batches["noise"]})
    assert all(row["cosine"] == pytest.approx(1) and row["norm_ratio"] == pytest.approx(1) for row in same)


def test_heat_map_of_a_table():
    def row(step, layer, b, cosine):
        return dict(step=str(step), layer=layer, task_a="a", task_b=b, cosine=str(cosine), norm_ratio="1")

    rows = [row(10, "u", "b", 0.5), row(0, "u", "b", 1.0), row(0, "v", "b", -1.0), row(0, "u", "c", 0.0)]
    layers, steps, matrix = heat_map(rows, ("b", "a"))
    assert layers == ["u", "v"] and steps == [0, 10]
    assert matrix[0].tolist() == [1.0, 0.5] and matrix[1, 0] == -1 and math.isnan(matrix[1, 1])
    assert heat_map(rows)[2][0, 0] == 0.5
    with pytest.raises(ValueError, match="b and c"):
        heat_map(rows, ("b", "c"))
    with pytest.raises(ValueError, match="two tasks"):
        cosines({"a": {}})
