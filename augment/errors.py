"""What went wrong, said to the user: the one exception that the commands print as a single line."""


class UserError(Exception):
    """A mistake the user can mend. The text names the argument, its value and the remedy."""
