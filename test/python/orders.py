"""The domain of the tests, an order, and its two hosts: a gRPC server that Daybook calls, and an attach stream."""

import concurrent.futures
import queue
import threading
import time

import grpc
from daybook.v1 import component_pb2 as component, component_pb2_grpc, types_pb2 as types

from support import Client, Following, command, failed, pack, unpack

KINDS = {
    "INVALID": types.REJECTION_KIND_INVALID,
    "CONFLICT": types.REJECTION_KIND_CONFLICT,
    "NOT_FOUND": types.REJECTION_KIND_NOT_FOUND,
    "DENIED": types.REJECTION_KIND_DENIED,
}


class Rejected(Exception):
    def __init__(self, kind, code, page, message=""):
        super().__init__(code)
        self.rejection = types.Rejection(
            kind=KINDS[kind], code=code, message=message, page=page, details=pack("Hint", page=page)
        )


def evolve(state, event):
    """A state is {placed, items}. An order of the first version counted dozens: an upcaster's work, not ours."""
    name, fields = unpack(event)
    if name == "Placed":
        return {**state, "placed": True}
    if name in ("Added", "Paid"):
        return {**state, "items": state["items"] + fields.get("count", 0)}
    raise ValueError(f"no such event: {name}")


EMPTY = {"placed": False, "items": 0}


def fold(state, book):
    """(next sequence, state) from a book, beginning with another."""
    following, state = state
    if book.HasField("snapshot"):
        following, state = book.snapshot.sequence + 1, unpack(book.snapshot.state)[1]
    for page in book.pages:
        assert page.sequence == following, f"expected sequence {following}, found {page.sequence}"
        following, state = page.sequence + 1, evolve(state, page.event)
    return following, state


def decide(state, request):
    """The events and the state after them; raises Rejected."""
    events = []
    for page, (name, fields) in enumerate(unpack(page.command) for page in request.command.pages):
        if name == "Place":
            if state["placed"]:
                raise Rejected("CONFLICT", "ALREADY_PLACED", page, "the order is there")
            made = [pack("Placed", **fields)]
        elif name == "Add":
            if fields["count"] < 1:
                raise Rejected("INVALID", "BAD_COUNT", page)
            if not state["placed"]:
                raise Rejected("NOT_FOUND", "NO_ORDER", page)
            if fields["count"] > 1000:
                raise Rejected("DENIED", "TOO_MANY", page)
            made = [pack("Added", **fields)]
        elif name == "Touch":
            made = []
        elif name == "Show":
            made = [pack("Added", count=0, items=state["items"])]
        elif name == "Receive":
            # Of a fact: what the aggregate makes of it.
            made = [pack("Added", count=fields["count"])]
        else:
            raise LookupError(f"no such command: {name}")
        for event in made:
            state = evolve(state, event)
        events += made
    return events, state


def respond(state, request):
    try:
        events, after = decide(state, request)
    except Rejected as no:
        return component.BusinessResponse(rejection=no.rejection)
    book = types.EventBook(pages=[types.EventPage(event=event, metadata={"decided-by": "python"}) for event in events])
    if request.snapshot_wanted and not request.dry_run:
        book.snapshot.CopyFrom(types.Snapshot(state=pack("Order", **after)))
    return component.BusinessResponse(events=book)


def upcast(pages):
    """OldAdded{dozens} is Added{count} today."""
    for page in pages:
        name, fields = unpack(page.event)
        if name == "OldAdded":
            page.event.CopyFrom(pack("Added", count=12 * fields["dozens"]))
    return pages


class Served(component_pb2_grpc.BusinessLogicServicer, component_pb2_grpc.UpcasterServicer):
    """Both services of the domain `order`. Some commands answer with a status instead."""

    def __init__(self):
        self.requests = []
        self.client = None
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
        component_pb2_grpc.add_BusinessLogicServicer_to_server(self, self._server)
        component_pb2_grpc.add_UpcasterServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Handle(self, request, context):
        self.requests.append(request)
        name, fields = unpack(request.command.pages[0].command)
        if name == "Status":
            context.abort(grpc.StatusCode[fields["code"]], "as you wished")
        if name == "Break":
            raise RuntimeError("the handler is broken")
        if name == "Sleep":
            time.sleep(fields["s"])
            return component.BusinessResponse()
        if name == "Elsewhere":
            return component.BusinessResponse(
                events=types.EventBook(cover=types.Cover(domain="other"), pages=[types.EventPage(event=pack("Placed"))])
            )
        if name == "Again":
            return self._again(request)
        return respond(fold((0, EMPTY), request.events)[1], request)

    def _again(self, request):
        """A command to the same aggregate, from inside the handling of this one: answered with the reason it failed for."""
        inner = command(request.command.cover.root.value, pack("Touch"), work_id=request.work_id)
        try:
            self.client.execute(inner)
            reason = "none"
        except grpc.RpcError as error:
            reason = failed(error).reason
        return component.BusinessResponse(events=types.EventBook(pages=[types.EventPage(event=pack("Paid", reason=reason))]))

    def Upcast(self, request, context):
        return component.UpcastResponse(pages=upcast(list(request.events.pages)))

    def stop(self):
        self._server.stop(0).wait()


class Attachment:
    """The component's side of one attach stream; a test sees and sends every message."""

    def __init__(self, address, **hello):
        self._client = Client(address)
        self._outgoing = queue.SimpleQueue()
        if hello:
            self.send(hello=component.Hello(protocol_version=1, **hello))
        self._following = Following(self._client.host.Attach(iter(self._outgoing.get, None)))
        self._work = []
        self.chunks = {}
        self.notices = []
        self.cancels = []
        self.drain = None
        self.welcome = None
        if hello:
            self.welcome = self.next().welcome

    def send(self, **message):
        self._outgoing.put(component.ComponentMessage(**message))

    def reply(self, work, **result):
        self.send(replies=[component.Reply(work_id=work if isinstance(work, str) else work.work_id, **result)])

    def events(self, work, *events):
        book = types.EventBook(pages=[types.EventPage(event=event) for event in events])
        self.reply(work, command=component.BusinessResponse(events=book))

    def next(self):
        """The next message, its items noted; `None` when the stream ended in order."""
        message = self._following.next()
        if message is None:
            return None
        for chunk in message.history:
            if chunk.first:
                self.chunks[chunk.work_id] = []
            self.chunks[chunk.work_id].append(chunk.events)
        self._work += message.work
        self.cancels += [cancel.work_id for cancel in message.cancels]
        self.notices += message.notices
        if message.HasField("drain"):
            self.drain = message.drain
        return message

    def work(self):
        """The next piece of work, whatever comes before it."""
        while not self._work:
            assert self.next() is not None, "the stream ended"
        return self._work.pop(0)

    def until(self, what, condition):
        while not condition():
            assert self.next() is not None, f"the stream ended before {what}"

    def idle(self):
        return not self._work and self._following.empty()

    def end(self):
        """In order: nothing more will be sent."""
        self._outgoing.put(None)

    def cut(self):
        """As when a process dies."""
        self._outgoing.put(None)
        self._client.close()


class Host(Attachment):
    """A host of a domain of orders that keeps its state, on a thread, until its stream ends."""

    def __init__(self, address, domain, **hosting):
        self.states = {}
        self.requests = []
        self.failure = None
        hosted = component.AggregateHosting(domain=domain, keeps_state=True, **hosting)
        super().__init__(address, name="orders", aggregates=[hosted])
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        try:
            while True:
                work = self.work()
                self.send(replies=[self._answer(work)])
        except (AssertionError, grpc.RpcError, ValueError) as error:
            self.failure = error

    def _answer(self, work):
        request = work.command
        self.requests.append(request)
        key = (request.command.cover.tenant, request.command.cover.root.value)
        state = (0, EMPTY) if request.base_sequence == 0 else self.states.get(key)
        if state is None or state[0] != request.base_sequence:
            return component.Reply(work_id=work.work_id, need_history=component.NeedHistory())
        for chunk in self.chunks.pop(work.work_id, []):
            state = fold(state, chunk)
        state = fold(state, request.events)
        if not request.dry_run:
            self.states[key] = state
        try:
            return component.Reply(work_id=work.work_id, command=respond(state[1], request))
        except LookupError as error:
            return component.Reply(work_id=work.work_id, failure=component.Failure(message=str(error)))
