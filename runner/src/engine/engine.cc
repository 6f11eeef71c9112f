#include "writ/runner/engine.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "engine/readiness.h"
#include "engine/recovery.h"
#include "plane/backoff.h"
#include "session/session.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"

namespace writ::runner {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPlaneInfoAge{60'000};
constexpr milliseconds kHealthLimit{5'000};

// The plane's addresses, never dialled for a job (L22). A plane behind a proxy may not resolve
// here: then its name's absence from allow-lists is what protects it.
std::vector<egress::ProtectedEndpoint> PlaneAddresses(const HttpEndpoint& endpoint) {
  std::vector<egress::ProtectedEndpoint> out;
  Result<OriginUrl> origin = ParseOriginUrl(endpoint.url);
  if (!origin) return out;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (getaddrinfo(origin->host.c_str(), nullptr, &hints, &list) != 0) return out;
  for (addrinfo* at = list; at != nullptr; at = at->ai_next) {
    char text[INET6_ADDRSTRLEN] = {};
    const void* from =
        at->ai_family == AF_INET
            ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(at->ai_addr)->sin_addr)
            : static_cast<const void*>(&reinterpret_cast<sockaddr_in6*>(at->ai_addr)->sin6_addr);
    if (inet_ntop(at->ai_family, from, text, sizeof text) == nullptr) continue;
    if (auto address = egress::IpAddress::Parse(text)) out.push_back({*address, origin->port});
  }
  freeaddrinfo(list);
  return out;
}

Result<UniqueFd> MakeFolder(const std::string& path, mode_t mode) {
  WRIT_ASSIGN(UniqueFd fd, MakeDirectories(path, mode));
  if (fchmod(fd.get(), mode) != 0)
    return SysError(errno, "runner.work_dir",
                    "could not set the mode of a folder of the work directory");
  return fd;
}

}  // namespace

struct Engine::Impl {
  Impl(RunnerConfig c, Identity i, protocol::PublicKey key)
      : config(std::move(c)), identity(std::move(i)), plane_key(key) {}
  RunnerConfig config;
  Identity identity;
  protocol::PublicKey plane_key;
  UniqueFd state_dir, lock, sessions;
  std::unique_ptr<workspace::ObjectCache> cache;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Cleaner> cleaner;
  std::optional<SessionServices> services;
  backends::BackendRegistry* registry = nullptr;
  const Clock* clock = nullptr;

  std::mutex mutex;  // guards what follows
  std::condition_variable_any freed;
  std::vector<bool> slot_used;
  std::vector<bool> slot_out;  // of service for good
  bool info_known = false;
  PlaneInfo info;
  std::chrono::nanoseconds info_time{0};
  std::string last_problem;  // so that a lasting one is logged once

  std::stop_source drain;   // no new claims
  std::stop_source cancel;  // cancel what runs
  std::vector<std::jthread> threads;

  Vocabulary AskVocabulary(PlaneClient& plane, std::stop_token stop);
  bool Ready();
  Result<unsigned> TakeSlot();
  void FreeSlot(unsigned slot);
  Result<std::optional<std::string>> ClaimAndRun(PlaneClient& plane, unsigned slot,
                                                 milliseconds wait, std::stop_token stop);
  void SlotLoop(unsigned slot);
};

Result<std::unique_ptr<Engine>> Engine::Create(RunnerConfig config, Identity identity,
                                               backends::BackendRegistry& registry,
                                               const Clock& clock, RunObserver* observer) {
  WRIT_TRY(CheckRunnerConfig(config));
  WRIT_ASSIGN(protocol::PublicKey plane_key, protocol::PublicKey::FromPem(config.plane_key_pem));
  auto impl = std::make_unique<Impl>(std::move(config), std::move(identity), plane_key);
  Impl& e = *impl;
  e.registry = &registry;
  e.clock = &clock;
  WRIT_ASSIGN(e.state_dir, MakeDirectories(e.config.state_dir, 0711));
  Result<UniqueFd> lock = LockFile(e.state_dir.get(), "runner.lock");
  if (!lock) {
    if (lock.error().kind != ErrorKind::kConflict) return std::move(lock).error();
    return Error{.kind = ErrorKind::kConflict,
                 .code = "runner.locked",
                 .message = "another runner works in this state directory",
                 .hint = "stop it, or use a directory of its own"};
  }
  e.lock = std::move(*lock);
  // MakeDirectories makes missing parents with the mode given, and jobs enter through all of them.
  WRIT_ASSIGN(UniqueFd work, MakeDirectories(e.config.work_dir, 0711));
  const std::string sessions_path = e.config.work_dir + "/sessions";
  WRIT_ASSIGN(e.sessions, MakeFolder(sessions_path, 0711));
  WRIT_ASSIGN(UniqueFd trash, MakeFolder(e.config.work_dir + "/trash", 0700));
  WRIT_ASSIGN(e.cache, workspace::ObjectCache::Open(e.config.work_dir + "/cache"));
  WRIT_ASSIGN(e.journal, OpenFileJournal(e.config.state_dir));
  WRIT_ASSIGN(UniqueFd sessions_copy, e.sessions.Duplicate());
  e.cleaner = std::make_unique<Cleaner>(std::move(sessions_copy), std::move(trash));
  if (auto plane = PlaneClient::Open(e.config.plane, clock); !plane)
    return std::move(plane).error();
  e.slot_used.assign(e.config.slots, false);
  e.slot_out.assign(e.config.slots, false);
  e.services.emplace(SessionServices{e.config, e.identity, e.plane_key, registry, *e.cache,
                                     *e.journal, *e.cleaner, e.sessions.get(), sessions_path, clock,
                                     observer, PlaneAddresses(e.config.plane)});
  FinishOpenRuns(*e.services);
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() {
  RequestStop(StopMode::kCancelRuns);
  Wait();
}

std::vector<ReadinessProblem> Engine::CheckReadiness() {
  return LookAtReadiness(impl_->config, *impl_->registry, impl_->sessions.get(), Depth::kWhole);
}

bool Engine::Impl::Ready() {
  std::string blocking, message, hint;
  for (const ReadinessProblem& problem :
       LookAtReadiness(config, *registry, sessions.get(), Depth::kBeforeClaim)) {
    if (!problem.blocks_claims) continue;
    blocking = problem.code;
    message = problem.message;
    hint = problem.hint;
    break;
  }
  std::lock_guard lock_state(mutex);
  if (blocking != last_problem) {
    if (blocking.empty()) {
      log::Info("runner.ready", "this runner claims again");
    } else {
      log::Error("runner.not_ready", message, {{"code", blocking}, {"hint", hint}});
    }
    last_problem = blocking;
  }
  return blocking.empty();
}

Vocabulary Engine::Impl::AskVocabulary(PlaneClient& plane, std::stop_token stop) {
  {
    std::lock_guard lock_state(mutex);
    if (info_known && clock->Monotonic() - info_time < kPlaneInfoAge)
      return info.extended ? Vocabulary::kExtended : Vocabulary::kBase;
  }
  Result<PlaneInfo> asked =
      plane.Health(Deadline::After(*clock, std::min(config.call_timeout, kHealthLimit)), stop);
  std::lock_guard lock_state(mutex);
  if (asked) {
    info = *asked;
    info_known = true;
    info_time = clock->Monotonic();
  }
  return info_known && info.extended ? Vocabulary::kExtended : Vocabulary::kBase;
}

Result<unsigned> Engine::Impl::TakeSlot() {
  std::unique_lock lock_state(mutex);
  for (;;) {
    for (unsigned i = 0; i < slot_used.size(); ++i)
      if (!slot_used[i] && !slot_out[i]) {
        slot_used[i] = true;
        return i;
      }
    if (std::find(slot_out.begin(), slot_out.end(), false) == slot_out.end())
      return Error{
          .kind = ErrorKind::kUnavailable,
          .code = "runner.no_slot",
          .message = "every slot of this runner is out of service",
          .hint = "see the log, end what is left of the runs named there, and restart the runner"};
    freed.wait(lock_state);
  }
}

void Engine::Impl::FreeSlot(unsigned slot) {
  std::lock_guard lock_state(mutex);
  slot_used[slot] = false;
  freed.notify_all();
}

Result<std::optional<std::string>> Engine::Impl::ClaimAndRun(PlaneClient& plane, unsigned slot,
                                                             milliseconds wait,
                                                             std::stop_token stop) {
  Vocabulary vocabulary = AskVocabulary(plane, stop);
  std::optional<milliseconds> poll;
  if (vocabulary == Vocabulary::kExtended && wait.count() > 0) poll = wait;
  Deadline deadline = Deadline::After(*clock, config.call_timeout + wait);
  WRIT_ASSIGN(std::optional<ClaimAnswer> claim,
              plane.Claim(identity.token, config.pool, poll, deadline, stop,
                          vocabulary == Vocabulary::kExtended ? config.only_run : ""));
  if (!claim) return std::optional<std::string>();
  std::string run_id = claim->run_id.text();
  log::Info("runner.claimed", "a run was claimed", {{"run", run_id}, {"slot", slot}});
  Session session(*services, plane, std::move(*claim), vocabulary, slot, cancel.get_token());
  RunEnd end = session.Run();
  if (session.leaked()) {
    log::Error("runner.slot_out_of_service",
               "a slot is not used again: something of its last run is left",
               {{"run", run_id}, {"slot", slot}});
    std::lock_guard lock_state(mutex);
    slot_out[slot] = true;
  }
  log::Info("runner.ended", "a run has ended",
            {{"run", run_id}, {"status", end.status}, {"failure", end.failure}});
  return std::optional<std::string>(run_id);
}

void Engine::Impl::SlotLoop(unsigned slot) {
  Backoff backoff(milliseconds(500), milliseconds(30'000));
  std::optional<PlaneClient> plane;
  std::stop_token stop = drain.get_token();
  std::string last_code;
  while (!stop.stop_requested()) {
    if (!Ready()) {
      Backoff::Pause(Backoff::Jittered(config.poll_interval), stop);
      continue;
    }
    if (!plane) {
      Result<PlaneClient> opened = PlaneClient::Open(config.plane, *clock);
      if (!opened) {
        log::Error("runner.plane", "the plane client could not be opened",
                   {{"code", opened.error().code}});
        return;
      }
      plane = std::move(*opened);
    }
    {
      std::lock_guard lock_state(mutex);
      if (slot_out[slot]) return;
      slot_used[slot] = true;
    }
    auto asked_at = clock->Monotonic();
    Result<std::optional<std::string>> ran = ClaimAndRun(*plane, slot, config.long_poll, stop);
    FreeSlot(slot);
    if (!ran) {
      if (ran.error().kind == ErrorKind::kCancelled) continue;
      if (ran.error().code != last_code)
        log::Warn("runner.claim", "the plane could not be asked for work",
                  {{"code", ran.error().code}, {"error", ran.error().ToString()}});
      last_code = ran.error().code;
      Backoff::Pause(backoff.Next() + milliseconds(100), stop);
      continue;
    }
    backoff = Backoff(milliseconds(500), milliseconds(30'000));
    if (!last_code.empty()) log::Info("runner.plane_back", "the plane answers again");
    last_code.clear();
    // A plane that held the call has waited for us; one that answered at once is polled.
    if (!*ran && clock->Monotonic() - asked_at < config.poll_interval)
      Backoff::Pause(Backoff::Jittered(config.poll_interval), stop);
  }
}

Status Engine::Start() {
  for (unsigned slot = 0; slot < impl_->config.slots; ++slot)
    impl_->threads.emplace_back([impl = impl_.get(), slot] { impl->SlotLoop(slot); });
  return {};
}

void Engine::RequestStop(StopMode mode) {
  impl_->drain.request_stop();
  if (mode == StopMode::kCancelRuns) impl_->cancel.request_stop();
}

void Engine::Wait() {
  for (std::jthread& thread : impl_->threads)
    if (thread.joinable()) thread.join();
  impl_->threads.clear();
  impl_->cleaner->WaitIdle();
}

Result<std::optional<std::string>> Engine::RunOnce(milliseconds wait, std::stop_token stop) {
  Impl& e = *impl_;
  Deadline deadline = Deadline::After(*e.clock, wait);
  if (!e.Ready()) {
    for (const ReadinessProblem& problem :
         LookAtReadiness(e.config, *e.registry, e.sessions.get(), Depth::kBeforeClaim))
      if (problem.blocks_claims)
        return Error{.kind = ErrorKind::kUnavailable,
                     .code = problem.code,
                     .message = problem.message,
                     .hint = problem.hint};
  }
  WRIT_ASSIGN(PlaneClient plane, PlaneClient::Open(e.config.plane, *e.clock));
  WRIT_ASSIGN(unsigned slot, e.TakeSlot());
  struct Free {
    Impl& e;
    unsigned slot;
    ~Free() { e.FreeSlot(slot); }
  } free{e, slot};
  for (;;) {
    auto asked_at = e.clock->Monotonic();
    WRIT_ASSIGN(std::optional<std::string> ran,
                e.ClaimAndRun(plane, slot, std::min(e.config.long_poll, deadline.Left()), stop));
    if (ran || deadline.Passed()) return ran;
    if (e.clock->Monotonic() - asked_at < e.config.poll_interval &&
        !Backoff::Pause(std::min(Backoff::Jittered(e.config.poll_interval), deadline.Left()), stop))
      return Error{.kind = ErrorKind::kCancelled,
                   .code = "runner.stopped",
                   .message = "waiting for work was ended on request"};
  }
}

}  // namespace writ::runner
