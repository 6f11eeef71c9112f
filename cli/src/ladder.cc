#include "ladder.h"

#include <algorithm>

#include "context.h"

namespace writ::cli {
namespace {

using backends::AspectCapability;
using backends::Capabilities;

constexpr backends::Tier kTiers[] = {backends::Tier::kProcess, backends::Tier::kSandbox,
                                     backends::Tier::kContainer, backends::Tier::kMicrovm};
constexpr char kNoBackend[] = "this build has no backend for it";

std::string Cell(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

std::string Line(std::string_view name, const std::string& text) {
  return "    " + Cell(std::string(name), 10) + " " + TerminalSafe(text) + "\n";
}

std::string_view OverlayWord(backends::OverlayWorkspace overlay) {
  switch (overlay) {
    case backends::OverlayWorkspace::kNone:
      return "no";
    case backends::OverlayWorkspace::kTrustedXattr:
      return "trusted.overlay";
    case backends::OverlayWorkspace::kUserXattr:
      return "user.overlay";
  }
  return "";
}

void RenderUsable(const Capabilities& can, std::string& out) {
  for (const backends::Aspect aspect : backends::kAllAspects) {
    const AspectCapability& held = can.Of(aspect);
    out += Line(
        backends::AspectName(aspect),
        Cell(std::string(backends::EnforcementName(held.enforcement)), 8) + " " + held.mechanism);
    if (!held.reason.empty()) out += Line("", "         but: " + held.reason);
    if (!held.mend.empty()) out += Line("", "         mend: " + held.mend);
  }
  std::string limits;
  for (const backends::LimitCapability& limit : can.limits)
    limits += (limits.empty() ? "" : ", ") + std::string(backends::LimitName(limit.kind)) + " " +
              std::string(backends::LimitHolderName(limit.holder)) +
              (limit.whole_job ? "" : " (not for a contract: " + limit.note + ")");
  if (!limits.empty()) out += Line("limits", limits);
  for (const std::string& note : can.notes) out += Line("note", note);
}

json::Value BackendJson(const Capabilities& can) {
  json::Object out{{"backend", json::ToWellFormedUtf8(can.backend)}, {"usable", can.usable}};
  if (!can.version.empty()) out.Set("version", json::ToWellFormedUtf8(can.version));
  if (!can.usable) {
    out.Set("reason", json::ToWellFormedUtf8(can.unusable_reason));
    if (!can.unusable_mend.empty()) out.Set("mend", json::ToWellFormedUtf8(can.unusable_mend));
  }
  json::Object aspects;
  for (const backends::Aspect aspect : backends::kAllAspects) {
    const AspectCapability& held = can.Of(aspect);
    json::Object item{{"level", backends::EnforcementName(held.enforcement)}};
    if (!held.mechanism.empty()) item.Set("mechanism", json::ToWellFormedUtf8(held.mechanism));
    if (!held.reason.empty()) item.Set("reason", json::ToWellFormedUtf8(held.reason));
    if (!held.mend.empty()) item.Set("mend", json::ToWellFormedUtf8(held.mend));
    aspects.Set(backends::AspectName(aspect), std::move(item));
  }
  out.Set("enforcement", std::move(aspects));
  json::Object limits;
  for (const backends::LimitCapability& limit : can.limits) {
    json::Object item{{"holder", backends::LimitHolderName(limit.holder)},
                      {"contract", limit.whole_job}};
    if (!limit.note.empty()) item.Set("note", json::ToWellFormedUtf8(limit.note));
    limits.Set(backends::LimitName(limit.kind), std::move(item));
  }
  out.Set("limits", std::move(limits));
  out.Set("overlay", OverlayWord(can.overlay_workspace));
  out.Set("pty", can.pty);
  out.Set("pause", can.pause);
  json::Array notes;
  for (const std::string& note : can.notes) notes.push_back(json::ToWellFormedUtf8(note));
  out.Set("notes", std::move(notes));
  return out;
}

}  // namespace

bool Rung::usable() const {
  return std::any_of(backends.begin(), backends.end(),
                     [](const Capabilities& can) { return can.usable; });
}

std::vector<Rung> LookAtLadder(const backends::BackendRegistry& registry,
                               const runner::RunnerConfig& config) {
  std::vector<Rung> out;
  bool reached = false;
  for (const backends::Tier tier : kTiers) {
    const std::string_view name = backends::TierName(tier);
    reached = reached || name == config.minimum_isolation;
    Rung rung{.tier = tier,
              .backends = {},
              .is_default = name == config.default_isolation,
              .below_minimum = !reached};
    for (backends::Backend* backend : registry.OfTier(tier))
      rung.backends.push_back(backend->Probe());
    out.push_back(std::move(rung));
  }
  return out;
}

std::string RenderLadder(const std::vector<Rung>& ladder) {
  std::string out = "isolation ladder\n";
  for (const Rung& rung : ladder) {
    std::string head = "  " + Cell(std::string(backends::TierName(rung.tier)), 10) +
                       (rung.usable() ? "yes" : "no");
    if (rung.is_default) head += ", the default";
    if (rung.below_minimum) head += ", below this runner's minimum: contracts for it are raised";
    out += head + "\n";
    if (rung.backends.empty()) out += Line("cause", kNoBackend);
    for (const Capabilities& can : rung.backends) {
      if (can.usable) {
        out += Line("backend", can.backend + ", " + can.version);
        RenderUsable(can, out);
        continue;
      }
      out += Line("cause", can.backend + ": " + can.unusable_reason);
      if (!can.unusable_mend.empty()) out += Line("mend", can.unusable_mend);
    }
  }
  return out;
}

json::Value LadderJson(const std::vector<Rung>& ladder) {
  json::Array out;
  for (const Rung& rung : ladder) {
    json::Array backends;
    for (const Capabilities& can : rung.backends) backends.push_back(BackendJson(can));
    json::Object item{{"tier", backends::TierName(rung.tier)},
                      {"usable", rung.usable()},
                      {"default", rung.is_default},
                      {"belowMinimum", rung.below_minimum}};
    if (rung.backends.empty()) item.Set("reason", kNoBackend);
    item.Set("backends", std::move(backends));
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace writ::cli
