// Prepare backend -> hide secrets -> start egress proxy -> deliver secrets -> start -> watch.
#include <algorithm>
#include <charconv>
#include <set>

#include <fcntl.h>
#include <unistd.h>

#include "access/session_door.h"
#include "journal/unnoted.h"
#include "session/live_sender.h"
#include "session/resource_record.h"
#include "session/session.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/protocol/events.h"

namespace writ::runner {

using protocol::FailureClass;

namespace {
// Past its time-out and grace the tree must be dead within this, or the watch is stuck.
constexpr std::chrono::milliseconds kEndAllowance{120'000};
// What the two codes that shells and our launcher share say of the program that was to run.
std::string ExitHint(int code) {
  if (code == 127) return "127 says that a program was not found on the job's PATH";
  if (code == 126) return "126 says that a file was found which cannot be executed";
  return "its output says why: `writ artifacts RUN --log` has it, `writ receipt RUN` the rest";
}

// How every process of the session finds the proxy.
backends::Environment ProxyEnvironment(const Secret& token, std::uint16_t port) {
  backends::Environment env;
  const Secret url = egress::ProxyUrl(token, port);
  for (const char* name :
       {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"})
    env.secrets.push_back({name, url.Clone()});
  for (const char* name : {"NO_PROXY", "no_proxy"}) env.vars.push_back({name, ""});
  return env;
}
}  // namespace

// A process takes milliseconds to come up, and then to take its rules: it does so while workspace
// and isolation are made.
std::optional<RunFailure> Session::SpawnProxy() {
  if (!plan_->proxied) return std::nullopt;
  const RunnerConfig& config = services_.config;
  egress::ProxyStart start;
  start.executable = config.egress_proxy;
  if (config.uid_range) {
    uid_t uid = config.uid_range->first + config.slots;
    start.identity = egress::ProxyIdentity{uid, uid};
  }
  Result<egress::SpawnedProxy> spawned = egress::ProxyProcess::Spawn(start);
  if (!spawned) return FailureFrom(spawned.error(), FailureClass::kSessionFailed);
  egress::ProxyConfig proxy;
  proxy.rules = plan_->rules;
  for (const HostOverride& item : config.host_overrides) {
    egress::ResolverOverride over{item.name, {}};
    for (const std::string& address : item.addresses)
      if (auto parsed = egress::IpAddress::Parse(address)) over.addresses.push_back(*parsed);
    proxy.resolver_overrides.push_back(std::move(over));
  }
  if (!proxy_token_.empty()) {
    proxy.token = proxy_token_.Clone();
    proxy.allowed_uid = config.uid_range ? config.uid_range->first + slot_ : getuid();
  }
  Result<std::unique_ptr<ProxySession>> configured = ProxySession::Configure(
      std::move(*spawned), proxy, *chain_,
      [this](const std::string& why) {
        {
          std::lock_guard lock(cause_mutex_);
          guard_failure_ = RunFailure{FailureClass::kSessionFailed, "egress.proxy_lost",
                                      "the session's egress proxy ended by itself: " + why, ""};
        }
        stop_job_.request_stop();
      },
      [this](std::string host) {  // what could not be normalised comes as it was asked for
        for (char& c : host)
          if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        return host_redactor_->Redact(host);
      });
  if (!configured) return FailureFrom(configured.error(), FailureClass::kSessionFailed);
  proxy_ = std::move(*configured);
  undo_.Push("spawned proxy", [this]() -> Status {
    if (!proxy_->report()) proxy_.reset();  // it was never ready
    return {};
  });
  return std::nullopt;
}

std::optional<RunFailure> Session::PrepareBackend() {
  // The plan's own parts stay for the record; the job's part moves to the backend.
  Result<std::unique_ptr<backends::Job>> job = backend_->Prepare(std::move(plan_->job));
  if (!job)
    return FailureFrom(job.error(), job.error().kind == ErrorKind::kUnsupported
                                        ? FailureClass::kCapabilityMismatch
                                        : FailureClass::kSessionFailed);
  job_ = std::move(*job);
  root_image_ = job_->RootImage();
  machine_start_ = job_->StartOfMachine();
  if (const backends::Capabilities* with = job_->PreparedWith()) measured_ = with;
  undo_.Push("job", [this]() -> Status {
    backends::Dismantled gone = job_->Dismantle();
    for (const backends::Leak& leak : gone.leaks) leaks_.push_back(leak.kind + ": " + leak.what);
    if (!gone.tree_dead_verified)
      leaks_.push_back("process: it could not be verified that the job's tree is dead");
    job_.reset();
    if (gone.errors.empty()) return {};
    return Error{.code = "session.dismantle", .message = gone.errors.front()};
  });
  // A job that could not be found again after a kill is not started (L38).
  if (journal_)
    if (Status noted = journal_->NotePrepared(job_->Leftovers()); !noted)
      return FailureFrom(noted.error(), FailureClass::kSessionFailed);
  return std::nullopt;
}

// Everything that was sent is kept out of logs, delivered or not; the proxy's token too.
std::optional<RunFailure> Session::HideSecrets() {
  // In the process tier the port is the host's: others could reach it without the token.
  if (plan_->proxied && plan_->tier == protocol::Tier::kProcess)
    proxy_token_ = egress::NewSessionToken();
  std::vector<NamedSecret> hidden;
  for (const NamedSecret& secret : claim_.secrets) {
    if (!secret.value.empty())
      if (Status fit = protocol::CheckSecretValue(secret.name, secret.value.Reveal()); !fit)
        return FailureFrom(fit.error(), FailureClass::kSecretReleaseDenied);
    hidden.push_back({secret.name, secret.value.Clone()});
  }
  if (!proxy_token_.empty()) hidden.push_back({"WRIT_PROXY_TOKEN", proxy_token_.Clone()});
  for (auto [redactor, where] :
       {std::pair{&redactor_, RedactIn::kBytes}, {&host_redactor_, RedactIn::kHostNames}}) {
    Result<Redactor> built = Redactor::Build(hidden, where);
    if (!built) return FailureFrom(built.error(), FailureClass::kSecretReleaseDenied);
    *redactor = *built;
  }
  return std::nullopt;
}

std::optional<RunFailure> Session::StartProxy() {
  if (!plan_->proxied) return std::nullopt;
  const bool shared = !proxy_token_.empty();
  if (Status ready = proxy_->AwaitReady(); !ready)
    return FailureFrom(ready.error(), FailureClass::kSessionFailed);
  undo_.Push("egress proxy", [this]() -> Status {
    const egress::ClosingReport& report = proxy_->Stop();
    if (report.status != egress::ClosingReport::Status::kLost) return {};
    return Error{.code = "egress.proxy_lost",
                 .message = "the egress proxy had ended before it was told to"};
  });
  Result<UniqueFd> listener = job_->TakeProxyListener();
  if (!listener) return FailureFrom(listener.error(), FailureClass::kSessionFailed);
  if (Status added =
          proxy_->AddListener(std::move(*listener), shared ? egress::ListenerReach::kShared
                                                           : egress::ListenerReach::kPrivate);
      !added)
    return FailureFrom(added.error(), FailureClass::kSessionFailed);

  const std::string address = job_->ProxyAddress();
  std::uint16_t port = 0;
  std::size_t colon = address.rfind(':');
  if (colon == std::string::npos ||
      std::from_chars(address.data() + colon + 1, address.data() + address.size(), port).ec !=
          std::errc() ||
      port == 0)
    return RunFailure{FailureClass::kSessionFailed, "session.proxy_address",
                      "the backend gave no usable proxy address", ""};
  proxy_port_ = port;
  late_env_ = ProxyEnvironment(proxy_token_, port);
  return std::nullopt;
}

std::optional<RunFailure> Session::DeliverSecrets() {
  auto granted = [&](const std::string& name) {
    return std::any_of(contract_->secrets.begin(), contract_->secrets.end(),
                       [&](const protocol::SecretGrant& g) { return g.name.text() == name; });
  };
  auto value_of = [&](const std::string& name) -> const Secret* {
    for (const NamedSecret& secret : claim_.secrets)
      if (secret.name == name && granted(name)) return &secret.value;
    return nullptr;
  };
  for (const protocol::Event& event : chain_->Events()) {
    if (event.type() != protocol::events::kSecretReleased) continue;
    std::string name(event.event.FindString("name").value_or(""));
    if (value_of(name) == nullptr)
      return RunFailure{FailureClass::kSecretReleaseDenied, "secret.value_missing",
                        "the plane recorded the release of a secret and did not send its value",
                        "see the plane's log"};
  }
  std::vector<std::string> delivered;
  for (const SecretTarget& target : plan_->secret_env) {
    const Secret* value = value_of(target.secret);
    if (value == nullptr) continue;  // not released: left out
    late_env_.secrets.push_back({target.env, value->Clone()});
    if (std::find(delivered.begin(), delivered.end(), target.secret) == delivered.end())
      delivered.push_back(target.secret);
  }
  for (const NamedSecret& secret : claim_.secrets) {
    auto name = protocol::SecretName::Parse(secret.name);
    if (!name) continue;
    if (std::find(delivered.begin(), delivered.end(), secret.name) != delivered.end()) {
      chain_->EmitOurs(protocol::events::SecretDelivered(*name, "environment"));
    } else {
      chain_->EmitOurs(protocol::events::SecretWithheld(
          *name, granted(secret.name) ? "another variable has its name"
                                      : "the contract does not name it"));
    }
  }
  return std::nullopt;
}

std::optional<RunFailure> Session::StartJob() {
  Tell(runner::Step::kPrepared);
  if (plan_->tier == protocol::Tier::kProcess && !services_.config.uid_range)
    exposure_.emplace(services_.checkouts.Expose());
  Status started = job_->Start(std::move(late_env_));
  late_env_ = {};
  claim_.secrets.clear();  // wiped: from here on only the job has them
  if (!started) return FailureFrom(started.error(), FailureClass::kSessionFailed);
  started_ = true;
  if (journal_)
    LogUnnoted(journal_->NoteStarted(MakeEnding().ToJson()), claim_.run_id,
               "that a job runs could not be noted: a receipt made after a kill says less of it");
  chain_->EmitOurs(protocol::events::SessionStarted(backend_->Name(), plan_->tier));
  Tell(runner::Step::kStarted);
  return std::nullopt;
}

// A disk that is full costs the live view, not the run.
std::unique_ptr<LiveSpool> Session::MakeLiveSpool(const std::string& name) const {
  auto file = OpenBeneath(services_.sessions_dir, dirs_->name + "/private/" + name,
                          O_RDWR | O_CREAT | O_TRUNC, 0600);
  return file ? std::make_unique<LiveSpool>(std::move(*file), plan_->log_bytes) : nullptr;
}

std::unique_ptr<SessionDoor> Session::OpenDoor() {
  const RunnerConfig& config = services_.config;
  if (services_.access == nullptr || !config.grants.session.any()) return nullptr;
  DoorParts parts{.run_id = claim_.run_id.text(),
                  .grants = config.grants.session,
                  .copy_limits = {config.limits.copy_bytes, config.limits.copy_files},
                  .disclosure = plan_->disclosure,
                  .job = *job_,
                  .chain = *chain_,
                  .redactor = *redactor_,
                  .terminal = contract_->execution && contract_->execution->terminal,
                  .can_pause = (measured_ != nullptr ? *measured_ : backend_->Probe()).pause,
                  .max_checkpoint_bytes = config.limits.max_blob_bytes,
                  .keep_checkpoint =
                      [this](const std::function<Result<Checkpoint>(int)>& take) {
                        return KeepCheckpoint(take);
                      },
                  .on_stillness =
                      [this](bool paused) {
                        services_.bus.Publish(StillnessSeen{Ref(), paused});
                      },
                  .out = spool_.get(),
                  .err = stderr_spool_.get(),
                  .proxy = {}};
  if (proxy_port_ != 0) parts.proxy = ProxyEnvironment(proxy_token_, proxy_port_);
  return std::make_unique<SessionDoor>(*services_.access, std::move(parts));
}

void Session::Watch() {
  // What may leave this runner while the job runs; its own operator may look where granted.
  const bool logged = plan_->disclosure != protocol::Disclosure::kNone;
  const bool shown = vocabulary_ == Vocabulary::kExtended && logged &&
                     plan_->disclosure != protocol::Disclosure::kMetadataOnly;
  // Also where nobody looks: it is the log of a run whose runner is killed, if it may be told.
  if (logged || services_.config.grants.session.attach) {
    const std::string prefix = logged ? "" : "undisclosed-";
    spool_ = MakeLiveSpool(prefix + std::string(SessionDirs::kSpool));
    if (plan_->job.stderr_to == backends::StderrTo::kOwnStream)
      stderr_spool_ = MakeLiveSpool(prefix + std::string(SessionDirs::kStderrSpool));
  }
  log_ = std::make_unique<LogCapture>(
      *redactor_, plan_->log_bytes, [this](backends::Stream stream, std::string_view piece) {
        services_.bus.Publish(OutputSeen{Ref(), piece});
        LiveSpool* spool = stream == backends::Stream::kStderr ? stderr_spool_.get() : spool_.get();
        if (spool != nullptr) spool->Append(piece);
      });
  std::optional<LiveSender> sender;
  if (vocabulary_ == Vocabulary::kExtended) {
    sender.emplace(
        services_.config, services_.clock, claim_.run_id, *chain_, ticket_,
        shown ? LiveSender::Spools{spool_.get(), stderr_spool_.get()} : LiveSender::Spools{},
        journal_.get(), lease_ ? LiveSender::Cancels::kByLease : LiveSender::Cancels::kAskedHere,
        [this](std::optional<protocol::Actor> actor) {
          // The lease tells who, and at once.
          if (lease_ && !actor) return;
          Halt(std::nullopt,
               actor ? *actor : protocol::Actor{protocol::ActorKind::kService, "plane"});
        });
  }
  beat_.Within(plan_->prepared.timeout + services_.config.cancel_grace * 2 + kEndAllowance,
               "watching the job");
  std::set<std::string> refused_hosts;
  backends::WatchOptions options;
  options.stop = stop_job_.get_token();
  options.kill = kill_job_.get_token();
  options.on_refused_connect = [this, &refused_hosts](const backends::RefusedConnect& refused) {
    // "203.0.113.7:443" is a host for the record; "unix" or "family 40" is a finding.
    std::size_t colon = refused.address.rfind(':');
    if (colon == std::string::npos) {
      chain_->EmitOurs(protocol::events::Finding(
          "network.refused",
          "a connection was refused: " + refused.reason + " (" + refused.address + ")"));
      return;
    }
    std::string host = refused.address.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']')
      host = host.substr(1, host.size() - 2);
    if (proxy_) {
      proxy_->RecordRefused(host);
    } else if (refused_hosts.insert(host).second) {
      chain_->Emit(protocol::events::NetworkConnected(host, protocol::NetworkDecision::kBlocked));
    }
  };
  std::unique_ptr<SessionDoor> door = started_ ? OpenDoor() : nullptr;
  outcome_ = job_->Watch(*log_, options);
  out_log_ = log_->Finish(backends::Stream::kStdout);
  err_log_ = log_->Finish(backends::Stream::kStderr);
  sender.reset();  // sends what the redactor had held back until now
  door.reset();    // who is inside hears of the end; what they did is in the chain before it
  if (proxy_) proxy_->Drain();
  Judge(*outcome_);
  Tell(runner::Step::kEnded);
}

void Session::Judge(const backends::Outcome& outcome) {
  using Kind = backends::Outcome::Kind;
  if (outcome.status) {  // L17: an unobserved status gives no event
    std::optional<int> signal =
        outcome.status->signalled ? std::optional<int>(outcome.status->signal) : std::nullopt;
    chain_->Emit(protocol::events::CommandExecuted(
        plan_->execution_hash, outcome.status->ShellCode(),
        vocabulary_ == Vocabulary::kExtended ? signal : std::nullopt));
  }
  chain_->EmitOurs(ResourceUsed(outcome));
  auto failed = [&](FailureClass failure, std::string code, std::string message,
                    std::string hint = "") {
    Fail(RunFailure{failure, std::move(code), std::move(message), std::move(hint)});
  };
  const std::string why = redactor_->Redact(outcome.reason);
  const WallLimit wall = plan_->timeout_is_budget ? WallLimit::kBudget : WallLimit::kTimeOut;
  if (outcome.limit) return Fail(LimitFailure(*outcome.limit, wall));
  switch (outcome.kind) {
    case Kind::kExited:
      if (outcome.status && outcome.status->ShellCode() != 0)
        failed(FailureClass::kSessionFailed, "job.exit",
               "agent exited with code " + std::to_string(outcome.status->ShellCode()),
               ExitHint(outcome.status->ShellCode()));
      if (!outcome.status)
        failed(FailureClass::kSessionFailed, "job.lost",
               "the agent's exit status was not observed");
      return;
    case Kind::kSignalled:
      return failed(FailureClass::kSessionFailed, "job.signal",
                    "agent was ended by signal " +
                        std::to_string(outcome.status ? outcome.status->signal : 0));
    case Kind::kTimedOut:
      return Fail(LimitFailure({backends::LimitKind::kWall,
                                static_cast<std::uint64_t>(plan_->prepared.timeout.count()),
                                {}},
                               wall));
    case Kind::kCancelled: {
      std::lock_guard lock(cause_mutex_);
      if (guard_failure_) return Fail(*guard_failure_);
      cancelled_ = true;
      return;
    }
    case Kind::kOutputLimit:
      return Fail(LimitFailure(
          {backends::LimitKind::kOutput, services_.config.limits.output.bytes, {}}, wall));
    case Kind::kDenied:
    case Kind::kViolated:
    case Kind::kSetupFailed:
    case Kind::kLost:
      return failed(FailureClass::kSessionFailed,
                    "job." + std::string(backends::OutcomeKindName(outcome.kind)),
                    "agent " + std::string(backends::OutcomeKindName(outcome.kind)) +
                        (why.empty() ? "" : ": " + why));
  }
}

}  // namespace writ::runner
