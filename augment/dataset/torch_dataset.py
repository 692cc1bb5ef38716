"""How does a notebook or a training loop read a dataset? As a torch dataset: any image by its number, or a stream."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

import webdataset as wds
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from augment.dataset.manifest import read_finished
from augment.dataset.reader import Stored, index_shard, load_image, read_shard

ImageT = TypeVar("ImageT")
Transform = Callable[[Image.Image], ImageT]


class LabelledImage(NamedTuple, Generic[ImageT]):
    """One synthetic image.

    Attributes:
        image: An RGB image, or what the transform made of it.
        label: Index of its class.
        record: What was noted when it was made: class, method, sources, weights, seed, steps, guidance.
    """

    image: ImageT
    label: int
    record: dict[str, Any]


class IndexedImages(Dataset[LabelledImage[ImageT]]):
    """The images of a dataset folder by number; they stay in the shards until they are asked for.

    Attributes:
        classes: Names of the classes; a label is an index here.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...], stored: list[Stored], transform: Transform[ImageT]):
        self.folder = folder
        self.classes = classes
        self._stored = stored
        self._transform = transform

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, number: int) -> LabelledImage[ImageT]:
        """The image of that number.

        Raises:
            IndexError: If there are not so many.
            UserError: If its shard cannot be read any more.
        """
        stored = self._stored[number]
        image = self._transform(load_image(stored.image))
        return LabelledImage(image, stored.record["label"], stored.record)


def unchanged(image: Image.Image) -> Image.Image:
    """The image as it is."""
    return image


@overload
def open_dataset(folder: Path | str) -> IndexedImages[Image.Image]: ...
@overload
def open_dataset(folder: Path | str, transform: Transform[ImageT]) -> IndexedImages[ImageT]: ...
@overload
def open_dataset(
    folder: Path | str, transform: Transform[ImageT], streaming: Literal[True]
) -> IterableDataset[LabelledImage[ImageT]]: ...
@overload
def open_dataset(folder: Path | str, *, streaming: Literal[True]) -> IterableDataset[LabelledImage[Image.Image]]: ...
def open_dataset(
    folder: Path | str, transform: Transform[Any] = unchanged, streaming: bool = False
) -> IndexedImages[Any] | IterableDataset[LabelledImage[Any]]:
    """Open a finished dataset folder as a torch dataset of (image, label, record).

    Args:
        folder: Made by `synthesize`.
        transform: From an RGB `PIL.Image.Image` to what is wanted, such as a tensor [3, H, W].
        streaming: Read the shards from the first to the last instead of by number, through `webdataset`; processes
            and loader workers share the shards among them.

    Returns:
        An indexable dataset, or an iterable one. Each element is a `LabelledImage`.

    Raises:
        UserError: If the folder holds no finished dataset, or a shard cannot be read; a stream's when it comes to it.

    Example:
        >>> import augment
        >>> dataset = augment.open_dataset("datasets/mine")
        >>> image, label, record = dataset[0]
        >>> dataset.classes[label], record["method"]
        ('three', 'nin/chm')
    """
    folder = Path(folder)
    manifest = read_finished(folder)
    shards = [folder / name for name in manifest["shards"]]
    if not streaming:
        stored = [sample for shard in shards for sample in index_shard(shard, len(manifest["classes"]))]
        return IndexedImages(folder, tuple(manifest["classes"]), stored, transform)

    def read(sources: Iterator[dict[str, Any]]) -> Iterator[LabelledImage[Any]]:
        for source in sources:
            for _, image, record in read_shard(Path(source["url"]), len(manifest["classes"])):
                yield LabelledImage(transform(image), record["label"], record)

    files = [str(shard) for shard in shards]
    pipeline: IterableDataset[LabelledImage[Any]] = wds.DataPipeline(
        wds.SimpleShardList(files), wds.split_by_node, wds.split_by_worker, read
    )
    return pipeline
