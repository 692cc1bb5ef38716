"""How do commands parse their options and speak? As LightningCLI does, with errors in one line and no chatter."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn

import lightning as L
from jsonargparse import ArgumentParser
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from augment.commands.flags import Flags, flags_of, running
from augment.commands.mistakes import endless, in_plain_words, with_choices
from augment.commands.yaml_files import check_file, install
from augment.errors import UserError
from augment.runtime.foreign_text import plain
from augment.runtime.loggers import LoggerName, make_logger
from augment.runtime.quiet import quiet
from augment.runtime.step_bar import StepProgress


def add_switch(parser: ArgumentParser, name: str, help_text: str) -> None:
    """An option that is on when it is named, and that a YAML file may set too; dashes work like underscores."""
    spellings = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
    parser.add_argument(*spellings, type=bool, nargs="?", const=True, default=False, help=help_text)


class OneLineErrors:
    """A parser that answers bad input with one line and exit code 2, not its whole usage, and knows its own flags."""

    prog: str
    positionals: frozenset[str] = frozenset()
    links: Mapping[str, str] = MappingProxyType({})

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Remember what is typed without a flag."""
        if not args[0].startswith("-"):  # never in a group, which borrows this method and has no such set
            self.positionals |= {args[0]}
        return super().add_argument(*args, **kwargs)  # type: ignore[misc]

    def link_arguments(self, source: Any, target: str, *args: Any, **kwargs: Any) -> None:
        """Remember which arguments have no option of their own."""
        if isinstance(source, str):
            self.links = {**self.links, target: source}
        super().link_arguments(source, target, *args, **kwargs)  # type: ignore[misc]

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse, and tell mistakes in these options from here on."""
        install()
        try:
            parsed = super().parse_args(*args, **kwargs)  # type: ignore[misc]
        except UnicodeDecodeError as error:
            self.error(f"a file that these options name is not UTF-8 ({error})")
        running.parsed(self.flags)
        if name := next(endless(parsed), None):
            self.error(name)
        return parsed

    def parse_path(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """Parse a configuration once it is known to be one."""
        try:
            if Path(path).is_file():
                check_file(path)
        except ValueError as error:
            self.error(str(error))
        return super().parse_path(path, *args, **kwargs)  # type: ignore[misc]

    def flags(self) -> Flags:
        """The command's options, by the names that the library may use for them."""
        defaults = self.get_defaults(skip_validation=True)  # type: ignore[attr-defined]
        return flags_of(dict(defaults.items()), self.positionals, self.links)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and leave; a parser of a part of the options leaves that to the whole one."""
        message = with_choices(message, self._actions)  # type: ignore[attr-defined]
        if not self.exit_on_error:  # type: ignore[attr-defined]
            super().error(message, ex)  # type: ignore[misc]
        line = in_plain_words(" ".join(message.replace("typing.", "").split()), self.flags().options)
        print(plain(f"{self.prog}: {line} (see {self.prog} --help)"), file=sys.stderr)
        raise SystemExit(2)


class CommandParser(OneLineErrors, ArgumentParser):
    """For commands that neither train nor predict."""


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
