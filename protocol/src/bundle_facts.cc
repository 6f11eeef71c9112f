// What a verified bundle says, and what it does not prove (L47).
#include "bundle_check.h"
#include "writ/protocol/events.h"

namespace writ::protocol {
namespace {

// Every aspect of the environment that says of itself that it was not enforced or not measured.
void NoteWeakAspects(const json::Value& value, const std::string& pointer,
                     std::vector<Finding>& notes) {
  if (notes.size() >= 40) return;
  if (const std::string* text = value.if_string()) {
    if (*text == "advisory" || *text == "none" || *text == "unavailable" ||
        *text == "not-enforced") {
      notes.push_back(
          {"note.environment", "the runner states \"" + *text + "\" here", pointer, true});
    }
  } else if (const json::Object* object = value.if_object()) {
    for (const json::Member& member : *object)
      NoteWeakAspects(member.value, json::PointerTo(pointer, member.name), notes);
  }
}

void Copy(const json::Value& from, std::string_view name, json::Object& to) {
  if (const json::Value* value = from.Find(name)) to.Set(name, *value);
}

}  // namespace

void BundleCheck::AddNotes(const json::Value& receipt) {
  if (!report_.pinned) {
    Note("note.unpinned",
         report_.plane_pinned
             ? "the runner's key was not given: that it is your runner's is the plane's word alone"
         : report_.runner_pinned
             ? "the plane's key was not given: that the contract is your plane's is not proven"
             : "the keys are the bundle's own: it is whole, but who made it is not proven; pin the "
               "plane's and the runner's key");
  }
  const json::Value* runner = receipt.Find("runner");
  if (runner == nullptr) return;
  if (report_.closed_by_plane) {
    Note("note.closed_by_plane",
         "the runner did not sign: the plane closed the run because it had lost it; what the job "
         "did after the last event that arrived is not known",
         "/receipt/closedBy");
  } else if (runner->FindString("attestationTier") == kAttestationTierMock) {
    Note("note.software_key",
         "the runner's key is a software key: its signature says nothing about the machine",
         "/receipt/runner/attestationTier");
  }
  const json::Value* environment = runner->Find("environment");
  if (environment == nullptr) {
    Note("note.no_environment", "the receipt does not say what enforced the isolation",
         "/receipt/runner");
  } else {
    NoteWeakAspects(*environment, "/receipt/runner/environment", report_.notes);
  }
  Note("note.clock",
       "times are the runner's and the plane's own clocks; no outside party witnessed them");
  if (!has_network_closed_) {
    Note("note.no_network_counters",
         "no closing counters: that there was no other traffic rests on the enforcement alone");
  }
  if (!artifacts_.empty()) {
    Note("note.artifacts_apart",
         "artifacts are named by hash and are not in the bundle: fetch and hash them to check "
         "their content");
  }
}

void BundleCheck::AddFacts(const json::Value& contract, const json::Value& receipt) {
  if (contract.is_null() && receipt.is_null()) return;  // nothing is claimed
  json::Object& facts = report_.facts;
  Copy(receipt, "runId", facts);
  Copy(receipt, "status", facts);
  if (!failure_class_.empty())
    facts.Set("failure", json::Object{{"class", failure_class_}, {"message", failure_message_}});
  Copy(receipt, "startedAt", facts);
  Copy(receipt, "endedAt", facts);
  if (!contract.is_null()) facts.Set("contractHash", contract_hash_);
  if (event_count_ > 0) facts.Set("eventsHead", head_);
  facts.Set("eventCount", event_count_);
  for (const std::string_view name :
       {"agent", "requestedBy", "approvedBy", "policyHash", "disclosure", "expiresAt"})
    Copy(contract, name, facts);
  Copy(receipt, "runner", facts);
  Copy(receipt, "closedBy", facts);
  Copy(contract, "retryOf", facts);
  if (plane_) facts.Set("planeKeyId", plane_->Id());
  if (runner_) facts.Set("runnerKeyId", runner_->Id());
  if (org_) facts.Set("orgKeyId", org_->Id());
  Copy(receipt, "workspaceIn", facts);
  Copy(receipt, "workspaceOut", facts);
  facts.Set("filesChanged", files_changed_);
  for (const std::string_view name :
       {"secretsReleased", "networkAccessed", "modelsUsed", "costUsd"})
    Copy(receipt, name, facts);
}

}  // namespace writ::protocol
