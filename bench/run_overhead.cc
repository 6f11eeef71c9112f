// What a governed run costs over the bare git work: claim to completed receipt of `true`, in the
// process tier unless another is named, on repositories of 1, 2,000 and 20,000 files, cold and with
// the object cache warm; beside it, in the same run, `git clone + checkout + add -A + diff
// --cached` of the same bundle. Also capture and upload, first and again on the same base, and
// Enter in `writ run` to first output.
//
//   bench_run_overhead [--files N]... [--repeat K] [--isolation TIER]
//   bench_run_overhead --journal K
//
// The second form tells what the runner's journal costs: K runs on one file with it and K without,
// taken in turns, and the flushes to the disk of runner and plane together. Medians in
// milliseconds, and the ratio to the bare git sequence. It needs real git on the PATH.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "embedded.h"
#include "home.h"
#include "repository.h"
#include "requester.h"
#include "support/places.h"
#include "without_journal.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/plane/init.h"
#include "writ/workspace/capture.h"

namespace {

using namespace writ;
namespace fs = std::filesystem;
using namespace writ::bench;  // NOLINT: a program of its own

class StepTimes final : public runner::RunObserver {
 public:
  void OnStep(const std::string&, runner::Step step) override {
    std::lock_guard lock(mutex_);
    SteadyTime now = std::chrono::steady_clock::now();
    if (step == runner::Step::kClaimed) {
      claimed_ = now;
      flushes_ = -bench::Flushes();
    }
    if (step == runner::Step::kCompleted) {
      completed_ = now;
      flushes_ += bench::Flushes();
    }
  }
  void OnOutput(const std::string&, std::string_view) override {}
  void OnEnd(const std::string&, const runner::RunEnd&) override {}
  double Take() {
    std::lock_guard lock(mutex_);
    return Ms(claimed_, completed_);
  }
  int flushes() {
    std::lock_guard lock(mutex_);
    return flushes_;
  }

 private:
  std::mutex mutex_;  // guards what follows
  int flushes_ = 0;
  SteadyTime claimed_;
  SteadyTime completed_;
};

// One repository and one state directory.
class Bench {
 public:
  Bench(const fs::path& work, int files, std::string isolation)
      : work_(work),
        isolation_(std::move(isolation)),
        repository_(work / "repo"),
        state_((work / "state").string()) {
    MakeRepository(repository_, files);
    Must(plane::Init(state_), "init");
    plane_ = Must(cli::OpenPlane(state_, clock_), "plane");
    requester_ = cli::MakeLocalRequester(*plane_, "bench");
  }

  workspace::Captured Capture() {
    workspace::CaptureOptions options;
    options.repository = repository_.string();
    options.cache_directory = state_ + "/capture";
    Must(MakeDirectories(options.cache_directory, 0700), "capture cache");
    return Must(workspace::Capture(options), "capture");
  }

  void Upload(const workspace::Captured& captured) {
    for (const workspace::CapturedBlob& blob : captured.blobs) {
      std::string hash = blob.digest.ToHex();
      if (Must(requester_->HasBlob(hash), "blob")) continue;
      Must(requester_->PutBlob(
               blob.file.empty() ? blob.content : Must(ReadFile(blob.file, 1u << 30), "bundle"),
               hash),
           "upload");
    }
  }

  double RunTrue(const workspace::Captured& captured) {
    json::Object request{
        {"requestedBy", json::Object{{"kind", "service"}, {"id", "bench"}}},
        {"agentKind", "command"},
        {"secretNames", json::Array{}},
        {"network", json::Object{{"defaultDeny", true}, {"allowHosts", json::Array{}}}},
        {"budget", json::Object{}},
        {"disclosure", "minimal-context"},
        {"workspace", captured.manifest.ToJson()},
        {"pool", "default"},
        {"isolation", isolation_},
        {"prompt", "true"}};
    auto answer = Must(
        requester_->Submit(json::Write(json::Object{{"request", std::move(request)}})), "submit");
    if (answer.kind != plane::Submission::Kind::kAccepted) {
      std::fprintf(stderr, "the run was not accepted\n");
      std::exit(1);
    }
    StepTimes times;
    {
      cli::EmbeddedOptions options;
      options.dir = state_;
      options.pool = "default";
      options.only_run = answer.run_id;
      options.observer = &times;
      auto embedded = Must(cli::Embedded::Start(options, *plane_, clock_), "runner");
      for (;;) {
        auto detail = Must(requester_->Run(answer.run_id), "run");
        if (plane::IsTerminal(detail.summary.status)) {
          if (detail.summary.status != protocol::RunState::kCompleted) {
            std::fprintf(stderr, "the run did not complete\n");
            std::exit(1);
          }
          break;
        }
        (void)requester_->WaitRun(answer.run_id, detail.summary.updated_at, std::chrono::seconds(1))
            .has_value();
      }
    }
    flushes_ = times.flushes();
    return times.Take();
  }

  // Milliseconds and flushes of one warm run.
  std::pair<double, int> RunWith(bench::Notes notes, const workspace::Captured& captured) {
    bench::Choose(notes);
    const double ms = RunTrue(captured);
    bench::Choose(bench::Notes::kJournal);
    return {ms, flushes_};
  }

  double BareGit(const std::string& bundle) {
    // Nothing is deleted while it is measured: a file system is slow for seconds after mass
    // deletions.
    fs::path clone = work_ / ("clone-" + std::to_string(++clones_));
    SteadyTime start = std::chrono::steady_clock::now();
    Git(work_, {"clone", "-q", "--no-checkout", bundle, clone.string()});
    Git(clone, {"checkout", "-q", "HEAD"});
    Git(clone, {"add", "-A"});
    Git(clone, {"diff", "--cached", "--binary", "HEAD"}, (work_ / "diff").string());
    return Ms(start, std::chrono::steady_clock::now());
  }

  // Enter in a terminal to the first byte of the job's output.
  double FirstOutput() {
    Pipe pipe = Must(MakePipe(), "pipe");
    SpawnOptions options;
    options.path = writ::test::BinDir() + "/writ";
    options.argv = {"writ",        "--dir",    state_,      "run", "--repo", repository_.string(),
                    "--isolation", isolation_, "echo first"};
    options.env = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + state_};
    options.fds = {{pipe.write_end.get(), 1}};
    SteadyTime start = std::chrono::steady_clock::now();
    Child child = Must(Child::Spawn(options), "writ run");
    pipe.write_end.reset();
    char byte;
    if (::read(pipe.read_end.get(), &byte, 1) != 1) {
      std::fprintf(stderr, "writ run printed nothing\n");
      std::exit(1);
    }
    double ms = Ms(start, std::chrono::steady_clock::now());
    Must(ReadAll(pipe.read_end.get(), 1 << 20), "output");
    Must(child.Wait(std::nullopt), "writ run");
    return ms;
  }

  void DropObjectCache() {
    if (fs::exists(state_ + "/runner"))
      fs::rename(state_ + "/runner", state_ + "/runner-" + std::to_string(++clones_));
  }

 private:
  SystemClock clock_;
  fs::path work_;
  std::string isolation_;
  fs::path repository_;
  std::string state_;
  int clones_ = 0;
  int flushes_ = 0;  // of the last run
  std::unique_ptr<plane::Plane> plane_;
  std::unique_ptr<cli::Requester> requester_;
};

fs::path MakeFolder() {
  std::string pattern = (fs::temp_directory_path() / "writ-bench-XXXXXX").string();
  fs::path work = ::mkdtemp(pattern.data());
  fs::permissions(work, fs::perms(0711));
  return work;
}

void MeasureJournal(int repeat) {
  const fs::path work = MakeFolder();
  {
    Bench bench(work, 1, "process");
    workspace::Captured captured = bench.Capture();
    bench.Upload(captured);
    bench.RunTrue(captured);  // warm
    std::vector<double> with, without, with_flushes, without_flushes;
    for (int i = 0; i < repeat; ++i) {
      for (auto [notes, ms, flushes] : {std::tuple(bench::Notes::kJournal, &with, &with_flushes),
                                        {bench::Notes::kNone, &without, &without_flushes}}) {
        auto [took, flushed] = bench.RunWith(notes, captured);
        ms->push_back(took);
        flushes->push_back(flushed);
      }
    }
    std::printf(
        "claim to receipt: %.2f ms and %.0f flushes with the journal, %.2f ms and %.0f without "
        "(%.2fx, %+.2f ms, %+.0f flushes)\n",
        Median(with), Median(with_flushes), Median(without), Median(without_flushes),
        Median(with) / Median(without), Median(with) - Median(without),
        Median(with_flushes) - Median(without_flushes));
  }
  fs::remove_all(work);
}

void Measure(int files, int repeat, const std::string& isolation) {
  const fs::path work = MakeFolder();
  {
    Bench bench(work, files, isolation);
    SteadyTime start = std::chrono::steady_clock::now();
    workspace::Captured captured = bench.Capture();
    double capture_first = Ms(start, std::chrono::steady_clock::now());
    start = std::chrono::steady_clock::now();
    bench.Upload(captured);
    double upload_first = Ms(start, std::chrono::steady_clock::now());
    std::ofstream(work / "repo" / "d0" / "f0.txt", std::ios::app) << "one more line\n";
    start = std::chrono::steady_clock::now();
    workspace::Captured again = bench.Capture();
    double capture_again = Ms(start, std::chrono::steady_clock::now());
    start = std::chrono::steady_clock::now();
    bench.Upload(again);
    double upload_again = Ms(start, std::chrono::steady_clock::now());

    std::vector<double> git;
    std::vector<double> cold;
    std::vector<double> warm;
    std::vector<double> first_output;
    for (int i = 0; i < repeat; ++i) {
      git.push_back(bench.BareGit(captured.blobs.front().file));
      bench.DropObjectCache();
      cold.push_back(bench.RunTrue(captured));
      warm.push_back(bench.RunTrue(captured));
      first_output.push_back(bench.FirstOutput());
    }
    double base = Median(git);
    std::printf(
        "%6d files | bare git %8.1f | cold run %8.1f (%.2fx) | warm run %8.1f (%.2fx) | capture "
        "%7.1f, again %6.1f | upload %6.1f, again %5.1f | first output %6.1f\n",
        files, base, Median(cold), Median(cold) / base, Median(warm), Median(warm) / base,
        capture_first, capture_again, upload_first, upload_again, Median(first_output));
    std::fflush(stdout);
  }
  fs::remove_all(work);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<int> sizes;
  std::string isolation = "process";
  int repeat = 5;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--files") sizes.push_back(std::atoi(argv[i + 1]));
    if (std::string(argv[i]) == "--isolation") isolation = argv[i + 1];
    if (std::string(argv[i]) == "--journal") {
      MeasureJournal(std::max(1, std::atoi(argv[i + 1])));
      return 0;
    }
    if (std::string(argv[i]) == "--repeat") repeat = std::max(1, std::atoi(argv[i + 1]));
  }
  if (sizes.empty()) sizes = {1, 2000, 20000};
  std::printf(
      "milliseconds in tier %s, medians of %d; ratios to `git clone + checkout + add -A + diff "
      "--cached` in the same run\n",
      isolation.c_str(), repeat);
  for (int files : sizes) Measure(files, repeat, isolation);
  return 0;
}
