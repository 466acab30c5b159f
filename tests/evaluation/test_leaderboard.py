"""`course leaderboard`: rows by model, set and task; measuring replaces its own rows and keeps the rest; the text says what fell."""

import csv

import pytest
import torch

from course_lib.evaluation import leaderboard as board
from course_lib.evaluation.command import evaluation_table
from course_lib.images import save_image
from course_lib.models import create_model
from course_lib.training.checkpoint import save_weights

TINY = dict(dim=8, blocks=[1, 1, 1, 1], refinement_blocks=1, heads=[1, 1, 1, 1])


def row(model="ours_small", dataset="Rain100L", task="rain", psnr=30.0, input_psnr=25.5, kind="ours", **more):
    given = dict(model=model, kind=kind, dataset=dataset, task=task, psnr=psnr, ssim=0.9, input_psnr=input_psnr, input_ssim=0.8, images=2)
    return {column: None for column in board.COLUMNS} | given | more


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    return save_weights(create_model("restormer", **TINY), tmp_path / "w.safetensors", recipe="abc", seed=3, steps=7)


@pytest.fixture
def rain(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "data"))
    generator = torch.Generator().manual_seed(0)
    for kind in ("input", "target"):
        for name in ("1", "2"):
            save_image(torch.rand(3, 37, 50, generator=generator), tmp_path / f"data/Rain100L/{kind}/{name}.png")


def test_a_table_comes_back_as_it_was_written(tmp_path):
    rows = [
        row(model="input", kind="input", psnr=25.5),
        row(parameters=1000, seconds_per_image=0.25, seed=0, steps=9, recipe="1e5", commit="77"),
    ]
    path = board.write_leaderboard(rows, tmp_path / "board.csv")
    assert board.read_leaderboard(path) == rows  # a recipe and a commit that look like numbers stay text


def test_writing_replaces_the_same_row_and_keeps_the_others(tmp_path):
    path = tmp_path / "board.csv"
    board.write_leaderboard([row(psnr=30.0), row(model="other_small", psnr=29.0), row(dataset="five-tasks", task="haze")], path)
    board.write_leaderboard([row(psnr=31.0), row(model="input", kind="input", psnr=25.5)], path)
    found = [(r["dataset"], r["model"], r["psnr"]) for r in board.read_leaderboard(path)]
    assert found == [
        ("five-tasks", "ours_small", 30.0), ("Rain100L", "input", 25.5), ("Rain100L", "ours_small", 31.0),
        ("Rain100L", "other_small", 29.0),
    ]  # fmt: skip


def test_the_text_orders_by_the_mean_and_names_what_fell_below_its_input():
    rows = [
        row("input", "five-tasks", "noise", 20.0, 20.0, "input"), row("input", "five-tasks", "blur", 26.0, 26.0, "input"),
        row("weak", "five-tasks", "noise", 22.0, 20.0), row("weak", "five-tasks", "blur", 25.5, 26.0),
        row("strong", "five-tasks", "noise", 28.0, 20.0), row("strong", "five-tasks", "blur", 27.0, 26.0, parameters=1_500_000),
    ]  # fmt: skip
    text = board.leaderboard_text(rows)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["input", "strong", "weak"]
    assert lines[3].split()[-2:] == ["+4.50", "1.50"] and "27.50 / 0.900" in lines[3]  # means of (28, 27) and of (8, 1)
    assert "<25.50" in lines[4] and lines[5] == "below the input (<): weak on blur (-0.50 dB)"
    assert "below the input (<): none" in board.leaderboard_text([rows[4]])
    assert board.leaderboard_text([*rows, row()], ["Rain100L"]).count("\n") == 3


def test_a_model_that_is_told_is_timed_and_named(monkeypatch):
    model = create_model("dfpir", **TINY, words={"noise 25": "noise"})
    assert board.seconds_per_image(model, side=32, runs=1) > 0
    assert board.is_told("dfpir_small") and not board.is_told("restormer_small") and not board.is_told("classical:nlm")
    text = board.leaderboard_text([row(), row("dfpir_small", psnr=31.0)])
    assert text.splitlines()[-1] == "told the true degradation, the others are blind: dfpir_small"
    assert "told" not in board.leaderboard_text([row()])


def test_measured_rows_are_those_of_course_eval(weights, rain):
    said = []
    rows = list(board.measured_rows([str(weights)], ["CBSD68", "Rain100L"], commit="c0", device="cpu", progress=False, say=said.append))
    assert [(r["kind"], r["model"], r["task"]) for r in rows] == [
        ("input", "input", "rain"), ("classical", "classical:rank-filter", "rain"), ("ours", str(weights), "rain"),
    ]  # fmt: skip
    assert "CBSD68 left out" in said[0] and "COURSE_DATA_DIR" in said[0]
    for own, name in zip(rows, ["identity", "classical:rank-filter", str(weights)], strict=True):
        wanted = evaluation_table(name, "Rain100L", protocol="promptir", device="cpu", progress=False)[0]
        assert (own["psnr"], own["ssim"], own["input_psnr"], own["images"]) == tuple(
            wanted[key] for key in ("restored_psnr", "restored_ssim", "degraded_psnr", "images")
        )
    facts = rows[2]
    assert (facts["seed"], facts["steps"], facts["recipe"], facts["commit"]) == (3, 7, "abc", "c0")
    assert facts["parameters"] == sum(p.numel() for p in create_model("restormer", **TINY).parameters()) and facts["seconds_per_image"] > 0


def test_a_broken_table_names_file_and_line(tmp_path):
    path = tmp_path / "board.csv"
    with pytest.raises(board.LeaderboardError, match="board.csv: no such table"):
        board.read_leaderboard(path)
    board.write_leaderboard([row(), row(model="b")], path)
    path.write_text(path.read_text().replace("b,ours,Rain100L,rain,30.0000", "b,ours,Rain100L,rain,thirty"))
    with pytest.raises(board.LeaderboardError, match="board.csv, line 3: .*thirty"):
        board.read_leaderboard(path)
    path.write_text("model,psnr\na,1\n")
    with pytest.raises(board.LeaderboardError, match="column 'kind' is missing"):
        board.read_leaderboard(path)
    with pytest.raises(board.LeaderboardError, match="unknown set 'Rain'.*five-tasks"):
        list(board.measured_rows([], ["Rain"]))


def test_the_verb_measures_writes_and_prints(course, weights, rain, tmp_path):
    out = tmp_path / "board.csv"
    status, text = course("leaderboard", str(weights), "--measure", "--data", "Rain100L", "--out", str(out), "--device", "cpu")[:2]
    assert status == 0 and "below the input (<)" in text
    with out.open() as file:
        assert [r["kind"] for r in csv.DictReader(file)] == ["input", "classical", "ours"]
