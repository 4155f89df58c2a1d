/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job is, as its submitter says it: a set of tasks of the submitter's own kinds, or one
 * product of matrices C = A*B, cut into tiles. Client and node share this: the client computes the
 * tiling and uploads blocks, the node checks what it gets against the same numbers.
 *
 * A matrix job has I x K blocks of A, K x J blocks of B, I x J blocks of C, where I, K, J are the
 * numbers of tiles along rows, inner dimension and columns. Blocks are numbered A first, both by
 * rows: A(i,k) is i*K+k, B(k,j) is I*K + k*J+j. Task (i*J+j)*K + k computes A(i,k)*B(k,j); the sum
 * over k is the block i*J+j of C. Tiles at the far edges are smaller.
 */
#ifndef KVP_JOB_SPEC_H
#define KVP_JOB_SPEC_H

#include "job_codes.h"
#include "kvp_base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum kvp_job_type {
    KVP_JOB_TASKS = 0,
    KVP_JOB_MATMUL = 1,
};

enum kvp_job_verify { /* what is done with the whole product before the job is called done */
                      KVP_VERIFY_NONE = 0,
                      KVP_VERIFY_FREIVALDS = 1,
                      KVP_VERIFY_RECOMPUTE = 2,
};

#define KVP_JOB_COPIES_MAX 8u
#define KVP_JOB_TASKS_MAX  (1u << 20)
#define KVP_JOB_KINDS_MAX  16u   /* kinds of task in one job; kinds of one worker */
#define KVP_JOB_DEPS_MAX   4096u /* tasks that one task waits for */
#define KVP_JOB_BATCH_MAX  1024u /* tasks in one message */
#define KVP_JOB_TASKS_SIZE_MAX                                                                     \
    (4u * 1024u * 1024u) /* bytes of the list of tasks in one message                              \
                          */
#define KVP_JOB_BLOCK_MAX   KVP_VALUE_SIZE_MAX
#define KVP_JOB_MATMUL_KIND "matmul"
#define KVP_JOB_TILE_HEADER 16u /* type u32, rows u32, inner u32, columns u32, before A and B */
/* The same for workers that fetch blocks themselves and keep them (JOB_BLOCK): behind the header
 * come the numbers of the blocks of A and B, u32 each. Who can do both kinds gets this one. */
#define KVP_JOB_BLOCKS_KIND      "matmul-blocks"
#define KVP_JOB_BUFFER_DEFAULT   (2u * 1024u * 1024u)
#define KVP_JOB_RETRY_DEFAULT_MS 200u

struct kvp_job_spec {
    char name[KVP_NAME_SIZE_MAX + 1]; /* for people; may be empty */
    uint8_t type;                     /* enum kvp_job_type */
    uint8_t copies;       /* of every task, handed to different workers: 1..KVP_JOB_COPIES_MAX */
    uint8_t quorum;       /* results that must agree: 1..copies */
    uint8_t copies_max;   /* copies..KVP_JOB_COPIES_MAX: how far disagreement may raise copies */
    uint8_t compare;      /* enum kvp_agreement; all but EXACT for matrices only */
    uint8_t verify;       /* enum kvp_job_verify */
    uint8_t rounds;       /* of Freivalds' check: 1..64 */
    uint8_t priority;     /* higher first */
    uint8_t attempts_max; /* lost attempts (not lost votes) after which a task fails: 1..255 */
    double tolerance;     /* ABSOLUTE, RELATIVE, CHECKSUM */
    uint32_t silence_ms;  /* without a beat for so long an attempt is lost */
    uint32_t deadline_ms; /* of an attempt; 0: adapts to what the tasks take */
    uint32_t delay_ms;    /* from the start (or a change of primary) to the first handing out */
    uint32_t keep_s;      /* how long a finished job stays */
    uint32_t retry_ms; /* a task that failed rests for so long, twice as long each further time */
    /* MATMUL */
    uint8_t element;               /* enum kvp_matrix_type */
    uint64_t rows, inner, columns; /* A is rows x inner, B inner x columns */
    uint32_t tile_rows, tile_inner, tile_columns;
    uint32_t max_running; /* attempts under way at a time; 0: any number */
    uint32_t expires_s; /* a job that has not ended so long after its start has failed; 0: never */
    const char *key;    /* at most one job of a key is started; NULL or "": none. Up to
                           KVP_NAME_SIZE_MAX bytes. Decoding leaves it NULL: kvp_job_spec_key(). */
    uint8_t on_failure; /* enum kvp_job_on_failure */
    uint8_t reserved_bytes[7];
    uint64_t reserved[3];
};

/* Defaults: one copy, exact, Freivalds with 10 rounds for matrices, 2 s, 5 attempts, 200 ms between
 * them, one day; it stops at the first task that fails, and never expires. */
KVP_API void kvp_job_spec_init(struct kvp_job_spec *spec, enum kvp_job_type type);

/* Sets copies, quorum and copies_max: "single", "dual-first", "dual-compare", "tmr", "quad", or
 * "N/K". KVP_BAD_ARGUMENT. */
KVP_API kvp_status kvp_job_spec_mode(struct kvp_job_spec *spec, const char *mode);

/*
 * Chooses tiles so that a task and its result fit `buffer` bytes (and each block fits a value).
 * Keeps the inner dimension whole where one dot product fits, else cuts it, too. KVP_TOO_LARGE: not
 * even one element by one element fits, or there would be more than KVP_JOB_TASKS_MAX tasks.
 */
KVP_API kvp_status kvp_job_spec_tile(struct kvp_job_spec *spec, size_t buffer);

/* KVP_OK, or KVP_BAD_REQUEST or KVP_TOO_LARGE with a static string in *reason (may be NULL). */
KVP_API kvp_status kvp_job_spec_check(const struct kvp_job_spec *spec, const char **reason);

/* One msgpack array, as in JOB_NEW. Reading checks, too. It ends behind the last of retry_ms,
 * on_failure, max_running, expires_s and key that is not the default: versions that do not know
 * these read the array all the same. */
KVP_API kvp_status kvp_job_spec_encode(const struct kvp_job_spec *spec, kvp_buf *out);
KVP_API kvp_status kvp_job_spec_decode(kvp_slice bytes, struct kvp_job_spec *spec,
                                       const char **reason);
/* The key in the array, as a slice of it; empty: none. */
KVP_API kvp_slice kvp_job_spec_key(kvp_slice bytes);

/* The numbers that follow from the specification of a matrix job. */
struct kvp_job_grid {
    uint32_t row_tiles, inner_tiles, column_tiles; /* I, K, J */
    uint32_t tasks, inputs, outputs;
    size_t element_size;
};
KVP_API struct kvp_job_grid kvp_job_grid_of(const struct kvp_job_spec *spec);

/* A rectangle of a matrix. */
struct kvp_job_block {
    uint64_t row, column;
    uint32_t rows, columns;
};
/* Which of A (first) or B the input block `number` is, and where it lies. */
KVP_API struct kvp_job_block kvp_job_input(const struct kvp_job_spec *spec, uint32_t number,
                                           bool *is_b);
KVP_API struct kvp_job_block kvp_job_output(const struct kvp_job_spec *spec, uint32_t number);
KVP_API size_t kvp_job_block_size(const struct kvp_job_spec *spec, struct kvp_job_block block);

/* A task of a matrix job. */
struct kvp_job_tile {
    uint32_t a, b, output; /* numbers of blocks */
    uint32_t rows, inner, columns;
};
KVP_API struct kvp_job_tile kvp_job_tile_of(const struct kvp_job_spec *spec, uint32_t task);
/* Bytes that the worker needs: payload and result. */
KVP_API size_t kvp_job_tile_size(const struct kvp_job_spec *spec, const struct kvp_job_tile *tile);

/* The head of a matrix task's payload, little-endian numbers. */
KVP_API void kvp_job_tile_header(uint8_t out[KVP_JOB_TILE_HEADER], uint8_t element,
                                 const struct kvp_job_tile *tile);

/* Tasks of a JOB_TASKS message: an array of [kind str, after array of uint, feed bool, payload
 * bin]; feed: the results of the tasks in `after` follow the payload, in that order. */
struct kvp_job_task {
    kvp_slice kind, payload;
    bool feed;
    uint32_t after_count;
    kvp_slice after; /* encoded numbers: kvp_job_after_next() */
};
struct kvp_job_tasks {
    uint32_t count, next;
    kvp_slice rest;
};
/* Checks the form of all of it; numbers of tasks are not looked at. KVP_BAD_REQUEST, KVP_TOO_LARGE.
 */
KVP_API kvp_status kvp_job_tasks_begin(kvp_slice array, struct kvp_job_tasks *tasks,
                                       const char **reason);
/* False: no more. */
KVP_API bool kvp_job_tasks_next(struct kvp_job_tasks *tasks, struct kvp_job_task *task);
/* Takes the next number of `after`; call it after_count times. */
KVP_API uint32_t kvp_job_after_next(struct kvp_job_task *task);
/* Writing: an array header for `count` tasks, then one call for each. */
KVP_API kvp_status kvp_job_tasks_open(kvp_buf *out, uint32_t count);
KVP_API kvp_status kvp_job_tasks_put(kvp_buf *out, kvp_slice kind, const uint32_t *after,
                                     uint32_t after_count, bool feed, kvp_slice payload);

#ifdef __cplusplus
}
#endif

#endif
