// SPDX-License-Identifier: Apache-2.0
// What kvpair.hpp promises, against a group whose nodes are the argument. tests/process/test_cpp.py
// runs it, and kills the primary while it does "failover".
#include <kvpair/kvpair.hpp>

#include <cstdio>
#include <cstdlib>
#include <type_traits>

#define CHECK(holds)                                                                               \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds);                       \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

// Only Unknown means that an update may have happened: nobody who catches another one catches it.
static_assert(!std::is_base_of_v<kvpair::Timeout, kvpair::Unknown>);
static_assert(!std::is_base_of_v<kvpair::Unavailable, kvpair::Unknown>);
static_assert(std::is_base_of_v<kvpair::Error, kvpair::Unknown>);
static_assert(std::is_copy_constructible_v<kvpair::Client>); // it shares the connection

template <typename Kind, typename Call> static Kind thrown(Call call)
{
    try {
        call();
    } catch (const Kind &error) {
        return error;
    }
    std::fprintf(stderr, "it should have thrown\n");
    std::exit(1);
}

static void check_keys(const kvpair::Client &kv)
{
    const std::string bytes("a\0b", 3);
    std::uint64_t version = kv.put("cpp/k", bytes);
    std::optional<kvpair::Value> value = kv.get("cpp/k");
    CHECK(value && value->bytes == bytes && value->version == version);
    CHECK(!kv.get("cpp/nothing"));
    std::uint64_t next = kv.cas("cpp/k", version, "");
    CHECK(next > version && kv.get("cpp/k")->bytes.empty());
    auto differs = thrown<kvpair::VersionDiffers>([&] { kv.cas("cpp/k", version, "x"); });
    CHECK(differs.version() == next && differs.status() == KVP_VERSION_DIFFERS);
    CHECK(thrown<kvpair::Exists>([&] { kv.create("cpp/k", "x"); }).version() == next);
    kv.remove("cpp/k");
    thrown<kvpair::NotFound>([&] { kv.remove("cpp/k"); });
    auto large = thrown<kvpair::Error>([&] { kv.put("k", std::string(2 << 20, 'x')); });
    CHECK(large.status() == KVP_TOO_LARGE);
    thrown<kvpair::Error>([] { kvpair::Client("nonsense"); });
}

static void check_futures(const kvpair::Client &kv)
{
    std::vector<std::future<std::uint64_t>> puts;
    for (int i = 0; i < 500; i++) {
        puts.push_back(kv.put_async("cpp/f" + std::to_string(i), std::to_string(i)));
    }
    for (auto &put : puts) {
        CHECK(put.get() > 0);
    }
    auto there = kv.get_async("cpp/f499"), nothing = kv.get_async("cpp/none");
    CHECK(there.get()->bytes == "499" && !nothing.get());
    auto twice = kv.create_async("cpp/f1", "");
    thrown<kvpair::Exists>([&] { twice.get(); });
    auto wrong = kv.cas_async("cpp/f1", 1, "");
    thrown<kvpair::VersionDiffers>([&] { wrong.get(); });
    kv.remove_async("cpp/f1").get();
    CHECK(!kv.get("cpp/f1"));
}

// What is under way when the client goes is told so, and is not waited for for ever.
static void check_a_future_that_outlives_its_client(const std::string &nodes)
{
    std::future<std::uint64_t> put;
    {
        kvpair::Client brief(nodes);
        put = brief.put_async("cpp/late", "x");
    }
    try {
        CHECK(put.get() > 0);
    } catch (const kvpair::Error &error) {
        CHECK(error.status() == KVP_CLOSED || error.status() == KVP_TIMEOUT_UNKNOWN);
    }
}

static void check_jobs(const kvpair::Client &kv)
{
    using namespace std::chrono_literals;
    std::vector<std::string> payloads(4, std::string(600000, 'x')); // more than go into one message
    for (int i = 4; i < 40; i++) {
        payloads.push_back(std::to_string(i));
    }
    kvpair::JobSpec spec;
    spec.key = "cpp";
    kvpair::Job job = kv.submit("echo", payloads, spec);
    CHECK(job.wait(60s) == "done" && job.ended() && job.result(39) == "39");
    CHECK(kv.submit("echo", {"other"}, spec).id() == job.id() &&
          kv.job(job.id()).result(3) == payloads[3]);
    thrown<kvpair::JobError>([&] { job.cancel(); });
    job.remove();
    kvpair::JobSpec going_on;
    going_on.on_failure = KVP_ON_FAILURE_CONTINUE;
    going_on.attempts_max = 1;
    kvpair::Job bad = kv.submit("fail", {"this"}, going_on.mode("single"));
    CHECK(bad.wait(60s) == "done-with-failures");
    CHECK(bad.dead().find("no such page") != std::string::npos && bad.retry() == 1);
    CHECK(bad.wait(60s) == "done-with-failures");
    kvpair::Job never = kv.submit("nobody", {"this"});
    never.pause();
    never.resume();
    never.set(KVP_JOB_SET_PRIORITY, 7);
    thrown<kvpair::Timeout>([&] { never.wait(50ms); });
    never.cancel();
    CHECK(never.state() == "cancelled");
    thrown<kvpair::JobError>([&] { kv.job(1).info(); });
    thrown<kvpair::Error>([] { kvpair::JobSpec().mode("five"); });
}

// A counter that is raised by cas alone, each time from what was read: what is Unknown is looked
// at.
static void count_through_a_failover(const kvpair::Client &kv)
{
    std::uint64_t unknown = 0, version = kv.put("cpp/counter", "0");
    for (int i = 1; i <= 3000; i++) {
        const std::string wanted = std::to_string(i);
        try {
            version = kv.cas("cpp/counter", version, wanted);
        } catch (const kvpair::Unknown &) {
            kvpair::Value now = *kv.get("cpp/counter");
            unknown++;
            i -= now.bytes != wanted;
            version = now.version;
        }
        if (i == 500) {
            std::puts("half way");
            std::fflush(stdout);
        }
    }
    CHECK(kv.get("cpp/counter")->bytes == "3000");
    std::printf("counted, %llu times unknown\n", static_cast<unsigned long long>(unknown));
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    kvpair::Options options;
    options.timeout_ms = 20000;
    kvpair::Client kv(argv[2], options);
    if (std::string(argv[1]) == "failover") {
        count_through_a_failover(kv);
        return 0;
    }
    check_keys(kv);
    check_futures(kv);
    check_a_future_that_outlives_its_client(argv[2]);
    check_jobs(kv);
    std::puts("done");
    return 0;
}
