// node_bridge.js: how a bridge from PostgreSQL to Server-Sent Events is usually written: Node's http server and the
// npm library pg-logical-replication (installed beside this file by scripts/bench).
//
// In: PORT, SLOT, PUBLICATION and libpq's PG* variables. Out: every change as an event, to every client. The slot is
// read from the first client on, when WAIT_FOR_CLIENT is set.
'use strict';

const http = require('http');
const { LogicalReplicationService, PgoutputPlugin } = require('pg-logical-replication');

const clients = new Set();
const replication = new LogicalReplicationService(
	{ host: process.env.PGHOST, port: process.env.PGPORT, user: process.env.PGUSER, database: process.env.PGDATABASE },
	{ acknowledge: { auto: true, timeoutSeconds: 10 } },
);

function subscribe() {
	const plugin = new PgoutputPlugin({ protoVersion: 1, publicationNames: [process.env.PUBLICATION] });
	replication.subscribe(plugin, process.env.SLOT).catch((error) => {
		console.error(error);
		process.exit(1);
	});
}

let commit;
replication.on('error', (error) => console.error(error));
replication.on('data', (lsn, message) => {
	if (message.tag === 'begin') commit = message.commitLsn;
	if (message.tag !== 'insert' && message.tag !== 'update' && message.tag !== 'delete') return;
	const data = JSON.stringify({
		collection: message.relation.name,
		operation: message.tag.toUpperCase(),
		lsn: commit,
		new: message.new,
		old: message.old || undefined,
	}, (key, value) => (typeof value === 'bigint' ? Number(value) : value));
	const frame = `id: ${lsn}\nevent: ${message.tag}\ndata: ${data}\n\n`;
	for (const client of clients) client.write(frame);
});

http.createServer((request, response) => {
	response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
	response.write('retry: 1000\n\n');
	clients.add(response);
	response.on('close', () => clients.delete(response));
	if (process.env.WAIT_FOR_CLIENT && clients.size === 1) subscribe();
}).listen({ port: Number(process.env.PORT), host: '127.0.0.1', backlog: 4096 }, () => {
	if (!process.env.WAIT_FOR_CLIENT) subscribe();
	console.log('ready');
});
