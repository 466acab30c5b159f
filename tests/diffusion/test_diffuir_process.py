"""DiffUIR's process: official schedules and sampled images, the shared term in numbers, walks with a known answer."""

import golden
import pytest
import torch
from tiny_models import perturbed

from course_lib.diffusion.diffuir import DiffUIR
from course_lib.diffusion.rddm import RDDM
from course_lib.models import create_model
from course_lib.models.official import load_official


def drawn(spec, kind=torch.rand):
    return kind(spec["shape"], generator=torch.Generator().manual_seed(spec["seed"]))


def tiny():
    return perturbed(create_model("diffuir", dim=8, dim_mults=[1, 1])).eval()


def test_golden_schedules():
    file, process = golden.read("diffuir_t"), DiffUIR(1000, 0.01, 1.8e-3)
    schedules = file["schedule_sum_scale_0.01_delta_end_1.8e-3_T1000"]
    assert set(schedules) == set(dict(process.named_buffers())) and len(schedules) == 14
    for name, wanted in schedules.items():
        values = getattr(process, name)
        assert values.shape == (1000,) and values.dtype == torch.float32
        # 1e-7 is one step of float32 below 1: torch versions take cumulative products in different orders
        assert torch.allclose(values[wanted["at"]], torch.tensor(wanted["value"]), rtol=1e-6, atol=1.2e-7), name


def test_golden_images():
    file, process = golden.read("diffuir_t"), DiffUIR(1000, 0.01, 1.8e-3)
    model = load_official("diffuir", golden.state_dict(file))
    for case in file["sampling"]:
        degraded, noise = drawn(case["inputs"]["degraded"]), drawn(case["inputs"]["initial_noise"], torch.randn)
        image = process.sample(model, degraded, case["sampling_timesteps"], noise, eta=case["eta"])
        assert golden.largest_excess(image, case["output"]) < 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_step_by_step_and_at_once_have_the_same_moments(seed):
    """Clean N(1, 0.5^2), degraded = half of it plus N(0, 0.2^2): the mean of x_t falls below both, by dbar_t of the degraded one."""
    g, n = torch.Generator().manual_seed(seed), 40_000
    process = DiffUIR(60, delta_end=0.02)
    x0 = 1 + 0.5 * torch.randn(n, 1, 1, 1, generator=g)
    x_in = 0.5 * x0 + 0.2 * torch.randn(n, 1, 1, 1, generator=g)
    x = process.q_sample(x0, x_in, 0, torch.randn(x0.shape, generator=g))
    for t in range(1, 60):
        x = x + process.alphas[t] * (x_in - x0) + process.betas[t] * torch.randn(x.shape, generator=g) - process.delta[t] * x_in
        if t % 10 == 9:
            at_once = process.q_sample(x0, x_in, torch.full((n,), t), torch.randn(x.shape, generator=g))
            a, b2, d = (float(getattr(process, name)[t]) for name in ("alphas_cumsum", "betas2_cumsum", "delta_cumsum"))
            of_x0 = 1 - a + 0.5 * (a - d)  # what a unit of the clean image leaves in x_t, directly and through the degraded one
            mean, var = of_x0, (of_x0 * 0.5) ** 2 + ((a - d) * 0.2) ** 2 + b2
            for got in (x, at_once):
                assert abs(float(got.mean()) - mean) < 5 * (var / n) ** 0.5
                assert abs(float(got.var()) - var) < 5 * var * (2 / n) ** 0.5


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("t", [1, 20, 59])
def test_posterior_with_the_shared_term(seed, t):
    g, n, process = torch.Generator().manual_seed(seed), 60_000, DiffUIR(60, delta_end=0.02)
    x0, x_in = 0.3, -0.5
    residual = x_in - x0
    before = x0 + process.alphas_cumsum[t - 1] * residual - process.delta_cumsum[t - 1] * x_in
    before = before + process.betas_cumsum[t - 1] * torch.randn(n, generator=g)
    after = before + process.alphas[t] * residual - process.delta[t] * x_in + process.betas[t] * torch.randn(n, generator=g)
    mean, variance = process.posterior(after, *map(torch.tensor, (residual, x0, x_in)), t)
    error = before - mean
    assert float(error.var()) == pytest.approx(float(variance), rel=5 * (2 / n) ** 0.5)
    assert abs(float(error.mean())) < 5 * float(variance / n) ** 0.5
    assert abs(float((error * (after - after.mean())).mean())) < 5 * float(variance * after.var() / n) ** 0.5


def test_the_shared_term_brings_degradations_together():
    """At T two degraded versions of an image are abar_T - dbar_T as far apart as they were, under RDDM as far."""
    x0, noise = torch.zeros(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    one, other = x0 + 0.4, x0 - 0.4
    distances = [
        float((process.q_sample(x0, one, -1, noise) - process.q_sample(x0, other, -1, noise)).abs().mean())
        for process in (DiffUIR(), RDDM())
    ]
    abar = float(DiffUIR().alphas_cumsum[-1])
    assert distances == pytest.approx([0.8 * (abar - 0.9005), 0.8], rel=1e-3)


@pytest.mark.parametrize("steps, eta", [(1, 0.0), (3, 0.0), (10, 0.5)])
def test_with_the_right_residual_every_walk_ends_at_the_clean_image(steps, eta):
    process = DiffUIR()
    clean, degraded = torch.rand(2, 3, 6, 5, dtype=torch.float64), torch.rand(2, 3, 6, 5, dtype=torch.float64)
    degraded = clean + (degraded - clean) / 2  # the residual, between images in [-1, 1], is then not cut
    times = []

    def oracle(image6, t):
        times.append(t)
        return image6[:, 3:] - (2 * clean - 1)

    image, states = process.sample(oracle, degraded, steps, torch.randn_like(clean), eta, states=True)
    assert torch.allclose(image, clean)
    assert torch.allclose(torch.stack(times), process.alphas_cumsum[[s.t for s in states[:-1]], None].expand(-1, 2) * 1000)
    if steps == 3:
        assert [state.t for state in states] == [999, 665, 332, -1]
        # what the walk leaves of the start's noise: all of it, because the step back has no noise term
        known = process.q_sample(2 * clean - 1, 2 * degraded - 1, 332, torch.zeros_like(clean))
        start = process.q_sample(2 * clean - 1, 2 * degraded - 1, 999, torch.zeros_like(clean))
        assert torch.allclose(states[2].x - known, states[0].x - start, atol=1e-6)


def test_start():
    degraded, noise = torch.rand(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    kept = (1 - 0.9005) * (2 * degraded - 1)
    process = DiffUIR()
    assert torch.allclose(process.start(2 * degraded - 1, noise), kept + 0.1 * noise, atol=1e-5)
    consistent = DiffUIR(start_std=float(process.betas_cumsum[-1]))
    assert torch.allclose(consistent.start(2 * degraded - 1, noise), kept + 0.99998 * noise, atol=1e-4)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_an_image_is_the_same_in_any_batch(eta):
    process, model = DiffUIR(100, 0.01, 0.015), tiny()
    degraded, noise = torch.rand(4, 3, 9, 7), torch.randn(4, 3, 9, 7)
    whole = process.sample(model, degraded, 3, noise, eta)
    for cuts in ((1, 3), (2, 2)):
        parts = [process.sample(model, d, 3, z, eta) for d, z in zip(degraded.split(cuts), noise.split(cuts), strict=True)]
        assert torch.allclose(torch.cat(parts), whole, atol=1e-5)


def test_loss_and_its_gradients():
    process, model = DiffUIR(), tiny()
    clean, degraded = torch.rand(3, 3, 8, 8), torch.rand(3, 3, 8, 8)
    t, noise = torch.tensor([0, 500, 999]), torch.randn(3, 3, 8, 8)
    x0, x_in = 2 * clean - 1, 2 * degraded - 1
    a, b, d = (getattr(process, name)[t].view(3, 1, 1, 1) for name in ("alphas_cumsum", "betas_cumsum", "delta_cumsum"))
    state = x0 + a * (x_in - x0) + b * noise - d * x_in
    wanted = (model(torch.cat([state, x_in], 1), 1000 * process.alphas_cumsum[t]) - (x_in - x0)).abs().mean()
    loss = process.loss(model, degraded, clean, t, noise)
    assert torch.allclose(loss, wanted) and torch.allclose(process.loss(model, degraded, clean, t, noise, each=True).mean(), loss)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("start_std", [None, 0.3])
def test_walk_noise_trains_on_the_mean_of_q_sample_with_the_noise_of_the_walk(start_std):
    """The noise of the start stays in the state to the end of a walk (see above), so training adds start_std of it at every time."""
    process = DiffUIR(start_std=start_std, walk_noise=True)
    std = 0.1 if start_std is None else start_std
    t = torch.tensor([0, 1, 332, 665, 999])
    x0, x_in, noise = torch.rand(5, 3, 8, 8), torch.rand(5, 3, 8, 8), torch.randn(5, 3, 8, 8)
    state = process.training_state(x0, x_in, t, noise)
    # float32: at t = 0 the noise is divided by bbar_0 = 0.01 on the way
    assert torch.allclose(state - process.q_sample(x0, x_in, t, torch.zeros_like(x0)), std * noise, atol=1e-5)
    residual = (x_in - x0)[-1:]
    walk = process.start(x_in, noise)[-1:]  # the walk of the last picture with the right residual comes by these very states
    for t, s in ((999, 665), (665, 332), (332, 1), (1, 0)):
        walk = process.move(walk, x_in[-1:], t, s, residual, None, 0.0, None)
        met = process.training_state(x0[-1:], x_in[-1:], torch.tensor([s]), noise[-1:])
        assert torch.allclose(walk - met, (1 - process.alphas_cumsum[-1]) * residual, atol=1e-5)  # the start counts abar_T as 1


def test_walk_noise_is_off_unless_asked_for_and_changes_the_loss_alone():
    official, walk, model = DiffUIR(), DiffUIR(walk_noise=True), tiny()
    assert not official.walk_noise
    clean, degraded, t, noise = torch.rand(3, 3, 8, 8), torch.rand(3, 3, 8, 8), torch.tensor([0, 500, 999]), torch.randn(3, 3, 8, 8)
    x0, x_in = 2 * clean - 1, 2 * degraded - 1
    assert torch.equal(official.training_state(x0, x_in, t, noise), official.q_sample(x0, x_in, t, noise))
    assert torch.equal(walk.q_sample(x0, x_in, t, noise), official.q_sample(x0, x_in, t, noise))
    scale = 0.1 / official.betas_cumsum[t].view(3, 1, 1, 1)
    assert torch.allclose(walk.loss(model, degraded, clean, t, noise), official.loss(model, degraded, clean, t, scale * noise))
    assert not torch.allclose(walk.loss(model, degraded, clean, t, noise), official.loss(model, degraded, clean, t, noise))
    assert torch.equal(walk.sample(model, degraded, 3, noise), official.sample(model, degraded, 3, noise))
