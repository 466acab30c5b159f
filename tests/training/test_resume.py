"""Killed, stopped, cut short or damaged: the same call goes on and ends bit for bit where an undisturbed run ends."""

import json
import signal
import sys
from pathlib import Path

import pytest
import torch
import toy_run

from course_lib.training import TrainingError, load_weights
from course_lib.training import checkpoint as ckpt
from course_lib.training.ema import EMA

SCRIPT = Path(toy_run.__file__)


class Kill(BaseException):
    """Stands for a kill in this process: no handler of the library knows it."""


def killer(sample):
    """A degrade that dies when it meets the `sample`-th call."""
    noise, calls = toy_run.noise_of((10, 40)), []

    def degrade(clean, rng):
        calls.append(1)
        if len(calls) > sample:
            raise Kill
        return noise(clean, rng)

    return degrade


def killed(folder, sample=50, **changes):
    with pytest.raises(Kill):
        toy_run.run(folder, degrade=killer(sample), **{"checkpoint_seconds": 0.0, **changes})


def assert_same_as(left_alone, folder):
    assert toy_run.log_rows(folder) == toy_run.log_rows(left_alone)
    assert toy_run.final_digest(folder) == toy_run.final_digest(left_alone)


def test_the_toy_run_learns_and_leaves_log_and_weights(left_alone):
    rows = toy_run.log_rows(left_alone)
    assert [int(row["step"]) for row in rows] == list(range(1, 25))
    assert float(rows[-1]["val_psnr"]) > float(rows[6]["val_psnr"])
    assert [bool(row["val_psnr"]) for row in rows] == [step % 7 == 0 or step == 24 for step in range(1, 25)]
    assert sorted(path.name for path in left_alone.iterdir()) == ["final.safetensors", "log.csv"]
    assert not load_weights(left_alone / "final.safetensors").training


def test_kill_9_twice_gives_the_same_log_and_weights(tmp_path, left_alone, spawn):
    # not every step is saved, so that rows after the last checkpoint have to be taken back; the digest must not know of the pauses
    options = json.dumps({"checkpoint_seconds": 0.15, "pause": 0.01})
    for rows in (6, 15):
        process = spawn(SCRIPT, tmp_path / "run", options)
        toy_run.wait_for_rows(process, tmp_path / "run", rows)
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL and not (tmp_path / "run" / "final.safetensors").exists()
    process = spawn(SCRIPT, tmp_path / "run", options)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "toy: going on from step" in output
    # the recipe differs from `left_alone` in its seconds only
    assert_same_as(left_alone, tmp_path / "run")


@pytest.mark.parametrize("sample", [0, 3, 17, 50])
def test_a_kill_at_any_moment(tmp_path, left_alone, sample):
    killed(tmp_path, sample)
    toy_run.run(tmp_path, checkpoint_seconds=0.0)
    assert_same_as(left_alone, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"precision": "bf16"}, {"precision": "fp16"}, {"accumulate": 2}, {"ema_decay": 0.0}, {"log_every": 5}, {"clip_norm": 0.0}],
    ids=str,
)
def test_every_state_is_saved(tmp_path, changes):
    toy_run.run(tmp_path / "alone", checkpoint_seconds=0.0, **changes)
    killed(tmp_path / "killed", 45, **changes)
    toy_run.run(tmp_path / "killed", checkpoint_seconds=0.0, **changes)
    assert_same_as(tmp_path / "alone", tmp_path / "killed")


def test_a_finished_run_is_not_trained_again(tmp_path, left_alone):
    said = []
    before = (left_alone / "log.csv").read_bytes()
    result = toy_run.run(left_alone, say=said.append)
    assert "done already" in said[0] and result.steps == 24 and (left_alone / "log.csv").read_bytes() == before
    assert all(torch.equal(value, result.model.state_dict()[key]) for key, value in toy_run.final_tensors(left_alone).items())


def test_a_half_written_checkpoint_is_passed_over(tmp_path, left_alone):
    killed(tmp_path)
    newest = ckpt.checkpoints(tmp_path)[-1]
    (tmp_path / f".{newest.name}.x1y2.part").write_bytes(newest.read_bytes()[:999])
    toy_run.run(tmp_path, checkpoint_seconds=0.0)
    assert_same_as(left_alone, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "bit"])
def test_a_broken_newest_checkpoint_is_named_and_the_one_before_used(tmp_path, left_alone, damage):
    killed(tmp_path)
    before, newest = ckpt.checkpoints(tmp_path)
    content = bytearray(newest.read_bytes())
    content[-1000] ^= 4
    newest.write_bytes({"cut": content[:-500], "empty": b"", "bit": content}[damage])
    said = []
    toy_run.run(tmp_path, checkpoint_seconds=0.0, say=said.append)
    assert newest.name in said[0] and "going back to the checkpoint before it" in said[0]
    assert f"going on from step {int(before.stem[-8:])} of 24" in said[1]
    assert_same_as(left_alone, tmp_path)


def test_no_whole_checkpoint_starts_again_and_says_so(tmp_path, left_alone):
    killed(tmp_path)
    for path in ckpt.checkpoints(tmp_path):
        path.write_bytes(b"junk")
    said = []
    toy_run.run(tmp_path, checkpoint_seconds=0.0, say=said.append)
    assert any("starting again at step 0" in line for line in said)
    assert_same_as(left_alone, tmp_path)


def test_any_flipped_bit_is_found(tmp_path):
    killed(tmp_path, 9)
    path = ckpt.checkpoints(tmp_path)[-1]
    whole = path.read_bytes()
    tensors, meta = ckpt.read_tensors(path)
    header = int.from_bytes(whole[:8], "little")
    places = [*range(0, 8 + header, 211), *range(8 + header, len(whole), len(whole) // 20)]
    found = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            other, other_meta = ckpt.read_tensors(path)
        except ckpt.CheckpointError as error:
            assert path.name in str(error)
            found += 1
        else:  # only a bit that changes nothing may pass
            assert other_meta == meta and all(torch.equal(value, other[key]) for key, value in tensors.items())
    assert found >= 0.97 * len(places)


def test_the_last_two_are_kept_and_all_removed_at_the_end(tmp_path):
    killed(tmp_path)
    steps = [int(path.stem[-8:]) for path in ckpt.checkpoints(tmp_path)]
    assert len(steps) == 2 and steps[1] == steps[0] + 1
    toy_run.run(tmp_path, checkpoint_seconds=0.0)
    assert ckpt.checkpoints(tmp_path) == []


def test_another_recipes_folder_is_refused(tmp_path, left_alone):
    killed(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TrainingError, match="another recipe"):
        toy_run.run(tmp_path, seed=1)
    with pytest.raises(TrainingError, match="finished run of another recipe"):
        toy_run.run(left_alone, seed=1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(NotADirectoryError, match="run is a file"):
        toy_run.run(tmp_path / "run")


def test_ctrl_c_saves_where_it_was(tmp_path, left_alone):
    noise, calls, said = toy_run.noise_of((10, 40)), [], []

    def degrade(clean, rng):
        calls.append(1)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return noise(clean, rng)

    with pytest.raises(KeyboardInterrupt):
        toy_run.run(tmp_path, degrade=degrade, say=said.append)
    assert [path.name for path in ckpt.checkpoints(tmp_path)] == ["checkpoint-00000007.safetensors"]
    assert "stopped at step 7 of 24; the same command goes on from here" in said[-1] and str(tmp_path) in said[-1]
    toy_run.run(tmp_path)
    assert_same_as(left_alone, tmp_path)


def test_ctrl_c_in_the_middle_of_a_step_saves_no_half_step(tmp_path, left_alone, monkeypatch):
    update = EMA.update

    def stop_once(self, model, step):
        if step == 9:
            monkeypatch.setattr(EMA, "update", update)
            raise KeyboardInterrupt
        update(self, model, step)

    monkeypatch.setattr(EMA, "update", stop_once)
    said = []
    with pytest.raises(KeyboardInterrupt):
        toy_run.run(tmp_path, checkpoint_seconds=0.0, say=said.append)
    assert "last checkpoint" in said[-1]
    toy_run.run(tmp_path, checkpoint_seconds=0.0)
    assert_same_as(left_alone, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file-size limit")
def test_a_full_disk_is_said_and_loses_nothing(tmp_path, left_alone, spawn):
    import resource

    killed(tmp_path)
    kept = {path: path.read_bytes() for path in ckpt.checkpoints(tmp_path)}
    limit = 40_000  # bytes: enough for the log, not for a checkpoint

    process = spawn(
        SCRIPT, tmp_path, json.dumps({"checkpoint_seconds": 0.0}),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "the checkpoint could not be written" in output and "free some space" in output
    assert "final.safetensors could not be written" in output
    assert {path: path.read_bytes() for path in ckpt.checkpoints(tmp_path)} == kept
    assert not list(tmp_path.glob(".*.part")) and not (tmp_path / "final.safetensors").exists()
    toy_run.run(tmp_path, checkpoint_seconds=0.0)
    assert_same_as(left_alone, tmp_path)


def test_a_log_that_cannot_be_written_names_the_folder(tmp_path, monkeypatch):
    from course_lib.training.log import Log

    def full(self, **row):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Log, "write", full)
    with pytest.raises(TrainingError, match="could not be written.*No space"):
        toy_run.run(tmp_path)


def test_a_weights_file_of_another_model_names_the_keys(tmp_path, left_alone, tiny_config):
    from course_lib.models import create_model

    words = r"another model .*0 keys missing.*16 keys unexpected \(.*bias.*of another shape"
    with pytest.raises(ckpt.CheckpointError, match=words) as caught:
        load_weights(left_alone / "final.safetensors", create_model("restormer", **{**tiny_config, "dim": 16, "norm_bias": False}))
    assert "final.safetensors" in str(caught.value)
    killed(tmp_path)
    with pytest.raises(ckpt.CheckpointError, match="a run in progress"):
        load_weights(ckpt.checkpoints(tmp_path)[-1])
    torch.save({"a": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ckpt.CheckpointError, match="foreign.safetensors"):
        load_weights(tmp_path / "foreign.safetensors")
