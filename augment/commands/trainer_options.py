"""How does a command around a trainer parse its options and speak? As LightningCLI does, without its chatter."""

from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from augment.commands.parsing import OneLineErrors
from augment.errors import UserError
from augment.runtime.loggers import LoggerName, make_logger
from augment.runtime.quiet import quiet
from augment.runtime.step_bar import StepProgress

SILENT: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
"""For a trainer that shows and writes nothing."""


class _LightningParser(OneLineErrors, LightningArgumentParser):
    """For commands around a trainer."""


class OutputCLI(LightningCLI):
    """A command around a fixed pair of classes, with `--output`, the one folder that it writes to.

    Args:
        model: Class of the model.
        data: Class of the data; None where a command adds plain options in its place.
        command: The command's name, as the user types it.
        args: Its options.
        seed: Default of --seed_everything; False where nothing draws from the global generators.
        trainer_defaults: Defaults of the trainer; one device, unless the user asks for more.
        choose_model: Whether the user chooses among the subclasses of `model`.
    """

    def __init__(
        self,
        model: type[L.LightningModule],
        data: type[L.LightningDataModule] | None,
        command: str,
        args: list[str],
        seed: int | Literal[False],
        trainer_defaults: dict[str, Any],
        choose_model: bool = False,
    ) -> None:
        quiet()
        super().__init__(
            model,
            data,
            subclass_mode_model=choose_model,
            args=args,
            run=False,
            seed_everything_default=seed,
            save_config_callback=None,
            auto_configure_optimizers=False,
            parser_class=_LightningParser,
            parser_kwargs={"prog": command},
            trainer_defaults={"devices": 1, **trainer_defaults},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Lightning's own files go to the output folder too, not to the working directory."""
        parser.add_argument("--output", type=str, required=True, help="Folder to write to.")
        parser.link_arguments("output", "trainer.default_root_dir")

    @property
    def configured_callbacks(self) -> list[L.Callback]:
        """The user's own, by --trainer.callbacks."""
        found = self.config_init.trainer.callbacks or []
        return found if isinstance(found, list) else [found]

    def instantiate_classes(self) -> None:
        """Make what the options describe; what a callback of Lightning's refuses is the user's to mend.

        Raises:
            UserError: If one does.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            if not isinstance(error.__cause__, MisconfigurationException):
                raise
            remedy = "give what Lightning's callback takes"
            raise UserError("trainer.callbacks", str(error.__cause__).rstrip("."), remedy) from error

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer with the user's callbacks beside the command's own; what Lightning refuses is the user's to mend.

        Raises:
            UserError: If so.
        """
        callbacks = [*kwargs.get("callbacks", []), *self.configured_callbacks]
        try:
            return super().instantiate_trainer(**kwargs | {"callbacks": callbacks})
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise UserError("trainer", str(error).rstrip("."), "give a value that Lightning's trainer takes") from error


class TrainingCLI(OutputCLI):
    """A command that trains, with `--logger`: where its curves go."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Lightning's own default depends on what happens to be installed."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--logger",
            type=LoggerName,
            default="csv",
            help="Where training curves go, in OUTPUT/curves: 'csv', 'tensorboard', 'wandb' (WANDB_MODE=offline "
            "without a network), or 'none'; --trainer.logger names any other.",
        )

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer with that logger and a bar of steps, unless the user configured others."""
        trainer = self.config_init.trainer
        shown = kwargs.get("enable_progress_bar", trainer.enable_progress_bar) is not False
        callbacks = kwargs.get("callbacks", [])
        if shown and not any(isinstance(c, ProgressBar) for c in [*callbacks, *self.configured_callbacks]):
            kwargs["callbacks"] = [*callbacks, StepProgress(self.parser.prog.split()[-1])]
        if self.config.trainer.logger is None and "logger" not in kwargs:
            output = Path(self.config.output)
            kwargs["logger"] = make_logger(self.config.logger, output / "curves", output.name)
        return super().instantiate_trainer(**kwargs)
