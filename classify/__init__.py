"""Train a timm classifier on a few real images plus synthetic shards, and compare augmentation methods by accuracy.

    import classify

    result = classify.fit("runs/mine", source, "resnet18", synthetic="datasets/mine")
    folder = classify.study(classify.Study("runs/study", synthesizer, {"resnet": {}}, source, ["none", "nin/chm"]))
    classify.write_report(folder)
    advice = classify.advise(classify.Advisor("advice", synthesizer, {"name": "resnet18"}, source, hours=1))

Names are loaded when they are first used, so that the import is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from classify.advice.settings import Advisor
    from classify.advice.space import Space
    from classify.report.advise import Advice, advise
    from classify.report.report import write_report
    from classify.studies.results_folder import StudyFolder
    from classify.studies.rows import Entry
    from classify.studies.settings import Study
    from classify.studies.study import study
    from classify.train.batches import Batches
    from classify.train.classifier import Classifier
    from classify.train.data import ClassificationData
    from classify.train.fit import FitResult, fit

__all__ = [
    "Advice",
    "Advisor",
    "Batches",
    "ClassificationData",
    "Classifier",
    "Entry",
    "FitResult",
    "Space",
    "Study",
    "StudyFolder",
    "advise",
    "fit",
    "study",
    "write_report",
]

_HOMES = {
    "Advice": "classify.report.advise",
    "Advisor": "classify.advice.settings",
    "Batches": "classify.train.batches",
    "ClassificationData": "classify.train.data",
    "Classifier": "classify.train.classifier",
    "Entry": "classify.studies.rows",
    "FitResult": "classify.train.fit",
    "Space": "classify.advice.space",
    "Study": "classify.studies.settings",
    "StudyFolder": "classify.studies.results_folder",
    "advise": "classify.report.advise",
    "fit": "classify.train.fit",
    "study": "classify.studies.study",
    "write_report": "classify.report.report",
}


def __getattr__(name: str) -> Any:
    """Load a name of the public face from its room (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'classify' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The names of the public face."""
    return __all__
