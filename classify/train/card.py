"""What does a saved classifier say about itself to a stranger? Its README.md: metadata, scores, and how to load it."""

import json
import shlex
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from augment.errors import UserError
from augment.runtime.foreign_text import code, markdown
from augment.runtime.json_files import Kinds, Number, check_kinds, read_object

CONFIG: Kinds = {"architecture": str, "num_classes": int, "pretrained_cfg": dict}
"""What the card says of a classifier that timm loads."""


def check_config(found: dict[str, Any]) -> None:
    """Refuse a configuration without the size of its images.

    Raises:
        ValueError: If it is one.
    """
    check_kinds(found["pretrained_cfg"], {"input_size": list})


def check_scores(found: dict[str, Any]) -> None:
    """Refuse accuracies that are no numbers.

    Raises:
        ValueError: If one is none.
    """
    check_kinds(found["per_class"], dict.fromkeys(found["per_class"], Number))


def write_card(output: Path) -> Path:
    """Write the README.md of the classifier in an output folder of `classify fit`.

    Args:
        output: Holds `results.json` and `classifier/`.

    Returns:
        The card's path.

    Raises:
        UserError: If this is no such folder.
    """
    config, results = output / "classifier" / "config.json", output / "results.json"
    for path in (config, results):
        if not path.is_file():
            raise UserError("folder", f"no '{path}'", "give the output folder of a finished `classify fit`")
    card = output / "classifier" / "README.md"
    remedy = "run `classify fit` again, with another `output`"
    settings = read_object(config, "folder", remedy, CONFIG, check_config)
    scores = read_object(results, "folder", remedy, {"per_class": dict}, check_scores)
    card.write_text(render(settings, scores, output.resolve().name), encoding="utf-8")
    return card


def render(config: dict[str, Any], results: dict[str, Any], name: str) -> str:
    """The card as Markdown under its YAML metadata."""
    metadata = ModelCardData(
        library_name="timm", pipeline_tag="image-classification", tags=["image-classification", "timm", "chm-augment"]
    )
    download = f"hf download REPO --local-dir {shlex.quote(name)}"
    size = "×".join(map(str, config["pretrained_cfg"]["input_size"][1:]))
    scores = "\n".join(
        f"| {markdown(key)} | {value:.4f} |" for key, value in results.items() if isinstance(value, float)
    )
    tested = "tested once: the test images chose nothing." if results["per_class"] else "which were never tested."
    per_class = "\n".join(f"| {markdown(key)} | {value:.4f} |" for key, value in results["per_class"].items())
    return f"""---
{metadata.to_yaml()}
---

# {markdown(name)}

A timm {code(config["architecture"])} for {config["num_classes"]} classes at {size}, trained by
`classify fit` of chm-augment on real images, alone or with synthetic ones. These are the last weights of a fixed number
of steps, {tested}

| | |
| --- | ---: |
{scores}

`fid` and `fd_…`, where they stand here, are distances of the synthetic training images to the real ones.

## Loading

Below, {code(name)} is this folder, as {code(download)} brings it; `hf-hub:REPO` works in place of
{code(f"local-dir:{name}")}.

```python
import timm

model = timm.create_model({json.dumps(f"local-dir:{name}")}, pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model))
classes = model.pretrained_cfg["label_names"]
```

## Classes

| class | accuracy |
| --- | ---: |
{per_class}
"""
