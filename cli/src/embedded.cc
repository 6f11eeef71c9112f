#include "embedded.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "home.h"
#include "own_cgroup.h"
#include "runner_setup.h"
#include "writ/backends/registry.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/plane/http_server.h"
#include "writ/runner/engine.h"
#include "writ/runner/enroll.h"

namespace writ::cli {
namespace {

// Runners of one directory that may work at the same time. A seat is a lock and a range of uids;
// who sits on it has, per pool, an identity and caches of its own, and the next `writ run` takes
// the first free one.
constexpr int kSeats = 16;

struct Seat {
  std::unique_ptr<runner::Engine> engine;
  std::string name;
  UniqueFd lock;
  UidReservation uids;
};

std::string LockOf(int seat) {
  return "seat-" + std::to_string(seat) + ".lock";
}

std::string RunnerOf(int seat, const std::string& pool) {
  return "embedded-" + std::to_string(seat) + "-" + pool;
}

Result<Seat> TakeSeat(const EmbeddedOptions& options, plane::Plane& plane, const std::string& url,
                      backends::BackendRegistry& registry, const Clock& clock) {
  // Job uids pass through this folder on the way to their sessions.
  WRIT_ASSIGN(UniqueFd runners, MakeDirectories(options.dir + "/runner", 0711));
  std::optional<Error> taken;
  for (int seat = 0; seat < kSeats; ++seat) {
    if (options.seat && seat != *options.seat) continue;
    auto lock = LockFile(runners.get(), LockOf(seat));
    if (!lock && lock.error().kind == ErrorKind::kConflict) continue;
    if (!lock) return std::move(lock).error();
    RunnerSetup setup;
    setup.dir = options.dir;
    setup.name = RunnerOf(seat, options.pool);
    setup.pool = options.pool;
    setup.plane.url = url;
    setup.plane_key_pem = plane.public_key_pem();
    setup.seat = static_cast<unsigned>(seat);
    setup.slots = 1;
    setup.allow_access = options.allow_access;
    WRIT_ASSIGN(RunnerSettings settings, MakeRunnerSettings(setup));
    auto uids = ReserveUids(settings);
    if (!uids && uids.error().code == "runner.uids_taken") {
      taken =
          uids.error();  // what this seat's last run left waits for its uids; another has others
      continue;
    }
    if (!uids) return std::move(uids).error();
    if (!uids->moved.empty()) log::Warn("runner.uids_moved", uids->moved);
    runner::RunnerConfig& config = settings.config;
    config.long_poll = std::chrono::milliseconds(1000);
    config.only_run = options.only_run;  // nothing else that may be queued runs here unasked
    config.heartbeat = std::chrono::milliseconds(500);  // loopback: cheap, and Ctrl-C acts at once
    WRIT_ASSIGN(runner::IdentityStore store, runner::IdentityStore::Open(config.state_dir));
    WRIT_ASSIGN(std::optional<runner::Identity> known, store.Load());
    if (!known) {
      WRIT_ASSIGN(plane::IssuedToken token,
                  plane.CreateEnrollToken(plane::Caller::Local(LocalUser()),
                                          std::chrono::seconds(300), config.pool));
      WRIT_ASSIGN(runner::Identity enrolled, runner::Enroll(config, Secret(token.token), clock));
      known = std::move(enrolled);
    }
    auto engine =
        runner::Engine::Create(config, std::move(*known), registry, clock, options.observer);
    if (!engine && engine.error().code == "runner.locked") continue;
    if (!engine) return std::move(engine).error();
    return Seat{std::move(*engine), setup.name, std::move(*lock), std::move(*uids)};
  }
  if (taken) return std::move(*taken);
  return Error{ErrorKind::kOverloaded, "cli.no_seat",
               "all " + std::to_string(kSeats) + " runners of this directory are at work",
               "wait for one to end, or start a runner with more slots"};
}

}  // namespace

// Knows whether the one run was taken here, and passes everything on.
class RunFollower final : public runner::RunObserver {
 public:
  RunFollower(std::string run_id, runner::RunObserver* next)
      : run_id_(std::move(run_id)), next_(next) {}
  void OnStep(const std::string& run_id, runner::Step step) override {
    if (run_id == run_id_) taken_ = true;
    if (next_ != nullptr) next_->OnStep(run_id, step);
  }
  void OnOutput(const std::string& run_id, std::string_view redacted) override {
    if (next_ != nullptr) next_->OnOutput(run_id, redacted);
  }
  void OnProgress(const std::string& run_id, const runner::Progress& progress) override {
    if (next_ != nullptr) next_->OnProgress(run_id, progress);
  }
  void OnEnd(const std::string& run_id, const runner::RunEnd& end) override {
    if (next_ != nullptr) next_->OnEnd(run_id, end);
  }
  bool taken() const { return taken_; }

 private:
  std::string run_id_;
  runner::RunObserver* next_;
  std::atomic<bool> taken_{false};
};

struct Embedded::Impl {
  std::unique_ptr<RunFollower> follower;
  std::unique_ptr<plane::HttpServer> server;
  backends::BackendRegistry registry;
  UniqueFd seat;  // outlives the engine, as the next one does
  UidReservation uids;
  std::unique_ptr<runner::Engine> engine;
  plane::Plane* plane = nullptr;
  std::string only_run;
  std::string name;          // of the runner that works here
  mutable std::mutex mutex;  // guards trouble
  std::optional<Error> trouble;
  std::jthread worker;  // last: ends first

  // Claims until the one run has ended.
  void Work(std::stop_token stop) {
    while (!stop.stop_requested()) {
      auto run = engine->RunOnce(std::chrono::milliseconds(1000), stop);
      if (!run) {
        if (stop.stop_requested()) return;
        std::lock_guard lock(mutex);
        trouble = run.error();
        return;
      }
      auto detail = plane->Run(only_run);
      if (!detail || plane::IsTerminal(detail->summary.status)) return;
      if (*run == only_run) {  // ours is over, and the plane has no receipt of it
        std::lock_guard lock(mutex);
        trouble = Error{ErrorKind::kConflict, "run.parked",
                        "the plane did not take the receipt of run " + only_run,
                        "its signed bundle, unless the disk is full: writ runner receipts export " +
                            only_run + " --name " + name + " --out FILE"};
        return;
      }
    }
  }
};

Embedded::Embedded(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Embedded>> Embedded::Start(const EmbeddedOptions& options,
                                                  plane::Plane& plane, const Clock& clock) {
  auto impl = std::make_unique<Impl>();
  impl->plane = &plane;
  impl->only_run = options.only_run;
  impl->follower = std::make_unique<RunFollower>(options.only_run, options.observer);
  EmbeddedOptions observed = options;
  observed.observer = impl->follower.get();
  WRIT_ASSIGN(impl->server, plane::HttpServer::Start(plane, clock, {}));
  TakeOwnCgroup();
  RunnerSetup backend_setup;
  backend_setup.dir = options.dir;
  WRIT_ASSIGN(const RunnerSettings backend_settings, ReadRunnerSettings(backend_setup));
  WRIT_TRY(RegisterBackends(impl->registry, options.dir, backend_settings.config,
                            backends::LaunchedOptions::Ahead::kNone, options.steps_dir));
  WRIT_ASSIGN(Seat seat, TakeSeat(observed, plane, impl->server->url(), impl->registry, clock));
  impl->seat = std::move(seat.lock);
  impl->uids = std::move(seat.uids);
  impl->engine = std::move(seat.engine);
  impl->name = std::move(seat.name);
  for (const runner::ReadinessProblem& problem : impl->engine->CheckReadiness()) {
    if (!problem.blocks_claims) continue;
    return Error{ErrorKind::kUnsupported, problem.code, problem.message, problem.hint};
  }
  Impl* raw = impl.get();
  impl->worker = std::jthread([raw](std::stop_token stop) { raw->Work(stop); });
  return std::unique_ptr<Embedded>(new Embedded(std::move(impl)));
}

std::optional<int> Embedded::DesertedSeat(const std::string& dir, const std::string& pool,
                                          std::string_view runner_id) {
  const std::string folder = dir + "/runner";
  auto runners = OpenDirectory(folder);
  for (int seat = 0; runners && seat < kSeats; ++seat) {
    const std::string state_dir = folder + "/" + RunnerOf(seat, pool);
    if (::access((state_dir + "/identity").c_str(), F_OK) != 0) continue;
    auto store = runner::IdentityStore::Open(state_dir);
    if (!store) continue;
    auto identity = store->Load();
    if (!identity || !*identity || (*identity)->runner_id.text() != runner_id) continue;
    return LockFile(runners->get(), LockOf(seat)) ? std::optional(seat) : std::nullopt;
  }
  return std::nullopt;
}

Embedded::~Embedded() {
  impl_->worker.request_stop();
  impl_->engine->RequestStop(runner::StopMode::kDrain);
  if (impl_->worker.joinable()) impl_->worker.join();
  impl_->engine->Wait();
  impl_->engine.reset();
  impl_->server->Stop();
}

std::optional<Error> Embedded::Trouble() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->trouble;
}

bool Embedded::HasTakenTheRun() const {
  return impl_->follower->taken();
}

void Embedded::Cancel() {
  impl_->engine->RequestStop(runner::StopMode::kCancelRuns);
}

}  // namespace writ::cli
