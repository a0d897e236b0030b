"""Kills prepare, train and generate at random moments, and lets their files fail at random calls.

After each fault the same command runs again, and has to end in the bytes of a run without faults.

    python -m tests.support.inject_faults --count 300

Two thirds of the faults are SIGKILL. The others are errors of the file system, at a call of
Python's file functions or of TensorFlow's: ENOSPC, EIO and ECONNRESET. Commands are forked from
this process, which has loaded the libraries, but runs nothing in TensorFlow.
"""

from __future__ import annotations

import argparse
import builtins
import collections
import contextlib
import dataclasses
import errno
import hashlib
import importlib
import io
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from audio import contract
from audio.errors import MachineError, OutputExistsError, UnwritableError
from tests.support import signals

ERRORS = (errno.ENOSPC, errno.EIO, errno.ECONNRESET)
_SMALL = (
    "audio.n_mels=32", "prepare.chunk_frames=100", "prepare.eval_share=0.34",
    "train.head=mse", "train.units=12", "train.window_frames=64", "train.batch_windows=4",
    "train.steps=6", "train.eval_every=3", "train.primer_frames=16",
    "train.checkpoint_seconds=0.001",
    "generate.clips=3", "generate.seconds=1", "generate.iterations=4",
)  # fmt: skip
# Loaded once, before the commands are forked.
_PRELOADED = (
    "pipeline.cli.app", "pipeline.commands.stages", "trainer.fit.train", "generator.generate",
    "tensorflow_transform.beam", "tensorflow_transform.tf_metadata.schema_utils",
    "tfx_bsl.public.tfxio", "librosa", "pyloudnorm.iirfilter", "scipy.stats",
)  # fmt: skip
# Files of a model that contain times, or numbers that TensorFlow gives to its functions.
_DIFFERENT = ("saved_model.pb", "fingerprint.pb", "history.json")
# What a trial may do before a command: install faults, or nothing.
Hook = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Stage:
    """A command that writes an output.

    Attributes:
      name: Name of the command.
      arguments: Its arguments without the output.
      output: Option for the output.
      marker: File of the output that says that it is complete.
    """

    name: str
    arguments: tuple[str, ...]
    output: str
    marker: str = contract.COMPLETED

    def command(self, output: pathlib.Path) -> list[str]:
        """Returns the command line."""
        settings = [part for one in _SMALL for part in ("--set", one)]
        return [self.name, *self.arguments, self.output, str(output), *settings]


def make_stages(folder: pathlib.Path) -> dict[Stage, Expected]:
    """Makes the inputs of all stages; returns the stages, and what each does without a fault."""
    signals.write_tunes(folder / "music", count=4, seconds=3)
    data, model = folder / "data", folder / "model"
    prepare = Stage("prepare", ("--input", str(folder / "music")), "--output")
    train = Stage("train", ("--dataset", str(data)), "--model", "saved_model.pb")
    generate = Stage("generate", ("--model", str(model)), "--output")
    outputs = {prepare: data, train: model, generate: folder / "clips"}
    return {stage: observe(stage, output) for stage, output in outputs.items()}


def start(command: Sequence[str], hook: Hook = lambda: None) -> int:
    """Starts a command in a forked process; returns its id."""
    child = os.fork()
    if child:
        return child
    code: object = 1
    try:
        quiet = os.open(os.environ.get("FAULTS_LOG", os.devnull), os.O_WRONLY | os.O_APPEND)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        hook()
        from pipeline.cli.app import app

        app(list(command), prog_name="nocturne")
    except SystemExit as end:
        code = end.code or 0
    finally:
        os._exit(code if isinstance(code, int) else 1)


def wait(child: int) -> int:
    """Waits for a process; returns its exit code, which is negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class FailingFiles:
    """Counts the calls that reach files below a folder, and lets one of them fail.

    Args:
      folder: The folder.
      failing: Number of the call that fails, from 1; 0 for none.
      number: Number of its error.
    """

    def __init__(self, folder: pathlib.Path, failing: int = 0, number: int = 0) -> None:
        self._folder, self._failing, self._number = str(folder), failing, number
        self.calls = 0

    def __call__(self) -> None:
        """Replaces the file functions of this process."""
        import tensorflow as tf

        from storage import files

        for module, name in (
            (builtins, "open"), (io, "open"), (os, "open"), (os, "mkdir"), (os, "replace"),
            (os, "rename"), (os, "link"),
        ):  # fmt: skip
            self._replace(module, name, self._system_error)
        self._replace(os, "fsync", self._system_error, anywhere=True)
        self._replace(files._LocalFile, "write", self._system_error, anywhere=True)
        self._replace(tf.train.Checkpoint, "write", self._tensorflow_error, anywhere=True)
        self._replace(tf.saved_model, "save", self._tensorflow_error, anywhere=True)

    def _replace(
        self, owner: Any, name: str, fail: Callable[[], Exception], *, anywhere: bool = False
    ) -> None:
        function = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if anywhere or str(args[0]).startswith(self._folder):
                self.calls += 1
                if self.calls == self._failing:
                    raise fail()
            return function(*args, **kwargs)

        setattr(owner, name, call)

    def _system_error(self) -> Exception:
        return OSError(self._number, os.strerror(self._number))

    def _tensorflow_error(self) -> Exception:
        import tensorflow as tf

        text = f"{self._folder}/part; {os.strerror(self._number)}"
        return tf.errors.UnknownError(None, None, text)


def contents(output: pathlib.Path) -> dict[str, str]:
    """Returns the checksums of an output's files that do not depend on the time."""
    found = {}
    for path in sorted(output.rglob("*")):
        name = str(path.relative_to(output))
        # A kill after the marker may leave files whose names begin with a dot.
        by_time = path.name in _DIFFERENT or "tfevents" in name or name.startswith(".")
        if path.is_file() and not by_time:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    history = output / contract.HISTORY
    if history.exists():
        found["losses"] = json.dumps(json.loads(history.read_text())["epochs"])
    return found


@dataclasses.dataclass
class Expected:
    """What a stage does without a fault: its files, its time, and the number of its calls."""

    files: dict[str, str]
    seconds: float
    calls: int


def observe(stage: Stage, output: pathlib.Path) -> Expected:
    """Runs a stage without a fault."""
    counted = output.with_name("calls")

    def write_calls(code: int) -> None:
        handle = open_file(counted, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(handle, str(counting.calls).encode())
        exit_now(code)

    def count() -> None:
        counting()
        os._exit = write_calls  # type: ignore[assignment]

    counting, open_file, exit_now = FailingFiles(output.parent), os.open, os._exit
    started = time.monotonic()
    code = wait(start(stage.command(output), count))
    seconds = time.monotonic() - started
    assert code == 0, f"{stage.name} without a fault ended with {code}"
    print(f"{stage.name}: {seconds:.1f} s, {counted.read_text()} calls", flush=True)
    return Expected(contents(output), seconds, int(counted.read_text()))


def kill_once(stage: Stage, output: pathlib.Path, expected: Expected, rng: random.Random) -> str:
    """Kills a stage at a random moment; returns what was done."""
    child = start(stage.command(output))
    moment = rng.uniform(0, expected.seconds)
    time.sleep(moment)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    wait(child)
    return f"SIGKILL after {moment:.2f} of {expected.seconds:.2f} s"


def fail_once(
    stage: Stage, output: pathlib.Path, expected: Expected, rng: random.Random, number: int
) -> str:
    """Lets a call of a stage fail; returns what was done.

    Raises:
      AssertionError: The command ends with another exit code than that of a fault of the system, or
        with what looks like a complete output.
    """
    call = rng.randint(1, expected.calls)
    code = wait(start(stage.command(output), FailingFiles(output.parents[1], call, number)))
    done = f"{errno.errorcode[number]} at call {call} of {expected.calls}"
    faults = (UnwritableError.exit_code, MachineError.exit_code)
    # A call that only removes something, or reads a cache, may fail without harm.
    assert code == 0 or code in faults, f"{done}: exit code {code}"
    if code:
        late = (output / stage.marker).exists() and contents(output) != expected.files
        assert not late, f"{done}: the output looks complete"
    return done


def try_faults(count: int, seed: int) -> int:
    """Injects faults, prints their number, and returns the exit code."""
    rng = random.Random(seed)
    failures: list[str] = []
    counts: collections.Counter[str] = collections.Counter()
    with _temporary_folder() as folder:
        expected = make_stages(folder)
        prepare, train, generate = expected
        # Training takes six times as long as the others.
        turns = itertools.cycle((*(prepare, generate) * 4, prepare, train))
        errors = itertools.cycle(ERRORS)
        for trial in range(count):
            stage = next(turns)
            known, output = expected[stage], folder / f"trial-{trial}" / "out"
            kind, done = "SIGKILL", ""
            try:
                if trial % 3 < 2:
                    done = kill_once(stage, output, known, rng)
                else:
                    number = next(errors)
                    kind = errno.errorcode[number]
                    done = fail_once(stage, output, known, rng, number)
                code = wait(start(stage.command(output)))
                finished = code == OutputExistsError.exit_code and (output / stage.marker).exists()
                assert code == 0 or finished, f"{done}: the rerun ended with exit code {code}"
                assert contents(output) == known.files, f"{done}: the rerun made other bytes"
                counts[kind] += 1
            except AssertionError as error:
                failures.append(f"trial {trial}, {stage.name}, {error}")
                print(failures[-1], flush=True)
                continue
            shutil.rmtree(output.parent)
            if trial % 20 == 19:
                print(f"{trial + 1} of {count}, {len(failures)} failed", flush=True)
    for kind in ("SIGKILL", *(errno.errorcode[number] for number in ERRORS)):
        print(f"{kind:<10} {counts[kind]} ended in the same bytes")
    print(f"{sum(counts.values())} of {count} faults ended in the same bytes (seed {seed})")
    return 1 if failures else 0


@contextlib.contextmanager
def _temporary_folder() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="nocturne-faults-") as name:
        folder = pathlib.Path(name)
        os.environ["HOME"] = str(folder / "home")
        os.environ.pop("XDG_STATE_HOME", None)
        yield folder


def main() -> int:
    """Parses the command line and injects faults."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="number of faults (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    options = parser.parse_args()
    for name in _PRELOADED:
        importlib.import_module(name)
    return try_faults(options.count, options.seed)


if __name__ == "__main__":
    sys.exit(main())
