"""What does an advice leave that can be run? The recommended candidate as configurations of the commands."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml

from augment.images.origin import describe_source
from augment.synthesis.synthesizer import Synthesizer
from classify.advice.bench import Bench
from classify.advice.candidates import Candidate
from classify.advice.folds import Fold
from classify.advice.run import Findings
from classify.studies.rows import Row
from classify.studies.variants import changed_model

Config = dict[str, Any]

COMMANDS = {"tune.yaml": "augment tune", "recipe.yaml": "augment synthesize", "train.yaml": "classify fit"}
"""The files in the order in which they are run, each with its command."""


def write_files(findings: Findings, name: str, given: Mapping[str, Config]) -> list[str]:
    """Write what is recommended, and take away what an earlier answer recommended.

    Args:
        findings: Of the search.
        name: Of the candidate that is recommended.
        given: Class path and arguments of `backbone` and `source` as a configuration names them; what is left out is
            described from the objects.

    Returns:
        The commands that run the files, in order.
    """
    candidate = next(one.candidate for one in findings.outcomes if one.candidate.name == name)
    files = files_of(findings, candidate, given)
    commands = []
    for file, command in COMMANDS.items():
        content = files.get(file)
        line = shlex.join([*command.split(), "--config", str(findings.folder.file(file))])
        text = None if content is None else f"# {line}\n{yaml.safe_dump(plain(content), sort_keys=False)}"
        findings.folder.write_file(file, text)
        if content is not None:
            commands.append(line)
    return commands


def files_of(findings: Findings, candidate: Candidate, given: Mapping[str, Config]) -> dict[str, Config]:
    """The configurations by the name of their file."""
    advisor, folder = findings.advisor, findings.folder
    runner = Bench(advisor, folder).runner(candidate, Fold(0, advisor.few_shot.all, ()))
    row = runner.study.rows[0]
    source = given.get("source") or describe_source(advisor.source)
    backbone = given.get("backbone") or describe_backbone(advisor.synthesizer)
    files = {"train.yaml": train_file(findings, row, source)}
    if row.method is None:
        return files
    model = changed_model(advisor.synthesizer, row.variant)
    if row.variant.tuning is not None:
        tuned = str(folder.file("tuned").absolute())
        files["tune.yaml"] = {
            "output": tuned,
            "seed": advisor.seed,
            "model": {
                "backbone": backbone,
                "tuning": row.variant.tuning.describe(),
                "precision": advisor.synthesizer.precision,
            },
            "data": {"source": source, "shots": advisor.most_shots},
        }
        own = backbone.get("init_args") or {}
        backbone = {**backbone, "init_args": own | {"tuned": tuned}}
    prompt = row.variant.tuning.prompt if row.variant.tuning is not None else model.prompt
    files["recipe.yaml"] = recipe_file(findings, row, source, model_of(model, backbone, prompt))
    if row.variant.tuning is None:
        files["recipe.yaml"]["data"]["bank"] = str(folder.trials.bank.absolute())  # the latents are there
    return files


def recipe_file(findings: Findings, row: Row, source: Config | None, model: Config) -> Config:
    """What `augment synthesize` reads."""
    advisor = findings.advisor
    return {
        "output": str(findings.folder.file("dataset").absolute()),
        "method": row.method,
        "shots": advisor.most_shots,
        "seed": advisor.seed,
        "per_class": row.plan.per_class,
        "batch_size": row.plan.batch_size,
        "model": model,
        "data": {
            "source": source,
            "settings": row.settings,
            "mixing": asdict(row.mixing),
            "plan": {"shard_size": row.plan.shard_size, "image_format": row.plan.image_format},
        },
    }


def train_file(findings: Findings, row: Row, source: Config | None) -> Config:
    """What `classify fit` reads: trained on all of the few-shot set, with no test images."""
    advisor = findings.advisor
    synthetic = None if row.method is None else str(findings.folder.file("dataset").absolute())
    return {
        "output": str(findings.folder.file("classifier").absolute()),
        "seed_everything": advisor.seed,
        "untested": True,
        "model": advisor.classifier,
        "data": {
            "source": source,
            "shots": advisor.most_shots,
            "seed": advisor.seed,
            "synthetic": synthetic,
            "batches": asdict(row.batches),
        },
        "trainer": {"max_steps": advisor.steps},
    }


def model_of(model: Synthesizer, backbone: Config, prompt: str | tuple[str, ...]) -> Config:
    """What decides a synthesizer."""
    return {
        "backbone": backbone,
        "prompt": prompt,
        "contexts": model.prompts.contexts,
        "inversion_prompt": model.prompts.inversion,
        "steps": model.steps,
        "guidance": model.guidance,
        "precision": model.precision,
        "inversion": asdict(model.inversion),
        "sampler": asdict(model.sampler),
    }


def describe_backbone(model: Synthesizer) -> Config:
    """A backbone that was given as an object: its class, and the folder that its weights were read from."""
    kind = type(model.backbone)
    folder = getattr(model.backbone, "folder", None)
    init_args = {} if folder is None else {"model": str(folder)}
    return {
        "class_path": f"{kind.__module__}.{kind.__qualname__}",
        "init_args": init_args | {"resolution": model.backbone.image_size},
    }


def plain(value: Any) -> Any:
    """What YAML holds: lists for tuples, dictionaries of text, and no classes of numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, bool) or value is None:
        return value
    return int(value) if isinstance(value, int) else float(value) if isinstance(value, float) else str(value)
