"""What does `augment explore WHAT` do? It draws one figure, or all of them and a page that shows them."""

import argparse
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from jsonargparse import DefaultHelpFormatter
from jsonargparse.typing import NonNegativeInt, PositiveInt

from augment.commands import known_families  # noqa: F401
from augment.commands.flags import running
from augment.commands.parsing import CommandParser, add_switch
from augment.errors import UserError
from augment.explore.explorer import Explorer
from augment.explore.figure import Figure
from augment.explore.figures.registry import FIGURES
from augment.explore.gallery import Report, Skipped, write_gallery
from augment.images.sources import ImageSource
from augment.runtime.files import write_json
from augment.runtime.place import check_folder
from augment.runtime.quiet import quiet
from augment.runtime.terminal import PlainConsole
from augment.synthesis.synthesizer import Synthesizer

Device = Literal["auto", "cpu", "cuda", "mps"]


class _Paragraphs(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the list of figures a list."""


def describe_figures() -> str:
    """The head of --help: every figure with one sentence."""
    lines = [f"  {name:<10} {figure.shows}" for name, figure in FIGURES.items()]
    return "\n".join(
        [
            "Draw what interpolation does to this backbone: one figure of the sources, or all of them.",
            "",
            "figures (WHAT):",
            *lines,
            f"  {'all':<10} every figure that the backbone can draw, and index.html, the page that shows them",
            "",
            "Each writes WHAT.png, WHAT.csv with the numbers behind it, and WHAT.json with the command, one sentence",
            "of what to look for, and what was measured. Inverted latents are kept in the latent bank.",
        ]
    )


def explore(
    what: str,
    output: str,
    model: Synthesizer,
    source: ImageSource,
    figures: dict[str, Figure],
    shots: PositiveInt = 96,
    seed: NonNegativeInt = 0,
    bank: str | None = None,
    device: Device = "auto",
    batch_size: PositiveInt = 16,
    extractor: str = "inception",
    extractor_weights: str | None = None,
    skip_bad: bool = False,
    arguments: Sequence[str] = (),
) -> None:
    """Draw one figure, or all.

    Args:
        what: Name of the figure, or `all`.
        output: Folder to write to.
        model: The backbone, with the settings of inversion and sampler.
        source: Where the real images are.
        figures: The figures with their options.
        shots: The most real images per class; classes with fewer give all they have.
        seed: Chooses the real images, draws the noise and the subsets.
        bank: Folder of inverted latents; by default one per backbone below `bank`, beside the output folder.
        device: Where the networks run.
        batch_size: Images per call of the networks while sampling.
        extractor: The network that distances between images are measured with: `inception` for FID, `digits`, or a
            timm model such as a CLIP tower.
        extractor_weights: Local file of the Inception weights.
        skip_bad: Pass over unreadable images.
        arguments: The command's arguments as the user typed them, for the record.
    """
    folder = Path(output)
    check_folder(folder, "output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("output", f"'{folder}' cannot be made ({error})", "give another folder") from error
    explorer = Explorer(
        model, source, folder, shots, seed, bank, device, batch_size, extractor, extractor_weights, skip_bad
    )
    console = PlainConsole(soft_wrap=True)
    if what != "all":
        report = draw(what, figures[what], explorer, command_of(arguments, what, what))
        show(console, report, folder)
        return
    shown: list[Report | Skipped] = []
    for name, figure in figures.items():
        try:
            report = draw(name, figure, explorer, command_of(arguments, what, name))
        except UserError as error:
            skipped = Skipped(name, figure.shows, running.say(error))
            shown.append(skipped)
            console.print(f"{name}: left out: {skipped.reason}", style="yellow")
        else:
            shown.append(report)
            show(console, report, folder)
    page = write_gallery(folder, shown, model.describe(), command_of(arguments, what, what))
    console.print(f"gallery: {page}")


def draw(name: str, figure: Figure, explorer: Explorer, command: str) -> Report:
    """Draw one figure and write its JSON."""
    check_lists(name, figure)
    started = time.perf_counter()
    findings = figure.draw(explorer)
    report = Report(
        what=name,
        shows=figure.shows,
        look_for=figure.look_for,
        origin=figure.origin,
        command=command,
        seconds=round(time.perf_counter() - started, 1),
        note=findings.note,
        pictures=findings.pictures,
        tables=findings.tables,
        numbers=findings.numbers,
    )
    write_json(explorer.folder / f"{name}.json", asdict(report) | {"model": explorer.model.describe()})
    return report


def check_lists(name: str, figure: Figure) -> None:
    """Refuse an empty list where the figure has something by default: nothing could be drawn.

    Raises:
        UserError: If there is one.
    """
    for option, default in vars(type(figure)()).items():
        if default and isinstance(default, tuple) and not getattr(figure, option):
            raise UserError(f"{name}.{option}", "an empty list leaves nothing to draw", "name some, or leave it out")


def show(console: PlainConsole, report: Report, folder: Path) -> None:
    """Print where a figure lies, what to look for and what was measured."""
    files = ", ".join(str(folder / file) for file in (*report.pictures, *report.tables, f"{report.what}.json"))
    console.print(f"{report.what}: {files} ({report.seconds:g} s)", style="bold")
    console.print(f"  look for: {report.look_for}")
    if report.note:
        console.print(f"  note: {report.note}")
    for name, value in report.numbers.items():
        console.print(f"  {name}: {value}")


def command_of(arguments: Sequence[str], what: str, name: str) -> str:
    """The command that draws one figure, with the other options as they were typed."""
    words = list(arguments)
    if what in words:
        words[words.index(what)] = name
    return shlex.join(["augment", "explore", *words])


def explore_command(args: list[str]) -> None:
    """Draw figures."""
    quiet()
    parser = CommandParser(
        prog="augment explore",
        usage="augment explore WHAT [--config FILE] [options]",
        description=describe_figures(),
        formatter_class=_Paragraphs,
        default_meta=False,
    )
    parser.add_argument("what", choices=[*FIGURES, "all"], metavar="WHAT", help="Name of the figure to draw, or `all`.")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below.")
    parser.add_function_arguments(explore, skip={"what", "model", "figures", "skip_bad", "arguments"})
    add_switch(parser, "skip_bad", "Pass over unreadable images.")
    parser.add_class_arguments(Synthesizer, "model")
    for name, figure in FIGURES.items():
        parser.add_class_arguments(figure, name)
    parser.set_defaults(
        {
            "model.backbone": {"class_path": "augment.backbones.stable_diffusion.StableDiffusion"},
            "source": {"class_path": "augment.images.sources.Digits"},
        }
    )
    config = parser.instantiate_classes(parser.parse_args(args))
    figures = {name: config.pop(name) for name in FIGURES}
    del config["config"]
    explore(**config, figures=figures, arguments=args)
