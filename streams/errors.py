"""The type of all errors that an operator can fix; the command line prints them as one line."""


class OperatorError(Exception):
    """An error that an operator can fix; the message says in one line what is wrong."""
