"""Which image lies in which shard? Pure functions of the plan, so that any process can work on any shard."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import PositiveInt

from augment.dataset.shard_writer import ImageFormat, Sample
from augment.errors import UserError


@dataclass(frozen=True)
class Plan:
    """Size and layout of a dataset. All of it decides the bytes, so all of it is part of the fingerprint.

    Args:
        per_class: Images per class. A finished or unfinished dataset grows when the same command asks for more: full
            shards stay, the last one is made anew if it has room.
        shard_size: Images per shard: the unit of work, of resumption and of distribution over processes.
        batch_size: Images per call of the networks; a batch never crosses a shard's edge. `auto` tries on the device
            what is fastest, once per dataset.
        image_format: Format of the images in the shards; png keeps every bit.
    """

    per_class: PositiveInt = 100
    shard_size: PositiveInt = 128
    batch_size: PositiveInt | Literal["auto"] = 16
    image_format: ImageFormat = "png"


@dataclass(frozen=True)
class PlannedBatch:
    """Samples that go through the networks together."""

    shard: int
    samples: tuple[Sample, ...]
    first: bool
    last: bool

    def __len__(self) -> int:
        return len(self.samples)


def plan_shards(plan: Plan, labels: Sequence[int]) -> list[tuple[Sample, ...]]:
    """Deal all samples into shards: a pure function of the plan, so that any process can work on any shard.

    Shards interleave the classes, so any prefix of the shards is balanced; within a shard samples are sorted by key.
    More images per class change no full shard: only the last one, if it has room, and what follows it.
    """
    if len(labels) and (max(labels) > 9999 or plan.per_class > 1_000_000):
        raise UserError(
            "plan.per_class",
            f"{plan.per_class} images of class {max(labels)} are too many: "
            f"keys hold at most 10,000 classes of 1,000,000 images",
            "lower `per_class`, or give fewer `classes`",
        )
    samples = [Sample(label, index) for index in range(plan.per_class) for label in labels]
    starts = range(0, len(samples), plan.shard_size)
    return [tuple(sorted(samples[start : start + plan.shard_size])) for start in starts]


def plan_batches(shard: int, samples: Sequence[Sample], batch_size: int) -> list[PlannedBatch]:
    """Cut one shard into batches, in the order in which they are written."""
    starts = range(0, len(samples), batch_size)
    return [
        PlannedBatch(shard, tuple(samples[s : s + batch_size]), first=s == 0, last=s + batch_size >= len(samples))
        for s in starts
    ]
