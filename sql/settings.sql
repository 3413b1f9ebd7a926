-- The settings, their defaults, and who may change and see them.
SELECT name, boot_val, unit, context
FROM pg_settings
WHERE name LIKE 'changefeed.%' AND name <> 'changefeed.config_file'
ORDER BY name COLLATE "C";
SELECT boot_val LIKE '%/pg_changefeed/h2o.conf' AS installed FROM pg_settings WHERE name = 'changefeed.config_file';

SET changefeed.enabled = off;
SET changefeed.ring_size = '1MB';

CREATE ROLE regress_reader;
SET ROLE regress_reader;
SHOW changefeed.slot;
\set VERBOSITY sqlstate
SHOW changefeed.conninfo;
SHOW changefeed.ring_file;
\set VERBOSITY default
RESET ROLE;
DROP ROLE regress_reader;
