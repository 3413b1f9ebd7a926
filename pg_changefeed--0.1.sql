/*
 * pg_changefeed--0.1.sql: the SQL side, in schema changefeed.
 *
 * The schema, the functions and the view belong to the extension and go with DROP EXTENSION. Two things do not, because
 * PostgreSQL has no such dependency, and dropping them is a decision of its own:
 *
 *   the publication   ordinary and yours: \dRp shows it, pg_dump keeps it
 *   the slot          holds back WAL as long as nobody reads it. To be rid of pg_changefeed altogether:
 *                         ALTER SYSTEM SET changefeed.enabled = off;  SELECT pg_reload_conf();
 *                         SELECT pg_drop_replication_slot('changefeed');   -- as soon as its active is false
 *                         DROP PUBLICATION changefeed;  DROP EXTENSION pg_changefeed;
 *                     and then take it out of shared_preload_libraries, restart, and
 *                         ALTER SYSTEM RESET changefeed.enabled;
 *                     The ring is left in the directory pg_changefeed of the data directory.
 */
\echo Use "CREATE EXTENSION pg_changefeed" to load this file. \quit

/* Not IF NOT EXISTS: in a schema that somebody else made, he could put things of his own under our names. */
CREATE SCHEMA changefeed;
GRANT USAGE ON SCHEMA changefeed TO PUBLIC;

/*
 * The publication comes before the slot, which the program makes: a slot that is older than its publication cannot
 * read the WAL in between (up to PostgreSQL 17 it fails for good). It is empty: UPDATE and DELETE fail on a published
 * table without a primary key or another replica identity, so nothing is published that nobody asked for. A partitioned
 * table is one collection, whatever its partitions are.
 *
 * While a dump is being restored, which is when row_security is off, it is left to the dump: that has the publication
 * further down, and its CREATE PUBLICATION would fail.
 */
DO $$
BEGIN
	IF current_setting('row_security') = 'off' THEN
		RETURN;
	END IF;
	EXECUTE format('CREATE PUBLICATION %I WITH (publish_via_partition_root)',
		coalesce(current_setting('changefeed.publication', true), 'changefeed'));
EXCEPTION
	WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

/*
 * The retained changes of one or more collections, oldest first.
 *
 *   collection    `table`, `schema.table` (without a schema: public), several separated by commas, or `*` for all
 *   since         every change of transactions that end after this LSN; 0/0: all that are retained
 *   max_changes   the most rows to return
 *   since_n       with the n of a row, and its lsn as `since`: every change after that one. It is how to go on inside of
 *                 a transaction that has more than max_changes changes
 *
 * NULL is as good as the default, so that a cursor that was never stored begins with the oldest; of collection it is
 * an ERROR.
 *
 * The caller needs USAGE on the schema and SELECT on the table, and row-level security must not apply to him. What is
 * retained is found by name: who may read the table that has it now, may read what an earlier table of that name left.
 * If changes after `since` are no longer retained a WARNING says how many. A change is here a moment after its commit:
 * see wait_for().
 */
CREATE FUNCTION changefeed.changes(
	collection text,
	since pg_lsn DEFAULT '0/0',
	max_changes integer DEFAULT 100,
	since_n bigint DEFAULT 0,
	OUT id text,
	OUT lsn pg_lsn,
	OUT n bigint,
	OUT collection text,
	OUT operation text,
	OUT document_id text,
	OUT committed_at timestamptz,
	OUT xid bigint,
	OUT new jsonb,
	OUT old jsonb
)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'changefeed_changes'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;

/*
 * Waits until everything that ends at or before `lsn` is in the ring, and returns true; false after `timeout`. With
 * pg_current_wal_insert_lsn(): until everything that is committed now can be read by changes(), and is on its way to
 * HTTP clients. It flushes the WAL up to `lsn`, because only flushed WAL is streamed.
 */
CREATE FUNCTION changefeed.wait_for(lsn pg_lsn, timeout interval DEFAULT '10s')
RETURNS boolean
AS 'MODULE_PATHNAME', 'changefeed_wait_for'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

/*
 * One row: what the feed does, how far it is, what the ring holds, who is connected. It is there also while nothing
 * runs: feed_state is then 'not running', and message says what to do. For members of pg_monitor.
 */
CREATE FUNCTION changefeed.status(
	OUT feed_state text,            -- not running, stopped, connecting, preparing, streaming, retrying
	OUT message text,
	OUT since timestamptz,          -- of feed_state
	OUT database text,
	OUT slot text,
	OUT publication text,
	OUT streamed_lsn pg_lsn,        -- all that ends at or before it is in the ring,
	OUT durable_lsn pg_lsn,         -- on disk,
	OUT confirmed_lsn pg_lsn,       -- confirmed to the slot
	OUT lag_bytes bigint,           -- from streamed_lsn to the end of this server's WAL,
	OUT slot_lag_bytes bigint,      -- from confirmed_lsn: what the slot keeps, at least
	OUT last_commit_at timestamptz, -- of the newest change in the ring
	OUT history bigint,             -- a number of the history: another one when one begins, or the ring has another size
	OUT oldest_id text,             -- the cursor of the oldest retained change
	OUT tail_position bigint,       -- the ring holds the bytes from tail to head of the history
	OUT head_position bigint,
	OUT retained_bytes bigint,
	OUT capacity_bytes bigint,
	OUT changes_total bigint,       -- totals count from when the ring's file was made, also through restarts
	OUT transactions_total bigint,
	OUT received_bytes_total bigint,
	OUT reconnects_total bigint,
	OUT feed_deaths_total bigint,
	OUT worker_deaths_total bigint,
	OUT workers integer,
	OUT connections bigint,
	OUT streams bigint,
	OUT polls_waiting bigint,
	OUT requests_total bigint,
	OUT errors_total bigint,
	OUT events_total bigint,        -- changes handed to HTTP clients
	OUT sent_bytes_total bigint,
	OUT gaps_total bigint,
	OUT lagged_events_total bigint,
	OUT reaped_total bigint,        -- stalled clients that were shut down
	OUT config_message text,        -- why the last h2o.conf was not taken
	OUT reloads_total bigint,
	OUT started_at timestamptz,
	OUT master_pid integer,
	OUT feed_pid integer
)
RETURNS record
AS 'MODULE_PATHNAME', 'changefeed_status'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

REVOKE ALL ON FUNCTION changefeed.status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION changefeed.status() TO pg_monitor;

/* The collections that the ring knows, also those that are no longer published. */
CREATE FUNCTION changefeed.ring_collections(
	OUT schema text,
	OUT name text,
	OUT published boolean, -- the feed has seen that it is
	OUT changes bigint
)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'changefeed_ring_collections'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 100;

/*
 * What is published, and what was while the ring was filled. No secret: pg_publication_tables shows the same to all.
 * Where replica_identity is 'nothing', PostgreSQL refuses UPDATE and DELETE on the table as long as it is published. A
 * primary key that is DEFERRABLE does not count, nor an index that was dropped.
 */
CREATE VIEW changefeed.collections AS
SELECT
	coalesce(p.schemaname::text, r.schema) AS schema,
	coalesce(p.tablename::text, r.name) AS name,
	p.tablename IS NOT NULL AS published,
	CASE
		WHEN c.relreplident = 'f' THEN 'full'
		WHEN c.relreplident = 'i' AND k.indexrelid IS NOT NULL THEN 'index'
		WHEN c.relreplident = 'd' AND k.indexrelid IS NOT NULL THEN 'primary key'
		WHEN c.relreplident IS NOT NULL THEN 'nothing'
	END AS replica_identity,
	coalesce(r.changes, 0) AS changes
FROM
	(
		SELECT schemaname, tablename
		FROM pg_catalog.pg_publication_tables
		WHERE pubname = coalesce(current_setting('changefeed.publication', true), 'changefeed')
	) p
	FULL JOIN changefeed.ring_collections() r ON r.schema = p.schemaname::text AND r.name = p.tablename::text
	LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = coalesce(p.schemaname::text, r.schema)
	LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = coalesce(p.tablename::text, r.name)
	LEFT JOIN pg_catalog.pg_index k
		ON k.indrelid = c.oid AND k.indisvalid AND k.indimmediate
		AND CASE c.relreplident WHEN 'd' THEN k.indisprimary WHEN 'i' THEN k.indisreplident END
ORDER BY 1, 2;

GRANT SELECT ON changefeed.collections TO PUBLIC;

COMMENT ON SCHEMA changefeed IS 'committed changes of published tables, as pg_changefeed serves them over HTTP';
COMMENT ON FUNCTION changefeed.changes IS 'the retained changes of collections as rows, oldest first';
COMMENT ON FUNCTION changefeed.wait_for IS 'true once everything that ends at or before the LSN is retained; false after the timeout';
COMMENT ON FUNCTION changefeed.status IS 'one row: what the feed does and how far it is, what is retained, who is connected';
COMMENT ON FUNCTION changefeed.ring_collections IS 'what the view changefeed.collections is made of';
COMMENT ON VIEW changefeed.collections IS 'what is published, and what was while the retained changes were made';
