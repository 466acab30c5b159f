"""The command: right words print JSON, wrong words one line on stderr that names what exists."""

import json
import signal
import subprocess
import sys
import time

import pytest

TOY = """
config = { dim = 8, blocks = [1, 1, 1, 1], refinement_blocks = 1, heads = [1, 1, 2, 2] }
steps = 3
patches = [16]
batches = [2]
precision = "fp32"
log_every = 1
checkpoint_seconds = 0.0
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(TOY)
    return path


def _heed_ctrl_c():
    """Background jobs of a shell start with SIGINT ignored, and so would what they start in turn."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    "words, named",
    [
        (["eval", "nope", "--data", "photos"], "identity"),
        (["eval", "identity", "--data", "no-such-folder"], "no-such-folder"),
        (["eval", "identity", "--data", "photos", "--protocol", "mine"], "promptir, restormer"),
        (["train", "nope"], "restormer_small_denoise"),
        (["train", "nope.toml"], "restormer_small_denoise"),
        (["run", "99_none"], "02_restormer"),
        (["run", "--profile", "huge"], "smoke, quick, gpu"),
        (["run", "--edition", "gold"], "solutions"),
        (["run", "-p", "SEED"], "NAME=VALUE"),
        (["bench", "nope"], "restormer"),
        (["doctor", "--device", "tpu"], "cuda"),
        (["report", "nope.ipynb"], "nope.ipynb"),
    ],
)
def test_unknown_names_are_one_line_and_status_2(course, words, named):
    status, out, err = course(*words)
    assert status == 2 and named in err, (status, out, err)
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err


@pytest.mark.parametrize("words", [["frobnicate"], ["eval"], ["eval", "identity", "--sigma", "loud"], ["train", "x", "--no-such-option"]])
def test_wrong_words_are_explained(course, words):
    status, _, err = course(*words)
    assert status == 2 and "Error" in err and "Traceback" not in err


def test_eval_of_the_identity_as_json(course):
    status, out, _ = course("eval", "identity", "--data", "photos", "--sigma", 15, "--sigma", 50, "--json", "--device", "cpu")
    printed = json.loads(out)
    rows = printed["measured"]
    assert printed["published"] == []  # nobody publishes figures on these photographs
    assert status == 0 and [(row["protocol"], row["sigma"]) for row in rows] == [
        ("promptir", 15), ("promptir", 50), ("restormer", 15), ("restormer", 50)
    ]  # fmt: skip
    for row in rows:
        assert row["images"] == 5 and row["degraded_psnr"] == row["restored_psnr"] and row["degraded_ssim"] == row["restored_ssim"]
    assert rows[2]["degraded_psnr"] == pytest.approx(24.61, abs=0.03) and rows[3]["degraded_psnr"] == pytest.approx(14.15, abs=0.03)


def test_eval_prints_a_table(course):
    status, out, _ = course("eval", "identity", "--data", "photos", "--sigma", 25, "--protocol", "restormer", "--device", "cpu")
    assert status == 0 and out.splitlines()[0].split()[:4] == ["model", "data", "protocol", "sigma"] and "identity" in out


def test_train_resume_eval_and_a_foreign_file(course, recipe, tmp_path):
    out_folder = tmp_path / "run"
    status, _, err = course("train", recipe, "--out", out_folder, "--resume", "--device", "cpu")
    assert status == 2 and "no run to go on with" in err
    status, out, err = course("train", recipe, "--out", out_folder, "--json", "--device", "cpu")
    assert status == 0, err
    result = json.loads(out)
    assert result["steps"] == 3 and (out_folder / "final.safetensors").is_file()
    status, out, _ = course("train", recipe, "--out", out_folder, "--resume", "--device", "cpu")
    assert status == 0 and "done already" in out
    status, out, _ = course(
        "eval", out_folder / "final.safetensors", "--data", "photos", "--sigma", 25, "--protocol", "restormer", "--json", "--device", "cpu"
    )
    assert status == 0 and json.loads(out)["measured"][0]["restored_psnr"] > 5
    recipe.write_text(TOY.replace("steps = 3", "steps = 4"))
    status, _, err = course("train", recipe, "--out", out_folder, "--device", "cpu")
    assert status == 2 and "another recipe" in err and len(err.strip().splitlines()) == 1
    (tmp_path / "foreign.pth").write_bytes(b"not a checkpoint")
    status, _, err = course("eval", tmp_path / "foreign.pth", "--data", "photos")
    assert status == 2 and "foreign.pth" in err


def test_a_file_where_the_run_folder_should_be(course, recipe, tmp_path):
    (tmp_path / "run").write_text("mine")
    status, _, err = course("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert status == 2 and "run is a file" in err and (tmp_path / "run").read_text() == "mine"


def test_verify_without_a_committed_log_says_so(course, recipe):
    status, _, err = course("train", recipe, "--verify", "--device", "cpu")
    assert status == 2 and "no committed log" in err


@pytest.mark.parametrize("failed", [False, True])
def test_the_exit_status_reaches_the_shell(monkeypatch, course, failed, recipe):
    from course_lib.training import run

    monkeypatch.setattr(
        run, "verify", lambda *a, **k: {"rows": 20, "largest_relative_difference": 0.5, "same": not failed, "recipe": "toy"}
    )
    status, out, _ = course("train", recipe, "--verify")
    assert status == int(failed) and ("NOT the same" in out) == failed


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_saves_and_says_how_to_go_on(recipe, tmp_path):
    recipe.write_text(TOY.replace("steps = 3", "steps = 400").replace("checkpoint_seconds = 0.0", "checkpoint_seconds = 3600.0"))
    command = [sys.executable, "-m", "course_lib", "train", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_ctrl_c)
    log, end = tmp_path / "run" / "log.csv", time.monotonic() + 120
    while not (log.is_file() and len(log.read_text().splitlines()) > 5):
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on from" in out and "Traceback" not in err
    saved = list((tmp_path / "run").glob("checkpoint-*.safetensors"))
    assert len(saved) == ("goes on from here" in out)  # a stop in the middle of a step leaves it to the last checkpoint


def test_help_names_every_verb(course):
    status, out, _ = course("--help")
    assert status == 0 and all(verb in out for verb in ("doctor", "run", "build", "report", "train", "eval", "bench"))


LAB = """
seeds = [0]
probe_every = 2

[recipe]
config = { dim = 8, blocks = [1, 1, 1, 1], refinement_blocks = 1, heads = [1, 1, 2, 2] }
steps = 2
patches = [16]
batches = [2]
stage_ends = [1.0]
precision = "fp32"

[tasks.denoise]
kind = "gaussian_noise"
sigma = 25.0

[tasks.deblur]
kind = "gaussian_blur"
sigma = 1.5

[[experiment]]
name = "both"
tasks = ["denoise", "deblur"]

[[experiment]]
name = "denoise only"
tasks = ["denoise"]
"""


def test_the_lab_trains_a_queue_once_and_reports_it(course, tmp_path):
    queue, out = tmp_path / "queue.toml", tmp_path / "runs"
    queue.write_text(LAB)
    status, _, err = course("lab", queue, "--out", out, "--report")
    assert status == 2 and "no finished run" in err and str(out) in err
    status, text, _ = course("lab", queue, "--out", out, "--only", "both", "--device", "cpu", "--gather", tmp_path / "kept")
    assert status == 0 and "both" in text and "denoise only" not in text
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"results.csv", "gradients.csv", "spectra.csv"}
    status, text, said = course("lab", queue, "--out", out, "--device", "cpu", "--json")
    rows = json.loads(text)
    assert status == 0 and "in the table" in said
    assert [(row["experiment"], row["task"]) for row in rows] == [("both", "denoise"), ("both", "deblur"), ("denoise only", "denoise")]
    status, text, _ = course("lab", queue, "--out", out, "--report")
    assert status == 0 and "denoise only against both, denoise" in text
    status, _, err = course("lab", queue, "--out", out, "--only", "neither")
    assert status == 2 and "no experiment neither; there are both, denoise only" in err
