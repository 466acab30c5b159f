"""The course's own test: what the file says is what is measured, on every machine."""

import copy
import json

import pytest
import torch

from course_lib.datasets.photos import photo_files
from course_lib.degradations.composite import DEGRADATIONS
from course_lib.evaluation import five_tasks
from course_lib.metrics import psnr, ssim


@pytest.fixture(scope="module")
def protocol():
    return five_tasks.load_protocol()


def test_five_tasks_on_the_test_photographs(protocol):
    assert tuple(protocol["tasks"]) == ("noise", "blur", "rain", "haze", "low_light")
    names = [path.stem for path in photo_files("test")]
    for entry in protocol["tasks"].values():
        assert list(entry["photographs"]) == names
        for one in entry["photographs"].values():
            assert DEGRADATIONS[entry["kind"]].from_dict(one["parameters"]).to_dict() == one["parameters"]


@pytest.mark.parametrize("task", five_tasks.TASKS)
def test_the_written_input_figures_are_the_measured_ones(task, protocol):
    entry = protocol["tasks"][task]
    scores = []
    for name, degraded, clean in five_tasks.task_pairs(task):
        assert degraded.shape == clean.shape and not any(side % 16 for side in clean.shape[-2:])
        scores.append((psnr(degraded, clean).item(), ssim(degraded, clean).item()))
        assert scores[-1][0] == pytest.approx(entry["photographs"][name]["input_psnr"], abs=0.02)
    means = torch.tensor(scores).mean(0)
    assert means[0].item() == pytest.approx(entry["input_psnr"], abs=0.01)
    assert means[1].item() == pytest.approx(entry["input_ssim"], abs=0.001)


def test_the_file_holds_what_was_drawn(protocol):
    drawn = five_tasks.draw_protocol()
    for task, entry in drawn["tasks"].items():
        assert entry["kind"] == protocol["tasks"][task]["kind"] and entry["clip"] == protocol["tasks"][task]["clip"]
        for name, one in entry["photographs"].items():
            assert {key: protocol["tasks"][task]["photographs"][name][key] for key in one} == one


@pytest.mark.slow
def test_classical_rows_are_the_measured_ones(protocol):
    again = five_tasks.measure(json.loads(json.dumps(protocol)))
    assert five_tasks.differences(protocol, again) == []
    for entry in again["tasks"].values():
        assert entry["classical"]["psnr"] > entry["input_psnr"]  # a row that any model should beat must itself beat doing nothing


def test_differences_are_seen(protocol):
    other = copy.deepcopy(protocol)
    assert five_tasks.differences(protocol, other) == []
    other["tasks"]["rain"]["input_psnr"] += 0.05
    other["tasks"]["haze"]["classical"]["psnr"] = float("nan")
    lines = five_tasks.differences(protocol, other)
    assert len(lines) == 2 and lines[0].startswith("rain: input_psnr") and lines[1].startswith("haze: classical")


def test_unknown_task():
    with pytest.raises(ValueError, match="unknown task 'snow'; the protocol has noise, blur"):
        next(five_tasks.task_pairs("snow"))


def test_course_eval_measures_the_five_tasks(protocol):
    from course_lib.evaluation.command import evaluation_table, report, report_text

    rows = evaluation_table("identity", "five-tasks", progress=False)
    assert [(row["task"], row["images"]) for row in rows] == [(task, 5) for task in five_tasks.TASKS]
    for row in rows:
        assert row["degraded_psnr"] == row["restored_psnr"] == pytest.approx(protocol["tasks"][row["task"]]["input_psnr"], abs=0.01)
    data = report(rows, "five-tasks")
    assert [row["task"] for row in data["classical"]] == list(five_tasks.TASKS) and data["published"] == []
    assert "dark channel prior" in report_text(rows, "five-tasks")
