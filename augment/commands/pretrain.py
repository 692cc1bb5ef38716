"""What `augment pretrain` does with its parsed configuration."""

import json
import shlex
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse.typing import PositiveInt
from lightning.pytorch.cli import LightningArgumentParser
from rich.table import Table

from augment.commands.parsing import TrainingCLI
from augment.pretrain.base import Pretraining
from augment.pretrain.data import PretrainData
from augment.pretrain.run import check_settings, is_finished, pretrain
from augment.runtime.processes import Companions
from augment.runtime.terminal import PlainConsole


class PretrainCLI(TrainingCLI):
    """The options of `pretrain`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Which model; how often a run is kept and shown."""
        super().add_arguments_to_parser(parser)
        parser.description = """Train a diffusion model by the epsilon objective, E ||eps - eps_theta(z_t, t)||^2: on
        pixels (--model DDPM; Ho et al. 2020, Eq. 14) or in the latents of an autoencoder that is trained first
        (--model LatentDiffusion; Rombach et al. 2022, Eq. 2). OUTPUT/progress shows the losses and samples meanwhile;
        OUTPUT/model is the finished backbone, with averaged weights. A run that was stopped goes on from its last
        checkpoint when the same command is given again."""
        parser.link_arguments("model.init_args.image_size", "data.image_size")
        parser.add_argument(
            "--checkpoint_every",
            "--checkpoint-every",
            type=PositiveInt,
            default=500,
            help="Steps between checkpoints, the most that a kill can lose, and between pictures in OUTPUT/progress.",
        )
        parser.set_defaults({"model": {"class_path": "augment.pretrain.latent.LatentDiffusion"}})
        parser.set_defaults({"logger": "none"})  # OUTPUT/progress has the curves


DECISIVE_TRAINER_OPTIONS = (
    "max_steps",
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
)
"""Those that change what a training comes to; the others say where and how fast it runs."""


def pretrain_command(args: list[str]) -> None:
    """Train a diffusion model, latent or on pixels, and save it under the output folder."""
    companions = Companions()
    defaults = {"log_every_n_steps": 100, "max_epochs": -1}
    cli = PretrainCLI(Pretraining, PretrainData, "augment pretrain", args, 0, defaults, choose_model=True)
    parsed = json.loads(cli.parser.dump(cli.config, format="json", skip_none=False, skip_link_targets=False))
    config = {name: parsed[name] for name in ("seed_everything", "model", "data")}
    config["trainer"] = {name: parsed["trainer"][name] for name in DECISIVE_TRAINER_OPTIONS}
    output = Path(cli.config.output)
    if is_finished(output, config):
        if cli.trainer.is_global_zero:
            print(f"{output / 'model'} is finished; nothing to do (choose another --output to train anew)")
        return

    def make_trainer(callbacks: list[L.Callback]) -> L.Trainer:
        options: dict[str, Any] = {"callbacks": [companions, *callbacks]}
        if cli.trainer.world_size > 1 and cli.config.trainer.strategy in ("auto", "ddp"):
            # Of two networks one has no gradients in either phase.
            options["strategy"] = "ddp_find_unused_parameters_true" if cli.model.denoising_from else "ddp"
        trainer: L.Trainer = cli.instantiate_trainer(**options)
        check_settings(cli.model, trainer)  # before another process starts, and says the same
        companions.launch(trainer)
        return trainer

    command = shlex.join(["augment", "pretrain", *args])
    rows = pretrain(cli.model, cli.datamodule, output, config, cli.config.checkpoint_every, make_trainer, command)
    companions.close()
    if not cli.trainer.is_global_zero:
        return
    table = Table(title=f"{output / 'model'}: reconstruction of the test images")
    for column in ("", "PSNR, dB", "MSE"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        table.add_row(row.name, f"{row.psnr:.2f}", f"{row.mse:.6f}")
    PlainConsole().print(table if rows else f"model: {output / 'model'}")
