"""What each `classify` command does with its parsed configuration."""

from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console
from rich.table import Table

from augment.commands.parsing import TrainingCLI, add_switch
from augment.dataset.manifest import read_manifest
from augment.errors import UserError
from augment.images.sources import ImageFolder
from augment.measure.reference import make_reference
from augment.runtime.files import write_json
from classify.train.card import write_card
from classify.train.classifier import Classifier
from classify.train.data import ClassificationData
from classify.train.fit import check_test_images, fit_and_test


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
            help="Folder of class folders to compare with; by default what the few-shot set was drawn from.",
        )
        parser.add_argument("--extractor_weights", type=str | None, default=None, help="Local file of its weights.")
        parser.set_defaults({"data.source": {"class_path": "augment.images.sources.Digits"}})
        add_switch(parser, "skip_bad", "Pass over unreadable images.")
        parser.link_arguments("skip_bad", "data.skip_bad")
        parser.add_argument("--half", type=bool, default=False, help="Save the classifier in fp16.")


def fit_command(args: list[str]) -> None:
    """Train one classifier, test it once, and save it with its results."""
    defaults = {
        "max_steps": 1000,
        "log_every_n_steps": 20,
        "enable_checkpointing": False,
        "use_distributed_sampler": False,
    }
    cli = FitCLI(Classifier, ClassificationData, "classify fit", args, 0, defaults)
    data: ClassificationData = cli.datamodule
    check_synthetic_settings(data, cli.config)
    cli.model.check_size(data.batches.image_size)
    output = Path(cli.config.output)
    reference = None
    if cli.trainer.is_global_zero and data.synthetic is not None and cli.config.extractor is not None:
        manifest = read_manifest(data.synthetic)
        images = data.source if cli.config.reference is None else ImageFolder(cli.config.reference)
        made = {manifest["classes"][shot["label"]] for shot in manifest["few_shot"]}
        extractor, weights, size = cli.config.extractor, cli.config.extractor_weights, manifest["config"]["resolution"]
        reference = make_reference(extractor, weights, images, size, data.skip_bad, made)
    check_test_images(data.source, [data.few_shot])
    fitted = fit_and_test(cli.model, data, cli.trainer)
    if not cli.trainer.is_global_zero:
        return
    results = fitted.results | {"seconds": fitted.seconds}
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "results.json", results)
    cli.model.save(output / "classifier", data.few_shot.classes, data.batches.image_size, cli.config.half)
    if reference is not None and data.synthetic is not None:
        measured = reference.measure(data.synthetic, data.source, data.few_shot)
        results |= measured.values | {"caveats": measured.caveats}
        write_json(output / "results.json", results)
    write_card(output)
    table = Table(title=f"{len(data.source.test)} test images")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in results.items():
        if isinstance(value, float):
            table.add_row(name, f"{value:.4f}")
    for name, value in results["per_class"].items():
        table.add_row(f"top1 of {name}", f"{value:.4f}")
    console = Console()
    console.print(table)
    for caveat in results.get("caveats", []):
        console.print(caveat)
    console.print(f"results: {output / 'results.json'}; classifier: {output / 'classifier'}", soft_wrap=True)


def check_synthetic_settings(data: ClassificationData, config: Namespace) -> None:
    """Refuse settings of a synthetic set where there is none; a study's row without one ignores them.

    Raises:
        UserError: If there are such.
    """
    if data.synthetic is not None:
        return
    for name, default in (("synthetic_use", "batch"), ("synthetic_smoothing", 0)):
        if (value := getattr(data.batches, name)) != default:
            raise UserError(f"data.batches.{name}: {value} means nothing without --data.synthetic; give its folder")
    measured = {name: config[name] for name in ("extractor", "reference", "extractor_weights")}
    for name, value in ({"data.synthetic_filter": data.synthetic_filter} | measured).items():
        if value is not None:
            raise UserError(f"{name}: '{value}' means nothing without --data.synthetic; give its folder")
