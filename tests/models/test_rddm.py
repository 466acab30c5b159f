"""RDDM's network: golden numbers, an independent transcription of all three forms, official files with averaged weights."""

import golden
import pytest
import torch
from tiny_models import perturbed
from unets import Official

from course_lib.models import create_model, list_models
from course_lib.models.official import CheckpointError, load_official, official_named_parameters, to_official, unwrap

TINY = dict(dim=8, dim_mults=[1, 2])


def tiny(**change):
    return perturbed(create_model("rddm", **{**TINY, **change})).eval()


def shapes(named):
    return {key: list(value.shape) for key, value in dict(named).items()}


def official_forward(state, networks, x, t):
    if networks == "shared":
        net = Official(state)
        middle, start, time, skips = net.encode(x, t)
        one = net.conv("final_conv_1", net.block("final_res_block_1", net.decode("ups_no_skip", middle, time, []), time))
        other = torch.cat([net.decode("ups", middle, time, skips), start], 1)
        return one, net.conv("final_conv_2", net.block("final_res_block_2", other, time))
    return tuple(Official(state, prefix)(x, t) for prefix in ("unet0.", "unet1.")[: 2 if networks == "two" else 1])


def outputs(result):
    return result if isinstance(result, tuple) else (result,)


def test_golden_numbers_names_and_counts():
    file = golden.read("rddm_unetres")
    model = load_official("rddm", golden.state_dict(file))
    assert not model.training and "rddm" in list_models()
    assert sum(p.numel() for p in model.parameters()) == file["parameters"]
    wanted = {key: shape for key, (shape, _) in file["state_dict"].items()}
    assert shapes(to_official(model)) == wanted and shapes(official_named_parameters(model)) == wanted
    for case in file["cases"]:
        image, t = golden.image(case), torch.tensor(case["inputs"]["t"])
        with torch.no_grad():
            results = model(image, t)
        assert all(golden.largest_excess(got, output) < 1 for got, output in zip(results, case["outputs"], strict=True))


@pytest.mark.parametrize("networks, parameters, keys", [("two", 72_522_374, 552), ("shared", 51_980_614, 396), ("one", 36_261_187, 276)])
def test_published_sizes(networks, parameters, keys):
    with torch.device("meta"):
        model = create_model("rddm", networks=networks)
    assert sum(p.numel() for p in model.parameters()) == parameters and len(to_official(model)) == keys
    assert not any(word in key for key in to_official(model) for word in ("first", "shared", "resample"))


@pytest.mark.parametrize("networks", ["two", "shared", "one"])
@pytest.mark.parametrize("change", [{}, {"dim_mults": [1, 2, 3], "in_channels": 4, "out_channels": 2}, {"dim_mults": [2]}], ids=str)
def test_every_configuration_is_read_and_computes_what_the_official_code_does(networks, change):
    model = tiny(networks=networks, **change).double()
    state = to_official(model)
    again = load_official("rddm", dict(state)).double()
    assert again.config == model.config
    side = 2 * model.size_multiple
    x, t = torch.randn(2, model.config["in_channels"], side, side + model.size_multiple, dtype=torch.float64), [3, 700]
    with torch.no_grad():
        results = outputs(model(x, torch.tensor(t)))
        for got, same, wanted in zip(results, outputs(again(x, torch.tensor(t))), official_forward(state, networks, x, t), strict=True):
            assert torch.allclose(got, wanted, atol=1e-5) and torch.equal(got, same)


@pytest.mark.parametrize("networks", ["two", "shared"])
def test_gradients_equal_the_transcription(networks):
    model = tiny(networks=networks).double()
    x, t = torch.randn(2, 6, 8, 4, dtype=torch.float64), [0, 0]
    sum(part.square().sum() for part in model(x, torch.tensor(t))).backward()
    state = {key: value.detach().clone().requires_grad_() for key, value in official_named_parameters(model)}
    sum(part.square().sum() for part in official_forward(state, networks, x, t)).backward()
    scale = max(float(value.grad.abs().max()) for value in state.values())
    for key, parameter in official_named_parameters(model):
        assert float((parameter.grad - state[key].grad).abs().max()) < 1e-9 * scale, key


def test_a_time_for_each_network():
    model = tiny()
    x = torch.randn(2, 6, 8, 8)
    with torch.no_grad():
        early, late, both = model(x, 3), model(x, 700), model(x, (torch.tensor([3, 3]), torch.tensor([700, 700])))
    assert torch.equal(both[0], early[0]) and torch.equal(both[1], late[1])


@pytest.mark.parametrize("name, kind", [("rddm", {}), ("rddm", {"networks": "shared"}), ("diffuir", {})])
def test_official_files_give_their_averaged_weights(tmp_path, name, kind):
    """step, model, opt, ema, scaler: what the authors' trainers write; `ema` holds both copies with the schedules beside them."""
    last, averaged = (perturbed(create_model(name, **TINY, **kind), seed=seed) for seed in (1, 2))

    def diffusion(model, prefix=""):
        buffers = {"alphas": torch.rand(10), "betas2_cumsum": torch.rand(10)}
        return {f"{prefix}{key}": value for key, value in buffers.items()} | {
            f"{prefix}model.{key}": value.clone() for key, value in to_official(model).items()
        }

    content = {
        "step": 120_000, "opt": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 8e-5}]}, "scaler": None,
        "model": diffusion(last),
        "ema": {"initted": torch.tensor([True]), "step": torch.tensor([120_000]),
                **diffusion(last, "online_model."), **diffusion(averaged, "ema_model.")},
    }  # fmt: skip
    torch.save(content, tmp_path / "model-120.pt")
    for given, wanted in ((tmp_path / "model-120.pt", averaged), (content, averaged), ({"model": content["model"]}, last)):
        loaded = load_official(name, given)
        assert loaded.config == wanted.config
        assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), wanted.state_dict().values(), strict=True))
    assert set(unwrap(content)) == set(to_official(averaged))
    assert set(unwrap({**content, "ema": {"decay": 0.995}})) == set(to_official(averaged))  # no weights in it: the last ones


def test_what_is_refused():
    with pytest.raises(ValueError, match="RDDMNet needs sides that divide by 2; got 8x7"):
        tiny()(torch.randn(1, 6, 8, 7), 1)
    with pytest.raises(ValueError, match="two, shared or one"):
        create_model("rddm", networks="three")
    state = to_official(tiny())
    with pytest.raises(CheckpointError, match=r"1 keys missing \(unet1.mid_attn.fn.norm.g\), 1 unexpected \(unet1.mid_attn.fn.norm.h\)"):
        load_official("rddm", {key.replace("unet1.mid_attn.fn.norm.g", "unet1.mid_attn.fn.norm.h"): value for key, value in state.items()})
    with pytest.raises(CheckpointError, match="unexpected"):
        load_official("diffuir", state)
