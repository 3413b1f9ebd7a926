-- Who may read the retained changes, and what is said to whom may not.
SELECT changefeed.wait_for(pg_current_wal_insert_lsn(), '60s') AS streaming;
CREATE ROLE regress_reader;
CREATE ROLE regress_stranger;
CREATE ROLE regress_bypass BYPASSRLS;
CREATE ROLE regress_monitor;
GRANT pg_monitor TO regress_monitor;
CREATE TABLE open_table (id int PRIMARY KEY);
CREATE TABLE policed_table (id int PRIMARY KEY);
CREATE TABLE unpublished_table (id int PRIMARY KEY);
GRANT SELECT ON open_table, policed_table, unpublished_table TO regress_reader, regress_bypass;
ALTER TABLE policed_table ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON policed_table USING (id = 1);
ALTER PUBLICATION changefeed ADD TABLE open_table, policed_table;
CREATE SCHEMA closed_schema;
CREATE TABLE closed_schema.hidden_table (id int PRIMARY KEY);
GRANT SELECT ON closed_schema.hidden_table TO PUBLIC;
ALTER PUBLICATION changefeed ADD TABLE closed_schema.hidden_table;
INSERT INTO open_table VALUES (1);
INSERT INTO policed_table VALUES (2);
INSERT INTO closed_schema.hidden_table VALUES (3);
SELECT changefeed.wait_for(pg_current_wal_insert_lsn()) AS caught_up;

SET ROLE regress_reader;
SELECT document_id FROM changefeed.changes('open_table');
SELECT document_id FROM changefeed.changes('policed_table');
SELECT document_id FROM changefeed.changes('open_table,policed_table');
SELECT document_id FROM changefeed.changes('closed_schema.hidden_table');
SELECT document_id FROM changefeed.changes('*');
SET row_security = off;
SELECT document_id FROM changefeed.changes('policed_table');
RESET row_security;
SELECT changefeed.wait_for('0/0');
SELECT published FROM changefeed.collections WHERE name = 'open_table';
SELECT feed_state FROM changefeed.status();

SET ROLE regress_bypass;
SELECT document_id FROM changefeed.changes('policed_table');
RESET ROLE;
GRANT USAGE ON SCHEMA closed_schema TO regress_bypass;
SET ROLE regress_bypass;
SELECT document_id FROM changefeed.changes('closed_schema.hidden_table');
SELECT document_id FROM changefeed.changes('*');
SET ROLE regress_stranger;
SELECT document_id FROM changefeed.changes('open_table');
SET ROLE regress_monitor;
SELECT feed_state FROM changefeed.status();
RESET ROLE;

-- not published, not there, not a name
SELECT * FROM changefeed.changes('unpublished_table');
SELECT * FROM changefeed.changes('No Such "Table"');
SELECT * FROM changefeed.changes('nowhere.open_table');
SELECT * FROM changefeed.changes('');
SELECT * FROM changefeed.changes('open_table,');
SELECT * FROM changefeed.changes('open_table', max_changes => -1);
SELECT * FROM changefeed.changes('open_table', since_n => -1);
SELECT * FROM changefeed.changes(NULL);

-- what a search_path says about names and operators does not matter
CREATE SCHEMA decoy;
CREATE TABLE decoy.policed_table (id int PRIMARY KEY);
CREATE FUNCTION decoy.always(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR decoy.= (LEFTARG = name, RIGHTARG = name, FUNCTION = decoy.always);
GRANT USAGE ON SCHEMA decoy TO regress_reader;
GRANT SELECT ON decoy.policed_table TO regress_reader;
SET ROLE regress_reader;
SET search_path = decoy, pg_catalog;
SELECT document_id FROM changefeed.changes('policed_table');
SELECT document_id FROM changefeed.changes('decoy.policed_table');
RESET search_path;
RESET ROLE;

-- a table that was dropped is no longer published
DROP TABLE open_table;
SELECT * FROM changefeed.changes('open_table');

DROP SCHEMA decoy CASCADE;
DROP TABLE policed_table, unpublished_table, closed_schema.hidden_table;
DROP SCHEMA closed_schema;
DROP ROLE regress_reader, regress_stranger, regress_bypass, regress_monitor;
