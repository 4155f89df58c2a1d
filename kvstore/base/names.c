/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the numbers in node_codes.h. */
#include "kvpair/node_codes.h"

static const char *names_look_up(const char *const *names, size_t count, size_t number)
{
    return number < count ? names[number] : "unknown";
}

#define NAME_OF(names, number)                                                                     \
    names_look_up(names, sizeof(names) / sizeof((names)[0]), (size_t)(number))

const char *kvp_role_name(enum kvp_role role)
{
    static const char *const names[] = {"outside", "backup", "candidate", "elect",
                                        "primary", "failed", "stopped"};
    return NAME_OF(names, role);
}

const char *kvp_pair_policy_name(enum kvp_pair_policy policy)
{
    static const char *const names[] = {"none", "backup-wins", "primary-wins", "available"};
    return NAME_OF(names, policy);
}

const char *kvp_log_level_name(enum kvp_log_level level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    return NAME_OF(names, level);
}
