"""Do the benchmark programs run, small, and write down what they promise? No timing is asserted."""

import json
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import architectures
from benchmarks.record import Figure, Report, interleave, over, record, run

NAMES = ("overhead", "peers", "scaling", "nao", "loader", "gpu", "tuning")

SMALL: dict[str, list[str]] = {
    "overhead": ["--per_class", "1", "--steps", "2", "--batch_size", "5", "--rounds", "1"],
    "peers": ["--per_class", "1", "--script_images", "3", "--steps", "2", "--batch_size", "5", "--rounds", "1"],
    "scaling": ["--parts", "[mixing]", "--size", "tiny", "--sources", "[2, 4]", "--repeats", "1"],
    "nao": ["--counts", "[2, 5]", "--lengths", "[16]", "--sets", "1"],
    "loader": ["--sizes", "[[16, 8]]", "--per_class", "2", "--batch_size", "4", "--rounds", "2", "--seconds", "0.01"],
    "tuning": ["--size", "tiny", "--batch_size", "2"],
    "gpu": [
        *("--size", "tiny", "--accelerator", "cpu", "--steps", "2"),
        *("--batch_sizes", "[2]", "--compiled", "[false]", "--batches", "1"),
    ],
}
FIGURES = {
    "overhead": {"synthesize / bare calls": "at most 1.05", "inversion and synthesize / bare calls": None},
    "peers": {"synthesize / pipeline per image": "at least 3", "synthesize / pipeline batched": None},
    "scaling": {
        f"mixing {count} sources / denoiser call, {family}": goal
        for family in ("sd15", "sd35-medium")
        for count, goal in ((2, None), (4, "at most 0.01"))
    },
    "nao": {
        "seconds, 2 sources of 16": None,
        "seconds, 5 sources of 16": "at most 0.1",
        "largest move by one ulp, 5 sources of 16": "at most 0.0001",
    },
    "loader": {
        "cached / ImageFolder, 16 to 8 px": "at least 2",
        "streamed / ImageFolder, 16 to 8 px": "at least 2",
        "streamed / webdataset, 16 to 8 px": None,
        "ms to transform, 16 to 8 px": None,
    },
    "tuning": {
        "seconds per step, with gradient checkpointing": None,
        "hours for 500 steps, extrapolated, without gradient checkpointing": None,
        "GB of a step beside the networks, without gradient checkpointing": None,
    },
    "gpu": {
        "images/s, sd15, batch 2, eager": None,
        "share of the matrix rate, sd35-medium, batch 2, eager": None,
        "peak memory in GiB, sd15, batch 2, eager": None,
        "best images/s, sd15": "at least 4",
    },
}
"""Some of each program's figures, with their goals."""


def program(name: str) -> Callable[..., None]:
    return partial(run, getattr(import_module(f"benchmarks.{name}"), name))


def run_small(name: str, output: Path, args: Sequence[str]) -> dict[str, Any]:
    program(name)([*args, "--output", str(output)])
    content: dict[str, Any] = json.loads(output.read_text())
    assert content["benchmark"] == name
    assert content["versions"].keys() >= {"python", "torch", "diffusers", "timm", "webdataset", "torchmetrics"}
    assert content["environment"]["device"] == "cpu"
    assert content["environment"]["threads"] == torch.get_num_threads()
    for values in content["timings"].values():
        assert values
        assert all(value > 0 for value in values)
    return content


@pytest.mark.parametrize("name", NAMES)
def test_a_small_run_writes_its_figures(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = run_small(name, tmp_path / "results" / "out.json", SMALL[name])
    assert {figure: content["figures"][figure]["goal"] for figure in FIGURES[name]} == FIGURES[name]
    assert "output" not in content["settings"]
    assert f"written: {tmp_path / 'results' / 'out.json'}" in capsys.readouterr().out
    for difference in content["details"].get("largest_pixel_difference", {}).values():
        assert difference <= 1  # peers made the same images; a rounding may fall the other way


@pytest.mark.parametrize("name", NAMES)
def test_help_names_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        program(name)(["--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for option in [word for word in SMALL[name] if word.startswith("--")]:
        assert option in text
    assert f"benchmarks/results/{name}.json" in "".join(text.split())


def test_a_benchmark_is_a_module_to_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.overhead", raising=False)
    monkeypatch.setattr(sys, "argv", ["overhead", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_module("benchmarks.overhead", run_name="__main__")
    assert "usage: python -m benchmarks.overhead" in capsys.readouterr().out


def test_a_bad_value_is_one_line(fails: Callable[..., str]) -> None:
    error = fails(program("peers"), ["--steps", "0"], 2)
    assert "--steps: Not of type" in error
    assert error.count("\n") == 1


def test_without_a_gpu_its_program_says_so(fails: Callable[..., str], tmp_path: Path) -> None:
    assert fails(program("gpu"), ["--output", str(tmp_path / "gpu.json")], 1) == (
        "python -m benchmarks.gpu: accelerator: no CUDA device here; run on a machine with an NVIDIA GPU, or try the "
        "program with --size tiny --accelerator cpu\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_scaling_of_whole_commands(tmp_path: Path) -> None:
    sizes = ["--per_class", "2", "--process_steps", "1", "--rounds", "1", "--batch_size", "5"]
    counts = ["--counts", "[10, 20]", "--count_steps", "1"]
    content = run_small("scaling", tmp_path / "out.json", ["--parts", "[processes, images]", *sizes, *counts])
    assert content["details"]["processes"] == {"images": 20}
    assert content["figures"]["speed of 2 processes / 1 process"]["goal"] == "at least 1.8"
    assert content["figures"]["peak memory, 20 / 10 images"]["goal"] == "at most 1.05"
    assert all(peak > 2**26 for peak in content["details"]["peak_bytes"].values())


def test_a_stopped_run_keeps_what_it_found(tmp_path: Path, fails: Callable[..., str]) -> None:
    from augment.errors import UserError

    def stopped() -> Iterator[Report]:
        """Find one thing, then stop."""
        report = Report([Figure("first", (1.0,))])
        yield report
        raise UserError("benchmark", "no more", "stop")

    fails(partial(run, stopped), ["--output", str(tmp_path / "out.json")], 1)
    assert list(json.loads((tmp_path / "out.json").read_text())["figures"]) == ["first"]


def test_variants_are_measured_in_turn() -> None:
    order: list[str] = []

    def variant(name: str) -> float:
        order.append(name)
        return float(len(order))

    timings = interleave({name: partial(variant, name) for name in "AB"}, rounds=2)
    assert order == ["A", "B", "A", "B"]
    assert timings == {"A": [1.0, 3.0], "B": [2.0, 4.0]}
    assert over(timings["B"], timings["A"]) == (2.0, 4 / 3)


@pytest.mark.parametrize(
    ("figure", "goal", "met"),
    [
        (Figure("x", (1.0, 9.0, 2.0), at_most=2), "at most 2", True),
        (Figure("x", (1.0, 9.0, 2.0), at_most=1.9), "at most 1.9", False),
        (Figure("x", (1.0, 9.0, 2.0), at_least=2), "at least 2", True),
        (Figure("x", (1.0, 9.0, 2.0), at_least=2.1), "at least 2.1", False),
        (Figure("x", (1.0, 9.0, 2.0)), "", None),
    ],
)
def test_goals_are_held_to_the_median(figure: Figure, goal: str, met: bool | None) -> None:
    assert (figure.goal, figure.met) == (goal, met)


def test_record_gives_median_and_range(tmp_path: Path) -> None:
    report = Report([Figure("ratio", (3.0, 1.0, 2.0))], {"A": [0.5]}, {"why": "so"})
    record(tmp_path / "out.json", "name", {"steps": 2}, report)
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["figures"]["ratio"] == {
        "median": 2.0, "min": 1.0, "max": 3.0, "values": [3.0, 1.0, 2.0], "goal": None, "met": None,
    }  # fmt: skip
    assert (content["settings"], content["timings"], content["details"]) == ({"steps": 2}, {"A": [0.5]}, {"why": "so"})


@pytest.mark.parametrize(("family", "millions"), [("sd15", 860), ("sd35-medium", 2500)])
def test_denoisers_have_the_published_sizes(family: architectures.Family, millions: float) -> None:
    with torch.device("meta"):
        network = architectures.build_denoiser(family, "full")
    weights = sum(tensor.numel() for tensor in network.state_dict().values())
    assert weights / 1e6 == pytest.approx(millions, rel=0.02)  # published in round numbers
