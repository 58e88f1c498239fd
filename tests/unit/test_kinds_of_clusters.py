"""One contract for every kind of cluster: its workers, its settings, its end, what it refuses.

SLURM, Kubernetes and a gateway are played by processes of this machine, at the outermost boundary:
the programs sbatch and scancel, the class that talks to Kubernetes, the one that talks to the
gateway. The commands, variables and certificates of workers are real.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path

import cloudpickle
import dask
import jsonschema
import pytest
import referencing.jsonschema
import yaml
from distributed import Client

from lspipe import clusters, machine
from lspipe.clusters import (
    ClusterSpec,
    ExecutionSpec,
    admission,
    cuda,
    gateway,
    gpus,
    kinds,
    settings,
    slurm,
)  # fmt: skip
from lspipe.clusters import kubernetes as pods
from lspipe.errors import ClusterError, MissingExtra, UsageError
from tests import elsewhere

NOTHING = ExecutionSpec()
ASKED = ExecutionSpec(retries=5)

SPECS = {
    "local": ClusterSpec(kind="local", workers=2, memory_per_worker="1GiB"),
    "cuda": ClusterSpec(kind="cuda", workers=2, memory_per_worker="1GiB"),
    "slurm": ClusterSpec(
        kind="slurm", workers=2, memory_per_worker="1GiB", cores=3, gpus=1, queue="gpu",
        account="mine", walltime="04:00:00", interface="lo",
    ),
    "kubernetes": ClusterSpec(
        kind="kubernetes", workers=2, memory_per_worker="1GiB", cores=3, gpus=1,
        image="lspipe:test", namespace="landslides", volumes={"runs": "/runs"},
    ),
    "gateway": ClusterSpec(kind="gateway", workers=2, address="http://127.0.0.1:1"),
}  # fmt: skip

LSPIPE_STARTS = ("local", "cuda", "slurm", "kubernetes")


# --- what plays the other machines --------------------------------------------------------------


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder of programs and notes of the other machines, and a home of one's own."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(gpus, "visible", lambda: ("GPU-a", "GPU-b"))
    elsewhere.write_slurm(tmp_path)
    monkeypatch.setattr(pods, "KubeCluster", partial(FakeKube, tmp_path))
    monkeypatch.setattr(pods, "Client", joined)
    monkeypatch.setattr(gateway, "Gateway", partial(FakeGateway, tmp_path))
    STARTED.clear()
    # Other processes do not find this file by its name.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield tmp_path
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


STARTED: list[elsewhere.Pods] = []


def joined(cluster, **_):
    return Client(scheduler_file=str(cluster.file), set_as_default=False)


class FakeKube(elsewhere.Pods):
    """Runs what a DaskCluster says, as Kubernetes would."""

    def __init__(self, folder, *, custom_cluster_spec, namespace, quiet):
        assert (namespace, quiet) == ("landslides", True)
        parts = custom_cluster_spec["spec"]
        scheduler, worker = (
            parts[name]["spec"]["containers"][0] for name in ("scheduler", "worker")
        )
        variables = map(elsewhere.variables_of, (scheduler, worker))
        assert scheduler["args"][:2] == ["dask", "scheduler"]
        assert worker["args"][:2] == ["dask", "worker"]
        super().__init__(folder, *variables, worker["args"], parts["worker"]["replicas"])
        STARTED.append(self)


class FakeGateway:
    """A gateway whose workers get the variables that their user sets, and no options."""

    def __init__(self, folder, *, address):
        assert address == "http://127.0.0.1:1"
        self.folder = folder

    def cluster_options(self):
        from dask_gateway.options import Float, Mapping, Options

        return Options(Mapping("environment", {"OF_SERVER": "1"}), Float("worker_memory", 4, max=8))

    def new_cluster(self, options, *, shutdown_on_close):
        assert shutdown_on_close
        return FakeGatewayCluster(self.folder, dict(options["environment"]))


class FakeGatewayCluster:
    def __init__(self, folder, variables):
        self.folder, self.variables = folder, variables

    def scale(self, count):
        command = ["dask", "worker", "--nthreads", "2"]
        self.pods = elsewhere.Pods(self.folder, self.variables, self.variables, command, count)
        STARTED.append(self.pods)

    def get_client(self, *, set_as_default):
        assert not set_as_default
        return joined(self.pods)

    def close(self):
        self.pods.close()


# --- the contract -------------------------------------------------------------------------------


def of_a_worker():
    limits = dask.config.get("distributed.worker.memory")
    names = [*settings.ALLOCATOR, "PYTHONWARNINGS", gpus.VARIABLE]
    return {
        "memory": [limits[key] for key in ("target", "spill", "pause")],
        "variables": {name: os.environ.get(name) for name in names},
        "pid": os.getpid(),
    }


def of_a_scheduler(dask_scheduler):
    return (
        dask_scheduler.allowed_failures,
        dask_scheduler.WORKER_SATURATION,
        dask_scheduler.worker_ttl,
    )


@pytest.mark.parametrize("kind", SPECS)
def test_every_kind_starts_the_same_workers_and_ends_them(kind, there, monkeypatch):
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    expected = settings.environment()
    with clusters.start(SPECS[kind], ASKED) as client:
        client.wait_for_workers(2, timeout=60)
        facts = client.scheduler_info()["workers"].values()
        workers = client.run(of_a_worker)
        assert client.run_on_scheduler(of_a_scheduler) == (5, 1.0, 900)
        assert all(map(clusters.has_slot, admission.present(client).values()))
        assert [fact["nthreads"] for fact in facts] == [settings.threads(SPECS[kind])] * 2
        if kind in LSPIPE_STARTS:
            assert {fact["memory_limit"] for fact in facts} == {2**30}
        for worker in workers.values():
            assert worker["memory"] == [False, False, clusters.USABLE_MEMORY]
            assert worker["variables"].items() >= expected.items()
        assert client.submit(sum, [1, 2]).result(timeout=20) == 3
    pids = {worker["pid"] for worker in workers.values()}
    assert len(pids) == 2
    # Processes of others end once they notice.
    until = time.monotonic() + 20
    while [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert all(started.is_closed for started in STARTED)
    assert elsewhere.processes_of(there) == []


def test_only_where_lspipe_writes_the_command_is_the_slot_sure():
    sure = {kind for kind, spec in SPECS.items() if clusters.declares_slot(spec)}
    assert sure == set(LSPIPE_STARTS)
    there = ClusterSpec(kind="address", address="tcp://127.0.0.1:1")
    assert not clusters.declares_slot(there)
    assert not clusters.declares_slot(ClusterSpec(kind="package.module:start"))


def test_every_kind_is_told_of_and_has_its_extra():
    assert set(kinds.TAKES) == set(clusters.KINDS) == {*SPECS, "address"}
    assert set(clusters.EXTRAS) == set(clusters.KINDS) - {"local", "cuda", "address"}


@pytest.mark.parametrize(("kind", "module"), [
    ("slurm", "dask_jobqueue"), ("kubernetes", "kr8s"), ("gateway", "dask_gateway"),
])  # fmt: skip
def test_a_missing_package_is_named_with_what_to_install(kind, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"lspipe.clusters.{kind}", raising=False)
    with (
        pytest.raises(MissingExtra, match=rf"pip install 'lspipe\[{kind}\]'"),
        clusters.start(SPECS[kind], NOTHING),
    ):
        pass


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"queue": "gpu"}, "queue: kind local does not use this key, but slurm; take it out"),
        ({"gpus": 0}, "gpus: kind local does not use this key, but slurm or kubernetes"),
        (
            {"kind": "cuda", "address": "tcp://127.0.0.1:1"},
            "address: kind cuda .* address or gateway",
        ),
        (
            {"kind": "address"},
            "address: missing; kind address needs it: the scheduler, such as tcp",
        ),
        ({"kind": "slurm"}, "workers: missing; kind slurm needs it: how many jobs"),
        ({"kind": "slurm", "workers": 2}, "memory_per_worker: missing; kind slurm"),
        ({"kind": "kubernetes", "workers": 2, "memory_per_worker": "1GiB"}, "image: missing"),
        ({"kind": "gateway"}, "workers: missing"),
        ({"options": {"a": 1}}, "options: kind local does not use this key, but slurm, kubernetes"),
    ],
)
def test_a_key_of_another_kind_and_one_that_lacks_are_refused(asked, says):
    with pytest.raises(ValueError, match=says):
        ClusterSpec(**asked)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (
            "walltime",
            "four hours",
            "found 'four hours', expected a time in quotes, such as \"04:00",
        ),
        ("walltime", 14400, "walltime: found 14400"),
        ("queue", "gpu --exclusive", "expected a name without blanks"),
        ("gpus", 2, "expected a whole number, 0 to 1"),
        ("cores", 0, "expected a whole number, 1 or more"),
        ("options", {"queue": "gpu"}, r"options\.queue: not an option; say it in cluster\.queue"),
        (
            "options",
            {"scheduler_options": {"password": "x"}},
            r"options\.scheduler_options\.password: ",
        ),
    ],
)
def test_values_that_cannot_work_are_refused(key, value, says):
    good = {"kind": "slurm", "workers": 2, "memory_per_worker": "1GiB"}
    with pytest.raises(ValueError, match=says):
        ClusterSpec(**good, **{key: value})


@pytest.mark.parametrize(
    "options",
    [
        {"container": {"env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "hush"}]}},
        {"pod": {"api_token": "hush"}},
        {"password": "hush"},
    ],
)
def test_a_secret_is_refused_and_not_shown(options):
    with pytest.raises(ValueError, match="found a secret") as caught:
        ClusterSpec(
            kind="kubernetes", workers=1, memory_per_worker="1GiB", image="i", options=options
        )
    assert "hush" not in str(caught.value)


def test_naming_a_secret_of_kubernetes_is_none():
    given = {
        "container": {
            "envFrom": [{"secretRef": {"name": "s3"}}],
            "env": [
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "token"}}}
            ],
        },
        "pod": {"imagePullSecrets": [{"name": "registry"}]},
    }
    ClusterSpec(kind="kubernetes", workers=1, memory_per_worker="1GiB", image="i", options=given)


def test_a_folder_of_a_volume_is_an_absolute_path():
    with pytest.raises(ValueError, match=r"volumes\.runs: found 'runs', expected a folder"):
        ClusterSpec(
            kind="kubernetes",
            workers=1,
            memory_per_worker="1GiB",
            image="i",
            volumes={"runs": "runs"},
        )


# --- GPUs of this machine -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "count", "found"),
    [
        (None, 8, tuple("01234567")),
        ("4,5", 2, ("4", "5")),
        (" 2 , 3 ", 2, ("2", "3")),
        # CUDA stops at the first that is none.
        ("0,-1,2", 1, ("0",)),
        ("GPU-8932f937-d72c,GPU-46a32416", 2, ("GPU-8932f937-d72c", "GPU-46a32416")),
        # A process sees one slice; another process may see the next.
        ("MIG-a,MIG-b,MIG-c", 1, ("MIG-a", "MIG-b", "MIG-c")),
        ("", 0, ()),
        ("MIG-a", 0, ()),
        (None, 0, ()),
    ],
)
def test_gpus_are_those_that_the_person_names_and_cuda_sees(named, count, found, monkeypatch):
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    if named is not None:
        monkeypatch.setenv(gpus.VARIABLE, named)
    monkeypatch.setattr(gpus, "_count", lambda: count)
    assert gpus.visible() == found


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch):
    monkeypatch.setattr(gpus.ctypes, "CDLL", lambda _: (_ for _ in ()).throw(OSError("none")))
    assert gpus.visible() == ()


class Driver:
    """The two calls of NVIDIA's driver, on a machine with GPUs."""

    def __init__(self, code, count):
        self.code, self.count = code, count

    def cuInit(self, flags):  # noqa: N802
        assert flags == 0
        return self.code

    def cuDeviceGetCount(self, pointer):  # noqa: N802
        pointer._obj.value = self.count
        return 0


@pytest.mark.parametrize(("code", "found"), [(0, ("0", "1", "2")), (100, ())])
def test_the_driver_is_asked_how_many(code, found, monkeypatch):
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    monkeypatch.setattr(
        gpus.ctypes, "CDLL", lambda name: Driver(code, 3) if "cuda" in name else None
    )
    assert gpus.visible() == found


def test_each_of_eight_gpus_gets_a_worker(monkeypatch):
    monkeypatch.setattr(gpus, "visible", lambda: tuple("01234567"))
    for kind in ("local", "cuda"):
        found = clusters.sized(ClusterSpec(kind=kind), device="cuda")
        assert (found.kind, found.workers, clusters.workers_per_gpu(found)) == ("cuda", 8, 1)
    three = clusters.sized(ClusterSpec(workers=3), device="cuda")
    assert (three.kind, three.workers, clusters.workers_per_gpu(three)) == ("cuda", 3, 1)
    assert clusters.workers_per_gpu(ClusterSpec(workers=9)) == 2
    assert clusters.worker_count(ClusterSpec(kind="cuda")) == 8
    assert clusters.worker_memory(ClusterSpec(kind="cuda")) == machine.memory() // 8
    assert clusters.workers_per_gpu(SPECS["slurm"]) == 1


def test_workers_are_bound_to_gpus_in_turn_also_those_that_replace_others(there):
    del there
    three = ClusterSpec(kind="cuda", workers=3, memory_per_worker="1GiB")
    with clusters.start(three, NOTHING) as client:

        def bound():
            return sorted(client.run(lambda: os.environ[gpus.VARIABLE]).values())

        assert bound() == ["GPU-a", "GPU-a", "GPU-b"]
        client.restart()
        assert bound() == ["GPU-a", "GPU-a", "GPU-b"]


def test_kind_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(gpus, "visible", tuple)
    with (
        pytest.raises(UsageError, match="found cuda, and this machine shows no GPU"),
        clusters.start(ClusterSpec(kind="cuda"), NOTHING),
    ):
        pass
    with pytest.raises(UsageError, match="found cuda, and networks run on the CPU here"):
        clusters.sized(ClusterSpec(kind="cuda"), device="cpu")


def running():
    """Clusters of this process that run, those of other tests too."""
    return {one for one in cuda.LocalCluster._instances if one.status.name == "running"}


def test_workers_on_gpus_that_do_not_start_leave_nothing_behind(monkeypatch, there):
    del there
    before = running()

    async def refuse(self):
        del self
        raise OSError("no memory left")

    monkeypatch.setattr("distributed.Nanny.start_unsafe", refuse)
    with (
        pytest.raises(ClusterError, match="do not start: OSError: no memory left"),
        clusters.start(SPECS["cuda"], NOTHING),
    ):
        pass
    assert running() <= before


# --- SLURM --------------------------------------------------------------------------------------


def script_of(**more):
    """The script of a job, by dask-jobqueue's own class."""
    spec = ClusterSpec(**{"kind": "slurm", "workers": 1, "memory_per_worker": "16GiB", **more})
    with own_scheduler(spec) as cluster:
        return cluster.job_script()


@contextmanager
def own_scheduler(spec):
    """The cluster of the library, before any job is submitted."""
    with (
        slurm._certificates(slurm._folder(spec)) as security,
        slurm._cluster(spec, ASKED, security) as cluster,
    ):
        yield cluster


def test_a_job_of_slurm_asks_for_what_is_said(there):
    del there
    text = script_of(
        queue="gpu", account="mine", walltime="04:00:00", gpus=1, cores=4, interface="lo"
    )
    lines = {line.removeprefix("#SBATCH ") for line in text.splitlines() if "#SBATCH" in line}
    assert lines >= {
        "-J lspipe", "-p gpu", "-A mine", "-n 1", "--cpus-per-task=4", "--mem=16G", "-t 04:00:00",
        "--gres=gpu:1", "--requeue", "--open-mode=append",
    }  # fmt: skip
    command = text.splitlines()[-1]
    assert command.startswith(f"{sys.executable} -m distributed.cli.dask_worker tls://")
    assert "--lifetime 13800s --lifetime-stagger 300s" in command
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_a_job_of_slurm_asks_for_no_more_than_it_needs(there):
    del there
    text = script_of(interface="lo")
    assert "--cpus-per-task=2" in text
    assert not [word for word in ("--gres", "#SBATCH -A", "#SBATCH -p") if word in text]


def test_options_and_a_persons_configuration_are_added_to(there):
    del there
    site = {
        "jobqueue.slurm.job-script-prologue": ["module load python"],
        "jobqueue.slurm.queue": "short",
        "jobqueue.slurm.walltime": "00:40:00",
    }
    with dask.config.set(site):
        text = script_of(
            interface="lo", options={"job_extra_directives": ["--constraint=a100"], "job_name": "x"}
        )
    assert text.index("module load python") < text.index("export MALLOC_TRIM_THRESHOLD_")
    assert {"#SBATCH -p short", "#SBATCH --constraint=a100", "#SBATCH -J x"} <= set(
        text.splitlines()
    )
    assert "--requeue" in text
    assert "--lifetime 1800s --lifetime-stagger 300s" in text


@pytest.mark.parametrize("walltime", ["3", "10:30", "00:20:00", "1:00:00", "2-00:00:00"])
def test_workers_leave_before_the_walltime_ends_and_not_too_early(walltime):
    whole = slurm.seconds(walltime)
    options = slurm._lifetime(walltime)
    lifetime, stagger = (int(options[place].removesuffix("s")) for place in (1, 3))
    assert lifetime + stagger < whole
    assert whole - lifetime - stagger >= min(300, whole // 8)
    assert lifetime - stagger >= whole * 0.6


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30", 1800), ("2:30", 150), ("1:02:03", 3723), ("1-2", 93600), ("1-02:30", 95400),
     ("1-02:30:15", 95415)],
)  # fmt: skip
def test_a_walltime_is_read_as_slurm_reads_it(text, expected):
    assert slurm.seconds(text) == expected


ONE_JOB = ClusterSpec(kind="slurm", workers=1, memory_per_worker="1GiB", interface="lo")


def test_certificates_are_of_the_person_alone_and_are_gone_afterwards(there):
    folder = there / "home" / ".lspipe" / "slurm"
    with clusters.start(ONE_JOB, NOTHING) as client:
        client.wait_for_workers(1, timeout=60)
        (key,) = folder.rglob("*key*")
        assert "PRIVATE KEY" in key.read_text()
        assert [path.stat().st_mode & 0o77 for path in (folder, key.parent)] == [0, 0]
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        (script,) = there.glob("job*")
        assert str(key) in script.read_text()
        assert "PRIVATE" not in script.read_text()
    assert list(folder.rglob("*key*")) == []


def test_without_the_certificate_nobody_is_let_in(there):
    del there
    with own_scheduler(ONE_JOB) as cluster:
        plain = cluster.scheduler_address.replace("tls://", "tcp://")
        with pytest.raises(OSError, match="tcp://"):
            Client(plain, timeout=1)


def test_a_job_that_ends_is_submitted_again(there, monkeypatch):
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_LOOKS", 0.2)
    soon = {"distributed.deploy.lost-worker-timeout": "100ms"}
    with dask.config.set(soon), clusters.start(ONE_JOB, NOTHING) as client:
        client.wait_for_workers(1, timeout=60)
        before = set(client.scheduler_info()["workers"])
        (job,) = there.glob("job*")
        subprocess.run([there / "scancel", job.name.removeprefix("job")], check=True)
        until = time.monotonic() + 60
        while not set(client.scheduler_info()["workers"]) - before:
            assert time.monotonic() < until
            time.sleep(0.1)
    assert len(list(there.glob("job*"))) == 2
    assert elsewhere.processes_of(there) == []


def test_what_slurm_refuses_is_told(there):
    elsewhere.write_slurm(there, sbatch=elsewhere.REFUSES)
    with (
        pytest.raises(UsageError, match=r"refuses the job: invalid partition.*cluster\.queue"),
        clusters.start(SPECS["slurm"], NOTHING),
    ):
        pass


def test_a_machine_without_slurm_is_told_of(there, monkeypatch):
    monkeypatch.setenv("PATH", str(there / "nowhere"))
    with pytest.raises(UsageError, match="no sbatch"), clusters.start(SPECS["slurm"], NOTHING):
        pass


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"interface": "nosuch0"}, "nosuch0"),
        ({"interface": "lo", "options": {"no_such": 1}}, "unexpected keyword argument 'no_such'"),
    ],
)
# The library warns that what it never started was not closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_dask_jobqueue_refuses_is_told(more, says, there):
    del there
    spec = ClusterSpec(kind="slurm", workers=1, memory_per_worker="1GiB", **more)
    with pytest.raises((UsageError, ClusterError), match=says), clusters.start(spec, NOTHING):
        pass
    gc.collect()


# --- Kubernetes ---------------------------------------------------------------------------------


def manifest(**more):
    given = {"workers": 2, "memory_per_worker": "16GiB", "image": "i:1", **more}
    return pods.manifest(ClusterSpec(kind="kubernetes", **given), ASKED, "lspipe-test")


def containers(made):
    return [made["spec"][part]["spec"]["containers"][0] for part in ("scheduler", "worker")]


def test_a_pod_gets_what_is_said_and_the_scheduler_no_gpu():
    made = manifest(gpus=1, cores=4, volumes={"runs": "/runs"})
    scheduler, worker = containers(made)
    own = {"cpu": "4", "memory": str(16 * 2**30), "nvidia.com/gpu": "1"}
    assert worker["resources"] == {"requests": own, "limits": own}
    assert "nvidia.com/gpu" not in scheduler["resources"]["limits"]
    assert [one["mountPath"] for one in worker["volumeMounts"]] == ["/runs"]
    assert {scheduler["image"], worker["image"]} == {"i:1"}
    assert made["spec"]["worker"]["replicas"] == 2


def test_no_pod_runs_as_root_or_can_become_it():
    made = manifest()
    for part in ("scheduler", "worker"):
        pod = made["spec"][part]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        context = pod["containers"][0]["securityContext"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_options_are_added_to_the_workers_pod():
    more = {
        "pod": {"nodeSelector": {"gpu": "a100"}, "securityContext": {"runAsUser": 7}},
        "container": {
            "envFrom": [{"secretRef": {"name": "s3"}}],
            "env": [{"name": "A", "value": "b"}],
        },
    }
    made = manifest(options=more)
    pod = made["spec"]["worker"]["spec"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 7
    assert (
        elsewhere.variables_of(pod["containers"][0]).items()
        >= {"A": "b", **settings.ALLOCATOR}.items()
    )
    assert pod["containers"][0]["envFrom"]


def test_the_manifest_is_one_that_the_operator_takes():
    def retrieve(uri):
        package, _, name = uri.removeprefix("python://").rpartition("/")
        # What a pod may hold is not shipped with it; the service tests look at that.
        known = package.startswith("dask_kubernetes")
        text = files(package.replace("/", ".")).joinpath(name).read_text() if known else ANY_POD
        return referencing.Resource(yaml.safe_load(text), referencing.jsonschema.DRAFT4)

    schema = {"$ref": f"python://{CRDS}/templates.yaml#/definitions/dask.k8s.api.v1.DaskCluster"}
    registry = referencing.Registry(retrieve=retrieve)
    validator = jsonschema.Draft4Validator(schema, registry=registry)
    made = manifest(gpus=1, volumes={"runs": "/runs"})
    validator.validate(made)
    made["spec"]["worker"]["replicas"] = "many"
    with pytest.raises(jsonschema.ValidationError, match="many"):
        validator.validate(made)


CRDS = "dask_kubernetes/operator/customresources"
ANY_POD = "definitions: {io.k8s.api.core.v1.PodSpec: {}, io.k8s.api.core.v1.ServiceSpec: {}}"


def test_kubernetes_is_refused_where_only_tls_is_spoken(there):
    del there
    with (
        dask.config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(UsageError, match="daskcluster.yaml"),
        clusters.start(SPECS["kubernetes"], NOTHING),
    ):
        pass
    assert not STARTED


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # likewise
def test_kubernetes_out_of_reach_is_told(tmp_path, monkeypatch):
    configuration = tmp_path / "config"
    configuration.write_text(yaml.safe_dump(UNREACHABLE), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(configuration))
    with (
        pytest.raises(ClusterError, match="does not start on Kubernetes"),
        clusters.start(SPECS["kubernetes"], NOTHING),
    ):
        pass
    gc.collect()


UNREACHABLE = {
    "apiVersion": "v1", "kind": "Config", "current-context": "here",
    "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "me", "user": {"token": "none"}}],
    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
}  # fmt: skip


# --- a gateway ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"worker_memry": 4},
            r"options\.worker_memry: the gateway has no such option; it has environ",
        ),
        ({"worker_memory": 99}, r"options\.worker_memory: .*99"),
    ],
)
def test_options_that_the_gateway_does_not_take_are_told(options, says, there):
    del there
    spec = ClusterSpec(kind="gateway", workers=1, address="http://127.0.0.1:1", options=options)
    with pytest.raises(UsageError, match=says), clusters.start(spec, NOTHING):
        pass


def test_a_gateway_out_of_reach_is_told():
    spec = ClusterSpec(kind="gateway", workers=1, address="http://127.0.0.1:1")
    with (
        pytest.raises(
            ClusterError, match=r"the gateway at http://127\.0\.0\.1:1 starts no cluster"
        ),
        clusters.start(spec, NOTHING),
    ):
        pass


def test_variables_of_the_server_are_kept_where_it_sets_them(there):
    del there
    options = FakeGateway(None, address="http://127.0.0.1:1").cluster_options()
    options["environment"] = {"MALLOC_ARENA_MAX": "4"}
    made = []

    class Known:
        cluster_options = staticmethod(lambda: options)
        new_cluster = staticmethod(lambda given, **_: made.append(dict(given["environment"])))

    gateway._cluster(Known, SPECS["gateway"], ASKED)
    assert made[0]["MALLOC_ARENA_MAX"] == "4"
    assert made[0]["DASK_DISTRIBUTED__WORKER__RESOURCES__INFERENCE"] == "1"
