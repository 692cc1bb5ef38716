"""The classifier alone: its networks, scores, schedule, and what a training sees."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import timm
import torch
from conftest import SIDE
from fitting import expected_calibration_error
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, log_loss
from timm.data import create_transform, resolve_data_config
from timm.data.mixup import mixup_target
from timm.loss import SoftTargetCrossEntropy
from torch import nn
from torch.utils.data import DataLoader

from augment.errors import UserError
from augment.images.sources import ImageFolder
from augment.runtime.trainer import QUIET_TRAINER
from classify.train.augmentation import mix
from classify.train.batches import Batches
from classify.train.classifier import Classifier, create_network
from classify.train.data import ClassificationData


def test_a_model_that_timm_does_not_know() -> None:
    with pytest.raises(UserError, match=r"model\.name: timm cannot make 'resnet_of_mine' \(.*\); similar names: ") as e:
        create_network("resnet_of_mine", False, 3)
    assert "\n" not in str(e.value)


def test_a_model_nothing_like_any() -> None:
    with pytest.raises(UserError, match=r"timm cannot make 'zzzz'"):
        create_network("zzzz", False, 3)


@pytest.mark.parametrize("name", ["local-dir:/no/such/folder", "hf-hub:nobody/nothing"])
def test_weights_that_are_not_there_while_offline(name: str) -> None:
    with pytest.raises(UserError, match=r"model\.name: timm cannot make '.*'") as error:
        create_network(name, True, 3)
    assert "\n" not in str(error.value)


def test_a_saved_classifier_is_a_timm_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Classifier(3, "test_resnet").eval()
    model.save(tmp_path / "model", ("a", "b b", "ç"), SIDE)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    images = torch.randn(4, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.equal(loaded(images), model.network(images))
    assert loaded.pretrained_cfg["label_names"] == ["a", "b b", "ç"]
    assert loaded.pretrained_cfg["input_size"] == (3, SIDE, SIDE)
    assert tuple(loaded.pretrained_cfg["mean"]) == tuple(loaded.pretrained_cfg["std"]) == (0.5, 0.5, 0.5)
    assert {file.suffix for file in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}


def test_timm_shows_a_saved_classifier_what_it_was_tested_on(
    train_folder: Path, test_folder: Path, tmp_path: Path
) -> None:
    """timm's evaluation transform from the saved settings is the one of our final test."""
    Classifier(3, "test_resnet").save(tmp_path, ("a", "b", "c"), SIDE)
    transform = create_transform(**resolve_data_config(model=timm.create_model(f"local-dir:{tmp_path}")))
    source = ImageFolder(train_folder, test_folder)
    images, _ = next(iter(ClassificationData(source, 3, batches=Batches(image_size=SIDE)).test_dataloader()))
    assert torch.equal(torch.stack([transform(source.image(item)) for item in source.test]), images)


def test_a_classifier_saved_in_half_precision_is_half_as_large(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Classifier(3, "test_resnet").eval()
    images = torch.randn(4, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = model.network(images)
    model.save(tmp_path / "full", ("a", "b", "c"), SIDE)
    model.save(tmp_path / "half", ("a", "b", "c"), SIDE, half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = timm.create_model(f"local-dir:{tmp_path / 'half'}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), expected, atol=1e-2, rtol=1e-2)


def test_results_are_counted_right() -> None:
    """Eight images of six classes with hand-made logits, in two batches."""
    model = Classifier(6, "test_resnet").eval()
    model.network = nn.Identity()
    labels = torch.tensor([0, 0, 1, 2, 3, 4, 5, 5])
    guesses = [0, 1, 1, 2, 3, 0, 5, 4]
    logits = torch.eye(6)[guesses] * 2
    logits[5] -= 3 * torch.eye(6)[4]  # class 4 comes last, so that this image is no top-5 hit
    model.test_step((logits[:3], labels[:3]), 0)
    model.test_step((logits[3:], labels[3:]), 1)
    model.on_test_epoch_end()
    results = model.results(tuple("abcdef"))
    assert results["top1"] == pytest.approx(5 / 8)
    assert pytest.approx(results["top5"]) == 7 / 8
    assert results["per_class"] == pytest.approx({"a": 0.5, "b": 1, "c": 1, "d": 1, "e": 0, "f": 0.5})
    confusion = torch.zeros(6, 6, dtype=torch.int64)
    for label, guess in zip(labels.tolist(), guesses, strict=True):
        confusion[label, guess] += 1
    assert results["confusion"] == confusion.tolist()
    assert json.loads(json.dumps(results)) == results


def test_top5_of_five_classes_says_nothing_and_is_left_out() -> None:
    model = Classifier(5, "test_resnet")
    model.network = nn.Identity()
    model.test_step((torch.eye(5), torch.arange(5)), 0)
    model.on_test_epoch_end()
    assert set(model.results(tuple("abcde"))) == {"top1", "macro", "ece", "log_loss", "per_class", "confusion"}


@pytest.mark.parametrize("scale", [0.02, 1.0, 8.0])
def test_macro_accuracy_and_ece_are_those_of_scikit_learn_and_numpy(scale: float) -> None:
    """200 images of four classes of unequal size, in batches, one of them with all its logits in [0, 1]."""
    random = np.random.default_rng(0)
    labels = random.choice(4, 200, p=[0.6, 0.2, 0.15, 0.05])
    logits = scale * (np.eye(4)[labels] * 1.5 + random.normal(size=(200, 4)))
    logits[:20] = random.uniform(size=(20, 4))
    model = Classifier(4, "test_resnet")
    model.network = nn.Identity()
    for n in range(0, 200, 20):
        model.test_step((torch.from_numpy(logits[n : n + 20]).float(), torch.from_numpy(labels[n : n + 20])), 0)
    model.on_test_epoch_end()
    results = model.results(tuple("abcd"))
    assert results["macro"] == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)), abs=1e-6)
    assert results["macro"] == pytest.approx(np.mean(list(results["per_class"].values())), abs=1e-6)
    assert abs(results["macro"] - results["top1"]) > 0.01
    assert results["ece"] == pytest.approx(expected_calibration_error(softmax(logits, 1), labels), abs=1e-5)
    assert results["log_loss"] == pytest.approx(log_loss(labels, softmax(logits, 1)), rel=1e-5)


def test_ece_of_a_network_that_knows_how_sure_it_may_be() -> None:
    """Three of four right at a confidence of 0.75: no calibration error; at a confidence of one: 0.25."""
    labels = torch.tensor([0, 0, 0, 1])
    for confidence, expected in ((0.75, 0.0), (1.0, 0.25)):
        model = Classifier(2, "test_resnet")
        model.network = nn.Identity()
        model.test_step((torch.tensor([confidence, 1 - confidence]).log().clamp(min=-99).repeat(4, 1), labels), 0)
        model.on_test_epoch_end()
        assert model.results(("a", "b"))["ece"] == pytest.approx(expected, abs=1e-6)


class Watch(L.Callback):
    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_learning_rate_warms_up_and_ends_near_zero() -> None:
    torch.manual_seed(0)
    batch = (torch.randn(4, 3, SIDE, SIDE), torch.tensor([0, 1, 2, 0]))
    watch = Watch()
    trainer = L.Trainer(
        max_steps=20,
        accelerator="cpu",
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader([batch] * 30, batch_size=None)
    trainer.fit(Classifier(3, "test_resnet", lr=0.01, warmup_steps=5), loader)
    assert len(watch.rates) == 20
    peak = watch.rates.index(max(watch.rates))
    assert 3 <= peak <= 6
    assert 0.7 * 0.01 < max(watch.rates) <= 0.01
    assert watch.rates == sorted(watch.rates[: peak + 1]) + sorted(watch.rates[peak + 1 :], reverse=True)
    assert watch.rates[-1] < 0.02 * 0.01


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_label_smoothing_of_mixed_targets_is_timms(smoothing: float) -> None:
    """Smoothing after mixing, as the loss does it, equals timm's smoothing before it."""
    labels, logits = torch.tensor([0, 1, 2, 2]), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    theirs = SoftTargetCrossEntropy()(logits, mixup_target(labels, 3, lam=0.7, smoothing=smoothing))
    ours = Classifier(3, "test_resnet", label_smoothing=smoothing).loss(logits, mixup_target(labels, 3, lam=0.7))
    torch.testing.assert_close(ours, theirs)


class Batch(L.Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.seen.append((batch[0].clone(), batch[1].clone()))


def seen_in_training(
    data: ClassificationData, steps: int = 3, **settings: Any
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    watch = Batch()
    L.seed_everything(0, verbose=False)
    trainer = L.Trainer(max_steps=steps, accelerator="cpu", callbacks=[watch], **QUIET_TRAINER, **settings)
    trainer.fit(Classifier(3, "test_resnet"), datamodule=data)
    return watch.seen


def test_training_sees_scaled_images_and_the_mixture_of_each_step(train_folder: Path) -> None:
    """The loader's own batches, scaled; with Mixup, `mix` of these with the seed, the step and the process."""
    plain = Batches(batch_size=4, image_size=SIDE, color_jitter=0.0)
    data, mixed = (
        ClassificationData(ImageFolder(train_folder), 3, 7, None, b) for b in (plain, replace(plain, mixup=1))
    )
    for step, ((images, labels), (images_2, targets)) in enumerate(
        zip(seen_in_training(data), seen_in_training(mixed), strict=True)
    ):
        assert labels.dtype == torch.int64
        assert -1 <= images.min() < 0 < images.max() <= 1
        expected = mix(images.clone(), torch.eye(3)[labels], 1, 0, [7, step, 0])
        assert torch.equal(images_2, expected[0])
        assert torch.equal(targets, expected[1])


@pytest.mark.parametrize("mixup", [0.0, 0.8])
def test_half_precision_weights_meet_half_precision_images(train_folder: Path, mixup: float) -> None:
    data = ClassificationData(ImageFolder(train_folder), 3, batches=Batches(4, image_size=SIDE, mixup=mixup))
    for images, labels in seen_in_training(data, precision="bf16-true"):
        assert images.dtype == torch.bfloat16
        assert labels.dtype == (torch.bfloat16 if mixup else torch.int64)
