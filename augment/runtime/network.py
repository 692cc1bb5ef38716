"""Is there a network? Asked once, so that nobody waits for the libraries to try again and again."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from textwrap import shorten
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

from augment.errors import UserError

TIMEOUT = 5
"""Seconds after which the Hub counts as out of reach."""


@cache
def hub_is_reachable(endpoint: str) -> bool:
    """Whether somebody answers at the Hub's address, or at that of the proxy that leads to it."""
    address = urlsplit(endpoint)
    if proxy := getproxies().get(address.scheme):
        address = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    try:
        socket.create_connection((address.hostname or "", address.port or 443), TIMEOUT).close()
    except OSError:
        return False
    return True


def out_of_reach(argument: str, name: str, reachable: bool, error: Exception) -> UserError:
    """What is said of something on the Hub that could not be had.

    Args:
        argument: That names it.
        name: Its name.
        reachable: Whether there is a network, from `one_try`.
        error: What the library said.
    """
    if name.count("/") > 1 or name.startswith((".", "/", "~")):  # a path, which no download would bring
        return UserError(argument, f"there is no folder '{name}'", "check the path")
    if not reachable:
        return UserError(
            argument,
            f"no network, and '{name}' is not on this machine",
            f"run `hf download {name}` once where there is one, or give a local folder",
        )
    reason = shorten(str(error), 160)
    return UserError(argument, f"'{name}' could not be had from the Hugging Face Hub ({reason})", "check the name")


@contextmanager
def one_try() -> Iterator[bool]:
    """Around a download from the Hugging Face Hub: without a network only what is on this machine is looked for.

    Yields:
        Whether the Hub can be reached.
    """
    before = constants.HF_HUB_OFFLINE
    reachable = not before and hub_is_reachable(os.environ.get("HF_ENDPOINT", constants.ENDPOINT))
    constants.HF_HUB_OFFLINE = not reachable
    try:
        yield reachable
    finally:
        constants.HF_HUB_OFFLINE = before
