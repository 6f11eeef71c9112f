// What a whole session costs by the number of files, in the sandbox tier, with an overlay beside a
// tree of the run's own: a runner that serves (caches warm, its process too) takes runs that change
// three files, one kind after the other.
//
//   bench_session_curve [SIZES, default 1,2000,20000,100000] [ROUNDS, default 21] [PLAIN ROUNDS, 3]
//
// claim to start: until the job's program runs; with the signature, the plan, the journal, the
// workspace, the isolation and the proxy. collect: the job's tree is dead until its change is
// known. Medians, milliseconds. A contract that declares an output file gets a tree of its own.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "home.h"
#include "repository.h"
#include "requester.h"
#include "runner_setup.h"
#include "writ/backends/registry.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/plane/http_server.h"
#include "writ/plane/init.h"
#include "writ/runner/engine.h"
#include "writ/runner/enroll.h"
#include "writ/workspace/capture.h"

namespace {

using namespace writ;         // NOLINT: a program of its own
using namespace writ::bench;  // NOLINT
namespace fs = std::filesystem;
using runner::Step;

class StepTimes final : public runner::RunObserver {
 public:
  void OnStep(const std::string&, Step step) override {
    std::lock_guard lock(mutex_);
    times_[step] = std::chrono::steady_clock::now();
  }
  void OnOutput(const std::string&, std::string_view) override {}
  void OnEnd(const std::string&, const runner::RunEnd& end) override {
    std::lock_guard lock(mutex_);
    end_ = end;
  }
  double Between(Step from, Step to) const {
    std::lock_guard lock(mutex_);
    return Ms(times_.at(from), times_.at(to));
  }
  std::string Status() const {
    std::lock_guard lock(mutex_);
    return end_.status + " " + end_.message;
  }

 private:
  mutable std::mutex mutex_;  // guards both
  std::map<Step, SteadyTime> times_;
  runner::RunEnd end_;
};

struct Times {
  std::vector<double> decide, materialize, prepare, start, to_start, job, collect, dismantle, rest;
  void Add(const StepTimes& steps) {
    decide.push_back(steps.Between(Step::kClaimed, Step::kPlanned));
    materialize.push_back(steps.Between(Step::kPlanned, Step::kMaterialized));
    prepare.push_back(steps.Between(Step::kMaterialized, Step::kPrepared));
    start.push_back(steps.Between(Step::kPrepared, Step::kStarted));
    to_start.push_back(steps.Between(Step::kClaimed, Step::kStarted));
    job.push_back(steps.Between(Step::kStarted, Step::kEnded));
    collect.push_back(steps.Between(Step::kEnded, Step::kCollected));
    dismantle.push_back(steps.Between(Step::kCollected, Step::kDismantled));
    rest.push_back(steps.Between(Step::kDismantled, Step::kCompleted));
  }
};

enum class Tree { kOverlay, kOwn };

class World {
 public:
  World(const fs::path& work, int files) : state_((work / "state").string()) {
    MakeRepository(work / "repo", files);
    Must(plane::Init(state_), "init");
    plane_ = Must(cli::OpenPlane(state_, clock_), "plane");
    requester_ = cli::MakeLocalRequester(*plane_, "bench");
    server_ = Must(plane::HttpServer::Start(*plane_, clock_, {}), "server");
    cli::RunnerSetup setup;
    setup.dir = state_;
    setup.name = "bench";
    setup.pool = "default";
    setup.plane.url = server_->url();
    setup.plane_key_pem = plane_->public_key_pem();
    setup.slots = 1;
    Must(MakeDirectories(state_ + "/runner", 0711), "runner's folder");
    cli::RunnerSettings settings = Must(cli::MakeRunnerSettings(setup), "settings");
    uids_ = Must(cli::ReserveUids(settings), "uids");
    Must(cli::RegisterBackends(registry_, state_, settings.config,
                               backends::LaunchedOptions::Ahead::kOne),
         "backends");
    auto token = Must(plane_->CreateEnrollToken(plane::Caller::Local("bench"),
                                                std::chrono::seconds(300), "default"),
                      "token");
    auto identity = Must(runner::Enroll(settings.config, Secret(token.token), clock_), "enrolling");
    engine_ = Must(
        runner::Engine::Create(settings.config, std::move(identity), registry_, clock_, &steps_),
        "engine");
    Capture((work / "repo").string());
  }
  ~World() {
    engine_.reset();
    server_->Stop();
  }

  void Run(Tree tree, Times* times) {
    const std::string script =
        "echo changed >> d0/f0.txt && echo one > one.txt && echo two > two.txt";
    json::Object execution{{"kind", "shell"}, {"script", script}};
    if (tree == Tree::kOwn) execution.Set("artifacts", json::Value::Texts({"no-such-file"}));
    json::Object request{
        {"requestedBy", json::Object{{"kind", "service"}, {"id", "bench"}}},
        {"agentKind", "command"},
        {"secretNames", json::Array{}},
        {"network", json::Object{{"defaultDeny", true}, {"allowHosts", json::Array{}}}},
        {"budget", json::Object{}},
        {"disclosure", "minimal-context"},
        {"workspace", manifest_},
        {"pool", "default"},
        {"isolation", "sandbox"},
        {"execution", std::move(execution)},
        {"prompt", "three files"}};
    auto answer = Must(
        requester_->Submit(json::Write(json::Object{{"request", std::move(request)}})), "submit");
    if (answer.kind != plane::Submission::Kind::kAccepted) Die("the run was not accepted");
    auto ran = Must(engine_->RunOnce(std::chrono::milliseconds(5000)), "run");
    engine_->Wait();
    if (!ran || *ran != answer.run_id) Die("another run came");
    if (!steps_.Status().starts_with("completed")) Die("the run ended as " + steps_.Status());
    if (times != nullptr) times->Add(steps_);
  }

  [[noreturn]] static void Die(const std::string& why) {
    std::fprintf(stderr, "bench_session_curve: %s\n", why.c_str());
    std::exit(1);
  }

 private:
  void Capture(const std::string& repository) {
    workspace::CaptureOptions options;
    options.repository = repository;
    options.cache_directory = state_ + "/capture";
    Must(MakeDirectories(options.cache_directory, 0700), "capture cache");
    const workspace::Captured captured = Must(workspace::Capture(options), "capture");
    for (const workspace::CapturedBlob& blob : captured.blobs)
      Must(requester_->PutBlob(
               blob.file.empty() ? blob.content : Must(ReadFile(blob.file, 1u << 30), "bundle"),
               blob.digest.ToHex()),
           "upload");
    manifest_ = captured.manifest.ToJson();
  }

  SystemClock clock_;
  std::string state_;
  json::Value manifest_;
  std::unique_ptr<plane::Plane> plane_;
  std::unique_ptr<cli::Requester> requester_;
  std::unique_ptr<plane::HttpServer> server_;
  backends::BackendRegistry registry_;
  cli::UidReservation uids_;
  StepTimes steps_;
  std::unique_ptr<runner::Engine> engine_;
};

void Print(int files, const char* tree, const Times& t) {
  std::printf("%7d %-8s %9.2f %9.2f   %8.2f %11.2f %8.2f %6.2f %6.2f %9.2f %6.2f\n", files, tree,
              Median(t.to_start), Median(t.collect), Median(t.decide), Median(t.materialize),
              Median(t.prepare), Median(t.start), Median(t.job), Median(t.dismantle),
              Median(t.rest));
  std::fflush(stdout);
}

void Measure(int files, int rounds, int plain_rounds) {
  std::string pattern = (fs::temp_directory_path() / "writ-bench-XXXXXX").string();
  fs::path work = ::mkdtemp(pattern.data());
  fs::permissions(work, fs::perms(0711));
  {
    World world(work, files);
    Times overlay;
    Times own;
    for (int i = 0; i < 3; ++i) world.Run(Tree::kOverlay, nullptr);
    for (int i = 0; i < rounds; ++i) world.Run(Tree::kOverlay, &overlay);
    for (int i = 0; i < plain_rounds; ++i) world.Run(Tree::kOwn, &own);
    Print(files, "overlay", overlay);
    Print(files, "plain", own);
  }
  fs::remove_all(work);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 21;
  const int plain_rounds = argc > 3 ? std::max(1, std::atoi(argv[3])) : 3;
  std::printf(
      "a session, medians of %d (plain: %d), ms\n%7s %-8s %9s %9s   %8s %11s %8s %6s %6s %9s %6s\n",
      rounds, plain_rounds, "files", "tree", "to start", "collect", "decide", "materialize",
      "prepare", "start", "job", "dismantle", "rest");
  std::istringstream sizes(argc > 1 ? argv[1] : "1,2000,20000,100000");
  for (std::string size; std::getline(sizes, size, ',');)
    Measure(std::max(1, std::atoi(size.c_str())), rounds, plain_rounds);
  return 0;
}
