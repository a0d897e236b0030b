"""What a Dataflow Flex Template runs to launch a preparation: one program, no terminal.

Dataflow starts it in the worker image with the template's parameters (those of
deploy/images/flex_template.json) and with Beam's options behind them. It submits the job and ends;
it does not wait for it. Generation has no template: who starts it writes its manifest at the end.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from audio.errors import NocturneError, UsageError


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the template's parameters. All else is Beam's."""
    options = argparse.ArgumentParser(prog="flex_template", allow_abbrev=False, add_help=False)
    options.add_argument("--input", required=True)
    options.add_argument("--output", required=True)
    options.add_argument("--previous", default="")
    options.add_argument("--settings", default="")
    return options


def launch(argv: Sequence[str]) -> None:
    """Submits the preparation that the parameters describe.

    Raises:
      UsageError: a setting is unknown or out of range, or a path is none that workers can see.
      InputError: no input was found.
      OutputExistsError: the output holds a finished dataset, or files that are not ours.
    """
    given, beam_args = parser().parse_known_args(argv)
    inputs = [path.strip() for path in given.input.split(",") if path.strip()]
    for path in [*inputs, given.output, *filter(None, [given.previous])]:
        if "://" not in path:
            raise UsageError(f"{path}: wanted a gs:// path, which launcher and workers both see")
    from beam_transforms import prepare
    from beam_transforms.sources import find_sources
    from pipeline.config.load import load_config

    overrides = [each.strip() for each in given.settings.split(";") if each.strip()]
    config = load_config(None, overrides)
    prepare.submit(
        sources=find_sources(inputs),
        output=given.output,
        audio=config.audio,
        settings=config.prepare,
        effective_config=config.to_yaml(),
        previous=given.previous or None,
        beam_args=[*beam_args, "--sdk_location=container"],
    )


def main() -> int:
    """Launches; returns the exit code. Its log is the template's, in Cloud Logging."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        launch(sys.argv[1:])
    except NocturneError as error:
        print(f"nocturne: {error}", file=sys.stderr)
        return error.exit_code
    return 0
