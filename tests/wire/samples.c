/* SPDX-License-Identifier: Apache-2.0 */
/* What clients and workers of the story ask, what they are told, and the table of all samples. */
#include "tests/wire/samples_parts.h"
#include "kvpair/job_spec.h"
#include "kvpair/matrix.h"
#include "kvstore/keyspace.h"
#include "kvstore/writeset.h"
#include "replication/wire/mp_writer.h"
#include "replication/wire/peer_wire.h"
#include "replication/wire/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

void must(kvp_status status)
{
    if (status != KVP_OK) {
        fprintf(stderr, "a sample was refused: %s\n", kvp_strerror(status));
        abort();
    }
}

kvp_slice text(const char *string)
{
    return kvp_slice_of(string, strlen(string));
}

/* ---- client requests ---- */

static struct kvp_request request_of(unsigned op)
{
    return (struct kvp_request){.op = op, .group = text("default"), .epoch_seen = EPOCH};
}

static struct kvp_request update_of(unsigned op)
{
    struct kvp_request request = request_of(op);
    request.session = (struct kvp_session_id){CLIENT, 0, 7, 40};
    request.key = text("lamp");
    return request;
}

static void put_request(const struct kvp_request *request, kvp_buf *out)
{
    must(kvp_wire_request_encode(request, out));
}

static void hello_request(kvp_buf *out)
{
    struct kvp_request request = request_of(KVP_OP_HELLO);
    request.epoch_seen = 0;
    put_request(&request, out);
}

static void get_request(kvp_buf *out)
{
    struct kvp_request request = request_of(KVP_OP_GET);
    request.key = text("lamp");
    put_request(&request, out);
}

static void put_put_request(kvp_buf *out)
{
    struct kvp_request request = update_of(KVP_OP_PUT);
    request.value = text("on");
    put_request(&request, out);
}

static void create_request(kvp_buf *out)
{
    struct kvp_request request = update_of(KVP_OP_CREATE);
    request.value = text("on");
    put_request(&request, out);
}

static void delete_request(kvp_buf *out)
{
    struct kvp_request request = update_of(KVP_OP_DELETE);
    request.version = REVISION;
    put_request(&request, out);
}

static void cas_request(kvp_buf *out)
{
    struct kvp_request request = update_of(KVP_OP_CAS);
    request.version = REVISION;
    request.value = text("off");
    put_request(&request, out);
}

static void scan_request(kvp_buf *out)
{
    struct kvp_request request = request_of(KVP_OP_SCAN);
    request.key = text("l");
    request.value = text("m");
    request.count_max = 100;
    request.size_max = 65536;
    put_request(&request, out);
}

static void watch_request(kvp_buf *out)
{
    struct kvp_request request = request_of(KVP_OP_WATCH);
    request.key = text("l");
    request.value = text("m");
    request.version = 43;
    request.count_max = 100;
    request.size_max = 65536;
    request.wait_ms = 10000;
    put_request(&request, out);
}

static void txn_request(kvp_buf *out)
{
    const struct kvp_compare compares[] = {
        {.kind = KVP_COMPARE_VERSION_EQUAL, .key = text("lamp"), .version = REVISION},
        {.kind = KVP_COMPARE_VALUE_DIFFERS, .key = text("lock"), .value = text("held")},
        {.kind = KVP_COMPARE_ABSENT, .key = text("fuse")},
    };
    const struct kvp_txn_op then_ops[] = {
        {KVP_TXN_PUT, text("lamp"), text("off")},
        {KVP_TXN_DELETE, text("lock"), {0}},
    };
    const struct kvp_txn_op else_ops[] = {{KVP_TXN_GET, text("lamp"), {0}}};
    struct kvp_request request = update_of(KVP_OP_TXN);
    request.key = (kvp_slice){0};
    request.compares = compares;
    request.compare_count = 3;
    request.then_ops = then_ops;
    request.then_count = 2;
    request.else_ops = else_ops;
    request.else_count = 1;
    put_request(&request, out);
}

static void status_request(kvp_buf *out)
{
    struct kvp_request request = request_of(KVP_OP_STATUS);
    put_request(&request, out);
}

static void access_change_request(kvp_buf *out)
{
    struct kvp_request request = update_of(KVP_OP_ACCESS_CHANGE);
    kvp_buf rights = {0};
    must(kvp_wire_array(&rights, 2));
    must(kvp_wire_string(&rights, "read lamp"));
    must(kvp_wire_string(&rights, "submit"));
    request.key = text("user/ann");
    request.force = true;
    request.value = kvp_buf_slice(&rights);
    put_request(&request, out);
    kvp_buf_free(&rights);
}

static void member_change_request(kvp_buf *out)
{
    struct kvp_request request = update_of(KVP_OP_MEMBER_CHANGE);
    request.member.what = 3;
    request.member.id = 2;
    request.member.new_id = 4;
    request.key = text("tcp://10.0.0.4:7000");
    put_request(&request, out);
}

static void access_list_request(kvp_buf *out)
{
    struct kvp_request request = request_of(KVP_OP_ACCESS_LIST);
    put_request(&request, out);
}

static void handover_request(kvp_buf *out)
{
    struct kvp_request request = request_of(KVP_OP_HANDOVER);
    request.target = 2;
    put_request(&request, out);
}

static void promote_request(kvp_buf *out)
{
    struct kvp_request request = request_of(KVP_OP_PROMOTE);
    request.force = true;
    put_request(&request, out);
}

static void backup_request(kvp_buf *out)
{
    struct kvp_request request = request_of(KVP_OP_BACKUP);
    request.size_max = 65536;
    request.version = 43;
    put_request(&request, out);
}

static void close_scan_request(kvp_buf *out)
{
    struct kvp_request request = request_of(KVP_OP_CLOSE_SCAN);
    request.cursor = 1048577;
    put_request(&request, out);
}

/* ---- requests about jobs ---- */

static struct kvp_request about_job(unsigned op, uint64_t job)
{
    struct kvp_request request = update_of(op);
    request.key = (kvp_slice){0};
    request.job.job = job;
    return request;
}

/* Takes over `value`. */
static void put_with_value(struct kvp_request *request, kvp_buf *value, kvp_buf *out)
{
    request->value = kvp_buf_slice(value);
    put_request(request, out);
    kvp_buf_free(value);
}

static struct kvp_job_spec product(void)
{
    struct kvp_job_spec spec;
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    must(kvp_job_spec_mode(&spec, "dual-compare"));
    memcpy(spec.name, "product", sizeof("product"));
    spec.element = KVP_INT32;
    spec.rows = spec.inner = spec.columns = spec.tile_inner = 2;
    spec.tile_rows = spec.tile_columns = 1;
    return spec;
}

static void job_new_request(kvp_buf *out)
{
    struct kvp_request request = about_job(KVP_OP_JOB_NEW, 0);
    struct kvp_job_spec spec = product();
    kvp_buf array = {0};
    must(kvp_job_spec_encode(&spec, &array));
    put_with_value(&request, &array, out);
}

/* The first row of A. */
static void job_data_request(kvp_buf *out)
{
    struct kvp_request request = about_job(KVP_OP_JOB_DATA, PRODUCT);
    request.value = kvp_slice_of("\x01\0\0\0\x02\0\0\0", 8);
    put_request(&request, out);
}

static void job_tasks_request(kvp_buf *out)
{
    struct kvp_request request = about_job(KVP_OP_JOB_TASKS, COUNTS);
    static const uint32_t after[] = {0};
    kvp_buf array = {0};
    must(kvp_job_tasks_open(&array, 2));
    must(kvp_job_tasks_put(&array, text("count"), NULL, 0, false, text("to be or not")));
    must(kvp_job_tasks_put(&array, text("sum"), after, 1, true, text("")));
    put_with_value(&request, &array, out);
}

static void job_info_request(kvp_buf *out)
{
    struct kvp_request request = about_job(KVP_OP_JOB_INFO, PRODUCT);
    request.session = (struct kvp_session_id){0};
    request.job.what = KVP_INFO_JOB;
    put_request(&request, out);
}

static void job_result_request(kvp_buf *out)
{
    struct kvp_request request = about_job(KVP_OP_JOB_RESULT, PRODUCT);
    request.session = (struct kvp_session_id){0};
    put_request(&request, out);
}

static void job_block_request(kvp_buf *out)
{
    struct kvp_request request = about_job(KVP_OP_JOB_BLOCK, PRODUCT);
    request.session = (struct kvp_session_id){0};
    request.job.number = 2; /* of B, the first column */
    put_request(&request, out);
}

/* ---- requests of workers ---- */

static struct kvp_request of_worker(unsigned op)
{
    struct kvp_request request = request_of(op);
    request.key = text("mcu-7");
    request.job.instance = INSTANCE;
    return request;
}

static struct kvp_request about_task(unsigned op)
{
    struct kvp_request request = of_worker(op);
    request.job.job = PRODUCT;
    request.job.attempt = ATTEMPT;
    return request;
}

static void worker_join_request(kvp_buf *out)
{
    struct kvp_request request = of_worker(KVP_OP_WORKER_JOIN);
    struct kvp_mp_writer writer;
    kvp_buf kinds = {0};
    kvp_mp_write_begin(&writer, &kinds);
    kvp_mp_write_array(&writer, 1);
    kvp_mp_write_text(&writer, KVP_JOB_MATMUL_KIND);
    must(kvp_mp_write_end(&writer));
    request.session = (struct kvp_session_id){CLIENT, 0, 7, 40};
    request.job.buffer = 4096;
    put_with_value(&request, &kinds, out);
}

static void worker_leave_request(kvp_buf *out)
{
    struct kvp_request request = of_worker(KVP_OP_WORKER_LEAVE);
    put_request(&request, out);
}

static void task_fetch_request(kvp_buf *out)
{
    struct kvp_request request = of_worker(KVP_OP_TASK_FETCH);
    request.job.number = 1;
    request.job.wait_ms = 10000;
    put_request(&request, out);
}

static void task_beat_request(kvp_buf *out)
{
    struct kvp_request request = about_task(KVP_OP_TASK_BEAT);
    request.job.progress = 500;
    put_request(&request, out);
}

static void task_checkpoint_request(kvp_buf *out)
{
    struct kvp_request request = about_task(KVP_OP_TASK_BEAT);
    request.job.progress = 500;
    request.job.has_checkpoint = true;
    request.value = kvp_slice_of("\x05\0\0\0", 4);
    put_request(&request, out);
}

/* 1 * 5 + 2 * 7 */
static const uint8_t tile_result[4] = {19};

static void task_post_request(kvp_buf *out)
{
    struct kvp_request request = about_task(KVP_OP_TASK_POST);
    request.session = (struct kvp_session_id){CLIENT, 0, 8, 40};
    request.job.outcome = KVP_OUTCOME_RESULT;
    request.value = kvp_slice_of(tile_result, sizeof(tile_result));
    request.job.crc = (uint32_t)crc32_z(0, tile_result, sizeof(tile_result));
    put_request(&request, out);
}

/* ---- answers ---- */

void put_answer(kvp_buf *out, int status, const char *hint, kvp_buf *result)
{
    struct kvp_answer answer = {status, EPOCH, text(hint), kvp_buf_slice(result)};
    must(kvp_wire_answer_encode(&answer, out));
    kvp_buf_free(result);
}

#define PRIMARY_URL "tcp://10.0.0.1:7000"

static void put_uint_answer(kvp_buf *out, int status, uint64_t number)
{
    kvp_buf result = {0};
    must(kvp_wire_result_uint(&result, number));
    put_answer(out, status, PRIMARY_URL, &result);
}

static void put_text_answer(kvp_buf *out, int status, const char *hint, const char *reason)
{
    kvp_buf result = {0};
    if (reason != NULL) {
        must(kvp_wire_result_string(&result, reason));
    }
    put_answer(out, status, hint, &result);
}

static void hello_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    struct kvp_hello hello = {
        .node_id = 1,
        .role = KVP_ROLE_PRIMARY,
        .primary_id = 1,
        .group_id = GROUP_ID,
        .session_start = 40,
        .node_count = 2,
    };
    hello.nodes[0].id = 1;
    hello.nodes[0].url = text(PRIMARY_URL);
    hello.nodes[1].id = 2;
    hello.nodes[1].url = text("tcp://10.0.0.2:7000");
    must(kvp_wire_result_hello(&result, &hello));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void get_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    must(kvp_wire_result_get(&result, REVISION, 12, text("on"), 0));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void not_found_answer(kvp_buf *out)
{
    put_text_answer(out, KVP_NOT_FOUND, PRIMARY_URL, NULL);
}

static void put_put_answer(kvp_buf *out)
{
    put_uint_answer(out, KVP_OK, REVISION);
}

static void exists_answer(kvp_buf *out)
{
    put_uint_answer(out, KVP_EXISTS, REVISION);
}

static void differs_answer(kvp_buf *out)
{
    put_uint_answer(out, KVP_VERSION_DIFFERS, 47);
}

static void scan_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    struct kvp_scan_writer writer;
    must(kvp_wire_scan_begin(&writer, &result));
    must(kvp_wire_scan_pair(&writer, text("lamp"), REVISION, 12, text("on")));
    must(kvp_wire_scan_pair(&writer, text("lock"), 30, 30, text("")));
    must(kvp_wire_scan_end(&writer, 1048577, 44, 0));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void backup_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    const struct kvp_backup_page page = {
        .cursor = 4294967296, .more = true, .revision = 48, .bytes = text("KVPBACK1")};
    must(kvp_wire_result_backup(&result, &page));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void watch_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    struct kvp_scan_writer writer;
    must(kvp_wire_scan_begin(&writer, &result));
    must(kvp_wire_scan_pair(&writer, text("lamp"), REVISION, 12, text("on")));
    must(kvp_wire_scan_pair(&writer, text("lock"), 45, 0, text("")));
    must(kvp_wire_scan_end(&writer, 49, 48, 0));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void watch_compacted_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    must(kvp_wire_result_uint(&result, 1200));
    put_answer(out, KVP_COMPACTED, PRIMARY_URL, &result);
}

static void txn_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    must(kvp_wire_txn_begin(&result, true, 44, 2));
    must(kvp_wire_txn_put(&result));
    must(kvp_wire_txn_delete(&result, true));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void txn_else_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    struct kvp_get_result get = {.modify = 47, .create = 12, .value = text("dim")};
    must(kvp_wire_txn_begin(&result, false, 49, 2));
    must(kvp_wire_txn_get(&result, &get));
    must(kvp_wire_txn_get(&result, NULL));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void access_list_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    must(kvp_wire_array(&result, 1));
    must(kvp_wire_map(&result, 2));
    must(kvp_wire_string(&result, "identity"));
    must(kvp_wire_string(&result, "user/ann"));
    must(kvp_wire_string(&result, "rights"));
    must(kvp_wire_array(&result, 2));
    must(kvp_wire_string(&result, "read lamp"));
    must(kvp_wire_string(&result, "submit"));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void status_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    must(kvp_wire_map(&result, 4));
    must(kvp_wire_string(&result, "node"));
    must(kvp_wire_uint(&result, 1));
    must(kvp_wire_string(&result, "serving"));
    must(kvp_wire_bool(&result, true));
    must(kvp_wire_string(&result, "in_sync"));
    must(kvp_wire_array(&result, 2));
    must(kvp_wire_uint(&result, 1));
    must(kvp_wire_uint(&result, 2));
    must(kvp_wire_string(&result, "role"));
    must(kvp_wire_string(&result, "primary"));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void handover_answer(kvp_buf *out)
{
    put_text_answer(out, KVP_OK, "tcp://10.0.0.2:7000", NULL);
}

static void not_primary_answer(kvp_buf *out)
{
    put_text_answer(out, KVP_NOT_PRIMARY, PRIMARY_URL, NULL);
}

static void bad_request_answer(kvp_buf *out)
{
    put_text_answer(out, KVP_BAD_REQUEST, "", "key must not be empty");
}

/* ---- answers about jobs ---- */

static void job_new_answer(kvp_buf *out)
{
    put_uint_answer(out, KVP_OK, PRODUCT);
}

static void put_pair(kvp_buf *out, const char *key, uint64_t number)
{
    must(kvp_wire_string(out, key));
    must(kvp_wire_uint(out, number));
}

static void put_text_pair(kvp_buf *out, const char *key, const char *value)
{
    must(kvp_wire_string(out, key));
    must(kvp_wire_string(out, value));
}

static void job_info_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    must(kvp_wire_map(&result, 5));
    put_pair(&result, "id", PRODUCT);
    put_text_pair(&result, "name", "product");
    put_text_pair(&result, "state", "running");
    put_pair(&result, "tasks", 4);
    put_pair(&result, "done", 1);
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void task_list_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    must(kvp_wire_array(&result, 2));
    must(kvp_wire_uint(&result, 256));
    must(kvp_wire_array(&result, 1));
    must(kvp_wire_map(&result, 2));
    put_pair(&result, "task", 0);
    put_text_pair(&result, "state", "done");
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void job_result_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    must(kvp_wire_result_bin(&result, kvp_slice_of(tile_result, sizeof(tile_result))));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void worker_join_answer(kvp_buf *out)
{
    put_uint_answer(out, KVP_OK, INSTANCE);
}

static void task_fetch_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    struct kvp_job_spec spec = product();
    struct kvp_job_tile tile = kvp_job_tile_of(&spec, 0);
    static const uint8_t blocks[16] = {[0] = 1, [4] = 2, [8] = 5, [12] = 7};
    uint8_t payload[KVP_JOB_TILE_HEADER + sizeof(blocks)];
    kvp_job_tile_header(payload, spec.element, &tile);
    memcpy(payload + KVP_JOB_TILE_HEADER, blocks, sizeof(blocks));
    struct kvp_task_grant grant = {
        .job = PRODUCT,
        .attempt = ATTEMPT,
        .task = 0,
        .beat_ms = 500,
        .deadline_ms = 60000,
        .kind = text(KVP_JOB_MATMUL_KIND),
        .payload = kvp_slice_of(payload, sizeof(payload)),
        .crc = (uint32_t)crc32_z(0, payload, sizeof(payload)),
    };
    must(kvp_wire_result_grant(&result, &grant));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void no_task_answer(kvp_buf *out)
{
    put_text_answer(out, KVP_NO_TASK, PRIMARY_URL, NULL);
}

static void put_bool_answer(kvp_buf *out, bool value)
{
    kvp_buf result = {0};
    must(kvp_wire_bool(&result, value));
    put_answer(out, KVP_OK, PRIMARY_URL, &result);
}

static void task_beat_answer(kvp_buf *out)
{
    put_bool_answer(out, false);
}

static void task_post_answer(kvp_buf *out)
{
    put_bool_answer(out, true);
}

/* ---- the transport ---- */

static void put_bytes(kvp_buf *out, const uint8_t *bytes, size_t size)
{
    must(kvp_buf_append(out, bytes, size));
}

static void greeting_request(kvp_buf *out)
{
    static const uint8_t greeting[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
    put_bytes(out, greeting, sizeof(greeting));
}

static void greeting_answer(kvp_buf *out)
{
    static const uint8_t greeting[8] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};
    put_bytes(out, greeting, sizeof(greeting));
}

static void put_frame(kvp_buf *out, void (*build)(kvp_buf *out))
{
    kvp_buf body = {0};
    uint8_t head[12];
    build(&body);
    kvp_put_be64(head, body.size + 4);
    memcpy(head + 8, "\x80\x00\x00\x2a", 4);
    put_bytes(out, head, sizeof(head));
    put_bytes(out, body.data, body.size);
    kvp_buf_free(&body);
}

static void frame_request(kvp_buf *out)
{
    put_frame(out, hello_request);
}

static void frame_answer(kvp_buf *out)
{
    put_frame(out, not_found_answer);
}

const struct sample samples[] = {
    {"sp-greeting-request", SAMPLE_FRAME, RESULT_NONE, greeting_request},
    {"sp-greeting-answer", SAMPLE_FRAME, RESULT_NONE, greeting_answer},
    {"sp-frame-request", SAMPLE_FRAME, RESULT_NONE, frame_request},
    {"sp-frame-answer", SAMPLE_FRAME, RESULT_NONE, frame_answer},
    {"hello-request", SAMPLE_REQUEST, RESULT_NONE, hello_request},
    {"hello-answer", SAMPLE_ANSWER, RESULT_HELLO, hello_answer},
    {"get-request", SAMPLE_REQUEST, RESULT_NONE, get_request},
    {"get-answer", SAMPLE_ANSWER, RESULT_GET, get_answer},
    {"not-found-answer", SAMPLE_ANSWER, RESULT_NONE, not_found_answer},
    {"put-request", SAMPLE_REQUEST, RESULT_NONE, put_put_request},
    {"put-answer", SAMPLE_ANSWER, RESULT_UINT, put_put_answer},
    {"create-request", SAMPLE_REQUEST, RESULT_NONE, create_request},
    {"create-exists-answer", SAMPLE_ANSWER, RESULT_UINT, exists_answer},
    {"delete-request", SAMPLE_REQUEST, RESULT_NONE, delete_request},
    {"cas-request", SAMPLE_REQUEST, RESULT_NONE, cas_request},
    {"cas-differs-answer", SAMPLE_ANSWER, RESULT_UINT, differs_answer},
    {"scan-request", SAMPLE_REQUEST, RESULT_NONE, scan_request},
    {"scan-answer", SAMPLE_ANSWER, RESULT_SCAN, scan_answer},
    {"close-scan-request", SAMPLE_REQUEST, RESULT_NONE, close_scan_request},
    {"watch-request", SAMPLE_REQUEST, RESULT_NONE, watch_request},
    {"watch-answer", SAMPLE_ANSWER, RESULT_SCAN, watch_answer},
    {"watch-compacted-answer", SAMPLE_ANSWER, RESULT_UINT, watch_compacted_answer},
    {"backup-request", SAMPLE_REQUEST, RESULT_NONE, backup_request},
    {"backup-answer", SAMPLE_ANSWER, RESULT_BACKUP, backup_answer},
    {"txn-request", SAMPLE_REQUEST, RESULT_NONE, txn_request},
    {"txn-answer", SAMPLE_ANSWER, RESULT_TXN, txn_answer},
    {"txn-else-answer", SAMPLE_ANSWER, RESULT_TXN, txn_else_answer},
    {"status-request", SAMPLE_REQUEST, RESULT_NONE, status_request},
    {"status-answer", SAMPLE_ANSWER, RESULT_STATUS, status_answer},
    {"member-change-request", SAMPLE_REQUEST, RESULT_NONE, member_change_request},
    {"access-change-request", SAMPLE_REQUEST, RESULT_NONE, access_change_request},
    {"access-list-request", SAMPLE_REQUEST, RESULT_NONE, access_list_request},
    {"access-list-answer", SAMPLE_ANSWER, RESULT_STATUS, access_list_answer},
    {"handover-request", SAMPLE_REQUEST, RESULT_NONE, handover_request},
    {"handover-answer", SAMPLE_ANSWER, RESULT_NONE, handover_answer},
    {"promote-request", SAMPLE_REQUEST, RESULT_NONE, promote_request},
    {"not-primary-answer", SAMPLE_ANSWER, RESULT_NONE, not_primary_answer},
    {"bad-request-answer", SAMPLE_ANSWER, RESULT_STRING, bad_request_answer},
    {"job-new-request", SAMPLE_REQUEST, RESULT_NONE, job_new_request},
    {"job-new-answer", SAMPLE_ANSWER, RESULT_UINT, job_new_answer},
    {"job-data-request", SAMPLE_REQUEST, RESULT_NONE, job_data_request},
    {"job-tasks-request", SAMPLE_REQUEST, RESULT_NONE, job_tasks_request},
    {"job-start-request", SAMPLE_REQUEST, RESULT_NONE, sample_job_start},
    {"job-cancel-request", SAMPLE_REQUEST, RESULT_NONE, sample_job_cancel},
    {"job-remove-request", SAMPLE_REQUEST, RESULT_NONE, sample_job_remove},
    {"job-retry-request", SAMPLE_REQUEST, RESULT_NONE, sample_job_retry},
    {"job-set-request", SAMPLE_REQUEST, RESULT_NONE, sample_job_set},
    {"worker-set-request", SAMPLE_REQUEST, RESULT_NONE, sample_worker_set},
    {"put-ttl-request", SAMPLE_REQUEST, RESULT_NONE, sample_put_held},
    {"create-lease-request", SAMPLE_REQUEST, RESULT_NONE, sample_create_held},
    {"lease-grant-request", SAMPLE_REQUEST, RESULT_NONE, sample_lease_grant},
    {"lease-keep-request", SAMPLE_REQUEST, RESULT_NONE, sample_lease_keep},
    {"lease-revoke-request", SAMPLE_REQUEST, RESULT_NONE, sample_lease_revoke},
    {"lease-list-request", SAMPLE_REQUEST, RESULT_NONE, sample_lease_list},
    {"lease-show-request", SAMPLE_REQUEST, RESULT_NONE, sample_lease_show},
    {"job-info-request", SAMPLE_REQUEST, RESULT_NONE, job_info_request},
    {"job-info-answer", SAMPLE_ANSWER, RESULT_STATUS, job_info_answer},
    {"task-list-answer", SAMPLE_ANSWER, RESULT_STATUS, task_list_answer},
    {"job-result-request", SAMPLE_REQUEST, RESULT_NONE, job_result_request},
    {"job-result-answer", SAMPLE_ANSWER, RESULT_BIN, job_result_answer},
    {"job-block-request", SAMPLE_REQUEST, RESULT_NONE, job_block_request},
    {"worker-join-request", SAMPLE_REQUEST, RESULT_NONE, worker_join_request},
    {"worker-join-answer", SAMPLE_ANSWER, RESULT_UINT, worker_join_answer},
    {"worker-leave-request", SAMPLE_REQUEST, RESULT_NONE, worker_leave_request},
    {"task-fetch-request", SAMPLE_REQUEST, RESULT_NONE, task_fetch_request},
    {"task-fetch-answer", SAMPLE_ANSWER, RESULT_GRANT, task_fetch_answer},
    {"no-task-answer", SAMPLE_ANSWER, RESULT_NONE, no_task_answer},
    {"task-beat-request", SAMPLE_REQUEST, RESULT_NONE, task_beat_request},
    {"task-checkpoint-request", SAMPLE_REQUEST, RESULT_NONE, task_checkpoint_request},
    {"task-beat-answer", SAMPLE_ANSWER, RESULT_BOOL, task_beat_answer},
    {"task-post-request", SAMPLE_REQUEST, RESULT_NONE, task_post_request},
    {"task-post-answer", SAMPLE_ANSWER, RESULT_BOOL, task_post_answer},
    {"state-request", SAMPLE_PEER_REQUEST, RESULT_NONE, peer_state},
    {"heartbeat-request", SAMPLE_PEER_REQUEST, RESULT_NONE, peer_heartbeat},
    {"append-request", SAMPLE_PEER_REQUEST, RESULT_NONE, peer_append},
    {"snapshot-request", SAMPLE_PEER_REQUEST, RESULT_NONE, peer_snapshot},
    {"ask-view-request", SAMPLE_PEER_REQUEST, RESULT_NONE, peer_ask_view},
    {"leave-request", SAMPLE_PEER_REQUEST, RESULT_NONE, peer_leave},
    {"resign-request", SAMPLE_PEER_REQUEST, RESULT_NONE, peer_resign},
    {"append-reply", SAMPLE_PEER_REPLY, RESULT_NONE, peer_reply},
    {"blank-reply", SAMPLE_PEER_REPLY, RESULT_NONE, peer_blank_reply},
    {"register-get-request", SAMPLE_WITNESS_REQUEST, RESULT_NONE, register_get},
    {"register-cas-request", SAMPLE_WITNESS_REQUEST, RESULT_NONE, register_cas},
    {"register-seed-request", SAMPLE_WITNESS_REQUEST, RESULT_NONE, register_seed},
    {"register-answer", SAMPLE_ANSWER, RESULT_REGISTER, register_answer},
    {"register-unknown-answer", SAMPLE_ANSWER, RESULT_NONE, register_unknown_answer},
};
const size_t sample_count = sizeof(samples) / sizeof(samples[0]);

const struct sample *sample_find(const char *name)
{
    for (size_t i = 0; i < sample_count; i++) {
        if (strcmp(samples[i].name, name) == 0) {
            return &samples[i];
        }
    }
    return NULL;
}
