"""Queries and streams."""

import queue
import uuid

from google.protobuf import timestamp_pb2

from daybook.v1 import query_pb2 as query, types_pb2 as types

from orders import EMPTY, Host, fold
from support import Following, LIMIT_S, command, cover, fails, new_root, pack, same, shown
from world import pages_of, record, subscribe


def selections(world):
    """GetEventBook: every selection of a history of seven events"""
    root = world.placed(1, 2, 3)
    then = world.book(root).pages[-1].created_at
    for count in [4, 5, 6]:
        world.client.execute(command(root, pack("Add", count=count)))

    def sequences(**selection):
        return [page.sequence for page in world.book(root, **selection).pages]

    # From the newest snapshot on: the fifth command after the first was asked for one.
    current = world.book(root)
    same((current.snapshot.sequence, [page.sequence for page in current.pages], current.next_sequence), (5, [6], 7))
    same(fold((0, EMPTY), current)[1], {"placed": True, "items": 21})
    same(sequences(range=query.SequenceRange(lower=2, upper=4)), [2, 3, 4])
    same(sequences(range=query.SequenceRange(lower=5)), [5, 6])
    same(sequences(range=query.SequenceRange(lower=9)), [])
    same(sequences(sequences=query.SequenceSet(values=[6, 1, 1, 99])), [1, 6])
    same(sequences(temporal=query.TemporalQuery(as_of_sequence=2)), [0, 1, 2])
    as_of = world.book(root, temporal=query.TemporalQuery(as_of_time=then))
    same(([page.sequence for page in as_of.pages], as_of.next_sequence), ([0, 1, 2, 3], 4))
    long_ago = world.book(root, temporal=query.TemporalQuery(as_of_time=timestamp_pb2.Timestamp(seconds=1)))
    same((len(long_ago.pages), long_ago.next_sequence), (0, 0))
    nobody = world.book(new_root())
    same((len(nobody.pages), nobody.next_sequence, bool(nobody.consistency_token)), (0, 0, True))
    same(len(world.book(root, consistency_token=current.consistency_token).pages), 1)
    fails(lambda: world.book(root, consistency_token="mine"), "INVALID_ARGUMENT", field="consistency_token")
    fails(lambda: world.book(root, range=query.SequenceRange(lower=2, upper=1)), "INVALID_ARGUMENT", field="range.upper")
    fails(lambda: world.book(root, temporal=query.TemporalQuery()), "INVALID_ARGUMENT", field="temporal.point")


def event_chunks(world):
    """GetEvents: the same in chunks, and everything of a correlation id"""
    domain = world.domain()
    host = Host(world.daemon.address, domain)
    correlation_id = uuid.uuid4().hex
    root = new_root()
    for _ in range(6):
        filled = [pack("Added", count=1, filling="x" * 200_000)] * 4
        record(world, root, *filled, domain=domain, correlation_id=correlation_id)
    books = list(world.client.query.GetEvents(query.Query(cover=cover(root, domain)), timeout=LIMIT_S))
    assert len(books) > 3, len(books)
    same([page.sequence for page in pages_of(books)], list(range(24)))
    fails(lambda: world.book(root, domain), "TOO_LARGE", "INVALID_ARGUMENT", limit=4 << 20)
    other = world.placed(correlation_id=correlation_id)
    request = query.Query(cover=types.Cover(correlation_id=correlation_id))
    books = list(world.client.query.GetEvents(request, timeout=LIMIT_S))
    same([root] * (len(books) - 1) + [other], [book.cover.root.value for book in books])
    same(len(pages_of(books)), 25)
    host.cut()


def roots(world):
    """GetAggregateRoots: in order of their roots, in pages"""
    domain = world.domain()
    host = Host(world.daemon.address, domain)
    expected = sorted(world.placed(1, domain=domain) for _ in range(5))
    found, after = [], None
    while True:
        request = query.AggregateRootsRequest(domain=domain, after=after, limit=2)
        page = list(world.client.query.GetAggregateRoots(request, timeout=LIMIT_S))
        if not page:
            break
        found += page
        after = page[-1].root
    same([(one.root.value, one.next_sequence) for one in found], [(root, 2) for root in expected])
    fails(lambda: world.client.query.GetAggregateRoots(query.AggregateRootsRequest()), "INVALID_ARGUMENT", field="domain")
    host.cut()


def read_log(world):
    """ReadLog: from a position, a time and a token, filtered, limited, and following"""
    correlation_id = uuid.uuid4().hex
    before = world.client.execute(command(new_root(), pack("Touch"))).position
    root = world.placed(1, 2, correlation_id=correlation_id)

    def read(**request):
        return list(world.client.query.ReadLog(query.ReadLogRequest(**request), timeout=LIMIT_S))

    def positions(responses):
        return [page.position for response in responses for book in response.books for page in book.pages]

    ours = positions(read(correlation_id=correlation_id))
    same(len(ours), 3)
    same(positions(read(after_position=before)), ours)
    first = read(after_position=before, limit=1)
    same((positions(first), first[-1].position), (ours[:1], ours[0]))
    same(positions(read(after_token=first[-1].token)), ours[1:])
    times = [page.created_at for page in world.book(root).pages]
    assert positions(read(from_time=times[0]))[-3:] == ours
    same(positions(read(after_position=before, types=["shop.Placed"])), ours[:1])
    same(positions(read(after_position=before, types=["Placed"])), [])
    same(positions(read(after_position=before, domains=["another"])), [])
    # Progress is told also where nothing matched.
    same(read(after_position=before, domains=["another"])[-1].position, ours[-1])

    request = query.ReadLogRequest(after_token=first[-1].token, correlation_id=correlation_id, follow=True)
    following = Following(world.client.query.ReadLog(request))
    same(positions([following.next()]), ours[1:])
    world.client.execute(command(root, pack("Add", count=3), correlation_id=correlation_id))
    same(positions([following.next()]), [ours[-1] + 1])
    following.cancel()
    fails(lambda: read(types=[""]), "INVALID_ARGUMENT", field="types")


def rejections_listed(world):
    """ListRejections: those of commands with a key, by correlation id"""
    correlation_id, root = uuid.uuid4().hex, new_root()
    for key in ["a", "b", ""]:
        key = key and f"{key}-{correlation_id}"
        sent = command(root, pack("Add", count=1), correlation_id=correlation_id, idempotency_key=key)
        fails(lambda: world.client.execute(sent), "REJECTED")
    request = query.ListRejectionsRequest(correlation_id=correlation_id)
    found = list(world.client.query.ListRejections(request, timeout=LIMIT_S))
    same([one.idempotency_key for one in found], [f"a-{correlation_id}", f"b-{correlation_id}"])
    same((found[0].rejection.code, list(found[0].commands), found[0].cover.root.value), ("NO_ORDER", ["shop.Add"], root))


def subscriptions(world):
    """EventStream.Subscribe: each book once and in order, also when resumed after a token"""
    correlation_id = uuid.uuid4().hex
    following = subscribe(world, correlation_id=correlation_id)
    root = world.placed(1, correlation_id=correlation_id)
    world.placed(correlation_id="another")
    first = following.next()
    same(shown(first.pages), ['0 Placed {"by": "Ada"}'])
    same(shown(following.next().pages), ['1 Added {"count": 1}'])
    following.cancel()
    both = command(root, pack("Add", count=2), pack("Add", count=3), correlation_id=correlation_id)
    world.client.execute(both)
    resumed = subscribe(world, correlation_id=correlation_id, after=first.consistency_token)
    # A book is what one unit wrote: never split, never merged.
    same([len(resumed.next().pages) for _ in range(2)], [1, 2])
    resumed.cancel()
    fails(lambda: world.client.stream.Subscribe(query.EventStreamFilter(after="x")), "INVALID_ARGUMENT", field="after")


def synchronize(world):
    """Synchronize: what is missing, then every later book of the same aggregates"""
    first, second = world.placed(1, 2), world.placed(1)
    queries = queue.SimpleQueue()
    following = Following(world.client.query.Synchronize(iter(queries.get, None)))
    queries.put(query.Query(cover=cover(first), range=query.SequenceRange(lower=1)))
    same(shown(following.next().pages), ['1 Added {"count": 1}', '2 Added {"count": 2}'])
    world.client.execute(command(second, pack("Add", count=5)))
    world.client.execute(command(first, pack("Add", count=6)))
    same(shown(following.next().pages), ['3 Added {"count": 6}'])
    queries.put(query.Query(cover=cover(second), range=query.SequenceRange(lower=0)))
    same([page.sequence for page in following.next().pages], [0, 1, 2])
    world.client.execute(command(second, pack("Add", count=7)))
    same(shown(following.next().pages), ['3 Added {"count": 7}'])
    queries.put(query.Query(cover=types.Cover(domain="order")))
    fails(following.next, "INVALID_ARGUMENT", field="cover.root")


TESTS = [
    selections,
    event_chunks,
    roots,
    read_log,
    rejections_listed,
    subscriptions,
    synchronize,
]
