"""The table of PSNR by the number of steps: rows that know where they come from, gains in numbers; the shipped models reach theirs."""

import pytest
import torch

from course_lib.diffusion.restorer import DiffusionRestorer
from course_lib.evaluation import walks
from course_lib.evaluation.five_tasks import TASKS
from course_lib.evaluation.leaderboard import read_leaderboard
from course_lib.metrics import psnr
from course_lib.models import create_model
from course_lib.paths import shipped_weights
from course_lib.training.checkpoint import save_weights

NETWORK = dict(dim=8, dim_mults=[1, 1])


def row(model="a_small", walk_steps=3, task="rain", value=30.0, **more):
    given = dict(psnr=value, input_psnr=25.0, images=5, seed=0, steps=9, seconds=1.5, recipe="1e5", commit="77")
    return dict(model=model, walk_steps=walk_steps, task=task) | given | more


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    model = create_model("diffusion_restorer", kind="diffuir", network=NETWORK, process=dict(timesteps=20), steps=3)
    return save_weights(model, tmp_path / "final.safetensors", name="w_small", recipe="abc", seed=3, steps=7, seconds=1.0)


@pytest.fixture
def small_pictures(monkeypatch):
    g = torch.Generator().manual_seed(0)
    pairs = {
        task: [(name, torch.rand(1, 3, 17, 12, generator=g), torch.rand(1, 3, 17, 12, generator=g)) for name in "ab"] for task in TASKS
    }
    monkeypatch.setattr(walks, "task_pairs", lambda task, protocol: iter(pairs[task]))
    return pairs


def test_the_rows_are_those_of_the_model_in_so_many_steps(weights, small_pictures):
    rows = list(walks.walk_rows(str(weights), [1, 4], commit="77"))
    assert [(r["walk_steps"], r["task"]) for r in rows] == [(count, task) for count in (1, 4) for task in TASKS]
    assert all(
        (r["model"], r["seed"], r["steps"], r["recipe"], r["commit"], r["images"]) == ("w_small", 3, 7, "abc", "77", 2) for r in rows
    )
    model: DiffusionRestorer = walks.find_model(str(weights))
    for found in (rows[0], rows[-1]):
        with torch.no_grad():
            restored = [psnr(model.restore(x, found["walk_steps"]).clamp(0, 1), y).item() for _, x, y in small_pictures[found["task"]]]
        assert found["psnr"] == pytest.approx(sum(restored) / 2, abs=1e-4)
    assert rows[0]["psnr"] != rows[5]["psnr"]
    copied = weights.rename(weights.with_name("other.safetensors"))  # any other file is called by its own name
    assert next(walks.walk_rows(str(copied), [1]))["model"] == "other"


def test_a_model_without_steps_is_refused(tmp_path, small_pictures):
    path = save_weights(create_model("diffuir", **NETWORK), tmp_path / "net.safetensors")
    for name in (str(path), "identity"):
        with pytest.raises(ValueError, match="not a diffusion restorer"):
            list(walks.walk_rows(name, [1]))


def test_writing_replaces_the_same_row_and_keeps_the_others(tmp_path):
    path = walks.write_walks([row(), row(walk_steps=5)], tmp_path / "walks.csv")
    walks.write_walks([row(value=31.0), row(model="other")], path)
    assert [(r["model"], r["walk_steps"], r["psnr"]) for r in walks.read_walks(path)] == [
        ("a_small", 3, 31.0), ("a_small", 5, 30.0), ("other", 3, 30.0),
    ]  # fmt: skip
    assert walks.read_walks(path)[0] == row(value=31.0)  # a recipe and a commit that look like numbers stay text
    path.write_text("model,task\n1,2\n")
    with pytest.raises(ValueError, match="walks.csv"):
        walks.read_walks(path)


def test_the_command_measures_and_prints_gains(weights, small_pictures, tmp_path, capsys):
    path = tmp_path / "walks.csv"
    assert walks.main([str(weights), "--steps", "1", "2", "-o", str(path)]) == 0
    assert len(walks.read_walks(path)) == 2 * len(TASKS)
    assert capsys.readouterr().out == walks.walks_text(walks.read_walks(path)) + "\n"
    assert walks.main(["nobody", "-o", str(path)]) == 2 and "nobody" in capsys.readouterr().err


def test_gains_and_their_mean():
    rows = [row(task="rain", value=27.0), row(task="haze", value=24.0), row(walk_steps=5, value=26.0)]
    assert walks.gains(rows) == {("a_small", 3): {"rain": 2.0, "haze": -1.0, "mean": 0.5}, ("a_small", 5): {"rain": 1.0, "mean": 1.0}}
    assert "+2.00" in walks.walks_text(rows) and "-1.00" in walks.walks_text(rows)


@pytest.mark.parametrize(("name", "steps"), [("rddm_small", 5), ("diffuir_small", 3)])
def test_the_shipped_models_gain_3_db_in_their_usual_number_of_steps(name, steps):
    """Both tables, which are measured apart, say it, and the leaderboard has the seconds an image."""
    assert shipped_weights(name).is_file()
    own = walks.gains(walks.read_walks())[name, steps]
    assert set(own) == {*TASKS, "mean"} and own["mean"] >= 3
    board = {r["task"]: r for r in read_leaderboard() if (r["model"], r["dataset"]) == (name, "five-tasks")}
    assert set(board) == set(TASKS)
    for task, r in board.items():
        assert r["psnr"] - r["input_psnr"] == pytest.approx(own[task], abs=0.02) and r["seconds_per_image"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("rddm_small", 5), ("diffuir_small", 3)])
def test_the_tables_are_what_the_shipped_weights_do(name, steps):
    recorded = walks.gains(walks.read_walks())[name, steps]
    again = walks.gains(list(walks.walk_rows(name, [steps])))[name, steps]
    assert again == pytest.approx(recorded, abs=0.02) and again["mean"] >= 3
