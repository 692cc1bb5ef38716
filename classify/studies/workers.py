"""How do several processes share the cells? Each takes one group at a time; one that dies costs its running cell."""

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from augment.runtime.processes import deaf_to_interrupts, end_with_parent
from augment.runtime.quiet import quiet
from classify.studies.grid import Cell, Group
from classify.studies.runner import Event, Runner

Report = Callable[[Event], None]


def run_groups(runner: Runner, groups: Sequence[Group], devices: int, report: Report) -> None:
    """Run all groups, in this process or in several; the results are the same.

    Args:
        runner: What the cells share.
        groups: What is left to do, in order.
        devices: Processes; each has an accelerator of its own, as far as there are any.
        report: Told in this process what happens to each cell.
    """
    if devices == 1:
        for group in groups:
            for event in runner.run(group):
                report(event)
        return
    runner.synthesizer.cpu()  # its weights travel to the workers through host memory
    pool = _Pool(pickle.dumps(runner), accelerators(), deque(groups), report)
    try:
        pool.run(min(devices, len(groups)))
    finally:
        pool.stop()


@dataclass
class _Worker:
    """A process, and what it was told to do."""

    process: BaseProcess
    connection: Connection
    left: deque[Cell] = field(default_factory=deque)
    group: Group | None = None


@dataclass
class _Pool:
    runner: bytes
    accelerators: list[str]
    groups: deque[Group]
    report: Report
    workers: dict[int, _Worker] = field(default_factory=dict)

    def run(self, devices: int) -> None:
        """Keep `devices` workers busy until no group is left."""
        for place in range(devices):
            self._start(place)
        while self.workers:
            ready = wait([worker.connection for worker in self.workers.values()])
            for place, worker in list(self.workers.items()):
                if worker.connection in ready:
                    self._listen(place, worker)

    def stop(self) -> None:
        """End all workers at once; what they write appears whole or not at all."""
        for worker in self.workers.values():
            worker.process.kill()
            worker.process.join()

    def _start(self, place: int) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._accelerator(place)), daemon=False)
        resource_tracker.ensure_running()  # multiprocessing's own, whose start would let the signal through again
        with deaf_to_interrupts():
            process.start()
        theirs.close()
        worker = self.workers[place] = _Worker(process, ours)
        with suppress(BrokenPipeError, ConnectionResetError):  # it died at once: heard of when it is listened to
            ours.send_bytes(self.runner)
        self._give(place, worker)

    def _accelerator(self, place: int) -> str | None:
        return self.accelerators[place % len(self.accelerators)] if self.accelerators else None

    def _give(self, place: int, worker: _Worker) -> None:
        """Hand the worker its next group, or let it go."""
        worker.group = self.groups.popleft() if self.groups else None
        worker.left = deque(worker.group.cells if worker.group else ())
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send(worker.group)
        if worker.group is None:
            worker.process.join()
            del self.workers[place]

    def _listen(self, place: int, worker: _Worker) -> None:
        try:
            event: Event | None = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._bury(place, worker)
            return
        if event is None:
            self._give(place, worker)
            return
        self.report(event)
        if event.kind != "running":
            worker.left.popleft()

    def _bury(self, place: int, worker: _Worker) -> None:
        """A worker died: its running cell is lost, the rest of its group goes to a new one."""
        worker.process.join()
        del self.workers[place]
        assert worker.group is not None
        if worker.left:
            code = worker.process.exitcode
            self.report(Event("failed", worker.left.popleft(), f"its process ended with code {code}"))
        if worker.left:
            self.groups.appendleft(Group(worker.group.synthetic, tuple(worker.left)))
        if self.groups:
            self._start(place)


def accelerators() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name]
    return [str(number) for number in range(torch.cuda.device_count())]


def _work(connection: Connection, accelerator: str | None) -> None:
    """A worker's life: run groups until there are no more, or nobody listens."""
    end_with_parent()
    if accelerator is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = accelerator  # read when CUDA is first used, which is later
    quiet()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        runner: Runner = pickle.loads(connection.recv_bytes())
        while (group := connection.recv()) is not None:
            for event in runner.run(group):
                connection.send(event)
            connection.send(None)
