/* SPDX-License-Identifier: Apache-2.0 */
/* What reading and writing matrices as text share: lines, numbers, and messages for the user. */
#ifndef KVP_MATRIX_TEXT_H
#define KVP_MATRIX_TEXT_H

#include "kvpair/matrix.h"

#include <locale.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

/* Where a sentence for the user goes: always terminated; text may be NULL when size is 0. */
struct kvp_message {
    char *text;
    size_t size;
};

/* Fills the message and returns the status. */
__attribute__((format(printf, 3, 4))) kvp_status
kvp_refuse(const struct kvp_message *message, kvp_status status, const char *format, ...);

/* May a matrix of this shape be made, by its own size and the caller's limit in bytes? A message
 * and KVP_BAD_REQUEST or KVP_TOO_LARGE if not. */
kvp_status kvp_admit(enum kvp_matrix_type type, uint64_t rows, uint64_t columns, uint64_t size_max,
                     const struct kvp_message *message);
/* kvp_admit(), then kvp_matrix_new(). */
kvp_status kvp_admit_new(enum kvp_matrix_type type, uint64_t rows, uint64_t columns,
                         uint64_t size_max, struct kvp_matrix *matrix,
                         const struct kvp_message *message);

/* ---- lines and words ---- */

struct kvp_lines {
    const char *at, *end;
    uint64_t number; /* of the line that was given last; the first is 1 */
};

struct kvp_lines kvp_lines_of(kvp_slice text);
/* The next line without its end (LF or CR LF); false when there is none. */
bool kvp_lines_next(struct kvp_lines *lines, kvp_slice *line);

kvp_slice kvp_trim(kvp_slice text); /* without spaces and tabs at both ends */
/* Takes the next word off the text; false when there is none. */
bool kvp_word_next(kvp_slice *text, kvp_slice *word);
bool kvp_word_is(kvp_slice word, const char *lower_case); /* letters of any case */

/* A word as it may be shown to a user: short, and of printable characters. */
struct kvp_shown {
    char text[48];
};
struct kvp_shown kvp_show(kvp_slice word);

/* ---- numbers ---- */

#define KVP_NUMBER_SIZE_MAX 2048u /* more digits than any float64 has */

/* A decimal number as it is written, [+-]digits[.digits][e[+-]digits], before its type is known. */
struct kvp_number {
    kvp_slice text;
    bool plain;    /* neither point nor exponent */
    bool integral; /* its value is an integer ... */
    bool fits;     /* ... and that is `integer` */
    int64_t integer;
};

/* Reads a word. NULL: done; else what is wrong with it, to be put behind the word: "is not a
 * number". Infinities and NaN are refused. */
const char *kvp_number_read(kvp_slice word, struct kvp_number *number);

/*
 * Stores the number as an element. An integer must be kept exactly, a fraction becomes the nearest
 * float (ties to even). NULL: done; else what is wrong. The C locale must be in force.
 */
const char *kvp_number_store(const struct kvp_number *number, enum kvp_matrix_type type,
                             uint8_t *element);

/* The shortest decimal form that kvp_number_store() makes the same element of: for a float the
 * fewest digits, without a point if there is nothing behind it. The C locale must be in force. */
#define KVP_ELEMENT_TEXT_MAX 32
size_t kvp_element_text(enum kvp_matrix_type type, const uint8_t *element,
                        char text[KVP_ELEMENT_TEXT_MAX]);

/* The C locale for the calling thread, from enter (KVP_NO_MEMORY) to leave: decimal points are
 * points, whatever the application has set. */
struct kvp_plain_locale {
    locale_t plain, before;
};
kvp_status kvp_plain_locale_enter(struct kvp_plain_locale *locale);
void kvp_plain_locale_leave(struct kvp_plain_locale *locale);

#endif
