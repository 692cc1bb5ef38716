"""What tests of advice share: the settings of a small search, and its answer without what the clock decides."""

import json
from pathlib import Path
from typing import Any

from conftest import SIDE

import augment
import classify

SPACE = {"policies": {"mixup": {"mixup": 0.2}}, "methods": ["fix/chm", "text2img"], "per_class": [4], "steps": [None]}


def advisor(output: Path, model: Path, images: Path, **changes: Any) -> classify.Advisor:
    """The settings of a search of real images alone, Mixup and a mixture, on three folds and two fresh ones."""
    backbone = augment.StableDiffusion(str(model))
    inversion = augment.Inversion(steps=2, warn_psnr=0)
    small: dict[str, Any] = {
        "output": output,
        "synthesizer": augment.Synthesizer(backbone, inversion, steps=2, prompt="a photo of a {class}"),
        "classifier": {"name": "test_resnet", "warmup_steps": 2},
        "source": augment.ImageFolder(images),
        "hours": 1.0,
        "shots": 3,
        "repeats": 1,
        "confirm": 2,
        "steps": 3,
        "candidates": 3,
        "space": classify.Space(**SPACE),
        "plan": augment.Plan(batch_size=6, shard_size=6),
        "batches": classify.Batches(batch_size=6, image_size=SIDE),
    }
    return classify.Advisor(**small | changes)


def told(folder: Path) -> dict[str, Any]:
    """The answer as JSON, without what the clock decides."""
    found: dict[str, Any] = json.loads((folder / "advice.json").read_text(encoding="utf-8"))

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k not in ("train", "synthesize", "seconds", "commands")}
        return [timeless(one) for one in value] if isinstance(value, list) else value

    answer = timeless(found)
    return answer | {"answer": answer["answer"].split(" costs ")[0]}
