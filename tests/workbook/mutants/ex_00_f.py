"""Answers to 00-f, one step of gradient descent: kernel (1, 1, k, k), noisy (B, 1, H+k-1, W+k-1), clean (B, 1, H, W), rate -> kernel.

Wrong ones; the right ones stand in `ex_00_f_right.py`.
"""

import torch
import torch.nn.functional as F

from . import Answers

ANSWERS = Answers("00-f")
mutant = ANSWERS.mutant


def gradient_of(kernel, loss):
    """Gradient of loss(k) at the kernel: a right one, for answers that go wrong elsewhere."""
    k = kernel.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(k), k)[0]


def mse_gradient(kernel, noisy, clean):
    return gradient_of(kernel, lambda k: (F.conv2d(noisy, k) - clean).square().mean())


@mutant("sign|minus|uphill|against|subtract")
def uphill(kernel, noisy, clean, rate):
    return kernel + rate * mse_gradient(kernel, noisy, clean)


@mutant("mean|sum")
def sum_for_mean(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k) - clean).square().sum())


@mutant("mean|batch|sum")
def mean_over_the_batch_only(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k) - clean).square().sum(dim=(1, 2, 3)).mean())


@mutant("mean|batch|sum")
def means_of_the_images_added(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k) - clean).square().mean(dim=(1, 2, 3)).sum())


@mutant()
def divided_by_the_pixels_of_noisy(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k) - clean).square().sum() / noisy.numel())


@mutant("half|2|factor")
def half_the_squares(kernel, noisy, clean, rate):
    return kernel - rate * mse_gradient(kernel, noisy, clean) / 2


@mutant("squar|absolute")
def absolute_error(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k) - clean).abs().mean())


@mutant()
def not_squared(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k) - clean).mean())


@mutant()
def squared_after_the_mean(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k) - clean).mean().square())


@mutant("root")
def root_of_the_error(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k) - clean).square().mean().sqrt())


@mutant()
def logarithm_as_in_psnr(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: 10 * (F.conv2d(noisy, k) - clean).square().mean().log10())


@mutant("rate")
def rate_forgotten(kernel, noisy, clean, rate):
    return kernel - mse_gradient(kernel, noisy, clean)


@mutant()
def divided_by_the_rate(kernel, noisy, clean, rate):
    return kernel - mse_gradient(kernel, noisy, clean) / rate


@mutant()
def rate_of_a_textbook(kernel, noisy, clean, rate):
    return kernel - 0.01 * mse_gradient(kernel, noisy, clean)


@mutant("gradient|kernel")
def only_the_gradient(kernel, noisy, clean, rate):
    return mse_gradient(kernel, noisy, clean)


@mutant("step|kernel|gradient")
def only_the_step(kernel, noisy, clean, rate):
    return -rate * mse_gradient(kernel, noisy, clean)


@mutant("new|unchanged|kernel|moved")
def the_old_kernel(kernel, noisy, clean, rate):
    mse_gradient(kernel, noisy, clean)
    return kernel


@mutant("shape|loss")
def the_loss(kernel, noisy, clean, rate):
    return (F.conv2d(noisy, kernel) - clean).square().mean()


@mutant("tuple|tensor")
def kernel_and_loss(kernel, noisy, clean, rate):
    return kernel - rate * mse_gradient(kernel, noisy, clean), (F.conv2d(noisy, kernel) - clean).square().mean()


@mutant("tuple|type|unsupported")
def gradients_not_unpacked(kernel, noisy, clean, rate):
    k = kernel.detach().clone().requires_grad_()
    gradient = torch.autograd.grad((F.conv2d(noisy, k) - clean).square().mean(), k)
    return kernel - rate * gradient


@mutant("new|unchanged|kernel|moved|descend")
def gradient_of_a_detached_loss(kernel, noisy, clean, rate):
    k = kernel.detach().clone().requires_grad_()
    loss = (F.conv2d(noisy, k).detach() - clean).square().mean()
    return kernel - rate * torch.autograd.grad(loss, k, allow_unused=True, materialize_grads=True)[0]


@mutant("once|one step|two")
def two_steps(kernel, noisy, clean, rate):
    once = kernel - rate * mse_gradient(kernel, noisy, clean)
    return once - rate * mse_gradient(once, noisy, clean)


@mutant()
def gradient_of_each_image_in_turn(kernel, noisy, clean, rate):
    for x, y in zip(noisy, clean, strict=True):
        kernel = kernel - rate * mse_gradient(kernel, x[None], y[None])
    return kernel


@mutant()
def first_image_only(kernel, noisy, clean, rate):
    return kernel - rate * mse_gradient(kernel, noisy[:1], clean[:1])


@mutant()
def sign_of_the_gradient(kernel, noisy, clean, rate):
    return kernel - rate * mse_gradient(kernel, noisy, clean).sign()


@mutant()
def gradient_of_length_one(kernel, noisy, clean, rate):
    return kernel - rate * F.normalize(mse_gradient(kernel, noisy, clean), dim=(2, 3))


@mutant()
def gradient_clipped(kernel, noisy, clean, rate):
    return kernel - rate * mse_gradient(kernel, noisy, clean).clamp(-0.01, 0.01)


@mutant()
def adam(kernel, noisy, clean, rate):
    k = kernel.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([k], lr=rate)
    (F.conv2d(noisy, k) - clean).square().mean().backward()
    optimizer.step()
    return k.detach()


@mutant()
def weights_decay_too(kernel, noisy, clean, rate):
    return kernel * (1 - rate * 0.1) - rate * mse_gradient(kernel, noisy, clean)


VELOCITY = {}


@mutant()
def momentum_from_the_last_call(kernel, noisy, clean, rate):
    old = VELOCITY.get(kernel.shape, torch.zeros_like(kernel)).detach()
    VELOCITY[kernel.shape] = 0.9 * old + mse_gradient(kernel, noisy, clean)
    return kernel - rate * VELOCITY[kernel.shape]


@mutant()
def kernel_that_sums_to_one(kernel, noisy, clean, rate):
    new = kernel - rate * mse_gradient(kernel, noisy, clean)
    return new / new.sum()


@mutant()
def kernel_without_negative_weights(kernel, noisy, clean, rate):
    return F.relu(kernel - rate * mse_gradient(kernel, noisy, clean))


@mutant("flip|convolution|conv2d")
def kernel_flipped(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k.flip(2, 3)) - clean).square().mean())


@mutant()
def kernel_transposed(kernel, noisy, clean, rate):
    return kernel - rate * mse_gradient(kernel, noisy, clean).transpose(2, 3)


@mutant("size|shape|match|padding")
def padded_convolution(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k, padding="same") - clean).square().mean())


@mutant()
def corner_cut_for_the_middle(kernel, noisy, clean, rate):
    h, w = clean.shape[2:]
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k, padding="same")[..., :h, :w] - clean).square().mean())


@mutant()
def seven_by_seven_taken_for_granted(kernel, noisy, clean, rate):
    middle = noisy[..., 3:-3, 3:-3]
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k) - clean + 0 * middle).square().mean())


@mutant()
def filter_of_the_noise(kernel, noisy, clean, rate):
    """As in residual learning: the filter shall give the noise."""
    m = kernel.shape[-1] // 2
    noise = noisy[..., m:-m, m:-m] - clean
    return kernel - rate * mse_gradient(kernel, noisy, noise)


@mutant()
def clipped_before_the_loss(kernel, noisy, clean, rate):
    return kernel - rate * gradient_of(kernel, lambda k: (F.conv2d(noisy, k).clamp(0, 1) - clean).square().mean())


@mutant("in.place|copy")
def written_into_the_kernel(kernel, noisy, clean, rate):
    gradient = mse_gradient(kernel, noisy, clean)
    with torch.no_grad():
        kernel -= rate * gradient
    return kernel
