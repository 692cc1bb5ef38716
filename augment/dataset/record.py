"""What does the record beside an image say, and is it one? Its labels must be of the classes of the dataset."""

from typing import Any

from augment.errors import UserError
from augment.runtime.json_files import Number, check_kinds, parse_object

MOST_BYTES = 2**20
"""A record of a few hundred bytes names the sources of one image."""


def parse_record(content: bytes, classes: int | None = None) -> dict[str, Any]:
    """The record of these bytes.

    Args:
        content: Of the file `KEY.json`.
        classes: Number of the dataset's classes; None for any.

    Raises:
        ValueError: Saying what is wrong, if they are none.
    """
    record = parse_object(content)
    check_kinds(record, {"label": int})
    label = record["label"]
    if isinstance(label, bool) or label < 0 or (classes is not None and label >= classes):
        raise ValueError(f"has the label {label!r}, which no class of the dataset has")
    lists: dict[str, type[Any] | Any] = {"sources": str, "soft_labels": int, "soft_weights": Number}
    for key, kind in lists.items():
        values = record.get(key) or []
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise ValueError(f"has {key} of another type")
    return record


def soft_label(record: dict[str, Any], num_classes: int, where: str) -> tuple[tuple[int, float], ...]:
    """The pairs of class and weight of a sample's record; none where its label is hard.

    Raises:
        UserError: If the classes are unknown, or the weights are no probabilities.
    """
    labels, weights = record.get("soft_labels") or [], record.get("soft_weights") or []
    fits = (
        len(labels) == len(weights) and all(0 <= n < num_classes for n in labels) and all(0 <= w <= 1 for w in weights)
    )
    if not fits or (labels and not abs(sum(weights) - 1) <= 1e-4):
        problem = f"{where} has soft_labels {labels} with soft_weights {weights}"
        raise UserError("synthetic", problem, f"expected classes below {num_classes} with weights of sum 1")
    pairs = tuple((int(n), float(w)) for n, w in zip(labels, weights, strict=True))
    return () if pairs == ((record["label"], 1.0),) else pairs
