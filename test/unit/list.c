/* list.c: the loop over libh2o's lists: each item once and in order, also if the body takes it away. */
#include "http/list.h"

#include "tap.h"

struct item {
	int number;
	h2o_linklist_t link;
};

static h2o_linklist_t list;

static void fill(struct item *items, int count)
{
	h2o_linklist_init_anchor(&list);
	for (int i = 0; i < count; i++) {
		items[i] = (struct item){.number = i + 1};
		h2o_linklist_insert(&list, &items[i].link);
	}
}

/* The numbers of the items as digits. */
static int digits(void)
{
	int seen = 0;
	LIST_EACH (struct item, link, item, &list)
		seen = 10 * seen + item->number;
	return seen;
}

static void test_each(void)
{
	struct item items[4];

	fill(items, 0);
	is_u64(digits(), 0, "an empty list has no item");
	fill(items, 4);
	is_u64(digits(), 1234, "each item, in order");
	LIST_EACH (struct item, link, item, &list) {
		if (item->number % 2 == 1)
			h2o_linklist_unlink(&item->link);
	}
	is_u64(digits(), 24, "the body may take an item out");
	list_leave(&items[0].link);
	list_leave(&items[1].link);
	is_u64(digits(), 4, "one that is in no list can leave it");
}

static void test_free(void)
{
	int freed = 0;

	h2o_linklist_init_anchor(&list);
	for (int i = 0; i < 3; i++) {
		struct item *item = calloc(1, sizeof(*item));
		h2o_linklist_insert(&list, &item->link);
	}
	LIST_EACH (struct item, link, item, &list) {
		h2o_linklist_unlink(&item->link);
		free(item);
		freed++;
	}
	is_u64(freed, 3, "or free it");
	ok(h2o_linklist_is_empty(&list), "nothing is left");
}

static void test_lines(void)
{
	struct item items[3];
	h2o_linklist_t turn;

	fill(items, 2);
	line_take(&turn, &list);
	ok(h2o_linklist_is_empty(&list), "a line is taken as it is");
	items[2] = (struct item){.number = 3};
	h2o_linklist_insert(&list, &items[2].link);
	h2o_linklist_unlink(&items[0].link);
	line_put_back(&turn, &list);
	is_u64(digits(), 23, "who was left over is before who joined meanwhile");
}

int main(void)
{
	test_each();
	test_free();
	test_lines();
	return tap_end();
}
