"""Weights, inputs and comparison of the golden files (numbers from the official implementations); the rules stand in each function."""

import json
import zlib
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parent / "data" / "golden"


def read(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def fill(key, shape):
    """One tensor of an official state dict, from its name alone."""
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    r = torch.randn(shape, generator=generator)
    if key.endswith("running_var"):
        return r.abs() + 0.5
    if len(shape) >= 2:
        return r / max(1, torch.Size(shape[1:]).numel()) ** 0.5
    if key.endswith(("bias", "running_mean")):
        return 0.1 * r
    return 1 + 0.1 * r


def state_dict(golden):
    return {key: fill(key, shape) for key, (shape, dtype) in golden["state_dict"].items() if dtype.startswith("float")}


def image(case):
    spec = case["inputs"]["image"]
    return torch.rand(spec["shape"], generator=torch.Generator().manual_seed(spec["seed"]))


def largest_excess(output, wanted):
    """Largest difference over its tolerance 1e-4 * max(1, absmax): at most 1 is the same."""
    got = output.detach().double().contiguous().flatten()
    assert list(output.shape) == wanted["shape"]
    index = torch.tensor(wanted["index"])
    assert index.tolist() == [(i * 7919) % got.numel() for i in range(48)]
    numbers = torch.cat([got[index], torch.stack([got.mean(), got.std(), got.abs().max()])])
    values = next(wanted[key] for key in ("values", "value", "samples") if key in wanted)
    reference = torch.tensor([*values, wanted["mean"], wanted["std"], wanted["absmax"]], dtype=torch.float64)
    return float((numbers - reference).abs().max() / (1e-4 * max(1.0, wanted["absmax"])))
