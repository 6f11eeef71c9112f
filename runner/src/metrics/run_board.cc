#include "metrics/run_board.h"

#include <algorithm>
#include <vector>

namespace writ::runner {
namespace {

const char* Word(OfferFateWord fate) {
  static constexpr const char* kWords[] = {"offered", "taken", "declined", "gone", "in_doubt"};
  return kWords[static_cast<int>(fate)];
}
const char* Word(LeaseWord state) {
  static constexpr const char* kWords[] = {"held",      "silent",  "ended",
                                           "forgotten", "revoked", "let_go"};
  return kWords[static_cast<int>(state)];
}
const char* Word(UploadWord how) {
  static constexpr const char* kWords[] = {"sent", "known", "failed"};
  return kWords[static_cast<int>(how)];
}

std::int64_t Millis(std::chrono::nanoseconds span) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(span).count();
}

}  // namespace

RunBoard::RunBoard(const Clock& clock) : clock_(clock) {
  metrics_.Set(Family::kActive, {}, 0);
  metrics_.Set(Family::kLeases, {}, 0);
  metrics_.Set(Family::kDraining, {}, 0);
  metrics_.Add(Family::kLeaks, {}, 0);
  metrics_.Add(Family::kUploadBytes, {}, 0);
}

void RunBoard::ListenTo(EventBus& bus) {
  bus.Subscribe([this](const LifeEvent& event) {
    std::visit([this](const auto& what) { On(what); }, event);
  });
}

bool RunBoard::draining() const {
  std::lock_guard lock(mutex_);
  return draining_;
}

json::Value RunBoard::Runs() const {
  std::lock_guard lock(mutex_);
  std::vector<std::pair<std::string, Entry>> sorted(runs_.begin(), runs_.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.begun < b.second.begun; });
  const auto now = clock_.Monotonic();
  json::Array out;
  for (const auto& [run_id, entry] : sorted) {
    json::Object run{{"runId", run_id},
                     {"slot", entry.slot},
                     {"step", StepName(entry.step)},
                     {"stepMs", Millis(now - entry.step_at)},
                     {"runMs", Millis(now - entry.begun)}};
    if (!entry.lease.empty()) run.Set("lease", entry.lease);
    if (entry.paused_at) run.Set("pausedMs", Millis(now - *entry.paused_at));
    out.push_back(std::move(run));
  }
  return out;
}

void RunBoard::ShowGauges() {
  metrics_.Set(Family::kActive, {}, static_cast<double>(runs_.size()));
  const auto held = std::count_if(runs_.begin(), runs_.end(),
                                  [](const auto& run) { return run.second.lease == "held"; });
  metrics_.Set(Family::kLeases, {}, static_cast<double>(held));
}

void RunBoard::On(const StepReached& event) {
  metrics_.Observe(Family::kStepSeconds, {{"step", StepName(event.step)}}, event.took);
  if (event.queued) metrics_.Observe(Family::kQueueSeconds, {}, *event.queued);
  const auto now = clock_.Monotonic();
  std::lock_guard lock(mutex_);
  auto [at, fresh] = runs_.try_emplace(std::string(event.run.run_id));
  if (fresh) at->second.begun = now;
  at->second.slot = event.run.slot;
  at->second.step = event.step;
  at->second.step_at = now;
  at->second.paused_at.reset();  // whatever comes next is no pause
  ShowGauges();
}

void RunBoard::On(const RunOver& event) {
  metrics_.Add(Family::kRuns, {{"status", event.end.status}, {"failure", event.end.failure}});
  metrics_.Observe(Family::kRunSeconds, {{"status", event.end.status}}, event.took);
  std::lock_guard lock(mutex_);
  if (auto at = runs_.find(event.run.run_id); at != runs_.end()) runs_.erase(at);
  ShowGauges();
}

void RunBoard::On(const OfferSeen& event) {
  metrics_.Add(Family::kOffers, {{"fate", Word(event.fate)}});
}

void RunBoard::On(const LeaseSeen& event) {
  metrics_.Add(Family::kLeaseEvents, {{"event", Word(event.state)}});
  std::lock_guard lock(mutex_);
  auto at = runs_.find(event.run.run_id);
  if (at == runs_.end() && event.state == LeaseWord::kHeld) {
    at = runs_.try_emplace(std::string(event.run.run_id)).first;
    at->second.begun = at->second.step_at = clock_.Monotonic();
    at->second.slot = event.run.slot;
  }
  if (at != runs_.end()) at->second.lease = Word(event.state);
  ShowGauges();
}

void RunBoard::On(const ProxyDecided& event) {
  metrics_.Add(Family::kProxyDecisions, {{"decision", "allowed"}}, event.allowed);
  metrics_.Add(Family::kProxyDecisions, {{"decision", "denied"}}, event.denied);
}

void RunBoard::On(const BlobUploaded& event) {
  metrics_.Add(Family::kUploads, {{"result", Word(event.how)}});
  if (event.how == UploadWord::kSent) metrics_.Add(Family::kUploadBytes, {}, event.bytes);
}

void RunBoard::On(const LeaksFound& event) {
  metrics_.Add(Family::kLeaks, {}, event.count);
}

void RunBoard::On(const StillnessSeen& event) {
  std::lock_guard lock(mutex_);
  auto at = runs_.find(event.run.run_id);
  if (at == runs_.end()) return;
  at->second.paused_at.reset();
  if (event.paused) at->second.paused_at = clock_.Monotonic();
}

void RunBoard::On(const DrainBegun&) {
  metrics_.Set(Family::kDraining, {}, 1);
  std::lock_guard lock(mutex_);
  draining_ = true;
}

void RunBoard::On(const HookEnded& event) {
  const HookRecord& record = event.record;
  const char* result = record.veto ? "veto" : record.why.empty() ? "ok" : "failed";
  metrics_.Add(Family::kHooks, {{"hook", HookName(record.hook)}, {"result", result}});
  metrics_.Observe(Family::kHookSeconds, {{"hook", HookName(record.hook)}}, record.took);
}

}  // namespace writ::runner
