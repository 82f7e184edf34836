"""One daemon for all tests, and what they do with it."""

import threading
import uuid

import grpc
from google.protobuf import timestamp_pb2

from daybook.v1 import coordinators_pb2 as coordinators, query_pb2 as query, types_pb2 as types

from orders import Served
from support import Client, Daemon, Following, LIMIT_S, command, cover, new_root, pack


class World:
    """One daemon for all tests; each has aggregates, correlation ids and attached domains of its own."""

    def __init__(self, program):
        self.served = Served()
        self.daemon = Daemon(program, {
            "components": [
                {"aggregate": "order", "address": self.served.address},
                {"upcaster": "order", "address": self.served.address, "types": ["shop.OldAdded"]},
            ],
            "limits": {"snapshot_after_pages": 5, "component_timeout_ms": 2000},
        })
        self.client = self.served.client = Client(self.daemon.address)
        self._domains = 0

    def domain(self):
        self._domains += 1
        return f"basket{self._domains}"

    def placed(self, *counts, domain="order", **rest):
        """An order with so many events more, each of a command of its own."""
        root = new_root()
        self.client.execute(command(root, pack("Place", by="Ada"), domain=domain, **rest))
        for count in counts:
            self.client.execute(command(root, pack("Add", count=count), domain=domain, **rest))
        return root

    def book(self, root, domain="order", **selection):
        return self.client.query.GetEventBook(query.Query(cover=cover(root, domain), **selection), timeout=LIMIT_S)


def pages_of(books):
    return [page for book in books for page in book.pages]


def subscribe(world, **request):
    """A stream that has begun: what is written from now on comes."""
    request.setdefault("after", world.client.execute(command(new_root(), pack("Touch"))).consistency_token)
    return Following(world.client.stream.Subscribe(query.EventStreamFilter(**request)))


def record(world, root, *payloads, domain="order", ask=False, ids=None, correlation_id=""):
    book = types.EventBook(cover=cover(root, domain, correlation_id=correlation_id))
    for index, payload in enumerate(payloads):
        page = book.pages.add(event=payload, occurred_at=timestamp_pb2.Timestamp(seconds=1_600_000_000))
        page.origin.external_source = "warehouse"
        page.origin.external_id = ids[index] if ids else uuid.uuid4().hex
    return world.client.business.Record(coordinators.RecordRequest(facts=book, ask_aggregate=ask), timeout=LIMIT_S)


def background(serve):
    def quietly():
        try:
            serve()
        except (AssertionError, grpc.RpcError, ValueError):
            pass

    threading.Thread(target=quietly, daemon=True).start()
