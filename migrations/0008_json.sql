-- What is only kept and read back as it was: as text it is written twice as fast.
ALTER TABLE apps ALTER COLUMN declared_spec TYPE json USING declared_spec::text::json;
ALTER TABLE releases ALTER COLUMN spec TYPE json USING spec::text::json;
ALTER TABLE rollouts ALTER COLUMN prepare TYPE json USING prepare::text::json;
ALTER TABLE instances
    ALTER COLUMN host_ports TYPE json USING host_ports::text::json,
    ALTER COLUMN volumes TYPE json USING volumes::text::json,
    ALTER COLUMN status TYPE json USING status::text::json;
