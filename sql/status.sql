-- changefeed.status() and changefeed.wait_for().
SELECT changefeed.wait_for(pg_current_wal_insert_lsn(), '60s') AS streaming;
CREATE TABLE counted (id int PRIMARY KEY);
ALTER PUBLICATION changefeed ADD TABLE counted;
SELECT changes_total AS changes_before, transactions_total AS transactions_before FROM changefeed.status() \gset
INSERT INTO counted SELECT generate_series(1, 100);
SELECT changefeed.wait_for(pg_current_wal_insert_lsn()) AS caught_up;

SELECT
	feed_state, database, slot, publication, config_message,
	since <= now() AS since,
	started_at <= since AS started_first,
	streamed_lsn >= durable_lsn AS durable_is_streamed,
	durable_lsn >= confirmed_lsn AS confirmed_is_durable,
	lag_bytes >= 0 AS lag,
	slot_lag_bytes >= 0 AS slot_lag,
	last_commit_at <= clock_timestamp() AS last_commit,
	head_position - tail_position = retained_bytes AS retained,
	capacity_bytes,
	changes_total - :changes_before AS changes,
	transactions_total - :transactions_before AS transactions,
	workers, connections, streams, polls_waiting,
	feed_deaths_total, worker_deaths_total
FROM changefeed.status();
SELECT l.plugin, l.active, pg_wal_lsn_diff(s.streamed_lsn, l.confirmed_flush_lsn) >= 0 AS confirmed_is_streamed
FROM changefeed.status() s JOIN pg_replication_slots l ON l.slot_name = s.slot AND l.database = s.database;

-- in the past at once, beyond the end of the WAL not at all
SELECT changefeed.wait_for('0/0', '0');
SELECT changefeed.wait_for('FFFFFFFF/FFFFFFFF', '50ms');
SELECT changefeed.wait_for(NULL);

-- what nobody would have flushed for long
BEGIN;
SET LOCAL synchronous_commit = off;
INSERT INTO counted VALUES (101);
COMMIT;
BEGIN TRANSACTION READ ONLY;
SELECT changefeed.wait_for(pg_current_wal_insert_lsn());
COMMIT;
SELECT document_id FROM changefeed.changes('counted', max_changes => 1000) ORDER BY lsn DESC LIMIT 1;

-- at the start of a page the insert position is behind the page's header, which no record ends in
SELECT pg_switch_wal() IS NOT NULL AS switched;
SELECT changefeed.wait_for(pg_current_wal_insert_lsn());

ALTER PUBLICATION changefeed DROP TABLE counted;
DROP TABLE counted;
