-- In a database that is not fed, a privilege on a table says nothing about the collection of that name in the ring.
SELECT changefeed.wait_for(pg_current_wal_insert_lsn(), '60s') AS streaming;
CREATE TABLE shared_name (id int PRIMARY KEY);
ALTER PUBLICATION changefeed ADD TABLE shared_name;
INSERT INTO shared_name VALUES (1);
SELECT changefeed.wait_for(pg_current_wal_insert_lsn()) AS caught_up;
SELECT current_database() AS fed_database \gset

\c postgres
CREATE EXTENSION pg_changefeed;
CREATE TABLE shared_name (id int PRIMARY KEY);
ALTER PUBLICATION changefeed ADD TABLE shared_name;
SELECT * FROM changefeed.changes('shared_name');
SELECT changefeed.wait_for('0/0');
SELECT * FROM changefeed.collections;
SELECT feed_state, database FROM changefeed.status();
DROP TABLE shared_name;
DROP PUBLICATION changefeed;
DROP EXTENSION pg_changefeed;

\c :fed_database
ALTER PUBLICATION changefeed DROP TABLE shared_name;
DROP TABLE shared_name;
