"""Run the command line by `python -m aeval`."""

from aeval.cli import main

main()
