"""`python -m ift`: the `ift` program."""

from ift.cli.main import main

main()
