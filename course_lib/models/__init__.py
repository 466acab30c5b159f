"""The models by name: `create_model("restormer", dim=16)`, `list_models()`, `load_weights(path)`."""

from torch import nn

from course_lib.models.airnet import AirNet
from course_lib.models.autoencoder import AutoencoderKL
from course_lib.models.ddpm_unet import DDPMUNet
from course_lib.models.diffuir import DiffUIRNet
from course_lib.models.promptir import PromptIR
from course_lib.models.rddm import RDDMNet
from course_lib.models.restormer import Restormer
from course_lib.models.vit import ViTDenoiser

# name -> class. A model's constructor takes its configuration as keywords and keeps it in `.config`.
MODELS = {
    "airnet": AirNet,
    "autoencoder": AutoencoderKL,
    "ddpm_unet": DDPMUNet,
    "diffuir": DiffUIRNet,
    "promptir": PromptIR,
    "rddm": RDDMNet,
    "restormer": Restormer,
    "vit": ViTDenoiser,
}


def list_models() -> list[str]:
    """Names that `create_model` knows."""
    return sorted(MODELS)


def create_model(name: str, **config) -> nn.Module:
    """A fresh model by name with its configuration as keywords. Raises ValueError for an unknown name or keyword."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; there are {', '.join(list_models())}")
    try:
        return MODELS[name](**config)
    except TypeError as error:
        raise ValueError(f"create_model({name!r}): {error}") from None


__all__ = [
    "MODELS", "AirNet", "AutoencoderKL", "DDPMUNet", "DiffUIRNet", "PromptIR", "RDDMNet", "Restormer", "ViTDenoiser",
    "create_model", "list_models",
]  # fmt: skip
