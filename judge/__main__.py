"""`python -m judge`: the `judge` program."""

from judge.cli.main import main

main()
