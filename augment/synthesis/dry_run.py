"""What would this run cost? Two batches are timed, nothing is inverted and nothing is written."""

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from rich.table import Table

from augment.dataset.folder import check_folder
from augment.dataset.manifest import describe_dataset
from augment.dataset.shard_writer import encode_image
from augment.dataset.verify import unfinished
from augment.errors import UserError
from augment.inversion.bank import LatentBank
from augment.inversion.fill import latent_keys
from augment.inversion.inversion import go_back, invert_latents
from augment.runtime.peak_memory import peak_memory
from augment.synthesis.batch_size import TRIAL_STEPS, time_batch
from augment.synthesis.memory import Need, needs
from augment.synthesis.recipe import Recipe
from augment.synthesis.synthesizer import Synthesizer


@dataclass(frozen=True)
class Cost:
    """What a run would take.

    Attributes:
        images: Still to be made.
        inversions: Images still to be inverted.
        evaluations: Images that the denoiser would see in all, each guidance branch counted.
        batch_size: Images at a time.
        devices: How many share the work.
        hours: Until the end, on these devices, without loading the model.
        gigabytes: Of shards still to be written.
        free_gigabytes: On the disk they go to.
        needs: Memory that each stage takes at most.
    """

    images: int
    inversions: int
    evaluations: int
    batch_size: int
    devices: int
    hours: float
    gigabytes: float
    free_gigabytes: float
    needs: tuple[Need, ...] = ()


def estimate(
    model: Synthesizer,
    recipe: Recipe,
    output: Path,
    bank: Path,
    overwrite: bool,
    device: torch.device,
    devices: int,
) -> Cost:
    """Time two batches and multiply.

    Args:
        model: What would be run.
        recipe: What would be made; finished shards and stored latents are not counted.
        output: Folder of the dataset.
        bank: Folder of the latents.
        overwrite: Whether a dataset of another recipe there would be deleted.
        device: Where to time.
        devices: How many such devices there will be.

    Raises:
        UserError: As the run itself would, or if a batch does not fit into memory.
    """
    begun = check_folder(output, describe_dataset(recipe.describe()), overwrite)
    missing = unfinished(output, recipe.shards) if begun else range(len(recipe.shards))
    images = sum(len(recipe.shards[n]) for n in missing)
    inversions = outstanding(model, recipe, bank)
    backbone = model.backbone
    backbone.cast(model.precision)
    model.to(device)
    per_image = model.evaluations_per_image(getattr(recipe.method, "strength", 1.0))
    prompt, size = recipe.prompt_of(recipe.few_shot.labels[0], 0), int(recipe.plan.batch_size)
    with torch.inference_mode():
        model.on_predict_start()
        inverts = bool(inversions) and recipe.method.latents == "inverted"
        try:
            with peak_memory(device) as peak:  # nothing is reused yet, so all that it takes is new
                first = time_batch(model, size, prompt)
            second = time_batch(model, size, prompt)
        except torch.OutOfMemoryError as error:
            raise UserError(
                "batch_size", f"{size} images do not fit into memory", "set `batch_size` to auto"
            ) from error
        per_inversion = evaluations_per_inversion(model, prompt) if inverts else 0.0
        model.on_predict_end()
    evaluation = min(first.evaluation, second.evaluation)  # the first one also warms the device up
    decoding = min(first.decoding, second.decoding)
    encoded = [len(encode_image(Image.fromarray(pixels.numpy()), recipe.plan.image_format)) for pixels in second.images]
    evaluations = images * per_image + inversions * per_inversion
    # An inversion also decodes twice and encodes once, to measure its round trip.
    decodings = images * recipe.method.decodings + 3 * inversions
    seconds = evaluations * evaluation + decodings * decoding
    busy = min(devices, max(1, math.ceil(images / recipe.plan.shard_size)))
    return Cost(
        images=images,
        inversions=inversions,
        evaluations=round(evaluations),
        batch_size=size,
        devices=busy,
        hours=seconds / busy / 3600,
        gigabytes=images * (sum(encoded) / len(encoded) + RECORD_BYTES) / 1e9,
        free_gigabytes=shutil.disk_usage(nearest_folder(output)).free / 1e9,
        needs=needs(model, size, peak.added, bool(inversions)),
    )


RECORD_BYTES = 4096
"""Of an image's record, its label and three tar headers, in blocks of 512."""


def outstanding(model: Synthesizer, recipe: Recipe, bank: Path) -> int:
    """Images still to be inverted or encoded."""
    latents = recipe.method.latents
    keys = latent_keys(model.backbone, recipe.few_shot, recipe.inversion_prompts, recipe.model.inversion, latents)
    stored = LatentBank(bank, recipe.model.backbone)
    wanted = {key for members in keys.values() for key in members}
    return sum(key not in stored for key in wanted)


def evaluations_per_inversion(model: Synthesizer, prompt: str) -> float:
    """Calls of the denoiser that one inversion and its way back take, measured on noise in a few steps.

    An iterative inversion (`fixed-point`, `null-text`) may converge sooner on an image than on noise.
    """
    backbone, how = model.backbone, replace(model.inversion, steps=TRIAL_STEPS, forward_steps=0, draws=1)
    clean = torch.randn(1, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    before = backbone.evaluations
    inverted = invert_latents(backbone, clean.to(backbone.device), [prompt], how)
    up = backbone.evaluations - before
    go_back(backbone, inverted, [prompt], how)
    down = backbone.evaluations - before - up
    skipped = 0 if how.kind == "null-text" else model.inversion.forward_steps  # null-text optimises on all steps
    return (up * (model.inversion.steps - skipped) + down * model.inversion.steps) / TRIAL_STEPS


def nearest_folder(path: Path) -> Path:
    """The path itself or the closest folder above it that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def cost_table(cost: Cost, output: Path) -> Table:
    """The cost for people."""
    table = Table(title=f"what '{output}' would still take", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    hours = f"{cost.hours:.2f} h" if cost.hours >= 1 else f"{cost.hours * 60:.1f} min"
    for name, value in {
        "images to make": f"{cost.images:,}",
        "images to invert": f"{cost.inversions:,}",
        "network evaluations (images x steps x guidance)": f"{cost.evaluations:,}",
        "images at a time": f"{cost.batch_size}",
        f"estimated time on {cost.devices} device{'s' if cost.devices > 1 else ''}": hours,
        "disk, at most": f"{cost.gigabytes:.3f} GB of {cost.free_gigabytes:.1f} GB free",
    }.items():
        table.add_row(name, value)
    for need in cost.needs:
        table.add_row(f"memory to {need.stage}, at most", f"{(need.weights + need.batch) / 1e9:.2f} GB")
    return table
