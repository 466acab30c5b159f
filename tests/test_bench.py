"""The bench compares two models that compute the same; a small case keeps it honest without timing anything."""

import pytest

from course_lib import bench


@pytest.mark.slow
@pytest.mark.parametrize("what", ["restormer", "promptir", "dfpir"])
def test_rows_of_a_small_case(monkeypatch, what):
    monkeypatch.setitem(bench.CASES, what, (("forward", 32, False, 1.5), ("training step", 32, False, 1.5)))
    rows, text = bench.run_bench(what, pairs=1, progress=False)
    assert [row["work"] for row in rows] == ["forward", "training step"]
    for row in rows:
        assert row["difference"] < 1e-5
        assert row["ratio"] > 0 and row["plain_seconds"] > 0
        assert f"{row['ratio']:.2f}" in text


@pytest.mark.parametrize("what", ["restormer", "promptir", "dfpir"])
def test_weights_are_shaken_and_shared(what):
    plain, ours = bench._models(what, training=False)
    assert ours.encoder_level1[0].attn.temperature.item() != 1
    assert (ours.encoder_level1[0].norm1.weight != 1).any()
    for (name, a), (_, b) in zip(plain.named_parameters(), ours.named_parameters(), strict=True):
        assert (a == b).all(), name


@pytest.mark.slow
def test_peak_memory_of_a_fresh_process():
    peaks = {which: bench._fresh(bench._PEAK, ["restormer", "forward", 128, False, which])["mib"] for which in ("plain", "ours")}
    assert 1 < peaks["ours"] < peaks["plain"] < 4000


def test_a_measurement_that_fails_says_why():
    with pytest.raises(RuntimeError, match="nothing of that name"):
        bench._fresh("raise ValueError('nothing of that name')", ["forward"])


def test_a_case_that_does_not_fit_into_memory_is_left_out_aloud(monkeypatch):
    assert bench._possible("training step", 128, False)
    monkeypatch.setitem(bench.TRAINING_GIB, 128, 10**6)
    assert bench._possible("forward", 128, False)
    with pytest.warns(UserWarning, match="training step at 128 left out"):
        assert not bench._possible("training step", 128, False)


def test_unknown_benchmark():
    with pytest.raises(ValueError, match="there are: restormer, promptir, dfpir, data"):
        bench.run_bench("nothing")
