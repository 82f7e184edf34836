"""Tests of the wire contract by a client, a server and a host that know nothing but proto/.

python contract.py PROGRAM...: the command line of Daybook, such as `node src/cli/daybook.ts`. Prints TAP. The modules that
protoc makes of proto/ are expected on PYTHONPATH.
"""

import signal
import sys

import calls
import hosting
import reading
import restarts
import upcasting
import what_if
from support import run
from world import World

TESTS = [*calls.TESTS, *hosting.TESTS, *upcasting.TESTS, *reading.TESTS, *what_if.TESTS, *restarts.TESTS]

# Whoever ends this ends its daemon, too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
world = World(sys.argv[1:])
try:
    failed = run(TESTS, world)
finally:
    world.client.close()
    world.served.stop()
    world.daemon.remove()
sys.exit(1 if failed else 0)
