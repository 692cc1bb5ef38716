"""Any bytes, and any damage to good ones, give a result or a `UserError`: never another exception."""

import io
import json
import tarfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from augment.commands.yaml_files import check_file, load
from augment.dataset.manifest import read_manifest
from augment.dataset.reader import read_shard, shard_keys
from augment.dataset.shard_writer import ENCODERS
from augment.dataset.verify import verify
from augment.errors import UserError
from augment.images.sources import ImageFolder, Item

# Files are written anew by each example, and nothing else of the folder is used.
quick = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Good bytes of which some were changed, taken away or put in."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(("change", "cut", "drop", "insert"))):
            case "change" if place < len(content):
                content[place] = draw(st.integers(0, 255))
            case "cut":
                del content[place:]
            case "drop":
                del content[place : place + draw(st.integers(1, 600))]
            case _:
                content[place:place] = draw(st.binary(min_size=1, max_size=20))
    return bytes(content)


def picture(image_format: str) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, format=image_format)
    return buffer.getvalue()


RECORD = {"label": 1, "class": "b", "sources": ["a"], "soft_labels": [0, 1], "soft_weights": [0.5, 0.5]}


def shard(record: bytes = json.dumps(RECORD).encode(), extension: str = "png") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (("cls", b"1"), ("json", record), (extension, picture(ENCODERS[extension]["format"]))):
            info = tarfile.TarInfo(f"0001_000000.{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


MANIFEST = {
    "fingerprint": "f",
    "config": {"resolution": 8},
    "classes": ["a", "b"],
    "few_shot": [{"name": "x", "sha256": "0", "label": 0}],
    "versions": {},
    "shards": {"train-000000.tar": {"samples": 1, "sha256": "0"}},
}


def look_at_shard(path: Path) -> None:
    """What the readers of a shard do with it, and what `verify` says."""
    refused = False
    try:
        list(read_shard(path, classes=2))
    except UserError:
        refused = True
    with suppress(UserError):
        shard_keys(path)
    with pytest.raises(UserError, match="is damaged") as found:  # its hash is none in any case
        verify(path.parent)
    assert not refused or "was altered;" not in str(found.value), "verify passes what readers refuse"


@quick
@given(st.binary(max_size=2000) | damaged(shard()) | damaged(shard(extension="jpg")) | damaged(shard(extension="webp")))
def test_shards(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "train-000000.tar").write_bytes(content)
    look_at_shard(tmp_path / "train-000000.tar")


@settings(quick, max_examples=50)
@given(st.fixed_dictionaries({}, optional={key: JSON | st.just(value) for key, value in RECORD.items()}) | JSON)
def test_records(tmp_path: Path, record: object) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "train-000000.tar").write_bytes(shard(json.dumps(record).encode()))
    look_at_shard(tmp_path / "train-000000.tar")


@quick
@given(
    st.binary(max_size=200)
    | damaged(json.dumps(MANIFEST).encode())
    | st.fixed_dictionaries({key: JSON | st.just(value) for key, value in MANIFEST.items()}).map(
        lambda found: json.dumps(found).encode()
    )
)
def test_manifests(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with suppress(UserError):
        read_manifest(tmp_path)
    with suppress(UserError):
        verify(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "DDS"])
def test_images(image_format: str, tmp_path: Path) -> None:
    """Named .png, whatever it is."""
    if image_format not in Image.registered_extensions().values():
        pytest.skip(f"Pillow reads no {image_format} here")

    @quick
    @given(st.binary(max_size=200) | damaged(picture(image_format)))
    def holds(content: bytes) -> None:
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / "x.png").write_bytes(content)
        source = ImageFolder(tmp_path)
        with suppress(UserError):
            assert source.image(Item("a/x.png", 0)).mode == "RGB"
        assert len(list(source.readable(source.pool, skip_bad=True))) <= 1

    holds()


CONFIGURATION = b"seed: 1\ndata: {shots: 3, plan: [a, 'b']}\nbase: &x {y: 2}\nmore: {<<: *x, z: |\n  text\n}\n"


@quick
@given(st.binary(max_size=200) | damaged(CONFIGURATION) | st.text(max_size=60).map(str.encode))
def test_configurations(tmp_path: Path, content: bytes) -> None:
    """A configuration's faults are a ValueError that the parser prints as one line, a value's a YAMLError."""
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    with suppress(ValueError):
        check_file(path)
        with suppress(yaml.YAMLError):
            load(content.decode())
