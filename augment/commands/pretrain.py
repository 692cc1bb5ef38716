"""What `augment pretrain` does with its parsed configuration."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse.typing import PositiveFloat, PositiveInt
from lightning.pytorch.cli import LightningArgumentParser
from rich.table import Table

from augment.commands.parsing import add_switch
from augment.commands.trainer_options import SILENT, TrainingCLI
from augment.errors import UserError
from augment.pretrain.base import AUTOENCODER_SHARE, AUTOENCODER_STEPS, Pretraining
from augment.pretrain.data import PretrainData
from augment.pretrain.pace import Pace, time_steps
from augment.pretrain.run import (
    check_folder,
    check_settings,
    is_finished,
    pretrain,
    recorded_first_phase,
    recorded_steps,
    steps_of,
)
from augment.runtime.foreign_text import plain
from augment.runtime.processes import Companions
from augment.runtime.progress import clock
from augment.runtime.terminal import PlainConsole
from augment.training.checkpoints import latest_checkpoint


class PretrainCLI(TrainingCLI):
    """The options of `pretrain`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Which model; how often a run is kept and shown."""
        super().add_arguments_to_parser(parser)
        parser.description = """Train a diffusion model by the epsilon objective, E ||eps - eps_theta(z_t, t)||^2: on
        pixels (--model DDPM; Ho et al. 2020, Eq. 14) or in the latents of an autoencoder that is trained first
        (--model LatentDiffusion; Rombach et al. 2022, Eq. 2). OUTPUT/progress shows the losses and samples meanwhile;
        OUTPUT/model is the finished backbone, with averaged weights. A run that was stopped goes on from its last
        checkpoint when the same command is given again; with another --trainer.max_steps or --minutes it is lengthened
        or ends earlier, and the learning rate follows the new cosine from there on."""
        parser.link_arguments("model.init_args.image_size", "data.image_size")
        parser.add_argument(
            "--checkpoint_every",
            "--checkpoint-every",
            type=PositiveInt | None,
            default=None,
            help="Steps between checkpoints, the most that a kill can lose, and between pictures in OUTPUT/progress; "
            "by default 500, or a tenth of the steps if that is less.",
        )
        parser.add_argument(
            "--minutes",
            type=PositiveFloat | None,
            default=None,
            help="Train for about so long, counted from the first step, in place of --trainer.max_steps: a stretch is "
            "timed and the number of steps chosen, so that the learning rate ends at 0. A run that is continued keeps "
            "the number. Pictures, checkpoints and the model card come on top.",
        )
        add_switch(
            parser, "dry_run", "Time a stretch, print the steps and how long they would take, and write nothing."
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


CHECKPOINT_STEPS = 500
"""Between checkpoints of a long training, where nothing else is said."""


def pretrain_command(args: list[str]) -> None:
    """Train a diffusion model, latent or on pixels, and save it under the output folder."""
    companions = Companions()
    defaults = {"log_every_n_steps": 100, "max_epochs": -1, "enable_model_summary": False}
    cli = PretrainCLI(Pretraining, PretrainData, "augment pretrain", args, 0, defaults, choose_model=True)
    parsed = json.loads(cli.parser.dump(cli.config, format="json", skip_none=False, skip_link_targets=False))
    config = {name: parsed[name] for name in ("seed_everything", "model", "data")}
    if config["model"]["init_args"].get("autoencoder", "") is None:
        del config["model"]["init_args"]["autoencoder"]  # as a training is described that was begun before there was it
    config["trainer"] = {name: parsed["trainer"][name] for name in DECISIVE_TRAINER_OPTIONS}
    output, minutes = Path(cli.config.output), cli.config.minutes

    def options_of(callbacks: list[L.Callback], steps: int) -> dict[str, Any]:
        options: dict[str, Any] = {"callbacks": [companions, *callbacks], "max_steps": steps}
        if cli.trainer.world_size > 1 and cli.config.trainer.strategy in ("auto", "ddp"):
            # Of two networks one has no gradients in either phase.
            options["strategy"] = "ddp_find_unused_parameters_true" if cli.model.denoising_from else "ddp"
        return options

    def timing_trainer(callbacks: list[L.Callback], steps: int) -> L.Trainer:
        trainer: L.Trainer = cli.instantiate_trainer(**options_of(callbacks, steps), **SILENT)
        companions.launch(trainer)
        return trainer

    def settle(first_phase: int) -> None:
        config["model"]["init_args"]["autoencoder_steps"] = first_phase
        if cli.model.denoising_from:
            cli.model.denoising_from = first_phase

    pace = None
    undecided = config["model"]["init_args"].get("autoencoder_steps", 0) is None
    if undecided and (known := recorded_first_phase(output)) is not None:
        settle(known)
        undecided = False
    if minutes is not None:
        if steps_of(config) > 0:
            raise UserError("minutes", "it and `trainer.max_steps` both say when to stop", "give one of them")
        if (recorded := recorded_steps(output)) is not None:
            config["trainer"]["max_steps"] = recorded
            check_folder(output, config)  # before anything is timed
        steps = recorded_steps(output, minutes)
        if steps is None:
            announce_timing(cli.trainer)
            pace = time_steps(cli.model, cli.datamodule, timing_trainer)
            if undecided:
                pace = pace.shared(minutes)
                settle(pace.switch or AUTOENCODER_STEPS)
            steps = pace.steps(minutes)
        config["trainer"]["max_steps"] = steps
    elif undecided:
        settle(max(1, min(AUTOENCODER_STEPS, int(steps_of(config) * AUTOENCODER_SHARE))))
    if cli.config.dry_run:
        check_folder(output, config)
        check_settings(cli.model, cli.instantiate_trainer(max_steps=steps_of(config)))
        if pace is None:
            announce_timing(cli.trainer)
            pace = time_steps(cli.model, cli.datamodule, timing_trainer)
        companions.close()
        if cli.trainer.is_global_zero:
            PlainConsole().print(cost_table(pace, output, steps_of(config)))
        return
    if is_finished(output, config):
        if cli.trainer.is_global_zero:
            print(f"{output / 'model'} is finished; nothing to do (choose another --output to train anew)")
        return

    def make_trainer(callbacks: list[L.Callback]) -> L.Trainer:
        trainer: L.Trainer = cli.instantiate_trainer(**options_of(callbacks, steps_of(config)))
        check_settings(cli.model, trainer)  # before another process starts, and says the same
        companions.launch(trainer)
        return trainer

    if cli.trainer.is_global_zero:
        print(told(cli.model, cli.datamodule, output, steps_of(config)), flush=True)
    command = shlex.join(["augment", "pretrain", *args])
    every = cli.config.checkpoint_every or max(1, min(CHECKPOINT_STEPS, steps_of(config) // 10))
    rows = pretrain(cli.model, cli.datamodule, output, config, every, make_trainer, command, minutes)
    companions.close()
    if not cli.trainer.is_global_zero:
        return
    table = Table(title=f"{output / 'model'}: reconstruction of the test images")
    for column in ("", "PSNR, dB", "MSE"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        table.add_row(row.name, f"{row.psnr:.2f}", f"{row.mse:.6f}")
    PlainConsole().print(table if rows else f"model: {output / 'model'}")


def announce_timing(trainer: L.Trainer) -> None:
    """Say what the first minute is spent on."""
    if trainer.is_global_zero:
        print("timing a stretch of training, to choose the number of steps", file=sys.stderr, flush=True)


def told(model: Pretraining, data: PretrainData, output: Path, steps: int) -> str:
    """What is about to be trained, in one line."""
    sizes = ", ".join(
        f"{name} of {sum(weight.numel() for weight in network.parameters()) / 1e6:.2f} M weights"
        for name, network in model.networks.items()
    )
    prompt = f", prompt '{model.prompt}'" if model.prompt else ""
    first = f", the first {model.denoising_from:,} for the autoencoder" if model.denoising_from else ""
    images = f"{len(data.source.pool):,} images at {data.image_size} px"
    return plain(f"{sizes}{prompt}: {images} -> {steps:,} steps{first}, in {output}")


def cost_table(pace: Pace, output: Path, steps: int) -> Table:
    """What a training would still take."""
    begun = latest_checkpoint(output / "checkpoints", output / "finished")
    done = 0 if begun is None else min(int(begun.stem), steps)
    table = Table(title=f"what '{output}' would still take", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("optimizer steps", f"{steps - done:,}" + (f" (from {done:,} to {steps:,})" if done else ""))
    if pace.switch > done:
        table.add_row(f"seconds per step, autoencoder (to step {pace.switch:,})", f"{pace.autoencoder:.3g}")
    table.add_row("seconds per step, denoiser", f"{pace.denoiser:.3g}")
    table.add_row("time, without pictures and model card", clock(pace.seconds(done, steps)))
    return table
