"""Celery's SQS transport on the blocking, boto3 path, with a lease on every message.

kombu's asynchronous SQS path ends or silently stops a worker at a single 503; on this path
boto3 does polling, retries, time-outs and credentials, and Celery uses its blocking loop.
Private names of kombu are overridden: it is pinned exactly, and tests hold the signatures.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from queue import Empty
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from celery.exceptions import InvalidTaskError
from celery.worker import consumer as celery_consumer
from celery.worker import state as celery_state
from kombu.transport import SQS, virtual

from taskpacks import limits
from worker import envelope
from worker.followers import FACTS_HEADER
from worker.leases import LeaseState
from worker.prefetch import AHEAD_SECONDS, Received
from worker.routes import TENANT
from worker.sqs import FAULTS, RECEIVE, checked, refused
from worker.task_output import ATTEMPT_HEADER
from worker.task_table import Reason, Refusal, TableUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.leases import Lease
    from worker.services import Services

logger = logging.getLogger(__name__)

RECEIVE_WAIT_SECONDS: Final = 1
"""The length of one long poll: short, because a worker looks at its stop flag between them."""
SLOT_WAIT_SECONDS: Final = 0.1
"""While all slots are taken, how often to look at the stop flag; a task's end wakes at once."""
BEHIND_SECONDS: Final = 0.01
"""While deletions are behind, which wake nobody when they are done."""
BACK_OFF_SECONDS: Final = (0.5, 1, 2, 4, 8)
"""After that many failed receives in a row; the last value repeats."""
ATTRIBUTES: Final = ("ApproximateReceiveCount", "SentTimestamp", TENANT)
REPORTED_MAX: Final = 1000
"""So many poison messages are remembered as reported."""
SERVICES_OPTION: Final = "taskpacks_services"
"""Transport option that carries the worker's Services."""
KNOWN_TASKS_OPTION: Final = "taskpacks_known_tasks"
"""Transport option: a container of the names of the tasks that the worker can run."""
SENDER_OPTION: Final = "taskpacks_sender"
"""Transport option: the worker's Sender, which knows where tasks that follow can go."""


REFUSALS_OPTION: Final = "taskpacks_refusals"
"""Transport option: the worker's Refusals."""


class Channel(SQS.Channel):
    """Hands Celery one message at a time, under a lease, and settles it once."""

    # What is held when the channel closes is given back by its lease, not published again.
    do_restore = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._failed_receives = 0
        self._reported: deque[str] = deque(maxlen=REPORTED_MAX)
        self._delivered_at = 0.0

    def new_sqs_client(self, *args: Any, **kwargs: Any) -> Any:
        """See kombu; for what tasks send."""
        return checked(super().new_sqs_client(*args, **kwargs))

    def _size(self, queue: str) -> int:
        """See kombu, which asks for the depth of each queue that it declares, and uses it not."""
        del queue
        return 0

    @property
    def _services(self) -> Services:
        options: dict[str, Any] = self.transport_options or {}
        return options[SERVICES_OPTION]

    def drain_events(
        self, timeout: float | None = None, callback: Callable[..., Any] | None = None, **_: Any
    ) -> None:
        """Receives once, when a slot is free and nobody asked to stop; else waits briefly.

        It waits too while deletions are behind: what is done and not noted as such may run again.

        Raises:
            Empty: Nothing was received.
        """
        now = time.monotonic()
        self._leave_if_hopeless(now)
        services = self._services
        behind = services.leases.behind
        takes = self.qos.can_consume() and services.slots.any_free and not behind
        if celery_state.should_stop is not None or not takes:
            services.drain.busy(now)
            if now - self._delivered_at > AHEAD_SECONDS:
                self._give_back_unstarted()
            # A slot is free before this is set.
            if services.ended.wait(BEHIND_SECONDS if behind else SLOT_WAIT_SECONDS):
                services.ended.clear()
            raise Empty
        super().drain_events(timeout=timeout, callback=callback)

    def _get_bulk(
        self,
        queue: str,
        max_if_unlimited: int = 1,
        callback: Callable[..., Any] | None = None,
    ) -> None:
        """Takes or receives one message, checks it, and hands it to Celery.

        Raises:
            Empty: There was none, or it is not for Celery.
        """
        del max_if_unlimited, callback
        services = self._services
        received = services.prefetched.take() or self._receive_ahead(queue)
        lease = received.lease
        if celery_state.should_stop is not None:  # asked to leave during the long poll
            services.leases.give_back(lease, 0)
            raise Empty
        payload = self._acceptable(lease, received.message, queue)
        if not services.leases.may_start(lease):  # received or read too slowly
            raise Empty
        self._delivered_at = time.monotonic()
        try:
            connection: Any = self.connection
            connection._deliver(payload, queue)  # noqa: SLF001 -- as kombu's own channels do
        except Exception as error:
            # Celery stumbled over what the envelope's check let pass: it must cost this
            # message only, and must be known.
            logger.exception("message %s could not be started", lease.message_id)
            reason = f"Celery refuses it: {type(error).__name__}"
            if lease.lock is not None:  # else it would end the slot's later tasks
                services.locks.end(lease.lock)
            try:
                self._poison(lease, reason, envelope.request_of(payload))
            finally:
                self._release(lease.receipt_handle)

    def _receive_ahead(self, queue: str) -> Received:
        """Receives, and keeps what does not start at once.

        Raises:
            Empty: There was none.
        """
        services = self._services
        leases = services.leases
        with leases.receiving() as asked_at:
            received = [
                Received(leases.hold(each, asked_at), each) for each in self._receive(queue)
            ]
        if not received:
            raise Empty
        first, *later = received
        if not services.prefetched.add(later):  # asked to leave during the long poll
            for each in later:
                leases.give_back(each.lease, 0)
        return first

    def _give_back_unstarted(self) -> None:
        """The running task takes longer than expected: others may have what waits behind it."""
        for received in self._services.prefetched.take_all():
            self._services.leases.give_back(received.lease, 0)

    def _receive(self, queue: str) -> list[dict[str, Any]]:
        services = self._services
        try:
            response = services.receiver.receive_message(
                QueueUrl=self._new_queue(queue),
                MaxNumberOfMessages=services.prefetch.messages,
                WaitTimeSeconds=RECEIVE_WAIT_SECONDS,
                MessageSystemAttributeNames=list(ATTRIBUTES),
            )
        except FAULTS as error:
            access, now = services.leases.access, time.monotonic()
            access.failed(RECEIVE, now, str(error), refused=refused(error))
            if not self._leave_if_hopeless(now):
                self._back_off(queue, error)
            return []
        services.leases.access.answered(RECEIVE)
        self._failed_receives = 0
        messages = response.get("Messages", [])
        if messages or services.leases.held:
            services.drain.busy(time.monotonic())
        elif services.drain.drained(time.monotonic()) and self._is_empty(queue):
            services.on_drained()
        return messages

    def _acceptable(self, lease: Lease, message: dict[str, Any], queue: str) -> dict[str, Any]:
        """The message as kombu wants it.

        Raises:
            Empty: It is poison, not due yet, or has used its attempts.
        """
        options: dict[str, Any] = self.transport_options or {}
        # SQS's word on the tenant counts, not the body's.
        said = message.get("Attributes", {}).get(TENANT)
        tenant = {TENANT: said} if said else {}
        try:
            read = envelope.read(message.get("Body"), options[KNOWN_TASKS_OPTION])
        except envelope.PoisonError as error:
            read = error  # handled outside, so that no trace of what follows has this one
        if isinstance(read, envelope.PoisonError):
            request = read.request and {**read.request, "properties": tenant}
            self._poison(lease, str(read), request)
            raise Empty
        properties = read.payload["properties"]
        properties.pop(TENANT, None)
        properties.update(tenant)
        if read.eta is not None and (wait_seconds := read.eta - time.time()) > 0:
            self._postpone(lease, read, wait_seconds)
            raise Empty
        self._begin(lease, read)
        payload = read.payload
        payload["headers"][FACTS_HEADER] = lease.lock.facts if lease.lock else None
        payload["headers"][ATTEMPT_HEADER] = lease.lock.attempt if lease.lock else 1
        options[SENDER_OPTION].mark(payload["headers"], read.embedded)
        properties["delivery_tag"] = lease.receipt_handle
        properties["delivery_info"] = {"exchange": "", "routing_key": queue}
        return payload

    def _begin(self, lease: Lease, read: envelope.Envelope) -> None:
        """Takes charge of a task, with a lock where it may be done, running or cancelled.

        Raises:
            Empty: It must not run now.
        """
        services = self._services
        at_once = lease.receives > 1 or read.may_be_sent_twice or services.prefetch.heavy
        try:
            refusal = services.locks.begin(lease, read, at_once=at_once)
        except TableUnavailableError as error:
            services.leases.give_back(lease, 0)
            services.on_unusable(str(error))
            raise Empty from None
        if refusal is None and services.locks.table is None:
            exhausted = services.retry.exhausted(lease.receives - 1)
            refusal = Refusal(Reason.DEAD) if exhausted else None
        if refusal is None:
            return
        if refusal.reason is not Reason.DEAD:
            logger.warning("task %s does not run: %s", read.task_id, refusal.reason.value)
        if refusal.reason is Reason.CANCELLED:
            services.revoke(read)
        if refusal.reason in (Reason.DONE, Reason.CANCELLED):
            services.leases.delete(lease)
        else:
            # Dead: SQS moves it after max_receives; its own redrive loses and doubles nothing.
            # Running: hidden for longer than its lock lasts, since each receive counts.
            services.leases.give_back(lease, 2 * refusal.seconds)
        raise Empty

    def _postpone(self, lease: Lease, read: envelope.Envelope, wait_seconds: float) -> None:
        if wait_seconds > limits.VISIBILITY_SECONDS_MAX:
            self._poison(
                lease,
                f"task {read.task_id} is to start in {wait_seconds:.0f} s: SQS hides a message "
                f"for at most {limits.VISIBILITY_SECONDS_MAX} s; send it later",
                envelope.request_of(read.payload),
            )
            return
        logger.info("task %s is not due for %.0f s, hiding its message", read.task_id, wait_seconds)
        self._services.leases.give_back(lease, wait_seconds)

    def _poison(self, lease: Lease, reason: str, request: dict[str, Any] | None = None) -> None:
        """Puts a message on its way to the dead-letter queue, and answers whoever waits for it.

        It is visible at once, received again until SQS has counted max_receives, and moved by
        SQS itself: nothing is lost or doubled on the way.
        """
        # Once for a message, though it comes again. Its receive count would not do: a first
        # receive whose answer was lost, or that was a postponement, was reported to nobody.
        reported = lease.message_id in self._reported
        logger.log(
            logging.DEBUG if reported else logging.ERROR,
            "poison: message %s (receive %d) cannot be run: %s",
            lease.message_id,
            lease.receives,
            reason,
        )
        options: dict[str, Any] = self.transport_options or {}
        if request is not None:
            request = {**request, FACTS_HEADER: {"message_id": lease.message_id}}
        if not reported and (request is None or options[REFUSALS_OPTION].store(request, reason)):
            self._reported.append(lease.message_id)
        self._services.leases.give_back(lease, 0)

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Frees the slot; the message is deleted by its `TaskRequest` alone, whose task is done."""
        del multiple
        lease = self._services.leases.find(delivery_tag)
        try:
            if lease is not None and lease.state is LeaseState.HELD:
                self._poison(lease, "Celery could not decode it")
        finally:
            self._release(delivery_tag)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Gives the message back, to be visible when its lease says."""
        del requeue
        lease = self._services.leases.find(delivery_tag)
        try:
            if lease is not None:
                self._services.leases.give_back(lease)
        finally:
            self._release(delivery_tag)

    def _release(self, delivery_tag: str) -> None:
        """Frees the slot, once: kombu's own bookkeeping, without its calls to SQS.

        Every way out of a message comes here, those of Celery's that end no task too: so none is
        called running that no process will run. kombu counts what is released and not forgotten
        yet: released again later, a message would free the slot of the next one.
        """
        self._services.running.discard(delivery_tag)
        self._services.slots.release(delivery_tag)
        self._services.ended.set()
        delivered: Any = self.qos._delivered  # noqa: SLF001 -- kombu does not ask itself
        if delivery_tag in delivered:
            virtual.Channel.basic_ack(self, delivery_tag)

    def _leave_if_hopeless(self, now: float) -> bool:
        """Has the worker leave when SQS will not serve it any more; says whether it leaves."""
        reason = self._services.leases.access.hopeless(now)
        if reason is not None and celery_state.should_stop is None:
            self._services.on_unusable(reason)
        return reason is not None

    def _back_off(self, queue: str, error: Exception) -> None:
        seconds = BACK_OFF_SECONDS[min(self._failed_receives, len(BACK_OFF_SECONDS) - 1)]
        self._failed_receives += 1
        logger.warning(
            "receiving from %s failed (%d in a row), trying again in %g s: %s",
            queue,
            self._failed_receives,
            seconds,
            error,
        )
        give_up_at = time.monotonic() + seconds
        while time.monotonic() < give_up_at and celery_state.should_stop is None:
            time.sleep(SLOT_WAIT_SECONDS)

    def _is_empty(self, queue: str) -> bool:
        """Asks SQS whether anything is visible or delayed; a failed question is a no."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
        try:
            attributes = self._services.receiver.get_queue_attributes(
                QueueUrl=self._new_queue(queue), AttributeNames=names
            )["Attributes"]
        except FAULTS as error:
            logger.warning("cannot ask whether %s is drained, so staying: %s", queue, error)
            return False
        return all(int(attributes[name]) == 0 for name in names)


class Consumer(celery_consumer.Consumer):
    """Celery's, which hands back what it cannot read: its own logs the message, with its data."""

    def on_unknown_message(self, body: Any, message: Any) -> NoReturn:
        """See Celery; called for a message that is of no known protocol."""
        del body, message
        raise InvalidTaskError("it is of no known protocol")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> NoReturn:
        """See Celery; called for a message that breaks its protocol."""
        del body, message
        raise exc

    on_unknown_task = on_invalid_task

    def on_decode_error(self, message: Any, exc: Exception) -> NoReturn:
        """See Celery; called for a body that cannot be decompressed or decoded."""
        del message
        raise exc


class Transport(SQS.Transport):
    """kombu's SQS transport, made blocking."""

    Channel = Channel
    implements: ClassVar[Any] = SQS.Transport.implements.extend(asynchronous=False)
    # The waiting is done in Channel: a pass through the loop that finds nothing ends at once.
    polling_interval = None

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Makes one pass over the channels, so that the stop flag is seen after each.

        Raises:
            TimeoutError: Nothing was received; Celery's blocking loop expects it.
        """
        del connection
        cycle: Any = self.cycle
        try:
            cycle.get(self._deliver, timeout=timeout)
        except Empty:
            raise TimeoutError from None
