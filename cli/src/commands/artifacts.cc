// artifacts: what a run left at its plane, listed out of its verified bundle, and its declared
// output files written to a folder. The plane's own list adds only what no receipt can say: the
// sizes of its blobs, and which of them it keeps no longer.
//
// The names come from a job: each file is made beneath the folder's handle, no link is followed,
// nothing is replaced, and the bytes are those of the hash in the receipt.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <memory>

#include "access.h"
#include "commands.h"
#include "context.h"
#include "duration.h"
#include "home.h"
#include "json_view.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/events.h"

namespace writ::cli {
namespace {

constexpr std::uint64_t kMaxArtifactBytes = std::uint64_t{4} << 30;

struct ArtifactsCommand {
  Access access;
  std::string run_id;
  std::string out;
  bool log = false;
};

struct Artifact {
  std::string kind, hash, path, data_class;
  std::optional<std::int64_t> bytes;
  bool uploaded = false;
  bool pruned = false;  // by the plane's own word
};

// What a run left, by its receipt.
struct LeftBehind {
  std::vector<Artifact> artifacts;
  bool interrupted = false;      // its runner ended before the run did, or never came back
  bool closed_by_plane = false;  // the second of these
};

std::string Text(const json::Value& object, std::string_view name) {
  return std::string(object.FindString(name).value_or(""));
}

Result<LeftBehind> ReadArtifacts(Requester& requester, const std::string& run_id) {
  WRIT_ASSIGN(std::string text, requester.Bundle(run_id));
  protocol::VerifyReport report = protocol::VerifyBundle(text, {});
  if (!report.ok)
    return Error{ErrorKind::kIntegrity, "artifacts.not_verified",
                 "the run's bundle does not verify" +
                     (report.problems.empty() ? "" : ": " + report.problems.front().message),
                 "look at it with: writ receipt " + run_id};
  WRIT_ASSIGN(json::Value bundle, json::Parse(text, {.max_bytes = std::size_t{1} << 30}));
  LeftBehind left;
  left.closed_by_plane = report.closed_by_plane;
  left.interrupted = report.closed_by_plane ||
                     !At(bundle, {"receipt", "runner", "environment", "interrupted"}).is_null();
  std::vector<Artifact>& out = left.artifacts;
  const json::Value* events = bundle.Find("events");
  if (events == nullptr || events->if_array() == nullptr) return left;
  for (const json::Value& item : events->array()) {
    const json::Value* event = item.Find("event");
    if (event == nullptr) continue;
    const std::string type = Text(*event, "type");
    if (type == protocol::events::kArtifactCreated) {
      Artifact artifact{Text(*event, "kind"), Text(*event, "hash"), Text(*event, "path"), "", {}};
      if (const json::Value* bytes = event->Find("bytes")) artifact.bytes = bytes->AsInteger();
      out.push_back(std::move(artifact));
    } else if (type == protocol::events::kBoundaryCrossed && Text(*event, "direction") == "out" &&
               !out.empty() && out.back().hash == Text(*event, "contentHash")) {
      out.back().data_class = Text(*event, "dataClass");
      out.back().uploaded = true;
    }
  }
  return left;
}

// No more than is known: of an interrupted run nobody knows what it had printed.
std::string WhyThereIsNoLog(const Context& context, const LeftBehind& left,
                            const std::string& watch) {
  for (const Artifact& artifact : left.artifacts)
    if (artifact.kind == "log" && !artifact.uploaded)
      return "the run left no log here: its disclosure kept it";
  if (!left.interrupted) return "the run left no log: it printed nothing";
  return std::string("the run left no log: its runner ") +
         (left.closed_by_plane ? "never came back with one" : "ended while it was in work") +
         "; what its plane had of the output by then is shown by: " + context.Command(watch);
}

Status AddWhatThePlaneSays(Requester& requester, const std::string& run_id,
                           std::vector<Artifact>& artifacts) {
  WRIT_ASSIGN(auto listed, requester.Artifacts(run_id));
  if (!listed) return {};
  for (Artifact& artifact : artifacts) {
    for (const plane::ArtifactInfo& info : *listed) {
      if (info.hash != artifact.hash || info.path != artifact.path) continue;
      if (!artifact.bytes && info.bytes) artifact.bytes = static_cast<std::int64_t>(*info.bytes);
      artifact.pruned = info.pruned && artifact.uploaded;
      break;
    }
  }
  return {};
}

// beneath `folder`, new; its parents are made.
Status WriteNew(int folder, const std::string& path, std::string_view bytes) {
  const std::size_t slash = path.rfind('/');
  UniqueFd parent;
  if (slash != std::string::npos) {
    WRIT_ASSIGN(parent, MakeDirectoriesBeneath(folder, path.substr(0, slash), 0755));
    folder = parent.get();
  }
  return CreateFileAtomic(folder, slash == std::string::npos ? path : path.substr(slash + 1), bytes,
                          0644);
}

struct Written {
  json::Array files;
  std::size_t count = 0;
};

// Its bytes, which are those of the receipt's hash.
Result<std::string> Fetch(Requester& requester, const Artifact& artifact, const std::string& name) {
  WRIT_ASSIGN(std::string bytes, requester.GetBlob(artifact.hash, kMaxArtifactBytes));
  if (protocol::Sha256(bytes).ToHex() == artifact.hash) return bytes;
  return Error{ErrorKind::kIntegrity, "artifacts.hash",
               "the plane gave other bytes than those of " + TerminalSafe(name), ""};
}

// The job's output as its receipt has it; standard error behind it where it was kept apart.
void PrintLog(Context& context, Requester& requester, const LeftBehind& left,
              const std::string& watch) {
  std::string log;
  for (const Artifact& artifact : left.artifacts) {
    if (artifact.kind != "log" || !artifact.uploaded) continue;
    auto bytes = Fetch(requester, artifact, "the log");
    if (!bytes) return context.Fail(bytes.error());
    log += *bytes;
  }
  if (context.json) return context.PrintJson(json::Object{{"log", json::ToWellFormedUtf8(log)}});
  // A job does not drive its reader's terminal.
  context.Print(::isatty(STDOUT_FILENO) != 0 ? TerminalSafe(log, Newlines::kKeep) : log);
  if (log.empty()) context.Note(WhyThereIsNoLog(context, left, watch));
}

Result<Written> WriteFiles(Context& context, Requester& requester,
                           const std::vector<Artifact>& artifacts, const std::string& out) {
  WRIT_ASSIGN(UniqueFd folder, MakeDirectories(AbsolutePath(out), 0755));
  Written written;
  for (const Artifact& artifact : artifacts) {
    if (artifact.kind != "file" || !artifact.uploaded) continue;
    const std::string name = artifact.path.empty() ? artifact.hash : artifact.path;
    if (!IsSafeRelativePath(name))
      return Error{ErrorKind::kIntegrity, "artifacts.path",
                   "an output file has a name that is not written: " + TerminalSafe(name), ""};
    auto bytes = Fetch(requester, artifact, name);
    if (!bytes && bytes.error().kind == ErrorKind::kNotFound) {
      context.Note("gone: " + TerminalSafe(name) + " (the plane keeps it no longer)");
      continue;
    }
    if (!bytes) return std::move(bytes).error();
    if (Status made = WriteNew(folder.get(), name, *bytes); !made) {
      if (made.error().kind != ErrorKind::kConflict) return std::move(made).error();
      return Error{ErrorKind::kConflict, "artifacts.exists",
                   TerminalSafe(name) + " is there already, and nothing is replaced",
                   "give --out a folder that is new"};
    }
    written.files.emplace_back(name);
    ++written.count;
    context.Note("wrote " + TerminalSafe(name));
  }
  return written;
}

void Artifacts(Context& context, ArtifactsCommand& command) {
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto left = ReadArtifacts(**requester, command.run_id);
  if (!left) return context.Fail(left.error());
  std::vector<Artifact>& artifacts = left->artifacts;
  if (Status told = AddWhatThePlaneSays(**requester, command.run_id, artifacts); !told)
    return context.Fail(told.error());
  if (command.log)
    return PrintLog(context, **requester, *left,
                    "watch " + ShellWord(command.run_id) + command.access.Arguments());
  std::optional<Written> written;
  if (!command.out.empty()) {
    auto wrote = WriteFiles(context, **requester, artifacts, command.out);
    if (!wrote) return context.Fail(wrote.error());
    written = std::move(*wrote);
  }
  if (context.json) {
    json::Array list;
    for (const Artifact& artifact : artifacts) {
      json::Object item{{"kind", artifact.kind}, {"hash", artifact.hash}};
      if (!artifact.path.empty()) item.Set("path", artifact.path);
      item.SetOptional("bytes", artifact.bytes);
      if (!artifact.data_class.empty()) item.Set("dataClass", artifact.data_class);
      item.Set("uploaded", artifact.uploaded);
      if (artifact.pruned) item.Set("pruned", true);
      list.push_back(std::move(item));
    }
    json::Object answer{{"runId", command.run_id}, {"artifacts", std::move(list)}};
    if (written) answer.Set("written", std::move(written->files));
    return context.PrintJson(std::move(answer));
  }
  if (written) {
    context.Print(std::to_string(written->count) + " files written to " + command.out + "\n");
    return;
  }
  for (const Artifact& artifact : artifacts)
    context.Print(TerminalSafe(artifact.kind) + "  " + artifact.hash + "  " +
                  (artifact.bytes ? FormatBytes(static_cast<unsigned long long>(*artifact.bytes))
                                  : std::string("-")) +
                  (artifact.pruned     ? "  (pruned)"
                   : artifact.uploaded ? ""
                                       : "  (not uploaded)") +
                  (artifact.path.empty() ? "" : "  " + TerminalSafe(artifact.path)) + "\n");
}

}  // namespace

void AddArtifacts(CLI::App& app, Context& context) {
  auto options = std::make_shared<ArtifactsCommand>();
  CLI::App* artifacts =
      app.add_subcommand("artifacts", "What a run left at its plane: diffs, logs, output files");
  artifacts->add_option("RUN", options->run_id, "The run")->required();
  artifacts->add_option("--out", options->out,
                        "Write the declared output files here; nothing is replaced");
  CLI::Option* out = artifacts->get_option("--out");
  artifacts->add_flag("--log", options->log, "Print the job's output instead, as it is")
      ->excludes(out);
  options->access.AddOptions(*artifacts);
  artifacts->footer(
      "Examples:\n  writ artifacts run_1234\n  writ artifacts run_1234 --out results\n  writ "
      "artifacts run_1234 --log > run_1234.log");
  artifacts->callback([&context, options] { Artifacts(context, *options); });
}

}  // namespace writ::cli
