"""How fast is the classifier's input? Images per second beside an ImageFolder and a bare webdataset loop."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat, PositiveInt
from PIL import Image, ImageOps
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from augment.dataset.folder import open_folder
from augment.dataset.manifest import close_folder, describe_dataset
from augment.dataset.reader import read_images
from augment.dataset.shard_writer import ShardFile, encode_image
from augment.images.sources import ImageFolder as Source
from augment.synthesis.plan import Plan, plan_shards
from benchmarks.record import Figure, Report, interleave, over, run
from classify.train.augmentation import normalise
from classify.train.batches import Batches
from classify.train.data import ClassificationData

CLASSES = 10
SHOTS = 5
NOTHING = 1e-9
"""A cache, in GiB, into which no dataset fits."""

Transform = Callable[[Image.Image], Tensor]


def make_real(root: Path, side: int) -> None:
    """A folder of class folders with random images: smooth, with a little noise, so that PNG has some work."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        folder = root / f"class-{label}"
        folder.mkdir(parents=True)
        for n in range(SHOTS):
            coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            pixels = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
            noisy = np.clip(pixels + random.integers(-4, 5, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{n}.png")


def make_synthetic(folder: Path, files: Path, real: Source, per_class: int, side: int) -> None:
    """A dataset folder as `augment synthesize` leaves it, of turned real images, and the same images as files.

    Args:
        folder: Of the dataset.
        files: Folder of class folders; the real images are put there too.
        real: Where the real images come from.
        per_class: Synthetic images per class.
        side: Their height and width.
    """
    few_shot = ClassificationData(real, SHOTS).few_shot
    facts = {"classes": list(few_shot.classes), "few_shot": [asdict(shot) for shot in few_shot.all]}
    shards = plan_shards(Plan(per_class=per_class, shard_size=500), few_shot.labels)
    open_folder(folder, describe_dataset(facts | {"resolution": side}), overwrite=False)
    for name in few_shot.classes:
        (files / name).mkdir(parents=True)
    for shot in few_shot.all:
        (files / few_shot.classes[shot.label] / f"real-{Path(shot.name).name}").write_bytes(real.content(shot))
    for number, samples in enumerate(shards):
        shard = ShardFile(folder, number)
        for sample in samples:
            image = real.image(few_shot.shots[sample.label][sample.index % SHOTS])
            content = encode_image(ImageOps.fit(image, (side, side)).rotate(sample.index % 360), "png")
            shard.add(sample.key, content, "png", {"label": sample.label, "index": sample.index})
            (files / few_shot.classes[sample.label] / f"{sample.key}.png").write_bytes(content)
        shard.commit()
    close_folder(folder, shards)


def ours(folder: Path, real: Source, batches: Batches) -> Iterator[Any]:
    """The input of `classify fit`, scaled as it is before it meets the network."""
    data = ClassificationData(real, SHOTS, synthetic=str(folder), batches=batches)
    for images, labels in data.train_dataloader():
        yield normalise(images, data.mean, data.std), labels


def usual_transform(batches: Batches) -> Transform:
    """timm's transform with the settings of our batches, as a training script calls it on each image."""
    return create_transform(
        batches.image_size,
        is_training=True,
        scale=batches.crop_scale,
        ratio=batches.crop_ratio,
        hflip=batches.hflip,
        color_jitter=batches.color_jitter,
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def image_folder(files: Path, transform: Transform, batch_size: int) -> Iterator[Any]:
    """Endless batches of torchvision's ImageFolder."""
    loader = DataLoader(ImageFolder(files, transform), batch_size, shuffle=True, drop_last=True)
    return chain.from_iterable(repeat(loader))


def bare_webdataset(folder: Path, transform: Transform, batch_size: int) -> Iterator[Any]:
    """Endless batches of the synthetic images, as webdataset's documentation reads shards."""
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    stream = wds.WebDataset(shards, shardshuffle=len(shards)).shuffle(2000).decode("pilrgb").to_tuple("png", "cls")
    batches = stream.map_tuple(transform, int).batched(batch_size, partial=False).repeat()
    return iter(DataLoader(batches, batch_size=None))


def seconds_per_image(batches: Iterator[Any], batch_size: int, at_least: float) -> float:
    """Draw batches for about so many seconds."""
    images = 0
    started = time.perf_counter()
    while (taken := time.perf_counter() - started) < at_least or not images:
        next(batches)
        images += batch_size
    return taken / images


def anatomy(folder: Path, files: Path, transform: Transform) -> dict[str, float]:
    """Where the time goes, in seconds per image: reading and decoding, from files and from shards, and timm's work."""
    paths = sorted(files.rglob("*.png"))[:200]
    started = time.perf_counter()
    images = [Image.open(path).convert("RGB") for path in paths]
    opened = time.perf_counter()
    for image in images:
        transform(image)
    transformed = time.perf_counter()
    samples = len(list(read_images(folder)))
    return {
        "read and decode a file": (opened - started) / len(images),
        "transform": (transformed - opened) / len(images),
        "read and decode a sample of a shard": (time.perf_counter() - transformed) / samples,
    }


def measure(
    root: Path, path: Path | None, side: int, per_class: int, batches: Batches, rounds: int, seconds: float
) -> Report:
    """All loaders on one dataset."""
    if path is None:
        make_real(root / "real", side)
    real = Source(path or root / "real")
    folder, files = root / "dataset", root / "files"
    make_synthetic(folder, files, real, per_class, side)
    transform, batch_size = usual_transform(batches), batches.batch_size
    loaders: dict[str, Iterator[Any]] = {
        "cached": ours(folder, real, batches),
        "streamed": ours(folder, real, replace(batches, cache_gib=NOTHING)),
        "ImageFolder": image_folder(files, transform, batch_size),
        "webdataset": bare_webdataset(folder, transform, batch_size),
    }
    first = {name: seconds_per_image(loader, batch_size, 0) * batch_size for name, loader in loaders.items()}

    def timed(loader: Iterator[Any]) -> Callable[[], float]:
        return lambda: seconds_per_image(loader, batch_size, seconds)

    taken = interleave({name: timed(loader) for name, loader in loaders.items()}, rounds)
    size = f"{side} to {batches.image_size} px"
    figures = [
        *(
            Figure(f"{name} / {other}, {size}", over(taken[other], taken[name]), at_least=2 if folder_ else None)
            for name in ("cached", "streamed")
            for other, folder_ in (("ImageFolder", True), ("webdataset", False))
        ),
        *(Figure(f"images/s, {name}, {size}", tuple(1 / each for each in values)) for name, values in taken.items()),
        *(Figure(f"ms to {what}, {size}", (1e3 * each,)) for what, each in anatomy(folder, files, transform).items()),
    ]
    timings = {f"{name}, {size}, per image": values for name, values in taken.items()}
    return Report(figures, timings, {f"seconds to the first batch, {size}": first})


def loader(
    sizes: list[tuple[PositiveInt, PositiveInt]] = [(32, 32), (256, 224)],  # noqa: B006  (never changed)
    per_class: PositiveInt = 100,
    batch_size: PositiveInt = 64,
    synthetic_fraction: ClosedUnitInterval = 0.5,
    path: Path | None = None,
    rounds: PositiveInt = 3,
    seconds: PositiveFloat = 3.0,
) -> Iterator[Report]:
    """Compare the classifier's input with torchvision's ImageFolder and a bare webdataset loop, in this process.

    Args:
        sizes: Sides of the images on disk, each with the side that the classifier sees.
        per_class: Synthetic images per class.
        batch_size: Images per batch.
        synthetic_fraction: Share of our batches that is synthetic; the rest is drawn from five real images per class.
        path: Folder of class folders with real images, of which the datasets are made; by default random ones.
        rounds: Of each loader, in turn.
        seconds: Of each round, about.
    """
    report = Report()
    for side, image_size in sizes:
        batches = Batches(batch_size=batch_size, synthetic_fraction=synthetic_fraction, image_size=image_size)
        with tempfile.TemporaryDirectory() as root:
            report.add(measure(Path(root), path, side, per_class, batches, rounds, seconds))
        yield report


if __name__ == "__main__":
    run(loader)
