// What the engine tells: the bus and who listens, its status for those who ask, and the hooks that
// are about no session.
#include "engine/engine_impl.h"
#include "engine/readiness.h"
#include "metrics/state_socket.h"
#include "writ/base/log.h"
#include "writ/runner/hooks.h"

namespace writ::runner {
namespace {

constexpr std::chrono::milliseconds kOfferReserve{3'000};  // of an offer's time, for taking it
constexpr std::chrono::milliseconds kLeastHook{500};

status::StatusAnswer Json(int code, json::Value value) {
  return {.code = code, .type = "application/json", .body = json::Write(std::move(value)) + "\n"};
}

// The parts of a share, by the names that they have in runner.json and in metrics.
struct NamedPart {
  const char* member;
  const char* label;
  std::uint64_t ResourceShare::*value;
};
constexpr NamedPart kParts[] = {{"cpuMillis", "cpu_millis", &ResourceShare::cpu_millis},
                                {"memoryBytes", "memory_bytes", &ResourceShare::memory_bytes},
                                {"diskBytes", "disk_bytes", &ResourceShare::disk_bytes}};

json::Value ShareJson(const ResourceShare& share) {
  json::Object out;
  for (const NamedPart& part : kParts) out.Set(part.member, share.*part.value);
  return out;
}

json::Value WaitingJson(const backends::WaitingMachines& pool) {
  json::Object out{{"wanted", pool.wanted},
                   {"held", pool.waiting},
                   {"memoryBytes", pool.memory_bytes},
                   {"memoryBudgetBytes", pool.memory_budget_bytes},
                   {"maxAgeSeconds", pool.max_age_seconds},
                   {"hits", pool.hits},
                   {"misses", pool.misses},
                   {"discarded", pool.discarded}};
  if (!pool.trouble.empty()) out.Set("trouble", json::ToWellFormedUtf8(pool.trouble));
  return out;
}

json::Value ProblemsJson(const std::vector<ReadinessProblem>& problems) {
  json::Array out;
  for (const ReadinessProblem& problem : problems)
    out.push_back(json::Object{{"code", problem.code},
                               {"message", json::ToWellFormedUtf8(problem.message)},
                               {"hint", json::ToWellFormedUtf8(problem.hint)}});
  return out;
}

}  // namespace

void Engine::Impl::WireBus(RunObserver* observer) {
  SubscribeLog(bus);
  board.ListenTo(bus);
  SubscribeObserver(bus, observer);
  SubscribeHooks(
      bus, [this] { return Live()->hooks; },
      HookHost{identity.runner_id.text(), config.pool, config.launcher});
}

Status Engine::Impl::ServeStatus() {
  std::vector<status::StatusListener> listeners;
  WRIT_ASSIGN(status::StatusListener own, ListenInStateDir(state_dir.get()));
  listeners.push_back(std::move(own));
  if (!config.metrics_listen.empty()) {
    WRIT_ASSIGN(status::StatusListener more, status::ListenForStatus(config.metrics_listen));
    listeners.push_back(std::move(more));
  }
  WRIT_ASSIGN(status_server,
              status::StatusServer::Start(std::move(listeners), [this](std::string_view path) {
                return AnswerStatus(path);
              }));
  return {};
}

status::StatusAnswer Engine::Impl::AnswerStatus(std::string_view path) {
  if (path == "/healthz") {
    if (auto stuck = liveness.Stuck()) return {.code = 503, .body = *stuck + "\n"};
    return {.body = "ok\n"};
  }
  if (path != "/readyz" && path != "/metrics" && path != "/status")
    return {.code = 404, .body = "not here\n"};

  std::vector<ReadinessProblem> blocking =
      LookAtReadiness(*Live(), *registry, sessions.get(), Depth::kBeforeClaim);
  std::erase_if(blocking, [](const ReadinessProblem& problem) { return !problem.blocks_claims; });
  const bool draining = drain.stop_requested();
  const bool ready = blocking.empty() && !draining;
  if (path == "/readyz")
    return Json(ready ? 200 : 503, json::Object{{"ready", ready},
                                                {"draining", draining},
                                                {"problems", ProblemsJson(blocking)}});

  unsigned total = 0, in_use = 0, out = 0;
  std::string problem;
  ResourceShare capacity, reserved;
  {
    std::lock_guard lock_state(mutex);
    LookAtDisk();
    capacity = pool.capacity().total;
    reserved = pool.reserved();
    total = pool.capacity().slots;
    in_use = active;  // a slot that waits for a claim is free
    out = pool.out_of_service();
    problem = trouble ? trouble->code : last_trouble;
  }
  std::uint64_t waiting = 0, parked = 0;
  const Result<std::vector<KeptReceipt>> kept = ListKeptReceipts(config.state_dir);
  if (kept)
    for (const KeptReceipt& receipt : *kept) ++(receipt.parked ? parked : waiting);
  if (path == "/metrics") {
    Metrics& metrics = board.metrics();
    metrics.Set(Family::kSlots, {{"state", "total"}}, total);
    metrics.Set(Family::kSlots, {{"state", "taken"}}, in_use);
    metrics.Set(Family::kSlots, {{"state", "out_of_service"}}, out);
    for (const NamedPart& part : kParts)
      for (auto [state, share] : {std::pair{"total", &capacity}, {"reserved", &reserved}})
        metrics.Set(Family::kMachine, {{"resource", part.label}, {"state", state}},
                    static_cast<double>(share->*part.value));
    if (Result<std::size_t> open = journal->CountOpen())
      metrics.Set(Family::kJournal, {{"state", "open"}}, static_cast<double>(*open));
    if (kept) {
      metrics.Set(Family::kJournal, {{"state", "waiting"}}, static_cast<double>(waiting));
      metrics.Set(Family::kJournal, {{"state", "parked"}}, static_cast<double>(parked));
    }
    for (backends::Backend* backend : registry->All())
      if (auto held = backend->Waiting())
        for (const auto& [state, count] :
             {std::pair<const char*, std::uint64_t>{"wanted", held->wanted},
              {"held", held->waiting},
              {"hit", held->hits},
              {"miss", held->misses},
              {"discarded", held->discarded}})
          metrics.Set(Family::kMachinePool, {{"state", state}}, static_cast<double>(count));
    metrics.Set(Family::kReady, {}, ready ? 1 : 0);
    return {.type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics.Text()};
  }
  json::Object all{
      {"runnerId", identity.runner_id},
      {"pool", config.pool},
      {"plane", config.plane.url},
      {"ready", ready},
      {"draining", draining},
      {"problems", ProblemsJson(blocking)},
      {"slots", json::Object{{"total", total}, {"taken", in_use}, {"outOfService", out}}},
      {"machine", json::Object{{"total", ShareJson(capacity)}, {"reserved", ShareJson(reserved)}}},
      {"runs", board.Runs()}};
  for (backends::Backend* backend : registry->All())
    if (auto waiting_machines = backend->Waiting())
      all.Set("machinePool", WaitingJson(*waiting_machines));
  if (kept) all.Set("receipts", json::Object{{"waiting", waiting}, {"parked", parked}});
  if (!problem.empty()) all.Set("trouble", problem);
  if (auto stuck = liveness.Stuck()) all.Set("stuck", *stuck);
  return Json(200, std::move(all));
}

Gate Engine::Impl::AskBeforeClaim(const ClaimAnswer* offer, unsigned slot) {
  Gate gate;
  if (Live()->hooks.count(HookKind::kBeforeClaim) == 0) return gate;
  HookPoint point;
  point.hook = HookKind::kBeforeClaim;
  point.gate = &gate;
  point.run.slot = slot;
  if (offer != nullptr) {
    point.run.run_id = offer->run_id.text();
    point.facts =
        json::Object{{"contractHash", protocol::HashWithout(offer->contract, "signatures")}};
    if (const json::Value* agent = offer->contract.Find("agent"))
      point.facts.object().Set("agent", json::Value(agent->FindString("kind").value_or("")));
    if (const json::Value* actor = offer->contract.Find("requestedBy"))
      point.facts.object().Set("requestedBy", *actor);
    point.at_most = std::max(kLeastHook, offer->offer.value_or(kOfferReserve) - kOfferReserve);
  }
  bus.Publish(point);
  return gate;
}

// In a thread of its own: a drain asked for by a signal does not wait for a hook, the end does.
void Engine::Impl::OnDrain() {
  if (!serving || !drain.stop_requested()) return;
  std::call_once(drain_told, [this] {
    drain_hook = std::jthread([this] {
      bus.Publish(DrainBegun{});
      Gate gate;
      HookPoint point;
      point.hook = HookKind::kOnDrain;
      point.gate = &gate;
      bus.Publish(point);
    });
  });
}

}  // namespace writ::runner
