"""What should a user know that does not stop a run? Each of these says it once, whatever the number of processes."""

import logging
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only

from augment.dataset.manifest import read_manifest
from augment.synthesis.synthesizer import Synthesizer

log = logging.getLogger(__name__)


@rank_zero_only
def warn_of_other_start(model: Synthesizer) -> None:
    """Say so if latents stand at one time of the schedule and sampling starts from another."""
    schedule = model.backbone.schedule
    inverted, sampled = (schedule(steps).steps[0].noisy.time for steps in (model.inversion.steps, model.steps))
    if inverted != sampled and model.sampler.kind != "dpm++":
        log.warning(
            "inversion.steps %d leads to t = %g, sampling with steps %d starts from t = %g; equal numbers fit best",
            model.inversion.steps,
            inverted,
            model.steps,
            sampled,
        )


@rank_zero_only
def warn_of_other_versions(folder: Path, versions: dict[str, str]) -> None:
    """Say so if a dataset is resumed with other libraries than it was begun with."""
    if not (folder / "dataset.json").is_file():
        return
    begun = read_manifest(folder)["versions"]
    changed = [f"{name} {begun.get(name)} -> {new}" for name, new in versions.items() if begun.get(name) != new]
    if changed:
        log.warning("'%s' was begun with other versions (%s); the last bits may differ", folder, ", ".join(changed))


@rank_zero_only
def warn_of_idle_offload(model: Synthesizer, device: torch.device) -> None:
    """Say that there is nothing to offload from."""
    if model.offload and device.type == "cpu":
        log.warning("offload: without an accelerator all networks lie in host memory anyway, and nothing is moved")
