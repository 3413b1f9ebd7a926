/* msgpack_check.c: see msgpack_check.h. */
#include "core/render/msgpack_check.h"

/* What follows the first byte of an item: a length field, then a payload, then further items. */
struct item {
	uint8_t length_size;
	uint8_t payload;
	uint8_t payload_each;  /* bytes of payload for each unit of length */
	uint8_t children_each; /* items for each unit of length */
};

/* First bytes from 0xc0 on; 0xc1, which is never used, looks like nil here and is refused by msgpack-c. */
static const struct item items[0x20] = {
	[0x04] = {1, 0, 1, 0}, [0x05] = {2, 0, 1, 0},  [0x06] = {4, 0, 1, 0}, /* bin */
	[0x07] = {1, 1, 1, 0}, [0x08] = {2, 1, 1, 0},  [0x09] = {4, 1, 1, 0}, /* ext */
	[0x0a] = {0, 4, 0, 0}, [0x0b] = {0, 8, 0, 0},                         /* float */
	[0x0c] = {0, 1, 0, 0}, [0x0d] = {0, 2, 0, 0},                         /* uint */
	[0x0e] = {0, 4, 0, 0}, [0x0f] = {0, 8, 0, 0},                         /* uint */
	[0x10] = {0, 1, 0, 0}, [0x11] = {0, 2, 0, 0},                         /* int */
	[0x12] = {0, 4, 0, 0}, [0x13] = {0, 8, 0, 0},                         /* int */
	[0x14] = {0, 2, 0, 0}, [0x15] = {0, 3, 0, 0},  [0x16] = {0, 5, 0, 0}, /* fixext */
	[0x17] = {0, 9, 0, 0}, [0x18] = {0, 17, 0, 0},                        /* fixext */
	[0x19] = {1, 0, 1, 0}, [0x1a] = {2, 0, 1, 0},  [0x1b] = {4, 0, 1, 0}, /* str */
	[0x1c] = {2, 0, 0, 1}, [0x1d] = {4, 0, 0, 1},                         /* array */
	[0x1e] = {2, 0, 0, 2}, [0x1f] = {4, 0, 0, 2},                         /* map */
};

/* The first bytes that hold a length themselves, in their low bits. */
static const struct item fixmap = {0, 0, 0, 2}, fixarray = {0, 0, 0, 1}, fixstr = {0, 0, 1, 0};

bool msgpack_is_whole(struct bytes bytes)
{
	size_t at = 0;
	uint64_t pending = 1;

	while (pending > 0) {
		if (pending > bytes.size - at)
			return false;
		pending--;
		unsigned char first = (unsigned char)bytes.data[at++];
		if (first <= 0x7f || first >= 0xe0)
			continue;

		const struct item *item;
		uint64_t length = 0;
		if (first >= 0xc0) {
			item = &items[first - 0xc0];
			if (item->length_size > bytes.size - at)
				return false;
			for (unsigned i = 0; i < item->length_size; i++)
				length = length << 8 | (unsigned char)bytes.data[at++];
		} else {
			item = first >= 0xa0 ? &fixstr : first >= 0x90 ? &fixarray : &fixmap;
			length = first & (first >= 0xa0 ? 0x1f : 0x0f);
		}
		uint64_t payload = item->payload + length * item->payload_each;
		if (payload > bytes.size - at)
			return false;
		at += payload;
		pending += length * item->children_each;
	}
	return at == bytes.size;
}
