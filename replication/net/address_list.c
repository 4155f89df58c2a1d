/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/net/address_list.h"
#include "kvstore/base/clock.h"
#include "replication/net/net_parts.h"
#include "replication/net/sp_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define FOUND_MAX      16u /* addresses of a name */
#define REFRESH_MS     30000
#define UNRESOLVED_MS  2000     /* while a name of the list has no address */
#define REFRESH_MIN_US 1000000u /* who is refused again and again costs one look-up a second */

/* An IPv4 address is kept as ::ffff:a.b.c.d: one form for both families. */
struct network {
    uint8_t bytes[16];
    unsigned bits;
};

struct entry {
    char name[KVP_URL_SIZE_MAX + 1]; /* "": an address or network, in found[0] */
    struct network found[FOUND_MAX];
    size_t found_count;
};

struct kvp_address_list {
    atomic_bool started;
    pthread_t thread;
    int wake_fd;
    atomic_bool closing;
    atomic_bool missed;   /* an address was asked for that is not here */
    pthread_mutex_t lock; /* guards what follows, once the list is in use */
    bool any;
    bool local; /* loopback and Unix sockets, named by their kind */
    size_t count;
    struct entry entries[KVP_ADDRESS_LIST_MAX];
};

/* ---- addresses ---- */

static void map_v4(uint8_t bytes[16], const void *v4)
{
    memset(bytes, 0, 10);
    bytes[10] = bytes[11] = 0xff;
    memcpy(bytes + 12, v4, 4);
}

static bool normalize(const struct sockaddr *address, uint8_t bytes[16])
{
    if (address->sa_family == AF_INET) {
        map_v4(bytes, &((const struct sockaddr_in *)address)->sin_addr);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        memcpy(bytes, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
        return true;
    }
    return false;
}

static bool is_loopback(const uint8_t bytes[16])
{
    static const uint8_t one[16] = {[15] = 1};
    static const uint8_t v4[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};
    return memcmp(bytes, one, sizeof(one)) == 0 || memcmp(bytes, v4, sizeof(v4)) == 0;
}

static bool is_this_machine(const struct network *network)
{
    return network->bits == 128 && is_loopback(network->bytes);
}

static bool contains(const struct network *network, const uint8_t bytes[16])
{
    unsigned whole = network->bits / 8;
    unsigned rest = network->bits % 8;
    if (memcmp(network->bytes, bytes, whole) != 0) {
        return false;
    }
    return rest == 0 || ((network->bytes[whole] ^ bytes[whole]) >> (8 - rest)) == 0;
}

bool kvp_address_is_loopback(const struct sockaddr *address)
{
    uint8_t bytes[16];
    return normalize(address, bytes) && is_loopback(bytes);
}

const char *kvp_address_print(char out[KVP_ADDRESS_TEXT_SIZE], const struct sockaddr *address)
{
    uint8_t bytes[16];
    out[0] = '\0';
    if (!normalize(address, bytes)) {
        (void)snprintf(out, KVP_ADDRESS_TEXT_SIZE, "local");
        return out;
    }
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    bool v4 = memcmp(bytes, mapped, sizeof(mapped)) == 0;
    (void)inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? bytes + 12 : bytes, out, KVP_ADDRESS_TEXT_SIZE);
    return out;
}

/* ---- entries ---- */

/* ADDRESS or ADDRESS/BITS. */
static bool parse_network(const char *text, struct network *network)
{
    char address[INET6_ADDRSTRLEN];
    size_t size = strcspn(text, "/");
    if (size >= sizeof(address)) {
        return false;
    }
    memcpy(address, text, size);
    address[size] = '\0';
    uint8_t v4[4];
    bool is_v4 = inet_pton(AF_INET, address, v4) == 1;
    if (is_v4) {
        map_v4(network->bytes, v4);
    } else if (inet_pton(AF_INET6, address, network->bytes) != 1) {
        return false;
    }
    unsigned bits_max = is_v4 ? 32 : 128;
    network->bits = 128;
    if (text[size] == '/') {
        char *end;
        unsigned long bits = strtoul(text + size + 1, &end, 10);
        if (text[size + 1] < '0' || text[size + 1] > '9' || *end != '\0' || bits > bits_max) {
            return false;
        }
        network->bits = (unsigned)bits + (128 - bits_max);
    }
    return true;
}

static kvp_status add_host(struct kvp_address_list *list, const char *host)
{
    struct network network;
    bool numeric = parse_network(host, &network);
    if (strcmp(host, "localhost") == 0 || (numeric && is_this_machine(&network))) {
        list->local = true;
        return KVP_OK;
    }
    if (host[0] == '\0' || (!numeric && strpbrk(host, "/ \t:") != NULL)) {
        return KVP_BAD_ARGUMENT;
    }
    if (list->count == KVP_ADDRESS_LIST_MAX) {
        return KVP_TOO_LARGE;
    }
    struct entry *entry = &list->entries[list->count++];
    if (numeric) {
        entry->found[0] = network;
        entry->found_count = 1;
    } else {
        (void)snprintf(entry->name, sizeof(entry->name), "%s", host);
    }
    return KVP_OK;
}

kvp_status kvp_address_list_add(struct kvp_address_list *list, kvp_slice text)
{
    char entry[KVP_URL_SIZE_MAX + 1];
    struct sp_address address;
    if (text.size == 0 || text.size > KVP_URL_SIZE_MAX || memchr(text.data, 0, text.size) != NULL) {
        return KVP_BAD_ARGUMENT;
    }
    memcpy(entry, text.data, text.size);
    entry[text.size] = '\0';
    if (strcmp(entry, "any") == 0) {
        list->any = true;
        return KVP_OK;
    }
    if (strstr(entry, "://") == NULL) {
        return add_host(list, entry);
    }
    kvp_status status = sp_address_parse(entry, &address);
    if (status != KVP_OK) {
        return status;
    }
    if (address.kind != SP_ADDRESS_TCP) {
        list->local = true;
        return KVP_OK;
    }
    return add_host(list, address.name);
}

kvp_status kvp_address_list_add_all(struct kvp_address_list *list, const char *text)
{
    kvp_status status = KVP_OK;
    while (status == KVP_OK && *text != '\0') {
        size_t size = strcspn(text, ",");
        status = kvp_address_list_add(list, kvp_slice_of(text, size));
        text += size + (text[size] == ',');
    }
    return status;
}

bool kvp_address_list_has(struct kvp_address_list *list, const struct sockaddr *address)
{
    uint8_t bytes[16];
    bool is_internet = normalize(address, bytes);
    pthread_mutex_lock(&list->lock);
    bool found = list->any || (list->local && (!is_internet || is_loopback(bytes)));
    for (size_t i = 0; is_internet && i < list->count && !found; i++) {
        const struct entry *entry = &list->entries[i];
        for (size_t j = 0; j < entry->found_count && !found; j++) {
            found = contains(&entry->found[j], bytes) ||
                    (is_loopback(bytes) && is_this_machine(&entry->found[j]));
        }
    }
    pthread_mutex_unlock(&list->lock);
    if (!found && atomic_load(&list->started) && !atomic_exchange(&list->missed, true)) {
        net_wake(list->wake_fd);
    }
    return found;
}

/* ---- looking names up ---- */

/* True: it has an address. The list may become another one meanwhile. */
static bool list_look_up(struct kvp_address_list *list, size_t index, const char *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    struct addrinfo *infos = NULL;
    struct network found[FOUND_MAX];
    size_t count = 0;
    (void)getaddrinfo(name, NULL, &hints, &infos);
    for (struct addrinfo *info = infos; info != NULL && count < FOUND_MAX; info = info->ai_next) {
        if (normalize(info->ai_addr, found[count].bytes)) {
            found[count++].bits = 128;
        }
    }
    if (infos != NULL) {
        freeaddrinfo(infos);
    }
    pthread_mutex_lock(&list->lock);
    struct entry *entry = &list->entries[index];
    bool same = index < list->count && strcmp(entry->name, name) == 0;
    if (same && count > 0) { /* else it keeps what it had */
        memcpy(entry->found, found, count * sizeof(found[0]));
        entry->found_count = count;
    }
    bool has = !same || entry->found_count > 0;
    pthread_mutex_unlock(&list->lock);
    return has;
}

/* False: there is none at that place. */
static bool list_name_at(struct kvp_address_list *list, size_t index,
                         char name[KVP_URL_SIZE_MAX + 1])
{
    pthread_mutex_lock(&list->lock);
    bool has = index < list->count;
    if (has) {
        memcpy(name, list->entries[index].name, KVP_URL_SIZE_MAX + 1);
    }
    pthread_mutex_unlock(&list->lock);
    return has;
}

/* Returns whether every name has an address. */
static bool look_all_up(struct kvp_address_list *list)
{
    char name[KVP_URL_SIZE_MAX + 1];
    bool all = true;
    for (size_t i = 0; !atomic_load(&list->closing) && list_name_at(list, i, name); i++) {
        if (name[0] != '\0') {
            all = list_look_up(list, i, name) && all;
        }
    }
    return all;
}

static void *list_run(void *arg)
{
    struct kvp_address_list *list = arg;
    while (!atomic_load(&list->closing)) {
        uint64_t began_us = kvp_clock_now_us();
        bool all = look_all_up(list);
        atomic_store(&list->missed, false);
        struct pollfd wake = {.fd = list->wake_fd, .events = POLLIN};
        (void)poll(&wake, 1, all ? REFRESH_MS : UNRESOLVED_MS);
        uint64_t took_us = kvp_clock_now_us() - began_us;
        if (took_us < REFRESH_MIN_US && !atomic_load(&list->closing)) {
            net_take_wake(list->wake_fd);
            (void)poll(&wake, 1, (int)((REFRESH_MIN_US - took_us) / 1000));
        }
        net_take_wake(list->wake_fd);
    }
    return NULL;
}

/* ---- making and ending ---- */

struct kvp_address_list *kvp_address_list_new(void)
{
    struct kvp_address_list *list = calloc(1, sizeof(*list));
    if (list != NULL) {
        pthread_mutex_init(&list->lock, NULL);
        list->wake_fd = -1;
    }
    return list;
}

static bool has_names(const struct kvp_address_list *list)
{
    bool names = false;
    for (size_t i = 0; i < list->count; i++) {
        names = names || list->entries[i].name[0] != '\0';
    }
    return names;
}

kvp_status kvp_address_list_start(struct kvp_address_list *list)
{
    if (atomic_load(&list->started) || list->any || !has_names(list)) {
        return KVP_OK;
    }
    if (list->wake_fd < 0) {
        list->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    if (list->wake_fd < 0) {
        return KVP_IO;
    }
    bool started = net_start_thread(&list->thread, list_run, list) == 0;
    atomic_store(&list->started, started);
    return started ? KVP_OK : KVP_NO_MEMORY;
}

static void list_keep_found(const struct kvp_address_list *before, struct entry *entry)
{
    for (size_t i = 0; i < before->count; i++) {
        if (entry->name[0] != '\0' && strcmp(before->entries[i].name, entry->name) == 0) {
            *entry = before->entries[i];
        }
    }
}

kvp_status kvp_address_list_become(struct kvp_address_list *list, struct kvp_address_list *from)
{
    pthread_mutex_lock(&list->lock);
    for (size_t i = 0; i < from->count; i++) {
        list_keep_found(list, &from->entries[i]);
    }
    list->any = from->any;
    list->local = from->local;
    list->count = from->count;
    memcpy(list->entries, from->entries, sizeof(list->entries));
    pthread_mutex_unlock(&list->lock);
    kvp_address_list_free(from);
    if (atomic_load(&list->started)) {
        net_wake(list->wake_fd);
    }
    return kvp_address_list_start(list);
}

void kvp_address_list_free(struct kvp_address_list *list)
{
    if (list == NULL) {
        return;
    }
    if (atomic_load(&list->started)) {
        atomic_store(&list->closing, true);
        net_wake(list->wake_fd);
        (void)pthread_join(list->thread, NULL);
    }
    net_close_fd(list->wake_fd);
    pthread_mutex_destroy(&list->lock);
    free(list);
}
