"""Training of diffusion models by the loop of the others: their loss told by noise level, their validation, their sample grids.

The loss of a step depends more on the times that were drawn than on what the network has learnt. So the times of a batch are spread over
0 ... T-1 (each still uniform), and `levels.csv` keeps the mean loss of each tenth of the times apart.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.datasets.photos import load_photos
from course_lib.diffusion.chain import starting_noise
from course_lib.diffusion.restorer import spread_times
from course_lib.metrics import psnr
from course_lib.training.loop import Batch
from course_lib.training.recipe import Recipe

LEVELS = 10
GRID_SEED = 77


class LevelObjective:
    """The mean loss of a diffusion model over a batch; `rows` gives and forgets the mean of each noise level since the last call.

    `restores`: the model takes (degraded, clean), otherwise clean pictures alone. Times and noise come from torch's own stream, whose
    state a checkpoint holds: a run that goes on draws what it would have drawn.
    """

    def __init__(self, T: int, restores: bool, levels: int = LEVELS):
        self.T, self.restores = T, restores
        self.sums, self.counts = [0.0] * levels, [0] * levels

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        degraded, clean = batch[:2]
        t = spread_times(len(clean), self.T)
        losses = model(degraded, clean, t) if self.restores else model(clean, t)
        for time, loss in zip(t.tolist(), losses.detach().float().tolist(), strict=True):
            level = time * len(self.sums) // self.T
            self.sums[level] += loss
            self.counts[level] += 1
        return losses.mean()

    def rows(self) -> list[dict]:
        """{level, loss, count} of every level that was met since the last call."""
        met = [level for level, count in enumerate(self.counts) if count]
        rows = [dict(level=level, loss=self.sums[level] / self.counts[level], count=self.counts[level]) for level in met]
        self.sums, self.counts = [0.0] * len(self.sums), [0] * len(self.counts)
        return rows

    def state(self) -> dict:
        """What a checkpoint keeps."""
        return {"sums": self.sums, "counts": self.counts}

    def load_state(self, state: dict) -> None:
        """Go on from `state`."""
        self.sums, self.counts = list(state["sums"]), list(state["counts"])


def objective_for(recipe: Recipe, model: nn.Module) -> Callable[[nn.Module, Batch], Tensor]:
    """The loss of a diffusion model or an autoencoder."""
    if recipe.model == "autoencoder":
        return autoencoder_objective
    if getattr(model, "on_walk", False):
        return walk_objective
    return LevelObjective(model.T, recipe.model == "diffusion_restorer")


def walk_objective(model: nn.Module, batch: Batch) -> Tensor:
    """The loss of a restorer on the states of its own walk, one step of it for the whole batch, drawn by torch's stream."""
    return model(batch[0], batch[1]).mean()


def autoencoder_objective(model: nn.Module, batch: Batch) -> Tensor:
    """The autoencoder's own loss on clean pictures, its codes drawn by torch's stream."""
    clean = batch[1]
    z = torch.randn(len(clean), model.latent_channels, clean.shape[-2] // 4, clean.shape[-1] // 4).to(clean.device)
    return model.loss(clean, z)


class PriorValidation:
    """PSNR in dB of the clean picture that a prior sees through noise, at five noise levels; `grid` draws new pictures.

    The crops (the validation photographs') and the noise are the same at every call.
    """

    def __init__(self, T: int, side: int, crops: int = 16):
        photos = list(load_photos("validation").values())
        generator = torch.Generator().manual_seed(GRID_SEED)
        picked = []
        for index in range(crops):
            photo = photos[index % len(photos)]
            top, left = (int(torch.randint(0, length - side + 1, (1,), generator=generator)) for length in photo.shape[1:])
            picked.append(photo[:, top : top + side, left : left + side])
        self.clean, self.T, self.side = torch.stack(picked), T, side

    def __call__(self, model: nn.Module) -> dict[str, float]:
        scores = {}
        clean = self.clean.to(next(model.parameters()).device)
        x_0 = model.encode(clean)
        noise = starting_noise(x_0.shape, GRID_SEED, x_0.device)
        for part in (0.1, 0.3, 0.5, 0.7, 0.9):
            t = torch.full((len(x_0),), int(part * self.T), dtype=torch.int64, device=x_0.device)
            x_t = model.process.q_sample(x_0, t, noise)
            told = model.process.predict(model.network(x_t, t).float(), x_t, t).x_0
            scores[f"t = {part:g} T"] = float(psnr(model.decode(told), clean).mean())
        return scores

    def grid(self, model: nn.Module, steps: int = 25) -> Tensor:
        """32 new pictures in four rows, (3, 4 side, 8 side)."""
        device = next(model.parameters()).device
        shape = (32, *model.encode(self.clean[:1].to(device)).shape[1:])
        return tiled(model.sample(starting_noise(shape, GRID_SEED, device), steps=steps).cpu(), 8)


class AutoencoderValidation(PriorValidation):
    """PSNR in dB of pictures through an autoencoder and back; `grid` shows some with what came back."""

    def __init__(self, side: int, crops: int = 16):
        super().__init__(0, side, crops)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        clean = self.clean.to(next(model.parameters()).device)
        return {"there and back": float(psnr(model(clean).clamp(0, 1), clean).mean())}

    def grid(self, model: nn.Module) -> Tensor:
        """Eight pictures, and below them what came back, (3, 2 side, 8 side)."""
        clean = self.clean[:8].to(next(model.parameters()).device)
        return tiled(torch.cat([clean, model(clean).clamp(0, 1)]).cpu(), 8)


class RestorerValidation:
    """PSNR in dB of each task on crops of the validation photographs; `grid` shows one of every task: degraded, restored, clean."""

    def __init__(self, setting: str, crop: int = 192):
        from course_lib.training.tasks import task_validation

        self.validate = task_validation(setting, crop=crop)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        return self.validate(model)

    def grid(self, model: nn.Module) -> Tensor:
        """A column for each task, (3, 3 crop, tasks * crop)."""
        from course_lib.evaluation import restore

        first = [images[0] for images in self.validate.pairs.values()]
        device = next(model.parameters()).device
        degraded, clean = ([pair[place] for pair in first] for place in (0, 1))
        restored = [restore(model, image.to(device)).cpu() for image in degraded]
        return tiled(torch.cat([*degraded, *restored, *clean]).clamp(0, 1), len(first))


def validation_for(recipe: Recipe):
    """The `validate` of a run of a diffusion model or an autoencoder."""
    if recipe.tasks:
        return RestorerValidation(recipe.tasks)
    if recipe.model == "autoencoder":
        return AutoencoderValidation(recipe.patches[-1])
    return PriorValidation(dict(recipe.config.get("process", {})).get("timesteps", 1000), recipe.patches[-1])


def tiled(images: Sequence[Tensor] | Tensor, columns: int) -> Tensor:
    """Images (N, 3, h, w), N a multiple of `columns`, as one picture (3, N / columns * h, columns * w)."""
    rows = [torch.cat(list(images[start : start + columns]), dim=2) for start in range(0, len(images), columns)]
    return torch.cat(rows, dim=1)
