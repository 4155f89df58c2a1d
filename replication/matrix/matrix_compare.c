/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/matrix/matrix_compare.h"
#include "replication/matrix/matrix_element.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* Two results, and the rule with its floor settled. */
struct pair {
    enum kvp_matrix_type type;
    size_t size;
    uint64_t rows, columns;
    const uint8_t *x, *y;
    enum kvp_agreement kind;
    double tolerance, floor;
};

bool kvp_agreement_valid(uint64_t kind)
{
    return kind <= KVP_AGREE_CHECKSUM;
}

static bool is_size(double value)
{
    return isfinite(value) && value >= 0;
}

/* ---- elements ---- */

static bool integers_agree(const struct pair *pair, int64_t x, int64_t y)
{
    uint64_t distance = x > y ? (uint64_t)x - (uint64_t)y : (uint64_t)y - (uint64_t)x;
    if (pair->kind == KVP_AGREE_EXACT || distance == 0) {
        return distance == 0;
    }
    if (pair->kind == KVP_AGREE_ABSOLUTE) {
        return pair->tolerance >= 0x1p64 || distance <= (uint64_t)pair->tolerance;
    }
    double larger = fmax(fabs((double)x), fabs((double)y));
    return (double)distance <= pair->tolerance * larger || (double)distance <= pair->floor;
}

static bool reals_agree(const struct pair *pair, double x, double y)
{
    double distance = fabs(x - y);
    if (pair->kind == KVP_AGREE_EXACT) {
        return x == y;
    }
    if (!isfinite(x) || !isfinite(y)) {
        return false;
    }
    if (pair->kind == KVP_AGREE_ABSOLUTE) {
        return distance <= pair->tolerance;
    }
    return distance <= pair->tolerance * fmax(fabs(x), fabs(y)) || distance <= pair->floor;
}

static bool elements_agree(const struct pair *pair, uint64_t index)
{
    const uint8_t *x = pair->x + index * pair->size, *y = pair->y + index * pair->size;
    if (kvp_matrix_type_is_float(pair->type)) {
        return reals_agree(pair, kvp_load_real(pair->type, x), kvp_load_real(pair->type, y));
    }
    return integers_agree(pair, kvp_load_integer(pair->type, x), kvp_load_integer(pair->type, y));
}

static struct kvp_comparison compare_elements(const struct pair *pair)
{
    struct kvp_comparison result = {.agree = true};
    for (uint64_t i = 0; result.agree && i < pair->rows * pair->columns; i++) {
        if (!elements_agree(pair, i)) {
            result = (struct kvp_comparison){false, i / pair->columns, i % pair->columns};
        }
    }
    return result;
}

/* ---- checksums ---- */

/* Of one row or column: the sum of x - y modulo 2^64, or the sums of x, of y and of magnitudes. */
struct checksum {
    uint64_t difference;
    double x, y, magnitude_x, magnitude_y;
};

static void checksum_add(const struct pair *pair, uint64_t index, struct checksum *sum)
{
    const uint8_t *x = pair->x + index * pair->size, *y = pair->y + index * pair->size;
    if (!kvp_matrix_type_is_float(pair->type)) {
        sum->difference += (uint64_t)kvp_load_integer(pair->type, x);
        sum->difference -= (uint64_t)kvp_load_integer(pair->type, y);
        return;
    }
    sum->x += kvp_load_real(pair->type, x);
    sum->y += kvp_load_real(pair->type, y);
    sum->magnitude_x += fabs(kvp_load_real(pair->type, x));
    sum->magnitude_y += fabs(kvp_load_real(pair->type, y));
}

static bool checksum_agrees(const struct pair *pair, const struct checksum *sum)
{
    double distance = fabs(sum->x - sum->y);
    double larger = fmax(sum->magnitude_x, sum->magnitude_y);
    if (!kvp_matrix_type_is_float(pair->type)) {
        return sum->difference == 0;
    }
    if (!isfinite(sum->magnitude_x) || !isfinite(sum->magnitude_y)) {
        return false;
    }
    return distance <= pair->tolerance * larger || distance <= pair->floor;
}

static kvp_status compare_sums(const struct pair *pair, struct kvp_comparison *result)
{
    struct kvp_comparison found = {.agree = true};
    struct checksum *columns = calloc((size_t)pair->columns, sizeof(*columns));
    if (columns == NULL) {
        return KVP_NO_MEMORY;
    }
    for (uint64_t row = 0; row < pair->rows; row++) {
        struct checksum sum = {0};
        for (uint64_t column = 0; column < pair->columns; column++) {
            checksum_add(pair, row * pair->columns + column, &sum);
            checksum_add(pair, row * pair->columns + column, &columns[column]);
        }
        if (found.agree && !checksum_agrees(pair, &sum)) {
            found.agree = false;
            found.row = row;
        }
    }
    for (uint64_t column = 0; column < pair->columns; column++) {
        if (!checksum_agrees(pair, &columns[column])) {
            found.agree = false;
            found.column = column;
            break;
        }
    }
    free(columns);
    *result = found;
    return KVP_OK;
}

kvp_status kvp_matrix_compare(const struct kvp_compare_rule *rule, enum kvp_matrix_type type,
                              uint64_t rows, uint64_t columns, kvp_slice x, kvp_slice y,
                              struct kvp_comparison *result)
{
    uint64_t size;
    if (!kvp_agreement_valid(rule->kind) || !is_size(rule->tolerance) || !is_size(rule->floor)) {
        return KVP_BAD_ARGUMENT;
    }
    if (kvp_matrix_size(type, rows, columns, &size) != KVP_OK || x.size != size || y.size != size) {
        return KVP_BAD_REQUEST;
    }
    double smallest = type == KVP_FLOAT32 ? (double)FLT_MIN : DBL_MIN;
    const struct pair pair = {
        .type = type,
        .size = kvp_matrix_element_size(type),
        .rows = rows,
        .columns = columns,
        .x = x.data,
        .y = y.data,
        .kind = rule->kind,
        .tolerance = rule->tolerance,
        .floor = rule->floor > 0 || !kvp_matrix_type_is_float(type) ? rule->floor : smallest,
    };
    if (rule->kind == KVP_AGREE_CHECKSUM) {
        return compare_sums(&pair, result);
    }
    *result = compare_elements(&pair);
    return KVP_OK;
}
