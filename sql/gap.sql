-- What the ring no longer holds is said, never hidden. The server of this test has a ring of 16 MB.
SELECT changefeed.wait_for(pg_current_wal_insert_lsn(), '60s') AS streaming;
CREATE TABLE many (id int PRIMARY KEY, filling text);
CREATE TABLE few (id int PRIMARY KEY);
ALTER PUBLICATION changefeed ADD TABLE many, few;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO many SELECT id, repeat('x', 1000) FROM generate_series(1, 24000) id;
INSERT INTO few VALUES (1);
SELECT changefeed.wait_for(pg_current_wal_insert_lsn(), '60s') AS caught_up;

-- the warning has the number of changes that are gone, which depends on the size of records
\set VERBOSITY sqlstate
SELECT
	count(*) BETWEEN 1 AND 20000 AS some_are_gone,
	max(document_id::int) AS last,
	max(document_id::int) - min(document_id::int) + 1 = count(*) AS no_hole_after_the_gap
FROM changefeed.changes('many', :'start', 100000);

-- who asks for the oldest there is misses nothing, nor does who never wanted what is gone
SELECT count(*) AS oldest FROM changefeed.changes('many', '0/0', 1);
SELECT document_id FROM changefeed.changes('few', :'start');
SELECT tail_position > 0 AS evicted, retained_bytes <= capacity_bytes AS bounded FROM changefeed.status();

-- a change whose row is too large for the ring, here of more than 4 MB, comes without it, and a WARNING
CREATE TABLE large (id int PRIMARY KEY, filling text);
ALTER PUBLICATION changefeed ADD TABLE large;
INSERT INTO large VALUES (1, repeat('x', 5000000));
SELECT changefeed.wait_for(pg_current_wal_insert_lsn(), '60s') AS caught_up;
SELECT document_id, new IS NULL AS without_row FROM changefeed.changes('large');

ALTER PUBLICATION changefeed DROP TABLE many, few, large;
DROP TABLE many, few, large;
