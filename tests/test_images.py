"""Reading, writing and padding pictures of every kind, and the errors for what is none."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.images import ImageError, list_images, load_image, pad_to_multiple, save_image, to_uint8

GRADIENT = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2


def saved(path, array, mode=None, **options):
    Image.fromarray(array, mode).save(path, **options) if mode is None else array.save(path, **options)
    return path


def expected(array):
    return torch.from_numpy(array.astype(np.float32) / 255).permute(2, 0, 1)


def test_rgb_png_is_exact(tmp_path):
    image = load_image(saved(tmp_path / "a.png", GRADIENT))
    assert image.shape == (3, 5, 7) and image.dtype == torch.float32 and image.is_contiguous()
    assert torch.equal(image, expected(GRADIENT))


def test_grey_is_repeated(tmp_path):
    image = load_image(saved(tmp_path / "g.png", GRADIENT[..., 0]))
    assert torch.equal(image, expected(GRADIENT[..., :1].repeat(3, axis=2)))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    channels = len(mode)
    array = np.full((4, 4, channels), 100, dtype=np.uint8)
    array[:2, :, -1], array[2:, :, -1] = 0, 255
    image = load_image(saved(tmp_path / "t.png", array))
    assert torch.equal(image[:, :2], torch.ones(3, 2, 4)) and torch.allclose(image[:, 2:], torch.full((3, 2, 4), 100 / 255))


def test_half_transparent_is_mixed(tmp_path):
    array = np.full((1, 1, 4), 0, dtype=np.uint8)
    array[..., 3] = 128
    assert load_image(saved(tmp_path / "t.png", array))[0, 0, 0] == pytest.approx(127 / 255, abs=1 / 255)


def test_palette_with_and_without_transparency(tmp_path):
    picture = Image.fromarray(GRADIENT).quantize(16)
    picture.save(tmp_path / "p.png")
    assert torch.equal(load_image(tmp_path / "p.png"), expected(np.asarray(picture.convert("RGB"))))
    picture.save(tmp_path / "q.png", transparency=int(np.asarray(picture)[0, 0]))
    assert torch.equal(load_image(tmp_path / "q.png")[:, 0, 0], torch.ones(3))


def test_16_bit_keeps_its_precision(tmp_path):
    array = np.array([[0, 1, 257], [40000, 40001, 65535]], dtype=np.uint16)
    image = load_image(saved(tmp_path / "s.png", array))
    assert torch.allclose(image[1] * 65535, torch.from_numpy(array.astype(np.float32)), atol=0.01)
    assert image[0, 0, 1] > 0 and image.max() == 1


def test_float_tiff_is_taken_as_it_is(tmp_path):
    array = np.array([[0.0, 0.25], [0.5, 1.0]], dtype=np.float32)
    assert torch.equal(load_image(saved(tmp_path / "f.tif", array))[2], torch.from_numpy(array))


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(GRADIENT).save(tmp_path / "r.png", exif=exif)
    assert torch.equal(load_image(tmp_path / "r.png"), expected(np.rot90(GRADIENT, -1).copy()))


def test_one_pixel(tmp_path):
    assert load_image(saved(tmp_path / "one.png", GRADIENT[:1, 1:2])).shape == (3, 1, 1)


def _bytes(kind):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damage on its way to the error
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
def test_cut_or_damaged_files_name_the_file_and_never_crash(tmp_path, kind):
    whole = _bytes(kind)
    path = tmp_path / f"broken.{kind.lower()}"
    cuts = sorted({int(len(whole) * part) for part in np.linspace(0, 0.6, 25)} | set(range(0, 40, 3)))
    refused = 0
    for cut in cuts:
        path.write_bytes(whole[:cut])
        try:
            load_image(path)
        except ImageError as error:
            assert "broken" in str(error)
            refused += 1
    assert refused >= 0.9 * len(cuts), f"{kind}: {refused} of {len(cuts)} cut files were refused"
    rng = np.random.default_rng(1)
    for _ in range(40):  # damaged rather than cut: a picture or an ImageError, nothing else
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 4):
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            assert load_image(path).shape[0] == 3
        except ImageError as error:
            assert "broken" in str(error)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, words in [("text.png", "text.png"), ("empty.png", "empty.png"), ("missing.png", "no such image"), ("", "folder")]:
        with pytest.raises(ImageError, match=words):
            load_image(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
def test_lossless_round_trip(tmp_path, suffix):
    image = expected(GRADIENT)
    assert torch.equal(load_image(save_image(image[None], tmp_path / "new" / f"x{suffix}")), image)


def test_save_clips_rounds_and_refuses(tmp_path):
    image = torch.tensor([-1.0, 0.5, 2.0]).reshape(1, 1, 3).repeat(3, 1, 1)
    assert to_uint8(image)[0, 0].tolist() == [0, 128, 255]
    for bad in (torch.zeros(2, 3, 4, 4), torch.zeros(1, 4, 4)):
        with pytest.raises(ValueError, match="save_image wants"):
            save_image(bad, tmp_path / "x.png")
    with pytest.raises(ValueError, match="NaN"):
        save_image(torch.full((3, 4, 4), float("nan")), tmp_path / "x.png")
    with pytest.raises(ValueError, match="suffix"):
        save_image(torch.zeros(3, 4, 4), tmp_path / "x.doc")
    assert list(tmp_path.iterdir()) == []


def test_list_images(tmp_path):
    for name in ("b.png", "a.JPG", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in list_images(tmp_path)] == ["a.JPG", "b.png"]
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path / "sub", tmp_path / "none", tmp_path / "b.png"):
        with pytest.raises(ImageError, match=str(folder)):
            list_images(folder)


@pytest.mark.parametrize("height, width", [(1, 1), (2, 15), (8, 16), (9, 3), (5, 8)])
def test_padding_reflects_where_it_can(height, width):
    image = torch.rand(2, 3, height, width)
    padded, size = pad_to_multiple(image, 8)
    assert size == (height, width) and padded.shape[-2] % 8 == 0 and padded.shape[-1] % 8 == 0
    assert padded.shape[-2] - height < 8 and torch.equal(padded[..., :height, :width], image)
    if 0 < padded.shape[-1] - width < width:
        assert torch.equal(padded[..., :height, width], image[..., width - 2])
    elif padded.shape[-1] > width:
        assert torch.equal(padded[..., :height, -1], image[..., -1])
