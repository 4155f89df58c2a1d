/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One handshake takes about half a millisecond of a processor, and so much may be asked for by
 * anybody who reaches the port. So this thread gives way to those of the data where a processor is
 * short; it accepts no faster than it does the handshakes of those who came before, who wait in the
 * kernel meanwhile; each has a deadline, and when too many are under way the oldest gives way,
 * those from the addresses of peers last.
 */
#include "replication/net/net_handshake.h"
#include "kvstore/base/clock.h"
#include "replication/net/address_list.h"
#include "replication/net/net_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define HANDSHAKE_US      5000000u
#define HANDSHAKE_NICE    5
#define BACKLOG           4096 /* those of a storm wait there */
#define ACCEPTS_A_ROUND   16u
#define EVENTS_A_ROUND    32
#define CHECK_MS          250
#define SHORTAGE_PAUSE_US 100000u /* when there are no descriptors */

struct handshake {
    struct handshake *previous, *next; /* from the oldest on */
    struct net_arrival *arrival;
    uint64_t until_us;
    uint32_t events;
    bool from_peer; /* by its address, which is all that is known */
};

struct net_handshakes {
    struct kvp_net_server *server;
    pthread_t thread;
    int epoll_fd, wake_fd;
    bool accepting; /* the thread's, as is what follows */
    uint64_t accept_again_us;
    size_t count;
    struct handshake *oldest, *newest;
    pthread_mutex_t lock; /* guards what follows */
    struct net_arrival *first, *last;
    bool closed;
};

void net_arrival_refuse(struct net_arrival *arrival)
{
    net_tls.free(arrival->tls);
    net_close_fd(arrival->fd);
    free(arrival);
}

static void handshakes_unlist(struct net_handshakes *all, struct handshake *handshake)
{
    *(handshake->previous != NULL ? &handshake->previous->next : &all->oldest) = handshake->next;
    *(handshake->next != NULL ? &handshake->next->previous : &all->newest) = handshake->previous;
    all->count--;
}

/* Gives up what it has: the caller has the arrival. */
static struct net_arrival *handshake_end(struct net_handshakes *all, struct handshake *handshake)
{
    struct net_arrival *arrival = handshake->arrival;
    (void)epoll_ctl(all->epoll_fd, EPOLL_CTL_DEL, arrival->fd, NULL);
    handshakes_unlist(all, handshake);
    free(handshake);
    return arrival;
}

/* NULL for the reason: it is not worth a word. */
static void handshake_refuse(struct net_handshakes *all, struct handshake *handshake,
                             const char *reason)
{
    struct net_arrival *arrival = handshake_end(all, handshake);
    if (reason != NULL) {
        net_connection_tell_refused(all->server, &arrival->address, reason);
    }
    net_arrival_refuse(arrival);
}

static void handshake_pass(struct net_handshakes *all, struct handshake *handshake)
{
    struct net_arrival *arrival = handshake_end(all, handshake);
    arrival->next = NULL;
    pthread_mutex_lock(&all->lock);
    *(all->last != NULL ? &all->last->next : &all->first) = arrival;
    all->last = arrival;
    pthread_mutex_unlock(&all->lock);
    net_wake(all->server->wake_fd);
}

static void handshake_go_on(struct net_handshakes *all, struct handshake *handshake)
{
    struct net_tls *tls = handshake->arrival->tls;
    enum net_tls_step step = net_tls.handshake(tls);
    uint32_t events = step == NET_TLS_WRITES ? EPOLLOUT : EPOLLIN;
    if (step == NET_TLS_DONE) {
        handshake_pass(all, handshake);
    } else if (step == NET_TLS_FAILED) {
        handshake_refuse(all, handshake, net_tls.reason(tls));
    } else if (events != handshake->events) {
        struct epoll_event event = {.events = events, .data.ptr = handshake};
        handshake->events = events;
        if (epoll_ctl(all->epoll_fd, EPOLL_CTL_MOD, handshake->arrival->fd, &event) != 0) {
            handshake_refuse(all, handshake, NULL);
        }
    }
}

/* ---- accepting ---- */

/* The oldest that is not from where peers are; else the oldest. */
static struct handshake *handshakes_find_oldest(const struct net_handshakes *all)
{
    struct handshake *found = all->oldest;
    while (found != NULL && found->from_peer) {
        found = found->next;
    }
    return found != NULL ? found : all->oldest;
}

static void handshakes_make_room(struct net_handshakes *all)
{
    if (all->count >= NET_HANDSHAKES_MAX) {
        handshake_refuse(all, handshakes_find_oldest(all), "too many handshakes are under way");
    }
}

static struct handshake *handshake_new(struct net_handshakes *all, int fd,
                                       const struct sockaddr_storage *address)
{
    struct kvp_net_server *server = all->server;
    struct handshake *handshake = calloc(1, sizeof(*handshake));
    struct net_arrival *arrival = calloc(1, sizeof(*arrival));
    struct net_tls *tls = net_tls.accept(server->tls, fd);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = handshake};
    if (handshake == NULL || arrival == NULL || tls == NULL ||
        epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        if (tls != NULL) {
            net_tls.free(tls);
        }
        free(arrival);
        free(handshake);
        return NULL;
    }
    *arrival = (struct net_arrival){.fd = fd, .tls = tls, .address = *address};
    handshake->arrival = arrival;
    handshake->events = event.events;
    handshake->until_us = kvp_clock_now_us() + HANDSHAKE_US;
    return handshake;
}

static void handshakes_add(struct net_handshakes *all, int fd,
                           const struct sockaddr_storage *address)
{
    struct kvp_net_server *server = all->server;
    handshakes_make_room(all);
    sp_address_tune(&server->address, fd);
    struct handshake *handshake = handshake_new(all, fd, address);
    if (handshake == NULL) {
        (void)close(fd);
        return;
    }
    handshake->from_peer = server->peers != NULL &&
                           kvp_address_list_has(server->peers, (const struct sockaddr *)address);
    handshake->previous = all->newest;
    *(all->newest != NULL ? &all->newest->next : &all->oldest) = handshake;
    all->newest = handshake;
    all->count++;
}

/* False when there is nobody to accept, or nobody can be accepted. */
static bool handshakes_accept_one(struct net_handshakes *all, int listening)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof(address);
    int fd = accept4(listening, (struct sockaddr *)&address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        handshakes_add(all, fd, &address);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        all->accept_again_us = kvp_clock_now_us() + SHORTAGE_PAUSE_US;
    }
    return errno == ECONNABORTED || errno == EINTR;
}

/* What is found to wait at the door is left for the next round, after those who are in. */
static void handshakes_accept(struct net_handshakes *all)
{
    const struct sp_listener *listener = &all->server->listener;
    bool more = false;
    if (kvp_clock_now_us() < all->accept_again_us) {
        return;
    }
    for (unsigned i = 0; i < listener->count; i++) {
        unsigned count = 0;
        while (count < ACCEPTS_A_ROUND && handshakes_accept_one(all, listener->fds[i])) {
            count++;
        }
        more = more || count == ACCEPTS_A_ROUND;
    }
    all->accepting = more || all->accept_again_us > kvp_clock_now_us();
}

/* ---- the thread ---- */

static void handshakes_end_late(struct net_handshakes *all)
{
    uint64_t now_us = kvp_clock_now_us();
    while (all->oldest != NULL && now_us >= all->oldest->until_us) {
        handshake_refuse(all, all->oldest, "it has not come through the TLS handshake in 5 s");
    }
}

static bool handshakes_are_closed(struct net_handshakes *all)
{
    pthread_mutex_lock(&all->lock);
    bool closed = all->closed;
    pthread_mutex_unlock(&all->lock);
    return closed;
}

static bool handshakes_is_door(const struct net_handshakes *all, const void *fd)
{
    const int *fds = all->server->listener.fds;
    const int *door = fd;
    return door >= fds && door < fds + SP_LISTENERS_MAX;
}

/* The door is looked at edge by edge: it would be told of again and again while nobody is let in.
 */
static void handshakes_event(struct net_handshakes *all, const struct epoll_event *event)
{
    if (event->data.ptr == &all->wake_fd) {
        net_take_wake(all->wake_fd);
    } else if (handshakes_is_door(all, event->data.ptr)) {
        all->accepting = true;
    } else {
        handshake_go_on(all, event->data.ptr);
    }
}

static int handshakes_timeout_ms(const struct net_handshakes *all)
{
    if (all->accepting && kvp_clock_now_us() >= all->accept_again_us) {
        return 0;
    }
    return all->count > 0 || all->accepting ? CHECK_MS : -1;
}

static void *handshakes_run(void *arg)
{
    struct net_handshakes *all = arg;
    struct epoll_event events[EVENTS_A_ROUND];
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), HANDSHAKE_NICE); /* of this thread alone */
    while (!handshakes_are_closed(all)) {
        int count = epoll_wait(all->epoll_fd, events, EVENTS_A_ROUND, handshakes_timeout_ms(all));
        for (int i = 0; i < count; i++) {
            handshakes_event(all, &events[i]);
        }
        handshakes_end_late(all);
        if (all->accepting) {
            handshakes_accept(all);
        }
    }
    while (all->oldest != NULL) {
        handshake_refuse(all, all->oldest, NULL);
    }
    return NULL;
}

/* ---- opening and closing ---- */

static bool handshakes_watch(struct net_handshakes *all, int *fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = fd};
    return *fd >= 0 && epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, *fd, &event) == 0;
}

static kvp_status handshakes_start(struct net_handshakes *all)
{
    struct sp_listener *listener = &all->server->listener;
    all->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    all->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool watched = all->epoll_fd >= 0 && handshakes_watch(all, &all->wake_fd, EPOLLIN);
    for (unsigned i = 0; i < listener->count && watched; i++) {
        watched = listen(listener->fds[i], BACKLOG) == 0 &&
                  handshakes_watch(all, &listener->fds[i], EPOLLIN | EPOLLET);
    }
    if (!watched) {
        return KVP_IO;
    }
    return net_start_thread(&all->thread, handshakes_run, all) == 0 ? KVP_OK : KVP_NO_MEMORY;
}

static void handshakes_free(struct net_handshakes *all)
{
    net_close_fd(all->epoll_fd);
    net_close_fd(all->wake_fd);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

kvp_status net_handshakes_open(struct kvp_net_server *server, struct net_handshakes **opened)
{
    struct net_handshakes *all = calloc(1, sizeof(*all));
    if (all == NULL) {
        return KVP_NO_MEMORY;
    }
    pthread_mutex_init(&all->lock, NULL);
    all->server = server;
    all->epoll_fd = all->wake_fd = -1;
    all->accepting = true;
    kvp_status status = handshakes_start(all);
    if (status != KVP_OK) {
        handshakes_free(all);
        return status;
    }
    *opened = all;
    return KVP_OK;
}

struct net_arrival *net_handshakes_take(struct net_handshakes *handshakes)
{
    pthread_mutex_lock(&handshakes->lock);
    struct net_arrival *first = handshakes->first;
    handshakes->first = handshakes->last = NULL;
    pthread_mutex_unlock(&handshakes->lock);
    return first;
}

void net_handshakes_close(struct net_handshakes *handshakes)
{
    if (handshakes == NULL) {
        return;
    }
    pthread_mutex_lock(&handshakes->lock);
    handshakes->closed = true;
    pthread_mutex_unlock(&handshakes->lock);
    net_wake(handshakes->wake_fd);
    (void)pthread_join(handshakes->thread, NULL);
    for (struct net_arrival *each = net_handshakes_take(handshakes), *next; each != NULL;
         each = next) {
        next = each->next;
        net_arrival_refuse(each);
    }
    handshakes_free(handshakes);
}
