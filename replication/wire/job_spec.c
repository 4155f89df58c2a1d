/* SPDX-License-Identifier: Apache-2.0 */
#include "kvpair/job_spec.h"
#include "kvpair/matrix.h"
#include "kvstore/keyspace.h"
#include "kvstore/base/utf8.h"
#include "replication/wire/mp_reader.h"
#include "replication/wire/mp_writer.h"
#include "replication/wire/wire.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What may stand behind the elements that every specification has. */
enum { SPEC_SIZE = 22, SPEC_RETRY, SPEC_ON_FAILURE, SPEC_MAX_RUNNING, SPEC_EXPIRES, SPEC_KEY };
#define KEEP_DEFAULT_S 86400u
#define SILENCE_MIN_MS 100u
#define SILENCE_MAX_MS 3600000u
#define RETRY_MAX_MS   3600000u

void kvp_job_spec_init(struct kvp_job_spec *spec, enum kvp_job_type type)
{
    if (spec == NULL) {
        return;
    }
    *spec = (struct kvp_job_spec){
        .type = (uint8_t)type,
        .copies = 1,
        .quorum = 1,
        .copies_max = 1,
        .verify = type == KVP_JOB_MATMUL ? KVP_VERIFY_FREIVALDS : KVP_VERIFY_NONE,
        .rounds = 10,
        .priority = 100,
        .attempts_max = 5,
        .silence_ms = 2000,
        .keep_s = KEEP_DEFAULT_S,
        .retry_ms = KVP_JOB_RETRY_DEFAULT_MS,
    };
}

kvp_status kvp_job_spec_mode(struct kvp_job_spec *spec, const char *mode)
{
    static const struct {
        const char *name;
        uint8_t copies, quorum, copies_max;
    } modes[] = {
        {"single", 1, 1, 1}, {"dual-first", 2, 1, 2}, {"dual-compare", 2, 2, 4},
        {"tmr", 3, 2, 5},    {"quad", 4, 3, 6},
    };
    unsigned copies, quorum;
    char end;
    if (spec == NULL || mode == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(modes[i].name, mode) == 0) {
            spec->copies = modes[i].copies;
            spec->quorum = modes[i].quorum;
            spec->copies_max = modes[i].copies_max;
            return KVP_OK;
        }
    }
    if (sscanf(mode, "%u/%u%c", &copies, &quorum, &end) != 2 || copies == 0 || quorum == 0 ||
        quorum > copies || copies > KVP_JOB_COPIES_MAX) {
        return KVP_BAD_ARGUMENT;
    }
    spec->copies = (uint8_t)copies;
    spec->quorum = (uint8_t)quorum;
    spec->copies_max = (uint8_t)(copies + 2 < KVP_JOB_COPIES_MAX ? copies + 2 : KVP_JOB_COPIES_MAX);
    if (quorum == 1) {
        spec->copies_max = spec->copies;
    }
    return KVP_OK;
}

/* ---- tiles ---- */

/* Has the specification of a product been filled in? Else there is nothing to divide by. */
static bool has_tiles(const struct kvp_job_spec *spec)
{
    return spec != NULL && spec->tile_rows != 0 && spec->tile_inner != 0 && spec->tile_columns != 0;
}

static uint32_t spec_tiles(uint64_t length, uint32_t tile)
{
    return (uint32_t)((length + tile - 1) / tile);
}

struct kvp_job_grid kvp_job_grid_of(const struct kvp_job_spec *spec)
{
    if (!has_tiles(spec)) {
        return (struct kvp_job_grid){0};
    }
    struct kvp_job_grid grid = {
        .row_tiles = spec_tiles(spec->rows, spec->tile_rows),
        .inner_tiles = spec_tiles(spec->inner, spec->tile_inner),
        .column_tiles = spec_tiles(spec->columns, spec->tile_columns),
        .element_size = kvp_matrix_element_size(spec->element),
    };
    grid.outputs = grid.row_tiles * grid.column_tiles;
    grid.tasks = grid.outputs * grid.inner_tiles;
    grid.inputs = (grid.row_tiles + grid.column_tiles) * grid.inner_tiles;
    return grid;
}

static uint32_t part(uint64_t length, uint32_t tile, uint32_t index)
{
    uint64_t left = length - (uint64_t)index * tile;
    return left < tile ? (uint32_t)left : tile;
}

struct kvp_job_block kvp_job_input(const struct kvp_job_spec *spec, uint32_t number, bool *is_b)
{
    struct kvp_job_grid grid = kvp_job_grid_of(spec);
    if (grid.tasks == 0 || is_b == NULL) {
        return (struct kvp_job_block){0};
    }
    uint32_t of_a = grid.row_tiles * grid.inner_tiles;
    *is_b = number >= of_a;
    if (!*is_b) {
        uint32_t i = number / grid.inner_tiles, k = number % grid.inner_tiles;
        return (struct kvp_job_block){(uint64_t)i * spec->tile_rows, (uint64_t)k * spec->tile_inner,
                                      part(spec->rows, spec->tile_rows, i),
                                      part(spec->inner, spec->tile_inner, k)};
    }
    uint32_t k = (number - of_a) / grid.column_tiles, j = (number - of_a) % grid.column_tiles;
    return (struct kvp_job_block){(uint64_t)k * spec->tile_inner, (uint64_t)j * spec->tile_columns,
                                  part(spec->inner, spec->tile_inner, k),
                                  part(spec->columns, spec->tile_columns, j)};
}

struct kvp_job_block kvp_job_output(const struct kvp_job_spec *spec, uint32_t number)
{
    uint32_t column_tiles = kvp_job_grid_of(spec).column_tiles;
    if (column_tiles == 0) {
        return (struct kvp_job_block){0};
    }
    uint32_t i = number / column_tiles, j = number % column_tiles;
    return (struct kvp_job_block){(uint64_t)i * spec->tile_rows, (uint64_t)j * spec->tile_columns,
                                  part(spec->rows, spec->tile_rows, i),
                                  part(spec->columns, spec->tile_columns, j)};
}

size_t kvp_job_block_size(const struct kvp_job_spec *spec, struct kvp_job_block block)
{
    return spec != NULL
               ? (size_t)block.rows * block.columns * kvp_matrix_element_size(spec->element)
               : 0;
}

struct kvp_job_tile kvp_job_tile_of(const struct kvp_job_spec *spec, uint32_t task)
{
    struct kvp_job_grid grid = kvp_job_grid_of(spec);
    if (grid.tasks == 0) {
        return (struct kvp_job_tile){0};
    }
    uint32_t k = task % grid.inner_tiles, output = task / grid.inner_tiles;
    uint32_t i = output / grid.column_tiles, j = output % grid.column_tiles;
    return (struct kvp_job_tile){
        .a = i * grid.inner_tiles + k,
        .b = grid.row_tiles * grid.inner_tiles + k * grid.column_tiles + j,
        .output = output,
        .rows = part(spec->rows, spec->tile_rows, i),
        .inner = part(spec->inner, spec->tile_inner, k),
        .columns = part(spec->columns, spec->tile_columns, j),
    };
}

static size_t elements(uint64_t rows, uint64_t inner, uint64_t columns)
{
    return (size_t)(rows * inner + inner * columns + rows * columns);
}

size_t kvp_job_tile_size(const struct kvp_job_spec *spec, const struct kvp_job_tile *tile)
{
    return spec == NULL || tile == NULL
               ? 0
               : KVP_JOB_TILE_HEADER + elements(tile->rows, tile->inner, tile->columns) *
                                           kvp_matrix_element_size(spec->element);
}

void kvp_job_tile_header(uint8_t out[KVP_JOB_TILE_HEADER], uint8_t element,
                         const struct kvp_job_tile *tile)
{
    if (!out || tile == NULL) {
        return;
    }
    kvp_put_u32(out, element);
    kvp_put_u32(out + 4, tile->rows);
    kvp_put_u32(out + 8, tile->inner);
    kvp_put_u32(out + 12, tile->columns);
}

static uint64_t spec_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The largest t with t*t + 2*inner*t <= room. */
static uint64_t square_beside(uint64_t inner, uint64_t room)
{
    double root = sqrt((double)inner * (double)inner + (double)room) - (double)inner;
    uint64_t t = root < 1 ? 1 : (uint64_t)root;
    while (t > 1 && t * t + 2 * inner * t > room) {
        t--;
    }
    return t;
}

kvp_status kvp_job_spec_tile(struct kvp_job_spec *spec, size_t buffer)
{
    if (spec == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    size_t size = kvp_matrix_element_size(spec->element);
    if (size == 0 || spec->rows == 0 || spec->inner == 0 || spec->columns == 0) {
        return KVP_BAD_REQUEST; /* kvp_job_spec_check() says why */
    }
    size_t block = KVP_JOB_BLOCK_MAX / size;
    if (buffer > KVP_MESSAGE_SIZE_MAX / 2) {
        buffer = KVP_MESSAGE_SIZE_MAX / 2;
    }
    if (buffer < KVP_JOB_TILE_HEADER + 3 * size) {
        return KVP_TOO_LARGE;
    }
    size_t room = (buffer - KVP_JOB_TILE_HEADER) / size;
    uint64_t inner = spec->inner;
    if (2 * inner + 1 > room || inner > block) {
        inner = spec_least((uint64_t)sqrt((double)room / 3), spec_least(block, inner));
        inner = inner < 1 ? 1 : inner;
    }
    uint64_t side = spec_least(square_beside(inner, room),
                               spec_least(block / inner, (uint64_t)sqrt((double)block)));
    uint64_t rows = spec_least(side, spec->rows), columns = spec_least(side, spec->columns);
    /* What one side does not need, the other may have. */
    if (rows < side) {
        columns = spec_least((room - rows * inner) / (inner + rows), spec->columns);
    } else if (columns < side) {
        rows = spec_least((room - columns * inner) / (inner + columns), spec->rows);
    }
    rows = spec_least(rows, block / inner);
    columns = spec_least(columns, spec_least(block / inner, block / rows));
    spec->tile_rows = (uint32_t)rows;
    spec->tile_inner = (uint32_t)inner;
    spec->tile_columns = (uint32_t)columns;
    const char *reason;
    return kvp_job_spec_check(spec, &reason);
}

/* ---- limits ---- */

static kvp_status spec_refuse(kvp_status status, const char *text, const char **reason)
{
    *reason = text;
    return status;
}

static kvp_status check_matmul(const struct kvp_job_spec *spec, const char **reason)
{
    const uint64_t limit = (uint64_t)1 << 32;
    if (spec->element > KVP_FLOAT64) {
        return spec_refuse(KVP_BAD_REQUEST, "unknown type of elements", reason);
    }
    if (spec->rows == 0 || spec->inner == 0 || spec->columns == 0) {
        return spec_refuse(KVP_BAD_REQUEST, "a matrix without elements", reason);
    }
    if (spec->rows >= limit || spec->inner >= limit || spec->columns >= limit) {
        return spec_refuse(KVP_TOO_LARGE, "a matrix with more than 2^32 rows or columns", reason);
    }
    if (spec->tile_rows == 0 || spec->tile_inner == 0 || spec->tile_columns == 0 ||
        spec->tile_rows > spec->rows || spec->tile_inner > spec->inner ||
        spec->tile_columns > spec->columns) {
        return spec_refuse(KVP_BAD_REQUEST, "a tile is empty, or larger than the matrix", reason);
    }
    uint64_t block = KVP_JOB_BLOCK_MAX / kvp_matrix_element_size(spec->element);
    if ((uint64_t)spec->tile_rows * spec->tile_inner > block ||
        (uint64_t)spec->tile_inner * spec->tile_columns > block ||
        (uint64_t)spec->tile_rows * spec->tile_columns > block) {
        return spec_refuse(KVP_TOO_LARGE, "a block of more than 1 MiB", reason);
    }
    uint64_t i = spec_tiles(spec->rows, spec->tile_rows),
             k = spec_tiles(spec->inner, spec->tile_inner);
    uint64_t j = spec_tiles(spec->columns, spec->tile_columns);
    if (i > KVP_JOB_TASKS_MAX || k > KVP_JOB_TASKS_MAX || j > KVP_JOB_TASKS_MAX ||
        i * k > KVP_JOB_TASKS_MAX || i * k * j > KVP_JOB_TASKS_MAX) {
        return spec_refuse(KVP_TOO_LARGE, "more than 1048576 tasks", reason);
    }
    return KVP_OK;
}

static bool is_zero(const uint64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (numbers[i] != 0) {
            return false;
        }
    }
    return true;
}

static bool is_zero_bytes(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static const char spec_unknown[] =
    "it sets what this release does not know: begin with kvp_job_spec_init()";

static kvp_status check_failure(const struct kvp_job_spec *spec, const char **reason)
{
    size_t size = spec->key != NULL ? strlen(spec->key) : 0;
    if (spec->on_failure > KVP_ON_FAILURE_CONTINUE) {
        return spec_refuse(KVP_BAD_REQUEST, "a failed task stops the job, or it continues", reason);
    }
    if (spec->on_failure == KVP_ON_FAILURE_CONTINUE && spec->type == KVP_JOB_MATMUL) {
        return spec_refuse(KVP_BAD_REQUEST,
                           "a product cannot continue without the task that has failed", reason);
    }
    if (size > KVP_NAME_SIZE_MAX || !kvp_utf8_is_valid(kvp_slice_of(spec->key, size))) {
        return spec_refuse(KVP_BAD_REQUEST, "the key of a job is at most 64 bytes of UTF-8",
                           reason);
    }
    return KVP_OK;
}

kvp_status kvp_job_spec_check(const struct kvp_job_spec *spec, const char **reason)
{
    const char *unwanted;
    reason = reason != NULL ? reason : &unwanted;
    if (spec == NULL) {
        return spec_refuse(KVP_BAD_ARGUMENT, "no specification is given", reason);
    }
    if (!is_zero(spec->reserved, sizeof(spec->reserved) / sizeof(spec->reserved[0]))) {
        return spec_refuse(KVP_BAD_REQUEST, spec_unknown, reason);
    }
    if (!is_zero_bytes(spec->reserved_bytes, sizeof(spec->reserved_bytes))) {
        return spec_refuse(KVP_BAD_REQUEST, spec_unknown, reason);
    }
    if (spec->type > KVP_JOB_MATMUL || spec->compare > KVP_AGREE_CHECKSUM ||
        spec->verify > KVP_VERIFY_RECOMPUTE) {
        return spec_refuse(KVP_BAD_REQUEST, "unknown type of job, comparison or verification",
                           reason);
    }
    if (spec->copies == 0 || spec->quorum == 0 || spec->quorum > spec->copies ||
        spec->copies > spec->copies_max || spec->copies_max > KVP_JOB_COPIES_MAX) {
        return spec_refuse(KVP_BAD_REQUEST, "needed: 1 <= quorum <= copies <= max-copies <= 8",
                           reason);
    }
    if (spec->attempts_max == 0 || spec->rounds == 0 || spec->rounds > 64) {
        return spec_refuse(KVP_BAD_REQUEST, "needed: 1 to 255 attempts, 1 to 64 rounds", reason);
    }
    if (spec->silence_ms < SILENCE_MIN_MS || spec->silence_ms > SILENCE_MAX_MS) {
        return spec_refuse(KVP_BAD_REQUEST, "a worker is lost after 100 ms to 1 h of silence",
                           reason);
    }
    if (spec->retry_ms > RETRY_MAX_MS) {
        return spec_refuse(KVP_BAD_REQUEST, "a task that failed rests for 1 h at most", reason);
    }
    if (!isfinite(spec->tolerance) || spec->tolerance < 0) {
        return spec_refuse(KVP_BAD_REQUEST, "the tolerance is not a number >= 0", reason);
    }
    kvp_status status = check_failure(spec, reason);
    if (status != KVP_OK) {
        return status;
    }
    if (spec->type == KVP_JOB_MATMUL) {
        return check_matmul(spec, reason);
    }
    if (spec->compare != KVP_AGREE_EXACT || spec->verify != KVP_VERIFY_NONE) {
        return spec_refuse(KVP_BAD_REQUEST,
                           "only products of matrices have tolerances and verification", reason);
    }
    return KVP_OK;
}

/* ---- on the wire ---- */

/* Up to the last one that is not the default. */
static uint32_t spec_size(const struct kvp_job_spec *spec)
{
    return spec->key != NULL && spec->key[0] != '\0'    ? SPEC_KEY
           : spec->expires_s != 0                       ? SPEC_EXPIRES
           : spec->max_running != 0                     ? SPEC_MAX_RUNNING
           : spec->on_failure != KVP_ON_FAILURE_STOP    ? SPEC_ON_FAILURE
           : spec->retry_ms != KVP_JOB_RETRY_DEFAULT_MS ? SPEC_RETRY
                                                        : SPEC_SIZE;
}

static void spec_put_rest(struct kvp_mp_writer *writer, const struct kvp_job_spec *spec)
{
    const uint64_t rest[] = {spec->retry_ms, spec->on_failure, spec->max_running, spec->expires_s};
    uint32_t size = spec_size(spec);
    for (uint32_t i = 0; i < 4 && SPEC_RETRY + i <= size; i++) {
        kvp_mp_write_uint(writer, rest[i]);
    }
    if (size >= SPEC_KEY) {
        kvp_mp_write_text(writer, spec->key);
    }
}

kvp_status kvp_job_spec_encode(const struct kvp_job_spec *spec, kvp_buf *out)
{
    struct kvp_mp_writer writer;
    if (spec == NULL || out == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    const uint64_t first[] = {spec->type,       spec->copies,   spec->quorum,
                              spec->copies_max, spec->compare,  spec->verify,
                              spec->rounds,     spec->priority, spec->attempts_max};
    const uint64_t second[] = {spec->silence_ms, spec->deadline_ms, spec->delay_ms,
                               spec->keep_s,     spec->element,     spec->rows,
                               spec->inner,      spec->columns,     spec->tile_rows,
                               spec->tile_inner, spec->tile_columns};
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, spec_size(spec));
    kvp_mp_write_text(&writer, spec->name);
    for (size_t i = 0; i < 9; i++) {
        kvp_mp_write_uint(&writer, first[i]);
    }
    kvp_mp_write_double(&writer, spec->tolerance);
    for (size_t i = 0; i < 11; i++) {
        kvp_mp_write_uint(&writer, second[i]);
    }
    spec_put_rest(&writer, spec);
    return kvp_mp_write_end(&writer);
}

static void read_name(struct kvp_mp_reader *reader, char *name)
{
    kvp_slice text = kvp_mp_str(reader);
    if (text.size > KVP_NAME_SIZE_MAX ||
        (text.size > 0 && memchr(text.data, 0, text.size) != NULL)) {
        kvp_mp_fail(reader);
        return;
    }
    if (text.size > 0) {
        memcpy(name, text.data, text.size);
    }
    name[text.size] = '\0';
}

static void read_numbers(struct kvp_mp_reader *reader, struct kvp_job_spec *spec)
{
    uint8_t *const bytes[] = {&spec->type,       &spec->copies,   &spec->quorum,
                              &spec->copies_max, &spec->compare,  &spec->verify,
                              &spec->rounds,     &spec->priority, &spec->attempts_max};
    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        *bytes[i] = (uint8_t)kvp_mp_uint_max(reader, UINT8_MAX);
    }
    spec->tolerance = kvp_mp_double(reader);
    uint32_t *const times[] = {&spec->silence_ms, &spec->deadline_ms, &spec->delay_ms,
                               &spec->keep_s};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        *times[i] = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
    }
    spec->element = (uint8_t)kvp_mp_uint_max(reader, UINT8_MAX);
    spec->rows = kvp_mp_uint(reader);
    spec->inner = kvp_mp_uint(reader);
    spec->columns = kvp_mp_uint(reader);
    spec->tile_rows = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
    spec->tile_inner = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
    spec->tile_columns = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
}

static void spec_take_rest(struct kvp_mp_reader *reader, uint32_t size, struct kvp_job_spec *spec)
{
    if (size >= SPEC_RETRY) {
        spec->retry_ms = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
    }
    if (size >= SPEC_ON_FAILURE) {
        spec->on_failure = (uint8_t)kvp_mp_uint_max(reader, UINT8_MAX);
    }
    if (size >= SPEC_MAX_RUNNING) {
        spec->max_running = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
    }
    if (size >= SPEC_EXPIRES) {
        spec->expires_s = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
    }
}

kvp_slice kvp_job_spec_key(kvp_slice bytes)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, bytes);
    uint32_t size = kvp_mp_array(&reader);
    for (uint32_t i = 1; i < SPEC_KEY && size == SPEC_KEY && !reader.failed; i++) {
        (void)kvp_mp_skip(&reader);
    }
    kvp_slice key = size == SPEC_KEY ? kvp_mp_str(&reader) : (kvp_slice){0};
    return reader.failed ? (kvp_slice){0} : key;
}

static bool spec_key_is_good(kvp_slice key)
{
    return key.size <= KVP_NAME_SIZE_MAX && kvp_utf8_is_valid(key) &&
           (key.size == 0 || !memchr(key.data, 0, key.size));
}

kvp_status kvp_job_spec_decode(kvp_slice bytes, struct kvp_job_spec *spec, const char **reason)
{
    struct kvp_mp_reader reader;
    struct kvp_job_spec read = {.retry_ms = KVP_JOB_RETRY_DEFAULT_MS};
    if (spec == NULL || reason == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_mp_begin(&reader, bytes);
    uint32_t size = kvp_mp_array(&reader);
    read_name(&reader, read.name);
    read_numbers(&reader, &read);
    spec_take_rest(&reader, size, &read);
    kvp_slice key = size == SPEC_KEY ? kvp_mp_str(&reader) : (kvp_slice){0};
    if (size < SPEC_SIZE || size > SPEC_KEY || !kvp_mp_done(&reader)) {
        return spec_refuse(KVP_BAD_REQUEST, "not the specification of a job", reason);
    }
    if (!spec_key_is_good(key)) {
        return spec_refuse(KVP_BAD_REQUEST, "the key of a job is at most 64 bytes of UTF-8",
                           reason);
    }
    kvp_status status = kvp_job_spec_check(&read, reason);
    if (status == KVP_OK) {
        *spec = read;
    }
    return status;
}

/* ---- tasks ---- */

static void spec_take_task(struct kvp_mp_reader *reader, struct kvp_job_task *task)
{
    kvp_mp_array_of(reader, 4);
    task->kind = kvp_mp_str(reader);
    task->after_count = kvp_mp_array(reader);
    const uint8_t *start = reader->next;
    for (uint32_t i = 0; i < task->after_count && !reader->failed; i++) {
        (void)kvp_mp_uint_max(reader, KVP_JOB_TASKS_MAX);
    }
    task->after = kvp_slice_of(start, (size_t)(reader->next - start));
    task->feed = kvp_mp_bool(reader);
    task->payload = kvp_mp_bin(reader);
}

bool kvp_job_kind_is_reserved(kvp_slice kind)
{
    return kvp_slice_compare(kind,
                             kvp_slice_of(KVP_JOB_MATMUL_KIND, strlen(KVP_JOB_MATMUL_KIND))) == 0 ||
           kvp_slice_compare(kind,
                             kvp_slice_of(KVP_JOB_BLOCKS_KIND, strlen(KVP_JOB_BLOCKS_KIND))) == 0;
}

static kvp_status check_task(const struct kvp_job_task *task, const char **reason)
{
    if (task->kind.size == 0 || task->kind.size > KVP_NAME_SIZE_MAX ||
        memchr(task->kind.data, 0, task->kind.size) != NULL || !kvp_utf8_is_valid(task->kind)) {
        return spec_refuse(KVP_BAD_REQUEST, "the kind of a task is 1 to 64 bytes of UTF-8", reason);
    }
    if (kvp_job_kind_is_reserved(task->kind)) {
        return spec_refuse(
            KVP_BAD_REQUEST,
            "the kinds matmul and matmul-blocks are reserved for products of matrices", reason);
    }
    if (task->after_count > KVP_JOB_DEPS_MAX) {
        return spec_refuse(KVP_TOO_LARGE, "a task that waits for more than 4096 others", reason);
    }
    return task->payload.size > KVP_VALUE_SIZE_MAX
               ? spec_refuse(KVP_TOO_LARGE, "a payload of more than 1 MiB", reason)
               : KVP_OK;
}

kvp_status kvp_job_tasks_begin(kvp_slice array, struct kvp_job_tasks *tasks, const char **reason)
{
    struct kvp_mp_reader reader;
    if (tasks == NULL || reason == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_mp_begin(&reader, array);
    uint32_t count = kvp_mp_array(&reader);
    kvp_slice rest = kvp_slice_of(reader.next, (size_t)(reader.end - reader.next));
    if (count > KVP_JOB_BATCH_MAX) {
        return spec_refuse(KVP_TOO_LARGE, "more than 1024 tasks in a message", reason);
    }
    for (uint32_t i = 0; i < count && !reader.failed; i++) {
        struct kvp_job_task task;
        spec_take_task(&reader, &task);
        kvp_status status = reader.failed ? KVP_OK : check_task(&task, reason);
        if (status != KVP_OK) {
            return status;
        }
    }
    if (!kvp_mp_done(&reader)) {
        return spec_refuse(KVP_BAD_REQUEST, "not a list of tasks", reason);
    }
    *tasks = (struct kvp_job_tasks){count, 0, rest};
    return KVP_OK;
}

bool kvp_job_tasks_next(struct kvp_job_tasks *tasks, struct kvp_job_task *task)
{
    struct kvp_mp_reader reader;
    if (tasks == NULL || task == NULL || tasks->next == tasks->count) {
        return false;
    }
    kvp_mp_begin(&reader, tasks->rest);
    spec_take_task(&reader, task);
    tasks->rest = kvp_slice_of(reader.next, (size_t)(reader.end - reader.next));
    tasks->next++;
    return true;
}

uint32_t kvp_job_after_next(struct kvp_job_task *task)
{
    struct kvp_mp_reader reader;
    if (task == NULL) {
        return 0;
    }
    kvp_mp_begin(&reader, task->after);
    uint32_t number = (uint32_t)kvp_mp_uint(&reader);
    task->after = kvp_slice_of(reader.next, (size_t)(reader.end - reader.next));
    return number;
}

kvp_status kvp_job_tasks_open(kvp_buf *out, uint32_t count)
{
    struct kvp_mp_writer writer;
    if (out == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, count);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_job_tasks_put(kvp_buf *out, kvp_slice kind, const uint32_t *after,
                             uint32_t after_count, bool feed, kvp_slice payload)
{
    struct kvp_mp_writer writer;
    if (out == NULL || (after == NULL && after_count > 0)) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, 4);
    kvp_mp_write_str(&writer, kind);
    kvp_mp_write_array(&writer, after_count);
    for (uint32_t i = 0; i < after_count; i++) {
        kvp_mp_write_uint(&writer, after[i]);
    }
    kvp_mp_write_bool(&writer, feed);
    kvp_mp_write_bin(&writer, payload);
    return kvp_mp_write_end(&writer);
}
