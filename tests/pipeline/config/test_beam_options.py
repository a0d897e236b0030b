from __future__ import annotations

import pytest

from audio.errors import UsageError
from pipeline.config.beam_options import check_beam_args
from tests.support import signals
from tests.support.command import nocturne


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--runer=FnApiRunner"], r"beam\.args: unknown option --runer; did you mean --runner\?"),
        (
            ["--runner=FnApiRunner", "--num_worker", "4"],
            r"--num_worker; did you mean --num_workers",
        ),
        (["runner=FnApiRunner"], r"unknown option runner; did you mean --runner\?"),
        (["-runner=FnApiRunner"], r"unknown option -runner; did you mean --runner\?"),
        (["--qwxz=1"], r"unknown option --qwxz; Beam has none of that name"),
        (["--num_workers=many"], r"--num_workers: invalid int value: 'many'"),
        (["--runner"], "expected one argument"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_one(args: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_beam_args(args, "beam.args")


@pytest.mark.parametrize(
    "args",
    [
        ["--runner=FnApiRunner"],
        ["--runner", "DataflowRunner", "--labels", "a=b", "--labels=c=d", "--no_use_public_ips"],
        ["--runner=FlinkRunner", "--checkpointing_interval=5"],
        [],
    ],
)
def test_options_of_beam_and_of_its_runners_are_taken(args: list[str]) -> None:
    check_beam_args(args, "beam.args")


def test_a_command_refuses_an_unknown_option_before_any_work(tmp_path) -> None:
    signals.write(tmp_path / "in" / "a.wav", signals.tune(seconds=3))
    for command in ("prepare --input in --output out", "generate --model m --output out",
                    "run training --input in --root out"):  # fmt: skip
        done = nocturne(*command.split(), "--set", "beam.args=[--runer=X]", cwd=tmp_path)
        assert done.returncode == 2
        assert "beam.args: unknown option --runer; did you mean --runner?" in done.stderr
        assert {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()} <= {
            "log.txt"
        }
