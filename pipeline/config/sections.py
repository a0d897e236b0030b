"""Settings of the stages that pipeline/ adds: evaluation, Beam, the page and ML Metadata."""

from __future__ import annotations

import dataclasses
import re

from audio.errors import UsageError

SQLITE, MYSQL = "sqlite", "mysql"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """When a model is blessed. Figures are those of pipeline/evaluation/rollout_figures.py.

    The limits were set between models that are known to be good and bad, see docs/evaluation.md.

    Attributes:
      rollouts: free-running rollouts that are held against how real recordings went on.
      rollout_seconds: length of each.
      seed: of the rollouts; the same gives the same figures.
      temperature: of the rollouts; the model's own where none is given.
      spread: of the rollouts, see generate.spread.
      noise_floor: of the rollouts, see generate.noise_floor.
      max_faulty_share: of the rollouts, at most this share may be dead, diverged or fading, drone,
        or loop.
      min_ratio, max_ratio: movement from frame to frame, and variance over time, must be within
        these of the real ones'. A drone or a loop has too little of one of them.
      min_rhythm_ratio: onsets must be at least this regular, of real ones.
      min_attack_ratio: how much steeper sound rises than it falls must be at least this much of
        what it is in real music; what runs backwards has -1.
      max_drift_ratio: the level may change at most so many times as much as in real music.
      max_kernel_ratio: the distance from real continuations may be at most so many times that of
        other real music of the same collection.
      min_diversity_ratio: two clips of one primer must be at least this unlike, of two passages of
        one recording.
      max_copied_share: of stretches of clips, at most this share, beyond that of real held-out
        music, may be copies of the training recordings.
      refuse_worse: whether a model fails that is clearly worse than the last blessed one: in
        distance or in rhythm, the whole interval beyond the other's.
    """

    rollouts: int = 16
    rollout_seconds: float = 10.0
    seed: int = 0
    temperature: float | None = None
    spread: float | None = None
    noise_floor: float = 0.0
    max_faulty_share: float = 0.25
    min_ratio: float = 0.65
    max_ratio: float = 1.6
    min_rhythm_ratio: float = 0.25
    min_attack_ratio: float = -0.25
    max_drift_ratio: float = 4.0
    max_kernel_ratio: float = 2.0
    min_diversity_ratio: float = 0.4
    max_copied_share: float = 0.2
    refuse_worse: bool = True

    def __post_init__(self) -> None:
        checks = {
            "rollouts": (2 <= self.rollouts <= 1000, "2 to 1000"),
            "rollout_seconds": (0.5 <= self.rollout_seconds <= 600, "0.5 to 600"),
            "seed": (0 <= self.seed < 2**31, "0 to below 2**31"),
            "temperature": (
                self.temperature is None or 0 <= self.temperature <= 10,
                "0 to 10, or null",
            ),
            "spread": (self.spread is None or 0 <= self.spread <= 10, "0 to 10, or null"),
            "noise_floor": (0 <= self.noise_floor <= 10, "0 to 10"),
            "max_faulty_share": (0 <= self.max_faulty_share <= 1, "0 to 1"),
            "min_ratio": (0 <= self.min_ratio <= 1, "0 to 1"),
            "max_ratio": (self.max_ratio >= 1, "1 or more"),
            "min_rhythm_ratio": (0 <= self.min_rhythm_ratio <= 1, "0 to 1"),
            "min_attack_ratio": (self.min_attack_ratio <= 1, "1 or less"),
            "max_drift_ratio": (self.max_drift_ratio >= 1, "1 or more"),
            "max_kernel_ratio": (self.max_kernel_ratio > 0, "above 0"),
            "min_diversity_ratio": (0 <= self.min_diversity_ratio <= 1, "0 to 1"),
            "max_copied_share": (0 <= self.max_copied_share <= 1, "0 to 1"),
        }
        for name, (ok, wanted) in checks.items():
            if not ok:
                raise UsageError(f"evaluate.{name}: wanted {wanted}, got {getattr(self, name)!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """Where Beam jobs run. All are options of the Beam pipeline, as on its command line.

    Attributes:
      args: of every job. FnApiRunner is named because DirectRunner picks an engine by what it can
        download, and results should not hang on that.
      prepare_args: what preparation has on top: its name, its image, its machines.
      generate_args: what generation has on top.
    """

    args: tuple[str, ...] = ("--runner=FnApiRunner",)
    prepare_args: tuple[str, ...] = ()
    generate_args: tuple[str, ...] = ()

    @property
    def prepare(self) -> tuple[str, ...]:
        """The options of preparation. Of an option that is given twice, Beam takes the later."""
        return self.args + self.prepare_args

    @property
    def generate(self) -> tuple[str, ...]:
        """The options of generation."""
        return self.args + self.generate_args


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What the page of a run shows.

    Attributes:
      max_clips: so many clips at most; a night of more is listed whole in its manifest.
      price_per_hour: of the machine that runs the stages; without one the page tells times alone.
      currency: of the price, such as EUR.
    """

    max_clips: int = 300
    price_per_hour: float | None = None
    currency: str = ""

    def __post_init__(self) -> None:
        price = self.price_per_hour
        checks = {
            "max_clips": (1 <= self.max_clips <= 10_000, "1 to 10000"),
            "price_per_hour": (price is None or 0 <= price < 1e6, "0 to 1000000, or null"),
            "currency": (
                len(self.currency) <= 8 and self.currency.isprintable(),
                "up to 8 characters",
            ),
        }
        for name, (ok, wanted) in checks.items():
            if not ok:
                raise UsageError(f"report.{name}: wanted {wanted}, got {getattr(self, name)!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetadataSettings:
    """Where ML Metadata is kept. The password never stands here; see pipeline/root/locks.py.

    Attributes:
      kind: sqlite, or mysql for a MySQL or MariaDB server.
      path: The SQLite file; ROOT/metadata.sqlite if none is given. A root on gs:// needs a path
        on a local disk.
      host: Host name or address of the server.
      port: TCP port of the server.
      database: Name of the database. It is created if it is missing and the user may create it.
      user: User name to log in with.
    """

    kind: str = SQLITE
    path: str | None = None
    host: str = "127.0.0.1"
    port: int = 3306
    database: str = "nocturne"
    user: str = "nocturne"

    def __post_init__(self) -> None:
        word = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"
        checks = {
            "kind": (self.kind in (SQLITE, MYSQL), "sqlite or mysql"),
            "path": (
                self.path is None or (self.kind == SQLITE and "://" not in self.path),
                "a file on a disk, and kind sqlite",
            ),
            "host": (re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", self.host), "a host's name or address"),
            "port": (1 <= self.port <= 65535, "1 to 65535"),
            "database": (re.fullmatch(word, self.database), "letters, digits and _.-"),
            "user": (re.fullmatch(r"[A-Za-z0-9_.@-]{1,128}", self.user), "letters, digits, _.@-"),
        }
        for name, (ok, wanted) in checks.items():
            if not ok:
                raise UsageError(f"metadata.{name}: wanted {wanted}, got {getattr(self, name)!r}")

    @property
    def on_server(self) -> bool:
        """Whether ML Metadata is on a server, rather than in a SQLite file."""
        return self.kind == MYSQL

    @property
    def address(self) -> str:
        """The server's address for manifests and messages, without the password."""
        return f"{self.kind}://{self.user}@{self.host}:{self.port}/{self.database}"
