// guest.json: strict reading, and writing without what is empty.
#include "writ/backends/microvm/guest_image.h"
#include "writ/protocol/reader.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kMaxBytes = 1u << 20;
constexpr std::size_t kMaxAgents = 16;
constexpr std::size_t kMaxVariables = 4096;
constexpr std::int64_t kMaxTimeout = 3600;

json::Value ConfigJson(const GuestConfig& config) {
  json::Object out;
  if (!config.env.empty()) {
    json::Object env;
    for (const auto& [name, value] : config.env) env.Set(name, value);
    out.Set("env", std::move(env));
  }
  if (!config.user.empty()) out.Set("user", config.user);
  if (!config.work_dir.empty()) out.Set("workDir", config.work_dir);
  if (!config.start.empty()) out.Set("start", config.start);
  if (!config.health.empty())
    out.Set("healthcheck",
            json::Object{{"command", config.health}, {"timeoutSeconds", config.health_timeout_s}});
  return out;
}

GuestConfig ReadConfig(json::ObjectReader reader) {
  GuestConfig out;
  if (reader.Has("env"))
    reader.ForEachMember(
        "env", [&](const std::string& name, const json::Value& value, const std::string& pointer) {
          const std::string* text = value.if_string();
          if (text == nullptr || out.env.size() >= kMaxVariables)
            return reader.issues().Add("object.type", pointer, "must be a string, of at most 4096");
          out.env.emplace_back(name, *text);
        });
  out.user = reader.OptionalString("user").value_or("");
  out.work_dir = reader.OptionalString("workDir").value_or("");
  out.start = reader.OptionalString("start").value_or("");
  if (auto health = reader.OptionalChild("healthcheck")) {
    out.health = health->String("command");
    out.health_timeout_s = static_cast<unsigned>(health->Integer("timeoutSeconds", 1, kMaxTimeout));
    health->RefuseUnknown();
  }
  reader.RefuseUnknown();
  return out;
}

}  // namespace

json::Value GuestManifest::ToJson() const {
  json::Object out{{"kernel", kernel},
                   {"initramfs", initramfs},
                   {"root", root},
                   {"kernelRelease", kernel_release},
                   {"agent", agent}};
  if (!config.empty()) out.Set("config", ConfigJson(config));
  if (!agents.empty()) {
    json::Array list;
    for (const GuestAgentPart& part : agents)
      list.push_back(json::Object{{"kind", part.kind}, {"version", part.version}});
    out.Set("agents", std::move(list));
  }
  if (provenance) out.Set("provenance", *provenance);
  if (for_steps) out.Set("forSteps", true);
  return out;
}

Result<GuestManifest> ParseGuestManifest(std::string_view bytes) {
  WRIT_ASSIGN(json::Value value, json::Parse(bytes, {.max_depth = 4, .max_bytes = kMaxBytes}));
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  GuestManifest out;
  out.kernel = reader.As<protocol::Digest>("kernel");
  out.initramfs = reader.As<protocol::Digest>("initramfs");
  out.root = reader.As<protocol::Digest>("root");
  out.kernel_release = reader.String("kernelRelease");
  out.agent = reader.String("agent");
  if (auto config = reader.OptionalChild("config")) out.config = ReadConfig(*config);
  if (reader.Has("agents"))
    reader.ForEachObject(
        "agents",
        [&](json::ObjectReader& part) {
          out.agents.push_back({part.String("kind"), part.String("version")});
          part.RefuseUnknown();
        },
        kMaxAgents);
  out.provenance = reader.OptionalAs<protocol::Digest>("provenance");
  out.for_steps = reader.OptionalBool("forSteps").value_or(false);
  reader.RefuseUnknown();
  WRIT_TRY(issues.ToStatus("guest.json"));
  return out;
}

}  // namespace writ::backends::microvm
