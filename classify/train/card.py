"""What does a saved classifier say about itself to a stranger? Its README.md: metadata, scores, and how to load it."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from augment.dataset.card import cell
from augment.errors import UserError


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
    settings, scores = (json.loads(path.read_text(encoding="utf-8")) for path in (config, results))
    card.write_text(render(settings, scores, output.resolve().name), encoding="utf-8")
    return card


def render(config: dict[str, Any], results: dict[str, Any], name: str) -> str:
    """The card as Markdown under its YAML metadata."""
    metadata = ModelCardData(
        library_name="timm", pipeline_tag="image-classification", tags=["image-classification", "timm", "chm-augment"]
    )
    size = "×".join(map(str, config["pretrained_cfg"]["input_size"][1:]))
    scores = "\n".join(f"| {key} | {value:.4f} |" for key, value in results.items() if isinstance(value, float))
    per_class = "\n".join(f"| {cell(key)} | {value:.4f} |" for key, value in results["per_class"].items())
    return f"""---
{metadata.to_yaml()}
---

# {name}

A timm `{config["architecture"]}` for {config["num_classes"]} classes at {size}, trained by
`classify fit` of chm-augment on real images, alone or with synthetic ones. These are the last weights of a fixed number
of steps, tested once: the test images chose nothing.

| | |
| --- | ---: |
{scores}

`fid` and `fd_…`, where they stand here, are distances of the synthetic training images to the real ones.

## Loading

Below, `{name}` is this folder, as `hf download REPO --local-dir {name}` brings it; `hf-hub:REPO` works in place of
`local-dir:{name}`.

```python
import timm

model = timm.create_model("local-dir:{name}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model))
classes = model.pretrained_cfg["label_names"]
```

## Classes

| class | accuracy |
| --- | ---: |
{per_class}
"""
