"""Which words of the libraries does nobody need? Their banners, tips and bars are silenced."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import diffusers
import transformers

from augment.runtime.terminal import PlainFormatter

NOISY = ("lightning.pytorch", "lightning.fabric", "lightning", "transformers", "diffusers")


@contextmanager
def quietly() -> Iterator[None]:
    """Silence the libraries for a while: around a call from Python, whose settings are as before afterwards."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    bars = [
        library
        for library in (diffusers.utils.logging, transformers.utils.logging)
        if library.is_progress_bar_enabled()
    ]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    for library in bars:
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            hush()
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for library in bars:
            library.enable_progress_bar()


def hush() -> None:
    """Ignore warnings that are no matter of the user's."""
    warnings.filterwarnings("ignore", module=r"(lightning|PIL)\..*")
    warnings.filterwarnings("ignore", message=".*LoraLoaderMixin", category=FutureWarning)  # PRX's class in diffusers


def quiet() -> None:
    """Silence the libraries for good: in a process that belongs to a command."""
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    hush()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    shown = logging.StreamHandler()
    shown.setFormatter(PlainFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[shown], level=logging.WARNING)
