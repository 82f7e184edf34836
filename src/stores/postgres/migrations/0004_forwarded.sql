-- Rows that any host of their target's domain may send. Looked for by domain, whatever partition they are in.

CREATE INDEX outbox_forwarded ON outbox (domain, due_at, position, index, id) WHERE head AND state = 'forwarded';
