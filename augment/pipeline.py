"""The public face of augmentation: fill the latent bank, write the synthetic dataset.

    few-shot images -> invert -> latent bank -> mix -> interpolate -> deterministic DDIM -> decode -> shards

Both steps run in Lightning's predict loop, under one process or many; `make_trainer` decides which.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from augment.bank import LatentBank, LatentKey, Quality
from augment.batch_size import BatchSizeTrial
from augment.dataset_card import write_card
from augment.errors import UserError
from augment.few_shot import Shot
from augment.inversion import BankWriter, InversionData, Inverter, encoded_key, latent_key
from augment.manifest import check_folder, close_folder, describe_dataset, read_manifest, write_run
from augment.notices import warn_of_other_start, warn_of_other_versions, warn_of_poor
from augment.processes import wait_for_all
from augment.progress import ImageProgress
from augment.shards import is_complete, shard_name
from augment.synthesis_data import SynthesisData, SynthesisLoader, check_method
from augment.synthesizer import Synthesizer
from augment.writer import ShardWriter

log = logging.getLogger(__name__)

UNLIMITED = 2**31 - 1

QUIET_TRAINER: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}
"""A trainer that says nothing of its own and leaves the dealing of work to our loaders."""

MakeTrainer = Callable[[list[L.Callback]], L.Trainer]


@dataclass(frozen=True)
class Inverted:
    """The latents of a few-shot set.

    Attributes:
        bank: Where they lie.
        keys: Their keys, by class.
        quality: The round trip of each image.
        new: How many were made by this run.
        fitted: Images at a time that memory allowed this process, if it did not allow the batch size.
    """

    bank: LatentBank
    keys: dict[int, tuple[LatentKey, ...]]
    quality: dict[str, Quality]
    new: int
    fitted: int | None = None


def default_trainer(callbacks: list[L.Callback]) -> L.Trainer:
    """One process on the best device there is, quiet but for the given callbacks."""
    return L.Trainer(devices=1, callbacks=callbacks, **QUIET_TRAINER)


def invert(
    model: Synthesizer,
    data: SynthesisData,
    make_trainer: MakeTrainer = default_trainer,
    show_progress: bool = True,
) -> Inverted:
    """Invert the few-shot images whose latents the method needs and the bank lacks.

    Methods that begin with clean latents have their images encoded instead; nothing runs for those that need none.

    Args:
        model: Its backbone and inversion settings are used.
        data: Its few-shot set is inverted.
        make_trainer: Builds the trainer around the given callbacks.
        show_progress: Whether to show a progress bar.

    Raises:
        UserError: If the bank belongs to another backbone, or an image cannot be read or inverted.
    """
    few_shot, backbone = data.few_shot, model.backbone
    bank = LatentBank(data.bank or default_bank(data.output, backbone.identity), backbone.identity)
    keys = latent_keys(model, data)
    if not keys:
        return Inverted(bank, {}, {}, 0)
    flat = [key for members in keys.values() for key in members]
    size, folders = model.inversion.batch_size, (data.output, bank.folder)
    images = InversionData(data.source, few_shot, flat, bank, size, backbone.image_size, folders)
    missing = sum(key not in bank for key in set(flat))
    backbone.cast(model.inversion.precision)
    trainer = make_trainer([BankWriter(bank), *progress_bar("invert", show_progress)])
    inverter = Inverter(backbone, model.inversion, model.stopwatch, model.compiled)
    trainer.predict(inverter, datamodule=images, return_predictions=False)
    wait_for_all(trainer, bank.folder)
    quality = {shot.name: bank.quality(key) for shot, key in zip(few_shot.all, flat, strict=True)}
    if missing:
        warn_of_poor(quality, model.inversion.warn_psnr)
    return Inverted(bank, keys, quality, missing, inverter.inverting.fitted)


def latent_keys(model: Synthesizer, data: SynthesisData) -> dict[int, tuple[LatentKey, ...]]:
    """The bank's keys of the latents that the method needs, by class; empty if it needs none."""
    few_shot = data.few_shot
    if data.method.latents is None:
        return {}

    def key_of(shot: Shot) -> LatentKey:
        if data.method.latents == "encoded":
            return encoded_key(shot, model.backbone, model.inversion)
        return latent_key(shot, model.backbone, model.prompt_for(few_shot.classes[shot.label]), model.inversion)

    return {label: tuple(key_of(shot) for shot in few_shot.shots[label]) for label in few_shot.labels}


def device_name(trainer: L.Trainer) -> str:
    """The kind of device that a trainer ran on."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def progress_bar(label: str, show: bool) -> list[L.Callback]:
    """The progress bar as a list of callbacks, empty if it is not wanted."""
    return [ImageProgress(label)] if show else []


def default_bank(output: Path, identity: str) -> Path:
    """The bank beside a dataset: one folder per backbone."""
    return output.parent / "bank" / identity.replace("/", "--")


def synthesize(
    model: Synthesizer,
    data: SynthesisData,
    make_trainer: MakeTrainer = default_trainer,
    show_progress: bool = True,
) -> Path:
    """Write the synthetic dataset, inverting first what the bank lacks; finished shards are kept.

    Args:
        model: Backbone and sampler.
        data: What is to be made, and where.
        make_trainer: Builds the trainer around the given callbacks; called once per step.
        show_progress: Whether to show progress bars.

    Returns:
        The dataset's folder.

    Raises:
        UserError: If the method does not fit, the folder holds another dataset, or as `invert` does.
    """
    manifest = plan_dataset(model, data)
    automatic = data.plan.batch_size == "auto"
    if data.method.latents == "inverted":
        warn_of_other_start(model)
    warn_of_other_versions(data.output, manifest["versions"])
    started = time.perf_counter()
    inverted = invert(model, data, make_trainer, show_progress)
    begun = time.perf_counter()
    model.backbone.cast(model.precision)
    if automatic:
        find_batch_size(model, data, make_trainer)
        manifest = describe_dataset(model.describe() | data.describe())
    loader = SynthesisLoader(model, data, inverted.bank, inverted.keys, manifest)
    writer = ShardWriter(data.output, data.plan.image_format, model.stopwatch)
    trainer = make_trainer([writer, *progress_bar("synthesize", show_progress)])
    trainer.predict(model, datamodule=loader, return_predictions=False)
    wait_for_all(trainer, data.output)
    stages = {"inverting": inverted.fitted, "denoising": model.denoising.fitted, "decoding": model.decoding.fitted}
    fitted = smallest(stages, trainer)
    if trainer.is_global_zero:
        shards = loader.shards
        images = sum(len(shards[n]) for n in loader.pending)
        missing = [shard_name(n) for n, s in enumerate(shards) if not is_complete(data.output / shard_name(n), s)]
        if missing:
            raise UserError(f"output: {', '.join(missing)} in '{data.output}' not written; run the same command again")
        seconds = {"invert": begun - started, "synthesize": time.perf_counter() - begun}
        if images or not (data.output / "run.json").is_file():
            profile = model.stopwatch.report(sum(seconds.values())) if model.stopwatch.running else None
            write_run(data.output, device_name(trainer), trainer.world_size, images, seconds, fitted, profile)
        close_folder(data.output, shards)
        if not (data.output / "README.md").exists():  # whoever has edited it keeps it
            write_card(data.output)
    return data.output


def plan_dataset(model: Synthesizer, data: SynthesisData) -> dict[str, Any]:
    """The manifest of what is to be made; the batch size `auto` becomes that of the dataset that is to be resumed.

    Raises:
        UserError: If the method does not fit, or the folder holds another dataset that is not to be overwritten.
    """
    check_method(model, data)
    planned, begun = data.plan, data.output / "dataset.json"
    if planned.batch_size == "auto" and begun.is_file():
        size = read_manifest(data.output)["config"].get("plan", {}).get("batch_size")
        data.plan = replace(planned, batch_size=size)
    manifest = describe_dataset(model.describe() | data.describe())
    check_folder(data.output, manifest, data.overwrite)
    if begun.is_file() and read_manifest(data.output)["fingerprint"] != manifest["fingerprint"]:
        data.plan = planned  # the other dataset will be deleted, its batch size with it
        manifest = describe_dataset(model.describe() | data.describe())
    return manifest


def find_batch_size(model: Synthesizer, data: SynthesisData, make_trainer: MakeTrainer) -> None:
    """Replace `auto` by the batch size that is fastest here."""
    trial = BatchSizeTrial(model, model.evaluations_per_image(), model.prompt_for(data.few_shot.classes[0]))
    trainer = make_trainer([])
    trainer.predict(trial, return_predictions=False)
    data.plan = replace(data.plan, batch_size=trial.found)
    if trainer.is_global_zero:
        log.warning("batch_size auto: %d images at a time", trial.found)


def smallest(stages: dict[str, int | None], trainer: L.Trainer) -> dict[str, int]:
    """Images at a time that memory allowed in each stage, over all processes; without the stages that never ran out."""
    limits = [UNLIMITED if fitted is None else fitted for fitted in stages.values()]
    least = torch.tensor(limits, device=trainer.strategy.root_device)
    if trainer.world_size > 1:
        least = trainer.strategy.reduce(least, reduce_op="min")
    return {stage: limit for stage, limit in zip(stages, least.tolist(), strict=True) if limit != UNLIMITED}
