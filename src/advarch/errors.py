"""The exceptions that are not mistakes of ours: bad input, a run that can't go on, a process told to stop."""


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
