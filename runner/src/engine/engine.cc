// Making, stopping and asking an engine; what it does all day is in claim_loop.cc.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>

#include "engine/engine_impl.h"
#include "engine/readiness.h"
#include "engine/recovery.h"
#include "plan/private_places.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/runner/own_modes.h"

namespace writ::runner {
namespace {

using std::chrono::milliseconds;

// How long a start waits for receipts of earlier runs to go out, and a drain for the last ones.
constexpr milliseconds kFirstTurn{5'000};
constexpr milliseconds kLastTurn{10'000};

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

Result<std::unique_ptr<Engine>> Engine::Create(RunnerConfig config, Identity identity,
                                               backends::BackendRegistry& registry,
                                               const Clock& clock, RunObserver* observer) {
  WRIT_TRY(CheckRunnerConfig(config));
  WRIT_TRY(CheckOutOfView(config));
  if (!config.uid_range) {
    for (const std::string& path : MendOwnModes(config))
      log::Warn("runner.mode_mended", "a mode that was taken away from the runner was set back",
                {{"path", path}});
  }
  WRIT_ASSIGN(protocol::PublicKey plane_key, protocol::PublicKey::FromPem(config.plane_key_pem));
  auto impl = std::make_unique<Impl>(std::move(config), std::move(identity), plane_key, clock);
  Impl& e = *impl;
  e.registry = &registry;
  e.report = std::make_unique<CapabilityReport>(registry, clock);
  e.ended = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!e.ended) return SysError(errno, "runner.start", "could not make an eventfd");
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
  WRIT_ASSIGN(e.checkouts,
              workspace::CheckoutCache::Open(e.config.work_dir + "/checkouts",
                                             {.max_bytes = e.config.checkouts.max_bytes,
                                              .max_entries = e.config.checkouts.max_entries}));
  WRIT_ASSIGN(e.journal, OpenJournal(e.config.state_dir, clock));
  e.journal->UseKeys({plane_key.ToPem(), e.identity.key.Public().ToPem()});
  WRIT_ASSIGN(UniqueFd sessions_copy, e.sessions.Duplicate());
  e.cleaner = std::make_unique<Cleaner>(std::move(sessions_copy), std::move(trash));
  if (auto plane = PlaneClient::Open(e.config.plane, clock); !plane)
    return std::move(plane).error();
  e.services.emplace(SessionServices{
      e.config, e.identity, e.plane_key, registry, *e.cache, *e.checkouts, *e.journal, *e.cleaner,
      e.sessions.get(), sessions_path, clock, e.bus, PlaneAddresses(e.config.plane), e.liveness});
  e.WireBus(observer);
  e.services->on_rotation = [engine = &e] {
    std::lock_guard lock_state(engine->mutex);
    engine->rotation_wanted = true;
  };
  // The plane may have made a change of key whose answer never came: asked again before any claim,
  // as receipts signed with the old key would be refused.
  WRIT_ASSIGN(IdentityStore identities, IdentityStore::Open(e.config.state_dir));
  e.rotation_wanted = identities.HasNextKey();
  e.services->on_revoked = [engine = &e] { engine->OnRevoked(); };
  e.services->leave = e.leave.get_token();
  for (const unsigned slot : CloseOpenRuns(*e.services)) WRIT_TRY(e.pool.TakeOut(slot));
  e.courier = std::make_unique<Courier>(*e.services);
  e.services->courier = e.courier.get();
  e.services->access = &e.access;
  if (e.config.grants.session.any()) WRIT_TRY(e.access.Listen(e.state_dir.get()));
  e.courier->WaitTurn(std::min(e.config.call_timeout, kFirstTurn));
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() {
  RequestStop(StopMode::kCancelRuns);
  Wait();
}

std::vector<ReadinessProblem> Engine::CheckReadiness() {
  return LookAtReadiness(*impl_->Live(), *impl_->registry, impl_->sessions.get(), Depth::kWhole);
}

Status Engine::Start(ServeOptions options) {
  Impl& e = *impl_;
  {
    std::lock_guard lock_state(e.mutex);
    e.serve = options;
    e.loops = e.config.slots;
    e.idle_since = e.clock->Monotonic();
  }
  WRIT_TRY(e.ServeStatus());
  e.serving = true;
  for (unsigned loop = 0; loop < e.config.slots; ++loop)
    e.threads.emplace_back([engine = &e, loop] { engine->SlotLoop(loop); });
  return {};
}

void Engine::RequestStop(StopMode mode) {
  impl_->drain.request_stop();
  if (mode == StopMode::kCancelRuns) {
    impl_->cancel.request_stop();
    std::call_once(impl_->leaving, [e = impl_.get()] {
      e->leaver = std::jthread([e](std::stop_token stop) {
        if (Backoff::Pause(std::min(e->config.call_timeout, Impl::kLastMoment), stop))
          e->leave.request_stop();
      });
    });
  }
  impl_->OnDrain();
}

void Engine::Wait() {
  for (std::jthread& thread : impl_->threads)
    if (thread.joinable()) thread.join();
  impl_->threads.clear();
  impl_->OnDrain();
  if (impl_->drain_hook.joinable()) impl_->drain_hook.join();
  impl_->courier->WaitTurn(std::min(impl_->config.call_timeout, kLastTurn));
  impl_->cleaner->WaitIdle();
  impl_->status_server.reset();
}

int Engine::ended_fd() const {
  return impl_->ended.get();
}

std::optional<Error> Engine::Trouble() const {
  std::lock_guard lock_state(impl_->mutex);
  return impl_->trouble;
}

std::optional<std::string> Engine::Stuck() const {
  return impl_->liveness.Stuck();
}

unsigned Engine::ActiveRuns() const {
  std::lock_guard lock_state(impl_->mutex);
  return impl_->active;
}

Result<std::optional<std::string>> Engine::RunOnce(milliseconds wait, std::stop_token stop) {
  Impl& e = *impl_;
  Deadline deadline = Deadline::After(*e.clock, wait);
  if (!e.Ready()) {
    for (const ReadinessProblem& problem :
         LookAtReadiness(*e.Live(), *e.registry, e.sessions.get(), Depth::kBeforeClaim))
      if (problem.blocks_claims)
        return Error{.kind = ErrorKind::kUnavailable,
                     .code = problem.code,
                     .message = problem.message,
                     .hint = problem.hint};
  }
  WRIT_ASSIGN(PlaneClient plane, PlaneClient::Open(e.config.plane, *e.clock));
  std::optional<PendingOffer> doubt;
  Backoff backoff;
  Deadline trouble = Deadline::After(*e.clock, e.config.call_timeout);
  for (;;) {
    auto asked_at = e.clock->Monotonic();
    WRIT_ASSIGN(unsigned slot, e.ReserveSlot(stop));
    Teardown teardown = Teardown::kVerified;
    Result<Impl::Turn> turn =
        e.TakeTurn(plane,
                   Impl::Order{.slot = slot,
                               .wait = std::min(e.config.long_poll, deadline.Left()),
                               .doubt = std::exchange(doubt, std::nullopt)},
                   teardown, stop);
    e.EndTurn(slot, teardown);
    if (!turn) {
      // A plane in trouble for a moment, where somebody waits for a run.
      if (turn.error().kind == ErrorKind::kUnavailable && wait.count() > 0 && !trouble.Passed() &&
          Backoff::Pause(std::min(backoff.Next(), trouble.Left()), stop))
        continue;
      return std::move(turn).error();
    }
    trouble = Deadline::After(*e.clock, e.config.call_timeout);
    if (turn->run_id || deadline.Passed()) {
      e.RotateIfIdle(plane);
      return turn->run_id;
    }
    doubt = std::move(turn->doubt);
    if (e.clock->Monotonic() - asked_at < e.config.poll_interval &&
        !Backoff::Pause(std::min(Backoff::Jittered(e.config.poll_interval), deadline.Left()), stop))
      return Error{.kind = ErrorKind::kCancelled,
                   .code = "runner.stopped",
                   .message = "waiting for work was ended on request"};
  }
}

}  // namespace writ::runner
