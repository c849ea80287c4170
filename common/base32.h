/*
 * Bytes as text: Nix's base 32, hexadecimal, base 64.
 *
 * Nix's base 32 (Nix manual, "Store path specification", and printHash32 in
 * its source) has the alphabet 0123456789abcdfghijklmnpqrsvwxyz, writes the
 * bits from the last byte to the first and has no padding.
 *
 * Decoders are strict: exact length, one spelling for each value.  Each
 * returns 0, or -1 with the output undefined.  Pure: any thread.
 */
#ifndef BASE32_H
#define BASE32_H

#include <stddef.h>
#include <stdint.h>

/* Characters that n bytes take in base 32. */
#define BASE32_LEN(n) ((8 * (n) + 4) / 5)

/* out has room for BASE32_LEN(n) + 1 characters. */
void base32_encode(const uint8_t *in, size_t n, char *out);

/* len must be BASE32_LEN(n); spare high bits must be zero. */
int base32_decode(const char *in, size_t len, uint8_t *out, size_t n);

/* 1 when c is in the alphabet. */
int base32_char(char c);

/* Lower case only; len must be 2 * n.  out of encode: 2 * n + 1. */
void hex_encode(const uint8_t *in, size_t n, char *out);
int hex_decode(const char *in, size_t len, uint8_t *out, size_t n);

/* Characters that n bytes take in base 64, padding included. */
#define BASE64_LEN(n) (((n) + 2) / 3 * 4)

/* The usual alphabet, padded.  out has room for BASE64_LEN(n) + 1. */
void base64_encode(const uint8_t *in, size_t n, char *out);

/* At most max bytes into out, their number into *n. */
int base64_decode(
    const char *in, size_t len, uint8_t *out, size_t max, size_t *n);

#endif
