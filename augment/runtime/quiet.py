"""Which words of the libraries does nobody need? Their banners, tips and bars are silenced."""

import logging
import warnings

import diffusers
import transformers


def quiet() -> None:
    """Let the commands' own words be heard: no start-up banners and tips of the libraries."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "transformers", "diffusers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
