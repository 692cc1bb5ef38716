"""Candidates: which values apply, what they are called, and what row of a study they are."""

from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from classify.advice.candidates import Candidate, candidate_of, first_candidates, parameters, plain
from classify.advice.proposals import LEAST_FOLDS, Proposals
from classify.advice.space import Space

SPACE = Space(policies={"mixup": {"mixup": 0.2}}, methods=["nin/chm", "sdedit"], guidance=[None])


def of(**given: object) -> Candidate:
    return candidate_of(SPACE, lambda name, choices: given.get(name, choices[0]))


def test_the_file_of_the_space_is_the_space() -> None:
    written = yaml.safe_load((ROOT / "configs" / "advice" / "space.yaml").read_text(encoding="utf-8"))
    assert Space(**written["space"]) == Space()


def test_only_what_a_method_has_is_asked_for() -> None:
    mixed, edited = (dict(parameters(SPACE, method)) for method in ("nin/chm", "sdedit"))
    assert {"sources", "concentration", "forward_steps"} <= mixed.keys()
    assert "sdedit.strength" in edited
    assert not {"sources", "concentration", "forward_steps"} & edited.keys()
    assert dict(parameters(SPACE, "none")) == {}


def test_a_candidate_is_called_what_is_unusual_of_it() -> None:
    assert of().name == "none"
    assert of(policy="mixup").name == "mixup"
    assert of(method="nin/chm").name == "nin/chm"
    assert of(method="nin/chm").is_plain
    changed = of(method="sdedit", policy="mixup", per_class=20, **{"sdedit.strength": 0.25})
    assert changed.name == "sdedit (per class 20, strength 0.25) + mixup"
    assert not changed.is_plain


def test_a_candidate_is_a_row() -> None:
    entry = of(method="nin/chm", policy="mixup", sources=2, steps=20, tuning="tuned", share=0.25).entry(SPACE)
    assert (entry.method, entry.mixing) == ("nin/chm", {"sources": 2, "concentration": 1.0})
    assert entry.batches == {"mixup": 0.2, "synthetic_fraction": 0.25}
    assert (entry.sampling, entry.inversion, entry.tuned) == ({"steps": 20}, {"steps": 20}, {})
    edited = of(method="sdedit", **{"sdedit.strength": 0.75}).entry(SPACE)
    assert (edited.settings, edited.plan, edited.mixing) == ({"strength": 0.75}, {"per_class": 50}, {})


def test_policies_may_be_kept_from_methods() -> None:
    apart = Space(methods=["nin/chm"], combine=False)
    asked: list[str] = []
    candidate_of(apart, lambda name, choices: (asked.append(name), choices[-1])[1])
    assert "policy" not in asked


def test_real_images_alone_come_first_then_policies_and_plain_methods_in_turn() -> None:
    assert [one.name for one in first_candidates(SPACE)] == ["none", "mixup", "nin/chm", "sdedit"]


def scored(proposals: Proposals, count: int) -> list[str]:
    """Let so many candidates be tried; one with a method is better, most with mixup are given up."""
    names = []
    for _ in range(count):
        proposal = proposals.ask()
        names.append(proposal.candidate.name)
        excess = []
        for fold in range(6):
            excess.append(0.01 * fold + (0.5 if proposal.candidate.policy == "mixup" else 0.0))
            if stopped := proposal.is_worse(fold, excess[-1]):
                break
        proposal.tell(excess, stopped)
    return names


def test_a_search_that_was_killed_proposes_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    first = first_candidates(SPACE)
    undisturbed = scored(Proposals(tmp_path / "a.log", SPACE, first, 0), 20)
    names = []
    for n, count in enumerate((2, 3, 15)):
        proposals = Proposals(tmp_path / "b.log", SPACE, first, 0)
        names += scored(proposals, count)
        proposals.ask()  # and is killed, in the middle of a line of the journal, with its lock in place
        with (tmp_path / "b.log").open("ab") as stream:
            stream.write(b'{"op_code": 4')
        (tmp_path / "b.log.lock").write_text(str(n))
    assert names == undisturbed
    assert names[:4] == [one.name for one in first]


def test_a_candidate_that_is_worse_on_every_fold_is_given_up_early(tmp_path: Path) -> None:
    proposals = Proposals(tmp_path / "a.log", SPACE, first_candidates(SPACE), 0)
    scored(proposals, 2)
    real, mixup = proposals.decided()
    assert (real.candidate.name, real.folds, real.stopped) == ("none", tuple(range(6)), False)
    assert (mixup.candidate.name, mixup.folds, mixup.stopped) == ("mixup", tuple(range(LEAST_FOLDS)), True)


def test_what_was_dropped_is_kept_with_its_reason_and_not_proposed_again_first(tmp_path: Path) -> None:
    proposals = Proposals(tmp_path / "a.log", SPACE, first_candidates(SPACE), 0)
    proposals.ask().drop("takes too long")
    assert [(one.candidate.name, one.dropped) for one in proposals.decided()] == [("none", "takes too long")]
    assert proposals.ask().candidate == plain(SPACE, "none", "mixup")


@pytest.mark.parametrize("method", ["nin/chm", "sdedit"])
def test_parameters_tell_the_candidate_again(method: str) -> None:
    one = of(method=method, per_class=100)
    assert candidate_of(SPACE, lambda name, choices: one.params[name]) == one
