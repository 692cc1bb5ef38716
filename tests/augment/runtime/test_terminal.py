import io
import logging

import pytest
from rich.table import Table

from augment.runtime.foreign_text import code, markdown, plain
from augment.runtime.terminal import PlainConsole, PlainFormatter

NASTY = "\x1b[31m[red]a[/red]\x07:smile:\x9b2J\u202e\ud800"


def test_what_steers_a_terminal_is_written_out() -> None:
    assert plain(NASTY) == r"\x1b[31m[red]a[/red]\x07:smile:\x9b2J\u202e\ud800"
    assert plain("rød, 猫\tand\nज़्‍") == "rød, 猫\tand\nज़्‍"


def test_tables_show_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    console = PlainConsole(width=200)
    console.file = io.StringIO()
    table = Table(title=NASTY)
    table.add_column(NASTY)
    table.add_row(NASTY)
    console.print(table)
    console.print(NASTY)
    written = console.file.getvalue()
    assert written.count(plain(NASTY)) == 4
    assert "\x1b" not in written


def test_logs_show_names_as_they_are() -> None:
    record = logging.LogRecord("a", logging.WARNING, "a", 1, "image '%s'", ("\x1b]0;x\x07",), None)
    assert PlainFormatter("%(levelname)s: %(message)s").format(record) == r"WARNING: image '\x1b]0;x\x07'"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("blue sky, green.leaf, nin/chm", "blue sky, green.leaf, nin/chm"),
        ("fd_digits -0.5 ± 0.1 < 0.001", "fd_digits -0.5 ± 0.1 < 0.001"),
        ("a|b", r"a\|b"),
        ("`x`", r"\`x\`"),
        ("<img src=x>", r"\<img src=x>"),
        ("[a](http://b)", r"\[a\](http:\//b)"),
        ("two\nlines\r\n\n# three", "two lines # three"),
        ("# head", r"\# head"),
        ("**a** __b__ ~~c~~", r"\*\*a\*\* \_\_b\_\_ \~\~c\~\~"),
        ("&lt;", r"\&lt;"),
        ("www.a.b", r"www\.a.b"),
        ("\x1b[1m", r"\\x1b\[1m"),
    ],
)
def test_markdown_shows_text_as_itself(text: str, shown: str) -> None:
    assert markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("nin/chm", "`nin/chm`"), ("a`b", "`` a`b ``"), ("a|b\nc", r"`a\|b c`"), ("``", "``` `` ```")],
)
def test_code_cannot_be_left(text: str, shown: str) -> None:
    assert code(text) == shown
