// A supervised connect beside a plain one, and a bare spawn. Empty jobs: empty_job.cc.
#include <benchmark/benchmark.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "support/places.h"
#include "writ/backends/process_backend.h"
#include "writ/base/child.h"

namespace {

using namespace writ;

class Collect final : public backends::OutputSink {
 public:
  void OnOutput(backends::Stream, std::string_view bytes, std::chrono::nanoseconds) override {
    text += bytes;
  }
  void OnLeftOut(backends::Stream, std::uint64_t) override {}
  std::string text;
};

struct Place {
  Place() {
    std::string pattern = "/var/tmp/writ-bench-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    base = pattern;
    ::chmod(base.c_str(), 0711);
    for (const char* name : {"/workspace", "/session"})
      std::filesystem::create_directory(base + name);
    if (::geteuid() == 0 && ::chown((base + "/workspace").c_str(), kUid, kUid) != 0) std::abort();
  }
  ~Place() { std::filesystem::remove_all(base); }
  backends::Plan Plan(std::vector<std::string> argv) const {
    backends::Plan plan;
    plan.run_id = "bench_" + std::to_string(::getpid());
    plan.argv = std::move(argv);
    plan.workspace = backends::PlainWorkspace{base + "/workspace"};
    plan.session_dir = base + "/session";
    plan.identity.uid = ::geteuid() == 0 ? kUid : ::geteuid();
    plan.identity.gid = ::geteuid() == 0 ? kUid : ::getegid();
    plan.network = backends::ProxiedNetwork{};
    return plan;
  }
  static constexpr uid_t kUid = 1999999;
  std::string base;
};

std::unique_ptr<backends::Backend> MakeBackend() {
  auto backend = backends::MakeProcessBackend({.launcher = writ::test::BinDir() + "/writ-launch"});
  backend->Probe();
  return backend;
}

void BareSpawn(benchmark::State& state) {
  SpawnOptions options;
  options.path = "/bin/true";
  options.argv = {"true"};
  for (auto _ : state) {
    auto child = Child::Spawn(options);
    if (!child || !child->Wait(std::nullopt)) state.SkipWithError("cannot run /bin/true");
  }
}
BENCHMARK(BareSpawn)->Unit(benchmark::kMicrosecond)->UseRealTime();

// One iteration is 2,000 connects; the time is what the connecting program measured itself.
void Connects(benchmark::State& state, const std::string& how) {
  Place place;
  auto backend = MakeBackend();
  std::filesystem::copy_file(writ::test::BinDir() + "/bench_connects",
                             place.base + "/workspace/bench_connects");
  ::chmod((place.base + "/workspace/bench_connects").c_str(), 0755);
  for (auto _ : state) {
    backends::Plan plan = place.Plan({"/bin/sh", "-c", "exec ./bench_connects $PORT 2000"});
    auto job = backend->Prepare(std::move(plan));
    if (!job) return state.SkipWithError("cannot prepare");
    auto listener = (*job)->TakeProxyListener();
    std::string port = (*job)->ProxyAddress();
    port = port.substr(port.rfind(':') + 1);
    std::jthread server([fd = listener->get()](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        pollfd ready{fd, POLLIN, 0};
        if (::poll(&ready, 1, 20) > 0) UniqueFd(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
      }
    });
    std::string text;
    if (how == "supervised") {
      backends::Environment late;
      late.vars = {{"PORT", port}};
      if (!(*job)->Start(std::move(late))) return state.SkipWithError("cannot start");
      Collect sink;
      (*job)->Watch(sink, {});
      text = sink.text;
    } else {
      auto pipe = MakePipe();
      SpawnOptions options;
      options.path = writ::test::BinDir() + "/bench_connects";
      options.argv = {"bench_connects", port, "2000"};
      options.fds = {{pipe->write_end.get(), 1}};
      auto child = Child::Spawn(options);
      if (!child || !child->Wait(std::nullopt)) return state.SkipWithError("cannot run");
      char buffer[64] = {};
      if (::read(pipe->read_end.get(), buffer, sizeof buffer - 1) > 0) text = buffer;
    }
    const double nanoseconds = std::atof(text.c_str());
    if (nanoseconds <= 0) return state.SkipWithError("no figure came back");
    state.SetIterationTime(nanoseconds * 1e-9);
  }
}
BENCHMARK_CAPTURE(Connects, plain, std::string("plain"))
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(3);
BENCHMARK_CAPTURE(Connects, supervised, std::string("supervised"))
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(3);

}  // namespace

BENCHMARK_MAIN();
