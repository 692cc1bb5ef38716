"""How are N latents mixed into one? The interpolations of Landolsi & Kahl and their rivals, as pure functions.

Notation (Landolsi & Kahl, Sections 3 and 5; L = C * H * W):
    z [N, C, H, W]  source latents z_n = d_n + e_n
    w [N]           weights, w_n >= 0 and sum 1
    d, e            deterministic and noise part; the mean adjustment tells them apart
    d', e', z'      their mixtures, z' = d' + e'

All results are float32, whatever the precision of the input.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Norm = Literal["lin", "fix", "nin", "cog", "ada"]
Mean = Literal["0", "m", "chm", "lp"]
NORMS: tuple[Norm, ...] = get_args(Norm)
MEANS: tuple[Mean, ...] = get_args(Mean)


def interpolate(z: Tensor, w: Tensor, norm: Norm, mean: Mean) -> Tensor:
    """Mix source latents: the deterministic parts linearly, the noise parts with their norm adjusted.

    Args:
        z: Source latents [N, C, H, W].
        w: Weights [N], non-negative, with sum 1.
        norm: Norm adjustment of e' = sum w_n e_n, see `adjust_norm`.
        mean: Mean adjustment that splits z_n into d_n + e_n, see `deterministic_part`.

    Returns:
        z' = d' + e' as float32 [C, H, W] (Landolsi & Kahl, Section 5).

    Raises:
        ValueError: If the shapes do not fit or the weights are not convex.

    Example:
        >>> import augment, torch
        >>> z = torch.randn(3, 4, 64, 64)  # three latents of Stable Diffusion 1.5
        >>> mixed = augment.interpolate(z, torch.tensor([0.5, 0.3, 0.2]), norm="nin", mean="chm")
        >>> mixed.shape
        torch.Size([4, 64, 64])
    """
    if z.ndim != 4 or w.shape != (len(z),):
        raise ValueError(f"expected latents [N, C, H, W] and weights [N], got {tuple(z.shape)} and {tuple(w.shape)}")
    z, w = z.float(), w.to(z.device, torch.float32)
    if bool((w < 0).any()) or not abs(float(w.sum()) - 1) <= 1e-4:  # also refuses NaN
        raise ValueError(f"weights must be non-negative with sum 1, got {w.tolist()}")
    d = deterministic_part(z, mean)
    return _mix(d, w) + adjust_norm(z - d, w, norm)


def deterministic_part(z: Tensor, mean: Mean) -> Tensor:
    """The part d of each latent that is no noise (Landolsi & Kahl, Section 5, options 1 to 4).

    `0`: nothing; `m`: the mean over channels and space; `chm`: the mean of each channel; `lp`: a low-pass
    filter that keeps the waves of at most one cycle per latent height and width (`chm` keeps zero cycles).

    `lp` takes the same waves whatever the size: min(H, 3) * min(W, 3) of each channel's H * W Fourier coefficients.
    That is also the share of white noise's energy that it counts as d, and mixes linearly: 0.2 % at 64x64, but 14 %
    at 8x8, 56 % at 4x4 and all of it at 3x3 and less, where nothing is left for a norm to adjust (`chm`: 1 / (H * W)).

    Args:
        z: Latents [N, C, H, W].
        mean: Which part.

    Returns:
        d, broadcastable to [N, C, H, W].
    """
    match mean:
        case "0":
            return torch.zeros_like(z)
        case "m":
            return z.mean(dim=(1, 2, 3), keepdim=True)  # [N, 1, 1, 1]
        case "chm":
            return z.mean(dim=(2, 3), keepdim=True)  # [N, C, 1, 1]
        case "lp":
            height, width = z.shape[-2:]
            waves = torch.fft.rfft2(z)  # [N, C, H, W // 2 + 1]
            rows = torch.fft.fftfreq(height, 1 / height, device=z.device).abs() <= 1
            columns = torch.fft.rfftfreq(width, 1 / width, device=z.device) <= 1
            return torch.fft.irfft2(waves * (rows[:, None] & columns), s=(height, width))


def adjust_norm(e: Tensor, w: Tensor, norm: Norm) -> Tensor:
    """The norm-adjusted mixture e' of noise parts; no norm changes the direction of sum w_n e_n.

    `lin`: as it is (Eq. 1). `fix`: norm sqrt(L) (Eq. 2). `nin`: norm sum w_n |e_n| (Eq. 4). `cog`: divided by
    sqrt(sum w_n^2), which restores unit variance for independent Gaussian e_n (Bodin et al.). `ada`: our answer to
    the paper's open question, a norm between those of `nin` and `fix` that is nin's for one-hot weights and fix's
    at the centroid: s * sum w_n |e_n| + (1 - s) * sqrt(L), s = (N * sum w_n^2 - 1) / (N - 1).

    Args:
        e: Noise parts [N, C, H, W].
        w: Weights [N].
        norm: Which adjustment.

    Returns:
        e' [C, H, W].
    """
    mixed = _mix(e, w)  # [C, H, W]
    if norm == "lin":
        return mixed
    squares = w.square().sum()
    if norm == "cog":
        return mixed / squares.sqrt()
    nominal = float(mixed.numel()) ** 0.5
    sources = (w * e.flatten(1).norm(dim=1)).sum()
    match norm:
        case "fix":
            target = torch.full_like(sources, nominal)
        case "nin":
            target = sources
        case "ada":
            n = len(w)
            s = (n * squares - 1) / (n - 1) if n > 1 else torch.ones_like(squares)
            target = s * sources + (1 - s) * nominal
    return mixed / mixed.norm().clamp_min(torch.finfo(torch.float32).tiny) * target


def _mix(parts: Tensor, w: Tensor) -> Tensor:
    return torch.einsum("n,nchw->chw", w, parts)


SAME = torch.finfo(torch.float32).eps
"""Directions closer than this angle, in radians, are one: rounding to float32 turns a vector by as much."""


def slerp(p: Tensor, q: Tensor, t: float) -> Tensor:
    """Spherical linear interpolation of two tensors of one shape (Landolsi & Kahl, Eq. 3).

    The angle is taken between the directions, so inputs of unequal norm are allowed. Inputs of the same or of
    opposite direction, which have no arc or many, are mixed linearly. Computed in float64.
    """
    p, q = p.double(), q.double()
    theta = _angle(p, q)
    if _no_plane(theta):
        return ((1 - t) * p + t * q).float()
    return ((math.sin((1 - t) * theta) * p + math.sin(t * theta) * q) / math.sin(theta)).float()


def circle(p: Tensor, q: Tensor, phi: float) -> Tensor:
    """The point at angle `phi` past p on the great circle through p and q, away from q (Diff-II; alpha = phi / theta).

    Unlike `slerp` it leaves the arc between the two: phi = 0 gives p, phi = -theta gives q, and phi = pi gives -p.
    For unequal norms the circle is the ellipse through these points. Inputs of the same or of opposite direction
    have no circle: the result is p. Computed in float64.
    """
    p, q = p.double(), q.double()
    theta = _angle(p, q)
    if _no_plane(theta):
        return p.float()
    return ((math.sin(theta + phi) * p - math.sin(phi) * q) / math.sin(theta)).float()


def blend_noise(z: Tensor, noise: Tensor, share: float) -> Tensor:
    """A latent blended with noise, the norm interpolated between theirs (TINT, Landolsi & Kahl 2024).

    The direction is that of (1 - a) z + a eps, the root mean square (1 - a) rms(z) + a rms(eps), a being the share:
    `nin` with the weights 1 - a and a.
    """
    return interpolate(torch.stack([z, noise]), torch.tensor([1 - share, share]), "nin", "0")


def translate(p: Tensor, q: Tensor, shift: int) -> Tensor:
    """The window of width W that starts at column `shift` of p and q side by side: [C, H, W], 0 <= shift <= W."""
    width = p.shape[-1]
    if not 0 <= shift <= width:
        raise ValueError(f"shift must lie between 0 and the width {width}, got {shift}")
    return torch.cat([p, q], dim=-1)[..., shift : shift + width].float()


def _angle(p: Tensor, q: Tensor) -> float:
    """The angle between two directions in [0, pi]; unlike the arc cosine exact to rounding near both ends."""
    tiny = torch.finfo(torch.float64).tiny
    u, v = p / p.norm().clamp_min(tiny), q / q.norm().clamp_min(tiny)
    return 2 * math.atan2(float((u - v).norm()), float((u + v).norm()))


def _no_plane(theta: float) -> bool:
    return min(theta, math.pi - theta) <= SAME
