"""What deploy/ and its pages say is what lspipe does: settings, files, versions, codes."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from lspipe.cli import arguments
from lspipe.clusters import ClusterSpec, ExecutionSpec, kubernetes, settings
from lspipe.errors import NothingFound
from lspipe.spec import read

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
SCRIPTS = sorted(DEPLOY.glob("slurm/*.sbatch"))
PAGES = [ROOT / "docs" / "cluster.md", *sorted(DEPLOY.rglob("README.md"))]


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8")))


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


# --- what workers are set to --------------------------------------------------------------------


def expected_variables(monkeypatch):
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    dask_reads = {**settings.WORKER, **settings.scheduler(ExecutionSpec())}
    return {**settings.environment(), **settings.as_variables(dask_reads)}


def assigned(text):
    """Variables that lines of a shell or of an environment file set."""
    words = [word for line in text.splitlines() for word in shlex.split(line, comments=True)]
    return dict(word.split("=", 1) for word in words if "=" in word)


def test_variables_of_a_worker_are_those_that_lspipe_sets(monkeypatch):
    text = (DEPLOY / "worker.env").read_text(encoding="utf-8")
    assert assigned(text) == expected_variables(monkeypatch)


def test_the_job_array_sets_the_same(monkeypatch):
    text = (DEPLOY / "slurm" / "array.sbatch").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("export ")]
    found = assigned("\n".join(lines))
    expected = expected_variables(monkeypatch)
    assert {name: found.get(name) for name in expected} == expected
    job = ClusterSpec(kind="slurm", workers=4, memory_per_worker="16GiB", gpus=1, cores=4)
    assert " ".join(settings.worker_options(job)[:4]) in text


def test_the_cluster_that_stays_is_that_which_lspipe_makes(monkeypatch):
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    (page,) = (page for page in PAGES if page.parent.name == "kubernetes")
    (section,) = clusters_of(page, "kubernetes")
    made = kubernetes.manifest(read(ClusterSpec, section), ExecutionSpec(), "lspipe")
    # It is not deleted when it is idle.
    made["spec"]["idleTimeout"] = 0
    assert documents("daskcluster.yaml") == [with_tls(made)]


def with_tls(made):
    """A cluster whose pods find certificates in a secret, and use them."""
    scheduler, worker = (made["spec"][part]["spec"] for part in ("scheduler", "worker"))
    for pod in (scheduler, worker):
        (container,) = pod["containers"]
        mount = {"name": "tls", "mountPath": "/etc/dask", "readOnly": True}
        container["volumeMounts"] = [*container.get("volumeMounts", []), mount]
        secret = {"name": "tls", "secret": {"secretName": "lspipe-tls"}}
        pod["volumes"] = [*pod.get("volumes", []), secret]
    scheduler["containers"][0]["args"] += ["--protocol", "tls"]
    address = {"name": "DASK_SCHEDULER_ADDRESS", "value": "tls://lspipe-scheduler:8786"}
    worker["containers"][0]["env"] = [*worker["containers"][0]["env"], address]
    return made


def test_the_pod_of_a_run_takes_the_secret_of_that_cluster_where_there_is_one():
    (job,), (cluster,) = documents("job.yaml"), documents("daskcluster.yaml")
    pod = job["spec"]["template"]["spec"]
    (secret,) = (volume["secret"] for volume in pod["volumes"] if volume["name"] == "tls")
    (theirs,) = (
        volume["secret"]
        for volume in cluster["spec"]["worker"]["spec"]["volumes"]
        if volume["name"] == "tls"
    )
    assert secret == theirs | {"optional": True}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["tls"] == "/etc/dask"  # where dask looks, and what dask.yaml names


# --- the pages ----------------------------------------------------------------------------------


def clusters_of(page, kind=""):
    """Sections `cluster:` in the YAML of a page."""
    texts = re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.M | re.S)
    found = [yaml.safe_load(text)["cluster"] for text in texts if "cluster:" in text]
    return [one for one in found if kind in ("", one["kind"])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_what_a_page_shows_of_a_cluster_can_be_pasted(page):
    for section in clusters_of(page):
        read(ClusterSpec, section)


def test_the_page_of_clusters_shows_every_kind():
    shown = {section["kind"] for section in clusters_of(PAGES[0])}
    assert shown == {"local", "cuda", "address", "slurm", "kubernetes", "gateway"}


def test_no_registry_is_named():
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\b(ghcr|quay|docker|gcr|nvcr|pypi|download)\.\w+", text), path


# --- the image ----------------------------------------------------------------------------------

DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def steps(word):
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [
        line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{word} ")
    ]


def test_the_base_image_is_one_release_and_can_be_fixed_to_the_bit():
    (base,) = (value for value in steps("ARG") if value.startswith("BASE="))
    assert re.fullmatch(r"BASE=python:3\.1[1-9]\.\d+-slim-\w+", base)
    assert {line.split()[0] for line in steps("FROM")} == {"${BASE}"}


def test_the_image_runs_as_the_user_whose_group_owns_volumes():
    assert steps("USER")[-1] == f"1000:{kubernetes.GROUP}"
    assert f"--gid {kubernetes.GROUP} " in "".join(steps("RUN"))
    # A command, and no entry point, in which `dask worker` would be an argument.
    assert steps("CMD") == ['["lspipe", "--help"]']
    assert steps("ENTRYPOINT") == []


def test_every_package_of_the_image_has_its_version_and_its_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = (value.removeprefix("EXTRAS=") for value in steps("ARG") if "EXTRAS" in value)
    optional = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(one for name in extras.split(",") for one in optional[name]),
    ]
    pins = (ROOT / "constraints-cpu.txt").read_text(encoding="utf-8")
    pinned = {normal(line.partition("==")[0]) for line in pins.splitlines() if "==" in line}
    names = {normal(re.match(r"[\w.-]+", one)[0]) for one in asked} - {"planetary-computer"}
    assert names <= pinned
    installs = [line for line in steps("RUN") if "pip install" in line]
    assert len(installs) == 2
    assert all("--constraint constraints-cpu.txt" in line for line in installs)


def test_all_that_is_copied_is_there_and_reaches_the_build():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    for line in steps("COPY"):
        if not line.startswith("--from"):
            for name in line.split()[:-1]:
                assert (ROOT / name).exists()
                assert f"!{name}" in ignored


# --- scripts, pods, units -----------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_and_can_be_queued_again(script):
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    text = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    assert "#SBATCH --requeue" in text
    # After the first command SLURM reads no more of them.
    assert text.rindex("#SBATCH") < text.index("\nset ")


def test_the_pod_of_a_run_is_not_root_and_cannot_become_it():
    (job,) = documents("job.yaml")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_files_of_kubernetes_speak_of_the_same_things():
    (claim,), (job,), (policy,) = map(documents, ("volume.yaml", "job.yaml", "network.yaml"))
    pod = job["spec"]["template"]["spec"]
    claims = [
        v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persist" in str(v)
    ]
    assert claims == [claim["metadata"]["name"]]
    account, role, binding = documents("access.yaml")
    assert (
        pod["serviceAccountName"] == account["metadata"]["name"] == binding["subjects"][0]["name"]
    )
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    # The client is let in by the label of its pod.
    let_in = [one["podSelector"].get("matchLabels") for one in policy["spec"]["ingress"][0]["from"]]
    assert job["spec"]["template"]["metadata"]["labels"] in let_in
    (section,) = clusters_of(DEPLOY / "kubernetes" / "README.md", "kubernetes")
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert section["volumes"] == {claims[0]: mounts["runs"]}
    assert section["image"] == pod["containers"][0]["image"]


def unit(name):
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str
    found.read(DEPLOY / "systemd" / name, encoding="utf-8")
    return found


def test_the_service_runs_a_command_that_there_is_and_knows_its_codes():
    service = unit("lspipe@.service")["Service"]
    program, *words = shlex.split(service["ExecStart"].replace("%i", "my-valley"))
    assert program == "/opt/lspipe/bin/lspipe"
    asked = arguments.parser().parse_args(words)
    assert (str(asked.workflow), str(asked.output)) == (
        "/etc/lspipe/my-valley.yaml", "/var/lib/lspipe/my-valley",
    )  # fmt: skip
    assert service["SuccessExitStatus"] == str(NothingFound.exit_code)
    assert service["User"] == "lspipe"


def test_the_service_may_write_its_own_folder_and_nothing_else():
    service = unit("lspipe@.service")["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["StateDirectory"] == "lspipe"
    assert "ReadWritePaths" not in service
    assert service["NoNewPrivileges"] == "yes"
