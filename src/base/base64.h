// Bytes as text, for JSON messages (RFC 4648, with padding).
#ifndef SHOAL_BASE_BASE64_H
#define SHOAL_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

// A malloc'd text of *length characters; NULL: out of memory.
char *base64_encode(const uint8_t *bytes, size_t size, size_t *length);
// How many bytes the text stands for; SIZE_MAX when it is not base64. They go to `bytes`,
// which has room for length / 4 * 3.
size_t base64_decode(const char *text, size_t length, uint8_t *bytes);

#endif
