"""What should a user know that does not stop a run? Each of these says it once, whatever the number of processes."""

import logging
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from augment.bank import Quality
from augment.manifest import read_manifest
from augment.synthesizer import Synthesizer

log = logging.getLogger(__name__)

NAMED = 5
"""Poor round trips that get a line of their own."""


@rank_zero_only
def warn_of_poor(quality: dict[str, Quality], threshold: float) -> None:
    """Name the images that inversion does not bring back, worst first."""
    poor = sorted((q.round_trip, q.autoencoder, name) for name, q in quality.items() if q.round_trip < threshold)
    for round_trip, autoencoder, name in poor[:NAMED]:
        log.warning(
            "image '%s' survives inversion badly: PSNR %.1f dB (the autoencoder alone: %.1f dB); "
            "its mixtures may not show its class",
            name,
            round_trip,
            autoencoder,
        )
    if len(poor) > NAMED:
        others = ", ".join(name for _, _, name in poor[NAMED:])
        log.warning("%d more images survive inversion badly (below %.0f dB): %s", len(poor) - NAMED, threshold, others)


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
