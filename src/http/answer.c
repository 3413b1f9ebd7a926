/* answer.c: see answer.h. */
#include "http/answer.h"

#include <h2o/memory.h>
#include <stdlib.h>

static void on_dispose(void *pointer)
{
	struct answer *answer = pointer;
	answer->answers->bytes -= answer->size;
}

struct answer *answer_make(struct answers *answers, struct bytes body)
{
	struct answer *answer = h2o_mem_alloc_shared(NULL, sizeof(*answer) + body.size, on_dispose);

	*answer = (struct answer){.answers = answers, .size = body.size};
	memcpy(answer->data, body.data, body.size);
	answers->bytes += body.size;
	return answer;
}

void answer_replace(struct answer **place, struct answer *answer)
{
	if (*place != NULL)
		h2o_mem_release_shared(*place);
	*place = answer;
}

static bool key_equal(const struct answer_key *a, const struct answer_key *b)
{
	return a->position == b->position && a->limit == b->limit && a->format == b->format &&
		   a->options == b->options && bytes_equal(a->audience, b->audience);
}

static struct answers_entry *find_entry(struct answers *answers, const struct answer_key *key)
{
	for (int i = 0; i < ANSWERS_KEPT; i++) {
		if (answers->entries[i].answer != NULL && key_equal(&answers->entries[i].key, key))
			return &answers->entries[i];
	}
	return NULL;
}

static void forget(struct answers *answers, struct answers_entry *entry)
{
	if (entry->answer == NULL)
		return;
	answers->kept_bytes -= entry->answer->size;
	h2o_mem_release_shared(entry->answer);
	free((void *)entry->key.audience.data);
	*entry = (struct answers_entry){0};
}

/* The entry that was used longest ago: a free one, if free ones count and there are any. */
static struct answers_entry *oldest_entry(struct answers *answers, bool may_be_free)
{
	struct answers_entry *oldest = NULL;
	for (int i = 0; i < ANSWERS_KEPT; i++) {
		struct answers_entry *entry = &answers->entries[i];
		if ((may_be_free || entry->answer != NULL) && (oldest == NULL || entry->used < oldest->used))
			oldest = entry;
	}
	return oldest;
}

void answers_keep(struct answers *answers, const struct answer_key *key, struct answer *answer)
{
	struct answers_entry *entry = find_entry(answers, key);
	char *audience = malloc(key->audience.size);

	if (audience == NULL)
		return;
	memcpy(audience, key->audience.data, key->audience.size);
	if (entry == NULL)
		entry = oldest_entry(answers, true);
	forget(answers, entry);
	*entry = (struct answers_entry){answer, *key, ++answers->clock};
	entry->key.audience.data = audience;
	h2o_mem_addref_shared(answer);
	answers->kept_bytes += answer->size;
	while (answers->kept_bytes > ANSWERS_KEPT_BYTES)
		forget(answers, oldest_entry(answers, false));
}

struct answer *answers_find(struct answers *answers, const struct answer_key *key, uint64_t head)
{
	struct answers_entry *entry = find_entry(answers, key);

	if (entry == NULL || (!entry->answer->has_more && entry->answer->end != head))
		return NULL;
	entry->used = ++answers->clock;
	return entry->answer;
}

void answers_clear(struct answers *answers)
{
	for (int i = 0; i < ANSWERS_KEPT; i++)
		forget(answers, &answers->entries[i]);
}
