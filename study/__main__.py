"""`python -m study`: the `study` program."""

from study.cli.main import main

main()
