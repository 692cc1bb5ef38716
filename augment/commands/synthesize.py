"""What `augment synthesize` does, and the options that it shares with `augment invert`."""

import shlex
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning as L
from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from augment.commands import known_families  # noqa: F401
from augment.commands.parsing import add_switch
from augment.commands.trainer_options import OutputCLI
from augment.dataset.card import prompts_in_words
from augment.dataset.preview import PREVIEW
from augment.errors import UserError
from augment.images.few_shot import FewShotSet, choose_few_shot_set
from augment.images.sources import ImageSource
from augment.inversion.fill import bank_folder
from augment.mix.draws import Mixing
from augment.mix.registry import MethodName, check_sources
from augment.runtime.claim import check_outside
from augment.runtime.processes import Companions
from augment.runtime.profile import StageProfiler, profile_table
from augment.runtime.terminal import PlainConsole
from augment.runtime.trainer import QUIET_TRAINER, MakeTrainer
from augment.synthesis.batch_size import settled_recipe
from augment.synthesis.dry_run import cost_table, estimate
from augment.synthesis.pipeline import synthesize
from augment.synthesis.plan import Plan
from augment.synthesis.recipe import Recipe, make_recipe
from augment.synthesis.synthesizer import Synthesizer


@dataclass(frozen=True)
class DatasetOptions:
    """What the user asks for beside the model: real images, method, mixtures and the dataset's layout.

    Args:
        source: Where the real images come from.
        method: How a start is made: norm and mean adjustment as in the paper, or another method by name.
        shots: Real images per class.
        seed: Chooses the few-shot set and draws every mixture.
        classes: Make images of these classes only; null makes images of all.
        mixing: How the sources of an image and their weights are drawn.
        plan: Size and layout of the dataset.
        settings: Settings of the method by name, such as `strength` of `sdedit`; what is left out stays as the
            method's authors have it.
        bank: Folder of inverted latents; by default one per backbone below `bank`, beside the dataset.
        skip_bad: Pass over real images that cannot be read instead of stopping.
    """

    source: ImageSource
    method: MethodName = "nin/chm"
    shots: PositiveInt = 5
    seed: NonNegativeInt = 0
    classes: list[str] | None = None
    mixing: Mixing = Mixing()  # noqa: RUF009  (frozen)
    plan: Plan = Plan()  # noqa: RUF009  (frozen)
    settings: dict[str, Any] = field(default_factory=dict)
    bank: str | None = None
    skip_bad: bool = False

    def few_shot(self) -> FewShotSet:
        """The real images that may be used; reads them."""
        return choose_few_shot_set(self.source, self.shots, self.seed, self.classes, self.skip_bad)

    def recipe(self, model: Synthesizer, few_shot: FewShotSet, plan: Plan) -> Recipe:
        """Everything that decides an image, frozen."""
        check_sources(self.method, self.mixing.sources)
        return make_recipe(model, few_shot, self.method, self.seed, self.mixing, plan, self.settings)


class SynthesisCLI(OutputCLI):
    """The options of `synthesize` and `invert`: what users change most stands at the top level."""

    datamodule: DatasetOptions

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Trainer and model as in any LightningCLI; the data are plain options, from which a recipe is made."""
        parser.add_lightning_class_args(L.Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})
        parser.add_lightning_class_args(Synthesizer, "model")
        parser.add_class_arguments(DatasetOptions, "data")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Short names for the settings of the dataset."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--method",
            type=MethodName,
            default="nin/chm",
            help="Norm and mean adjustment of a mixture, as in the paper, or another method by name.",
        )
        parser.add_argument(
            "--shots", type=PositiveInt, default=5, help="Number of real images per class that may be used."
        )
        parser.add_argument(
            "--seed", type=NonNegativeInt, default=0, help="Chooses the few-shot set and draws every mixture."
        )
        parser.add_argument("--classes", type=list[str] | None, default=None, help="Make images of these classes only.")
        parser.add_argument(
            "--per_class", "--per-class", type=PositiveInt, default=100, help="Number of synthetic images per class."
        )
        parser.add_argument(
            "--batch_size",
            "--batch-size",
            type=PositiveInt | Literal["auto"],
            default=16,
            help="Number of images made at a time; `auto` tries what is fastest on the device, once per dataset.",
        )
        add_switch(parser, "skip_bad", "Pass over unreadable images.")
        add_switch(parser, "overwrite", "Delete another dataset in the output folder.")
        add_switch(parser, "compile", "Compile the denoiser: a slow start, then faster; for long runs.")
        add_switch(parser, "offload", "Keep networks in host memory while not in use; slower, for small devices.")
        add_switch(parser, "profile", "Print where the seconds went; waits for the device after each stage.")
        for name in ("method", "shots", "seed", "classes", "skip_bad"):
            parser.link_arguments(name, f"data.{name}")
        parser.link_arguments("per_class", "data.plan.per_class")
        parser.link_arguments("batch_size", "data.plan.batch_size")
        parser.link_arguments("compile", "model.compile")
        parser.link_arguments("offload", "model.offload")
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
    return cli(Synthesizer, None, f"augment {name}", args, False, QUIET_TRAINER)


def trainer_factory(cli: LightningCLI, companions: Companions, profiler: StageProfiler) -> MakeTrainer:
    """A trainer with the command line's settings around the given callbacks, profiled if the command asks for it."""
    measured = {"profiler": profiler} if cli.config.profile else {}

    def make(callbacks: list[L.Callback]) -> L.Trainer:
        trainer: L.Trainer = cli.instantiate_trainer(callbacks=[companions, *callbacks], **measured)
        if trainer.precision != "32-true":
            raise UserError(
                "trainer.precision",
                f"{trainer.precision} would be recorded nowhere",
                "use `model.precision` and `model.inversion.precision`",
            )
        companions.launch(trainer)
        return trainer

    return make


def synthesize_command(args: list[str]) -> None:
    """Write a synthetic dataset, or say what that would cost."""
    companions = Companions()
    cli = parse_synthesis("synthesize", args, GenerationCLI)
    options, model, output = cli.datamodule, cli.model, Path(cli.config.output).resolve()
    check_outside(output, options.source.folders)
    profiler = StageProfiler()
    make_trainer = trainer_factory(cli, companions, profiler)
    begun = time.perf_counter()
    few_shot = options.few_shot()
    recipe_of = partial(options.recipe, model, few_shot)
    recipe = settled_recipe(recipe_of, options.plan, model, output, cli.config.overwrite, make_trainer)
    bank = bank_folder(options.bank, output, recipe.model.backbone)
    if cli.trainer.is_global_zero:
        print(headline(recipe, output))
    if cli.config.dry_run:
        trainer = cli.trainer
        device, devices = trainer.strategy.root_device, trainer.world_size
        cost = estimate(model, recipe, output, bank, cli.config.overwrite, device, devices)
        PlainConsole().print(cost_table(cost, output))
        return
    folder = synthesize(model, options.source, recipe, output, bank, cli.config.overwrite, make_trainer)
    companions.close()
    if cli.trainer.is_global_zero:
        print_profile(profiler, time.perf_counter() - begun)
        print(f"dataset: {folder}")
        print(f"preview: {folder / PREVIEW}")
        print(f"look at it: {shlex.join(['augment', 'browse', str(folder)])}")


def headline(recipe: Recipe, output: Path) -> str:
    """What a run will do, in one line: nobody should learn afterwards that it was another model or prompt."""
    backbone, few_shot = recipe.model.backbone.partition("@")[0], recipe.few_shot
    images = f"{len(few_shot.all)} real images of {len(few_shot.labels)} classes"
    made = f"{recipe.plan.per_class} synthetic ones per class"
    prompt = prompts_in_words(recipe.model.prompts.describe())
    return f"{recipe.method_name} on {backbone}, prompt {prompt}: {images} -> {made}, in {output}"


def print_profile(profiler: StageProfiler, total: float) -> None:
    """Where the seconds went, if that was measured."""
    if profiler.seconds:
        PlainConsole().print(profile_table(profiler.report(total), total))
