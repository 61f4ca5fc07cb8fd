-- Beside the statuses of commits, comments of pull requests wait to be sent.
--
-- A comment's row has no commit; its context is `pull/NUMBER`, so that the newest takes the
-- place of what was not sent yet, as for statuses.

ALTER TABLE outbox
    ADD COLUMN kind text NOT NULL DEFAULT 'status',
    ADD COLUMN pull_request bigint,
    ADD CONSTRAINT outbox_kind_known CHECK (kind IN ('status', 'comment')),
    ADD CONSTRAINT outbox_comment_of_one CHECK ((kind = 'comment') = (pull_request IS NOT NULL));
