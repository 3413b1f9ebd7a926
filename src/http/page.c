/* page.c: see page.h. */
#include "http/page.h"

#include <h2o/memory.h>
#include <stdlib.h>

static void on_dispose(void *pointer)
{
	struct page *page = pointer;
	page->pages->bytes -= page->size;
}

struct page *page_make(struct pages *pages, struct bytes answer)
{
	struct page *page = h2o_mem_alloc_shared(NULL, sizeof(*page) + answer.size, on_dispose);

	*page = (struct page){.pages = pages, .size = answer.size};
	memcpy(page->data, answer.data, answer.size);
	pages->bytes += answer.size;
	return page;
}

static bool key_equal(const struct page_key *a, const struct page_key *b)
{
	return a->position == b->position && a->limit == b->limit && a->format == b->format &&
		   a->options == b->options && bytes_equal(a->audience, b->audience);
}

static struct pages_entry *find_entry(struct pages *pages, const struct page_key *key)
{
	for (int i = 0; i < PAGES_KEPT; i++) {
		if (pages->entries[i].page != NULL && key_equal(&pages->entries[i].key, key))
			return &pages->entries[i];
	}
	return NULL;
}

static void forget(struct pages *pages, struct pages_entry *entry)
{
	if (entry->page == NULL)
		return;
	pages->kept_bytes -= entry->page->size;
	h2o_mem_release_shared(entry->page);
	free((void *)entry->key.audience.data);
	*entry = (struct pages_entry){0};
}

/* The entry that was used longest ago: a free one, if free ones count and there are any. */
static struct pages_entry *oldest_entry(struct pages *pages, bool may_be_free)
{
	struct pages_entry *oldest = NULL;
	for (int i = 0; i < PAGES_KEPT; i++) {
		struct pages_entry *entry = &pages->entries[i];
		if ((may_be_free || entry->page != NULL) && (oldest == NULL || entry->used < oldest->used))
			oldest = entry;
	}
	return oldest;
}

void pages_keep(struct pages *pages, const struct page_key *key, struct page *page)
{
	struct pages_entry *entry = find_entry(pages, key);
	char *audience = malloc(key->audience.size);

	if (audience == NULL)
		return;
	memcpy(audience, key->audience.data, key->audience.size);
	if (entry == NULL)
		entry = oldest_entry(pages, true);
	forget(pages, entry);
	*entry = (struct pages_entry){page, *key, ++pages->clock};
	entry->key.audience.data = audience;
	h2o_mem_addref_shared(page);
	pages->kept_bytes += page->size;
	while (pages->kept_bytes > PAGES_KEPT_BYTES)
		forget(pages, oldest_entry(pages, false));
}

struct page *pages_find(struct pages *pages, const struct page_key *key, uint64_t head)
{
	struct pages_entry *entry = find_entry(pages, key);

	if (entry == NULL || (!entry->page->has_more && entry->page->end != head))
		return NULL;
	entry->used = ++pages->clock;
	return entry->page;
}

void pages_clear(struct pages *pages)
{
	for (int i = 0; i < PAGES_KEPT; i++)
		forget(pages, &pages->entries[i]);
}
