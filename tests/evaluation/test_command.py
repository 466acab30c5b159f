"""`course eval` on data sets: protocols, partial sets, CDD-11's mean, and published figures that never mix with measured ones."""

import json

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from course_lib.datasets.catalogue import DataSetError, find_entry
from course_lib.datasets.folders import read_pairs
from course_lib.evaluation import command, evaluate
from course_lib.evaluation.command import evaluation_table, find_model, measured_text, report
from course_lib.evaluation.datasets import CDD11_TASKS, SETS, clean_files, find_set
from course_lib.evaluation.protocol import centre_crop, given_pairs
from course_lib.images import ImageError, load_image, save_image
from course_lib.metrics import psnr
from course_lib.models import create_model
from course_lib.models.told import Words
from course_lib.training.checkpoint import save_weights


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A benchmark folder with 2 SOTS outdoor pairs, 1 of SOTS indoor with a border, 2 Kodak images and 3 tasks of CDD-11."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    generator = torch.Generator().manual_seed(0)

    def put(path, height=37, width=50):
        save_image(torch.rand(3, height, width, generator=generator), tmp_path / path)

    for name, haze in (("0001", "0001_0.8_0.2"), ("0002", "0002_0.8_0.08")):
        put(f"SOTS/outdoor/gt/{name}.png")
        put(f"SOTS/outdoor/hazy/{haze}.png")
    put("SOTS/indoor/gt/1400.png", 60, 70)
    put("SOTS/indoor/hazy/1400_1.png", 40, 50)
    for number in (1, 2):
        put(f"Kodak24/kodim{number:02}.png")
    for folder in ("clear", "low", "haze", "low_haze_rain"):
        put(f"CDD-11/CDD-11_test/{folder}/00001_.png")
    return tmp_path


def table(model, data, **options):
    return evaluation_table(model, data, device="cpu", progress=False, **options)


def test_pairs_are_cropped_and_scored_as_scikit_image_does(root):
    row = table("identity", "SOTS-outdoor")[0]
    assert (row["images"], row["of"], row["task"], row["sigma"], row["protocol"]) == (2, 500, "haze", None, "promptir")
    psnrs, ssims = [], []
    for name, haze in (("0001", "0001_0.8_0.2"), ("0002", "0002_0.8_0.08")):
        images = [load_image(root / f"SOTS/outdoor/{path}.png") for path in (f"hazy/{haze}", f"gt/{name}")]
        x, y = (image[:, 2:34, 1:49].double().permute(1, 2, 0).numpy() for image in images)  # 37x50 -> 32x48 in the middle
        psnrs.append(peak_signal_noise_ratio(y, x, data_range=1))
        ssims.append(structural_similarity(x, y, channel_axis=2, data_range=1))
    assert row["degraded_psnr"] == pytest.approx(np.mean(psnrs), abs=1e-6) == row["restored_psnr"]
    assert row["degraded_ssim"] == pytest.approx(np.mean(ssims), abs=1e-5)


def test_the_indoor_border_comes_off_the_clean_image(root):
    row = table("identity", "sots-indoor")[0]
    clean, hazy = load_image(root / "SOTS/indoor/gt/1400.png"), load_image(root / "SOTS/indoor/hazy/1400_1.png")
    x, y = hazy[:, 4:36, 1:49].double(), clean[:, 10:-10, 10:-10][:, 4:36, 1:49].double()
    assert row["data"] == "SOTS-indoor" and row["degraded_psnr"] == pytest.approx(float(-10 * ((x - y) ** 2).mean().log10()), abs=1e-6)


def test_cdd11_is_whole_images_a_row_a_task_and_their_mean(root):
    rows = table("identity", "CDD-11")
    assert [row["task"] for row in rows] == ["low", "haze", "low_haze_rain", "mean of 3/11 tasks"]
    assert {row["protocol"] for row in rows} == {"onerestore"} and [row["of"] for row in rows] == [200] * 3 + [2200]
    assert rows[-1]["images"] == 3
    assert rows[-1]["restored_psnr"] == pytest.approx(np.mean([row["restored_psnr"] for row in rows[:-1]]))
    x, y = (load_image(root / f"CDD-11/CDD-11_test/{folder}/00001_.png").double() for folder in ("haze", "clear"))
    assert rows[1]["degraded_psnr"] == pytest.approx(float(-10 * ((x - y) ** 2).mean().log10()), abs=1e-6)


def test_a_full_cdd11_is_called_the_mean(root):
    for task in CDD11_TASKS:
        save_image(torch.full((3, 24, 24), 0.5), root / f"CDD-11/CDD-11_test/{task}/00001_.png")
    save_image(torch.full((3, 24, 24), 0.25), root / "CDD-11/CDD-11_test/clear/00001_.png")
    rows = table("identity", "CDD-11")
    assert len(rows) == 12 and rows[-1]["task"] == "mean" and rows[-1]["images"] == 11
    assert rows[-1]["restored_psnr"] == pytest.approx(-20 * np.log10((128 - 64) / 255), abs=1e-4)


class Between(torch.nn.Module):
    """A constant image that 8 bit cannot hold."""

    def forward(self, image):
        return image * 0 + 100.3 / 255


@pytest.mark.parametrize("protocol, level", [("promptir", 100.3), ("restormer", 100)])
def test_only_what_is_saved_as_png_is_rounded(root, monkeypatch, protocol, level):
    monkeypatch.setattr(command, "find_model", lambda name: Between())
    row = table("between", "Kodak24", sigmas=[25.0], protocol=protocol)[0]
    assert (row["images"], row["of"]) == (2, 24)
    psnrs = []
    for path in clean_files("Kodak24"):
        clean = load_image(path)
        clean = centre_crop(clean) if protocol == "promptir" else clean
        psnrs.append(float(-10 * ((clean.double() - level / 255) ** 2).mean().log10()))
    assert row["restored_psnr"] == pytest.approx(np.mean(psnrs), abs=1e-5)


def test_float_noise_is_not_rounded_for_the_identity_and_without_clipping(root, monkeypatch):
    row = table("identity", "Kodak24", sigmas=[25.0], protocol="restormer")[0]
    assert row["degraded_psnr"] == row["restored_psnr"]
    monkeypatch.setattr(command, "find_model", lambda name: Between())
    clipped, free = (table("b", "Kodak24", sigmas=[25.0], protocol="restormer", clip=flag)[0]["restored_psnr"] for flag in (True, False))
    assert clipped != free


def test_classical_models_by_name(root, photos):
    for number, image in enumerate(list(photos.values())[:2], 1):
        save_image(image[:, -100:, :100], root / f"Kodak24/kodim{number:02}.png")
    row = table("classical:nlm", "Kodak24", sigmas=[50.0], protocol="promptir")[0]
    assert row["model"] == "classical:nlm" and row["restored_psnr"] > row["degraded_psnr"] + 5
    assert find_model("classical:gamma-curve")(torch.full((1, 3, 8, 8), 0.1)).mean() > 0.4
    with pytest.raises(ValueError, match="classical:magic.*classical:nlm, .*classical:rank-filter"):
        find_model("classical:magic")


def test_a_model_that_is_not_blind_is_told_each_rows_true_task(root, tmp_path, monkeypatch):
    texts = {"noise 15": "noise", "noise 50": "gaussian noise with a standard deviation of 50", "haze": "haze"}
    tiny = dict(dim=8, blocks=[1, 1, 1, 1], refinement_blocks=1, heads=[1, 1, 1, 1])
    path = save_weights(create_model("dfpir", **tiny, words=texts), tmp_path / "told.safetensors")
    said = []
    monkeypatch.setattr(Words, "vector", lambda self, name: said.append(name) or self.vectors[0])
    assert table(str(path), "SOTS-outdoor")[0]["images"] == 2 and said == ["haze"] * 2
    said.clear()
    table(str(path), "Kodak24", protocol="promptir", sigmas=[15.0, 50.0])
    assert said == ["noise 15"] * 2 + ["noise 50"] * 2
    said.clear()
    table(str(path), "CDD-11")
    assert said == ["low", "haze", "low_haze_rain"][-len(said) :] and said


def test_wrong_words(root):
    with pytest.raises(ValueError, match="SOTS-outdoor.*--sigma"):
        table("identity", "SOTS-outdoor", sigmas=[25.0])
    with pytest.raises(ValueError, match="'restormer' for SOTS-outdoor; there are promptir"):
        table("identity", "SOTS-outdoor", protocol="restormer")
    with pytest.raises(ImageError, match="nowhere.*CBSD68, .*CDD-11"):
        find_set("nowhere")
    with pytest.raises(ImageError, match="DIV2K is not a test set"):
        find_set("DIV2K")
    with pytest.raises(ValueError, match=f"Rain100L.*{root}"):
        table("identity", "Rain100L")
    with pytest.raises(ValueError, match="12x40 has nothing left"):
        centre_crop(torch.rand(3, 12, 40))
    with pytest.raises(ValueError, match="'ours'"):
        list(given_pairs([], "ours"))


def test_the_sizes_of_the_sets_are_the_catalogues():
    for name, entry in SETS.items():
        if name not in ("photos", "five-tasks"):
            assert find_entry(name).splits["test"] == entry.images, name
    assert find_entry("CDD-11").tasks == CDD11_TASKS


def test_json_keeps_measured_and_published_apart(course, root):
    status, out, _ = course("eval", "identity", "--data", "CDD-11", "--json", "--device", "cpu")
    printed = json.loads(out)
    assert status == 0 and set(printed) == {"measured", "published"} and len(printed["measured"]) == 4
    assert not any("source" in row for row in printed["measured"]) and all(row["source"] for row in printed["published"])
    assert not any(key.startswith(("degraded", "restored")) for row in printed["published"] for key in row)
    assert {row["data"] for row in printed["published"]} == {"CDD-11"}


def test_published_rows_are_those_of_the_noise_levels_measured():
    rows = report([], "CBSD68", [25.0])["published"]
    assert {row["sigma"] for row in rows} == {25.0} and {row["setting"] for row in rows} == {"three-task", "five-task"}
    assert report([], "Kodak24", [25.0])["published"] == []


def test_text_has_two_blocks_and_says_how_much_of_the_set_there_is(course, root):
    status, out, _ = course("eval", "identity", "--data", "SOTS", "--device", "cpu")
    measured, published = out.split("\n\n", 1)
    assert status == 0 and "2 of 500" in measured and "identity" in measured and "DFPIR" not in measured
    assert (
        published.startswith("published (not measured here), SOTS-outdoor") and "31.87 0.980" in published and "identity" not in published
    )


def test_a_whole_set_is_a_plain_number():
    row = {"model": "m", "data": "d", "protocol": "p", "task": "noise", "sigma": 25.0, "images": 68, "of": 68}
    row |= dict.fromkeys(command.NUMBERS, 0.5)
    assert "68 of" not in measured_text([row]) and "67 of 68" in measured_text([{**row, "images": 67}])


def test_ctrl_c_prints_the_rows_that_were_finished(course, root, monkeypatch):
    calls = []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    monkeypatch.setattr(command, "evaluate", interrupted)
    status, out, err = course("eval", "identity", "--data", "CDD-11", "--json", "--device", "cpu")
    assert status == 130 and "stopped" in err and "Traceback" not in err
    assert [row["task"] for row in json.loads(out)["measured"]] == ["low"]


def test_a_missing_set_is_one_error_with_the_folder(course, root):
    status, out, err = course("eval", "identity", "--data", "LOL-v1", "--device", "cpu")
    assert status == 2 and out == "" and str(root) in err and "LOL-v1" in err and "Traceback" not in err


@pytest.mark.parametrize("data, wanted", [("Rain100L", 25.52), ("SOTS-outdoor", 18.30), ("SOTS-indoor", 15.76)])
def test_the_untouched_input_on_real_pairs(bench, data, wanted):
    try:
        pairs = read_pairs(data)
    except DataSetError as error:
        pytest.skip(str(error).splitlines()[0])
    known = {"Rain100L": 100, "SOTS-outdoor": 2, "SOTS-indoor": 4}  # the figures are those of these images
    if len(pairs) != known[data]:
        pytest.skip(f"{data} has {len(pairs)} images here")
    values = [float(psnr(degraded, clean)) for _, degraded, clean in given_pairs(pairs, "promptir")]
    assert np.mean(values) == pytest.approx(wanted, abs=0.01)
