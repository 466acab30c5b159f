"""RDDM's process: official schedules and sampled images, the forward process and the posterior in numbers, walks with a known answer."""

import golden
import pytest
import torch
from tiny_models import perturbed

from course_lib.diffusion.rddm import OBJECTIVES, RDDM, coefficients
from course_lib.diffusion.residual import sampling_times
from course_lib.models import create_model
from course_lib.models.official import load_official


def drawn(spec, kind=torch.rand):
    return kind(spec["shape"], generator=torch.Generator().manual_seed(spec["seed"]))


def tiny():
    return perturbed(create_model("rddm", dim=8, dim_mults=[1, 2])).eval()


class Oracle:
    """A network that knows the clean images: what `objective` asks for, computed from the state that it is shown."""

    def __init__(self, process, clean):
        self.process, self.x0 = process, 2 * clean - 1

    def __call__(self, image6, t):
        x, x_in = image6.chunk(2, dim=1)
        p, residual = self.process, x_in - self.x0
        noise = (x - self.x0 - p.at("alphas_cumsum", t, x) * residual) / p.at("betas_cumsum", t, x)
        return {
            "pred_res_noise": (residual, noise),
            "pred_res": residual,
            "pred_noise": noise,
            "pred_res_add_noise": (residual, residual + noise),
            "pred_x0_noise": (self.x0, noise),
            "pred_x0_add_noise": (self.x0, self.x0 + noise),
        }[p.objective]


# The official numbers


def test_golden_schedules():
    file, process = golden.read("rddm_unetres"), RDDM(1000, 0.01)
    schedules = file["schedule_sum_scale_0.01_T1000"]
    assert set(schedules) == set(dict(process.named_buffers()))
    for name, wanted in schedules.items():
        values = getattr(process, name)
        assert values.shape == (1000,) and values.dtype == torch.float32
        assert torch.allclose(values[wanted["at"]], torch.tensor(wanted["value"]), rtol=1e-6, atol=1e-9), name
        assert torch.allclose(values[:3], torch.tensor(wanted["first"]), rtol=1e-6, atol=1e-12), name


def test_golden_images():
    file, process = golden.read("rddm_unetres"), RDDM(1000, 0.01)
    model = load_official("rddm", golden.state_dict(file))
    for case in file["sampling"]:
        degraded, noise = drawn(case["inputs"]["degraded"]), drawn(case["inputs"]["initial_noise"], torch.randn)
        image = process.sample(model, degraded, case["sampling_timesteps"], noise, eta=case["eta"])
        assert golden.largest_excess(image, case["output"]) < 1


# Schedules and times


@pytest.mark.parametrize("schedule", ["increased", "decreased", "average"])
def test_coefficients(schedule):
    values = coefficients(40, schedule, 0.3)
    assert float(values.sum()) == pytest.approx(0.3) and (values > 0).all()
    step = {"increased": 1, "decreased": -1, "average": 0}[schedule] * 0.3 / (40 * 41 / 2)
    assert torch.allclose(values.diff(), torch.full((39,), step, dtype=torch.float64))
    with pytest.raises(ValueError, match="increased, decreased or average"):
        coefficients(40, "cosine")


def test_times():
    assert sampling_times(1000, 3) == [999, 665, 332, -1] and sampling_times(1000, 1) == [999, -1]
    assert sampling_times(1000, 10) == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99, -1]
    assert sampling_times(7, 7) == [6, 5, 4, 3, 2, 1, 0, -1]
    for timesteps in (7, 10, 1000):
        for steps in range(1, min(timesteps, 60) + 1):
            times = sampling_times(timesteps, steps)
            assert len(times) == steps + 1 and all(a > b for a, b in zip(times, times[1:], strict=False))
    for steps in (0, 11):
        with pytest.raises(ValueError, match="between 1 and 10 steps"):
            sampling_times(10, steps)


# The forward process and the posterior where the answer is known


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("alphas, betas2", [("decreased", "increased"), ("average", "decreased")])
def test_step_by_step_and_at_once_have_the_same_moments(seed, alphas, betas2):
    """Clean N(1, 0.5^2), degraded = half of it plus N(0, 0.2^2): x_t is Gaussian, its mean and variance follow from the equations."""
    g, n = torch.Generator().manual_seed(seed), 40_000
    process = RDDM(8, 0.5, alphas=alphas, betas2=betas2)
    x0 = 1 + 0.5 * torch.randn(n, 1, 1, 1, generator=g)
    x_in = 0.5 * x0 + 0.2 * torch.randn(n, 1, 1, 1, generator=g)
    x = x0
    for t in range(8):
        x = x + process.alphas[t] * (x_in - x0) + process.betas[t] * torch.randn(x.shape, generator=g)
        at_once = process.q_sample(x0, x_in, torch.full((n,), t), torch.randn(x.shape, generator=g))
        a, b2 = float(process.alphas_cumsum[t]), float(process.betas2_cumsum[t])
        mean, var = 1 - 0.5 * a, (1 - 0.5 * a) ** 2 * 0.25 + a**2 * 0.04 + b2
        for got in (x, at_once):
            assert abs(float(got.mean()) - mean) < 5 * (var / n) ** 0.5
            assert abs(float(got.var()) - var) < 5 * var * (2 / n) ** 0.5
            covariance = float(((got - got.mean()) * (x0 - x0.mean())).mean())
            assert abs(covariance - 0.25 * (1 - 0.5 * a)) < 5 * (0.25 * var / n) ** 0.5 * 2
    assert float(process.alphas_cumsum[-1]) == pytest.approx(1) and float(process.betas2_cumsum[-1]) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("t", [1, 4, 7])
def test_posterior_is_what_the_joint_distribution_says(seed, t):
    """With x0 and residual fixed, x_(t-1) given x_t by regression over many pairs; and by Bayes' rule for two Gaussians."""
    g, n, process = torch.Generator().manual_seed(seed), 60_000, RDDM(8, 0.5)
    x0, residual = 0.3, -0.8
    before = x0 + process.alphas_cumsum[t - 1] * residual + process.betas_cumsum[t - 1] * torch.randn(n, generator=g)
    after = before + process.alphas[t] * residual + process.betas[t] * torch.randn(n, generator=g)
    mean, variance = process.posterior(after, torch.tensor(residual), torch.tensor(x0), t)
    error = before - mean
    assert float(error.var()) == pytest.approx(float(variance), rel=5 * (2 / n) ** 0.5)
    assert abs(float(error.mean())) < 5 * float(variance / n) ** 0.5
    assert abs(float((error * (after - after.mean())).mean())) < 5 * float(variance * after.var() / n) ** 0.5  # nothing left to explain
    b, B = float(process.betas2[t]), float(process.betas2_cumsum[t - 1])
    prior_mean, likelihood_mean = x0 + float(process.alphas_cumsum[t - 1]) * residual, after - process.alphas[t] * residual
    assert torch.allclose(mean, (b * prior_mean + B * likelihood_mean) / (b + B), atol=1e-5)


def test_posterior_of_the_first_step_is_the_clean_image():
    process, x = RDDM(8, 0.5), torch.randn(2, 3, 4, 4)
    mean, variance = process.posterior(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), x, 0)
    assert torch.equal(mean, x) and variance == 0


# Walks


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("steps, eta", [(1, 0.0), (5, 0.0), (5, 1.0), (50, 0.5)])
def test_with_the_right_predictions_every_walk_ends_at_the_clean_image(objective, steps, eta):
    process = RDDM(50, 0.04, objective)
    clean = 0.5 * torch.rand(2, 3, 4, 5, dtype=torch.float64) + 0.25
    degraded = clean + 0.1 * torch.randn_like(clean).clamp(-2, 2)  # a residual inside [-1, 1], which is then not cut
    if objective == "pred_noise":  # at T it divides 0 by 0 in real numbers: the official 1e-6 makes that a large error
        process.one_minus_alphas_cumsum[-1], process.alphas_cumsum[-1] = 1e-3, 1 - 1e-3
    image = process.sample(Oracle(process, clean), degraded, steps, torch.randn_like(clean), eta)
    assert torch.allclose(image, clean, atol=1e-3 if objective == "pred_noise" else 1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_states_on_the_way_have_the_moments_of_the_forward_process(seed, eta):
    """With the right predictions the state at s is x0 + abar_s residual + bbar_s N(0, 1), whatever the eta."""
    torch.manual_seed(seed)
    process, n = RDDM(20, 0.25), 30_000
    clean, degraded = torch.full((n, 1, 1, 1), 0.4), torch.full((n, 1, 1, 1), 0.7)
    noise = torch.randn(n, 1, 1, 1)
    walk = process.steps(Oracle(process, clean), degraded, 4, noise, eta, torch.Generator().manual_seed(100 + seed))
    for state in list(walk)[:-1]:
        mean = 2 * 0.4 - 1 + float(process.alphas_cumsum[state.t]) * 0.6
        std = float(process.betas_cumsum[state.t])
        assert abs(float(state.x.mean()) - mean) < 5 * std / n**0.5 + 1e-6
        assert float(state.x.std()) == pytest.approx(std, rel=5 * (0.5 / n) ** 0.5)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_an_image_is_the_same_in_any_batch(eta):
    process, model = RDDM(100, 0.01), tiny()
    degraded, noise = torch.rand(5, 3, 8, 12), torch.randn(5, 3, 8, 12)
    whole = process.sample(model, degraded, 4, noise, eta)
    for cuts in ((1, 4), (2, 2, 1), (1, 1, 1, 1, 1)):
        parts = [process.sample(model, d, 4, z, eta) for d, z in zip(degraded.split(cuts), noise.split(cuts), strict=True)]
        assert torch.allclose(torch.cat(parts), whole, atol=1e-5)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(process.sample(model, degraded[order], 4, noise[order], eta), whole[order], atol=1e-5)
    other = process.sample(model, degraded, 4, noise + 1e-4, eta)
    assert torch.allclose(other, whole, atol=1e-2) == (eta == 0)  # another start is other noise on the way, too


def test_fresh_noise_from_generators():
    process, model = RDDM(100, 1.0), tiny()
    degraded, noise = torch.rand(3, 3, 8, 8), torch.randn(3, 3, 8, 8)

    def image(generator, batch=slice(None)):
        return process.sample(model, degraded[batch], 3, noise[batch], 1.0, generator=generator)

    def seeds(*numbers):
        return [torch.Generator().manual_seed(number) for number in numbers]

    whole = image(seeds(7, 8, 9))
    assert torch.allclose(image(seeds(8), slice(1, 2)), whole[1:2], atol=1e-5)
    assert torch.equal(image(seeds(4)[0]), image(seeds(4)[0])) and not torch.equal(image(seeds(4)[0]), image(seeds(5)[0]))
    assert torch.equal(image(None), image(None))
    with pytest.raises(ValueError, match="3 pictures but 2 generators"):
        image(seeds(1, 2))


def test_states_progress_and_stopping(capsys):
    process, calls = RDDM(100, 0.01), []
    model = tiny()

    def counting(image6, t):
        calls.append(t.tolist())
        return model(image6, t)

    degraded, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    image, states = process.sample(counting, degraded, 4, noise, states=True, progress=True)
    assert calls == [[99, 99], [74, 74], [49, 49], [24, 24]] and "RDDM" in capsys.readouterr().err
    assert [state.t for state in states] == [99, 74, 49, 24, -1]
    assert states[0].x0 is None and states[0].estimate is None
    assert torch.allclose(states[0].image, degraded + 0.1 * noise / 2, atol=1e-6)
    assert torch.equal(states[-1].image, image) and torch.equal(states[-1].estimate, image)
    assert image.min() >= 0 and image.max() <= 1 and not image.requires_grad
    calls.clear()
    for state in process.steps(counting, degraded, 4, noise):
        if state.t == 74:
            break  # interrupted: nothing more is computed, and there is an estimate to show
    assert len(calls) == 1 and state.estimate.shape == degraded.shape
    with pytest.raises(KeyboardInterrupt):
        process.sample(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt), degraded, 4, noise)
    assert torch.is_grad_enabled()


def test_what_is_refused():
    process, image = RDDM(10), torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match="must be alike"):
        process.sample(tiny(), image, 3, torch.randn(1, 3, 8, 4))
    with pytest.raises(ValueError, match="eta lies"):
        process.sample(tiny(), image, 3, image, eta=2.0)
    with pytest.raises(ValueError, match="needs a network with two outputs, this one has 1"):
        process.sample(lambda image6, t: image6[:, :3], image, 3, image)
    with pytest.raises(ValueError, match="unknown objective 'pred_v'"):
        RDDM(10, objective="pred_v")


# Training


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_loss_is_zero_for_the_right_predictions_and_l1_for_others(objective):
    process = RDDM(50, 0.04, objective)
    clean, degraded = torch.rand(3, 3, 4, 4, dtype=torch.float64), torch.rand(3, 3, 4, 4, dtype=torch.float64)
    t, noise, oracle = torch.tensor([0, 20, 49]), torch.randn_like(clean), Oracle(process, clean)
    assert float(process.loss(oracle, degraded, clean, t, noise)) < 1e-5

    def off(image6, times):
        right = oracle(image6, times)
        shift = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).view(3, 1, 1, 1)
        return (right[0] + shift, right[1] - 2 * shift) if isinstance(right, tuple) else right + shift

    each = process.loss(off, degraded, clean, t, noise, each=True)
    heads = 3 if isinstance(oracle(torch.rand(3, 6, 4, 4), t), tuple) else 1
    assert torch.allclose(each, heads * torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), atol=1e-5)
    assert float(process.loss(off, degraded, clean, t, noise)) == pytest.approx(float(each.mean()))


def test_single_objectives_of_a_network_with_two_outputs_train_one_of_them():
    clean, degraded = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    for objective, used, idle in (("pred_res", "unet0", "unet1"), ("pred_noise", "unet1", "unet0")):
        model = tiny()
        RDDM(100, 0.01, objective).loss(model, degraded, clean).backward()
        assert all(p.grad is not None for p in getattr(model, used).parameters())
        assert all(p.grad is None for p in getattr(model, idle).parameters())


def test_loss_draws_times_and_noise_from_torchs_generator():
    process, model, seen = RDDM(10, 0.01), tiny(), []
    clean, degraded = torch.rand(64, 3, 4, 4), torch.rand(64, 3, 4, 4)

    def watching(image6, t):
        seen.append(t)
        return model(image6, t)

    losses = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        losses.append(process.loss(watching, degraded, clean).item())
    assert losses[0] == losses[1] != losses[2]
    assert set(torch.cat(seen).tolist()) == set(range(10))


@pytest.mark.parametrize("process", ["rddm", "diffuir"])
def test_a_dark_picture_is_reached_only_when_residuals_are_not_cut(process):
    """Black against white: the residual is -2, beyond [-1, 1]; with the true residual told, the walk ends at white or half-way there."""
    from course_lib.diffusion.diffuir import DiffUIR

    degraded, noise = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)

    def told(image6, t):
        residual = torch.full((1, 3, 8, 8), -2.0)
        return (residual, torch.zeros_like(residual)) if process == "rddm" else residual

    make = RDDM if process == "rddm" else DiffUIR
    kept, whole = (make(100, cut=cut).sample(told, degraded, 1, noise) for cut in (True, False))
    assert torch.allclose(kept, torch.full_like(kept, 0.5), atol=1e-5) and torch.allclose(whole, torch.ones_like(whole), atol=1e-5)
