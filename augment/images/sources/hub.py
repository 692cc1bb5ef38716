"""How does a data set of the Hugging Face Hub become a source? Downloaded once; one try where there is no network."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from augment.errors import UserError
from augment.images.sources.hugging_face import DatasetsSource, first_line
from augment.runtime.network import TIMEOUT, one_try

if TYPE_CHECKING:
    from datasets import Dataset


class HubDataset(DatasetsSource):
    """A data set of the Hugging Face Hub, downloaded on first use.

    Args:
        name: `OWNER/NAME`, as on the Hub.
        subset: The configuration of the data set, where it has several.
        split: The few-shot pool; by default `train`, or the only split.
        test_split: The test images; by default `test`, or else `validation`.
        image_column: By default the only column of images.
        label_column: By default the only column of class labels, or else `label`, `labels`, `cls` or `class`.
    """

    def __init__(
        self,
        name: str,
        subset: str | None = None,
        split: str | None = None,
        test_split: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
    ) -> None:
        super().__init__(split, test_split, image_column, label_column)
        self.name = name
        self.subset = subset

    @property
    def origin(self) -> str:
        """Its name on the Hub."""
        return self.name

    def load(self) -> "Mapping[str, Dataset]":
        """All splits by name, downloaded if they are not here yet; one try where there is no network.

        Raises:
            UserError: If it does not exist or may not be read, or is not here and the Hub cannot be reached.
        """
        import datasets

        check_name(self.name)
        try:
            with one_try() as reachable:
                if reachable:
                    check_there(self.name)
                return datasets.load_dataset(self.name, self.subset)
        except UserError:
            raise
        except Exception as error:
            if isinstance(error, ValueError) and "onfig" in str(error):  # a name that is missing, or is none
                raise UserError(
                    "source.subset", f"'{self.name}' ({' '.join(str(error).split())})", "choose one of these"
                ) from error
            # The Hub's HTTP library changes with its version, and so does the class of a failed connection.
            library = type(error).__module__.partition(".")[0]
            if not isinstance(error, OSError | ValueError) and library not in {"datasets", "httpx", "httpx2"}:
                raise
            if not reachable:
                raise UserError(
                    "source.name",
                    f"no network: '{self.name}' is not on this machine, and the Hub cannot be reached",
                    f"run `hf download --repo-type dataset {self.name} --local-dir FOLDER` where there is one, and "
                    "give FOLDER instead",
                ) from error
            raise UserError(
                "source.name", f"'{self.name}' cannot be loaded ({first_line(error)})", "choose another data set"
            ) from error


def check_name(name: str) -> None:
    """Refuse what cannot be a name on the Hub.

    Raises:
        UserError: If it cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError("source.name", f"'{name}' is no name of a data set", "give OWNER/NAME") from error


def check_there(name: str) -> None:
    """Ask the Hub, before `datasets` says the same in many words.

    Raises:
        UserError: If it says that there is no such data set, or not for this user.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().dataset_info(name, timeout=TIMEOUT)
    except GatedRepoError as error:
        raise UserError(
            "source.name",
            f"'{name}' asks for its owner's leave",
            f"ask for it at huggingface.co/datasets/{name}, and run `hf auth login`",
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            "source.name",
            f"the Hub has no data set '{name}', or not for you",
            "look up its name at huggingface.co/datasets; for a private one run `hf auth login`",
        ) from error
