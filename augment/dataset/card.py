"""What does a dataset folder say about itself to a stranger? Its README.md: metadata, origin, and how to load it."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData

from augment.dataset.manifest import read_manifest
from augment.errors import UserError
from augment.runtime.foreign_text import code, markdown

SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
"""The Hub's words for a number of samples below a bound."""


def write_card(folder: Path) -> Path:
    """Write the README.md of a finished dataset folder: a function of its `dataset.json`, but for the folder's name.

    Args:
        folder: Made by `augment synthesize`.

    Returns:
        The card's path.

    Raises:
        UserError: If this is no dataset folder, or its `dataset.json` lacks what the card says.
    """
    manifest = read_manifest(folder)
    try:
        card = render(manifest, folder.resolve().name)
    except (KeyError, TypeError) as error:
        problem = f"'{folder / 'dataset.json'}' lacks what a card says of a dataset ({error})"
        raise UserError("dataset", problem, "make the dataset anew") from error
    path = folder / "README.md"
    path.write_text(card, encoding="utf-8")
    return path


def render(manifest: dict[str, Any], name: str) -> str:
    """The card as Markdown under its YAML metadata."""
    config, classes = manifest["config"], manifest["classes"]
    made = sorted({shot["label"] for shot in manifest["few_shot"]})
    count = sum(shard["samples"] for shard in manifest["shards"].values())
    extension = config["plan"]["image_format"]
    download = f"hf download --repo-type dataset REPO --local-dir {shlex.quote(name)}"
    shards = json.dumps(f"{name}/train-*.tar")
    metadata = DatasetCardData(
        pretty_name=name,
        task_categories=["image-classification"],
        size_categories=next((word for bound, word in SIZES.items() if count < bound), "n>1M"),
        tags=["webdataset", "synthetic", "few-shot", "diffusion", "chm-augment"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "train-*.tar"}]}],
    )
    few_shot = "\n".join(
        f"| {label} | {markdown(classes[label])} | {config['plan']['per_class']} | "
        f"{', '.join(markdown(shot['name']) for shot in manifest['few_shot'] if shot['label'] == label)} |"
        for label in made
    )
    return f"""---
{metadata.to_yaml()}
---

# {markdown(name)}

{count} synthetic images of {len(made)} classes, {config["resolution"]}×{config["resolution"]}, made by \
`augment synthesize` of chm-augment {manifest["versions"]["chm-augment"]} from \
{len(manifest["few_shot"])} real images, which are not part of this dataset.

| | |
| --- | --- |
| method | {code(config["method"])} |
| backbone | {code(config["backbone"])} |
| inversion | {code(config["inversion"]["kind"])}, {config["inversion"]["steps"]} steps |
| sampling | {config["steps"]} steps, guidance {config["guidance"]} |
| prompt | {markdown(prompts_in_words(config))} |
| seed | {config["seed"]} |
| fingerprint | {code(manifest["fingerprint"])} |

`dataset.json` holds the whole configuration and the sha256 of every shard; `KEY.json` beside each image names its
sources and their weights.

## Loading

Below, {code(name)} is this folder, as {code(download)} brings it.

```python
from glob import glob
import webdataset

shards = sorted(glob({shards}))
dataset = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("{extension}", "cls")
```

```python
import timm.data

dataset = timm.data.create_dataset({json.dumps(f"wds/{name}")}, root={json.dumps(name)}, split="train")
```

```python
import datasets

dataset = datasets.load_dataset("webdataset", data_files={{"train": {shards}}}, split="train")
```

## Classes

| label | class | images | real images they were made from |
| ---: | --- | ---: | --- |
{few_shot}
"""


def prompts_in_words(config: Mapping[str, Any]) -> str:
    """The prompts of a dataset's configuration, which may be many.

    Example:
        >>> prompts_in_words({"prompt": "a digit"})
        "'a digit'"
        >>> prompts_in_words({"prompt": ["an owl", "a bird"], "contexts": ["at night"]})
        "one of 2 texts, such as 'an owl', in one of 1 contexts"
    """
    prompt, contexts = config["prompt"], config.get("contexts", [])
    texts = [text for captions in prompt.values() for text in captions] if isinstance(prompt, Mapping) else prompt
    words = f"'{texts}'" if isinstance(texts, str) else f"one of {len(texts)} texts, such as '{texts[0]}'"
    return words + (f", in one of {len(contexts)} contexts" if contexts else "")
