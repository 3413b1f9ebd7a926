/* selection.c: names looked up in a ring, and which subscriptions share what is rendered. */
#include "core/request/selection.h"

#include "core/clock.h"
#include "ring_fixture.h"
#include "tap.h"

static struct fixture fixture;
static struct problem problem;

static void publish(const char *schema, const char *name)
{
	uint32_t id = ring_writer_collection(fixture.writer, bytes_of(schema), bytes_of(name));
	ring_writer_set_published(fixture.writer, id, true);
}

static bool resolve(const char *path, const char *query, const char *tenant_column,
					struct selection *ret_selection, struct buffer *key)
{
	struct subscription_request request = {
		.path = bytes_of(path), .query = bytes_of(query), .tenant_column = bytes_of(tenant_column)};
	struct subscription subscription;
	if (!subscription_parse(&request, &subscription, &problem))
		return false;
	bool resolved =
		selection_resolve(&subscription, fixture.ring, BYTES("changefeed"), ret_selection, &problem);
	if (resolved && key != NULL)
		selection_key(ret_selection, &subscription, key);
	subscription_free(&subscription);
	return resolved;
}

/* The table that a single name stands for. */
static void is_table(const char *path, const char *wanted)
{
	struct selection selection;
	struct collection collection;
	char text[2 * COLLECTION_NAME_SIZE] = "";
	if (resolve(path, "", "", &selection, NULL) && selection.count == 1 &&
		ring_collection(fixture.ring, selection.collections[0], &collection))
		snprintf(text, sizeof(text), "%s.%s", collection.schema, collection.name);
	is_text(text, wanted, "%s is %s", path, wanted);
}

static void test_names(void)
{
	struct selection selection;

	is_table("users", "public.users");
	is_table("Users", "public.Users");
	is_table("USERS", "public.users");
	is_table("App.ORDERS", "app.orders");
	is_table("a%2Eb", "public.a.b");
	ok(resolve("users,Users,app.orders,users", "", "", &selection, NULL) && selection.count == 3 &&
		   selection.collections[0] < selection.collections[1] &&
		   selection.collections[1] < selection.collections[2],
	   "several: sorted, each once");
	ok(resolve("*", "", "", &selection, NULL) && selection.all && selection.count == 0, "all");
}

static void test_not_published(void)
{
	struct selection selection;

	ok(!resolve("users,a", "", "", &selection, NULL) && problem.status == 404,
	   "a table that is not published");
	is_text(problem.detail,
			"public.a is not published. Where the table exists, publish it with: ALTER PUBLICATION "
			"changefeed ADD "
			"TABLE public.a;",
			"and how to publish it");
	ok(!resolve("Sales.My%20%22Table", "", "", &selection, NULL) && problem.status == 404, "an odd name");
	is_text(problem.detail,
			"\"Sales\".\"My \"\"Table\" is not published. Where the table exists, publish it with: ALTER "
			"PUBLICATION changefeed ADD TABLE \"Sales\".\"My \"\"Table\";",
			"is quoted as SQL wants it");
}

/* What stands in the way of `user.order` and its like is a keyword: no statement would run. */
static void test_keywords(void)
{
	static const char *const reserved[] = {"all", "user", "system_user", "with", "authorization", "left"};
	static const char *const plain[] = {"users", "al",    "wit", "withs", "zone",
										"int",   "value", "a",   "z9",    "_"};
	struct selection selection;
	char path[40], wanted[40];

	for (size_t i = 0; i < COUNT(reserved); i++) {
		snprintf(path, sizeof(path), "%s.t", reserved[i]);
		snprintf(wanted, sizeof(wanted), " ADD TABLE \"%s\".t;", reserved[i]);
		ok(!resolve(path, "", "", &selection, NULL) && strstr(problem.detail, wanted) != NULL, "%s is quoted",
		   reserved[i]);
	}
	for (size_t i = 0; i < COUNT(plain); i++) {
		snprintf(path, sizeof(path), "%s.t", plain[i]);
		snprintf(wanted, sizeof(wanted), " ADD TABLE %s.t;", plain[i]);
		ok(!resolve(path, "", "", &selection, NULL) && strstr(problem.detail, wanted) != NULL, "%s is not",
		   plain[i]);
	}
}

/* A request is resolved while everybody waits, and a client may send a hundred in one go. */
static void test_many(void)
{
	enum { MANY = 4000, ROUNDS = 20 };
	struct selection selection;
	struct buffer path = {0};
	int64_t best_us = INT64_MAX;
	unsigned found = 0;
	char name[COLLECTION_NAME_SIZE];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "many_%u", i);
		publish("public", name);
	}
	for (unsigned i = 0; i < SUBSCRIPTION_NAMES_MAX; i++)
		buffer_printf(&path, "%sMany_%u", i == 0 ? "" : ",", MANY - 1 - i);
	for (int i = 0; i < ROUNDS; i++) {
		int64_t began_us = clock_monotonic_us();
		found += resolve(buffer_string(&path), "", "", &selection, NULL) && selection.count == 64;
		int64_t took_us = clock_monotonic_us() - began_us;
		best_us = took_us < best_us ? took_us : best_us;
	}
	is_u64(found, ROUNDS, "64 of %d tables", MANY);
	ok(best_us < 150, "are found in %" PRIi64 " microseconds", best_us);
	buffer_free(&path);
}

static bool same_key(const char *path, const char *query, const char *other_path, const char *other_query,
					 const char *tenant_column)
{
	struct selection selection;
	struct buffer key = {0}, other = {0};
	bool same = resolve(path, query, tenant_column, &selection, &key) &&
				resolve(other_path, other_query, tenant_column, &selection, &other) &&
				bytes_equal(buffer_bytes(&key), buffer_bytes(&other));
	buffer_free(&key);
	buffer_free(&other);
	return same;
}

static void test_keys(void)
{
	ok(same_key("users,app.orders", "", "app.orders,public.users", "since_lsn=5&on_gap=fail", ""),
	   "the order of names, the start and on_gap do not matter");
	ok(same_key("users", "columns=a,bc,a", "users", "columns=bc,a", ""), "nor does the order of columns");
	ok(!same_key("users", "columns=a,bc", "users", "columns=ab,c", ""), "the columns do");
	ok(!same_key("users", "columns=a", "users", "", ""), "their absence, too");
	ok(!same_key("users", "", "Users", "", ""), "the table");
	ok(!same_key("users", "", "*", "", ""), "one and all");
	ok(!same_key("users", "operations=insert", "users", "", ""), "operations");
	ok(!same_key("users", "numbers=string", "users", "", ""), "numbers");
	ok(same_key("users", "payload=key&numbers=string", "users", "payload=key&columns=a", ""),
	   "without a payload its form does not matter");
	ok(!same_key("users", "format=debezium&payload=key&numbers=string", "users",
				 "format=debezium&payload=key", ""),
	   "Debezium's envelope has rows of the key: there it does");
	ok(same_key("users", "", "users", "tenant_id=1", ""), "no tenant column: tenants do not matter");
	ok(!same_key("users", "tenant_id=2", "users", "tenant_id=3", "org"), "with one they do");
	ok(same_key("users", "", "users", "tenant_id=1", "org"), "the default tenant is 1");
}

static void test_filter(void)
{
	struct subscription subscription = {.operations = 1u << OPERATION_INSERT};
	struct selection selection = {.count = 1, .collections = {3}};
	struct filter filter = selection_filter(&selection, &subscription);
	struct change change = {.collection = 3, .operation = OPERATION_INSERT};

	ok(filter_matches(&filter, &change), "a change of the selection");
	change.collection = 2;
	ok(!filter_matches(&filter, &change), "one of another collection");
	change = (struct change){.collection = 3, .operation = OPERATION_DELETE};
	ok(!filter_matches(&filter, &change), "one of another operation");

	const uint32_t many[] = {2, 3, 7, 11, UINT32_MAX - 1};
	unsigned matched = 0;
	for (unsigned count = 0; count <= 5; count++) {
		filter = (struct filter){
			.collection_count = count, .collections = many, .operations = subscription.operations};
		for (uint32_t collection = 0; collection < 14; collection++) {
			change = (struct change){.collection = collection, .operation = OPERATION_INSERT};
			matched += filter_matches(&filter, &change);
		}
	}
	change.collection = UINT32_MAX - 1;
	is_u64(matched + filter_matches(&filter, &change), 1 + 2 + 3 + 4 + 4 + 1, "each of many is found");
}

int main(void)
{
	fixture_make(&fixture, 64 * RING_MIN_CAPACITY);
	publish("public", "users");
	publish("public", "Users");
	publish("public", "a.b");
	publish("app", "orders");
	test_names();
	test_not_published();
	test_keywords();
	test_keys();
	test_filter();
	test_many();
	fixture_remove(&fixture);
	return tap_end();
}
