/* answer.c: answers of polls that are kept: to which question, for how long, and how many there are. */
#include "http/answer.h"

#include <h2o/memory.h>

#include "tap.h"

static struct answers answers;
static const int options;

static struct answer_key key_of(const char *audience, uint64_t position)
{
	return (struct answer_key){
		.audience = bytes_of(audience), .options = &options, .position = position, .limit = 100};
}

static void keep(const char *audience, uint64_t position, const char *body, bool has_more, uint64_t end)
{
	struct answer_key key = key_of(audience, position);
	struct answer *answer = answer_make(&answers, bytes_of(body));
	answer->has_more = has_more;
	answer->end = end;
	answers_keep(&answers, &key, answer);
	h2o_mem_release_shared(answer);
}

static bool finds(const struct answer_key *key, uint64_t head, const char *body)
{
	struct answer *answer = answers_find(&answers, key, head);
	return body == NULL
			   ? answer == NULL
			   : answer != NULL && bytes_equal((struct bytes){answer->data, answer->size}, bytes_of(body));
}

static void test_questions(void)
{
	struct answer_key key = key_of("users", 8), other = key;

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
	other.options = &answers;
	ok(finds(&other, 1000, NULL), "nor another path");
	keep("users", 8, "anew", true, 0);
	ok(finds(&key, 1000, "anew"), "a newer answer takes the place of the older");
	is_u64(answers.bytes, strlen("anew"), "which is gone");
}

static void test_end(void)
{
	struct answer_key key = key_of("users", 32);

	keep("users", 32, "all there is", false, 64);
	ok(finds(&key, 64, "all there is"), "an answer that reaches to the ring's end holds until there is more");
	ok(finds(&key, 72, NULL), "and no longer");
}

static void test_held(void)
{
	h2o_mem_pool_t pool;
	struct answer_key key = key_of("users", 40);

	answers_clear(&answers);
	keep("users", 40, "held", true, 0);
	h2o_mem_init_pool(&pool);
	h2o_mem_link_shared(&pool, answers_find(&answers, &key, 0));
	answers_clear(&answers);
	ok(finds(&key, 0, NULL), "nothing is kept after a new history has begun");
	is_u64(answers.kept_bytes, 0, "and counted as kept");
	is_u64(answers.bytes, strlen("held"), "what a request holds lives on");
	h2o_mem_clear_pool(&pool);
	is_u64(answers.bytes, 0, "until the request ends");
}

static void test_bounds(void)
{
	struct answer_key first = key_of("users", 0), second = key_of("users", 8),
					  last = key_of("users", 8 * ANSWERS_KEPT);
	char *large = calloc(1, ANSWERS_KEPT_BYTES / 4);

	for (uint64_t i = 0; i < ANSWERS_KEPT; i++)
		keep("users", 8 * i, "small", true, 0);
	ok(finds(&first, 0, "small"), "as many as there is room for");
	keep("users", 8 * ANSWERS_KEPT, "one more", true, 0);
	ok(finds(&last, 0, "one more") && finds(&first, 0, "small") && finds(&second, 0, NULL),
	   "one more takes the place of what was used longest ago");
	memset(large, 'x', ANSWERS_KEPT_BYTES / 4 - 1);
	for (uint64_t i = 0; i < 6; i++)
		keep("large", 8 * i, large, true, 0);
	ok(answers.kept_bytes <= ANSWERS_KEPT_BYTES, "what is kept has a bound in bytes");
	first = key_of("large", 0);
	last = key_of("large", 40);
	ok(finds(&first, 0, NULL) && finds(&last, 0, large), "the newest stay");
	answers_clear(&answers);
	is_u64(answers.bytes, 0, "nothing is left over");
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
