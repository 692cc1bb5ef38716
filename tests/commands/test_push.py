"""Cards and uploads without a network: the Hub's client is replaced by one that records, or fails as the Hub does."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import COLOURS, SIDE
from huggingface_hub import DatasetCard, HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx
from PIL import Image

import augment.cli
import classify.cli
from augment.dataset.card import write_card
from classify.train.classifier import Classifier

Fails = Callable[..., str]


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(dataset, tmp_path / "mine")


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    """What `classify fit` leaves behind."""
    Classifier(3, "test_resnet").save(tmp_path / "fitted" / "classifier", tuple(COLOURS), SIDE)
    results = {"top1": 0.75, "per_class": dict.fromkeys(COLOURS, 0.75), "seconds": {"train": 1.0}, "fd_digits": 1.5}
    (tmp_path / "fitted" / "results.json").write_text(json.dumps(results))
    return tmp_path / "fitted"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self: HfApi, repo_id: str, **settings: Any) -> SimpleNamespace:
        calls.append(("create_repo", {"repo_id": repo_id} | settings))
        return SimpleNamespace(repo_id=f"me/{repo_id}")

    def upload_folder(self: HfApi, **settings: Any) -> None:
        calls.append(("upload_folder", settings))

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return calls


def snippets(card: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.DOTALL)


def test_the_datasets_card_is_read_by_the_hubs_own_reader(copy: Path) -> None:
    card = DatasetCard.load(write_card(copy))
    assert card.data.task_categories == ["image-classification"]
    assert card.data.size_categories == "n<1K"
    assert card.data.configs == [{"config_name": "default", "data_files": [{"split": "train", "path": "train-*.tar"}]}]
    assert card.data.license is None
    assert "`nin/chm`" in card.text and "12 synthetic images of 3 classes" in card.text
    manifest = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    for shot in manifest["few_shot"]:
        (row,) = (line for line in card.text.splitlines() if shot["name"] in line)
        assert row.startswith(f"| {shot['label']} | {manifest['classes'][shot['label']]} | 4 | ")


def test_the_datasets_card_names_the_classes_that_were_made_only(job: Any, tmp_path: Path) -> None:
    folder = job.synthesize(tmp_path / "one", "--classes", '["green.leaf"]')
    text = write_card(folder).read_text(encoding="utf-8")
    assert "4 synthetic images of 1 classes" in text
    assert "| 1 | green.leaf | 4 |" in text
    assert "blue sky" not in text


def test_the_datasets_snippets_load_it(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = snippets(write_card(copy))
    monkeypatch.chdir(copy.parent)
    labels = []
    for code in codes:
        names: dict[str, Any] = {}
        exec(code, names)  # as a reader of the card would
        rows = list(names["dataset"])
        labels.append(sorted(int(row["cls"] if isinstance(row, dict) else row[1]) for row in rows))
    assert len(codes) == 3
    assert labels == [[0] * 4 + [1] * 4 + [2] * 4] * 3


def test_the_classifiers_card_and_its_snippet(fitted: Path, hub: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    classify.cli.main(["push", str(fitted), "--repo", "net", "--license", "mit"])
    card = ModelCard.load(fitted / "classifier" / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == (
        "timm",
        "image-classification",
        "mit",
    )
    assert "| top1 | 0.7500 |" in card.text and "| fd_digits | 1.5000 |" in card.text
    assert all(f"| {name} | 0.7500 |" in card.text for name in COLOURS)
    monkeypatch.chdir(fitted.parent)
    shutil.copytree(fitted / "classifier", fitted.parent / "download")
    (code,) = snippets(fitted / "classifier" / "README.md")
    names: dict[str, Any] = {}
    exec(code.replace("local-dir:fitted", "local-dir:download"), names)
    assert names["classes"] == list(COLOURS)
    assert names["transform"](Image.new("RGB", (30, 20))).shape == (3, SIDE, SIDE)
    assert names["model"].num_classes == 3


def test_push_of_a_dataset(copy: Path, hub: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    augment.cli.main(["push", str(copy), "--repo", "mine", "--license", "cc-by-4.0"])
    created, uploaded = hub
    assert created == ("create_repo", {"repo_id": "mine", "repo_type": "dataset", "private": True, "exist_ok": True})
    assert uploaded[0] == "upload_folder"
    assert uploaded[1]["repo_id"] == "me/mine" and uploaded[1]["repo_type"] == "dataset"
    assert uploaded[1]["folder_path"] == copy
    assert "run.json" in uploaded[1]["ignore_patterns"]  # it names the host
    assert {"preview.png", "browse.html"} <= set(uploaded[1]["ignore_patterns"])  # they show the real images
    assert DatasetCard.load(copy / "README.md").data.license == "cc-by-4.0"
    assert capsys.readouterr().out.count("\n") == 1


def test_public_is_asked_for(fitted: Path, hub: list[Any]) -> None:
    classify.cli.main(["push", str(fitted), "--repo", "net", "--public"])
    assert hub[0][1] == {"repo_id": "net", "repo_type": "model", "private": False, "exist_ok": True}
    assert hub[1][1]["folder_path"] == fitted / "classifier"


def test_a_card_that_its_owner_edited_is_kept(copy: Path, hub: list[Any]) -> None:
    path = write_card(copy)
    path.write_text(path.read_text(encoding="utf-8") + "\nMy own words.\n", encoding="utf-8")
    augment.cli.main(["push", str(copy), "--repo", "mine", "--license", "mit"])
    card = DatasetCard.load(path)
    assert "My own words." in card.text
    assert card.data.license == "mit"
    assert card.data.size_categories == "n<1K"


def test_a_damaged_dataset_is_not_pushed(copy: Path, hub: list[Any], fails: Fails) -> None:
    (copy / "train-000001.tar").unlink()
    assert "train-000001.tar is missing" in fails(augment.cli.main, ["push", str(copy), "--repo", "mine"], 1)
    assert hub == []


def test_no_classifier_there(tmp_path: Path, hub: list[Any], fails: Fails) -> None:
    error = fails(classify.cli.main, ["push", str(tmp_path), "--repo", "net"], 1)
    assert error.startswith("classify push: folder: no '")
    assert error.endswith("config.json'; give the output folder of a finished `classify fit`\n")
    assert hub == []


def refusal(status: int) -> HfHubHTTPError:
    response = httpx.Response(status, request=httpx.Request("POST", "https://huggingface.co/api/repos/create"))
    return HfHubHTTPError(f"{status} Client Error: no.\n\nMore words.", response=response)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LocalTokenNotFoundError("no token"), "repo: 'mine' needs a login; run `hf auth login` with a token"),
        (OfflineModeIsEnabled("offline"), "repo: 'mine' cannot be reached while HF_HUB_OFFLINE is set; unset it"),
        (refusal(401), "repo: no permission to write 'mine' (401 Client Error: no); run `hf auth login` with a token"),
        (refusal(403), "repo: no permission to write 'mine' (403 Client Error: no); run `hf auth login` with a token"),
        (refusal(500), "repo: the Hub refused 'mine' (500 Client Error: no); try again later"),
        (httpx.ConnectError("no route"), "repo: 'mine' cannot be reached (no route); check the network"),
        (ConnectionError("no route"), "repo: 'mine' cannot be reached (no route); check the network"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    copy: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails, error: Exception, text: str
) -> None:
    def create_repo(self: HfApi, *_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    line = fails(augment.cli.main, ["push", str(copy), "--repo", "mine"], 1)
    assert line.startswith(f"augment push: {text}")
    assert line.count("\n") == 1


def test_a_bug_is_no_refusal(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        augment.cli.main(["push", str(copy), "--repo", "mine"])


def test_a_name_that_is_none(copy: Path, fails: Fails) -> None:
    """The Hub's own client finds it, before it asks the network."""
    line = fails(augment.cli.main, ["push", str(copy), "--repo", "a/b/c"], 1)
    assert line.startswith("augment push: repo: 'a/b/c' is no repository's name (")
    assert line.count("\n") == 1


def test_offline_is_said(copy: Path, fails: Fails) -> None:
    """Nothing is replaced here: the tests run with HF_HUB_OFFLINE."""
    line = fails(augment.cli.main, ["push", str(copy), "--repo", "mine"], 1)
    assert line == "augment push: repo: 'mine' cannot be reached while HF_HUB_OFFLINE is set; unset it\n"
