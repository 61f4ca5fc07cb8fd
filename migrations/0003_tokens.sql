-- Named tokens: who may use the API, beside the two tokens of the data folder.
--
-- No secret is here: a token's text is 32 random bytes, of which only SHA-256 is kept. A
-- slow password hash would add nothing: nobody can try 2^256 texts, however fast the hash.

CREATE TABLE tokens (
    -- Public part of the token's text: finds the row, proves nothing.
    id           text PRIMARY KEY,
    name         text NOT NULL,
    role         text NOT NULL,
    -- NULL: not bound to projects.
    projects     text[],
    digest       bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    created_by   text NOT NULL,
    expires_at   timestamptz,
    -- Written in batches, so up to some minutes old.
    last_used_at timestamptz,
    -- Revoked ones stay for a while, so that their users are told what happened.
    revoked_at   timestamptz,
    revoked_by   text,
    CONSTRAINT tokens_role_known CHECK (role IN ('viewer', 'operator', 'admin')),
    CONSTRAINT tokens_digest_is_sha256 CHECK (octet_length(digest) = 32),
    CONSTRAINT tokens_revoked_by_somebody CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE UNIQUE INDEX tokens_name_once ON tokens (name) WHERE revoked_at IS NULL;

-- Counts what changes who may do what: controllers look at this one number to know whether
-- what they remember still holds. Its row lock puts writers in order, so that no reader can
-- see a later number without an earlier one's change.
CREATE TABLE token_changes (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint NOT NULL DEFAULT 0
);
INSERT INTO token_changes DEFAULT VALUES;
