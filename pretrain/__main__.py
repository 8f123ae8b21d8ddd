"""`python -m pretrain`: the `pretrain` program."""

from pretrain.cli.main import main

main()
