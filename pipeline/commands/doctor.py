"""`nocturne doctor`: checks what this machine has, and says what is missing and what to do."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import re
import shutil
import sys

# Modules with machine code, which can fail to load although they are installed; what needs them.
_NATIVE_MODULES = {
    "soundfile": "no command can read or write audio",
    "soxr": "no command can read audio",
    "numba": "no command can read or write audio",
    "tensorflow": "`train`, `evaluate`, `generate` and `run` do not work",
    "ml_metadata.metadata_store.pywrap.metadata_store_extension": (
        "`run`, `trace`, `report` and `prune` do not work"
    ),
    "tensorflow_data_validation.pywrap.tensorflow_data_validation_extension": (
        "`run training` does not work"
    ),
}
_REMEDY = (
    "Run `make setup`; if it is installed and does not load, `python deploy/relink_wheels.py`."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
      name: What was checked.
      found: What is there.
      missing: What does not work because of it, and what to do; empty if nothing is missing.
      note: A remark about something optional.
    """

    name: str
    found: str
    missing: str = ""
    note: str = ""


def nocturne_version() -> str:
    """Returns the version of the package whose command `nocturne` is installed."""
    commands = importlib.metadata.entry_points(group="console_scripts", name="nocturne")
    return next((command.dist.version for command in commands if command.dist), "unknown")


def examine() -> list[Finding]:
    """Checks the machine. This imports TensorFlow, which takes seconds."""
    supported = sys.version_info[:2] in ((3, 11), (3, 12))
    available = re.search(r"MemAvailable: *(\d+) kB", pathlib.Path("/proc/meminfo").read_text())
    return [
        Finding(name="Nocturne", found=nocturne_version()),
        Finding(
            name="Python",
            found=f"{platform.python_version()} in {sys.prefix}",
            missing="" if supported else "Nocturne needs Python 3.11 or 3.12.",
        ),
        Finding(name="system", found=f"{platform.platform()}, {os.cpu_count()} cores"),
        *(_native_module(name, consequence) for name, consequence in _NATIVE_MODULES.items()),
        _aac(),
        _free_space("memory", int(available[1]) / 1e6 if available else 0, 4, "training"),
        _free_space("disk, this folder", shutil.disk_usage(".").free / 1e9, 5, "the demo"),
        _accelerators(),
        _credentials(),
    ]


def render(findings: list[Finding]) -> list[str]:
    """Returns findings as lines of text, followed by what is missing and what to do."""
    lines = [
        f"{'MISSING' if finding.missing else 'ok':<8}{finding.name:<28}{finding.found}"
        + (f"  ({finding.note})" if finding.note else "")
        for finding in findings
    ]
    missing = [f"{finding.name}: {finding.missing}" for finding in findings if finding.missing]
    return [*lines, "", *(missing or ["Nothing is missing."])]


def _native_module(module: str, consequence: str) -> Finding:
    name = module.partition(".")[0]
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken library can fail in any way while it is imported
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        return Finding(name=name, found=reason, missing=f"{consequence}. {_REMEDY}")
    return Finding(name=name, found="can be imported")


def _aac() -> Finding:
    """Checks for PyAV, which reads the formats that libsndfile does not know."""
    if not _native_module("av", "").missing:
        return Finding(name="M4A and AAC files", found="can be read")
    note = "convert such files to another format, or install PyAV: pip install av"
    return Finding(name="M4A and AAC files", found="cannot be read", note=note)


def _free_space(name: str, free_gb: float, needed_gb: float, purpose: str) -> Finding:
    missing = "" if free_gb >= needed_gb else f"{purpose} needs {needed_gb:g} GB."
    return Finding(name=name, found=f"{free_gb:.1f} GB free", missing=missing)


def _accelerators() -> Finding:
    tensorflow = sys.modules.get("tensorflow")
    gpus = tensorflow.config.list_physical_devices("GPU") if tensorflow else []
    note = "" if gpus else "training and generation use the CPU"
    return Finding(name="GPUs", found=", ".join(gpu.name for gpu in gpus) or "none", note=note)


def _credentials() -> Finding:
    """Checks whether Google's application default credentials are set up, without using them."""
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    default = pathlib.Path.home() / ".config/gcloud/application_default_credentials.json"
    name = "Google Cloud credentials"
    if pathlib.Path(named or default).exists():
        return Finding(name=name, found="present")
    if named:
        missing = "gs:// paths do not work. GOOGLE_APPLICATION_CREDENTIALS names a missing file."
        return Finding(name=name, found=f"no file {named}", missing=missing)
    note = "only needed for gs:// paths: gcloud auth application-default login"
    return Finding(name=name, found="none", note=note)
