/*
 * wire.h: reads what PostgreSQL's replication protocol is made of: numbers in network order, times, strings.
 *
 * Every read is checked against what is left. A read beyond it gives zeros, leaves the input empty and marked;
 * so decoders read on without asking, and the mark is looked at once, at the end.
 */
#ifndef CHANGEFEED_CORE_UPSTREAM_WIRE_H
#define CHANGEFEED_CORE_UPSTREAM_WIRE_H

#include "core/bytes.h"

/* Microseconds from 1970 to 2000, where PostgreSQL's time begins. */
#define WIRE_EPOCH_US INT64_C(946684800000000)

struct wire {
	const unsigned char *at;
	size_t left;
	bool truncated;
};

static inline struct wire wire_of(struct bytes bytes)
{
	return (struct wire){.at = (const unsigned char *)bytes.data, .left = bytes.size};
}

static inline const unsigned char *wire_run(struct wire *wire, size_t size)
{
	if (size > wire->left) {
		wire->truncated = true;
		wire->left = 0;
		return NULL;
	}
	const unsigned char *run = wire->at;
	wire->at += size;
	wire->left -= size;
	return run;
}

static inline uint64_t wire_big_endian(struct wire *wire, size_t size)
{
	const unsigned char *run = wire_run(wire, size);
	uint64_t number = 0;
	for (size_t i = 0; run != NULL && i < size; i++)
		number = number << 8 | run[i];
	return number;
}

static inline char wire_char(struct wire *wire)
{
	return (char)wire_big_endian(wire, 1);
}

static inline uint32_t wire_u32(struct wire *wire)
{
	return (uint32_t)wire_big_endian(wire, 4);
}

static inline uint64_t wire_u64(struct wire *wire)
{
	return wire_big_endian(wire, 8);
}

/* Microseconds since 2000 on the wire, since 1970 returned. */
static inline int64_t wire_time(struct wire *wire)
{
	return (int64_t)(wire_u64(wire) + (uint64_t)WIRE_EPOCH_US);
}

static inline struct bytes wire_bytes(struct wire *wire, size_t size)
{
	const unsigned char *run = wire_run(wire, size);
	return run == NULL ? BYTES("") : (struct bytes){(const char *)run, size};
}

/* A string that ends with a 0, which is not part of what is returned. */
static inline struct bytes wire_string(struct wire *wire)
{
	const unsigned char *end = wire->left == 0 ? NULL : memchr(wire->at, 0, wire->left);
	if (end == NULL) {
		wire_run(wire, wire->left + 1);
		return BYTES("");
	}
	struct bytes string = wire_bytes(wire, (size_t)(end - wire->at));
	wire_run(wire, 1);
	return string;
}

#endif
