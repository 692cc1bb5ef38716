"""How far is the synthetic set from the real one? Set metrics as pure functions of features of one extractor.

Shapes: n real and m synthetic images with D features. Distances between images are Euclidean.

Every name ends in its extractor's. Only the Fréchet distance in Inception-v3's pool3 features (2048) is called `fid`
and only the kernel distance there `kid`; elsewhere they are `fd_<extractor>` and `kd_<extractor>`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.image.kid import poly_kernel

from augment.errors import UserError
from augment.measure.features import Features

CHUNK = 1024
RESOLUTION = 2.0**-22
"""Relative difference below which two distances between float32 features count as equal."""
NEIGHBOURS = 5


@dataclass(frozen=True)
class Measured:
    """Metrics by name, the Fréchet distance first, and what a reader must know of them."""

    values: dict[str, float]
    caveats: list[str]


def frechet_name(extractor: str) -> str:
    """`fid` for Inception, `fd_<extractor>` for anything else."""
    return "fid" if extractor == "inception" else f"fd_{extractor}"


def is_frechet(metric: str) -> bool:
    """Whether a metric of that name is a Fréchet distance."""
    return metric == "fid" or metric.startswith("fd_")


def measure(real: Features, synthetic: Features, few_shot: Features | None = None) -> Measured:
    """All metrics of a synthetic set; what its size does not allow is left out, and said.

    Named by the extractor x (see above): Fréchet and kernel distance; `cosine_x`, or `clip_distance` with a CLIP tower
    (`class_cosine`); `recognised_x`; `precision_x`, `recall_x`, `density_x`, `coverage_x`; `diversity_x` of the
    synthetic and `diversity_real_x` of the real images; with a few-shot set `nearest_x`, the median distance of a
    synthetic image to the nearest few-shot image, and `nearest_real_x`, the same of the real images that are not in the
    few-shot set: a synthetic set that is much nearer than those has memorised.

    Args:
        real: The reference.
        synthetic: What is measured, with classes of the reference.
        few_shot: The real images that the synthetic ones were made from.

    Raises:
        UserError: If there are fewer than two images of a kind, or the reference lacks a class of the synthetic set.
    """
    name, x, y = real.extractor, real.values, synthetic.values
    n, m = len(real), len(synthetic)
    if min(n, m) < 2:
        raise UserError(
            frechet_name(name), f"needs two real and two synthetic images, got {n} and {m}", "give more images"
        )
    check_classes(real.classes, synthetic.classes)
    caveats = []
    if min(n, m) <= x.shape[1]:
        caveats.append(
            f"{frechet_name(name)}: {n} real and {m} synthetic images for {x.shape[1]} features leave a covariance "
            f"without full rank, and the distance is biased upwards; compare it between sets of these sizes alone"
        )
    values = {
        frechet_name(name): frechet_distance(x, y),
        "kid" if name == "inception" else f"kd_{name}": kernel_distance(x, y),
        "clip_distance" if name == "clip" else f"cosine_{name}": class_cosine(real, synthetic),
        f"recognised_{name}": recognised(real, synthetic),
    }
    if min(n, m) > NEIGHBOURS:
        manifold = precision_recall_density_coverage(x, y)
        values |= {f"{metric}_{name}": value for metric, value in manifold.items()}
    else:
        caveats.append(
            f"precision, recall, density, coverage: need more than {NEIGHBOURS} real and synthetic images, "
            f"got {n} and {m}; left out"
        )
    for metric, features in ((f"diversity_{name}", synthetic), (f"diversity_real_{name}", real)):
        single = [label for label, members in features.by_class().items() if len(members) < 2]
        if single:
            caveats.append(f"{metric}: class '{single[0]}' has one image; {len(single)} such classes are left out")
        if (value := diversity(features)) is not None:
            values[metric] = value
    if few_shot is not None:
        values[f"nearest_{name}"] = float(nearest(y, few_shot.values).quantile(0.5))
        held_out = real.without(few_shot.sha256s)
        if len(held_out):
            values[f"nearest_real_{name}"] = float(nearest(held_out, few_shot.values).quantile(0.5))
        else:
            caveats.append(f"nearest_real_{name}: every real image is in the few-shot set; left out")
    return Measured(values, caveats)


def check_classes(real: Iterable[str], synthetic: Iterable[str]) -> None:
    """Refuse a reference that lacks a class.

    Raises:
        UserError: If the reference lacks a class of the synthetic set.
    """
    if missing := sorted(set(synthetic) - set(real)):
        raise UserError(
            "reference",
            f"no real image of class '{missing[0]}', which the synthetic set has",
            "give a `reference` folder with its classes",
        )


def frechet_distance(real: Tensor, synthetic: Tensor) -> float:
    """|μ₁ - μ₂|² + Tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½) in float64 (Heusel et al. 2017, Two Time-Scale Update Rule).

    With the centred features A₁ (n × D), Σ₁ = A₁ᵀA₁ / (n - 1), the trace of the root is the sum of the singular values
    of A₁A₂ᵀ, and of R₁R₂ᵀ from A = QR. That is exact for fewer images than features too, where the eigenvalues of
    Σ₁Σ₂, which torchmetrics takes, are roots of rounding errors.

    Args:
        real: [n, D].
        synthetic: [m, D].
    """
    mean, factor, trace = zip(*map(_gaussian, (real, synthetic)), strict=True)
    cross = torch.linalg.svdvals(factor[0] @ factor[1].T).sum()
    distance = (mean[0] - mean[1]).square().sum() + trace[0] + trace[1] - 2 * cross
    return max(float(distance), 0.0)


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [D], a factor R of the covariance RᵀR [min(n, D), D], and the covariance's trace."""
    x = features.double()
    mean = x.mean(0)
    centred = (x - mean) / (len(x) - 1) ** 0.5
    return mean, torch.linalg.qr(centred, mode="r").R, centred.square().sum()


def kernel_distance(real: Tensor, synthetic: Tensor) -> float:
    """Unbiased squared MMD under the kernel (xᵀy / D + 1)³ (Bińkowski et al. 2018, Demystifying MMD GANs).

    All pairs are used, so that the result is the mean of KID over all subsets of any size, without the noise that
    drawing some of them adds. It can be negative.

    Args:
        real: [n, D].
        synthetic: [m, D].
    """
    x, y = real.double(), synthetic.double()
    return _within(x) + _within(y) - 2 * _pair_sum(poly_kernel, x, y) / (len(x) * len(y))


def _within(x: Tensor) -> float:
    """Mean of the kernel over the pairs of different images."""
    itself = (x.square().sum(1) / x.shape[1] + 1) ** 3
    return (_pair_sum(poly_kernel, x, x) - float(itself.sum())) / (len(x) * (len(x) - 1))


def _pair_sum(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    return float(torch.stack([function(rows, y).sum(dtype=torch.float64) for rows in torch.split(x, CHUNK)]).sum())


def class_cosine(real: Features, synthetic: Features) -> float:
    """Cosine distance of a synthetic image's embedding to the mean embedding of its class's real images.

    With CLIP's embedding this is the CLIP distance of Landolsi & Kahl, Section 6. The mean is taken over embeddings as
    they are, the distance over the images of a class and then over the classes.
    """
    centres = {label: members.double().mean(0) for label, members in real.by_class().items()}
    means = [cosine_distance(centres[label], members.double()) for label, members in synthetic.by_class().items()]
    return float(torch.stack(means).mean())


def cosine_distance(centre: Tensor, features: Tensor) -> Tensor:
    """Mean cosine distance of features [n, D] to one centre [D]."""
    return 1 - torch.cosine_similarity(features, centre[None]).mean()


def recognised(real: Features, images: Features) -> float:
    """Share of the images whose class has the nearest mean of real images: can the class still be told?"""
    centres = real.by_class()
    means = torch.stack([members.double().mean(0) for members in centres.values()])  # [K, D]
    nearest_class = torch.cdist(images.values.double(), means).argmin(1).tolist()
    names = list(centres)
    return sum(names[n] == own for n, own in zip(nearest_class, images.classes, strict=True)) / len(images)


def precision_recall_density_coverage(real: Tensor, synthetic: Tensor, k: int = NEIGHBOURS) -> dict[str, float]:
    """Fidelity and diversity of a synthetic set, from balls that reach to the k-th neighbour of their own set.

    Precision is the share of synthetic images in a real ball, recall that of real images in a synthetic one
    (Kynkäänniemi et al. 2019, Improved Precision and Recall Metric); density is the number of real balls that a
    synthetic image is in, over k, and coverage the share of real balls with a synthetic image in them (Naeem et al.
    2020, Reliable Fidelity and Diversity Metrics).

    Args:
        real: [n, D], n > k.
        synthetic: [m, D], m > k.
        k: Which neighbour; 5 as in Naeem et al.
    """
    real_radius, synthetic_radius = _radii(real, k), _radii(synthetic, k)
    edge = 1 - RESOLUTION  # what lies on a ball's edge is outside, however it was rounded
    balls = torch.zeros(len(synthetic), dtype=torch.int64)
    recalled = covered = 0
    for rows, radius in zip(torch.split(real, CHUNK), torch.split(real_radius, CHUNK), strict=True):
        distance = _distances(rows, synthetic)  # [chunk, m]
        inside = distance < edge * radius[:, None]
        balls += inside.sum(0)
        covered += int(inside.any(1).sum())
        recalled += int((distance < edge * synthetic_radius).any(1).sum())
    return {
        "precision": float((balls > 0).double().mean()),
        "recall": recalled / len(real),
        "density": float(balls.double().mean()) / k,
        "coverage": covered / len(real),
    }


def _radii(x: Tensor, k: int) -> Tensor:
    """Distance of each image to its k-th neighbour, [n]; the image itself is the zeroth."""
    return torch.cat([_distances(rows, x).kthvalue(k + 1).values for rows in torch.split(x, CHUNK)])


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances [n, m] in float64; zero between images whose features differ by no more than rounding."""
    x, y = x.double(), y.double()
    scale = x.square().sum(1)[:, None] + y.square().sum(1)  # [n, m]
    squared = scale - 2 * x @ y.T
    return squared.masked_fill(squared < RESOLUTION**2 * scale, 0).sqrt()


def diversity(features: Features) -> float | None:
    """Mean distance between two images of a class, averaged over the classes; None if no class has two."""
    members = [x for x in features.by_class().values() if len(x) > 1]
    means = [_pair_sum(_distances, x, x) / (len(x) * (len(x) - 1)) for x in members]
    return sum(means) / len(means) if means else None


def nearest(x: Tensor, others: Tensor) -> Tensor:
    """Distance of each image to the nearest of the others, [n]."""
    return nearest_neighbours(x, others)[0]


def nearest_neighbours(x: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each image to the nearest of the others, [n], and which of them that is, [n]."""
    found = [_distances(rows, others).min(1) for rows in torch.split(x, CHUNK)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])
