/*
 * list.h: libh2o's linked lists as they are used here: a loop over the items, and lines in which items wait for
 * their turn.
 */
#ifndef CHANGEFEED_HTTP_LIST_H
#define CHANGEFEED_HTTP_LIST_H

#include <h2o/linklist.h>
#include <h2o/memory.h>

/* The first item of a list that is not empty. */
#define LIST_FIRST(type, member, list) H2O_STRUCT_FROM_MEMBER(type, member, (list)->next)

/* Each item of a list. The body may take the item out of it, or free the item, but no other. */
#define LIST_EACH(type, member, item, list)                                                                  \
	for (type *item = LIST_FIRST(type, member, list),                                                        \
			  *next_##item = LIST_FIRST(type, member, &item->member);                                        \
		 &item->member != (list); item = next_##item, next_##item = LIST_FIRST(type, member, &item->member))

/* Takes an item out of the list that it is in, if any. */
static inline void list_leave(h2o_linklist_t *link)
{
	if (h2o_linklist_is_linked(link))
		h2o_linklist_unlink(link);
}

/* Takes the whole line as this turn's: whoever joins it meanwhile comes in the next turn. */
static inline void line_take(h2o_linklist_t *turn, h2o_linklist_t *line)
{
	h2o_linklist_init_anchor(turn);
	h2o_linklist_insert_list(turn, line);
}

/* Puts those back for whom there was no time, before all that have joined the line meanwhile. */
static inline void line_put_back(h2o_linklist_t *turn, h2o_linklist_t *line)
{
	h2o_linklist_insert_list(turn, line);
	h2o_linklist_insert_list(line, turn);
}

#endif
