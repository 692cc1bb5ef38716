"""Numbers that no option takes: infinite, not a number, negative, zero or text. Each is one line."""

from pathlib import Path

import pytest
from hostile_case import Case, Places, check, refused, unread

CASES = [
    unread("augment synthesize $synthesize --shots 0", "shots", "0"),
    refused("augment verify $notes", "dataset"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_line(case: Case, places: Places, tmp_path: Path) -> None:
    check(case, places, tmp_path)
