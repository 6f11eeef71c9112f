#include "writ/runner/event_bus.h"

#include "writ/base/log.h"

namespace writ::runner {
namespace {

void LogEvent(const StepReached& event) {
  log::Debug("runner.step", StepName(event.step),
             {{"run", event.run.run_id}, {"ms", event.took.count()}});
}
void LogEvent(const ProgressMade& event) {
  log::Info("runner.progress", PhaseName(event.progress.phase),
            {{"run", event.run.run_id},
             {"bytes", event.progress.bytes},
             {"files", event.progress.files}});
}
void LogEvent(const HookEnded& event) {
  const HookRecord& record = event.record;
  const auto level = record.why.empty() ? log::Level::kInfo : log::Level::kWarn;
  log::Write(level, "runner.hook", record.why.empty() ? "a hook has ended" : record.why,
             {{"hook", HookName(record.hook)},
              {"run", event.run.run_id},
              {"ms", record.took.count()},
              {"veto", record.veto ? 1 : 0}});
}
void LogEvent(const LeaksFound& event) {
  log::Error("runner.leaks", "something of a run's isolation is left",
             {{"run", event.run.run_id}, {"leaks", event.count}});
}
void LogEvent(const DrainBegun&) {
  log::Info("runner.drain", "draining: no new run is claimed");
}
template <typename Other>
void LogEvent(const Other&) {}  // said where it happens, or nothing for a log

}  // namespace

const char* StepName(Step step) {
  switch (step) {
    case Step::kClaimed:
      return "claimed";
    case Step::kVerified:
      return "verified";
    case Step::kPlanned:
      return "planned";
    case Step::kMaterialized:
      return "materialized";
    case Step::kPrepared:
      return "prepared";
    case Step::kStarted:
      return "started";
    case Step::kEnded:
      return "ended";
    case Step::kCollected:
      return "collected";
    case Step::kDismantled:
      return "dismantled";
    case Step::kUploaded:
      return "uploaded";
    case Step::kCompleted:
      return "completed";
    case Step::kWaiting:
      return "waiting";
    case Step::kParked:
      return "parked";
  }
  return "unknown";
}

const char* PhaseName(Progress::Phase phase) {
  switch (phase) {
    case Progress::Phase::kFetch:
      return "fetching";
    case Progress::Phase::kMaterialize:
      return "materializing";
    case Progress::Phase::kUpload:
      return "uploading";
  }
  return "unknown";
}

std::string_view HookName(HookKind kind) {
  switch (kind) {
    case HookKind::kBeforeClaim:
      return "before-claim";
    case HookKind::kBeforeRun:
      return "before-run";
    case HookKind::kAfterRun:
      return "after-run";
    case HookKind::kOnDrain:
      return "on-drain";
  }
  return "unknown";
}

const HookRecord* Gate::veto() const {
  for (const HookRecord& record : records)
    if (record.veto) return &record;
  return nullptr;
}

void SubscribeObserver(EventBus& bus, RunObserver* observer) {
  if (observer == nullptr) return;
  bus.Subscribe([observer](const LifeEvent& event) {
    if (const auto* step = std::get_if<StepReached>(&event)) {
      observer->OnStep(std::string(step->run.run_id), step->step);
    } else if (const auto* output = std::get_if<OutputSeen>(&event)) {
      observer->OnOutput(std::string(output->run.run_id), output->redacted);
    } else if (const auto* progress = std::get_if<ProgressMade>(&event)) {
      observer->OnProgress(std::string(progress->run.run_id), progress->progress);
    } else if (const auto* over = std::get_if<RunOver>(&event)) {
      observer->OnEnd(std::string(over->run.run_id), over->end);
    }
  });
}

void SubscribeLog(EventBus& bus) {
  bus.Subscribe(
      [](const LifeEvent& event) { std::visit([](const auto& what) { LogEvent(what); }, event); });
}

}  // namespace writ::runner
