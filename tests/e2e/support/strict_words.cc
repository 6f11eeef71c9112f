#include <map>
#include <set>

#include "e2e/support/fake_plane.h"

namespace writ::test {
namespace {

std::optional<std::string> Members(const json::Value& value, const std::set<std::string>& required,
                                   const std::set<std::string>& optional, const std::string& what) {
  const json::Object* object = value.if_object();
  if (object == nullptr) return what + " is not an object";
  for (const json::Member& member : *object)
    if (!required.contains(member.name) && !optional.contains(member.name))
      return what + " has the unknown member " + member.name;
  for (const std::string& name : required)
    if (!object->Contains(name)) return what + " lacks " + name;
  return std::nullopt;
}

}  // namespace

std::optional<std::string> StrictEventProblem(const json::Value& event) {
  static const std::map<std::string, std::pair<std::set<std::string>, std::set<std::string>>>
      kTypes = {
          {"workspace.materialized", {{"manifestHash"}, {}}},
          {"command.executed", {{"argvHash", "exitCode"}, {}}},
          {"file.changed", {{"path", "contentHash"}, {"pathB64"}}},
          {"network.connected", {{"host", "decision"}, {}}},
          {"model.called", {{"provider", "model"}, {}}},
          {"boundary.crossed", {{"direction", "contentHash", "dataClass"}, {}}},
          {"artifact.created", {{"kind", "hash"}, {}}},
          {"checkpoint.created", {{"checkpointId", "tier"}, {}}},
          {"run.completed", {{}, {}}},
          {"run.failed", {{"failure", "message"}, {}}},
          {"run.cancelled", {{"actor"}, {}}},
      };
  std::string type(event.FindString("type").value_or(""));
  auto known = kTypes.find(type);
  if (known == kTypes.end()) return "unknown event type " + type;
  std::set<std::string> required = known->second.first;
  required.insert("type");
  return Members(event, required, known->second.second, type);
}

std::optional<std::string> StrictReceiptProblem(const json::Value& receipt) {
  if (auto wrong =
          Members(receipt,
                  {"version", "runId", "contractHash", "runner", "startedAt", "endedAt", "status",
                   "eventsHead", "eventCount", "workspaceIn", "workspaceOut", "secretsReleased",
                   "networkAccessed", "modelsUsed", "boundaryDisclosures", "signatures"},
                  {"costUsd"}, "receipt"))
    return wrong;
  if (auto wrong =
          Members(*receipt.Find("runner"), {"runnerId", "keyId", "pool", "attestationTier"},
                  {"isolation"}, "receipt.runner"))
    return wrong;
  if (auto wrong = Members(*receipt.Find("workspaceIn"), {"baseRef", "manifestHash"}, {},
                           "receipt.workspaceIn"))
    return wrong;
  return Members(*receipt.Find("workspaceOut"), {"diffHash", "artifactHashes"}, {},
                 "receipt.workspaceOut");
}

}  // namespace writ::test
