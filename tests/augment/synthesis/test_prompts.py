"""What is the model told of each image? Texts, captions and contexts, drawn by each image's own stream."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Job

from augment.backbones.stable_diffusion import StableDiffusion
from augment.cli import main
from augment.dataset.manifest import read_manifest
from augment.dataset.reader import read_shard
from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageFolder
from augment.inversion.inversion import Inversion
from augment.mix.draws import Draws
from augment.synthesis.prompts import read_prompts
from augment.synthesis.recipe import make_recipe
from augment.synthesis.synthesizer import Synthesizer

YAML = "no: a cat on a mat\n'1': [a dog, 'a {class}, small']\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "of-classes.yaml").write_text(YAML)
    (tmp_path / "of-classes.csv").write_text('class,caption\nno,a cat on a mat\n1,a dog\n1,"a {class}, small"\n')
    (tmp_path / "for-all.yml").write_text("- a {class}\n- one {class}\n")
    return tmp_path


def test_one_text_is_described_as_before() -> None:
    prompts = read_prompts("a {class}", (), None)
    assert list(prompts.of("owl")) == ["a owl"]
    assert prompts.draw("owl", Draws(0, 0, 0)) == prompts.for_inversion("owl") == "a owl"
    assert prompts.describe() == {"prompt": "a {class}"}
    assert prompts.tell_class and not prompts.varied


def test_contexts_are_crossed_with_texts_and_left_out_of_inversion() -> None:
    prompts = read_prompts(("a {class}", "a thing"), ("in a forest", "on a table"), None)
    assert list(prompts.of("owl")) == [
        "a owl in a forest",
        "a owl on a table",
        "a thing in a forest",
        "a thing on a table",
    ]
    assert prompts.for_inversion("owl") == "a owl"
    assert not prompts.tell_class and prompts.varied
    assert prompts.describe() == {"prompt": ["a {class}", "a thing"], "contexts": ["in a forest", "on a table"]}
    given = read_prompts("a {class}", (), "a photo of {class}")
    assert given.for_inversion("owl") == "a photo of owl"
    assert given.describe() == {"prompt": "a {class}", "inversion_prompt": "a photo of {class}"}


@pytest.mark.parametrize("name", ["of-classes.yaml", "of-classes.csv"])
def test_captions_by_class(folder: Path, name: str) -> None:
    prompts = read_prompts(str(folder / name), (), None)
    assert list(prompts.of("no")) == ["a cat on a mat"], "not False, as YAML has it"
    assert list(prompts.of("1")) == ["a dog", "a 1, small"]
    assert prompts.tell_class and prompts.varied
    assert prompts.describe() == {"prompt": {"1": ["a dog", "a {class}, small"], "no": ["a cat on a mat"]}}


def test_a_file_for_all_classes(folder: Path) -> None:
    prompts = read_prompts(str(folder / "for-all.yml"), str(folder / "for-all.yml"), None)
    assert prompts.all == ("a {class}", "one {class}")
    assert len(list(prompts.of("x"))) == 4


def test_each_image_draws_its_own_stream() -> None:
    """Stream 6 of the image, as numpy's documentation says that spawn keys make it; about as often each."""
    prompts = read_prompts(("a", "b", "c"), ("x", "y"), None)
    drawn = [prompts.draw("owl", Draws(3, 1, n)) for n in range(600)]
    choices = list(prompts.of("owl"))
    for n in range(20):
        stream = np.random.SeedSequence([3, 1, n], spawn_key=(6,))
        assert drawn[n] == choices[np.random.default_rng(stream).integers(6)]
    assert set(drawn) == set(choices)
    assert all(70 < count < 130 for count in Counter(drawn).values()), "100 each, by 5 times the deviation of 9 at most"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", b"a: [\xff]", "not UTF-8"),
        ("a.yaml", b"a: 1\na: 2", "line 2.*the key 'a' is there twice"),
        ("a.yaml", b"a: {b: c}", "neither a list of texts nor has captions by class"),
        ("a.yaml", b"", "there is a list without a prompt|neither a list"),
        ("a.yaml", b"a: []", "a list without a prompt"),
        ("a.csv", b"class,text\na,b\n", "has a row without the columns `class` and `caption`"),
        ("a.csv", b"class,caption\na,\n", "has a row without the columns"),
        ("a.csv", b"class,caption\na,\xff\n", "cannot be read"),
        ("b.yaml", None, "there is no file"),
    ],
)
def test_files_that_hold_no_prompts(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"model\.prompt: .*({words})"):
        read_prompts(str(tmp_path / name), (), None)


def test_contexts_are_the_same_for_all_classes(folder: Path) -> None:
    with pytest.raises(UserError, match=r"model\.contexts: .* has contexts by class; give a list"):
        read_prompts("a", str(folder / "of-classes.yaml"), None)
    with pytest.raises(UserError, match=r"model\.prompt: there is a list without a prompt"):
        read_prompts((), (), None)


def test_captions_must_have_every_class(train_folder: Path, model_folder: Path, folder: Path) -> None:
    few_shot = choose_few_shot_set(ImageFolder(train_folder), 3, 0)
    backbone = StableDiffusion(str(model_folder))
    model = Synthesizer(backbone, Inversion(steps=2), steps=2, prompt=str(folder / "of-classes.csv"))
    with pytest.raises(UserError, match=r"model\.prompt: there are no captions of 3 classes: .*; add them to the file"):
        make_recipe(model, few_shot)


def test_a_dataset_records_what_was_drawn(job: Job, tmp_path: Path) -> None:
    """And its images are those of its prompts: an image whose prompt is another has other bytes."""
    two = job.synthesize(
        tmp_path / "two", "--model.prompt", '["a {class}", "one {class}"]', "--contexts", '["at night"]'
    )
    assert read_manifest(two)["config"]["prompt"] == ["a {class}", "one {class}"]
    assert read_manifest(two)["config"]["contexts"] == ["at night"]
    one = job.synthesize(tmp_path / "one", "--model.prompt", "a {class} at night", "--inversion_prompt", "a {class}")
    drawn = []
    for shard in sorted(two.glob("*.tar")):
        for (_, image, record), (_, other, plain) in zip(read_shard(shard), read_shard(one / shard.name), strict=True):
            assert "prompt" not in plain, "one prompt stands in dataset.json"
            first = record["prompt"].split()[0]
            assert record["prompt"] == f"{first} {record['class']} at night"
            assert (image.tobytes() == other.tobytes()) == (first == "a")
            drawn.append(first)
    assert set(drawn) == {"a", "one"}


def test_a_file_of_prompts_on_the_command_line(job: Job, tmp_path: Path, fails: Callable[..., str]) -> None:
    path = tmp_path / "captions.yaml"
    path.write_text("red: [a red one, crimson]\n")
    words = fails(main, ["synthesize", *job.args(tmp_path / "out", "--model.prompt", str(path))], 1)
    assert "model.prompt: there are no captions of 3 classes" in words
    assert not (tmp_path / "out").exists()


def test_many_prompts_are_not_all_kept(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than can be kept are encoded when they come, and their embeddings forgotten now and then."""
    kept = 8
    for module in ("augment.synthesis.synthesizer",):
        monkeypatch.setattr(f"{module}.KEPT_PROMPTS", kept)
    monkeypatch.setattr("augment.backbones.encoded.MOST", 2 * kept)
    backbone = StableDiffusion(str(model_folder))
    model = Synthesizer(backbone, Inversion(steps=2), steps=2)
    model.expect(f"a {n}" for n in range(kept))
    assert len(model.expected) == kept
    model.expect(f"a {n}" for n in range(kept + 1))
    assert model.expected == ()
    first = backbone.condition(["a 0"]).embeddings
    for begin in range(0, 20 * kept, 4):
        backbone.condition([f"a {n}" for n in range(begin, begin + 4)])
    assert torch.equal(backbone.condition(["a 0"]).embeddings, first)
    assert len(backbone._prompts) <= 2 * kept + 4
