"""Starts the Flex Template's job: Dataflow's template launcher runs a file, not a module."""

import sys

from pipeline.cli.flex_template import main

if __name__ == "__main__":
    sys.exit(main())
