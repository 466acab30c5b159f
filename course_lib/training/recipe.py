"""A training run written down: a TOML file whose every number is explained by its field here."""

import dataclasses
import hashlib
import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.paths import data_root


class RecipeError(ValueError):
    """A recipe that cannot be read or does not make sense; names the file and the field."""


@dataclass(frozen=True)
class Recipe:
    """What decides a run. The same recipe on the same machine gives the same weights.

    Patches and batches: `patches[i]` and `batches[i]` hold until `stage_ends[i]` of the steps (Restormer's progressive learning). With
    `stage_rates` each stage has a cosine of its own, from `stage_rates[i]` down to `final_learning_rate`; without, one runs over all steps.
    """

    name: str = "run"
    model: str = "restormer"
    config: dict = field(default_factory=dict)  # keywords of create_model
    start: str = ""  # weights to begin with: another recipe's name (shipped, or from its finished run) or a file; "": random
    data: str = "photos"  # "photos", "bsds" (COURSE_DATA_DIR/BSDS500 without leakage), "published" (each task's own set) or a folder
    sigma: float | list = 25.0  # noise level 0-255, or [low, high] drawn per sample
    tasks: str = ""  # a setting of datasets/settings.py ("five-task"), trained all in one on `data`; "" is noise of `sigma` alone
    balance: str = "balanced"  # of the tasks: "balanced", "repeat" or "weights", see datasets/mixture.py
    context: int = 0  # side of the scene that is spoilt before the patch is cut out of it; 0: each patch by itself, see datasets/mixture.py
    seed: int = 0
    steps: int = 1000
    patches: tuple = (64,)
    batches: tuple = (8,)
    stage_ends: tuple = (1.0,)  # fractions of `steps`, or steps (the last is then `steps`)
    stage_rates: tuple = ()  # learning rate that each stage begins with, the first one's after `warmup`; (): `learning_rate` and one cosine
    learning_rate: float = 3e-4
    final_learning_rate: float = 1e-6  # cosine ends here
    warmup: int = 0  # steps of linear warm-up
    weight_decay: float = 1e-4
    betas: tuple = (0.9, 0.999)
    clip_norm: float = 1.0  # gradient norm is cut to this; 0 switches it off
    ema_decay: float = 0.999  # 0: no average, the last weights are the result
    precision: str = "auto"  # "fp32", "bf16", "fp16", or "auto": bf16 where the device multiplies it fast
    accumulate: int = 1  # micro-batches a step
    validate_every: int = 0  # steps; 0: only at the end
    log_every: int = 10  # steps between rows of the log
    checkpoint_seconds: float = 60.0
    workers: int = 0

    def __post_init__(self):
        lengths = {len(self.patches), len(self.batches), len(self.stage_ends)}
        if len(lengths) != 1:
            raise RecipeError(f"recipe {self.name}: patches, batches and stage_ends must have one length")
        if list(self.stage_ends) != sorted(self.stage_ends) or self.stage_ends[-1] not in (1.0, self.steps):
            raise RecipeError(f"recipe {self.name}: stage_ends must rise to 1.0, or to steps ({self.steps}), got {list(self.stage_ends)}")
        if self.stage_rates and (len(self.stage_rates) not in lengths or min(self.stage_rates) <= 0 or self.warmup >= self._starts()[1]):
            raise RecipeError(
                f"recipe {self.name}: stage_rates are positive, one a stage, and warmup ends in the first; got {list(self.stage_rates)}"
            )
        if any(patch % 8 or patch < 8 for patch in self.patches):
            raise RecipeError(f"recipe {self.name}: patches must divide by 8, got {list(self.patches)}")
        if any(batch < 1 for batch in self.batches):
            raise RecipeError(f"recipe {self.name}: batches must be positive, got {list(self.batches)}")
        if isinstance(self.sigma, (list, tuple)) and (len(self.sigma) != 2 or self.sigma[0] > self.sigma[1]):
            raise RecipeError(f"recipe {self.name}: sigma is a number or [low, high], got {list(self.sigma)}")
        if self.balance not in ("balanced", "repeat", "weights"):
            raise RecipeError(f"recipe {self.name}: balance is one of balanced, repeat, weights, not {self.balance!r}")
        if not 0 <= self.ema_decay < 1:
            raise RecipeError(f"recipe {self.name}: ema_decay must lie in [0, 1), got {self.ema_decay}")
        if self.context and not (self.tasks and self.context >= max(self.patches)):
            raise RecipeError(f"recipe {self.name}: context goes with tasks and is no smaller than a patch, got {self.context}")
        if self.steps < 1 or self.learning_rate <= 0 or self.accumulate < 1 or self.log_every < 1:
            raise RecipeError(f"recipe {self.name}: steps, learning_rate, accumulate and log_every must be positive")
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise RecipeError(f"recipe {self.name}: precision is one of auto, fp32, bf16, fp16, not {self.precision!r}")

    def stage(self, step: int) -> tuple[int, int]:
        """(patch, batch) of a step."""
        place = self._place(step)
        return self.patches[place], self.batches[place]

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: a linear warm-up, then half a cosine over the steps, or one a stage with `stage_rates`."""
        rates, starts = (self.stage_rates, self._starts()) if self.stage_rates else ((self.learning_rate,), [0, self.steps])
        place = self._place(step) if self.stage_rates else 0
        if step < self.warmup:
            return rates[0] * (step + 1) / self.warmup
        first, end = max(starts[place], self.warmup), starts[place + 1]
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - first) / max(1, end - 1 - first))))
        return self.final_learning_rate + (rates[place] - self.final_learning_rate) * cosine

    def _starts(self) -> list[int]:
        """The first step of each stage, and `steps`."""
        scale = self.steps if self.stage_ends[-1] == 1 else 1
        return [0, *(math.ceil(end * scale) for end in self.stage_ends)]

    def _place(self, step: int) -> int:
        starts = self._starts()
        return min(sum(step >= start for start in starts[1:]), len(self.patches) - 1)

    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of every field: two runs with one hash were asked for the same thing."""
        values = dataclasses.asdict(self)
        if not self.tasks:  # fields that came later leave the hashes of earlier recipes as they were
            del values["tasks"], values["balance"]
        for later in ("start", "context", "stage_rates"):
            if not values[later]:
                del values[later]
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def replace(self, **changes) -> "Recipe":
        return dataclasses.replace(self, **changes)


def recipe_folder() -> Path:
    """`data/recipes`, where the shipped recipes lie."""
    return data_root() / "recipes"


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe by the name of a shipped one or the path of a TOML file. Raises RecipeError naming the file and the field."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = recipe_folder() / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in recipe_folder().glob("*.toml"))) or "none"
        raise RecipeError(f"no recipe {name_or_path!r}; shipped ones: {known}; or give the path of a .toml file")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    fields = {f.name: f for f in dataclasses.fields(Recipe)}
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise RecipeError(f"{path}: unknown field {', '.join(unknown)}; there are {', '.join(fields)}")
    lists = [key for key in ("patches", "batches", "stage_ends", "stage_rates", "betas") if isinstance(table.get(key), list)]
    table = {**table, **{key: tuple(table[key]) for key in lists}}
    _check_types(path, table, fields)
    try:
        return Recipe(**{"name": path.stem, **table})
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def _check_types(path: Path, table: dict, fields: dict) -> None:
    words = {int: "a whole number", float: "a number", str: "text", tuple: "a list of numbers", dict: "a table"}
    for key, value in table.items():
        default = fields[key].default
        kind = dict if default is dataclasses.MISSING else type(default)
        accepted = (int, float) if kind is float else (kind,)
        if key == "sigma" and isinstance(value, list):
            kind, accepted = tuple, (list,)
        good = isinstance(value, accepted) and not isinstance(value, bool)
        if isinstance(value, (list, tuple)):
            good = good and len(value) > 0 and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
        if not good:
            raise RecipeError(f"{path}: {key} must be {words[kind]}, got {value!r}")
