/* SPDX-License-Identifier: Apache-2.0 */
/* What NNG itself does: REQ/REP over one TCP connection on loopback, with empty handlers. */
#include "client/kvbench/kvbench.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_SIZE 100u
#define TIMEOUT_MS   5000

struct nng_run;

/* A context of the asker or of the answerer. */
struct context {
    struct nng_run *run;
    nng_ctx ctx;
    nng_aio *aio;
    bool made, sending;
    uint64_t begun_ns;
};

struct nng_run {
    nng_socket rep, req;
    struct context *askers, *answerers;
    unsigned count;
    uint64_t end_ns;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t wake;
    unsigned active;
    bool failed;
    struct bench_result *result;
};

/* Receives a request, sends it back, and so on. */
static void on_answerer(void *arg)
{
    struct context *context = arg;
    if (nng_aio_result(context->aio) != 0) {
        if (context->sending) {
            nng_msg_free(nng_aio_get_msg(context->aio));
        }
        return; /* closed */
    }
    context->sending = !context->sending;
    if (context->sending) {
        nng_aio_set_msg(context->aio, nng_aio_get_msg(context->aio));
        nng_ctx_send(context->ctx, context->aio);
    } else {
        nng_ctx_recv(context->ctx, context->aio);
    }
}

static void end_asker(struct nng_run *run, bool failed)
{
    pthread_mutex_lock(&run->mutex);
    run->failed = run->failed || failed;
    if (--run->active == 0) {
        pthread_cond_signal(&run->wake);
    }
    pthread_mutex_unlock(&run->mutex);
}

static void nng_ask(struct context *context, nng_msg *message)
{
    context->begun_ns = bench_now_ns();
    context->sending = true;
    nng_aio_set_msg(context->aio, message);
    nng_ctx_send(context->ctx, context->aio);
}

static void on_asker(void *arg)
{
    struct context *context = arg;
    struct nng_run *run = context->run;
    if (nng_aio_result(context->aio) != 0) {
        if (context->sending) {
            nng_msg_free(nng_aio_get_msg(context->aio));
        }
        end_asker(run, true);
        return;
    }
    if (context->sending) {
        context->sending = false;
        nng_ctx_recv(context->ctx, context->aio);
        return;
    }
    nng_msg *message = nng_aio_get_msg(context->aio);
    uint64_t now_ns = bench_now_ns();
    pthread_mutex_lock(&run->mutex);
    hist_add(&run->result->hist, now_ns - context->begun_ns);
    pthread_mutex_unlock(&run->mutex);
    if (now_ns < run->end_ns && bench_signal == 0) {
        nng_ask(context, message);
    } else {
        nng_msg_free(message);
        end_asker(run, false);
    }
}

static int open_contexts(struct nng_run *run, nng_socket socket, struct context *contexts,
                         void (*callback)(void *))
{
    int error = 0;
    for (unsigned i = 0; i < run->count && error == 0; i++) {
        struct context *context = &contexts[i];
        context->run = run;
        error = nng_aio_alloc(&context->aio, callback, context);
        if (error == 0) {
            nng_aio_set_timeout(context->aio, TIMEOUT_MS);
            error = nng_ctx_open(&context->ctx, socket);
            context->made = error == 0;
        }
    }
    return error;
}

static int open_sockets(struct nng_run *run)
{
    nng_listener listener;
    nng_sockaddr address;
    char url[64];
    int error = nng_rep0_open(&run->rep);
    error = error != 0 ? error : nng_req0_open(&run->req);
    error = error != 0 ? error : nng_listen(run->rep, "tcp://127.0.0.1:0", &listener, 0);
    error = error != 0 ? error : nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &address);
    if (error != 0) {
        return error;
    }
    unsigned char port[2];
    memcpy(port, &address.s_in.sa_port, sizeof(port)); /* in the network's order */
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port[0] * 256u + port[1]);
    return nng_dial(run->req, url, NULL, 0);
}

static int go(struct nng_run *run)
{
    for (unsigned i = 0; i < run->count; i++) {
        nng_ctx_recv(run->answerers[i].ctx, run->answerers[i].aio);
    }
    for (unsigned i = 0; i < run->count; i++) {
        nng_msg *message;
        if (nng_msg_alloc(&message, MESSAGE_SIZE) != 0) {
            return NNG_ENOMEM;
        }
        memset(nng_msg_body(message), 0, MESSAGE_SIZE);
        pthread_mutex_lock(&run->mutex);
        run->active++;
        pthread_mutex_unlock(&run->mutex);
        nng_ask(&run->askers[i], message);
    }
    pthread_mutex_lock(&run->mutex);
    while (run->active > 0) { /* not for ever: every operation has a timeout */
        pthread_cond_wait(&run->wake, &run->mutex);
    }
    bool failed = run->failed;
    pthread_mutex_unlock(&run->mutex);
    return failed ? NNG_ETIMEDOUT : 0;
}

static void close_contexts(struct nng_run *run, struct context *contexts)
{
    for (unsigned i = 0; contexts != NULL && i < run->count; i++) {
        if (contexts[i].made) {
            nng_ctx_close(contexts[i].ctx);
        }
        if (contexts[i].aio != NULL) {
            nng_aio_stop(contexts[i].aio);
            nng_aio_free(contexts[i].aio);
        }
    }
    free(contexts);
}

bool bench_nng(unsigned outstanding, double seconds, struct bench_result *result)
{
    struct nng_run run = {.count = outstanding, .result = result};
    int error = open_sockets(&run);
    memset(result, 0, sizeof(*result));
    pthread_mutex_init(&run.mutex, NULL);
    pthread_cond_init(&run.wake, NULL);
    run.askers = calloc(outstanding, sizeof(*run.askers));
    run.answerers = calloc(outstanding, sizeof(*run.answerers));
    if (run.askers == NULL || run.answerers == NULL) {
        error = NNG_ENOMEM;
    }
    error = error != 0 ? error : open_contexts(&run, run.rep, run.answerers, on_answerer);
    error = error != 0 ? error : open_contexts(&run, run.req, run.askers, on_asker);
    if (error == 0) {
        uint64_t begin_ns = bench_now_ns();
        run.end_ns = begin_ns + (uint64_t)(seconds * 1e9);
        error = go(&run);
        result->seconds = (double)(bench_now_ns() - begin_ns) / 1e9;
    }
    close_contexts(&run, run.askers);
    close_contexts(&run, run.answerers);
    nng_close(run.req);
    nng_close(run.rep);
    pthread_cond_destroy(&run.wake);
    pthread_mutex_destroy(&run.mutex);
    if (error != 0) {
        (void)bench_complain("NNG: %s", nng_strerror(error));
    }
    return error == 0;
}
