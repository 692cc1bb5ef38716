"""How does text that others wrote, such as names of classes, stand in Markdown? As itself: no link, no HTML."""

import re

from augment.runtime.terminal import plain

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
