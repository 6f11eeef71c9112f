// What a receipt says of its run beside the chain, and what it does not prove (L47).
#include <fcntl.h>

#include "session/resource_record.h"
#include "session/session.h"
#include "writ/base/log.h"
#include "writ/protocol/events.h"

namespace writ::runner {

namespace events = protocol::events;

protocol::Receipt MinimalReceipt(const protocol::RunId& run, const json::Value& contract,
                                 std::span<const protocol::Event> chain) {
  protocol::Receipt receipt;
  receipt.run_id = run;
  receipt.contract_hash = protocol::HashWithout(contract, "signatures");
  if (const json::Value* manifest = contract.Find("workspace")) {
    receipt.base_ref = std::string(manifest->FindString("baseRef").value_or(""));
    receipt.manifest_hash = protocol::HashValue(*manifest);
  }
  protocol::EventSummary summary = protocol::Summarize(chain);
  receipt.status = summary.terminal.value_or(protocol::RunStatus::kFailed);
  receipt.secrets_released = std::move(summary.secrets_released);
  receipt.network_accessed = std::move(summary.network_accessed);
  receipt.models_used = std::move(summary.models_used);
  receipt.boundary_disclosures = std::move(summary.boundary_disclosures);
  receipt.artifact_hashes = std::move(summary.artifact_hashes);
  if (!chain.empty()) {
    receipt.started_at = chain.front().ts;
    receipt.ended_at = chain.back().ts;
    receipt.events_head = chain.back().hash;
    receipt.event_count = chain.back().seq + 1;
  }
  return receipt;
}

namespace {

// What the job had, not what the backend could have held (L47).
void SetProfile(const backends::Syscalls& syscalls, json::Object& item) {
  item.Set("profile", backends::SyscallProfileName(syscalls));
  const auto* grant = std::get_if<backends::AllSyscallsGrant>(&syscalls);
  if (grant == nullptr) return;
  item.Set("level", backends::EnforcementName(backends::Enforcement::kNone));
  item.Set("reason", "every system call of the kernel was granted to the job");
  item.Set("grantedBy", grant->granted_by);
}

}  // namespace

json::Value Session::EnvironmentRecord() const {
  json::Object record;
  if (plan_) record.Set("tier", protocol::Word(plan_->tier));
  if (plan_ && plan_->asked_tier != plan_->tier)
    record.Set("askedTier", protocol::Word(plan_->asked_tier));
  if (backend_ != nullptr) {
    const backends::Capabilities& can = measured_ != nullptr ? *measured_ : backend_->Probe();
    record.Set("backend", can.backend).Set("version", can.version);
  }
  if (started_) {  // nothing is held of a job that never ran (L47)
    const backends::Capabilities& can = measured_ != nullptr ? *measured_ : backend_->Probe();
    json::Object enforcement;
    for (backends::Aspect aspect : backends::kAllAspects) {
      const backends::AspectCapability& of = can.Of(aspect);
      json::Object item{{"level", backends::EnforcementName(of.enforcement)}};
      if (aspect == backends::Aspect::kSyscalls && plan_) SetProfile(plan_->syscalls, item);
      const bool granted = item.Contains("grantedBy");
      if (!granted && !of.mechanism.empty()) item.Set("mechanism", of.mechanism);
      if (!granted && !of.reason.empty()) item.Set("reason", of.reason);
      if (aspect == backends::Aspect::kResources && outcome_ && !outcome_->limits.empty())
        item.Set("limits", LimitsRecord(*outcome_));
      enforcement.Set(backends::AspectName(aspect), std::move(item));
    }
    record.Set("enforcement", std::move(enforcement));
    record.Set("notes", json::Value::Texts(can.notes));
  }
  if (!root_image_.empty()) record.Set("image", root_image_);
  if (machine_start_) {
    const bool restored = !machine_start_->snapshot.empty();
    json::Object machine{{"started", machine_start_->pooled ? "pooled"
                                     : restored             ? "restored"
                                                            : "cold"}};
    if (restored)
      machine.Set("snapshot", machine_start_->snapshot)
          .Set("memory", machine_start_->memory == backends::MachineStart::Memory::kServed
                             ? "served"
                             : "copied");
    if (!machine_start_->not_served.empty()) machine.Set("notServed", machine_start_->not_served);
    if (!machine_start_->not_restored.empty())
      machine.Set("notRestored", machine_start_->not_restored);
    record.Set("machine", std::move(machine));
  }
  if (materialized_) {
    json::Object workspace{{"kind", overlay_ ? "overlay" : "plain"}};
    if (overlay_) {
      workspace.Set("checkout", materialized_->checkout_was_cached() ? "shared" : "filled");
    } else {
      workspace.Set("made", "copy").Set("reason", why_plain_);
    }
    record.Set("workspace", std::move(workspace));
  }
  json::Object clock{{"source", "system"}};
  if (auto offset = plane_.clock_offset()) clock.Set("planeOffsetMs", offset->count());
  record.Set("clock", std::move(clock));
  record.Set("key", "software");
  if (plan_)
    record.Set("argvHash", plan_->argv_hash).Set("disclosure", protocol::Word(plan_->disclosure));
  if (plan_ && !plan_->agent_kind.empty()) {
    json::Object agent{{"kind", plan_->agent_kind}};
    if (!plan_->agent_version.empty()) agent.Set("version", plan_->agent_version);
    record.Set("agent", std::move(agent));
  }
  if (plan_hash_) record.Set("planHash", *plan_hash_);
  if (verified_ && contract_->trace)
    record.Set("trace", json::Object{{"traceparent", contract_->trace->traceparent}});
  if (out_log_) {
    record.Set(
        "log",
        json::Object{{"leftOutBytes", out_log_->left_out + (err_log_ ? err_log_->left_out : 0)},
                     {"redactions", out_log_->replaced + (err_log_ ? err_log_->replaced : 0)}});
  }
  if (outcome_) {
    json::Object job{
        {"outcome", backends::OutcomeKindName(outcome_->kind)},
        {"durationMs",
         std::chrono::duration_cast<std::chrono::milliseconds>(outcome_->duration).count()}};
    if (outcome_->usage.cpu_time) {  // unknown is absent, never 0
      job.Set("userMs", outcome_->usage.user_time.count() / 1000)
          .Set("systemMs", outcome_->usage.system_time.count() / 1000)
          .Set("maxResidentBytes", outcome_->usage.max_resident_bytes);
    }
    job.Set("refusedConnections", outcome_->refused_total)
        .Set("proxiedConnections", outcome_->proxied_total);
    if (outcome_->limit) job.Set("limit", LimitName(outcome_->limit->kind));
    record.Set("job", std::move(job));
    json::Value used = ResourceUsed(*outcome_);
    used.object().Erase("type");
    record.Set("used", std::move(used));
  }
  if (proxy_ && proxy_->report()) {
    const egress::ClosingReport& report = *proxy_->report();
    record.Set("egress",
               json::Object{{"counters", egress::ClosingStatusName(report.status)},
                            {"accepted", report.counters.accepted},
                            {"allowed", report.counters.allowed},
                            {"denied", report.counters.denied},
                            {"hostOverrides", json::Value::Texts(report.resolver_overrides)}});
  } else if (plan_ && !plan_->proxied) {
    record.Set("egress", json::Object{{"counters", "no network"}});
  }
  if (failure_) record.Set("failureCode", failure_->code);
  if (failure_ && !failure_->hint.empty()) record.Set("failureMend", failure_->hint);
  return record;
}

}  // namespace writ::runner
