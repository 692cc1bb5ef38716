import math

import mpmath
import pytest
import torch
from torch import Tensor

from augment.mix.interpolation import (
    MEANS,
    NORMS,
    SAME,
    Mean,
    Norm,
    adjust_norm,
    blend_noise,
    circle,
    deterministic_part,
    interpolate,
    slerp,
    translate,
)

every_norm = pytest.mark.parametrize("norm", NORMS)
every_mean = pytest.mark.parametrize("mean", MEANS)
COUNT = 4
SHAPE = (3, 8, 6)
NOMINAL = math.sqrt(math.prod(SHAPE))


def sources(count: int = COUNT, shape: tuple[int, int, int] = SHAPE, offset: float = 0.3, seed: int = 0) -> Tensor:
    """Gaussian latents whose channels have means of their own, as inverted images have."""
    generator = torch.Generator().manual_seed(seed)
    common = offset * torch.arange(1, shape[0] + 1).view(1, -1, 1, 1)
    return torch.randn(count, *shape, generator=generator) + common


def weights(count: int = COUNT, seed: int = 1) -> Tensor:
    w = torch.rand(count, generator=torch.Generator().manual_seed(seed)) + 0.05
    return w / w.sum()


def one_hot(position: int, count: int = COUNT) -> Tensor:
    return torch.eye(count)[position]


def noise_part(z: Tensor, mean: Mean) -> Tensor:
    return z - deterministic_part(z, mean)


@every_mean
@pytest.mark.parametrize("norm", [n for n in NORMS if n != "fix"])
@pytest.mark.parametrize("position", range(COUNT))
def test_one_hot_weights_return_the_source(norm: Norm, mean: Mean, position: int) -> None:
    z = sources()
    torch.testing.assert_close(interpolate(z, one_hot(position), norm, mean), z[position], atol=1e-5, rtol=1e-5)


@every_mean
def test_fix_forgets_the_norm_of_a_one_hot_source(mean: Mean) -> None:
    z = 2 * sources()
    assert (interpolate(z, one_hot(1), "fix", mean) - z[1]).abs().max() > 0.5


@every_norm
def test_chm_keeps_the_weighted_channel_means(norm: Norm) -> None:
    z, w = sources(), weights()
    expected = torch.einsum("n,nc->c", w, z.mean(dim=(2, 3)))
    torch.testing.assert_close(interpolate(z, w, norm, "chm").mean(dim=(1, 2)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", ["fix", "nin", "cog", "ada"])
def test_without_mean_adjustment_the_channel_means_drift(norm: Norm) -> None:
    z, w = sources(), weights()
    expected = torch.einsum("n,nc->c", w, z.mean(dim=(2, 3)))
    assert (interpolate(z, w, norm, "0").mean(dim=(1, 2)) - expected).abs().max() > 0.05


@every_norm
def test_m_keeps_the_weighted_global_mean(norm: Norm) -> None:
    z, w = sources(), weights()
    expected = (w * z.mean(dim=(1, 2, 3))).sum()
    torch.testing.assert_close(interpolate(z, w, norm, "m").mean(), expected, atol=1e-5, rtol=1e-5)


@every_norm
def test_lp_keeps_the_weighted_channel_means(norm: Norm) -> None:
    """The low-pass part holds each channel's mean, as chm's does."""
    z, w = sources(), weights()
    expected = torch.einsum("n,nc->c", w, z.mean(dim=(2, 3)))
    torch.testing.assert_close(interpolate(z, w, norm, "lp").mean(dim=(1, 2)), expected, atol=1e-5, rtol=1e-5)


@every_norm
@every_mean
def test_order_of_the_sources_does_not_matter(norm: Norm, mean: Mean) -> None:
    z, w = sources(), weights()
    order = [2, 0, 3, 1]
    torch.testing.assert_close(
        interpolate(z[order], w[order], norm, mean), interpolate(z, w, norm, mean), atol=1e-5, rtol=1e-5
    )


@every_norm
@every_mean
def test_half_precision_input_is_mixed_in_float32(norm: Norm, mean: Mean) -> None:
    z, w = sources().half(), weights()
    mixed = interpolate(z, w, norm, mean)
    assert mixed.dtype == torch.float32
    assert mixed.shape == SHAPE
    assert torch.equal(mixed, interpolate(z.float(), w, norm, mean))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_weights_of_any_precision_are_taken(dtype: torch.dtype) -> None:
    z, w = sources(), torch.tensor([0.5, 0.25, 0.125, 0.125])
    assert torch.equal(interpolate(z, w.to(dtype), "nin", "chm"), interpolate(z, w, "nin", "chm"))


@every_mean
def test_the_part_lies_where_the_latents_lie(mean: Mean) -> None:
    """On the device that holds no numbers, since every machine has it."""
    assert deterministic_part(sources().to("meta"), mean).device.type == "meta"


@every_norm
def test_no_norm_changes_the_direction(norm: Norm) -> None:
    e, w = sources(offset=0), weights()
    mixed, adjusted = interpolate(e, w, "lin", "0").flatten(), adjust_norm(e, w, norm).flatten()
    assert torch.cosine_similarity(mixed, adjusted, dim=0) == pytest.approx(1, abs=1e-6)


@every_mean
def test_lin_is_the_weighted_sum_whatever_the_mean(mean: Mean) -> None:
    z, w = sources(), weights()
    torch.testing.assert_close(interpolate(z, w, "lin", mean), (w.view(-1, 1, 1, 1) * z).sum(0), atol=1e-5, rtol=1e-5)


@every_mean
def test_norm_of_fix_is_nominal(mean: Mean) -> None:
    e = noise_part(sources(), mean)
    assert adjust_norm(e, weights(), "fix").norm() == pytest.approx(NOMINAL, rel=1e-5)


@every_mean
def test_norm_of_nin_is_the_mean_norm(mean: Mean) -> None:
    e, w = noise_part(sources(), mean), weights()
    expected = sum(float(w_n * e_n.norm()) for w_n, e_n in zip(w, e, strict=True))
    assert adjust_norm(e, w, "nin").norm() == pytest.approx(expected, rel=1e-5)


def test_norm_of_cog_is_nearly_nominal_for_gaussians() -> None:
    """The relative spread of a norm of L Gaussian numbers is 1 / sqrt(2 L): 0.6 % here, held to six of it."""
    shape = (4, 64, 64)
    mixed = adjust_norm(sources(shape=shape, offset=0), weights(), "cog")
    assert mixed.norm() == pytest.approx(math.sqrt(math.prod(shape)), rel=0.036)
    assert interpolate(sources(shape=shape, offset=0), weights(), "lin", "0").norm() < 0.8 * mixed.norm()


def test_cog_is_the_weighted_sum_over_the_root_of_squared_weights() -> None:
    z = sources(2)
    for w in (0.1, 0.5, 0.8):
        expected = (w * z[0] + (1 - w) * z[1]) / math.sqrt(w**2 + (1 - w) ** 2)
        torch.testing.assert_close(interpolate(z, torch.tensor([w, 1 - w]), "cog", "0"), expected, atol=1e-5, rtol=1e-5)


@every_mean
def test_ada_is_nin_at_a_source_and_fix_at_the_centroid(mean: Mean) -> None:
    z = 1.5 * sources()
    centroid = torch.full((COUNT,), 1 / COUNT)
    near, far = interpolate(z, one_hot(2), "ada", mean), interpolate(z, centroid, "ada", mean)
    torch.testing.assert_close(near, interpolate(z, one_hot(2), "nin", mean), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(far, interpolate(z, centroid, "fix", mean), atol=1e-5, rtol=1e-5)
    # Only where the two norms differ does the fact above say anything.
    assert (far - interpolate(z, centroid, "nin", mean)).abs().max() > 0.1


@pytest.mark.parametrize("count", [2, 3, COUNT])
def test_norm_of_ada_lies_between_those_of_fix_and_nin(count: int) -> None:
    e, w = 1.5 * sources(count, offset=0), weights(count)
    s = (count * float(w.square().sum()) - 1) / (count - 1)
    expected = s * float((w * e.flatten(1).norm(dim=1)).sum()) + (1 - s) * NOMINAL
    assert 0 < s < 1
    assert adjust_norm(e, w, "ada").norm() == pytest.approx(expected, rel=1e-5)


@every_mean
@pytest.mark.parametrize("norm", [n for n in NORMS if n != "fix"])
def test_a_single_source_is_returned(norm: Norm, mean: Mean) -> None:
    z = sources(1)
    torch.testing.assert_close(interpolate(z, torch.ones(1), norm, mean), z[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [4, 16, 64])
def test_bias_of_fix_grows_with_the_sources_and_chm_stops_it(count: int) -> None:
    """Landolsi & Kahl, Eq. 9: sqrt(N) d for small d without mean adjustment, d with it.

    The channel mean of L_c = 4096 Gaussian numbers of unit variance has a deviation of 1 / 64; four of it.
    """
    d, shape = 0.03, (4, 64, 64)
    z = sources(count, shape, offset=0, seed=count) + d
    w = torch.full((count,), 1 / count)
    plain = interpolate(z, w, "fix", "0").mean(dim=(1, 2))
    # Channel means of the sources themselves are d only up to 1 / (64 sqrt N); Eq. 9 multiplies them by sqrt N.
    assert plain.mean() == pytest.approx(math.sqrt(count) * d / math.sqrt(1 + count * d**2), abs=4 / 128)
    assert interpolate(z, w, "fix", "chm").mean(dim=(1, 2)) == pytest.approx(
        torch.full((4,), d), abs=4 / (64 * math.sqrt(count))
    )
    if count == 64:
        assert plain.mean() > 5 * d


@every_mean
def test_parts_add_up_and_splitting_twice_leaves_nothing(mean: Mean) -> None:
    z = sources()
    e = noise_part(z, mean)
    torch.testing.assert_close(deterministic_part(z, mean) + e, z)
    assert deterministic_part(e, mean).abs().max() < 1e-5


def test_low_pass_keeps_one_wave_and_drops_two() -> None:
    x = torch.arange(8) / 8 * 2 * math.pi
    one, two = x.cos().expand(1, 1, 8, 8), (2 * x).cos().expand(1, 1, 8, 8)
    torch.testing.assert_close(deterministic_part(one, "lp"), one, atol=1e-5, rtol=0)
    assert deterministic_part(two, "lp").abs().max() < 1e-5
    assert deterministic_part(two.mT, "lp").abs().max() < 1e-5


@pytest.mark.parametrize(("side", "percent"), [(1, 100), (2, 100), (3, 100), (4, 56), (8, 14), (16, 3.5), (64, 0.22)])
def test_low_pass_takes_the_share_of_coefficients_that_it_keeps(side: int, percent: float) -> None:
    """The energy of white noise is spread evenly over H * W coefficients, of which 3 * 3 are kept (all, if fewer).

    The energy of k Gaussian numbers has the relative deviation sqrt(2 / k); five of it.
    """
    kept = min(side, 3) ** 2
    noise = sources(64, (8, side, side), offset=0)
    share = float(deterministic_part(noise, "lp").square().sum() / noise.square().sum())
    assert 100 * kept / side**2 == pytest.approx(percent, rel=0.02)
    assert share == pytest.approx(kept / side**2, rel=5 * math.sqrt(2 / (64 * 8 * kept)))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 7), (2, 6), (1, 4)])
def test_low_pass_is_a_projection_onto_the_coefficients_that_it_keeps(height: int, width: int) -> None:
    """Its trace, the sum over unit pixels of what each keeps of itself, is the dimension of what it projects on."""
    pixels = torch.eye(height * width).view(-1, 1, height, width)
    trace = float((deterministic_part(pixels, "lp") * pixels).sum())
    assert trace == pytest.approx(min(height, 3) * min(width, 3), abs=1e-4)


@every_norm
def test_opposite_sources_give_no_nan(norm: Norm) -> None:
    z = torch.stack([sources(1)[0], -sources(1)[0]])
    assert interpolate(z, torch.tensor([0.5, 0.5]), norm, "0").isfinite().all()


@pytest.mark.parametrize(
    "w", [[0.5, 0.5, 0.5, 0.5], [1.2, -0.2, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2], [math.nan, 0.5, 0.5, 0.0]]
)
def test_weights_must_be_convex(w: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be non-negative with sum 1"):
        interpolate(sources(), torch.tensor(w), "nin", "chm")


@pytest.mark.parametrize(("shape", "count"), [((4, 8, 8), 4), ((3, 4, 8, 8), 4), ((1, 2, 4, 8, 8), 1)])
def test_shapes_must_fit(shape: tuple[int, ...], count: int) -> None:
    with pytest.raises(ValueError, match=r"expected latents \[N, C, H, W\] and weights \[N\]"):
        interpolate(torch.zeros(shape), torch.full((count,), 1 / count), "nin", "chm")


def unit_pair() -> tuple[Tensor, Tensor]:
    p, q = sources(2, offset=0)
    return p / p.norm(), q / q.norm()


def test_slerp_hits_both_ends() -> None:
    p, q = 2 * sources(2)
    torch.testing.assert_close(slerp(p, q, 0.0), p)
    torch.testing.assert_close(slerp(p, q, 1.0), q)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_slerp_of_unit_vectors_moves_evenly_on_the_sphere(t: float) -> None:
    p, q = unit_pair()
    middle = slerp(p, q, t)
    theta = math.acos(float((p * q).sum()))
    assert middle.norm() == pytest.approx(1, abs=1e-5)
    assert math.acos(float((p * middle).sum())) == pytest.approx(t * theta, abs=1e-3)


def test_slerp_of_parallel_vectors_is_linear() -> None:
    p, _ = unit_pair()
    torch.testing.assert_close(slerp(p, 3 * p, 0.25), 1.5 * p)


def test_slerp_of_half_precision_is_float32() -> None:
    p, q = unit_pair()
    assert slerp(p.half(), q.half(), 0.5).dtype == torch.float32


def test_circle_passes_both_points_and_the_antipode() -> None:
    p, q = unit_pair()
    theta = math.acos(float((p * q).sum()))
    torch.testing.assert_close(circle(p, q, 0.0), p)
    torch.testing.assert_close(circle(p, q, -theta), q, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(circle(p, q, math.pi), -p, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("phi", [-3.0, -0.4, 1.0, 2.5])
def test_circle_stays_on_the_sphere_at_the_given_angle(phi: float) -> None:
    p, q = unit_pair()
    point = circle(p, q, phi)
    assert point.norm() == pytest.approx(1, abs=1e-5)
    assert float((p * point).sum()) == pytest.approx(math.cos(phi), abs=1e-5)


def test_circle_and_slerp_agree_between_the_points() -> None:
    p, q = unit_pair()
    theta = math.acos(float((p * q).sum()))
    torch.testing.assert_close(circle(p, q, -0.3 * theta), slerp(p, q, 0.3), atol=1e-5, rtol=1e-5)


# Against 50 digits: vectors near to each other and to each other's opposite.


def nearby(distance: float, sign: int = 1) -> tuple[Tensor, Tensor]:
    """Latents p and q in float32, q at a relative distance from p (or from -p): a little longer, and turned."""
    p, other = sources(2, offset=0)
    return p, sign * (p + distance * (other + 0.1 * p))


def exact(p: Tensor, q: Tensor, kind: str, share: float) -> list[float]:
    """`slerp` or `circle` as their formulas say, with 50 digits; where they say nothing, the line and p."""
    with mpmath.workdps(50):
        a, b = ([mpmath.mpf(x) for x in z.flatten().tolist()] for z in (p, q))
        theta = mpmath.acos(mpmath.fdot(a, b) / mpmath.sqrt(mpmath.fdot(a, a) * mpmath.fdot(b, b)))
        flat = min(theta, mpmath.pi - theta) <= SAME
        if kind == "slerp":
            of_p, of_q = (1 - share, share) if flat else (mpmath.sin((1 - share) * theta), mpmath.sin(share * theta))
        else:
            of_p, of_q = (1, 0) if flat else (mpmath.sin(theta + share), -mpmath.sin(share))
        scale = 1 if flat else mpmath.sin(theta)
        return [float((of_p * x + of_q * y) / scale) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("distance", [0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 0])
@pytest.mark.parametrize("kind", ["slerp", "circle"])
def test_slerp_and_circle_are_exact_however_near_the_two_are(kind: str, distance: float, sign: int) -> None:
    p, q = nearby(distance, sign)
    for share in (0.3, 0.9) if kind == "slerp" else (-2.0, 0.5, 3.0):
        found = slerp(p, q, share) if kind == "slerp" else circle(p, q, share)
        expected = torch.tensor(exact(p, q, kind, share)).view_as(found)
        # Float32 holds a result to 6e-8 of its largest number, float64 the angle to 1e-16 of a radian.
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("distance", [1e-2, 1e-3, 1e-4, 1e-5])
def test_the_circle_of_two_near_vectors_of_one_norm_keeps_it(distance: float) -> None:
    """Their norms are equal to float32's rounding, 6e-8, which the ellipse magnifies by one over the distance."""
    p, q = nearby(distance)
    q = q * (p.norm() / q.norm())
    for phi in torch.linspace(0, 2 * math.pi, 9).tolist():
        assert circle(p, q, phi).norm() == pytest.approx(float(p.norm()), rel=1e-6 + 2e-7 / distance)


@pytest.mark.parametrize("scale", [1, -1, 3, -0.5])
def test_where_there_is_no_circle_the_source_is_returned(scale: float) -> None:
    p, _ = sources(2, offset=0)
    assert torch.equal(circle(p, scale * p, 1.0), p)
    assert torch.equal(slerp(p, scale * p, 0.0), p)


def test_vectors_without_a_direction_give_no_nan() -> None:
    p, zero = sources(1)[0], torch.zeros(SHAPE)
    for a, b in ((p, zero), (zero, p), (zero, zero)):
        assert circle(a, b, 1.0).isfinite().all()
        assert slerp(a, b, 0.5).isfinite().all()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_blended_noise_has_the_direction_of_the_sum_and_the_mean_of_the_norms(share: float) -> None:
    z, noise = 2 * sources(1)[0], sources(1, seed=1, offset=0)[0]
    blended = blend_noise(z, noise, share)
    direction = (1 - share) * z + share * noise
    assert torch.cosine_similarity(blended.flatten(), direction.flatten(), dim=0) == pytest.approx(1, abs=1e-6)
    assert blended.norm() == pytest.approx((1 - share) * float(z.norm()) + share * float(noise.norm()), rel=1e-5)


def test_translate_slides_from_one_to_the_other() -> None:
    p, q = sources(2)
    width = p.shape[-1]
    assert torch.equal(translate(p, q, 0), p)
    assert torch.equal(translate(p, q, width), q)
    assert torch.equal(translate(p, q, 2), torch.cat([p[..., 2:], q[..., :2]], dim=-1))


@pytest.mark.parametrize("shift", [-1, 7])
def test_translate_refuses_a_window_outside(shift: int) -> None:
    p, q = sources(2)
    with pytest.raises(ValueError, match=f"shift must lie between 0 and the width 6, got {shift}"):
        translate(p, q, shift)
