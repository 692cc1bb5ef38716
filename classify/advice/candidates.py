"""What is a candidate? A choice of values from the space: as parameters of a search, and as a row of a study."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from augment.mix.registry import METHODS
from classify.advice.space import NONE, Space
from classify.studies.rows import Entry

Choose = Callable[[str, Sequence[Any]], Any]
"""Takes a parameter's name and its values, the plain one first, and chooses one of them."""

WORDS = {"per_class": "per class", "forward_steps": "forward steps", "share": "share"}


@dataclass(frozen=True)
class Candidate:
    """One way to train.

    Attributes:
        method: Makes synthetic images; `none` is real images alone.
        policy: Classical augmentation; `none` is without.
        values: Of the parameters that apply to the method, by name.
        unusual: Those of them that are not the plain ones.
    """

    method: str
    policy: str
    values: Mapping[str, Any] = field(default_factory=dict)
    unusual: tuple[str, ...] = ()

    @property
    def is_synthetic(self) -> bool:
        """Whether it has synthetic images."""
        return self.method != NONE

    @property
    def is_plain(self) -> bool:
        """Whether it is a method as its authors have it, without a policy."""
        return self.is_synthetic and self.policy == NONE and not self.unusual

    @property
    def name(self) -> str:
        """What it is called: everything that is not plain."""
        told = [f"{WORDS.get(short, short)} {self.values[name]}" for name in self.unusual if (short := last(name))]
        method = self.method + (f" ({', '.join(told)})" if told else "")
        parts = [part for part in (method, self.policy) if part != NONE]
        return " + ".join(parts) or NONE

    @property
    def params(self) -> dict[str, Any]:
        """As parameters of the search."""
        return {"method": self.method, "policy": self.policy, **self.values}

    def entry(self, space: Space) -> Entry:
        """As the row of a study."""
        policy = dict(space.policies[self.policy]) if self.policy != NONE else {}
        if not self.is_synthetic:
            return Entry(name=self.name, batches=policy)
        given = dict(self.values)
        plan, share = {"per_class": given.pop("per_class")}, {"synthetic_fraction": given.pop("share")}
        tuned = space.tunings[given.pop("tuning")]
        steps = {} if (number := given.pop("steps")) is None else {"steps": number}
        guidance = {} if (strength := given.pop("guidance")) is None else {"guidance": strength}
        forward = {"forward_steps": number} if (number := given.pop("forward_steps", 0)) else {}
        mixing: dict[str, Any] = {name: given.pop(name) for name in ("sources", "concentration") if name in given}
        settings = {last(name): value for name, value in given.items()}
        return Entry(
            self.method,
            self.name,
            settings=settings,
            batches=policy | share,
            mixing=mixing,
            plan=plan,
            inversion=steps | forward,
            sampling=steps | guidance,
            tuned=tuned,
        )


def last(name: str) -> str:
    """A parameter's name without the method that it is of."""
    return name.rpartition(".")[2]


def candidate_of(space: Space, choose: Choose) -> Candidate:
    """A candidate, one choice after the other: only what the method has is asked for."""
    method = choose("method", [NONE, *space.methods])
    policy = choose("policy", [NONE, *space.policies]) if method == NONE or space.combine else NONE
    values, unusual = {}, []
    for name, choices in parameters(space, method):
        values[name] = choose(name, choices)
        if values[name] != choices[0]:
            unusual.append(name)
    return Candidate(method, policy, values, tuple(unusual))


def parameters(space: Space, method: str) -> Iterator[tuple[str, Sequence[Any]]]:
    """The parameters that apply to a method, each with its values; a tuning is chosen by its name."""
    if method == NONE:
        return
    yield "per_class", space.per_class
    yield "share", space.share
    for setting, choices in space.settings.get(method, {}).items():
        yield f"{method}.{setting}", choices
    if METHODS[method].sources is None:
        yield "sources", space.sources
        if METHODS[method].weighted:
            yield "concentration", space.concentration
    yield "steps", space.steps
    yield "guidance", space.guidance
    if METHODS[method].latents == "inverted":
        yield "forward_steps", space.forward_steps
    yield "tuning", list(space.tunings)


def plain(space: Space, method: str, policy: str = NONE) -> Candidate:
    """The candidate of a method and a policy with the plain values of all else."""
    given = {"method": method, "policy": policy}
    return candidate_of(space, lambda name, choices: given.get(name, choices[0]))


def first_candidates(space: Space) -> list[Candidate]:
    """What is tried before anything is searched: real images alone, then policies and plain methods in turn."""
    policies = [plain(space, NONE, policy) for policy in space.policies]
    methods = [plain(space, method) for method in space.methods]
    turns = max(len(policies), len(methods))
    in_turn = [one for n in range(turns) for group in (policies, methods) for one in group[n : n + 1]]
    return [plain(space, NONE), *in_turn]
