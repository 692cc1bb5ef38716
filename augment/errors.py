"""What went wrong, said to the user: an argument, what is wrong with it, and what mends it."""


class UserError(Exception):
    """A mistake that the user can mend, in the library's own words.

    From Python it reads as one sentence. The commands print it as one line, with every name in backticks that is one
    of their options written as that option: `shots` becomes --shots, and a name that a command has no option for stays
    as it is.

    Args:
        argument: What the problem is about: an argument's name (`mixing.sources`), or a thing such as `image 'a.png'`.
        problem: What is wrong with it, with its value.
        remedy: What to do about it; names of arguments stand in backticks.
    """

    def __init__(self, argument: str, problem: str, remedy: str) -> None:
        super().__init__(argument, problem, remedy)
        self.argument = argument
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.argument}: {self.problem}; {self.remedy}"
