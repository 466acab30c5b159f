"""Training and cost curves: the numbers drawn are the numbers given, and bad tables are named."""

import pandas
import pytest

from course_lib.figures import cost_curves, fit_slope, read_log, training_curves
from course_lib.figures.curves import patch_spans


def log(count=30, patches=(32, 48, 64), validate=True):
    steps = range(1, count + 1)
    return pandas.DataFrame(
        {
            "step": steps,
            "loss": [1 / s + 0.05 * (s % 2) for s in steps],
            "lr": [3e-4 * (1 - s / (count + 1)) for s in steps],
            "patch": [patches[(s - 1) * len(patches) // count] for s in steps],
            "val_psnr": [20 + s / 10 if validate and s % 10 == 0 else None for s in steps],
        }
    )


def test_curves_show_loss_psnr_and_lr(tmp_path):
    path = tmp_path / "log.csv"
    log().to_csv(path, index=False)
    figure = training_curves({"run": path}, title="Training")
    loss, psnr, rate = figure.axes
    raw, smooth = loss.lines
    assert list(raw.get_ydata()) == pytest.approx(list(log()["loss"]))
    assert smooth.get_ydata()[-10:].std() < raw.get_ydata()[-10:].std()
    assert list(psnr.lines[0].get_xdata()) == [10, 20, 30] and list(psnr.lines[0].get_ydata()) == [21, 22, 23]
    assert "23.00 dB at step 30" in psnr.get_legend().get_texts()[0].get_text()
    assert list(rate.lines[0].get_ydata()) == pytest.approx(list(log()["lr"]))
    assert rate.get_position().height < loss.get_position().height / 2


def test_patch_changes_are_bands():
    assert patch_spans(log()) == [(1.0, 11.0, 32), (11.0, 21.0, 48), (21.0, 30.0, 64)]
    loss = training_curves({"run": log()}).axes[0]
    assert [t.get_text() for t in loss.texts] == ["32 px", "48 px", "64 px"] and len(loss.patches) == 3
    assert not training_curves({"run": log(patches=(32,))}).axes[0].patches


def test_different_schedules_get_lines_with_the_name_of_the_run():
    loss = training_curves({"progressive": log(), "fixed": log(patches=(48,))}).axes[0]
    assert not loss.patches and [t.get_text() for t in loss.texts] == ["progressive: 48 px", "progressive: 64 px"]


def test_a_log_without_validation_says_so_and_one_line_is_enough():
    figure = training_curves({"run": log(validate=False)})
    assert "no validation" in figure.axes[1].texts[0].get_text()
    figure._repr_png_()
    training_curves({"run": log(1)})._repr_png_()


def test_resumed_steps_are_taken_once():
    twice = pandas.concat([log(20), log(30).iloc[15:].assign(loss=9.0)])
    table = read_log(twice)
    assert list(table["step"]) == list(range(1, 31)) and table["loss"].iloc[15] == 9.0


def test_bad_logs_are_named(tmp_path):
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(ValueError, match="empty.csv is empty"):
        training_curves({"a": empty})
    with pytest.raises(ValueError, match="no column lr"):
        read_log(pandas.DataFrame({"step": [1], "loss": [1.0]}))
    with pytest.raises(ValueError, match="no line"):
        read_log(log().iloc[:0])
    with pytest.raises(FileNotFoundError, match="missing.csv"):
        training_curves({"a": tmp_path / "missing.csv"})
    with pytest.raises(ValueError, match="no training log"):
        training_curves({})


@pytest.mark.parametrize("power", [1, 2])
def test_slope_is_the_exponent_and_ignores_overhead_at_small_sizes(power):
    pixels = [2.0**k for k in range(4, 16)]
    slope, scale, start = fit_slope(pixels, [1e-9 * p**power for p in pixels])
    assert slope == pytest.approx(power) and scale == pytest.approx(1e-9) and start == 2.0**10
    slope, *_ = fit_slope(pixels, [1e-9 * p**power + (1.0 if p < 500 else 0.0) for p in pixels])
    assert slope == pytest.approx(power)
    with pytest.raises(ValueError, match="two different sizes"):
        fit_slope([64, 64], [1, 2])


def test_cost_curves_name_slopes_and_what_was_not_measured():
    sizes = (256, 1024, 4096, 16384)
    rows = [{"series": "MDTA", "pixels": p, "seconds": 1e-7 * p, "memory_mb": 0.01 * p} for p in sizes]
    rows += [{"series": "tokens", "pixels": p, "seconds": 1e-9 * p * p if p < 9999 else None, "memory_mb": None} for p in sizes]
    figure = cost_curves(rows, title="Cost")
    seconds, memory = ([t.get_text() for t in a.get_legend().get_texts()] for a in figure.axes)
    assert seconds == ["MDTA: slope 1.00", "tokens: slope 2.00 (1 of 4 not measured)"]
    assert memory == ["MDTA: slope 1.00", "tokens: not measured"]
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    figure._repr_png_()


def test_bad_cost_tables_are_named():
    with pytest.raises(ValueError, match="lacks series"):
        cost_curves([{"pixels": 1, "seconds": 1}])
    with pytest.raises(ValueError, match="a cost: seconds"):
        cost_curves([{"pixels": 1, "series": "a"}])
    with pytest.raises(ValueError, match="seconds is 0"):
        cost_curves([{"pixels": 1, "series": "a", "seconds": 0}])
