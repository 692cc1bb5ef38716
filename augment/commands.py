"""What each `augment` command does with its parsed configuration."""

import shlex
from pathlib import Path

import lightning as L
from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from rich.console import Console
from rich.table import Table

# Imported so that --model.backbone knows the families by their short names.
from augment.backbones import pixel, stable_diffusion, stable_diffusion_3, stable_diffusion_xl  # noqa: F401
from augment.check import check, print_trials, write_trials
from augment.errors import UserError
from augment.methods import MethodName
from augment.model_card import write_model_card
from augment.parsing import CommandParser, OutputCLI, add_switch
from augment.pipeline import QUIET_TRAINER, Inverted, MakeTrainer, invert, synthesize
from augment.pretrain import LatentDiffusion, PretrainData
from augment.synthesis_data import SynthesisData
from augment.synthesizer import Synthesizer
from augment.verify import verify


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
        parser.add_argument("--per_class", type=PositiveInt, default=100, help="Images per class.")
        add_switch(parser, "skip_bad", "Pass over unreadable images.")
        add_switch(parser, "overwrite", "Delete another dataset in the output folder.")
        for name in ("method", "shots", "seed", "classes", "skip_bad", "overwrite"):
            parser.link_arguments(name, f"data.{name}")
        parser.link_arguments("per_class", "data.plan.per_class")
        parser.set_defaults(
            {
                "model.backbone": {"class_path": "augment.backbones.stable_diffusion.StableDiffusion"},
                "data.source": {"class_path": "augment.data.Digits"},
            }
        )


class InversionCLI(SynthesisCLI):
    """The options of `invert`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Whether to compare inversions."""
        super().add_arguments_to_parser(parser)
        add_switch(
            parser,
            "check",
            "Compare all inversions that the backbone can do, instead of filling the bank: a table, inversions.csv "
            "and inversions.png in the output folder.",
        )
        parser.add_argument(
            "--check_steps",
            "--check-steps",
            type=list[PositiveInt] | None,
            default=None,
            help="Numbers of steps that --check tries; by default that of the inversion.",
        )


def parse_synthesis(name: str, args: list[str], cli: type[SynthesisCLI] = SynthesisCLI) -> SynthesisCLI:
    """Parse the options that `synthesize` and `invert` share."""
    return cli(Synthesizer, SynthesisData, f"augment {name}", args, False, QUIET_TRAINER)


def trainer_factory(cli: LightningCLI) -> MakeTrainer:
    """A trainer with the command line's settings around the given callbacks."""

    def make(callbacks: list[L.Callback]) -> L.Trainer:
        trainer: L.Trainer = cli.instantiate_trainer(callbacks=callbacks)
        if trainer.precision != "32-true":
            raise UserError(
                f"trainer.precision: {trainer.precision} would be recorded nowhere; use --model.precision and "
                f"--model.inversion.precision"
            )
        return trainer

    return make


def synthesize_command(args: list[str]) -> None:
    """Write a synthetic dataset."""
    cli = parse_synthesis("synthesize", args)
    folder = synthesize(cli.model, cli.datamodule, trainer_factory(cli))
    if cli.trainer.is_global_zero:
        print(f"dataset: {folder}")


def invert_command(args: list[str]) -> None:
    """Fill the latent bank and report the round trip, or compare inversions."""
    cli = parse_synthesis("invert", args, InversionCLI)
    if cli.config.check:
        trials, rows = check(
            cli.model,
            cli.datamodule,
            cli.trainer.strategy.root_device,
            cli.config.check_steps or [cli.model.inversion.steps],
        )
        write_trials(Path(cli.config.output), trials, rows)
        print_trials(trials)
        return
    inverted = invert(cli.model, cli.datamodule, trainer_factory(cli))
    if cli.trainer.is_global_zero:
        report_inversion(inverted)


def report_inversion(inverted: Inverted) -> None:
    """Print the round trip of every image, worst first; the residual where the inversion measures it."""
    table = Table(title=f"{inverted.new} of {len(inverted.quality)} images inverted anew, bank {inverted.bank.folder}")
    for column in ("image", "round trip, dB", "autoencoder alone, dB", "residual"):
        table.add_column(column, justify="left" if column == "image" else "right")
    for name, quality in sorted(inverted.quality.items(), key=lambda row: row[1].round_trip):
        table.add_row(
            name,
            f"{quality.round_trip:.1f}",
            f"{quality.autoencoder:.1f}",
            f"{quality.residual:.1e}" if quality.residual else "–",
        )
    Console().print(table)


def verify_command(args: list[str]) -> None:
    """Check a dataset folder."""
    parser = CommandParser(prog="augment verify", description=verify.__doc__)
    parser.add_argument("folder", type=str, help="Dataset folder made by `augment synthesize`.")
    folder = Path(parser.parse_args(args).folder)
    print(f"{folder}: {verify(folder)} samples, all shards as described in dataset.json")


def pretrain_command(args: list[str]) -> None:
    """Train a latent-diffusion backbone and save it under the output folder."""
    defaults = {"log_every_n_steps": 100, "max_epochs": -1}
    cli = OutputCLI(LatentDiffusion, PretrainData, "augment pretrain", args, 0, defaults)
    ema = EMAWeightAveraging(decay=0.999, update_starting_at_step=cli.model.autoencoder_steps)
    trainer = cli.instantiate_trainer(callbacks=[ema])
    trainer.fit(cli.model, datamodule=cli.datamodule)
    folder = Path(cli.config.output) / "model"
    if not trainer.is_global_zero:
        return
    cli.model.save(folder)
    command = shlex.join(["augment", "pretrain", *args])
    rows = write_model_card(folder, cli.datamodule.source, cli.model.prompt, command)
    table = Table(title=f"{folder}: reconstruction of the test images")
    for column in ("", "PSNR, dB", "MSE"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        table.add_row(row.name, f"{row.psnr:.2f}", f"{row.mse:.6f}")
    Console().print(table)
