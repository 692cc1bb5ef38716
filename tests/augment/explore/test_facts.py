"""The computations behind the figures of `augment explore`, held to facts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from augment.errors import UserError
from augment.explore.drawing import GAP, grid_of, sheet
from augment.explore.figures.bias import amplify, channel_means, common_part, fit_line
from augment.explore.figures.grid import along, smoothness, steps
from augment.explore.figures.morph import simplex_walk
from augment.explore.figures.offset import offset_top
from augment.explore.figures.path2d import NAMES, path
from augment.explore.figures.quality import compare, expected
from augment.explore.figures.score import load_clip
from augment.explore.figures.std import detail
from augment.explore.figures.text import wrap
from augment.explore.figures.translate import exchange_slice, leftward_shift
from augment.explore.sources import Sources, counts_up_to
from augment.explore.video import frames_of
from augment.images.pixels import to_uint8
from augment.measure.metrics import cosine_distance, frechet_distance
from augment.mix.interpolation import translate
from augment.pretrain.networks import build_tokenizer


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_fitted_slope_is_the_planted_bias() -> None:
    """z_n = d + e_n (Landolsi & Kahl, Section 4.2): fix/0 grows as √N·d, fix/chm stays at d."""
    d = 0.04
    latents = noise(32, 4, 64, 64) + d
    counts = [1, 2, 4, 8, 16, 32]
    grown = [float(channel_means(latents[:n], "0").mean()) for n in counts]
    kept = [float(channel_means(latents[:n], "chm").mean()) for n in counts]
    assert fit_line(np.sqrt(counts), grown).slope == pytest.approx(d, rel=0.1)
    assert fit_line(np.sqrt(counts), grown).r2 > 0.99
    assert fit_line(np.sqrt(counts), kept).slope == pytest.approx(0, abs=d / 20)
    assert kept[-1] == pytest.approx(float(latents.mean()), rel=1e-3)


def test_equation_5_holds_where_the_common_part_is_large() -> None:
    """Latents with a pattern in common: the amplification levels off, as 1 / √(b² + σ²/N) says and √N does not."""
    latents = 0.6 * noise(64, 4, 32, 32) + 0.3 * noise(1, 4, 32, 32, seed=1)
    common = common_part(latents)
    assert (common.square, common.variance) == pytest.approx((0.09, 0.36), rel=0.05)
    for n in (1, 4, 16, 64):
        assert common.amplification(n) == pytest.approx(float(amplify(latents[:n])), rel=0.03)
    assert common.amplification(64) < 0.5 * 64**0.5


def test_a_single_latent_is_all_common_part() -> None:
    latent = noise(1, 2, 4, 4)
    assert common_part(latent).amplification(1) == pytest.approx(float(amplify(latent)))


def test_a_line_through_one_point_is_flat() -> None:
    line = fit_line([3.0], [2.0])
    assert (line.slope, line.intercept) == (0, 2)


def test_offsets_touch_the_top_quarter_of_two_channels_alone() -> None:
    latents = noise(2, 4, 8, 8)
    moved = offset_top(latents, 0.4) - latents
    assert torch.allclose(moved[:, 0, :2], torch.tensor(-0.4)) and torch.allclose(moved[:, 1, :2], torch.tensor(0.4))
    assert not moved[:, 2:].any() and not moved[:, :, 2:].any()
    assert float(moved.mean()) == pytest.approx(0, abs=1e-7)
    assert torch.equal(offset_top(latents, 0), latents)


@pytest.mark.parametrize("name", NAMES)
def test_paths_in_the_plane_end_where_they_should(name: str) -> None:
    p, q = torch.tensor([1.85, 0.1]), torch.tensor([-0.75, 0.75])
    points = path(p, q, name, 51)  # type: ignore[arg-type]
    assert points.shape == (51, 2)
    norms = points.norm(dim=1)
    if name == "fix":  # the one that leaves its ends
        torch.testing.assert_close(norms, torch.full((51,), 2**0.5))
        return
    torch.testing.assert_close(points[[0, -1]], torch.stack([p, q]), atol=1e-5, rtol=0)
    if name == "nin":
        assert q.norm() - 1e-5 < norms.min() and norms.max() < p.norm() + 1e-5
    if name == "slerp":  # past the longer end, though neither end is (paper, Section 3.3)
        assert norms.max() > p.norm() + 0.05


def test_counts_stop_at_what_there_is() -> None:
    assert counts_up_to([2, 8, 32], 100) == [2, 8, 32]
    assert counts_up_to([2, 8, 32], 20) == [2, 8, 20]
    assert counts_up_to([2, 8, 32], 8) == [2, 8]
    assert counts_up_to([8], 5) == [5]


def test_a_method_that_is_no_pair_is_refused() -> None:
    with pytest.raises(UserError, match="method: 'slerp' is no pair of norm and mean adjustment"):
        Sources(noise(2, 4, 8, 8), "x").centroid(range(2), "slerp")  # type: ignore[arg-type]


@pytest.mark.parametrize("centre", [False, True])
def test_the_walk_visits_every_corner_and_comes_back(centre: bool) -> None:
    weights = simplex_walk(4, 6, centre)
    assert weights.shape == (25, 4)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(25))
    assert float(weights.min()) > -1e-6
    torch.testing.assert_close(weights[::6], torch.cat([torch.eye(4), torch.eye(4)[:1]]))
    middle = torch.full((4,), 0.25) if centre else torch.tensor([0.5, 0.5, 0, 0])
    torch.testing.assert_close(weights[3], middle)
    assert float((weights[1:] - weights[:-1]).norm(dim=1).max()) < 0.4


def test_a_slice_is_exchanged_in_place() -> None:
    p, q = noise(2, 4, 8), noise(2, 4, 8, seed=1)
    mixed = exchange_slice(p, q, 3)
    assert torch.equal(mixed[..., :3], q[..., :3]) and torch.equal(mixed[..., 3:], p[..., 3:])
    assert torch.equal(exchange_slice(p, q, 0), translate(p, q, 0))
    assert torch.equal(exchange_slice(p, q, 8), translate(p, q, 8))


@pytest.mark.parametrize("shift", [0, 3, 7])
def test_a_shift_to_the_left_is_measured(shift: int) -> None:
    wide = noise(3, 16, 32)
    assert leftward_shift(wide[..., :16], wide[..., shift : shift + 16]) == shift


@pytest.mark.parametrize("name", ["linear", "normalised", "slerp"])
def test_paths_between_noises(name: str) -> None:
    p, q = noise(2, 4, 64, 64)
    for alpha, end in ((0.0, p), (1.0, q)):
        torch.testing.assert_close(along(p, q, alpha, name), end, atol=1e-5, rtol=1e-5)  # type: ignore[arg-type]
    spread = float(along(p, q, 0.5, name).std())  # type: ignore[arg-type]
    assert spread == pytest.approx(0.5**0.5 if name == "linear" else 1, rel=0.02)


def test_smoothness_of_known_steps() -> None:
    features = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
    rows = [{"sampler": "s", "path": "p", "pair": 0} | row for row in steps(features, [0, 0.5, 1])]
    assert [(row["from"], row["to"], row["step"], row["ends"]) for row in rows] == [(0, 0.5, 3, 5), (0.5, 1, 4, 5)]
    assert smoothness(rows) == {"s, p": {"mean step": 3.5, "worst step": 4.0, "length over distance of the ends": 1.4}}


def test_the_frechet_distance_is_the_closed_form() -> None:
    real, made = noise(200, 5), 2 * noise(150, 5, seed=1) + 1
    a, b = np.cov(real.double().numpy().T), np.cov(made.double().numpy().T)
    gap = (real.double().mean(0) - made.double().mean(0)).square().sum()
    closed = float(gap) + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(real, made) == pytest.approx(closed, rel=1e-3)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-3)


def test_cosine_distance_of_known_directions() -> None:
    made = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    assert cosine_distance(torch.tensor([5.0, 0.0]), made) == pytest.approx((0 + 1 + 2) / 3)


def test_the_papers_order_is_looked_for_in_every_cell() -> None:
    assert expected(["lin/0", "lin/chm", "fix/0", "fix/chm", "nin/0"]) == [("fix/chm", "fix/0"), ("fix/0", "nin/0")]
    near = {"fix/0": 2.0, "fix/chm": 1.0, "nin/0": 3.0}
    rows = [
        {"class": c, "method": m, "N": n, "fd_x": d * n, "cosine distance": -d}
        for c in "ab"
        for m, d in near.items()
        for n in (2, 8)
    ]
    numbers = compare(rows, "fd_x")
    assert list(numbers["fd_x, order at N = 2"]) == ["fix/chm", "fix/0", "nin/0"]
    assert numbers["fd_x, order at N = 8"]["fix/chm"] == 8
    assert numbers["fd_x: fix/0 closer than nin/0, N from 8"] == "2 of 2 cells"
    assert numbers["cosine distance: fix/chm closer than fix/0, N from 8"] == "0 of 2 cells"


def test_a_sheet_places_rows_and_columns() -> None:
    tiles = torch.linspace(-1, 1, 6).view(2, 3, 1, 1, 1).expand(2, 3, 3, 16, 16)
    pixels = sheet(tiles)
    side = 64 + 2 * GAP
    assert pixels.shape == (2 * side, 3 * side, 3)
    for row in range(2):
        for column in range(3):
            inside = pixels[row * side + GAP : (row + 1) * side - GAP, column * side + GAP : (column + 1) * side - GAP]
            assert (inside == to_uint8(tiles[row, column, 0, 0, 0])).all()
    assert (pixels[0] == 255).all() and (pixels[:, 0] == 255).all()


def test_images_in_reading_order_become_rows() -> None:
    assert grid_of(torch.arange(6).view(6, 1), 2).squeeze(-1).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(32, 32, (256, 256)), (17, 17, (272, 272)), (300, 300, (300, 300)), (301, 300, (602, 600))],
)
def test_frames_have_even_sides(height: int, width: int, expected: tuple[int, int]) -> None:
    frames = frames_of(torch.zeros(2, 3, height, width))
    assert frames.shape == (2, *expected, 3) and frames.dtype == torch.uint8


def test_detail_is_what_blur_takes_away() -> None:
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4).expand(1, 3, 8, 8)
    assert detail(board) == 2 and detail(torch.ones(1, 3, 8, 8)) == 0


def test_headings_are_short() -> None:
    assert (wrap("a photo of a cat"), wrap("")) == ("a photo of\na cat", "(empty)")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained CLIP of a few thousand weights, in transformers' folder format."""
    folder, tokenizer = tmp_path_factory.mktemp("clip"), build_tokenizer()
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = size | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPConfig(
            text_config=text, vision_config=size | {"image_size": 16, "patch_size": 8}, projection_dim=8
        )
        CLIPModel(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


@torch.inference_mode()
def test_the_clip_score_is_the_cosine_in_percent(clip: Path) -> None:
    images = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    scores = load_clip(str(clip), torch.device("cpu"))(images, "a digit")
    model, processor = CLIPModel.from_pretrained(clip), CLIPProcessor.from_pretrained(clip)
    inputs = processor(text=["a digit"], images=[to_uint8(images[33])], return_tensors="pt")
    vision = model.visual_projection(model.vision_model(inputs["pixel_values"]).pooler_output)
    text = model.text_projection(model.text_model(inputs["input_ids"], inputs["attention_mask"]).pooler_output)
    cosine = float(torch.cosine_similarity(vision, text))
    assert scores.shape == (40,)
    assert float(scores[33]) == pytest.approx(max(100 * cosine, 0), abs=1e-3)
    assert float(scores.min()) >= 0 and float(scores.max()) > 0


def test_the_interpolation_score_through_the_command(
    clip: Path, model_folder: Path, train_folder: Path, tmp_path: Path
) -> None:
    import json

    from augment.cli import main

    main(
        [
            *("explore", "score", "--output", str(tmp_path), "--device", "cpu", "--score.clip", str(clip)),
            *("--model.backbone", "StableDiffusion", "--model.backbone.model", str(model_folder), "--model.steps", "2"),
            *("--model.inversion.steps", "2", "--source", "augment.images.sources.ImageFolder"),
            *("--source.path", str(train_folder), "--score.images", "4", "--score.pairs", "1"),
        ]
    )
    report = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))
    rows = (tmp_path / "score.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 3 * 4
    for name, mean in report["numbers"]["InterpScore"].items():
        values = [float(row.rsplit(",", 1)[1]) for row in rows if row.startswith(name)]
        assert mean == pytest.approx(np.mean(values), abs=1e-3)
    assert (tmp_path / "score.png").is_file()


@pytest.mark.usefixtures("no_network")
@pytest.mark.usefixtures("no_network")
def test_clip_that_cannot_be_had_names_the_local_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"score\.clip: no network, .*nothing' is not .* or give a local folder"):
        load_clip("nobody/nothing", torch.device("cpu"))
    with pytest.raises(UserError, match=r"score\.clip: there is no folder '.*nothing'; check the path"):
        load_clip(str(tmp_path / "nothing"), torch.device("cpu"))
