"""The few-shot set into the latent bank: what is missing is inverted or encoded, once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from augment.backbones.base import Backbone
from augment.backbones.start import LatentKind
from augment.images.few_shot import FewShotSet, Shot
from augment.images.sources import ImageSource
from augment.inversion.bank import LatentBank, LatentKey, encoded_key, latent_key
from augment.inversion.inversion import Inversion, Quality
from augment.inversion.inverter import BankWriter, InversionData, Inverter
from augment.runtime.claim import check_outside
from augment.runtime.processes import wait_for_all
from augment.runtime.quiet import quietly
from augment.runtime.trainer import MakeTrainer, default_trainer, progress_bar

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inverted:
    """The latents of a few-shot set.

    Attributes:
        bank: Where they lie.
        keys: Their keys, by class: image by image, each image's draws side by side.
        shots: The image of each of these keys.
        quality: The round trip of each latent, by the image's name and the number of the draw where there are several.
        new: How many were made by this run.
        fitted: Images at a time that memory allowed this process, if it did not allow the batch size.
    """

    bank: LatentBank
    keys: dict[int, tuple[LatentKey, ...]]
    shots: dict[int, tuple[Shot, ...]]
    quality: dict[str, Quality]
    new: int
    fitted: int | None = None

    def latents(self, label: int) -> Tensor:
        """All latents of a class, float32 [N, C, h, w]."""
        rows = zip(self.keys[label], self.shots[label], strict=True)
        return torch.stack([self.bank.load(key, shot.name) for key, shot in rows])

    def unconditional(self, label: int) -> Tensor:
        """The null-text embeddings of these latents, float32 [N, steps, S, D]."""
        rows = zip(self.keys[label], self.shots[label], strict=True)
        return torch.stack([self.bank.load_unconditional(key, shot.name) for key, shot in rows])


@quietly()
def invert(
    backbone: Backbone,
    source: ImageSource,
    few_shot: FewShotSet,
    prompts: Mapping[int, str],
    bank: Path | str,
    inversion: Inversion = Inversion(),  # noqa: B008  (frozen)
    latents: LatentKind | None = "inverted",
    compile: bool = False,
    folders: Sequence[Path] = (),
    make_trainer: MakeTrainer = default_trainer,
    show_progress: bool = True,
) -> Inverted:
    """Invert, or only encode, the few-shot images whose latents the bank lacks.

    Args:
        backbone: The model whose noise space is entered.
        source: Where the images are.
        few_shot: Which of them.
        prompts: The prompt of each class, by label.
        bank: Folder of the latents.
        inversion: How.
        latents: `inverted` for noise z_T, `encoded` for clean latents z_0; None makes nothing.
        compile: Compile the denoiser.
        folders: Other folders that all processes must see.
        make_trainer: Builds the trainer around the given callbacks.
        show_progress: Whether to show a progress bar.

    Raises:
        UserError: If the bank belongs to another backbone, or an image cannot be read or inverted.

    Example:
        >>> import augment
        >>> digits = augment.Digits()
        >>> few_shot = augment.choose_few_shot_set(digits, shots=3, seed=0, classes=["three", "eight"])
        >>> backbone = augment.StableDiffusion("digits")
        >>> prompts = {label: "a digit" for label in few_shot.labels}
        >>> inversion = augment.Inversion(steps=5)
        >>> found = augment.invert(backbone, digits, few_shot, prompts, "datasets/bank", inversion)
        >>> {label: len(keys) for label, keys in found.keys.items()}
        {3: 3, 8: 3}
    """
    check_outside(Path(bank), source.folders, "bank")
    stored = LatentBank(Path(bank), backbone.identity, backbone.latent_shape)
    keys = latent_keys(backbone, few_shot, prompts, inversion, latents)
    if not keys:
        return Inverted(stored, {}, {}, {}, 0)
    each = inversion.latents_per_image(latents)
    shots = {label: tuple(shot for shot in few_shot.shots[label] for _ in range(each)) for label in keys}
    flat = [key for members in keys.values() for key in members]
    images_of = [shot for members in shots.values() for shot in members]
    seen = (*folders, stored.folder)
    images = InversionData(source, images_of, flat, stored, inversion.batch_size, backbone.image_size, seen)
    missing = sum(key not in stored for key in set(flat))
    if missing and show_progress:
        announce(missing, latents, stored.folder)
    if missing:
        backbone.cast(inversion.precision)
    trainer = make_trainer([BankWriter(stored), *progress_bar("invert", show_progress)])
    inverter = Inverter(backbone, inversion, compile, list(prompts.values()))
    trainer.predict(inverter, datamodule=images, return_predictions=False)
    wait_for_all(trainer, stored.folder)
    for shot, key in zip(images_of, flat, strict=True):
        stored.load(key, shot.name)  # a broken one is told of now, and not when a sampler comes to it
    names = [shot.name if each == 1 else f"{shot.name}, draw {n % each + 1}" for n, shot in enumerate(images_of)]
    quality = {name: stored.quality(key) for name, key in zip(names, flat, strict=True)}
    if missing:
        warn_of_poor(quality, inversion.warn_psnr)
    return Inverted(stored, keys, shots, quality, missing, inverter.inverting.fitted)


def latent_keys(
    backbone: Backbone,
    few_shot: FewShotSet,
    prompts: Mapping[int, str],
    inversion: Inversion,
    latents: LatentKind | None,
) -> dict[int, tuple[LatentKey, ...]]:
    """The bank's keys of the few-shot set's latents, by class, draws side by side; empty if none are needed."""
    if latents is None:
        return {}

    def keys_of(shot: Shot) -> list[LatentKey]:
        if latents == "encoded":
            return [encoded_key(shot, backbone, inversion)]
        prompt = prompts[shot.label]
        return [latent_key(shot, backbone, prompt, inversion, draw) for draw in range(inversion.draws)]

    return {label: tuple(key for shot in few_shot.shots[label] for key in keys_of(shot)) for label in few_shot.labels}


def bank_folder(given: Path | str | None, output: Path, identity: str) -> Path:
    """Where the latents of a backbone lie: where the user says, or one folder per backbone beside the output."""
    return Path(given) if given is not None else output.parent / "bank" / identity.replace("/", "--")


@rank_zero_only
def announce(missing: int, latents: LatentKind | None, bank: Path) -> None:
    """Say where the bank is that is about to be filled."""
    log.warning("%s %d images into '%s'", "inverting" if latents == "inverted" else "encoding", missing, bank)


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
