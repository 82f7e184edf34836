"""Facts and dry runs."""

import threading

from google.protobuf import timestamp_pb2

from daybook.v1 import (
    component_pb2 as component,
    coordinators_pb2 as coordinators,
    query_pb2 as query,
    types_pb2 as types,
)

from orders import Attachment, Host
from support import LIMIT_S, command, cover, fails, new_root, pack, same, shown, unpack
from world import record


def facts(world):
    """Record: a fact is stored once per source and id; the aggregate may make events of it"""
    root = world.placed()
    first = record(world, root, pack("Added", count=7), ids=["f1"])
    same((shown(first.events.pages), first.duplicate), (['1 Added {"count": 7}'], False))
    page = first.events.pages[0]
    same((page.origin.external_source, page.origin.external_id), ("warehouse", "f1"))
    same(page.occurred_at.seconds, 1_600_000_000)
    again = record(world, root, pack("Added", count=7), ids=["f1"])
    same((again.duplicate, again.position, again.events.pages), (True, first.position, first.events.pages))
    both = record(world, root, pack("Added", count=7), pack("Added", count=8), ids=["f1", "f2"])
    same(([page.sequence for page in both.events.pages], both.duplicate), ([1, 2], False))

    fresh = record(world, new_root(), pack("Paid", count=0), pack("Added", count=1))
    same(fresh.events.next_sequence, 2)
    domain = world.domain()
    host = Attachment(world.daemon.address, aggregates=[component.AggregateHosting(domain=domain)])
    answers = []

    def ask():
        answers.append(record(world, new_root(), pack("Receive", count=3), domain=domain, ask=True))

    asking = threading.Thread(target=ask)
    asking.start()
    work = host.work()
    same(unpack(work.command.command.pages[0].command), ("Receive", {"count": 3}))
    host.events(work, pack("Added", count=3))
    asking.join()
    same(shown(answers[0].events.pages), ['0 Receive {"count": 3}', '1 Added {"count": 3}'])
    host.cut()
    book = types.EventBook(cover=cover(root), pages=[types.EventPage(event=pack("Added"))])
    fails(
        lambda: world.client.business.Record(coordinators.RecordRequest(facts=book)),
        "INVALID_ARGUMENT",
        field="facts.pages[0].origin.external_source",
    )


def dry_runs(world):
    """DryRun: what would happen, now or then, and nothing is stored"""
    domain = world.domain()
    host = Host(world.daemon.address, domain)
    root = world.placed(1, 2, domain=domain)
    then = world.book(root, domain).pages[1].created_at
    world.client.execute(command(root, pack("Add", count=4), domain=domain))
    before = world.client.execute(command(new_root(), pack("Touch"))).position

    def run_dry(payload, as_of=None, **rest):
        request = coordinators.DryRunRequest(command=command(root, payload, domain=domain, **rest), as_of=as_of)
        return world.client.business.DryRun(request, timeout=LIMIT_S)

    def items(answer):
        return unpack(answer.events.pages[0].event)[1]["items"]

    now = run_dry(pack("Show"))
    same((items(now), now.next_sequence, now.events.pages[0].sequence, now.events.pages[0].position), (7, 4, 4, 0))
    same(items(run_dry(pack("Show"), query.TemporalQuery(as_of_sequence=2))), 3)
    same(items(run_dry(pack("Show"), query.TemporalQuery(as_of_time=then))), 1)
    long_ago = query.TemporalQuery(as_of_time=timestamp_pb2.Timestamp(seconds=1))
    same(run_dry(pack("Place", by="Eve"), long_ago).WhichOneof("result"), "events")
    same(run_dry(pack("Place", by="Eve")).rejection.code, "ALREADY_PLACED")
    assert all(request.dry_run and request.base_sequence == 0 for request in host.requests[-5:])
    fails(lambda: run_dry(pack("Show"), sequence=1), "SEQUENCE_CONFLICT", expected=1, actual=4)
    same(world.client.execute(command(new_root(), pack("Touch"))).position, before)
    # What the host keeps is as it was.
    answer = world.client.execute(command(root, pack("Show"), domain=domain))
    same((items(answer), host.requests[-1].base_sequence), (7, 3))
    host.cut()


TESTS = [
    facts,
    dry_runs,
]
