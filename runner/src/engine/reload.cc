// A changed configuration for the runs that come: what can be changed while an engine runs, and how
// a run keeps what it began with.
#include <algorithm>
#include <array>

#include "engine/engine_impl.h"
#include "writ/protocol/json.h"

namespace writ::runner {
namespace {

// Members of runner.json that are read when a run begins or before it is claimed. The rest - where
// things are, who the runner is to its plane, slots and uids, what is served, the pace of
// the loops - stands in threads and directories that were made at the start.
constexpr std::array<std::string_view, 16> kReloadable = {
    "hooks",         "isolationWords", "defaultIsolation", "minimumIsolation",
    "envAllow",      "searchPath",     "agentPaths",       "agentVars",
    "hostOverrides", "addressGrants",  "allowHosts",       "limits",
    "grants",        "artifacts",      "cancelGraceMs",    "planeLost"};

bool CanReload(std::string_view member) {
  return std::find(kReloadable.begin(), kReloadable.end(), member) != kReloadable.end();
}

}  // namespace

std::shared_ptr<const RunnerConfig> Engine::Impl::Live() const {
  std::lock_guard lock_state(mutex);
  return live;
}

Result<Engine::Reloaded> Engine::Reload(const RunnerConfig& next) {
  WRIT_TRY(CheckRunnerConfig(next));
  const std::shared_ptr<const RunnerConfig> before = impl_->Live();
  WRIT_ASSIGN(json::Value from, json::Parse(RunnerConfigJson(*before)));
  WRIT_ASSIGN(json::Value to, json::Parse(RunnerConfigJson(next)));
  Reloaded out;
  auto differs = [&](const std::string& member) {
    const json::Value* old_value = from.Find(member);
    const json::Value* new_value = to.Find(member);
    return (old_value == nullptr) != (new_value == nullptr) ||
           (old_value != nullptr && !(*old_value == *new_value));
  };
  std::vector<std::string> members;
  for (const json::Value* side : {&from, &to})
    for (const json::Member& member : side->object())
      if (std::find(members.begin(), members.end(), member.name) == members.end())
        members.push_back(member.name);
  json::Object merged = from.object();
  for (const std::string& member : members) {
    if (!differs(member)) continue;
    if (!CanReload(member)) {
      out.kept.push_back(member);
      continue;
    }
    out.applied.push_back(member);
    if (const json::Value* value = to.Find(member))
      merged.Set(member, *value);
    else
      merged.Erase(member);
  }
  impl_->report->Invalidate();  // whatever was mended meanwhile
  if (out.applied.empty()) return out;
  WRIT_ASSIGN(RunnerConfig config, ParseRunnerConfig(json::Write(std::move(merged))));
  config.only_run = before->only_run;  // not in the file
  WRIT_TRY(CheckRunnerConfig(config));
  if (config.grants.session.any()) WRIT_TRY(impl_->access.Listen(impl_->state_dir.get()));
  std::lock_guard lock_state(impl_->mutex);
  impl_->live = std::make_shared<const RunnerConfig>(std::move(config));
  return out;
}

}  // namespace writ::runner
