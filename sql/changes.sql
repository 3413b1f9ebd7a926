-- changefeed.changes(): what was committed, in order, as rows.
SELECT changefeed.wait_for(pg_current_wal_insert_lsn(), '60s') AS streaming;
CREATE TABLE users (id text PRIMARY KEY, name text, tags text[]);
CREATE TABLE pairs (a int, b text, note text, PRIMARY KEY (b, a));
CREATE TABLE log (line text);
ALTER TABLE log REPLICA IDENTITY FULL;
CREATE SCHEMA other;
CREATE TABLE other."Users" (id int PRIMARY KEY);
ALTER PUBLICATION changefeed ADD TABLE users, pairs, log, other."Users";
SELECT pg_current_wal_insert_lsn() AS start \gset

-- a table that was just published has no changes, and is no error
SELECT * FROM changefeed.changes('users', :'start');

INSERT INTO users VALUES ('u1', 'Ann', '{a,"b c",NULL}'), ('u2', NULL, NULL);
BEGIN;
UPDATE users SET name = 'Anne' WHERE id = 'u1';
UPDATE users SET id = 'u3' WHERE id = 'u2';
INSERT INTO pairs VALUES (1, 'x', 'quote " back\slash' || chr(10) || 'line'), (2, 'y,z', 'é漢𠮷');
DELETE FROM users WHERE id = 'u1';
COMMIT;
BEGIN;
INSERT INTO users VALUES ('never');
ROLLBACK;
INSERT INTO log VALUES ('one');
UPDATE log SET line = 'two';
DELETE FROM log;
TRUNCATE users, pairs;
INSERT INTO other."Users" VALUES (7);
SELECT changefeed.wait_for(pg_current_wal_insert_lsn()) AS caught_up;

-- n counts over all collections of a transaction
SELECT dense_rank() OVER (ORDER BY lsn) AS transaction, n, collection, operation, document_id, new, old
FROM changefeed.changes('*', :'start') WITH ORDINALITY
ORDER BY ordinality;

-- ids are made of lsn and n, and increase
SELECT
	bool_and(id = (lsn - '0/0')::text || '-' || n) AS id_is_lsn_and_n,
	bool_and((lsn, n) > (previous_lsn, previous_n)) AS increasing,
	bool_and(lsn >= :'start') AS after_start,
	bool_and(committed_at BETWEEN now() - interval '10 minutes' AND clock_timestamp()) AS committed_just_now
FROM (
	SELECT *, lag(lsn) OVER (ORDER BY ordinality) AS previous_lsn, lag(n) OVER (ORDER BY ordinality) AS previous_n
	FROM changefeed.changes('*', :'start') WITH ORDINALITY
) c;

-- the transaction's own id
BEGIN;
INSERT INTO users VALUES ('u4');
SELECT pg_current_xact_id()::text::numeric % 4294967296 AS xid \gset
COMMIT;
SELECT changefeed.wait_for(pg_current_wal_insert_lsn()) AS caught_up;
SELECT xid = :xid AS same_xid FROM changefeed.changes('users', :'start') WHERE document_id = 'u4';

-- names: exactly, then in lower case; public unless said otherwise; several
SELECT collection, operation, document_id FROM changefeed.changes('USERS', :'start', 1);
SELECT collection, operation, document_id FROM changefeed.changes('Public.Users', :'start', 1);
SELECT collection, operation, document_id FROM changefeed.changes('other.Users', :'start', 1);
SELECT collection, count(*) FROM changefeed.changes('pairs,other.Users,pairs', :'start') GROUP BY collection ORDER BY collection;

-- no more than asked for, and on from there, inside of a transaction too
SELECT document_id FROM changefeed.changes('users', :'start', 0);
SELECT document_id, lsn AS last_lsn, n AS last_n FROM changefeed.changes('users', :'start', 1) \gset
SELECT :'document_id' AS first;
SELECT document_id AS second FROM changefeed.changes('users', :'last_lsn', 1, :last_n);
SELECT document_id AS whole_transaction FROM changefeed.changes('users', :'last_lsn', 2);
SELECT count(*) AS nothing_after_the_end FROM changefeed.changes('*', pg_current_wal_insert_lsn());

-- a cursor that was never stored begins with the oldest; NULL is as good as the default
SELECT count(*) > 0 AS oldest FROM changefeed.changes('users', (SELECT lsn FROM changefeed.changes('users', max_changes => 0)), NULL, NULL);

-- 0/0 is the oldest there is, whatever since_n says; what lies beyond the WAL is of another history, and said to be
SELECT count(*) > 0 AS oldest FROM changefeed.changes('users', '0/0', 100, 7);
SELECT count(*) > 0 AS oldest FROM changefeed.changes('users', 'FFFFFFFF/0');
SELECT count(*) > 0 AS oldest FROM changefeed.changes('users', 'FFFFFFFF/0', 100, 7);

SELECT schema, name, published, replica_identity, changes FROM changefeed.collections WHERE name IN ('users', 'Users', 'pairs', 'log');
ALTER PUBLICATION changefeed DROP TABLE users, pairs, log, other."Users";
SELECT schema, name, published FROM changefeed.collections WHERE name = 'users';
DROP TABLE users, pairs, log;
DROP SCHEMA other CASCADE;

-- how rows are identified, as PostgreSQL sees it
CREATE TABLE by_key (id int PRIMARY KEY);
CREATE TABLE by_deferrable_key (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE by_index (id int NOT NULL CONSTRAINT by_index_id UNIQUE);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_id;
CREATE TABLE by_lost_index (id int NOT NULL CONSTRAINT by_lost_index_id UNIQUE, other int PRIMARY KEY);
ALTER TABLE by_lost_index REPLICA IDENTITY USING INDEX by_lost_index_id;
ALTER TABLE by_lost_index DROP CONSTRAINT by_lost_index_id;
CREATE TABLE by_all (id int);
ALTER TABLE by_all REPLICA IDENTITY FULL;
CREATE TABLE by_nothing (id int);
ALTER PUBLICATION changefeed ADD TABLE by_key, by_deferrable_key, by_index, by_lost_index, by_all, by_nothing;
SELECT name, replica_identity FROM changefeed.collections WHERE name LIKE 'by\_%';
\set VERBOSITY terse
DELETE FROM by_key;
DELETE FROM by_deferrable_key;
DELETE FROM by_index;
DELETE FROM by_lost_index;
DELETE FROM by_all;
DELETE FROM by_nothing;
\set VERBOSITY default
DROP TABLE by_key, by_deferrable_key, by_index, by_lost_index, by_all, by_nothing;
