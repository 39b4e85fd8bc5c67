"""The exceptions that are not mistakes of ours: bad input, a run that can't go on, a process told to stop."""

import re


class InputError(ValueError):
    """Bad input. The message is one line: what was expected, what came, what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class RunFailed(RuntimeError):
    """A run can't go on, for a reason that one line says; it becomes the stage's error, without a traceback."""


class Interrupted(BaseException):
    """The process was told to stop, by the signal of that number; what there was to save is saved.

    Like KeyboardInterrupt it passes by those who catch exceptions.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def said(error: BaseException, length: int = 200) -> str:
    """A stranger's exception for one line of ours: its type and its words, without line breaks and colours, cut at `length`."""
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())[:length].rstrip(".")
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
