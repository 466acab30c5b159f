"""Device, precision and processes through accelerate; the two or three things it leaves to us, each in one function."""

import gc

import torch

OUT_OF_MEMORY = (torch.OutOfMemoryError, RuntimeError)


def is_out_of_memory(error: BaseException) -> bool:
    """True for CUDA's own error and for the words that the CPU and MPS allocators put into a RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error) or "not enough memory" in str(error)


def free_memory(device: torch.device) -> None:
    """Give cached blocks back to the device after an out-of-memory error."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def fast_bf16(device: torch.device) -> bool:
    """True where bf16 products are faster than fp32: CUDA from Ampere on, CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        return any(getattr(torch.cpu, f"_is_{name}_supported", lambda: False)() for name in ("avx512_bf16", "amx_tile"))
    return False


def pick_precision(device: torch.device, wanted: str) -> str:
    """ "fp32", "bf16" or "fp16" for `wanted` in auto, fp32, bf16, fp16: auto is bf16 where it is fast, fp16 on older CUDA cards."""
    if wanted != "auto":
        return wanted
    if fast_bf16(device):
        return "bf16"
    return "fp16" if device.type == "cuda" else "fp32"


def make_accelerator(device: str | torch.device, precision: str):
    """An accelerate.Accelerator on `device` ("auto", "cpu", "cuda", "mps") at `precision`; processes are whatever launched us.

    fp16 on the CPU, which accelerate refuses, gets torch's own CPU scaler: it trains nothing faster there, but lets the scaler
    path be tested without a card.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    device = _probed_device(str(device))
    precision = pick_precision(device, precision)
    # accelerate keeps its settings for the process; a notebook trains several times with different ones
    AcceleratorState._reset_state()
    if PartialState._shared_state and PartialState().num_processes == 1:
        PartialState._reset_state()  # it also keeps the device of the first call
    cpu_fp16 = device.type == "cpu" and precision == "fp16"
    mixed = "no" if precision == "fp32" or cpu_fp16 else precision
    accelerator = Accelerator(mixed_precision=mixed, cpu=device.type == "cpu")
    if cpu_fp16:
        accelerator.state._mixed_precision = "fp16"
        accelerator.native_amp = True
        accelerator.scaler = torch.amp.GradScaler("cpu")
    return accelerator


def _probed_device(preference: str) -> torch.device:
    from course_lib.doctor import usable_device

    return usable_device(preference)
