"""How do WebDataset shards become a source? Ours or another's, read in place: an image and its class for each key."""

import io
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path

from PIL import Image

from augment.errors import UserError
from augment.images.sources.base import IMAGE_SUFFIXES, ImageSource, Item, Split, decode, first_three, in_order
from augment.runtime.json_files import parse

TESTS = ("test", "val", "valid", "validation")
NAMES = ("classnames.txt", "classes.txt")
"""Files beside the shards that may name the classes, one a line."""

NAMED = ("class", "class_name")
"""Fields of `KEY.json` that may name the class; ours is the first."""


@dataclass(frozen=True)
class Sample:
    """One image of a shard: its bytes there, its class as `KEY.cls` says it, and the class's name in `KEY.json`."""

    shard: Path
    offset: int
    size: int
    cls: str
    name: str | None


class Shards(ImageSource):
    """WebDataset shards: tars of an image, `KEY.cls` and perhaps `KEY.json` for each key; a synthetic set is one.

    A class is named by `class` or `class_name` in `KEY.json`, by a line of `classnames.txt` or `classes.txt` beside the
    shards, or by what `KEY.cls` holds. Of a folder, the shards whose names begin with `test`, `val`, `valid` or
    `validation` are the test images, and the others the pool.

    Args:
        path: A folder of shards, one shard, or a pattern such as `shards/train-*.tar` or `train-{000..009}.tar`.
        test_path: The same for the test images.
    """

    def __init__(self, path: str | Path, test_path: str | Path | None = None) -> None:
        self.path = str(path)
        self.test_path = str(test_path) if test_path is not None else None
        self.folders = tuple(folder_of(name) for name in (self.path, self.test_path) if name is not None)

    @cached_property
    def _pool(self) -> dict[str, Sample]:
        found = shards_at(self.path, "source.path")
        if Path(self.path).is_dir():
            found = [path for path in found if not is_test(path)]
        if not found:
            raise UserError("source.path", f"'{self.path}' has test shards alone", "name a shard or a pattern")
        return index(found, "source.path")

    @cached_property
    def _test(self) -> dict[str, Sample]:
        if self.test_path is not None:
            return index(shards_at(self.test_path, "source.test_path"), "source.test_path")
        folder = Path(self.path)
        found = [path for path in shards_at(self.path, "source.path") if is_test(path)] if folder.is_dir() else []
        if not found:
            raise UserError(
                "source.test_path",
                f"'{self.path}' has no shards of test images",
                "a classifier needs test images: give their shards or folder",
            )
        first = next(kind for kind in TESTS if any(kind_of(path) == kind for path in found))
        return index([path for path in found if kind_of(path) == first], "source.test_path")

    @cached_property
    def _names(self) -> dict[str, str]:
        """The name of each class that a `cls` stands for."""
        names = {sample.cls: sample.name or sample.cls for sample in self._pool.values()}
        folder = next(iter(self._pool.values())).shard.parent
        listed = next((folder / name for name in NAMES if (folder / name).is_file()), None)
        if listed is None or any(sample.name for sample in self._pool.values()):
            return names
        lines = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines()]
        numbers = {cls: int(cls) for cls in names if cls.isdecimal()}
        return names | {cls: lines[number] for cls, number in numbers.items() if number < len(lines) and lines[number]}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that the pool has images of, in the order of their labels."""
        return tuple(dict.fromkeys(self._names[cls] for cls in in_order(self._names)))

    @cached_property
    def pool(self) -> tuple[Item, ...]:
        """The images of `path`."""
        return self._items(self._pool, "pool")

    @cached_property
    def test(self) -> tuple[Item, ...]:
        """The images of `test_path`, or of the folder's test shards."""
        return self._items(self._test, "test")

    def _items(self, samples: dict[str, Sample], split: Split) -> tuple[Item, ...]:
        labels = {name: label for label, name in enumerate(self.classes)}
        named = {key: sample.name or self._names.get(sample.cls, sample.cls) for key, sample in samples.items()}
        unknown = sorted(set(named.values()) - labels.keys())
        if unknown:
            raise UserError(
                "source.test_path",
                f"{first_three(unknown)}: no class of '{self.path}' has this name",
                "give both the same classes",
            )
        return tuple(Item(key, labels[name], split) for key, name in named.items())

    def content(self, item: Item) -> bytes:
        """The bytes of the encoded image in its shard."""
        sample = (self._pool if item.split == "pool" else self._test)[item.name]
        with sample.shard.open("rb") as stream:
            stream.seek(sample.offset)
            return stream.read(sample.size)

    def image(self, item: Item) -> Image.Image:
        """The decoded image as upright RGB."""
        return decode(io.BytesIO(self.content(item)), item.name)


def kind_of(path: Path) -> str:
    """What a shard's name begins with, up to the first sign that is no letter."""
    name = path.name.lower()
    return name[: next((n for n, sign in enumerate(name) if not sign.isalpha()), None)]


def is_test(path: Path) -> bool:
    """Whether a shard's name says that it holds test images."""
    return kind_of(path) in TESTS


def folder_of(path: str) -> Path:
    """The folder, the file, or the part of a pattern before its first sign that stands for others."""
    parts = Path(path).parts
    return Path(*parts[: next((n for n, part in enumerate(parts) if set(part) & set("*?[{")), None)])


def shards_at(path: str, argument: str) -> list[Path]:
    """The shards that a folder, a file or a pattern names, in order.

    Raises:
        UserError: If there are none.
    """
    from braceexpand import braceexpand

    folder = Path(path)
    if folder.is_dir():
        found = sorted(folder.glob("*.tar"))
    elif folder.is_file():
        found = [folder]
    else:
        # Path.glob takes no pattern of an absolute path.
        found = [Path(name) for part in braceexpand(path, escape=False) for name in sorted(glob(part))]  # noqa: PTH207
    if not found:
        raise UserError(argument, f"no shards at '{path}'", "give a folder of .tar files, or a pattern of them")
    return found


def index(shards: Sequence[Path], argument: str) -> dict[str, Sample]:
    """All samples of these shards by `SHARD/KEY`, in order; images stay in the files until they are asked for.

    Raises:
        UserError: If a shard is broken, or an image has no class.
    """
    found: dict[str, Sample] = {}
    for shard in shards:
        try:
            found |= index_shard(shard)
        except (tarfile.TarError, OSError, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(argument, f"shard '{shard}' cannot be read ({reason})", "make or copy it anew") from error
    bare = [key for key, sample in found.items() if not sample.cls]
    if bare or not found:
        problem = f"{len(bare)} images have no class: {first_three(bare)}" if bare else "its shards have no images"
        raise UserError(argument, problem, "give each image KEY.jpg, .png or .webp a file KEY.cls with its class")
    same = [path for path, count in Counter(shard.name for shard in shards).items() if count > 1]
    if same:
        raise UserError(argument, f"two shards have the name {first_three(same)}", "give them names that differ")
    return found


def index_shard(shard: Path) -> dict[str, Sample]:
    """The samples of one shard; a key ends at the first dot of the file's name, as WebDataset has it."""
    images: dict[str, tarfile.TarInfo] = {}
    classes: dict[str, str] = {}
    records: dict[str, dict[str, object]] = {}
    with tarfile.open(shard, "r:") as tar:  # a plain tar: nothing is unpacked on the way
        for member in tar:
            folder, _, file = member.name.rpartition("/")
            stem, _, extension = file.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            if not member.isfile() or not stem:
                continue
            if f".{extension.lower()}" in IMAGE_SUFFIXES:
                images[key] = member
            elif extension in ("cls", "json") and (stream := tar.extractfile(member)) is not None:
                content = stream.read()
                if extension == "cls":
                    classes[key] = content.decode().strip()
                elif isinstance(record := parse(content), dict):
                    records[key] = record
    samples = {}
    for key, member in images.items():
        record = records.get(key, {})
        cls = classes.get(key) or str(record.get("label", ""))
        named = next((name for field in NAMED if isinstance(name := record.get(field), str) and name), None)
        samples[f"{shard.stem}/{key}"] = Sample(shard, member.offset_data, member.size, cls, named)
    return samples
