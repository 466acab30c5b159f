"""`course doctor`: real trials, troubles named with a remedy, and a GPU that only seems to work."""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from course_lib import checkup, doctor

NO_KERNEL = (
    "CUDA error: no kernel image is available for execution on the device\n"
    "CUDA kernel errors might be asynchronously reported at some other API call\n"
)
REAL_PROBE = doctor.probe


@pytest.fixture
def broken_cuda(monkeypatch):
    """A Tesla P100 that torch reports as available and whose every kernel fails."""

    def probe(device):
        if torch.device(device).type == "cuda":
            raise RuntimeError(NO_KERNEL)
        REAL_PROBE(device)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (6, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla P100-PCIE-16GB")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    monkeypatch.setattr(doctor, "probe", probe)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize("preference", ["auto", "cuda", "cuda:0"])
def test_broken_gpu_falls_back_with_one_line(broken_cuda, capsys, preference):
    assert doctor.usable_device(preference) == torch.device("cpu")
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    for part in ("P100", "sm_60", "sm_75 sm_80 sm_90", "no kernel image", "going on with cpu", "T4 x2"):
        assert part in said


def test_broken_gpu_is_a_warning_on_auto_and_a_failure_by_name(broken_cuda):
    auto = {f.name: f for f in checkup.check_device("auto")}
    assert auto["device cuda"].status == "warn" and "T4 x2" in auto["device cuda"].remedy
    assert auto["device cpu"].status == "ok" and auto["lessons compute on"].detail.startswith("cpu")
    assert {f.name: f.status for f in checkup.check_device("cuda")}["device cuda"] == "fail"


def test_without_gpu_auto_is_the_cpu_in_silence_but_a_wish_is_answered(no_gpu, capsys):
    assert doctor.usable_device() == torch.device("cpu")
    assert capsys.readouterr().out == ""
    assert doctor.usable_device("cuda") == torch.device("cpu")
    assert "cuda cannot be used, going on with cpu" in capsys.readouterr().out
    assert doctor.usable_device("mps") == torch.device("cpu")


def test_a_card_number_that_is_not_there(broken_cuda, capsys):
    assert doctor.usable_device("cuda:3") == torch.device("cpu")
    assert "only 1 CUDA cards" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta"])
def test_unknown_device_names_the_choices(name):
    with pytest.raises(ValueError, match="auto, cpu, cuda"):
        doctor.usable_device(name)
    with pytest.raises(ValueError, match="auto, cpu, cuda"):
        doctor.examine(name)


def test_a_device_that_computes_wrongly_is_found(monkeypatch):
    doctor.probe("cpu")
    real = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda *a, **k: real(*a, **k) * float("nan"))
    with pytest.raises(RuntimeError, match="not finite"):
        doctor.probe("cpu")
    with pytest.raises(RuntimeError, match="cannot compute on this CPU"):
        doctor.usable_device("cpu")


def test_out_of_memory_gets_its_own_remedy():
    assert "other notebooks" in doctor.device_remedy("cuda:0: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 MiB")


def test_examine_reports_and_serialises(no_gpu):
    findings = doctor.examine()
    names = {f.name for f in findings}
    assert {"python", "torch", "memory", "cpu", "device cpu", "bf16 on the CPU", "pandoc", "typst", "font, Chinese", "photographs"} <= names
    assert {f.status for f in findings} <= {"ok", "warn", "fail"}
    assert all(f.remedy for f in findings if f.status != "ok"), "every trouble says what to do"
    assert json.loads(json.dumps(doctor.as_dicts(findings)))[0].keys() == {"name", "status", "detail", "remedy"}
    text = doctor.report(findings)
    assert all(f.detail in text for f in findings)
    assert not any("check stopped" in f.detail for f in findings)


def test_exit_depends_on_failures_only():
    warn, fail = doctor.Finding("a", "warn", "b", "c"), doctor.Finding("a", "fail", "b", "do that")
    assert not doctor.failed([warn]) and doctor.failed([warn, fail])
    assert "FAIL" in doctor.report([fail]) and "-> do that" in doctor.report([fail])


def test_loaded_and_installed_versions_must_agree(monkeypatch):
    import numpy

    installed = numpy.__version__
    monkeypatch.setattr(numpy, "__version__", "1.99.0")
    finding = next(f for f in checkup.check_packages("auto") if f.name == "numpy")
    assert finding.status == "fail" and "1.99.0 is loaded" in finding.detail and installed in finding.detail
    assert "restart" in finding.remedy


def test_missing_and_outdated_packages(monkeypatch):
    real = checkup.metadata.version

    def version(name):
        if name in ("einops", "papermill"):
            raise checkup.metadata.PackageNotFoundError(name)
        return "0.1" if name == "pandas" else real(name)

    monkeypatch.setattr(checkup.metadata, "version", version)
    found = {f.name: f for f in checkup.check_packages("auto")}
    assert found["einops"].status == "fail" and "pip install" in found["einops"].remedy
    assert found["pandas"].status == "warn" and "outside the supported range" in found["pandas"].detail
    assert found["notebook tools"].status == "warn" and "papermill" in found["notebook tools"].remedy


def test_a_broken_check_does_not_hide_the_others(monkeypatch):
    def check_sky(_):
        raise OSError("it fell")
        yield

    monkeypatch.setattr(checkup, "CHECKS", (check_sky, checkup.check_network))
    sky, network = doctor.examine("cpu")
    assert (sky.name, sky.status) == ("sky", "fail") and "it fell" in sky.detail
    assert network.status == "ok"


def test_benchmark_folder(monkeypatch, tmp_path):
    def status():
        return next(f for f in checkup.check_data("auto") if f.name == "benchmark sets")

    (tmp_path / "CBSD68").mkdir()
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    assert status().status == "ok" and "CBSD68" in status().detail
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "nowhere"))
    assert status().status == "warn"
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "file"))
    assert status().status == "fail"


def test_missing_photographs_fail(monkeypatch, tmp_path):
    (tmp_path / "photos").mkdir()
    monkeypatch.setattr("course_lib.paths.data_root", lambda: tmp_path)
    found = {f.name: f.status for f in checkup.check_data("auto")}
    assert found["photographs"] == "fail" and found["trained weights"] == "warn"


def test_text_encoder_missing_broken_or_there(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROMPT_DIR", str(tmp_path))
    (finding,) = checkup.check_words("auto")
    assert finding.status == "ok" and "would be downloaded" in finding.detail and str(tmp_path / "ViT-B-32.pt") in finding.detail
    (tmp_path / "ViT-B-32.pt").touch()
    assert "CLIP's weights are in" in next(checkup.check_words("auto")).detail
    monkeypatch.setitem(sys.modules, "torchvision", None)
    (finding,) = checkup.check_words("auto")
    assert finding.status == "warn" and "torchvision" in finding.detail and "pytorch.org" in finding.remedy
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (finding,) = checkup.check_words("auto")
    assert finding.status == "warn" and "pip install open_clip_torch" in finding.remedy


def test_sandbox_missing_or_forbidden(monkeypatch, tmp_path):
    monkeypatch.setattr(checkup.shutil, "which", lambda name: None)
    (finding,) = checkup.check_sandbox("auto")
    assert finding.status == "warn" and "apt install bubblewrap" in finding.remedy
    tool = tmp_path / "bwrap"
    tool.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setattr(checkup.shutil, "which", lambda name: str(tool))
    (finding,) = checkup.check_sandbox("auto")
    assert finding.status == "warn" and "No permissions" in finding.detail


def test_the_doctor_is_cheap_to_import():
    code = "import sys, course_lib.doctor; print(sorted({'torch', 'numpy', 'psutil', 'packaging', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
