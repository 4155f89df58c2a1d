/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation of the table (operations.h) by every identity: who may and who may not, by what
 * the operation needs, so that a new row is in it without a word here. docs/security.md says the
 * same. Run once more with each bug that is planted in the room, the same matrix must find it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kvstore/base/mutant.h"
#include "replication/access/access.h"
#include "replication/wire/wire_schema.h"

#include <stdio.h>
#include <string.h>

#define TEXT(text) kvp_slice_of(text, sizeof(text) - 1)

enum kvp_mutant kvp_mutant;
static const char *doc_path;

/* ---- who asks ---- */

enum who {
    NOBODY, /* no certificate, an expired one, another CA's, of another group: all have no identity
             */
    READER,
    WRITER,
    EDITOR, /* both */
    SUBMITTER,
    WORKER,
    OBSERVER,
    OPERATOR,
    ADMIN,
    FIRST_ADMIN, /* by --admin */
    NODE,
    REVOKED,
    WHO_END,
};
#define SET(who) (1u << (who))
#define ADMINS   (SET(ADMIN) | SET(FIRST_ADMIN))

static const struct {
    const char *name;
    struct kvp_identity identity;
    const char *rights[2];
} whos[WHO_END] = {
    [NOBODY] = {"nobody", {0}, {0}},
    [READER] = {"reader", {KVP_IDENTITY_USER, 0, "g", "reader"}, {"read app/"}},
    [WRITER] = {"writer", {KVP_IDENTITY_USER, 0, "g", "writer"}, {"write app/"}},
    [EDITOR] = {"editor", {KVP_IDENTITY_USER, 0, "g", "editor"}, {"read app/", "write app/"}},
    [SUBMITTER] = {"submitter", {KVP_IDENTITY_USER, 0, "g", "submitter"}, {"submit"}},
    [WORKER] = {"worker", {KVP_IDENTITY_WORKER, 0, "g", "w1"}, {"work matmul*"}},
    [OBSERVER] = {"observer", {KVP_IDENTITY_USER, 0, "g", "observer"}, {"observe"}},
    [OPERATOR] = {"operator", {KVP_IDENTITY_USER, 0, "g", "operator"}, {"operate"}},
    [ADMIN] = {"admin", {KVP_IDENTITY_USER, 0, "g", "admin"}, {"admin"}},
    [FIRST_ADMIN] = {"first admin", {KVP_IDENTITY_USER, 0, "g", "first"}, {0}},
    [NODE] = {"node", {KVP_IDENTITY_NODE, 1, "g", "1"}, {0}},
    [REVOKED] = {"revoked", {KVP_IDENTITY_USER, 0, "g", "revoked"}, {0}},
};

static void make_list(const char *const rights[2], kvp_buf *list)
{
    for (unsigned i = 0; i < 2 && rights[i] != NULL; i++) {
        uint8_t room[KVP_KEY_SIZE_MAX];
        struct kvp_right right;
        const char *reason;
        assert_int_equal(
            kvp_right_parse(kvp_slice_of(rights[i], strlen(rights[i])), room, &right, &reason),
            KVP_OK);
        assert_int_equal(kvp_rights_append(list, &right), KVP_OK);
    }
}

/* ---- what is asked ---- */

/* What the identities above have rights to, or one thing that they have none to. */
enum astray {
    WITHIN,
    KEY,
    RANGE_END,
    COMPARED,
    THEN,
    ELSE,
    JOB,
    LEASE,
    KIND,
    NAME,
    SPEAKER,
    ASTRAY_END
};

static enum kvp_access_lack ask(enum who who, unsigned op, enum astray astray)
{
    const kvp_slice in = TEXT("app/a"), out = TEXT("b");
    const struct kvp_compare compare = {.key = astray == COMPARED ? out : in};
    const struct kvp_txn_op then_op = {KVP_TXN_PUT, astray == THEN ? out : in, {0}};
    const struct kvp_txn_op else_op = {KVP_TXN_GET, astray == ELSE ? out : in, {0}};
    struct kvp_request request = {.op = op,
                                  .key = astray == KEY ? out : in,
                                  .value = TEXT("app0"),
                                  .compares = &compare,
                                  .then_ops = &then_op,
                                  .else_ops = &else_op,
                                  .compare_count = 1,
                                  .then_count = 1,
                                  .else_count = 1,
                                  .lease = 7,
                                  .job.what = KVP_INFO_JOB};
    struct kvp_access_question question = {.op = op,
                                           .request = &request,
                                           .from = 1,
                                           .owns_job = astray != JOB,
                                           .owns_lease = astray != LEASE};
    kvp_buf list = {0};
    struct kvp_access_asker asker = {.identity = who == NOBODY ? NULL : &whos[who].identity,
                                     .is_admin = who == FIRST_ADMIN};
    if (astray == RANGE_END) {
        request.value = TEXT("app1");
    }
    if (kvp_operation_of(op)->needs == KVP_NEEDS_WORK) {
        request.key = astray == NAME ? TEXT("w2") : TEXT("w1");
        request.value = astray == KIND ? TEXT("\x92\xa6matmul\xa5other") : TEXT("\x91\xa6matmul");
    }
    if (astray == SPEAKER) {
        question.from = 2;
    }
    make_list(whos[who].rights, &list);
    asker.rights = kvp_buf_slice(&list);
    enum kvp_access_lack lack = kvp_access_lacks(&asker, &question);
    kvp_buf_free(&list);
    return lack;
}

/* ---- who may ---- */

#define EVERYBODY (~SET(NOBODY) & (SET(WHO_END) - 1))

static const struct {
    const char *word; /* in docs/security.md */
    unsigned may;
} needs[] = {
    [KVP_NEEDS_IDENTITY] = {"none", EVERYBODY},
    [KVP_NEEDS_READ] = {"`read`", SET(READER) | SET(EDITOR) | ADMINS},
    [KVP_NEEDS_WRITE] = {"`write`", SET(WRITER) | SET(EDITOR) | ADMINS},
    [KVP_NEEDS_CHANGE] = {"`read` and `write`", SET(EDITOR) | ADMINS},
    [KVP_NEEDS_KEYS] = {"for each key what is done to it", SET(EDITOR) | ADMINS},
    [KVP_NEEDS_SUBMIT] = {"`submit`", SET(SUBMITTER) | ADMINS},
    [KVP_NEEDS_JOB] = {"`submit`, own job", SET(SUBMITTER) | ADMINS},
    [KVP_NEEDS_LOOK] = {"`observe`, or `submit` and own job",
                        SET(SUBMITTER) | SET(OBSERVER) | ADMINS},
    [KVP_NEEDS_WORK] = {"`work`, own name", SET(WORKER)},
    [KVP_NEEDS_OBSERVE] = {"`observe`", SET(OBSERVER) | ADMINS},
    [KVP_NEEDS_OPERATE] = {"`operate`", SET(OPERATOR) | ADMINS},
    [KVP_NEEDS_LEASE] = {"own lease, or `operate`", EVERYBODY},
    [KVP_NEEDS_ADMIN] = {"`admin`", ADMINS},
    [KVP_NEEDS_NODE] = {"node", SET(NODE)},
};

/* Who still may, if one thing is not theirs: those who need none of it. */
static unsigned may_astray(unsigned op, enum astray astray)
{
    enum kvp_operation_needs need = (enum kvp_operation_needs)kvp_operation_of(op)->needs;
    bool of_key = need == KVP_NEEDS_READ || need == KVP_NEEDS_WRITE || need == KVP_NEEDS_CHANGE;
    bool of_txn = astray == COMPARED || astray == THEN || astray == ELSE;
    bool of_job = astray == JOB && (need == KVP_NEEDS_JOB || need == KVP_NEEDS_LOOK);
    if ((of_key && astray == KEY) ||
        ((op == KVP_OP_SCAN || op == KVP_OP_WATCH) && astray == RANGE_END) ||
        (need == KVP_NEEDS_KEYS && of_txn)) {
        return ADMINS;
    }
    if (need == KVP_NEEDS_LEASE && astray == LEASE) {
        return SET(OPERATOR) | ADMINS;
    }
    if (of_job) {
        return needs[need].may & ~SET(SUBMITTER);
    }
    if ((need == KVP_NEEDS_WORK && astray == NAME) ||
        (op == KVP_OP_WORKER_JOIN && astray == KIND) ||
        (need == KVP_NEEDS_NODE && astray == SPEAKER)) {
        return 0;
    }
    return needs[need].may;
}

/* How many answers are not as they should be. */
static unsigned count_wrong(bool say)
{
    unsigned wrong = 0;
    for (unsigned op = 0; op < KVP_OPERATIONS_END; op++) {
        for (unsigned n = 0; kvp_operation_of(op)->name != NULL && n < WHO_END * ASTRAY_END; n++) {
            enum who who = (enum who)(n % WHO_END);
            enum astray astray = (enum astray)(n / WHO_END);
            bool may = (may_astray(op, astray) & SET(who)) != 0;
            enum kvp_access_lack lack = ask(who, op, astray);
            if (may != (lack == KVP_ACCESS_GRANTED)) {
                wrong++;
                if (say) {
                    print_error("%s by %s (%u): lacks %s\n", kvp_operation_of(op)->name,
                                whos[who].name, astray, kvp_access_name(lack));
                }
            }
        }
    }
    return wrong;
}

static void test_every_operation_by_every_identity_is_as_the_table_says(void **state)
{
    (void)state;
    for (unsigned op = 0; op < KVP_OPERATIONS_END; op++) {
        const struct kvp_operation *operation = kvp_operation_of(op);
        assert_int_equal(operation->name != NULL, operation->needs != 0);
        assert_true(operation->needs < sizeof(needs) / sizeof(needs[0]));
        assert_int_equal(operation->needs == KVP_NEEDS_NODE,
                         operation->name != NULL && operation->by != KVP_BY_CLIENT);
    }
    assert_int_equal(count_wrong(true), 0);
    assert_int_equal(ask(FIRST_ADMIN, KVP_OPERATIONS_END, WITHIN), KVP_LACKS_OPERATION);
    assert_int_equal(ask(FIRST_ADMIN, 0, WITHIN), KVP_LACKS_OPERATION);
}

static void test_each_planted_bug_is_found(void **state)
{
    (void)state;
    for (int i = KVP_MUTANT_ACCESS_SCAN_START; i <= KVP_MUTANT_ACCESS_ANY_NODE; i++) {
        kvp_mutant = (enum kvp_mutant)i;
        unsigned wrong = count_wrong(false);
        kvp_mutant = KVP_MUTANT_NONE;
        if (wrong == 0) {
            fail_msg("the planted bug %d is not found", i - KVP_MUTANT_ACCESS_SCAN_START);
        }
    }
}

/* ---- some by name ---- */

static void check_work(const char *right, const char *kinds, unsigned count,
                       enum kvp_access_lack expected)
{
    const kvp_slice joined[] = {kvp_slice_of(kinds, strlen(kinds)), TEXT("sort")};
    const struct kvp_request request = {.op = KVP_OP_TASK_FETCH, .key = TEXT("w1")};
    const struct kvp_access_question question = {
        .op = request.op, .request = &request, .kinds = joined, .kind_count = count};
    struct kvp_access_asker asker = {.identity = &whos[WORKER].identity};
    kvp_buf list = {0};
    make_list((const char *const[2]){right}, &list);
    asker.rights = kvp_buf_slice(&list);
    assert_int_equal(kvp_access_lacks(&asker, &question), expected);
    kvp_buf_free(&list);
}

/* The sum tells what was there. */
static void test_to_add_one_has_to_be_able_to_read(void **state)
{
    const struct kvp_txn_op add = {KVP_TXN_ADD, TEXT("app/n"), TEXT("1")};
    const struct kvp_request request = {.op = KVP_OP_TXN, .then_ops = &add, .then_count = 1};
    const struct kvp_access_question question = {.op = request.op, .request = &request};
    const enum kvp_access_lack expected[] = {
        [READER] = KVP_LACKS_WRITE, [WRITER] = KVP_LACKS_READ, [EDITOR] = KVP_ACCESS_GRANTED};
    (void)state;
    for (unsigned who = READER; who <= EDITOR; who++) {
        struct kvp_access_asker asker = {.identity = &whos[who].identity};
        kvp_buf list = {0};
        make_list(whos[who].rights, &list);
        asker.rights = kvp_buf_slice(&list);
        assert_int_equal(kvp_access_lacks(&asker, &question), expected[who]);
        kvp_buf_free(&list);
    }
}

/* One that has joined and then loses a kind. */
static void test_a_worker_gets_no_task_while_it_lacks_one_of_its_kinds(void **state)
{
    (void)state;
    check_work("work sort", "sort", 1, KVP_ACCESS_GRANTED);
    check_work("work sort", "matmul", 2, KVP_LACKS_WORK);
    check_work("work *", "matmul", 2, KVP_ACCESS_GRANTED);
    check_work("work sort", "", 0, KVP_ACCESS_GRANTED); /* it is not known */
    check_work("submit", "", 0, KVP_LACKS_WORK);
}

/* Neither by their certificates nor by another's can one machine vote three times. */
static void test_a_worker_identity_works_under_its_own_name_only(void **state)
{
    static const unsigned ops[] = {KVP_OP_WORKER_JOIN, KVP_OP_WORKER_LEAVE, KVP_OP_TASK_FETCH,
                                   KVP_OP_TASK_BEAT, KVP_OP_TASK_POST};
    (void)state;
    for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        assert_int_equal(ask(WORKER, ops[i], WITHIN), KVP_ACCESS_GRANTED);
        assert_int_equal(ask(WORKER, ops[i], NAME), KVP_LACKS_NAME);
        assert_int_equal(ask(ADMIN, ops[i], WITHIN), KVP_LACKS_NAME);
        assert_int_equal(ask(FIRST_ADMIN, ops[i], NAME), KVP_LACKS_NAME);
    }
}

static enum kvp_access_lack look(enum who who, unsigned what, bool owns_job)
{
    const struct kvp_request request = {.op = KVP_OP_JOB_INFO, .job.what = what};
    const struct kvp_access_question question = {
        .op = request.op, .request = &request, .owns_job = owns_job};
    struct kvp_access_asker asker = {.identity = &whos[who].identity};
    kvp_buf list = {0};
    make_list(whos[who].rights, &list);
    asker.rights = kvp_buf_slice(&list);
    enum kvp_access_lack lack = kvp_access_lacks(&asker, &question);
    kvp_buf_free(&list);
    return lack;
}

static void test_who_submits_sees_all_that_there_is_of_his_own_job(void **state)
{
    static const unsigned of_a_job[] = {KVP_INFO_JOB, KVP_INFO_TASKS, KVP_INFO_DEAD};
    (void)state;
    for (unsigned i = 0; i < sizeof(of_a_job) / sizeof(of_a_job[0]); i++) {
        assert_int_equal(look(SUBMITTER, of_a_job[i], true), KVP_ACCESS_GRANTED);
        assert_int_equal(look(SUBMITTER, of_a_job[i], false), KVP_LACKS_JOB);
        assert_int_equal(look(OBSERVER, of_a_job[i], false), KVP_ACCESS_GRANTED);
        assert_int_equal(look(READER, of_a_job[i], false), KVP_LACKS_OBSERVE);
    }
    assert_int_equal(look(SUBMITTER, KVP_INFO_JOBS, true), KVP_LACKS_OBSERVE);
    assert_int_equal(look(SUBMITTER, KVP_INFO_WORKERS, true), KVP_LACKS_OBSERVE);
    assert_int_equal(look(SUBMITTER, KVP_INFO_DEAD + 1, true), KVP_LACKS_OBSERVE);
}

static void test_a_session_is_that_of_its_identity(void **state)
{
    const struct kvp_identity *reader = &whos[READER].identity, *writer = &whos[WRITER].identity;
    struct kvp_identity worker = whos[READER].identity;
    worker.kind = KVP_IDENTITY_WORKER;
    (void)state;
    assert_true(kvp_access_session(7, reader) == kvp_access_session(7, reader));
    assert_true(kvp_access_session(7, reader) != kvp_access_session(7, writer));
    assert_true(kvp_access_session(7, reader) != kvp_access_session(7, &worker));
    assert_true(kvp_access_session(7, reader) != kvp_access_session(8, reader));
    assert_true(kvp_access_session(0, reader) == 0); /* none */
}

static void test_what_is_said_to_who_is_refused_names_the_right(void **state)
{
    (void)state;
    for (unsigned lack = KVP_LACKS_READ; lack < KVP_LACKS_END; lack++) {
        const char *text = kvp_access_text((enum kvp_access_lack)lack);
        char quoted[32];
        (void)snprintf(quoted, sizeof(quoted), "\"%s\"",
                       kvp_access_name((enum kvp_access_lack)lack));
        assert_non_null(strstr(text, quoted));
        assert_non_null(strstr(text, "kvcli access grant"));
    }
}

static void test_names_are_those_that_certificates_can_have(void **state)
{
    static const char *const good[] = {"user/ann", "worker/a b/c", "node/1", "witness/w"};
    static const char *const bad[] = {"", "ann", "user/", "users/ann", "user/a\nb", "/user/ann"};
    char printed[KVP_ACCESS_NAME_SIZE];
    (void)state;
    for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(kvp_access_is_name(kvp_slice_of(good[i], strlen(good[i]))));
    }
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(kvp_access_is_name(kvp_slice_of(bad[i], strlen(bad[i]))));
    }
    assert_string_equal(kvp_access_print(&whos[WORKER].identity, printed), "worker/w1");
}

/* ---- the document ---- */

/* | `GET` ... | right |: names of operations in backquotes, then what they need. */
static void check_line(char *line, bool told[KVP_OPERATIONS_END])
{
    char *cell = strstr(line + 2, " | "), *end = cell != NULL ? strstr(cell + 3, " |") : NULL;
    if (strncmp(line, "| `", 3) != 0 || end == NULL) {
        return;
    }
    *cell = *end = '\0';
    for (unsigned op = 0; op < KVP_OPERATIONS_END; op++) {
        char name[64];
        const struct kvp_operation *operation = kvp_operation_of(op);
        (void)snprintf(name, sizeof(name), "`%s`", operation->name != NULL ? operation->name : " ");
        if (strstr(line, name) != NULL) {
            assert_string_equal(cell + 3, needs[operation->needs].word);
            told[op] = true;
        }
    }
}

static void test_the_document_has_the_table(void **state)
{
    bool told[KVP_OPERATIONS_END] = {false};
    char line[4096];
    FILE *file = fopen(doc_path, "r");
    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        check_line(line, told);
    }
    fclose(file);
    for (unsigned op = 0; op < KVP_OPERATIONS_END; op++) {
        if (kvp_operation_of(op)->name != NULL && !told[op]) {
            fail_msg("%s is not in the document", kvp_operation_of(op)->name);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_operation_by_every_identity_is_as_the_table_says),
        cmocka_unit_test(test_each_planted_bug_is_found),
        cmocka_unit_test(test_to_add_one_has_to_be_able_to_read),
        cmocka_unit_test(test_a_worker_gets_no_task_while_it_lacks_one_of_its_kinds),
        cmocka_unit_test(test_a_worker_identity_works_under_its_own_name_only),
        cmocka_unit_test(test_who_submits_sees_all_that_there_is_of_his_own_job),
        cmocka_unit_test(test_a_session_is_that_of_its_identity),
        cmocka_unit_test(test_what_is_said_to_who_is_refused_names_the_right),
        cmocka_unit_test(test_names_are_those_that_certificates_can_have),
        cmocka_unit_test(test_the_document_has_the_table),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: test_access SECURITY.MD\n");
        return 2;
    }
    doc_path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
