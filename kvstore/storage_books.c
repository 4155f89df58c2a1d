/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The books: which directories beside the active store this node has made and may remove. Whatever
 * is not named here stays, whatever its name looks like: an operator's copies lie in the same
 * place. A name is written down before the directory is made, and taken out when the directory is
 * gone.
 *
 * The file `books` is text:
 *
 *   temporary incoming-3                  (being received, or about to be replaced)
 *   spare replaced-2-12                   (kept by precaution, oldest first: goes when room is
 * needed) crc 1a2b3c4d                          (CRC-32 of the lines before)
 *
 * Books that are missing or damaged name nothing: then directories may be left over, and are told.
 */
#include "kvstore/storage_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define BOOKS_FILE "books"
#define TEMPORARY  "temporary "
#define SPARE      "spare "

/* ---- text ---- */

static size_t add_line(char *text, size_t size, const char *word, const char *name)
{
    return size + (size_t)snprintf(text + size, KVP_FILE_SIZE_MAX - size, "%s%s\n", word, name);
}

static size_t books_encode(const struct storage_books *books, char text[KVP_FILE_SIZE_MAX])
{
    size_t size = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < STORAGE_TEMPORARIES; i++) {
        if (books->temporary[i][0] != '\0') {
            size = add_line(text, size, TEMPORARY, books->temporary[i]);
        }
    }
    for (unsigned i = 0; i < books->spare_count; i++) {
        size = add_line(text, size, SPARE, books->spares[i]);
    }
    char crc[16];
    (void)snprintf(crc, sizeof(crc), "%08lx",
                   (unsigned long)crc32(0, (const Bytef *)text, (uInt)size));
    return add_line(text, size, "crc ", crc);
}

static bool books_take(const char *line, const char *word, char *name)
{
    size_t size = strlen(word);
    if (strncmp(line, word, size) != 0 || strlen(line + size) >= KVP_STORE_NAME_SIZE) {
        return false;
    }
    memcpy(name, line + size, strlen(line + size) + 1);
    return kvp_store_name_valid(name);
}

/* What was understood is written again and has to come out the same. */
static bool decode(kvp_slice raw, struct storage_books *books)
{
    char text[KVP_FILE_SIZE_MAX + 1], again[KVP_FILE_SIZE_MAX];
    unsigned temporaries = 0;
    memset(books, 0, sizeof(*books));
    if (raw.size > KVP_FILE_SIZE_MAX) {
        return false;
    }
    memcpy(text, raw.data, raw.size);
    text[raw.size] = '\0';
    for (char *rest = NULL, *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (temporaries < STORAGE_TEMPORARIES &&
            books_take(line, TEMPORARY, books->temporary[temporaries])) {
            temporaries++;
        } else if (books->spare_count < STORAGE_SPARES_MAX &&
                   books_take(line, SPARE, books->spares[books->spare_count])) {
            books->spare_count++;
        }
    }
    size_t size = books_encode(books, again);
    return size == raw.size && memcmp(again, raw.data, size) == 0;
}

/* ---- the file ---- */

kvp_status storage_books_load(struct kvp_storage *storage)
{
    kvp_buf text = {0};
    kvp_status status = storage->env->ops->read_file(storage->env, BOOKS_FILE, &text);
    if (status == KVP_OK && !decode(kvp_buf_slice(&text), &storage->books)) {
        memset(&storage->books, 0, sizeof(storage->books));
    }
    kvp_buf_free(&text);
    if (status == KVP_OK || status == KVP_NOT_FOUND) {
        return KVP_OK;
    }
    return storage_fail_env(storage, status, "reading the file 'books'");
}

static kvp_status write_books(struct kvp_storage *storage, const struct storage_books *books)
{
    char text[KVP_FILE_SIZE_MAX];
    if (memcmp(books, &storage->books, sizeof(*books)) == 0) {
        return KVP_OK;
    }
    size_t size = books_encode(books, text);
    kvp_status status =
        storage->env->ops->replace_file(storage->env, BOOKS_FILE, kvp_slice_of(text, size));
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "writing the file 'books'");
    }
    storage->books = *books;
    return KVP_OK;
}

static void books_set_name(char *to, const char *name)
{
    memset(to, 0, KVP_STORE_NAME_SIZE); /* books are compared as a whole */
    memcpy(to, name, strlen(name));
}

/* What a crash, or a failed removal, has left. The active store may be named, if it has just become
 * that, and what is in use. */
static kvp_status remove_others(struct kvp_storage *storage, const struct storage_books *books)
{
    for (unsigned i = 0; i < STORAGE_TEMPORARIES; i++) {
        const char *name = storage->books.temporary[i];
        bool used = name[0] == '\0' || strcmp(name, storage->name) == 0 ||
                    strcmp(name, books->temporary[0]) == 0 ||
                    strcmp(name, books->temporary[1]) == 0;
        kvp_status status = used ? KVP_OK : storage->env->ops->destroy_store(storage->env, name);
        if (status != KVP_OK) {
            return storage_fail_env(storage, status, "removing what is left of a snapshot");
        }
    }
    return KVP_OK;
}

kvp_status storage_books_temporary(struct kvp_storage *storage, const char *first,
                                   const char *second)
{
    struct storage_books books = storage->books;
    books_set_name(books.temporary[0], first);
    books_set_name(books.temporary[1], second);
    kvp_status status = remove_others(storage, &books);
    return status == KVP_OK ? write_books(storage, &books) : status;
}

static void forget_spare(struct storage_books *books, unsigned index)
{
    for (unsigned i = index; i + 1 < books->spare_count; i++) {
        memcpy(books->spares[i], books->spares[i + 1], sizeof(books->spares[i]));
    }
    memset(books->spares[--books->spare_count], 0, sizeof(books->spares[0]));
}

kvp_status storage_books_spare(struct kvp_storage *storage, const char *name)
{
    struct storage_books books = storage->books;
    memset(books.temporary, 0, sizeof(books.temporary));
    if (books.spare_count == STORAGE_SPARES_MAX) {
        forget_spare(&books, 0); /* it stays, for an operator to remove */
    }
    books_set_name(books.spares[books.spare_count++], name);
    return write_books(storage, &books);
}

kvp_status storage_books_drop_spare(struct kvp_storage *storage)
{
    struct storage_books books = storage->books;
    kvp_status status = storage->env->ops->destroy_store(storage->env, books.spares[0]);
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "removing the oldest store kept by precaution");
    }
    forget_spare(&books, 0);
    return write_books(storage, &books);
}

bool storage_books_name(const struct kvp_storage *storage, const char *name)
{
    for (unsigned i = 0; i < STORAGE_TEMPORARIES; i++) {
        if (strcmp(storage->books.temporary[i], name) == 0) {
            return true;
        }
    }
    return false;
}
