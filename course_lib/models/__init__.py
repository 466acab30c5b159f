"""The models by name: `create_model("restormer", dim=16)`, `list_models()`, `load_weights(path)`."""

from importlib import import_module

from torch import nn

from course_lib.models.airnet import AirNet
from course_lib.models.autoencoder import AutoencoderKL
from course_lib.models.ddpm_unet import DDPMUNet
from course_lib.models.dfpir import DFPIR
from course_lib.models.diffuir import DiffUIRNet
from course_lib.models.instructir import InstructIR
from course_lib.models.promptir import PromptIR
from course_lib.models.rddm import RDDMNet
from course_lib.models.restormer import Restormer
from course_lib.models.vit import ViTDenoiser

# name -> class. A model's constructor takes its configuration as keywords and keeps it in `.config`.
MODELS = {
    "airnet": AirNet,
    "autoencoder": AutoencoderKL,
    "ddpm_unet": DDPMUNet,
    "dfpir": DFPIR,
    "diffuir": DiffUIRNet,
    "instructir": InstructIR,
    "promptir": PromptIR,
    "rddm": RDDMNet,
    "restormer": Restormer,
    "vit": ViTDenoiser,
}

# models of a process and its network; imported when asked for, since the processes import from this package
WITH_PROCESS = {
    "autodir": "course_lib.diffusion.autodir:AutoDIR",
    "diffusion_prior": "course_lib.diffusion.prior:DiffusionPrior",
    "diffusion_restorer": "course_lib.diffusion.restorer:DiffusionRestorer",
    "latent_prior": "course_lib.diffusion.prior:LatentPrior",
}


def list_models() -> list[str]:
    """Names that `create_model` knows."""
    return sorted([*MODELS, *WITH_PROCESS])


def model_class(name: str) -> type[nn.Module]:
    """The class of a model by name. Raises ValueError for an unknown one."""
    if name in WITH_PROCESS:
        module, _, kind = WITH_PROCESS[name].partition(":")
        return getattr(import_module(module), kind)
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; there are {', '.join(list_models())}")
    return MODELS[name]


def name_of(model: nn.Module) -> str:
    """The name under which `create_model` makes a model's class; the class's own name for one that it does not know."""
    kind = type(model)
    named = {**{f"{made.__module__}:{made.__name__}": name for name, made in MODELS.items()}, **{v: k for k, v in WITH_PROCESS.items()}}
    return named.get(f"{kind.__module__}:{kind.__name__}", kind.__name__)


def create_model(name: str, **config) -> nn.Module:
    """A fresh model by name with its configuration as keywords. Raises ValueError for an unknown name or keyword."""
    made = model_class(name)
    try:
        return made(**config)
    except TypeError as error:
        raise ValueError(f"create_model({name!r}): {error}") from None


__all__ = [
    "DFPIR", "MODELS", "AirNet", "AutoencoderKL", "DDPMUNet", "DiffUIRNet", "InstructIR", "PromptIR", "RDDMNet", "Restormer", "ViTDenoiser",
    "create_model", "list_models", "model_class", "name_of",
]  # fmt: skip
