#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page at / in a headless browser: what is shown is what /api says, before, during and after a failover."""

import json
import os
import signal
import subprocess
import sys
import time

from browser import Browser, program_of_browser
from http_torture import fetch
from kvtest import Group, free_ports, main, program, wait_for

PICTURES = os.environ.get("KVPAIR_PICTURES")  # a directory for what was seen


class Watched(Group):
    def __init__(self, count=2):
        super().__init__(count)
        self.pages = dict(enumerate(free_ports(count), 1))

    def url(self, node):
        return "http://127.0.0.1:%d" % self.pages[node]

    def arguments(self, node):
        others = ",".join(self.url(each) for each in self.pages if each != node)
        return super().arguments(node) + ["--http", self.url(node), "--http-others", others]


def keep_picture(browser, name):
    if PICTURES:
        browser.picture(os.path.join(PICTURES, name + ".png"))


def seen(browser, condition, what, seconds=10):
    """How long it took until the page showed it."""
    begin = time.monotonic()
    safe = "(() => { try { return !!(%s); } catch (error) { return false; } })()" % condition
    wait_for(lambda: browser.run(safe), "%s; the page: %s" % (what, condition), seconds)
    return time.monotonic() - begin


def row_of(browser, node):
    return browser.run("[...document.querySelectorAll('tr[data-node=\"%d\"] td')].map(each => each.innerText)" % node)


def same_as_api(group, browser, node):
    def condition():
        told = json.loads(fetch(group.pages[node], "/api/v1/status")[2])
        row = row_of(browser, node)
        return row and row[0] == str(told["node"]) and row[1] == told["role"] + (", serving" if told["serving"] else "") and \
            row[2] == ("yes" if node in told["in_sync"] else "no") and row[3] == str(told["epoch"]) and \
            row[4] == str(told["applied"])
    wait_for(condition, "the row of node %d to be what it says" % node, 5)


def test_the_page_shows_what_the_api_says_through_a_failover():
    with Watched().start() as group:
        old = group.primary()
        new = 3 - old
        browser = Browser(group.work, group.url(old))
        try:
            seen(browser, "document.querySelector('#verdict').innerText.startsWith('serving; one more failure is survived')",
                 "the verdict", 20)
            assert browser.text("#source") == "as node %d says, at %s" % (old, group.url(old))
            assert browser.text("#alarms") == "none", browser.text("#alarms")
            for node in (1, 2):
                same_as_api(group, browser, node)
            for i in range(20):
                group.put("k%d" % i, b"v")
            group.get("k1")
            assert seen(browser, "/put: \\d+.s, p50 [\\d.]+ ms, p99 [\\d.]+ ms/.test(document.querySelector('#charts').innerText)",
                        "the times of put") < 3
            same_as_api(group, browser, old)
            keep_picture(browser, "before")
            group.kill(old)
            moved = "document.querySelector('#source').innerText === %s" % json.dumps(
                "%s does not answer: this is what node %d says, at %s" % (group.url(old), new, group.url(new)))
            assert seen(browser, moved, "the page to go to the other node") < 4
            keep_picture(browser, "during")
            seen(browser, "document.querySelector('#verdict').innerText === 'serving; the next failure stops service'", "service again")
            same_as_api(group, browser, new)
            told = [view for view in group.status(new)["views"] if view["reason"] == "failover"][-1]
            timeline = browser.text("#timeline")
            assert "epoch %d: node %d leads, in sync %d; no service for " % (told["epoch"], new, new) in timeline, timeline
            assert "(failover, primary_silent)" in timeline, timeline
            assert "node %d is not heard" % old in browser.text("#alarms")
            group.start_node(old)
            group.wait_in_sync(1, 2)
            seen(browser, "document.querySelector('#source').innerText === 'as node %d says, at %s'" % (old, group.url(old)), "its own node again")
            seen(browser, "document.querySelector('#alarms').innerText === 'none'", "no alarms")
            for node in (1, 2):
                same_as_api(group, browser, node)
            keep_picture(browser, "after")
        finally:
            browser.close()


def test_jobs_and_workers_are_shown_and_are_drawn_fast():
    with Watched(1).start() as group:
        worker = subprocess.Popen([program("kvworker"), "--nodes", group.urls[1], "--id", "seen"], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        browser = Browser(group.work, group.url(1), 390, 800)
        try:
            for _ in range(3):
                group.cli("job", "submit", "tasks", "-", stdin=b'{"kind": "unknown", "payload": "a"}\n' * 2, check=0)
            seen(browser, "document.querySelectorAll('tr[data-job]').length === 3", "the jobs")
            assert "0 of 2" in browser.text("#jobs")
            seen(browser, "document.querySelector('tr[data-worker=seen] td:nth-child(2)')?.innerText === 'active'", "the worker")
            worker.send_signal(signal.SIGSTOP)
            assert seen(browser, "document.querySelector('tr[data-worker=seen] td:nth-child(2)')?.innerText === 'lost' && "
                        "document.querySelector('tr[data-worker=seen] td:nth-child(2)').className === 'bad'", "its silence") < 5
            # On a phone nothing but tables and pictures is wider than the screen, and those scroll by themselves.
            assert browser.run("document.documentElement.scrollWidth <= window.innerWidth"), browser.run("document.documentElement.scrollWidth")
            keep_picture(browser, "phone")
            took_ms = browser.run("""(() => {
                const job = {id: 1, name: 'n', state: 'running', tasks: 10, done: 3, elapsed_ms: 5, redone: 0, disagreements: 1, reason: ''};
                const worker = {name: 'w', state: 'active', tasks: 1, done: 2, lost_votes: 0, silent_ms: 5, reason: ''};
                return Math.min(...Array.from({length: 9}, () => {
                    const begin = performance.now();
                    showWork([0, Array(200).fill(job)], [0, Array(50).fill(worker)]);
                    document.body.getBoundingClientRect();
                    return performance.now() - begin;
                }));
            })()""")
            print("200 jobs and 50 workers: %.0f ms" % took_ms)
            assert took_ms < 400, took_ms  # a quarter of it on a machine that does nothing else
            # What comes from jobs is text, whatever it looks like.
            assert browser.run("""(() => {
                showWork([0, [{id: 1, name: '<img src=x onerror=alert(1)>', state: 'x', tasks: 1, done: 0, redone: 0, disagreements: 0, reason: ''}]], null);
                return document.querySelector('#jobs img') === null;
            })()""")
        finally:
            worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait()
            browser.close()


def test_the_page_can_be_used_with_a_keyboard_and_says_what_things_are():
    with Watched(1).start() as group:
        browser = Browser(group.work, group.url(1))
        try:
            seen(browser, "document.querySelector('#verdict').innerText.startsWith('serving')", "the verdict", 20)
            missing = browser.run("""[...document.querySelectorAll('svg[role=img]')].filter(each => !each.querySelector('title')?.textContent).length +
                [...document.querySelectorAll('progress')].filter(each => !each.getAttribute('aria-label')).length +
                [...document.querySelectorAll('section')].filter(each => !document.getElementById(each.getAttribute('aria-labelledby'))).length +
                [...document.querySelectorAll('.scroll')].filter(each => each.tabIndex !== 0).length""")
            assert missing == 0 and browser.run("document.documentElement.lang") == "en", missing
            assert browser.run("document.querySelector('#verdict').getAttribute('role')") == "status"
            dark = "matchMedia('(prefers-color-scheme: dark)').matches + ' ' + getComputedStyle(document.body).colorScheme"
            browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
            assert browser.run(dark).startswith("true"), browser.run(dark)
            keep_picture(browser, "dark")
            outside = browser.run("performance.getEntriesByType('resource').map(each => each.name)"
                                  ".filter(name => !name.startsWith('http://127.0.0.1:') && !name.startsWith('data:'))")
            assert outside == [], outside
        finally:
            browser.close()


if __name__ == "__main__":
    if program_of_browser() is None:
        print("skipped: there is no chromium")
        sys.exit(77)
    main([test_the_page_shows_what_the_api_says_through_a_failover,
          test_jobs_and_workers_are_shown_and_are_drawn_fast,
          test_the_page_can_be_used_with_a_keyboard_and_says_what_things_are])
