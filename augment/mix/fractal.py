"""Which fractal is blended in? The attractor of a random iterated function system, or an image of a folder.

A system is a few affine maps, each of which brings points closer together. A point that is moved by one of them again
and again, drawn at random, comes to lie on the system's attractor (the chaos game, Barnsley 1988).
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augment.errors import UserError
from augment.images.pixels import to_tensor
from augment.images.sources.base import IMAGE_SUFFIXES, decode
from augment.runtime.fingerprint import hash_files

Array = NDArray[np.float64]

MAPS = (2, 5)
"""Fewest and most maps of a system."""

SHRINK = (0.2, 0.9)
"""Smallest and largest factor by which a map shortens a direction; all are below 1, so that an attractor exists."""

MOVES = 100
SETTLING = 20
"""Moves of each point, and how many of the first are not drawn: the point is not on the attractor yet."""

PER_PIXEL = 1
"""Drawn points for each pixel of the image, many of which stay black: a fractal is thin."""


def fractal(random: np.random.Generator, side: int) -> Tensor:
    """A random fractal in colours on black, float32 [3, side, side] in [-1, 1].

    A point takes on half of the colour of each map that moves it; brightness is the logarithm of how many points a
    pixel has.

    Args:
        random: Draws the system and the game.
        side: Height and width in pixels.
    """
    matrices, shifts, colours = draw_system(random)
    areas = np.abs(np.linalg.det(matrices)) + 0.01  # larger pieces get more points
    count = max(1, PER_PIXEL * side * side // (MOVES - SETTLING))
    points, hues = random.uniform(-1, 1, (count, 2)), np.full((count, 3), 0.5)
    places, shades = [], []
    for move in range(MOVES):
        chosen = random.choice(len(areas), count, p=areas / areas.sum())
        points = np.einsum("nij,nj->ni", matrices[chosen], points) + shifts[chosen]
        hues = (hues + colours[chosen]) / 2
        if move >= SETTLING:
            places.append(points)
            shades.append(hues)
    return painted(np.concatenate(places), np.concatenate(shades), side)


def draw_system(random: np.random.Generator) -> tuple[Array, Array, Array]:
    """Matrices [N, 2, 2], shifts [N, 2] and colours [N, 3] in [0, 1] of N maps.

    Each matrix turns, shortens by two factors, perhaps mirrors, and turns again: its singular values are the factors.
    """
    count = int(random.integers(MAPS[0], MAPS[1] + 1))
    first, last = (turns(random.uniform(0, 2 * np.pi, count)) for _ in range(2))
    factors = random.uniform(*SHRINK, (count, 2)) * random.choice([-1, 1], (count, 2))
    matrices = np.einsum("nij,nj,njk->nik", first, factors, last)
    return matrices, random.uniform(-1, 1, (count, 2)), random.uniform(0, 1, (count, 3))


def turns(angles: Array) -> Array:
    """Rotations [N, 2, 2] by angles [N] in radians."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)


def painted(points: Array, shades: Array, side: int) -> Tensor:
    """Points [P, 2] with colours [P, 3], stretched to the frame, as an image [3, side, side] in [-1, 1]."""
    low, high = points.min(0), points.max(0)
    cells = ((points - low) / np.maximum(high - low, 1e-9) * (side - 1)).round().astype(np.int64)
    flat = cells[:, 0] * side + cells[:, 1]
    density = np.bincount(flat, minlength=side * side)
    sums = np.stack([np.bincount(flat, shade, minlength=side * side) for shade in shades.T])
    light = np.log1p(density) / np.log1p(density.max())
    image = sums / np.maximum(density, 1) * light  # [3, side * side]
    return torch.from_numpy(image.reshape(3, side, side) * 2 - 1).float()


@lru_cache(maxsize=4)
def images_in(folder: str) -> tuple[Path, ...]:
    """The images of a folder, in order.

    Raises:
        UserError: If there are none.
    """
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        problem = f"'{folder}' holds no images" if Path(folder).is_dir() else f"there is no folder '{folder}'"
        raise UserError("settings.fractals", problem, "give a folder of images, or leave it out to have some drawn")
    return tuple(found)


@lru_cache(maxsize=4)
def folder_identity(folder: str) -> str:
    """The folder's name and a hash of its images: names and content."""
    return f"{Path(folder).resolve().name}@{hash_files(Path(folder), images_in(folder))}"


def from_folder(random: np.random.Generator, folder: str, side: int) -> Tensor:
    """One of a folder's images at random, cropped to a square: float32 [3, side, side] in [-1, 1]."""
    paths = images_in(folder)
    path = paths[int(random.integers(len(paths)))]
    return to_tensor(decode(path, path.name), side)
