"""Pods of Kubernetes, one worker in each, started by the operator of dask-kubernetes.

    cluster: {kind: kubernetes, workers: 8, image: "REGISTRY/lspipe:0.1.0", gpus: 1, cores: 4,
              memory_per_worker: 16GiB, volumes: {runs: /runs}}

This process is best a pod of the same cluster: it must see the run directory under the same path as
the workers. KubeCluster connects without certificates, so what scheduler and workers say to each
other is not encrypted; `deploy/kubernetes` has a policy that lets only the pods of a cluster reach
it, and a cluster that stays, with TLS. Secrets reach workers as Kubernetes has them:
options.container, envFrom.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask
import httpx
import kr8s
from dask_kubernetes.exceptions import CrashLoopBackOffError, SchedulerStartupError
from dask_kubernetes.operator import KubeCluster
from dask_kubernetes.operator.kubecluster.kubecluster import make_cluster_spec
from distributed import Client

from lspipe.clusters import settings, worker_memory
from lspipe.clusters.connection import cause_of, connected
from lspipe.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lspipe.clusters import ClusterSpec, ExecutionSpec

logger = logging.getLogger(__name__)

CORES = 2
"""Cores of a pod, unless given: one computes, one reads."""

OF_SCHEDULER = {"cpu": "1", "memory": "2Gi"}
"""What the scheduler's pod gets: it holds no pixels."""

SECONDS_IDLE = 3600
"""After this long without work the operator deletes a cluster whose owner was lost."""

GROUP = 1000
"""Group of the image's user (`deploy/Dockerfile`): what it writes to a volume belongs to it."""

OF_BOTH = ("pod", "container")
"""Options that are added to the worker's pod and container, and not given to KubeCluster."""

_FAILURES = (
    OSError, TimeoutError, RuntimeError, httpx.HTTPError, kr8s.ServerError, kr8s.APITimeoutError,
    kr8s.NotFoundError, CrashLoopBackOffError, SchedulerStartupError,
)  # fmt: skip


@contextmanager
def start(spec: ClusterSpec, execution: ExecutionSpec) -> Iterator[Client]:
    """Create the cluster, yield a client, and delete the cluster afterwards.

    Raises:
        UsageError: KubeCluster does not take an option; this process may only speak TLS.
        ClusterError: Kubernetes is out of reach, or the scheduler's pod does not start.
    """
    if dask.config.get("distributed.comm.require-encryption"):
        raise UsageError(
            "cluster.kind: found kubernetes, whose pods speak no TLS, and dask's configuration "
            "(distributed.comm.require-encryption) asks for it; start the cluster of "
            "deploy/kubernetes/daskcluster.yaml, and give it as cluster: {kind: address}"
        )
    name = f"lspipe-{uuid4().hex[:10]}"
    options = {key: value for key, value in spec.options.items() if key not in OF_BOTH}
    wanted = {"quiet": True, "namespace": spec.namespace, **options}
    try:
        cluster = KubeCluster(custom_cluster_spec=manifest(spec, execution, name), **wanted)
    except (TypeError, ValueError) as error:
        raise UsageError(f"cluster: dask-kubernetes refuses it: {cause_of(error)}") from error
    except _FAILURES as error:
        raise ClusterError(
            f"the cluster does not start on Kubernetes: {cause_of(error)}; check that its operator "
            "runs (dask-kubernetes-operator), cluster.namespace and cluster.image"
        ) from error
    with connected(cluster, Client) as client:
        yield client


def manifest(spec: ClusterSpec, execution: ExecutionSpec, name: str) -> dict[str, Any]:
    """Return the DaskCluster that is created: the library's own, with what workers need."""
    memory = str(worker_memory(spec))
    made: dict[str, Any] = make_cluster_spec(
        name=name,
        image=spec.image,
        n_workers=spec.workers,
        env=_variables(execution),
        worker_command=["dask", "worker", *settings.worker_options(spec), "--memory-limit", memory],
        resources={},
        idle_timeout=SECONDS_IDLE,
    )
    scheduler, worker = (made["spec"][part]["spec"] for part in ("scheduler", "worker"))
    _restrict(scheduler, OF_SCHEDULER)
    own = {"cpu": str(spec.cores or CORES), "memory": memory}
    _restrict(worker, own | ({"nvidia.com/gpu": str(spec.gpus)} if spec.gpus else {}))
    # Current releases of dask have no program of the old name.
    scheduler["containers"][0]["args"] = ["dask", "scheduler", "--host", "0.0.0.0"]  # noqa: S104
    # Its page is that of the pod alone, so there is no port to name.
    worker["containers"][0] |= {"args": _args(worker["containers"][0]["args"]), "ports": []}
    _mount(worker, spec.volumes)
    _add(worker, spec.options.get("pod", {}))
    _add(worker["containers"][0], spec.options.get("container", {}))
    return made


def _variables(execution: ExecutionSpec) -> dict[str, str]:
    dask_reads = {**settings.WORKER, **settings.scheduler(execution)}
    return {**settings.environment(), **settings.as_variables(dask_reads)}


def _args(args: list[str]) -> list[str]:
    """Return the command of a worker without the page that the library adds to it."""
    return args[: args.index("$(DASK_WORKER_NAME)") + 1]


def _restrict(pod: dict[str, Any], resources: dict[str, str]) -> None:
    """Give a pod what it asks for and no more, no root, and no way to become it."""
    pod["securityContext"] = {
        "runAsNonRoot": True,
        "fsGroup": GROUP,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod["automountServiceAccountToken"] = False
    pod["containers"][0] |= {
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _mount(pod: dict[str, Any], volumes: dict[str, str]) -> None:
    """Show volumes to a pod."""
    pod["volumes"] = [
        {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": claim}}
        for number, claim in enumerate(volumes)
    ]
    pod["containers"][0]["volumeMounts"] = [
        {"name": f"volume-{number}", "mountPath": folder}
        for number, folder in enumerate(volumes.values())
    ]


def _add(to: dict[str, Any], more: dict[str, Any]) -> None:
    """Add to lists and mappings, and replace other values."""
    for key, value in more.items():
        known = to.get(key)
        if isinstance(known, list) and isinstance(value, list):
            to[key] = [*known, *value]
        elif isinstance(known, dict) and isinstance(value, dict):
            to[key] = {**known, **value}
        else:
            to[key] = value
