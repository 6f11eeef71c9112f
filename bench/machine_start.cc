// How a machine comes to a job's first word, in one run and in turns: its kernel boots; it is
// restored from a copy of a snapshot; a page server gives it the snapshot's memory - of a first
// restore, with a server of its own, nothing verified and no working set, and of a later one; it
// was restored before, and waited.
//
//   bench_machine_start [ROUNDS, default 15]
//
// From Prepare to the first output; nothing is being restored meanwhile. Medians and 90 %,
// milliseconds; the last column is the median beside the cold boot's.
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "conformance/job_fixture.h"
#include "conformance/machine_snapshots.h"
#include "conformance/running_job.h"

namespace {

using namespace writ;  // NOLINT: a program of its own
using std::chrono::steady_clock;

constexpr std::uint64_t kJobMemory = 128u << 20;
constexpr uid_t kPoolUid = 900'000;
constexpr int kRecorded = 3;  // restores until a working set is whole

struct Way {
  std::string name;
  std::function<std::unique_ptr<backends::Backend>()> make;
  backends::MachineStart::Memory memory;
  bool snapshot;
  bool anew;  // a backend, and a working set, of each round's own
  bool pooled = false;
  std::unique_ptr<backends::Backend> backend{};
  std::vector<double> times{};
};

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "bench_machine_start: %s\n", why.c_str());
  std::exit(1);
}

void AwaitPool(const Way& way) {
  constexpr int kTries = 6000;
  constexpr int kMillis = 20;
  for (int i = 0; way.pooled && way.backend->Waiting()->waiting == 0; ++i) {
    if (i == kTries) Die("no machine waits: " + way.backend->Waiting()->trouble);
    (void)::poll(nullptr, 0, kMillis);
  }
}

double Once(const test::JobFixture& fixture, const Way& way) {
  AwaitPool(way);
  backends::Plan plan = fixture.Shell("echo word");
  plan.limits.memory_bytes = kJobMemory;
  const auto start = steady_clock::now();
  test::RunningJob running(*way.backend, std::move(plan));
  if (!running.started()) Die(running.started().error().ToString());
  if (!running.AwaitOutput("word")) Die(way.name + ": the job has said nothing");
  const double took =
      std::chrono::duration<double, std::milli>(steady_clock::now() - start).count();
  const auto how = running.job().StartOfMachine();
  if (!how || how->pooled != way.pooled || how->snapshot.empty() == way.snapshot ||
      (way.snapshot && how->memory != way.memory))
    Die(way.name + ": it was started in another way" +
        (how ? ": " + how->not_restored + " " + how->not_served : ""));
  running.Wait();
  AwaitPool(way);
  return took;
}

double At(std::vector<double> values, std::size_t percent) {
  std::sort(values.begin(), values.end());
  return values[values.size() * percent / 100];
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 15;
  const test::MachineSnapshots snapshots;
  auto made = snapshots.Build({}, kJobMemory);
  if (!made) Die(made.error().ToString());
  const std::string working_set =
      snapshots.store().dir() + "/sha256-" + made->id.ToHex() + "/working-set";
  using Options = backends::MicrovmBackendOptions;
  using Memory = backends::MachineStart::Memory;
  auto with = [&snapshots](const std::function<void(Options&)>& change) {
    return [&snapshots, change] {
      Options options = snapshots.Options();
      change(options);
      return backends::MakeMicrovmBackend(std::move(options));
    };
  };
  std::vector<Way> ways;
  ways.push_back({"cold", with([](Options& o) { o.snapshots = Options::Snapshots::kIgnored; }),
                  Memory::kCopied, false, false});
  ways.push_back(
      {"copy", with([](Options& o) { o.pages.program.clear(); }), Memory::kCopied, true, false});
  ways.push_back({"pages, first", with([](Options&) {}), Memory::kServed, true, true});
  ways.push_back({"pages, later", with([](Options&) {}), Memory::kServed, true, false});

  ways.push_back({"pool", with([&snapshots](Options& o) {
                    o.pool.count = 1;
                    o.pool.max_age = std::chrono::hours(24);
                    o.pool.dir = snapshots.dir() + "/pool";
                    if (::geteuid() != 0) return;
                    o.pool.first_uid = kPoolUid;
                    o.pool.uids = 4;
                    o.pool.helper_uid = *test::JobFixture().Shell("true").helper_uid;
                  }),
                  Memory::kServed, true, false, true});
  std::filesystem::create_directory(snapshots.dir() + "/pool");
  std::filesystem::permissions(snapshots.dir() + "/pool", std::filesystem::perms(0711));

  test::JobFixture fixture;
  for (Way& way : ways) {
    way.backend = way.make();
    if (const auto& can = way.backend->Probe(); !can.usable) Die(can.unusable_reason);
    fixture.Use(*way.backend);
  }
  std::printf("%s\n", ways.front().backend->Probe().version.c_str());
  std::filesystem::remove_all(working_set);
  for (Way& way : ways)
    if (way.name == "pages, later" || way.pooled)  // each has a server, and a set, of its own
      for (int i = 0; i < kRecorded; ++i) Once(fixture, way);
  for (int round = 0; round < rounds; ++round)
    for (Way& way : ways) {
      if (way.anew) {
        way.backend.reset();
        std::filesystem::rename(working_set, snapshots.work_dir() + "/working-set");
        way.backend = way.make();
        (void)way.backend->Probe();
      }
      way.times.push_back(Once(fixture, way));
      if (way.anew) {
        way.backend.reset();
        std::filesystem::remove_all(working_set);
        std::filesystem::rename(snapshots.work_dir() + "/working-set", working_set);
      }
    }
  for (const Way& way : ways)
    std::printf("%-14s %8.0f %8.0f %6.2f\n", way.name.c_str(), At(way.times, 50), At(way.times, 90),
                At(way.times, 50) / At(ways.front().times, 50));
  return 0;
}
