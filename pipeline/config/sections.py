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
      tolerance: factor on how far figures may be from those of real music.
      refuse_worse: whether a model fails that is clearly worse than the last blessed one: in
        distance or in rhythm, the whole interval beyond the other's.
    """

    rollouts: int = 16
    rollout_seconds: float = 10.0
    tolerance: float = 1.0
    refuse_worse: bool = True

    def __post_init__(self) -> None:
        checks = {
            "rollouts": (2 <= self.rollouts <= 1000, "2 to 1000"),
            "rollout_seconds": (0.5 <= self.rollout_seconds <= 600, "0.5 to 600"),
            "tolerance": (self.tolerance >= 0, "0 or more"),
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
      price_per_hour: of the machine that runs the stages; without one the page tells times alone.
      currency: of the price, such as EUR.
    """

    price_per_hour: float | None = None
    currency: str = ""

    def __post_init__(self) -> None:
        price = self.price_per_hour
        checks = {
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
