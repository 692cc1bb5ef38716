"""Several processes, kills, full disks: the same bytes in the end, and nothing finished is lost."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import Job, leftovers, run_program, sha256s, start_program
from safetensors.torch import load_file

from augment.cli import main
from augment.runtime.processes import PARENT, appears

# Other processes: the same bytes.


def two_processes() -> list[str]:
    return ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


def test_two_processes_write_the_same_bytes_as_one(job: Job, dataset: Path, tmp_path: Path) -> None:
    run_program("augment", ["synthesize", *job.args(tmp_path / "two", *two_processes())])
    assert sha256s(tmp_path / "two") == sha256s(dataset)
    run = json.loads((tmp_path / "two" / "run.json").read_text())
    assert (run["processes"], run["threads_per_process"], run["images"]) == (2, 1, 12)
    manifests = [json.loads((f / "dataset.json").read_text(encoding="utf-8")) for f in (tmp_path / "two", dataset)]
    assert manifests[0] == manifests[1]
    places = (dataset.parent, tmp_path)
    one, two = ({p.name: load_file(p)["latent"] for p in (folder / "bank").rglob("*.safetensors")} for folder in places)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_fewer_shards_than_processes(job: Job, tmp_path: Path) -> None:
    run_program("augment", ["synthesize", *job.args(tmp_path / "two", *two_processes(), per_class=1)])
    assert len(sha256s(tmp_path / "two")) == 1
    assert sha256s(tmp_path / "two") == sha256s(job.synthesize(tmp_path / "a" / "one", per_class=1))


LONG = {"steps": 20, "per_class": 40}
"""A dataset of 30 shards that takes some seconds, so that there is a middle to be killed in."""


@pytest.fixture(scope="module")
def undisturbed(job: Job, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    main(["synthesize", *job.args(output, **LONG)])
    assert len(sha256s(output)) == 30
    return sha256s(output)


def shard_times(output: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in output.glob("train-*.tar")}


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool], delay: float = 0) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and not ready() and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_killed_run_is_resumed(job: Job, undisturbed: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start_program("augment", ["synthesize", *job.args(output, **LONG)])
    kill_when(process, lambda: len(shard_times(output)) >= 3)
    assert process.returncode == -signal.SIGKILL
    kept = shard_times(output)
    assert 3 <= len(kept) < 30
    main(["synthesize", *job.args(output, **LONG)])
    assert sha256s(output) == undisturbed
    # Nothing that was finished is done twice, and nothing unfinished is left.
    assert shard_times(output).items() >= kept.items()
    assert not list(output.glob(".*"))
    assert json.loads((output / "run.json").read_text())["images"] == 4 * (30 - len(kept))


LONGER = {"steps": 20, "per_class": 200}
"""150 shards, so that twenty kills find something to interrupt."""


@pytest.mark.slow
def test_a_run_of_two_processes_killed_twenty_times_is_resumed(job: Job, tmp_path: Path) -> None:
    """The first time while it inverts, then at moments that no one chose: one process dies, or the other, or both."""
    main(["synthesize", *job.args(tmp_path / "undisturbed" / "out", **LONGER)])
    output, bank, moments = tmp_path / "out", tmp_path / "bank", random.Random(0)
    killed = 0
    for attempt in range(20):
        kept, latents = shard_times(output), len(list(bank.rglob("*.safetensors")))

        def moved(kept: dict[str, int] = kept, latents: int = latents) -> bool:
            return len(shard_times(output)) > len(kept) or len(list(bank.rglob("*.safetensors"))) > latents

        process = start_program("augment", ["synthesize", *job.args(output, *two_processes(), **LONGER)])
        wait_until(lambda: moved() or process.poll() is not None)  # noqa: B023  (called at once)
        time.sleep(moments.uniform(0, 1.0) if attempt else 0)
        killed += process.poll() is None
        victims = [process.pid, *children_of(process)]
        for pid in [victims, victims[:1], victims[1:]][moments.randrange(3)]:
            kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
        wait_until(lambda: not any(alive(pid) for pid in victims))  # noqa: B023
        assert shard_times(output).items() >= kept.items()
    assert killed >= 15
    run_program("augment", ["synthesize", *job.args(output, *two_processes(), **LONGER)])
    assert sha256s(output) == sha256s(tmp_path / "undisturbed" / "out")
    assert not list(output.glob(".*"))


def children_of(process: subprocess.Popen[str]) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in tasks.read_text().split()] if tasks.exists() else []


def companions_of(process: subprocess.Popen[str]) -> list[int]:
    """Those of its children that are its run's; a library's import starts others, which are gone in a moment."""
    found = []
    for pid in children_of(process):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if f"{PARENT}={process.pid}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


def kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def alive(pid: int) -> bool:
    """Whether the process still runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(ready: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sigterm_drops_the_shard_in_flight(
    job: Job, undisturbed: dict[str, str], tmp_path: Path, processes: int
) -> None:
    output = tmp_path / "out"
    options = two_processes() if processes == 2 else []
    process = start_program("augment", ["synthesize", *job.args(output, *options, **LONG)])
    wait_until(lambda: len(shard_times(output)) >= 3)
    others = children_of(process)
    process.terminate()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "stopped by SIGTERM; finished work is kept, run the same command again" in printed
    assert "Traceback" not in printed
    wait_until(lambda: not any(alive(pid) for pid in others), 60)
    assert 3 <= len(shard_times(output)) < 30
    assert not leftovers(output)
    main(["synthesize", *job.args(output, **LONG)])
    assert sha256s(output) == undisturbed


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_process_that_dies_ends_the_run_and_is_named(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start_program("augment", ["synthesize", *job.args(output, *two_processes(), **LONG)])
    wait_until(lambda: len(shard_times(output)) >= 2)
    (other,) = [pid for pid in children_of(process) if alive(pid)]
    os.kill(other, signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "process 2 of 2 was killed by signal 9; finished work is kept, run the same command again" in printed


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nobody_outlives_the_first_process(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start_program("augment", ["synthesize", *job.args(output, *two_processes(), **LONG)])
    wait_until(lambda: len(shard_times(output)) >= 2)
    (other,) = [pid for pid in children_of(process) if alive(pid)]
    process.kill()
    wait_until(lambda: not alive(other), 60)
    printed, _ = process.communicate(timeout=60)
    assert printed.count("process 1 is gone; finished work is kept") == 1
    assert "Traceback" not in printed


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.slow
def test_nobody_outlives_a_first_process_that_dies_early(job: Job, tmp_path: Path) -> None:
    """The other one still imports: when it looks for the first one, that is gone already."""
    process = start_program("augment", ["synthesize", *job.args(tmp_path / "out", *two_processes(), **LONG)])
    wait_until(lambda: len(companions_of(process)) == 1)
    (other,) = companions_of(process)
    process.kill()
    wait_until(lambda: not alive(other), 60)
    printed, _ = process.communicate(timeout=60)
    assert printed.splitlines()[-1] == "process 1 is gone; finished work is kept, run the same command again"
    assert printed.count("process 1 is gone") == 1 and "Traceback" not in printed


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_interrupt_of_all_processes_is_one_line(job: Job, tmp_path: Path) -> None:
    """As a terminal sends Ctrl-C: to every process of the group."""
    output = tmp_path / "out"
    program = str(Path(sys.executable).parent / "augment")
    command = [program, "synthesize", *job.args(output, *two_processes(), **LONG)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    wait_until(lambda: len(shard_times(output)) >= 3)
    others = children_of(process)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed.count("stopped by Ctrl-C; finished work is kept, run the same command again") == 1
    assert "Traceback" not in printed
    wait_until(lambda: not any(alive(pid) for pid in others), 60)
    assert not leftovers(output)


def nodes(job: Job, outputs: list[Path], launcher: str = "torchrun") -> list[subprocess.Popen[str]]:
    """Two machines of one process each, as far as torchrun, or SLURM's variables, tell the processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank, output in enumerate(outputs):
        command = [str(Path(sys.executable).parent / "augment"), "synthesize"]
        command += job.args(output, *two_processes(), "--trainer.devices", "1", "--trainer.num_nodes", "2")
        environment = os.environ | {"PYTHONFAULTHANDLER": "1"}
        if launcher == "torchrun":
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
            command = [
                *torchrun,
                "--node_rank",
                str(rank),
                "--master_addr",
                "127.0.0.1",
                "--master_port",
                port,
                *command,
            ]
        else:
            names = {
                "JOB_ID": 1,
                "JOB_NAME": "augment",
                "NTASKS": 2,
                "NTASKS_PER_NODE": 1,
                "NODELIST": "127.0.0.1",
                "LOCALID": 0,
            }
            names |= {"PROCID": rank, "NODEID": rank}
            environment |= {f"SLURM_{name}": str(value) for name, value in names.items()} | {"MASTER_PORT": port}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment))
    return started


def outcomes(started: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit code and output of each; those that hang are aborted, and say where they were."""
    with ThreadPoolExecutor() as pool:
        printed = [pool.submit(node.communicate) for node in started]
        for node in started:
            try:
                node.wait(timeout=120)
            except subprocess.TimeoutExpired:
                for pid in [*children_of(node), node.pid]:
                    kill(pid, signal.SIGABRT)
        return [(node.wait(), text.result()[0]) for node, text in zip(started, printed, strict=True)]


@pytest.mark.parametrize("launcher", [pytest.param("torchrun", marks=pytest.mark.slow), "slurm"])
def test_two_nodes_write_the_same_bytes(job: Job, dataset: Path, tmp_path: Path, launcher: str) -> None:
    output = tmp_path / "out"
    for code, printed in outcomes(nodes(job, [output, output], launcher)):
        assert code == 0, printed
    assert sha256s(output) == sha256s(dataset)
    assert json.loads((output / "run.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_nodes_without_a_shared_file_system_are_told_so(job: Job, tmp_path: Path) -> None:
    for code, printed in outcomes(nodes(job, [tmp_path / "here", tmp_path / "there"])):
        assert code != 0
        assert "output: 1 of 2 processes do not see" in printed
        assert "all machines need one file system: give a folder on it" in printed
    assert not list(tmp_path.rglob("*.tar"))


def test_a_file_appears_or_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.runtime.processes.APPEARS_WITHIN_SECONDS", 0.0)
    assert not appears(tmp_path / "folder" / "file")
    (tmp_path / "folder").mkdir()
    assert not appears(tmp_path / "folder" / "file")
    (tmp_path / "folder" / "file").touch()
    assert appears(tmp_path / "folder" / "file")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or mount(folder, "size=300k").returncode:
        pytest.skip("this machine does not let a test mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def mount(folder: Path, options: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )


def test_a_full_disk_keeps_what_is_finished(
    job: Job, undisturbed: dict[str, str], small_disk: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    output = small_disk / "out"
    options = job.args(output, "--data.bank", str(tmp_path / "bank"), **LONG)
    error = fails(main, ["synthesize", *options], 1)
    assert "could not be written" in error and "No space left on device" in error
    assert error.strip().splitlines()[-1].startswith("augment synthesize: output: ")
    kept = sha256s(output)
    assert 3 <= len(kept) < 30 and kept.items() <= undisturbed.items()
    assert not leftovers(output)
    assert mount(small_disk, "remount,size=20m").returncode == 0
    main(["synthesize", *options])
    assert sha256s(output) == undisturbed


def test_a_bank_on_a_full_disk(job: Job, small_disk: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    (small_disk / "filler").write_bytes(bytes(290_000))
    error = fails(main, ["synthesize", *job.args(tmp_path / "out", "--data.bank", str(small_disk / "bank"))], 1)
    assert "bank: a latent could not be written" in error and "Traceback" not in error


def test_a_disk_that_may_only_be_read(job: Job, small_disk: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    assert mount(small_disk, "remount,ro").returncode == 0
    options = job.args(small_disk / "out", "--data.bank", str(tmp_path / "bank"))
    assert "Read-only file system" in fails(main, ["synthesize", *options], 1).strip().splitlines()[-1]


def test_a_full_disk_met_anywhere_is_one_line(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "dataset.json")

    monkeypatch.setattr("augment.synthesis.pipeline.close_folder", full)
    error = fails(main, ["synthesize", *job.args(tmp_path / "out")], 1)
    assert "No space left on device" in error.strip().splitlines()[-1]
    assert len(sha256s(tmp_path / "out")) == 3
