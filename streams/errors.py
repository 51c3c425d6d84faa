"""What goes wrong for operators, as one type that the command line knows how to say."""


class OperatorError(Exception):
    """Something an operator has to put right; the message says what, in a line."""
