"""JPEG: the real codec, as a file written and read by Pillow would show it."""

import numpy as np
import pytest
import torch
from PIL import Image
from rules import check_kind, check_monotone, corner

from course_lib.degradations.jpeg import Jpeg, jpeg
from course_lib.images import load_image, save_image


def test_rules_of_every_kind(photos):
    check_kind(Jpeg, photos)


def test_worse_as_the_quality_falls(photos):
    assert Jpeg.worse == -1
    check_monotone(Jpeg, photos, (1, 5, 10, 20, 40, 60, 80, 95, 100))


@pytest.mark.parametrize("quality", [1, 10, 37, 75, 100])
def test_the_same_pixels_as_a_file(quality, photos, tmp_path):
    image = corner(photos, "chelsea")
    picture = Image.fromarray((image[0] * 255).round().byte().permute(1, 2, 0).numpy())
    picture.save(tmp_path / "picture.jpg", quality=quality)  # Pillow's own subsampling, which must be our default
    assert torch.equal(Jpeg(quality).apply(image)[0], load_image(tmp_path / "picture.jpg"))


def test_the_file_that_the_course_saves_at_pillows_default_quality(photos, tmp_path):
    image = corner(photos)
    assert torch.equal(jpeg(image, Jpeg(75))[0], load_image(save_image(image, tmp_path / "a.jpg")))


def test_subsampling_blurs_colour_and_not_grey(photos):
    image = corner(photos)
    whole, halved = (Jpeg(100, subsampling).apply(image) for subsampling in (0, 2))

    def chroma(pictures):
        return pictures[:, 0] - pictures[:, 1]

    assert (chroma(whole) - chroma(image)).abs().mean() < 0.7 * (chroma(halved) - chroma(image)).abs().mean()
    grey = image.mean(1, keepdim=True).repeat(1, 3, 1, 1)
    assert torch.equal(Jpeg(50, 0).apply(grey), Jpeg(50, 2).apply(grey))


def test_blocks_of_eight_are_flat_at_the_worst_quality(photos):
    image = corner(photos, height=64, width=96).mean(1, keepdim=True).repeat(1, 3, 1, 1)
    worst = Jpeg(1).apply(image)[0, 0]
    steps = (worst[:, 1:] - worst[:, :-1]).abs().mean(0).numpy()
    at_borders = np.arange(1, 96) % 8 == 0
    assert steps[at_borders].mean() > 3 * steps[~at_borders].mean()


def test_eight_bit_levels_and_values_outside(photos):
    image = corner(photos) * 1.4 - 0.2
    for clip in (True, False):
        degraded = Jpeg(30).apply(image, clip=clip)
        assert torch.allclose(degraded * 255, (degraded * 255).round(), atol=1e-4)
        assert torch.equal(degraded, Jpeg(30).apply(image.clamp(0, 1)))
    assert torch.equal(Jpeg(0).apply(image, clip=False), image)


def test_errors(photos):
    with pytest.raises(ValueError, match="NaN"):
        Jpeg(30).apply(torch.full((1, 3, 8, 8), float("nan")))
    with pytest.raises(ValueError, match="65535"):
        Jpeg(30).apply(torch.zeros(1, 3, 1, 65536))
    with pytest.raises(ValueError, match="whole number"):
        Jpeg(30.5)
    with pytest.raises(ValueError, match="from 0 to 100"):
        Jpeg(101)
