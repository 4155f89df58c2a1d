/* SPDX-License-Identifier: Apache-2.0 */
/* The client of the story has a lease, and keys that end by themselves. */
#include "tests/wire/samples_parts.h"
#include "replication/wire/wire.h"

#define LEASE 44u

static struct kvp_request lease_said(unsigned op)
{
    bool update = kvp_operation_of(op)->is_update;
    struct kvp_request request = {.op = op, .group = text("default"), .epoch_seen = EPOCH};
    if (update) {
        request.session = (struct kvp_session_id){CLIENT, 0, 7, 40};
    }
    return request;
}

static void put_lease_said(const struct kvp_request *request, kvp_buf *out)
{
    must(kvp_wire_request_encode(request, out));
}

void sample_put_held(kvp_buf *out)
{
    struct kvp_request request = lease_said(KVP_OP_PUT);
    request.key = text("lamp");
    request.value = text("on");
    request.ttl_ms = 60000;
    put_lease_said(&request, out);
}

void sample_create_held(kvp_buf *out)
{
    struct kvp_request request = lease_said(KVP_OP_CREATE);
    request.key = text("lamp");
    request.value = text("on");
    request.lease = LEASE;
    put_lease_said(&request, out);
}

void sample_lease_grant(kvp_buf *out)
{
    struct kvp_request request = lease_said(KVP_OP_LEASE_GRANT);
    request.ttl_ms = 10000;
    put_lease_said(&request, out);
}

void sample_lease_keep(kvp_buf *out)
{
    struct kvp_request request = lease_said(KVP_OP_LEASE_KEEP);
    request.lease = LEASE;
    put_lease_said(&request, out);
}

void sample_lease_revoke(kvp_buf *out)
{
    struct kvp_request request = lease_said(KVP_OP_LEASE_REVOKE);
    request.lease = LEASE;
    put_lease_said(&request, out);
}

void sample_lease_list(kvp_buf *out)
{
    struct kvp_request request = lease_said(KVP_OP_LEASE_LIST);
    put_lease_said(&request, out);
}

void sample_lease_show(kvp_buf *out)
{
    struct kvp_request request = lease_said(KVP_OP_LEASE_SHOW);
    request.key = text("lamp");
    put_lease_said(&request, out);
}
