"""The file that Dataflow's template launcher is told to run; it wants a path, not a module."""

import sys

from pipeline.cli.flex_template import main

if __name__ == "__main__":
    sys.exit(main())
