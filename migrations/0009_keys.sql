-- The keys between an app and what belongs to it, checked a statement at a time: a first sync
-- writes ten thousand apps, and a foreign key asks about each row alone.
--
-- Sound because writers follow each other: each commit locks the row of `cluster`, so nobody
-- takes away meanwhile what was seen to be there. What is rarely written keeps its foreign key.

ALTER TABLE apps DROP CONSTRAINT apps_target_fkey;
ALTER TABLE releases DROP CONSTRAINT releases_app_fkey;
ALTER TABLE rollouts DROP CONSTRAINT rollouts_app_fkey;
ALTER TABLE instances
    DROP CONSTRAINT instances_app_fkey,
    DROP CONSTRAINT instances_release_fkey;
-- Only the foreign keys looked things up in them. Without the first, moving an app to
-- another release changes no index.
DROP INDEX apps_target_idx;
DROP INDEX instances_release_idx;
-- Room for a second version of every row of a page, so that a plan of many apps moves none.
ALTER TABLE apps SET (fillfactor = 50);

-- Plans are kept, also those made while a table was empty: never by reading all of it.
CREATE FUNCTION app_is_there() RETURNS trigger LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    lost text;
BEGIN
    SELECT app INTO lost FROM new_rows
        WHERE NOT EXISTS (SELECT FROM apps WHERE apps.key = new_rows.app) LIMIT 1;
    IF FOUND THEN
        RAISE foreign_key_violation USING
            MESSAGE = format('%s: there is no app %s', TG_TABLE_NAME, lost),
            CONSTRAINT = TG_TABLE_NAME || '_app_fkey';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER releases_app AFTER INSERT ON releases REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION app_is_there();
CREATE TRIGGER rollouts_app AFTER INSERT ON rollouts REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION app_is_there();

-- An instance's release is one of its app, which is there then.
CREATE FUNCTION instance_has_release() RETURNS trigger LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    lost uuid;
BEGIN
    SELECT id INTO lost FROM new_rows
        WHERE NOT EXISTS (SELECT FROM releases
            WHERE releases.id = new_rows.release AND releases.app = new_rows.app) LIMIT 1;
    IF FOUND THEN
        RAISE foreign_key_violation USING
            MESSAGE = format('instances: the release of instance %s is not one of its app', lost),
            CONSTRAINT = 'instances_release_fkey';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER instances_release AFTER INSERT ON instances REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION instance_has_release();

CREATE FUNCTION target_is_there() RETURNS trigger LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    lost text;
BEGIN
    SELECT key INTO lost FROM new_rows
        WHERE target IS NOT NULL AND NOT EXISTS (SELECT FROM releases
            WHERE releases.id = new_rows.target AND releases.app = new_rows.key) LIMIT 1;
    IF FOUND THEN
        RAISE foreign_key_violation USING
            MESSAGE = format('apps: the target of %s is not one of its releases', lost),
            CONSTRAINT = 'apps_target_fkey';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER apps_target AFTER UPDATE ON apps REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION target_is_there();

-- What an app is at or moves to, and what an instance runs, is never forgotten before them.
-- At COMMIT: the last instance and its release may go together, in any order.
CREATE FUNCTION release_is_unused() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM releases WHERE id = OLD.id) THEN
        RETURN NULL;
    END IF;
    IF EXISTS (SELECT FROM apps WHERE key = OLD.app AND target = OLD.id) THEN
        RAISE foreign_key_violation USING
            MESSAGE = format('releases: app %s is at release %s', OLD.app, OLD.id),
            CONSTRAINT = 'apps_target_fkey';
    END IF;
    IF EXISTS (SELECT FROM instances WHERE app = OLD.app AND release = OLD.id) THEN
        RAISE foreign_key_violation USING
            MESSAGE = format('releases: instances of %s run release %s', OLD.app, OLD.id),
            CONSTRAINT = 'instances_release_fkey';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER releases_unused AFTER DELETE ON releases
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION release_is_unused();

-- All that belongs to an app goes with it.
CREATE FUNCTION all_of_app_goes() RETURNS trigger LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM instances USING gone WHERE instances.app = gone.key;
    DELETE FROM rollouts USING gone WHERE rollouts.app = gone.key;
    DELETE FROM releases USING gone WHERE releases.app = gone.key;
    RETURN NULL;
END $$;
CREATE TRIGGER apps_gone AFTER DELETE ON apps REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION all_of_app_goes();
