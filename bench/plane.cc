// What the plane costs: one run alone (each call, over loopback HTTP), and the ceiling of claims
// and completions per second with several runners at once. Prints a table; the last column is a
// ratio within this run: how many bare flushes (write 4 KiB, fsync) of the same disk the time is
// worth.
//   bench_plane [runs] [runners]
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "http_client.h"
#include "test_plane.h"

namespace {

using namespace writ;
using json::Object;
using Seconds = std::chrono::duration<double>;
using SteadyClock = std::chrono::steady_clock;

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// The median of one append and fsync, in milliseconds.
double FlushMs(const std::string& dir) {
  std::vector<double> times;
  std::string block(4096, 'x');
  int fd = ::open((dir + "/flush").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  for (int i = 0; i < 100; ++i) {
    auto begun = SteadyClock::now();
    if (::write(fd, block.data(), block.size()) < 0 || ::fsync(fd) != 0) break;
    times.push_back(Seconds(SteadyClock::now() - begun).count() * 1000);
  }
  ::close(fd);
  return Median(times);
}

struct Steps {
  std::vector<double> submit, claim, events, complete, whole;
};

class Timer {
 public:
  explicit Timer(std::vector<double>& out) : out_(out) {}
  ~Timer() { out_.push_back(Seconds(SteadyClock::now() - begun_).count() * 1000); }

 private:
  std::vector<double>& out_;
  SteadyClock::time_point begun_ = SteadyClock::now();
};

bool OneRun(test::HttpClient& client, const json::Value& body, const std::string& token,
            const test::TestRunner& runner, Steps& steps) {
  Timer whole(steps.whole);
  SystemClock clock;
  {
    Timer timer(steps.submit);
    if (client.Post("/v1/runs", body, token).status != 200) return false;
  }
  json::Value answer;
  {
    Timer timer(steps.claim);
    answer = client.Post("/v1/claims", Object{{"runnerToken", runner.token}, {"pool", "default"}})
                 .Json();
  }
  if (!answer.Find("runId")) return false;
  plane::Claim claim;
  claim.run_id = answer.FindString("runId").value();
  claim.contract = json::Write(*answer.Find("contract"));
  claim.claim_token = answer.FindString("claimToken").value();
  for (const auto& event : answer.Find("events")->array())
    claim.events.push_back(json::Write(event));
  auto finished = test::FinishClaim(claim, runner, clock.Now());
  const std::string path = "/v1/runs/" + claim.run_id;
  {
    Timer timer(steps.events);
    if (client
            .Post(path + "/events",
                  Object{{"claimToken", claim.claim_token}, {"events", finished.events}})
            .status != 200)
      return false;
  }
  Timer timer(steps.complete);
  return client
             .Post(path + "/complete",
                   Object{{"claimToken", claim.claim_token}, {"receipt", finished.receipt}})
             .status == 200;
}

}  // namespace

int main(int argc, char** argv) {
  const int runs = argc > 1 ? std::atoi(argv[1]) : 200;
  const int runners = argc > 2 ? std::atoi(argv[2]) : 4;
  plane::Config config;
  config.per_principal = config.per_agent = config.per_pool = std::nullopt;
  test::TestPlane plane("", config);
  SystemClock clock;
  plane.clock.SetWall(clock.Now());
  auto server = plane::HttpServer::Start(*plane, clock, {}).value();
  auto token =
      plane->CreatePrincipal(plane.local, "bench", {plane::Role::kRequester}).value().token;
  const auto body = test::RunBody(*plane);
  const double flush = FlushMs(plane.dir());
  std::printf("one flush of 4 KiB: %.3f ms (median of 100)\n", flush);

  Steps steps;
  test::TestRunner runner(*plane, plane.local);
  test::HttpClient client(server->url());
  for (int i = 0; i < runs; ++i) {
    if (!OneRun(client, body, token, runner, steps)) {
      std::fprintf(stderr, "a run failed\n");
      return 1;
    }
  }
  std::printf("%d runs one after the other, over HTTP on loopback, medians:\n", runs);
  const std::pair<const char*, const std::vector<double>*> rows[] = {{"submit", &steps.submit},
                                                                     {"claim", &steps.claim},
                                                                     {"events", &steps.events},
                                                                     {"complete", &steps.complete},
                                                                     {"whole run", &steps.whole}};
  for (const auto& [name, times] : rows) {
    std::printf("  %-10s %8.3f ms  %6.2f flushes\n", name, Median(*times), Median(*times) / flush);
  }

  std::atomic<int> left{runs * 4};
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  auto begun = SteadyClock::now();
  for (int i = 0; i < runners; ++i) {
    threads.emplace_back([&] {
      test::TestRunner own(*plane, plane.local);
      test::HttpClient connection(server->url());
      Steps mine;
      while (left.fetch_sub(1) > 0) done += OneRun(connection, body, token, own, mine) ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  const double seconds = Seconds(SteadyClock::now() - begun).count();
  std::printf(
      "%d runs by %d runners at once: %.1f runs/s (each: submit, claim, events, complete)\n",
      done.load(), runners, done / seconds);

  for (int i = 0; i < runs * 4; ++i) {
    if (!plane->Submit(plane.local, json::Write(body))) return 1;
  }
  std::atomic<int> claimed{0};
  threads.clear();
  begun = SteadyClock::now();
  for (int i = 0; i < runners; ++i) {
    threads.emplace_back([&] {
      test::TestRunner own(*plane, plane.local);
      for (;;) {
        auto claim = plane->Claim(own.token, "default", std::chrono::milliseconds(0));
        if (!claim || !*claim) return;
        ++claimed;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::printf("%d claims by %d threads without HTTP: %.1f claims/s\n", claimed.load(), runners,
              claimed / Seconds(SteadyClock::now() - begun).count());
  return 0;
}
