"""The harness: tiny runs end in rows, are skipped the second time, go on after a stop, and means come with their spread."""

import csv
import math
from dataclasses import replace

import pytest
import torch
from tiny_models import TINY

from course_lib.lab.command import TABLE, compare, gather, load_queue, queue_file, read_table, report, run_queue, summary
from course_lib.lab.gradients import heat_map
from course_lib.lab.harness import COLUMNS, Experiment, LabError, LabTask, build, load_run, measured, read_rows, run, validation_pairs
from course_lib.lab.remedies import Joint
from course_lib.training.loop import TrainingError, l1_objective
from course_lib.training.recipe import Recipe

NOISE = LabTask("denoise", "gaussian_noise", {"sigma": 25.0}, clip=False)
BLUR = LabTask("deblur", "gaussian_blur", {"sigma": (1.0, 2.0)})
RECIPE = Recipe(config=dict(TINY), steps=4, patches=(16,), batches=(2,), learning_rate=1e-3, ema_decay=0.5, precision="fp32", log_every=1)
BOTH = Experiment("both", RECIPE, (NOISE, BLUR), probe_every=2, crop=64)
QUIET = dict(device="cpu", progress=False, say=lambda *_: None)


@pytest.fixture(scope="module")
def images():
    return [torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(n)) for n in range(3)]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_queue_fills_its_table_once(tmp_path, images):
    cured = replace(BOTH, name="both + adapters", remedy="adapters", options={"rank": 1})
    said = []
    settings = QUIET | dict(images=images, seeds=[0], commit="abc", say=said.append)
    rows = run_queue([BOTH, cured], tmp_path, **settings)
    assert [list(row) for row in rows] == [COLUMNS] * 4 and {row["commit"] for row in rows} == {"abc"}
    assert [(row["experiment"], row["task"]) for row in rows][:2] == [("both", "denoise"), ("both", "deblur")]
    assert rows[2]["parameters"] > rows[0]["parameters"] and rows[0]["steps"] == 4
    found = rows_of(BOTH.folder(tmp_path, 0) / "gradients.csv")
    assert {row["step"] for row in found} == {"0", "2", "4"} and {row["layer"] for row in found} >= {"latent", "whole model"}
    before = (tmp_path / TABLE).read_bytes()
    again = run_queue([BOTH, cured], tmp_path, **settings)
    assert again == rows and (tmp_path / TABLE).read_bytes() == before and sum("in the table" in line for line in said) == 2

    files = gather([BOTH, cured], tmp_path, tmp_path / "record")
    results, cosines, powers = read_rows(files[0]), read_table(files[1]), read_table(files[2])
    assert results == rows and {row["experiment"] for row in cosines} == {row["experiment"] for row in powers} == {
        "both",
        "both + adapters",
    }
    one = [row for row in cosines if row["experiment"] == "both"]
    assert heat_map(one, ("denoise", "deblur"))[1] == [0, 2, 4] and all(-1 <= row["cosine"] <= 1 for row in one)
    with pytest.raises(LabError, match="no finished run"):
        gather([BOTH], tmp_path / "elsewhere", tmp_path / "record")

    (tmp_path / TABLE).unlink()  # rows of a finished run come back from its folder, without training
    assert run_queue([BOTH], tmp_path, **settings) == rows[:2]
    with pytest.raises(LabError, match="another recipe"):
        run_queue([replace(BOTH, recipe=RECIPE.replace(steps=5))], tmp_path, **settings)

    pairs = validation_pairs(cured.tasks, 64)
    scores = measured(load_run(cured, 0, tmp_path), pairs)
    assert scores["deblur"] == pytest.approx(rows[3]["psnr"], abs=1e-3)


class Own(Joint):
    """A remedy with an option and a version."""

    name = "own"
    version = 1

    def __init__(self, strength):
        self.strength = strength

    def prepare(self, model, tasks):
        self.tasks = tasks
        return model


@pytest.mark.parametrize("remedy", ["pcgrad", "task_norm"])
def test_a_stopped_run_ends_as_one_that_was_not(tmp_path, images, remedy, monkeypatch):
    experiment = replace(BOTH, remedy=remedy)
    settings = QUIET | dict(images=images, seeds=[1])
    whole = run_queue([experiment], tmp_path / "whole", **settings)

    left = [7 if remedy == "pcgrad" else 4]  # calls of the loss; pcgrad needs one a task

    def stopping(model, batch):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return l1_objective(model, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("course_lib.lab.harness.l1_objective", stopping)
        run_queue([experiment], tmp_path / "stopped", **settings)
    assert not (tmp_path / "stopped" / TABLE).exists()
    said = []
    gone_on = run_queue([experiment], tmp_path / "stopped", **settings | {"say": said.append})
    assert any("going on from step 3 of 4" in line for line in said)
    assert [row["psnr"] for row in gone_on] == [row["psnr"] for row in whole]
    one, other = (experiment.folder(tmp_path / name, 1) / "gradients.csv" for name in ("whole", "stopped"))
    assert one.read_bytes() == other.read_bytes()


class Bad(Joint):
    """A student's remedy that goes wrong."""

    name = "bad"

    def loss(self, model, batch, objective):
        return super().loss(model, batch, objective) * math.nan


def test_a_failed_run_does_not_stop_the_others(tmp_path, images):
    bad = replace(BOTH, name="mine", remedy=Bad(), probe_every=0)
    good = replace(BOTH, probe_every=0)
    with pytest.raises(LabError, match="mine, seed 0"):
        run_queue([bad, good], tmp_path, images=images, seeds=[0], **QUIET)
    assert {row["experiment"] for row in rows_of(tmp_path / TABLE)} == {"both"}
    with pytest.raises(TrainingError):
        run(bad, 0, tmp_path, images=images, **QUIET)


def test_all_remedies_begin_from_the_same_weights_and_the_hash_knows_what_counts():
    plain = build(BOTH, 3)[0].state_dict()
    for remedy in ("pcgrad", "task_norm", "adapters", "frequency_split"):
        changed = build(replace(BOTH, remedy=remedy), 3)[0]
        ours = [value for name, value in changed.state_dict().items() if name.endswith("patch_embed.proj.weight")]
        assert torch.equal(ours[0], plain["patch_embed.proj.weight"])
    variants = [
        BOTH, replace(BOTH, remedy="pcgrad"), replace(BOTH, remedy="adapters"), replace(BOTH, remedy="adapters", options={"rank": 3}),
        replace(BOTH, tasks=(NOISE,)), replace(BOTH, recipe=RECIPE.replace(steps=9)),
        replace(BOTH, remedy=Bad()), replace(BOTH, remedy=Own(1)), replace(BOTH, remedy=Own(2)),
    ]  # fmt: skip
    assert len({variant.hash() for variant in variants}) == len(variants)
    variant, before = variants[-1], variants[-1].hash()
    build(variant, 0)
    assert variant.hash() == before  # whatever a remedy keeps of a run
    assert replace(BOTH, name="other", recipe=RECIPE.replace(seed=5)).hash() == BOTH.hash()


def row(experiment, seed, value, task="denoise"):
    return dict(experiment=experiment, task=task, seed=seed, psnr=value, input_psnr=20.0, parameters=10)


def test_a_model_with_words_is_told_by_number_in_the_order_of_its_words():
    words = {"denoise": "denoising", "deblur": "deblurring"}
    told_recipe = RECIPE.replace(model="dfpir", config=dict(TINY, words=words))
    model, _ = build(replace(BOTH, recipe=told_recipe), 0)
    pairs = {task: pairs[:1] for task, pairs in validation_pairs((NOISE, BLUR), crop=32).items()}
    seen = []
    model.shuffle4.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[1]))
    measured(model, pairs)
    assert torch.equal(torch.cat(seen), model.words.vectors)
    other = told_recipe.replace(config=dict(TINY, words=dict(reversed(words.items()))))
    with pytest.raises(LabError, match=r"both.*told tasks by number.*\(deblur, denoise\)"):
        build(replace(BOTH, recipe=other), 0)


def test_summary_and_verdicts():
    values = {"base": [25.0, 25.2, 25.4], "close": [25.1, 25.3, 25.5], "far": [27.0, 27.1, 27.2], "low": [20.0, 20.0, 20.0], "one": [30.0]}
    rows = [row(name, seed, value) for name, seeds in values.items() for seed, value in enumerate(seeds)]
    first = summary(rows)[0]
    assert first["psnr"] == pytest.approx(25.2) and first["spread"] == pytest.approx(0.2) and first["gain"] == pytest.approx(5.2)
    verdicts = {entry["experiment"]: entry["verdict"] for entry in compare(rows, "base")}
    assert verdicts == {"close": "smaller than the spread", "far": "better", "low": "worse", "one": "one seed: no spread"}
    assert "close against base, denoise: +0.10 dB, spread 0.20: smaller than the spread" in report(rows, "base")
    with pytest.raises(LabError, match="no row"):
        compare(rows, "nothing")


def test_the_shipped_queue_has_the_experiments_of_the_lesson():
    experiments, seeds = load_queue(queue_file())
    assert len(seeds) == 3
    asked = {(tuple(task.name for task in e.tasks), e.recipe.model, e.remedy) for e in experiments}
    both = ("denoise", "deblur")
    assert {(("denoise",), "restormer", "none"), (("deblur",), "restormer", "none"), (both, "promptir", "none")} <= asked
    assert {(both, "restormer", remedy) for remedy in ("none", "pcgrad", "task_norm", "adapters")} <= asked
    assert len({(e.recipe.steps, e.recipe.batches, e.recipe.patches, e.recipe.learning_rate) for e in experiments}) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('remedy = "pcgrad"', 'remedy = "pcgrab"', "unknown remedy"), ("sigma = 1.5", "sigmas = 1.5", "deblur|sigmas"),
        ('tasks = ["denoise"]', 'tasks = ["dehaze"]', "no task dehaze"), ("seeds = [0, 1, 2]", "seeds = [0, 0]", "seeds"),
        ("steps = 800", "stpes = 800", "stpes"), ('name = "deblur only"', 'name = "denoise only"', "one name"),
        ("[recipe]", "[recipe", "TOML"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_queue_is_named(tmp_path, old, new, said):
    text = queue_file().read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(LabError, match=said) as error:
        load_queue(path)
    assert str(path) in str(error.value)
