"""`classify fit` from end to end."""

import json
import math
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import COLOURS, SIDE, make_images, mtimes, run_program
from fitting import expected_calibration_error, fit_args
from safetensors import SafetensorError

from augment.cli import main as augment_main
from augment.images.pixels import to_tensor
from augment.images.sources import ImageFolder
from augment.measure.seen_in_training import seen_by_extractor
from classify.cli import main
from classify.train.classifier import Classifier

Fails = Callable[..., str]


def test_fit_trains_tests_and_saves(
    dataset: Path, train_folder: Path, test_folder: Path, extractor_folder: Path, tmp_path: Path
) -> None:
    more = ["--data.synthetic", str(dataset), "--extractor", f"local-dir:{extractor_folder}"]
    results = []
    for name in ("first", "again"):
        main(fit_args(tmp_path / name, train_folder, test_folder, *more))
        results.append(json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")))
    first, again = results
    accuracies = {"top1", "macro", "ece", "log_loss", "per_class", "confusion"}
    manifolds = {f"{name}_tinynet" for name in ("precision", "recall", "density", "coverage")}
    within = {"diversity_tinynet", "diversity_real_tinynet", "nearest_tinynet", "nearest_real_tinynet"}
    distances = {"fd_tinynet", "kd_tinynet", "cosine_tinynet"}
    judged = {"seconds", "caveats", "recognised_tinynet"}
    assert set(first) == accuracies | judged | distances | manifolds | within
    assert len(first["caveats"]) == 1 and "15 real and 12 synthetic images for" in first["caveats"][0]
    assert list(first["per_class"]) == list(COLOURS)
    assert [sum(row) for row in first["confusion"]] == [3, 3, 3]
    assert first["top1"] == pytest.approx(sum(first["confusion"][n][n] for n in range(3)) / 9)
    assert math.isfinite(first["fd_tinynet"]) and first["fd_tinynet"] > 0
    # The same command twice: the same numbers but for the clock.
    assert first | {"seconds": 0} == again | {"seconds": 0}
    weights = [(tmp_path / n / "classifier" / "model.safetensors").read_bytes() for n in ("first", "again")]
    assert weights[0] == weights[1]
    loaded = timm.create_model(f"local-dir:{tmp_path / 'first' / 'classifier'}", pretrained=True)
    assert loaded.num_classes == 3
    shots = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))["few_shot"]
    assert seen_by_extractor(f"local-dir:{tmp_path / 'first' / 'classifier'}") == {shot["sha256"] for shot in shots}


@pytest.mark.parametrize(
    ("option", "value", "difference"),
    [
        ("--model.lr", "0.1", "model.lr: 0.001 there, 0.1 here"),
        ("--data.batches.hflip", "0", "data.batches.hflip: 0.5 there, 0.0 here"),
        ("--data.shots", "2", "data.shots: 3 there, 2 here"),
        ("--seed", "7", "data.seed: 0 there, 7 here"),
        ("--trainer.max_steps", "2", "trainer.max_steps: 1 there, 2 here"),
        ("--half", "true", "half: False there, True here"),
    ],
)
def test_fit_of_another_configuration_into_the_same_folder_is_refused(
    once: Path, train_folder: Path, test_folder: Path, fails: Fails, option: str, value: str, difference: str
) -> None:
    before = mtimes(once)
    args = fit_args(once, train_folder, test_folder, "--trainer.max_steps", "1", option, value)
    error = fails(main, args, 1)
    problem = f"output: '{once}' holds a classifier of another configuration ({difference})"
    assert error == f"classify fit: {problem}; choose another --output\n"
    assert mtimes(once) == before


@pytest.fixture(scope="module")
def once(train_folder: Path, test_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one training of one step, which tests never change."""
    output = tmp_path_factory.mktemp("fit") / "once"
    main(fit_args(output, train_folder, test_folder, "--trainer.max_steps", "1"))
    return output


def test_fit_of_the_same_configuration_may_be_run_again(
    once: Path, train_folder: Path, test_folder: Path, tmp_path: Path
) -> None:
    """The images count by their content: from another place they are the same."""
    copy = shutil.copytree(once, tmp_path / "copy")
    (copy / "results.json").unlink()
    moved = shutil.copytree(train_folder, tmp_path / "moved")
    main(fit_args(copy, moved, test_folder, "--trainer.max_steps", "1"))
    results = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (once, copy)]
    assert results[0] | {"seconds": 0} == results[1] | {"seconds": 0}


def test_fit_on_a_full_disk_keeps_its_results(
    train_folder: Path, test_folder: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(network: object, folder: str, **_: object) -> None:
        Path(folder).mkdir(parents=True)
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    args = fit_args(tmp_path / "out", train_folder, test_folder, "--trainer.max_steps", "1")
    monkeypatch.setattr("classify.train.classifier.save_for_hf", full)
    error = fails(main, args, 1)
    problem = rf"output: '{tmp_path}/out/classifier' could not be written \(.*No space left on device.*\)"
    assert re.fullmatch(rf"classify fit: {problem}; finished work is kept: run the same command again .*\n", error)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fit.json", "results.json"]
    monkeypatch.undo()
    main(args)
    assert (tmp_path / "out" / "classifier" / "README.md").is_file()


def test_a_stopped_fit_says_that_it_begins_anew(
    train_folder: Path, test_folder: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "on_train_batch_end", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    error = fails(main, fit_args(tmp_path / "out", train_folder, test_folder), 143)
    assert error.splitlines()[-1] == (
        "stopped by SIGTERM; nothing of this training is kept, run the same command again"
    )


def test_fit_never_writes_among_other_files(
    train_folder: Path, test_folder: Path, tmp_path: Path, fails: Fails
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    error = fails(main, fit_args(tmp_path, train_folder, test_folder), 1)
    assert f"output: '{tmp_path}' is not empty and holds no classifier; choose another --output" in error
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("below", [".", "runs/mine"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_fit_never_writes_among_its_images(
    train_folder: Path, test_folder: Path, tmp_path: Path, fails: Fails, split: str, below: str
) -> None:
    """The next run would take `classifier` or `curves` for a class."""
    copies = {"train": tmp_path / "train", "test": tmp_path / "test"}
    shutil.copytree(train_folder, copies["train"])
    shutil.copytree(test_folder, copies["test"])
    before = mtimes(tmp_path)
    output = copies[split] / below
    error = fails(main, fit_args(output, copies["train"], copies["test"]), 1)
    problem = f"output: '{output}' lies in '{copies[split]}', where the real images are read from"
    assert error == f"classify fit: {problem}; choose a folder outside of '{copies[split]}'\n"
    assert mtimes(tmp_path) == before


def test_fit_with_a_reference_that_lacks_a_class_stops_before_training(
    dataset: Path, train_folder: Path, test_folder: Path, extractor_folder: Path, tmp_path: Path, fails: Fails
) -> None:
    other = make_images(tmp_path / "other", 3, 0, {"rød": (200, 0, 0)})
    more = ["--data.synthetic", str(dataset), "--extractor", f"local-dir:{extractor_folder}", "--reference", str(other)]
    error = fails(main, fit_args(tmp_path / "out", train_folder, test_folder, *more), 1)
    assert "reference: no real image of class 'blue sky', which the synthetic set has" in error
    assert not (tmp_path / "out" / "results.json").exists()


def test_fit_learns_colours(train_folder: Path, test_folder: Path, tmp_path: Path) -> None:
    """Three colours that any classifier must tell apart: what is trained is what is tested."""
    more = ["--trainer.max_steps", "40", "--model.lr", "0.005", "--data.batches.color_jitter", "0"]
    main(fit_args(tmp_path / "out", train_folder, test_folder, *more))
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert results["top1"] >= 8 / 9
    assert set(results) == {"top1", "macro", "ece", "log_loss", "per_class", "confusion", "seconds"}


def test_fit_refuses_a_dataset_of_another_seed(
    dataset: Path, train_folder: Path, test_folder: Path, tmp_path: Path, fails: Fails
) -> None:
    args = fit_args(tmp_path, train_folder, test_folder, "--data.synthetic", str(dataset), "--data.seed", "1")
    error = fails(main, args, 1)
    assert "was made from another few-shot set" in error
    assert len(error.strip().splitlines()) == 1


def test_fit_needs_test_images_before_it_trains(train_folder: Path, tmp_path: Path, fails: Fails) -> None:
    args = fit_args(tmp_path / "out", train_folder, train_folder)
    place = args.index("--data.source.test_path")
    error = fails(main, args[:place] + args[place + 2 :], 1)
    assert "source.test_path: not given" in error
    assert not (tmp_path / "out" / "results.json").exists()


def test_fit_without_test_images_if_it_is_told_so(train_folder: Path, tmp_path: Path) -> None:
    options = fit_args(tmp_path / "out", train_folder, train_folder, "--untested")
    place = options.index("--data.source.test_path")
    main([*options[:place], *options[place + 2 :]])
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert results.keys() == {"per_class", "seconds"}
    assert results["per_class"] == {}
    card = (tmp_path / "out" / "classifier" / "README.md").read_text(encoding="utf-8")
    assert "which were never tested" in card
    assert timm.create_model(f"local-dir:{tmp_path / 'out' / 'classifier'}", pretrained=True).num_classes == 3


def test_fit_of_an_unknown_model(train_folder: Path, test_folder: Path, tmp_path: Path, fails: Fails) -> None:
    error = fails(main, fit_args(tmp_path, train_folder, test_folder, "--model.name", "resnet_of_mine"), 1)
    assert "timm cannot make 'resnet_of_mine'" in error
    assert len(error.strip().splitlines()) == 1


def test_fit_names_a_broken_test_image(train_folder: Path, test_folder: Path, tmp_path: Path, fails: Fails) -> None:
    broken = shutil.copytree(test_folder, tmp_path / "test")
    (broken / "rød" / "01.png").write_bytes(b"no image")
    error = fails(main, fit_args(tmp_path / "out", train_folder, broken), 1)
    assert "rød/01.png': cannot be read" in error


def test_two_processes_train_on_shards_and_test_every_image_once(
    dataset: Path, train_folder: Path, test_folder: Path, tmp_path: Path
) -> None:
    """With what differs by process: the order, Mixup's draws, and shards that are streamed."""
    run_program(
        "classify",
        fit_args(
            tmp_path / "out",
            train_folder,
            test_folder,
            *("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_steps", "2"),
            *("--data.synthetic", str(dataset), "--data.batches.cache_gib", "1e-9"),
            *("--data.batches.batch_size", "8", "--data.batches.mixup", "0.8", "--data.batches.cutmix", "1"),
        ),
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert [sum(row) for row in results["confusion"]] == [3, 3, 3]
    # The saved network on all images at once says the same as the two processes together.
    network = timm.create_model(f"local-dir:{tmp_path / 'out' / 'classifier'}", pretrained=True).eval()
    source = ImageFolder(train_folder, test_folder)
    pixels = torch.stack([to_tensor(source.image(item), SIDE) for item in source.test])
    with torch.no_grad():
        probabilities = network(pixels).softmax(-1).numpy()
    labels = np.array([item.label for item in source.test])
    assert results["top1"] == results["macro"] == pytest.approx((probabilities.argmax(1) == labels).mean())
    assert results["ece"] == pytest.approx(expected_calibration_error(probabilities, labels), abs=1e-3)


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--data.batches.synthetic_use", "replace", "batches.synthetic_use: replace"),
        ("--data.batches.synthetic_smoothing", "0.2", "batches.synthetic_smoothing: 0.2"),
        ("--data.synthetic_filter", "digits", "synthetic_filter: 'digits'"),
        ("--extractor", "digits", "extractor: 'digits'"),
        ("--reference", "real", "reference: 'real'"),
    ],
)
def test_fit_refuses_settings_of_a_synthetic_set_that_is_not_there(
    train_folder: Path, test_folder: Path, tmp_path: Path, fails: Fails, option: str, value: str, text: str
) -> None:
    error = fails(main, fit_args(tmp_path / "out", train_folder, test_folder, option, value), 1)
    remedy = "give its folder as --synthetic"
    assert re.fullmatch(rf"classify fit: {text} means nothing without a synthetic set; {remedy}\n", error)


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--model.name", "vit_tiny_patch16_224", "batches.image_size: 'vit_tiny_patch16_224' cannot take 16 px"),
        ("--data.batches.crop_scale", "[0, 1]", "batches.crop_scale: [0.0, 1.0] must rise, above 0 and up to 1"),
        ("--data.batches.crop_ratio", "[2, 1]", "batches.crop_ratio: [2.0, 1.0] must rise, above 0"),
    ],
)
def test_fit_refuses_what_cannot_be_trained(
    train_folder: Path, test_folder: Path, tmp_path: Path, fails: Fails, option: str, value: str, text: str
) -> None:
    assert text in fails(main, fit_args(tmp_path / "out", train_folder, test_folder, option, value), 1)


def test_one_class_is_nothing_to_classify(test_folder: Path, tmp_path: Path, fails: Fails) -> None:
    single = make_images(tmp_path / "single", 5, 0, {"rød": (200, 0, 0)})
    error = fails(main, fit_args(tmp_path / "out", single, test_folder), 1)
    assert "images of one class leave nothing to classify" in error


def test_fit_filters_and_reports_what_it_dropped(
    dataset: Path, train_folder: Path, test_folder: Path, extractor_folder: Path, tmp_path: Path
) -> None:
    more = ["--data.synthetic", str(dataset), "--data.synthetic_filter", f"local-dir:{extractor_folder}"]
    main(fit_args(tmp_path / "out", train_folder, test_folder, *more, "--trainer.max_steps", "2"))
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["filter"]
    assert found["extractor"] == f"local-dir:{extractor_folder}"
    assert found["by"] == "nearest class mean"
    assert list(found["dropped"]) == list(COLOURS)
    assert found["kept"] + sum(found["dropped"].values()) == 12


def test_synthesize_and_fit_with_names_of_every_kind(model_folder: Path, tmp_path: Path) -> None:
    """Dots, spaces, a leading minus, letters outside ASCII: kept in JSON, and nowhere else in the way."""
    names = {"-minus": (200, 0, 0), "a.b.c": (0, 200, 0), "ключ 狗": (0, 0, 200), "x'y\"z": (99, 99, 0)}
    train = make_images(tmp_path / "train", 2, 0, names)
    test = make_images(tmp_path / "test", 1, 50, names)
    from conftest import Job

    augment_main(["synthesize", *Job(model_folder, train).args(tmp_path / "set", "--shots", "2", per_class=1)])
    more = ["--data.synthetic", str(tmp_path / "set"), "--data.shots", "2"]
    main(fit_args(tmp_path / "out", train, test, *more))
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert list(results["per_class"]) == sorted(names)
