/*
 * selection.h: a subscription's names, looked up in the ring.
 *
 * Data in: a subscription and the ring's table of collections. Data out: the numbers of its collections,
 * sorted, each once; the filter for the ring's readers; and a key that tells which subscriptions can share
 * what is rendered.
 *
 * A name is looked up exactly as it was given, then in lower case (ASCII only, as PostgreSQL folds
 * identifiers in UTF-8), schema and table together.
 */
#ifndef CHANGEFEED_CORE_REQUEST_SELECTION_H
#define CHANGEFEED_CORE_REQUEST_SELECTION_H

#include "core/request/problem.h"
#include "core/request/subscription.h"
#include "core/ring/ring.h"

struct selection {
	bool all;
	bool folded; /* a name was only found in lower case: one as given may be new to the ring */
	unsigned count;
	uint32_t collections[SUBSCRIPTION_NAMES_MAX]; /* sorted */
};

/*
 * Returns false, *ret_selection untouched, if a name is not published; *ret_problem is then a 404 with the
 * statement that publishes it. Does not block.
 */
bool selection_resolve(const struct subscription *subscription, const struct ring *ring,
					   struct bytes publication, struct selection *ret_selection,
					   struct problem *ret_problem);

/* The filter of a subscription; it points into the selection. */
struct filter selection_filter(const struct selection *selection, const struct subscription *subscription);

/*
 * Appends a key of binary bytes. Two subscriptions with equal keys get the same changes, and the same bytes
 * for each: delivery, collections, operations, view (order and repetition of columns do not matter), tenant.
 */
void selection_key(const struct selection *selection, const struct subscription *subscription,
				   struct buffer *out);

#endif
