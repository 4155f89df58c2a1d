/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of submitters and workers. A call is sent to one node after the other until one answers
 * what it has done with it; updates carry a session, so that they are done once.
 */
#include "sim_jobs.h"

#include <stdlib.h>
#include <string.h>

#define TRY_US     300000u
#define REFUSED_US 40000u /* before another node is asked */

static void again_in(struct sim *sim, struct sim_caller *caller, uint64_t delay_us)
{
    sim_job_timer(sim, SIM_TIMER_CALL, caller->index, &caller->timer, delay_us);
}

static void fresh_session(struct sim *sim, struct sim_caller *caller)
{
    caller->session = (struct kvp_session_id){
        .client = 1u << 31 | (uint64_t)(caller->index + 1) << 32 | sim_jobs_below(sim, 1u << 30)};
    caller->needs_birth = true;
}

void sim_call_open(struct sim *sim, struct sim_caller *caller)
{
    struct sim_jobs *jobs = sim->jobs;
    struct sim_caller **grown =
        realloc(jobs->callers, (jobs->caller_count + 1) * sizeof(struct sim_caller *));
    if (grown == NULL) {
        abort();
    }
    jobs->callers = grown;
    caller->index = jobs->caller_count;
    jobs->callers[jobs->caller_count++] = caller;
    caller->life = 1;
    caller->target = 1 + (unsigned)sim_jobs_below(sim, sim->plan.nodes);
    fresh_session(sim, caller);
}

void sim_call_free(struct sim_caller *caller)
{
    kvp_buf_free(&caller->key);
    kvp_buf_free(&caller->value);
}

void sim_call_drop(struct sim *sim, struct sim_caller *caller)
{
    caller->busy = false;
    caller->life++;
    caller->timer++;
    fresh_session(sim, caller);
}

static void transmit(struct sim *sim, struct sim_caller *caller)
{
    struct kvp_request request = caller->request;
    struct sim_message message = {
        .from = SIM_CALLER(caller->index),
        .to = caller->target,
        .call = caller->call,
        .life = caller->life,
    };
    kvp_buf body = {0};
    if (caller->update && caller->needs_birth) {
        request = (struct kvp_request){.op = KVP_OP_HELLO};
    } else if (caller->update) {
        request.session = caller->session;
    }
    request.group = kvp_slice_of("sim", 3);
    if (kvp_wire_request_encode(&request, &body) != KVP_OK) {
        abort();
    }
    sim_send(sim, &message, kvp_buf_slice(&body));
    kvp_buf_free(&body);
    again_in(sim, caller, TRY_US + caller->patience_us);
}

static void copy(kvp_buf *to, kvp_slice *slice)
{
    to->size = 0;
    if (kvp_buf_append(to, slice->data, slice->size) != KVP_OK) {
        abort();
    }
    *slice = kvp_buf_slice(to);
}

void sim_call(struct sim *sim, struct sim_caller *caller, const struct kvp_request *request,
              sim_done *done, void *arg)
{
    caller->request = *request;
    copy(&caller->key, &caller->request.key);
    copy(&caller->value, &caller->request.value);
    caller->busy = true;
    caller->began_us = sim->now_us;
    caller->call = ++sim->jobs->calls;
    caller->done = done;
    caller->arg = arg;
    caller->patience_us = (uint64_t)request->job.wait_ms * 1000;
    caller->update = request->op != KVP_OP_JOB_INFO && request->op != KVP_OP_JOB_RESULT &&
                     request->op != KVP_OP_JOB_BLOCK && request->op != KVP_OP_TASK_FETCH &&
                     request->op != KVP_OP_TASK_BEAT;
    caller->session.number += caller->update;
    transmit(sim, caller);
}

void sim_call_timer(struct sim *sim, unsigned index, uint64_t number)
{
    struct sim_caller *caller = sim->jobs->callers[index];
    if (number != caller->timer || !caller->busy) {
        return;
    }
    caller->target = 1 + (unsigned)sim_jobs_below(sim, sim->plan.nodes);
    transmit(sim, caller);
}

static void take_birth(struct sim *sim, struct sim_caller *caller, const struct kvp_answer *answer)
{
    struct kvp_hello hello;
    if (answer->status == KVP_OK && kvp_wire_read_hello(answer->result, &hello) == KVP_OK &&
        hello.role == KVP_ROLE_PRIMARY) {
        caller->session.session_start = hello.session_start;
        caller->needs_birth = false;
        caller->call = ++sim->jobs->calls; /* other nodes may still answer the question */
        transmit(sim, caller);
    } else {
        again_in(sim, caller, REFUSED_US);
    }
}

void sim_call_answer(struct sim *sim, unsigned index, const struct sim_message *message)
{
    struct kvp_answer answer;
    if (index >= sim->jobs->caller_count) {
        return;
    }
    struct sim_caller *caller = sim->jobs->callers[index];
    if (!caller->busy || message->call != caller->call || message->life != caller->life) {
        return;
    }
    if (kvp_wire_answer_decode(kvp_slice_of(message->bytes, message->size), &answer) != KVP_OK) {
        sim_fail(sim, "caller %u got a malformed answer", index);
        return;
    }
    if (caller->update && caller->needs_birth) {
        take_birth(sim, caller, &answer);
        return;
    }
    switch (answer.status) {
    case KVP_NOT_PRIMARY:
    case KVP_UNCERTAIN:
    case KVP_UNAVAILABLE:
    case KVP_BUSY:
        again_in(sim, caller, REFUSED_US);
        return;
    case KVP_SESSION_EXPIRED:
        fresh_session(sim, caller);
        break;
    default:
        break;
    }
    caller->busy = false;
    caller->timer++;
    caller->done(sim, caller->arg, answer.status, answer.result);
}

bool sim_call_alive(const struct sim *sim, const struct sim_token *token)
{
    unsigned index = token->from - SIM_CALLER(0);
    return token->from < SIM_CALLER(0) || index >= sim->jobs->caller_count ||
           sim->jobs->callers[index]->life == token->from_life;
}
