"""Which augmentation is best? Cells, their folder, and what runs them.

The room can be called: `classify.study(settings)` is `classify.study.study.study(settings)`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from classify.study.folder import StudyFolder
    from classify.study.settings import Study


class _Room(ModuleType):
    """A package that is called by the name of its main function, since Python gives both the same name."""

    def __call__(self, settings: "Study", command: str = "classify.study(...)") -> "StudyFolder":
        """Compare augmentation methods; see `classify.study.study.study`."""
        folder: StudyFolder = import_module("classify.study.study").study(settings, command)
        return folder


sys.modules[__name__].__class__ = _Room
