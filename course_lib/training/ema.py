"""Exponential moving average of the weights: what is validated and shipped is smoother than the last step."""

import torch
from torch import Tensor, nn


class EMA:
    """ema = d * ema + (1 - d) * weight after each step, with d = min(decay, (1 + step) / (10 + step)): the start is soon forgotten."""

    def __init__(self, model: nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.weights: dict[str, Tensor] = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        floating, current = [], []
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                floating.append(self.weights[key])
                current.append(value.detach())
            else:
                self.weights[key].copy_(value)
        torch._foreach_lerp_(floating, current, 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        return self.weights

    def load_state_dict(self, weights: dict[str, Tensor]) -> None:
        for key, value in weights.items():
            self.weights[key].copy_(value)
