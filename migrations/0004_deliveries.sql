-- The last deliveries to each source's webhook, for people to look at: written in batches
-- by the leader, one row per source, bounded by the program.

CREATE TABLE deliveries (
    source   text PRIMARY KEY,
    log      jsonb NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT deliveries_source_fkey FOREIGN KEY (source) REFERENCES sources ON DELETE CASCADE
);
