"""Which test images are nearly few-shot images? Found before any training, and told or refused; they choose nothing."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from augment.errors import UserError
from augment.images.few_shot import FewShotSet, Shot
from augment.images.near_duplicates import near_duplicates
from augment.images.sources import ImageSource, Item
from classify.train.trial import check_test_images, checked_test_images

log = logging.getLogger(__name__)

NearDuplicates = Literal["warn", "refuse", "ignore"]
"""What is done about test images that are nearly few-shot images."""

NAMED = 5


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


def say(leaks: Sequence[Leak]) -> str:
    """How many there are, and the first few by name."""
    pairs = ", ".join(f"'{leak.test.name}' like '{leak.shot.name}'" for leak in leaks[:NAMED])
    more = f" and {len(leaks) - NAMED} more" if len(leaks) > NAMED else ""
    count = "1 test image is" if len(leaks) == 1 else f"{len(leaks)} test images are"
    return f"{count} nearly the same as a few-shot image ({pairs}{more})"
