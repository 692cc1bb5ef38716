"""What a finished `classify study` holds, on the tiny model."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import COLOURS, sha256s
from small_study import ROWS, cells, dataset, run, slugs


def test_every_row_ran_with_every_seed_and_classifier_at_its_shots(finished: Path) -> None:
    assert set(cells(finished)) == slugs()
    for row in cells(finished).values():
        assert [sum(line) for line in row["confusion"]] == [3, 3, 3]
        assert list(row["per_class"]) == list(COLOURS)
        assert list(row["set"])[:1] == ([] if row["method"] == "none" else ["fd_tinynet"])
        assert ("recognised_tinynet" in row["set"]) == (row["method"] != "none")


def test_cells_share_synthetic_sets(finished: Path) -> None:
    """One set per (method, shots, seed), whatever the number of rows and classifiers that train on it."""
    names = {f"{slug}-shots{shots}-seed{seed}" for slug in ("fix-0", "fix-chm") for shots in (2, 3) for seed in (0, 1)}
    assert {path.name for path in (finished / "datasets").iterdir()} == names
    assert {path.stem for path in (finished / "sets").iterdir()} == names
    for row in cells(finished).values():
        if row["dataset"] is not None:
            assert row["fingerprint"] == dataset(finished, row["dataset"])["fingerprint"]


def test_methods_of_a_seed_share_everything_but_the_method(finished: Path) -> None:
    for seed in (0, 1):
        configs = [dataset(finished, f"{slug}-shots3-seed{seed}")["config"] for slug in ("fix-0", "fix-chm")]
        assert [config.pop("method") for config in configs] == ["fix/0", "fix/chm"]
        assert configs[0] == configs[1]
        assert configs[0]["seed"] == seed


def hashes(folder: Path, shots: int, seed: int) -> set[str]:
    return {shot["sha256"] for shot in dataset(folder, f"fix-0-shots{shots}-seed{seed}")["few_shot"]}


def test_seeds_have_few_shot_sets_of_their_own(finished: Path) -> None:
    assert hashes(finished, 3, 0) != hashes(finished, 3, 1)


def test_fewer_shots_are_some_of_the_more(finished: Path) -> None:
    assert hashes(finished, 2, 0) < hashes(finished, 3, 0)


def test_latents_are_inverted_once(finished: Path) -> None:
    """A latent for each image in any few-shot set, whatever the number of methods, shots and classifiers."""
    images = hashes(finished, 3, 0) | hashes(finished, 3, 1)
    assert len(list((finished / "bank").glob("*.safetensors"))) == len(images)
    notes = [json.loads(path.read_text()) for path in sorted((finished / "inversions").iterdir())]
    assert sum(note["new"] for note in notes) == len(images)


def test_results_csv_is_the_cells(finished: Path) -> None:
    frame = pd.read_csv(finished / "results.csv")
    names = ["row", "classifier", "shots", "seed"]
    found = {tuple(r[name] for name in names): r["top1"] for r in frame.to_dict("records")}
    expected = {tuple(r[name] for name in names): pytest.approx(r["top1"]) for r in cells(finished).values()}
    assert found == expected
    assert {"seconds_train", "seconds_test", "seconds_synthesize", "fd_tinynet", "key", "fingerprint"} <= set(frame)
    assert {"cost_unit", "cost_train", "cost_synthesize"} <= set(frame)


def test_cells_keep_their_training_loss_and_what_they_cost(finished: Path) -> None:
    for row in cells(finished).values():
        assert len(row["loss"]) == 3  # one of each step
        assert all(0 < loss < 10 for loss in row["loss"])
        assert row["cost"]["unit"] in ("processor", "device")
        assert row["cost"]["train"] > 0
        assert (row["cost"]["synthesize"] > 0) == (row["method"] != "none")


def test_rows_stand_in_the_order_of_the_configuration(finished: Path) -> None:
    assert list(dict.fromkeys(pd.read_csv(finished / "results.csv")["row"])) == ROWS


def test_the_page_needs_nothing_but_itself(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    links = re.findall(r"""(?:src|href|action|data)\s*=\s*["']?([^"'\s>]+)""", page)
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not re.search(r"https?://|//cdn|@import|url\(|<script[^>]+src|<link", page)


def test_the_page_shows_every_row_with_its_images(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    for row in ROWS:
        assert f">{row}</td>" in page
    for title in ("Difference from real images alone", "Accuracy", "Accuracy against fd_tinynet", "Real", "fix/0"):
        assert f'<img alt="{title}"' in page
    for name in COLOURS:
        assert f"<th>{name}</th>" in page
    headings = ["Is the backbone good enough?", "Accuracy against shots", "resnet, 2 shots", "vit, 3 shots"]
    for heading in (*headings, "Training and its cost", "Latents before and after mixing"):
        assert f"<h2>{heading}</h2>" in page
    assert "<h3>What mean adjustment changes</h3>" in page
    assert "against fix/0, points" in page
    assert "nan" not in re.sub(r"base64,[^\"]+|<script>.*</script>", "", page, flags=re.DOTALL).lower()


def test_the_page_says_whether_the_backbone_is_good_enough(finished: Path) -> None:
    adequacy = json.loads((finished / "adequacy.json").read_text())
    assert adequacy["count"] == 7  # half of 15 images
    text = (finished / "report.md").read_text(encoding="utf-8")
    _, verdict, rest = text.split("## ", 2)
    assert verdict.startswith("Is the backbone good enough?")
    assert f"plain noise samples {adequacy['noise']:.3g} (7 images each" in verdict
    headline, remark = text.split("\n\n")[1:3]
    assert "2 seeds reliably show no difference of any size" in headline
    assert remark == "The backbone is NOT good enough to rank methods: this study tests the machinery, not the methods."
    assert remark in verdict
    assert "These 14 real images are from the few-shot pool; no test image is among them." in verdict
    assert rest.startswith("How to read the figures")


def test_the_markdown_says_the_same(finished: Path) -> None:
    text = (finished / "report.md").read_text(encoding="utf-8")
    page = (finished / "report.html").read_text(encoding="utf-8")
    for row in ROWS:
        lines = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
        assert lines
        for line in lines:
            for value in line.split("|")[2:-1]:
                assert value.strip(" *") in page
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) >= 4
    assert all((finished / picture).is_file() for picture in pictures)


def test_markdown_tables_are_whole(finished: Path) -> None:
    """Every row follows its head without a blank line, with as many cells: else no viewer shows a table."""
    lines = (finished / "report.md").read_text(encoding="utf-8").splitlines()
    rules = [n for n, line in enumerate(lines) if re.fullmatch(r"\|( -+:? \|)+", line)]
    # Accuracy against shots; each block's accuracies, pairs, scores, three of measures, costs, classes; latents twice.
    assert len(rules) == 1 + 3 * (6 + 1 + 1) + 2
    for n in rules:
        columns = lines[n].count("|")
        assert lines[n - 2] == ""
        assert lines[n - 1].count("|") == columns
        assert lines[n + 1].count("|") == lines[n + 2].count("|") or lines[n + 2] == ""
        assert lines[n + 1].count("|") == columns


def test_only_the_baseline(config: Path, tmp_path: Path) -> None:
    only = ["--methods", '["none"]', "--seeds", "1", "--shots", "[3]", "--reference", "none"]
    folder = run(config, tmp_path / "none", *only, "--classifiers", '{"resnet": {"name": "test_resnet"}}')
    assert set(cells(folder)) == {"none-resnet-shots3-seed0"}
    assert not (folder / "datasets").exists()
    assert ">none</td>" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_row_may_drop_what_is_not_recognised(config: Path, finished: Path, tmp_path: Path) -> None:
    """The share that is dropped stands in the cell and in the report, and is the filter's own."""
    extractor = yaml.safe_load(config.read_text())["extractor"]
    rows = ["none", {"name": "kept", "method": "fix/0", "filter": extractor}]
    few = ["--seeds", "1", "--shots", "[3]", "--reference", "none", "--logger", "csv"]
    few += ["--extractor", json.dumps([extractor, "digits"])]
    folder = run(config, tmp_path / "filtered", "--methods", json.dumps(rows), *few)
    found = cells(folder)
    assert set(found) == {f"{row}-{name}-shots3-seed0" for row in ("none", "kept") for name in ("resnet", "vit")}
    assert sha256s(folder / "datasets" / "fix-0-shots3-seed0") == sha256s(finished / "datasets" / "fix-0-shots3-seed0")
    for name in ("resnet", "vit"):
        cell = found[f"kept-{name}-shots3-seed0"]
        dropped = sum(cell["filter"]["dropped"].values())
        assert dropped + cell["filter"]["kept"] == 12 and 0 < dropped < 12
        assert (cell["dropped"], cell["dropped_share"]) == (dropped, dropped / 12)
        assert "dropped" not in found[f"none-{name}-shots3-seed0"]
        assert f">{dropped:g}</td>" in (folder / "report.html").read_text(encoding="utf-8")
        one, two = cells(finished)[f"fix-0-{name}-shots3-seed0"]["set"], cell["set"]  # a second extractor only adds
        assert one.items() < two.items()
        assert {metric.removesuffix("_digits") for metric in two.keys() - one.keys()} == {
            metric.removesuffix("_tinynet") for metric in one
        }
    curves = {path.parent.name: pd.read_csv(path) for path in folder.glob("curves/*/metrics.csv")}
    assert set(curves) == set(found)
    for name, curve in curves.items():
        assert curve["test_top1"].dropna().item() == pytest.approx(found[name]["top1"])
