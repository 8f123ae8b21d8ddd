"""The `pretrain` program."""
