"""What a measurement keeps of a picture: linear operators A with their pseudo-inverses A^+, for null-space restoration (ddnm.py).

    x = A^+ A x  +  (I - A^+ A) x          what the measurement y = A x fixes, and what it leaves free
        range         null

A^+ is the Moore-Penrose inverse: A A^+ A = A, A^+ A A^+ = A^+, and A A^+ and A^+ A are symmetric (Wang, Yu and Zhang, "Zero-shot image
restoration using denoising diffusion null-space model", ICLR 2023, section 3.1). The operators here have one singular value
besides 0, `singular`: then noise of sigma_y in y is noise of sigma_y / singular in the range part of A^+ y.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class Operator:
    """A linear A with `A(x)`, `A.pinv(y)`, and the two parts of a picture, `A.range(x)` and `A.null(x)`; pictures are (B, C, H, W)."""

    singular = 1.0  # the singular value of A that is not 0

    def __call__(self, x: Tensor) -> Tensor:
        """y = A x."""
        raise NotImplementedError

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y, the smallest picture (B, C, H, W) whose measurement is nearest to y."""
        raise NotImplementedError

    def range(self, x: Tensor) -> Tensor:
        """A^+ A x: what the measurement tells about x."""
        return self.pinv(self(x))

    def null(self, x: Tensor) -> Tensor:
        """(I - A^+ A) x: what the measurement does not see of x."""
        return x - self.range(x)


class Identity(Operator):
    """A x = x: with noise in y this is denoising."""

    def __call__(self, x: Tensor) -> Tensor:
        return x

    def pinv(self, y: Tensor) -> Tensor:
        return y


class Inpainting(Operator):
    """A x = mask * x, 1 where the pixel is known and 0 in the holes; `mask` broadcasts to (B, C, H, W). A^+ is A itself.

    Raises ValueError for a mask of other values.
    """

    def __init__(self, mask: Tensor):
        if not ((mask == 0) | (mask == 1)).all():
            raise ValueError("Inpainting: the mask holds 0 (missing) and 1 (known) only")
        self.mask = mask

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.mask.to(x)

    pinv = __call__


class SuperResolution(Operator):
    """A averages blocks of scale x scale pixels, (B, C, H, W) -> (B, C, H/scale, W/scale); A^+ repeats each value over its block.

    Raises ValueError for a scale below 1 or sides that it does not divide.
    """

    def __init__(self, scale: int):
        if scale < 1:
            raise ValueError(f"SuperResolution: the scale is a whole number from 1 up, got {scale}")
        self.scale = scale
        self.singular = 1 / scale  # a mean of n values of variance 1 has variance 1/n, n = scale^2

    def __call__(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height % self.scale or width % self.scale:
            raise ValueError(f"SuperResolution: {height}x{width} does not divide into blocks of {self.scale}x{self.scale}")
        return F.avg_pool2d(x, self.scale)

    def pinv(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(self.scale, -2).repeat_interleave(self.scale, -1)


class Colourisation(Operator):
    """A is a weighted sum over the channels, (B, C, H, W) -> (B, 1, H, W), the mean unless `weights` are given; A^+ y = w y / |w|^2.

    Raises ValueError for weights that are all 0 or of another number than the channels.
    """

    def __init__(self, weights: Sequence[float] = (1 / 3, 1 / 3, 1 / 3)):
        self.weights = torch.tensor(list(weights), dtype=torch.float64)
        self.singular = float(self.weights.norm())
        if self.singular == 0:
            raise ValueError("Colourisation: at least one channel must have a weight")

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.weights):
            raise ValueError(f"Colourisation: {len(self.weights)} weights for {x.shape[1]} channels")
        return (x * self._column(self.weights, x)).sum(1, keepdim=True)

    def pinv(self, y: Tensor) -> Tensor:
        return y * self._column(self.weights / self.singular**2, y)

    @staticmethod
    def _column(values: Tensor, like: Tensor) -> Tensor:
        return values.to(like.dtype).to(like.device).reshape(1, -1, 1, 1)


class CompressedSensing(Operator):
    """A takes M = round(ratio * H * W) numbers of each channel, (B, C, H, W) -> (B, C, M): rows of an orthonormal matrix, so A^+ = A^T.

    `basis`: "hadamard" is the Walsh-Hadamard matrix over pixels shuffled and signed by `seed` (H * W a power of two; fast),
    "random" is a random rotation (a matrix, H * W at most 4096). The first row sees the mean of the picture when the signs are
    off (`signs=False`), which is how single-pixel cameras are driven. Raises ValueError.
    """

    def __init__(self, height: int, width: int, ratio: float, *, seed: int = 0, basis: str = "hadamard", signs: bool = False):
        N = height * width
        if not 0 < ratio <= 1:
            raise ValueError(f"CompressedSensing: the ratio lies in (0, 1], got {ratio}")
        if basis not in ("hadamard", "random"):
            raise ValueError(f'CompressedSensing: basis is "hadamard" or "random", not {basis!r}')
        if basis == "hadamard" and N & (N - 1):
            raise ValueError(f'CompressedSensing: {height}x{width} pixels are no power of two; take basis="random" or another size')
        if basis == "random" and N > 4096:
            raise ValueError(f'CompressedSensing: a random matrix for {height}x{width} pixels is too large; take basis="hadamard"')
        self.height, self.width, self.basis = height, width, basis
        self.M = max(1, round(ratio * N))
        generator = torch.Generator().manual_seed(seed)
        if basis == "random":
            normal = torch.randn(N, N, generator=generator, dtype=torch.float64)
            self.rows = torch.linalg.qr(normal)[0].T[: self.M]  # (M, N)
            return
        self.order = torch.randperm(N, generator=generator)
        self.back = torch.argsort(self.order)
        # row 0 of the Hadamard matrix is the mean and always kept; the others are drawn
        self.kept = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + torch.randperm(N - 1, generator=generator)])[: self.M]
        drawn = torch.randint(0, 2, (N,), generator=generator, dtype=torch.float64)
        self.sign = 2 * drawn - 1 if signs else torch.ones(N, dtype=torch.float64)

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.height, self.width):
            raise ValueError(f"CompressedSensing: made for {self.height}x{self.width}, got {x.shape[-2]}x{x.shape[-1]}")
        flat = x.flatten(-2)  # (B, C, N)
        if self.basis == "random":
            return flat @ self.rows.to(x.dtype).to(x.device).T
        shuffled = flat[..., self.order.to(x.device)] * self.sign.to(x.dtype).to(x.device)
        return walsh_hadamard(shuffled)[..., self.kept.to(x.device)]

    def pinv(self, y: Tensor) -> Tensor:
        if self.basis == "random":
            flat = y @ self.rows.to(y.dtype).to(y.device)
        else:
            full = y.new_zeros(*y.shape[:-1], self.height * self.width)
            full[..., self.kept.to(y.device)] = y
            # the orthonormal Walsh-Hadamard matrix is its own inverse
            flat = (walsh_hadamard(full) * self.sign.to(y.dtype).to(y.device))[..., self.back.to(y.device)]
        return flat.unflatten(-1, (self.height, self.width))


def walsh_hadamard(x: Tensor) -> Tensor:
    """Orthonormal Walsh-Hadamard transform of the last axis, in N log2 N additions; its own inverse. Raises ValueError unless 2^k long."""
    N = x.shape[-1]
    if N < 1 or N & (N - 1):
        raise ValueError(f"walsh_hadamard: a length of {N} is no power of two")
    shape, half = x.shape, 1
    while half < N:
        pair = x.reshape(*shape[:-1], N // (2 * half), 2, half)
        a, b = pair.unbind(-2)
        x = torch.stack([a + b, a - b], dim=-2).reshape(shape)
        half *= 2
    return x / math.sqrt(N)
