"""Folds are stratified, disjoint, keep near-duplicates together, and fresh ones were not searched with."""

from collections import Counter
from pathlib import Path

import pytest
from conftest import paint
from PIL import Image

from augment.errors import UserError
from augment.images.few_shot import FewShotSet, Shot
from augment.images.near_duplicates import near_duplicate_groups
from augment.images.sources import Digits, ImageFolder
from classify.advice.fold_source import FoldSource
from classify.advice.folds import Fold, make_folds


def members(*counts: int) -> FewShotSet:
    shots = [
        tuple(Shot(f"{label}-{n}", label, sha256=f"{label}{n}") for n in range(count))
        for label, count in enumerate(counts)
    ]
    return FewShotSet(tuple(map(str, range(len(counts)))), tuple(shots))


def alone(few_shot: FewShotSet) -> list[list[int]]:
    return [[place] for place in range(len(few_shot.all))]


@pytest.mark.parametrize(("shots", "folds"), [(10, 5), (12, 5), (5, 5), (4, 5), (7, 3)])
def test_a_deal_holds_every_image_out_once_and_as_many_of_each_class(shots: int, folds: int) -> None:
    few_shot = members(shots, shots, shots)
    size = min(shots, folds)
    found, _ = make_folds(few_shot, alone(few_shot), folds, (size, size), seed=0)
    assert len(found) == size
    assert Counter(shot.name for fold in found for shot in fold.held) == {shot.name: 1 for shot in few_shot.all}
    for fold in found:
        assert not set(fold.train) & set(fold.held)
        assert set(fold.train) | set(fold.held) == set(few_shot.all)
        counts = Counter(shot.label for shot in fold.held)
        assert set(counts) == {0, 1, 2}
        assert all(shots // size <= count <= -(-shots // size) for count in counts.values())


def test_few_images_are_left_out_one_of_each_class() -> None:
    few_shot = members(4, 4)
    found, _ = make_folds(few_shot, alone(few_shot), 5, (4, 4), seed=0)
    assert [len(fold.held) for fold in found] == [2] * 4
    assert [fold.shots for fold in found] == [3] * 4
    assert [fold.ratio for fold in found] == [pytest.approx(2 / 6)] * 4


def test_fresh_folds_were_not_searched_with_and_numbers_tell_all_apart() -> None:
    few_shot = members(5, 5, 5)
    searched, fresh = make_folds(few_shot, alone(few_shot), 5, (10, 10), seed=1)
    held = [frozenset(shot.name for shot in fold.held) for fold in (*searched, *fresh)]
    assert len(set(held)) == 20
    assert [fold.number for fold in (*searched, *fresh)] == list(range(20))


def test_the_seed_decides_the_folds() -> None:
    few_shot = members(6, 6)
    one, same, other = (make_folds(few_shot, alone(few_shot), 3, (3, 3), seed) for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_both_kinds_get_their_share_of_the_few_folds_that_there_are() -> None:
    few_shot = members(2, 2)  # an image of the one class with one of the other: four ways
    searched, fresh = make_folds(few_shot, alone(few_shot), 5, (10, 10), seed=0)
    assert (len(searched), len(fresh)) == (2, 2)


def test_near_duplicates_stand_in_one_fold_and_the_others_train_on_fewer() -> None:
    few_shot = members(4, 4)
    groups = [[0, 1, 5], *([place] for place in (2, 3, 4, 6, 7))]
    searched, fresh = make_folds(few_shot, groups, 4, (4, 4), seed=0)
    for fold in (*searched, *fresh):
        names = {shot.name for shot in fold.held}
        assert len({"0-0", "0-1", "1-1"} & names) in (0, 3)
    assert min(fold.shots for fold in searched) == 2


def test_a_class_that_cannot_be_parted_is_never_held_out() -> None:
    few_shot = members(2, 2)
    searched, fresh = make_folds(few_shot, [[0, 1], [2], [3]], 2, (2, 2), seed=0)
    assert {shot.label for fold in (*searched, *fresh) for shot in fold.held} == {1}


def test_groups_of_near_duplicates_are_closed_and_leave_others_alone() -> None:
    digits = Digits()
    images = [digits.image(item) for item in digits.pool[:6]]
    copies = [images[1].resize((64, 64), Image.Resampling.BICUBIC), images[4].resize((48, 48))]
    assert near_duplicate_groups([*images, *copies]) == [[0], [1, 6], [2], [3], [4, 7], [5]]


def test_a_fold_is_a_source_of_its_own_images_alone(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for n in range(2):
            paint(tmp_path / "train" / label / f"{n}.png", (10, 20, 30), seed=n)
    source = ImageFolder(tmp_path / "train")
    shots = [Shot(item.name, item.label, sha256=source.sha256(item)) for item in source.pool]
    fold = FoldSource(source, Fold(0, tuple(shots[::2]), tuple(shots[1::2])))
    assert [(item.name, item.split) for item in fold.pool] == [("a/0.png", "pool"), ("b/0.png", "pool")]
    assert [(item.name, item.split) for item in fold.test] == [("a/1.png", "test"), ("b/1.png", "test")]
    assert fold.sha256(fold.test[0]) == shots[1].sha256
    assert fold.image(fold.test[1]).size == (24, 20)
    with pytest.raises(UserError, match="not given"):
        _ = source.test  # the folder has none: nothing above has asked for it
