/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes say to the witness, and the register that it answers with. */
#include "replication/wire/wire.h"
#include "replication/wire/wire_parts.h"

#define HEAD_SIZE 7u /* elements of a request before the args */

void kvp_wire_write_view(struct kvp_mp_writer *writer, const struct kvp_view *view)
{
    kvp_mp_write_array(writer, 4);
    kvp_mp_write_uint(writer, view->version);
    kvp_mp_write_uint(writer, view->epoch);
    kvp_mp_write_uint(writer, view->primary);
    kvp_mp_write_uint(writer, view->in_sync);
}

bool kvp_wire_view_is_sound(const struct kvp_view *view)
{
    if (view->primary == 0) {
        return view->version == 0 && view->epoch == 0 && view->in_sync == 0;
    }
    return view->version != 0 && view->epoch != 0 && view->version < KVP_VIEW_NUMBER_END &&
           view->epoch < KVP_VIEW_NUMBER_END && view->primary <= KVP_NODE_ID_MAX &&
           !kvp_set_has(view->in_sync, 0) && kvp_set_has(view->in_sync, view->primary);
}

struct kvp_view kvp_wire_take_view(struct kvp_mp_reader *reader)
{
    struct kvp_view view = {0};
    kvp_mp_array_of(reader, 4);
    view.version = kvp_mp_uint(reader);
    view.epoch = kvp_mp_uint(reader);
    view.primary = (uint8_t)kvp_mp_uint_max(reader, KVP_NODE_ID_MAX);
    view.in_sync = kvp_mp_uint(reader);
    if (!kvp_wire_view_is_sound(&view)) {
        kvp_mp_fail(reader);
    }
    return view;
}

void kvp_wire_write_numbers(struct kvp_mp_writer *writer, const struct kvp_numbers *numbers)
{
    uint32_t count = 0;
    while (count < KVP_EARLIER_MAX && numbers->earlier[count] != 0) {
        count++;
    }
    kvp_mp_write_array(writer, 3);
    kvp_mp_write_uint(writer, numbers->incarnation);
    kvp_mp_write_uint(writer, numbers->replaces);
    kvp_mp_write_array(writer, count);
    for (uint32_t i = 0; i < count; i++) {
        kvp_mp_write_uint(writer, numbers->earlier[i]);
    }
}

void kvp_wire_take_numbers(struct kvp_mp_reader *reader, struct kvp_numbers *numbers)
{
    kvp_mp_array_of(reader, 3);
    numbers->incarnation = kvp_mp_uint(reader);
    numbers->replaces = kvp_mp_uint(reader);
    uint32_t count = kvp_mp_array(reader);
    if (count > KVP_EARLIER_MAX || numbers->incarnation == 0) {
        kvp_mp_fail(reader);
    }
    for (uint32_t i = 0; !reader->failed && i < count; i++) {
        numbers->earlier[i] = kvp_mp_uint(reader);
        if (numbers->earlier[i] == 0) {
            kvp_mp_fail(reader);
        }
    }
    for (uint32_t i = count; i < KVP_EARLIER_MAX; i++) {
        numbers->earlier[i] = 0;
    }
}

static kvp_status witness_check_request(const struct kvp_witness_request *request,
                                        const char **reason)
{
    kvp_status status = kvp_wire_check_group(request->group, reason);
    if (status != KVP_OK) {
        return status;
    }
    if (request->from > KVP_NODE_ID_MAX) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "node ids are 1 to 63", reason);
    }
    if (request->op == KVP_OP_REGISTER_GET) {
        return KVP_OK;
    }
    if (request->group_id == 0) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "group id must not be 0", reason);
    }
    if (request->op == KVP_OP_REGISTER_CLAIM) {
        return request->numbers.incarnation != 0 && request->from != 0
                   ? KVP_OK
                   : kvp_wire_refuse(KVP_BAD_REQUEST, "a store of no node, or without a number",
                                     reason);
    }
    if (request->view.primary == 0 || !kvp_wire_view_is_sound(&request->view)) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "unsound view", reason);
    }
    return KVP_OK;
}

kvp_status kvp_wire_witness_encode(const struct kvp_witness_request *request, kvp_buf *out)
{
    const struct kvp_operation *operation = kvp_operation_by(request->op, KVP_BY_WITNESS_USER);
    if (operation == NULL) {
        return KVP_BAD_OP;
    }
    const char *reason;
    kvp_status status = witness_check_request(request, &reason);
    if (status != KVP_OK) {
        return status;
    }
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, HEAD_SIZE + (uint32_t)operation->args_min);
    kvp_mp_write_uint(&writer, KVP_WIRE_VERSION);
    kvp_mp_write_uint(&writer, request->op);
    kvp_mp_write_str(&writer, request->group);
    kvp_mp_write_uint(&writer, request->epoch);
    kvp_mp_write_uint(&writer, request->from);
    kvp_mp_write_uint(&writer, 0);
    kvp_mp_write_uint(&writer, request->group_id);
    if (request->op == KVP_OP_REGISTER_CAS) {
        kvp_mp_write_uint(&writer, request->expected);
        kvp_wire_write_view(&writer, &request->view);
    } else if (request->op == KVP_OP_REGISTER_SEED) {
        kvp_wire_write_view(&writer, &request->view);
        kvp_mp_write_bool(&writer, request->force);
    } else if (request->op == KVP_OP_REGISTER_CLAIM) {
        kvp_wire_write_numbers(&writer, &request->numbers);
    }
    return kvp_mp_write_end(&writer);
}

static void read_fields(struct kvp_mp_reader *reader, struct kvp_witness_request *request)
{
    request->group = kvp_mp_str(reader);
    request->epoch = kvp_mp_uint(reader);
    request->from = (unsigned)kvp_mp_uint_max(reader, KVP_NODE_ID_MAX);
    (void)kvp_mp_uint_max(reader, 0);
    request->group_id = kvp_mp_uint(reader);
    if (request->op == KVP_OP_REGISTER_CAS) {
        request->expected = kvp_mp_uint(reader);
        request->view = kvp_wire_take_view(reader);
    } else if (request->op == KVP_OP_REGISTER_SEED) {
        request->view = kvp_wire_take_view(reader);
        request->force = kvp_mp_bool(reader);
    } else if (request->op == KVP_OP_REGISTER_CLAIM) {
        kvp_wire_take_numbers(reader, &request->numbers);
    }
}

kvp_status kvp_wire_witness_decode(kvp_slice message, struct kvp_witness_request *request,
                                   const char **reason)
{
    struct kvp_mp_reader reader;
    struct kvp_witness_request decoded = {0};
    uint32_t count = 0;
    *reason = "";
    kvp_status status = kvp_wire_open(message, &reader, &decoded.op, &count, reason);
    if (status != KVP_OK) {
        return status;
    }
    const struct kvp_operation *operation = kvp_operation_by(decoded.op, KVP_BY_WITNESS_USER);
    if (operation == NULL) {
        return kvp_wire_refuse(KVP_BAD_OP, "this is a witness, which serves nodes only; ask a node",
                               reason);
    }
    if (!kvp_operation_takes(operation, count - HEAD_SIZE)) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "wrong number of elements for the operation",
                               reason);
    }
    read_fields(&reader, &decoded);
    status = kvp_wire_finish(&reader, reason);
    if (status == KVP_OK) {
        status = witness_check_request(&decoded, reason);
    }
    if (status == KVP_OK) {
        *request = decoded;
    }
    return status;
}

kvp_status kvp_wire_result_register(kvp_buf *out, uint64_t group_id, const struct kvp_view *view,
                                    uint64_t known)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, known == 0 ? 2 : 3);
    kvp_mp_write_uint(&writer, group_id);
    kvp_wire_write_view(&writer, view);
    if (known != 0) {
        kvp_mp_write_uint(&writer, known);
    }
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_read_register(kvp_slice result, uint64_t *group_id, struct kvp_view *view,
                                  uint64_t *known)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, result);
    uint32_t count = kvp_mp_array(&reader);
    uint64_t group_id_read = kvp_mp_uint(&reader);
    struct kvp_view view_read = kvp_wire_take_view(&reader);
    uint64_t known_read = count == 3 ? kvp_mp_uint(&reader) : 0;
    if (!kvp_mp_done(&reader) || (count != 2 && (count != 3 || known_read == 0))) {
        return KVP_CORRUPT;
    }
    *group_id = group_id_read;
    *view = view_read;
    *known = known_read;
    return KVP_OK;
}
