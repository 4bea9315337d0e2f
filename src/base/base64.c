#include "base/base64.h"

#include <stdlib.h>

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const uint8_t *bytes, size_t size, size_t *length) {
    char *text = malloc(size / 3 * 4 + 5);
    if (text == NULL) return NULL;
    char *at = text;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t three = (uint32_t)bytes[i] << 16;
        if (left > 1) three |= (uint32_t)bytes[i + 1] << 8;
        if (left > 2) three |= bytes[i + 2];
        *at++ = digits[three >> 18];
        *at++ = digits[three >> 12 & 63];
        *at++ = left > 1 ? digits[three >> 6 & 63] : '=';
        *at++ = left > 2 ? digits[three & 63] : '=';
    }
    *at = '\0';
    *length = (size_t)(at - text);
    return text;
}

static uint32_t digit(char c) {
    if (c >= 'A' && c <= 'Z') return (uint32_t)(c - 'A');
    if (c >= 'a' && c <= 'z') return (uint32_t)(c - 'a') + 26;
    if (c >= '0' && c <= '9') return (uint32_t)(c - '0') + 52;
    if (c == '+') return 62;
    return c == '/' ? 63 : UINT32_MAX;
}

size_t base64_decode(const char *text, size_t length, uint8_t *bytes) {
    if (length % 4 != 0) return SIZE_MAX;
    size_t size = 0, padding = 0;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < length; i += 4) {
        uint32_t four = 0;
        for (size_t k = i; k < i + 4; k++) {
            uint32_t value = k < length - padding ? digit(text[k]) : 0;
            if (value == UINT32_MAX) return SIZE_MAX;
            four = four << 6 | value;
        }
        for (int shift = 16; shift >= 0; shift -= 8)
            bytes[size++] = (uint8_t)(four >> shift);
    }
    return size - padding;
}
