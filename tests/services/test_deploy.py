"""What other programs say of the files in deploy/: linters, schemas of Kubernetes, systemd."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import dask
import pytest
import yaml
from distributed import Client

from lspipe.clusters import ClusterSpec, ExecutionSpec, kubernetes, start
from tests.services.servers import ROOT, missing, running

DEPLOY = ROOT / "deploy"
TOOLS = ROOT / ".venv-deploy" / "bin"


def program(name):
    return shutil.which(name, path=TOOLS) or shutil.which(name) or missing(
        f"no {name} here; `.ci/run` installs it into {TOOLS.parent}"
    )  # fmt: skip


def refused(*command):
    """What a program complains of; nothing where it is content."""
    told = subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True)
    return "" if told.returncode == 0 else told.stdout + told.stderr


def test_the_dockerfile_is_one_that_hadolint_takes(tmp_path):
    assert refused("hadolint", DEPLOY / "Dockerfile") == ""
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN pip install lspipe\n", encoding="utf-8")
    assert "DL3006" in refused("hadolint", bad)


def test_the_scripts_are_ones_that_shellcheck_takes():
    scripts = sorted(DEPLOY.glob("slurm/*.sbatch"))
    assert len(scripts) == 2
    assert refused("shellcheck", *scripts, ROOT / ".ci" / "run") == ""


@pytest.mark.parametrize("name", ["access", "job", "network", "volume"])
def test_kubernetes_knows_what_the_files_ask_for(name, tmp_path):
    path = DEPLOY / "kubernetes" / f"{name}.yaml"
    assert refused("kubernetes-validate", "--strict", path) == ""
    # Strict: a key that there is not is refused.
    bad = tmp_path / path.name
    text = path.read_text(encoding="utf-8").replace("spec:", "spce:").replace("rules:", "rule:")
    bad.write_text(text, encoding="utf-8")
    assert "Additional properties" in refused("kubernetes-validate", "--strict", bad)


@pytest.mark.parametrize("part", ["scheduler", "worker"])
@pytest.mark.parametrize("source", ["file", "kind"])
def test_pods_of_dask_are_ones_that_kubernetes_takes(part, source, tmp_path):
    if source == "file":
        text = (DEPLOY / "kubernetes" / "daskcluster.yaml").read_text(encoding="utf-8")
        made = yaml.safe_load(text)
    else:
        spec = ClusterSpec(
            kind="kubernetes", workers=2, memory_per_worker="1GiB", image="lspipe:1",
            options={"pod": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}},
        )  # fmt: skip
        made = kubernetes.manifest(spec, ExecutionSpec(), "lspipe-test")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": part}}
    file = tmp_path / "pod.json"
    file.write_text(json.dumps(pod | {"spec": made["spec"][part]["spec"]}), encoding="utf-8")
    assert refused("kubernetes-validate", "--strict", file) == ""


@pytest.fixture
def secret(tmp_path):
    """The files of the secret `lspipe-tls`, made as the page says, in place of /etc/dask."""
    page = (DEPLOY / "kubernetes" / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^openssl .*?cert\.pem$", page, re.M | re.S)[0]
    subprocess.run(
        shlex.split(command.replace("\\\n", " ")), cwd=tmp_path, check=True, capture_output=True
    )
    text = (DEPLOY / "kubernetes" / "dask.yaml").read_text(encoding="utf-8")
    assert "/etc/dask" in text
    (tmp_path / "dask.yaml").write_text(text.replace("/etc/dask", str(tmp_path)), encoding="utf-8")
    return tmp_path


def test_the_cluster_that_stays_lets_in_who_has_its_key_and_nobody_else(secret):
    text = (DEPLOY / "kubernetes" / "daskcluster.yaml").read_text(encoding="utf-8")
    pods = yaml.safe_load(text.replace("0.0.0.0", "127.0.0.1"))["spec"]
    scheduler, worker = (pods[part]["spec"]["containers"][0] for part in ("scheduler", "worker"))
    (address,) = (e["value"] for e in worker["env"] if e["name"] == "DASK_SCHEDULER_ADDRESS")
    environment = {**os.environ, "DASK_ROOT_CONFIG": str(secret), "DASK_WORKER_NAME": "one"}

    def command(container, *more):
        words = [word.replace("$(DASK_WORKER_NAME)", "one") for word in container["args"]]
        return [sys.executable, "-m", *words, *more]

    def ask(port):
        return command(scheduler, "--port", str(port), "--no-dashboard")

    with running(ask, env=environment, cwd=secret) as port:
        here = address.replace("lspipe-scheduler:8786", f"127.0.0.1:{port}")
        environment["DASK_SCHEDULER_ADDRESS"] = here
        started = subprocess.Popen(
            command(worker), env=environment, cwd=secret, stderr=subprocess.DEVNULL
        )
        try:
            spec = ClusterSpec(kind="address", address=here)
            settings = yaml.safe_load((secret / "dask.yaml").read_text(encoding="utf-8"))
            with (
                dask.config.set(dask.config.merge(dask.config.config, settings)),
                start(spec, ExecutionSpec()) as client,
            ):
                client.wait_for_workers(1, timeout=60)
                assert client.submit(sum, [1, 2]).result(timeout=30) == 3
                (facts,) = client.scheduler_info()["workers"].values()
                assert facts["nanny"].startswith("tls://")
            with pytest.raises(OSError, match="tcp://"):
                Client(here.replace("tls://", "tcp://"), timeout=1)
        finally:
            started.terminate()
            started.wait(30)


@pytest.fixture
def units(tmp_path):
    """The units as they are, but for a program that is here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    for path in sorted((DEPLOY / "systemd").glob("lspipe@.*")):
        text = path.read_text(encoding="utf-8").replace("/opt/lspipe/bin/lspipe", "/bin/true")
        for name in (path.name, path.name.replace("@", "@my-valley")):
            (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_systemd_takes_the_units(units):
    names = [units / f"lspipe@my-valley.{kind}" for kind in ("service", "timer")]
    told = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")


def test_systemd_finds_the_service_well_confined(units):
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20",
         units / "lspipe@my-valley.service"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout[-300:]
