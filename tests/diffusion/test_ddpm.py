"""DDPM: whole trajectories against diffusers, the forward process, posterior and losses against exact answers, noise and batches."""

import math

import pytest
import torch
from torch import nn
from toys import GaussianDenoiser, crooked

from course_lib.diffusion.ddpm import DDPM, PREDICTIONS
from course_lib.diffusion.schedules import alpha_bar_of, linear_betas

THEIRS = {"linear": "linear", "cosine": "squaredcos_cap_v2", "scaled_linear": "scaled_linear"}
KINDS = {"epsilon": "epsilon", "x_0": "sample", "v": "v_prediction"}


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def ours_and_theirs(schedule, prediction, double=True, **config):
    """Our process and diffusers' scheduler on its own alphas, in float64 or as it makes them."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(1000, beta_schedule=THEIRS[schedule], prediction_type=KINDS[prediction], **config)
    if double:
        theirs.alphas_cumprod = theirs.alphas_cumprod.double()
        theirs.one = theirs.one.double()
    return DDPM(1000, theirs.alphas_cumprod, prediction=prediction), theirs


def walk(theirs, noise, generator, steps):
    """diffusers' loop: the states after each step."""
    theirs.set_timesteps(steps)
    x, states = noise, []
    for t in theirs.timesteps:
        output = crooked(x, torch.full((len(x),), int(t)))
        x = theirs.step(output, t, x, generator=generator).prev_sample
        states.append(x)
    return states


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1000, 37])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_whole_trajectory_is_that_of_diffusers(schedule, steps, prediction, clip):
    process, theirs = ours_and_theirs(schedule, prediction, clip_sample=clip)
    noise = normal(2, 3, 4, 5)
    wanted = walk(theirs, noise, torch.Generator().manual_seed(3), steps)
    states = list(process.steps(crooked, noise, steps=steps, generator=torch.Generator().manual_seed(3), clip=1.0 if clip else None))
    assert [state.step for state in states] == list(range(1, steps + 1)) and states[-1].t == -1
    for state, x in zip(states, wanted, strict=True):
        assert (state.x - x).abs().max() <= 1e-9 * max(1, x.abs().max())


@pytest.mark.parametrize("schedule, tolerance", [("linear", 1e-5), ("cosine", 1e-4)])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_diffusers_own_single_precision_coefficients_make_little_difference(schedule, tolerance, prediction):
    process, theirs = ours_and_theirs(schedule, prediction, double=False)
    noise = normal(2, 3, 4, 5)
    wanted = walk(theirs, noise, torch.Generator().manual_seed(3), 50)
    for state, x in zip(process.steps(crooked, noise, steps=50, generator=torch.Generator().manual_seed(3)), wanted, strict=True):
        assert (state.x - x).abs().max() <= tolerance * max(1, x.abs().max())


def test_the_large_variance_is_that_of_diffusers():
    process, theirs = ours_and_theirs("linear", "epsilon", variance_type="fixed_large")
    noise = normal(2, 3, 4, 4)
    wanted = walk(theirs, noise, torch.Generator().manual_seed(3), 100)
    ours = process.sample(crooked, noise, steps=100, generator=torch.Generator().manual_seed(3), variance="large")
    assert torch.allclose(ours, wanted[-1], atol=1e-9)


@pytest.mark.parametrize("schedule", THEIRS)
def test_schedules_and_the_forward_process_are_those_of_diffusers(schedule):
    diffusers = pytest.importorskip("diffusers")
    limits = {"beta_start": 0.0015, "beta_end": 0.0195} if schedule == "scaled_linear" else {}
    theirs = diffusers.DDPMScheduler(1000, beta_schedule=THEIRS[schedule], **limits)
    process = DDPM(1000, schedule)
    assert torch.allclose(process.beta, theirs.betas.double(), rtol=1e-5, atol=1e-7)
    assert torch.allclose(process.alpha_bar, theirs.alphas_cumprod.double(), rtol=2e-4, atol=1e-8)
    process = DDPM(1000, theirs.alphas_cumprod, prediction="v")
    x_0, epsilon, t = normal(4, 3, 5, 5), normal(4, 3, 5, 5, seed=1), torch.tensor([0, 10, 500, 999])
    assert torch.allclose(process.q_sample(x_0, t, epsilon), theirs.add_noise(x_0, epsilon, t), atol=1e-12)
    assert torch.allclose(process.target(x_0, t, epsilon), theirs.get_velocity(x_0, epsilon, t), atol=1e-12)


@pytest.mark.parametrize("schedule", THEIRS)
def test_what_follows_from_alpha_bar(schedule):
    process = DDPM(200, schedule)
    assert torch.allclose(alpha_bar_of(process.beta), process.alpha_bar, rtol=1e-12)
    assert torch.allclose(process.alpha + process.beta, torch.ones(200, dtype=torch.float64))
    assert process.beta_tilde[0] == 0 and (process.beta_tilde <= process.beta + 1e-15).all()
    assert (process.snr.diff() < 0).all() and process.level(-1) == 1
    with pytest.raises(IndexError):
        process.level(200)


@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_has_the_moments_of_the_steps(seed):
    process = DDPM(60, alpha_bar_of(linear_betas(60, 1e-3, 0.15)))
    count, mean, std = 40_000, 0.6, 0.3
    x_0 = mean + std * normal(count, seed=seed)
    x = x_0
    for t in range(40):  # step by step, as the process is defined
        x = process.alpha[t].sqrt() * x + process.beta[t].sqrt() * normal(count, seed=1000 * (seed + 1) + t)
    bar = process.level(39)
    closed = process.q_sample(x_0.reshape(-1, 1, 1, 1), torch.full((count,), 39), normal(count, 1, 1, 1, seed=seed + 50)).flatten()
    for values in (x, closed):
        variance = bar * std**2 + 1 - bar
        assert abs(float(values.mean()) - bar**0.5 * mean) < 5 * (variance / count) ** 0.5
        assert abs(float(values.var()) - variance) < 5 * variance * (2 / count) ** 0.5
        covariance = float(((values - values.mean()) * (x_0 - mean)).mean())
        assert abs(covariance - bar**0.5 * std**2) < 5 * std * (2 * variance / count) ** 0.5


@pytest.mark.parametrize("s, t", [(19, 20), (5, 20), (0, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_the_posterior_is_the_regression_of_x_s_on_x_t_and_x_0(s, t, seed):
    process = DDPM(60, alpha_bar_of(linear_betas(60, 1e-3, 0.15)))
    count = 60_000
    x_0 = normal(count, seed=seed)
    x_s = process.q_sample(x_0, s, normal(count, seed=seed + 10))
    x_t = process.q_step(x_s, s, t, normal(count, seed=seed + 20))
    mean, variance = process.posterior(x_0, x_t, t, s)
    rest = x_s - mean
    # what is left has the posterior's variance, no mean, and nothing to do with either of the two conditions
    assert abs(float(rest.mean())) < 5 * (variance / count) ** 0.5
    assert abs(float(rest.var()) - variance) < 5 * variance * (2 / count) ** 0.5
    for known in (x_0, x_t):
        assert abs(float((rest * known).mean())) < 5 * (variance * float(known.var()) / count) ** 0.5
    assert t - s > 1 or variance == pytest.approx(float(process.beta_tilde[t]))


def test_the_end_of_the_posterior_is_the_clean_picture():
    process = DDPM(10)
    x_0, x_t = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    mean, variance = process.posterior(x_0, x_t, 7, -1)
    assert torch.allclose(mean, x_0) and variance == 0
    with pytest.raises(IndexError, match="back in time"):
        process.posterior(x_0, x_t, 3, 3)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_predictions_turn_into_each_other(kind):
    process = DDPM(100, "cosine", prediction=kind)
    x_0, epsilon, t = normal(5, 3, 4, 4), normal(5, 3, 4, 4, seed=1), torch.tensor([0, 3, 40, 80, 98])
    x_t = process.q_sample(x_0, t, epsilon)
    told = process.predict(process.target(x_0, t, epsilon), x_t, t)
    assert torch.allclose(told.x_0, x_0, atol=1e-9) and torch.allclose(told.epsilon, epsilon, atol=1e-9)
    assert torch.allclose(told.v, process.predict(told.x_0, x_t, t, "x_0").v, atol=1e-9)
    one = process.predict(process.target(x_0, 40, epsilon), process.q_sample(x_0, 40, epsilon), 40)
    assert torch.allclose(one.x_0, x_0, atol=1e-9)


@pytest.mark.parametrize(
    "prediction, variance, seed", [("epsilon", "small", 0), ("epsilon", "large", 1), ("v", "small", 2), ("x_0", "large", 3)]
)
def test_sampling_with_the_exact_score_reaches_the_gaussian(prediction, variance, seed):
    process = DDPM(1000, "linear", prediction=prediction)
    mean, std, count = 0.4, 0.25, 16_384
    model = GaussianDenoiser(process, mean, std)
    x = process.sample(
        model, normal(1, 1, 128, 128, seed=seed), generator=torch.Generator().manual_seed(seed), clip=None, variance=variance
    )
    assert abs(float(x.mean()) - mean) < 5 * std / count**0.5 + 0.004  # the chain's own error comes on top of the sampling error
    assert float(x.std()) == pytest.approx(std, rel=0.03)
    skewness = float(((x - x.mean()) / x.std()).pow(3).mean())
    assert abs(skewness) < 5 * (6 / count) ** 0.5


def test_simple_loss_is_the_plain_mean_square_and_the_bound_is_the_papers():
    process = DDPM(100)
    x_0, epsilon, t = normal(3, 3, 4, 4), normal(3, 3, 4, 4, seed=1), torch.tensor([0, 50, 99])
    output = crooked(process.q_sample(x_0, t, epsilon), t)
    per_picture = ((output - epsilon) ** 2).mean((1, 2, 3))
    assert torch.allclose(process.losses(crooked, x_0, t, epsilon), per_picture)
    assert float(process.loss(crooked, x_0, t, epsilon)) == pytest.approx(float(per_picture.mean()))
    beta, alpha, bar = process.beta[t], process.alpha[t], process.alpha_bar[t]
    weights = beta**2 / (2 * beta * alpha * (1 - bar))  # eq. 12 with sigma^2 = beta
    assert torch.allclose(process.losses(crooked, x_0, t, epsilon, weighting="bound"), weights * per_picture)


def test_the_bound_is_the_divergence_of_the_two_gaussians():
    process, t = DDPM(100), 40
    x_0, epsilon = normal(1, 3, 4, 4), normal(1, 3, 4, 4, seed=1)
    x_t = process.q_sample(x_0, t, epsilon)
    guess = process.predict(crooked(x_t, torch.tensor([t])), x_t, t).x_0
    gap = process.posterior(x_0, x_t, t)[0] - process.posterior(guess, x_t, t)[0]
    divergence = gap.square().mean() / (2 * process.beta[t])
    assert float(process.loss(crooked, x_0, torch.tensor([t]), epsilon, weighting="bound")) == pytest.approx(float(divergence))


@pytest.mark.parametrize("weighting", ["bound", "min_snr"])
def test_a_weighted_loss_does_not_depend_on_what_is_predicted(weighting):
    x_0, epsilon, t = normal(3, 3, 4, 4), normal(3, 3, 4, 4, seed=1), torch.tensor([2, 50, 97])
    values = []
    for kind in PREDICTIONS:
        process = DDPM(100, "cosine", prediction=kind)

        def model(x, t, process=process, kind=kind):
            return process.predict(crooked(x, t), x, t, "v")._asdict()[kind]

        values.append(process.losses(model, x_0, t, epsilon, weighting=weighting))
    assert torch.allclose(values[0], values[1]) and torch.allclose(values[0], values[2])
    snr = DDPM(100, "cosine", prediction="x_0").snr
    assert torch.allclose(DDPM(100, "cosine", prediction="x_0").weight("min_snr"), snr.clamp(max=5))


def test_training_finds_the_gaussian():
    class Affine(nn.Module):
        """epsilon = a_t x + b_t, which for one Gaussian is enough."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(20)), nn.Parameter(torch.zeros(20))

        def forward(self, x, t):
            return self.a[t].reshape(-1, 1, 1, 1) * x + self.b[t].reshape(-1, 1, 1, 1)

    process = DDPM(20, alpha_bar_of(linear_betas(20, 0.01, 0.4)))
    model, generator = Affine(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / 400)
        x_0 = 0.5 + 0.2 * torch.randn(256, 1, 2, 2, generator=generator)
        t = process.draw_times(256, generator)
        loss = process.loss(model, x_0, t, torch.randn(x_0.shape, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    exact = GaussianDenoiser(process, 0.5, 0.2)
    for t in (0, 5, 10, 19):
        x_t = process.q_sample(0.5 + 0.2 * normal(1, 1, 32, 32, seed=1), t, normal(1, 1, 32, 32, seed=2)).float()
        gap = (model(x_t, torch.tensor([t])).detach() - exact(x_t, torch.tensor([t]))).square().mean()
        assert float(gap) < 0.05**2, t


def test_times_of_a_batch_are_uniform_and_spread():
    process, generator = DDPM(1000), torch.Generator().manual_seed(0)
    t = torch.stack([process.draw_times(8, generator) for _ in range(500)])
    assert t.min() >= 0 and t.max() <= 999 and ((t // 125).sort(1).values == torch.arange(8)).float().mean() > 0.85
    first = t[:, 0].double()  # one place of the batch on its own: uniform
    assert abs(float(first.mean()) - 499.5) < 5 * 289 / 500**0.5 and first.std() > 260


def test_the_log_by_level_weighs_levels_alike():
    process = DDPM(100)
    means = process.loss_by_level(torch.tensor([1.0, 3.0, 10.0, 5.0]), torch.tensor([0, 9, 99, 10]), levels=10)
    assert means[[0, 1, 9]].tolist() == [2, 5, 10] and means[2:9].isnan().all()


def test_errors():
    with pytest.raises(ValueError, match="unknown schedule 'cosin'"):
        DDPM(10, "cosin")
    with pytest.raises(ValueError, match="epsilon, x_0, v"):
        DDPM(10, prediction="noise")
    with pytest.raises(ValueError, match=r"shape \(10,\)"):
        DDPM(10, torch.linspace(0.9, 0.1, 9))
    with pytest.raises(ValueError, match="alpha_bar_of"):
        DDPM(10, linear_betas(10))
    with pytest.raises(ValueError, match="at least one step"):
        DDPM(0)
    with pytest.raises(ValueError, match="keeps the shape"):
        DDPM(3).sample(lambda x, t: x[:, :1], normal(1, 3, 4, 4))
    with pytest.raises(ValueError, match="small.*large"):
        DDPM(3).sample(crooked, normal(1, 3, 4, 4), variance="huge")
    with pytest.raises(ValueError, match="min_snr"):
        DDPM(3).weight("snr")
    assert math.isfinite(float(DDPM(3).weight("bound").sum()))
