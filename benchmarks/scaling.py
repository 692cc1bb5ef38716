"""How does `augment synthesize` scale? With processes, with the number of images, and with the sources of a mixture."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from jsonargparse.typing import PositiveInt

from augment.backbones.start import Start, stack
from augment.errors import UserError
from augment.mix.draws import Draws, Mixing, draw_mixture
from augment.mix.method import Material
from augment.mix.registry import METHODS
from benchmarks.architectures import Family, Size, build_denoiser, fill, inputs
from benchmarks.record import Figure, Report, over, run

Part = Literal["processes", "images", "mixing"]
CLASSES = 10
SHARD_SIZE = 500


@dataclass(frozen=True)
class Run:
    """What one `augment synthesize` in processes of its own took.

    Attributes:
        seconds: Of synthesis, as run.json has it: without start-up and inversion.
        wall: Seconds of the whole command.
        peak: Largest resident memory of the first process, in bytes.
        images: That it made.
    """

    seconds: float
    wall: float
    peak: int
    images: int


def command(name: str, folder: Path, steps: int, output: Path, more: Sequence[str]) -> tuple[float, int]:
    """Run an `augment` command on the embedded digits with one thread per process: its seconds and peak memory."""
    program = Path(sys.executable).parent / "augment"
    if not program.is_file():
        raise UserError(
            "program", f"there is no '{program}'", "install the package into this environment: pip install -e ."
        )
    options = {
        "output": output,
        "data.bank": folder / "bank",
        "model.steps": steps,
        "model.inversion.steps": steps,
        "model.inversion.warn_psnr": 0,
        "trainer.accelerator": "cpu",
    }
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    with (folder / "log.txt").open("w") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(program), name, *words, *more],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        _, status, usage = os.wait4(process.pid, 0)  # unlike getrusage, of this child alone
        wall = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status):
        raise UserError(
            f"augment {name}", (folder / "log.txt").read_text()[-2000:], "mend that and run the benchmark again"
        )
    return wall, usage.ru_maxrss * 1024


def synthesize(folder: Path, per_class: int, steps: int, batch_size: int, processes: int, shard_size: int) -> Run:
    """Make a dataset."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        output = Path(name) / "made"
        more = ["--per_class", str(per_class), "--trainer.devices", str(processes)]
        more += ["--data.plan.shard_size", str(shard_size), "--batch_size", str(batch_size)]
        if processes > 1:
            more += ["--trainer.strategy", "ddp"]
        wall, peak = command("synthesize", folder, steps, output, more)
        made = json.loads((output / "run.json").read_text())
    return Run(made["seconds"]["synthesize"], wall, peak, made["images"])


def measure_processes(folder: Path, per_class: int, steps: int, batch_size: int, rounds: int) -> Report:
    """One process against two, one thread each, in turn."""
    one: list[Run] = []
    two: list[Run] = []
    half = -(-CLASSES * per_class // 2)  # of the images in each of two shards, so that neither process waits
    for _ in range(rounds):
        one.append(synthesize(folder, per_class, steps, batch_size, 1, half))
        two.append(synthesize(folder, per_class, steps, batch_size, 2, half))
    timings = {
        f"{kind}, {name}": [getattr(run, field) for run in runs]
        for kind, runs in (("1 process", one), ("2 processes", two))
        for name, field in (("synthesis", "seconds"), ("whole command", "wall"))
    }
    synthesis = over(timings["1 process, synthesis"], timings["2 processes, synthesis"])
    whole = over(timings["1 process, whole command"], timings["2 processes, whole command"])
    figures = [
        Figure("speed of 2 processes / 1 process", synthesis, at_least=1.8),
        Figure("the same for the whole command", whole),
    ]
    return Report(figures, timings, {"processes": {"images": one[0].images}})


def measure_images(folder: Path, counts: Sequence[int], steps: int, batch_size: int) -> Report:
    """Cost and peak memory against the number of images."""
    runs = {count: synthesize(folder, -(-count // CLASSES), steps, batch_size, 1, SHARD_SIZE) for count in counts}
    figures = []
    for count, made in runs.items():
        figures.append(Figure(f"ms per image, {count} images", (1e3 * made.seconds / made.images,)))
        figures.append(Figure(f"peak memory in MiB, {count} images", (made.peak / 2**20,)))
    if len(counts) > 1:
        most, fewer = sorted(counts)[-1], sorted(counts)[-2]
        growth = runs[most].peak / runs[fewer].peak
        figures.append(Figure(f"peak memory, {most} / {fewer} images", (growth,), at_most=1.05))
    timings = {f"{count} images": [made.seconds] for count, made in runs.items()}
    return Report(figures, timings, {"peak_bytes": {str(count): made.peak for count, made in runs.items()}})


def seconds_of(call: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of several calls, after one that does not count."""
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return taken[1:]


def measure_mixing(family: Family, sources: Sequence[int], size: Size, repeats: int) -> Report:
    """What mixing one image's start costs, as a share of one denoiser call at batch 1, both on this CPU."""
    network = fill(partial(build_denoiser, family, size), torch.bfloat16)
    given = inputs(network, torch.bfloat16)
    shape = (network.config.in_channels, network.config.sample_size, network.config.sample_size)
    with torch.inference_mode():
        started = time.perf_counter()
        network(**given)
        call = time.perf_counter() - started
    parameters = network.num_parameters()
    del network
    latents = torch.randn(max(sources), *shape)

    def mix(count: int) -> Start:
        mixture = draw_mixture(Mixing(sources=count), count, len(latents), 0, 0, 0)
        chosen, weights = latents[list(mixture.sources)], torch.tensor(mixture.weights)
        return stack([METHODS["nin/chm"].start(Material(chosen, weights, "a digit", Draws(0, 0, 0)))])

    taken = {count: seconds_of(partial(mix, count), repeats) for count in sources}
    figures = [
        Figure(
            f"mixing {count} sources / denoiser call, {family}",
            tuple(each / call for each in seconds),
            at_most=0.01 if count == max(sources) else None,
        )
        for count, seconds in taken.items()
    ]
    timings = {f"mixing {count} sources, {family}": seconds for count, seconds in taken.items()}
    details = {"latent_shape": shape, "denoiser_parameters": parameters, "denoiser_dtype": "bf16"}
    return Report(figures, timings | {f"one denoiser call, {family}": [call]}, {family: details})


def scaling(
    parts: list[Part] = ["processes", "images", "mixing"],  # noqa: B006  (never changed)
    per_class: PositiveInt = 100,
    process_steps: PositiveInt = 20,
    rounds: PositiveInt = 3,
    counts: list[PositiveInt] = [100, 1000, 10000],  # noqa: B006
    count_steps: PositiveInt = 1,
    batch_size: PositiveInt = 50,
    families: list[Family] = ["sd15", "sd35-medium"],  # noqa: B006
    sources: list[PositiveInt] = [2, 4, 8, 16, 32, 64, 96],  # noqa: B006
    size: Size = "full",
    repeats: PositiveInt = 5,
) -> Iterator[Report]:
    """Measure `augment synthesize` with 1 and 2 processes and more and more images, and the cost of mixing.

    Args:
        parts: What to measure.
        per_class: `processes`: images for each of the ten classes.
        process_steps: `processes`: of the sampler.
        rounds: `processes`: runs of each kind, in turn.
        counts: `images`: numbers of images.
        count_steps: `images`: of the sampler.
        batch_size: Images per call of the networks.
        families: `mixing`: whose latents are mixed and whose denoiser is called.
        sources: `mixing`: numbers of sources.
        size: `mixing`: `tiny` is for trying the program.
        repeats: `mixing`: of each mixture.
    """
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Mixing comes last: a child's peak memory is never less than what its parent had when it was started.
        if "processes" in parts:
            command("invert", folder, process_steps, folder / "inverted", [])
            report.add(measure_processes(folder, per_class, process_steps, batch_size, rounds))
            yield report
        if "images" in parts:
            command("invert", folder, count_steps, folder / "inverted", [])
            report.add(measure_images(folder, counts, count_steps, batch_size))
            yield report
        for family in families if "mixing" in parts else []:
            report.add(measure_mixing(family, sources, size, repeats))
            yield report


if __name__ == "__main__":
    run(scaling)
