"""A check of Beam's options. Beam itself only logs that it ignores one that it does not know."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from audio.errors import UsageError

# Runners with further options, which Beam's package for Python does not declare.
_WITH_OWN_OPTIONS = ("portable", "flink", "spark", "dask", "render")


def check_beam_args(args: Sequence[str], key: str) -> None:
    """Checks the names and the values of Beam options.

    Args:
      args: Options as on Beam's command line.
      key: The setting that they come from, for messages.

    Raises:
      UsageError: An option does not exist, or does not take its value.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    def refuse(message: str) -> None:
        raise UsageError(f"{key}: {message}", key=key)

    def check(parser: Any) -> None:
        parser.error = refuse  # instead of an end of the process
        for arg in parser.parse_known_args(list(args))[1]:
            name = arg.partition("=")[0]
            close = difflib.get_close_matches(
                f"--{name.lstrip('-')}", parser._option_string_actions, n=1, cutoff=0.7
            )
            if close:
                refuse(f"unknown option {name}; did you mean {close[0]}?")
            if not any(runner in arg.lower() for arg in args for runner in _WITH_OWN_OPTIONS):
                refuse(f"unknown option {name}; Beam has none of that name.")

    # Beam declares its options while it reads some.
    PipelineOptions([]).get_all_options(add_extra_args_fn=check)
