"""Which figures are there? Each by its name on the command line, in the gallery's order."""

from augment.explore.figure import Figure
from augment.explore.figures.bias import Bias
from augment.explore.figures.grid import Grid
from augment.explore.figures.morph import Morph
from augment.explore.figures.offset import Offset
from augment.explore.figures.path2d import Path2D
from augment.explore.figures.quality import Quality
from augment.explore.figures.score import Score
from augment.explore.figures.std import Std
from augment.explore.figures.strip import Strip
from augment.explore.figures.text import Text
from augment.explore.figures.translate import Translate

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
