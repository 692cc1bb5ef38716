"""Which real images may be used? Few-shot sets, chosen once by seed and pinned by content."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from augment.errors import UserError
from augment.images.sources import ImageSource, Item


@dataclass(frozen=True, kw_only=True)
class Shot(Item):
    """One image of a few-shot set, pinned by the hash of its content."""

    sha256: str


@dataclass(frozen=True)
class FewShotSet:
    """The real images that may be used: `shots[c]` are those of class c (empty if c was not asked for)."""

    classes: tuple[str, ...]
    shots: tuple[tuple[Shot, ...], ...]

    @property
    def all(self) -> tuple[Shot, ...]:
        """Every image of the set, class by class."""
        return tuple(shot for members in self.shots for shot in members)

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes that have images in the set."""
        return tuple(label for label, members in enumerate(self.shots) if members)


def choose_few_shot_set(
    source: ImageSource,
    shots: int | None,
    seed: int,
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
) -> FewShotSet:
    """Choose `shots` images of each class; the choice depends on the seed and on the class's own files alone.

    Args:
        source: Where the images come from.
        shots: Images per class; None takes the whole pool.
        seed: Chooses the set.
        classes: Limits the set to these classes; labels keep their meaning.
        skip_bad: Pass over images that cannot be read instead of stopping.

    Raises:
        UserError: If a class is unknown or has fewer readable images than `shots`, an image is broken, or a name is
            not UTF-8.

    Example:
        >>> import augment
        >>> few_shot = augment.choose_few_shot_set(augment.Digits(), shots=5, seed=0)
        >>> len(few_shot.all)
        50
    """
    names = source.classes
    if classes is not None and not classes:
        raise UserError("classes", "an empty list names no class", "name some, or leave it out")
    for name in names:
        check_name(name)
    for name in classes or ():
        if name not in names:
            raise UserError("classes", f"unknown class '{name}'", f"the source has {', '.join(map(repr, names))}")
    members: list[list[Item]] = [[] for _ in names]
    for item in source.pool:
        members[item.label].append(item)
    chosen = [
        _choose(source, name, members[label], shots, seed, skip_bad) if classes is None or name in classes else ()
        for label, name in enumerate(names)
    ]
    return FewShotSet(names, tuple(chosen))


def check_name(name: str) -> None:
    """Refuse the name of a class or an image that no JSON file can hold.

    Raises:
        UserError: If it is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError("source", f"the name {name!r} is not UTF-8", "rename the file or the folder") from error


def _choose(
    source: ImageSource, name: str, items: Sequence[Item], shots: int | None, seed: int, skip_bad: bool
) -> tuple[Shot, ...]:
    wanted = len(items) if shots is None else shots
    if len(items) < wanted:
        raise UserError("shots", f"class '{name}' has {len(items)} images, fewer than {wanted}", "lower `shots`")
    entropy = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    order = np.random.default_rng([seed, entropy]).permutation(len(items))
    picked: list[Shot] = []
    for position in order:
        if len(picked) == wanted:
            break
        item = items[position]
        check_name(item.name)
        try:
            source.image(item)
        except UserError:
            if not skip_bad:
                raise
            continue
        picked.append(Shot(item.name, item.label, sha256=source.sha256(item)))
    if len(picked) < wanted and shots is not None:
        raise UserError(
            "shots", f"class '{name}' has {len(picked)} readable images, fewer than {shots}", "lower `shots`"
        )
    if not picked:
        raise UserError("source", f"class '{name}' has no readable image", "add some, or leave it out of `classes`")
    return tuple(sorted(picked, key=lambda shot: shot.name))
