-- The cluster's state, its history, and who may change it.
--
-- Two rows are special: `cluster` holds the generation that every commit moves by
-- one, `lease` holds the epoch under which it does. Columns of one table that
-- different parties decide about (what the controller wants, what a node saw) are
-- apart, so that no writer can undo another's word.

CREATE TABLE cluster (
    singleton  boolean PRIMARY KEY DEFAULT true,
    id         uuid NOT NULL DEFAULT gen_random_uuid(),
    generation bigint NOT NULL DEFAULT 0,
    -- What the last change was for, and when it was written.
    cause      text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT cluster_is_one_row CHECK (singleton)
);
INSERT INTO cluster DEFAULT VALUES;

CREATE TABLE lease (
    singleton  boolean PRIMARY KEY DEFAULT true,
    holder     text,
    address    text NOT NULL DEFAULT '',
    epoch      bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT lease_is_one_row CHECK (singleton),
    -- The epoch is a key, so FOR KEY SHARE holds off a new epoch but not a renewal.
    CONSTRAINT lease_epoch_key UNIQUE (epoch)
);
INSERT INTO lease DEFAULT VALUES;

CREATE TABLE sources (
    name              text PRIMARY KEY,
    spec              jsonb NOT NULL,
    declared_by       text,
    suspended         boolean NOT NULL,
    last_attempt_at   timestamptz,
    last_seen         text,
    last_applied      text,
    last_applied_at   timestamptz,
    outcome           jsonb NOT NULL,
    problems          jsonb NOT NULL,
    ignored_documents bigint NOT NULL,
    held              jsonb
);

CREATE TABLE commits (
    number        bigint GENERATED ALWAYS AS IDENTITY,
    source        text NOT NULL,
    commit        text NOT NULL,
    author        text NOT NULL,
    subject       text NOT NULL,
    committed_at  timestamptz NOT NULL,
    seen_at       timestamptz NOT NULL,
    -- NULL: its tree was not read.
    valid         boolean,
    problem_count bigint NOT NULL,
    problems      jsonb NOT NULL,
    CONSTRAINT commits_pkey PRIMARY KEY (source, commit),
    CONSTRAINT commits_source_fkey FOREIGN KEY (source) REFERENCES sources ON DELETE CASCADE
);
CREATE INDEX commits_newest_idx ON commits (source, number DESC);

CREATE TABLE apps (
    -- project/name
    key             text PRIMARY KEY,
    source          text NOT NULL,
    path            text NOT NULL,
    -- What Git says; all NULL once it says nothing any more.
    declared_commit text,
    declared_digest text,
    declared_at     timestamptz,
    declared_spec   jsonb,
    invalid         jsonb,
    suspension      jsonb,
    target          uuid,
    rollout         uuid,
    version         bigint NOT NULL DEFAULT 0,
    CONSTRAINT apps_key_format CHECK (key ~ '^[a-z0-9-]+/[a-z0-9-]+$'),
    CONSTRAINT apps_declared_whole CHECK (
        num_nulls(declared_commit, declared_digest, declared_at, declared_spec) IN (0, 4)
    ),
    -- Checked at COMMIT: one transaction may name a source before it adds it.
    CONSTRAINT apps_source_fkey FOREIGN KEY (source) REFERENCES sources
        DEFERRABLE INITIALLY DEFERRED
) WITH (fillfactor = 80);
CREATE INDEX apps_source_idx ON apps (source);
CREATE INDEX apps_target_idx ON apps (target);

CREATE TABLE releases (
    id              uuid PRIMARY KEY,
    app             text NOT NULL,
    number          bigint NOT NULL,
    commit          text NOT NULL,
    spec_digest     text NOT NULL,
    workload_digest text NOT NULL,
    spec            jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    state           text NOT NULL,
    state_at        timestamptz,
    pinned_image    text,
    CONSTRAINT releases_app_fkey FOREIGN KEY (app) REFERENCES apps ON DELETE CASCADE,
    CONSTRAINT releases_number_key UNIQUE (app, number),
    CONSTRAINT releases_state_known CHECK (state IN ('new', 'stable', 'rejected')),
    CONSTRAINT releases_state_dated CHECK ((state = 'new') = (state_at IS NULL))
);

-- What an app is at or moves to is never forgotten before the app is.
ALTER TABLE apps ADD CONSTRAINT apps_target_fkey FOREIGN KEY (target) REFERENCES releases
    DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE quarantine (
    app         text NOT NULL,
    digest      text NOT NULL,
    commit      text NOT NULL,
    release     uuid NOT NULL,
    rollout     uuid,
    rejected_at timestamptz NOT NULL,
    verdict     text NOT NULL,
    reason      text NOT NULL,
    evidence    jsonb NOT NULL,
    CONSTRAINT quarantine_pkey PRIMARY KEY (app, digest),
    CONSTRAINT quarantine_app_fkey FOREIGN KEY (app) REFERENCES apps ON DELETE CASCADE,
    CONSTRAINT quarantine_verdict_known CHECK (verdict IN (
        'crashLoop', 'imageMissing', 'cannotStart', 'infeasible',
        'notReady', 'failedBake', 'noProgress', 'operator'
    ))
);

-- Ended rollouts stay as history after the releases they name are forgotten.
CREATE TABLE rollouts (
    id           uuid PRIMARY KEY,
    number       bigint GENERATED ALWAYS AS IDENTITY,
    app          text NOT NULL,
    kind         text NOT NULL,
    rollback_of  uuid,
    from_release uuid,
    to_release   uuid NOT NULL,
    strategy     text NOT NULL,
    replacement  text NOT NULL,
    phase        text NOT NULL,
    started_at   timestamptz NOT NULL,
    progress_at  timestamptz NOT NULL,
    best_healthy bigint NOT NULL,
    baking_at    timestamptz,
    finished_at  timestamptz,
    prepare      jsonb NOT NULL,
    reason       text NOT NULL,
    outcome      text,
    rejection    jsonb,
    CONSTRAINT rollouts_app_fkey FOREIGN KEY (app) REFERENCES apps ON DELETE CASCADE,
    CONSTRAINT rollouts_kind_known CHECK (kind IN ('forward', 'rollback')),
    CONSTRAINT rollouts_strategy_known CHECK (strategy IN ('rolling', 'recreate')),
    CONSTRAINT rollouts_replacement_known CHECK (replacement IN ('startFirst', 'stopFirst')),
    CONSTRAINT rollouts_phase_known CHECK (phase IN (
        'preparing', 'progressing', 'baking', 'paused',
        'succeeded', 'rolledBack', 'failed', 'superseded'
    ))
);
CREATE INDEX rollouts_newest_idx ON rollouts (app, number DESC);

CREATE TABLE instances (
    id              uuid PRIMARY KEY,
    app             text NOT NULL,
    slot            bigint NOT NULL,
    release         uuid NOT NULL,
    workload_digest text NOT NULL,
    node            text NOT NULL,
    created_at      timestamptz NOT NULL,
    reason          text NOT NULL,
    cpu_millis      bigint NOT NULL,
    memory_bytes    bigint NOT NULL,
    host_ports      jsonb NOT NULL,
    volumes         jsonb NOT NULL,
    -- Desired: the controller's word.
    goal            text NOT NULL,
    stop_at         timestamptz,
    stop_reason     text,
    -- Observed: the node's word; NULL before its first.
    status          jsonb,
    CONSTRAINT instances_app_fkey FOREIGN KEY (app) REFERENCES apps ON DELETE CASCADE,
    -- Checked at COMMIT: the last instance and its release may go together.
    CONSTRAINT instances_release_fkey FOREIGN KEY (release) REFERENCES releases
        DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT instances_goal_known CHECK (goal IN ('run', 'stop')),
    CONSTRAINT instances_stop_whole CHECK (
        num_nulls(stop_at, stop_reason) = CASE goal WHEN 'stop' THEN 0 ELSE 2 END
    )
) WITH (fillfactor = 70);
CREATE INDEX instances_app_idx ON instances (app);
CREATE INDEX instances_release_idx ON instances (release);

-- Which node holds the volumes of an app's slot.
CREATE TABLE homes (
    app  text NOT NULL,
    slot bigint NOT NULL,
    node text NOT NULL,
    CONSTRAINT homes_pkey PRIMARY KEY (app, slot),
    CONSTRAINT homes_app_fkey FOREIGN KEY (app) REFERENCES apps ON DELETE CASCADE
);

CREATE TABLE nodes (
    name          text PRIMARY KEY,
    address       text NOT NULL,
    cpu_millis    bigint NOT NULL,
    memory_bytes  bigint NOT NULL,
    attributes    jsonb NOT NULL,
    agent_version text NOT NULL,
    scheduling    text NOT NULL,
    liveness      text NOT NULL,
    heard_at      timestamptz NOT NULL,
    registered_at timestamptz NOT NULL,
    CONSTRAINT nodes_scheduling_known CHECK (scheduling IN ('active', 'cordoned', 'draining')),
    CONSTRAINT nodes_liveness_known CHECK (liveness IN ('ready', 'suspect', 'lost'))
) WITH (fillfactor = 70);

CREATE TABLE node_images (
    node  text NOT NULL,
    image text NOT NULL,
    state jsonb NOT NULL,
    CONSTRAINT node_images_pkey PRIMARY KEY (node, image),
    CONSTRAINT node_images_node_fkey FOREIGN KEY (node) REFERENCES nodes ON DELETE CASCADE
);

-- No foreign keys: what happened stays true after what it happened to is gone.
CREATE TABLE events (
    id         bigserial PRIMARY KEY,
    at         timestamptz NOT NULL,
    -- Of the cluster state that it led to, and what that change was for.
    generation bigint NOT NULL,
    cause      text NOT NULL,
    actor      text NOT NULL,
    kind       text NOT NULL,
    app        text,
    source     text,
    commit     text,
    rollout    uuid,
    instance   uuid,
    node       text,
    message    text NOT NULL,
    detail     jsonb
);
CREATE INDEX events_app_idx ON events (app, id) WHERE app IS NOT NULL;
CREATE INDEX events_source_idx ON events (source, id) WHERE source IS NOT NULL;
CREATE INDEX events_kind_idx ON events (kind, id);
