"""What does `augment browse` do? It writes the page that shows a dataset, and says where it lies."""

from pathlib import Path
from typing import Literal

import torch
from jsonargparse.typing import PositiveInt

from augment.commands.parsing import CommandParser
from augment.explore.browse import write_page
from augment.images.origin import restore_source
from augment.images.sources import ImageSource
from augment.runtime.json_files import parse_object
from augment.runtime.quiet import quiet


def browse(
    folder: str,
    output: str | None = None,
    source: ImageSource | None = None,
    extractor: str = "auto",
    extractor_weights: str | None = None,
    per_class: PositiveInt | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> None:
    """Write one HTML page that shows a dataset: real and synthetic images, sources and weights.

    The page needs no other file and no network. Click an image to see what it was made from.

    Args:
        folder: Dataset folder made by `augment synthesize`.
        output: File to write; by default browse.html in the dataset's folder.
        source: Where the real images are; by default where `augment synthesize` found them.
        extractor: What measures the distance to the nearest real image: `digits`, `inception`, a timm model by name, or
            `local-dir:FOLDER`. A classifier of the same classes, such as one saved by `classify fit`, also says how
            well each image is recognised. `auto` is `digits` for the digits and otherwise `none`.
        extractor_weights: Local file of the extractor's weights.
        per_class: Show at most so many synthetic images of each class; by default all are shown.
        device: Where the extractor runs.
    """
    path = Path(folder)
    where = source or restore_source(noted_source(path))
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    page = write_page(path, where, extractor, extractor_weights, per_class, chosen, Path(output) if output else None)
    print(f"page: {page} ({max(page.stat().st_size / 1e6, 0.1):.1f} MB); open it in a browser")


def noted_source(folder: Path) -> object:
    """What the last run of `augment synthesize` noted of the real images' place; None if it noted nothing."""
    try:
        return parse_object((folder / "run.json").read_bytes()).get("source")
    except (OSError, ValueError):
        return None


def browse_command(args: list[str]) -> None:
    """Write the page of a dataset."""
    quiet()
    parser = CommandParser(
        prog="augment browse",
        usage="augment browse DATASET [options]",
        description="Write one HTML page that shows a dataset: real and synthetic images, sources and weights.",
    )
    parser.add_argument("folder", type=str, metavar="DATASET", help="Dataset folder made by `augment synthesize`.")
    parser.add_function_arguments(browse, skip={"folder"})
    config = parser.instantiate_classes(parser.parse_args(args))
    browse(**config)
