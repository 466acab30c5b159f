"""DDIM: whole trajectories against diffusers, its limits (DDPM at eta 1, an ODE at eta 0), noise and batches."""

import pytest
import torch
from toys import GaussianDenoiser, crooked

from course_lib.diffusion import ddim
from course_lib.diffusion.ddpm import DDPM, PREDICTIONS

THEIRS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
KINDS = {"epsilon": "epsilon", "x_0": "sample", "v": "v_prediction"}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def walk(theirs, noise, generator, steps, **options):
    """diffusers' loop: the states after each step."""
    theirs.set_timesteps(steps)
    x, states = noise, []
    for t in theirs.timesteps:
        output = crooked(x, torch.full((len(x),), int(t)))
        x = theirs.step(output, t, x, generator=generator, **options).prev_sample
        states.append(x)
    return states


def ours_and_theirs(schedule, prediction, clip, double=True, **config):
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(1000, beta_schedule=THEIRS[schedule], prediction_type=KINDS[prediction], clip_sample=clip, **config)
    if double:
        theirs.alphas_cumprod, theirs.final_alpha_cumprod = theirs.alphas_cumprod.double(), theirs.final_alpha_cumprod.double()
    return DDPM(1000, theirs.alphas_cumprod, prediction=prediction), theirs


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("schedule", THEIRS)
@pytest.mark.parametrize("steps", [100, 13])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_whole_trajectory_is_that_of_diffusers(schedule, steps, prediction, clip, eta):
    process, theirs = ours_and_theirs(schedule, prediction, clip)
    noise = normal(2, 3, 4, 5)
    wanted = walk(theirs, noise, torch.Generator().manual_seed(3), steps, eta=eta)
    states = list(ddim.steps(process, crooked, noise, steps=steps, eta=eta, generator=torch.Generator().manual_seed(3), clip=clip))
    assert len(states) == steps and states[-1].t == -1
    for state, x in zip(states, wanted, strict=True):
        assert (state.x - x).abs().max() <= 1e-9 * max(1, x.abs().max())


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("schedule, tolerance", [("linear", 1e-5), ("cosine", 1e-4)])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_diffusers_own_single_precision_coefficients_make_little_difference(schedule, tolerance, prediction, eta):
    process, theirs = ours_and_theirs(schedule, prediction, clip=True, double=False)
    noise = normal(2, 3, 4, 5)
    wanted = walk(theirs, noise, torch.Generator().manual_seed(3), 50, eta=eta)
    ours = ddim.steps(process, crooked, noise, steps=50, eta=eta, generator=torch.Generator().manual_seed(3))
    for state, x in zip(ours, wanted, strict=True):
        assert (state.x - x).abs().max() <= tolerance * max(1, x.abs().max())


def test_epsilon_of_the_clipped_estimate_and_trailing_times_as_in_diffusers():
    process, theirs = ours_and_theirs("linear", "v", True, timestep_spacing="trailing")
    noise = normal(2, 3, 4, 5)
    wanted = walk(theirs, noise, None, 20, use_clipped_model_output=True)
    for state, x in zip(ddim.steps(process, crooked, noise, steps=20, clip_epsilon=True, spacing="trailing"), wanted, strict=True):
        assert torch.allclose(state.x, x, atol=1e-9)


@pytest.mark.parametrize("steps", [30, 7])
def test_eta_1_is_the_ddpm_over_the_same_times(steps):
    process, noise = DDPM(100, "cosine"), normal(2, 3, 4, 4)
    wanted = process.sample(crooked, noise, steps=steps, generator=5, clip=None)
    assert torch.allclose(ddim.sample(process, crooked, noise, steps=steps, eta=1, generator=5, clip=None), wanted, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_eta_0_follows_the_flow_of_the_gaussian(prediction):
    process = DDPM(1000, "linear", prediction=prediction)
    mean, std, noise = 0.4, 0.25, normal(1, 1, 16, 16)
    # the flow keeps every value's quantile, so standard normal noise is stretched and shifted
    last = process.level(999)
    exact = mean + std * (noise - last**0.5 * mean) / (last * std**2 + 1 - last) ** 0.5
    for steps in (50, 100, 500):  # the error of a method of first order
        x = ddim.sample(process, GaussianDenoiser(process, mean, std), noise, steps=steps, clip=None, spacing="trailing")
        assert 2 / steps < (x - exact).abs().max() < 5 / steps


@pytest.mark.parametrize("eta, seed", [(0.0, 0), (0.5, 1), (1.0, 2)])
def test_every_eta_reaches_the_gaussian(eta, seed):
    process = DDPM(1000, "linear")
    x = ddim.sample(
        process, GaussianDenoiser(process, 0.4, 0.25), normal(4, 1, 64, 64, seed=seed), steps=500, eta=eta, generator=seed, clip=None
    )
    count = x.numel()
    assert abs(float(x.mean()) - 0.4) < 5 * 0.25 / count**0.5 + 0.005
    assert float(x.std()) == pytest.approx(0.25, rel=0.04)


def test_without_noise_on_the_way_the_start_decides():
    process, noise = DDPM(100), normal(3, 3, 4, 4)

    def never(t):
        raise AssertionError("eta 0 draws nothing")

    whole = ddim.sample(process, crooked, noise, steps=9, generator=never)
    assert torch.equal(whole, ddim.sample(process, crooked, noise, steps=9, generator=4))
    assert torch.equal(whole[1:], ddim.sample(process, crooked, noise[1:], steps=9))


@pytest.mark.parametrize("generator", [None, 7])
def test_the_same_pictures_whatever_the_batch(generator):
    process, noise = DDPM(100), normal(4, 3, 4, 4)
    whole = ddim.sample(process, crooked, noise, steps=12, eta=1, generator=generator)
    parts = [ddim.sample(process, crooked, noise[i : i + 1], steps=12, eta=1, generator=generator and generator + i) for i in range(4)]
    assert torch.equal(whole, torch.cat(parts))


def test_a_chain_can_be_stopped_and_goes_on_and_shows_its_bar(capsys):
    process, noise = DDPM(100), normal(2, 3, 4, 4)
    whole = ddim.sample(process, crooked, noise, steps=10, eta=1)
    state = next(state for state in ddim.steps(process, crooked, noise, steps=10, eta=1) if state.step == 4)
    assert state.t == 50 and capsys.readouterr().out == ""
    assert torch.equal(ddim.sample(process, crooked, noise, steps=10, eta=1, after=state, progress=True), whole)
    assert "6/6" in capsys.readouterr().out


def test_given_times_and_condition():
    process, noise = DDPM(100), normal(2, 3, 4, 4)
    seen = []

    def model(x, t, shift):
        seen.append(int(t[0]))
        return crooked(x, t) + shift

    states = list(ddim.steps(process, model, noise, spacing=[90, 40, 3], condition={"shift": 0.1}))
    assert seen == [90, 40, 3] and [state.t for state in states] == [40, 3, -1]
    assert torch.equal(states[-1].x, states[-1].x_0) and states[-1].x.abs().max() <= 1


def test_errors():
    process, noise = DDPM(100), normal(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"eta lies in \[0, 1\], got 1.5"):
        ddim.sample(process, crooked, noise, steps=3, eta=1.5)
    with pytest.raises(ValueError, match="1 to 100 steps, not 101"):
        ddim.sample(process, crooked, noise, steps=101)
