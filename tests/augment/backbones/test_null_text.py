"""Null-text inversion as its authors search, on a model whose guided prediction is a formula.

The search of https://github.com/google/prompt-to-prompt stands here once more, for one image: the oracle. It differs in
one thing: theirs makes the optimiser's step before it looks whether the error was small enough, so one step too many.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from augment.backbones.inversions import explicit, null_text
from augment.backbones.schedule import Schedule, ddim_schedule, flow_schedule, transfer

SD15 = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "steps_offset": 1,
    "set_alpha_to_one": False,
}
STEPS, GUIDANCE = 4, 3.0


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(z: Tensor, time: float, embeddings: Tensor | None) -> Tensor:
    """The conditional prediction; guided, if there are embeddings [B, 2, 3] for the unconditional one."""
    conditional = 0.1 * torch.sin(z) + time / 10_000
    if embeddings is None:
        return conditional
    first, second = embeddings.mean(dim=2).T[..., None, None, None]  # [B, 1, 1, 1] each
    unconditional = conditional + 0.1 * torch.tanh(first) * z + 0.2 * second
    return unconditional + GUIDANCE * (conditional - unconditional)


def authors(schedule: Schedule, clean: Tensor, embeddings: Tensor, tolerance: float, most: int) -> tuple[Tensor, int]:
    """Embeddings [steps, 2, 3] for one image [1, C, h, w], and how many optimiser steps they took."""
    steps, prediction = schedule.steps, schedule.prediction
    latents = [clean]
    for step in steps[::-1]:  # DDIM inversion is told the noisy end's time, Euler's method the clean end's
        time = step.clean.time if prediction == "flow" else step.noisy.time
        latents.append(transfer(prediction, latents[-1], network(latents[-1], time, None), step.clean, step.noisy))
    current, found, count = latents[-1], [], 0
    for i in range(len(steps)):
        embeddings = embeddings.clone().detach().requires_grad_(True)
        optimizer = torch.optim.Adam([embeddings], lr=1e-2 * (1 - i / (2 * len(steps))))  # theirs: 50 steps, i / 100
        goal = latents[len(latents) - i - 2]
        for _ in range(most):
            output = network(current, steps[i].noisy.time, embeddings)
            reached = transfer(prediction, current, output, steps[i].noisy, steps[i].clean)
            loss = torch.nn.functional.mse_loss(reached, goal)
            if loss.item() < tolerance + i * 2 * tolerance:  # theirs: 1e-5 + i * 2e-5
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            count += 1
        found.append(embeddings.detach()[0])
        with torch.no_grad():
            output = network(current, steps[i].noisy.time, embeddings)
            current = transfer(prediction, current, output, steps[i].noisy, steps[i].clean)
    return torch.stack(found), count


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "epsilon": lambda: ddim_schedule(SD15, STEPS),
    "flow": lambda: flow_schedule({"shift": 3.0}, STEPS),
}
TOLERANCE, MOST = 1e-4, 20
every_schedule = pytest.mark.parametrize("kind", SCHEDULES)


def images(count: int) -> tuple[Tensor, Tensor]:
    """Clean latents, and embeddings of the empty prompt that differ by image so that rows cannot be confused."""
    return normal(count, 1, 4, 4), 0.2 * normal(count, 2, 3, seed=1)


@every_schedule
def test_embeddings_are_those_of_the_authors_search(kind: str) -> None:
    """Each image of a batch on its own: they arrive after different numbers of optimiser steps, and stop there."""
    schedule, (clean, empty) = SCHEDULES[kind](), images(3)
    noise, found = null_text(network, schedule, clean, empty, TOLERANCE, MOST)
    assert found.shape == (3, STEPS, 2, 3)
    counts = []
    for row in range(3):
        expected, count = authors(schedule, clean[row : row + 1], empty[row : row + 1], TOLERANCE, MOST)
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-4)
        counts.append(count)
    assert len(set(counts)) == 3 and 0 < max(counts) < STEPS * MOST
    *_, up = explicit(lambda z, time: network(z, time, None), schedule, clean)
    assert torch.equal(noise, up)


@every_schedule
def test_what_never_arrives_takes_all_optimiser_steps(kind: str) -> None:
    schedule, (clean, empty) = SCHEDULES[kind](), images(1)
    expected, count = authors(schedule, clean, empty, 0.0, 6)
    assert count == STEPS * 6
    _, found = null_text(network, schedule, clean, empty, 0.0, 6)
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-4)


def test_what_is_good_enough_is_left_as_it_is() -> None:
    schedule, (clean, empty) = SCHEDULES["epsilon"](), images(2)
    given, calls = empty.clone(), [0]

    def counted(z: Tensor, time: float, embeddings: Tensor | None) -> Tensor:
        calls[0] += 1
        return network(z, time, embeddings)

    _, found = null_text(counted, schedule, clean, empty, 1e6, MOST)
    assert calls == [3 * STEPS]  # on the way up; on the way down one look at the error, and the step itself
    assert torch.equal(found, given[:, None].expand(-1, STEPS, -1, -1))
    _, searched = null_text(network, schedule, clean, empty, 0.0, 3)
    assert not torch.equal(searched[:, 0], given)
    assert torch.equal(empty, given)
    assert not found.requires_grad and not searched.requires_grad


def test_the_search_works_where_gradients_are_off() -> None:
    schedule, (clean, empty) = SCHEDULES["epsilon"](), images(1)
    _, expected = null_text(network, schedule, clean, empty, TOLERANCE, 5)
    with torch.no_grad():
        _, found = null_text(network, schedule, clean, empty, TOLERANCE, 5)
    assert torch.equal(found, expected)
