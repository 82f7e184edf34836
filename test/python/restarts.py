"""The host of docs/clients.md, and everything across a restart."""

import contextlib
import os
import subprocess
import sys
import uuid

import grpc
from google.protobuf import any_pb2

from daybook.v1 import coordinators_pb2 as coordinators, query_pb2 as query, types_pb2 as types

from orders import Host
from support import LIMIT_S, command, eventually, fails, new_root, pack, same, shown
from world import record, subscribe


def documented_host(world):
    """The host of docs/clients.md: rejections, snapshots, a history in chunks, dry runs, faults"""
    with minimal_host(world):
        root = new_root()
        eventually("the counters to attach", lambda: counted(world, root, 1))
        for _ in range(7):
            counted(world, root, 1)
        found = fails(lambda: counted(world, root, -9), "REJECTED", "FAILED_PRECONDITION", code="BELOW_ZERO")
        same(found.rejection.page, 0)
        same(world.book(root, "counter").snapshot.sequence, 5)
        dry = coordinators.DryRunRequest(
            command=command(root, number("counter.Add", -3), domain="counter"),
            as_of=query.TemporalQuery(as_of_sequence=1),
        )
        same(world.client.business.DryRun(dry).rejection.code, "BELOW_ZERO")
        same(counted(world, root, -8).events.next_sequence, 9)

        long = new_root()
        for _ in range(3):
            record(world, long, *[number("counter.Added", 1, 250_000)] * 4, domain="counter")
        fails(lambda: counted(world, long, -13), "REJECTED", code="BELOW_ZERO")
        same(counted(world, long, -12).events.next_sequence, 13)
        broken = command(long, pack("NoNumber"), domain="counter")
        fails(lambda: world.client.execute(broken), "COMPONENT_FAULT", component="counter")


def restart(world):
    """A daemon that stops drains its hosts; after it is back they attach anew, and nobody missed anything"""
    domain, correlation_id = world.domain(), uuid.uuid4().hex
    host = Host(world.daemon.address, domain)
    counter = new_root()
    with minimal_host(world):
        eventually("the counters to attach", lambda: counted(world, counter, 1))
        same(counted(world, counter, 41).events.next_sequence, 2)
        root = world.placed(1, domain=domain, correlation_id=correlation_id)
        following = subscribe(world, correlation_id=correlation_id, after=world.book(root, domain).consistency_token)
        rest = {"domain": domain, "correlation_id": correlation_id}
        book = command(root, pack("Add", count=2), **rest, idempotency_key=correlation_id)
        world.client.execute(book)
        token = following.next().consistency_token

        world.daemon.stop()
        host.thread.join(LIMIT_S)
        assert host.drain is not None and host.drain.timeout.ToTimedelta().total_seconds() > 0
        same(host.failure and str(host.failure), "the stream ended")
        fails(following.next, "SHUTTING_DOWN", "UNAVAILABLE")
        world.daemon.start()

        host = Host(world.daemon.address, domain)
        health = world.client.channel.unary_unary("/grpc.health.v1.Health/Check")
        same(health(b"", wait_for_ready=True, timeout=LIMIT_S), b"\x08\x01")
        assert world.client.execute(book).duplicate
        world.client.execute(command(root, pack("Show"), domain=domain, correlation_id=correlation_id))
        # A new stream holds nothing.
        same((host.requests[0].base_sequence, len(host.requests[0].events.pages)), (0, 3))
        resumed = subscribe(world, correlation_id=correlation_id, after=token)
        same(shown(resumed.next().pages), ['3 Added {"count": 0, "items": 3}'])
        resumed.cancel()

        eventually("the counters to attach again", lambda: counted(world, counter, 1))
        fails(lambda: counted(world, counter, -44, tolerant=False), "REJECTED", code="BELOW_ZERO", page=0)
        same(counted(world, counter, -43).events.next_sequence, 4)
        host.cut()


@contextlib.contextmanager
def minimal_host(world):
    """The host of docs/clients.md, as a process."""
    program = os.path.join(os.path.dirname(__file__), "host.py")
    process = subprocess.Popen([sys.executable, program, world.daemon.address], stderr=subprocess.PIPE, text=True)
    try:
        yield
        assert process.poll() is None, f"it ended with {process.poll()}"
    finally:
        process.terminate()
        said = process.communicate()[1]
    assert "Traceback" not in said and "FAULT" not in said, said


def number(name, amount, padding=0):
    payload = any_pb2.Any()
    payload.Pack(types.Json(type=name, bytes=b"%d%s" % (amount, b" " * padding)))
    return payload


def counted(world, root, amount, tolerant=True):
    """A command to the minimal host; `None` while it is not there."""
    try:
        return world.client.execute(command(root, number("counter.Add", amount), domain="counter"))
    except grpc.RpcError as error:
        if tolerant and error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
            return None
        raise


TESTS = [
    documented_host,
    restart,
]
