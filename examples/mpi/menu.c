/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key-value server over MPI and the menu of its client. What it keeps is in a kvpair group, and
 * so is the name of its port (mpi/port), which clients look up: a server that was killed and
 * started again, anywhere, is found, and has lost nothing.
 *
 *   mpirun -n 1 mpi_menu URL,URL serve
 *   mpirun -n 1 mpi_menu URL,URL         create KEY VALUE | get KEY | delete KEY, a line each
 */
#include <kvpair/kvp_client.h>

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_SIZE 4096
#define PORT_KEY      "mpi/port"

static kvp_slice text_slice(const char *text)
{
    return kvp_slice_of(text, strlen(text));
}

static void die(const char *what)
{
    fprintf(stderr, "mpi_menu: %s\n", what);
    MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1);
}

/* Does what a line of the menu says; the answer goes to `answer`. */
static void obey(kvp_client *client, char *line, char *answer, size_t size)
{
    char *rest = NULL;
    const char *what = strtok_r(line, " ", &rest), *key = strtok_r(NULL, " ", &rest);
    kvp_result result = {0};
    if (what == NULL || key == NULL) {
        snprintf(answer, size, "create KEY VALUE | get KEY | delete KEY");
        return;
    }
    if (strcmp(what, "create") == 0) {
        kvp_create(client, text_slice(key), text_slice(rest), &result);
    } else if (strcmp(what, "get") == 0) {
        kvp_get(client, text_slice(key), &result);
    } else if (strcmp(what, "delete") == 0) {
        kvp_delete(client, text_slice(key), 0, &result);
    } else {
        result.status = KVP_BAD_OP;
    }
    if (result.status != KVP_OK) {
        snprintf(answer, size, "%s", kvp_strerror(result.status));
    } else if (strcmp(what, "get") == 0) {
        snprintf(answer, size, "%.*s", (int)result.value.size, (const char *)result.value.data);
    } else {
        snprintf(answer, size, "done");
    }
    kvp_result_free(&result);
}

/* Takes messages of any length, with any tag, until the client says good-bye with an empty one. */
static void serve_one(kvp_client *client, MPI_Comm peer)
{
    char line[LINE_MAX_SIZE + 1], answer[LINE_MAX_SIZE];
    for (;;) {
        MPI_Status status;
        int size = 0;
        MPI_Probe(MPI_ANY_SOURCE, MPI_ANY_TAG, peer, &status);
        MPI_Get_count(&status, MPI_CHAR, &size);
        if (size > LINE_MAX_SIZE) {
            die("a message is too long");
        }
        MPI_Recv(line, size, MPI_CHAR, status.MPI_SOURCE, status.MPI_TAG, peer, MPI_STATUS_IGNORE);
        if (size == 0) {
            return;
        }
        line[size] = '\0';
        obey(client, line, answer, sizeof(answer));
        MPI_Send(answer, (int)strlen(answer) + 1, MPI_CHAR, status.MPI_SOURCE, status.MPI_TAG,
                 peer);
    }
}

static void serve(kvp_client *client)
{
    char port[MPI_MAX_PORT_NAME];
    MPI_Open_port(MPI_INFO_NULL, port);
    if (kvp_put(client, text_slice(PORT_KEY), text_slice(port), NULL) != KVP_OK) {
        die("the port cannot be put down");
    }
    printf("serves\n");
    fflush(stdout);
    for (;;) {
        MPI_Comm peer;
        MPI_Comm_accept(port, MPI_INFO_NULL, 0, MPI_COMM_SELF, &peer);
        serve_one(client, peer);
        MPI_Comm_disconnect(&peer);
    }
}

static void run_menu(kvp_client *client)
{
    char line[LINE_MAX_SIZE], answer[LINE_MAX_SIZE], port[MPI_MAX_PORT_NAME];
    MPI_Comm server;
    kvp_result found = {0};
    if (kvp_get(client, text_slice(PORT_KEY), &found) != KVP_OK) {
        die("no server has put down its port");
    }
    snprintf(port, sizeof(port), "%.*s", (int)found.value.size, (const char *)found.value.data);
    kvp_result_free(&found);
    MPI_Comm_connect(port, MPI_INFO_NULL, 0, MPI_COMM_SELF, &server);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '\0') {
            continue;
        }
        MPI_Send(line, (int)strlen(line), MPI_CHAR, 0, 0, server);
        MPI_Recv(answer, sizeof(answer), MPI_CHAR, 0, 0, server, MPI_STATUS_IGNORE);
        printf("%s: %s\n", line, answer);
    }
    MPI_Send(line, 0, MPI_CHAR, 0, 0, server);
    MPI_Comm_disconnect(&server);
}

int main(int argc, char **argv)
{
    kvp_client_options options;
    kvp_client *client = NULL;
    char message[256];

    MPI_Init(&argc, &argv);
    if (argc < 2 || argc > 3 || (argc == 3 && strcmp(argv[2], "serve") != 0)) {
        die("usage: mpi_menu URL,URL [serve]");
    }
    kvp_client_options_init(&options);
    options.nodes = argv[1];
    if (kvp_client_open(&options, &client, message, sizeof(message)) != KVP_OK) {
        die(message);
    }
    if (argc == 3) {
        serve(client);
    }
    run_menu(client);
    kvp_client_close(client);
    MPI_Finalize();
    return 0;
}
