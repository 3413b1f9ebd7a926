/* page.c: answers of polls that are kept: which question they answer, for how long, and how many there are.
 */
#include "http/page.h"

#include <h2o/memory.h>

#include "tap.h"

static struct pages pages;
static const int options;

static struct page_key key_of(const char *audience, uint64_t position)
{
	return (struct page_key){
		.audience = bytes_of(audience), .options = &options, .position = position, .limit = 100};
}

static void keep(const char *audience, uint64_t position, const char *answer, bool has_more, uint64_t end)
{
	struct page_key key = key_of(audience, position);
	struct page *page = page_make(&pages, bytes_of(answer));
	page->has_more = has_more;
	page->end = end;
	pages_keep(&pages, &key, page);
	h2o_mem_release_shared(page);
}

static bool finds(const struct page_key *key, uint64_t head, const char *answer)
{
	struct page *page = pages_find(&pages, key, head);
	return answer == NULL
			   ? page == NULL
			   : page != NULL && bytes_equal((struct bytes){page->data, page->size}, bytes_of(answer));
}

static void test_questions(void)
{
	struct page_key key = key_of("users", 8), other = key;

	keep("users", 8, "eight", true, 0);
	ok(finds(&key, 1000, "eight"), "the same question has the same answer");
	other = key_of("orders", 8);
	ok(finds(&other, 1000, NULL), "another audience has none");
	other = key_of("users", 16);
	ok(finds(&other, 1000, NULL), "nor has another place");
	other = key;
	other.limit = 99;
	ok(finds(&other, 1000, NULL), "nor another limit");
	other = key;
	other.format = BATCH_MSGPACK;
	ok(finds(&other, 1000, NULL), "nor another format");
	other = key;
	other.options = &pages;
	ok(finds(&other, 1000, NULL), "nor another path");
	keep("users", 8, "anew", true, 0);
	ok(finds(&key, 1000, "anew"), "a newer answer takes the place of the older");
	is_u64(pages.bytes, strlen("anew"), "which is gone");
}

static void test_end(void)
{
	struct page_key key = key_of("users", 32);

	keep("users", 32, "all there is", false, 64);
	ok(finds(&key, 64, "all there is"), "an answer that reaches to the ring's end holds until there is more");
	ok(finds(&key, 72, NULL), "and no longer");
}

static void test_held(void)
{
	h2o_mem_pool_t pool;
	struct page_key key = key_of("users", 40);

	pages_clear(&pages);
	keep("users", 40, "held", true, 0);
	h2o_mem_init_pool(&pool);
	h2o_mem_link_shared(&pool, pages_find(&pages, &key, 0));
	pages_clear(&pages);
	ok(finds(&key, 0, NULL), "nothing is kept after a new history has begun");
	is_u64(pages.kept_bytes, 0, "and counted as kept");
	is_u64(pages.bytes, strlen("held"), "what a request holds lives on");
	h2o_mem_clear_pool(&pool);
	is_u64(pages.bytes, 0, "until the request ends");
}

static void test_bounds(void)
{
	struct page_key first = key_of("users", 0), second = key_of("users", 8),
					last = key_of("users", 8 * PAGES_KEPT);
	char *large = calloc(1, PAGES_KEPT_BYTES / 4);

	for (uint64_t i = 0; i < PAGES_KEPT; i++)
		keep("users", 8 * i, "small", true, 0);
	ok(finds(&first, 0, "small"), "as many as there is room for");
	keep("users", 8 * PAGES_KEPT, "one more", true, 0);
	ok(finds(&last, 0, "one more") && finds(&first, 0, "small") && finds(&second, 0, NULL),
	   "one more takes the place of what was used longest ago");
	memset(large, 'x', PAGES_KEPT_BYTES / 4 - 1);
	for (uint64_t i = 0; i < 6; i++)
		keep("large", 8 * i, large, true, 0);
	ok(pages.kept_bytes <= PAGES_KEPT_BYTES, "what is kept has a bound in bytes");
	first = key_of("large", 0);
	last = key_of("large", 40);
	ok(finds(&first, 0, NULL) && finds(&last, 0, large), "the newest stay");
	pages_clear(&pages);
	is_u64(pages.bytes, 0, "nothing is left over");
	free(large);
}

int main(void)
{
	test_questions();
	test_end();
	test_held();
	test_bounds();
	return tap_end();
}
