# A whole host: it decides for the domain `counter`, keeps the state of its aggregates, and attaches again when it must.
# Run it with the address of a daemon: python host.py 127.0.0.1:4310
import json, queue, random, sys, time

import grpc
from google.protobuf import any_pb2
from daybook.v1 import component_pb2 as pb, component_pb2_grpc, types_pb2 as types


def pack(name, value):
    payload = any_pb2.Any()
    payload.Pack(types.Json(type=name, bytes=json.dumps(value).encode()))
    return payload


def unpack(payload):
    body = types.Json()
    payload.Unpack(body)
    return json.loads(body.bytes)


def fold(state, book):
    """A state is (next sequence, total). A snapshot replaces it, each page moves it on."""
    following, total = state
    if book.HasField("snapshot"):
        following, total = book.snapshot.sequence + 1, unpack(book.snapshot.state)
    for page in book.pages:
        following, total = page.sequence + 1, total + unpack(page.event)
    return following, total


def decide(total, command, snapshot_wanted):
    """What happens, or a rejection. It changes no state: events count only when Daybook sends them back."""
    reply = pb.BusinessResponse(events=types.EventBook())
    for index, page in enumerate(command.pages):
        amount = unpack(page.command)
        total += amount
        if total < 0:
            no = types.Rejection(kind=types.REJECTION_KIND_CONFLICT, code="BELOW_ZERO", page=index)
            return pb.BusinessResponse(rejection=no)
        reply.events.pages.add(event=pack("counter.Added", amount))
    if snapshot_wanted:
        reply.events.snapshot.state.CopyFrom(pack("counter.Total", total))
    return reply


def answer(states, chunks, work):
    request = work.command
    aggregate = (request.command.cover.tenant, request.command.cover.root.value)
    try:
        if request.base_sequence == 0:
            state = fold(chunks.pop(work.work_id, (0, 0)), request.events)
        elif states.get(aggregate, (0, 0))[0] == request.base_sequence:
            state = fold(states[aggregate], request.events)
        else:
            return pb.Reply(work_id=work.work_id, need_history=pb.NeedHistory())
        if not request.dry_run:
            states[aggregate] = state
        return pb.Reply(work_id=work.work_id, command=decide(state[1], request.command, request.snapshot_wanted))
    except Exception as error:
        return pb.Reply(work_id=work.work_id, failure=pb.Failure(message=repr(error)))


def attach(address):
    counters = pb.AggregateHosting(domain="counter", keeps_state=True)
    outgoing = queue.SimpleQueue()
    outgoing.put(pb.ComponentMessage(hello=pb.Hello(protocol_version=1, name="counters", aggregates=[counters])))
    states, chunks = {}, {}  # of this stream: Daybook forgets what it sent when the stream ends
    options = [("grpc.max_receive_message_length", 32 << 20), ("grpc.keepalive_time_ms", 30_000)]
    with grpc.insecure_channel(address, options) as channel:
        for message in component_pb2_grpc.ComponentHostStub(channel).Attach(iter(outgoing.get, None)):
            for chunk in message.history:
                start = (0, 0) if chunk.first else chunks[chunk.work_id]
                chunks[chunk.work_id] = fold(start, chunk.events)
            replies = [answer(states, chunks, work) for work in message.work]
            for cancel in message.cancels:
                chunks.pop(cancel.work_id, None)
            if replies:
                outgoing.put(pb.ComponentMessage(replies=replies))
            for notice in message.notices:
                print(f"{notice.work_id}: {notice.reason}: {notice.message}", file=sys.stderr)
            if message.HasField("drain"):
                outgoing.put(None)


while True:
    try:
        attach(sys.argv[1])
    except grpc.RpcError as error:
        print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED):
            sys.exit(1)
    time.sleep(random.uniform(0.1, 0.5))
