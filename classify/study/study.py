"""Which augmentation method gives the best classifier? Rows × shots × seeds × classifiers, everything else the same.

All rows of a seed share the few-shot set, the inverted latents, the mixing weights, the classifier's initial weights
and the number of optimizer steps, so that differences are paired.
"""

import hashlib
import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from jsonargparse.typing import PositiveInt
from rich.console import Console

from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageSource
from augment.measure.adequacy import Adequacy, measure_adequacy, read_adequacy, write_adequacy
from augment.measure.extractor import extractor_name
from augment.mix.draws import Mixing
from augment.mix.registry import METHODS, MethodName
from augment.runtime.files import file_sha256, write_json
from augment.runtime.fingerprint import library_versions
from augment.runtime.loggers import LoggerName, make_logger
from augment.synthesize.plan import Plan
from augment.synthesize.synthesizer import Synthesizer
from classify.report.report import write_report
from classify.study.cells import Entry, Group, describe_row, make_contenders, make_groups, make_rows
from classify.study.folder import agree
from classify.study.preflight import check_rows
from classify.study.progress import StudyProgress
from classify.study.runner import Runner, pinned_threads
from classify.study.workers import run_groups
from classify.train.batches import Batches
from classify.train.fit import check_test_images


def study(
    output: str,
    synthesizer: Synthesizer,
    classifiers: dict[str, dict[str, Any]],
    source: ImageSource,
    methods: list[str | Entry],
    reference: str | None = None,
    seeds: PositiveInt = 3,
    shots: list[PositiveInt] = [5],  # noqa: B006  (never changed)
    steps: PositiveInt = 300,
    mixing: Mixing = Mixing(),  # noqa: B008  (frozen)
    plan: Plan = Plan(),  # noqa: B008  (frozen)
    batches: Batches = Batches(),  # noqa: B008  (frozen)
    extractor: list[str] | str = "inception",
    extractor_weights: str | None = None,
    devices: PositiveInt = 1,
    threads: PositiveInt = 1,
    skip_bad: bool = False,
    logger: LoggerName = "none",
    command: str = "classify study",
) -> None:
    """Compare augmentation methods; finished cells are kept and never run again.

    Args:
        output: Folder of the study.
        synthesizer: Backbone and sampler of all methods.
        classifiers: Name -> settings, those of `classify fit --model`; `shots: [5]` among them limits a classifier to
            these numbers of shots.
        source: Few-shot pool and test images.
        methods: The rows: names of methods, or entries of a method with what differs from the settings below. `none` is
            the classifier on real images alone.
        reference: Row that all others are compared with, beside `none`.
        seeds: Number of seeds, 0 to seeds - 1; each chooses a few-shot set, mixtures and initial weights.
        shots: Numbers of real images per class.
        steps: Optimizer steps of every classifier.
        mixing: How sources and weights are drawn.
        plan: Size and layout of the synthetic datasets.
        batches: How training batches are put together.
        extractor: Of the set metrics: `inception` for FID, `digits`, `clip`, `dinov2`, or a timm model; or a list of
            them, of which the first judges the backbone.
        extractor_weights: Local file of the first extractor's weights.
        devices: Cells run side by side in this many processes, each on an accelerator of its own where there are any.
        threads: Of each process on the CPU: decides the last bits of the results.
        skip_bad: Pass over real images that cannot be read instead of stopping.
        logger: Training curves of every cell in `OUTPUT/curves`: `csv`, `tensorboard`, `wandb` or `none`.
        command: How the study was started, for the report.

    Raises:
        UserError: If a setting is wrong, before anything is run; or, at the end, if a cell failed.
    """
    folder = Path(output)
    shots = list(dict.fromkeys(shots))
    rows = make_rows(methods, shots, batches, mixing, plan)
    contenders = make_contenders(classifiers, shots)
    check_rows(rows, synthesizer, source, skip_bad)
    if reference is not None and reference not in [row.name for row in rows]:
        raise UserError(f"reference: no row is named '{reference}'; choose from {', '.join(row.name for row in rows)}")
    for contender in contenders:
        classifier = contender.build(len(source.classes))
        for side in {row.batches.image_size for row in rows}:
            classifier.check_size(side)
    extractors = (extractor,) if isinstance(extractor, str) else tuple(extractor)
    if not extractors or len({extractor_name(name) for name in extractors}) < len(extractors):
        raise UserError(f"extractor: {list(extractors)} must be names that differ, one or more")
    make_logger(logger, folder / "curves", "")  # a package that lacks is said before anything is run
    config = {
        "synthesizer": synthesizer.describe(),
        "source": {
            "classes": list(source.classes),
            "pool": len(source.pool),
            "test": len(source.test),
            "sha256": content_hash(source),
        },
        "steps": steps,
        "extractor": extractors[0] if len(extractors) == 1 else list(extractors),
        "extractor_weights": file_sha256(Path(extractor_weights)) if extractor_weights else None,
        "threads": threads,
        "versions": library_versions(),
    }
    description = config | {
        "mixing": asdict(mixing),
        "plan": asdict(plan),
        "rows": {row.name: describe_row(row) for row in rows},
        "classifiers": {contender.name: contender.settings for contender in contenders},
    }
    description = agree(folder, json.loads(json.dumps(description)))  # as it is read back: tuples become lists
    runner = Runner(
        folder,
        config,
        synthesizer,
        source,
        steps,
        mixing,
        plan,
        extractors,
        extractor_weights,
        threads,
        skip_bad,
        logger,
    )
    groups = make_groups(rows, contenders, seeds)
    left = [pending for group in groups if (pending := unfinished(runner, group)).cells]
    cells = [cell for group in groups for cell in group.cells]
    count = sum(len(group.cells) for group in left)
    progress = StudyProgress(len(cells), len(cells) - count)
    if left:
        few_shot = [choose_few_shot_set(source, max(shots), seed, skip_bad=skip_bad) for seed in range(seeds)]
        check_test_images(source, few_shot)
        runner.references  # noqa: B018  (their weights are found, or their lack is said, before anything is run)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "study.json", description)
        announce(runner, left, len(cells))
        with stoppable(progress):
            for seed, method in latents_needed(left):
                runner.fill_bank(seed, max(shots), method)
            say(judge(runner).sentence({}))
            with progress:
                run_groups(runner, left, devices, progress.tell)
    order = [row.name for row in rows]
    cells.sort(key=lambda cell: order.index(cell.row.name))
    results = [found for cell in cells if (found := runner.finished(cell)) is not None]
    if results:
        write_report(folder, results, source, description, reference, command, skip_bad, len(cells) - len(results))
    if progress.failed:
        raise UserError(
            f"{len(progress.failed)} of {len(cells)} cells failed; run the same command again to repeat them alone "
            f"({'; '.join(progress.failed)})"
        )


def latents_needed(groups: Sequence[Group]) -> list[tuple[int, MethodName]]:
    """For each seed one method for each kind of latents that its sets begin with."""
    needed: dict[tuple[int, str], MethodName] = {}
    for group in groups:
        if group.synthetic is not None and (kind := METHODS[group.synthetic.method].latents) is not None:
            needed.setdefault((group.synthetic.seed, kind), group.synthetic.method)
    return [(seed, method) for (seed, _), method in needed.items()]


def content_hash(source: ImageSource) -> str:
    """Hash of all images of a source: a study of other images is another study."""
    digest = hashlib.sha256()
    for item in (*source.pool, *source.test):
        digest.update(f"{item.name}\0{item.label}\0{source.sha256(item)}".encode())
    return digest.hexdigest()[:16]


def unfinished(runner: Runner, group: Group) -> Group:
    """The group without the cells that are finished."""
    return Group(group.synthetic, tuple(cell for cell in group.cells if runner.finished(cell) is None))


def announce(runner: Runner, left: Sequence[Group], total: int) -> None:
    """Say how much there is to do."""
    cells = sum(len(group.cells) for group in left)
    sets = [group.synthetic for group in left if group.synthetic is not None and not runner.has_set(group.synthetic)]
    images = sum(wanted.plan.per_class for wanted in sets) * len(runner.source.classes)
    evaluations = images * runner.synthesizer.evaluations_per_image()
    say(
        f"{cells} of {total} cells to run, {runner.steps} optimizer steps each; {len(sets)} synthetic sets, "
        f"{images} images, about {evaluations:.2g} network evaluations"
    )


def judge(runner: Runner) -> Adequacy:
    """Whether the backbone is good enough, measured once."""
    found = read_adequacy(runner.folder)
    if found is None:
        with pinned_threads(runner.threads):
            first = runner.references[0].extractor
            found = measure_adequacy(runner.synthesizer, runner.source, first, runner.skip_bad)
        write_adequacy(runner.folder, found)
    return found


@contextmanager
def stoppable(progress: StudyProgress) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the study in one line."""

    class Stopped(BaseException):
        pass

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Stopped as stopped:
        say(f"stopped; {progress.done} of {progress.total} cells are kept, the same command goes on from there")
        raise SystemExit(128 + int(stopped.args[0])) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """One line for the user."""
    Console(stderr=True).print(text, soft_wrap=True, markup=False, highlight=False)
