"""What `augment invert` does."""

import time
from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning.pytorch.cli import LightningArgumentParser
from rich.table import Table

from augment.commands import known_families  # noqa: F401
from augment.commands.parsing import add_switch
from augment.commands.synthesize import SynthesisCLI, parse_synthesis, print_profile, trainer_factory
from augment.errors import UserError
from augment.inversion.compare import check
from augment.inversion.fill import Inverted, bank_folder, invert
from augment.inversion.show import print_trials, write_trials
from augment.mix.registry import configure
from augment.runtime.claim import check_outside
from augment.runtime.place import check_folder
from augment.runtime.processes import Companions
from augment.runtime.profile import StageProfiler
from augment.runtime.terminal import PlainConsole


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
            help="Numbers of steps that --check tries; by default the inversion's own.",
        )
        parser.add_argument(
            "--check_forward_steps",
            "--check-forward-steps",
            type=list[NonNegativeInt],
            default=[1, 2, 3, 5],
            help="Numbers of first steps that --check replaces by added noise, for the inversion's own kind.",
        )


def invert_command(args: list[str]) -> None:
    """Fill the latent bank and report the round trip, or compare inversions."""
    companions = Companions()
    cli = parse_synthesis("invert", args, InversionCLI)
    options, model, output = cli.datamodule, cli.model, Path(cli.config.output).resolve()
    check_outside(output, options.source.folders)
    check_folder(output, "output")
    few_shot = options.few_shot()
    prompts = model.settings.inversion_prompts(few_shot)
    if cli.config.check:
        of_shots = [prompts[shot.label] for shot in few_shot.all]
        if cli.config.check_steps == []:
            raise UserError("check_steps", "an empty list leaves nothing to try", "name some, or leave it out")
        steps = cli.config.check_steps or [model.inversion.steps]
        device = cli.trainer.strategy.root_device
        forward = cli.config.check_forward_steps
        trials, rows = check(
            model.backbone, model.inversion, model.guidance, options.source, few_shot, of_shots, device, steps, forward
        )
        write_trials(output, trials, rows)
        print_trials(trials, float(model.guidance), model.inversion.warn_psnr)
        return
    begun, profiler = time.perf_counter(), StageProfiler()
    inverted = invert(
        model.backbone,
        options.source,
        few_shot,
        prompts,
        bank_folder(options.bank, output, model.backbone.identity),
        model.inversion,
        configure(options.method, options.settings).latents,
        model.compiled,
        (output,),
        trainer_factory(cli, companions, profiler),
    )
    companions.close()
    if cli.trainer.is_global_zero:
        print_profile(profiler, time.perf_counter() - begun)
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
    PlainConsole().print(table)
