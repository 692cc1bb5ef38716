"""Which test images were nearly trained on? Found before any training, and told or refused; they choose nothing."""

import logging
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from augment.errors import UserError
from augment.images.few_shot import FewShotSet, Shot
from augment.images.near_duplicates import near_duplicates
from augment.images.sources import ImageSource, Item
from classify.train.trial import check_test_images, checked_test_images

log = logging.getLogger(__name__)

NearDuplicates = Literal["warn", "refuse", "ignore"]
"""What is done about test images that are nearly few-shot images."""

NAMED = 5

MOST = 10_000
"""Images that test images are compared with by more than their bytes; more take minutes, and memory."""


@dataclass(frozen=True)
class Leak:
    """A test image, and the few-shot image that it is a copy of: encoded anew, resized or slightly cropped."""

    shot: Shot
    test: Item


def find_leaks(source: ImageSource, few_shot: Sequence[FewShotSet], about: NearDuplicates) -> list[Leak]:
    """Find what is wrong with the test images, and which of them are nearly few-shot images.

    Args:
        source: Its test images are decoded and hashed, each once.
        few_shot: All sets that will be trained on.
        about: Whether near-duplicates are told of, refused, or not looked for.

    Returns:
        The leaks, in the order of the test images.

    Raises:
        UserError: As `check_test_images`, and if there are leaks that are refused.
    """
    if about == "ignore":
        check_test_images(source, few_shot)
        return []
    shots = list(dict.fromkeys(shot for members in few_shot for shot in members.all))
    if len(shots) > MOST:
        log.warning("%d training images: test images are compared with them by their bytes alone", len(shots))
        check_test_images(source, few_shot)
        return []
    found = near_duplicates([source.image(shot) for shot in shots], checked_test_images(source, few_shot))
    leaks = [Leak(shots[pair.known], source.test[pair.other]) for pair in found.pairs]
    if found.flat:
        log.warning("%d test images are of one colour, and were not compared with few-shot images", len(found.flat))
    if leaks and about == "refuse":
        remedy = "keep them apart, or pass `near_duplicates` warn to go on all the same"
        raise UserError("near_duplicates", say(leaks), remedy)
    if leaks:
        log.warning("%s: the accuracy on them says little", say(leaks))
    return leaks


@dataclass(frozen=True)
class Seen:
    """A test image that the backbone was trained on, and the image of the pool that it is like; None if equal alone."""

    test: Item
    trained: Item | None


def find_seen(source: ImageSource, known: Set[str] | None, about: NearDuplicates, skip_bad: bool = False) -> list[Seen]:
    """Find the test images that a backbone was trained on: equal files, and copies of images of the pool.

    Args:
        source: Its pool and test images are decoded.
        known: Hashes of what the backbone was trained on; None if that is not known.
        about: Whether they are told of, refused, or not looked for.
        skip_bad: Pass over images of the pool that cannot be read.

    Returns:
        What was found, in the order of the test images.

    Raises:
        UserError: If an image cannot be read, and if there are some that are refused.
    """
    if about == "ignore" or not known:
        return []
    pool = [item for item in source.pool if source.sha256(item) in known]
    if len(pool) > MOST:
        log.warning("the backbone was trained on %d images; test images are compared with their bytes alone", len(pool))
        pool = []
    used: list[Item] = []

    def readable() -> Iterator[Image.Image]:
        for item in pool:
            for image in source.readable([item], skip_bad):
                used.append(item)
                yield image

    near = near_duplicates(readable(), (source.image(item) for item in source.test)).pairs if pool else []
    like = {pair.other: used[pair.known] for pair in near}
    equal = {n for n, item in enumerate(source.test) if source.sha256(item) in known}
    found = [Seen(source.test[n], like.get(n)) for n in sorted(equal | like.keys())]
    if found:
        names = ", ".join(f"'{one.test.name}'" for one in found[:NAMED])
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        count = "1 test image is" if len(found) == 1 else f"{len(found)} test images are"
        said = f"{count} among the images that the backbone was trained on, or nearly the same as one ({names}{more})"
        if about == "refuse":
            raise UserError("near_duplicates", said, "keep them apart, or pass `near_duplicates` warn to go on")
        log.warning("%s: synthetic images may be copies of them", said)
    return found


def say(leaks: Sequence[Leak]) -> str:
    """How many there are, and the first few by name."""
    pairs = ", ".join(f"'{leak.test.name}' like '{leak.shot.name}'" for leak in leaks[:NAMED])
    more = f" and {len(leaks) - NAMED} more" if len(leaks) > NAMED else ""
    count = "1 test image is" if len(leaks) == 1 else f"{len(leaks)} test images are"
    return f"{count} nearly the same as a few-shot image ({pairs}{more})"
