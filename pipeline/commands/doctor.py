"""What this machine has, and what is missing for what."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import shutil
import sys

_LIBRARIES = (
    "apache-beam",
    "tensorflow",
    "keras",
    "tensorflow-transform",
    "tfx",
    "ml-metadata",
    "tensorflow-data-validation",
    "librosa",
    "soundfile",
    "soxr",
    "pyfftw",
    "numpy",
    "scipy",
    "google-cloud-storage",
)
_MIN_MEMORY_GB, _MIN_DISK_GB = 4, 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the examination.

    Attributes:
      name: what was looked at.
      found: what was there.
      missing: what cannot be done without it, and what to do; empty where all is well.
      note: what can be done only partly; nothing is broken.
    """

    name: str
    found: str
    missing: str = ""
    note: str = ""


def examine() -> list[Finding]:
    """Looks at the machine; imports TensorFlow, so it takes seconds."""
    return [
        _python(),
        Finding(name="system", found=f"{_system()}, glibc {platform.libc_ver()[1] or 'unknown'}"),
        *(_library(name) for name in _LIBRARIES),
        _native(
            "ml_metadata.metadata_store.pywrap.metadata_store_extension",
            "run training, run generation and trace",
        ),
        _native(
            "tensorflow_data_validation.pywrap.tensorflow_data_validation_extension", "run training"
        ),
        *_codecs(),
        _cores(),
        _memory(),
        _disk(),
        *_accelerators(),
        Finding(name="Beam runner", found="FnApiRunner, in process (beam.args chooses another)"),
        _credentials(),
    ]


def render(findings: list[Finding]) -> list[str]:
    """Returns findings as lines of text, what is missing last."""
    lines = [
        f"{'MISSING' if one.missing else 'ok':<8}{one.name:<28}{one.found}"
        + (f"  ({one.note})" if one.note else "")
        for one in findings
    ]
    missing = [one for one in findings if one.missing]
    lines.append("")
    if not missing:
        return [*lines, "Nothing is missing."]
    return [*lines, *(f"{one.name}: {one.missing}" for one in missing)]


def _python() -> Finding:
    found = f"{platform.python_version()} in {sys.prefix}"
    supported = sys.version_info[:2] in ((3, 11), (3, 12))
    missing = "" if supported else "wanted 3.11 or 3.12 for everything; run make setup PYTHON=..."
    return Finding(name="Python", found=found, missing=missing)


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _library(name: str) -> Finding:
    try:
        return Finding(name=name, found=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name=name, found="not installed", missing="run make setup")


def _native(module: str, purpose: str) -> Finding:
    name = module.partition(".")[0]
    try:
        importlib.import_module(module)
    except ImportError as error:
        reason = str(error).splitlines()[0][:100]
        return Finding(
            name=f"{name} loads",
            found=reason,
            missing=f"no {purpose}. Run python deploy/relink_wheels.py, or make setup.",
        )
    return Finding(name=f"{name} loads", found="yes")


def _codecs() -> list[Finding]:
    """Encodes and decodes a tone in each format, instead of believing a list."""
    import io

    import numpy as np
    import soundfile

    tone = np.sin(np.arange(24000) * 0.05).astype(np.float32) * 0.5
    formats = {
        "WAV": ("WAV", "PCM_16"),
        "FLAC": ("FLAC", "PCM_16"),
        "Ogg Vorbis": ("OGG", "VORBIS"),
        "Opus": ("OGG", "OPUS"),
        "MP3": ("MP3", "MPEG_LAYER_III"),
        "AIFF": ("AIFF", "PCM_16"),
    }
    works, fails = [], []
    for name, (container, subtype) in formats.items():
        buffer = io.BytesIO()
        try:
            soundfile.write(buffer, tone, 24000, format=container, subtype=subtype)
            buffer.seek(0)
            soundfile.read(buffer)
        except (soundfile.LibsndfileError, ValueError):
            fails.append(name)
        else:
            works.append(name)
    note = "M4A/AAC is not read: convert such files"
    return [
        Finding(
            name="codecs, read and written",
            found=", ".join(works),
            note=note,
            missing=f"no {', '.join(fails)}: reinstall soundfile from its wheel" if fails else "",
        )
    ]


def _cores() -> Finding:
    return Finding(name="cores", found=str(len(os.sched_getaffinity(0))))


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    total, free = memory.total / 1e9, memory.available / 1e9
    missing = "" if free >= _MIN_MEMORY_GB else f"wanted {_MIN_MEMORY_GB} GB free for training"
    return Finding(name="memory", found=f"{free:.1f} GB free of {total:.1f} GB", missing=missing)


def _disk() -> Finding:
    free = shutil.disk_usage(pathlib.Path.cwd()).free / 1e9
    missing = "" if free >= _MIN_DISK_GB else f"wanted {_MIN_DISK_GB} GB free here for the demo"
    return Finding(name="disk", found=f"{free:.1f} GB free here", missing=missing)


def _accelerators() -> list[Finding]:
    import tensorflow as tf

    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    tpu = os.environ.get("TPU_NAME", "")
    found = ", ".join([*gpus, *([f"TPU {tpu}"] if tpu else [])])
    return [Finding(name="accelerators", found=found or "none", note="" if found else "CPU trains")]


def _credentials() -> Finding:
    """Whether application default credentials are set up; asks no server."""
    given = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    default = pathlib.Path.home() / ".config/gcloud/application_default_credentials.json"
    if given:
        there = pathlib.Path(given).exists()
        missing = "" if there else "no gs:// paths: GOOGLE_APPLICATION_CREDENTIALS names no file"
        return Finding(
            name="GCS credentials", found="present" if there else "absent", missing=missing
        )
    if default.exists():
        return Finding(name="GCS credentials", found="present")
    note = "needed for gs:// paths alone: gcloud auth application-default login"
    return Finding(name="GCS credentials", found="absent", note=note)
