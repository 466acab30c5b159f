"""Is this machine fit for the course? Each finding is a real trial (a convolution, a compiled page), with what to do about it.

Cheap to import: torch is loaded where it is used, and the checks themselves (`course_lib.checkup`) when `examine` is called.
"""

from dataclasses import asdict, dataclass


@dataclass
class Finding:
    """One line of the report: `status` is ok, warn (the lessons still run) or fail; `remedy` says what to do, empty when ok."""

    name: str
    status: str
    detail: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def probe(device) -> None:
    """A real convolution with backward on `device`, compared with the CPU's numbers. Raises RuntimeError when it fails or differs."""
    import torch

    def run(where):
        image = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16).to(where).requires_grad_()
        weight = torch.linspace(-1, 1, 8 * 3 * 3 * 3).reshape(8, 3, 3, 3).to(where).requires_grad_()
        torch.nn.functional.conv2d(image, weight, padding=1).square().mean().backward()
        return image.grad.to("cpu"), weight.grad.to("cpu")  # the copy waits for the device, so late errors come up here

    expected = run("cpu") if torch.device(device).type != "cpu" else None
    for index, grad in enumerate(got := run(device)):
        if not bool(grad.isfinite().all()):
            raise RuntimeError("the gradient of a small convolution is not finite")
        # Loose on purpose: TF32 and other fast modes round to about 1e-3.
        if expected is not None and (got[index] - expected[index]).abs().max() > 0.02 * expected[index].abs().max():
            raise RuntimeError("the gradient of a small convolution differs from the CPU's by more than 2 %")


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def cuda_name(device) -> str:
    import torch

    try:
        major, minor = torch.cuda.get_device_capability(device)
        return f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor} (sm_{major}{minor})"
    except Exception as error:  # a broken driver may not even name its card
        return f"a card that does not answer ({first_line(error)})"


def _present(device) -> str:
    """Empty when torch sees this device, else why not."""
    import torch

    if device.type == "cuda" and not torch.cuda.is_available():
        if torch.version.cuda is None and torch.version.hip is None:
            return "this torch is built without CUDA"
        return "torch sees no CUDA card"
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        return f"there are only {torch.cuda.device_count()} CUDA cards (numbered from 0)"
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "torch sees no Apple GPU (mps)"
    return ""


def trouble_of(device) -> str:
    """Why `device` cannot compute, in words; empty when the trial passes."""
    absent = _present(device)
    if absent:
        return absent
    try:
        probe(device)
    except Exception as error:  # whatever the kernels raise, the lesson must be able to go on elsewhere
        words = first_line(error)
        if device.type == "cuda":
            import torch

            words = f"{cuda_name(device)}: {words}; this torch has kernels for {' '.join(torch.cuda.get_arch_list()) or 'no card'}"
        return words
    return ""


def device_remedy(trouble: str) -> str:
    text = trouble.lower()
    if "no kernel image" in text or "not compatible" in text:
        return "choose another card (Kaggle: 'GPU T4 x2', not P100), or install a torch whose list of kernels has this card's sm_ number"
    if "out of memory" in text:
        return "another program holds the card's memory: stop the other notebooks (Runtime > Manage sessions) and try again"
    if "sees no cuda card" in text:
        return "Colab: Runtime > Change runtime type > GPU; Kaggle: Settings > Accelerator; own machine: update the NVIDIA driver"
    if "without cuda" in text:
        return "install the CUDA build of torch, or go on with the CPU (profile quick)"
    return "restart the runtime; if it stays, update driver and torch, or go on with the CPU (profile quick)"


def candidates(preference: str) -> list:
    """Devices to try, best first. Raises ValueError for a name that torch or the course does not know."""
    import torch

    if preference in ("", "auto"):
        return [d for d in (torch.device("cuda"), torch.device("mps")) if not _present(d)] + [torch.device("cpu")]
    try:
        device = torch.device(preference)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "mps", "cpu"):
        raise ValueError(f"unknown device {preference!r}; choose auto, cpu, cuda, cuda:0, cuda:1, ... or mps")
    return [device] if device.type == "cpu" else [device, torch.device("cpu")]


def usable_device(preference: str = "auto"):
    """torch.device that passes a real convolution and backward: `preference`, or for "auto" cuda, mps, cpu in this order.

    A device that is absent or fails is left for the CPU with one printed line; never in silence. Raises ValueError for an unknown
    name, RuntimeError when the CPU itself fails.
    """
    devices = candidates(str(preference))
    for device, following in zip(devices, [*devices[1:], None], strict=True):
        trouble = trouble_of(device)
        if not trouble:
            return device
        if following is not None:
            print(f"{device} cannot be used, going on with {following}: {trouble}. What to do: {device_remedy(trouble)}.")
    raise RuntimeError(f"torch cannot compute on this CPU: {trouble}; install torch again")


def examine(device: str = "auto") -> list[Finding]:
    """Run every check (ten to twenty seconds) and return its findings; nothing is changed and nothing is downloaded.

    `device`: auto, cpu, cuda, cuda:N or mps; one asked for by name that does not work is a `fail`. Raises ValueError for another name.
    """
    from importlib.util import find_spec

    from course_lib.checkup import CHECKS

    if find_spec("torch"):
        candidates(device)  # a wrong name is the caller's mistake, not a finding
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings.extend(check(device))
        except Exception as error:  # one broken part must not hide the others
            name = check.__name__.removeprefix("check_")
            words = f"this check stopped with {first_line(error)}"
            findings.append(Finding(name, "fail", words, "set the course up again (README); if it stays, report it"))
    return findings


def failed(findings: list[Finding]) -> bool:
    """True when something is `fail`, so that the command ends with status 1."""
    return any(finding.status == "fail" for finding in findings)


def as_dicts(findings: list[Finding]) -> list[dict[str, str]]:
    """The findings as JSON-able dicts with name, status, detail, remedy."""
    return [finding.to_dict() for finding in findings]


def report(findings: list[Finding]) -> str:
    """Readable text: one line a finding, what to do under each trouble, and a summary at the end."""
    marks = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
    width = max((len(f.name) for f in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{marks[finding.status]}  {finding.name:<{width}}  {finding.detail}")
        if finding.remedy:
            lines.append(f"      {'':<{width}}  -> {finding.remedy}")
    counts = {status: sum(f.status == status for f in findings) for status in marks}
    verdict = "some parts will not work" if counts["fail"] else "ready"
    return "\n".join([*lines, "", f"{verdict}: {counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failures"])
