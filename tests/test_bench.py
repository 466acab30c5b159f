"""The bench compares two models that compute the same; a small case keeps it honest without timing anything."""

import pytest

from course_lib import bench


def test_rows_of_a_small_case(monkeypatch):
    monkeypatch.setattr(bench, "CASES", (("forward", 32, False, 1.5), ("training step", 32, False, 1.5)))
    monkeypatch.setattr(bench, "_peak_mib", lambda *case: 1.0)  # two fresh processes a case, measured by the slow test below
    rows, text = bench.run_bench("restormer", pairs=1, progress=False)
    assert [row["work"] for row in rows] == ["forward", "training step"]
    for row in rows:
        assert row["difference"] < 1e-5
        assert row["ratio"] > 0 and row["plain_seconds"] > 0
        assert f"{row['ratio']:.2f}" in text


def test_weights_are_shaken_and_shared():
    plain, ours = bench._models(training=False)
    assert ours.encoder_level1[0].attn.temperature.item() != 1
    assert (ours.encoder_level1[0].norm1.weight != 1).any()
    for (name, a), (_, b) in zip(plain.named_parameters(), ours.named_parameters(), strict=True):
        assert (a == b).all(), name


@pytest.mark.slow
def test_peak_memory_of_a_fresh_process():
    assert 1 < bench._peak_mib("forward", 128, False, "plain") < 4000


def test_unknown_benchmark():
    with pytest.raises(ValueError, match="there is: restormer"):
        bench.run_bench("nothing")
