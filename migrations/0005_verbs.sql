-- What operators may ask for beyond suspending and rolling back: another number of
-- replicas, new instances of the same release, a rollback to a chosen release, and
-- a node's scheduling with the name of who set it.

ALTER TABLE apps ADD COLUMN scale jsonb;
ALTER TABLE apps ADD COLUMN incarnation bigint NOT NULL DEFAULT 0;

-- The app's at the instance's creation: one of an earlier incarnation is exchanged.
ALTER TABLE instances ADD COLUMN incarnation bigint NOT NULL DEFAULT 0;

-- No foreign key: the release may be forgotten before the digest is let go.
ALTER TABLE quarantine ADD COLUMN back_to uuid;

ALTER TABLE nodes ADD COLUMN scheduling_note jsonb;

ALTER TABLE rollouts DROP CONSTRAINT rollouts_kind_known;
ALTER TABLE rollouts ADD CONSTRAINT rollouts_kind_known
    CHECK (kind IN ('forward', 'rollback', 'restart'));
