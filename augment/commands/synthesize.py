"""What each `augment` command does with its parsed configuration."""

import time
from typing import Literal

import lightning as L
from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from rich.console import Console

# Imported so that --model.backbone knows the families by their short names.
from augment.backbones import pixel, stable_diffusion, stable_diffusion_3, stable_diffusion_xl  # noqa: F401
from augment.commands.parsing import OutputCLI, add_switch
from augment.errors import UserError
from augment.mix.registry import MethodName
from augment.runtime.processes import Companions
from augment.runtime.stopwatch import Stopwatch, profile_table
from augment.runtime.trainer import QUIET_TRAINER, MakeTrainer
from augment.synthesize.dry_run import cost_table, estimate
from augment.synthesize.pipeline import synthesize
from augment.synthesize.plan import SynthesisData
from augment.synthesize.synthesizer import Synthesizer


class SynthesisCLI(OutputCLI):
    """The options of `synthesize` and `invert`: what users change most stands at the top level."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Short names for the settings of the dataset."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("output", "data.output")
        parser.add_argument(
            "--method",
            type=MethodName,
            default="nin/chm",
            help="Norm and mean adjustment of a mixture, as in the paper, or another method by name.",
        )
        parser.add_argument("--shots", type=PositiveInt, default=5, help="Real images per class.")
        parser.add_argument(
            "--seed", type=NonNegativeInt, default=0, help="Chooses the few-shot set and draws every mixture."
        )
        parser.add_argument("--classes", type=list[str] | None, default=None, help="Make images of these classes only.")
        parser.add_argument("--per_class", "--per-class", type=PositiveInt, default=100, help="Images per class.")
        parser.add_argument(
            "--batch_size",
            "--batch-size",
            type=PositiveInt | Literal["auto"],
            default=16,
            help="Images at a time; `auto` tries what is fastest on the device, once per dataset.",
        )
        add_switch(parser, "skip_bad", "Pass over unreadable images.")
        add_switch(parser, "overwrite", "Delete another dataset in the output folder.")
        add_switch(parser, "compile", "Compile the denoiser: a slow start, then faster; for long runs.")
        add_switch(parser, "profile", "Print where the seconds went; waits for the device after each stage.")
        for name in ("method", "shots", "seed", "classes", "skip_bad", "overwrite"):
            parser.link_arguments(name, f"data.{name}")
        parser.link_arguments("per_class", "data.plan.per_class")
        parser.link_arguments("batch_size", "data.plan.batch_size")
        parser.link_arguments("compile", "model.compile")
        parser.set_defaults(
            {
                "model.backbone": {"class_path": "augment.backbones.stable_diffusion.StableDiffusion"},
                "data.source": {"class_path": "augment.images.sources.Digits"},
            }
        )


class GenerationCLI(SynthesisCLI):
    """The options of `synthesize`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Whether to ask for the price first."""
        super().add_arguments_to_parser(parser)
        add_switch(
            parser, "dry_run", "Time two batches, print what the run would cost in time and disk, and write nothing."
        )


def parse_synthesis(name: str, args: list[str], cli: type[SynthesisCLI]) -> SynthesisCLI:
    """Parse the options that `synthesize` and `invert` share."""
    parsed = cli(Synthesizer, SynthesisData, f"augment {name}", args, False, QUIET_TRAINER)
    parsed.model.stopwatch.running = parsed.config.profile
    return parsed


def trainer_factory(cli: LightningCLI, companions: Companions) -> MakeTrainer:
    """A trainer with the command line's settings around the given callbacks."""

    def make(callbacks: list[L.Callback]) -> L.Trainer:
        trainer: L.Trainer = cli.instantiate_trainer(callbacks=[companions, *callbacks])
        if trainer.precision != "32-true":
            raise UserError(
                f"trainer.precision: {trainer.precision} would be recorded nowhere; use --model.precision and "
                f"--model.inversion.precision"
            )
        return trainer

    return make


def synthesize_command(args: list[str]) -> None:
    """Write a synthetic dataset, or say what that would cost."""
    companions = Companions()
    cli = parse_synthesis("synthesize", args, GenerationCLI)
    if cli.config.dry_run:
        trainer = cli.trainer
        cost = estimate(cli.model, cli.datamodule, trainer.strategy.root_device, trainer.world_size)
        Console().print(cost_table(cost, cli.datamodule.output))
        return
    begun = time.perf_counter()
    folder = synthesize(cli.model, cli.datamodule, trainer_factory(cli, companions))
    companions.close()
    if cli.trainer.is_global_zero:
        print_profile(cli.model.stopwatch, time.perf_counter() - begun)
        print(f"dataset: {folder}")


def print_profile(stopwatch: Stopwatch, total: float) -> None:
    """Where the seconds went, if that was measured."""
    if stopwatch.running:
        Console().print(profile_table(stopwatch.report(total), total))
