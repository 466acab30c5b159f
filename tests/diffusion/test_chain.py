"""What every sampler shares, seen through DDPM: noise and batches, stopping and going on, the bar, the times of a short chain."""

import pytest
import torch
from torch import nn
from toys import crooked

from course_lib.diffusion.chain import from_image, starting_noise, to_image
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.schedules import visited_times


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("generator", [None, 7, [7, 8, 9, 10]])
def test_the_same_pictures_whatever_the_batch(generator):
    process, noise = DDPM(50, "cosine"), normal(4, 3, 4, 4)
    whole = process.sample(crooked, noise, generator=generator)
    parts = {None: (None, None), 7: (7, 8)}[generator] if not isinstance(generator, list) else (generator[:1], generator[1:])
    split = [process.sample(crooked, part, generator=own) for part, own in zip((noise[:1], noise[1:]), parts, strict=True)]
    assert torch.equal(whole, torch.cat(split))
    torch.manual_seed(99)  # the global generator plays no part
    assert torch.equal(whole, process.sample(crooked, noise, generator=generator))


def test_a_list_of_generators_and_given_noise():
    process, noise = DDPM(20), normal(2, 3, 4, 4)
    given = normal(20, 2, 3, 4, 4, seed=4)
    whole = process.sample(crooked, noise, generator=lambda t: given[t])
    assert torch.equal(whole[1:], process.sample(crooked, noise[1:], generator=lambda t: given[t][1:]))

    def streams():
        return [torch.Generator().manual_seed(seed) for seed in (5, 6)]

    whole = process.sample(crooked, noise, generator=streams())
    assert torch.equal(whole[1:], process.sample(crooked, noise[1:], generator=streams()[1:]))
    with pytest.raises(ValueError, match="2 pictures but 1 generators"):
        process.sample(crooked, noise, generator=streams()[1:])
    with pytest.raises(ValueError, match="given for time 19"):
        process.sample(crooked, noise, generator=lambda t: given[t][:1])
    with pytest.raises(ValueError, match="2 images but 3 seeds"):
        process.sample(crooked, noise, generator=[1, 2, 3])


def test_noise_differs_from_step_to_step_and_picture_to_picture():
    seen = []

    def watch(x, t):
        seen.append(x.clone())
        return torch.zeros_like(x)

    process = DDPM(1000)
    list(process.steps(watch, normal(2, 1, 32, 32), steps=6, generator=3, clip=None, spacing=[600, 500, 400, 300, 200, 100]))
    gains = [b - process.posterior(process.predict(0 * a, a, t).x_0, a, t, s)[0]
             for a, b, t, s in zip(seen, seen[1:], [600, 500, 400, 300, 200], [500, 400, 300, 200, 100], strict=False)]  # fmt: skip
    rows = torch.stack([gain[i].flatten() for gain in gains for i in range(2)])
    assert (torch.corrcoef(rows) - torch.eye(10)).abs().max() < 5 / 32


def test_a_chain_can_be_stopped_and_goes_on():
    process, noise = DDPM(30), normal(2, 3, 4, 4)
    whole = process.sample(crooked, noise, generator=1)
    for state in process.steps(crooked, noise, generator=1):
        if state.step == 11:
            break
    assert state.t == 18
    assert torch.equal(process.sample(crooked, noise, generator=1, after=state), whole)
    with pytest.raises(ValueError, match="no step is left"):
        process.sample(crooked, noise, generator=1, after=list(process.steps(crooked, noise, generator=1))[-1])


def test_ctrl_c_goes_through_and_the_bar_shows_the_steps(capsys):
    process, noise, calls = DDPM(10), normal(1, 3, 4, 4), []

    def stopped(x, t):
        calls.append(int(t[0]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return crooked(x, t)

    with pytest.raises(KeyboardInterrupt):
        process.sample(stopped, noise)
    assert calls == [9, 8, 7, 6]
    assert capsys.readouterr().out == ""
    process.sample(crooked, noise, progress=True)
    assert "10/10" in capsys.readouterr().out


def test_the_network_gets_times_condition_and_no_gradient():
    process, label = DDPM(5), torch.tensor([3.0, 4.0])

    def model(x, t, label, scale=1):
        assert t.shape == (2,) and t.dtype == torch.int64 and label.tolist() == [3, 4] and scale == 2
        return weight * x

    weight = nn.Parameter(torch.ones(()))
    condition = {"label": label, "scale": 2}
    assert not process.sample(model, normal(2, 3, 4, 4, dtype=torch.float32), condition=condition).requires_grad
    assert process.loss(model, torch.zeros(2, 3, 4, 4), torch.tensor([1, 2]), torch.ones(2, 3, 4, 4), condition=condition).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_of_the_noise_is_kept(dtype):
    noise = normal(1, 3, 4, 4, dtype=torch.float32).to(dtype)
    assert DDPM(8).sample(crooked, noise).dtype == dtype


def test_times_visited():
    assert visited_times(1000, 4) == [750, 500, 250, 0]
    assert visited_times(1000, 4, "trailing") == [999, 749, 499, 249]
    assert visited_times(10) == list(range(9, -1, -1)) == visited_times(10, 10, "trailing")
    quadratic = visited_times(1000, 10, "quadratic")
    assert (
        quadratic[0] == 800
        and quadratic[-1] == 0
        and all(a - b > c - d for a, b, c, d in zip(quadratic, quadratic[1:], quadratic[1:], quadratic[2:], strict=False))
    )
    assert visited_times(1000, 50, [9, 3]) == [9, 3]
    for steps, spacing in ((0, "leading"), (11, "leading"), (None, [3, 3]), (None, [10]), (None, []), (4, "uniform")):
        with pytest.raises(ValueError):
            visited_times(10, steps, spacing)


def test_images_and_their_range():
    image = torch.rand(1, 3, 4, 4)
    assert torch.allclose(to_image(from_image(image)), image, atol=1e-6) and from_image(image).min() >= -1
    noise = starting_noise((3, 1, 4, 4), 5)
    assert torch.equal(noise[1:], starting_noise((2, 1, 4, 4), [6, 7])) and noise.shape == (3, 1, 4, 4)
