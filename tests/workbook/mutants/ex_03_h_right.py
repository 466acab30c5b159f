"""Answers to 03-h, PCGrad: right ones, each written differently."""

import torch

from .ex_03_h import ANSWERS

alternative = ANSWERS.alternative


@alternative
def as_in_the_paper(gradients, orders):
    projected = [g.clone() for g in gradients]
    for i, order in enumerate(orders):
        for j in order:
            if i == j:
                continue
            inner = torch.dot(projected[i], gradients[j])
            if inner < 0:
                projected[i] -= inner / gradients[j].norm() ** 2 * gradients[j]
    return projected


@alternative
def by_unit_vectors(gradients, orders):
    out = []
    for i, order in enumerate(orders):
        g = gradients[i]
        for j in (j for j in order if j != i):
            direction = torch.nn.functional.normalize(gradients[j], dim=0, eps=1e-30)
            g = g - torch.sum(g * direction).clamp_max(0) * direction
        out.append(g)
    return out


@alternative
def by_the_matrix_of_inner_products(gradients, orders):
    """Only numbers move: each projected gradient is a row of coefficients of the raw ones."""
    raw = torch.stack(list(gradients)).double()
    gram = raw @ raw.T
    rows = torch.eye(len(raw), dtype=torch.float64)
    for i, order in enumerate(orders):
        for j in order:
            inner = float(rows[i] @ gram[:, j])
            if i != j and inner < 0:
                rows[i, j] -= inner / float(gram[j, j])
    return [row.to(gradients[0].dtype) for row in rows @ raw]


@alternative
def in_double_precision_inside(gradients, orders):
    projected = []
    for i, gradient in enumerate(gradients):
        g = gradient.detach().double()
        for j in [int(j) for j in orders[i]]:
            other = gradients[j].detach().double()
            if j != i and (inner := (g * other).sum()) < 0:
                g = g - other * (inner / (other * other).sum())
        projected.append(g.to(gradient.dtype))
    return projected


@alternative
def one_function_a_task(gradients, orders):
    def surgery(i):
        g = gradients[i] + 0
        for j in orders[i]:
            other = gradients[j]
            if j != i and torch.einsum("p,p->", g, other).item() < 0:
                g = torch.addcmul(g, other, (g @ other) / (other @ other), value=-1)
        return g

    return [surgery(i) for i in range(len(gradients))]
