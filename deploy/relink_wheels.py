"""Makes two TensorFlow wheels import on systems older than the one they were built for.

ml-metadata 1.21 and tensorflow-data-validation 1.21 were linked against glibc 2.39 and GCC 14's
libstdc++. Debian 12 and Ubuntu 22.04 lack six of the symbols that their extension modules need,
so `import` fails there. Each of the six has an equivalent that every supported system has. This
program renames the references and removes the version requirements that are then unused.

It changes a module only if its import fails because one of these versions is missing, and it
refuses releases that it was not written for. It writes a new file and renames it over the old one,
so that a file that uv hard-linked from its shared cache keeps its contents there.

Usage: python deploy/relink_wheels.py      (with the interpreter of the environment to change)
Exit code: 0 if both modules import, 1 if one still does not (the reason is printed).
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

KNOWN_VERSION = "1.21.0"

# Missing symbol -> equivalent. The strto* family differs only in accepting C23's 0b prefix.
# _ZSt21ios_base_library_initv (std::ios_base_library_init) is a link-time marker, never called.
# __cxa_call_terminate ends the process when an exception escapes noexcept, as std::terminate does.
EQUIVALENTS = {
    "__isoc23_strtol": "strtol",
    "__isoc23_strtoul": "strtoul",
    "__isoc23_strtoll": "strtoll",
    "__isoc23_strtoull": "strtoull",
    "_ZSt21ios_base_library_initv": "_ZSt9terminatev",
    "__cxa_call_terminate": "_ZSt9terminatev",
}
NEW_VERSIONS = frozenset({"GLIBC_2.38", "GLIBCXX_3.4.32", "CXXABI_1.3.15"})


class RelinkError(RuntimeError):
    """A module cannot be made to import; the message says why and what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel with an extension module that may need relinking."""

    distribution: str
    module: str
    extension: str  # path below site-packages


WHEELS = (
    Wheel(
        distribution="ml-metadata",
        module="ml_metadata.metadata_store.pywrap.metadata_store_extension",
        extension="ml_metadata/metadata_store/pywrap/metadata_store_extension.so",
    ),
    Wheel(
        distribution="tensorflow-data-validation",
        module="tensorflow_data_validation.pywrap.tensorflow_data_validation_extension",
        extension="tensorflow_data_validation/pywrap/tensorflow_data_validation_extension.so",
    ),
)


def load_error(extension: pathlib.Path) -> str | None:
    """Returns the dynamic loader's error for a shared object, or None if it loads.

    A separate process loads it, because a library that loads in part stays in its process.
    """
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(extension)], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return None
    return done.stderr.strip().rsplit("\n", 1)[-1] or f"the loader exited with {done.returncode}"


def needs_newer_system(error: str) -> bool:
    """Returns whether a loader error names a symbol version that this program replaces."""
    return any(f"version `{version}' not found" in error for version in NEW_VERSIONS)


def relink(source: pathlib.Path, target: pathlib.Path) -> list[str]:
    """Writes a copy of a shared object that loads on older systems.

    Args:
      source: Path of the extension module, which is only read.
      target: Path of the copy.

    Returns:
      The sorted names of the symbols that were renamed.

    Raises:
      RelinkError: The module needs a new symbol that has no known equivalent.
    """
    import lief

    binary = lief.ELF.parse(source)
    if binary is None:
        raise RelinkError(f"{source.name} is not an ELF file")
    renamed = []
    for symbol in binary.dynamic_symbols:
        version = symbol.symbol_version
        if version is None:
            continue
        auxiliary = version.symbol_version_auxiliary
        if auxiliary is None or auxiliary.name not in NEW_VERSIONS:
            continue
        name = str(symbol.name)
        if name not in EQUIVALENTS:
            raise RelinkError(
                f"{source.name} needs {name} ({auxiliary.name}), which has no known equivalent"
            )
        symbol.name = EQUIVALENTS[name]
        version.as_global()
        renamed.append(name)
    for requirement in binary.symbols_version_requirement:
        for required in [str(version.name) for version in requirement.get_auxiliary_symbols()]:
            if required in NEW_VERSIONS:
                requirement.remove_aux_requirement(required)
    binary.write(str(target))
    return sorted(renamed)


def repair(wheel: Wheel, site_packages: pathlib.Path) -> str | None:
    """Relinks a wheel's extension module if it does not load.

    Returns:
      One line that says what was changed, or None if nothing was needed.

    Raises:
      RelinkError: The module does not load for another reason, its release is unknown, or the
        relinked copy does not load either.
    """
    extension = site_packages / wheel.extension
    error = load_error(extension)
    if error is None:
        return None
    if not needs_newer_system(error):
        raise RelinkError(f"{wheel.distribution} does not load, and relinking cannot help: {error}")
    version = importlib.metadata.version(wheel.distribution)
    if version != KNOWN_VERSION:
        raise RelinkError(
            f"{wheel.distribution} is {version}; this program can relink only {KNOWN_VERSION}. "
            "Use a system with glibc 2.39 (Debian 13, Ubuntu 24.04), or the locked version."
        )
    handle, name = tempfile.mkstemp(dir=extension.parent, suffix=".relinked.so")
    os.close(handle)
    copy = pathlib.Path(name)
    try:
        renamed = relink(extension, copy)
        error = load_error(copy)
        if error is not None:
            raise RelinkError(f"{wheel.distribution}: the relinked copy does not load: {error}")
        copy.chmod(extension.stat().st_mode & 0o777)
        copy.replace(extension)
    finally:
        copy.unlink(missing_ok=True)
    return f"{wheel.distribution} {version}: {len(renamed)} symbols of newer systems replaced"


def main() -> int:
    """Repairs this interpreter's environment and returns the exit code."""
    status = 0
    for wheel in WHEELS:
        spec = importlib.util.find_spec(wheel.module.partition(".")[0])
        if spec is None or spec.origin is None:
            continue
        try:
            change = repair(wheel, pathlib.Path(spec.origin).parent.parent)
        except RelinkError as error:
            print(f"relink_wheels: {error}", file=sys.stderr)
            status = 1
        else:
            if change:
                print(f"relink_wheels: {change}")
    return status


if __name__ == "__main__":
    sys.exit(main())
