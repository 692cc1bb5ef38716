"""How fast is `augment synthesize` beside the usual script? Images per second, same starts, same steps."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from jsonargparse.typing import PositiveInt
from PIL import Image
from torch import Tensor

from augment.backbones.checkpoint import locate
from benchmarks.job import PROMPT, Job
from benchmarks.record import Figure, Report, interleave, over, run


def load() -> Any:
    """diffusers' pipeline of the embedded model with DDIM, as a script would load it."""
    folder, _ = locate("digits", None, None)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    pipeline.to(torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def script(pipeline: Any, batches: Sequence[Tensor], steps: int, folder: Path) -> float:
    """Seconds of the usual loop: call the pipeline, save its images as PNG, go on."""
    number = 0
    started = time.perf_counter()
    for latents in batches:
        prompts = [PROMPT] * len(latents)
        made = pipeline(prompts, latents=latents, num_inference_steps=steps, guidance_scale=1.0, eta=0.0)
        for image in made.images:
            image.save(folder / f"{number:06d}.png")
            number += 1
    return time.perf_counter() - started


def largest_difference(images: np.ndarray[Any, Any], folder: Path) -> int:
    """Largest difference of any pixel's grey values, out of 255, between our images and the script's."""
    files = sorted(folder.glob("*.png"))
    theirs = np.stack([np.asarray(Image.open(file)) for file in files])
    return int(np.abs(images[: len(files)].astype(np.int16) - theirs).max())


def peers(
    per_class: PositiveInt = 40,
    script_images: PositiveInt = 40,
    steps: PositiveInt = 50,
    batch_size: PositiveInt = 50,
    rounds: PositiveInt = 3,
) -> Iterator[Report]:
    """Compare `synthesize` with diffusers' pipeline called once per image, and batched, on the embedded digits.

    Args:
        per_class: Images for each of the ten classes.
        script_images: The per-image script makes only the first so many; its time per image is always the same.
        steps: Of the sampler.
        batch_size: Of `synthesize` and of the batched pipeline.
        rounds: Of one run each, in turn.
    """
    pipeline = load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = Job(folder, per_class, steps, batch_size)
        single, batched = (folder / kind for kind in ("single", "batched"))
        single.mkdir()
        batched.mkdir()
        ones = torch.split(job.starts[:script_images], 1)
        timings = interleave(
            {
                "synthesize": job.seconds,
                "pipeline per image": lambda: script(pipeline, ones, steps, single),
                "pipeline batched": lambda: script(pipeline, torch.split(job.starts, batch_size), steps, batched),
            },
            rounds,
        )
        images = job.images()
        differences = {kind.name: largest_difference(images, kind) for kind in (single, batched)}
    counts = {"synthesize": len(job), "pipeline per image": len(ones), "pipeline batched": len(job)}
    rates = {kind: [counts[kind] / seconds for seconds in timings[kind]] for kind in timings}
    ours = rates["synthesize"]
    figures = [
        Figure("synthesize / pipeline per image", over(ours, rates["pipeline per image"]), at_least=3),
        Figure("synthesize / pipeline batched", over(ours, rates["pipeline batched"])),
        *(Figure(f"images/s, {kind}", tuple(values)) for kind, values in rates.items()),
        *(Figure(f"largest pixel difference of 255, {kind}", (float(d),)) for kind, d in differences.items()),
    ]
    yield Report(figures, timings, {"images": counts, "largest_pixel_difference": differences})


if __name__ == "__main__":
    run(peers)
