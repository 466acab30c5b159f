"""What needs a CUDA card (make test-gpu): precisions, out of memory, the same numbers as the CPU, a device beside the CPU."""

import pytest
import torch
from tiny_models import TINY, perturbed

from course_lib.datasets.pairs import noise_of
from course_lib.models import Restormer, create_model
from course_lib.training import Recipe, fit
from course_lib.training.device import fast_bf16, make_accelerator
from course_lib.training.log import read_log

pytestmark = pytest.mark.gpu

RECIPE = Recipe(
    name="gpu", config=TINY, steps=12, patches=(32,), batches=(4,), learning_rate=1e-3, warmup=2, ema_decay=0.0,
    precision="fp32", log_every=1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_tf32():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def train(folder, photos, device="cuda", model=None, say=lambda *_: None, **changes):
    recipe = RECIPE.replace(**changes)
    torch.manual_seed(0)
    model = model or create_model("restormer", **TINY)
    result = fit(model, recipe, list(photos.values()), noise_of(25), folder, device=device, progress=False, say=say)
    return result, [float(row["loss"]) for row in read_log(result.log)]


@pytest.mark.parametrize("batch, height, width", [(1, 64, 64), (3, 40, 72)])
def test_forward_and_gradients_equal_the_cpu(batch, height, width):
    image = torch.rand(batch, 3, height, width)
    model = perturbed(create_model("restormer", **TINY))
    model(image).square().mean().backward()
    wanted = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        output = model(image)
    model.zero_grad()
    model.cuda()
    for layout in (torch.contiguous_format, torch.channels_last):
        with torch.no_grad():
            assert torch.allclose(model(image.cuda().contiguous(memory_format=layout)).cpu(), output, rtol=1e-4, atol=1e-4)
    model(image.cuda()).square().mean().backward()
    scale = max(gradient.abs().max() for gradient in wanted.values())
    for name, parameter in model.named_parameters():
        assert float((parameter.grad.cpu() - wanted[name]).abs().max()) < 1e-3 * float(scale), name


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "auto"])
def test_training_follows_the_cpu(tmp_path, photos, precision):
    if precision == "bf16" and not fast_bf16(torch.device("cuda")):
        pytest.skip("this card has no fast bf16")
    _, wanted = train(tmp_path / "cpu", photos, "cpu")
    result, losses = train(tmp_path / "gpu", photos, precision=precision)
    assert next(result.model.parameters()).device.type == "cuda"
    assert losses == pytest.approx(wanted, rel=1e-3 if precision == "fp32" else 0.1)


def test_fp16_at_a_large_size_does_not_overflow():
    model = create_model("restormer", **TINY).cuda().eval()
    image = torch.rand(1, 3, 512, 512, device="cuda")
    with torch.no_grad():
        wanted = model(image)
        with torch.autocast("cuda", torch.float16):
            got = model(image)
    assert got.isfinite().all() and float((got.float() - wanted).abs().max()) < 5e-2


def test_resume_goes_on(tmp_path, photos):
    _, wanted = train(tmp_path / "whole", photos, checkpoint_seconds=0.0)
    recipe = RECIPE.replace(checkpoint_seconds=0.0)
    torch.manual_seed(0)
    model, images = create_model("restormer", **TINY), list(photos.values())
    fit(model, recipe, images, noise_of(25), tmp_path / "cut", device="cuda", stop_after=5, progress=False)
    result, losses = train(tmp_path / "cut", photos, checkpoint_seconds=0.0)
    assert result.resumed and losses == pytest.approx(wanted, rel=1e-3)


class Greedy(Restormer):
    """Asks for more than the card has when it sees more than one image."""

    def forward(self, image):
        if self.training and len(image) > 1:
            torch.empty(1 << 60, dtype=torch.uint8, device=image.device)
        return super().forward(image)


def test_real_out_of_memory_is_answered(tmp_path, photos):
    _, wanted = train(tmp_path / "plain", photos)
    torch.manual_seed(0)
    said = []
    _, losses = train(tmp_path / "greedy", photos, model=Greedy(**TINY), say=said.append)
    assert [line for line in said if "out of memory" in line and "in 4 parts" in line]
    assert losses == pytest.approx(wanted, rel=1e-3)


def test_one_call_on_the_cpu_does_not_bind_the_next():
    assert make_accelerator("cpu", "fp32").device.type == "cpu"
    assert make_accelerator("cuda", "fp32").device.type == "cuda"
    assert make_accelerator("auto", "auto").device.type == "cuda"
    assert make_accelerator("cpu", "fp32").device.type == "cpu"


def test_degradations_are_the_same_on_the_card(photos):
    from course_lib.degradations.composite import CDD11_TASKS, DEGRADATIONS, composite

    clean = next(iter(photos.values()))[None, :, :97, :131]
    for what in [*CDD11_TASKS, *([kind] for kind in DEGRADATIONS)]:
        on_cpu, on_card = composite(clean, what, 3), composite(clean.cuda(), what, 3)
        assert on_card.is_cuda
        assert (on_card.cpu() - on_cpu).abs().max() < 1e-5, what
