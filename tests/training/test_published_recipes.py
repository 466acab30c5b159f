"""Recipes of the published settings: each task on its own set, as it lies under COURSE_DATA_DIR; the figures of the papers' code."""

import math
from functools import partial

import pytest
import torch

from course_lib.images import save_image
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
