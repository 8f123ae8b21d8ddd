"""Errors that a person can cause: one line that says what is wrong and what to do, and an exit code."""


class EquilossError(Exception):
    """Base of all expected errors. `hint` says what to do about it. Exit code 1: failed."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message.rstrip('.')}. {self.hint}" if self.hint else self.message


class InputError(EquilossError):
    """Usage or bad input: a missing file, a broken line, an unknown key."""

    exit_code = 2


class IncompleteError(EquilossError):
    """Stopped before the end; the same command takes it up again."""

    exit_code = 3


class BudgetError(EquilossError):
    """Stopped at the budget that the user set; the same command with a larger one goes on."""

    exit_code = 4
