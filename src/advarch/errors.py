"""The one exception that means: the input can't be used, and it is the user who can mend it."""


class InputError(ValueError):
    """Bad input. The message is one line: what was expected, what came, what to do.

    The command line prints it without a traceback and exits with code 2.
    """
