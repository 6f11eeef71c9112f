#include "writ/runner/decide.h"

#include <stdlib.h>
#include <unistd.h>

#include "engine/fitting.h"
#include "session/session_dirs.h"
#include "writ/backends/linux/machine.h"
#include "writ/workspace/checkout_cache.h"
#include "writ/workspace/object_cache.h"

namespace writ::runner {

using protocol::FailureClass;

namespace {

// An overlay on a shared checkout where the backend can mount one, else a tree of the run's own.
void ChooseWorkspace(const DecideInput& input, Decision& decision) {
  if (decision.measured->overlay_workspace == backends::OverlayWorkspace::kNone) {
    const std::string& why = decision.measured->no_overlay_reason;
    decision.why_plain = "the backend mounts no overlays" + (why.empty() ? "" : ": " + why);
  } else {
    const std::string& session = input.places.session;
    decision.overlay = backends::WorkspaceMount{input.places.checkout, session + "/tree",
                                                session + "/work", input.places.kept};
  }
}

}  // namespace

SessionPlaces SessionPlaces::In(const std::string& work_dir, const protocol::Contract& contract) {
  const protocol::Digest& bundle = contract.workspace.bundle_hash;
  SessionPlaces out;
  out.session = work_dir + "/sessions/" + SessionDirs::NameFor(contract.run_id.text());
  out.objects_directory = workspace::ObjectCache::ObjectsDirectoryIn(work_dir + "/cache", bundle);
  const std::string checkouts = work_dir + "/checkouts";
  const workspace::CheckoutKey key{.bundle = bundle,
                                   .base_ref = contract.workspace.base_ref.text(),
                                   .objects_directory = out.objects_directory};
  out.checkout = workspace::CheckoutCache::TreePathIn(checkouts, key);
  out.kept = workspace::CheckoutCache::KeptPathIn(checkouts, key);
  return out;
}

std::optional<RunFailure> Decide(const DecideInput& input, Decision& out) {
  const RunnerConfig& config = input.config;
  auto tier = ResolveTier(input.contract, config);
  if (auto* refused = std::get_if<RunFailure>(&tier)) return *refused;
  PlanFacts facts;
  facts.tier = std::get<protocol::Tier>(tier);
  Result<backends::Backend*> backend = input.registry.Resolve(BackendTier(facts.tier));
  if (!backend) return FailureFrom(backend.error(), FailureClass::kCapabilityMismatch);
  out.backend = *backend;
  out.measured = &out.backend->Probe();
  facts.capabilities = out.measured;
  if (config.uid_range) {
    const uid_t uid = config.uid_range->first + input.slot;
    facts.identity = backends::Identity{.uid = uid, .gid = uid};
  } else {
    facts.identity = backends::Identity{.uid = getuid(), .gid = getgid()};
  }
  if (const AgentProfile* profile = FindProfile(input.contract.NeededAgent()))
    facts.agent = LocateFor(config, *profile);
  for (const std::string& name : config.env_allow) {
    if (const char* value = getenv(name.c_str())) facts.host_env[name] = value;
  }
  facts.plane_addresses = input.plane_addresses;
  facts.machine = input.machine;
  facts.session_dir = input.places.session + "/job";
  facts.workspace_dir = input.places.session + "/tree";
  ChooseWorkspace(input, out);
  facts.overlay = out.overlay;
  auto plan = PlanSession(input.contract, facts, config);
  if (auto* refused = std::get_if<RunFailure>(&plan)) return *refused;
  out.plan = std::move(std::get<SessionPlan>(plan));
  if (config.uid_range) out.plan->job.helper_uid = config.uid_range->first + config.slots;
  if (Status ok = out.backend->Check(out.plan->job); !ok)
    return FailureFrom(ok.error(), FailureClass::kCapabilityMismatch);
  return std::nullopt;
}

std::variant<json::Value, RunFailure> PrintPlan(const protocol::Contract& contract,
                                                const RunnerConfig& config,
                                                backends::BackendRegistry& registry) {
  const SlotCapacity capacity = CapacityFor(config, backends::ProbeMachine());
  const DecideInput input{.contract = contract,
                          .config = config,
                          .registry = registry,
                          .places = SessionPlaces::In(config.work_dir, contract),
                          .machine = EachShare(capacity, config, config.limits)};
  Decision decision;
  if (auto refused = Decide(input, decision)) return *refused;
  json::Object out{{"session", decision.plan->ToJson()}};
  // As materializing adds it.
  decision.plan->job.read_only_trees.push_back(input.places.objects_directory);
  Result<std::string> printed = decision.backend->PrintPlan(decision.plan->job);
  Result<json::Value> launch =
      printed ? json::Parse(*printed) : Result<json::Value>(printed.error());
  if (!launch) return FailureFrom(launch.error(), FailureClass::kCapabilityMismatch);
  const backends::Capabilities& can = *decision.measured;
  json::Object backend{{"name", can.backend}, {"version", can.version}};
  json::Object workspace{{"kind", decision.overlay ? "overlay" : "plain"}};
  if (!decision.overlay) workspace.Set("reason", decision.why_plain);
  out.Set("backend", std::move(backend)).Set("workspace", std::move(workspace));
  out.Set("launch", std::move(*launch));
  return json::Value(std::move(out));
}

}  // namespace writ::runner
