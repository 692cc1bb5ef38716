"""The few-shot set into the latent bank: what is missing is inverted or encoded, once."""

import logging
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from augment.images.few_shot import Shot
from augment.invert.bank import LatentBank, LatentKey, Quality, encoded_key, latent_key
from augment.invert.inverter import BankWriter, InversionData, Inverter
from augment.runtime.processes import wait_for_all
from augment.runtime.trainer import MakeTrainer, default_trainer, progress_bar
from augment.synthesize.plan import SynthesisData
from augment.synthesize.synthesizer import Synthesizer

log = logging.getLogger(__name__)


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


def default_bank(output: Path, identity: str) -> Path:
    """The bank beside a dataset: one folder per backbone."""
    return output.parent / "bank" / identity.replace("/", "--")


NAMED = 5
"""Poor round trips that get a line of their own."""


@rank_zero_only
def warn_of_poor(quality: dict[str, Quality], threshold: float) -> None:
    """Name the images that inversion does not bring back, worst first."""
    poor = sorted((q.round_trip, q.autoencoder, name) for name, q in quality.items() if q.round_trip < threshold)
    for round_trip, autoencoder, name in poor[:NAMED]:
        log.warning(
            "image '%s' survives inversion badly: PSNR %.1f dB (the autoencoder alone: %.1f dB); "
            "its mixtures may not show its class",
            name,
            round_trip,
            autoencoder,
        )
    if len(poor) > NAMED:
        others = ", ".join(name for _, _, name in poor[NAMED:])
        log.warning("%d more images survive inversion badly (below %.0f dB): %s", len(poor) - NAMED, threshold, others)
