"""`augment explore`: every figure through the command, at a tiny size, on untrained models."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_families import save_pixel, save_sd3

from augment.cli import main
from augment.errors import UserError
from augment.explore.explorer import Explorer
from augment.explore.figures.grid import Grid
from augment.explore.figures.registry import FIGURES
from augment.explore.figures.text import Text
from augment.images.sources import ImageFolder
from augment.inversion.inversion import Inversion
from augment.synthesis.synthesizer import Synthesizer

Fails = Callable[..., str]
DRAWN = [name for name in FIGURES if name != "score"]  # CLIP is not to be had


def options(model: Path, images: Path, extractor: Path, output: Path, family: str = "StableDiffusion") -> list[str]:
    return [
        *("--output", str(output), "--device", "cpu", "--batch_size", "8"),
        *("--model.backbone", family, "--model.backbone.model", str(model)),
        *("--model.steps", "2", "--model.inversion.steps", "2", "--model.inversion.warn_psnr", "0"),
        *("--source", "augment.images.sources.ImageFolder", "--source.path", str(images)),
        *("--extractor", f"local-dir:{extractor}"),
        *("--strip.counts", "[2, 3, 9]", "--bias.counts", "[1, 2, 4]", "--bias.draws", "3"),
        *("--offset.samples", "1", "--quality.counts", "[2, 3]", "--quality.images", "3"),
        *("--quality.methods", "[fix/0, fix/chm, nin/chm]", "--quality.classes", "[green.leaf, rød]"),
        *("--grid.columns", "3", "--grid.samples", "2", "--grid.rows", "1"),
        *("--morph.inputs", "3", "--morph.frames", "8", "--translate.columns", "3", "--translate.samples", "1"),
        *("--text.columns", "3", "--text.samples", "2", "--std.scales", "[0.5, 1, 1.5]", "--std.samples", "1"),
    ]


@pytest.fixture(scope="module")
def gallery(
    model_folder: Path, train_folder: Path, extractor_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder that `augment explore all` wrote."""
    folder = tmp_path_factory.mktemp("explore") / "all"
    main(["explore", "all", *options(model_folder, train_folder, extractor_folder, folder)])
    return folder


def report(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_leaves_pictures_a_table_and_a_report(gallery: Path, name: str) -> None:
    found = report(gallery, name)
    assert found["command"].startswith(f"augment explore {name} --output ")
    assert found["look_for"] and found["numbers"]
    assert len(table(gallery, name)) > 2
    for picture in found["pictures"]:
        if picture.endswith(".png"):
            with Image.open(gallery / picture) as image:
                assert image.width > 150 and len(image.convert("RGB").getcolors(1 << 20) or []) > 5


def test_the_page_shows_every_figure_and_says_what_is_left_out(gallery: Path) -> None:
    page = (gallery / "index.html").read_text(encoding="utf-8")
    for name in DRAWN:
        assert f'id="{name}"' in page
        for file in (*report(gallery, name)["pictures"], *report(gallery, name)["tables"]):
            assert f'"{file}"' in page and (gallery / file).is_file()
        assert report(gallery, name)["look_for"].replace("'", "&#39;") in page
    assert 'id="score"' not in page
    assert "score.clip: no network" in page and "or give a local folder" in page
    assert "http" not in page.replace("couldn&#39;t connect to &#39;https://huggingface.co", "")


def test_the_strip_takes_as_many_images_as_there_are(gallery: Path) -> None:
    rows = table(gallery, "strip")
    assert [row["N"] for row in rows if row["method"] == "fix/0"] == ["2", "3", "5"]  # 9 are not to be had
    norms = {row["method"]: float(row["norm/√L"]) for row in rows if row["N"] == "5"}
    assert norms["fix/0"] == 1
    assert norms["lin/0"] < norms["nin/chm"]


def test_bias_of_chm_stays_and_that_of_nothing_is_amplified(gallery: Path) -> None:
    rows = table(gallery, "bias")
    assert len(rows) == 3 * 2 * 3 * 4  # classes, methods, N, channels
    for row in rows:
        if row["method"] == "fix/chm" and row["N"] == "4":
            assert float(row["channel mean"]) == pytest.approx(float(row["d"]), abs=0.1)
    numbers = report(gallery, "bias")["numbers"]
    assert numbers["classes"] == 3
    assert numbers["fix/0: amplification √L/|centroid|"]["4"] > numbers["fix/0: amplification √L/|centroid|"]["1"]


def test_offset_zero_changes_nothing(gallery: Path) -> None:
    numbers = report(gallery, "offset")["numbers"]
    assert set(numbers["t = T, b = 0"].values()) == set(numbers["t = 0, b = 0"].values()) == {0.0}
    assert (
        numbers["t = 0, b = 0.8"]["change of the top quarter"] > numbers["t = 0, b = 0.1"]["change of the top quarter"]
    )


def test_quality_names_the_extractor_and_the_papers_order(gallery: Path) -> None:
    rows = table(gallery, "quality")
    assert len(rows) == 2 * 3 * 2  # classes, methods, N
    assert {"fd_tinynet", "cosine distance"} < rows[0].keys()
    numbers = report(gallery, "quality")["numbers"]
    assert sorted(numbers["fd_tinynet, order at N = 3"]) == ["fix/0", "fix/chm", "nin/chm"]
    assert numbers["fd_tinynet: fix/chm closer than fix/0, N from 2"].endswith(" of 4 cells")


def test_ddim_is_the_same_twice_and_ddpm_with_the_same_seed_alone(gallery: Path) -> None:
    numbers = report(gallery, "grid")["numbers"]
    assert numbers["two runs are equal"] == {
        "DDPM (η = 1), same seed": True,
        "DDPM (η = 1), another seed": False,
        "DDIM (η = 0), same seed": True,
        "DDIM (η = 0), another seed": True,
    }
    assert len(table(gallery, "grid")) == 2 * 3 * 2 * 2  # samplers, paths, pairs, steps
    assert set(numbers["DDPM over DDIM"]) == {"linear", "normalised", "slerp"}


def test_the_film_has_a_frame_per_row_of_weights(gallery: Path) -> None:
    import av

    frames = len(table(gallery, "morph"))
    assert frames == 3 * 8 + 1
    with av.open(str(gallery / "morph.mp4")) as container:
        decoded = list(container.decode(video=0))
    assert (len(decoded), decoded[0].width, decoded[0].height) == (frames, 256, 256)
    with Image.open(gallery / "morph.gif") as film:
        assert film.format == "GIF" and film.is_animated


def test_one_figure_is_drawn_alone(
    model_folder: Path, train_folder: Path, extractor_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["explore", "path2d", *options(model_folder, train_folder, extractor_folder, tmp_path / "out")])
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["path2d.csv", "path2d.json", "path2d.png"]
    printed = capsys.readouterr().out
    assert str(tmp_path / "out" / "path2d.png") in printed and "look for: " in printed


def test_help_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explore", "--help", "all"])
    out = capsys.readouterr().out
    for name, figure in FIGURES.items():
        assert f"  {name:<10} {figure.shows}\n" in out
        assert f"--{name}." in out


@pytest.fixture
def explorer(model_folder: Path, train_folder: Path, tmp_path: Path) -> Explorer:
    return explore_with(model_folder, train_folder, tmp_path)


def explore_with(model: Path, images: Path, folder: Path, **settings: Any) -> Explorer:
    from augment.backbones.stable_diffusion import StableDiffusion

    inversion = Inversion(steps=2, warn_psnr=0, **settings)
    synthesizer = Synthesizer(StableDiffusion(str(model)), inversion, steps=2, prompt="a {class}", guidance=2.0)
    return Explorer(synthesizer, ImageFolder(images), folder, device="cpu", batch_size=3)


def test_noise_depends_on_its_number_alone(explorer: Explorer) -> None:
    assert torch.equal(explorer.noise(5)[:2], explorer.noise(2))
    assert not torch.equal(explorer.noise(1), explorer.noise(1, stream=1))


def test_generated_sources_are_the_inversions_of_perturbed_images(explorer: Explorer) -> None:
    plain, perturbed = (explorer.generated("rød", 4, amount) for amount in (0.0, 0.1))
    assert plain.latents.shape == (4, *explorer.backbone.latent_shape)
    assert plain.prompt == "a rød"
    assert not torch.equal(plain.latents, perturbed.latents)
    torch.testing.assert_close(perturbed.latents[:2], explorer.generated("rød", 2, 0.1).latents, atol=1e-4, rtol=0)


def test_null_text_embeddings_are_mixed_with_the_latents(
    model_folder: Path, train_folder: Path, tmp_path: Path
) -> None:
    explorer = explore_with(model_folder, train_folder, tmp_path, kind="null-text", guidance=2.0, iterations=1)
    sources = explorer.real(["rød"])["rød"]
    assert sources.unconditional is not None
    start = sources.centroid(range(4), "nin/0")
    assert start.unconditional is not None
    torch.testing.assert_close(start.unconditional[0], sources.unconditional[:4].mean(dim=0))
    assert explorer.images([start] * 4).shape == (4, 3, 16, 16)


def test_the_ends_of_a_text_path_are_what_the_prompts_give(explorer: Explorer) -> None:
    """Our loop over mixed embeddings against the backbone's own over prompts, with guidance."""
    from augment.backbones.start import Start

    noise = explorer.noise(2)
    path = Text(columns=3, samples=2).path(explorer, noise, ("a rød", "a sky")).view(2, 3, *noise.shape[1:])
    for column, prompt in ((0, "a rød"), (2, "a sky")):
        torch.testing.assert_close(path[:, column], explorer.denoise(Start(noise, (prompt,) * 2)))
    assert not torch.equal(path[:, 1], path[:, 0])


def test_a_path_between_images_joins_the_first_two_of_each_class(explorer: Explorer) -> None:
    p, q, prompts = Grid(between="images", samples=2).ends(explorer)
    for n, name in enumerate(("blue sky", "green.leaf")):
        latents = explorer.real([name])[name].latents
        assert torch.equal(p[n], latents[0]) and torch.equal(q[n], latents[1])
    assert prompts == ("a blue sky", "a green.leaf")
    explorer.shots = 1
    explorer._real.clear()
    with pytest.raises(UserError, match=r"grid\.between: a class has one image only; raise `shots` or join noise"):
        Grid(between="images", samples=2).ends(explorer)


def test_a_flow_model_has_no_ddpm(train_folder: Path, extractor_folder: Path, tmp_path: Path) -> None:
    model = save_sd3(tmp_path / "sd3")
    args = options(model, train_folder, extractor_folder, tmp_path / "out", "StableDiffusion3")
    main(["explore", "grid", *args, "--model.backbone.t5", "false", "--model.inversion.kind", "euler"])
    found = report(tmp_path / "out", "grid")
    assert found["note"].startswith("DDPM is left out: sampler.eta: 1.0 needs DDIM")
    assert found["numbers"]["two runs are equal"] == {
        "deterministic, same seed": True,
        "deterministic, another seed": True,
    }


def test_a_model_without_text_cannot_draw_words(
    train_folder: Path, extractor_folder: Path, tmp_path: Path, fails: Fails
) -> None:
    model = save_pixel(tmp_path / "pixel", classes=3)
    args = options(model, train_folder, extractor_folder, tmp_path / "out", "PixelDiffusion")
    error = fails(main, ["explore", "text", *args, "--text.prompts", '["0", "1"]'], 1)
    assert error == (
        "augment explore: text: this backbone reads no text, so there is nothing to interpolate; use one that does\n"
    )


@pytest.mark.parametrize(
    ("what", "more", "expected"),
    [
        ("strip", ("--strip.classes", "[cat]"), "classes: unknown class 'cat'; the source has 'blue sky', "),
        ("morph", ("--morph.inputs", "1"), "morph.inputs: a morph needs two images, not 1; give at least 2"),
        ("morph", ("--morph.inputs", "6", "--morph.classes", "[rød]"), "morph.inputs: class 'rød' has 5 images"),
        ("grid", ("--grid.columns", "1"), "grid.columns: a path has two ends, not 1; give at least 2"),
        ("text", ("--text.prompts", "[one]"), "text.prompts: a path has two ends, not 1; give two prompts"),
        ("quality", ("--quality.images", "1"), "quality.images: 1 image has no variance; give at least 2"),
        ("quality", ("--extractor", "no_such_model"), "extractor: 'no_such_model' cannot be loaded"),
        (
            "std",
            ("--model.sampler.eta", "1"),
            "model.sampler.eta: figures are drawn without fresh noise, not with eta 1",
        ),
    ],
)
def test_bad_input_is_one_line(
    model_folder: Path,
    train_folder: Path,
    extractor_folder: Path,
    tmp_path: Path,
    fails: Fails,
    what: str,
    more: tuple[str, ...],
    expected: str,
) -> None:
    args = options(model_folder, train_folder, extractor_folder, tmp_path / "out")
    error = fails(main, ["explore", what, *args, *more], 1)
    assert error.startswith(f"augment explore: {expected}") and error.count("\n") == 1
    assert not list((tmp_path / "out").glob("*.json"))


def test_an_unknown_figure_lists_the_known_ones(tmp_path: Path, fails: Fails) -> None:
    error = fails(main, ["explore", "stripe", "--output", str(tmp_path)], 2)
    assert error.count("\n") == 1
    assert "stripe" in error and "strip" in error and "all" in error
