"""`python -m pyswarmd` is the `pyswarm` command."""

from pyswarmd.cli.main import main

main()
