"""Answers to 04-h, the null-space step: A (callable, with A.pinv), y, x_0 -> x_0 + A^+ (y - A x_0)."""

import torch

from . import Answers

ANSWERS = Answers("04-h")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant("sign|subtract|minus|away")
def correction_subtracted(A, y, x_0):
    return x_0 - A.pinv(y - A(x_0))


@mutant("sign|order|minus|away")
def difference_the_other_way(A, y, x_0):
    return x_0 + A.pinv(A(x_0) - y)


@mutant("range|null|x_0|A x_0")
def measurement_added(A, y, x_0):
    """Its own measurement stays in."""
    return x_0 + A.pinv(y)


@mutant("null|x_0")
def pseudo_inverse_alone(A, y, x_0):
    return A.pinv(y)


@mutant("null|y|measure")
def null_part_alone(A, y, x_0):
    return x_0 - A.pinv(A(x_0))


@mutant("null|x_0")
def correction_alone(A, y, x_0):
    return A.pinv(y - A(x_0))


@mutant("null|range")
def range_part_kept(A, y, x_0):
    """A^+ y + A^+ A x_0."""
    return A.pinv(y) + A.pinv(A(x_0))


@mutant()
def nothing_done(A, y, x_0):
    return x_0.clone()


@mutant("half|share|whole")
def half_of_the_correction(A, y, x_0):
    return x_0 + 0.5 * A.pinv(y - A(x_0))


@mutant()
def nine_tenths_of_the_correction(A, y, x_0):
    return x_0 + 0.9 * A.pinv(y - A(x_0))


@mutant()
def overshot(A, y, x_0):
    return x_0 + 1.5 * A.pinv(y - A(x_0))


@mutant()
def mean_of_both(A, y, x_0):
    return 0.5 * x_0 + 0.5 * (x_0 + A.pinv(y - A(x_0)))


@mutant("pinv|shape|size|match")
def operator_for_its_inverse(A, y, x_0):
    """Right for inpainting, where A is its own pseudo-inverse."""
    return x_0 + A(y - A(x_0))


@mutant("shape|size|match|A\\(|A x_0")
def picture_for_its_measurement(A, y, x_0):
    """Right for inpainting, too: A^+ takes away what A would have."""
    return x_0 + A.pinv(y - x_0)


@mutant("pinv|shape|size|match")
def no_pseudo_inverse(A, y, x_0):
    return x_0 + (y - A(x_0))


@mutant()
def no_pseudo_inverse_where_shapes_fit(A, y, x_0):
    """Right for inpainting; not for every operator that keeps the shape, such as one that blurs or darkens."""
    return x_0 + (y - A(x_0)) if y.shape == x_0.shape else x_0 + A.pinv(y - A(x_0))


@mutant()
def pseudo_inverse_of_the_picture_subtracted(A, y, x_0):
    """Runs where y has the shape of x_0."""
    return A.pinv(y) + x_0 - A.pinv(x_0)


def transposed(A, y, x_0):
    """A^T y, by autograd."""
    with torch.enable_grad():
        x = x_0.detach().clone().requires_grad_()
        return torch.autograd.grad((A(x) * y).sum(), x)[0]


@mutant("pinv|transpos")
def gradient_step(A, y, x_0):
    """A^T for A^+: right where the singular values are 1."""
    return x_0 + transposed(A, (y - A(x_0)).detach(), x_0)


@mutant("shape|mask|size|match")
def pixels_pasted(A, y, x_0):
    """For inpainting: y where it is not 0. A known pixel may be 0."""
    return torch.where(y != 0, y, x_0)


@mutant("clip|clamp|\\[-1, 1\\]|\\[0, 1\\]")
def clamped(A, y, x_0):
    return (x_0 + A.pinv(y - A(x_0))).clamp(-1, 1)


@mutant("clip|clamp|\\[-1, 1\\]|\\[0, 1\\]")
def clamped_as_an_image(A, y, x_0):
    return (x_0 + A.pinv(y - A(x_0))).clamp(0, 1)


@mutant("clip|clamp|\\[-1, 1\\]|\\[0, 1\\]")
def estimate_clamped_first(A, y, x_0):
    x_0 = x_0.clamp(-1, 1)
    return x_0 + A.pinv(y - A(x_0))


@mutant()
def correction_clamped(A, y, x_0):
    return x_0 + A.pinv((y - A(x_0)).clamp(-1, 1))


@mutant("\\[0, 1\\]|scale|2")
def measurement_moved_to_minus_one(A, y, x_0):
    return x_0 + A.pinv(2 * y - 1 - A(x_0))


@mutant()
def correction_of_the_first_picture_for_all(A, y, x_0):
    return x_0 + A.pinv(y - A(x_0))[:1]


@mutant()
def mean_of_the_measurements(A, y, x_0):
    return x_0 + A.pinv(y.mean(dim=0, keepdim=True) - A(x_0))


@mutant()
def mean_correction(A, y, x_0):
    return x_0 + A.pinv((y - A(x_0)).mean(dim=0, keepdim=True)).expand_as(x_0)


@mutant()
def same_correction_for_all_channels(A, y, x_0):
    return x_0 + A.pinv(y - A(x_0)).mean(dim=1, keepdim=True)


@mutant()
def measurement_of_the_null_part(A, y, x_0):
    null = x_0 - A.pinv(A(x_0))
    return null + A.pinv(A(null))


@mutant("in.place")
def estimate_overwritten(A, y, x_0):
    x_0.data += A.pinv(y - A(x_0)).detach()
    return x_0 + 0


@mutant("in.place")
def measurement_overwritten(A, y, x_0):
    y.data -= A(x_0).detach()
    return x_0 + A.pinv(y)


@mutant("float64|dtype|double")
def double_precision(A, y, x_0):
    return (x_0 + A.pinv(y - A(x_0))).double()


@mutant()
def half_precision(A, y, x_0):
    return (x_0 + A.pinv(y - A(x_0))).bfloat16().float()


@mutant("gradient|grad")
def gradients_switched_off(A, y, x_0):
    """For all that follows in the notebook."""
    torch.set_grad_enabled(False)
    return right(A, y, x_0)


@mutant("tuple|tensor")
def both_parts(A, y, x_0):
    return A.pinv(y), x_0 - A.pinv(A(x_0))


@mutant("every time|random")
def with_a_little_noise(A, y, x_0):
    return x_0 + A.pinv(y - A(x_0)) + 0.01 * torch.randn_like(x_0)


@alternative
def right(A, y, x_0):
    return x_0 + A.pinv(y - A(x_0))


@alternative
def range_and_null_parts(A, y, x_0):
    return A.pinv(y) + (x_0 - A.pinv(A(x_0)))


@alternative
@torch.no_grad()
def without_gradients(A, y, x_0):
    return A.pinv(y - A(x_0)).add_(x_0)


@alternative
def in_small_steps(A, y, x_0):
    measured = A(x_0)
    missing = torch.sub(y, measured)
    correction = A.pinv(missing)
    return torch.add(x_0, correction)


@alternative
def written_into_a_copy(A, y, x_0):
    result = x_0.clone()
    result += A.pinv(y)
    result -= A.pinv(A(x_0))
    return result


@alternative
def twice_is_as_good_as_once(A, y, x_0):
    """The second correction is 0."""
    for _ in range(2):
        x_0 = x_0 + A.pinv(y - A(x_0))
    return x_0
