"""Diffusion models in the common loop: the loss by noise level, going on bit for bit, grids, and models that restore like any other."""

import csv

import pytest
import torch
import toy_run

from course_lib.datasets.pairs import noise_of
from course_lib.diffusion.restorer import spread_times
from course_lib.evaluation import restore, restore_tiled
from course_lib.models import create_model, list_models
from course_lib.training import Recipe, fit, load_weights, save_weights
from course_lib.training.diffusion import LevelObjective, PriorValidation, RestorerValidation, tiled

NETWORK = dict(dim=8, dim_mults=[1, 2])
PRIOR = dict(network=NETWORK, process=dict(timesteps=20, schedule="cosine", prediction="v"))
RESTORERS = {
    "rddm": dict(kind="rddm", network=NETWORK, process=dict(timesteps=20), steps=2),
    "diffuir": dict(kind="diffuir", network=NETWORK, process=dict(timesteps=20), steps=2),
}
LATENT = dict(autoencoder=dict(dim=8, latent_channels=2), network=NETWORK, process=dict(timesteps=20, schedule="cosine", prediction="v"))


def made(kind):
    torch.manual_seed(0)
    if kind in RESTORERS:
        return create_model("diffusion_restorer", **RESTORERS[kind])
    return create_model("diffusion_prior", **PRIOR) if kind == "prior" else create_model("latent_prior", **LATENT)


class Killed(BaseException):
    pass


def run(folder, kind, *, die_at=0, steps=6):
    recipe = Recipe(
        name=kind, steps=steps, patches=(16,), batches=(4,), precision="fp32", ema_decay=0.9, log_every=3, checkpoint_seconds=0.0
    )
    model, calls = made(kind), []
    degrade = noise_of((10, 40))

    def mortal(clean, rng):
        calls.append(1)
        if die_at and len(calls) > 4 * die_at:
            raise Killed
        return degrade(clean, rng)

    objective = LevelObjective(model.T, kind in RESTORERS)
    return fit(
        model, recipe, toy_run.images(), mortal, folder, device="cpu", objective=objective, progress=False, say=lambda *_: None
    )  # fmt: skip


def rows_of(folder, name):
    with open(folder / name, newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", ["rddm", "diffuir", "prior", "latent"])
def test_a_killed_run_goes_on_bit_for_bit_with_its_noise_average_and_levels(tmp_path, kind):
    run(tmp_path / "whole", kind)
    with pytest.raises(Killed):
        run(tmp_path / "cut", kind, die_at=4)  # in the middle of the second log row
    torch.manual_seed(123)  # another stream, which the checkpoint must put right
    assert run(tmp_path / "cut", kind).resumed
    for name in ("log.csv", "levels.csv"):
        assert rows_of(tmp_path / "cut", name) == rows_of(tmp_path / "whole", name)
    assert toy_run.final_digest(tmp_path / "cut") == toy_run.final_digest(tmp_path / "whole")


def test_levels_count_every_sample_once_and_average_to_the_loss(tmp_path):
    run(tmp_path, "rddm")
    levels, log = rows_of(tmp_path, "levels.csv"), rows_of(tmp_path, "log.csv")
    for row in log:
        own = [level for level in levels if level["step"] == row["step"]]
        counts = [int(level["count"]) for level in own]
        assert sum(counts) == 12 and len(own) == len({level["level"] for level in own})
        mean = sum(float(level["loss"]) * count for level, count in zip(own, counts, strict=True)) / 12
        assert mean == pytest.approx(float(row["loss"]), rel=1e-5)


def test_a_level_holds_the_loss_of_its_times():
    objective = LevelObjective(T=100, restores=False)
    objective(lambda clean, t: t.float(), (torch.zeros(50, 3, 4, 4), torch.zeros(50, 3, 4, 4)))
    rows = objective.rows()
    assert [row["level"] for row in rows] == list(range(10)) and all(row["count"] == 5 for row in rows)
    assert all(10 * row["level"] <= row["loss"] < 10 * row["level"] + 10 for row in rows)
    assert objective.rows() == []  # told once


def test_times_are_spread_and_each_is_uniform():
    torch.manual_seed(0)
    drawn = torch.stack([spread_times(5, 1000) for _ in range(2000)])
    assert drawn.dtype == torch.int64 and 0 <= drawn.min() and drawn.max() < 1000
    parts = ((drawn.double() + 0.5) / 200).floor()
    assert (parts.sort(dim=1).values.diff(dim=1) >= 1).float().mean() > 0.95  # two never in one part, but at its edges
    first = drawn[:, 0].double()
    assert abs(float(first.mean()) - 499.5) < 4 * 288.7 / 2000**0.5 and abs(float(first.std()) - 288.7) < 15


@pytest.mark.parametrize("kind", list(RESTORERS))
def test_a_restorer_is_a_function_of_the_picture_alone(kind):
    model = made(kind).eval()
    torch.manual_seed(5)
    images = torch.rand(3, 3, 16, 24)
    together = restore(model, images)
    assert together.shape == images.shape and together.min() >= 0 and together.max() <= 1
    for index in range(3):
        assert torch.allclose(restore(model, images[index : index + 1])[0], together[index], atol=1e-5)
    assert torch.equal(restore(model, images), together)  # and draws nothing from the stream
    walk, states = model.restore(images, steps=1, states=True)
    assert len(states) == 2 and torch.allclose(walk, model.process.sample(model.network, images, 1, states[0].x * 0 + model_noise(images)))


def model_noise(images):
    from course_lib.diffusion.chain import starting_noise

    return starting_noise((1, *images.shape[1:]), 0).expand(len(images), -1, -1, -1)


@pytest.mark.parametrize("kind", list(RESTORERS))
@pytest.mark.parametrize("side", [(16, 16), (17, 23), (5, 40)])
def test_a_restorer_takes_any_size_whole_and_in_tiles(kind, side):
    model = made(kind).eval()
    image = torch.rand(1, 3, *side)
    assert restore(model, image).shape == image.shape == restore_tiled(model, image, tile=16, overlap=8).shape


@pytest.mark.parametrize("kind", ["rddm", "diffuir", "prior", "latent"])
def test_weights_files_hold_all_that_is_needed(tmp_path, kind):
    model = made(kind).eval()
    path = save_weights(model, tmp_path / "model.safetensors")
    again = load_weights(path)
    assert type(again) is type(model) and again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert not any(key.startswith("process.") for key in model.state_dict())  # schedules follow from the configuration


def test_the_registry_knows_the_models_with_a_process():
    assert {"diffusion_prior", "diffusion_restorer", "latent_prior"} <= set(list_models())
    with pytest.raises(ValueError, match="kind is one of rddm, diffuir"):
        create_model("diffusion_restorer", kind="ddpm")
    with pytest.raises(ValueError, match="unexpected"):
        create_model("diffusion_prior", colour=3)


def test_a_latent_prior_begins_with_a_trained_autoencoder(tmp_path):
    torch.manual_seed(4)
    coder = create_model("autoencoder", dim=8, latent_channels=2)
    path = save_weights(coder, tmp_path / "coder.safetensors")
    model = made("latent")
    images = [torch.rand(3, 20, 30) for _ in range(5)]
    model.begin(path, images)
    assert torch.equal(model.autoencoder.encoder[0].weight, coder.encoder[0].weight)
    codes = model.encode(torch.stack([image[:, :20, :20] for image in images]))
    assert float(codes.std()) == pytest.approx(1, abs=1e-4)
    assert not any(p.requires_grad for p in model.autoencoder.parameters()) and any(p.requires_grad for p in model.model.parameters())


def test_a_perfect_network_reaches_the_noise_free_picture():
    class Told(torch.nn.Module):  # answers v of a picture that it knows
        def __init__(self, process, x_0):
            super().__init__()
            self.process, self.x_0, self.weight = process, x_0, torch.nn.Parameter(torch.zeros(1))

        def forward(self, x, t):
            epsilon = self.process.predict(self.x_0, x, t, "x_0").epsilon
            return self.process.target(self.x_0, t, epsilon)

    model = made("prior")
    validate = PriorValidation(20, 16, crops=4)
    model.network = Told(model.process, 2 * validate.clean - 1)
    assert min(validate(model).values()) > 45
    assert made("prior") is not None and max(validate(made("prior")).values()) < 40


def test_grids_are_pictures(tmp_path):
    validate = RestorerValidation("five-task", crop=32)
    grid = validate.grid(made("diffuir").eval())
    assert grid.shape == (3, 96, 160) and 0 <= grid.min() and grid.max() <= 1
    assert PriorValidation(20, 16, crops=2).grid(made("prior").eval(), steps=2).shape == (3, 64, 128)
    images = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 3, 2, 2)
    assert tiled(images, 3)[0, ::2, ::2].tolist() == [[0, 1, 2], [3, 4, 5]]
