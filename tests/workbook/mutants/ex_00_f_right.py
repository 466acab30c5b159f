"""Answers to 00-f, one step of gradient descent: right ones, each written differently."""

import torch
import torch.nn.functional as F

from .ex_00_f import ANSWERS

alternative = ANSWERS.alternative


@alternative
def by_backward(kernel, noisy, clean, rate):
    k = kernel.detach().clone().requires_grad_()
    F.mse_loss(F.conv2d(noisy, k), clean).backward()
    return kernel - rate * k.grad


@alternative
def detached_as_in_the_loop(kernel, noisy, clean, rate):
    k = kernel.detach().clone().requires_grad_()
    loss = (F.conv2d(noisy, k) - clean).pow(2).mean()
    (gradient,) = torch.autograd.grad(loss, k)
    return (k - rate * gradient).detach()


@alternative
def under_no_grad(kernel, noisy, clean, rate):
    k = kernel.clone().detach().requires_grad_(True)
    loss = ((clean - F.conv2d(noisy, k)) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        k -= rate * k.grad
    return k


@alternative
def by_the_optimizer(kernel, noisy, clean, rate):
    weights = torch.nn.Parameter(kernel.detach().clone())
    optimizer = torch.optim.SGD([weights], lr=rate)
    optimizer.zero_grad()
    F.mse_loss(F.conv2d(noisy, weights), clean).backward()
    optimizer.step()
    return weights.detach()


@alternative
def by_torch_func(kernel, noisy, clean, rate):
    return kernel - rate * torch.func.grad(lambda k: F.mse_loss(F.conv2d(noisy, k), clean))(kernel)


@alternative
def by_hand(kernel, noisy, clean, rate):
    """d/dk of the mean of (noisy * k - clean)^2: twice the error against every window, averaged."""
    error = F.conv2d(noisy, kernel) - clean
    windows = F.unfold(noisy, kernel.shape[-2:])  # (B, k*k, H*W)
    gradient = 2 * torch.einsum("bkl,bl->k", windows, error.flatten(1)) / error.numel()
    return kernel - rate * gradient.view_as(kernel)


@alternative
def by_hand_without_a_graph(kernel, noisy, clean, rate):
    with torch.no_grad():
        error = F.conv2d(noisy, kernel) - clean
        gradient = 2 * F.conv2d(noisy.transpose(0, 1), error.transpose(0, 1)) / error.numel()
        return kernel - rate * gradient
