"""The whole way from images to shards, through the command."""

import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import COLOURS, ROOT, SIDE, Job, mtimes, paint, sha256s
from safetensors.torch import load_file, save_file

from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.start import Noise, Start
from augment.cli import main
from augment.dataset.reader import read_shard
from augment.images.few_shot import choose_few_shot_set
from augment.images.pixels import to_tensor
from augment.images.sources import ImageFolder
from augment.mix.interpolation import interpolate
from augment.runtime.files import file_sha256

Fails = Callable[..., str]


def records(folder: Path) -> list[dict[str, Any]]:
    return [record for shard in sorted(folder.glob("*.tar")) for _, _, record in read_shard(shard)]


def bank_files(output: Path) -> dict[str, int]:
    return {name: time_ for name, time_ in mtimes(output.parent / "bank").items() if name.endswith(".safetensors")}


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """A finished dataset with its bank, to be changed at will."""
    shutil.copytree(dataset.parent / "bank", tmp_path / "bank")
    return shutil.copytree(dataset, tmp_path / "done")


def test_what_lies_in_the_folder(dataset: Path) -> None:
    assert {path.name for path in dataset.iterdir()} == {
        "train-000000.tar",
        "train-000001.tar",
        "train-000002.tar",
        "_info.json",
        "dataset.json",
        "run.json",
        "README.md",
        "preview.png",
    }


def test_every_class_has_its_images(dataset: Path) -> None:
    found = records(dataset)
    assert Counter(record["label"] for record in found) == {0: 4, 1: 4, 2: 4}
    assert {(record["label"], record["class"]) for record in found} == set(enumerate(COLOURS))
    assert len({(record["label"], record["index"]) for record in found}) == 12


def test_images_are_rgb_of_the_backbones_size_and_differ(dataset: Path) -> None:
    images = [np.asarray(image) for shard in sorted(dataset.glob("*.tar")) for _, image, _ in read_shard(shard)]
    assert {image.shape for image in images} == {(SIDE, SIDE, 3)}
    assert len({image.tobytes() for image in images}) == 12


def test_every_record_has_the_same_fields_of_the_same_types(dataset: Path) -> None:
    """Readers that guess a schema from the first sample must be right about all of them."""
    expected = {
        "class": str,
        "guidance": float,
        "index": int,
        "label": int,
        "method": str,
        "seed": int,
        "soft_labels": list,
        "soft_weights": list,
        "sources": list,
        "steps": int,
        "weights": list,
    }
    for record in records(dataset):
        assert {name: type(value) for name, value in record.items()} == expected
        assert {type(name) for name in record["sources"]} == {str}
        assert {type(weight) for weight in record["weights"]} == {float}
        assert len(record["sources"]) == len(record["weights"]) == 3
        assert sum(record["weights"]) == pytest.approx(1)
        assert (record["soft_labels"], record["soft_weights"]) == ([record["label"]], [1.0])
        assert (record["method"], record["seed"], record["steps"], record["guidance"]) == ("nin/chm", 0, 2, 1.0)
        assert {name.split("/")[0] for name in record["sources"]} == {record["class"]}


def test_the_manifest_describes_the_dataset(dataset: Path, train_folder: Path) -> None:
    manifest = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    assert manifest["classes"] == list(COLOURS)
    assert list(manifest["shards"]) == [path.name for path in sorted(dataset.glob("*.tar"))]
    for name, facts in manifest["shards"].items():
        assert facts == {"sha256": file_sha256(dataset / name), "samples": 4}
    chosen = choose_few_shot_set(ImageFolder(train_folder), 3, 0).all
    assert [(s["name"], s["label"], s["sha256"]) for s in manifest["few_shot"]] == [
        (shot.name, shot.label, shot.sha256) for shot in chosen
    ]
    config = manifest["config"]
    assert (config["method"], config["seed"], config["steps"], config["resolution"]) == ("nin/chm", 0, 2, SIDE)
    assert config["plan"] == {"per_class": 4, "shard_size": 4, "batch_size": 2, "image_format": "png"}
    assert config["prompt"] == "a photo of a {class}"
    assert {"torch", "diffusers", "lightning", "chm-augment", "python"} <= set(manifest["versions"])


def test_info_is_timms(dataset: Path) -> None:
    assert json.loads((dataset / "_info.json").read_text()) == {
        "splits": {
            "train": {
                "name": "train",
                "num_samples": 12,
                "filenames": [f"train-{n:06d}.tar" for n in range(3)],
                "shard_lengths": [4, 4, 4],
            }
        }
    }


def test_run_says_what_may_differ_between_runs(dataset: Path) -> None:
    run = json.loads((dataset / "run.json").read_text())
    assert (run["images"], run["processes"], run["devices"]) == (12, 1, "cpu")
    assert run["threads_per_process"] == torch.get_num_threads()
    assert run["versions"]["torch"] == torch.__version__.split("+")[0]
    assert run["images_per_second"] == pytest.approx(12 / run["seconds"]["synthesize"], rel=0.05)
    assert set(run["seconds"]) == {"invert", "synthesize"}


@torch.no_grad()
def test_an_image_is_what_its_record_says(dataset: Path, model_folder: Path, train_folder: Path) -> None:
    """One image made by hand: invert its sources, mix them with its weights, denoise, decode."""
    backbone = StableDiffusion(model=str(model_folder))
    source = ImageFolder(train_folder)
    items = {item.name: item for item in source.pool}
    for _, image, record in list(read_shard(dataset / "train-000001.tar"))[:2]:
        prompt = f"a photo of a {record['class']}"
        images = torch.stack([to_tensor(source.image(items[name]), SIDE) for name in record["sources"]])
        latents = backbone.invert(backbone.encode(images), [prompt] * 3, 2, 1.0).latent
        mixed = interpolate(latents, torch.tensor(record["weights"]), "nin", "chm")
        decoded = backbone.decode(backbone.denoise(Start(mixed[None], (prompt,)), 2, 1.0))
        expected = ((decoded[0] / 2 + 0.5) * 255).permute(1, 2, 0)
        assert np.abs(np.asarray(image, dtype=float) - expected.numpy()).max() <= 0.51


def test_a_second_run_does_nothing(job: Job, copy: Path) -> None:
    before, bank = mtimes(copy), bank_files(copy)
    job.synthesize(copy)
    after = mtimes(copy)
    assert {n: t for n, t in after.items() if n.endswith((".tar", "run.json"))} == {
        n: t for n, t in before.items() if n.endswith((".tar", "run.json"))
    }
    assert after.keys() == before.keys()
    assert bank_files(copy) == bank


def test_bytes_do_not_depend_on_the_place(job: Job, dataset: Path, tmp_path: Path) -> None:
    assert sha256s(job.synthesize(tmp_path / "elsewhere")) == sha256s(dataset)


def test_another_method_mixes_the_same_sources_with_the_same_weights(job: Job, dataset: Path, tmp_path: Path) -> None:
    other = records(job.synthesize(tmp_path / "other", "--method", "fix/0"))
    drawn = [[(r["label"], r["index"], r["sources"], r["weights"]) for r in rs] for rs in (other, records(dataset))]
    assert drawn[0] == drawn[1]
    assert {record["method"] for record in other} == {"fix/0"}
    assert not set(sha256s(tmp_path / "other").values()) & set(sha256s(dataset).values())


def test_an_image_is_the_same_in_a_larger_dataset(job: Job, dataset: Path, tmp_path: Path) -> None:
    """Batches are the plan's, so the first shards of a longer plan are those of the shorter one."""
    longer = sha256s(job.synthesize(tmp_path / "longer", per_class=8))
    assert len(longer) == 6
    assert {name: longer[name] for name in sha256s(dataset)} == sha256s(dataset)


def test_another_configuration_is_refused_with_both_values(job: Job, copy: Path, fails: Fails) -> None:
    before = mtimes(copy)
    error = fails(main, ["synthesize", *job.args(copy, "--method", "fix/0")], 1)
    assert "holds a dataset of another configuration (method: 'nin/chm' there, 'fix/0' here)" in error
    assert "--overwrite" in error
    error = fails(main, ["synthesize", *job.args(copy, "--data.mixing.concentration", "0.5")], 1)
    assert "(mixing.concentration: 1.0 there, 0.5 here)" in error
    error = fails(main, ["synthesize", *job.args(copy, "--model.steps", "3")], 1)
    assert "(steps: 2 there, 3 here)" in error  # and not a setting that JSON only holds as another type
    assert mtimes(copy) == before


def test_overwrite_makes_it_anew(job: Job, copy: Path, tmp_path: Path) -> None:
    fresh = sha256s(job.synthesize(tmp_path / "fresh" / "fix", "--method", "fix/0", per_class=3))
    job.synthesize(copy, "--method", "fix/0", "--overwrite", per_class=3)
    assert sha256s(copy) == fresh
    assert {record["method"] for record in records(copy)} == {"fix/0"}


def test_overwrite_of_the_same_configuration_keeps_what_is_there(job: Job, copy: Path) -> None:
    before = {name: when for name, when in mtimes(copy).items() if name.endswith(".tar")}
    job.synthesize(copy, "--overwrite")
    assert {name: when for name, when in mtimes(copy).items() if name.endswith(".tar")} == before


def test_a_folder_of_something_else_is_never_touched(job: Job, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    for more in ([], ["--overwrite"]):
        error = fails(main, ["synthesize", *job.args(tmp_path / "mine", *more)], 1)
        assert "is not empty and holds no dataset" in error
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_classes_limits_the_classes_and_keeps_their_labels(job: Job, dataset: Path, tmp_path: Path) -> None:
    output = job.synthesize(tmp_path / "one", "--classes", '["green.leaf"]')
    found = records(output)
    assert [(r["label"], r["class"], r["index"]) for r in found] == [(1, "green.leaf", n) for n in range(4)]
    assert json.loads((output / "dataset.json").read_text(encoding="utf-8"))["classes"] == list(COLOURS)
    same = {r["index"]: (r["sources"], r["weights"]) for r in records(dataset) if r["label"] == 1}
    assert {r["index"]: (r["sources"], r["weights"]) for r in found} == same


def test_an_integer_is_as_good_as_its_float(job: Job, copy: Path) -> None:
    """`guidance: 1` and `guidance: 1.0` are one configuration, and one record type."""
    before = sha256s(copy)
    job.synthesize(copy, "--model.guidance", "1", "--model.inversion.guidance", "1", "--data.mixing.concentration", "1")
    assert sha256s(copy) == before


def test_the_printed_configuration_makes_the_same_dataset(
    job: Job, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["synthesize", *job.args(tmp_path / "out"), "--print_config"])
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    main(["synthesize", "--config", str(tmp_path / "config.yaml")])
    assert sha256s(tmp_path / "out") == sha256s(dataset)


def test_half_precision_samples_from_the_same_latents(job: Job, copy: Path, dataset: Path) -> None:
    """Networks in bfloat16, mixtures in float32: close to the float32 images, with nothing inverted anew."""
    bank = bank_files(copy)
    half = job.synthesize(copy.parent / "half", "--model.precision", "bf16")
    assert bank_files(copy) == bank
    pairs = zip(sorted(half.glob("*.tar")), sorted(dataset.glob("*.tar")), strict=True)
    differences = [
        np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)).mean()
        for a, b in pairs
        for (_, ours, _), (_, theirs, _) in zip(read_shard(a), read_shard(b), strict=True)
    ]
    assert 0 < max(differences) < 8


def test_the_configuration_of_sd15_runs_on_any_folder_of_its_format(job: Job, tmp_path: Path) -> None:
    """The file's own precision, guidance and layout, with the tiny model in the place of the downloaded one."""
    file = ROOT / "configs" / "augment" / "sd15.yaml"
    backbone, output = "--model.backbone.init_args", tmp_path / "out"
    main(
        [
            *("synthesize", "--config", str(file), "--output", str(output), "--trainer.accelerator", "cpu"),
            *(f"{backbone}.model", str(job.model), f"{backbone}.resolution", str(SIDE)),
            *("--data.source.init_args.path", str(job.images), "--per_class", "2", "--model.steps", "3"),
            *("--model.inversion.steps", "3", "--model.inversion.warn_psnr", "0"),
        ]
    )
    found = records(output)
    assert len(found) == 6
    assert {(r["guidance"], r["steps"], r["method"]) for r in found} == {(7.5, 3, "nin/chm")}
    manifest = json.loads((output / "dataset.json").read_text(encoding="utf-8"))
    assert manifest["config"]["precision"] in {"fp16", "bf16"}


def test_unknown_class(job: Job, tmp_path: Path, fails: Fails) -> None:
    error = fails(main, ["synthesize", *job.args(tmp_path / "out", "--classes", '["cat"]')], 1)
    assert "unknown class 'cat'; the source has 'blue sky', 'green.leaf', 'rød'" in error


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_off_the_last_image(path: Path) -> None:
    """Cut exactly where the last image's header begins: what is left reads as a tar without an end."""
    import tarfile

    with tarfile.open(path) as tar:
        path.write_bytes(path.read_bytes()[: tar.getmembers()[-1].offset])


def scramble_the_header(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"\xff" * 512 + content[512:])


def flip_a_bit_of_an_image(path: Path) -> None:
    import tarfile

    with tarfile.open(path) as tar:
        image = next(member for member in tar if member.name.endswith(".png"))
    content = bytearray(path.read_bytes())
    content[image.offset_data + image.size // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [Path.unlink, truncate, cut_off_the_last_image, scramble_the_header, flip_a_bit_of_an_image]
)
def test_a_damaged_shard_is_made_again_with_the_same_bytes(
    job: Job, copy: Path, damage: Callable[[Path], None]
) -> None:
    before, times = sha256s(copy), mtimes(copy)
    damage(copy / "train-000001.tar")
    job.synthesize(copy)
    assert sha256s(copy) == before
    assert mtimes(copy)["train-000000.tar"] == times["train-000000.tar"]
    manifest = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    assert {name: facts["sha256"] for name, facts in manifest["shards"].items()} == before


def test_leftovers_of_a_killed_run_are_swept(job: Job, copy: Path) -> None:
    (copy / ".train-000001.tar.12345.partial").write_bytes(b"half a shard")
    job.synthesize(copy)
    assert not list(copy.glob(".*"))


# The latent bank.


def test_a_second_inversion_inverts_nothing(
    job: Job, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bank_files(copy)
    assert len(before) == 9
    calls: list[int] = []
    monkeypatch.setattr(StableDiffusion, "invert", lambda *_: calls.append(1))
    main(["invert", *job.args(copy)])
    assert calls == []
    assert bank_files(copy) == before
    assert "0 of 9 images inverted anew" in capsys.readouterr().out


def test_only_what_is_missing_is_stored(job: Job, copy: Path) -> None:
    before = bank_files(copy)
    victim = sorted(before)[4]
    latent = load_file(copy.parent / "bank" / victim)["latent"]
    (copy.parent / "bank" / victim).unlink()
    main(["invert", *job.args(copy)])
    after = bank_files(copy)
    assert {name for name in before if after[name] != before[name]} == {victim}
    assert torch.equal(load_file(copy.parent / "bank" / victim)["latent"], latent)


def test_another_prompt_is_another_latent(job: Job, copy: Path) -> None:
    before = bank_files(copy)
    main(["invert", *job.args(copy, "--model.prompt", "nothing")])
    after = bank_files(copy)
    assert len(after) == 18
    assert {name: after[name] for name in before} == before


def test_invert_names_every_image_with_its_round_trip(
    job: Job, tmp_path: Path, train_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["invert", *job.args(tmp_path / "out")])
    out = capsys.readouterr().out
    assert "9 of 9 images inverted anew" in out
    for shot in choose_few_shot_set(ImageFolder(train_folder), 3, 0).all:
        assert shot.name in out
    assert not (tmp_path / "out").exists()


def test_a_poor_round_trip_is_warned_about_by_name(job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        main(["invert", *job.args(tmp_path / "out", "--model.inversion.warn_psnr", "200", "--classes", '["rød"]')])
    named = [message for message in caplog.messages if "survives inversion badly: PSNR" in message]
    assert len(named) == 3
    assert all("image 'rød/" in message for message in named)


def test_a_bank_of_another_backbone_is_refused(job: Job, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "bank.json").write_text('{"backbone": "other@1"}')
    error = fails(main, ["synthesize", *job.args(tmp_path / "out", "--data.bank", str(tmp_path / "bank"))], 1)
    assert "holds latents of backbone 'other@1', this run uses 'tiny@" in error
    assert not (tmp_path / "out").exists()


def some_latent(copy: Path) -> Path:
    return sorted((copy.parent / "bank").rglob("*.safetensors"))[0]


@pytest.mark.parametrize(
    ("value", "expected"), [(float("nan"), "holds NaN or infinity"), (0.0, "is all zeros")], ids=["nan", "zeros"]
)
def test_useless_latents_in_the_bank_are_refused(
    job: Job, copy: Path, fails: Fails, value: float, expected: str
) -> None:
    from safetensors import safe_open

    path = some_latent(copy)
    with safe_open(path, framework="pt") as file:
        header, latent = file.metadata(), file.get_tensor("latent")
    save_file({"latent": torch.full_like(latent, value)}, path, metadata=header)
    shards = sha256s(copy)
    (copy / "train-000002.tar").unlink()
    error = fails(main, ["synthesize", *job.args(copy)], 1)
    assert expected in error
    assert len(error.strip().splitlines()[-1:]) == 1
    # Nothing finished is lost.
    assert sha256s(copy) == {name: sha for name, sha in shards.items() if name != "train-000002.tar"}


def test_a_broken_latent_in_the_bank_is_named(job: Job, copy: Path, fails: Fails) -> None:
    some_latent(copy).write_bytes(b"garbage")
    (copy / "train-000002.tar").unlink()
    error = fails(main, ["synthesize", *job.args(copy)], 1)
    assert some_latent(copy).name in error
    assert "cannot be read" in error


def test_inversion_that_explodes_names_the_image(
    job: Job, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StableDiffusion, "invert", lambda self, z, *_: Noise(z * torch.nan, z.new_zeros(len(z))))
    error = fails(main, ["synthesize", *job.args(tmp_path / "out")], 1)
    assert "inversion of image 'blue sky/" in error
    assert "holds NaN or infinity" in error
    assert not list(tmp_path.rglob("*.safetensors"))


# Bad input, through the command.


def one_line(error: str) -> str:
    """The message, which must be the only line but for progress bars."""
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("augment synthesize: ")]
    assert len(lines) == 1, error
    assert error.strip().splitlines()[-1] == lines[0], error
    return lines[0]


def test_sources_above_shots(job: Job, tmp_path: Path, fails: Fails) -> None:
    error = one_line(fails(main, ["synthesize", *job.args(tmp_path / "out", "--data.mixing.sources", "4")], 1))
    assert "sources: 4 is greater than the 3 shots of class 'blue sky'" in error


def test_fewer_images_than_shots(job: Job, tmp_path: Path, fails: Fails) -> None:
    error = one_line(fails(main, ["synthesize", *job.args(tmp_path / "out", "--shots", "6")], 1))
    assert "class 'blue sky' has 5 images, fewer than 6" in error


def test_missing_folder(job: Job, tmp_path: Path, fails: Fails) -> None:
    args = Job(job.model, tmp_path / "nowhere").args(tmp_path / "out")
    assert "no folder" in one_line(fails(main, ["synthesize", *args], 1))


@pytest.mark.usefixtures("no_network")
def test_missing_checkpoint_while_offline(job: Job, tmp_path: Path, fails: Fails) -> None:
    args = Job(Path("nobody/nothing"), job.images).args(tmp_path / "out")
    assert "no network, and 'nobody/nothing' is not on this machine" in one_line(fails(main, ["synthesize", *args], 1))


def test_a_broken_image_stops_or_is_skipped(job: Job, tmp_path: Path, fails: Fails) -> None:
    images = shutil.copytree(job.images, tmp_path / "images")
    for path in sorted((images / "rød").iterdir())[:2]:
        path.write_bytes(path.read_bytes()[:200])
    broken = Job(job.model, images)
    error = one_line(fails(main, ["synthesize", *broken.args(tmp_path / "a", "--shots", "5")], 1))
    assert "rød/0" in error and "--skip_bad" in error
    error = one_line(fails(main, ["synthesize", *broken.args(tmp_path / "b", "--shots", "4", "--skip-bad")], 1))
    assert "class 'rød' has 3 readable images" in error
    used = {name for r in records(broken.synthesize(tmp_path / "c", "--skip-bad")) for name in r["sources"]}
    assert not used & {"rød/00.png", "rød/01.png"}


def test_a_class_with_a_single_image(job: Job, tmp_path: Path) -> None:
    """Allowed: a mixture of one source is that source's own latent."""
    paint(tmp_path / "images" / "only" / "a.png", (90, 90, 200), 3)
    found = records(Job(job.model, tmp_path / "images").synthesize(tmp_path / "out", "--shots", "1"))
    assert [record["sources"] for record in found] == [["only/a.png"]] * 4
    assert [record["weights"] for record in found] == [[pytest.approx(1)]] * 4


@pytest.mark.parametrize("command", ["synthesize", "invert"])
@pytest.mark.parametrize(("option", "below"), [("output", "."), ("output", "new/set"), ("data.bank", "bank")])
def test_nothing_is_written_among_the_images(
    job: Job, tmp_path: Path, fails: Fails, command: str, option: str, below: str
) -> None:
    """The next run would take the folder for a class; a link to the images is seen through."""
    images = shutil.copytree(job.images, tmp_path / "images")
    (tmp_path / "link").symlink_to(images)
    before = mtimes(tmp_path)
    args = Job(job.model, images).args(tmp_path / "out", f"--{option}", str(tmp_path / "link" / below))
    error = fails(main, [command, *args], 1)
    argument = option.removeprefix("data.")
    problem = f"{argument}: '.*' lies in '{images}', where the real images are read from"
    assert re.fullmatch(rf"augment {command}: {problem}; choose a folder outside of '{images}'\n", error)
    assert mtimes(tmp_path) == before


def test_output_that_is_a_file(job: Job, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "out").write_text("a file")
    assert "is no folder; choose another --output" in one_line(
        fails(main, ["synthesize", *job.args(tmp_path / "out")], 1)
    )
    assert (tmp_path / "out").read_text() == "a file"


def test_output_that_cannot_be_written(job: Job, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "file").write_text("in the way")
    bank = ("--data.bank", str(tmp_path / "bank"))
    error = one_line(fails(main, ["synthesize", *job.args(tmp_path / "file" / "out", *bank)], 1))
    assert f"'{tmp_path / 'file'}' is no folder" in error


def test_unequal_schedules_are_warned_about(job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job.synthesize(tmp_path / "same" / "set", per_class=1)
    assert "equal numbers fit best" not in caplog.text
    main(["synthesize", *job.args(tmp_path / "other" / "set", steps=3, per_class=1)])
    assert "inversion.steps 2 leads to t = 501, sampling with steps 3 starts from t = 667" in caplog.text


def test_a_folder_that_a_kill_left_half_open_is_opened_again(job: Job, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / ".dataset.json.1.partial").write_text("{")
    job.synthesize(folder, per_class=1)
    assert (folder / "dataset.json").is_file()


def test_a_sampler_that_gives_nan_is_named(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Any
) -> None:
    monkeypatch.setattr(StableDiffusion, "decode", lambda self, latents: latents[:, :3] * float("nan"))
    monkeypatch.setattr("augment.inversion.inversion.psnr", lambda images, targets: [30.0] * len(images))
    error = fails(main, ["synthesize", *job.args(tmp_path / "set", per_class=1)], 1)
    assert "sampling gave NaN in fp32" in error and not list((tmp_path / "set").glob("*.tar"))


def test_resuming_with_other_libraries_is_warned_about(
    job: Job, dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "set"))
    manifest = json.loads((folder / "dataset.json").read_text())
    manifest["versions"]["torch"] = "0.1"
    (folder / "dataset.json").write_text(json.dumps(manifest))
    job.synthesize(folder)
    assert "was begun with other versions (torch 0.1 -> " in caplog.text
    assert json.loads((folder / "dataset.json").read_text())["versions"]["torch"] == "0.1"
