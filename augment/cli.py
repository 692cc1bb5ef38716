"""The `augment` command: one sub-command per job, each with complete --help and --print_config."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from augment.commands.flags import mistake_in, running
from augment.commands.page import Page
from augment.commands.pages import PAGES
from augment.commands.short_options import spell_out
from augment.errors import UserError
from augment.runtime.foreign_text import plain

USAGE = """usage: augment COMMAND [--config FILE] [options]

Turn a few images per class into a labelled synthetic dataset with a diffusion model.

commands:
  synthesize   write a synthetic dataset as WebDataset shards (inverts first what the latent bank lacks)
  invert       fill the latent bank: images to noise; with --check, compare all inversions on them
  browse       write one page that shows a dataset: real and synthetic images, sources and weights
  verify       check every shard of a dataset folder
  push         upload a dataset folder to the Hugging Face Hub, with a card
  pretrain     train a small diffusion backbone, latent or on pixels, on an image folder
  tune         fit a backbone to a few images per class: LoRA weights, and a new word for each class
  explore      draw what interpolation does: strips, paths, bias, films, and a gallery of them
  backbones    list the presets of diffusion models: licence, download and memory

augment COMMAND --help explains a command; --print_config prints its configuration as YAML."""


COMMANDS = {
    "synthesize": "augment.commands.synthesize:synthesize_command",
    "invert": "augment.commands.invert:invert_command",
    "browse": "augment.commands.browse:browse_command",
    "verify": "augment.commands.verify:verify_command",
    "push": "augment.commands.push:push_command",
    "pretrain": "augment.commands.pretrain:pretrain_command",
    "tune": "augment.commands.tune:tune_command",
    "explore": "augment.commands.explore:explore_command",
    "backbones": "augment.commands.backbones:backbones_command",
}


UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
"""A disk that is full or not to be written: the user's to mend, wherever the program meets it."""

NO_PATH = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
"""A path that no file can have, or that leads through a file."""


INTERRUPTED = "stopped by Ctrl-C; finished work is kept, run the same command again"


def main(args: Sequence[str] | None = None) -> None:
    """Run one command; a user's mistake is printed as one line and exits with 1."""
    run(COMMANDS, PAGES, USAGE, "augment", args)


def run(commands: dict[str, str], pages: dict[str, Page], usage: str, program: str, args: Sequence[str] | None) -> None:
    """Dispatch to a command by name.

    Args:
        commands: `module:function` of each command, imported only when it is needed.
        pages: What each command says of itself, which needs nothing to be imported.
        usage: What the program says of itself.
        program: Its name.
        args: Its words; those of the command line by default.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in {"-h", "--help"}:
        print(usage)
        return
    if words[0] not in commands:
        print(f"{program}: unknown command '{words[0]}'; choose from {', '.join(commands)}", file=sys.stderr)
        raise SystemExit(2)
    page = pages[words[0]]
    if words[1:] in (["--help"], ["-h"]):
        print(page.screen())
        raise SystemExit(0)
    running.begin(page)
    try:
        spelt = ["--help"] if words[1:] == ["--help", "all"] else spell_out(page, words[1:])
    except UserError as error:
        fail(f"{program} {words[0]}", running.say(error), 2)
    module, _, function = commands[words[0]].partition(":")
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        getattr(import_module(module), function)(spelt)
    except KeyboardInterrupt:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one of the processes of a run speaks
            print(f"{program} {words[0]}: {INTERRUPTED}", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except UnicodeEncodeError as error:
        if error.reason != "surrogates not allowed":
            raise
        fail(f"{program} {words[0]}", f"a name is not UTF-8: {error.object!r}; rename what is called so")
    except OSError as error:
        if error.errno in NO_PATH:
            fail(f"{program} {words[0]}", f"'{error.filename}': {error.strerror}; give another path")
        if error.errno not in UNWRITABLE:
            raise
        fail(f"{program} {words[0]}", f"{error}; finished work is kept, run the same command again once that is mended")
    except Exception as error:
        if mistake := mistake_in(error):
            fail(f"{program} {words[0]}", running.say(mistake))
        # Lightning's word for a trainer that this machine cannot give; importing its class would slow down --help.
        if type(error).__name__ != "MisconfigurationException":
            raise
        fail(f"{program} {words[0]}", str(error))
    finally:
        if signal.getsignal(signal.SIGINT) != interrupt:  # a command answers Ctrl-C itself while it runs
            signal.signal(signal.SIGINT, interrupt)


def fail(command: str, text: str, code: int = 1) -> NoReturn:
    """Print a mistake as one line and leave."""
    print(plain(f"{command}: {' '.join(text.split())}"), file=sys.stderr)
    raise SystemExit(code) from None
