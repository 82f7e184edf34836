-- Rows that any host of their target's domain may send.

CREATE INDEX outbox_forwarded ON outbox (domain, due_at, position, "index") WHERE head = 1 AND state = 'forwarded';
