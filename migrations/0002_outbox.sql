-- What is to be told to forges: written in the same transaction as the changes that
-- cause it, sent afterwards, as often as it takes.
--
-- No foreign key: a message outlives its source until it is given up.

CREATE TABLE outbox (
    -- Grows with the cluster's generation: the order in which a commit's messages happened.
    id              bigserial PRIMARY KEY,
    source          text NOT NULL,
    commit          text NOT NULL,
    context         text NOT NULL,
    body            jsonb NOT NULL,
    state           text NOT NULL DEFAULT 'queued',
    attempts        bigint NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_error      text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT outbox_state_known CHECK (state IN ('queued', 'sent', 'failed', 'superseded'))
);
CREATE INDEX outbox_latest_idx ON outbox (source, commit, context, id DESC);
CREATE INDEX outbox_due_idx ON outbox (next_attempt_at) WHERE state = 'queued';
