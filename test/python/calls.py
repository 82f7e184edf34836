"""The gateway."""

import datetime
import uuid

from google.protobuf import descriptor_pool, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from daybook.v1 import component_pb2 as component, gateway_pb2 as gateway, query_pb2 as query, types_pb2 as types

from orders import Attachment
from support import Following, LIMIT_S, command, cover, fails, new_root, pack, same, shown, unpack


def no_clash(world):
    """proto/ and googleapis-common-protos share one descriptor pool without a clash"""
    pool = descriptor_pool.Default()
    for name in ["google.rpc.Status", "google.rpc.ErrorInfo", "daybook.v1.Error", "daybook.v1.Rejection"]:
        assert pool.FindMessageTypeByName(name).full_name == name
    for made in [status_pb2.Status, error_details_pb2.ErrorInfo]:
        assert not made.DESCRIPTOR.file.name.startswith("daybook"), made.DESCRIPTOR.file.name


def execute(world):
    """Execute: the served order decides, and the events come back as stored"""
    root = new_root()
    metadata = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    sent = command(root, pack("Place", by="Ada"), pack("Add", count=2), metadata={"principal": "ada"})
    answer = world.client.execute(sent, metadata=metadata)
    same(shown(answer.events.pages), ['0 Placed {"by": "Ada"}', '1 Added {"count": 2}'])
    same((answer.events.next_sequence, answer.duplicate, answer.settled), (2, False, True))
    same(answer.position, answer.events.pages[1].position)
    uuid.UUID(answer.events.cover.correlation_id)
    assert answer.consistency_token
    first, second = answer.events.pages
    assert len(first.unit_id) == 16 and first.unit_id == second.unit_id
    same(list(first.origin.commands), ["shop.Place", "shop.Add"])
    same(dict(first.metadata), {"principal": "ada", "decided-by": "python", "traceparent": metadata[0][1]})
    now = datetime.datetime.now(datetime.timezone.utc)
    assert abs(now - first.created_at.ToDatetime(datetime.timezone.utc)) < datetime.timedelta(minutes=1)
    nothing = world.client.execute(command(root, pack("Touch")))
    same((len(nothing.events.pages), nothing.events.next_sequence), (0, 2))


def idempotency(world):
    """The same key takes effect once, and a key belongs to one command"""
    root = new_root()
    first = world.client.execute(command(root, pack("Place", by="Ada"), idempotency_key=f"k-{root.hex()}"))
    again = world.client.execute(command(root, pack("Place", by="Ada"), idempotency_key=f"k-{root.hex()}"))
    same((first.duplicate, again.duplicate), (False, True))
    same(again.events.pages, first.events.pages)
    other = command(root, pack("Place", by="Bob"), idempotency_key=f"k-{root.hex()}")
    fails(lambda: world.client.execute(other), "INVALID_ARGUMENT", "INVALID_ARGUMENT", field="idempotency_key")
    for duplicate in ["false", "true"]:
        no = command(root, pack("Place", by="Ada"), idempotency_key=f"n-{root.hex()}")
        fails(lambda: world.client.execute(no), "REJECTED", duplicate=duplicate)


def rejections(world):
    """A rejection of each kind has its code, and travels whole in the details"""
    placed = world.placed()
    cases = [
        (placed, "Place", {"by": "Bob"}, "CONFLICT", "FAILED_PRECONDITION", "ALREADY_PLACED"),
        (placed, "Add", {"count": 0}, "INVALID", "INVALID_ARGUMENT", "BAD_COUNT"),
        (new_root(), "Add", {"count": 1}, "NOT_FOUND", "NOT_FOUND", "NO_ORDER"),
        (placed, "Add", {"count": 1001}, "DENIED", "PERMISSION_DENIED", "TOO_MANY"),
    ]
    for root, name, fields, kind, status, code in cases:
        sent = command(root, pack("Touch"), pack(name, **fields))
        found = fails(lambda: world.client.execute(sent), "REJECTED", status, code=code, kind=kind, page=1)
        same((found.rejection.code, found.rejection.page), (code, 1))
        same(unpack(found.rejection.details), ("Hint", {"page": 1}))


def served_statuses(world):
    """A served component says no with five statuses; every other one is a failure"""
    root = new_root()
    for code, status in [
        ("INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ("OUT_OF_RANGE", "INVALID_ARGUMENT"),
        ("FAILED_PRECONDITION", "FAILED_PRECONDITION"),
        ("ALREADY_EXISTS", "FAILED_PRECONDITION"),
        ("NOT_FOUND", "NOT_FOUND"),
    ]:
        found = fails(lambda: world.client.execute(command(root, pack("Status", code=code))), "REJECTED", status)
        same((found.metadata["code"], found.rejection.message), (code, "as you wished"))
    for payload, reason, code in [
        (pack("Status", code="PERMISSION_DENIED"), "COMPONENT_FAULT", "INTERNAL"),
        (pack("Break"), "COMPONENT_FAULT", "INTERNAL"),
        (pack("Elsewhere"), "COMPONENT_FAULT", "INTERNAL"),
        (pack("Status", code="UNIMPLEMENTED"), "COMPONENT_UNAVAILABLE", "UNAVAILABLE"),
        (pack("Sleep", s=2.3), "COMPONENT_TIMEOUT", "DEADLINE_EXCEEDED"),
    ]:
        fails(lambda: world.client.execute(command(root, payload)), reason, code, component="order")
    found = fails(lambda: world.client.execute(command(root, pack("Status", code="RESOURCE_EXHAUSTED"))), "OVERLOADED")
    assert found.retry_s > 0, found
    same(len(world.book(root).pages), 0)


def bad_commands(world):
    """What is malformed is refused with the name of its field"""
    root = new_root()
    for book, field in [
        (types.CommandBook(), "cover"),
        (command(root[1:], pack("Touch")), "cover.root"),
        (command(root, pack("Touch"), domain="No"), "cover.domain"),
        (command(root, pack("Touch"), tenant="a/b"), "cover.tenant"),
        (command(root), "pages"),
        (types.CommandBook(cover=cover(root), pages=[types.CommandPage()]), "pages[0].command"),
        (command(root, pack("Touch"), metadata={"a": "\0"}), "metadata"),
    ]:
        fails(lambda: world.client.execute(book), "INVALID_ARGUMENT", "INVALID_ARGUMENT", field=field)
    big = command(root, pack("Place", by="x" * 300_000))
    fails(lambda: world.client.execute(big), "TOO_LARGE", "INVALID_ARGUMENT", limit=262144)
    nobody = command(root, pack("Touch"), domain="nobody")
    fails(lambda: world.client.execute(nobody), "UNKNOWN_DOMAIN", "NOT_FOUND", domain="nobody")
    unreadable = world.client.channel.unary_unary("/daybook.v1.CommandGateway/Execute")
    fails(lambda: unreadable(b"\xff\xff", timeout=LIMIT_S), "INVALID_ARGUMENT", field="message")


def expected_sequences(world):
    """An explicit sequence is compared: SEQUENCE_CONFLICT says expected and actual"""
    root = world.placed(1)
    same(world.client.execute(command(root, pack("Add", count=1), sequence=2)).events.next_sequence, 3)
    for stale in [0, 2, 9]:
        sent = command(root, pack("Add", count=1), sequence=stale)
        fails(lambda: world.client.execute(sent), "SEQUENCE_CONFLICT", "FAILED_PRECONDITION", expected=stale, actual=3)


def sync_modes(world):
    """ExecuteSync serves every mode; with nothing that reacts, all have settled at once"""
    book = command(new_root(), pack("Place", by="Ada"))
    call = world.client.gateway.ExecuteSync
    answer = call(gateway.SyncCommandBook(command=book, wait_timeout=duration_pb2.Duration(seconds=1)), timeout=LIMIT_S)
    same(answer.settled, True)
    for mode in [types.SYNC_MODE_SIMPLE, types.SYNC_MODE_CASCADE]:
        book = command(new_root(), pack("Place", by="Ada"))
        same(call(gateway.SyncCommandBook(command=book, sync_mode=mode), timeout=LIMIT_S).settled, True)
    nothing = gateway.SyncCommandBook(command=command(new_root(), pack("Touch")))
    same(len(world.client.business.Handle(nothing, timeout=LIMIT_S).events.pages), 0)


def execute_streams(world):
    """ExecuteStream and its two limited forms: the own book first, then all with the correlation id"""
    correlation_id = uuid.uuid4().hex
    root = new_root()
    following = Following(
        world.client.gateway.ExecuteStream(command(root, pack("Place", by="Ada"), correlation_id=correlation_id))
    )
    same(shown(following.next().pages), ['0 Placed {"by": "Ada"}'])
    world.placed(correlation_id="another")
    other = world.placed(correlation_id=correlation_id)
    following_book = following.next()
    same((following_book.cover.root.value, following_book.cover.correlation_id), (other, correlation_id))
    following.cancel()

    counted = Following(
        world.client.gateway.ExecuteStreamResponseCount(
            gateway.ExecuteStreamCountRequest(
                command=command(root, pack("Add", count=1), correlation_id=correlation_id), count=2
            )
        )
    )
    same(shown(counted.next().pages), ['1 Added {"count": 1}'])
    world.client.execute(command(root, pack("Add", count=2), correlation_id=correlation_id))
    same(shown(counted.next().pages), ['2 Added {"count": 2}'])
    same(counted.next(), None)

    timed = gateway.ExecuteStreamTimeRequest(command=command(root, pack("Touch")), timeout_ms=50)
    books = list(world.client.gateway.ExecuteStreamResponseTime(timed, timeout=LIMIT_S))
    same([len(book.pages) for book in books], [0])
    timed.timeout_ms = 0
    fails(lambda: world.client.gateway.ExecuteStreamResponseTime(timed), "INVALID_ARGUMENT", field="timeout_ms")


def pipelined(world):
    """ExecutePipelined: 400 commands for 20 aggregates, each answered by its id, in order per aggregate"""
    roots = [new_root() for _ in range(20)]

    def frames():
        books = [command(root, pack("Place", by=str(i))) for i, root in enumerate(roots)]
        books += [command(roots[i % 20], pack("Add", count=i)) for i in range(1, 381)]
        for start in range(0, 400, 50):
            frame = enumerate(books[start:start + 50], start + 1)
            yield gateway.PipelinedCommands(
                commands=[gateway.PipelinedCommand(id=id, command=book) for id, book in frame]
            )
        bad = gateway.PipelinedCommand(id=401, command=command(roots[0], pack("Place", by="again")))
        slow = gateway.PipelinedCommand(id=402, command=command(new_root(), pack("Sleep", s=0.3)), timeout_ms=50)
        none = gateway.PipelinedCommand(command=command(roots[0], pack("Touch")))
        yield gateway.PipelinedCommands(commands=[bad, slow, none])

    results = {}
    for frame in world.client.gateway.ExecutePipelined(frames(), timeout=30):
        for result in frame.results:
            assert result.id not in results, f"two results for {result.id}"
            results[result.id] = result
    same(sorted(results), list(range(0, 403)))
    for id in range(1, 401):
        assert results[id].WhichOneof("result") == "response", results[id]
        same(results[id].response.events.pages[0].sequence, (id - 1) // 20)
    rejected, slow, none = results[401].error, results[402].error, results[0].error
    same((rejected.reason, rejected.code, rejected.rejection.code), ("REJECTED", 9, "ALREADY_PLACED"))
    same((slow.reason, slow.code), ("COMPONENT_TIMEOUT", 4))
    same((none.reason, none.metadata["field"]), ("INVALID_ARGUMENT", "id"))


def tenants(world):
    """Tenants are apart: the same root is another aggregate"""
    root = new_root()
    for tenant in ["", "acme", "umbrella"]:
        answer = world.client.execute(command(root, pack("Place", by=tenant), tenant=tenant, idempotency_key="t"))
        same((answer.duplicate, answer.events.cover.tenant, answer.events.next_sequence), (False, tenant, 1))
    found = world.client.query.GetEventBook(query.Query(cover=cover(root, tenant="acme")))
    same(shown(found.pages), ['0 Placed {"by": "acme"}'])


def unknown_fields(world):
    """Fields, features and enum values that the daemon does not know are ignored"""
    book = command(new_root(), pack("Place", by="Ada")).SerializeToString() + b"\xfa\x3f\x03new"
    call = world.client.channel.unary_unary(
        "/daybook.v1.CommandGateway/Execute", response_deserializer=types.CommandResponse.FromString
    )
    same(len(call(book, timeout=LIMIT_S).events.pages), 1)
    domain = world.domain()
    host = Attachment(
        world.daemon.address, features=["telepathy"], aggregates=[component.AggregateHosting(domain=domain)]
    )
    answer = world.client.gateway.Execute.future(command(new_root(), pack("Touch"), domain=domain), timeout=LIMIT_S)
    work = host.work()
    host.reply(work, command=component.BusinessResponse(rejection=types.Rejection(kind=77, code="NEW")))
    # A kind that it does not know is read like one that was left out.
    fails(answer.result, "REJECTED", "FAILED_PRECONDITION", code="NEW", kind="CONFLICT")
    host.cut()


TESTS = [
    no_clash,
    execute,
    idempotency,
    rejections,
    served_statuses,
    bad_commands,
    expected_sequences,
    sync_modes,
    execute_streams,
    pipelined,
    tenants,
    unknown_fields,
]
