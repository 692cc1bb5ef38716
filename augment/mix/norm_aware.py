"""NAO, norm-aware optimisation: centroid and paths by the likelihood of their norm (Samuel et al., NeurIPS 2023).

Notation: x_n in R^L the latents of N sources, f the log-density of the norm of a standard normal vector (chi
distribution, L degrees of freedom). A path's distance is the line integral of -f along it, so that it pays to stay
near the sphere of norm sqrt(L); the centroid c is the point whose distances to all sources have the smallest sum.

Only norms and distances of points in the sources' span count, so the search runs in coordinates of that span, made
from the sources' scalar products, whatever L is. By symmetry the best path from c to x_n lies in the plane of the
two: it is given by the norms of its points, which are spread evenly over the angle between c and x_n. (How a path is
divided does not change its integral; left free, the points wander and the search never settles. Where a source lies
much farther off the sphere than a step is long, one long step past which the midpoint rule does not look can be cheaper
still; it is not searched for.)
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from augment.backbones.start import Start
from augment.mix.interpolation import slerp
from augment.mix.method import Material, Method

Array = NDArray[np.float64]

POINTS = 50
"""Points of a path, its ends included, as in the authors' code."""

ITERATIONS = 500
"""Of L-BFGS in each pass, at most; most sources need about 100 in all."""

RANK = 1e-14
"""Eigenvalues of the scalar products below this share of the largest are rounding: the sources depend on each other."""

PASSES = ((1e-2, 1e-3), (1e-3, 1e-7))
"""Two passes, the second from the first's result: how far the penalty's corner at eps is rounded off, in units of
sqrt(L), and the largest slope at which the pass ends. Over sharp corners the search stops where an ulp decides."""

TIP = 1e-3
"""How far the tip of a length at zero is rounded off, in units of sqrt(L); steps of 50 points are some 0.02 long."""


@dataclass(frozen=True)
class NormAware(Method):
    """A point between the norm-aware centroid of the sources and one of them (NAO, Samuel et al. 2023).

    The paper has no weights: its data are the points of the paths from the centroid to the sources. The image's
    weights choose the point: on the path to the source of the largest weight w, at (N w - 1) / (N - 1) of its
    points. So equal weights give the centroid, and one-hot weights the source.

    The search minimises the authors' objective by L-BFGS in the sources' span, not by Adam over whole latents. It
    starts in the direction of the middle of the arc for two sources, as theirs does, and of the mean for more. Two
    sources keep that middle: every point of the arc between them has the same sum of distances. One ulp of change in
    the sources moves no number of the result by more than 1e-4, unless some are copies or multiples of others.
    """

    def start(self, material: Material) -> Start:
        """Find, or recall, the paths of these sources, and take the point that the weights say."""
        latents = material.latents.float().cpu().flatten(1)
        count = len(latents)
        if count == 1:
            return material.start(material.latents[0])
        # A class has few sets of sources: each is solved once, and alike in whatever order it is drawn.
        order = sorted(range(count), key=lambda n: latents[n].numpy().tobytes())
        sources = latents[order].double()
        nearest = int(material.weights.argmax())
        path = path_coefficients(_scalar_products(sources), sources.shape[1])[order.index(nearest)]
        position = (count * float(material.weights[nearest]) - 1) / (count - 1) * (POINTS - 1)
        before = min(max(int(position), 0), POINTS - 2)
        point = (torch.lerp(path[before], path[before + 1], position - before) @ sources).float()
        return material.start(point.view_as(material.latents[0]).to(material.latents.device))


def log_chi(norm: Array, degrees: int) -> Array:
    """Log-density f of the norm of a standard normal vector of at least two numbers: the chi distribution.

    Written as its value at the mode sqrt(L - 1) and the difference from there, of which more digits remain than of
    (L - 1) log(norm) - norm^2 / 2.
    """
    power = degrees - 1
    highest = power * (math.log(power) - 1) / 2 - (degrees / 2 - 1) * math.log(2) - math.lgamma(degrees / 2)
    beside = norm / math.sqrt(power) - 1
    return highest + power * (np.log1p(beside) - beside - beside**2 / 2)


def _scalar_products(sources: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in (sources @ sources.T).tolist())


@lru_cache(maxsize=128)
def path_coefficients(scalar_products: tuple[tuple[float, ...], ...], degrees: int) -> Tensor:
    """Paths from the centroid (point 0, the same for all) to each source (the last point), as sums of the sources.

    Args:
        scalar_products: Of the sources with each other, N rows of N, so that results can be kept.
        degrees: Length L of a latent.

    Returns:
        Coefficients, float64 [N, POINTS, N]: the points of path n are `coefficients[n] @ sources`.
    """
    values, vectors = np.linalg.eigh(np.array(scalar_products))
    kept = values > RANK * values[-1]
    roots = np.sqrt(values[kept])
    problem = Problem(vectors[:, kept] * roots, degrees)
    found = problem.first_guess()
    for corner, slope in PASSES:
        found = minimize(
            problem.cost,
            found,
            args=(corner,),
            jac=True,
            method="L-BFGS-B",
            bounds=problem.bounds(),
            options={"maxcor": 30, "maxiter": ITERATIONS, "maxfun": 10 * ITERATIONS, "ftol": 0.0, "gtol": slope},
        ).x
    coefficients = problem.points(found) / roots @ vectors[:, kept].T
    coefficients[:, 0], coefficients[:, -1] = coefficients[0, 0], np.eye(len(values))  # to the last digit
    return torch.from_numpy(coefficients)


class Problem:
    """The search for one centroid and its N paths, in coordinates of the sources' span.

    What is searched for is one vector: c [R], then the norms of the inner points of each path [N, POINTS - 2].

    Args:
        ends: The sources [N, R], R their rank.
        degrees: Length L of a latent.
    """

    def __init__(self, ends: Array, degrees: int) -> None:
        self.ends, self.degrees = ends, degrees
        self.norms = np.linalg.norm(ends, axis=1)
        self.directions = ends / np.maximum(self.norms, np.finfo(np.float64).tiny)[:, None]
        self.eps = 2 * float(np.linalg.norm(ends[:, None] - ends, axis=2).max()) / POINTS
        self.unit = math.sqrt(degrees)

    def first_guess(self) -> Array:
        """On the sphere of the likeliest norm, in the direction of the arc's middle (two sources) or mean (more).

        Paths keep to that sphere and leave it for a source off it at the end, by eps a step, as the best ones do.
        """
        c = self.ends.mean(axis=0)
        if len(self.ends) == 2:
            p, q = torch.from_numpy(self.ends)
            c = slerp(p, q, 0.5).double().numpy()
        size = np.linalg.norm(c)
        if size < 1e-6 * self.norms.max():  # of opposite sources, where the mean has no direction
            c, size = self.ends[0], self.norms[0]
        likeliest = math.sqrt(self.degrees - 1)
        off = self.norms[:, None] - likeliest
        still_to_go = self.eps * np.arange(POINTS - 2, 0, -1)
        norms = likeliest + np.sign(off) * np.maximum(np.abs(off) - still_to_go, 0)
        return np.concatenate([c / size * likeliest, norms.ravel()])

    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Norms stay positive."""
        count, rank = self.ends.shape
        return [(None, None)] * rank + [(0.01 * self.unit, None)] * (count * (POINTS - 2))

    def cost(self, x: Array, corner: float = 0.0) -> tuple[float, Array]:
        """What is minimised, and its gradient.

        The sum of all paths' integrals of -f by the midpoint rule, plus the penalty sum max(0, |step| - eps), eps =
        2 * (largest distance of two sources) / POINTS, minus f(|c|). Two neighbours of norms a and b at an angle h
        have the step s = |a - b e^(ih)| and the midpoint m = |a + b e^(ih)| / 2.

        Args:
            x: What is searched for.
            corner: How far the penalty's corner is rounded off, see `PASSES`.
        """
        c, norms = self._split(x)
        c_direction = c / norms[0, 0]
        angles, sideways = self._angles(c_direction)
        h = angles[:, None] / (POINTS - 1)
        cos = np.cos(h)
        a, b = norms[:, :-1], norms[:, 1:]
        m = np.sqrt(a * a + b * b + 2 * a * b * cos) / 2
        s = np.sqrt((a - b) ** 2 + 4 * a * b * np.sin(h / 2) ** 2 + (TIP * self.unit) ** 2)
        f = log_chi(m, self.degrees)
        beyond, width = s - self.eps, max(corner, 1e-9) * self.unit
        slope = np.clip((beyond + width) / (2 * width), 0, 1)
        penalty = np.where(beyond > width, beyond, width * slope**2)
        value = penalty.sum() - (s * f).sum() - log_chi(norms[0, 0], self.degrees)

        by_s = (slope - f) / s  # of s^2 / 2; by_m of 2 m^2
        by_m = -s * self._slope(m) / (4 * m)
        by_norms = np.zeros_like(norms)
        by_norms[:, :-1] = by_s * (a - b * cos) + by_m * (a + b * cos)
        by_norms[:, 1:] += by_s * (b - a * cos) + by_m * (b + a * cos)
        by_angles = ((by_s - by_m) * a * b).sum(axis=1) * np.sin(h[:, 0]) / (POINTS - 1)
        if len(self.ends) == 2:  # every point of the arc between the two has the same distances: c keeps to the middle
            by_angles = np.zeros(2)
        by_norm_of_c = by_norms[:, 0].sum() - self._slope(norms[0, 0])
        by_c = by_norm_of_c * c_direction - by_angles @ sideways / norms[0, 0]
        return float(value), np.concatenate([by_c, by_norms[:, 1:-1].ravel()])

    def points(self, x: Array) -> Array:
        """The paths' points [N, POINTS, R]."""
        c, norms = self._split(x)
        c_direction = c / norms[0, 0]
        angles, sideways = self._angles(c_direction)
        turned = angles[:, None] * np.linspace(0, 1, POINTS)
        ahead, aside = norms * np.cos(turned), norms * np.sin(turned)
        return ahead[..., None] * c_direction + aside[..., None] * sideways[:, None]

    def _split(self, x: Array) -> tuple[Array, Array]:
        """The centroid [R], and the norms of all points [N, POINTS], those of the centroid and the sources included."""
        count, rank = self.ends.shape
        norms = np.empty((count, POINTS))
        norms[:, 0], norms[:, -1] = np.linalg.norm(x[:rank]), self.norms
        norms[:, 1:-1] = x[rank:].reshape(count, POINTS - 2)
        return x[:rank], norms

    def _angles(self, c_direction: Array) -> tuple[Array, Array]:
        """The angle from c to each source [N], and the unit vector in which that turns c [N, R] (0 if it does not)."""
        along = self.directions @ c_direction
        aside = self.directions - along[:, None] * c_direction
        size = np.linalg.norm(aside, axis=1)
        return np.arctan2(size, along), aside / np.maximum(size, 1e-12)[:, None]

    def _slope(self, norm: Array) -> Array:
        """The derivative of f."""
        return (self.degrees - 1) / norm - norm
