// How a verification is told: one screen of text, or JSON. `writ verify` and `writ-verify` print
// the same.
#include "utf8.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/canonical.h"

namespace writ::protocol {
namespace {

constexpr std::size_t kMostLines = 20;

// A bundle's text on a terminal: controls, C1 controls and direction overrides become "?".
std::string Printable(std::string_view text, std::size_t max_bytes = 200) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = std::max<std::size_t>(1, json::SequenceLength(text, i));
    const std::string_view one = text.substr(i, length);
    i += length;
    const auto lead = static_cast<unsigned char>(one[0]);
    const bool c1 = length == 2 && lead == 0xC2 && static_cast<unsigned char>(one[1]) < 0xA0;
    const bool direction =
        one == "\u200e" || one == "\u200f" || (one >= "\u202a" && one <= "\u202e" && length == 3) ||
        (one >= "\u2066" && one <= "\u2069" && length == 3) || one == "\u2028" || one == "\u2029";
    const bool broken = length == 1 && lead >= 0x80;
    out.append(lead < 0x20 || lead == 0x7F || c1 || direction || broken ? std::string_view("?")
                                                                        : one);
    if (out.size() > max_bytes) return out + "...";
  }
  return out;
}

std::string Text(const json::Value* value) {
  if (value == nullptr) return "-";
  if (const std::string* text = value->if_string()) return Printable(*text);
  return Printable(json::Write(*value));
}

const json::Value* In(const json::Object& facts, std::string_view outer, std::string_view inner) {
  const json::Value* value = facts.Find(outer);
  return value != nullptr ? value->Find(inner) : nullptr;
}

void Row(std::string& out, std::string_view label, std::string_view text) {
  out.append("  ")
      .append(label)
      .append(label.size() < 12 ? 12 - label.size() : 1, ' ')
      .append(text)
      .append("\n");
}

void Section(std::string& out, std::string_view title, const std::vector<Finding>& findings) {
  if (findings.empty()) return;
  out.append(title).append("\n");
  for (std::size_t i = 0; i < findings.size() && i < kMostLines; ++i) {
    const Finding& f = findings[i];
    out.append("  ").append(f.code).append(": ").append(Printable(f.message, 600));
    if (!f.pointer.empty()) out.append(" [").append(Printable(f.pointer)).append("]");
    out.append("\n");
  }
  if (findings.size() > kMostLines)
    out.append("  and " + std::to_string(findings.size() - kMostLines) + " more\n");
}

std::string Actors(const json::Value* actor) {
  if (actor == nullptr) return "nobody named";
  if (const json::Array* list = actor->if_array()) {
    std::string out;
    for (const json::Value& one : *list) out.append(out.empty() ? "" : ", ").append(Actors(&one));
    return out;
  }
  return Text(actor->Find("id")) + " (" + Text(actor->Find("kind")) + ")";
}

std::string Listed(const json::Value* list, std::string_view first, std::string_view second) {
  const json::Array* items = list != nullptr ? list->if_array() : nullptr;
  if (items == nullptr || items->empty()) return "none";
  std::string out;
  for (std::size_t i = 0; i < items->size() && i < 8; ++i) {
    out.append(i == 0 ? "" : ", ").append(Text((*items)[i].Find(first)));
    if (!second.empty()) out.append(" ").append(Text((*items)[i].Find(second)));
  }
  if (items->size() > 8) out.append(" and " + std::to_string(items->size() - 8) + " more");
  return out;
}

// By the first problem: the others mostly follow from it.
std::string MendOf(const VerifyReport& report) {
  if (report.problems.empty()) return "";
  const std::string_view code = report.problems.front().code;
  if (code.starts_with("json.") || code == "bundle.version" || code == "bundle.malformed")
    return "get it again with `writ bundle RUN --out FILE`: this file was cut off, or is of "
           "something else";
  if (code == "pin.required") return "give --plane-key and --runner-key, known from elsewhere";
  if (code.starts_with("pin."))
    return "is that the key that its maker had then? If it is, somebody else made this bundle";
  if (code == "contract.org_signature")
    return "leave --org-key out where the organisation signs no contracts; if it does, this one is "
           "not its own";
  return "do not rely on it: get it again from the plane with `writ bundle RUN --out FILE`; where "
         "that is not verified either, its record was changed";
}

json::Value FindingsToJson(const std::vector<Finding>& findings) {
  json::Array out;
  for (const Finding& f : findings) {
    out.push_back(json::Object{
        {"code", f.code}, {"message", f.message}, {"pointer", f.pointer}, {"further", f.further}});
  }
  return out;
}

}  // namespace

std::string RenderText(const VerifyReport& report, std::string_view name) {
  std::string out;
  out.append(report.ok ? "VERIFIED" : "NOT VERIFIED")
      .append(report.ok ? (report.pinned          ? ", keys pinned"
                           : report.plane_pinned  ? ", plane key pinned, runner key not"
                           : report.runner_pinned ? ", runner key pinned, plane key not"
                                                  : ", keys not pinned")
                        : "")
      .append(report.ok && report.closed_by_plane ? ", lost: closed by the plane" : "");
  out.append(": ").append(Printable(name)).append("\n");
  const json::Object& facts = report.facts;
  if (!facts.empty()) {
    if (!report.ok) out.append("What the bundle claims (none of it is proven):\n");
    Row(out, "run", Text(facts.Find("runId")) + ", " + Text(facts.Find("status")));
    if (facts.Contains("failure"))
      Row(out, "failure",
          Text(In(facts, "failure", "class")) + ": " + Text(In(facts, "failure", "message")));
    if (facts.Contains("closedBy"))
      Row(out, "closed by",
          "the plane, not the runner: " + Text(In(facts, "closedBy", "reason")) + ", last seen " +
              Text(In(facts, "closedBy", "lastSeen")));
    if (facts.Contains("retryOf")) Row(out, "repeats", Text(facts.Find("retryOf")));
    Row(out, "time", Text(facts.Find("startedAt")) + " to " + Text(facts.Find("endedAt")));
    Row(out, "asked by",
        Actors(facts.Find("requestedBy")) +
            (facts.Contains("approvedBy") ? ", approved by " + Actors(facts.Find("approvedBy"))
                                          : ""));
    Row(out, "agent",
        Text(In(facts, "agent", "kind")) + ", disclosure " + Text(facts.Find("disclosure")));
    Row(out, "runner",
        Text(In(facts, "runner", "runnerId")) + " in pool " + Text(In(facts, "runner", "pool")) +
            ", isolation " + Text(In(facts, "runner", "isolation")));
    Row(out, "keys",
        "plane " + Text(facts.Find("planeKeyId")) + ", runner " + Text(facts.Find("runnerKeyId")));
    if (facts.Contains("contractHash")) Row(out, "contract", Text(facts.Find("contractHash")));
    Row(out, "events",
        Text(facts.Find("eventCount")) +
            (facts.Contains("eventsHead") ? ", head " + Text(facts.Find("eventsHead")) : ""));
    Row(out, "workspace",
        "base " + Text(In(facts, "workspaceIn", "baseRef")) + ", " +
            Text(facts.Find("filesChanged")) +
            (Text(facts.Find("filesChanged")) == "1" ? " file changed" : " files changed"));
    Row(out, "secrets", Listed(facts.Find("secretsReleased"), "name", ""));
    Row(out, "network", Listed(facts.Find("networkAccessed"), "host", "decision"));
    Row(out, "models", Listed(facts.Find("modelsUsed"), "provider", "model"));
    if (facts.Contains("costUsd")) Row(out, "cost", Text(facts.Find("costUsd")) + " USD");
  }
  Section(out, "Problems:", report.problems);
  if (const std::string mend = MendOf(report); !mend.empty())
    out.append("hint: ").append(mend).append("\n");
  Section(out, "Warnings:", report.warnings);
  Section(out, "What this does not prove:", report.notes);
  return out;
}

json::Value RenderJson(const VerifyReport& report) {
  json::Object out{{"ok", report.ok}, {"pinned", report.pinned}};
  if (const json::Value* closed = report.facts.Find("closedBy"); closed && report.closed_by_plane)
    out.Set("closedBy", *closed);
  out.Set("problems", FindingsToJson(report.problems))
      .Set("warnings", FindingsToJson(report.warnings))
      .Set("notes", FindingsToJson(report.notes))
      .Set("facts", report.facts);
  if (std::string mend = MendOf(report); !mend.empty()) out.Set("hint", std::move(mend));
  return out;
}

}  // namespace writ::protocol
