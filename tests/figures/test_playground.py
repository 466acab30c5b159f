"""The playground: sliders follow the parameter objects, the pictures stand in for them, and the choice between the two is explained."""

import json
from dataclasses import fields
from types import SimpleNamespace

import matplotlib
import pytest
import torch

from course_lib.degradations.composite import DEGRADATIONS
from course_lib.figures import playground as module
from course_lib.figures.playground import LENS, SENSOR, WEATHER, Sliders, playground, sliders_of, strength_grid, strengths, widgets_can_show
from course_lib.metrics import psnr

matplotlib.use("agg")
IMAGE = torch.rand(1, 3, 33, 47, generator=torch.Generator().manual_seed(1)).cumsum(-1) / 47


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("COURSE_WIDGETS", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)


def in_front(monkeypatch, metadata):
    """As if a kernel worked on a request with this metadata."""
    kernel = SimpleNamespace(get_parent=lambda channel: {"metadata": metadata})
    monkeypatch.setitem(module.sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=kernel)))


def test_a_notebook_window_gets_sliders_and_a_batch_run_does_not(monkeypatch):
    assert not widgets_can_show()[0]  # pytest is nobody
    in_front(monkeypatch, {"cellId": "a1b2"})
    assert widgets_can_show() == (True, "a notebook window asked for this cell")
    in_front(monkeypatch, {})
    assert not widgets_can_show()[0]
    monkeypatch.setitem(module.sys.modules, "google.colab", SimpleNamespace())
    assert widgets_can_show()[0]
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert not widgets_can_show()[0]


def test_the_choice_can_be_made_by_hand(monkeypatch):
    assert widgets_can_show("yes")[0] and not widgets_can_show("no")[0]
    monkeypatch.setenv("COURSE_WIDGETS", "yes")
    assert widgets_can_show()[0] and not widgets_can_show("no")[0]
    monkeypatch.setenv("COURSE_WIDGETS", "perhaps")
    with pytest.raises(ValueError, match="perhaps"):
        widgets_can_show()


def test_a_real_kernel_knows_papermills_requests_from_jupyters():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=120)
    source = "from course_lib.figures.playground import widgets_can_show\nprint(widgets_can_show()[0])"
    try:
        answers = []
        client.execute_interactive(source, output_hook=lambda reply: answers.append(reply["content"].get("text", "")), timeout=120)
        content = {"code": source, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        client.shell_channel.send(client.session.msg("execute_request", content, metadata={"cellId": "a1b2"}))  # as JupyterLab sends it
        while not (reply := client.get_iopub_msg(timeout=60))["content"].get("text"):
            pass
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "".join(answers).strip() == "False" and reply["content"]["text"].strip() == "True"


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_sliders_reach_start_zero_and_the_drawn_range(name):
    kind = DEGRADATIONS[name]
    for slider, item in zip(sliders_of(kind), fields(kind), strict=True):
        draw, limits = item.metadata["draw"], item.metadata["limits"]
        assert limits[0] <= slider.low < slider.high <= limits[1] and 0 < slider.step <= slider.high - slider.low
        for value in (slider.start, *draw, kind.zero.get(item.name, slider.start)):
            assert slider.low <= value <= slider.high
        assert slider.means == item.metadata["means"]


def test_every_kind_can_be_chosen_and_pulled():
    sliders = Sliders(IMAGE, list(DEGRADATIONS))
    for name, kind in DEGRADATIONS.items():
        sliders.kind.value = name
        assert set(sliders.controls) == {item.name for item in fields(kind)} and kind.equation in sliders.equation.value
        for control in sliders.controls.values():
            control.value = control.max
            control.value = control.min
        parameters = kind.from_json(sliders.json.value)
        assert parameters == sliders.parameters
        degraded = parameters.apply(IMAGE, sliders.seed.value)
        shown = f"PSNR {psnr(degraded, IMAGE).item():.2f} dB"
        assert shown in sliders.scores.value and bytes(sliders.picture.value).startswith(b"\x89PNG")


def test_pulling_changes_picture_numbers_and_json():
    sliders = Sliders(IMAGE, ["gaussian_noise"])
    before = (sliders.picture.value, sliders.scores.value, sliders.json.value)
    sliders.controls["sigma"].value = 40.0
    after = (sliders.picture.value, sliders.scores.value, sliders.json.value)
    assert all(a != b for a, b in zip(before, after, strict=True)) and json.loads(after[2])["sigma"] == 40
    sliders.seed.value += 1
    assert sliders.picture.value != after[0] and sliders.json.value == after[2]


def test_the_grid_shows_every_kind_from_mild_to_strong():
    figure, table = strength_grid(IMAGE, WEATHER + LENS + SENSOR, levels=3, title="in place of the sliders")
    assert len(figure.axes) == 4 * len(WEATHER + LENS + SENSOR) and figure._suptitle.get_text() == "in place of the sliders"
    assert list(table["kind"].unique()) == list(WEATHER + LENS + SENSOR)
    for _, rows in table.groupby("kind"):
        assert rows["PSNR (dB)"].is_monotonic_decreasing and rows["value"].nunique() == 3
    row = table[(table["kind"] == "gaussian_noise")].iloc[1]
    degraded = DEGRADATIONS["gaussian_noise"](sigma=row["value"]).apply(IMAGE, 0)
    assert row["PSNR (dB)"] == round(psnr(degraded, IMAGE).item(), 2)


def test_an_equation_beyond_matplotlib_is_written_as_it_is():
    assert module._equations(r"I = J\,t,\quad t = e^{-\beta d}") == [r"$I = J\,t$", r"$t = e^{-\beta d}$"]
    assert module._equations(r"\begin{matrix}a\end{matrix}") == [r"\begin{matrix}a\end{matrix}"]
    assert all(line.startswith("$") for kind in DEGRADATIONS.values() for line in module._equations(kind.equation))


def test_playground_says_what_it_showed(capsys, monkeypatch):
    toy = playground(IMAGE)
    assert toy.shown == "pictures" and toy.sliders is None and "pictures, not sliders" in capsys.readouterr().out
    figure, _ = toy.pictures(["haze"], levels=2)
    assert "in place of the sliders" in figure._suptitle.get_text()
    toy = playground(IMAGE[0], ["haze"], widgets="yes")
    assert toy.shown == "sliders" and toy.sliders.kind.value == "haze" and "Shown: sliders" in capsys.readouterr().out
    assert "in place" not in toy.pictures(["haze"], levels=2)[0]._suptitle.get_text()


def test_what_it_refuses():
    with pytest.raises(ValueError, match="one picture"):
        playground(IMAGE.repeat(2, 1, 1, 1))
    with pytest.raises(ValueError, match="unknown degradation 'fog'"):
        playground(IMAGE, ["fog"])
    with pytest.raises(ValueError, match="unknown degradation 'fog'"):
        strength_grid(IMAGE, ["fog"])


def test_strengths_span_the_drawn_range():
    assert [p.sigma for p in strengths(DEGRADATIONS["gaussian_noise"], 3)] == [5, 27.5, 50]
    assert all(isinstance(p.quality, int) for p in strengths(DEGRADATIONS["jpeg"], 4))
