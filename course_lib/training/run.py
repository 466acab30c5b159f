"""`course train`: a recipe from start to finish, its verification, and what it trains on."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.datasets.pairs import noise_of
from course_lib.datasets.photos import load_folder, load_photos
from course_lib.datasets.settings import setting_of
from course_lib.degradations.noise import gaussian_noise
from course_lib.evaluation import restore
from course_lib.metrics import psnr
from course_lib.models import create_model
from course_lib.paths import benchmark_root, data_root, shipped_weights
from course_lib.training.checkpoint import load_weights
from course_lib.training.log import read_log
from course_lib.training.loop import Result, TrainingError, fit
from course_lib.training.recipe import Recipe, RecipeError

VERIFY_ROWS = 20
PROCESS_MODELS = ("diffusion_restorer", "diffusion_prior", "latent_prior", "autoencoder")  # what training/diffusion.py trains


def training_images(recipe: Recipe) -> list[Tensor] | dict[str, list]:
    """The clean images of a recipe: `photos`, `bsds` (BSDS500 without what overlaps the test sets) or a folder; or `published`.

    `published`: task -> what the papers of the recipe's setting train that task on. Raises RecipeError.
    """
    if recipe.data == "photos":
        return list(load_photos("train").values())
    if recipe.data == "published":
        from course_lib.training.tasks import published_sources

        try:
            return published_sources(recipe.tasks)
        except ValueError as error:
            raise RecipeError(f"recipe {recipe.name}: {error}") from None
    if recipe.data == "bsds":
        folder = benchmark_root() / "BSDS500"
        listing = folder / "train_overlapping_Rain100L.txt"
        if not (folder / "test").is_dir():
            raise RecipeError(
                f"recipe {recipe.name} trains on BSDS500, which is not at {folder}; set COURSE_DATA_DIR to the folder that holds "
                'BSDS500/train and BSDS500/test, or train on the shipped photographs with data = "photos"'
            )
        if not listing.is_file():
            raise RecipeError(f"{listing} is missing: it names the training images that Rain100L tests on, which must not be trained on")
        # Rain100L's clean images are BSDS500's, and CBSD68 lies in its validation part: neither may be seen
        overlap = {Path(line.strip()).stem for line in listing.read_text().splitlines() if line.strip()}
        return [*load_folder(folder / "train", leave_out=overlap).values(), *load_folder(folder / "test").values()]
    folder = Path(recipe.data).expanduser()
    if not folder.is_dir():
        raise RecipeError(f"recipe {recipe.name}: data = {recipe.data!r} is none of photos, bsds, published, nor a folder of images")
    return list(load_folder(folder).values())


def photo_validation(split: str = "validation", sigma: float = 25.0, crop: int = 256) -> Callable[[nn.Module], float]:
    """A `validate` for fit: mean PSNR in dB on centre crops of a split of the photographs with fixed noise of `sigma`."""
    pairs = []
    for index, clean in enumerate(load_photos(split).values()):
        height, width = clean.shape[1:]
        side = min(crop, height - height % 8, width - width % 8)
        top, left = (height - side) // 2, (width - side) // 2
        clean = clean[None, :, top : top + side, left : left + side]
        pairs.append((gaussian_noise(clean, sigma, 1000 + index, clip=False), clean))

    def validate(model: nn.Module) -> float:
        device = next(model.parameters()).device
        scores = [psnr(restore(model, degraded.to(device)).clamp(0, 1).cpu(), clean) for degraded, clean in pairs]
        return float(torch.cat(scores).mean())

    return validate


def run_folder(name: str) -> Path:
    """Where `course train` puts the run of a recipe unless told: `runs/train/NAME` in the present folder."""
    return Path("runs/train") / name


def start_weights(recipe: Recipe) -> Path:
    """The file that `recipe.start` means. Raises RecipeError saying how to make it."""
    finished = run_folder(recipe.start) / "final.safetensors"
    for path in (Path(recipe.start), shipped_weights(recipe.start), finished):
        if path.is_file():
            return path
    raise RecipeError(
        f"recipe {recipe.name} begins with the weights {recipe.start!r}, which are neither a file nor shipped nor in {finished}; "
        f"`course train {recipe.start}` makes them"
    )


def _model(recipe: Recipe, images: list[Tensor] | dict[str, list] | tuple = ()) -> nn.Module:
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model, **recipe.config)
    _check_words(recipe, model)
    if recipe.start and hasattr(model, "begin"):
        model.begin(start_weights(recipe), images)
    elif recipe.start:
        load_weights(start_weights(recipe), model)
    return model.train()


def _check_words(recipe: Recipe, model: nn.Module) -> None:
    """A model that is told its tasks needs a text for each. Raises RecipeError."""
    if not hasattr(model, "words"):
        return
    names = [task.name for task in setting_of(recipe.tasks).tasks] if recipe.tasks else []
    absent = [name for name in names if model.words is None or model.words.find(name) is None]
    if absent or not names:
        what = f"no words for {', '.join(absent)}" if absent else "no tasks"
        raise RecipeError(
            f"recipe {recipe.name}: {recipe.model} is told what a picture suffers from, and there are {what}; set tasks to a setting, and "
            "in [config.words] a text for each of its tasks"
        )


def _parts(recipe: Recipe, images: list[Tensor] | dict[str, list], model: nn.Module | None = None) -> dict:
    """The arguments of `fit` that follow from the recipe: data, degradation, loss and validation."""
    if recipe.model in PROCESS_MODELS:
        from course_lib.training.diffusion import objective_for, validation_for

        told = {"objective": objective_for(recipe, model), "validate": validation_for(recipe)}
        if not recipe.tasks:  # clean pictures alone
            return {"images": images, "degrade": noise_of(0), **told}
        return _mixture_parts(recipe, images) | told
    if not recipe.tasks:
        return {"images": images, "degrade": noise_of(recipe.sigma), "validate": photo_validation()}
    from course_lib.training.tasks import objective_of, task_validation

    return _mixture_parts(recipe, images) | {"objective": objective_of(recipe), "validate": task_validation(recipe.tasks)}


def _mixture_parts(recipe: Recipe, images: list[Tensor] | dict[str, list]) -> dict:
    from course_lib.training.tasks import mixture

    try:
        return {"images": mixture(recipe, images), "degrade": None}
    except ValueError as error:
        raise RecipeError(f"recipe {recipe.name}: {error}") from None


def train(recipe: Recipe, folder: str | Path, *, device: str = "auto", progress: bool = True, say=print) -> Result:
    """Run `recipe` in `folder`, going on where an earlier call stopped. Raises RecipeError, TrainingError."""
    images = training_images(recipe)
    count = sum(map(len, images.values())) if isinstance(images, dict) else len(images)
    say(f"{recipe.name}: {count} training images, {recipe.steps} steps, recipe {recipe.hash()}")
    model = _model(recipe, images)
    return fit(model, recipe, folder=folder, device=device, progress=progress, say=say, **_parts(recipe, images, model))


def committed_log(recipe: Recipe) -> Path:
    """Where the log of a shipped recipe's run lies."""
    return data_root() / "checkpoints" / f"{recipe.name}.log.csv"


def verify(recipe: Recipe, folder: str | Path, *, device: str = "auto", progress: bool = True, say=print, tolerance: float = 0.02) -> dict:
    """Repeat the first 20 rows of the committed log in `folder` and compare losses; {rows, largest relative difference, same}.

    bf16 and the number of threads change the last bits, and training amplifies them, hence `tolerance`: one thread against two
    differed by 3.5 % in the worst of 20 rows on one machine.
    Raises TrainingError when there is no committed log.
    """
    log = committed_log(recipe)
    if not log.is_file():
        raise TrainingError(f"{log}: no committed log of this recipe to verify against")
    wanted = read_log(log)[:VERIFY_ROWS]
    images = training_images(recipe)
    model = _model(recipe, images)
    parts = _parts(recipe, images, model) | {"validate": None}
    result = fit(model, recipe, folder=folder, device=device, stop_after=int(wanted[-1]["step"]), progress=progress, say=say, **parts)
    got = read_log(result.log)[: len(wanted)]
    if [row["step"] for row in got] != [row["step"] for row in wanted]:
        raise TrainingError(f"{result.log} has other steps than {log}")
    difference = max(abs(float(a["loss"]) / float(b["loss"]) - 1) for a, b in zip(got, wanted, strict=True))
    return {"recipe": recipe.name, "rows": len(wanted), "largest_relative_difference": difference, "same": difference <= tolerance}
