-- What CREATE EXTENSION makes, and what stays when it is dropped.
DROP EXTENSION pg_changefeed;
SELECT nspname FROM pg_namespace WHERE nspname = 'changefeed';
SELECT pubname, puballtables FROM pg_publication;
CREATE EXTENSION pg_changefeed;
SELECT pubname, puballtables FROM pg_publication;
SELECT pg_describe_object(classid, objid, 0) AS object
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid <> 'pg_type'::regclass
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_changefeed')
ORDER BY 1;

-- each of them says what it is
SELECT pg_describe_object(classid, objid, 0) AS without_comment
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid <> 'pg_type'::regclass
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_changefeed') AND obj_description(objid, classid::regclass::name) IS NULL;

SELECT proname, r.rolname, has_function_privilege(r.rolname, p.oid, 'EXECUTE') AS may_execute
FROM pg_proc p, (VALUES ('public'), ('pg_monitor')) r (rolname)
WHERE p.pronamespace = 'changefeed'::regnamespace
ORDER BY 1, 2;

-- nobody else's schema is taken
DROP EXTENSION pg_changefeed;
-- from 18 on with the place in the extension's script
\set SHOW_CONTEXT never
CREATE SCHEMA changefeed;
CREATE EXTENSION pg_changefeed;
DROP SCHEMA changefeed;
CREATE EXTENSION pg_changefeed;
