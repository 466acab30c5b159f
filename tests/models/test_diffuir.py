"""DiffUIR's network: golden numbers, the four published sizes, any image size."""

import golden
import pytest
import torch
from tiny_models import perturbed
from unets import Official

from course_lib.evaluation.tiled import size_multiple
from course_lib.models import create_model, list_models
from course_lib.models.official import load_official, official_named_parameters, to_official

TINY = dict(dim=8, dim_mults=[1, 2])


def shapes(named):
    return {key: list(value.shape) for key, value in dict(named).items()}


def test_golden_numbers_names_and_counts():
    file = golden.read("diffuir_t")
    model = load_official("diffuir", golden.state_dict(file))
    assert not model.training and "diffuir" in list_models()
    assert sum(p.numel() for p in model.parameters()) == file["parameters"]
    wanted = {key: shape for key, (shape, _) in file["state_dict"].items()}
    assert shapes(to_official(model)) == wanted and shapes(official_named_parameters(model)) == wanted
    for case in file["cases"]:
        with torch.no_grad():
            got = model(golden.image(case), torch.tensor(case["inputs"]["t"]))
        (output,) = case["outputs"]
        assert golden.largest_excess(got, output) < 1


@pytest.mark.parametrize(
    "dim, dim_mults, parameters",
    [(32, [1, 1, 1, 1], 886_435), (32, [1, 2, 2, 4], 3_268_643), (64, [1, 2, 2, 4], 12_406_851), (64, [1, 2, 4, 8], 36_261_187)],
)
def test_published_sizes(dim, dim_mults, parameters):
    with torch.device("meta"):
        model = create_model("diffuir", dim=dim, dim_mults=dim_mults)
    assert sum(p.numel() for p in model.parameters()) == parameters and len(to_official(model)) == 276


@pytest.mark.parametrize("height, width", [(8, 12), (9, 11), (13, 8), (5, 17)])
def test_any_size_is_reflected_and_cut_back(height, width):
    model = perturbed(create_model("diffuir", **TINY)).double()
    x, t = torch.randn(2, 6, height, width, dtype=torch.float64), torch.tensor([10.0, 993.6])
    rows, columns = ([*range(n), *(2 * n - 2 - i for i in range(n, n - n % -4))] for n in (height, width))  # the mirror, by index
    wanted = Official(to_official(model), "unet0.")(x[:, :, rows][..., columns], t.tolist())[..., :height, :width]
    with torch.no_grad():
        assert torch.allclose(model(x, t), wanted, atol=1e-4)
    assert load_official("diffuir", to_official(model)).config == model.config
    assert size_multiple(model) == 1


def test_an_image_too_small_to_reflect():
    model = create_model("diffuir", dim=8, dim_mults=[1, 1, 1])
    assert model(torch.randn(1, 6, 3, 2), 5.0).shape == (1, 3, 3, 2)
