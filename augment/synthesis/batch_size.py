"""How many images at a time? `auto` tries sizes on the device, and takes the smallest that is about as fast as any."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from augment.backbones.start import Start
from augment.dataset.folder import check_folder
from augment.dataset.manifest import describe_dataset, read_manifest
from augment.images.pixels import to_uint8
from augment.runtime.profile import now
from augment.runtime.trainer import MakeTrainer, default_trainer
from augment.synthesis.plan import Plan
from augment.synthesis.recipe import Recipe
from augment.synthesis.synthesizer import Synthesizer

log = logging.getLogger(__name__)

LARGEST = 64
NEARLY = 1.05
"""Times the fastest: more images at a time than this needs would cost memory and gain nothing."""

TRIAL_STEPS = 2


@dataclass(frozen=True)
class Timing:
    """What one batch cost.

    Attributes:
        evaluation: Seconds per image and call of the denoiser, each guidance branch counted.
        decoding: Seconds per image of the decoder.
        images: Uint8 [B, H, W, 3]; noise in, so nothing to look at.
    """

    evaluation: float
    decoding: float
    images: torch.Tensor


def time_batch(model: Synthesizer, size: int, prompt: str) -> Timing:
    """Denoise and decode one batch of Gaussian noise in a few steps, on the device where the model is.

    Raises:
        torch.OutOfMemoryError: If it does not fit.
    """
    backbone = model.backbone
    latent = torch.randn(size, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    start = Start(latent, (prompt,) * size, seeds=tuple(range(size)))
    before, begun = backbone.evaluations, now(backbone.device)
    clean = backbone.denoise(start, TRIAL_STEPS, model.guidance, model.sampler)
    denoised = now(backbone.device)
    images = backbone.decode(clean)
    decoded = now(backbone.device)
    pixels = to_uint8(images).permute(0, 2, 3, 1).cpu()  # [B, H, W, 3]
    evaluations = backbone.evaluations - before
    return Timing((denoised - begun) / evaluations, (decoded - denoised) / size, pixels)


def fastest_batch_size(model: Synthesizer, evaluations: float, prompt: str) -> int:
    """The smallest power of two that makes an image nearly as fast as any other up to 64 that fits.

    Args:
        model: On its device, in its precision.
        evaluations: Of the denoiser per image of the real run.
        prompt: Any that the model understands.
    """
    seconds: dict[int, float] = {}
    size = 1
    while size <= LARGEST:
        try:
            time_batch(model, size, prompt)  # the first call of a size prepares the device for it
            timing = time_batch(model, size, prompt)
        except torch.OutOfMemoryError:
            break
        seconds[size] = timing.evaluation * evaluations + timing.decoding
        size *= 2
    torch.cuda.empty_cache()
    best = min(seconds.values(), default=0.0)
    return next((size for size, value in seconds.items() if value <= NEARLY * best), 1)


class BatchSizeTrial(L.LightningModule):
    """Finds the batch size in the predict loop, where Lightning has brought the model to every process's device.

    Args:
        model: The synthesizer.
        evaluations: Of the denoiser per image.
        prompt: Any that the model understands.
    """

    def __init__(self, model: Synthesizer, evaluations: float, prompt: str) -> None:
        super().__init__()
        self.model = model
        self.evaluations = evaluations
        self.prompt = prompt
        self.found = 0

    def predict_dataloader(self) -> DataLoader[int]:
        """One empty batch for each process."""
        return DataLoader([0], batch_size=None)  # type: ignore[arg-type]  # a list is a dataset

    def on_predict_start(self) -> None:
        """As in the real run."""
        self.model.on_predict_start()

    def on_predict_end(self) -> None:
        """As in the real run."""
        self.model.on_predict_end()

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Try; the slowest device decides, so that all processes agree."""
        found = torch.tensor(fastest_batch_size(self.model, self.evaluations, self.prompt), device=self.device)
        self.found = int(self.trainer.strategy.reduce(found, reduce_op="min"))


def settled_recipe(
    recipe_of: Callable[[Plan], Recipe],
    plan: Plan,
    model: Synthesizer,
    output: Path,
    overwrite: bool = False,
    make_trainer: MakeTrainer = default_trainer,
) -> Recipe:
    """The recipe with a number for the batch size `auto`, found before the recipe is frozen.

    A dataset that is resumed or grows keeps its number. Otherwise sizes are tried on the device.

    Args:
        recipe_of: Freezes a plan into a recipe.
        plan: What is wanted.
        model: What is timed.
        output: Folder of the dataset.
        overwrite: Whether a dataset of another recipe there will be deleted.
        make_trainer: Builds the trainer around the given callbacks.

    Raises:
        UserError: If the recipe cannot work, or the folder holds another dataset.
    """
    if plan.batch_size != "auto":
        return recipe_of(plan)
    begun = begun_batch_size(output)
    likely = recipe_of(replace(plan, batch_size=begun or 1))
    if check_folder(output, describe_dataset(likely.describe()), overwrite):
        return likely
    return recipe_of(
        replace(plan, batch_size=find_batch_size(model, likely.prompt_of(likely.few_shot.labels[0], 0), make_trainer))
    )


def begun_batch_size(output: Path) -> int | None:
    """The batch size of the dataset that was begun in a folder, if there is one."""
    if not (output / "dataset.json").is_file():
        return None
    size = read_manifest(output)["config"].get("plan", {}).get("batch_size")
    return size if isinstance(size, int) else None


def find_batch_size(model: Synthesizer, prompt: str, make_trainer: MakeTrainer) -> int:
    """The batch size that is fastest here."""
    model.backbone.cast(model.precision)
    trial = BatchSizeTrial(model, model.evaluations_per_image(), prompt)
    trainer = make_trainer([])
    trainer.predict(trial, return_predictions=False)
    if trainer.is_global_zero:
        log.warning("batch_size auto: %d images at a time", trial.found)
    return trial.found
