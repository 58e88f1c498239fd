"""Where blocks are computed: what is started, where it listens, what is refused."""

from __future__ import annotations

import os
import signal
import socket
import threading
import warnings
from contextlib import contextmanager

import dask
import psutil
import pytest
from distributed import LocalCluster, Scheduler

from lspipe import clusters, machine
from lspipe.clusters import (
    ClusterSpec,
    ExecutionSpec,
    address,
    admission,
    connection,
    local,
    settings,
)
from lspipe.errors import ClusterError, UsageError

NOTHING = ExecutionSpec()


@pytest.fixture(scope="module")
def running():
    """A local cluster, as a run starts it."""
    with clusters.start(ClusterSpec(kind="local", workers=2), ExecutionSpec(retries=5)) as client:
        yield client


def test_a_local_worker_has_a_thread_to_compute_and_one_to_read(running):
    assert sorted(running.nthreads().values()) == [2, 2]
    assert all(map(clusters.has_slot, admission.present(running).values()))
    pids = set(running.run(os.getpid).values())
    assert len(pids) == 2
    assert os.getpid() not in pids


@pytest.mark.parametrize(
    ("spec", "threads"),
    [
        ({"kind": "local", "workers": 1}, 2),
        ({"kind": "cuda", "workers": 1}, 4),
        ({"kind": "cuda", "workers": 4}, 3),
        ({"kind": "cuda", "workers": 12}, 2),
        ({"kind": "slurm", "workers": 1, "cores": 8}, 2),
        ({"kind": "slurm", "workers": 1, "gpus": 1}, 2),
        ({"kind": "slurm", "workers": 1, "gpus": 1, "cores": 3}, 3),
        ({"kind": "kubernetes", "workers": 1, "gpus": 1, "cores": 8, "image": "lspipe"}, 4),
    ],
)
def test_a_worker_with_a_gpu_has_threads_for_its_cores(monkeypatch, spec, threads):
    monkeypatch.setattr(settings.machine, "cores", lambda: 12)
    if spec["kind"] in ("slurm", "kubernetes"):
        spec = {**spec, "memory_per_worker": "4GiB"}
    spec = ClusterSpec(**spec)
    assert settings.threads(spec) == threads
    assert f"--nthreads {threads} " in " ".join(settings.worker_options(spec))


def test_a_worker_has_its_share_of_the_machine_or_what_is_said():
    assert clusters.worker_memory(ClusterSpec(workers=2)) == machine.memory() // 2
    assert clusters.worker_memory(ClusterSpec()) == machine.memory() // machine.cores()
    assert clusters.worker_memory(ClusterSpec(memory_per_worker="4GiB")) == 4 * 2**30
    # Whoever started that cluster knows.
    there = {"kind": "address", "address": "tcp://127.0.0.1:8786"}
    assert clusters.worker_memory(ClusterSpec(**there)) is None
    assert clusters.worker_memory(ClusterSpec(**there, memory_per_worker="4GB")) == 4 * 10**9


def how_memory_is_kept():
    import dask

    limits = dask.config.get("distributed.worker.memory")
    return [limits[key] for key in ("target", "spill", "pause")], {
        key: os.environ.get(key) for key in settings.ALLOCATOR
    }


def test_workers_keep_freed_memory_after_another_cluster_of_this_process(monkeypatch):
    # What dask leaves behind.
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    with clusters.start(ClusterSpec(workers=1), ExecutionSpec()) as client:
        ((_, allocator),) = client.run(how_memory_is_kept).values()
    assert allocator == settings.ALLOCATOR
    assert os.environ["MALLOC_TRIM_THRESHOLD_"] == "65536"
    assert "PYTHONWARNINGS" not in os.environ


def test_workers_keep_freed_memory_and_write_no_pixels_to_disk(running):
    for fractions, allocator in running.run(how_memory_is_kept).values():
        assert fractions == [False, False, clusters.USABLE_MEMORY]
        assert allocator == settings.ALLOCATOR


@pytest.mark.parametrize(
    ("asked", "device", "workers"),
    [
        ({}, "cpu", machine.cores()),
        # Each would keep a block and a network on it, with a batch that was tried for one.
        ({}, "cuda", 1),
        ({"workers": 3}, "cuda", 3),
        ({"workers": 3}, "cpu", 3),
        ({"kind": "address", "address": "tcp://127.0.0.1:8786"}, "cuda", "auto"),
    ],
)
def test_a_gpu_gets_one_worker_unless_told_otherwise(asked, device, workers):
    assert clusters.sized(ClusterSpec(**asked), device=device).workers == workers


def test_what_workers_are_given_is_what_a_plan_counts_on(running):
    given = {worker["memory_limit"] for worker in running.scheduler_info()["workers"].values()}
    assert given == {clusters.worker_memory(ClusterSpec(workers=2))}


def test_a_local_cluster_listens_on_loopback_only(running):
    me = psutil.Process()
    processes = [me, *me.children(recursive=True)]
    assert {process.pid for process in processes} >= set(running.run(os.getpid).values())
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    # Scheduler, dashboard, nannies and workers.
    assert listening == {"127.0.0.1"}
    facts = running.scheduler_info()
    addresses = [facts["address"], *facts["workers"], running.dashboard_link]
    assert all("//127.0.0.1:" in text for text in addresses)


def warns_of_a_missing_geotransform():
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn("Dataset has no geotransform, gcps, or rpcs.", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    return [str(warning.message) for warning in caught]


def test_two_threads_of_a_worker_do_not_warn_of_what_rasterio_silences_in_one(running):
    for told in running.run(warns_of_a_missing_geotransform).values():
        assert told == ["something else"]


def blocked_signals():
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_ctrl_c_reaches_this_process_and_not_its_workers(running):
    assert signal.SIGINT not in blocked_signals()
    for blocked in running.run(blocked_signals).values():
        assert signal.SIGINT in blocked


def test_a_block_that_kills_its_worker_is_tried_as_often_as_one_that_fails(running):
    assert running.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == 5


def test_a_cluster_that_is_slow_to_end_loses_nothing(monkeypatch):
    close, warned = LocalCluster.close, []

    def slow(self, *arguments, **options):
        close(self, *arguments, **options)
        raise TimeoutError

    monkeypatch.setattr(LocalCluster, "close", slow)
    monkeypatch.setattr(connection.logger, "warning", lambda text, _: warned.append(text))
    with clusters.start(ClusterSpec(kind="local", workers=1), NOTHING) as client:
        answer = client.submit(sum, [1, 2]).result()
    assert answer == 3
    assert ["did not end in time" in text for text in warned] == [True]


# Not where the pixels of a landslide are: settings of a person for other clusters.
OF_ANOTHER_CLUSTER = {
    "distributed.worker.preload": ["no_such_module"],
    "distributed.worker.lifetime.duration": "1s",
    "distributed.comm.require-encryption": True,
    "distributed.comm.timeouts.connect": "77s",
}


def test_settings_for_another_cluster_do_not_reach_the_workers_of_this_machine():
    before = local.ignored_settings()  # of the cluster that these tests share
    with dask.config.set(OF_ANOTHER_CLUSTER):
        assert sorted(set(local.ignored_settings()) - set(before)) == [
            "dask: distributed.comm.require-encryption = True",
            "dask: distributed.worker.lifetime.duration = '1s'",
            "dask: distributed.worker.preload = ['no_such_module']",
        ]
        with clusters.start(ClusterSpec(kind="local", workers=1), NOTHING) as client:
            assert client.submit(sum, [1, 2]).result() == 3
            # How slow this machine is, is known to its owner.
            assert dask.config.get("distributed.comm.timeouts.connect") == "77s"


def test_a_folder_of_temporary_files_that_cannot_be_written_is_named():
    with (
        dask.config.set({"temporary-directory": "/proc/nowhere"}),
        pytest.raises(UsageError, match=r"DASK_TEMPORARY_DIRECTORY.* /proc/nowhere: cannot be"),
        clusters.start(ClusterSpec(kind="local", workers=1), NOTHING),
    ):
        pass


def test_workers_that_do_not_start_say_why(monkeypatch):
    async def refuse(self):
        del self
        raise OSError("no memory left")

    monkeypatch.setattr(Scheduler, "start_unsafe", refuse)
    with (
        pytest.raises(ClusterError, match="do not start: OSError: no memory left; check"),
        clusters.start(ClusterSpec(kind="local", workers=1), NOTHING),
    ):
        pass


def test_a_running_cluster_is_joined_by_its_address_and_left_running(running):
    there = running.scheduler.address
    spec = ClusterSpec(kind="address", address=there)
    for _ in range(2):
        with clusters.start(spec, NOTHING) as client:
            assert client.submit(sum, (1, 2)).result(timeout=20) == 3
            assert set(client.nthreads()) == set(running.nthreads())
    assert running.status == "running"
    assert len(running.nthreads()) == 2


def test_workers_are_one_per_core_that_this_process_may_use():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no processor affinity on this system")
    before = os.sched_getaffinity(0)
    assert clusters.worker_count(ClusterSpec()) == len(before)
    found = []

    def on_one_core():
        # Of this thread only.
        os.sched_setaffinity(0, {min(before)})
        found.append(clusters.worker_count(ClusterSpec()))

    thread = threading.Thread(target=on_one_core)
    thread.start()
    thread.join()
    assert found == [1]
    assert os.sched_getaffinity(0) == before


@pytest.fixture
def nobody():
    """The address of a port of this machine at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound and not listening: nobody else can take it meanwhile.
        yield f"tcp://127.0.0.1:{taken.getsockname()[1]}"


def join(text):
    with clusters.start(ClusterSpec(kind="address", address=text), NOTHING):
        pass


def test_an_address_where_nothing_answers_is_refused(nobody, monkeypatch):
    monkeypatch.setattr(address, "SECONDS_TO_ANSWER", 1)
    with pytest.raises(UsageError, match="no dask scheduler answers within 1 s") as caught:
        join(nobody)
    assert nobody in str(caught.value)


def test_the_port_of_the_dashboard_is_refused_and_not_waited_at_for_ever(running, monkeypatch):
    monkeypatch.setattr(address, "SECONDS_TO_ANSWER", 1)
    page = running.dashboard_link.removeprefix("http://").partition("/")[0]
    for text in (f"tcp://{page}", f"http://{page}"):
        with pytest.raises(UsageError, match="no dask scheduler answers"):
            join(text)


def test_a_silent_listener_is_refused_and_not_waited_at_for_ever(monkeypatch):
    monkeypatch.setattr(address, "SECONDS_TO_ANSWER", 1)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(UsageError, match="no dask scheduler answers"):
            join(f"tcp://127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("text", ["nonsense", "127.0.0.1", "tcp://"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match=r"cluster\.address: .*expected such as tcp://"):
        join(text)


@contextmanager
def my_cluster(spec, execution):
    """A cluster of a user's own."""
    yield f"{spec.workers} workers, {execution.retries} retries"


def test_a_cluster_of_ones_own_is_named_by_module_and_function():
    spec = ClusterSpec(kind=f"{__name__}:my_cluster", workers=7)
    with clusters.start(spec, ExecutionSpec(retries=1)) as client:
        assert client == "7 workers, 1 retries"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: ClusterSpec(kind="lokal"),
            r"kind: found 'lokal' \(did you mean 'local'\?\), expected local, cuda, address,",
        ),
        (
            lambda: ClusterSpec(workers=0),
            "workers: found 0, expected a whole number, 1 or more, or auto",
        ),
        (lambda: ClusterSpec(memory_per_worker="lots"), "memory_per_worker: found 'lots'"),
        (lambda: ClusterSpec(memory_per_worker="0"), "memory_per_worker: found '0'"),
        (
            lambda: ExecutionSpec(block=0),
            "block: found 0, expected a whole number of pixels, 1 or more, or auto",
        ),
        (
            lambda: ExecutionSpec(retries=-1),
            "retries: found -1, expected a whole number, 0 or more",
        ),
        (
            lambda: ExecutionSpec(max_in_flight=0),
            "max_in_flight: found 0, expected a whole number, 1 or more, or auto",
        ),
    ],
)
def test_numbers_that_cannot_work_are_refused_with_their_key(make, says):
    with pytest.raises(ValueError, match=says):
        make()
