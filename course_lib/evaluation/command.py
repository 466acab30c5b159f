"""`course eval`: a model by name or file, a data set by name or folder, one row a protocol and noise level."""

from pathlib import Path

from torch import nn

from course_lib.evaluation import PROTOCOLS, evaluate, mean_scores, noisy_pairs
from course_lib.evaluation.tiled import restore, restore_tiled
from course_lib.images import ImageError, list_images
from course_lib.paths import benchmark_root, data_root

WHOLE_IMAGE_PIXELS = 1 << 20  # larger images are restored in tiles


def shipped_models() -> list[str]:
    """Names of the weights in `data/checkpoints`."""
    return sorted(path.stem for path in (data_root() / "checkpoints").glob("*.safetensors"))


def find_model(name: str) -> nn.Module | None:
    """A shipped model by name, a model from a weights file, or None for `identity`. Raises ValueError, CheckpointError."""
    from course_lib.training.checkpoint import load_weights

    if name == "identity":
        return None
    shipped = data_root() / "checkpoints" / f"{name}.safetensors"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        raise ValueError(f"unknown model {name!r}: neither a file nor one of identity, {', '.join(shipped_models())}")
    return load_weights(path)


def clean_files(data: str) -> list[Path]:
    """The clean images of `CBSD68` (under COURSE_DATA_DIR), `photos` (the test split) or a folder. Raises ImageError."""
    from course_lib.datasets.photos import photo_files

    if data == "photos":
        return photo_files("test")
    if data == "CBSD68":
        folder = benchmark_root() / "CBSD68"
        for candidate in (folder / "original_png", folder):
            if candidate.is_dir():
                return list_images(candidate)
        raise ImageError(f"CBSD68 is not at {folder}; set COURSE_DATA_DIR to the folder that holds CBSD68/original_png (68 PNG files)")
    return list_images(data)


def evaluation_table(model_name, data, sigmas, protocol=None, *, clip=True, device="auto", progress=True) -> list[dict]:
    """Rows of `course eval`: model, data, protocol, sigma, images, degraded and restored PSNR (dB) and SSIM."""
    from tqdm import tqdm

    from course_lib.doctor import usable_device

    if protocol and protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    model = find_model(model_name)
    files = clean_files(data)
    place = usable_device(device)
    if model is not None:
        model.to(place)

    def restorer(network, image):
        whole = image.shape[-1] * image.shape[-2] <= WHOLE_IMAGE_PIXELS
        return restore(network, image) if whole else restore_tiled(network, image)

    rows = []
    for name in [protocol] if protocol else PROTOCOLS:
        for sigma in sigmas:
            pairs = tqdm(
                noisy_pairs(files, sigma, name), desc=f"{name} sigma {sigma:g}", total=len(files),
                disable=not progress, unit="image", leave=False,
            )  # fmt: skip
            scores = mean_scores(evaluate(model, pairs, restorer=restorer, clip=clip and model is not None, device=place))
            rows.append({"model": model_name, "data": data, "protocol": name, "sigma": sigma, "images": len(files), **scores})
    return rows
