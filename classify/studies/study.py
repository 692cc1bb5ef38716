"""Which augmentation method gives the best classifier? Rows × shots × seeds × classifiers, everything else the same.

All rows of a seed share the few-shot set, the inverted latents, the mixing weights, the classifier's initial weights
and the number of optimizer steps, so that differences are paired.
"""

from collections.abc import Sequence
from dataclasses import replace

from augment.errors import UserError
from augment.measure.seen_in_training import seen_by_backbone
from augment.runtime.claim import check_outside, kept_to_this_process
from augment.runtime.progress import Meter
from augment.runtime.quiet import quietly
from classify.studies.grid import Group
from classify.studies.leaks import keep_leaks
from classify.studies.models import tune_backbone, tuning_name
from classify.studies.picture import real_grid
from classify.studies.preflight import check
from classify.studies.results_folder import LastRun, StudyFolder
from classify.studies.rows import WantedSet
from classify.studies.runner import Runner
from classify.studies.settings import Study
from classify.studies.synthesis import few_shot_set, latents_of
from classify.studies.terminal import StudyProgress, announce, say, stoppable
from classify.studies.workers import run_groups
from classify.train.leaks import Leak, Seen, find_leaks, find_seen

PICTURE_ROWS = 3
"""Real images of each class that the report shows."""


class CellsFailed(UserError):
    """Some cells of a study failed; the others are finished, and a report can be made of them."""


@quietly()
def study(settings: Study, command: str = "classify.study(...)") -> StudyFolder:
    """Compare augmentation methods; finished cells are kept and never run again.

    Every cell is a training and its one test. A study that is stopped goes on where it was when it is called again with
    the same settings; rows, classifiers, shots and seeds may be added. `classify.write_report` makes tables and a
    page of what is returned.

    Args:
        settings: What is compared, and where its files go.
        command: How the study was started, for the report.

    Returns:
        The study's folder.

    Raises:
        UserError: If a setting is wrong, before anything is run.
        CellsFailed: At the end, if a cell failed.

    Example:
        >>> import augment, classify
        >>> settings = classify.Study(
        ...     output="runs/study",
        ...     synthesizer=augment.Synthesizer(augment.StableDiffusion("digits"), augment.Inversion(steps=5), steps=5),
        ...     classifiers={"resnet": {"name": "test_resnet", "lr": 0.003}},
        ...     source=augment.Digits(),
        ...     methods=["none", "nin/chm"],
        ...     seeds=2,
        ...     steps=5,
        ...     plan=augment.Plan(per_class=2),
        ...     batches=classify.Batches(batch_size=16, image_size=32),
        ...     extractor="digits",
        ... )
        >>> folder = classify.study(settings)
        >>> len(list((folder.path / "cells").iterdir()))
        4
    """
    folder = StudyFolder(settings.output)
    check_outside(folder.path, settings.source.folders)
    check(settings, folder)
    folder.agree(settings.describe())
    runner = Runner(settings, folder)
    left = groups_left(runner)
    leaks, seen = prepare(runner) if left else ([], [])
    with kept_to_this_process(folder.path, "study"):
        description = folder.agree(settings.describe())
        if left:
            folder.write_description(description)
            keep_leaks(folder, settings.source, leaks, seen)
        failed = run(runner)
        close(settings, folder, command)
    if failed:
        happened = f"{len(failed)} of {len(settings.cells)} cells failed"
        raise CellsFailed(happened, "; ".join(failed), "run the same command again to repeat them alone")
    return folder


def run(runner: Runner) -> list[str]:
    """Run what is left of a study; says which cells failed, and why."""
    settings, folder = runner.study, runner.folder
    left, total = groups_left(runner), len(runner.study.cells)
    progress = StudyProgress(total, total - sum(len(group.cells) for group in left))
    if left:
        runner.references  # noqa: B018  (made once, before processes share them)
        announce(runner, left, total)
        with stoppable(progress):
            for wanted in tunings_needed(left):
                tune_backbone(settings, folder, wanted)
            fill_bank(runner, latents_needed(left, max(settings.shots)))
            say(runner.judge().sentence({}))
            with progress:
                run_groups(runner, left, settings.devices, progress.tell)
    return progress.failed


def fill_bank(runner: Runner, needed: Sequence[WantedSet]) -> None:
    """Make the latents of all few-shot sets before processes share them."""
    if not needed:
        return
    with Meter("invert", len(needed), "few-shot sets", rate=False) as meter:
        for wanted in needed:
            runner.fill_bank(wanted)
            meter.advance()


def groups_left(runner: Runner) -> list[Group]:
    """What is not finished yet."""
    return [pending for group in runner.study.groups if (pending := unfinished(runner, group)).cells]


def unfinished(runner: Runner, group: Group) -> Group:
    """The group without the cells that are finished."""
    return Group(group.synthetic, tuple(cell for cell in group.cells if not runner.finished(cell)))


def prepare(runner: Runner) -> tuple[list[Leak], list[Seen]]:
    """Find what is wrong with images and extractors before anything is run or written.

    Returns:
        The test images that are nearly few-shot images, and those that the backbone was trained on.

    Raises:
        UserError: If an image cannot be read, a test image is among the few-shot images, or weights cannot be had.
    """
    study = runner.study
    few_shot = [few_shot_set(study, max(study.shots), seed) for seed in range(study.seeds)]
    leaks = find_leaks(study.source, few_shot, study.near_duplicates)
    known = seen_by_backbone(study.synthesizer.backbone)
    seen = find_seen(study.source, known, study.near_duplicates, study.skip_bad)
    runner.extractors  # noqa: B018  (their weights are found, or their lack is said)
    return leaks, seen


def tunings_needed(groups: Sequence[Group]) -> list[WantedSet]:
    """One set for each tuning that sets are made with."""
    needed: dict[str, WantedSet] = {}
    for group in groups:
        if group.synthetic is not None and group.synthetic.variant.tuning is not None:
            needed.setdefault(tuning_name(group.synthetic), group.synthetic)
    return list(needed.values())


def latents_needed(groups: Sequence[Group], shots: int) -> list[WantedSet]:
    """For each seed and model one set for each kind of latents that its sets begin with.

    Args:
        groups: What is left to do.
        shots: The largest number of shots: its latents hold those of fewer, unless the backbone is tuned to these.
    """
    needed: dict[tuple[object, ...], WantedSet] = {}
    for group in groups:
        wanted = group.synthetic
        if wanted is None or (kind := latents_of(wanted.method)) is None:
            continue
        if wanted.variant.tuning is None:
            wanted = replace(wanted, shots=shots)
        needed.setdefault((wanted.seed, wanted.shots, kind, wanted.variant), wanted)
    return list(needed.values())


def close(settings: Study, folder: StudyFolder, command: str) -> None:
    """Keep what a report needs beside the cells: what was asked for, and a picture of the real images."""
    seed, shots = 0, max(cell.shots for cell in settings.cells)
    picture = real_grid(settings.source, few_shot_set(settings, shots, seed), PICTURE_ROWS)
    picture.save(folder.path / folder.figure("real"))
    slugs = tuple(cell.slug for cell in settings.cells)
    folder.write_last_run(LastRun(command, settings.reference, slugs, seed, shots))
