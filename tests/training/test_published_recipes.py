"""Recipes of the published settings: each task on its own set, as it lies under COURSE_DATA_DIR; the figures of the papers' code."""

import math
from functools import partial

import pytest
import torch

from course_lib.images import save_image
from course_lib.prompts import COURSE_TEXTS
from course_lib.training import Recipe, load_recipe, tasks
from course_lib.training.recipe import RecipeError
from course_lib.training.run import train, training_images
from course_lib.training.tasks import mixture

LAID_OUT = {
    "BSD400": ["1.png", "2.png"],
    "WED/pristine_images": ["a.png"],
    "Rain100L/train/input": ["1.png"],
    "Rain100L/train/target": ["1.png"],
    "RESIDE/OTS/original": ["0005.png"],
    "RESIDE/OTS/synthetic/part1": ["0005_0.8_0.04.png", "0005_1_0.2.png"],
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    for number, (folder, names) in enumerate(LAID_OUT.items()):
        for name in names:
            save_image(torch.rand(3, 40, 48, generator=torch.Generator().manual_seed(number)), tmp_path / folder / name)
    return tmp_path


def small(name, **changes):
    config = dict(dim=8, blocks=[1, 1, 1, 1], refinement_blocks=1, heads=[1, 1, 1, 1])
    return load_recipe(name).replace(config=config, steps=2, patches=(16,), batches=(4,), warmup=0, workers=0, **changes)


def test_each_task_trains_on_its_own_set(root):
    recipe = small("promptir_three_task")
    sources = training_images(recipe)
    assert {task: len(found) for task, found in sources.items()} == {"noise 15": 3, "noise 25": 3, "noise 50": 3, "rain": 1, "haze": 2}
    assert [pair.degraded is None for task in ("noise 50", "rain", "haze") for pair in sources[task]] == [True] * 3 + [False] * 3
    data = mixture(recipe, sources)
    assert data.counts == [9, 9, 9, 120, 2]  # images times the published repeats
    for number in range(20):
        degraded, clean, label = data[number, 16]
        assert degraded.min() >= 0 and degraded.max() <= 1, "the papers' code clips its noise"
        if label >= 3:  # rain and haze are pairs of files: 8 bit
            assert torch.allclose(degraded * 255, (degraded * 255).round(), atol=1e-4)


def test_it_trains_and_a_missing_set_is_named(root, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "task_validation", partial(tasks.task_validation, crop=32))
    said = []
    recipe = small("promptir_three_task", validate_every=0, precision="fp32")
    result = train(recipe, tmp_path / "run", device="cpu", progress=False, say=said.append)
    assert result.steps == 2 and "12 training images" in said[0]
    (root / "WED").rename(root / "elsewhere")
    with pytest.raises(RecipeError, match=r"promptir_three_task: WED \(train\) is not under .*COURSE_DATA_DIR"):
        training_images(recipe)
    with pytest.raises(RecipeError, match="three-task, five-task"):
        training_images(Recipe(data="published"))


def test_the_figures_of_the_published_schedules():
    three, five, airnet = (load_recipe(name) for name in ("promptir_three_task", "promptir_five_task", "airnet_three_task"))
    for recipe, samples in ((three, 142_431), (five, 195_757)):
        assert recipe.batches == (32,) and recipe.patches == (128,) and recipe.balance == "repeat" and recipe.learning_rate == 2e-4
        assert recipe.steps == round(samples / 32 * 120) and recipe.warmup == pytest.approx(15 * samples / 32, abs=1)
        assert recipe.final_learning_rate == pytest.approx(2e-4 * (1 + math.cos(math.pi * 105 / 135)) / 2, rel=1e-2)
    assert (airnet.steps, airnet.batches, airnet.patches, airnet.balance) == (1000 * 400, (5,), (128,), "balanced")


def test_dfpir_as_printed_and_as_coded(root, tmp_path, monkeypatch):
    printed, coded = load_recipe("dfpir_three_task_printed"), load_recipe("dfpir_three_task_coded")
    samples, ends = 142_431, [0, *printed.stage_ends]
    assert [round((b - a) * batch / samples, 4) for a, b, batch in zip(ends, ends[1:], printed.batches, strict=False)] == [80, 5]
    first, last = printed.stage_ends[0] - 1, printed.steps - 1
    assert [printed.stage(step) for step in (0, first, first + 1, last)] == [(128, 5)] * 2 + [(192, 3)] * 2
    rates = [printed.learning_rate_at(step) for step in (0, first, first + 1, last)]
    assert rates == pytest.approx([1e-4, 1e-5, 1e-5, 1e-5])
    assert coded.steps == 500 * samples / 5 and (coded.batches, coded.patches, coded.stage_rates) == ((5,), (128,), ())
    for epoch in (0, 100, 250, 499):
        wanted = 1e-4 * (1 + math.cos(math.pi * epoch / 500)) / 2
        assert coded.learning_rate_at(epoch * samples // 5) == pytest.approx(wanted, rel=1e-2, abs=2e-9)
    for recipe in (printed, coded):
        assert (recipe.betas, recipe.weight_decay, recipe.clip_norm, recipe.ema_decay) == ((0.9, 0.999), 0, 0, 0)
        assert recipe.config["encoder"] == "open_clip" and list(recipe.config["words"]) == [
            "noise 15",
            "noise 25",
            "noise 50",
            "rain",
            "haze",
        ]
        assert set(recipe.config["words"].values()) <= set(COURSE_TEXTS), "the offline encoder's vectors of these texts are shipped"
    monkeypatch.setattr(tasks, "task_validation", partial(tasks.task_validation, crop=32))
    recipe = small("dfpir_three_task_coded", validate_every=0, precision="fp32")
    recipe = recipe.replace(config={**recipe.config, "words": coded.config["words"], "encoder": "offline"})
    assert train(recipe, tmp_path / "run", device="cpu", progress=False, say=str).steps == 2
