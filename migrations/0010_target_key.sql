-- The key of an app's target is checked where the target changes. The trigger of 0009 looked at
-- every app that a statement wrote: a commit that moves an app to another release, forgets the
-- one before and writes the app's row in between was refused, though it leaves all in order.
DROP TRIGGER apps_target ON apps;
DROP FUNCTION target_is_there();

CREATE FUNCTION target_is_there() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases WHERE id = NEW.target AND app = NEW.key) THEN
        RAISE foreign_key_violation USING
            MESSAGE = format('apps: the target of %s is not one of its releases', NEW.key),
            CONSTRAINT = 'apps_target_fkey';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER apps_target AFTER UPDATE OF target ON apps FOR EACH ROW
    WHEN (NEW.target IS DISTINCT FROM OLD.target AND NEW.target IS NOT NULL)
    EXECUTE FUNCTION target_is_there();
