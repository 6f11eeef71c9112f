#include "receipt_view.h"

#include <algorithm>
#include <map>
#include <span>
#include <vector>

#include "context.h"
#include "disclosure_report.h"
#include "duration.h"
#include "home.h"
#include "json_view.h"
#include "writ/base/clock.h"
#include "writ/base/error_text.h"

namespace writ::cli {
namespace {

using json::Array;
using json::Object;
using json::Value;

std::string Short(const std::string& hash) {
  return hash.size() == 64 ? hash.substr(0, 16) : hash;
}

std::string ActorText(const Value& actor) {
  return Text(At(actor, {"kind"})) + " " + Text(At(actor, {"id"}));
}

// All event objects of one type.
std::vector<const Value*> EventsOfType(const Value& bundle, std::string_view type) {
  std::vector<const Value*> out;
  for (const Value& event : Items(At(bundle, {"events"}))) {
    const Value& inner = At(event, {"event"});
    if (inner.FindString("type") == type) out.push_back(&inner);
  }
  return out;
}

std::string JoinLimited(const std::vector<std::string>& items, std::size_t limit) {
  std::string out;
  for (std::size_t i = 0; i < items.size() && i < limit; ++i)
    out += (i == 0 ? "" : ", ") + items[i];
  if (items.size() > limit) out += " and " + std::to_string(items.size() - limit) + " more";
  return out.empty() ? "none" : out;
}

class Screen {
 public:
  void Head(std::string_view title) { text_ += "\n" + std::string(title) + "\n"; }
  void Row(std::string_view name, const std::string& value) {
    if (value.empty()) return;
    std::string label(name);
    label.resize(std::max<std::size_t>(label.size() + 1, 14), ' ');
    text_ += "  " + label + TerminalSafe(value) + "\n";
  }
  void Line(const std::string& line) { text_ += line + "\n"; }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string Duration(const Value& receipt) {
  auto start = ParseRfc3339(Text(At(receipt, {"startedAt"})));
  auto end = ParseRfc3339(Text(At(receipt, {"endedAt"})));
  return start && end ? FormatDuration(*end - *start) : "";
}

std::string FirstLine(const std::string& text, std::size_t limit) {
  std::string line = text.substr(0, text.find('\n'));
  bool cut = line.size() < text.size();
  if (line.size() > limit) {
    std::size_t end = limit;
    while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xc0) == 0x80) --end;
    line.resize(end);
    cut = true;
  }
  return cut ? line + " ..." : line;
}

std::vector<std::string> Hosts(const Value& receipt, std::string_view decision) {
  std::vector<std::string> out;
  for (const Value& entry : Items(At(receipt, {"networkAccessed"})))
    if (entry.FindString("decision") == decision) out.push_back(Text(At(entry, {"host"})));
  return out;
}

// Why what was enforced is not in a receipt.
std::string NotSaid(const Value& receipt) {
  const Value& step = At(receipt, {"runner", "environment", "interrupted", "step"});
  if (step.if_string() == nullptr)
    return At(receipt, {"runner", "environment", "clock"}).if_object() != nullptr
               ? " (no job was started)"
               : " (the receipt does not say what was enforced)";
  return " (its runner ended during the step \"" + Text(step) +
         "\": what was enforced is not recorded)";
}

std::vector<std::string> Enforcement(const Value& receipt) {
  std::vector<std::string> out;
  const Value& aspects = At(receipt, {"runner", "environment", "enforcement"});
  if (const Object* object = aspects.if_object()) {
    for (const auto& [name, value] : *object) {
      std::string how = Text(At(value, {"level"}));
      out.push_back(name + "=" + (how.empty() ? Text(value) : how));
    }
  }
  return out;
}

// Whether a disclosure is one of the parts that MovedIn tells of.
bool IsWorkspacePart(const Value& contract, const Value& disclosure) {
  const Value& workspace = At(contract, {"workspace"});
  const std::string hash = Text(At(disclosure, {"contentHash"}));
  if (hash == Text(At(workspace, {"bundleHash"})) || hash == Text(At(workspace, {"dirtyDiffHash"})))
    return true;
  const Array& files = Items(At(workspace, {"untrackedFiles"}));
  return std::any_of(files.begin(), files.end(),
                     [&](const Value& file) { return file.FindString("hash") == hash; });
}

// "commit 1234, 2 uncommitted changes ..." is what the contract named; how it came is another
// matter: a runner that had the history already fetched nothing.
std::vector<std::string> MovedIn(const Value& bundle, const Value& contract, const Value& receipt) {
  std::vector<std::string> out;
  if (EventsOfType(bundle, "workspace.materialized").empty()) return out;  // it never came to that
  // Only a runner with our extensions records what it received.
  const bool recorded = !At(receipt, {"runner", "environment"}).is_null();
  const Array& disclosures = Items(At(receipt, {"boundaryDisclosures"}));
  const auto moved = [&](const std::string& hash) {
    return std::any_of(disclosures.begin(), disclosures.end(), [&](const Value& entry) {
      return entry.FindString("direction") == "in" && entry.FindString("contentHash") == hash;
    });
  };
  const Value& workspace = At(contract, {"workspace"});
  const auto tell = [&](const std::string& what, const std::string& hash) {
    if (hash.empty()) return;
    out.push_back(what + (moved(hash) ? " " + Short(hash)
                          : recorded  ? " from the runner's cache (" + Short(hash) + ")"
                                      : " " + Short(hash) + " (how it came is not recorded)"));
  };
  tell("history", Text(At(workspace, {"bundleHash"})));
  tell("uncommitted changes", Text(At(workspace, {"dirtyDiffHash"})));
  for (const Value& file : Items(At(workspace, {"untrackedFiles"})))
    tell("untracked file " + Text(At(file, {"path"})), Text(At(file, {"hash"})));
  tell("checkpoint of another run", Text(At(contract, {"continuation", "checkpointId"})));
  return out;
}

// Who went into the session while it ran, one line each: "exec by NAME, 8f0a exit 0, 12 ms".
std::vector<std::string> Uses(const Value& bundle) {
  std::vector<std::string> out;
  const std::vector<const Value*> left = EventsOfType(bundle, "session.left");
  const std::vector<const Value*> copied = EventsOfType(bundle, "file.copied");
  for (const Value* entered : EventsOfType(bundle, "session.entered")) {
    const std::string use = Text(At(*entered, {"use"}));
    std::string line = Text(At(*entered, {"mode"})) + " by " + ActorText(At(*entered, {"actor"}));
    if (entered->Find("argvHash") != nullptr)
      line += ", " + Short(Text(At(*entered, {"argvHash"})));
    for (const Value* copy : copied)
      if (Text(At(*copy, {"use"})) == use)
        line += ", " + Text(At(*copy, {"direction"})) + " " + Text(At(*copy, {"path"})) + " " +
                Short(Text(At(*copy, {"contentHash"})));
    bool ended = false;
    for (const Value* end : left) {
      if (Text(At(*end, {"use"})) != use) continue;
      ended = true;
      if (end->Find("exitCode") != nullptr) line += " exit " + Text(At(*end, {"exitCode"}));
      if (end->Find("reason") != nullptr) line += ", " + Text(At(*end, {"reason"}));
    }
    if (!ended) line += ", its end was not seen";
    out.push_back(std::move(line));
  }
  const std::vector<const Value*> resumed = EventsOfType(bundle, "session.resumed");
  std::size_t pauses = 0;
  for (const Value* paused : EventsOfType(bundle, "session.paused")) {
    std::string line = "paused by " + ActorText(At(*paused, {"actor"}));
    if (pauses < resumed.size())
      line += ", resumed by " + ActorText(At(*resumed[pauses], {"actor"})) + " after " +
              Text(At(*resumed[pauses], {"pausedMs"})) + " ms";
    else
      line += ", ended while it stood still";
    ++pauses;
    out.push_back(std::move(line));
  }
  for (const Value* taken : EventsOfType(bundle, "checkpoint.created"))
    out.push_back("checkpoint " + Short(Text(At(*taken, {"checkpointId"}))));
  return out;
}

// Limits that a job may have run into and only it would know: a kernel that refuses a call tells
// nobody else. Of interest where a job failed by itself.
std::vector<std::string> LimitsOnlyTheJobSees(const Value& receipt) {
  std::vector<std::string> out;
  const Value& environment = At(receipt, {"runner", "environment"});
  if (!Text(At(environment, {"failureCode"})).starts_with("job.")) return out;
  for (const Value& limit : Items(At(environment, {"enforcement", "resources", "limits"})))
    if (limit.FindString("heldBy") == "rlimit" && limit.FindString("limit") != "processes")
      out.push_back(Text(At(limit, {"limit"})) + " " + Text(At(limit, {"value"})) + " " +
                    Text(At(limit, {"unit"})) + ": " + Text(At(limit, {"note"})));
  return out;
}

// The lines that bring an auditor from nothing to a verification with pinned keys.
void HowToVerify(Screen& screen, const Value& contract, const Value& receipt,
                 const ReceiptCommands& commands) {
  const Array& signatures = Items(At(contract, {"signatures"}));
  const bool by_org = std::any_of(signatures.begin(), signatures.end(), [](const Value& signature) {
    return signature.FindString("signer") == "org";
  });
  // Whatever a bundle that does not verify has here: a shell takes it for one word.
  const std::string run = ShellWord(Text(At(receipt, {"runId"})));
  const std::string runner = ShellWord(Text(At(receipt, {"runner", "runnerId"})));
  screen.Row("bundle",
             commands.writ + " bundle " + run + commands.access + " --out " + run + ".json");
  screen.Row("runner's key", commands.writ + " runners key " + runner + commands.access +
                                 " --out " + runner + ".pub.pem");
  screen.Row("verify",
             "writ-verify " + run + ".json --plane-key " + commands.plane_key + " --runner-key " +
                 runner + ".pub.pem" +
                 (commands.org_key.empty() || !by_org ? "" : " --org-key " + commands.org_key) +
                 " --require-pinned");
}

}  // namespace

std::string RenderReceipt(const Value& bundle, const protocol::VerifyReport& report,
                          const ReceiptCommands& commands) {
  const Value& contract = At(bundle, {"contract"});
  const Value& receipt = At(bundle, {"receipt"});
  Screen screen;
  std::string status = Text(At(receipt, {"status"}));
  screen.Line("RECEIPT " + TerminalSafe(Text(At(receipt, {"runId"}))) + "   " +
              TerminalSafe(status) + " in " + Duration(receipt));
  screen.Line(report.ok
                  ? (report.pinned ? "verified: chain, signatures and bindings hold; keys pinned"
                                   : "verified: chain, signatures and bindings hold; keys NOT "
                                     "pinned (taken from the bundle)")
                  : "NOT VERIFIED: " + (report.problems.empty()
                                            ? std::string("unknown")
                                            : report.problems.front().code + ": " +
                                                  TerminalSafe(report.problems.front().message)));
  for (const Value* event : EventsOfType(bundle, "run.failed")) {
    std::string told = ErrorText(RecordedFailure(
        receipt, Text(At(*event, {"failure"})) + ": " + Text(At(*event, {"message"}))));
    told.pop_back();  // Line ends it
    screen.Line("failure: " + told);
  }
  if (report.closed_by_plane)
    screen.Line("lost: closed by the plane (" +
                TerminalSafe(Text(At(receipt, {"closedBy", "reason"}))) +
                "), not signed by the runner; last seen " +
                TerminalSafe(Text(At(receipt, {"closedBy", "lastSeen"}))));
  if (contract.Find("retryOf") != nullptr)
    screen.Line("repeats the lost run " + TerminalSafe(Text(At(contract, {"retryOf"}))));

  screen.Head("What moved");
  screen.Row(
      "in",
      "commit " + Text(At(receipt, {"workspaceIn", "baseRef"})).substr(0, 12) +
          (At(contract, {"workspace", "dirtyDiffHash"}).is_null() ? "" : " + uncommitted changes") +
          " + " +
          Counted(Items(At(contract, {"workspace", "untrackedFiles"})).size(), "untracked file",
                  "untracked files") +
          "; " +
          Counted(Items(At(contract, {"workspace", "deniedPaths"})).size(), "path", "paths") +
          " kept back");
  const std::vector<std::string> parts = MovedIn(bundle, contract, receipt);
  for (std::size_t i = 0; i < parts.size() && i < 8; ++i) screen.Row("", parts[i]);
  if (parts.size() > 8) screen.Row("", "and " + std::to_string(parts.size() - 8) + " more");
  std::vector<std::string> files;
  for (const Value* event : EventsOfType(bundle, "file.changed"))
    files.push_back(Text(At(*event, {"path"})));
  screen.Row("changed", Counted(files.size(), "file", "files") +
                            (files.empty() ? "" : ": " + JoinLimited(files, 6)));
  // The wire's diff is against the commit (protocol.md): not all of it need be the job's.
  if (!files.empty() && (!At(contract, {"workspace", "dirtyDiffHash"}).is_null() ||
                         !Items(At(contract, {"workspace", "untrackedFiles"})).empty()))
    screen.Row("", "since the commit: what was uncommitted before the run is among them");
  std::size_t crossed = 0;
  for (const Value& entry : Items(At(receipt, {"boundaryDisclosures"})))
    if ((entry.FindString("direction") != "in" || !IsWorkspacePart(contract, entry)) &&
        ++crossed <= 8)
      screen.Row(Text(At(entry, {"direction"})),
                 Text(At(entry, {"dataClass"})) + " " + Short(Text(At(entry, {"contentHash"}))));
  if (crossed > 8) screen.Row("", "and " + std::to_string(crossed - 8) + " more");
  const double* left_out =
      At(receipt, {"runner", "environment", "log", "leftOutBytes"}).if_number();
  if (left_out != nullptr && *left_out > 0)  // L18
    screen.Row("left out", FormatBytes(static_cast<unsigned long long>(*left_out)) +
                               " in the middle of the log, which is over its limit");

  screen.Head("Why");
  screen.Row("task", FirstLine(Text(At(contract, {"task", "prompt"})), 90));
  screen.Row("asked by",
             ActorText(At(contract, {"requestedBy"})) + " at " + Text(At(contract, {"issuedAt"})));
  screen.Row("contract", Short(Text(At(receipt, {"contractHash"}))) + "  policy " +
                             Short(Text(At(contract, {"policyHash"}))));

  screen.Head("Who approved");
  std::vector<std::string> decisions;
  for (const Value* event : EventsOfType(bundle, "policy.evaluated"))
    decisions.push_back(Text(At(*event, {"decision"})) + " (" + Text(At(*event, {"reason"})) + ")");
  screen.Row("policy", JoinLimited(decisions, 3));
  std::vector<std::string> consents;
  for (const Value* event : EventsOfType(bundle, "consent.granted"))
    consents.push_back(ActorText(At(*event, {"actor"})));
  screen.Row("people", consents.empty() ? "nobody was asked" : JoinLimited(consents, 4));

  screen.Head("What saw it");
  screen.Row("runner", Text(At(receipt, {"runner", "runnerId"})) + " in pool " +
                           Text(At(receipt, {"runner", "pool"})) + ", key " +
                           Text(At(receipt, {"runner", "keyId"})));
  std::string isolation = Text(At(receipt, {"runner", "isolation"}));
  std::vector<std::string> enforcement = Enforcement(receipt);
  screen.Row("isolation", isolation + (enforcement.empty() ? NotSaid(receipt)
                                                           : ": " + JoinLimited(enforcement, 8)));
  for (const std::string& limit : LimitsOnlyTheJobSees(receipt)) screen.Row("limit", limit);
  std::string version = Text(At(receipt, {"runner", "environment", "agent", "version"}));
  screen.Row("agent",
             Text(At(contract, {"agent", "kind"})) + (version.empty() ? "" : " " + version));
  for (const Value* event : EventsOfType(bundle, "command.executed"))
    screen.Row("command",
               Short(Text(At(*event, {"argvHash"}))) + " exit " + Text(At(*event, {"exitCode"})));
  for (const std::string& use : Uses(bundle)) screen.Row("entered", use);
  std::vector<std::string> models;
  for (const Value& entry : Items(At(receipt, {"modelsUsed"})))
    models.push_back(Text(At(entry, {"provider"})) + "/" + Text(At(entry, {"model"})));
  screen.Row("models", JoinLimited(models, 4));
  std::vector<std::string> secrets;
  for (const Value& entry : Items(At(receipt, {"secretsReleased"})))
    secrets.push_back(Text(At(entry, {"name"})) + " (" + Text(At(entry, {"scope"})) + ")");
  screen.Row("secrets", JoinLimited(secrets, 4));
  screen.Row("hosts", "allowed: " + JoinLimited(Hosts(receipt, "allowed"), 5) +
                          "; blocked: " + JoinLimited(Hosts(receipt, "blocked"), 5));
  std::vector<std::string> hooks;
  for (const Value* event : EventsOfType(bundle, "hook.result")) {
    const Value& code = At(*event, {"exitCode"});
    hooks.push_back(Text(At(*event, {"hook"})) + " " +
                    (code.is_null() ? "did not end by itself" : "exit " + Text(code)));
  }
  if (!hooks.empty()) screen.Row("hooks", JoinLimited(hooks, 8));
  constexpr std::size_t kFindings = 20;
  const std::vector<const Value*> findings = EventsOfType(bundle, "finding");
  for (const Value* event : std::span(findings).first(std::min(findings.size(), kFindings))) {
    const std::string path = Text(At(*event, {"path"}));
    screen.Row("finding", Text(At(*event, {"code"})) + (path.empty() ? "" : " " + path) + ": " +
                              Text(At(*event, {"message"})));
  }
  if (findings.size() > kFindings)
    screen.Row("finding",
               "and " + std::to_string(findings.size() - kFindings) + " more, in the bundle");

  screen.Head("How to inspect or reproduce");
  screen.Row("chain", Text(At(receipt, {"eventCount"})) + " events, head " +
                          Short(Text(At(receipt, {"eventsHead"}))));
  HowToVerify(screen, contract, receipt, commands);
  if (HasChangeToPull(receipt))
    screen.Row("changes", commands.writ + " pull " + ShellWord(Text(At(receipt, {"runId"}))) +
                              commands.access);
  for (const protocol::Finding& note : report.notes) screen.Row("not proven", note.message);
  return screen.Take();
}

bool HasChangeToPull(const Value& receipt) {
  bool delta = false, diff = false;
  for (const Value& crossed : Items(At(receipt, {"boundaryDisclosures"}))) {
    if (crossed.FindString("direction") != "out") continue;
    delta |= crossed.FindString("dataClass") == protocol::kDataClassCodeDelta;
    diff |= crossed.FindString("dataClass") == protocol::kDataClassCodeDiff;
  }
  return delta || (diff && At(receipt, {"runner", "environment"}).is_null());
}

Error RecordedFailure(const Value& receipt, std::string_view sentence) {
  const Value& environment = At(receipt, {"runner", "environment"});
  return Error{.code = TerminalSafe(Text(At(environment, {"failureCode"}))),
               .message = TerminalSafe(sentence),
               .hint = TerminalSafe(Text(At(environment, {"failureMend"})))};
}

Value ReceiptAnswers(const Value& bundle, const protocol::VerifyReport& report) {
  const Value& contract = At(bundle, {"contract"});
  const Value& receipt = At(bundle, {"receipt"});
  Array files;
  for (const Value* event : EventsOfType(bundle, "file.changed")) files.push_back(*event);
  Array consents;
  for (const Value* event : EventsOfType(bundle, "consent.granted"))
    consents.push_back(At(*event, {"actor"}));
  Array decisions;
  for (const Value* event : EventsOfType(bundle, "policy.evaluated")) decisions.push_back(*event);
  Array commands;
  for (const Value* event : EventsOfType(bundle, "command.executed")) commands.push_back(*event);
  Array entered;
  for (const char* type : {"session.entered", "file.copied", "session.left", "session.paused",
                           "session.resumed", "checkpoint.created"})
    for (const Value* event : EventsOfType(bundle, type)) entered.push_back(*event);
  Array findings;
  for (const Value* event : EventsOfType(bundle, "finding")) findings.push_back(*event);
  Object out;
  out.Set("runId", At(receipt, {"runId"}));
  out.Set("status", At(receipt, {"status"}));
  for (const Value* event : EventsOfType(bundle, "run.failed")) {
    Object failure{{"class", At(*event, {"failure"})}, {"message", At(*event, {"message"})}};
    for (const auto& [name, member] : {std::pair{"code", "failureCode"}, {"mend", "failureMend"}})
      if (const Value& value = At(receipt, {"runner", "environment", member}); !value.is_null())
        failure.Set(name, value);
    out.Set("failure", std::move(failure));
  }
  out.Set("verification", protocol::RenderJson(report));
  out.Set("moved", Object{{"in", At(receipt, {"workspaceIn"})},
                          {"out", At(receipt, {"workspaceOut"})},
                          {"filesChanged", std::move(files)},
                          {"disclosures", At(receipt, {"boundaryDisclosures"})}});
  out.Set("why", Object{{"task", At(contract, {"task", "prompt"})},
                        {"requestedBy", At(contract, {"requestedBy"})},
                        {"contractHash", At(receipt, {"contractHash"})},
                        {"policyHash", At(contract, {"policyHash"})}});
  out.Set("approved", Object{{"policy", std::move(decisions)}, {"consents", std::move(consents)}});
  out.Set("saw", Object{{"runner", At(receipt, {"runner"})},
                        {"agent", At(contract, {"agent"})},
                        {"commands", std::move(commands)},
                        {"entered", std::move(entered)},
                        {"models", At(receipt, {"modelsUsed"})},
                        {"secrets", At(receipt, {"secretsReleased"})},
                        {"hosts", At(receipt, {"networkAccessed"})},
                        {"findings", std::move(findings)}});
  out.Set("receipt", receipt);
  return out;
}

}  // namespace writ::cli
