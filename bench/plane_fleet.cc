// A fleet on one plane: how soon a queued run is claimed with N runners waiting, each with its own
// identity and connection, what the plane costs meanwhile, and how many runs per second it can give
// out and countersign when nothing is executed. The plane is a process of its own; its clients
// share the machine with it. Never longer than a minute.
//   bench_plane_fleet [runners] [queued runs]
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "http_client.h"
#include "test_plane.h"
#include "writ/base/unique_fd.h"

namespace {

using namespace writ;
using json::Object;
using SteadyClock = std::chrono::steady_clock;
using Millis = std::chrono::duration<double, std::milli>;

constexpr std::chrono::seconds kIdle{5}, kPaced{15}, kCeiling{25};
constexpr std::chrono::milliseconds kPace{50};  // between requests, while latency is taken

double At(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  if (values.empty()) return 0;
  return values[std::min(values.size() - 1,
                         static_cast<std::size_t>(part * static_cast<double>(values.size())))];
}

// Of the plane's process.
struct Cost {
  double cpu_seconds = 0;
  double rss_mib = 0;
  int threads = 0;
};
Cost CostOf(pid_t pid) {
  Cost out;
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string word;
  for (int field = 3; rest >> word; ++field)
    if (field == 14 || field == 15)
      out.cpu_seconds += std::stod(word) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  while (std::getline(status, text)) {
    if (text.starts_with("VmRSS:")) out.rss_mib = std::stod(text.substr(6)) / 1024;
    if (text.starts_with("Threads:")) out.threads = std::stoi(text.substr(8));
  }
  return out;
}

// Serves until its parent lets go of the pipe.
[[noreturn]] void ServePlane(const std::string& dir, UniqueFd url_out, UniqueFd until) {
  SystemClock clock;
  plane::Config config;
  config.per_principal = config.per_agent = config.per_pool = std::nullopt;
  config.max_connections = config.max_connections_on_loopback = 2048;
  auto opened = plane::Plane::Open({.dir = dir, .config = config}, clock);
  if (!opened) ::_exit(2);
  auto server = plane::HttpServer::Start(**opened, clock, {});
  if (!server) ::_exit(3);
  (void)!::write(url_out.get(), (*server)->url().data(), (*server)->url().size());
  url_out.reset();
  char byte;
  (void)!::read(until.get(), &byte, 1);
  (*opened)->Interrupt();
  (*server)->Stop();
  ::_exit(0);
}

class Fleet {
 public:
  Fleet(std::string url, std::string requester, const json::Value& body)
      : url_(std::move(url)), requester_(std::move(requester)), body_(json::Write(body)) {}

  bool Submit(test::HttpClient& client) {
    const auto begun = SteadyClock::now();
    auto made =
        client.Send({.method = "POST", .path = "/v1/runs", .token = requester_, .body = body_});
    if (made.status != 200) return false;
    std::lock_guard lock(mutex_);
    submit_ms_.push_back(Millis(SteadyClock::now() - begun).count());
    asked_[std::string(made.Json().FindString("runId").value_or(""))] = begun;
    return true;
  }

  // One runner, until `stop`: offer, acknowledgement, events, receipt.
  void Work(const test::TestRunner& runner) {
    test::HttpClient client(url_);
    SystemClock clock;
    while (!stop) {
      auto offer = client.Post("/v1/claims", Object{{"runnerToken", runner.token},
                                                    {"pool", runner.pool},
                                                    {"acknowledge", true},
                                                    {"waitMs", 2000}});
      if (offer.status != 200) {
        ++failed;
        continue;
      }
      const json::Value offered = offer.Json();
      if (offered.Find("runId") == nullptr) continue;
      plane::Claim claim{.run_id = std::string(*offered.FindString("runId")),
                         .contract = json::Write(*offered.Find("contract")),
                         .claim_token = std::string(*offered.FindString("claimToken")),
                         .events = {},
                         .secrets = {}};
      auto taken = client.Post("/v1/runs/" + claim.run_id + "/acknowledge",
                               Object{{"claimToken", claim.claim_token}});
      if (taken.status != 200) {
        ++failed;
        continue;
      }
      Note(claim.run_id);
      const json::Value chain = taken.Json();
      for (const json::Value& event : chain.Find("events")->array())
        claim.events.push_back(json::Write(event));
      auto done = test::FinishClaim(claim, runner, clock.Now());
      auto sent = client.Post("/v1/runs/" + claim.run_id + "/events",
                              Object{{"claimToken", claim.claim_token}, {"events", done.events}});
      auto complete =
          client.Post("/v1/runs/" + claim.run_id + "/complete",
                      Object{{"claimToken", claim.claim_token}, {"receipt", done.receipt}});
      ++(sent.status == 200 && complete.status == 200 ? completed : failed);
    }
  }

  // From sending the request to the acknowledged claim.
  std::vector<double> Latencies() {
    std::lock_guard lock(mutex_);
    std::vector<double> out;
    for (const auto& [run, when] : claimed_)
      if (auto asked = asked_.find(run); asked != asked_.end())
        out.push_back(Millis(when - asked->second).count());
    return out;
  }
  std::vector<double> SubmitTimes() {
    std::lock_guard lock(mutex_);
    return submit_ms_;
  }

  std::atomic<bool> stop{false};
  std::atomic<std::size_t> completed{0}, failed{0};

 private:
  void Note(const std::string& run) {
    std::lock_guard lock(mutex_);
    claimed_[run] = SteadyClock::now();
  }
  const std::string url_, requester_, body_;
  std::mutex mutex_;  // guards the rest
  std::map<std::string, SteadyClock::time_point> asked_, claimed_;
  std::vector<double> submit_ms_;
};

void Await(SteadyClock::time_point until, const std::function<bool()>& over) {
  while (SteadyClock::now() < until && !over()) ::poll(nullptr, 0, 10);
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t count = argc > 1 ? std::stoul(argv[1]) : 200;
  const std::size_t queued = argc > 2 ? std::stoul(argv[2]) : 1000;
  test::TempFolder folder;
  if (!plane::Init(folder.path())) return 2;
  std::vector<std::unique_ptr<test::TestRunner>> runners;
  std::string requester;
  json::Value body;
  {
    SystemClock clock;
    auto local = plane::Caller::Local("owner");
    auto plane = plane::Plane::Open({.dir = folder.path(), .config = std::nullopt}, clock);
    if (!plane) return 2;
    for (std::size_t i = 0; i < count; ++i)
      runners.push_back(std::make_unique<test::TestRunner>(**plane, local));
    requester = (*plane)->CreatePrincipal(local, "fleet", {plane::Role::kRequester})->token;
    body = test::RunBody(**plane, {.agent = "command", .prompt = "true"});
  }
  auto url_pipe = MakePipe().value();
  auto life = MakePipe().value();
  const pid_t pid = ::fork();
  if (pid == 0) {
    life.write_end.reset();
    ServePlane(folder.path(), std::move(url_pipe.write_end), std::move(life.read_end));
  }
  url_pipe.write_end.reset();
  life.read_end.reset();
  char url[128] = {};
  if (::read(url_pipe.read_end.get(), url, sizeof url - 1) <= 0) return 2;

  test::HttpClient client(url);
  std::printf("%zu runners, each with its own identity and connection\n", count);
  {
    Fleet fleet(url, requester, body);
    std::vector<std::thread> threads;
    for (auto& runner : runners) threads.emplace_back([&fleet, &runner] { fleet.Work(*runner); });
    Await(SteadyClock::now() + std::chrono::seconds(10),
          [&] { return CostOf(pid).threads >= static_cast<int>(count); });
    const Cost before = CostOf(pid);
    Await(SteadyClock::now() + kIdle, [] { return false; });
    const Cost idle = CostOf(pid);
    const auto begun = SteadyClock::now();
    for (auto next = begun; next < begun + kPaced; next += kPace) {
      Await(next, [] { return false; });
      if (!fleet.Submit(client)) ++fleet.failed;
    }
    const double seconds = Millis(SteadyClock::now() - begun).count() / 1000;
    const Cost busy = CostOf(pid);
    fleet.stop = true;
    for (auto& thread : threads) thread.join();
    const auto latencies = fleet.Latencies();
    std::printf("idle, all waiting: %.1f %% of a core, %.1f MiB, %d threads\n",
                (idle.cpu_seconds - before.cpu_seconds) * 100 /
                    std::chrono::duration<double>(kIdle).count(),
                idle.rss_mib, idle.threads);
    std::printf(
        "%zu runs at %.0f per second: claim p50 %.1f ms, p99 %.1f ms (submit p50 %.1f ms)\n",
        latencies.size(), static_cast<double>(latencies.size()) / seconds, At(latencies, 0.5),
        At(latencies, 0.99), At(fleet.SubmitTimes(), 0.5));
    std::printf("meanwhile: %.1f %% of a core, %.1f MiB; failed calls %zu\n",
                (busy.cpu_seconds - idle.cpu_seconds) * 100 / seconds, busy.rss_mib,
                fleet.failed.load());
  }
  for (const std::size_t at_once : {std::size_t{4}, count}) {
    Fleet fleet(url, requester, body);
    {
      std::vector<std::thread> submitters;
      std::atomic<std::size_t> left{queued};
      for (int i = 0; i < 4; ++i) {
        submitters.emplace_back([&] {
          test::HttpClient own(url);
          for (std::size_t n = left--; n > 0 && n <= queued; n = left--)
            if (!fleet.Submit(own)) ++fleet.failed;
        });
      }
      for (auto& thread : submitters) thread.join();
    }
    const Cost before = CostOf(pid);
    const auto begun = SteadyClock::now();
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < std::min(at_once, count); ++i)
      threads.emplace_back([&fleet, &runners, i] { fleet.Work(*runners[i]); });
    Await(begun + kCeiling / 2, [&] { return fleet.completed + fleet.failed >= queued; });
    const double seconds = Millis(SteadyClock::now() - begun).count() / 1000;
    const Cost after = CostOf(pid);
    const std::size_t done = fleet.completed;
    fleet.stop = true;
    for (auto& thread : threads) thread.join();
    std::printf(
        "%zu queued runs, %zu runners: %zu in %.1f s = %.0f runs/s; plane %.2f ms of CPU a "
        "run, %.1f MiB; failed calls %zu\n",
        queued, at_once, done, seconds, static_cast<double>(done) / seconds,
        done == 0 ? 0.0
                  : (after.cpu_seconds - before.cpu_seconds) * 1000 / static_cast<double>(done),
        after.rss_mib, fleet.failed.load());
  }
  life.write_end.reset();
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}
