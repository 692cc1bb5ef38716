"""How is text shown that others wrote, such as names of classes? As data: it steers no terminal and is no markup."""

import re

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and new line, those that turn the direction of writing, and halves of characters."""


def plain(text: str) -> str:
    r"""The text with every character that steers a terminal written as Python would: `\x1b`."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


SPECIAL = re.compile(
    r"[\\`*~|\[\]]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|^[#>]|(?<=:)/(?=/)|(?<=www)\."
)
"""What begins code, emphasis, a cell, a link, HTML, an entity, a heading, a quotation, or an address."""


def markdown(text: object) -> str:
    """Text for one line or one cell of a table."""
    return SPECIAL.sub(lambda found: f"\\{found[0]}", plain(" ".join(str(text).split())))


def code(text: object) -> str:
    """Text as code, for one line or one cell of a table."""
    line = plain(" ".join(str(text).split())).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{line}{space}{fence}"
