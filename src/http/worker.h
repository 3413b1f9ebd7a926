/*
 * worker.h: what the parts of one worker process share. A worker is a single-threaded event loop: nothing
 * here is locked.
 */
#ifndef CHANGEFEED_HTTP_WORKER_H
#define CHANGEFEED_HTTP_WORKER_H

#include <h2o.h>

#include "core/reader.h"
#include "http/answer.h"
#include "http/conf/conf.h"
#include "http/fanout.h"
#include "http/hangup.h"
#include "http/limits.h"

/* A page that is large, or takes long to render, is rendered once for all requests of a turn. */
enum page_kind { PAGE_CONSOLE, PAGE_OVERVIEW, PAGE_METRICS, PAGE_COUNT };

struct page {
	struct answer *answer; /* NULL: nobody has asked */
	const void *of;        /* the host or path whose page it is; NULL: there is only one */
};

struct worker {
	/* set once at the start */
	struct ring *ring;
	struct ring_live *live;
	struct live_worker *figures; /* this worker's own */
	const char *publication;
	int refresh_fd; /* the feed's eventfd */
	struct conf *conf;
	h2o_context_t context;

	/* moving */
	int64_t now_ms; /* of a clock that only goes forward, set once per turn of the loop */
	struct reader_scratch scratch;
	struct buffer output; /* for what is rendered and sent at once */
	struct fanout fanout;
	struct hangup hangup;
	struct limits limits;
	int live_streams;               /* streams that follow their audience */
	int live_awaited;               /* those of them with a send under way that may still end soon */
	h2o_linklist_t news_streams;    /* live ones that can be sent something new */
	h2o_linklist_t ready_streams;   /* that have to look for what is next */
	h2o_linklist_t seeking_streams; /* their start has not been streamed yet */
	h2o_linklist_t ready_polls;
	h2o_linklist_t waiting_polls;
	h2o_linklist_t seeking_polls; /* those of them whose start has not been streamed yet */
	h2o_linklist_t responses;     /* that are being sent, see stall.h */
	size_t batch_bytes;           /* in the batches of polls, and in answers that are copied for a client */
	struct answers answers;       /* of polls */
	struct page pages[PAGE_COUNT];
	h2o_linklist_t deferred;       /* requests that wait for the feed to look at the catalog and the WAL */
	uint64_t refresh_seen;         /* live->refresh_done when deferred requests were last looked at */
	h2o_linklist_t ready_requests; /* for which there was no time left in their turn */
	uint64_t gaps_walked;          /* scratch.gaps.walked when those were last looked at */
	bool draining;                 /* no new connections; ends with the last one */
	bool stopping;
};

static inline struct worker *worker_of(h2o_req_t *req)
{
	return H2O_STRUCT_FROM_MEMBER(struct worker, context, req->conn->ctx);
}

#endif
