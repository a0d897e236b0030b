"""Makes two TensorFlow wheels import on systems older than the one they were built for.

ml-metadata 1.21 and tensorflow-data-validation 1.21 were linked against glibc 2.39 and GCC 14's
libstdc++. Debian 12 and Ubuntu 22.04 lack six of the symbols that their extension modules ask
for, so `import` fails there. Each of the six has an equivalent that every supported system has:
this program renames the references and drops the version requirements that nothing uses any more.

It acts only on a module whose import fails for want of such a version, refuses releases that it
was not written for, and replaces the file by a new one (write beside, rename), so a copy that uv
hard-linked from its shared cache keeps its bytes.

Usage: python deploy/relink_wheels.py      (with the interpreter of the environment to mend)
Exit code: 0 everything imports, 1 something still does not (the reason is printed).
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
    """The module cannot be made to import; the message says why and what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wheel:
    """One extension module that may want mending."""

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
    """Returns what the dynamic loader says of a shared object, or None where it loads.

    A process of its own opens it: a library that half-loaded here would stay so.
    """
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(extension)], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return None
    return done.stderr.strip().rsplit("\n", 1)[-1] or f"the loader ended with {done.returncode}"


def wants_newer_system(error: str) -> bool:
    """Whether a loader error is about one of the symbol versions that this program replaces."""
    return any(f"version `{version}' not found" in error for version in NEW_VERSIONS)


def relink(source: pathlib.Path, target: pathlib.Path) -> list[str]:
    """Writes a copy of a shared object whose references older systems can satisfy.

    Args:
      source: the extension module; it is only read.
      target: where the copy goes.

    Returns:
      The names of the symbols that were renamed, sorted.

    Raises:
      RelinkError: the module needs a new symbol that has no known equivalent.
    """
    import lief

    binary = lief.ELF.parse(source)
    if binary is None:
        raise RelinkError(f"{source.name} is no ELF file")
    renamed = []
    for symbol in binary.dynamic_symbols:
        version = symbol.symbol_version
        auxiliary = version.symbol_version_auxiliary if version else None
        if auxiliary is None or auxiliary.name not in NEW_VERSIONS:
            continue
        name = str(symbol.name)
        if name not in EQUIVALENTS:
            raise RelinkError(f"{source.name} needs {name} ({auxiliary.name}): no equivalent known")
        symbol.name = EQUIVALENTS[name]
        version.as_global()
        renamed.append(name)
    for requirement in binary.symbols_version_requirement:
        for name in [auxiliary.name for auxiliary in requirement.get_auxiliary_symbols()]:
            if name in NEW_VERSIONS:
                requirement.remove_aux_requirement(name)
    binary.write(str(target))
    return sorted(renamed)


def mend(wheel: Wheel, site_packages: pathlib.Path) -> str | None:
    """Makes one wheel import, where it does not.

    Returns:
      One line saying what was done, or None where nothing was needed.

    Raises:
      RelinkError: it does not load for another reason, its release is unknown, or the mended copy
        does not load either.
    """
    extension = site_packages / wheel.extension
    error = load_error(extension)
    if error is None:
        return None
    if not wants_newer_system(error):
        raise RelinkError(f"{wheel.distribution} does not load, and not for its age: {error}")
    version = importlib.metadata.version(wheel.distribution)
    if version != KNOWN_VERSION:
        raise RelinkError(
            f"{wheel.distribution} is {version}; this program knows {KNOWN_VERSION}. "
            "Use a system with glibc 2.39 (Debian 13, Ubuntu 24.04), or the locked version."
        )
    handle, beside = tempfile.mkstemp(dir=extension.parent, suffix=".relinked.so")
    os.close(handle)
    try:
        renamed = relink(extension, pathlib.Path(beside))
        error = load_error(pathlib.Path(beside))
        if error is not None:
            raise RelinkError(f"{wheel.distribution}: the mended copy does not load: {error}")
        copy = pathlib.Path(beside)
        copy.chmod(extension.stat().st_mode & 0o777)
        copy.replace(extension)
    finally:
        pathlib.Path(beside).unlink(missing_ok=True)
    return f"{wheel.distribution} {version}: {len(renamed)} symbols of newer systems replaced"


def main() -> int:
    """Mends this interpreter's environment; returns the exit code."""
    status = 0
    for wheel in WHEELS:
        spec = importlib.util.find_spec(wheel.module.partition(".")[0])
        if spec is None or spec.origin is None:
            continue
        try:
            done = mend(wheel, pathlib.Path(spec.origin).parent.parent)
        except RelinkError as error:
            print(f"relink_wheels: {error}", file=sys.stderr)
            status = 1
        else:
            if done:
                print(f"relink_wheels: {done}")
    return status


if __name__ == "__main__":
    sys.exit(main())
