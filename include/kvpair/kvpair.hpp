// SPDX-License-Identifier: Apache-2.0
//
// kvpair for C++17: one header over the C library, with values, exceptions and futures.
//
// Caveats first:
//  - kvpair::Unknown means that an update may have been executed, or may still be. Every other
//    kvpair::Error says that nothing was. It is no Timeout: who repeats those does not repeat it.
//  - A Client may be used by any number of threads at once, but not in a child after fork().
//  - A future's get() blocks: do not call it in a callback of the C library.
//
//     kvpair::Client kv("tcp://127.0.0.1:7001,tcp://127.0.0.1:7002");
//     kv.put("greeting", "hello");
//     std::optional<kvpair::Value> value = kv.get("greeting");
#ifndef KVPAIR_HPP
#define KVPAIR_HPP

#include "job_spec.h"
#include "kvp_client.h"
#include "kvp_jobs.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace kvpair
{

// ---- what goes wrong ----

// `version`: of Exists and VersionDiffers the present one of the key; 0: it is absent.
class Error : public std::runtime_error
{
  public:
    Error(kvp_status status, const std::string &reason, std::uint64_t version)
        : std::runtime_error(reason.empty() ? std::string(kvp_strerror(status))
                                            : std::string(kvp_strerror(status)) + ": " + reason),
          status_(status), version_(version)
    {
    }
    kvp_status status() const noexcept
    {
        return status_;
    }
    std::uint64_t version() const noexcept
    {
        return version_;
    }

  private:
    kvp_status status_;
    std::uint64_t version_;
};

// Nothing was executed.
struct NotFound : Error {
    using Error::Error;
};
struct Exists : Error {
    using Error::Error;
};
struct VersionDiffers : Error {
    using Error::Error;
};
struct Timeout : Error {
    using Error::Error;
};
struct Unavailable : Error {
    using Error::Error;
}; // or busy: try again later
struct JobError : Error {
    using Error::Error;
}; // there is none, or not in a state that allows it
// It may have been executed, or may still be.
struct Unknown : Error {
    using Error::Error;
};

namespace detail
{

[[noreturn]] inline void fail(kvp_status status, const std::string &reason, std::uint64_t version)
{
    switch (status) {
    case KVP_TIMEOUT_UNKNOWN:
    case KVP_UNCERTAIN:
    case KVP_STALE_REQUEST:
        throw Unknown(status, reason, version);
    case KVP_NOT_FOUND:
        throw NotFound(status, reason, version);
    case KVP_EXISTS:
        throw Exists(status, reason, version);
    case KVP_VERSION_DIFFERS:
        throw VersionDiffers(status, reason, version);
    case KVP_TIMEOUT:
        throw Timeout(status, reason, version);
    case KVP_UNAVAILABLE:
    case KVP_BUSY:
    case KVP_NOT_PRIMARY:
        throw Unavailable(status, reason, version);
    case KVP_NO_SUCH_JOB:
    case KVP_JOB_STATE:
        throw JobError(status, reason, version);
    case KVP_NO_MEMORY:
        throw std::bad_alloc();
    default:
        throw Error(status, reason, version);
    }
}

inline kvp_slice slice(std::string_view bytes) noexcept
{
    return kvp_slice_of(bytes.data(), bytes.size());
}

// Of a value, or the reason of a failure, which ends at the first 0.
inline std::string text_of(const kvp_buf &buffer)
{
    return buffer.size == 0 ? std::string()
                            : std::string(reinterpret_cast<const char *>(buffer.data), buffer.size);
}

inline std::string reason_of(const kvp_result &result)
{
    return std::string(text_of(result.value).c_str());
}

// Owns what a call gives back.
class Result
{
  public:
    Result() = default;
    Result(const Result &) = delete;
    Result &operator=(const Result &) = delete;
    ~Result()
    {
        kvp_result_free(&result_);
    }
    kvp_result *out() noexcept
    {
        return &result_;
    }
    const kvp_result *operator->() const noexcept
    {
        return &result_;
    }
    const Result &check(kvp_status status) const
    {
        if (status != KVP_OK) {
            fail(status, reason_of(result_), result_.version);
        }
        return *this;
    }

  private:
    kvp_result result_{};
};

inline void check_spec(kvp_status status)
{
    if (status != KVP_OK) {
        fail(status, std::string(), 0);
    }
}

} // namespace detail

// ---- values ----

struct Value {
    std::string bytes;
    std::uint64_t version; // for cas()
    std::uint64_t created;
    std::uint64_t behind; // of stale reads: entries that the node knew and did not show
};

namespace detail
{

inline Value value_of(const kvp_result &result)
{
    return Value{text_of(result.value), result.version, result.create_revision, result.behind};
}

// What a callback of the C library settles; it must not throw.
template <typename T> void settle(std::promise<T> &promise, const kvp_result &result, T value)
{
    if (result.status == KVP_OK) {
        promise.set_value(std::move(value));
        return;
    }
    fail(result.status, reason_of(result), result.version);
}

inline void on_updated(void *arg, const kvp_result *result)
{
    std::unique_ptr<std::promise<std::uint64_t>> promise(
        static_cast<std::promise<std::uint64_t> *>(arg));
    try {
        settle(*promise, *result, std::uint64_t(result->version));
    } catch (...) {
        promise->set_exception(std::current_exception());
    }
}

inline void on_read(void *arg, const kvp_result *result)
{
    using Read = std::optional<Value>;
    std::unique_ptr<std::promise<Read>> promise(static_cast<std::promise<Read> *>(arg));
    try {
        if (result->status == KVP_NOT_FOUND) {
            promise->set_value(std::nullopt);
        } else {
            settle(*promise, *result,
                   result->status == KVP_OK ? Read(value_of(*result)) : std::nullopt);
        }
    } catch (...) {
        promise->set_exception(std::current_exception());
    }
}

// `start` is given the callback's argument; the promise is its own again if nothing was started.
template <typename T, typename Start> std::future<T> promised(Start start)
{
    auto promise = std::make_unique<std::promise<T>>();
    std::future<T> future = promise->get_future();
    kvp_status status = start(promise.get());
    if (status != KVP_OK) {
        fail(status, std::string(), 0);
    }
    (void)promise.release();
    return future;
}

struct Close {
    void operator()(kvp_client *client) const noexcept
    {
        kvp_client_close(client);
    }
};
using Handle = std::shared_ptr<kvp_client>;

} // namespace detail

// ---- jobs ----

// A job in the group. It is there whatever happens to this process: Client::job() finds it again.
class Job
{
  public:
    Job(detail::Handle client, std::uint64_t id) : client_(std::move(client)), id_(id)
    {
    }
    std::uint64_t id() const noexcept
    {
        return id_;
    }

    // JSON text, as `kvcli --json job show` prints it.
    std::string info() const
    {
        return look(KVP_INFO_JOB);
    }
    // Of the tasks that have failed, at most a page of them, with the reason of each: a JSON array.
    std::string dead() const
    {
        return look(KVP_INFO_DEAD);
    }
    std::string state() const
    {
        static const std::string_view key = "\"state\":\"";
        std::string text = info();
        std::size_t begin = text.find(key);
        if (begin == std::string::npos) {
            detail::fail(KVP_CORRUPT, "there is no state in what is known of the job", 0);
        }
        begin += key.size();
        return text.substr(begin, text.find('"', begin) - begin);
    }
    bool ended() const
    {
        std::string now = state();
        return now != "uploading" && now != "running" && now != "verifying";
    }

    // Until it has ended: its state. While the group does not answer it is asked again. Timeout:
    // not yet.
    std::string wait(std::chrono::milliseconds timeout) const
    {
        using clock = std::chrono::steady_clock;
        const clock::time_point until = clock::now() + timeout;
        for (auto pause = std::chrono::milliseconds(10);; pause = std::min(2 * pause, slowest)) {
            try {
                std::string now = state();
                if (now != "uploading" && now != "running" && now != "verifying") {
                    return now;
                }
            } catch (const Timeout &) {
            } catch (const Unavailable &) {
            }
            if (clock::now() + pause >= until) {
                detail::fail(KVP_TIMEOUT, "the job has not ended yet", 0);
            }
            std::this_thread::sleep_for(pause);
        }
    }
    // JobError: not there yet, or it has failed.
    std::string result(std::uint32_t task) const
    {
        detail::Result result;
        result.check(kvp_job_result(client_.get(), id_, task, result.out()));
        return detail::text_of(result->value);
    }
    // Its failed tasks are open again, with nothing held against them: how many.
    std::uint32_t retry() const
    {
        detail::Result result;
        std::uint32_t retried = 0;
        result.check(kvp_job_retry(client_.get(), id_, 0, UINT32_MAX, &retried, result.out()));
        return retried;
    }
    void cancel() const
    {
        tell(kvp_job_cancel);
    }
    void remove() const
    {
        tell(kvp_job_remove);
    } // one that has ended
    void pause() const
    {
        set(KVP_JOB_SET_PAUSED, 1);
    }
    void resume() const
    {
        set(KVP_JOB_SET_PAUSED, 0);
    }
    void set(kvp_job_setting setting, std::uint64_t value) const
    {
        detail::Result result;
        result.check(kvp_job_set(client_.get(), id_, setting, value, result.out()));
    }

  private:
    static constexpr std::chrono::milliseconds slowest{200};

    std::string look(unsigned what) const
    {
        detail::Result result;
        std::uint64_t more = 0;
        result.check(kvp_job_info(client_.get(), what, id_, 0, &more, result.out()));
        return detail::text_of(result->value);
    }
    void tell(kvp_status (*function)(kvp_client *, std::uint64_t, kvp_result *)) const
    {
        detail::Result result;
        result.check(function(client_.get(), id_, result.out()));
    }

    detail::Handle client_;
    std::uint64_t id_;
};

// A specification of tasks with its defaults, to be changed and given to submit().
struct JobSpec : kvp_job_spec {
    JobSpec() : kvp_job_spec()
    {
        kvp_job_spec_init(this, KVP_JOB_TASKS);
    }
    JobSpec &mode(const char *words) // "single", "tmr", "3/2": see kvp_job_spec_mode()
    {
        detail::check_spec(kvp_job_spec_mode(this, words));
        return *this;
    }
};

// ---- clients ----

struct Options : kvp_client_options {
    Options() : kvp_client_options()
    {
        kvp_client_options_init(this);
    }
};

class Client
{
  public:
    // It does not wait for a connection.
    explicit Client(const std::string &nodes, Options options = Options())
    {
        char message[256] = "";
        kvp_client *client = nullptr;
        options.nodes = nodes.c_str();
        kvp_status status = kvp_client_open(&options, &client, message, sizeof(message));
        if (status != KVP_OK) {
            detail::fail(status, message, 0);
        }
        client_ = detail::Handle(client, detail::Close());
    }

    // ---- one key: the new version is returned ----

    std::optional<Value> get(std::string_view key) const
    {
        return read(kvp_get, key);
    }
    // From any node, which may be behind.
    std::optional<Value> get_stale(std::string_view key) const
    {
        return read(kvp_get_stale, key);
    }
    std::uint64_t put(std::string_view key, std::string_view value) const
    {
        return update(kvp_put, detail::slice(key), detail::slice(value));
    }
    std::uint64_t create(std::string_view key, std::string_view value) const // Exists
    {
        return update(kvp_create, detail::slice(key), detail::slice(value));
    }
    // VersionDiffers. `version` 0: only if it is absent.
    std::uint64_t cas(std::string_view key, std::uint64_t version, std::string_view value) const
    {
        return update(kvp_cas, detail::slice(key), version, detail::slice(value));
    }
    // NotFound, VersionDiffers. `version` 0: whatever it is.
    std::uint64_t remove(std::string_view key, std::uint64_t version = 0) const
    {
        return update(kvp_delete, detail::slice(key), version);
    }

    // ---- the same, with futures: get() of these throws as the calls above do ----

    std::future<std::optional<Value>> get_async(std::string_view key) const
    {
        return detail::promised<std::optional<Value>>([&](void *arg) {
            return kvp_get_async(client_.get(), detail::slice(key), false, 0, detail::on_read, arg);
        });
    }
    std::future<std::uint64_t> put_async(std::string_view key, std::string_view value) const
    {
        return detail::promised<std::uint64_t>([&](void *arg) {
            return kvp_put_async(client_.get(), detail::slice(key), detail::slice(value), 0,
                                 detail::on_updated, arg);
        });
    }
    std::future<std::uint64_t> create_async(std::string_view key, std::string_view value) const
    {
        return detail::promised<std::uint64_t>([&](void *arg) {
            return kvp_create_async(client_.get(), detail::slice(key), detail::slice(value), 0,
                                    detail::on_updated, arg);
        });
    }
    std::future<std::uint64_t> cas_async(std::string_view key, std::uint64_t version,
                                         std::string_view value) const
    {
        return detail::promised<std::uint64_t>([&](void *arg) {
            return kvp_cas_async(client_.get(), detail::slice(key), version, detail::slice(value),
                                 0, detail::on_updated, arg);
        });
    }
    std::future<std::uint64_t> remove_async(std::string_view key, std::uint64_t version = 0) const
    {
        return detail::promised<std::uint64_t>([&](void *arg) {
            return kvp_delete_async(client_.get(), detail::slice(key), version, 0,
                                    detail::on_updated, arg);
        });
    }

    // ---- jobs ----

    // One task for each payload. With a key in `spec` it is the job that was started under it, if
    // there is one. It has begun when this returns. Unknown: look for it, or repeat it with its
    // key.
    Job submit(std::string_view kind, const std::vector<std::string> &payloads,
               const JobSpec &spec = JobSpec()) const
    {
        detail::Result made;
        std::uint64_t id = 0;
        made.check(kvp_job_new(client_.get(), &spec, &id, made.out()));
        if (!made->counted) {
            return job(id); // there is nothing to upload
        }
        try {
            for (std::size_t from = 0; from < payloads.size();) {
                from = add(id, kind, payloads, from);
            }
        } catch (...) {
            (void)kvp_job_cancel(client_.get(), id, nullptr);
            (void)kvp_job_remove(client_.get(), id, nullptr);
            throw;
        }
        detail::Result started;
        started.check(kvp_job_start(client_.get(), id, started.out()));
        return job(started->version != 0 ? started->version : id);
    }
    Job job(std::uint64_t id) const
    {
        return Job(client_, id);
    }

    // For what this header has not: the handle of the C library, which goes with the last of the
    // clients and jobs that share it.
    kvp_client *handle() const noexcept
    {
        return client_.get();
    }

  private:
    static constexpr std::size_t batch_bytes = 1 << 20, batch_tasks = 1024;

    template <typename Function>
    std::optional<Value> read(Function function, std::string_view key) const
    {
        detail::Result result;
        kvp_status status = function(client_.get(), detail::slice(key), result.out());
        if (status == KVP_NOT_FOUND) {
            return std::nullopt;
        }
        return detail::value_of(*result.check(status).operator->());
    }
    template <typename Function, typename... Arguments>
    std::uint64_t update(Function function, Arguments... arguments) const
    {
        detail::Result result;
        result.check(function(client_.get(), arguments..., result.out()));
        return result->version;
    }
    // As many as go into a message: the number of the first one behind them.
    std::size_t add(std::uint64_t id, std::string_view kind,
                    const std::vector<std::string> &payloads, std::size_t from) const
    {
        std::size_t end = from, bytes = 0;
        while (end < payloads.size() && end - from < batch_tasks && bytes < batch_bytes) {
            bytes += payloads[end++].size();
        }
        kvp_buf tasks{};
        std::unique_ptr<kvp_buf, decltype(&kvp_buf_free)> owner(&tasks, kvp_buf_free);
        detail::check_spec(kvp_job_tasks_open(&tasks, std::uint32_t(end - from)));
        for (std::size_t i = from; i < end; i++) {
            detail::check_spec(kvp_job_tasks_put(&tasks, detail::slice(kind), nullptr, 0, false,
                                                 detail::slice(payloads[i])));
        }
        detail::Result result;
        result.check(kvp_job_add_tasks(client_.get(), id, std::uint32_t(from),
                                       kvp_buf_slice(&tasks), result.out()));
        return end;
    }

    detail::Handle client_;
};

} // namespace kvpair

#endif
