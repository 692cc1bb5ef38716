"""A source that was written down is made again: of the same class, with the same images."""

import json
from pathlib import Path

import pytest

from augment.images.origin import describe_source, restore_source
from augment.images.sources import Digits, ImageFolder, ImageSource, UnlabelledFolder


@pytest.mark.parametrize("kind", [ImageFolder, UnlabelledFolder])
def test_a_folder_is_found_again_from_elsewhere(
    kind: type[ImageFolder], train_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(train_folder.parent)
    described = json.loads(json.dumps(describe_source(kind(train_folder.name))))
    monkeypatch.chdir(tmp_path)
    restored = restore_source(described)
    assert type(restored) is kind
    assert restored.pool == kind(train_folder).pool


def test_the_digits_keep_their_part() -> None:
    restored = restore_source(describe_source(Digits(part="backbone")))
    assert isinstance(restored, Digits) and restored.part == "backbone"


def test_an_argument_nested_without_end_is_not_kept() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert describe_source(Handle(nested)) is None


class Opaque(Digits):
    """Does not keep its argument."""

    def __init__(self, secret: str) -> None:
        super().__init__()


class Handle(Digits):
    """Keeps an argument that no JSON holds."""

    def __init__(self, secret: object) -> None:
        super().__init__()
        self.secret = secret


@pytest.mark.parametrize("source", [Opaque("a"), Handle(object())])
def test_what_cannot_be_written_down_is_not(source: ImageSource) -> None:
    assert describe_source(source) is None


@pytest.mark.parametrize(
    "described",
    [
        None,
        "text",
        {"class_path": "augment.images.sources.Digits"},
        {"class_path": "os.system", "init_args": {}},
        {"class_path": "augment.images.sources.Digits", "init_args": {"other": 1}},
    ],
)
def test_what_describes_no_source_gives_none(described: object) -> None:
    assert restore_source(described) is None
