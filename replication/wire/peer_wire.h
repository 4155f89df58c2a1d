/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peer messages <-> bytes.
 *
 *   request  [version, op, group str, epoch, from, to, group id, sent us, view, args...]
 *     epoch is view.epoch. args by op:
 *     STATE      report
 *     HEARTBEAT  commit point, flags uint (1: prepare, 2: diverged), incarnation asked,
 *                forced epoch
 *     APPEND     previous point, commit point, lead epoch, end seq, [[epoch, hash, payload bin]...]
 *     SNAPSHOT   id, index, last bool, point, chunk bin, crc-32 of the chunk
 *     ASK_VIEW   expected version, view
 *     LEAVE, RESIGN  none
 *   reply    [version, code, epoch, "", [op, from, group id, echo us, report]]
 *   report   [role, flags (1: blank, 2: log regressed, 4: unsettled), view, tail point,
 *             commit point, received, member epoch, snapshot id, wanted index, incarnation, grace
 * us]
 *
 * Decoding checks form, limits, and that entries are well-formed write sets whose seq and hash
 * continue the previous point (KVP_CORRUPT if not); who says what is the core's business. Pure.
 */
#ifndef KVP_PEER_WIRE_H
#define KVP_PEER_WIRE_H

#include "replication/wire/peer.h"

kvp_status kvp_peer_request_encode(const struct kvp_peer_request *request, kvp_slice group,
                                   kvp_buf *out);
/* Fills `request`; APPEND entries are allocated (each with one reference): give them back with
 * kvp_peer_request_release(), which is right after failure, too. `chunk` points into the message.
 * `group` receives the group name. KVP_BAD_VERSION, KVP_BAD_OP, KVP_BAD_REQUEST, KVP_TOO_LARGE,
 * KVP_CORRUPT, KVP_NO_MEMORY. */
kvp_status kvp_peer_request_decode(kvp_slice message, struct kvp_peer_request *request,
                                   kvp_slice *group);
void kvp_peer_request_release(struct kvp_peer_request *request);

kvp_status kvp_peer_reply_encode(const struct kvp_peer_reply *reply, kvp_buf *out);
kvp_status kvp_peer_reply_decode(kvp_slice message, struct kvp_peer_reply *reply);

#endif
