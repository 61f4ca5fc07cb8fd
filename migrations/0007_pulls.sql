-- Open pull requests that were planned: who takes over the lead must know whom to tell that a
-- plan is over, and what was told already. What the forge says of them is asked of the forge.

CREATE TABLE pulls (
    source     text NOT NULL REFERENCES sources (name) ON DELETE CASCADE,
    number     bigint NOT NULL,
    -- The head that was planned, and the head of the followed branch it was merged with.
    head       text NOT NULL,
    base       text NOT NULL,
    title      text NOT NULL,
    url        text NOT NULL,
    verdict    text NOT NULL,
    summary    text NOT NULL,
    -- The preview as it was; NULL: none could be made.
    plan       jsonb,
    -- Digest of what was told: only news are told again.
    told       text NOT NULL,
    -- Whether there is a comment of ours.
    commented  boolean NOT NULL,
    planned_at timestamptz NOT NULL,
    PRIMARY KEY (source, number),
    CONSTRAINT pulls_verdict_known CHECK (
        verdict IN ('unchanged', 'changes', 'held', 'blocked', 'notPlanned')
    )
);
