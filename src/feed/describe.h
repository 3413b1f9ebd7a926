/*
 * describe.h: what only the catalog knows about a relation of the stream: types that are not built in, the
 * primary key, and whether partitions have another replica identity.
 *
 * Data in: a relation from relation_cache_put(), the catalog's connection. Data out: the relation, complete.
 *
 * The catalog shows the present; the stream may be behind it, or a moment ahead, because a transaction is
 * streamed before other sessions see it. So before the first look-up for a transaction the feed waits briefly
 * until it is visible. It may stay invisible for long, while it waits for a synchronous standby: then what is
 * found is used for that transaction only, and what is not found is a failure. Otherwise a type that is not
 * found has been dropped since, and its values are text.
 */
#ifndef CHANGEFEED_FEED_DESCRIBE_H
#define CHANGEFEED_FEED_DESCRIBE_H

#include "feed/catalog.h"
#include "feed/relation.h"

/*
 * Waits until others see a committed transaction, 0.2 s at most, and says whether they do. To be called once
 * for all of its tables, because the feed stands still meanwhile. Returns false if the catalog is out of
 * reach.
 */
bool visibility_await(struct catalog *catalog, uint32_t xid, bool *ret_visible, struct failure *failure);

/*
 * Asks for the key, types that are not built in, and partitions, and calls relation_complete(). The stream is
 * in a transaction that was committed at `commit_us`; `unsettled_xid` is its xid if others do not see it yet,
 * else 0. Blocks for the queries, mostly well below a millisecond each. Returns false if the catalog is out of
 * reach: then the relation must not be used.
 */
bool describe_relation(struct relation *relation, struct catalog *catalog, uint32_t unsettled_xid,
					   int64_t commit_us, struct failure *failure);

#endif
