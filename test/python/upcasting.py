"""Upcasters, served and attached."""

from daybook.v1 import component_pb2 as component, query_pb2 as query

from orders import Attachment, Host, upcast
from support import LIMIT_S, command, fails, new_root, pack, same, shown, unpack
from world import background, record, subscribe


def served_upcaster(world):
    """A served upcaster: commands, queries and streams see today's shape"""
    check_upcasted(world, "order")


def attached_upcaster(world):
    """An attached upcaster: the same; a reply that breaks the contract is a fault"""
    domain = world.domain()
    host = Host(world.daemon.address, domain)
    hosting = component.UpcasterHosting(domain=domain, types=["shop.OldAdded"])
    upcaster = Attachment(world.daemon.address, upcasters=[hosting])
    seen = []

    def serve():
        while work := upcaster.work():
            seen.append(work)
            copy = component.UpcastRequest.FromString(work.upcast.SerializeToString())
            pages = upcast(list(copy.events.pages)) if len(seen) < 100 else []
            upcaster.reply(work, upcast=component.UpcastResponse(pages=pages))

    background(serve)
    check_upcasted(world, domain)
    same({work.component for work in seen}, {domain})
    same({unpack(page.event)[0] for work in seen for page in work.upcast.events.pages}, {"OldAdded"})
    root = old_order(world, domain)
    seen += [None] * 100
    fails(lambda: world.book(root, domain), "COMPONENT_FAULT", component=domain)
    upcaster.cut()
    host.cut()


def old_order(world, domain):
    """An order of the first version, as another system recorded it."""
    root = new_root()
    facts = [("Placed", {}), ("OldAdded", {"dozens": 2}), ("Added", {"count": 1})]
    record(world, root, *[pack(name, **fields) for name, fields in facts], domain=domain)
    return root


def check_upcasted(world, domain):
    following = subscribe(world, domains=[domain])
    root = old_order(world, domain)
    expected = ["0 Placed {}", '1 Added {"count": 24}', '2 Added {"count": 1}']
    same(shown(world.book(root, domain).pages), expected)
    same(shown(following.next().pages), expected)
    following.cancel()
    books = world.client.query.ReadLog(query.ReadLogRequest(domains=[domain], types=["shop.Added"]), timeout=LIMIT_S)
    same(shown(page for response in books for book in response.books for page in book.pages
               if book.cover.root.value == root), expected)
    answer = world.client.execute(command(root, pack("Show"), domain=domain))
    same(unpack(answer.events.pages[0].event)[1]["items"], 25)


TESTS = [
    served_upcaster,
    attached_upcaster,
]
