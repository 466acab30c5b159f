"""The operators of DDNM: the four Penrose conditions on the full matrix, A A^+ A = A on pictures, the singular value, scipy's transform."""

import pytest
import torch
from scipy.linalg import hadamard

from course_lib.diffusion.operators import Colourisation, CompressedSensing, Identity, Inpainting, SuperResolution, walsh_hadamard


def mask(height, width, share=0.6):
    return (torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(5)) < share).double()


# name -> operator for pictures of 8 x 4
SMALL = {
    "identity": Identity(),
    "inpainting": Inpainting(mask(8, 4)),
    "super-resolution 2": SuperResolution(2),
    "super-resolution 4": SuperResolution(4),
    "colourisation": Colourisation(),
    "luma": Colourisation((0.299, 0.587, 0.114)),
    "hadamard": CompressedSensing(8, 4, 0.4),
    "signed hadamard": CompressedSensing(8, 4, 0.3, seed=3, signs=True),
    "hadamard, all": CompressedSensing(8, 4, 1.0),
    "random": CompressedSensing(8, 4, 0.4, basis="random"),
}


def matrices(A):
    """A and A^+ as matrices, column by column."""
    pictures = torch.eye(96, dtype=torch.float64).reshape(96, 3, 8, 4)
    columns = A(pictures)
    measurements = torch.eye(columns[0].numel(), dtype=torch.float64).reshape(-1, *columns.shape[1:])
    return columns.flatten(1).T, A.pinv(measurements).flatten(1).T


@pytest.mark.parametrize("name", SMALL)
def test_the_pseudo_inverse_is_that_of_the_matrix(name):
    matrix, inverse = matrices(SMALL[name])
    assert torch.allclose(inverse, torch.linalg.pinv(matrix), atol=1e-10)
    singular = torch.linalg.svdvals(matrix)
    assert torch.allclose(singular[singular > 1e-9], torch.tensor(SMALL[name].singular, dtype=torch.float64))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_measured_again_it_is_the_same(name, dtype, tolerance):
    A, x = SMALL[name], torch.randn(5, 3, 8, 4, dtype=dtype)
    y = A(x)
    assert y.dtype == dtype and A.pinv(y).shape == x.shape
    assert torch.allclose(A(A.pinv(y)), y, atol=tolerance)
    assert torch.allclose(A.range(x) + A.null(x), x, atol=tolerance)
    assert A(A.null(x)).abs().max() < 10 * tolerance
    assert float((A.range(x) * A.null(x)).sum().abs()) < 1000 * tolerance, "the two parts are at right angles"
    assert torch.equal(A(x[2:]), y[2:]) or torch.allclose(A(x[2:]), y[2:], atol=tolerance)


@pytest.mark.parametrize(
    "A, side",
    [(CompressedSensing(32, 32, 0.25), 32), (CompressedSensing(24, 24, 0.25, basis="random"), 24), (SuperResolution(3), 33),
     (Inpainting(mask(33, 33)), 33)],
)  # fmt: skip
def test_pictures_of_the_lessons_size(A, side):
    x = torch.rand(2, 3, side, side)
    assert (A(A.pinv(A(x))) - A(x)).abs().max() < 1e-5


def test_what_the_measurements_are():
    x = torch.rand(1, 3, 8, 4, dtype=torch.float64)
    assert torch.allclose(SuperResolution(2)(x)[0, 1, 2, 1], x[0, 1, 4:6, 2:4].mean())
    assert torch.allclose(Colourisation()(x)[0, 0], x[0].mean(0))
    assert torch.allclose(Colourisation().pinv(torch.ones(1, 1, 2, 2)), torch.ones(1, 3, 2, 2)), "grey stays grey"
    holes = Inpainting(mask(8, 4))
    assert ((holes(x) == 0) == (holes.mask == 0)).all()
    y = CompressedSensing(8, 4, 0.4)(x)
    assert y.shape == (1, 3, 13) and torch.allclose(y[..., 0], x.sum((-1, -2)) / 32**0.5), "the first number is the mean"


def test_one_mask_a_picture():
    masks = torch.stack([torch.ones(1, 8, 4), torch.zeros(1, 8, 4)])
    x = torch.rand(2, 3, 8, 4)
    assert torch.equal(Inpainting(masks).null(x)[0], torch.zeros(3, 8, 4)) and torch.equal(Inpainting(masks).null(x)[1], x[1])


@pytest.mark.parametrize("N", [1, 2, 16, 64])
def test_the_transform_is_scipys_matrix(N):
    x = torch.randn(3, N, dtype=torch.float64)
    assert torch.allclose(walsh_hadamard(x), x @ torch.from_numpy(hadamard(N)).double() / N**0.5)
    assert torch.allclose(walsh_hadamard(walsh_hadamard(x)), x)


def test_the_seed_decides_the_rows():
    x = torch.rand(1, 1, 8, 8)
    for basis in ("hadamard", "random"):
        same = [CompressedSensing(8, 8, 0.5, seed=4, basis=basis)(x) for _ in range(2)]
        assert torch.equal(*same) and not torch.equal(same[0], CompressedSensing(8, 8, 0.5, seed=5, basis=basis)(x))


def test_noise_of_the_measurement_in_the_range():
    for A in (SuperResolution(4), Colourisation(), CompressedSensing(64, 64, 0.5)):
        y = A(torch.zeros(8, 3, 64, 64, dtype=torch.float64))
        noise = A.pinv(torch.randn(y.shape, dtype=torch.float64))
        # its power, shared out over the dimensions of the range, is 1/singular^2 each
        assert float(noise.square().sum() / y.numel()) == pytest.approx(1 / A.singular**2, rel=0.05)


def test_errors():
    with pytest.raises(ValueError, match="0 .missing. and 1"):
        Inpainting(torch.full((4, 4), 0.5))
    with pytest.raises(ValueError, match="9x8 does not divide into blocks of 4x4"):
        SuperResolution(4)(torch.rand(1, 3, 9, 8))
    with pytest.raises(ValueError, match="from 1 up"):
        SuperResolution(0)
    with pytest.raises(ValueError, match="3 weights for 1 channels"):
        Colourisation()(torch.rand(1, 1, 4, 4))
    with pytest.raises(ValueError, match="at least one channel"):
        Colourisation((0, 0, 0))
    with pytest.raises(ValueError, match='no power of two; take basis="random"'):
        CompressedSensing(6, 8, 0.5)
    with pytest.raises(ValueError, match="too large"):
        CompressedSensing(128, 128, 0.5, basis="random")
    for options in (dict(ratio=0), dict(ratio=1.5), dict(ratio=0.5, basis="dct")):
        with pytest.raises(ValueError, match="CompressedSensing"):
            CompressedSensing(8, 8, **options)
    with pytest.raises(ValueError, match="made for 8x8, got 8x16"):
        CompressedSensing(8, 8, 0.5)(torch.rand(1, 3, 8, 16))
    with pytest.raises(ValueError, match="power of two"):
        walsh_hadamard(torch.rand(2, 12))
