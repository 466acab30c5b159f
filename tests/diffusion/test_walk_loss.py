"""Training on the states of one's own walk: which state is seen, what is asked there, and that no gradient runs along the walk."""

import pytest
import torch

from course_lib.diffusion.diffuir import DiffUIR
from course_lib.diffusion.rddm import RDDM
from course_lib.models import create_model
from course_lib.training.diffusion import LevelObjective, objective_for, walk_objective
from course_lib.training.recipe import Recipe

CASES = [(RDDM(50, cut=False), "rddm", 2), (DiffUIR(50, walk_noise=True, cut=False), "diffuir", 1)]


def _images(seed: int, batch: int = 2):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, 3, 8, 8, generator=generator) for _ in range(2)), torch.randn(batch, 3, 8, 8, generator=generator)


@pytest.mark.parametrize(("process", "name", "outputs"), CASES, ids=["rddm", "diffuir"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_the_state_is_the_walk_s_and_the_gradient_that_of_one_prediction(process, name, outputs, step):
    torch.manual_seed(step)
    network = create_model(name, dim=8, dim_mults=[1, 1])
    (degraded, clean), noise = _images(step)
    _, states = process.sample(network, degraded, 3, noise, states=True)
    state = states[step]
    losses = process.walk_loss(network, degraded, clean, 3, noise, step)
    residual, _, x0 = process.predict(network, state.x, 2 * degraded - 1, torch.full((2,), state.t))
    wanted = ((x0 - (2 * clean - 1)).abs() + (residual - 2 * (degraded - clean)).abs()).mean((1, 2, 3))
    torch.testing.assert_close(losses, wanted)
    mine = torch.autograd.grad(losses.sum(), list(network.parameters()), allow_unused=True)
    theirs = torch.autograd.grad(wanted.sum(), list(network.parameters()), allow_unused=True)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in mine)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None) and (a is None or torch.allclose(a, b, atol=1e-6))


@pytest.mark.parametrize(("process", "name", "outputs"), CASES, ids=["rddm", "diffuir"])
def test_a_network_that_knows_the_answer_loses_nothing_at_any_step(process, name, outputs):
    (degraded, clean), noise = _images(7)
    x_in, x_0 = 2 * degraded - 1, 2 * clean - 1

    def knows(image6, t):
        bbar = process.betas_cumsum[t.long()].reshape(-1, 1, 1, 1) if name == "rddm" else 1.0
        abar = process.alphas_cumsum[t.long()].reshape(-1, 1, 1, 1) if name == "rddm" else 0.0
        return (x_in - x_0, (image6[:, :3] - x_0 - abar * (x_in - x_0)) / bbar)[:outputs]

    for step in range(4):
        assert float(process.walk_loss(knows, degraded, clean, 4, noise, step).max()) < 1e-5


def test_a_restorer_on_walk_trains_so_and_restores_as_the_other():
    config = dict(kind="diffuir", network=dict(dim=8, dim_mults=[1, 1]), process=dict(timesteps=20, walk_noise=True), steps=2)
    plain, walking = create_model("diffusion_restorer", **config), create_model("diffusion_restorer", **config, on_walk=True)
    walking.load_state_dict(plain.state_dict())
    assert "on_walk" not in plain.config and create_model("diffusion_restorer", **walking.config).on_walk
    (degraded, clean), _ = _images(3, batch=3)
    assert torch.equal(plain.eval()(degraded), walking.eval()(degraded))
    recipe = Recipe(model="diffusion_restorer")
    assert objective_for(recipe, walking) is walk_objective and isinstance(objective_for(recipe, plain), LevelObjective)
    losses = []
    for _ in range(2):
        torch.manual_seed(5)
        losses.append(walk_objective(walking, (degraded, clean)))
    assert losses[0].ndim == 0 and torch.equal(*losses)
