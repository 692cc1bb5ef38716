"""NAO, norm-aware optimisation: centroid and paths by the likelihood of their norm (Samuel et al., NeurIPS 2023).

Notation: x in R^L a latent, f the log-density of the norm of a standard normal x (chi distribution, L degrees of
freedom). A path's distance is the line integral of -f along it, so that it pays to stay near the sphere of norm
sqrt(L); the centroid is the point whose distances to all sources have the smallest sum.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from augment.backbones.start import Start
from augment.mix.method import Material, Method

POINTS = 50
"""Points of a path, its ends included, as in the authors' code; so are the numbers below."""

LEARNING_RATE = 0.01
ITERATIONS = 10_000
TOLERANCE, PATIENCE = 0.01, 5
"""The optimisation ends once the loss has changed by less than TOLERANCE this many times in a row."""


@dataclass(frozen=True)
class NormAware(Method):
    """A point between the norm-aware centroid of the sources and one of them (NAO, Samuel et al. 2023).

    The paper has no weights: its data are the points of the paths from the centroid to the sources. The image's
    weights choose the point: on the path to the source of the largest weight w, at (N w - 1) / (N - 1) of its
    points. So equal weights give the centroid, and one-hot weights the source.
    """

    def start(self, material: Material) -> Start:
        """Optimise, or recall, the paths of these sources, and take the point that the weights say."""
        latents = material.latents.float().cpu()
        rows = [latent.numpy().tobytes() for latent in latents]
        nearest, count = int(material.weights.argmax()), len(rows)
        if count == 1:
            return material.start(material.latents[0])
        order = sorted(rows)  # a class has few sets of sources: each is solved once, in whatever order it is drawn
        path = norm_aware_paths(tuple(order))[order.index(rows[nearest])]  # [POINTS, L]
        position = (count * float(material.weights[nearest]) - 1) / (count - 1) * (POINTS - 1)
        before = min(max(int(position), 0), POINTS - 2)
        point = torch.lerp(path[before], path[before + 1], position - before)
        return material.start(point.view_as(latents[0]).to(material.latents.device))


def log_chi(norm: Tensor, degrees: int) -> Tensor:
    """Log-density of the norm of a standard normal vector: the chi distribution."""
    constant = (degrees / 2 - 1) * math.log(2) + math.lgamma(degrees / 2)
    return (degrees - 1) * norm.log() - norm.square() / 2 - constant


def log_likelihood(paths: Tensor) -> tuple[Tensor, Tensor]:
    """The line integral of f along paths, by the midpoint rule.

    Args:
        paths: [N, POINTS, L].

    Returns:
        The integral of each path [N], and the lengths of all steps [N, POINTS - 1].
    """
    steps = (paths[:, 1:] - paths[:, :-1]).norm(dim=2)  # [N, POINTS - 1]
    norms = ((paths[:, 1:] + paths[:, :-1]) / 2).norm(dim=2)
    return (steps * log_chi(norms, paths.shape[2])).sum(dim=1), steps


@lru_cache(maxsize=128)  # at 10 MB each for Stable Diffusion 1.5 and three sources
def norm_aware_paths(sources: tuple[bytes, ...]) -> Tensor:
    """Paths [N, POINTS, L] from the centroid (point 0, the same for all) to each source (the last point).

    Adam maximises the line integrals along all paths and the density of the centroid, less a penalty on steps longer
    than eps = 2 * (largest distance of two sources) / POINTS. It starts at the sources' mean and straight paths.

    Args:
        sources: Each a float32 latent's bytes, so that results can be kept.
    """
    with torch.inference_mode(False), torch.enable_grad():
        ends = torch.stack([torch.frombuffer(bytearray(row), dtype=torch.float32) for row in sources])  # [N, L]
        share = torch.linspace(0, 1, POINTS)[None, 1:-1, None]
        centroid = ends.mean(dim=0)
        inner = (1 - share) * centroid + share * ends[:, None]  # [N, POINTS - 2, L]
        eps = 2 * float(torch.cdist(ends, ends).max()) / POINTS
        variables = [centroid.requires_grad_(True), inner.requires_grad_(True)]
        optimizer = torch.optim.Adam(variables, lr=LEARNING_RATE)
        last, still = math.inf, 0
        for _ in range(ITERATIONS):
            integrals, steps = log_likelihood(join_paths(centroid, inner, ends))
            penalty = (steps - eps).relu().sum()
            loss = penalty - integrals.sum() - log_chi(centroid.norm(), len(centroid))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            value = float(loss.detach())
            still = still + 1 if abs(last - value) < TOLERANCE else 0
            last = value
            if still == PATIENCE:
                break
        return join_paths(centroid, inner, ends).detach()


def join_paths(centroid: Tensor, inner: Tensor, ends: Tensor) -> Tensor:
    """Whole paths [N, POINTS, L] from their centroid [L], inner points [N, POINTS - 2, L] and ends [N, L]."""
    first = centroid.expand(len(ends), 1, -1)
    return torch.cat([first, inner, ends[:, None]], dim=1)
