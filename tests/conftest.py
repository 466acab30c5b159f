"""Shared by all tests: few threads, no window, the photographs, a tiny Restormer, the benchmark folder."""

import os
import sys

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from tiny_models import TINY, perturbed

torch.set_num_threads(min(2, int(os.environ.get("OMP_NUM_THREADS", "2"))))


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def photos():
    """Name -> (3, H, W) of the embedded test split."""
    from course_lib.datasets.photos import load_photos

    return load_photos("test")


@pytest.fixture
def tiny_config():
    """Keywords of the smallest Restormer with several heads."""
    return dict(TINY)


@pytest.fixture
def tiny(tiny_config):
    """A tiny Restormer whose every parameter is off its initial value, so that biases, norms and temperatures count."""
    from course_lib.models import create_model

    return perturbed(create_model("restormer", **tiny_config))


@pytest.fixture(scope="session")
def bench():
    """The folder of real benchmark sets; skips where there is none."""
    from course_lib.paths import benchmark_root

    folder = benchmark_root()
    if not folder.is_dir():
        pytest.skip("no benchmark folder; set COURSE_DATA_DIR")
    return folder


@pytest.fixture
def course(monkeypatch, capsys):
    """Call the command in this process: (status, stdout, stderr)."""
    from course_lib import cli

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["course", *map(str, words)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call
