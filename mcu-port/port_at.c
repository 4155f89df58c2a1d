/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One command at a time; what the modem says is read word by word (a word is a line), and whenever
 * one means something, the next thing is done. A connection that the client gives up is closed when
 * the modem can hear of it: what was announced to it as data is always sent to its end, so that
 * nothing else can get into a stream of bytes, and into a value.
 */
#include "port_at.h"

#include <string.h>

#define COMMAND_MS 1000u
#define SYNC_MS    300u
#define BUSY_MS    50u
#define CONNECT_MS 10000u
#define SETUP_MS   20000u /* joining a network takes its time */
#define SYNC_TRIES 10u    /* then it is reset, if it can be */
#define FAILURES                                                                                   \
    8u /* in a row to connect, and it is set up again: it may have been reset unheard */
#define READ_MAX 512u

enum phase {
    DOWN,    /* nothing is known of it */
    SYNCING, /* ATE0 is to be answered */
    SETTING_UP,
    IDLE,
    CONNECTING,
    CLOSING,
    UP,
    ANNOUNCING, /* so many bytes; it is to say ">" */
    SENDING,    /* and then "SEND OK" */
};

enum flags {
    WANTED = 1, /* the client has not closed it */
    FAILED = 2, /* and it is no more, or was not made */
    BUSY = 4,   /* the command is to be said once more */
};

/* ---- out ---- */

static uint32_t now_ms(const struct kvmcu_at *modem)
{
    return modem->line->now_ms(modem->line->arg);
}

static bool passed(const struct kvmcu_at *modem, uint32_t time_ms)
{
    return now_ms(modem) - modem->since_ms >= time_ms;
}

static void flush(struct kvmcu_at *modem)
{
    const struct kvmcu_line *line = modem->line;
    size_t left = (size_t)modem->out_size - modem->out_at;
    if (left > 0) {
        size_t count = line->write(line->arg, modem->out + modem->out_at, left);
        modem->out_at = (uint16_t)(modem->out_at + (count < left ? count : left));
    }
}

static void put(struct kvmcu_at *modem, const char *text)
{
    while (*text != '\0' && modem->out_size < sizeof(modem->out)) {
        modem->out[modem->out_size++] = (uint8_t)*text;
        text++;
    }
}

static void begin(struct kvmcu_at *modem, enum phase phase)
{
    modem->phase = (uint8_t)phase;
    modem->flags &= (uint8_t)~BUSY;
    modem->since_ms = now_ms(modem);
    modem->out_at = modem->out_size = 0;
}

static void command(struct kvmcu_at *modem, enum phase phase, const char *text)
{
    begin(modem, phase);
    put(modem, text);
    put(modem, "\r\n");
    flush(modem);
}

/* tcp://HOST:PORT */
static void connect_to(struct kvmcu_at *modem, const char *url)
{
    const char *host = url, *port;
    while (*host != '\0' && (host < url + 2 || host[-1] != '/' || host[-2] != '/')) {
        host++;
    }
    begin(modem, CONNECTING);
    put(modem, "AT+CIPSTART=\"TCP\",\"");
    port = host + strlen(host);
    while (port > host && port[-1] != ':') {
        port--;
    }
    while (host + 1 < port && modem->out_size < sizeof(modem->out) - 16) {
        modem->out[modem->out_size++] = (uint8_t)*host;
        host++;
    }
    put(modem, "\",");
    put(modem, port);
    put(modem, "\r\n");
    flush(modem);
}

/* The data stays behind the command in `out`, until it is wanted. */
static void announce(struct kvmcu_at *modem)
{
    char text[] = "AT+CIPSEND=00000";
    unsigned left = modem->chunk, at = sizeof(text) - 2;
    while (left > 0) {
        text[at] = (char)('0' + left % 10);
        left /= 10;
        at--;
    }
    while (text[at] == '0') { /* not all modems like zeros */
        memmove(text + at, text + at + 1, sizeof(text) - at - 1);
        at--;
    }
    command(modem, ANNOUNCING, text);
}

static void send_chunk(struct kvmcu_at *modem)
{
    begin(modem, SENDING);
    memmove(modem->out, modem->out + sizeof(modem->out) - modem->chunk, modem->chunk);
    modem->out_size = modem->chunk;
    flush(modem);
}

/* ---- what happens next ---- */

static void lost(struct kvmcu_at *modem)
{
    if ((modem->flags & WANTED) != 0) {
        modem->flags |= FAILED;
    }
}

static void down(struct kvmcu_at *modem)
{
    lost(modem);
    modem->phase = DOWN;
}

static void set_up(struct kvmcu_at *modem)
{
    const char *text = modem->setup != NULL ? modem->setup[modem->setup_at] : NULL;
    if (text != NULL) {
        command(modem, SETTING_UP, text);
    } else {
        modem->tries = 0;
        command(modem, CLOSING, "AT+CIPCLOSE"); /* what may be left from before */
    }
}

static void settle(struct kvmcu_at *modem)
{
    modem->phase = UP;
    if ((modem->flags & (WANTED | FAILED)) != WANTED) {
        command(modem, CLOSING, "AT+CIPCLOSE");
    }
}

static void take_ok(struct kvmcu_at *modem)
{
    switch (modem->phase) {
    case SYNCING:
        set_up(modem);
        break;
    case SETTING_UP:
        modem->setup_at++;
        set_up(modem);
        break;
    case CONNECTING:
        modem->failures = 0;
        settle(modem);
        break;
    case CLOSING:
        modem->phase = IDLE;
        break;
    default:
        break; /* before a ">", or late */
    }
}

static void take_error(struct kvmcu_at *modem)
{
    switch (modem->phase) {
    case SYNCING:
        break; /* what was left in its ears */
    case SETTING_UP:
        modem->flags |= BUSY;
        break;
    case CONNECTING:
        lost(modem);
        command(modem, CLOSING, "AT+CIPCLOSE"); /* it may say that it is connected already */
        modem->failures++;
        if (modem->failures == FAILURES) {
            modem->failures = 0;
            modem->setup_at = 0;
            modem->phase = DOWN;
        }
        break;
    case CLOSING:
        modem->phase = IDLE; /* there was none */
        break;
    case ANNOUNCING:
    case SENDING:
        lost(modem);
        command(modem, CLOSING, "AT+CIPCLOSE");
        break;
    default:
        break;
    }
}

static bool ends_with(const struct kvmcu_at *modem, const char *word)
{
    size_t size = strlen(word);
    return modem->in_size >= size && memcmp(modem->in + modem->in_size - size, word, size) == 0;
}

static void take_word(struct kvmcu_at *modem)
{
    if (ends_with(modem, "SEND OK")) {
        if (modem->phase == SENDING) {
            settle(modem);
        }
    } else if (ends_with(modem, "OK")) {
        take_ok(modem);
    } else if (ends_with(modem, "ERROR") || ends_with(modem, "FAIL")) {
        take_error(modem);
    } else if (ends_with(modem, "CLOSED")) {
        if (modem->phase >= UP) {
            lost(modem);
            modem->phase = modem->phase == UP ? IDLE : modem->phase;
        }
    } else if (ends_with(modem, "...")) {
        modem->flags |= BUSY;
        modem->since_ms = now_ms(modem);
    } else if (ends_with(modem, "ready")) {
        modem->setup_at = 0; /* it has begun anew */
        down(modem);
    }
}

/* ---- in ---- */

static void begin_data(struct kvmcu_at *modem)
{
    uint32_t size = 0;
    for (unsigned at = 5;
         at < modem->in_size && modem->in[at] >= '0' && modem->in[at] <= '9' && size < 100000;
         at++) {
        size = size * 10 + (uint32_t)(modem->in[at] - '0');
    }
    modem->in_left = size;
    modem->in_size = 0;
}

static void take_byte(struct kvmcu_at *modem, char byte)
{
    if (byte == '>' && modem->phase == ANNOUNCING && modem->out_at == modem->out_size) {
        modem->in_size = 0;
        send_chunk(modem);
    } else if (byte == '\n') {
        take_word(modem);
        modem->in_size = 0;
    } else if (byte == ':' && modem->in_size > 5 && memcmp(modem->in, "+IPD,", 5) == 0) {
        begin_data(modem);
    } else if (byte != '\r') {
        if (byte == '+') {
            modem->in_size = 0; /* whatever was before it */
        } else if (modem->in_size == sizeof(modem->in)) {
            modem->in_size--;
            memmove(modem->in, modem->in + 1, modem->in_size);
        }
        modem->in[modem->in_size++] = byte;
    }
}

static bool gives_data(const struct kvmcu_at *modem)
{
    return modem->phase >= UP && (modem->flags & WANTED) != 0;
}

/* Words, up to data that the client is to have first. */
static void read_words(struct kvmcu_at *modem)
{
    const struct kvmcu_line *line = modem->line;
    char byte;
    for (unsigned i = 0; i < READ_MAX && (modem->in_left == 0 || !gives_data(modem)); i++) {
        if (line->read(line->arg, &byte, 1) == 0) {
            break;
        }
        if (modem->in_left > 0) {
            modem->in_left--; /* of a connection that nobody wants any more */
        } else {
            take_byte(modem, byte);
        }
    }
}

static void greet(struct kvmcu_at *modem)
{
    modem->tries++;
    if (modem->tries > SYNC_TRIES && modem->reset != NULL) {
        modem->tries = 0;
        modem->setup_at = 0;
        modem->reset(modem->line->arg);
    }
    modem->in_left = 0;
    modem->in_size = 0;
    command(modem, SYNCING, "ATE0");
}

/* What is late, or to be said once more. */
static void look_at_clock(struct kvmcu_at *modem)
{
    if ((modem->flags & BUSY) != 0 && !passed(modem, BUSY_MS)) {
        return;
    }
    switch (modem->phase) {
    case DOWN:
        greet(modem);
        break;
    case SYNCING:
        if (passed(modem, SYNC_MS)) {
            greet(modem);
        }
        break;
    case SETTING_UP:
        if ((modem->flags & BUSY) != 0) {
            set_up(modem);
        } else if (passed(modem, SETUP_MS)) {
            down(modem);
        }
        break;
    case CONNECTING:
        if ((modem->flags & BUSY) != 0) {
            connect_to(modem, modem->urls[modem->address]);
        } else if (passed(modem, CONNECT_MS)) {
            down(modem);
        }
        break;
    case CLOSING:
        if ((modem->flags & BUSY) != 0) {
            command(modem, CLOSING, "AT+CIPCLOSE");
        } else if (passed(modem, COMMAND_MS)) {
            down(modem);
        }
        break;
    case ANNOUNCING:
        if ((modem->flags & BUSY) != 0) {
            announce(modem);
        } else if (passed(modem, COMMAND_MS)) {
            send_chunk(modem); /* if it waits, then for this and nothing else */
            lost(modem);
        }
        break;
    case SENDING:
        if (passed(modem, COMMAND_MS)) {
            down(modem);
        }
        break;
    default:
        break;
    }
}

static void pump(struct kvmcu_at *modem)
{
    flush(modem);
    read_words(modem);
    look_at_clock(modem);
}

/* ---- the transport ---- */

static int at_open(void *arg, unsigned index)
{
    struct kvmcu_at *modem = arg;
    pump(modem);
    if ((modem->flags & FAILED) != 0) {
        return -1;
    }
    if (modem->phase == IDLE) {
        modem->flags |= WANTED;
        modem->address = (uint8_t)index;
        connect_to(modem, modem->urls[index]);
    }
    return modem->phase >= UP && (modem->flags & WANTED) != 0 ? 1 : 0;
}

static int at_send(void *arg, const void *data, size_t size)
{
    struct kvmcu_at *modem = arg;
    pump(modem);
    if ((modem->flags & FAILED) != 0 || modem->phase < UP) {
        return -1;
    }
    if (modem->phase != UP || modem->in_left > 0) {
        return 0;
    }
    size = size < KVMCU_AT_OUT_MAX ? size : KVMCU_AT_OUT_MAX;
    modem->chunk = (uint16_t)size;
    memcpy(modem->out + sizeof(modem->out) - size, data, size);
    announce(modem);
    return (int)size;
}

static int at_recv(void *arg, void *data, size_t size)
{
    struct kvmcu_at *modem = arg;
    const struct kvmcu_line *line = modem->line;
    pump(modem);
    if (modem->in_left > 0 && gives_data(modem)) {
        size = size < modem->in_left ? size : modem->in_left;
        size = line->read(line->arg, data, size);
        modem->in_left -= (uint32_t)size;
        return (int)size;
    }
    return (modem->flags & FAILED) != 0 || modem->phase < UP ? -1 : 0;
}

static void at_close(void *arg)
{
    struct kvmcu_at *modem = arg;
    modem->flags &= (uint8_t) ~(WANTED | FAILED);
    if (modem->phase == UP) {
        settle(modem);
    }
    pump(modem);
}

static uint32_t at_now_ms(void *arg)
{
    return now_ms(arg);
}

static void at_idle(void *arg)
{
    struct kvmcu_at *modem = arg;
    pump(modem);
    if (modem->line->idle != NULL) {
        modem->line->idle(modem->line->arg);
    }
}

void kvmcu_at_init(struct kvmcu_at *modem, const struct kvmcu_line *line, const char *const *urls,
                   const char *const *setup, void (*reset)(void *arg))
{
    memset(modem, 0, sizeof(*modem));
    modem->line = line;
    modem->urls = urls;
    modem->setup = setup;
    modem->reset = reset;
    modem->transport.open = at_open;
    modem->transport.send = at_send;
    modem->transport.recv = at_recv;
    modem->transport.close = at_close;
    modem->transport.now_ms = at_now_ms;
    modem->transport.idle = at_idle;
    modem->transport.arg = modem;
}
