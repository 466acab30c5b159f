"""DDNM: agreement with the measurement, the exact posterior of a Gaussian, DDNM+ under noise, time travel, noise and batches."""

import pytest
import torch
from toys import GaussianDenoiser, crooked

from course_lib.diffusion import ddnm
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.operators import Colourisation, CompressedSensing, Identity, Inpainting, SuperResolution


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mask(side=16):
    return (torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(5)) < 0.5).float()


OPERATORS = {
    "identity": Identity(),
    "inpainting": Inpainting(mask()),
    "super-resolution": SuperResolution(2),
    "colourisation": Colourisation(),
    "hadamard": CompressedSensing(16, 16, 0.25),
    "random": CompressedSensing(16, 16, 0.25, basis="random"),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("options", [{}, {"eta": 0.0}, {"travel_length": 5, "travel_repeat": 3}, {"steps": 7, "spacing": "trailing"}])
def test_the_result_agrees_with_the_measurement(name, options):
    A, clean = OPERATORS[name], torch.rand(2, 3, 16, 16)
    y = A(clean)
    restored = ddnm.restore(DDPM(1000), crooked, A, y, normal(2, 3, 16, 16), **{"steps": 20, **options})
    assert restored.shape == clean.shape and torch.isfinite(restored).all()
    assert (A(restored) - y).abs().max() < 1e-5


@pytest.mark.parametrize("name", OPERATORS)
def test_every_estimate_on_the_way_agrees(name):
    A, clean = OPERATORS[name], torch.rand(1, 3, 16, 16)
    for state in ddnm.steps(DDPM(100), crooked, A, A(clean), normal(1, 3, 16, 16), steps=5):
        assert (A((state.x_0 + 1) / 2) - A(clean)).abs().max() < 1e-5


def test_a_step_is_the_papers_equations():
    process, A, clean = DDPM(100, "cosine"), SuperResolution(2), torch.rand(2, 3, 16, 16, dtype=torch.float64)
    y, noise, given = A(clean), normal(2, 3, 16, 16, dtype=torch.float64), normal(2, 3, 16, 16, seed=1, dtype=torch.float64)
    state = next(iter(ddnm.steps(process, crooked, A, y, noise, steps=10, generator=lambda t: given)))
    x_0 = process.predict(crooked(noise, torch.tensor([90, 90])), noise, 90).x_0.clamp(-1, 1)
    x_0 = A.pinv(2 * y - 1) + x_0 - A.pinv(A(x_0))  # eq. 13
    mean, variance = process.posterior(x_0, noise, 90, 80)
    assert state.t == 80 and torch.allclose(state.x_0, x_0) and torch.allclose(state.x, mean + variance**0.5 * given)


def test_with_nothing_measured_it_is_the_ddpm():
    process, noise = DDPM(100), normal(2, 3, 8, 8)
    A = Inpainting(torch.zeros(1, 1, 8, 8))
    restored = ddnm.restore(process, crooked, A, torch.zeros(2, 3, 8, 8), noise, steps=20, generator=3)
    assert torch.allclose(2 * restored - 1, process.sample(crooked, noise, steps=20, generator=3), atol=1e-5)


@pytest.mark.parametrize("A", [Inpainting(mask()), SuperResolution(2), Colourisation()], ids=lambda A: type(A).__name__)
def test_what_is_not_measured_follows_the_prior(A):
    """Where the values are independent, what is known says nothing about the rest: the null space is the prior's own."""
    process, mean, std = DDPM(1000), 0.3, 0.25
    clean = (1 + mean + std * normal(8, 3, 16, 16)) / 2
    restored = ddnm.restore(process, GaussianDenoiser(process, mean, std), A, A(clean), normal(8, 3, 16, 16, seed=1), steps=250, clip=None)
    hidden = A.null(2 * restored - 1 - mean)
    free = A.null(torch.eye(768).reshape(768, 3, 16, 16)).flatten(1).diagonal().sum() * 8  # dimensions of the null space
    assert float((hidden.square().sum() / free).sqrt()) == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize(
    "A", [Identity(), Inpainting(mask()), SuperResolution(2), CompressedSensing(16, 16, 0.25)], ids=lambda A: type(A).__name__
)
@pytest.mark.parametrize("sigma_y", [0.1, 0.3])
def test_noise_in_the_measurement_is_taken_out(A, sigma_y):
    process, mean, std = DDPM(1000), 0.0, 0.1
    model = GaussianDenoiser(process, mean, std)
    clean = (1 + mean + std * normal(4, 3, 16, 16)) / 2
    y = A(clean)
    noisy = y + sigma_y * normal(*y.shape, seed=2)
    if isinstance(A, Inpainting):
        noisy = noisy * A.mask

    def error(picture):
        return float(A.range(picture - clean).square().mean())

    plain = ddnm.restore(process, model, A, noisy, normal(4, 3, 16, 16, seed=1), steps=100, clip=None)
    plus = ddnm.restore(process, model, A, noisy, normal(4, 3, 16, 16, seed=1), steps=100, clip=None, sigma_y=sigma_y)
    assert error(plain) == pytest.approx(error(A.pinv(noisy)), rel=0.01), "plain DDNM keeps the noise"
    assert error(plus) < 0.8 * error(plain)


@pytest.mark.parametrize("A", [Identity(), SuperResolution(2), Colourisation()], ids=lambda A: type(A).__name__)
def test_ddnm_plus_keeps_the_noise_level_of_every_step(A):
    """Started from the true x_t, with the clean picture as estimate, x_s has the forward process's variance in both spaces."""
    process, sigma_y, count = DDPM(1000), 0.05, 32
    picture = normal(count, 3, 16, 16).double() * 0.3
    y = A((picture + 1) / 2)
    y = y + sigma_y * normal(*y.shape, seed=4, dtype=torch.float64)
    for t, s in ((800, 700), (300, 200), (60, 40)):
        x_t = process.q_sample(picture, t, normal(count, 3, 16, 16, seed=5, dtype=torch.float64))
        exact = DDPM(1000, process.alpha_bar, prediction="x_0")
        state = next(iter(ddnm.steps(exact, lambda x, _: picture, A, y, x_t, sigma_y=sigma_y, spacing=[t, s], clip=None, generator=1)))
        rest = state.x - process.level(s) ** 0.5 * picture
        for part, dimensions in ((A.range(rest), y[0].numel()), (A.null(rest), 768 - y[0].numel())):
            if dimensions:
                assert float(part.square().sum() / (dimensions * count)) == pytest.approx(1 - process.level(s), rel=0.05), (t, s)


def test_sigma_y_nought_is_plain_ddnm():
    process, A, noise = DDPM(100), SuperResolution(2), normal(1, 3, 8, 8, dtype=torch.float64)
    y = A(torch.rand(1, 3, 8, 8, dtype=torch.float64))
    plain = ddnm.restore(process, crooked, A, y, noise, steps=10, generator=1)
    # smooth at nought but for the last step, which trusts the network whenever there is noise at all
    states = [list(ddnm.steps(process, crooked, A, y, noise, steps=10, generator=1, sigma_y=s))[-2].x for s in (0.0, 1e-9)]
    assert torch.allclose(*states, atol=1e-6) and (A(plain) - y).abs().max() < 1e-12


def test_moves_of_time_travel():
    assert ddnm.moves([3, 2, 1, 0]) == [(3, 2), (2, 1), (1, 0), (0, -1)]
    assert ddnm.moves([3, 2, 1, 0], 2, 2) == [(3, 2), (2, 1), (1, 3), (3, 2), (2, 1), (1, 0), (0, -1)]
    assert ddnm.moves([8, 5, 2], 1, 3) == [(8, 5), (5, 8), (8, 5), (5, 8), (8, 5), (5, 2), (2, 5), (5, 2), (2, 5), (5, 2), (2, -1)]
    assert ddnm.moves([2, 1, 0], 10, 4) == [(2, 1), (1, 0), (0, -1)]
    for length, repeat in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            ddnm.moves([1, 0], length, repeat)
    for length in range(1, 8):
        path = ddnm.moves(list(range(20, -1, -2)), length, 3)
        assert path[0][0] == 20 and path[-1][1] == -1 and all(a[1] == b[0] for a, b in zip(path, path[1:], strict=False))


def test_time_travel_goes_back_by_the_forward_process():
    process, A, clean = DDPM(100), SuperResolution(2), torch.rand(1, 3, 8, 8)
    given = {t: normal(1, 3, 8, 8, seed=t) for t in range(100)}
    states = list(
        ddnm.steps(
            process, crooked, A, A(clean), normal(1, 3, 8, 8), steps=4, travel_length=2, travel_repeat=2, generator=given.__getitem__
        )
    )
    assert [state.t for state in states] == [50, 25, 75, 50, 25, 0, -1]
    kept = process.level(75) / process.level(25)
    assert torch.allclose(states[2].x, kept**0.5 * states[1].x + (1 - kept) ** 0.5 * given[25], atol=1e-6)


def test_the_same_pictures_whatever_the_batch():
    process, A, noise = DDPM(100), Colourisation(), normal(3, 3, 8, 8)
    y = A(torch.rand(3, 3, 8, 8))
    options = dict(steps=10, travel_length=3, travel_repeat=2, sigma_y=0.05)
    for seeds in (None, [4, 5, 6]):
        whole = ddnm.restore(process, crooked, A, y, noise, generator=seeds, **options)
        parts = [
            ddnm.restore(process, crooked, A, y[i : i + 1], noise[i : i + 1], generator=seeds and seeds[i : i + 1], **options)
            for i in range(3)
        ]
        assert torch.equal(whole, torch.cat(parts))


def test_a_chain_can_be_stopped_and_goes_on_and_shows_its_bar(capsys):
    process, A, noise = DDPM(100), Colourisation(), normal(2, 3, 8, 8)
    y = A(torch.rand(2, 3, 8, 8))
    options = dict(steps=10, travel_length=3, travel_repeat=2)
    whole = ddnm.restore(process, crooked, A, y, noise, **options)
    assert capsys.readouterr().out == ""
    for stop in (3, 4, 11):
        state = next(state for state in ddnm.steps(process, crooked, A, y, noise, **options) if state.step == stop)
        assert torch.equal(ddnm.restore(process, crooked, A, y, noise, **options, after=state, progress=True), whole)
        total = len(ddnm.moves(range(9, -1, -1), 3, 2)) - stop
        assert f"{total}/{total}" in capsys.readouterr().out


def test_errors():
    process, A, noise = DDPM(100), Colourisation(), normal(1, 3, 8, 8)
    y = A(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="above 0 when the measurement is noisy"):
        ddnm.restore(process, crooked, A, y, noise, steps=3, eta=0, sigma_y=0.1)
    with pytest.raises(ValueError, match="not be negative"):
        ddnm.restore(process, crooked, A, y, noise, steps=3, sigma_y=-0.1)
