"""What does `augment synthesize` cost beyond its networks? Its seconds over those of bare network calls."""

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from jsonargparse.typing import PositiveInt

from benchmarks.job import PROMPT, Job
from benchmarks.record import Figure, Report, interleave, over, run


def bare(job: Job, pipeline: StableDiffusionPipeline, steps: int, batch_size: int) -> float:
    """Seconds of the U-Net, diffusers' DDIM step and the decoder on the job's starts, and nothing else."""
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(steps)
    started = time.perf_counter()
    with torch.inference_mode():
        embeddings, _ = pipeline.encode_prompt(PROMPT, "cpu", 1, do_classifier_free_guidance=False)
        for z in torch.split(job.starts, batch_size):
            condition = embeddings.expand(len(z), -1, -1)
            for t in scheduler.timesteps:
                z = scheduler.step(pipeline.unet(z, t, encoder_hidden_states=condition).sample, t, z).prev_sample
            pipeline.vae.decode(z / pipeline.vae.config.scaling_factor)
    return time.perf_counter() - started


def overhead(
    per_class: PositiveInt = 60, steps: PositiveInt = 50, batch_size: PositiveInt = 60, rounds: PositiveInt = 3
) -> Iterator[Report]:
    """Time `synthesize` against the bare denoiser and decoder calls for the same images on the embedded digits.

    Args:
        per_class: Images for each of the ten classes.
        steps: Of the sampler.
        batch_size: Images per call of the networks.
        rounds: Of one run each, in turn.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder), per_class, steps, batch_size)
        pipeline = job.backbone.read(torch.float32)  # the job's own has dropped what it no longer needs
        bare_calls = partial(bare, job, pipeline, steps, batch_size)
        timings = interleave({"synthesize": job.seconds, "bare calls": bare_calls}, rounds)
    whole = [seconds + job.inversion for seconds in timings["synthesize"]]
    figures = [
        Figure("synthesize / bare calls", over(timings["synthesize"], timings["bare calls"]), at_most=1.05),
        Figure("inversion and synthesize / bare calls", over(whole, timings["bare calls"])),
    ]
    yield Report(figures, timings, {"images": len(job), "inversion_seconds": job.inversion})


if __name__ == "__main__":
    run(overhead)
