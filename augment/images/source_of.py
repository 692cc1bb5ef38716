"""Which source is meant? From what a user types after `--images`, `--test_images` and `--labels` to a source."""

from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path

from augment.errors import UserError
from augment.images.sources.base import ImageSource
from augment.images.sources.combined import Combined
from augment.images.sources.digits import Digits
from augment.images.sources.folders import ImageFolder
from augment.images.sources.hub import HubDataset
from augment.images.sources.hugging_face import SavedDataset, is_saved_to_disk
from augment.images.sources.shards import TESTS, Shards
from augment.images.sources.table import TABLE_SUFFIXES, TableFolder
from augment.images.sources.torchvision_sets import NAMES, TorchvisionDataset

KINDS = "a folder of class folders, a folder with `labels`, hub:NAME, torchvision:NAME, shards (*.tar), or digits"


@dataclass(frozen=True)
class Details:
    """What is rarely needed to find images; None is the source's own default."""

    labels: str | None = None
    split: str | None = None
    test_split: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    subset: str | None = None
    root: str | None = None

    def only(self, images: str, *known: str) -> dict[str, str]:
        """Those that are given, all of which must be known to the source.

        Raises:
            UserError: If another one is given.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        for name, value in given.items():
            if name not in known:
                raise UserError(name, f"'{value}' means nothing for the images '{images}'", "leave it out")
        return given


def source_of(
    images: str,
    test_images: str | None = None,
    labels: str | None = None,
    *,
    split: str | None = None,
    test_split: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    subset: str | None = None,
    root: str | None = None,
) -> ImageSource:
    """The source that a user means.

    Args:
        images: A folder of class folders, or one that holds them in `train` (and `test`); a folder with `labels`;
            `hub:NAME`; a folder or Parquet file that `datasets` saved; `torchvision:NAME`; a folder, file or pattern of
            shards; `digits` for the embedded ones.
        test_images: The same for the test images, whose whole pool is meant; by default those that `images` brings.
        labels: A table of files and labels (CSV, TSV, JSON lines, Parquet) for the folder `images`.
        split: Name of the split that few-shot sets are chosen from, where there are splits.
        test_split: Name of the split of test images; with `test_images`, the split of those.
        image_column: Column of the images: of the files, in a table.
        label_column: Column of the labels.
        subset: Configuration of a Hub data set that has several.
        root: Folder of torchvision's files.

    Raises:
        UserError: If nothing lies there, or an option means nothing for it. What is wrong inside is told by the source,
            when it is first asked.
    """
    if test_images is None:
        details = Details(labels, split, test_split, image_column, label_column, subset, root)
        return one_source(images, details, "images")
    train = one_source(images, Details(labels, split, None, image_column, label_column, subset, root), "images")
    if test_split is None and isinstance(train, ImageFolder) and is_class_folders(test_images):
        return ImageFolder(train.path, test_images)
    return Combined(train, one_source(test_images, Details(split=test_split, root=root), "test_images"))


def one_source(images: str, details: Details, argument: str) -> ImageSource:
    """The source of one name, folder or pattern.

    Raises:
        UserError: If nothing lies there, or a detail means nothing for it.
    """
    kind, _, name = images.partition(":")
    if kind == "hub":
        known = ("split", "test_split", "image_column", "label_column", "subset")
        return HubDataset(name, **details.only(images, *known))
    if kind == "torchvision":
        return TorchvisionDataset(torchvision_name(name, argument), **details.only(images, "root"))  # type: ignore[arg-type]
    if images == "digits":
        details.only(images)
        return Digits()
    path = Path(images)
    if details.labels is not None or (path.suffix.lower() in TABLE_SUFFIXES - {".parquet"} and path.is_file()):
        return table(path, details, images)
    if path.suffix.lower() == ".tar" or (not path.exists() and any(sign in images for sign in "*?[{")):
        details.only(images)
        return Shards(images)
    if not path.exists():
        raise UserError(argument, f"no folder '{images}'", f"give {KINDS}")
    if path.is_file() and path.suffix.lower() != ".parquet":
        raise UserError(argument, f"'{images}' is a file of no known kind", f"give {KINDS}")
    if path.is_file() or is_saved_to_disk(path) or has(path, "*.parquet") or has(path / "data", "*.parquet"):
        return SavedDataset(path, **details.only(images, "split", "test_split", "image_column", "label_column"))
    details.only(images)
    return Shards(images) if has(path, "*.tar") else class_folders(path)


def torchvision_name(name: str, argument: str) -> str:
    """torchvision's spelling of a name.

    Raises:
        UserError: If it is none, with the one that comes nearest.
    """
    spelling = {known.lower(): known for known in NAMES}
    if (found := spelling.get(name.lower())) is not None:
        return found
    near = [spelling[key] for key in get_close_matches(name.lower(), spelling, n=1)]
    guess = f"did you mean torchvision:{near[0]}? " if near else ""
    raise UserError(argument, f"no data set 'torchvision:{name}'", f"{guess}There are {', '.join(NAMES)}")


def table(path: Path, details: Details, images: str) -> TableFolder:
    """A folder with a table, or the table itself, whose files are then relative to the folder that it lies in."""
    given = details.only(images, "labels", "split", "test_split", "image_column", "label_column")
    folder, labels = (path, given.pop("labels")) if "labels" in given else (path.parent, str(path))
    file_column = given.pop("image_column", None)
    return TableFolder(folder, labels, file_column=file_column, **given)


def class_folders(path: Path) -> ImageFolder:
    """Class folders, or those below `train` with those below `test` as test images."""
    folders = {entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    if "train" not in folders or not folders <= {"train", *TESTS}:
        return ImageFolder(path)
    tested = next((path / name for name in TESTS if name in folders), None)
    return ImageFolder(path / "train", tested)


def is_class_folders(images: str) -> bool:
    """Whether these are class folders, and nothing else that a folder can be."""
    path = Path(images)
    if ":" in images or images == "digits" or (path.exists() and not path.is_dir()):
        return False
    return path.is_dir() and isinstance(one_source(images, Details(), "test_images"), ImageFolder)


def has(folder: Path, pattern: str) -> bool:
    """Whether a file of this pattern lies in a folder."""
    return next(folder.glob(pattern), None) is not None
