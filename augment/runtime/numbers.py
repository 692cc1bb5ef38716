"""Which numbers does an option take? Finite ones: infinity and NaN are refused where options are read."""

from math import inf
from typing import TYPE_CHECKING

from jsonargparse.typing import restricted_number_type

if TYPE_CHECKING:
    PositiveNumber = float
    NonNegativeNumber = float
else:
    PositiveNumber = restricted_number_type("PositiveNumber", float, [(">", 0), ("<", inf)])
    NonNegativeNumber = restricted_number_type("NonNegativeNumber", float, [(">=", 0), ("<", inf)])
    for number in (PositiveNumber, NonNegativeNumber):
        number.__module__ = __name__  # where another process finds it when it unpickles one
