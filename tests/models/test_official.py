"""Official checkpoints: the golden numbers, names and counts, every wrapping, and what is refused."""

import os
import pickle

import golden
import pytest
import torch

from course_lib.models import Restormer, create_model, list_models
from course_lib.models.official import CheckpointError, load_official, official_named_parameters, read_checkpoint, to_official

NAMES = ["restormer_small", "restormer_biasfree", "restormer"]


def shapes(state):
    return {key: list(value.shape) for key, value in state.items()}


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module")
def small():
    return golden.state_dict(golden.read("restormer_small"))


@pytest.mark.parametrize("name", NAMES)
def test_golden_numbers_names_and_counts(name):
    file = golden.read(name)
    model = load_official("restormer", golden.state_dict(file))
    assert not model.training
    assert count(model) == file["parameters"]
    assert shapes(to_official(model)) == {key: shape for key, (shape, _) in file["state_dict"].items()}
    for case in file["cases"]:
        image = golden.image(case)
        with torch.no_grad():
            assert golden.largest_excess(model(image), case["output"]) < 1, f"{case['label']} without gradients"
    assert golden.largest_excess(model(image), case["output"]) < 1, "with gradients"


def test_golden_numbers_in_strips(monkeypatch):
    from course_lib.models import layers

    monkeypatch.setattr(layers, "STRIP_BYTES", 1)
    file = golden.read("restormer_small")
    model = load_official("restormer", golden.state_dict(file))
    for case in file["cases"]:
        with torch.inference_mode():
            assert golden.largest_excess(model(golden.image(case)), case["output"]) < 1


@pytest.mark.parametrize(
    "config, parameters",
    [
        ({}, 26_126_644),
        ({"norm_bias": False}, 26_111_668),
        ({"in_channels": 6, "dual_pixel": True}, 26_132_548),
        ({"in_channels": 1, "out_channels": 1, "norm_bias": False}, 26_109_076),
    ],
)
def test_published_parameter_counts(config, parameters):
    with torch.device("meta"):
        model = create_model("restormer", **config)
    assert count(model) == parameters


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"bias": True},
        {"norm_bias": False, "in_channels": 1, "out_channels": 1},
        {"in_channels": 6, "dual_pixel": True},
        {"expansion": 2.0, "heads": [2, 2, 4, 4], "blocks": [2, 1, 3, 1], "refinement_blocks": 2},
        {"expansion": 1.33, "dim": 16},
    ],
)
def test_round_trip_reads_every_configuration(tiny_config, change):
    config = {**tiny_config, **change}
    model = create_model("restormer", **config).eval()
    again = load_official("restormer", to_official(model))
    image = torch.rand(1, config.get("in_channels", 3), 16, 24)
    with torch.no_grad():
        assert torch.equal(again(image), model(image))
    same = {key: value for key, value in again.config.items() if key != "expansion"}
    assert same == {key: value for key, value in model.config.items() if key != "expansion"}


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors"])
def test_files(tmp_path, small, suffix):
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(small, path)
    else:
        torch.save(small, path)
    loaded = to_official(load_official("restormer", path))
    assert all(torch.equal(loaded[key], value) for key, value in small.items())
    assert set(to_official(load_official("restormer", str(path)))) == set(small)


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"params": s},
        lambda s: {"params_ema": s, "params": {key: torch.zeros_like(value) for key, value in s.items()}},
        lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"lr": 1.0}},
        lambda s: {"model": prefixed("module.", s), "iter": 7},
        lambda s: prefixed("module.", s),
        lambda s: prefixed("net.", s),
        lambda s: {"params": prefixed("module.net.", s)},
        lambda s: {
            "state_dict": {**prefixed("net.", s), "loss_fn.weight": torch.ones(3), "best": torch.tensor(1.0)},
            "pytorch-lightning_version": "2.0.1",
            "callbacks": {},
            "hyper_parameters": {"lr": 2e-4},
        },
        lambda s: {key: value.half() for key, value in s.items()},
    ],
)
def test_wrappings(tmp_path, small, wrap):
    torch.save(wrap(small), tmp_path / "w.pth")
    for checkpoint in (tmp_path / "w.pth", wrap(small)):
        loaded = to_official(load_official("restormer", checkpoint))
        assert all(torch.allclose(loaded[key], value, atol=2e-3) and value.any() for key, value in small.items())
        assert all(value.dtype == torch.float32 for value in loaded.values())


def test_a_wrong_file_names_missing_and_unexpected_keys(tmp_path, small):
    changed = {key: value for key, value in small.items() if key != "latent.1.attn.temperature"}
    changed["latent.1.attn.scale"] = torch.ones(1)
    torch.save({"params": changed}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError) as caught:
        load_official("restormer", tmp_path / "other.pth")
    text = str(caught.value)
    assert "other.pth" in text and "1 keys missing (latent.1.attn.temperature)" in text and "1 unexpected (latent.1.attn.scale)" in text
    bad_shape = {**small, "output.weight": torch.zeros(3, 32, 5, 5)}
    with pytest.raises(CheckpointError, match=r"output.weight is \(3, 32, 5, 5\), expected \(3, 32, 3, 3\)"):
        load_official("restormer", bad_shape)
    torch.save({"conv1.weight": torch.ones(4, 3, 3, 3), "fc.bias": torch.ones(2)}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"494 keys missing \(.*2 unexpected \(conv1.weight, fc.bias\)"):
        load_official("restormer", tmp_path / "resnet.pth")


PARTS = sorted({key.rsplit(".", 1)[0] + "." for key in golden.read("restormer_small")["state_dict"]})


@pytest.mark.parametrize("key", PARTS[::5])
def test_any_missing_part_is_a_clear_error(small, key):
    with pytest.raises(CheckpointError, match="missing"):
        load_official("restormer", {k: v for k, v in small.items() if not k.startswith(key)})


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {}, {"state_dict": {}}, {"epoch": 3}])
def test_files_without_a_state_dict_say_so(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="no state dict|no tensors"):
        load_official("restormer", tmp_path / "w.pth")


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "executed"
    payload = {"params": {"x": Evil(f"touch {mark}")}}
    torch.save(payload, tmp_path / "zip.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(payload))
    for name in ("zip.pth", "raw.pth"):
        with pytest.raises(CheckpointError, match=name):
            load_official("restormer", tmp_path / name)
    assert not mark.exists()
    pickle.loads((tmp_path / "raw.pth").read_bytes())  # the payload would have run
    assert mark.exists()


def test_cut_and_missing_files(tmp_path, small):
    torch.save(small, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:5000])
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")
    for name in ("cut.pth", "cut.safetensors"):
        with pytest.raises(CheckpointError, match=f"{name}.*cut short"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        load_official("restormer", tmp_path / "none.pth")


def test_gradients_are_reachable_under_official_names(small):
    model = load_official("restormer", small)
    model(torch.rand(1, 3, 16, 16)).square().mean().backward()
    named = dict(official_named_parameters(model))
    assert shapes(named) == shapes(small)
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in named.values())


def test_unknown_names_say_what_exists():
    assert "restormer" in list_models()
    with pytest.raises(ValueError, match="'nope'; there are.*restormer"):
        create_model("nope")
    with pytest.raises(ValueError, match="'nope'; there are.*restormer"):
        load_official("nope", {})
    with pytest.raises(ValueError, match="widht"):
        create_model("restormer", widht=3)
    with pytest.raises(ValueError, match="heads"):
        create_model("restormer", dim=8, heads=[3, 3, 3, 3])
    with pytest.raises(ValueError, match="four levels"):
        Restormer(blocks=[1, 2, 3])
    with pytest.raises(ValueError, match="Conv2d"):
        to_official(torch.nn.Conv2d(1, 1, 1))
