"""The pages of `classify`: what each command says first, and its options without a dot."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.commands.common_options import (
    BACKBONE,
    CONFIG,
    DEVICES,
    IMAGES,
    PUSHED,
    SKIP_BAD,
    of_a_push,
    prompts,
    with_tests,
)
from augment.commands.page import Option, Page
from augment.commands.presets import EMBEDDED, chosen, presets
from augment.dataset.manifest import read_manifest

OF_TRAININGS = (
    *(Option(name, rare=True) for name in ("threads", "synthesizer", "source", "plan", "batches")),
    CONFIG,
)
"""Rare options of what trains many classifiers."""

SYNTHESIZER = "augment.synthesis.synthesizer.Synthesizer"
DIGITS = "augment.images.sources.Digits"


def for_fit(given: Mapping[str, str], told: bool) -> dict[str, Any]:
    """Where results go, the synthetic set's shots and seed, and a classifier for images of this kind."""
    first: dict[str, Any] = {"output": "runs/fit", "data": {}}
    if not told:
        preset = presets()[EMBEDDED if given.get("images", EMBEDDED) == EMBEDDED else "sd15"]
        first["model"] = next(iter(preset.classify["classifiers"].values()))
        first["data"]["batches"] = preset.classify["batches"]
    if "classifier" in given:
        first["model"] = {"pretrained": True, "lr": 3e-4}
    if "synthetic" in given:
        manifest = read_manifest(Path(given["synthetic"]))
        counts = set(Counter(shot["label"] for shot in manifest["few_shot"]).values())
        first["data"] |= {"shots": counts.pop() if len(counts) == 1 else None, "seed": manifest["config"]["seed"]}
    return first


def for_study(given: Mapping[str, str], told: bool) -> dict[str, Any]:
    """Where results go, and what the backbone's name brings."""
    first: dict[str, Any] = {"output": "runs/study"}
    preset = chosen(given, told)
    if preset is None:
        return first
    first |= {"synthesizer": {"class_path": SYNTHESIZER, "init_args": preset.model}, **preset.classify}
    if "images" not in given:
        first["source"] = {"class_path": DIGITS}
    return first | {"plan": {"batch_size": preset.batch_size}, "methods": ["none", "nin/chm", "sdedit"]}


def for_advise(given: Mapping[str, str], told: bool) -> dict[str, Any]:
    """Where the advice goes, what the backbone's name brings, and a small case for the embedded images."""
    first: dict[str, Any] = {"output": "advice"}
    preset = chosen(given, told)
    if preset is None:
        return first
    first |= {
        "synthesizer": {"class_path": SYNTHESIZER, "init_args": preset.model},
        "classifier": next(iter(preset.classify["classifiers"].values())),
        "batches": preset.classify["batches"],
        "plan": {"batch_size": preset.batch_size},
    }
    if "images" not in given:
        first["source"] = {"class_path": DIGITS}
    if given.get("images", EMBEDDED) == EMBEDDED:
        first |= {"shots": 5, "hours": 0.2, "steps": 100, "repeats": 1, "confirm": 6}
        first["batches"] = preset.classify["batches"] | {"batch_size": 32}
        first["space"] = {"per_class": [20, 40], "steps": [10, 20]}
    return first


WITH_TESTS = with_tests("The test images, in the same way.", "those that come with the images")
LOGGER = Option("logger", rare=True)
NEAR_DUPLICATES = Option(
    "near_duplicates", "Real images that are nearly test images: warn, refuse or ignore.", "warn", "", rare=True
)
EXTRACTOR = Option(
    "extractor",
    "Measures synthetic images: inception, dinov2, clip, local-dir:FOLDER, ….",
)

FIT = Page(
    "classify fit",
    "Train a timm classifier on a few real images, with or without synthetic ones, and test it once.",
    (
        "classify fit --images data/train --test_images data/test --synthetic datasets/mine",
        "classify fit --config configs/classify/digits.yaml",
    ),
    {
        "images": (
            *WITH_TESTS,
            Option(
                "synthetic",
                "Folder of a synthetic dataset.",
                "none",
                "data.synthetic",
            ),
            Option("shots", "Real images per class, or all.", "the dataset's, else 5", "data.shots", null="all"),
            Option(
                "seed",
                "Chooses the real images; draws weights and order.",
                "the dataset's, else 0",
                "data.seed seed_everything",
            ),
        ),
        "training": (
            Option("output", "Folder to write to.", "runs/fit"),
            Option("classifier", "timm's name, or local-dir:FOLDER.", "resnet50, pretrained", "model.name"),
            Option("from_scratch", "Start from random weights instead of timm's.", "", "model.pretrained", "false"),
            Option("steps", "Optimizer steps.", "1000", "trainer.max_steps"),
            Option("lr", "Peak learning rate.", "0.0003", "model.lr"),
            Option("batch_size", "Images in an optimizer step.", "64", "data.batches.batch_size"),
            Option("image_size", "Height and width that the classifier sees.", "224", "data.batches.image_size"),
            Option("policy", "timm's policy, such as rand-m9-mstd0.5.", "none", "data.batches.auto_augment"),
            Option("untested", "Train without any test images.", rare=True),
            EXTRACTOR,
            DEVICES,
            SKIP_BAD,
            Option("reference", rare=True),
            Option("extractor_weights", rare=True),
            Option("half", rare=True),
            NEAR_DUPLICATES,
            LOGGER,
            CONFIG,
        ),
    },
    source="data.source",
    first=for_fit,
)

STUDY = Page(
    "classify study",
    "Compare augmentation methods by accuracy over several few-shot sets, with error bars and cost. Finished trainings "
    "are kept.",
    (
        "classify study --config configs/study/digits.yaml",
        "classify study --images data/train --test_images data/test --backbone sd15 --methods none nin/chm sdedit",
    ),
    {
        "images and model": (*WITH_TESTS, BACKBONE, *prompts("synthesizer.init_args.")),
        "what is compared": (
            Option("output", "Folder of the study.", "runs/study"),
            Option("methods", "The rows; none is real images alone.", "none nin/chm sdedit", many=True),
            Option("shots", "Numbers of real images per class.", "5", many=True),
            Option("seeds", "Number of few-shot sets to repeat it with.", "3"),
            Option("per_class", "Synthetic images per class.", "100", "plan.per_class"),
            Option("classifiers", "Networks with their settings, as in YAML.", "preset's"),
            Option("steps", "Optimizer steps of every training.", "300"),
            EXTRACTOR,
        ),
        "the run": (
            Option("devices", "Trainings that run side by side.", "1"),
            SKIP_BAD,
            Option("reference", "The row that all others are compared with, beside none.", rare=True),
            Option("extractor_weights", rare=True),
            NEAR_DUPLICATES,
            LOGGER,
            Option("mixing", rare=True),
            *OF_TRAININGS,
        ),
    },
    source="source",
    first=for_study,
)

ADVISE = Page(
    "classify advise",
    "Find out whether augmentation is worth it for your images, and which: a search inside the images, confirmed on "
    "fresh folds of them. No test image is touched. Run again, it goes on where it stopped.",
    (
        "classify advise",
        "classify advise --images data/train --backbone sd15 --hours 4 --output advice",
    ),
    {
        "images and model": (*IMAGES, BACKBONE, *prompts("synthesizer.init_args.")),
        "the search": (
            Option("output", "Folder of the advice.", "advice"),
            Option("hours", "The search and its confirmation take no longer.", "4"),
            Option("shots", "Real images per class, or all.", "all of the smallest class", null="all"),
            Option("space", "YAML file of what may be chosen from.", "policies and methods"),
            Option("steps", "Optimizer steps of every training.", "300"),
            Option("candidates", "End after so many candidates.", "no limit", null="all"),
            Option("then", "Make the dataset and the classifier too."),
            Option("seed", "Chooses and deals the real images.", "0"),
            Option("folds", "Parts that a class is dealt into.", "5", rare=True),
            Option("repeats", "Deals of the search.", "2", rare=True),
            Option("confirm", "Fresh folds of the confirmation.", "10", rare=True),
            Option("classifier", rare=True),
            *OF_TRAININGS,
        ),
    },
    source="source",
    first=for_advise,
)

RANK = Page(
    "classify rank",
    "Mean rank of each method over several studies.",
    ("classify rank runs/study/digits runs/study/flowers",),
    {},
    synopsis="STUDY STUDY …",
)

PUSH = Page(
    "classify push",
    "Upload a trained classifier to the Hugging Face Hub, with a card.",
    ("classify push runs/fit --repo USER/NAME --license mit",),
    of_a_push("mit"),
    synopsis=PUSHED,
)

PAGES = {"fit": FIT, "study": STUDY, "advise": ADVISE, "rank": RANK, "push": PUSH}
