/* SPDX-License-Identifier: Apache-2.0 */
/* The page at / for people: one file, which asks /api by itself. */
#include "replication/http/http_page.h"

#include "page_html.h" /* made of page.html by embed.sh */

void kvp_http_browse(struct kvp_http_answer *answer)
{
    answer->type = "text/html; charset=utf-8";
    answer->policy = browser_policy;
    (void)kvp_buf_append(&answer->body, browser_page, sizeof(browser_page));
}
