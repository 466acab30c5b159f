"""All-in-one training: the recipe's tasks, their loss, a figure for every task, and a run that is cut and goes on as if it had not been."""

import copy

import numpy as np
import pytest
import torch
import toy_run

from course_lib.datasets.mixture import MixtureDataset, Task, degrade_of
from course_lib.degradations.noise import GaussianNoise
from course_lib.models import create_model
from course_lib.models.official import CheckpointError
from course_lib.prompts import encode_words
from course_lib.training import Recipe, fit, load_recipe
from course_lib.training.checkpoint import save_weights
from course_lib.training.log import read_log
from course_lib.training.loop import l1_objective
from course_lib.training.recipe import RecipeError
from course_lib.training.run import _model, training_images
from course_lib.training.tasks import contrastive_objective, mixture, objective_of, task_validation

FIVE = ["haze", "rain", "noise 25", "motion blur", "low light"]
RECIPE = Recipe(name="five", config=toy_run.TINY, tasks="five-task", steps=6, patches=(32,), batches=(5,), precision="fp32", log_every=2,
                validate_every=3, ema_decay=0.5, learning_rate=1e-3)  # fmt: skip


TOLD = dict(toy_run.TINY, words={task: task.removesuffix(" 25") for task in FIVE})


@pytest.fixture(scope="module")
def images():
    return training_images(Recipe())[:3]


def run(folder, images, recipe=RECIPE, **options):
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model, **recipe.config)
    return fit(
        model, recipe, mixture(recipe, images), None, folder, device="cpu", objective=objective_of(recipe), progress=False,
        say=lambda *_: None, **options,
    )  # fmt: skip


def test_a_recipe_with_tasks_trains_them_and_keeps_a_figure_for_each(tmp_path, images):
    validate = task_validation("five-task", crop=48)
    result = run(tmp_path, images, validate=validate)
    rows = read_log(tmp_path / "validation.csv")
    assert [(int(row["step"]), row["task"]) for row in rows] == [(step, task) for step in (3, 6) for task in FIVE]
    last = {row["task"]: float(row["psnr"]) for row in rows[5:]}
    assert last == pytest.approx(validate(result.model), abs=1e-4)
    log = read_log(tmp_path / "log.csv")
    assert float(log[-1]["val_psnr"]) == pytest.approx(np.mean(list(last.values())), abs=1e-4)
    assert float(log[-1]["loss"]) < float(log[0]["loss"])


@pytest.mark.parametrize("model", ["restormer", "airnet", "dfpir"])
def test_cut_and_resumed_equals_the_whole_run(tmp_path, images, model):
    config = {"restormer": toy_run.TINY, "airnet": dict(width=6, groups=1, blocks=1, encoder_widths=[6, 8, 8], queue=10), "dfpir": TOLD}[
        model
    ]
    recipe = RECIPE.replace(model=model, config=config, checkpoint_seconds=0.0)
    validate = task_validation("five-task", crop=32)
    whole = run(tmp_path / "whole", images, recipe, validate=validate)
    run(tmp_path / "cut", images, recipe, validate=validate, stop_after=4)
    again = run(tmp_path / "cut", images, recipe, validate=validate)
    assert again.resumed and again.steps == 6
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    for name in ("log.csv", "validation.csv"):
        one, other = (read_log(tmp_path / folder / name) for folder in ("whole", "cut"))
        assert [{**row, "seconds": ""} for row in one] == [{**row, "seconds": ""} for row in other]


def test_the_batch_holds_each_task_once_and_noise_is_not_clipped(images):
    data = mixture(RECIPE, images)
    assert isinstance(data, MixtureDataset) and data.names == FIVE
    for start in (0, 5, 10):
        assert sorted(data[(start + i, 16)][2] for i in range(5)) == [0, 1, 2, 3, 4]
    noisy = torch.stack([data[(5 * i + 2, 32)][0] for i in range(20)])
    others = torch.stack([data[(5 * i + j, 32)][0] for i in range(5) for j in (0, 1, 3, 4)])
    assert noisy.min() < 0 and noisy.max() > 1 and others.min() >= 0 and others.max() <= 1


def test_the_key_shows_another_place_with_the_same_strength():
    flat = torch.full((3, 64, 64), 0.5)
    ramp = torch.linspace(0, 1, 64).expand(3, 64, 64).contiguous()
    tasks = [Task("noise", [flat], degrade_of("gaussian_noise", clip=False, sigma=(5.0, 80.0))), Task("haze", [ramp], degrade_of("haze"))]
    data = MixtureDataset(tasks, 3, views=2)
    for number in range(0, 40, 2):
        query, clean, label, key = data[(number, 32)]
        assert label == 0 and query.shape == clean.shape == key.shape
        assert query.std().item() == pytest.approx(key.std().item(), rel=0.1)  # drawn between 5 and 80: the same draw
        noise = torch.stack([query - clean, key - 0.5]).flatten(1)
        assert abs(torch.corrcoef(noise)[0, 1].item()) < 0.1  # but not the same noise
    query, clean, _, key = data[(1, 32)]
    assert not torch.equal(query, key)
    pair = data[(5, 32)]
    assert all(torch.equal(a, b) for a, b in zip(pair[:2], data[(5, 32)][:2], strict=True))


def test_one_view_gives_the_samples_that_it_gave():
    tasks = [Task("noise", [torch.rand(3, 40, 40)], degrade_of("gaussian_noise", clip=False, sigma=25.0))]
    degraded, clean, _ = MixtureDataset(tasks, 1)[(7, 24)]
    noise = (degraded - clean) * 255 / 25
    assert abs(noise.std().item() - 1) < 0.1 and GaussianNoise.kind == "gaussian_noise"


def test_the_loss_follows_the_model(images):
    assert objective_of(RECIPE) is l1_objective
    recipe = RECIPE.replace(model="airnet", config=dict(width=6, groups=1, blocks=1, encoder_widths=[6, 8, 8], queue=10))
    assert objective_of(recipe) is contrastive_objective
    model = create_model("airnet", **recipe.config).train()
    samples = [mixture(recipe, images)[(i, 32)] for i in range(5)]
    batch = tuple(torch.stack([torch.as_tensor(part) for part in parts]) for parts in zip(*samples, strict=True))
    twin = copy.deepcopy(model)  # a call moves the queue
    loss = contrastive_objective(model, batch)
    loss.backward()
    restored, logits, labels = twin(batch[0], batch[3])
    wanted = (restored - batch[1]).abs().mean() + 0.1 * torch.nn.functional.cross_entropy(logits, labels)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert sum(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters()) > 10


def test_a_model_that_is_not_blind_is_told_each_images_task(images):
    recipe = RECIPE.replace(model="dfpir", config=TOLD)
    model = create_model("dfpir", **TOLD)
    samples = [mixture(recipe, images)[(i, 32)] for i in range(3, 8)]
    batch = tuple(torch.stack([torch.as_tensor(part) for part in parts]) for parts in zip(*samples, strict=True))
    assert batch[2].tolist() == [3, 4, 0, 1, 2]
    loss, vectors = objective_of(recipe)(model, batch), encode_words(list(TOLD["words"].values())).vectors
    assert loss.item() == pytest.approx((model(batch[0], vectors[batch[2]]) - batch[1]).abs().mean().item(), rel=1e-6)
    seen = []
    model.shuffle4.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[1]))
    validate = task_validation("five-task", crop=32)
    validate(model)
    each = len(next(iter(validate.pairs.values())))
    assert torch.equal(torch.cat(seen), vectors.repeat_interleave(each, dim=0)), "validation says each task's own name, in their order"


def test_a_told_model_without_words_is_refused_before_it_trains():
    for changes, words in (
        (dict(config=toy_run.TINY), "five: dfpir is told.*no words for haze, rain, noise 25"),
        (
            dict(config={**toy_run.TINY, "words": {"haze": "haze", "noise 15": "noise", "rain": "rain"}}),
            "no words for motion blur, low light",
        ),
        (dict(config=TOLD, tasks=""), "no tasks"),
    ):
        with pytest.raises(RecipeError, match=words):
            _model(RECIPE.replace(model="dfpir", **changes))


def test_a_run_begins_with_weights_of_its_own_encoder_only(tmp_path):
    path = save_weights(create_model("dfpir", **TOLD, encoder="random:1"), tmp_path / "first.safetensors")
    with pytest.raises(CheckpointError, match="trained with the prompts of random:1, these are of offline"):
        _model(RECIPE.replace(model="dfpir", config=TOLD, start=str(path)))


def test_the_small_recipes_are_equal_but_for_the_model():
    def kept(recipe, *more):
        return {key: value for key, value in vars(recipe).items() if key not in ("name", "model", "config", "precision", "start", *more)}

    for part, before in (("_first", ""), ("_second", "_first"), ("_third", "_second"), ("", "_third")):
        recipes = {name: load_recipe(f"{name}_small{part}") for name in ("restormer", "promptir", "dfpir")}
        restormer, promptir, dfpir = recipes.values()
        assert kept(restormer) == kept(promptir) == kept(dfpir) and restormer.precision == dfpir.precision
        assert all(recipe.start == (before and f"{name}_small{before}") for name, recipe in recipes.items())
        trunk = {key: value for key, value in dfpir.config.items() if key not in ("words", "encoder", "guide_width")}
        assert trunk == restormer.config and list(dfpir.config["words"]) == FIVE

    def seen(recipe):  # (patch, batch, learning rate, balance) of every step, from the first part on
        chain = [recipe]
        while chain[0].start:
            chain.insert(0, load_recipe(chain[0].start))
        return [(*part.stage(step), part.learning_rate_at(step), part.balance) for part in chain for step in range(part.steps)]

    airnet = load_recipe("airnet_small")  # in other parts, but step for step the same
    ours, theirs = seen(airnet), seen(restormer)
    assert [step[:2] + step[3:] for step in ours] == [step[:2] + step[3:] for step in theirs] and len(ours) == 7600
    warm_up = range(
        5800 + 800, 5800 + 800 + 20
    )  # AirNet's third part holds two of the others', which warm up once more between them: the cosine after it is 20 steps shorter
    same = [
        one[2] == pytest.approx(other[2], abs=1.5e-5)
        for step, (one, other) in enumerate(zip(ours, theirs, strict=True))
        if step not in warm_up
    ]
    assert all(same)
    for recipe in (restormer, promptir, airnet, dfpir):
        weights = sum(p.numel() for p in create_model(recipe.model, **recipe.config).parameters())
        assert 4 * weights < 8e6


def test_validation_is_the_same_at_every_call_and_knows_the_identity():
    validate = task_validation("five-task", crop=64)
    first = validate(torch.nn.Conv2d(3, 3, 1))
    model = torch.nn.Conv2d(3, 3, 1, bias=False)
    model.weight.data.copy_(torch.eye(3)[..., None, None])
    assert list(first) == FIVE and validate(model) == validate(model)
    assert 19 < validate(model)["noise 25"] < 21.5


def test_troubles_are_named():
    with pytest.raises(RecipeError, match="balance is one of"):
        Recipe(balance="fair")
    from course_lib.training.run import _parts

    with pytest.raises(RecipeError, match="six-task.*three-task"):
        _parts(Recipe(tasks="six-task"), [torch.rand(3, 80, 80)])
    assert Recipe(tasks="five-task").hash() != Recipe().hash() == Recipe(balance="repeat").hash()
