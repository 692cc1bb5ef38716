"""The public face of augmentation: fill the latent bank, write the synthetic dataset.

    few-shot images -> invert -> latent bank -> mix -> interpolate -> deterministic DDIM -> decode -> shards

Both steps run in Lightning's predict loop, under one process or many; `make_trainer` decides which.
"""

import logging
import time
from pathlib import Path

import lightning as L
import torch

from augment.dataset.card import write_card
from augment.dataset.folder import check_folder
from augment.dataset.manifest import RUN, close_folder, describe_dataset, write_run
from augment.dataset.preview import PREVIEW, write_preview
from augment.dataset.reader import is_complete
from augment.dataset.shard_writer import committed_sha256, shard_name
from augment.errors import UserError
from augment.images.origin import describe_source
from augment.images.sources import ImageSource
from augment.inversion.fill import bank_folder, invert
from augment.runtime.claim import check_outside
from augment.runtime.processes import wait_for_all
from augment.runtime.profile import StageProfiler, profiler_of
from augment.runtime.quiet import quietly
from augment.runtime.trainer import MakeTrainer, default_trainer, device_name, progress_bar
from augment.synthesis.background import ShardWriter
from augment.synthesis.loader import SynthesisLoader
from augment.synthesis.notices import warn_of_idle_offload, warn_of_other_start, warn_of_other_versions
from augment.synthesis.recipe import Recipe
from augment.synthesis.synthesizer import Synthesizer

log = logging.getLogger(__name__)

UNLIMITED = 2**31 - 1


@quietly()
def synthesize(
    model: Synthesizer,
    source: ImageSource,
    recipe: Recipe,
    output: Path | str,
    bank: Path | str | None = None,
    overwrite: bool = False,
    make_trainer: MakeTrainer = default_trainer,
    show_progress: bool = True,
) -> Path:
    """Write the synthetic dataset, inverting first what the bank lacks; finished shards are kept.

    A dataset of the same recipe with fewer images per class grows: full shards stay as they are.

    Args:
        model: The backbone and sampler that the recipe was made for.
        source: Where the recipe's few-shot images are.
        recipe: What is to be made.
        output: Folder of the dataset.
        bank: Folder of inverted latents; by default one per backbone below `bank`, beside the dataset.
        overwrite: Delete a dataset of another recipe in `output` instead of refusing.
        make_trainer: Builds the trainer around the given callbacks; called once per step.
        show_progress: Whether to show progress bars.

    Returns:
        The dataset's folder.

    Raises:
        UserError: If the folder holds another dataset, or as `invert` does.

    Example:
        >>> import augment
        >>> digits = augment.Digits()
        >>> few_shot = augment.choose_few_shot_set(digits, shots=3, seed=0, classes=["three", "eight"])
        >>> backbone = augment.StableDiffusion("digits")
        >>> model = augment.Synthesizer(backbone, augment.Inversion(steps=5), steps=5, prompt="a digit")
        >>> recipe = augment.make_recipe(model, few_shot, method="nin/chm", plan=augment.Plan(per_class=4))
        >>> folder = augment.synthesize(model, digits, recipe, "datasets/mine")
        >>> len(augment.open_dataset(folder))
        8
    """
    output = Path(output).resolve()
    check_outside(output, source.folders)
    manifest = describe_dataset(recipe.describe())
    check_folder(output, manifest, overwrite)
    if recipe.method.latents == "inverted":
        warn_of_other_start(model)
    warn_of_other_versions(output, manifest["versions"])
    started = time.perf_counter()
    inverted = invert(
        model.backbone,
        source,
        recipe.few_shot,
        recipe.inversion_prompts,
        bank_folder(bank, output, recipe.model.backbone),
        recipe.model.inversion,
        recipe.method.latents,
        model.compiled,
        (output,),
        make_trainer,
        show_progress,
    )
    begun = time.perf_counter()
    model.backbone.cast(model.precision)
    model.expect(recipe.sampled_prompts)
    shape = model.backbone.latent_shape
    loader = SynthesisLoader(recipe, output, overwrite, inverted.bank, inverted.keys, shape, source)
    writer = ShardWriter(output, recipe.plan.image_format)
    trainer = make_trainer([writer, *progress_bar("synthesize", show_progress)])

    warn_of_idle_offload(model, trainer.strategy.root_device)

    def account(images: int, fitted: dict[str, int]) -> None:
        seconds = {"invert": begun - started, "synthesize": time.perf_counter() - begun}
        profiler = profiler_of(trainer)
        profile = profiler.report(sum(seconds.values())) if isinstance(profiler, StageProfiler) else None
        described = describe_source(source)
        write_run(output, device_name(trainer), trainer.world_size, images, seconds, fitted, profile, described)

    try:
        trainer.predict(model, datamodule=loader, return_predictions=False)
    except BaseException:  # SIGTERM too; a killed process leaves no account
        made = sum(len(recipe.shards[n]) for n in loader.pending if committed(output, recipe, n))
        if made and trainer.is_global_zero:
            account(made, {})
        raise
    wait_for_all(trainer, output)
    stages = {"inverting": inverted.fitted, "denoising": model.denoising.fitted, "decoding": model.decoding.fitted}
    fitted = smallest(stages, trainer)
    if trainer.is_global_zero:
        shards = recipe.shards
        images = sum(len(shards[n]) for n in loader.pending)
        missing = [shard_name(n) for n, s in enumerate(shards) if not is_complete(output / shard_name(n), s)]
        if missing:
            raise UserError("output", f"{', '.join(missing)} in '{output}' not written", "run the same command again")
        if images or not (output / RUN).is_file():
            account(images, fitted)
        close_folder(output, shards)
        if not (output / "README.md").exists():  # whoever has edited it keeps it
            write_card(output)
        if images or not (output / PREVIEW).is_file():
            write_preview(output, source, recipe.few_shot)
    return output


def committed(output: Path, recipe: Recipe, shard: int) -> bool:
    """Whether a shard lies there as it was planned."""
    path = output / shard_name(shard)
    return committed_sha256(path) is not None and is_complete(path, recipe.shards[shard])


def smallest(stages: dict[str, int | None], trainer: L.Trainer) -> dict[str, int]:
    """Images at a time that memory allowed in each stage, over all processes; without the stages that never ran out."""
    limits = [UNLIMITED if fitted is None else fitted for fitted in stages.values()]
    least = torch.tensor(limits, device=trainer.strategy.root_device)
    if trainer.world_size > 1:
        least = trainer.strategy.reduce(least, reduce_op="min")
    return {stage: limit for stage, limit in zip(stages, least.tolist(), strict=True) if limit != UNLIMITED}
