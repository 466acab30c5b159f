"""One uninterrupted toy run to compare with; one thread, because the order of a sum depends on their number."""

import os
import subprocess
import sys

import pytest
import torch
import toy_run


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def left_alone(tmp_path_factory):
    """Folder of a finished toy run that nobody disturbed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("left-alone")
    toy_run.run(folder)
    torch.set_num_threads(before)
    return folder


@pytest.fixture
def spawn():
    """Start a script or module of this environment with one thread; whatever is still running at the end is killed."""
    running = []

    def start(*arguments, **options):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **options.pop("env", {})}
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, **options
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
