"""What every kind of degradation must keep, called by the tests of each kind on the photographs."""

import json

import numpy as np
import pytest
import torch

from course_lib.metrics import psnr


def corner(photos, name="coffee", height=65, width=97):
    """An odd-sized (1, 3, height, width) corner of a photograph."""
    return photos[name][None, :, :height, :width].contiguous()


def check_kind(cls, photos, *, own=None):
    """Seeds and batches, shape, dtype, device, identity, clipping and JSON of the class `cls`."""
    own = own or cls()
    batch = torch.cat([corner(photos, name) for name in sorted(photos)[:3]])
    before = batch.clone()
    whole = own.apply(batch, 5)
    assert torch.equal(batch, before), "the input is left alone"
    assert whole.shape == batch.shape and whole.dtype == batch.dtype and not torch.equal(whole, batch)
    torch.manual_seed(99)
    np.random.seed(99)  # the global generators play no part
    parts = [own.apply(batch[:1], 5), own.apply(batch[1:], [6, 7])]
    assert torch.equal(whole, torch.cat(parts)), "the same seed gives the same pixels on any batch split"
    assert 0 <= whole.min() and whole.max() <= 1
    assert torch.equal(own.apply(batch, 5, clip=False).clamp(0, 1), whole)
    double = own.apply(batch.double(), 5)
    assert double.dtype == torch.float64 and (double - whole).abs().max() < 1e-5
    assert own.apply(batch.bfloat16(), 5).dtype == torch.bfloat16
    for clip in (True, False):
        assert torch.equal(cls.identity().apply(batch, 5, clip=clip), batch)
    assert cls.identity().is_identity and not own.is_identity
    check_parameters(cls, own)
    with pytest.raises(ValueError, match="images but"):
        own.apply(batch, [1])
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        own.apply(batch[0], 1)


def check_parameters(cls, own):
    """Drawing, saving and checking of the parameter object."""
    draws = [cls.sample(seed) for seed in range(20)]
    assert cls.sample(3) == draws[3] and len(set(draws)) > 10
    for parameters in (own, *draws):
        again = cls.from_json(parameters.to_json())
        assert again == parameters and json.loads(parameters.to_json())["kind"] == cls.kind
    with pytest.raises(ValueError, match=cls.strength):
        cls(**{cls.strength: -1})


def check_monotone(cls, photos, values):
    """Mean PSNR over the photographs falls along `values` of the strength, by more than 3 dB in all; `worse = -1` runs them backwards."""
    values = sorted(values, reverse=getattr(cls, "worse", 1) < 0)
    pictures = [image[None, :, :128, :160] for image in photos.values()]
    means = []
    for value in values:
        own = cls(**{cls.strength: value})
        means.append(float(torch.stack([psnr(own.apply(image, i), image)[0] for i, image in enumerate(pictures)]).mean()))
    assert means == sorted(means, reverse=True) and means[0] > means[-1] + 3, dict(zip(values, means, strict=True))


def check_draws_matter(cls, photos):
    """Another seed gives other pixels."""
    image = corner(photos)
    assert not torch.equal(cls().apply(image, 0), cls().apply(image, 1))
