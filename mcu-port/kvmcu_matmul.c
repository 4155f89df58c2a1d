/* SPDX-License-Identifier: Apache-2.0 */
#include "kvmcu_matmul.h"

#include <string.h>

#define HEAD_SIZE    16u
#define FLOAT32_OVER 0x1.ffffffp127 /* from here on it rounds to infinity */

/* ---- bytes ---- */

static uint32_t load32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t load64(const uint8_t *at)
{
    return load32(at) | (uint64_t)load32(at + 4) << 32;
}

static void store32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static void store64(uint8_t *at, uint64_t value)
{
    store32(at, (uint32_t)value);
    store32(at + 4, (uint32_t)(value >> 32));
}

static double load_double(const uint8_t *at, unsigned type)
{
    double value;
    if (type == KVMCU_FLOAT32) {
        uint32_t bits = load32(at);
        float narrow;
        memcpy(&narrow, &bits, sizeof(narrow));
        value = (double)narrow;
    } else {
        uint64_t bits = load64(at);
        memcpy(&value, &bits, sizeof(value));
    }
    return value;
}

/* ---- one element ---- */

/* Products of two words are added by halves, so that nothing is lost on the way. */
static bool sum_int32(const struct kvmcu_tile *tile, const uint8_t *a, const uint8_t *b,
                      uint8_t *result)
{
    uint64_t low = 0;
    int64_t high = 0;
    for (uint32_t k = 0; k < tile->inner; k++) {
        int64_t product = (int64_t)(int32_t)load32(a) * (int32_t)load32(b);
        low += (uint32_t)product;
        high += product >> 32;
        a += 4;
        b += (size_t)tile->columns * 4;
    }
    high += (int64_t)(low >> 32);
    store32(result, (uint32_t)low);
    return high == ((uint32_t)low >> 31 != 0 ? -1 : 0);
}

/* Two's complement, the lowest word first. */
struct wide {
    uint64_t words[3];
};

static void add(struct wide *sum, unsigned from, uint64_t word)
{
    for (unsigned i = from; i < 3 && word != 0; i++) {
        sum->words[i] += word;
        word = sum->words[i] < word ? 1 : 0;
    }
}

static void add_product(struct wide *sum, uint64_t a, uint64_t b)
{
    uint64_t a_low = (uint32_t)a, a_high = a >> 32, b_low = (uint32_t)b, b_high = b >> 32;
    uint64_t low = a_low * b_low, high = a_high * b_high;
    uint64_t middle = a_high * b_low, other = a_low * b_high;
    add(sum, 0, low);
    add(sum, 1, high);
    add(sum, 0, middle << 32);
    add(sum, 1, middle >> 32);
    add(sum, 0, other << 32);
    add(sum, 1, other >> 32);
    /* For each that is negative it was 2^64 times the other one too much, for both together 2^128
     * less than that. */
    if (a >> 63 != 0) {
        add(sum, 1, ~b + 1);
        add(sum, 2, b != 0 ? UINT64_MAX : 0);
    }
    if (b >> 63 != 0) {
        add(sum, 1, ~a + 1);
        add(sum, 2, a != 0 ? UINT64_MAX : 0);
    }
    if ((a & b) >> 63 != 0) {
        add(sum, 2, 1);
    }
}

static bool sum_int64(const struct kvmcu_tile *tile, const uint8_t *a, const uint8_t *b,
                      uint8_t *result)
{
    struct wide sum = {{0, 0, 0}};
    for (uint32_t k = 0; k < tile->inner; k++) {
        add_product(&sum, load64(a), load64(b));
        a += 8;
        b += (size_t)tile->columns * 8;
    }
    uint64_t sign = sum.words[0] >> 63 != 0 ? UINT64_MAX : 0;
    store64(result, sum.words[0]);
    return sum.words[1] == sign && sum.words[2] == sign;
}

static bool sum_floats(const struct kvmcu_tile *tile, const uint8_t *a, const uint8_t *b,
                       uint8_t *result)
{
    unsigned type = tile->type, size = tile->element_size;
    double sum = 0;
    uint64_t bits;
    for (uint32_t k = 0; k < tile->inner; k++) {
        double product = load_double(a, type) * load_double(b, type);
        sum += product;
        a += size;
        b += (size_t)tile->columns * size;
    }
    if (type == KVMCU_FLOAT32) {
        if (!(sum < FLOAT32_OVER && sum > -FLOAT32_OVER)) {
            return false;
        }
        float narrow = (float)sum;
        uint32_t narrow_bits;
        memcpy(&narrow_bits, &narrow, sizeof(narrow_bits));
        store32(result, narrow_bits);
        return true;
    }
    memcpy(&bits, &sum, sizeof(bits));
    store64(result, bits);
    return (bits >> 52 & 0x7ff) != 0x7ff;
}

/* ---- tiles ---- */

bool kvmcu_tile_read(struct kvmcu_tile *tile, const uint8_t *payload, uint32_t size)
{
    if (size < HEAD_SIZE || load32(payload) > KVMCU_FLOAT64) {
        return false;
    }
    tile->type = payload[0];
    tile->element_size = tile->type == KVMCU_INT32 || tile->type == KVMCU_FLOAT32 ? 4 : 8;
    tile->rows = load32(payload + 4);
    tile->inner = load32(payload + 8);
    tile->columns = load32(payload + 12);

    unsigned bits = tile->element_size == 4 ? 2 : 3;
    uint32_t room = (size - HEAD_SIZE) >> bits;
    if (tile->rows == 0 || tile->inner == 0 || tile->columns == 0 || tile->rows > room ||
        tile->columns > room) {
        return false;
    }
    uint64_t a_size = (uint64_t)tile->rows * tile->inner;
    uint64_t b_size = (uint64_t)tile->inner * tile->columns;
    uint64_t c_size = (uint64_t)tile->rows * tile->columns << bits;
    if (a_size + b_size != room || room << bits != size - HEAD_SIZE || c_size > UINT32_MAX) {
        return false;
    }
    tile->result_size = (uint32_t)c_size;
    tile->a = payload + HEAD_SIZE;
    tile->b = tile->a + ((size_t)a_size << bits);
    return true;
}

bool kvmcu_tile_row(const struct kvmcu_tile *tile, uint32_t row, uint8_t *result)
{
    size_t size = tile->element_size;
    const uint8_t *a = tile->a + (size_t)row * tile->inner * size;
    uint8_t *to = result + (size_t)row * tile->columns * size;
    bool fits = true;
    for (uint32_t column = 0; column < tile->columns; column++) {
        const uint8_t *b = tile->b + column * size;
        bool good = tile->type == KVMCU_INT32   ? sum_int32(tile, a, b, to)
                    : tile->type == KVMCU_INT64 ? sum_int64(tile, a, b, to)
                                                : sum_floats(tile, a, b, to);
        fits = fits && good;
        to += size;
    }
    return fits;
}

/* ---- tasks ---- */

/* Only what surely takes the task away does; it is not known of others. */
static bool is_lost(const struct kvmcu *client, int status)
{
    switch (status) {
    case KVMCU_OK:
        return !kvmcu_wanted(client);
    case KVMCU_NO_SUCH_JOB:
    case KVMCU_JOB_STATE:
    case KVMCU_WORKER_UNKNOWN:
    case KVMCU_WORKER_REPLACED:
    case KVMCU_WORKER_BARRED:
    case KVMCU_NOT_HELD:
        return true;
    default:
        return false;
    }
}

/* KVMCU_PENDING: it is done, and is to be posted with the outcome. */
static int multiply(struct kvmcu *client, struct kvmcu_task *task, const struct kvmcu_tile *tile,
                    kvmcu_row *row_of, uint8_t *outcome)
{
    const struct kvmcu_transport *transport = client->transport;
    uint8_t *result = client->worker->workspace + task->payload_size;
    uint32_t beat_ms = transport->now_ms(transport->arg);
    for (uint32_t row = 0; row < tile->rows; row++) {
        if (!row_of(tile, row, result)) {
            *outcome = KVMCU_OUTCOME_OVERFLOW;
            return KVMCU_PENDING;
        }
        if (transport->now_ms(transport->arg) - beat_ms >= task->beat_ms) {
            uint16_t progress = (uint16_t)((row + 1) * 1000u / tile->rows);
            int status = kvmcu_beat(client, task, progress, NULL, 0, task->beat_ms);
            if (is_lost(client, status)) {
                return status;
            }
            beat_ms = transport->now_ms(transport->arg);
        }
    }
    *outcome = KVMCU_OUTCOME_RESULT;
    return KVMCU_PENDING;
}

static int post(struct kvmcu *client, struct kvmcu_task *task, uint8_t outcome, const void *data,
                uint32_t size, uint32_t timeout_ms)
{
    int status;
    do {
        status = kvmcu_post(client, task, outcome, data, size, timeout_ms);
    } while (status == KVMCU_TIMEOUT || status == KVMCU_TIMEOUT_UNKNOWN || status == KVMCU_CORRUPT);
    return status;
}

static int fail(struct kvmcu *client, struct kvmcu_task *task, const char *reason, uint32_t size,
                uint32_t timeout_ms)
{
    return post(client, task, KVMCU_OUTCOME_FAILED, reason, size, timeout_ms);
}

int kvmcu_matmul(struct kvmcu *client, kvmcu_row *row, uint16_t wait_ms, uint32_t timeout_ms)
{
    static const char bad[] = "this is no matrix task", large[] = "the task is too large";
    const struct kvmcu_worker *worker = client->worker;
    struct kvmcu_task task;
    struct kvmcu_tile tile;
    uint8_t outcome = KVMCU_OUTCOME_RESULT;
    int status = kvmcu_fetch(client, &task, wait_ms, timeout_ms);
    if (status == KVMCU_DOES_NOT_FIT) {
        return fail(client, &task, large, sizeof(large) - 1, timeout_ms);
    }
    if (status != KVMCU_OK) {
        return status;
    }
    if (!kvmcu_tile_read(&tile, worker->workspace, task.payload_size)) {
        return fail(client, &task, bad, sizeof(bad) - 1, timeout_ms);
    }
    if (tile.result_size > worker->workspace_size - task.payload_size) {
        return fail(client, &task, large, sizeof(large) - 1, timeout_ms);
    }
    status = multiply(client, &task, &tile, row != NULL ? row : kvmcu_tile_row, &outcome);
    if (status == KVMCU_PENDING) {
        status = post(client, &task, outcome, worker->workspace + task.payload_size,
                      outcome == KVMCU_OUTCOME_RESULT ? tile.result_size : 0, timeout_ms);
    }
    return status == KVMCU_WORKER_REPLACED || status == KVMCU_WORKER_BARRED ? status : KVMCU_OK;
}
