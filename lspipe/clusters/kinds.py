"""Which keys of `cluster:` a kind takes, which it needs, and what is refused."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lspipe.spec.rules import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lspipe.clusters import ClusterSpec

HERE = ("local", "cuda")
"""Kinds whose workers are processes of this machine."""

WHERE_TO_LOOK = {
    "local": "look at the memory of this machine",
    "cuda": "look at the memory of this machine and of its GPUs",
    "address": "look at the machines on which `dask worker` was started",
    "slurm": "look at the queue with `squeue --me`, and at the logs of its jobs",
    "kubernetes": "look at the pods with `kubectl get pods`",
    "gateway": "look at the gateway's own page of clusters",
}
"""Where a person sees why no worker comes."""

_ALL = ("kind", "workers", "memory_per_worker")

TAKES: Mapping[str, tuple[str, ...]] = {
    "local": _ALL,
    "cuda": _ALL,
    "address": (*_ALL, "address"),
    "slurm": (
        *_ALL, "cores", "gpus", "queue", "account", "walltime", "interface", "options",
    ),
    "kubernetes": (*_ALL, "cores", "gpus", "image", "namespace", "volumes", "options"),
    "gateway": (*_ALL, "address", "options"),
}  # fmt: skip
"""Keys of each kind; a kind of one's own takes any."""

NEEDS: Mapping[str, Mapping[str, str]] = {
    "address": {"address": "the scheduler, such as tcp://127.0.0.1:8786"},
    "slurm": {"workers": "how many jobs", "memory_per_worker": "that of a job, such as 16GiB"},
    "kubernetes": {
        "workers": "how many pods",
        "memory_per_worker": "that of a pod, such as 16GiB",
        "image": "a container image that has lspipe",
    },
    "gateway": {"workers": "how many"},
}
"""Keys that a kind cannot do without, and what each says."""

NOT_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "slurm": {
        "queue": "cluster.queue",
        "account": "cluster.account",
        "walltime": "cluster.walltime",
        "interface": "cluster.interface",
        "job_cpu": "cluster.cores",
        "cores": "cluster.cores",
        "memory": "cluster.memory_per_worker",
        "n_workers": "cluster.workers",
        "processes": "cluster.workers",
    },
    "kubernetes": {
        "namespace": "cluster.namespace",
        "image": "cluster.image",
        "n_workers": "cluster.workers",
        "resources": "cluster.cores, memory_per_worker and gpus",
        "custom_cluster_spec": "the other keys of cluster; options.pod and options.container add",
    },
    "gateway": {"auth": "the environment (DASK_GATEWAY__AUTH__TYPE and its like)"},
}
"""Options of a library that lspipe sets itself, and where to say it instead."""

_SECRET = re.compile(r"(^|[_-])(password|passwd|token|secret|api_?key|access_?key)$", re.IGNORECASE)


def check(spec: ClusterSpec) -> None:
    """Refuse keys that the kind does not use, lacks, or that hold a secret.

    Raises:
        ValueError: names the key, and where it belongs.
    """
    if spec.kind in TAKES:
        _check_keys(spec)
    for claim, folder in spec.volumes.items():
        if not isinstance(folder, str) or not folder.startswith("/"):
            raise ValueError(
                f"volumes.{claim}: found {folder!r}, expected a folder of the pods, such as /runs"
            )
    for where in _secrets(spec.options, "options"):
        raise ValueError(
            f"{where}: found a secret, which a run would copy into run.json; "
            "set it in the environment, or name a Kubernetes secret"
        )


def _check_keys(spec: ClusterSpec) -> None:
    for field in fields(spec):
        if field.name not in TAKES[spec.kind] and _is_set(spec, field.name):
            kinds = [kind for kind, keys in TAKES.items() if field.name in keys]
            raise ValueError(
                f"{field.name}: kind {spec.kind} does not use this key, "
                f"but {listed(kinds)}; take it out, or change kind"
            )
    for name, words in NEEDS.get(spec.kind, {}).items():
        if not _is_set(spec, name):
            raise ValueError(f"{name}: missing; kind {spec.kind} needs it: {words}")
    for name, instead in NOT_OPTIONS.get(spec.kind, {}).items():
        if name in spec.options:
            raise ValueError(f"options.{name}: not an option; say it in {instead}")


def _is_set(spec: ClusterSpec, name: str) -> bool:
    """Return whether a key is there and says something."""
    return getattr(spec, name) not in (None, "auto", {})


def _secrets(value: Any, where: str) -> Iterator[str]:
    """Yield where texts stand under names of passwords and the like."""
    if isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _secrets(one, f"{where}.{number}")
    elif isinstance(value, dict):
        # An environment variable of a container: {name: ..., value: ...}
        if isinstance(value.get("value"), str) and _SECRET.search(str(value.get("name"))):
            yield f"{where}.{value['name']}"
        for name, one in value.items():
            if isinstance(one, str) and _SECRET.search(str(name)):
                yield f"{where}.{name}"
            yield from _secrets(one, f"{where}.{name}")
