"""The workers that take part in a run: who may read, who computes, and how long to wait for them.

Every worker is asked once what it is (`handshake.py`), before it gets a task. One that differs is
left out, by name and reason. A cluster without a worker that can compute is said, and ends the run
after `execution.patience`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from lspipe import clusters
from lspipe.clusters import admission, settings
from lspipe.clusters.admission import Door
from lspipe.errors import ClusterError, first_few
from lspipe.runs import handshake
from lspipe.runs.events import Note, Waiting, WorkerLeft, WorkerMet
from lspipe.runs.plan import THREADS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from distributed import Client

    from lspipe.clusters import ClusterSpec, ExecutionSpec
    from lspipe.clusters.admission import Worker
    from lspipe.inference.reference import ModelReference
    from lspipe.runs.events import Report
    from lspipe.runs.handshake import Answer, Greeting, Verdict

SECONDS_TO_ANSWER = 120.0
"""How long a worker may take to answer: it imports PyTorch, and reads the weights, for it."""

SECONDS_BETWEEN_LOOKS = 1.0

SECONDS_OF_GRACE = 10.0
"""How long a run waits for others where all workers that came first differ."""

GONE = "the cluster went away; the same command resumes the run"


class Crew:
    """The workers of one run, as its client knows them.

    Call `gather` before the first block, and `look` now and then.

    Example:
        >>> with Crew(client, ...) as crew:  # doctest: +SKIP
        ...     crew.gather()
    """

    def __init__(
        self,
        client: Client,
        *,
        cluster: ClusterSpec,
        execution: ExecutionSpec,
        model: ModelReference | None,
        run: Path,
        report: Report,
    ) -> None:
        """Begin with nobody.

        Args:
            client: of the cluster.
            cluster: the section of the workflow.
            execution: the section of the workflow.
            model: what computes; None = not to be opened yet.
            run: the run directory.
            report: called with `WorkerMet`, `WorkerLeft` and `Waiting`.
        """
        self._client, self._door = client, Door(client)
        self._cluster, self._execution = cluster, execution
        # A process that was started from this one has the same model and packages.
        self._model = None if clusters.is_here(cluster) else model
        self._run, self._report = run, report
        self._known: dict[str, Verdict] = {}
        self._retired: dict[str, str] = {}
        self._processes: dict[str, str] = {}
        self._has_slot = clusters.declares_slot(cluster)
        self._present: dict[str, Worker] = {}
        self._looked = self._told = float("-inf")
        self._idle_since: float | None = None
        self._has_unlike = False

    def __enter__(self) -> Crew:
        self._door.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._door.__exit__(*exception)

    # --- who is there -----------------------------------------------------------------------------

    def gather(self) -> None:
        """Meet the workers, and wait for the first that can compute.

        Raises:
            ClusterError: none that can compute came in time, or all that there are differ.
        """
        self._meet()
        while not self.computing:
            self._wait()
            waited = time.monotonic() - (self._idle_since or 0.0)
            is_refused = self._present and not any(map(self._reads_only, self._present))
            # The others of a cluster that is just starting may come a moment later.
            if is_refused and waited > SECONDS_OF_GRACE:
                raise ClusterError(self._nobody())
            time.sleep(0.1)
            self._meet()
        self._idle_since = None

    def look(self) -> None:
        """Meet workers that joined, and complain where none computes; cheap if called often.

        Raises:
            ClusterError: none could compute for longer than `execution.patience`, or the scheduler
                went away.
        """
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._meet()
        if self.computing:
            self._idle_since = None
        else:
            self._wait()

    @property
    def computing(self) -> tuple[str, ...]:
        """Addresses of the workers that compute now."""
        return tuple(address for address in self._present if not self._obstacle(address))

    @property
    def room(self) -> int:
        """How many blocks may be in flight: one for each thread, and one that is ready.

        Of each worker that computes; threads beyond those that lspipe gives one do not count, as
        nobody said how much memory they have.
        """
        threads = (self._present[address].threads for address in self.computing)
        return sum(1 + min(max(each, settings.THREADS), settings.MOST_THREADS) for each in threads)

    @property
    def slot(self) -> dict[str, int]:
        """What the task that computes a block asks of a worker."""
        return dict(clusters.INFERENCE_SLOT) if self._has_slot else {}

    @property
    def devices(self) -> dict[str, int]:
        """Names of the devices that compute or computed, and how many workers have each."""
        answers = [each.answer for each in self._known.values() if not each.computing]
        return dict(Counter(answer.device for answer in answers if answer is not None))

    def retire(self, address: str, reason: str) -> None:
        """Give a worker nothing more to do in this run."""
        if address in self._retired:
            return
        self._retired[address] = reason
        self._door.keep_out([address])
        self._report(WorkerLeft(self._name(address), reason))

    # --- meeting ----------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Ask those who joined since the last time what they are, and let them in or not."""
        self._looked = time.monotonic()
        self._present = self._connected()
        for address, worker in self._present.items():
            # Where ports are fixed, another process may have come back at an address.
            if self._processes.setdefault(address, worker.process) != worker.process:
                self._processes[address] = worker.process
                self._known.pop(address, None)
                self._retired.pop(address, None)
        had_slot = self._has_slot
        self._has_slot = had_slot or any(map(clusters.has_slot, self._present.values()))
        new = [address for address in self._present if address not in self._known]
        if new:
            with handshake.greeting(self._run, self._model, threads=THREADS) as greeting:
                answers = self._asked(greeting, new)
                for address in new:
                    self._known[address] = handshake.judge(self._run, answers[address])
            self._tell_of_unlike_devices()
        # With the first slot, those without one become readers.
        for address in new if self._has_slot == had_slot else self._present:
            self._place(address)

    def _tell_of_unlike_devices(self) -> None:
        if len(self.devices) > 1 and not self._has_unlike:
            self._has_unlike = True
            names = first_few(sorted(self.devices), 3)
            self._report(
                Note(
                    f"blocks are computed on unlike devices ({names}): their probabilities agree "
                    "within 2e-6 in fp32 and 1e-2 in bf16, not to the last bit"
                )
            )

    def _connected(self) -> dict[str, Worker]:
        """Return the workers that are connected.

        A scheduler that does not answer at once is busy, as far as its client knows: while it takes
        in the first graph of a run it imports what that consists of.
        """
        if self._client.status in ("closing", "closed"):
            raise ClusterError(GONE)
        try:
            return admission.present(self._client)
        except admission.WENT_AWAY:
            return self._present

    def _asked(
        self, greeting: Greeting, workers: Sequence[str]
    ) -> dict[str, Answer | BaseException]:
        async def ask(address: str) -> Answer | BaseException:
            try:
                answers = await asyncio.wait_for(
                    self._client.run(
                        handshake.introduce, greeting, workers=[address], on_error="return"
                    ),
                    SECONDS_TO_ANSWER,
                )
            # Whatever it is, this worker is left out and the others go on.
            except Exception as error:  # noqa: BLE001
                return error
            said: Answer | BaseException = answers[address]
            return said

        async def ask_all() -> list[Answer | BaseException]:
            return list(await asyncio.gather(*map(ask, workers)))

        return dict(zip(workers, self._client.sync(ask_all), strict=True))

    def _place(self, address: str) -> None:
        """Let a worker in that may read, and say what it does."""
        verdict = self._known[address]
        obstacle = self._obstacle(address)
        may_read = not verdict.reading and (not obstacle or self._reads_only(address))
        if may_read:
            self._door.let_in([address])
        else:
            self._door.keep_out([address])
        self._report(
            WorkerMet(
                worker=self._name(address),
                host="" if verdict.answer is None else verdict.answer.host,
                device="" if verdict.answer is None else verdict.answer.device,
                role="computes" if not obstacle else "reads" if may_read else "left out",
                reason="" if may_read else verdict.reading or obstacle,
            )
        )
        if self._execution.strict and not may_read:
            raise ClusterError(
                f"worker {self._name(address)} {verdict.reading or obstacle}; without "
                "execution.strict it would be left out"
            )

    def _reads_only(self, address: str) -> bool:
        """Return whether no block can reach a worker, as it declares no slot."""
        return self._has_slot and not clusters.has_slot(self._present[address])

    def _obstacle(self, address: str) -> str:
        """Return why a worker does not compute; "" if it does."""
        if address in self._retired:
            return self._retired[address]
        if address not in self._known:
            return "was not asked yet"
        if self._reads_only(address):
            return "declares no slot"
        return self._known[address].computing

    def _name(self, address: str) -> str:
        worker = self._present.get(address)
        return address if worker is None or worker.name == address else f"{worker.name} ({address})"

    # --- waiting ----------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Say once a minute that nobody computes, and give up after a while."""
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        waited, patience = now - self._idle_since, self._execution.patience
        if waited > patience:
            raise ClusterError(f"{self._nobody()}; waited {patience} s (execution.patience)")
        if now - self._told > 60:
            self._told = now
            self._report(Waiting(self._nobody(), patience - waited))

    def _nobody(self) -> str:
        """Say why no worker computes."""
        if not self._present:
            return f"no worker is connected: {clusters.where_to_look(self._cluster)}"
        reasons = Counter(self._obstacle(address) for address in self._present)
        if set(reasons) == {"declares no slot"}:
            return (
                f"{len(self._present)} workers are connected and none declares the slot that a "
                "block needs; start those that compute with the resource inference=1"
            )
        listed = [f"{self._name(each)} {self._obstacle(each)}" for each in self._present]
        return f"no worker can compute: {first_few(listed, 3, between='; ')}"
