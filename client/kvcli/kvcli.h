/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of kvcli share. */
#ifndef KVCLI_H
#define KVCLI_H

#include "kvpair/kvp_client.h"
#include "kvpair/kvp_lease.h"
#include "kvstore/base/tls_names.h"

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

/* Exit statuses: a contract with scripts. */
enum {
    EXIT_DONE = 0,
    EXIT_NO = 1, /* not found, exists, version differs, the job failed or is not so far */
    EXIT_USAGE = 2,
    EXIT_NOTHING = 3, /* unavailable or timed out; nothing happened */
    EXIT_UNKNOWN = 4, /* timed out, it may have happened; or its output got lost, and it has */
    EXIT_REFUSED = 5,
    EXIT_CANCELLED = 6, /* job wait: the job was; a failed one is EXIT_NO */
    EXIT_PARTLY = 7,    /* job wait: it is done, but for some tasks that have failed */
    EXIT_PIPE = 141,    /* nobody reads the output any more; as if by SIGPIPE */
};

#define KVCLI_OPTIONS_MAX 32u
/* A line of a file: a value and a key in which each byte is written as \u00XX, and what is around
 * them. */
#define KVCLI_LINE_MAX     (6u * (KVP_VALUE_SIZE_MAX + KVP_KEY_SIZE_MAX) + 4096u)
#define KVCLI_DISTANCE_MAX 2u /* letters wrong in what is still taken for a slip */

struct kvcli_option {
    const char *name;     /* "--limit", "-o"; NULL: the end of a list */
    const char *argument; /* what follows it, for people; NULL: nothing */
    const char *summary;
};

/* Those that came with a command. */
struct kvcli_given {
    const struct kvcli_option *options;
    const char *values[KVCLI_OPTIONS_MAX]; /* NULL: not given; "" where it has none */
    int before;                            /* arguments before a "--"; -1: there is none */
};

struct kvcli {
    const struct kvcli_command *commands; /* the last one has no name */
    const char *nodes, *group;
    struct kvp_tls_names tls;
    uint32_t timeout_ms;
    bool json;
    bool prompt; /* a person is typing */
    bool script; /* standard input has the commands */
    bool bail;   /* and the first that fails is the last */
    kvp_client *client;
    const struct kvcli_given *given; /* while a command runs */
};

struct kvcli_command {
    const char *name;
    const char *arguments;
    const char *summary;
    int arguments_min, arguments_max;
    bool update; /* may change something */
    /* argv[0] is the first argument; options have been taken out: kvcli_option(). */
    int (*run)(struct kvcli *cli, int argc, char **argv);
    const struct kvcli_option *options; /* NULL: none */
    const struct kvcli_command *verbs;  /* not NULL: its first argument is one of these */
    bool brief;                         /* lists of commands do not show its options */
};

/* kvcli.c */
extern const struct kvcli_command kvcli_commands[]; /* the last one has no name */
extern const struct kvcli_command kvcli_job_verbs[];
extern const struct kvcli_command kvcli_cert_verbs[];
extern const struct kvcli_command kvcli_access_verbs[];
extern const struct kvcli_command kvcli_member_verbs[];
extern const struct kvcli_command kvcli_worker_verbs[];
extern const struct kvcli_command kvcli_lease_verbs[];

/* kvcli_run.c */
/* From now on it is kept why a write to the standard output failed, however much follows it. */
void kvcli_watch_output(void);
/* Runs a command and sees to it that its output gets out; returns its exit status. */
int kvcli_run(struct kvcli *cli, int argc, char **argv);
/* Output that got lost must not look like success: returns the exit status instead of `code`. */
int kvcli_check_output(int code, bool update);

/* kvcli_interrupt.c */
/* From now on an interrupt ends the program, which says so while an update is under way; */
void kvcli_interrupts_end(void);
/* or it is noted: by the prompt, which only wants to get out of what it does, */
void kvcli_interrupts_note(void);
/* or by what ends soon, whatever signal it was; */
void kvcli_ends_note(void);
/* which is told here; 0: none. */
int kvcli_interrupt_number(void);
void kvcli_update_begins(void);
/* The update under way has its outcome, or there is none: an interrupt is no reason to speak. */
void kvcli_settled(void);
/* Has somebody at the prompt wanted to get it back since the command began? */
bool kvcli_interrupted(void);
void kvcli_interrupt_forget(void);
/* read() of standard input; -1 with EINTR: interrupted, also if that was before. */
ssize_t kvcli_read_input(void *bytes, size_t size);

/* kvcli_complain.c */
/* From now on complaints are objects in JSON. */
void kvcli_complain_in_json(void);
/* What is complained of from now on is in that line of standard input; 0: in none. */
void kvcli_complain_at(unsigned long line);
int kvcli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Says what went wrong; returns the exit status for it. `detail` may be NULL. */
int kvcli_failed(kvp_status status, const kvp_result *detail);
/* The same with the reason alone, which may be empty. */
int kvcli_failed_because(kvp_status status, const char *reason);
/* There is no memory for the output. `update`: the command changes something, and was executed. */
int kvcli_failed_to_print(bool update);
int kvcli_exit_status(kvp_status status);

/* kvcli_options.c */
/* Takes the options out of the arguments, which are moved up. -1: go on; else the exit status. */
int kvcli_read_options(const char *title, const struct kvcli_command *command, int *argc,
                       char **argv, struct kvcli_given *given);
/* Begins it with a dash, and is neither "-" nor a number? */
bool kvcli_is_option(const char *argument);
/* The value of an option of the command that runs, "" if it has none; NULL: it was not given. */
const char *kvcli_option(const struct kvcli *cli, const char *name);

/* kvcli_help.c */
/* The command of that name; NULL: there is none. Tables end with a command without a name. */
const struct kvcli_command *kvcli_find(const struct kvcli_command *table, const char *name);
void kvcli_print_commands(FILE *out, const struct kvcli_command *table); /* a line for each */
void kvcli_print_command(FILE *out, const char *title, const struct kvcli_command *command);
/* Of the command that the arguments name. */
int kvcli_help(const struct kvcli_command *table, int argc, char **argv);
/* How many letters differ; a large number where it does not matter. */
unsigned kvcli_distance(const char *text, size_t size, const char *word);
/* The command that other stores call so; NULL: none. */
const char *kvcli_synonym(const char *word);
/* The command that may have been meant; NULL: none. */
const char *kvcli_nearest(const struct kvcli_command *table, const char *word);

/* kvcli_control.c */
int kvcli_job_pause(struct kvcli *cli, int argc, char **argv);
int kvcli_job_resume(struct kvcli *cli, int argc, char **argv);
int kvcli_job_set(struct kvcli *cli, int argc, char **argv);
int kvcli_job_retry(struct kvcli *cli, int argc, char **argv);
int kvcli_worker_drain(struct kvcli *cli, int argc, char **argv);
int kvcli_worker_resume(struct kvcli *cli, int argc, char **argv);

/* kvcli_keys.c */
/* What came of an update: its version for who wants it. Frees the result; returns the exit status.
 */
int kvcli_updated(const struct kvcli *cli, kvp_result *result);
/* What came of reading a key; the same. */
int kvcli_got(const struct kvcli *cli, kvp_slice key, kvp_result *result, bool stale);
int kvcli_put(struct kvcli *cli, int argc, char **argv);
int kvcli_create(struct kvcli *cli, int argc, char **argv);
int kvcli_cas(struct kvcli *cli, int argc, char **argv);
int kvcli_scan(struct kvcli *cli, int argc, char **argv);

/* What --from, --to and a prefix (NULL: none) mean together. `memory` is to be freed, also after an
 * error, which is KVP_NO_MEMORY. *empty: there can be no such keys. */
kvp_status kvcli_take_range(const struct kvcli *cli, const char *prefix, kvp_buf *memory,
                            kvp_slice *start, kvp_slice *end, bool *empty);

/* kvcli_gets.c */
int kvcli_get(struct kvcli *cli, int argc, char **argv);

/* kvcli_changes.c */
int kvcli_delete(struct kvcli *cli, int argc, char **argv);
int kvcli_incr(struct kvcli *cli, int argc, char **argv);
int kvcli_rename(struct kvcli *cli, int argc, char **argv);

/* kvcli_lease.c */
/* What --ttl and --lease say; complains. */
bool kvcli_take_hold(const struct kvcli *cli, const char *command, uint64_t *ttl_ms,
                     uint64_t *lease);
/* "1.5" as milliseconds that a key or lease may live; complains. */
bool kvcli_take_ttl(const char *command, const char *argument, uint64_t *ttl_ms);
int kvcli_lease_grant(struct kvcli *cli, int argc, char **argv);
int kvcli_lease_keep(struct kvcli *cli, int argc, char **argv);
int kvcli_lease_revoke(struct kvcli *cli, int argc, char **argv);
int kvcli_lease_list(struct kvcli *cli, int argc, char **argv);
int kvcli_lease_show(struct kvcli *cli, int argc, char **argv);
int kvcli_ttl(struct kvcli *cli, int argc, char **argv);

/* kvcli_lock.c */
int kvcli_lock(struct kvcli *cli, int argc, char **argv);
int kvcli_elect(struct kvcli *cli, int argc, char **argv);

/* kvcli_watch.c */
int kvcli_watch(struct kvcli *cli, int argc, char **argv);

/* kvcli_files.c */
/* Standard input, whose reading an interrupt ends at any moment; what all commands read from. */
FILE *kvcli_input(void);
/* To be called before each wait for more of it; NULL: nothing is. */
void kvcli_before_input(void (*call)(void *arg), void *arg);
/* Reads all of a file ("-": standard input), at most `size_max` bytes; complains. */
bool kvcli_read_file(const char *name, size_t size_max, kvp_buf *content);
/* Reads a line without its end; the buffer's memory is used again. KVP_NOT_FOUND: there is none, or
 * the file cannot be read (ferror()); KVP_TOO_LARGE: longer than KVCLI_LINE_MAX; KVP_NO_MEMORY. */
kvp_status kvcli_read_line(FILE *file, kvp_buf *line);
/* Makes a file of the bytes, or writes them to a device; what was there stays if that fails.
 * Complains; returns the exit status. */
int kvcli_write_file(const char *name, kvp_slice bytes);

/* kvcli_access.c */
int kvcli_access_grant(struct kvcli *cli, int argc, char **argv);
int kvcli_access_revoke(struct kvcli *cli, int argc, char **argv);
int kvcli_access_list(struct kvcli *cli, int argc, char **argv);
int kvcli_access_show(struct kvcli *cli, int argc, char **argv);

/* kvcli_members.c */
int kvcli_member_list(struct kvcli *cli, int argc, char **argv);
int kvcli_member_add(struct kvcli *cli, int argc, char **argv);
int kvcli_member_remove(struct kvcli *cli, int argc, char **argv);
int kvcli_member_replace(struct kvcli *cli, int argc, char **argv);
int kvcli_member_move(struct kvcli *cli, int argc, char **argv);

/* kvcli_cert.c */
int kvcli_cert_init(struct kvcli *cli, int argc, char **argv);
int kvcli_cert_issue(struct kvcli *cli, int argc, char **argv);
int kvcli_cert_renew(struct kvcli *cli, int argc, char **argv);
int kvcli_cert_list(struct kvcli *cli, int argc, char **argv);

/* kvcli_txn.c */
int kvcli_txn(struct kvcli *cli, int argc, char **argv);

/* kvcli_export.c */
int kvcli_export(struct kvcli *cli, int argc, char **argv);
int kvcli_import(struct kvcli *cli, int argc, char **argv);

/* kvcli_backup.c */
int kvcli_backup(struct kvcli *cli, int argc, char **argv);

/* kvcli_nodes.c */
#define KVCLI_NODES_MAX 16
struct kvcli_query {
    const struct kvcli *cli;
    const char *url;
    kvp_result result;
    kvp_status status;
    uint64_t answered_ms; /* since 1970 */
    pthread_t thread;
    bool started;
};
/* Asks the nodes of a list with commas, which is taken apart and has to live as long as the
 * queries; returns how many. Each result is to be freed. */
int kvcli_ask_nodes(const struct kvcli *cli, char *nodes, struct kvcli_query *queries);
void kvcli_ask_node(const struct kvcli *cli, const char *url, struct kvcli_query *query);
/* NULL: there was no answer, or no memory for it. */
cJSON *kvcli_query_parse(const struct kvcli_query *query);
/* Why there is no answer. */
void kvcli_query_explain(const struct kvcli_query *query, char *text, size_t size);
/* An array with the answer of each, or why there is none. False: memory was short. */
bool kvcli_print_queries(const struct kvcli_query *queries, int count);
bool kvcli_same_scheme(const char *given, const char *told);
bool kvcli_json_true(const cJSON *object, const char *name);
uint64_t kvcli_wall_ms(void);

/* kvcli_verdict.c: of the status of a node that serves. */
void kvcli_verdict(const cJSON *status, char *text, size_t size);

/* kvcli_doctor.c */
int kvcli_doctor(struct kvcli *cli, int argc, char **argv);
/* kvcli_drill.c */
int kvcli_drill(struct kvcli *cli, int argc, char **argv);
/* kvcli_events.c */
int kvcli_events(struct kvcli *cli, int argc, char **argv);
/* kvcli_top.c */
int kvcli_top(struct kvcli *cli, int argc, char **argv);

/* kvcli_admin.c */
int kvcli_status(struct kvcli *cli, int argc, char **argv);
int kvcli_handover(struct kvcli *cli, int argc, char **argv);
int kvcli_promote(struct kvcli *cli, int argc, char **argv);

/* kvcli_jobs.c */
int kvcli_job_list(struct kvcli *cli, int argc, char **argv);
int kvcli_job_show(struct kvcli *cli, int argc, char **argv);
int kvcli_job_workers(struct kvcli *cli, int argc, char **argv);
int kvcli_job_cancel(struct kvcli *cli, int argc, char **argv);
int kvcli_job_dead(struct kvcli *cli, int argc, char **argv);
int kvcli_job_remove(struct kvcli *cli, int argc, char **argv);
/* The argument as the id of a job; complains. */
bool kvcli_job_id(const char *argument, uint64_t *job);
/* What the group says about a job, as an object that the caller deletes; NULL: *status and *result
 * (not freed) say why. `text` (may be NULL) gets it as it was written: numbers in cJSON may be
 * rounded. */
cJSON *kvcli_job_fetch(struct kvcli *cli, uint64_t job, kvp_buf *text, kvp_result *result);

/* kvcli_wait.c */
int kvcli_job_wait(struct kvcli *cli, int argc, char **argv);
/* Waits for the end of a job; timeout_ms 0: as long as it takes. Returns the exit status. */
int kvcli_wait_for(struct kvcli *cli, uint64_t job, uint64_t timeout_ms);
/* A bar on standard error, if it is a terminal: `done` of `all`, and what to say beside it. */
void kvcli_draw_bar(const char *label, double done, double all, const char *text);
void kvcli_clear_bar(void);

/* kvcli_submit.c */
extern const struct kvcli_option kvcli_submit_options[];
int kvcli_job_submit(struct kvcli *cli, int argc, char **argv);

/* kvcli_matrix.c */
int kvcli_job_result(struct kvcli *cli, int argc, char **argv);
struct kvp_matrix;
/* Reads a matrix from a file, by the suffix of its name or else its first bytes. `wanted`: a type,
 * or KVP_MATRIX_GUESS. Complains. */
bool kvcli_read_matrix(const char *name, int wanted, struct kvp_matrix *matrix);

static inline kvp_slice kvcli_slice(const char *text)
{
    return kvp_slice_of(text, strlen(text));
}

/* kvcli_text.c */
/* UTF-8, without control characters? */
bool kvcli_is_printable(const char *text, size_t size);
/* Writes bytes on one line: \t \n \r \\ and \xNN for what cannot be shown. */
void kvcli_print_escaped(kvp_slice bytes);
size_t kvcli_write_escaped(FILE *out, kvp_slice bytes); /* returns how many characters came of it */
/* The same on standard error. */
void kvcli_complain_escaped(kvp_slice bytes);
/* The same, broken between words into lines of at most 80 columns that begin with blanks. */
void kvcli_print_wrapped(size_t indent, const char *text);
/* The same for a column of a table, filled up with blanks. */
void kvcli_print_cell(const char *text, int width);
/* The same for one that may be long: the next column is below then. `indent`: where it begins. */
void kvcli_print_name(const char *text, int indent, int width);
/* As kvcli_print_wrapped(), behind the name, which ends with a blank. */
void kvcli_print_named(const char *name, const char *text);
/*
 * Members of objects that a node has sent, which may say anything: a number from 0 to just below
 * 2^64, the same as an integer of at most `max` (at most 2^53), text. 0 and "" where there is none.
 */
double kvcli_json_count(const cJSON *object, const char *name);
uint64_t kvcli_json_integer(const cJSON *object, const char *name, uint64_t max);
const char *kvcli_json_text(const cJSON *object, const char *name);
/* Is it an object that has none but these members (the list ends with NULL), and none of them
 * twice? Else *wrong names the member; NULL: it is no object. */
bool kvcli_json_only(const cJSON *object, const char *const *members, const char **wrong);
/* Adds the item to an object, or (name NULL) to an array. One that could not be made, or be added,
 * takes the whole with it: *object becomes NULL, and what is added then is freed. */
void kvcli_json_add(cJSON **object, const char *name, cJSON *item);
/* Prints the object on a line and frees it. False: memory was short, also if it is NULL. */
bool kvcli_print_json(cJSON *object);
/* Bytes in JSON: a string if they are UTF-8 text without zero bytes, else {"base64": "..."}. */
cJSON *kvcli_json_bytes(kvp_slice bytes);
/* The other way round. False: it is neither. */
bool kvcli_bytes_of_json(const cJSON *item, kvp_buf *bytes);
/* Text for people as a string, whatever bytes it has. */
cJSON *kvcli_json_readable(const char *text);
cJSON *kvcli_json_number(uint64_t number); /* exact */
/* The text as one JSON value. NULL: it is none; *reason and *at say why and near which byte. */
cJSON *kvcli_parse_json(kvp_slice text, const char **reason, size_t *at);
/* A decimal number, all of the text. */
bool kvcli_parse_number(const char *text, uint64_t max, uint64_t *number);

/* kvcli_prompt.c */
int kvcli_prompt(struct kvcli *cli);
/* Runs a command as it was typed. False: it was to be the end. */
bool kvcli_run_typed(struct kvcli *cli, int argc, const char **argv, int *code);

/* kvcli_script.c */
/* Runs the commands on standard input, one a line. The exit status is that of the first that
 * failed. */
int kvcli_script(struct kvcli *cli);

#endif
