"""The program that a Dataflow Flex Template runs to start a preparation.

Dataflow starts it in the worker image with the template's parameters (those of
deploy/images/flex_template.json), followed by Beam's options. It submits the job and does not wait
for it. Generation has no template, because the program that starts it also writes the manifest at
the end.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from audio.errors import NocturneError, UsageError
from storage import files


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the template's parameters. All other arguments are Beam's options."""
    options = argparse.ArgumentParser(prog="flex_template", allow_abbrev=False, add_help=False)
    options.add_argument("--input", required=True)
    options.add_argument("--output", required=True)
    options.add_argument("--previous", default="")
    options.add_argument("--settings", default="")
    return options


def launch(argv: Sequence[str]) -> None:
    """Submits the preparation that the parameters describe.

    Raises:
      UsageError: A setting is unknown or out of range, or a path is not in a bucket.
      InputError: No input was found.
      OutputExistsError: The output holds a finished dataset, or files of something else.
    """
    parameters, beam_args = parser().parse_known_args(argv)
    inputs = [path.strip() for path in parameters.input.split(",") if path.strip()]
    for path in [*inputs, parameters.output, *filter(None, [parameters.previous])]:
        if not files.is_remote(path):
            raise UsageError(
                f"{path}: wanted a gs:// path, because the workers cannot read local files"
            )
        files.check_path(path, "the template", pattern=path in inputs)
    from beam_transforms import prepare
    from beam_transforms.sources import scan_inputs
    from pipeline.config.load import load_config

    overrides = [text.strip() for text in parameters.settings.split(";") if text.strip()]
    config = load_config(None, overrides)
    sources, passed_over = scan_inputs(inputs)
    prepare.submit(
        sources=sources,
        passed_over=passed_over,
        output=parameters.output,
        audio=config.audio,
        settings=config.prepare,
        effective_config=config.to_yaml(),
        previous=parameters.previous or None,
        beam_args=[*beam_args, "--sdk_location=container"],
    )


def main() -> int:
    """Submits the job and returns the exit code. Its log appears in Cloud Logging."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        launch(sys.argv[1:])
    except NocturneError as error:
        print(f"nocturne: {error}", file=sys.stderr)
        return error.exit_code
    return 0
