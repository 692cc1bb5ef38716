"""What `classify fit` does: its options are a model, data and a trainer, which `train_and_save` takes."""

from pathlib import Path

from lightning.pytorch.cli import LightningArgumentParser
from rich.table import Table

from augment.commands.parsing import add_switch
from augment.commands.trainer_options import TrainingCLI
from augment.runtime.processes import Companions
from augment.runtime.terminal import PlainConsole
from classify.train.classifier import Classifier
from classify.train.data import ClassificationData
from classify.train.fit import TRAINER, FitResult, train_and_save
from classify.train.leaks import NearDuplicates


class FitCLI(TrainingCLI):
    """The options of `classify fit`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The extractor of the Fréchet distance, and the link from the data's classes to the model's head."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.add_argument(
            "--extractor",
            type=str | None,
            default=None,
            help="Compare the synthetic set with the real pool: 'inception' for FID, 'digits', 'clip', 'dinov2', "
            "or a timm model.",
        )
        parser.add_argument(
            "--reference",
            type=str | None,
            default=None,
            help="Folder of class folders that the synthetic set is compared with; by default the pool that the "
            "few-shot set was drawn from.",
        )
        parser.add_argument(
            "--extractor_weights", type=str | None, default=None, help="Local file of the extractor's weights."
        )
        parser.set_defaults({"data.source": {"class_path": "augment.images.sources.Digits"}})
        add_switch(parser, "skip_bad", "Pass over real images that cannot be read instead of stopping.")
        parser.link_arguments("skip_bad", "data.skip_bad")
        parser.add_argument(
            "--near_duplicates",
            type=NearDuplicates,
            default="warn",
            help="What to do about test images that are nearly few-shot images (encoded anew, resized, slightly "
            "cropped): 'warn' names them, 'refuse' stops, 'ignore' does not look for them.",
        )
        add_switch(parser, "untested", "Train without any test images, and test nothing.")
        parser.add_argument("--half", type=bool, default=False, help="Save the classifier in fp16.")


def fit_command(args: list[str]) -> None:
    """Train one classifier, test it once, and save it with its results."""
    companions = Companions("nothing of this training is kept, run the same command again")
    defaults = {"max_steps": 1000, **TRAINER}
    cli = FitCLI(Classifier, ClassificationData, "classify fit", args, 0, defaults)
    config, trainer = cli.config, cli.instantiate_trainer(callbacks=[companions])
    found = train_and_save(
        cli.model,
        cli.datamodule,
        trainer,
        Path(config.output),
        config.extractor,
        config.extractor_weights,
        config.reference,
        config.half,
        config.near_duplicates,
        companions,
        config.untested,
    )
    companions.close()
    if trainer.is_global_zero:
        print_result(found, 0 if config.untested else len(cli.datamodule.source.test))


def print_result(found: FitResult, count: int) -> None:
    """Print what the final test and the set metrics found.

    Args:
        found: A trained classifier.
        count: Test images.
    """
    table = Table(title=f"{count} test images" if count else "not tested")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in found.metrics.items():
        if isinstance(value, float):
            table.add_row(name, f"{value:.4f}")
    for name, value in found.per_class.items():
        table.add_row(f"top1 of {name}", f"{value:.4f}")
    console = PlainConsole()
    console.print(table)
    for caveat in found.metrics.get("caveats", []):
        console.print(caveat)
    console.print(f"results: {found.results}; classifier: {found.classifier}", soft_wrap=True)
