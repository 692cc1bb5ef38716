"""What does a dataset look like at a glance? `preview.png`: a few real and a few synthetic images of each class."""

from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

from augment.dataset.manifest import read_manifest
from augment.dataset.reader import Stored, index_shard, load_image
from augment.errors import UserError
from augment.images.few_shot import FewShotSet
from augment.images.sources import ImageSource
from augment.runtime.files import partial_path

PREVIEW = "preview.png"
REAL, SYNTHETIC, MOST_CLASSES = 4, 8, 20
CELL, GAP, LINE, NAME = 96, 4, 26, 150
"""Pixels: an image's side, the room between images, a line of text, the column of class names."""
WIDE_GAP = 20
PAPER, INK, FRAME = "white", "#222", "#d9822b"


def write_preview(folder: Path, source: ImageSource, few_shot: FewShotSet) -> Path:
    """Draw the first images of the first classes; real ones on the left, in a frame.

    Args:
        folder: A finished dataset.
        source: Where the few-shot images are; one that cannot be read leaves its place empty.
        few_shot: What the dataset was made from.

    Returns:
        The picture's path.

    Raises:
        UserError: If a shard cannot be read.
    """
    labels = few_shot.labels[:MOST_CLASSES]
    synthetic = first_samples(folder, labels, SYNTHETIC)
    real = min(REAL, max(len(few_shot.shots[label]) for label in labels))
    made = max(len(samples) for samples in synthetic.values())
    start = NAME + real * (CELL + GAP) + WIDE_GAP  # of the synthetic columns
    left_out = len(few_shot.labels) - len(labels)
    size = (start + made * (CELL + GAP), LINE + len(labels) * (CELL + GAP) + (LINE if left_out else 0))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 14)
    draw.text((NAME, 5), "real", INK, font)
    draw.text((start, 5), "synthetic", INK, font)
    for row, label in enumerate(labels):
        top = LINE + row * (CELL + GAP)
        draw.text((8, top + CELL // 2), fitted(few_shot.classes[label], font), INK, font, anchor="lm")
        for column, shot in enumerate(few_shot.shots[label][:real]):
            left = NAME + column * (CELL + GAP)
            try:
                sheet.paste(ImageOps.expand(square(source.image(shot), CELL - 4), 2, FRAME), (left, top))
            except (UserError, OSError):
                draw.text((left + CELL // 2, top + CELL // 2), "gone", INK, font, anchor="mm")
        for column, sample in enumerate(synthetic[label]):
            sheet.paste(square(load_image(sample.image), CELL), (start + column * (CELL + GAP), top))
    if left_out:
        draw.text((8, size[1] - LINE + 5), f"and {left_out} more classes", INK, font)
    path = folder / PREVIEW
    partial = partial_path(path)
    sheet.save(partial, "PNG")
    partial.replace(path)
    return path


def first_samples(folder: Path, labels: tuple[int, ...], count: int) -> dict[int, list[Stored]]:
    """The first samples of some classes; shards interleave the classes, so the first ones have them."""
    found: dict[int, list[Stored]] = {label: [] for label in labels}
    for name in read_manifest(folder)["shards"]:
        for sample in index_shard(folder / name):
            members = found.get(sample.record["label"])
            if members is not None and len(members) < count:
                members.append(sample)
        if all(len(members) == count for members in found.values()):
            break
    return found


def square(image: Image.Image, side: int) -> Image.Image:
    """The centre of an image at this size; the pixels of a very small one stay visible."""
    small = max(image.size) <= side // 2
    return ImageOps.fit(image, (side, side), Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC)


def fitted(text: str, font: ImageFont.FreeTypeFont) -> str:
    """A class's name on one line, cut to the width of its column."""
    name = " ".join(text.split())
    if font.getlength(name) <= NAME - 16:
        return name
    while font.getlength(f"{name}…") > NAME - 16:
        name = name[:-1]
    return f"{name}…"
