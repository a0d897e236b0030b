"""Settings of the stages that pipeline/ adds: evaluation, Beam, the page and ML Metadata."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from audio.settings import Wanted, settings, wrong_value


@settings("evaluate")
class EvaluateSettings:
    """Settings of the evaluation that decides whether a model is blessed."""

    rollouts: int = Field(default=24, ge=2, le=1000)
    """Number of rollouts that are compared with how real recordings continued."""
    rollout_seconds: float = Field(default=10.0, ge=0.5, le=600)
    """Length of each rollout, in seconds."""
    min_score: float = Field(default=0.5, ge=0.25, le=1)
    """Score that a model must reach against every control, on a scale from 0 at the control to 1 at
    real music. The lower end of its confidence interval must reach half of it.
    """
    accept_unjudged: bool = False
    """Whether a model may be used although the collection has too little held-out music to judge
    it. The manifest of its clips then says that it was not judged.
    """


@settings("beam")
class BeamSettings:
    """Options of the Beam pipelines, written as on their command lines."""

    args: tuple[str, ...] = Field(default=("--runner=FnApiRunner",), strict=False)
    """Options of every Beam pipeline. The default names a runner because the choice of Beam's
    DirectRunner depends on what it can download.
    """
    prepare_args: tuple[str, ...] = Field(default=(), strict=False)
    """Further options of preparation, such as its job name, image and machines. They override those
    in args.
    """
    generate_args: tuple[str, ...] = Field(default=(), strict=False)
    """Further options of generation. They override those in args."""

    @property
    def prepare(self) -> tuple[str, ...]:
        """The options of preparation. If an option is given twice, Beam uses the later one."""
        return self.args + self.prepare_args

    @property
    def generate(self) -> tuple[str, ...]:
        """The options of generation."""
        return self.args + self.generate_args


@settings("report")
class ReportSettings:
    """Settings of the page of a run."""

    price_per_hour: float | None = Field(default=None, ge=0, le=1_000_000)
    """Price per hour of the machine that runs the stages. null shows times only."""


@settings("metadata")
class MetadataSettings:
    """Where ML Metadata is kept. pipeline/root/locks.py says how the password is given."""

    kind: Literal["sqlite", "mysql"] = "sqlite"
    """Kind of the store: sqlite is a file, and mysql is a MySQL or MariaDB server."""
    path: str | None = None
    """SQLite file. null is ROOT/metadata.sqlite. A pipeline root on gs:// needs a file on a local
    disk.
    """
    host: Annotated[str, Wanted("a host's name or address")] = Field(
        default="127.0.0.1", pattern=r"^[A-Za-z0-9.:-]{1,253}$"
    )
    """Host name or address of the server."""
    port: int = Field(default=3306, ge=1, le=65535)
    """TCP port of the server."""
    database: Annotated[str, Wanted("letters, digits and _.-")] = Field(
        default="nocturne", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$"
    )
    """Name of the database. It is created if it is missing and the user may create it."""
    user: Annotated[str, Wanted("letters, digits, _.@-")] = Field(
        default="nocturne", pattern=r"^[A-Za-z0-9_.@-]{1,128}$"
    )
    """User name to log in with. The password is read from the environment."""

    def __post_init__(self) -> None:
        if self.path is not None and (self.on_server or "://" in self.path):
            raise wrong_value("metadata.path", "a file on a disk, and kind sqlite", self.path)

    @property
    def on_server(self) -> bool:
        """Whether ML Metadata is on a server, rather than in a SQLite file."""
        return self.kind == "mysql"

    @property
    def address(self) -> str:
        """The server's address for manifests and messages, without the password."""
        return f"{self.kind}://{self.user}@{self.host}:{self.port}/{self.database}"
