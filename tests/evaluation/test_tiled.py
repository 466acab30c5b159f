"""Tiles: equal to the whole image where the model is local, no seams where it is not, bounded memory."""

import json
import subprocess
import sys

import pytest
import torch
from tiny_models import TINY, perturbed
from torch import nn

from course_lib.evaluation import restore, restore_tiled
from course_lib.evaluation import tiled as tiled_module
from course_lib.models import create_model


class Local(nn.Module):
    """Three convolutions and a stride-2 pair: reaches `7` pixels far and depends on the position modulo 2."""

    size_multiple = 2

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 8, 4, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)
        self.sizes = set()

    def forward(self, x):
        self.sizes.add(tuple(x.shape[-2:]))
        return self.last(self.up(self.down(self.first(x).relu()).relu()).relu()) + x


class Reach(nn.Module):
    """One convolution that reaches exactly `radius` pixels: nothing less than the whole overlap suffices."""

    def __init__(self, radius):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 2 * radius + 1, padding=radius, bias=False)

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (123, 457), (64, 64), (65, 63), (200, 8), (81, 1)])
@pytest.mark.parametrize("tile, overlap", [(64, 8), (64, 24), (96, 16)])
def test_a_local_model_gives_the_whole_image_result(size, tile, overlap):
    model, image = Local().eval(), torch.rand(2, 3, *size)
    whole, tiles = restore(model, image), restore_tiled(model, image, tile=tile, overlap=overlap)
    assert tiles.shape == image.shape and tiles.dtype == torch.float32
    assert float((whole - tiles).abs().max()) < 1e-5


def test_the_whole_overlap_counts():
    for overlap in (8, 16):
        model, image = Reach(overlap).eval(), torch.rand(1, 3, 150, 170)
        with torch.no_grad():
            assert float((model(image) - restore_tiled(model, image, tile=64, overlap=overlap)).abs().max()) < 1e-5
    too_far = Reach(overlap + 4).eval()
    assert float((restore(too_far, image) - restore_tiled(too_far, image, tile=64, overlap=overlap)).abs().max()) > 1e-5


def test_no_tile_is_larger_than_asked():
    model = Local().eval()
    restore_tiled(model, torch.rand(1, 3, 210, 330), tile=64, overlap=16)
    assert {max(size) for size in model.sizes} == {64}


def seam_ratio(result, tile, overlap):
    """Mean step across the borders and blends of tiles over the mean step elsewhere, both axes, the worse of them."""
    ratios = []
    for axis in (-2, -1):
        size = result.shape[axis] + -result.shape[axis] % 8
        ramp = tiled_module._ramp(tile, overlap)
        starts = tiled_module._starts(size, tile, tile - 2 * overlap - ramp)
        steps = result.diff(dim=axis).abs().movedim(axis, 0).flatten(1).mean(1)
        near = torch.zeros(len(steps), dtype=torch.bool)
        for start in starts[1:]:
            for border in (start, start + overlap, start + overlap + ramp // 2, start + overlap + ramp):
                near[max(0, border - 1) : border + 1] = True
        for start in starts[:-1]:
            for border in (start + tile, start + tile - overlap, start + tile - overlap - ramp):
                near[max(0, border - 1) : min(border + 1, len(steps))] = True
        assert 0 < near.sum() < 0.8 * len(near)
        ratios.append(float(steps[near].mean() / steps[~near].mean()))
    return max(ratios)


def smooth_image(height, width):
    y, x = torch.meshgrid(torch.linspace(0, 9, height), torch.linspace(0, 11, width), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(x + c) * torch.cos(y - c) for c in range(3)])[None]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_restormer_leaves_no_seam(seed, noise):
    """The attention sees a whole tile, so tiles differ; on a smooth image with a random model a hard border would be seen at once."""
    model = perturbed(create_model("restormer", **TINY), 0.05, seed).eval()
    image = smooth_image(230, 310)
    image = image + noise * torch.randn(image.shape)
    result = restore_tiled(model, image, tile=96, overlap=16)
    assert float((result - restore(model, image)).abs().max()) > 1e-4, "this model cannot tell"
    assert seam_ratio(result, 96, 16) <= 1.1


@pytest.mark.parametrize("overlap", [0, 16])
def test_the_seam_test_sees_a_seam(overlap):
    class Offset(nn.Module):
        """Every tile a little brighter or darker; without overlap that is a hard border, with it a ramp."""

        def forward(self, x):
            return x + 0.1 * torch.randn(())

    assert seam_ratio(restore_tiled(Offset(), smooth_image(230, 310), tile=96, overlap=overlap), 96, overlap) > 1.1


def test_a_cuda_free_model_in_half_precision_still_gives_float():
    class Half(nn.Module):
        def forward(self, x):
            return x.bfloat16()

    image = torch.rand(1, 3, 100, 70)
    for result in (restore(Half(), image), restore_tiled(Half(), image, tile=64, overlap=8)):
        assert result.dtype == torch.float32 and torch.allclose(result, image, atol=1e-2)


@pytest.mark.parametrize("tile, overlap", [(60, 9), (64, 32), (16, 8), (1, 0), (100, 12)])
def test_odd_numbers_are_rounded_up_not_refused(tile, overlap):
    model, image = Reach(5).eval(), torch.rand(1, 3, 203, 167)
    result = restore_tiled(model, image, tile=tile, overlap=overlap)
    if overlap >= 5:
        with torch.no_grad():
            assert float((model(image) - result).abs().max()) < 1e-5


def test_a_model_says_what_its_sides_must_divide_by():
    restormer = create_model("restormer", **TINY)
    assert tiled_module.size_multiple(restormer) == tiled_module.size_multiple(nn.Sequential(restormer)) == 8
    assert tiled_module.size_multiple(nn.Conv2d(3, 3, 3)) == 1
    assert tiled_module.size_multiple(lambda x: x) == 8


def test_errors():
    for tile, overlap in ((0, 8), (-8, 0), (64, -8)):
        with pytest.raises(ValueError, match=f"tile .{tile}. and overlap .{overlap}."):
            restore_tiled(nn.Identity(), torch.rand(1, 3, 8, 8), tile=tile, overlap=overlap)
    with pytest.raises(ValueError, match=r"\(3, 8, 8\)"):
        restore_tiled(nn.Identity(), torch.rand(3, 8, 8))


MEASURE = """
import json, resource, sys
import numpy as np
import torch
from PIL import Image
torch.set_num_threads(1)
from course_lib.evaluation import restore_tiled
from course_lib.images import load_image, save_image
from course_lib.models import create_model
folder, kind, config = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = torch.nn.Conv2d(3, 3, 3, padding=1) if kind == "conv" else create_model("restormer", **config)
source = np.random.default_rng(0).integers(0, 255, (375, 500, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
Image.fromarray(source).save(folder + "/big.png", compress_level=1)
image = load_image(folder + "/big.png")[None]
assert image.shape == (1, 3, 3000, 4000)
result = restore_tiled(model.eval(), image)
assert result.shape == image.shape and bool(result.isfinite().all())
save_image(result, folder + "/restored.png")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "linux" else 1 << 30))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="getrusage")
@pytest.mark.parametrize("kind", ["conv", pytest.param("restormer", marks=pytest.mark.slow)])
def test_peak_memory_on_twelve_megapixels(tmp_path, kind):
    command = [sys.executable, "-c", MEASURE, str(tmp_path), kind, json.dumps(TINY)]
    gigabytes = float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=900).stdout.split()[-1])
    assert gigabytes < 3, f"{gigabytes:.2f} GiB"
