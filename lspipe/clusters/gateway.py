"""A cluster that dask-gateway starts: on a shared server, which decides what a worker is.

    cluster: {kind: gateway, address: "https://HOST", workers: 8, options: {worker_memory: 16}}

Who the person is, dask-gateway's own configuration says (DASK_GATEWAY__AUTH__TYPE and its like, or
a file in ~/.config/dask): nothing of it is in a workflow. What scheduler and workers say to each
other is encrypted by the gateway. Workers must have lspipe and see the run directory under the same
path. Where the server has an option `environment`, workers get lspipe's variables by it, the slot
for inference among them; where it has not, every thread of a worker takes whatever comes.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from dask_gateway import Gateway, GatewayClusterError, GatewayServerError

from lspipe.clusters import INFERENCE_SLOT, settings
from lspipe.clusters.connection import cause_of, connected
from lspipe.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from distributed import Client

    from lspipe.clusters import ClusterSpec, ExecutionSpec

logger = logging.getLogger(__name__)

ENVIRONMENT = "environment"
"""Option by which most servers let their users set variables of workers."""


@contextmanager
def start(spec: ClusterSpec, execution: ExecutionSpec) -> Iterator[Client]:
    """Start a cluster at the gateway, yield a client, and stop the cluster afterwards.

    Raises:
        UsageError: no address, or an option that the server does not have.
        ClusterError: the gateway is out of reach, or its cluster does not start.
    """
    try:
        # Not closed by hand: it closes when it is deleted, and complains of a second time.
        cluster = _cluster(Gateway(address=spec.address), spec, execution)
        with connected(cluster, partial(_client, int(spec.workers))) as client:
            yield client
    except (GatewayClusterError, GatewayServerError, aiohttp.ClientError, OSError) as error:
        raise ClusterError(
            f"the gateway at {spec.address or 'the configured address'} starts no cluster: "
            f"{cause_of(error)}"
        ) from error


def _cluster(gateway: Gateway, spec: ClusterSpec, execution: ExecutionSpec) -> Any:
    options = gateway.cluster_options()
    _choose(options, spec)
    if ENVIRONMENT in options:
        options[ENVIRONMENT] = {**variables(execution), **dict(options[ENVIRONMENT] or {})}
    else:
        logger.warning(
            "the gateway has no option %r: its workers are not those that lspipe would start "
            "(two threads, one slot for inference, memory kept)", ENVIRONMENT,
        )  # fmt: skip
    return gateway.new_cluster(options, shutdown_on_close=True)


def _choose(options: MutableMapping[str, Any], spec: ClusterSpec) -> None:
    for name, value in spec.options.items():
        if name not in options:
            raise UsageError(
                f"cluster.options.{name}: the gateway has no such option; "
                f"it has {', '.join(options) or 'none'}"
            )
        try:
            options[name] = value
        except (TypeError, ValueError) as error:
            raise UsageError(f"cluster.options.{name}: {error}") from error


def variables(execution: ExecutionSpec) -> dict[str, str]:
    """Return the variables that make a worker one of lspipe's, and its scheduler too."""
    slot = {f"distributed.worker.resources.{name}": n for name, n in INFERENCE_SLOT.items()}
    dask_reads = {**settings.WORKER, **settings.scheduler(execution), **slot}
    return {**settings.environment(), **settings.as_variables(dask_reads)}


def _client(workers: int, cluster: Any) -> Client:
    cluster.scale(workers)
    return cluster.get_client(set_as_default=False)
