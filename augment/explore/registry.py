"""Which figures are there? Each by its name on the command line, in the gallery's order."""

from augment.explore.bias import Bias
from augment.explore.figure import Figure
from augment.explore.grid import Grid
from augment.explore.morph import Morph
from augment.explore.offset import Offset
from augment.explore.path2d import Path2D
from augment.explore.quality import Quality
from augment.explore.score import Score
from augment.explore.std import Std
from augment.explore.strip import Strip
from augment.explore.text import Text
from augment.explore.translate import Translate

FIGURES: dict[str, type[Figure]] = {
    "strip": Strip,
    "bias": Bias,
    "offset": Offset,
    "quality": Quality,
    "path2d": Path2D,
    "grid": Grid,
    "morph": Morph,
    "translate": Translate,
    "text": Text,
    "score": Score,
    "std": Std,
}
