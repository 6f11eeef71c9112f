// What the files of a workspace cost a machine's start, in one run and in turns: packed whole for
// each run, and as the image of a base that is there; each beside the same with an empty tree.
//
//   bench_machine_base [FILES, default 20000] [ROUNDS, default 7]
//
// From Prepare to the first output, a machine's kernel boots. Medians and the slowest, ms; the last
// column is the median beside the empty tree's.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "conformance/job_fixture.h"
#include "conformance/machine_snapshots.h"
#include "conformance/running_job.h"
#include "conformance/test_guest_image.h"

namespace {

namespace fs = std::filesystem;
using namespace writ;  // NOLINT: a program of its own
using std::chrono::steady_clock;

constexpr std::size_t kFileBytes = 4'000;

struct Way {
  std::string name;
  std::string lower;
  std::string kept;  // empty: packed whole
  std::vector<double> times{};
};

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "bench_machine_base: %s\n", why.c_str());
  std::exit(1);
}

void Give(const std::string& path, const test::JobFixture& fixture) {
  fs::remove_all(path);
  fs::create_directory(path);
  if (::lchown(path.c_str(), fixture.identity().uid, fixture.identity().gid) != 0)
    Die("cannot give " + path);
}

double Once(const test::JobFixture& fixture, backends::Backend& backend, const Way& way) {
  backends::Plan plan = fixture.Shell("echo word");
  backends::WorkspaceMount mount{way.lower, fixture.base() + "/upper", fixture.base() + "/work",
                                 way.kept};
  for (const std::string& dir : {mount.upper, mount.work}) Give(dir, fixture);
  plan.workspace = mount;
  const auto start = steady_clock::now();
  test::RunningJob running(backend, std::move(plan));
  if (!running.started()) Die(running.started().error().ToString());
  if (!running.AwaitOutput("word")) Die(way.name + ": the job has said nothing");
  const double took =
      std::chrono::duration<double, std::milli>(steady_clock::now() - start).count();
  running.Wait();
  return took;
}

}  // namespace

int main(int argc, char** argv) {
  const int files = argc > 1 ? std::max(1, std::atoi(argv[1])) : 20'000;
  const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 7;
  test::JobFixture fixture;
  auto backend = backends::MakeMicrovmBackend(test::MachineOptions(test::TestGuestImages()));
  if (const auto& can = backend->Probe(); !can.usable) Die(can.unusable_reason);
  fixture.Use(*backend);
  const std::string empty = fixture.base() + "/empty", full = fixture.base() + "/full";
  fs::create_directory(empty);
  for (int i = 0; i < files; ++i) {
    const std::string dir = full + "/" + std::to_string(i / 100);
    fs::create_directories(dir);
    std::ofstream(dir + "/" + std::to_string(i)) << std::string(kFileBytes, 'x');
  }
  std::vector<Way> ways = {{"empty, whole", empty, ""},
                           {"files, whole", full, ""},
                           {"empty, base", empty, fixture.base() + "/kept-empty"},
                           {"files, base", full, fixture.base() + "/kept-full"}};
  std::printf("%s, %d files\n", backend->Probe().version.c_str(), files);
  for (const Way& way : ways) {
    const double first = Once(fixture, *backend, way);
    if (!way.kept.empty())
      std::printf("%-14s %8.0f          the first, which makes it\n", way.name.c_str(), first);
  }
  for (int round = 0; round < rounds; ++round)
    for (Way& way : ways) way.times.push_back(Once(fixture, *backend, way));
  for (std::size_t i = 0; i < ways.size(); ++i) {
    std::sort(ways[i].times.begin(), ways[i].times.end());
    const auto& beside = ways[i / 2 * 2].times;
    std::printf("%-14s %8.0f %8.0f %6.2f\n", ways[i].name.c_str(),
                ways[i].times[ways[i].times.size() / 2], ways[i].times.back(),
                ways[i].times[ways[i].times.size() / 2] / beside[beside.size() / 2]);
  }
  return 0;
}
