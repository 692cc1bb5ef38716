"""What does a start of `nao` cost? Processor seconds of the search for one set of sources, and how steady it is."""

import time
from collections.abc import Iterator

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.mix.draws import Draws
from augment.mix.method import Material
from augment.mix.norm_aware import path_coefficients
from augment.mix.registry import METHODS
from benchmarks.record import Figure, Report, run


def latents(count: int, length: int, seed: int) -> Tensor:
    """Latents [N, 1, 1, L] as inversion gives them: something in common, and norms that differ by some percent."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 1, 1, length, generator=generator)
    scale = 1 + 0.03 * torch.randn(count, 1, 1, 1, generator=generator)
    return scale * noise + 0.3 * torch.randn(1, 1, length, generator=generator)


def centroid(sources: Tensor) -> tuple[Tensor, float]:
    """The norm-aware centroid [1, 1, L], found anew, and the processor seconds that it took."""
    path_coefficients.cache_clear()
    weights = torch.full((len(sources),), 1 / len(sources))
    started = time.process_time()
    start = METHODS["nao"].start(Material(sources, weights, "a digit", Draws(0, 0, 0)))
    return start.latent[0], time.process_time() - started


def nao(
    counts: list[PositiveInt] = [2, 3, 5, 10],  # noqa: B006  (never changed)
    lengths: list[PositiveInt] = [256, 1024, 16384],  # noqa: B006
    sets: PositiveInt = 10,
) -> Iterator[Report]:
    """Time the search for the norm-aware centroid, and move its sources by one ulp.

    Args:
        counts: Numbers of sources.
        lengths: Numbers in a latent; 256 is the embedded digits', 16384 Stable Diffusion 1.5's.
        sets: Of sources, each solved once and once more after every number has moved by one ulp.
    """
    report = Report()
    centroid(latents(2, 16, 0))  # what is imported and built at the first call is not counted
    for count in counts:
        for length in lengths:
            seconds, moves = [], []
            for seed in range(sets):
                sources = latents(count, length, seed)
                up = torch.rand(sources.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
                found, taken = centroid(sources)
                again, _ = centroid(sources.nextafter(torch.where(up, 9.0, -9.0)))
                seconds.append(taken)
                moves.append(float((found - again).abs().max()))
            name = f"{count} sources of {length}"
            goal = 0.1 if count == 5 else None
            report.figures.append(Figure(f"seconds, {name}", tuple(seconds), at_most=goal))
            report.figures.append(Figure(f"largest move by one ulp, {name}", (max(moves),), at_most=1e-4))
            report.timings[name] = seconds
        yield report


if __name__ == "__main__":
    run(nao)
