#include "disclosure_report.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

#include "context.h"
#include "duration.h"
#include "json_view.h"
#include "writ/workspace/ignore_rules.h"

namespace writ::cli {
namespace {

using json::Array;
using json::Object;
using json::Value;

constexpr std::size_t kMostLines = 200;  // of one list; --json has all of them

class Report {
 public:
  void Head(const std::string& title) { text_ += "\n" + title + "\n"; }
  void Row(std::string_view name, const std::string& value) {
    std::string label = TerminalSafe(name);
    label.resize(std::max<std::size_t>(label.size() + 1, 13), ' ');
    text_ += "  " + label + TerminalSafe(value) + "\n";
  }
  void Item(char mark, const std::string& value) {
    text_ += std::string(15, ' ') + mark + " " + TerminalSafe(value) + "\n";
  }
  void More(std::size_t count) {
    if (count > kMostLines) Item('.', "and " + std::to_string(count - kMostLines) + " more");
  }
  std::string Take(std::string first) { return std::move(first) + text_; }

 private:
  std::string text_;
};

std::uint64_t BytesOf(const workspace::Captured& captured, workspace::CapturedBlob::Kind kind) {
  std::uint64_t bytes = 0;
  for (const workspace::CapturedBlob& blob : captured.blobs)
    if (blob.kind == kind) bytes += blob.bytes;
  return bytes;
}

std::string PatternFor(const protocol::Manifest& manifest, const std::string& path) {
  for (const std::string& pattern : manifest.denied_patterns)
    if (workspace::PathGlobMatches(pattern, path)) return pattern;
  return "";
}

void MovesIn(Report& out, const workspace::Captured& captured) {
  using Kind = workspace::CapturedBlob::Kind;
  const workspace::CaptureSummary& summary = captured.summary;
  const protocol::Manifest& manifest = captured.manifest;
  std::uint64_t total = 0;
  for (const workspace::CapturedBlob& blob : captured.blobs) total += blob.bytes;
  out.Head("What would move to the runner (" + Counted(captured.blobs.size(), "part", "parts") +
           ", " + FormatBytes(total) + " where the plane has none of it yet)");
  std::string branch = summary.branch;
  if (branch.starts_with("refs/heads/")) branch = branch.substr(11);
  out.Row("history", "commit " + summary.head.substr(0, 12) +
                         (branch.empty() ? ", no branch" : " of " + branch) + ", " +
                         FormatBytes(BytesOf(captured, Kind::kBundle)));
  out.Row("changes", summary.changed_files == 0
                         ? "nothing uncommitted"
                         : Counted(summary.changed_files, "uncommitted file", "uncommitted files") +
                               ", " + FormatBytes(BytesOf(captured, Kind::kDirtyDiff)));
  out.Row("untracked",
          manifest.untracked_files.empty()
              ? "nothing: untracked files stay here unless --allow-untracked names them"
              : Counted(manifest.untracked_files.size(), "file", "files") + ", " +
                    FormatBytes(BytesOf(captured, Kind::kUntracked)) + "; all others stay here");
  for (std::size_t i = 0; i < manifest.untracked_files.size() && i < kMostLines; ++i) {
    const protocol::UntrackedFile& file = manifest.untracked_files[i];
    out.Item('+',
             file.path.text() + "  " + FormatBytes(static_cast<unsigned long long>(file.bytes)));
  }
  out.More(manifest.untracked_files.size());
  std::string patterns;
  for (const std::string& pattern : manifest.denied_patterns)
    patterns += (patterns.empty() ? "" : " ") + pattern;
  out.Row("kept back", manifest.denied_paths.empty()
                           ? "nothing here matches the deny patterns " + patterns
                           : Counted(manifest.denied_paths.size(), "path", "paths") +
                                 " by deny patterns, which win over everything");
  for (std::size_t i = 0; i < manifest.denied_paths.size() && i < kMostLines; ++i) {
    const std::string& path = manifest.denied_paths[i];
    const std::string pattern = PatternFor(manifest, path);
    out.Item('-', path + (pattern.empty() ? "" : "  (" + pattern + ")"));
  }
  out.More(manifest.denied_paths.size());
}

void WouldRun(Report& out, const Value& report, const std::string& default_tier) {
  out.Head("What would run");
  const Value& execution = At(report, {"execution"});
  const std::string kind = Text(At(execution, {"kind"}));
  if (kind == "argv") {
    std::string line = Text(At(execution, {"command"}));
    for (const Value& argument : Items(At(execution, {"args"}))) line += " " + Text(argument);
    out.Row("command", line);
  } else if (kind == "shell") {
    out.Row("script", Text(At(execution, {"script"})));
  } else {
    out.Row("task", Text(At(execution, {"prompt"})));
  }
  const std::string version = Text(At(report, {"agent", "version"}));
  out.Row("agent", Text(At(report, {"agent", "kind"})) + (version.empty() ? "" : " " + version) +
                       ", in pool " + Text(At(report, {"pool"})));
  const std::string isolation = Text(At(report, {"isolation"}));
  out.Row("isolation", !isolation.empty()     ? isolation
                       : default_tier.empty() ? "the runner's default"
                                              : default_tier + ", the runner's default");
  std::optional<double>
      limit;  // the smaller of the two; without either, the protocol's ten minutes
  for (const auto& [value, unit] :
       {std::pair{At(report, {"budget", "maxDurationMin"}).if_number(), 60'000.0},
        {At(execution, {"timeoutMs"}).if_number(), 1.0}})
    if (value != nullptr) limit = std::min(limit.value_or(*value * unit), *value * unit);
  out.Row("time", "at most " + FormatDuration(std::chrono::milliseconds(
                                   static_cast<std::int64_t>(limit.value_or(600'000)))));
  const std::string spend = Text(At(report, {"budget", "maxSpendUsd"}));
  const bool* idempotent = At(execution, {"idempotent"}).if_bool();
  out.Row("repeated", idempotent != nullptr && *idempotent
                          ? "yes, where its runner is lost: the job is said to be idempotent"
                          : "never: it is not said to be idempotent");
  out.Row("spending", spend.empty() ? "no limit is set" : "at most " + spend + " USD");
}

void WouldGet(Report& out, const Value& report) {
  out.Head("What it would be given");
  const Array& secrets = Items(At(report, {"secrets"}));
  if (secrets.empty()) out.Row("secrets", "none");
  for (const Value& secret : secrets)
    out.Row("secret", Text(At(secret, {"name"})) + "  (" + Text(At(secret, {"scope"})) + ")");
  const bool* proxied = At(report, {"execution", "env", "egressProxy"}).if_bool();
  const bool* deny = At(report, {"network", "defaultDeny"}).if_bool();
  const Array& hosts = Items(At(report, {"network", "allowHosts"}));
  if (proxied != nullptr && !*proxied) {
    out.Row("network", "none at all");
  } else if (deny != nullptr && !*deny) {
    out.Row("network", "any public host");
  } else if (hosts.empty()) {
    out.Row("network", "no host");
  } else {
    out.Row("network", Counted(hosts.size(), "host", "hosts") + ", all others are refused");
    for (const Value& host : hosts) out.Item('+', Text(host));
  }
}

void MayLeave(Report& out, const Value& report) {
  out.Head("What might leave the runner");
  const std::string mode = Text(At(report, {"disclosure"}));
  const std::string meaning =
      mode == "none"            ? "nothing but the receipt"
      : mode == "metadata-only" ? "status, hashes, sizes and cost; no content"
      : mode == "redacted" ? "the log after redaction, and the diff where no secret stands in it"
      : mode == "full"     ? "everything"
                           : "the diff, the log and declared artifacts, redacted";
  out.Row("disclosure", mode + ": " + meaning);
}

void PolicySays(Report& out, const Value& report) {
  out.Head("What policy says");
  const Value& decision = At(report, {"policyDecision"});
  out.Row("decision", Text(At(decision, {"decision"})) + ": " + Text(At(decision, {"reason"})));
  const Array& reasons = Items(At(decision, {"reasons"}));
  if (reasons.size() > 1)
    for (const Value& reason : reasons) out.Item('-', Text(reason));
  const Array& consent = Items(At(decision, {"consentRequirements"}));
  if (consent.empty()) out.Row("consent", "nobody would be asked");
  for (const Value& requirement : consent) out.Row("consent", "needed: " + Text(requirement));
  for (const Value& unmet : Items(At(report, {"unmet"})))
    out.Row("unmet", "the run would be refused: " + Text(unmet));
}

}  // namespace

std::string Counted(std::size_t count, std::string_view one, std::string_view many) {
  return std::to_string(count) + " " + std::string(count == 1 ? one : many);
}

std::string RenderDisclosure(const Value& report, const workspace::Captured& captured,
                             const std::string& default_tier) {
  Report out;
  MovesIn(out, captured);
  WouldRun(out, report, default_tier);
  WouldGet(out, report);
  MayLeave(out, report);
  PolicySays(out, report);
  if (!captured.findings.empty()) {
    out.Head("Worth knowing");
    for (std::size_t i = 0; i < captured.findings.size() && i < kMostLines; ++i) {
      const workspace::Finding& finding = captured.findings[i];
      out.Row(finding.path.empty() ? "note" : finding.path, finding.detail);
    }
  }
  return out.Take("DRY RUN: nothing was moved\n");
}

Value DisclosureJson(Value report, const workspace::Captured& captured,
                     const std::string& default_tier) {
  Array blobs;
  std::uint64_t total = 0;
  for (const workspace::CapturedBlob& blob : captured.blobs) {
    static constexpr const char* kKinds[] = {"bundle", "dirty-diff", "untracked"};
    blobs.push_back(Object{{"kind", kKinds[static_cast<int>(blob.kind)]},
                           {"hash", blob.digest},
                           {"bytes", blob.bytes}});
    total += blob.bytes;
  }
  Array findings;
  for (const workspace::Finding& finding : captured.findings)
    findings.push_back(Object{{"code", finding.code},
                              {"path", json::ToWellFormedUtf8(finding.path)},
                              {"detail", json::ToWellFormedUtf8(finding.detail)}});
  report.object().Set("wouldUpload", Object{{"blobs", std::move(blobs)}, {"bytes", total}});
  report.object().Set("findings", std::move(findings));
  if (!default_tier.empty()) report.object().Set("defaultIsolation", default_tier);
  return report;
}

}  // namespace writ::cli
