"""The equaliser beside a residual U-Net: its bands, that it begins as nothing, and that it learns tone and grain at once."""

import pytest
import torch

from course_lib.models import create_model
from course_lib.models.equaliser import Equaliser, bands


def test_bands_add_up_and_hold_what_they_say():
    image = torch.rand(2, 3, 24, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1
    split = bands(image)
    assert split.shape == (2, 5, 3, 24, 20)
    torch.testing.assert_close(split[:, :4].sum(1), image)
    assert torch.equal(split[:, 4], torch.ones_like(image))
    flat = bands(torch.full((1, 3, 20, 20), 0.3))
    assert flat[:, :3].abs().max() < 1e-6 and torch.allclose(flat[:, 3], torch.tensor(0.3))
    grain = torch.zeros(1, 3, 25, 25)
    grain[..., 12, 12] = 1.0  # a single bright pixel is finest detail
    sizes = bands(grain)[0, :4, 0].square().sum((1, 2))
    assert float(sizes[0]) == pytest.approx(8 / 9, abs=1e-5) and sizes[1:].max() < 0.1  # 1 - 1/9 in the middle, -1/9 around it


@pytest.mark.parametrize("name", ["rddm", "diffuir"])
def test_a_network_with_an_equaliser_begins_as_the_one_without(name):
    size = dict(dim=8, dim_mults=[1, 1])
    plain, more = create_model(name, **size), create_model(name, **size, equaliser=True)
    missing = more.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing and all(key.startswith("equaliser.") for key in missing)
    pair = torch.rand(2, 6, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    t = torch.tensor([3.0, 900.0])
    for mine, other in zip(_parts(more(pair, t)), _parts(plain(pair, t)), strict=True):
        assert torch.equal(mine, other)
    assert "equaliser" not in plain.config and create_model(name, **more.config).config == more.config
    with torch.no_grad():
        more.equaliser.gains.bias[-3:] = 0.25  # the gains of the constant: every residual is 0.25 higher, the noise of RDDM is not
    (first, *rest), (was, *others) = _parts(more(pair, t)), _parts(plain(pair, t))
    torch.testing.assert_close(first, was + 0.25)
    assert all(torch.equal(a, b) for a, b in zip(rest, others, strict=True))


def test_it_learns_to_keep_half_the_grain_and_to_lighten_the_dark():
    torch.manual_seed(0)
    equaliser = Equaliser(32)
    optimizer = torch.optim.Adam(equaliser.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(2)

    def sample() -> tuple[torch.Tensor, torch.Tensor]:
        """Four noisy pictures, whose residual is their grain, and four dark ones, whose residual is -0.8 - 0.5 x."""
        base = torch.rand(8, 3, 1, 1, generator=generator) - 0.5
        noise = 0.2 * torch.randn(4, 3, 16, 16, generator=generator)
        dark = (base[4:] - 1.2) / 2 + 0.01 * torch.randn(4, 3, 16, 16, generator=generator)
        return torch.cat([base[:4] + noise, dark]), torch.cat([noise, -0.8 - 0.5 * dark])

    losses = []
    for _ in range(300):
        image, residual = sample()
        loss = (equaliser(image, torch.full((8,), 500.0)) - residual).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.25 * sum(losses[:10])


def _parts(output) -> tuple:
    return output if isinstance(output, tuple) else (output,)
