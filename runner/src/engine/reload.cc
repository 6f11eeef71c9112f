// A changed configuration for the runs that come: what can be changed while an engine runs, and how
// a run keeps what it began with.
#include "engine/reload.h"

#include <algorithm>

#include "engine/engine_impl.h"
#include "writ/protocol/json.h"

namespace writ::runner {
namespace {

// Members of runner.json that are read when a run begins or before it is claimed. The rest - where
// things are, who the runner is to its plane, slots and uids, what is served, the pace of
// the loops - stands in threads and directories that were made at the start.
struct Reloadable {
  std::string_view member;
  void (*take)(RunnerConfig& to, const RunnerConfig& from);
};

template <auto kMember>
void Take(RunnerConfig& to, const RunnerConfig& from) {
  to.*kMember = from.*kMember;
}

constexpr Reloadable kReloadable[] = {{"hooks", Take<&RunnerConfig::hooks>},
                                      {"isolationWords", Take<&RunnerConfig::isolation_words>},
                                      {"defaultIsolation", Take<&RunnerConfig::default_isolation>},
                                      {"minimumIsolation", Take<&RunnerConfig::minimum_isolation>},
                                      {"envAllow", Take<&RunnerConfig::env_allow>},
                                      {"searchPath", Take<&RunnerConfig::search_path>},
                                      {"agentPaths", Take<&RunnerConfig::agent_paths>},
                                      {"agentVars", Take<&RunnerConfig::agent_vars>},
                                      {"hostOverrides", Take<&RunnerConfig::host_overrides>},
                                      {"addressGrants", Take<&RunnerConfig::address_grants>},
                                      {"allowHosts", Take<&RunnerConfig::allow_hosts>},
                                      {"limits", Take<&RunnerConfig::limits>},
                                      {"grants", Take<&RunnerConfig::grants>},
                                      {"artifacts", Take<&RunnerConfig::artifacts>},
                                      {"cancelGraceMs", Take<&RunnerConfig::cancel_grace>},
                                      {"planeLost", Take<&RunnerConfig::plane_lost>}};

}  // namespace

std::shared_ptr<const RunnerConfig> Engine::Impl::Live() const {
  std::lock_guard lock_state(mutex);
  return live;
}

Result<Merged> MergeReload(const RunnerConfig& before, const RunnerConfig& next) {
  WRIT_ASSIGN(const json::Value from, json::Parse(RunnerConfigJson(before)));
  WRIT_ASSIGN(const json::Value to, json::Parse(RunnerConfigJson(next)));
  Merged out{.config = before, .applied = {}, .kept = {}};
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
  for (const std::string& member : members) {
    if (!differs(member)) continue;
    const auto* found = std::find_if(std::begin(kReloadable), std::end(kReloadable),
                                     [&](const Reloadable& each) { return each.member == member; });
    if (found == std::end(kReloadable)) {
      out.kept.push_back(member);
      continue;
    }
    out.applied.push_back(member);
    found->take(out.config, next);
  }
  return out;
}

Result<Engine::Reloaded> Engine::Reload(const RunnerConfig& next) {
  WRIT_TRY(CheckRunnerConfig(next));
  WRIT_ASSIGN(Merged merged, MergeReload(*impl_->Live(), next));
  Reloaded out{merged.applied, merged.kept};
  impl_->report->Invalidate();  // whatever was mended meanwhile
  for (backends::Backend* backend : impl_->registry->All()) backend->ForgetWaiting();
  if (out.applied.empty()) return out;
  WRIT_TRY(CheckRunnerConfig(merged.config));
  if (merged.config.grants.session.any()) WRIT_TRY(impl_->access.Listen(impl_->state_dir.get()));
  std::lock_guard lock_state(impl_->mutex);
  impl_->live = std::make_shared<const RunnerConfig>(std::move(merged.config));
  return out;
}

}  // namespace writ::runner
