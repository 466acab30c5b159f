"""`course bench data` measures each degradation and CDD-11 task beside a training step; whether it is fast enough, the bench says."""

import pytest
import torch

from course_lib import bench, bench_data
from course_lib.degradations.composite import CDD11_TASKS, DEGRADATIONS


@pytest.mark.slow
def test_a_row_for_every_degradation_and_task():
    rows, text = bench.run_bench("data", pairs=1, progress=False)
    assert [row["degradation"] for row in rows] == [*DEGRADATIONS, *(f"CDD-11 {task}" for task in CDD11_TASKS)]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["seconds"] / row["step_seconds"])
        assert row["asked"] == 0.1 and row["degradation"] in text


def test_the_step_beside_it_trains_the_small_restormer(monkeypatch):
    monkeypatch.setattr(bench_data, "SIDE", 16)
    step = bench_data._training_step(torch.device("cpu"), torch.rand(1, 3, 16, 16))
    losses = [step() for _ in range(3)]
    assert losses[2] < losses[0]  # an optimiser is at work


def test_pairs_must_be_positive():
    with pytest.raises(ValueError, match="at least 1"):
        bench_data.bench_data(0)
