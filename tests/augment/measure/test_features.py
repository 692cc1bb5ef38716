import shutil
from pathlib import Path

import pytest
import torch
from conftest import SIDE, paint

from augment.errors import UserError
from augment.images.sources import ImageFolder
from augment.measure.extractor import Extractor
from augment.measure.features import Features, image_features, source_features


@pytest.fixture
def extractor(extractor_folder: Path) -> Extractor:
    return Extractor(f"local-dir:{extractor_folder}", None, SIDE)


@pytest.fixture
def folder(train_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(train_folder, tmp_path / "images"))


def blind(extractor: Extractor) -> None:
    """From now on the network fails."""

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the images were embedded again")

    extractor.network.forward = fail  # type: ignore[method-assign]


def test_features_stand_beside_classes_and_contents(extractor: Extractor, folder: Path) -> None:
    source = ImageFolder(folder)
    features = source_features(extractor, source, source.pool)
    assert features.extractor == "tinynet"
    assert features.classes == tuple(source.classes[item.label] for item in source.pool)
    assert features.sha256s == tuple(source.sha256(item) for item in source.pool)
    last = source_features(extractor, source, source.pool[-1:])
    torch.testing.assert_close(features.values[-1:], last.values)
    torch.testing.assert_close(features.by_class()[source.classes[-1]][-1:], last.values)
    plain = image_features(extractor, [(source.image(source.pool[-1]), "any")])
    assert (plain.classes, plain.sha256s) == (("any",), ())
    assert torch.equal(plain.values, last.values)


def test_by_class_and_without_choose_rows() -> None:
    features = Features("x", torch.arange(8.0).view(4, 2), ("b", "a", "b", "a"), ("p", "q", "r", "p"))
    rows = [(name, values.tolist()) for name, values in features.by_class().items()]
    assert rows == [("a", [[2, 3], [6, 7]]), ("b", [[0, 1], [4, 5]])]
    assert features.without(["p", "unknown"]).tolist() == [[2, 3], [4, 5]]
    assert features.without("pqr").shape == (0, 2)


def test_cached_features_are_read_back_without_the_network(extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    source = ImageFolder(folder)
    first = source_features(extractor, source, source.pool, cache=tmp_path / "cache")
    blind(extractor)
    again = source_features(extractor, source, source.pool, cache=tmp_path / "cache")
    assert torch.equal(first.values, again.values)
    assert (first.classes, first.sha256s) == (again.classes, again.sha256s)


def test_another_image_or_extractor_finds_no_cached_features(
    extractor: Extractor, extractor_folder: Path, folder: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    source = ImageFolder(folder)
    before = source_features(extractor, source, source.pool, cache=cache)
    paint(folder / source.pool[0].name, (0, 0, 0), seed=77)
    after = source_features(extractor, ImageFolder(folder), source.pool, cache=cache)
    assert not torch.equal(before.values[0], after.values[0])
    torch.testing.assert_close(before.values[1:], after.values[1:])
    changed = Extractor(f"local-dir:{extractor_folder}", None, SIDE)
    changed.network.mean += 0.1
    other = source_features(changed, ImageFolder(folder), source.pool, cache=cache)
    assert not torch.allclose(after.values, other.values)
    assert len(list(cache.glob("*.safetensors"))) == 3


def test_a_broken_cache_file_is_computed_again(extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    source = ImageFolder(folder)
    first = source_features(extractor, source, source.pool, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    again = source_features(extractor, source, source.pool, cache=tmp_path / "cache")
    assert torch.equal(first.values, again.values)
    assert file.read_bytes() == content


def test_unreadable_images_are_passed_over_and_the_rest_keeps_its_classes(
    extractor: Extractor, folder: Path, tmp_path: Path
) -> None:
    source = ImageFolder(folder)
    whole = source_features(extractor, source, source.pool)
    (folder / source.pool[2].name).write_bytes(b"no image")
    broken = ImageFolder(folder)
    with pytest.raises(UserError, match=r"02\.png': it cannot be read"):
        source_features(extractor, broken, broken.pool)
    for _ in ("computed", "from the cache"):
        features = source_features(extractor, broken, broken.pool, skip_bad=True, cache=tmp_path / "cache")
        assert features.classes == whole.classes[:2] + whole.classes[3:]
        assert features.sha256s == whole.sha256s[:2] + whole.sha256s[3:]
        torch.testing.assert_close(features.values, torch.cat([whole.values[:2], whole.values[3:]]))


def test_a_cache_that_cannot_be_written(extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    source = ImageFolder(folder)
    with pytest.raises(UserError, match=r"^output: features could not be written to '.*file/cache' \(") as error:
        source_features(extractor, source, source.pool, cache=tmp_path / "file" / "cache")
    assert "\n" not in str(error.value)
