-- Rows are what to_jsonb() gives, whatever the type.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET bytea_output = 'hex';
SET extra_float_digits = 1;
SELECT changefeed.wait_for(pg_current_wal_insert_lsn(), '60s') AS streaming;

CREATE TYPE mood AS ENUM ('sad', 'happy, very');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN words AS text[];
CREATE TYPE point3 AS (x int, "y z" numeric, label text);
CREATE TYPE nested AS (p point3, tags text[], at timestamp);
CREATE TABLE types (
	id int PRIMARY KEY,
	c_bool bool, c_int2 int2, c_int8 int8, c_numeric numeric, c_numeric_scale numeric(10, 4), c_float4 float4, c_float8 float8,
	c_text text, c_varchar varchar(20), c_char char(6), c_name name, c_quoted_char "char", c_bytea bytea, c_money money,
	c_date date, c_time time, c_timetz timetz, c_timestamp timestamp, c_timestamptz timestamptz, c_interval interval,
	c_uuid uuid, c_json json, c_jsonb jsonb, c_inet inet, c_cidr cidr, c_macaddr macaddr, c_bit bit(4), c_varbit varbit,
	c_point point, c_box box, c_box_array box[], c_tsvector tsvector, c_int4range int4range, c_tstzrange tstzrange, c_nummultirange nummultirange,
	c_oid oid, c_regclass regclass, c_pg_lsn pg_lsn,
	c_enum mood, c_domain positive, c_domain_array words, c_composite point3, c_nested nested,
	c_int_array int[], c_matrix int[], c_bounds int[], c_text_array text[], c_jsonb_array jsonb[], c_date_array date[],
	c_enum_array mood[], c_composite_array point3[], c_domain_element positive[], c_bool_array bool[], c_empty_array int[],
	"Column, with ""quotes"" and \" text
);
ALTER PUBLICATION changefeed ADD TABLE types;
SELECT pg_current_wal_insert_lsn() AS start \gset

INSERT INTO types VALUES (
	1,
	true, -32768, 9223372036854775807, 12345678901234567890.123456789000, 1.5, 1.1, 0.1,
	E'a "b" \\ \t\r\n \u0001 é漢🙂', 'varchar', 'char', 'name', 'c', '\x00ff10', 12.34,
	'2024-02-29', '12:34:56.789', '12:34:56+02', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789+02', '1 year 2 mons -3 days 04:05:06.7',
	'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"b": [1, 2.50, "x"], "a" : null}', '{"b": [1, 2.50, "x"], "a": null}',
	'192.168.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', B'1010', B'101',
	'(1.5,-2)', '(3,4),(1,2)', '{(3,4),(1,2);(7,8),(5,6)}', 'a:1 fat:2', '[1,10)', '["2024-01-01 00:00:00+00",)', '{[1.5,2],(3,)}',
	4294967295, 'pg_class', '16/B374D848',
	'happy, very', 5, '{a,"b,c"}', '(1,2.50,"a, ""b""")', '("(1,,)","{x,""y z""}","2024-02-29 12:00:00")',
	'{1,NULL,3}', '{{1,2},{3,4}}', '[0:1]={7,8}', '{"",NULL,"NULL","a\"b",c d}', '{"{\"a\": [1, 2]}","null"}', '{2024-01-01,infinity}',
	'{sad,"happy, very"}', '{"(1,2,x)",NULL}', '{1,2}', '{t,f,NULL}', '{}',
	'quoted'
), (
	2,
	false, 0, -9223372036854775808, 'NaN', -0.0001, 'NaN', 'Infinity',
	'', '', '', '', '', '', -0.01,
	'infinity', '24:00:00', '00:00:00-15:59', '-infinity', 'infinity', '-1 days +00:00:01',
	'00000000-0000-0000-0000-000000000000', '  "a\/\u00e9" ', '"text"',
	'::1', '::/0', '00:00:00:00:00:00', B'0000', B'',
	'(Infinity,1e300)', '(0,0),(0,0)', '{}', '', 'empty', '(,)', '{}',
	0, '-', '0/0',
	'sad', 1, '{}', '(,,)', '(,,)',
	'{{{1}}}', '{}', '[-3:-2]={1,2}', '{é}', '{}', '{-infinity}',
	'{}', '{}', NULL, '{}', NULL,
	''
), (
	3,
	NULL, 32767, 0, 1e40, 0, 1e-30, 5e-324,
	repeat('x', 10000), NULL, NULL, NULL, NULL, decode(repeat('ab', 5000), 'hex'), NULL,
	'0044-03-15 BC', NULL, NULL, '0044-03-15 12:00:00 BC', '12024-01-01 00:00:00+00', NULL,
	NULL, 'null', 'null', NULL, NULL, NULL, NULL, NULL,
	NULL, NULL, NULL, NULL, NULL, NULL, NULL,
	NULL, NULL, NULL,
	NULL, NULL, NULL, NULL, NULL,
	NULL, NULL, NULL, NULL, NULL, NULL,
	NULL, NULL, NULL, NULL, NULL,
	NULL
);
INSERT INTO types (id) VALUES (4);
SELECT changefeed.wait_for(pg_current_wal_insert_lsn()) AS caught_up;

-- the columns that differ: none
SELECT t.id, column_name, wanted.value AS wanted, got.value AS got
FROM
	types t
	JOIN changefeed.changes('types', :'start') c ON c.document_id = t.id::text
	CROSS JOIN LATERAL (SELECT jsonb_object_keys(to_jsonb(t)) UNION SELECT jsonb_object_keys(c.new)) k (column_name)
	CROSS JOIN LATERAL (SELECT to_jsonb(t) -> column_name) wanted (value)
	CROSS JOIN LATERAL (SELECT c.new -> column_name) got (value)
WHERE wanted.value::text IS DISTINCT FROM got.value::text;
SELECT c.document_id, c.new::text = to_jsonb(t)::text AS same
FROM types t JOIN changefeed.changes('types', :'start') c ON c.document_id = t.id::text
ORDER BY 1;

-- an unchanged TOAST value is filled in from the old row where the replica identity has it
ALTER TABLE types ALTER c_text SET STORAGE EXTERNAL;
ALTER TABLE types REPLICA IDENTITY FULL;
SELECT pg_current_wal_insert_lsn() AS start \gset
UPDATE types SET c_int2 = 1 WHERE id = 3;
SELECT changefeed.wait_for(pg_current_wal_insert_lsn()) AS caught_up;
SELECT
	c.operation,
	c.new::text = to_jsonb(t)::text AS same_new,
	c.old::text = (to_jsonb(t) || '{"c_int2": 32767}')::text AS same_old
FROM types t JOIN changefeed.changes('types', :'start') c ON c.document_id = t.id::text;

-- json may hold what jsonb refuses: such a value is a string of its text, and nothing stops there
CREATE TABLE odd_json (id int PRIMARY KEY, doc json, list json[], good json);
ALTER PUBLICATION changefeed ADD TABLE odd_json;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO odd_json VALUES
	(1, '{"a":"\u0000"}', ARRAY['"\ud800"', '{"b": 1}']::json[], '{"c": [2]}'), (2, '1e1000000', NULL, NULL), (3, '{"a": 1}', '{}', NULL),
	(4, (repeat('[', 1000) || repeat(']', 1000))::json, NULL, '[]');
SELECT changefeed.wait_for(pg_current_wal_insert_lsn()) AS caught_up;
SELECT new FROM changefeed.changes('odd_json', :'start', 3);
SET max_stack_depth = '100kB';
SELECT document_id, jsonb_typeof(new -> 'doc') AS doc, new -> 'good' AS good FROM changefeed.changes('odd_json', :'start') WHERE document_id = '4';
RESET max_stack_depth;

ALTER PUBLICATION changefeed DROP TABLE types, odd_json;
DROP TABLE types, odd_json;
DROP TYPE nested, point3, words, positive, mood;
