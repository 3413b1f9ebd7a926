/* change.c: see change.h. */
#include "core/change.h"

static const struct {
	const char *name;
	const char *event;
} operations[OPERATION_COUNT] = {
	[OPERATION_INSERT] = {"INSERT", "insert"},    [OPERATION_UPDATE] = {"UPDATE", "update"},
	[OPERATION_DELETE] = {"DELETE", "delete"},    [OPERATION_TRUNCATE] = {"TRUNCATE", "truncate"},
	[OPERATION_MESSAGE] = {"MESSAGE", "message"},
};

const char *operation_name(enum operation operation)
{
	return operations[operation].name;
}

const char *operation_event(enum operation operation)
{
	return operations[operation].event;
}

bool operation_parse(struct bytes name, enum operation *ret_operation)
{
	for (int i = 0; i < OPERATION_COUNT; i++) {
		if (bytes_equal(name, bytes_of(operations[i].event))) {
			*ret_operation = (enum operation)i;
			return true;
		}
	}
	return false;
}

int64_t change_timestamp_ms(const struct change *change)
{
	int64_t ms = change->commit_us / 1000;
	return change->commit_us % 1000 < 0 ? ms - 1 : ms;
}
