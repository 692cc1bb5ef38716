"""What `augment tune` does with its parsed configuration."""

import json
import shlex
from pathlib import Path

import lightning as L
from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning.pytorch.cli import LightningArgumentParser

from augment.backbones.tuned import MANIFEST
from augment.commands import known_families  # noqa: F401
from augment.commands.parsing import add_switch
from augment.commands.trainer_options import SILENT, TrainingCLI
from augment.errors import UserError
from augment.runtime.claim import check_configuration, check_outside
from augment.runtime.processes import Companions
from augment.runtime.terminal import PlainConsole
from augment.tuning.data import TuningData
from augment.tuning.dry_run import cost_table, estimate
from augment.tuning.run import PRECISIONS, describe, is_finished, tune
from augment.tuning.tuner import Tuner


class TuneCLI(TrainingCLI):
    """The options of `tune`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """One seed; how often a run is kept and shown."""
        super().add_arguments_to_parser(parser)
        parser.description = """Fit a backbone to a few images per class by its own objective (noise, v or velocity):
        LoRA weights on its networks, and a new word for each class where the prompt has {token}. Its own weights stay
        as they are. OUTPUT/progress shows the loss and samples meanwhile. A run that was stopped goes on from its last
        checkpoint when the same command is given again, and ends in the same weights."""
        parser.add_argument(
            "--seed", type=NonNegativeInt, default=0, help="Chooses the real images; draws weights and noise."
        )
        parser.link_arguments("model.tuning.steps", "trainer.max_steps", compute_fn=int)
        parser.link_arguments("seed", "data.seed")
        parser.link_arguments("seed", "model.seed")
        parser.link_arguments("model.backbone.image_size", "data.image_size", apply_on="instantiate")
        parser.add_argument(
            "--checkpoint_every",
            "--checkpoint-every",
            type=PositiveInt,
            default=100,
            help="Steps between checkpoints, the most that a kill can lose, and between pictures in OUTPUT/progress.",
        )
        add_switch(parser, "dry_run", "Time some steps, print what the run would take, and write nothing.")
        parser.set_defaults(
            {
                "model.backbone": {"class_path": "augment.backbones.stable_diffusion.StableDiffusion"},
                "data.source": {"class_path": "augment.images.sources.Digits"},
                "logger": "none",  # OUTPUT/progress has the curve
            }
        )


def tune_command(args: list[str]) -> None:
    """Fit a backbone to the user's classes."""
    companions = Companions()
    defaults = {
        "log_every_n_steps": 10,
        "max_epochs": -1,
        "use_distributed_sampler": False,
        "enable_model_summary": False,
    }
    cli = TuneCLI(Tuner, TuningData, "augment tune", args, False, defaults)
    tuner, data, output = cli.model, cli.datamodule, Path(cli.config.output).resolve()
    if cli.config.trainer.precision is not None:
        raise UserError("trainer.precision", "is given, and the model's decides", "use `model.precision`")
    check_outside(output, data.source.folders)
    backbone = json.loads(cli.parser.dump(cli.config, format="json"))["model"]["backbone"]
    config = describe(tuner, data, backbone, cli.trainer.world_size)

    def timing_trainer(callbacks: list[L.Callback], steps: int) -> L.Trainer:
        precision = PRECISIONS[tuner.precision]
        trainer: L.Trainer = cli.instantiate_trainer(
            callbacks=[companions, *callbacks], precision=precision, max_steps=steps, **SILENT
        )
        companions.launch(trainer)
        return trainer

    if cli.config.dry_run:
        check_configuration(output, MANIFEST, "tuning", config, "choose another `output` or delete it")
        cost = estimate(tuner, data, timing_trainer)
        companions.close()
        if cli.trainer.is_global_zero:
            PlainConsole().print(cost_table(cost, str(output)))
        return

    def make_trainer(callbacks: list[L.Callback]) -> L.Trainer:
        trainer: L.Trainer = cli.instantiate_trainer(
            callbacks=[companions, *callbacks], precision=PRECISIONS[tuner.precision]
        )
        companions.launch(trainer)
        return trainer

    if cli.trainer.is_global_zero:
        print(headline(tuner, data, output))
        if is_finished(output):
            print(f"{output} is finished; nothing to do (choose another --output to tune anew)")
    tune(tuner, data, output, config, cli.config.checkpoint_every, make_trainer, shlex.join(["augment", "tune", *args]))
    companions.close()
    if cli.trainer.is_global_zero:
        print(f"tuned: {output}")
        print(f"use it: augment synthesize --tuned {shlex.quote(str(output))} --output FOLDER")


def headline(tuner: Tuner, data: TuningData, output: Path) -> str:
    """What a run will do, in one line."""
    few_shot, backbone = data.few_shot, tuner.checkpoint.partition("@")[0]
    images = f"{len(few_shot.all)} real images of {len(few_shot.labels)} classes"
    return f"tuning {backbone}, prompt '{tuner.tuning.prompt}': {images}, {tuner.tuning.steps} steps, in {output}"
