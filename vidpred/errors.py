"""The one exception that people see: a sentence that says what failed and what to do about it."""


class UserError(Exception):
    """Something the user can mend. Printed as one line, without a traceback, and the exit code is 1."""
