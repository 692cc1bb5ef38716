"""How does a folder reach the Hugging Face Hub? One upload, for datasets and classifiers, with errors in one line."""

from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, RepoCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from jsonargparse import ArgumentParser

from augment.commands.parsing import add_switch
from augment.errors import UserError

DENIED = (401, 403)
PRIVATE = [".*", "**/.*", "run.json", "preview.png", "browse.html"]
"""Stays here: hidden files, the name of the host, and pictures that show the real images."""


def upload(folder: Path, repo: str, kind: Literal["dataset", "model"], public: bool = False) -> str:
    """Create the repository if it is not there, and upload a folder to it.

    Args:
        folder: All of its files are uploaded but those that are private.
        repo: `NAME`, or `USER/NAME`.
        kind: Kind of the repository.
        public: Make a new repository visible to everyone; one that is there stays as it is.

    Returns:
        The repository's address.

    Raises:
        UserError: If there is no token, no permission or no network, or the name is none.
    """
    api = HfApi()
    try:
        url = api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
        api.upload_folder(repo_id=url.repo_id, repo_type=kind, folder_path=folder, ignore_patterns=PRIVATE)
    except HFValidationError as error:
        raise UserError(
            "repo", f"'{repo}' is no repository's name ({_line(error)})", "give NAME or USER/NAME"
        ) from error
    except LocalTokenNotFoundError as error:
        raise UserError("repo", f"'{repo}' needs a login", "run `hf auth login` with a token that may write") from error
    except OfflineModeIsEnabled as error:
        raise UserError("repo", f"'{repo}' cannot be reached while HF_HUB_OFFLINE is set", "unset it") from error
    except HfHubHTTPError as error:
        if getattr(error.response, "status_code", None) in DENIED or isinstance(error, RepositoryNotFoundError):
            raise UserError(
                "repo",
                f"no permission to write '{repo}' ({_line(error)})",
                "run `hf auth login` with a token that may write there, or choose another `repo`",
            ) from error
        raise UserError("repo", f"the Hub refused '{repo}' ({_line(error)})", "try again later") from error
    except Exception as error:
        # The Hub's HTTP library changes with its version, and so does the class of a failed connection.
        if not isinstance(error, OSError) and not type(error).__module__.startswith("http"):
            raise
        raise UserError(
            "repo", f"'{repo}' cannot be reached ({_line(error)})", "check the network and try again"
        ) from error
    return str(url)


def add_push_options(parser: ArgumentParser) -> None:
    """What the two `push` commands ask for."""
    parser.add_argument("--repo", type=str, required=True, help="Repository to upload to: NAME, or USER/NAME.")
    add_switch(parser, "public", "Make a new repository visible to everyone; it is private otherwise.")
    parser.add_argument(
        "--license", type=str | None, default=None, help="The Hub's name of the licence, such as cc-by-4.0."
    )


def set_license(card: Path, licence: str | None) -> None:
    """Write the licence into a card's metadata, if one is given; the card is otherwise left as its owner has it."""
    if licence is None:
        return
    loaded = RepoCard.load(card, ignore_metadata_errors=False)
    loaded.data.license = licence
    loaded.save(card)


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
