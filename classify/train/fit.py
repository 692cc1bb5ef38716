"""How does one get a classifier? Trained on real images, alone or with synthetic ones, tested once, and saved."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L

from augment.dataset.manifest import read_manifest
from augment.errors import UserError
from augment.images.sources import ImageFolder, ImageSource
from augment.measure.reference import Reference, make_reference
from augment.runtime.claim import check_configuration, check_outside
from augment.runtime.files import whole_folder, write_json
from augment.runtime.fingerprint import library_versions
from augment.runtime.loggers import LoggerName, close_logger, make_logger
from augment.runtime.place import check_folder
from augment.runtime.processes import Companions
from augment.runtime.quiet import quietly
from augment.runtime.settings import checked
from augment.runtime.step_bar import StepProgress
from augment.runtime.trained_on import write_trained_on
from augment.runtime.trainer import check_trains
from classify.train.batches import Batches
from classify.train.card import write_card
from classify.train.classifier import Classifier
from classify.train.configuration import describe_fit
from classify.train.data import ClassificationData
from classify.train.leaks import NearDuplicates, find_leaks
from classify.train.trial import fit_and_test

TRAINER: dict[str, Any] = {
    "log_every_n_steps": 20,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}
"""What Lightning's trainer is told: the last weights are the classifier, and the data module deals to processes."""

MANIFEST = "fit.json"
"""Says what the output folder holds: everything that decided the classifier."""


@dataclass(frozen=True)
class FitResult:
    """A trained classifier.

    Attributes:
        accuracy: Top-1 accuracy on the test images, in [0, 1]; NaN without a test.
        per_class: The same of each class's test images, by its name.
        metrics: All that `results.json` holds: other accuracies, the calibration error, the confusion matrix, seconds,
            and what was measured on the synthetic set.
        classifier: Folder that timm loads: `timm.create_model(f"local-dir:{classifier}", pretrained=True)`.
        results: The file `results.json`.
        card: The classifier's README.md.
    """

    accuracy: float
    per_class: dict[str, float]
    metrics: dict[str, Any]
    classifier: Path
    results: Path
    card: Path


@quietly()
def fit(
    output: str | Path,
    source: ImageSource,
    classifier: str | Mapping[str, Any] = "resnet18",
    synthetic: str | Path | None = None,
    *,
    shots: int | None = 5,
    seed: int = 0,
    steps: int = 1000,
    batches: Batches = Batches(),  # noqa: B008  (frozen)
    synthetic_filter: str | None = None,
    skip_bad: bool = False,
    extractor: str | None = None,
    extractor_weights: str | None = None,
    reference: str | Path | None = None,
    half: bool = False,
    near_duplicates: NearDuplicates = "warn",
    logger: LoggerName = "csv",
    show_progress: bool = True,
    untested: bool = False,
) -> FitResult:
    """Train a classifier for a fixed number of steps, test it once, and save it with its results and a card.

    The same settings give the same classifier, and the numbers of `classify fit`. The test images choose nothing.

    Args:
        output: Folder to write `classifier/`, `results.json`, `curves/` and `fit.json`, which describes them, to.
        source: Gives the few-shot pool and the test images.
        classifier: timm's name of the network, or the settings of `Classifier`, such as
            `{"name": "resnet50", "pretrained": True, "lr": 3e-4}`.
        synthetic: Folder of a synthetic dataset that was made with the same source, shots and seed; None trains on
            real images alone.
        shots: Real images per class; None takes the whole pool.
        seed: Chooses the few-shot set, the initial weights and the order of the images.
        steps: The classifier is trained for this many optimizer steps.
        batches: How training batches are put together.
        synthetic_filter: An extractor that drops the synthetic images whose class it does not recognise.
        skip_bad: Pass over real images that cannot be read instead of stopping.
        extractor: Compares the synthetic set with the real pool: `inception` for FID, `digits`, `clip`, `dinov2`, or a
            timm model; None compares nothing.
        extractor_weights: Local file of the extractor's weights.
        reference: Folder of class folders to compare with instead of the pool.
        half: Save the classifier in fp16.
        near_duplicates: Test images that are nearly few-shot images (encoded anew, resized, slightly cropped) are
            named in a warning (`warn`), refused (`refuse`), or not looked for (`ignore`).
        logger: Keeps the training curves in `curves/`: `csv`, `tensorboard`, `wandb` or `none`.
        show_progress: Whether to show a progress bar.
        untested: Whether there are no test images, so that nothing is tested.

    Returns:
        The accuracies, all metrics, and where the files lie.

    Raises:
        UserError: If a setting is wrong, an image cannot be read, the synthetic set was altered or made from other
            images, or the output folder holds something else, such as a classifier of another configuration.

    Example:
        >>> import augment, classify
        >>> network = {"name": "test_resnet", "lr": 0.003}
        >>> small = classify.Batches(batch_size=16, image_size=32)
        >>> result = classify.fit("runs/mine", augment.Digits(), network, steps=5, batches=small)
        >>> 0 <= result.accuracy <= 1
        True
    """
    output = Path(output)
    named = {"name": classifier} if isinstance(classifier, str) else classifier
    settings = checked(Classifier, named, "classifier", skip=["num_classes"])
    L.seed_everything(seed, verbose=False)
    folder = None if synthetic is None else str(synthetic)
    data = ClassificationData(source, shots, seed, folder, batches, skip_bad, synthetic_filter)
    model = Classifier(data.num_classes, **settings)
    curves = make_logger(logger, output / "curves", output.name)
    options = TRAINER | {"default_root_dir": output, "logger": curves, "enable_progress_bar": show_progress}
    bar: list[L.Callback] = [StepProgress("fit")] if show_progress else []
    trainer = L.Trainer(max_steps=steps, devices=1, callbacks=bar, **options)
    try:
        return train_and_save(
            model, data, trainer, output, extractor, extractor_weights, reference, half, near_duplicates, None, untested
        )
    finally:
        close_logger(curves)


def train_and_save(
    model: Classifier,
    data: ClassificationData,
    trainer: L.Trainer,
    output: Path,
    extractor: str | None = None,
    extractor_weights: str | None = None,
    reference: str | Path | None = None,
    half: bool = False,
    near_duplicates: NearDuplicates = "warn",
    companions: Companions | None = None,
    untested: bool = False,
) -> FitResult:
    """What `fit` and the command do with a model, data and a trainer of any number of processes; the first one writes.

    Args:
        model: Is trained.
        data: What it is trained and tested on.
        trainer: Knows the number of steps.
        output: See `fit`, as the other arguments.
        companions: Starts and watches the other processes.
        untested: See `fit`.

    Raises:
        UserError: As `fit`.
    """
    measured = {"extractor": extractor, "reference": reference, "extractor_weights": extractor_weights}
    check_outside(output, data.source.folders)
    check_folder(output, "output")
    check_trains(trainer)
    check_synthetic_settings(data, measured)
    config = describe_fit(model, data, trainer, measured | {"half": half}, untested)
    if trainer.is_global_zero:  # the others may come when it has begun to write
        check_configuration(output, MANIFEST, "classifier", config, "choose another `output`")
    model.check_size(data.batches.image_size)
    real = None
    if trainer.is_global_zero and data.synthetic is not None and extractor is not None:
        real = real_features(data.synthetic, data, extractor, extractor_weights, reference)
    leaks = [] if untested else find_leaks(data.source, [data.few_shot], near_duplicates)
    if trainer.is_global_zero:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / MANIFEST, {"config": config, "versions": library_versions()})
    if companions is not None:
        companions.launch(trainer)  # not before this process has found what is wrong
    fitted = fit_and_test(model, data, trainer, not untested)
    metrics = fitted.results | {"seconds": fitted.seconds}
    if leaks:
        metrics["near_duplicates"] = [{"test": leak.test.name, "few_shot": leak.shot.name} for leak in leaks]
    results, classifier = output / "results.json", output / "classifier"
    card = classifier / "README.md"
    if trainer.is_global_zero:
        write_json(results, metrics)
        with whole_folder(classifier) as partial:
            model.save(partial, data.few_shot.classes, data.batches.image_size, half)
            write_trained_on(partial, (shot.sha256 for shot in data.few_shot.all))
        if real is not None and data.synthetic is not None:
            found = real.measure(data.synthetic, data.source, data.few_shot)
            metrics |= found.values | {"caveats": found.caveats}
            write_json(results, metrics)
        card = write_card(output)
    return FitResult(metrics.get("top1", math.nan), metrics["per_class"], metrics, classifier, results, card)


def real_features(
    synthetic: Path, data: ClassificationData, extractor: str, weights: str | None, reference: str | Path | None
) -> Reference:
    """The real images that a synthetic set is compared with, those of its classes."""
    manifest = read_manifest(synthetic)
    images = data.source if reference is None else ImageFolder(reference)
    made = {manifest["classes"][shot["label"]] for shot in manifest["few_shot"]}
    return make_reference(extractor, weights, images, manifest["config"]["resolution"], data.skip_bad, made)


def check_synthetic_settings(data: ClassificationData, measured: Mapping[str, str | Path | None]) -> None:
    """Refuse settings of a synthetic set where there is none; a study's row without one ignores them.

    Args:
        data: May have one.
        measured: What the set would be compared with, by name.

    Raises:
        UserError: If there are such.
    """
    if data.synthetic is not None:
        return
    given: dict[str, object] = {}
    for name, default in (("synthetic_use", "batch"), ("synthetic_smoothing", 0)):
        if (value := getattr(data.batches, name)) != default:
            given[f"batches.{name}"] = value
    for name, value in ({"synthetic_filter": data.synthetic_filter} | dict(measured)).items():
        if value is not None:
            given[name] = f"'{value}'"
    for name, value in given.items():
        raise UserError(name, f"{value} means nothing without a synthetic set", "give its folder as `synthetic`")
