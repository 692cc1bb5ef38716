"""`classify fit` from end to end."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import COLOURS, SIDE, make_images, run_program
from fitting import expected_calibration_error, fit_args

from augment.cli import main as augment_main
from augment.images.pixels import to_tensor
from augment.images.sources import ImageFolder
from augment.measure.seen import seen_by_extractor
from classify.cli import main

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
    accuracies = {"top1", "macro", "ece", "per_class", "confusion"}
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
    assert set(results) == {"top1", "macro", "ece", "per_class", "confusion", "seconds"}


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
