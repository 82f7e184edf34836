"""Attached hosts, message by message."""

import grpc

from daybook.v1 import component_pb2 as component, query_pb2 as query, types_pb2 as types

from orders import Attachment, EMPTY, Host, fold
from support import LIMIT_S, command, eventually, fails, new_root, pack, same, unpack
from world import pages_of


def welcome(world):
    """Attach: Hello is answered with Welcome; what breaks the order of the stream ends it"""
    hosted = [component.AggregateHosting(domain=world.domain())]
    host = Attachment(world.daemon.address, name="orders", aggregates=hosted)
    same((host.welcome.protocol_version, host.welcome.message_bytes), (1, 4 << 20))
    same((host.welcome.events_per_reply, host.welcome.event_bytes_per_reply), (1000, 1 << 20))
    assert host.welcome.log_id and host.welcome.incarnation and host.welcome.version
    host.send(hello=component.Hello(protocol_version=1, aggregates=hosted))
    fails(host.next, "INVALID_ARGUMENT", field="hello")
    for hello, reason, field in [
        (component.Hello(protocol_version=2, aggregates=hosted), "INVALID_ARGUMENT", "hello.protocol_version"),
        (component.Hello(protocol_version=1), "INVALID_ARGUMENT", "hello"),
        (component.Hello(protocol_version=1, aggregates=hosted + hosted), "INVALID_ARGUMENT", "hello.aggregates.domain"),
        (
            component.Hello(protocol_version=1, aggregates=[component.AggregateHosting(domain="order")]),
            "INVALID_ARGUMENT",
            "hello.aggregates.domain",
        ),
        (
            component.Hello(protocol_version=1, sagas=[component.SagaHosting(name="s", generation=2)]),
            "INVALID_ARGUMENT",
            "hello.sagas.generation",
        ),
    ]:
        stream = Attachment(world.daemon.address)
        stream.send(hello=hello)
        fails(stream.next, reason, field=field)
    early = Attachment(world.daemon.address)
    early.reply("w", cancelled=component.Cancelled())
    fails(early.next, "INVALID_ARGUMENT", field="hello")


def state_kept(world):
    """A host that keeps state is sent what it was not sent before, and asks for the whole when it lost it"""
    domain = world.domain()
    host = Host(world.daemon.address, domain)
    root = world.placed(1, 2, domain=domain)
    sent = [(request.base_sequence, [page.sequence for page in request.events.pages]) for request in host.requests]
    same(sent, [(0, []), (0, [0]), (1, [1])])
    # Its own events come back, and only that counts.
    same([request.events.next_sequence for request in host.requests], [0, 1, 2])

    host.states.clear()
    host.requests.clear()
    answer = world.client.execute(command(root, pack("Show"), domain=domain))
    same(unpack(answer.events.pages[0].event)[1]["items"], 3)
    sent = [(request.base_sequence, [page.sequence for page in request.events.pages]) for request in host.requests]
    same(sent, [(2, [2]), (0, [0, 1, 2])])
    same(host.requests[0].work_id, host.requests[1].work_id)
    host.cut()


def snapshots(world):
    """A snapshot is wanted when the history is long; then pages start after it"""
    domain = world.domain()
    host = Host(world.daemon.address, domain, snapshot_schema_version=3)
    root = world.placed(1, 1, 1, 1, 1, domain=domain)
    same([request.snapshot_wanted for request in host.requests], [False] * 5 + [True])
    # One without a version is not for a host of version 3.
    same(world.book(root, domain).HasField("snapshot"), False)
    host.cut()

    domain = world.domain()
    host = Host(world.daemon.address, domain)
    root = world.placed(1, 1, 1, 1, 1, domain=domain)
    book = world.book(root, domain)
    same((book.snapshot.sequence, unpack(book.snapshot.state)[1]["items"], len(book.pages)), (5, 5, 0))
    host.states.clear()
    host.requests.clear()
    world.client.execute(command(root, pack("Add", count=10), domain=domain))
    again = host.requests[1]
    same((again.base_sequence, again.events.snapshot.sequence, len(again.events.pages)), (0, 5, 0))
    same(world.book(root, domain).pages[0].sequence, 6)
    whole = world.book(root, domain, range=query.SequenceRange())
    same((whole.HasField("snapshot"), len(whole.pages), fold((0, EMPTY), whole)[1]["items"]), (False, 7, 15))
    host.cut()


def chunks(world):
    """A long history comes in chunks before its work, the first one told as such"""
    domain = world.domain()
    host = Attachment(world.daemon.address, aggregates=[component.AggregateHosting(domain=domain, keeps_state=True)])
    root = new_root()
    filling = "x" * 200_000
    for _ in range(4):
        answer = world.client.gateway.Execute.future(command(root, pack("Touch"), domain=domain), timeout=LIMIT_S)
        host.events(host.work(), *[pack("Added", count=1, filling=filling)] * 4)
        answer.result()
    answer = world.client.gateway.Execute.future(command(root, pack("Touch"), domain=domain), timeout=LIMIT_S)
    first = host.work()
    assert first.command.base_sequence == 12, first.command.base_sequence
    host.reply(first, need_history=component.NeedHistory())
    work = host.work()
    same((work.work_id, work.command.base_sequence, len(work.command.events.pages)), (first.work_id, 0, 0))
    parts = host.chunks[work.work_id]
    same([page.sequence for page in pages_of(parts)], list(range(16)))
    assert len(parts) > 1 and all(part.ByteSize() <= (1 << 20) + 1024 for part in parts), [p.ByteSize() for p in parts]
    host.reply(work, command=component.BusinessResponse(events=types.EventBook()))
    same(answer.result().events.next_sequence, 16)
    # Asking again for what was sent whole is a fault, not a loop.
    answer = world.client.gateway.Execute.future(command(root, pack("Touch"), domain=domain), timeout=LIMIT_S)
    for _ in range(2):
        host.reply(host.work(), need_history=component.NeedHistory())
    fails(answer.result, "COMPONENT_FAULT")
    host.cut()


def cancels(world):
    """Work that nobody waits for is cancelled; until it is answered its aggregate gets no other"""
    domain = world.domain()
    host = Attachment(world.daemon.address, aggregates=[component.AggregateHosting(domain=domain, keeps_state=True)])
    root = new_root()
    first = world.client.gateway.Execute.future(command(root, pack("Touch"), domain=domain), timeout=LIMIT_S)
    work = host.work()
    first.cancel()
    host.until("the cancel", lambda: host.cancels)
    same(host.cancels, [work.work_id])
    second = world.client.gateway.Execute.future(command(root, pack("Touch"), domain=domain), timeout=LIMIT_S)
    other = world.client.gateway.Execute.future(command(new_root(), pack("Touch"), domain=domain), timeout=LIMIT_S)
    host.events(host.work())
    other.result()
    assert host.idle(), "the aggregate got work before the cancelled one was answered"
    host.reply(work, cancelled=component.Cancelled())
    host.events(host.work(), pack("Placed"))
    same(second.result().events.next_sequence, 1)
    # A deadline ends the waiting as well, and a late answer is not taken.
    late = world.client.gateway.Execute.future(command(root, pack("Touch"), domain=domain), timeout=0.5)
    work = host.work()
    assert 0 < work.timeout_ms < 1000, work.timeout_ms
    host.until("the cancel", lambda: len(host.cancels) == 2)
    host.events(work, pack("Added", count=1))
    eventually("the deadline", late.done)
    same(late.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    same(world.book(root, domain).next_sequence, 1)
    host.cut()


def failures(world):
    """A failing handler, an overloaded one, a wrong reply and an unknown one each fail alone"""
    domain = world.domain()
    host = Attachment(world.daemon.address, aggregates=[component.AggregateHosting(domain=domain)])

    def ask():
        call = world.client.gateway.Execute.future(command(new_root(), pack("Touch"), domain=domain), timeout=LIMIT_S)
        return call, host.work()

    call, work = ask()
    host.reply(work, failure=component.Failure(message="out of paper"))
    assert "out of paper" in fails(call.result, "COMPONENT_FAULT", component=domain).message
    call, work = ask()
    host.reply(work, failure=component.Failure(message="busy", overloaded=True))
    assert fails(call.result, "OVERLOADED", "RESOURCE_EXHAUSTED").retry_s > 0
    call, work = ask()
    host.reply(work, upcast=component.UpcastResponse())
    fails(call.result, "COMPONENT_FAULT")
    host.reply("never-given", cancelled=component.Cancelled())
    host.until("the notices", lambda: len(host.notices) == 2)
    same([(notice.work_id, notice.reason) for notice in host.notices],
         [(work.work_id, "COMPONENT_FAULT"), ("never-given", "UNKNOWN_WORK")])
    call, work = ask()
    host.events(work, pack("Placed"))
    same(len(call.result().events.pages), 1)
    call, work = ask()
    host.cut()
    assert fails(call.result, "COMPONENT_UNAVAILABLE", "UNAVAILABLE", component=domain).retry_s > 0
    fails(lambda: world.client.execute(command(new_root(), pack("Touch"), domain=domain)), "COMPONENT_UNAVAILABLE")


def credits(world):
    """One item per aggregate, and no more in hand than the credits allow"""
    domain = world.domain()
    hosted = component.AggregateHosting(domain=domain, credits=component.Credits(items=2))
    host = Attachment(world.daemon.address, aggregates=[hosted])
    root, answers = new_root(), []
    for target in [root, root, new_root(), new_root()]:
        answers.append(world.client.gateway.Execute.future(command(target, pack("Touch"), domain=domain), timeout=LIMIT_S))
        if len(answers) == 1:
            first = host.work()
    second = host.work()
    assert host.idle(), "more than two items"
    assert second.command.command.cover.root.value != root
    host.events(first)
    third = host.work()
    host.events(second)
    fourth = host.work()
    host.events(third)
    host.events(fourth)
    for answer in answers:
        answer.result()
    host.cut()


def from_inside(world):
    """A command from inside work uses its credit, and fails at once where it would wait for itself"""
    answer = world.client.execute(command(new_root(), pack("Again")))
    same(unpack(answer.events.pages[0].event)[1]["reason"], "REENTRANT")

    domain = world.domain()
    hosted = component.AggregateHosting(domain=domain, credits=component.Credits(items=1))
    host = Attachment(world.daemon.address, aggregates=[hosted])
    outer_root = new_root()
    outer = world.client.gateway.Execute.future(command(outer_root, pack("Touch"), domain=domain), timeout=LIMIT_S)
    work = host.work()
    same(work.command.work_id, work.work_id)
    inside = command(new_root(), pack("Touch"), domain=domain, work_id=work.work_id)
    inner = world.client.gateway.Execute.future(inside, timeout=LIMIT_S)
    host.events(host.work(), pack("Placed"))
    inner.result()
    reentrant = command(outer_root, pack("Touch"), domain=domain, work_id=work.work_id)
    fails(lambda: world.client.execute(reentrant), "REENTRANT", "FAILED_PRECONDITION")
    host.events(work, pack("Placed"))
    outer.result()
    host.cut()


def component_drain(world):
    """A component that drains gets no more work and answers what it has; another one takes over"""
    domain = world.domain()
    going = Attachment(world.daemon.address, aggregates=[component.AggregateHosting(domain=domain)])
    call = world.client.gateway.Execute.future(command(new_root(), pack("Touch"), domain=domain), timeout=LIMIT_S)
    work = going.work()
    going.send(drain=component.Drain())
    other = Host(world.daemon.address, domain)
    for _ in range(10):
        world.client.execute(command(new_root(), pack("Place", by="Ada"), domain=domain))
    same(len(other.requests), 10)
    going.events(work, pack("Placed"))
    same(len(call.result().events.pages), 1)
    going.end()
    same(going.next(), None)
    other.cut()


TESTS = [
    welcome,
    state_kept,
    snapshots,
    chunks,
    cancels,
    failures,
    credits,
    from_inside,
    component_drain,
]
