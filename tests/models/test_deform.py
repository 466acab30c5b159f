"""Deformable convolution: the plain form against loops, grid_sample, ordinary convolution and torchvision's operator; gradients too.

torchvision is in the lock, so nothing here is skipped where it is missing: it fails.
"""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from course_lib.models import deform
from course_lib.models.deform import DeformConv, deform_conv2d, plain_deform_conv2d

# batch, channels in and out, height, width, kernel: odd sizes, one pixel, sides smaller than the kernel
SIZES = [(2, 3, 4, 7, 9, 3), (1, 8, 5, 1, 1, 3), (1, 2, 2, 1, 6, 3), (2, 4, 3, 5, 3, 5), (1, 3, 6, 4, 4, 1)]


def pieces(size, dtype=torch.float64, spread=2.0, seed=0):
    """x, offset, mask, weight; offsets of a few pixels, so that many taps look across the border or far outside."""
    B, C, O, H, W, k = size
    generator = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(B, C, H, W, generator=generator), torch.randn(O, C, k, k, generator=generator)
    offset = spread * torch.randn(B, 2 * k * k, H, W, generator=generator)
    mask = torch.rand(B, k * k, H, W, generator=generator)
    return [tensor.to(dtype) for tensor in (x, offset, mask, weight)]


def results(form, tensors):
    """Output and the gradients of all four inputs under an uneven loss."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    y = form(*leaves)
    upstream = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
    (y * upstream).sum().backward()
    return [y.detach(), *(leaf.grad for leaf in leaves)]


def worst(got, wanted):
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-6)) for a, b in zip(got, wanted, strict=True))


def by_loops(x, offset, mask, weight):
    """The definition, one number at a time."""
    B, C, H, W = x.shape
    O, _, k, _ = weight.shape

    def pixel(b, c, i, j):
        return float(x[b, c, i, j]) if 0 <= i < H and 0 <= j < W else 0.0

    y = torch.zeros(B, O, H, W, dtype=x.dtype)
    for b in range(B):
        for i in range(H):
            for j in range(W):
                for tap in range(k * k):
                    down = i + tap // k - k // 2 + float(offset[b, 2 * tap, i, j])
                    right = j + tap % k - k // 2 + float(offset[b, 2 * tap + 1, i, j])
                    top, left = int(down // 1), int(right // 1)
                    a, e = down - top, right - left
                    for c in range(C):
                        value = (1 - a) * (1 - e) * pixel(b, c, top, left) + (1 - a) * e * pixel(b, c, top, left + 1)
                        value += a * (1 - e) * pixel(b, c, top + 1, left) + a * e * pixel(b, c, top + 1, left + 1)
                        y[b, :, i, j] += weight[:, c, tap // k, tap % k] * value * float(mask[b, tap, i, j])
    return y


def by_grid_sample(x, offset, mask, weight):
    """grid_sample with zeros outside, a tap at a time."""
    H, W = x.shape[-2:]
    k = weight.shape[-1]
    y = 0
    rows, columns = torch.meshgrid(torch.arange(H, dtype=x.dtype), torch.arange(W, dtype=x.dtype), indexing="ij")
    for tap in range(k * k):
        down = rows + tap // k - k // 2 + offset[:, 2 * tap]
        right = columns + tap % k - k // 2 + offset[:, 2 * tap + 1]
        grid = torch.stack([(2 * right + 1) / W - 1, (2 * down + 1) / H - 1], dim=-1)
        seen = F.grid_sample(x, grid, padding_mode="zeros", align_corners=False) * mask[:, tap : tap + 1]
        y = y + torch.einsum("bchw,oc->bohw", seen, weight[:, :, tap // k, tap % k])
    return y


@pytest.mark.parametrize("size", [(1, 2, 3, 4, 5, 3), (2, 1, 2, 3, 1, 3), (1, 1, 1, 2, 3, 5)])
@pytest.mark.parametrize("spread", [0.4, 3.0])
def test_plain_form_is_the_definition(size, spread):
    tensors = pieces(size, spread=spread)
    assert worst([plain_deform_conv2d(*tensors)], [by_loops(*tensors)]) < 1e-13


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-11), (torch.float32, 2e-4)])
def test_values_and_gradients_equal_grid_sample(size, dtype, tolerance):
    """Offsets in eighths, less one sixteenth: float32 then finds the same four pixels by either way of counting."""
    tensors = pieces(size, dtype)
    tensors[1] = (tensors[1] * 8).round() / 8 + 1 / 16
    assert worst(results(plain_deform_conv2d, tensors), results(by_grid_sample, tensors)) < tolerance


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("spread", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_values_and_gradients_equal_torchvision(size, spread, dtype, tolerance):
    tensors = pieces(size, dtype, spread)
    got = results(lambda *t: deform_conv2d(*t, backend="plain"), tensors)
    wanted = results(lambda *t: deform_conv2d(*t, backend="torchvision"), tensors)
    assert worst(got, wanted) < tolerance


def test_both_backends_take_channels_last_and_bf16():
    tensors = [tensor.contiguous(memory_format=torch.channels_last) for tensor in pieces(SIZES[0], torch.bfloat16)]
    plain, compiled = (deform_conv2d(*tensors, backend=backend) for backend in ("plain", "torchvision"))
    assert plain.dtype == compiled.dtype == torch.bfloat16
    assert worst([plain.float()], [compiled.float()]) < 1e-2


def test_gradients_are_those_of_the_function():
    tensors = [tensor.requires_grad_() for tensor in pieces((1, 2, 2, 3, 4, 3), spread=1.5)]
    assert torch.autograd.gradcheck(plain_deform_conv2d, tensors)


def test_zero_offsets_are_an_ordinary_convolution():
    x, offset, mask, weight = pieces((2, 3, 4, 6, 5, 3))
    wanted = F.conv2d(x, weight, padding=1)
    assert worst([plain_deform_conv2d(x, 0 * offset, torch.ones_like(mask), weight)], [wanted]) < 1e-13
    shifted = torch.zeros_like(offset)
    shifted[:, 0::2], shifted[:, 1::2] = 2, -1  # every tap looks two pixels down and one to the left
    moved = F.pad(x, (1, 0, 0, 2))[..., 2:, :-1]
    inner = (..., slice(1, None), slice(None, -1))  # there the moved copy lacks no pixel
    y = plain_deform_conv2d(x, shifted, torch.ones_like(mask), weight)
    assert worst([y[inner]], [F.conv2d(moved, weight, padding=1)[inner]]) < 1e-13


@pytest.mark.parametrize("size", SIZES[:4])
def test_strips_and_the_form_for_other_devices_change_nothing(size, monkeypatch):
    from course_lib.models import layers

    tensors = pieces((*size[:3], 9 * size[3], *size[4:]))
    wanted = results(plain_deform_conv2d, tensors)
    monkeypatch.setattr(layers, "STRIP_BYTES", 1)
    with torch.no_grad():
        assert len(layers.row_strips(tensors[2], 1, halo=0)) > 1 or size[3] == 1
        assert worst([plain_deform_conv2d(*tensors)], wanted[:1]) < 1e-13
    monkeypatch.setattr(deform, "_weighted_rows", lambda p, i, s: (p[i] * s.unsqueeze(-1)).sum(1))
    assert worst(results(plain_deform_conv2d, tensors), wanted) < 1e-13


def test_autocast_computes_positions_in_float32():
    x, offset, mask, weight = pieces((1, 4, 4, 6, 300, 3), torch.float32)
    wanted = deform_conv2d(x, offset, mask, weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(deform_conv2d(x, offset, mask, weight), wanted)


def test_a_run_that_diverged_gets_nan_not_an_index_error():
    x, offset, mask, weight = pieces(SIZES[0])
    for bad in (float("nan"), float("inf")):
        spoilt = offset.clone()
        spoilt[0, 0, 3, 4] = bad
        y = plain_deform_conv2d(x, spoilt, mask, weight)
        assert y[0, :, 3, 4].isnan().all() and y[1].isfinite().all()


def test_shapes_that_do_not_fit_say_so():
    x, offset, mask, weight = pieces(SIZES[0])
    with pytest.raises(ValueError, match=r"offset must be \(2, 18, 7, 9\), got \(2, 17, 7, 9\)"):
        deform_conv2d(x, offset[:, 1:], mask, weight)
    with pytest.raises(ValueError, match=r"mask must be \(2, 9, 7, 9\)"):
        deform_conv2d(x, offset, mask[..., 1:], weight)
    with pytest.raises(ValueError, match=r"weight must be \(O, 3, k, k\) with k odd"):
        deform_conv2d(x, offset, mask, weight[..., 1:, 1:])
    with pytest.raises(ValueError, match="'fast'.*auto, torchvision, plain"):
        deform_conv2d(x, offset, mask, weight, backend="fast")


@pytest.fixture
def fresh_choice():
    deform.torchvision_operator.cache_clear()
    yield
    deform.torchvision_operator.cache_clear()


@pytest.mark.parametrize("error", [ImportError, RuntimeError, OSError])
def test_without_a_working_torchvision_the_plain_form_runs(monkeypatch, fresh_choice, error):
    class Broken:
        def find_spec(self, name, *_):
            if name.split(".")[0] == "torchvision":
                raise error("operator torchvision::nms does not exist")

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    tensors = pieces(SIZES[0])
    assert deform.deform_backend() == deform.deform_backend("cuda") == "plain"
    assert torch.equal(deform_conv2d(*tensors), plain_deform_conv2d(*tensors))
    with pytest.raises(RuntimeError, match='use backend="plain"'):
        deform_conv2d(*tensors, backend="torchvision")


def test_where_torchvision_works_it_is_what_runs_off_the_cpu(monkeypatch):
    calls = []

    def operator(input, offset, weight, bias=None, stride=1, padding=0, dilation=1, mask=None):
        calls.append((bias, stride, padding, dilation))
        return plain_deform_conv2d(input, offset, mask, weight)

    monkeypatch.setattr(deform, "torchvision_operator", lambda: operator)
    tensors = pieces(SIZES[3])
    wanted = plain_deform_conv2d(*tensors)
    assert torch.equal(deform_conv2d(*tensors, backend="torchvision"), wanted) and calls == [(None, 1, 2, 1)]
    assert torch.equal(deform_conv2d(*tensors), wanted) and torch.equal(deform_conv2d(*tensors, backend="plain"), wanted)
    assert len(calls) == 1
    assert deform.deform_backend("cuda") == "torchvision" and deform.deform_backend("cpu") == "plain"


def test_the_layer_starts_as_a_half_weighted_convolution_and_learns_offsets():
    layer = DeformConv(6, 4)
    x, code = torch.randn(1, 6, 7, 5), torch.randn(1, 4, 7, 5)
    y = layer(x, code)
    assert torch.allclose(y, F.conv2d(x, 0.5 * layer.weight, padding=1), atol=1e-5)
    y.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in layer.parameters())


def test_torchvision_is_imported_at_the_first_use_only():
    code = (
        "import sys\nclass Seen:\n    def find_spec(self, name, *_):\n"
        "        assert not name.startswith('torchvision'), name\nsys.meta_path.insert(0, Seen())\n"
        "import course_lib.models.airnet as a\nm = a.AirNet(width=4, groups=1, blocks=1, encoder_widths=(4, 4, 4), queue=4)\n"
        "print('built')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "built", done.stderr
