-- A caller that waits for its command's projections asks for those of its aggregate, under whatever keys they are.

CREATE INDEX projections_by_stream
  ON projections (projector, generation, stream_tenant, stream_domain, stream_root, position, key);
