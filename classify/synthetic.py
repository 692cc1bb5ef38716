"""How are synthetic shards read back? As an endless shuffled stream, or once in order; never with a pickle."""

import random
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import webdataset as wds
from PIL import Image
from webdataset.autodecode import DecodingError

from augment.errors import UserError
from augment.few_shot import FewShotSet
from augment.manifest import read_manifest

Labelled = tuple[Image.Image, int]


def shuffled(samples: Sequence[Any], seed: int, lane: int, lanes: int) -> Iterator[Any]:
    """Every `lanes`-th element, from `lane` on, of the endless chain of seeded permutations of `samples`."""
    generator = torch.Generator().manual_seed(seed)
    position = 0
    while True:
        for n in torch.randperm(len(samples), generator=generator).tolist():
            if position % lanes == lane:
                yield samples[n]
            position += 1


def synthetic_stream(folder: Path, cache_gib: float, seed: int, lane: int, lanes: int) -> Iterator[Labelled]:
    """Endless shuffled synthetic images: from memory if they fit, else from the shards through a shuffle buffer."""
    manifest = read_manifest(folder)
    shards = [str(folder / name) for name in manifest["shards"]]
    count = sum(shard["samples"] for shard in manifest["shards"].values())
    side = manifest["config"]["resolution"]
    if lanes * count * side * side * 3 < cache_gib * 2**30:
        yield from shuffled(list(read_synthetic(folder)), seed + 1, lane, lanes)
    # Whole shards are drawn at random, differently in each lane; the buffer mixes the samples of several.
    draw = seed * lanes + lane
    urls = wds.ResampledShards(shards, seed=draw, deterministic=True, worker_seed=lambda: 0)
    buffer = wds.shuffle(2000, rng=random.Random(draw))
    yield from as_labelled(wds.DataPipeline(urls, wds.tarfile_to_samples(), buffer))


def read_synthetic(folder: Path) -> Iterator[Labelled]:
    """All synthetic images of a dataset folder with their labels, in order."""
    shards = [str(folder / name) for name in read_manifest(folder)["shards"]]
    yield from as_labelled(wds.WebDataset(shards, shardshuffle=False, empty_check=False))


def as_labelled(stream: Any) -> Iterator[Labelled]:
    """Decode a stream of samples; a broken one is an error, not a smaller dataset."""
    try:
        for image, label in stream.compose(
            wds.decode("pilrgb", only=["png", "jpg", "webp"]), wds.to_tuple("png;jpg;webp", "cls")
        ):
            yield image, int(label)
    except (DecodingError, OSError, ValueError, tarfile.TarError) as error:
        raise UserError(f"synthetic: a shard cannot be read ({error!r}); `augment verify` names it") from error


def check_same_few_shot_set(folder: Path, few_shot: FewShotSet) -> None:
    """Refuse a synthetic set of other classes, or one made from other real images than the classifier trains on.

    Raises:
        UserError: If it is one, or is not finished.
    """
    manifest = read_manifest(folder)
    if not manifest["shards"]:
        raise UserError(f"synthetic: '{folder}' is not finished; run `augment synthesize` on it again")
    if tuple(manifest["classes"]) != few_shot.classes:
        raise UserError(
            f"synthetic: '{folder}' has classes {manifest['classes'][:5]}, the source has "
            f"{list(few_shot.classes)[:5]}; use the source it was made from"
        )
    theirs = {shot["sha256"]: shot["name"] for shot in manifest["few_shot"]}
    labels = {shot["label"] for shot in manifest["few_shot"]}  # `--classes` may have left some out
    ours = {shot.sha256: shot.name for shot in few_shot.all if shot.label in labels}
    foreign = [(theirs | ours)[sha256] for sha256 in theirs.keys() ^ ours.keys()]
    if foreign:
        raise UserError(
            f"synthetic: '{folder}' was made from another few-shot set ('{min(foreign)}' is not in both); "
            f"use the same source, --data.shots and --data.seed"
        )
