"""A training run of a second or two, for tests in this process and, as a script, in one that is killed: toy_run.py FOLDER JSON."""

import json
import sys
import time
from pathlib import Path

import torch

from course_lib.datasets.pairs import noise_of
from course_lib.metrics import psnr
from course_lib.models import create_model
from course_lib.training import Recipe, fit
from course_lib.training.checkpoint import _digest, read_tensors
from course_lib.training.log import read_log

TINY = dict(dim=8, blocks=[1, 1, 1, 1], refinement_blocks=1, heads=[1, 1, 2, 2])
BASE = Recipe(
    name="toy", config=TINY, steps=24, patches=(16, 24), batches=(4, 2), stage_ends=(0.6, 1.0), learning_rate=2e-3, warmup=3,
    ema_decay=0.9, precision="fp32", log_every=1, validate_every=7, checkpoint_seconds=3600.0,
)  # fmt: skip


def images():
    """Smooth pictures: something that a denoiser can learn in a few steps."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 48), indexing="ij")
    waves = [[torch.sin(6 * (i + 1) * x + c) * torch.cos(5 * y * (c + 1)) for c in range(3)] for i in range(3)]
    return [0.5 + 0.4 * torch.stack(wave) for wave in waves]


def validate(model):
    clean = images()[0][None, :, :32, :32]
    degraded = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    return float(psnr(model(degraded).float(), clean))


def fresh_model(recipe):
    torch.manual_seed(recipe.seed)
    return create_model(recipe.model, **recipe.config)


def run(folder, *, pause=0.0, model=None, degrade=None, say=lambda *_: None, stop_after=None, **changes):
    recipe = BASE.replace(**changes)
    noise = degrade or noise_of((10, 40))

    def slow(clean, rng):
        time.sleep(pause)
        return noise(clean, rng)

    return fit(
        model or fresh_model(recipe), recipe, images(), slow, folder,
        device="cpu", validate=validate, stop_after=stop_after, progress=False, say=say,
    )  # fmt: skip


def log_rows(folder):
    """The log without its seconds."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_log(Path(folder) / "log.csv")]


def final_digest(folder):
    """SHA-256 of the final weights."""
    return _digest(read_tensors(Path(folder) / "final.safetensors")[0])


def final_tensors(folder):
    return read_tensors(Path(folder) / "final.safetensors")[0]


def wait_for_rows(process, folder, rows, seconds=120):
    """Return when the log has `rows` rows; fails when the process ends or takes too long."""
    log = Path(folder) / "log.csv"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if log.is_file() and len(log.read_text().splitlines()) > rows:
            return
        if process.poll() is not None:
            raise AssertionError(f"the run ended early:\n{process.communicate()[0]}")
        time.sleep(0.01)
    raise AssertionError(f"no {rows} rows after {seconds} s")


if __name__ == "__main__":
    torch.set_num_threads(1)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(sys.argv[2]).items()}
    run(sys.argv[1], say=lambda text: print(text, flush=True), **options)
