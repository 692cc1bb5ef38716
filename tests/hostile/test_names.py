"""Names that lead nowhere: options, classes, files in the way, names too long or of bytes that are no text."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import paint
from hostile_case import Case, Places, check, refused, unread

LONG = "a" * 300
LINES = {
    "augment synthesize": "$synthesize",
    "augment invert": "$synthesize",
    "augment pretrain": "$pretrain",
    "augment explore strip": "$explore",
    "classify fit": "$fit",
    "classify study": "$study",
}
READERS = ("augment verify {}", "augment push {} --repo a/b", "classify rank {}", "classify push {} --repo a/b")


def not_text(tmp: Path, places: Places) -> None:
    """A class and an image whose names are no UTF-8."""
    shutil.copytree(places["images"][0], tmp / "class")
    shutil.copytree(places["images"][0], tmp / "image")
    paint(tmp / "class" / os.fsdecode(b"\xff") / "0.png", (1, 2, 3), 7)
    for n in range(8):
        paint(tmp / "image" / "green.leaf" / os.fsdecode(b"\xff%d.png" % n), (1, 2, 3), n)


def pickled(tmp: Path, places: Places) -> None:
    """A file of weights that is no file of weights."""
    (tmp / "weights.pth").write_bytes(b"cos\nsystem\n(S'true'\ntR.")


CASES = [
    *[
        refused(f"{command} {options} --output $notes", "notes.txt'", "choose another --output|output")
        for command, options in LINES.items()
    ],
    *[
        refused(f"{command} {options} --output $notes/below", "output: ", "notes.txt' is no folder")
        for command, options in LINES.items()
    ],
    *[
        refused(f"{command} {options} --output $tmp/{LONG}", "output: ", "File name too long")
        for command, options in LINES.items()
    ],
    *[unread(f"{command} {options} --no_such_option 1", "no_such_option") for command, options in LINES.items()],
    *[unread(f"{command} {options} --config $tmp/none.yaml", "none.yaml") for command, options in LINES.items()],
    *[refused(reader.format(f"$tmp/{LONG}"), "File name too long", "give another path") for reader in READERS],
    *[refused(reader.format("$notes/below"), "notes.txt/below") for reader in READERS],
    *[refused(reader.format("$images"), "train") for reader in READERS],
    refused("augment invert $synthesize --check --output $notes", "output: ", "notes.txt' is no folder"),
    refused("augment invert $synthesize --check --output $notes/below", "output: ", "notes.txt' is no folder"),
    refused("augment synthesize $synthesize --data.bank $notes", "bank: ", "notes.txt' is no folder", "--bank"),
    refused("augment synthesize $synthesize --data.bank $notes/below", "bank: ", "notes.txt' is no folder"),
    refused(f"augment synthesize $synthesize --data.bank $tmp/{LONG}", "bank: ", "File name too long"),
    refused("augment invert $synthesize --data.bank $notes", "bank: ", "notes.txt' is no folder", "--bank"),
    refused("augment explore strip $explore --bank $notes", "bank: ", "notes.txt' is no folder", "--bank"),
    refused("augment synthesize $synthesize --data.source.path $tmp/none", "source.path: no folder"),
    refused("augment synthesize $synthesize --data.source.path $notes", "source.path: no folder"),
    refused(f"augment synthesize $synthesize --data.source.path $tmp/{LONG}", "File name too long"),
    refused("augment synthesize $synthesize --data.source.path $tmp/class", "not UTF-8", prepare=not_text),
    refused(
        "augment synthesize $synthesize --shots 13 --classes [green.leaf] --data.source.path $tmp/image",
        "not UTF-8",
        prepare=not_text,
    ),
    refused("classify fit $fit --data.source.path $tmp/class", "not UTF-8", prepare=not_text),
    refused("classify fit $fit --data.source.test_path $tmp/none", "source.test_path: no folder"),
    refused(f"classify fit $fit --data.source.test_path $tmp/{LONG}", "File name too long"),
    refused("classify fit $fit --data.synthetic $tmp/none", "dataset: no ", "none/dataset.json"),
    refused(f"classify fit $fit --data.synthetic $tmp/{LONG}", "File name too long"),
    refused("classify fit $fit --extractor digits", "extractor: 'digits'", "--synthetic"),
    refused("classify study $study --extractor_weights $tmp/none.pth", "extractor_weights: no file", "none.pth"),
    refused(
        "augment explore quality $explore --extractor inception --extractor_weights $tmp/none.pth",
        "extractor_weights: no file",
        "none.pth",
    ),
    refused(
        "augment explore quality $explore --extractor inception --extractor_weights $tmp/weights.pth",
        "extractor_weights: ",
        "no weights alone",
        prepare=pickled,
    ),
    refused("augment synthesize $synthesize --model.backbone.model $tmp/none", "backbone.model", "none"),
    refused("augment synthesize $synthesize --model.backbone.model $images", "backbone.model", "model_index.json"),
    refused(f"augment synthesize $synthesize --model.backbone.model $tmp/{LONG}", "File name too long"),
    refused(
        "augment synthesize $synthesize --model.backbone.loras '[$notes]'", "backbone.loras", "is no safetensors file"
    ),
    refused(
        "augment synthesize $synthesize --model.backbone.loras '[$images]'",
        "backbone.loras",
        "holds 0 safetensors files, not one",
    ),
    refused("augment synthesize $synthesize --classes [nobody]", "classes: unknown class 'nobody'", "blue sky"),
    refused("augment synthesize $synthesize --trainer.precision bf16-mixed", "trainer.precision: bf16-mixed"),
    unread("augment synthesize $synthesize --model.backbone Foo", "Foo", "PixelDiffusion, StableDiffusion,"),
    unread("augment explore strip $explore --model.backbone Foo", "Foo", "PixelDiffusion, StableDiffusion,"),
    unread("classify study $study --synthesizer.backbone Foo", "Foo", "PixelDiffusion, StableDiffusion,"),
    unread("augment pretrain $pretrain --model Foo", "Foo", "DDPM, LatentDiffusion"),
    unread("augment synthesize $synthesize --data.source Foo", "Foo", "Digits, ", "ImageFolder"),
    unread("augment synthesize $synthesize --method foo/bar", "foo/bar", "nin/chm"),
    unread("augment synthesize --shots 3", "output"),
    unread("augment explore nothing $explore", "nothing", "strip"),
    unread("augment push $dataset", "repo"),
    unread("augment verify", "folder"),
    unread("classify rank", "studies"),
    unread("classify push $images", "repo"),
    refused("augment push $dataset --repo 'a b'", "repo: 'a b'"),
    refused("augment push $dataset --repo a/b", "repo: 'a/b'", "HF_HUB_OFFLINE"),
    refused(
        f"classify study $study --reference none --methods '[none, {{name: {LONG}, method: fix/0}}]'",
        "methods: ",
        "bytes",
        "shorten",
    ),
    refused(f"classify study $study --classifiers '{{{LONG}: {{name: test_resnet}}}}'", "methods: ", "bytes"),
    refused("classify study $study --classifiers.resnet.name nobody", "nobody"),
    refused("classify study $study --methods '[nix/chm]'", "unknown method 'nix/chm'", "nin/chm"),
    refused("classify study $study --reference nobody", "reference: no row is named 'nobody'"),
    refused("classify fit $fit --model.name nobody", "model.name", "nobody"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case).replace(LONG, "LONG"))
def test_one_line(case: Case, places: Places, tmp_path: Path) -> None:
    check(case, places, tmp_path)
