"""How are synthetic shards read back? By an index of their samples, from memory or as a stream; never by a pickle."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import webdataset as wds
from PIL import Image

from augment.dataset.manifest import read_finished, read_manifest
from augment.dataset.reader import Member, Stored, decode_member, index_shard, load_image, unreadable
from augment.dataset.record import soft_label
from augment.errors import UserError
from augment.images.few_shot import FewShotSet
from classify.train.order import Example, hold, shuffled

SHUFFLE_BUFFER = 2000
"""Encoded images that a lane of a stream holds to mix those of several shards."""


@dataclass(frozen=True)
class SyntheticSet:
    """The examples of a dataset folder that are trained on.

    Args:
        folder: The dataset's folder.
        examples: Those to be drawn.
        members: Where their images lie, by key.
        side: Images at least twice as large are reduced; the short side stays at least this long.
        streamed: Read whole shards through a shuffle buffer, since decoded images do not fit into memory.
    """

    folder: Path
    examples: tuple[Example, ...]
    members: dict[str, Member]
    side: int | None = None
    streamed: bool = False

    def cached(self, budget: float, stream_others: bool) -> "SyntheticSet":
        """The set with its images decoded in memory, as far as `budget` bytes go.

        Args:
            budget: In bytes.
            stream_others: Stream a set that does not fit as a whole, instead of reading single images when drawn.
        """
        resolution = int(read_manifest(self.folder)["config"]["resolution"])
        stored = resolution // reduction(resolution, self.side)
        if stream_others and len(self.examples) * stored * stored * 3 > budget:
            return replace(self, streamed=True)
        return replace(self, examples=tuple(hold(self.examples, budget)))

    def stream(self, seed: int, lane: int, lanes: int) -> Iterator[Example]:
        """Endless shuffled examples of one lane."""
        if not self.streamed:
            return shuffled(self.examples, seed + 1, lane, lanes)
        # Shards are dealt to the lanes as single images are; the buffer mixes the images of several.
        buffer = wds.shuffle(SHUFFLE_BUFFER, rng=random.Random(seed * lanes + lane))
        return iter(buffer(self._read_shards(seed, lane, lanes)))

    def _read_shards(self, seed: int, lane: int, lanes: int) -> Iterator[Example]:
        by_shard: dict[Path, list[Example]] = defaultdict(list)
        for example in self.examples:
            by_shard[self.members[example.name].shard].append(example)
        for shard in shuffled(list(by_shard), seed + 1, lane, lanes):
            try:
                with shard.open("rb") as stream:
                    for example in by_shard[shard]:
                        content = self.members[example.name].read(stream)
                        yield replace(example, load=partial(shrunk, content, shard.name, self.side))
            except OSError as error:
                raise unreadable(shard.name, error) from error


def read_index(folder: Path, side: int | None = None) -> SyntheticSet:
    """All examples of a dataset folder, in order; images stay in the shards until they are asked for.

    Args:
        folder: Made by `augment synthesize`.
        side: See `SyntheticSet`.

    Raises:
        UserError: If a shard cannot be read, or a soft label is none.
    """
    manifest = read_manifest(folder)
    classes = len(manifest["classes"])
    examples: list[Example] = []
    members: dict[str, Member] = {}
    for name in manifest["shards"]:
        for sample in index_shard(folder / name, classes):
            examples.append(make_example(sample, name, classes, side))
            members[sample.key] = sample.image
    return SyntheticSet(folder, tuple(examples), members, side)


def make_example(sample: Stored, shard: str, num_classes: int, side: int | None) -> Example:
    """A stored sample as a training image.

    Raises:
        UserError: If it has a soft label that is none.
    """
    record = sample.record
    return Example(
        sample.key,
        record["label"],
        partial(load_member, sample.image, side),
        soft_label(record, num_classes, f"{shard}, {sample.key}"),
        tuple(record.get("sources") or ()),
        synthetic=True,
    )


def load_member(member: Member, side: int | None) -> Image.Image:
    """The image that lies at these bytes of a shard, reduced."""
    return shrink(load_image(member), side)


def shrunk(content: bytes, shard: str, side: int | None) -> Image.Image:
    """The image of these bytes, reduced."""
    return shrink(decode_member(content, shard), side)


def reduction(short: int, side: int | None) -> int:
    """The whole number by which an image with that short side is reduced, so that it stays at least `side` long."""
    return 1 if side is None else max(1, short // side)


def shrink(image: Image.Image, side: int | None) -> Image.Image:
    """Reduce a far too large image by a whole factor (a box filter); others stay as they are."""
    factor = reduction(min(image.size), side)
    return image.reduce(factor) if factor > 1 else image


def check_same_few_shot_set(folder: Path, few_shot: FewShotSet) -> None:
    """Refuse a synthetic set of other classes, or one made from other real images than the classifier trains on.

    Raises:
        UserError: If it is one, or is not finished.
    """
    manifest = read_finished(folder, "synthetic")
    if tuple(manifest["classes"]) != few_shot.classes:
        theirs, ours = manifest["classes"][:5], list(few_shot.classes)[:5]
        problem = f"'{folder}' has classes {theirs}, the source has {ours}"
        raise UserError("synthetic", problem, "use the `source` that it was made from")
    mixed = {shot["sha256"]: shot["name"] for shot in manifest["few_shot"]}
    labels = {shot["label"] for shot in manifest["few_shot"]}  # others may have been left out
    trained = {shot.sha256: shot.name for shot in few_shot.all if shot.label in labels}
    foreign = [(mixed | trained)[sha256] for sha256 in mixed.keys() ^ trained.keys()]
    if foreign:
        problem = f"'{folder}' was made from another few-shot set ('{min(foreign)}' is not in both)"
        raise UserError("synthetic", problem, "use the same `source`, `shots` and `seed`")
