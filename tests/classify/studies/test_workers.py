"""Several processes at the cells of a study."""

from typing import Any

import pytest
from small_study import Mortal

from augment.mix.draws import Mixing
from augment.synthesis.plan import Plan
from classify.studies.grid import make_groups
from classify.studies.rows import make_contenders, make_rows
from classify.studies.runner import Event
from classify.studies.workers import accelerators, run_groups
from classify.train.batches import Batches


@pytest.mark.slow
def test_a_process_that_dies_costs_its_running_cell() -> None:
    rows = make_rows(["none"], [1], Batches(), Mixing(), Plan())
    groups = make_groups(rows, make_contenders({"a": {}, "b": {}, "c": {}}, [1]), 3)
    events: list[Event] = []
    runner: Any = Mortal("none-b-shots1-seed1")
    run_groups(runner, groups, 2, events.append)
    ended = {event.cell.slug: (event.kind, event.text) for event in events if event.kind != "running"}
    assert len(ended) == 9
    assert ended.pop("none-b-shots1-seed1") == ("failed", "its process ended with code -9")
    assert set(ended.values()) == {("done", "")}
    assert len(events) == 18


@pytest.mark.parametrize(("visible", "expected"), [("2,3", ["2", "3"]), ("", []), ("GPU-abc", ["GPU-abc"])])
def test_accelerators_are_those_that_this_process_sees(
    monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert accelerators() == expected
