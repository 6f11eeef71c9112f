// Materialize + collect beside the bare git sequence of the same bundle, and capture, at several
// repository sizes, in one run. Generates its repositories; prints one line per measurement.
//
//   workspace_bench [SIZES] [ROUNDS]      workspace_bench 1,2000,20000 5
//   workspace_bench --overlay [SIZES] [ROUNDS]
//
// With --overlay: materialize and collect of a three-file change with warm caches, overlay beside
// plain; the overlay is mounted in a namespace of its own (needs root) and its mount is timed too.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/capture.h"
#include "writ/workspace/collect.h"
#include "writ/workspace/materialize.h"

namespace {
namespace fs = std::filesystem;
using namespace writ;             // NOLINT: a program of its own
using namespace writ::workspace;  // NOLINT

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "workspace_bench: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T Must(Result<T> result) {
  if (!result) Die(result.error().code + ": " + result.error().ToString());
  return std::move(result).value();
}

double Milliseconds(const std::function<void()>& work) {
  auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Git(const std::string& cwd, std::vector<std::string> args) {
  SpawnOptions options;
  options.path = "/usr/bin/git";
  options.argv = {"git"};
  options.argv.insert(options.argv.end(), args.begin(), args.end());
  options.env = {"PATH=/usr/bin:/bin",   "HOME=/nonexistent",
                 "GIT_AUTHOR_NAME=b",    "GIT_AUTHOR_EMAIL=b@example.com",
                 "GIT_COMMITTER_NAME=b", "GIT_COMMITTER_EMAIL=b@example.com"};
  options.cwd = cwd;
  Child child = Must(Child::Spawn(options));
  auto status = Must(child.Wait(std::nullopt));
  if (!status || status->ShellCode() != 0) Die("git " + args.front() + " failed");
}

void WriteText(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd || !WriteAll(fd.get(), text)) Die("cannot write " + path);
}

void MakeRepository(const std::string& path, int files) {
  std::mt19937 random(7);
  for (int i = 0; i < files; ++i) {
    std::string text;
    for (int line = 0; line < 40; ++line)
      text += "line " + std::to_string(i) + " " + std::to_string(random()) + "\n";
    WriteText(path + "/d" + std::to_string(i / 100) + "/f" + std::to_string(i) + ".txt", text);
  }
  Git(path, {"init", "-q"});
  Git(path, {"add", "-A"});
  Git(path, {"commit", "-q", "-m", "bench"});
}

// What the job does: three files.
void Edit(const std::string& tree) {
  WriteText(tree + "/d0/f0.txt", "changed\n");
  WriteText(tree + "/new/one.txt", "new\n");
  WriteText(tree + "/new/two.txt", "new\n");
}

void Remove(const std::string& path) {
  std::size_t slash = path.rfind('/');
  UniqueFd parent = Must(OpenDirectory(path.substr(0, slash)));
  (void)RemoveTreeBeneath(parent.get(), path.substr(slash + 1));
}

struct Times {
  std::vector<double> git, cold, warm, materialize_cold, materialize_warm, collect;
};

struct Bench {
  std::string root;
  std::string bundle;
  protocol::Manifest manifest;

  // Nothing is removed while anything is measured: ext4 makes new files slowly, for everybody,
  // while it steps around inodes that were freed in the last seconds.
  std::string Place(const char* what) { return root + "/" + what + std::to_string(number++); }
  int number = 0;

  double GitSequence() {
    std::string clone = Place("clone");
    double before = Milliseconds([&] {
      Git(root, {"clone", "-q", "--no-checkout", bundle, clone});
    });
    before += Milliseconds([&] { Git(clone, {"checkout", "-q", "--detach", "HEAD"}); });
    Edit(clone);
    double after = Milliseconds([&] { Git(clone, {"add", "-A"}); });
    after += Milliseconds([&] {
      Git(clone, {"diff", "--cached", "--binary", "--output=/dev/null"});
    });
    return before + after;
  }

  void Ours(ObjectCache& cache, std::vector<double>& total, std::vector<double>& materialize_times,
            std::vector<double>& collect_times) {
    std::string run = Place("run");
    UniqueFd tree = Must(MakeDirectories(run + "/tree", 0755));
    UniqueFd trusted = Must(MakeDirectories(run + "/trusted", 0700));
    std::optional<Materialized> materialized;
    double first = Milliseconds([&] {
      materialized =
          Must(Materialize({.manifest = &manifest,
                            .blobs = [this](const protocol::Digest&) -> Result<UniqueFd> {
                              return UniqueFd(::open(bundle.c_str(), O_RDONLY | O_CLOEXEC));
                            },
                            .cache = &cache,
                            .target = tree.get(),
                            .trusted = trusted.get()}));
    });
    Edit(run + "/tree");
    double second = Milliseconds([&] {
      Collected collected = Must(Collect({.materialized = &*materialized, .tree = tree.get()}));
      if (collected.changed.size() != 3) Die("collected something else");
    });
    materialize_times.push_back(first);
    collect_times.push_back(second);
    total.push_back(first + second);
  }
};

void Run(const std::string& scratch, int files, int rounds) {
  Bench bench;
  bench.root = scratch + "/" + std::to_string(files);
  std::string repository = bench.root + "/repo";
  fs::create_directories(repository);
  MakeRepository(repository, files);

  CaptureOptions capture{.repository = repository, .cache_directory = bench.root + "/captured"};
  Captured captured;
  double first = Milliseconds([&] { captured = Must(Capture(capture)); });
  std::vector<double> again;
  for (int i = 0; i < rounds; ++i)
    again.push_back(Milliseconds([&] { captured = Must(Capture(capture)); }));
  double git_bundle = Milliseconds([&] {
    Git(repository, {"bundle", "create", "-q", bench.root + "/git.bundle", "HEAD"});
  });
  std::printf("%6d files  capture first %8.1f ms  again %8.1f ms  (git bundle create %8.1f ms)\n",
              files, first, Median(again), git_bundle);
  bench.bundle = captured.blobs.front().file;
  bench.manifest = captured.manifest;

  Times times;
  for (int i = 0; i < rounds; ++i) {
    times.git.push_back(bench.GitSequence());
    std::string cache_path = bench.Place("cache");
    {
      auto cache = Must(ObjectCache::Open(cache_path));
      bench.Ours(*cache, times.cold, times.materialize_cold, times.collect);
    }
    {
      // Warm as the next run of a restarted runner finds it.
      auto cache = Must(ObjectCache::Open(cache_path));
      bench.Ours(*cache, times.warm, times.materialize_warm, times.collect);
    }
  }
  double git = Median(times.git);
  double cold = Median(times.cold);
  double warm = Median(times.warm);
  std::printf(
      "%6d files  git %8.1f ms  cold %8.1f ms (%.2f)  warm %8.1f ms (%.2f)  "
      "[materialize %.1f / %.1f, collect %.1f]\n",
      files, git, cold, cold / git, warm, warm / git, Median(times.materialize_cold),
      Median(times.materialize_warm), Median(times.collect));
  std::fflush(stdout);
}

struct OverlayTimes {
  std::vector<double> materialize, mount, collect;
};

// One run on `checkouts`, as the next run of a runner that has it open.
void OverlayRound(Bench& bench, ObjectCache& objects, CheckoutCache& checkouts,
                  OverlayTimes& times) {
  std::string run = bench.Place("overlay");
  UniqueFd upper = Must(MakeDirectories(run + "/upper", 0755));
  UniqueFd trusted = Must(MakeDirectories(run + "/trusted", 0700));
  (void)Must(MakeDirectories(run + "/work", 0700));
  (void)Must(MakeDirectories(run + "/view", 0755));
  std::optional<Materialized> materialized;
  double first = Milliseconds([&] {
    materialized =
        Must(Materialize({.manifest = &bench.manifest,
                          .blobs = [&](const protocol::Digest&) -> Result<UniqueFd> {
                            return UniqueFd(::open(bench.bundle.c_str(), O_RDONLY | O_CLOEXEC));
                          },
                          .cache = &objects,
                          .target = upper.get(),
                          .trusted = trusted.get(),
                          .checkouts = &checkouts}));
  });
  std::string options = "lowerdir=" + materialized->lower_directory() + ",upperdir=" + run +
                        "/upper,workdir=" + run +
                        "/work,redirect_dir=nofollow,metacopy=off,index=off,xino=off";
  double mounting = Milliseconds([&] {
    if (::mount("overlay", (run + "/view").c_str(), "overlay", 0, options.c_str()) != 0)
      Die("cannot mount an overlay");
  });
  Edit(run + "/view");
  double second = Milliseconds([&] {
    Collected collected = Must(Collect({.materialized = &*materialized, .tree = upper.get()}));
    if (collected.changed.size() != 3) Die("collected something else");
  });
  if (::umount2((run + "/view").c_str(), MNT_DETACH) != 0) Die("cannot unmount an overlay");
  times.materialize.push_back(first);
  times.mount.push_back(mounting);
  times.collect.push_back(second);
}

void RunOverlay(const std::string& scratch, int files, int rounds) {
  Bench bench;
  bench.root = scratch + "/" + std::to_string(files);
  std::string repository = bench.root + "/repo";
  fs::create_directories(repository);
  MakeRepository(repository, files);
  Captured captured =
      Must(Capture({.repository = repository, .cache_directory = bench.root + "/captured"}));
  bench.bundle = captured.blobs.front().file;
  bench.manifest = captured.manifest;
  auto objects = Must(ObjectCache::Open(bench.root + "/objects"));
  auto checkouts = Must(CheckoutCache::Open(bench.root + "/checkouts", {}));
  OverlayTimes fill, warm;
  OverlayRound(bench, *objects, *checkouts, fill);
  Times plain;
  for (int i = 0; i < rounds; ++i) OverlayRound(bench, *objects, *checkouts, warm);
  for (int i = 0; i < std::min(rounds, 3); ++i)
    bench.Ours(*objects, plain.warm, plain.materialize_warm, plain.collect);
  std::printf(
      "%6d files  overlay: materialize %6.2f  mount %5.2f  collect %6.2f ms  (fill, once: %8.1f)  "
      "plain: materialize %8.1f  collect %7.1f ms\n",
      files, Median(warm.materialize), Median(warm.mount), Median(warm.collect),
      Median(fill.materialize), Median(plain.materialize_warm), Median(plain.collect));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const bool overlay = argc > 1 && std::string_view(argv[1]) == "--overlay";
  if (overlay) {
    --argc;
    ++argv;
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      Die("--overlay mounts: run it as root");
  }
  std::string sizes = argc > 1 ? argv[1] : overlay ? "1,2000,20000,100000" : "1,2000,20000";
  int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 5;
  if (sizes == "--help") {
    std::printf(
        "usage: workspace_bench [--overlay] [SIZES, default 1,2000,20000] [ROUNDS, default 5]\n");
    return 0;
  }
  const char* tmp = std::getenv("TMPDIR");
  std::string scratch = std::string(tmp != nullptr ? tmp : "/tmp") + "/writ-bench-XXXXXX";
  if (::mkdtemp(scratch.data()) == nullptr) Die("cannot make a scratch folder");
  std::istringstream list(sizes);
  for (std::string size; std::getline(list, size, ',');)
    (overlay ? RunOverlay : Run)(scratch, std::max(1, std::atoi(size.c_str())), rounds);
  Remove(scratch);
}
