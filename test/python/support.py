"""What the tests of the wire contract share: payloads, a daemon, errors as a client reads them, and TAP."""

import dataclasses
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
import traceback

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from daybook.v1 import (
    coordinators_pb2_grpc,
    component_pb2_grpc,
    errors_pb2,
    gateway_pb2_grpc,
    query_pb2_grpc,
    types_pb2 as types,
)

PREFIX = "type.test/shop."
# Nothing here takes longer, unless it is broken.
LIMIT_S = 10


def pack(name, **fields):
    """Payloads are opaque to Daybook: these are JSON under a type URL of our own."""
    return any_pb2.Any(type_url=PREFIX + name, value=json.dumps(fields).encode())


def unpack(payload):
    assert payload.type_url.startswith(PREFIX), payload.type_url
    return payload.type_url[len(PREFIX):], json.loads(payload.value)


def new_root():
    return os.urandom(16)


def cover(root, domain="order", **rest):
    return types.Cover(root=types.UUID(value=root), domain=domain, **rest)


def command(root, *payloads, domain="order", sequence=None, correlation_id="", tenant="", **rest):
    book = types.CommandBook(cover=cover(root, domain, correlation_id=correlation_id, tenant=tenant), **rest)
    for index, payload in enumerate(payloads):
        book.pages.add(command=payload, sequence=sequence if index == 0 else None)
    return book


def shown(pages):
    """Pages as a test compares them: `0 Placed {...}`."""
    return [f"{page.sequence} {name} {json.dumps(fields)}" for page in pages for name, fields in [unpack(page.event)]]


@dataclasses.dataclass
class Failed:
    """A gRPC error as a client in Python reads it."""

    status: grpc.StatusCode
    message: str
    reason: str
    metadata: dict
    rejection: types.Rejection | None
    retry_s: float | None


def failed(error):
    """From `grpc-status-details-bin`, with Google's own library."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no status details: {error.code()} {error.details()}"
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found = Failed(error.code(), error.details(), "", {}, None, None)
    for detail in status.details:
        info, retry, rejection = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), types.Rejection()
        if detail.Unpack(info):
            assert info.domain == "daybook", info.domain
            found.reason, found.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            found.retry_s = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(rejection):
            found.rejection = rejection
    assert "ERROR_REASON_" + found.reason in errors_pb2.ErrorReason.keys(), found.reason
    return found


def fails(call, reason, status=None, /, **metadata):
    """Calls and expects the error; a stream is read to its end."""
    try:
        answer = call()
        if isinstance(answer, grpc.Call):
            answer = list(answer)
    except grpc.RpcError as error:
        found = failed(error)
        assert found.reason == reason, f"expected {reason}, found {found}"
        assert status is None or found.status.name == status, f"expected {status}, found {found}"
        for key, value in metadata.items():
            assert found.metadata.get(key) == str(value), f"expected {key}={value}, found {found}"
        return found
    raise AssertionError(f"expected {reason}, found an answer: {answer}")


def same(found, expected):
    assert found == expected, f"\n  expected {expected}\n  found    {found}"


def eventually(what, condition):
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError(f"did not happen within {LIMIT_S} s: {what}")


class Client:
    """Stubs of everything, on one connection."""

    def __init__(self, address):
        options = [("grpc.max_receive_message_length", 32 << 20), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(address, options)
        self.gateway = gateway_pb2_grpc.CommandGatewayStub(self.channel)
        self.query = query_pb2_grpc.EventQueryStub(self.channel)
        self.stream = query_pb2_grpc.EventStreamStub(self.channel)
        self.business = coordinators_pb2_grpc.BusinessCoordinatorStub(self.channel)
        self.host = component_pb2_grpc.ComponentHostStub(self.channel)

    def execute(self, book, timeout=LIMIT_S, **rest):
        return self.gateway.Execute(book, timeout=timeout, **rest)

    def close(self):
        self.channel.close()


class Following:
    """Messages of a stream as they come, read on a thread of its own."""

    def __init__(self, call):
        self.call = call
        self.ended = None
        self._messages = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for message in self.call:
                self._messages.put(message)
            self.ended = True
        except grpc.RpcError as error:
            self.ended = error
        self._messages.put(None)

    def next(self, timeout=LIMIT_S):
        """The next message; the stream's error when it ended with one, `None` when it ended without."""
        try:
            message = self._messages.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"nothing came within {timeout} s") from None
        if message is None and self.ended is not True:
            raise self.ended
        return message

    def empty(self):
        return self._messages.empty()

    def cancel(self):
        self.call.cancel()


class Daemon:
    """A daemon in a process of its own, on a log that outlives it."""

    def __init__(self, program, settings):
        self._program = program
        self._folder = tempfile.TemporaryDirectory(prefix="daybook-python-")
        self._settings = {"storage": {"type": "sqlite", "path": os.path.join(self._folder.name, "log.db")}, **settings}
        self.address = "127.0.0.1:0"
        self.start()

    def start(self):
        config = os.path.join(self._folder.name, "daybook.yaml")
        with open(config, "w") as file:
            # JSON is YAML.
            json.dump({**self._settings, "listen": {"address": self.address, "health": "127.0.0.1:0"}}, file)
        self._log = open(os.path.join(self._folder.name, "log.txt"), "a")
        self._process = subprocess.Popen(
            [*self._program, "start", "--config", config], stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        line = self._process.stdout.readline()
        assert line, f"the daemon did not start:\n{self.log()}"
        self.address = json.loads(line)["api"]

    def stop(self):
        """As an operator does: it drains."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=30)
        self._process.stdout.close()
        self._log.close()
        assert code == 0, f"the daemon ended with {code}:\n{self.log()}"

    def log(self):
        with open(self._log.name) as file:
            return file.read()

    def remove(self):
        try:
            self.stop()
        finally:
            self._folder.cleanup()


def run(tests, *parts):
    """Runs the functions in order and reports them as TAP. The first line of each docstring is its title."""
    print("TAP version 13")
    failures = 0
    for number, test in enumerate(tests, 1):
        title = (test.__doc__ or test.__name__).strip().splitlines()[0].rstrip(".")
        try:
            test(*parts)
            print(f"ok {number} - {title}", flush=True)
        except Exception:
            failures += 1
            print(f"not ok {number} - {title}\n  ---")
            for line in traceback.format_exc().splitlines():
                print(f"  {line}")
            print("  ...", flush=True)
    print(f"1..{len(tests)}", flush=True)
    return failures
