"""How do images look side by side? A sheet of tiles; the study keeps one of its real images for the report."""

from collections.abc import Sequence

from PIL import Image

from augment.images.few_shot import FewShotSet
from augment.images.sources import ImageSource

TILE = 64
GRID_CLASSES = 10


def grid(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Rows of images as one picture, small images enlarged without smoothing."""
    width = max(len(row) for row in rows)
    sheet = Image.new("RGB", (width * (TILE + 2) - 2, len(rows) * (TILE + 2) - 2), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            how = Image.Resampling.NEAREST if image.width < TILE else Image.Resampling.BICUBIC
            sheet.paste(image.resize((TILE, TILE), how), (x * (TILE + 2), y * (TILE + 2)))
    return sheet


def real_grid(source: ImageSource, few_shot: FewShotSet, rows: int) -> Image.Image:
    """The first real images of the first classes: a column per class."""
    members = few_shot.shots[:GRID_CLASSES]
    depth = min(rows, min(len(shots) for shots in members))
    return grid([[source.image(shots[row]) for shots in members] for row in range(depth)])
