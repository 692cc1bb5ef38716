"""Broken files, over all commands that read them."""

import gzip
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hostile_case import Case, Places, Prepare, check, copied, refused, unread
from PIL import Image
from safetensors.torch import load_file, save_file

from augment.runtime.files import file_sha256

JUNK = {
    "not UTF-8": (b'{"a": "\xff"}', "is not JSON ("),
    "torn": (b'{"a": [1, ', "is not JSON ("),
    "deep": (b'{"a": ' + b"[" * 100_000, "is not JSON ("),
    "twice": (b'{"a": {"b": 1, "b": 2}}', "has the key 'b' twice"),
    "list": (b"[]", "holds no JSON object but list"),
    "empty": (b"", "is not JSON ("),
    "bare": (b"{}", "has no '|is missing"),
}


def junk(line: str, place: str, file: str, kinds: tuple[str, ...] = tuple(JUNK)) -> list[Case]:
    """The command on a copy of a place, with each kind of junk in the place of one JSON file."""
    name = Path(file).name.partition("*")[0]
    return [
        refused(line, name, JUNK[kind][1], prepare=copied(place, partial(write, file=file, content=JUNK[kind][0])))
        for kind in kinds
    ]


def write(folder: Path, file: str, content: bytes) -> None:
    """Junk in the place of the first file of that name."""
    (next(folder.glob(file)) if "*" in file else folder / file).write_bytes(content)


def classifier(file: str, content: bytes) -> Prepare:
    """What `classify fit` leaves behind, with one file of it broken."""

    def prepare(tmp: Path, places: Places) -> None:
        (tmp / "classifier").mkdir()
        config = {"architecture": "resnet18", "num_classes": 1, "pretrained_cfg": {"input_size": [3, 8, 8]}}
        (tmp / "classifier" / "config.json").write_text(json.dumps(config))
        (tmp / "results.json").write_text(json.dumps({"top1": 0.5, "per_class": {"a": 0.5}}))
        (tmp / file).write_bytes(content)

    return prepare


PUSHED = [
    refused("classify push $tmp --repo me/mine", Path(file).name, words, prepare=classifier(file, content))
    for file in ("classifier/config.json", "results.json")
    for content, words in [
        *JUNK.values(),
        (b'{"per_class": {"a": "b"}, "architecture": 3}', "is str instead of|is int instead of"),
    ]
]

JSON_FILES = [
    *junk("augment verify $tmp/copy", "dataset", "dataset.json"),
    *junk("augment push $tmp/copy --repo me/mine", "dataset", "dataset.json"),
    *junk("augment synthesize $synthesize --output $tmp/copy", "dataset", "dataset.json"),
    *junk("classify fit $fit --data.synthetic $tmp/copy", "dataset", "dataset.json", ("torn", "twice", "bare")),
    *junk("augment synthesize $synthesize --model.backbone.model $tmp/copy", "model", "model_index.json"),
    *junk("augment invert $synthesize --model.backbone.model $tmp/copy", "model", "model_index.json", ("torn", "bare")),
    *junk("augment explore strip $explore --model.backbone.model $tmp/copy", "model", "model_index.json", ("twice",)),
    *junk("augment synthesize $synthesize --data.bank $tmp/copy", "bank", "bank.json"),
    *junk("classify study $study --output $tmp/copy", "finished_study", "study.json"),
    *junk("classify study $study --output $tmp/copy", "finished_study", "cells/none*.json"),
    *junk("classify rank $tmp/copy", "finished_study", "adequacy.json"),
    *junk("classify study $study --extractor local-dir:$tmp/copy", "extractor", "config.json"),
    *PUSHED,
]


def as_bytes(text: str) -> bytes:
    """Bytes outside of UTF-8 are written as Python's surrogates."""
    return text.encode(errors="surrogateescape")


TABLES = {
    "": "is no table (",
    "a,b\n1,2\n": "has no column classifier",
    "classifier,shots,row,top1\n": "has no accuracy in each of its lines",
    "classifier,shots,row,top1\nr,2,none,high\n": "has no accuracy in each of its lines",
    "classifier,shots,row,top1\nr,2,none,\n": "has no accuracy in each of its lines",
    'a,"b\n1,2,3,4\n5': "is no table (",
    "\0\0\udcff": "is no table (|has no column",
}

RESULTS = [
    refused(
        "classify rank $tmp/copy",
        "results.csv",
        words,
        prepare=copied("finished_study", partial(write, file="results.csv", content=as_bytes(text))),
    )
    for text, words in TABLES.items()
]

YAML = {
    "seed: 1\nname: \udce9\n": "bad.yaml', line 2: it is not UTF-8",
    "seed: 1\nname: [a\nother: 2\n": "bad.yaml', line 3, column 6: did not find expected",
    "a: 1\nb:\n  c: 1\n  c: 2\n": "bad.yaml', line 4, column 3: the key 'c' is there twice",
    "a: " + "[" * 20_000: "bad.yaml', line 1, column 103: more than 100 levels",
    "a: &b [*b]\n": "bad.yaml', line 1, column 8: 'b' holds itself",
    "- 1\n": "bad.yaml' holds no options",
    "a: \0": "bad.yaml' is no YAML",
}


def configured(text: str) -> Prepare:
    return lambda tmp, places: write(tmp, "bad.yaml", as_bytes(text))


CONFIGURATIONS = [
    unread(f"{command} --output $output --config $tmp/bad.yaml", words, prepare=configured(text))
    for command in ("augment synthesize", "augment invert", "augment pretrain", "classify fit", "classify study")
    for text, words in YAML.items()
]


def picture(image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((24, 20), 50).convert("RGB").save(buffer, format=image_format)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of 40,000 by 40,000 pixels, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


IMAGES = {
    "AVIF": picture("AVIF")[:-200] if "AVIF" in Image.registered_extensions().values() else b"\0\0\0\x1cftypavif",
    "DDS": b"DDS \x7c\0\0\0" + b"\xff" * 120,
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    "bomb": bomb(),
    "cut": picture()[:-300],
    "empty": b"",
    "text": b"no image",
}


def one_is(content: bytes) -> Callable[[Path], None]:
    """Every image of the first class is broken, so that one is met whatever is chosen."""

    def change(copy: Path) -> None:
        for file in sorted(next(iter(sorted(copy.iterdir()))).iterdir()):
            file.write_bytes(content)

    return change


PICTURES = [
    refused(line, "blue sky/", "cannot be read (", prepare=copied(place, one_is(content)))
    for content in IMAGES.values()
    for line, place in (
        ("augment synthesize $synthesize --data.source.path $tmp/copy", "images"),
        ("classify fit $fit --data.source.test_path $tmp/copy", "tests"),
    )
] + [
    refused(
        "augment synthesize $synthesize --data.source.path $tmp/copy --skip_bad",
        "blue sky",
        "readable",
        prepare=copied("images", one_is(IMAGES[name])),
    )
    for name in ("AVIF", "DDS", "EPS", "bomb")
]


def members(change: Callable[[str, bytes], bytes]) -> Callable[[Path], None]:
    """The first shard of a dataset written anew with other members, as if it had been made like that."""

    def rewrite(copy: Path) -> None:
        path = copy / "train-000000.tar"
        with tarfile.open(path) as tar:
            found = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for member, content in found:
                new = change(member.name, content)
                member.size = len(new)
                tar.addfile(member, io.BytesIO(new))
        describe(copy)

    return rewrite


def describe(copy: Path) -> None:
    """The manifest knows the first shard's hash."""
    manifest = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    manifest["shards"]["train-000000.tar"]["sha256"] = file_sha256(copy / "train-000000.tar")
    (copy / "dataset.json").write_text(json.dumps(manifest))


def records(content: bytes) -> Callable[[Path], None]:
    return members(lambda name, old: content if name.endswith(".json") else old)


def images(content: bytes) -> Callable[[Path], None]:
    return members(lambda name, old: content if name.endswith(".png") else old)


def packed(copy: Path) -> None:
    path = copy / "train-000000.tar"
    path.write_bytes(gzip.compress(path.read_bytes()))
    describe(copy)


def cut(copy: Path) -> None:
    path = copy / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:2000])
    describe(copy)


def huge(copy: Path) -> None:
    """The first header says that its member is 8 exbibytes long."""
    path = copy / "train-000000.tar"
    header = bytearray(path.read_bytes())
    header[124:136] = b"\x80\0\0\0" + (2**63 - 1).to_bytes(8, "big")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header[:512]):06o}\0 ".encode()
    path.write_bytes(header)
    describe(copy)


SHARDS: dict[Callable[[Path], None], tuple[str, str]] = {
    records(b"[]"): ("holds no JSON object but list",) * 2,
    records(b'"a"'): ("holds no JSON object but str",) * 2,
    records(b'{"label": null}'): ("has a 'label' that is NoneType instead of int",) * 2,
    records(b'{"label": "0"}'): ("has a 'label' that is str instead of int",) * 2,
    records(b'{"label": 99}'): ("has the label 99, which no class",) * 2,
    records(b'{"label": -1}'): ("has the label -1, which no class",) * 2,
    records(b'{"label": 0, "label": 1}'): ("has the key 'label' twice",) * 2,
    records(b'{"label": 0, "sources": 3}'): ("has sources of another type",) * 2,
    records(b'{"label": 0, "soft_labels": [0], "soft_weights": [2]}'): ("soft_weights [2]",) * 2,
    records(b"\xff"): ("is not JSON (",) * 2,
    records(b"[" * 100_000): ("is not JSON (",) * 2,
    records(b" " * 2**21): ("is no whole tar", "too large"),
    images(bomb()): ("was written (broken image", "cannot be read ("),
    images(picture("GIF")): ("was written (broken image", "cannot be read ("),
    images(IMAGES["AVIF"]): ("was written (broken image", "cannot be read ("),
    images(IMAGES["DDS"]): ("was written (broken image", "cannot be read ("),
    images(picture()[:-300]): ("was written (broken image", "cannot be read ("),
    packed: ("is no whole tar", "cannot be read ("),
    cut: ("is no whole tar", "cannot be read ("),
    huge: ("is no whole tar", "cannot be read ("),
}

VERIFIED = [
    refused("augment verify $tmp/copy", "train-000000.tar", words[0], prepare=copied("dataset", change))
    for change, words in SHARDS.items()
]
TRAINED = [
    refused(
        "classify fit $fit --data.synthetic $tmp/copy", "train-000000.tar", words[1], prepare=copied("dataset", change)
    )
    for change, words in SHARDS.items()
]


def latents(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def rewrite(copy: Path) -> None:
        for path in copy.glob("*.safetensors"):
            header = {"quality": '{"round_trip": 30, "autoencoder": 30, "residual": 0}'}
            save_file({"latent": change(load_file(path)["latent"]).contiguous()}, path, metadata=header)

    return rewrite


LATENTS = [
    refused("augment synthesize $synthesize --data.bank $tmp/copy", "latent '", *words, prepare=copied("bank", change))
    for change, words in (
        (latents(lambda z: z[:, :-1]), ("it is float32 [", "delete it")),
        (latents(lambda z: z[None]), ("it is float32 [1, ",)),
        (latents(lambda z: z.to(torch.float16)), ("it is float16 [",)),
        (latents(lambda z: z * torch.nan), ("it holds NaN",)),
    )
]


@pytest.mark.parametrize(
    "case",
    [*JSON_FILES, *RESULTS, *CONFIGURATIONS, *PICTURES, *VERIFIED, *TRAINED, *LATENTS],
    ids=lambda case: " ".join(case.line.split()[:2] + [word[:24] for word in case.words]),
)
def test_one_line(case: Case, places: Places, tmp_path: Path) -> None:
    check(case, places, tmp_path)
