// cp: files into and out of a running session.
#include <CLI/CLI.hpp>

#include <sys/stat.h>

#include <memory>
#include <thread>

#include "commands.h"
#include "context.h"
#include "home.h"
#include "session_access.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/base/tree_stream.h"

namespace writ::cli {
namespace {

struct CopyCommand {
  std::string source, target, name;
};

struct Remote {
  std::string run;
  std::string path;
};

// "run_1234:path"; a local name with a colon is written ./name.
std::optional<Remote> ParseRemote(const std::string& operand) {
  const std::size_t colon = operand.find(':');
  if (colon == 0 || colon == std::string::npos || operand.find('/') < colon) return std::nullopt;
  const std::string path = operand.substr(colon + 1);
  return Remote{operand.substr(0, colon), path.empty() ? "." : path};
}

// A local place: the handle that it is beneath, and its name there ("" is the handle itself).
struct Place {
  UniqueFd dir;
  std::string name;
};

Result<Place> SourcePlace(const std::string& operand) {
  std::string path = AbsolutePath(operand);
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::size_t slash = path.rfind('/');
  if (path == "/")
    return Error{ErrorKind::kInvalid, "cli.copy_root", "the whole machine is not copied"};
  Place place;
  WRIT_ASSIGN(place.dir, OpenDirectory(slash == 0 ? "/" : path.substr(0, slash)));
  place.name = path.substr(slash + 1);
  return place;
}

Result<Place> TargetPlace(const std::string& operand) {
  const std::string path = AbsolutePath(operand);
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) {
    Place place;
    WRIT_ASSIGN(place.dir, OpenDirectory(path));
    return place;
  }
  if (operand.ends_with('/'))
    return Error{ErrorKind::kNotFound, "cli.no_directory", "there is no directory " + operand};
  return SourcePlace(operand);
}

TreeLimits LimitsOf(const json::Value& taken) {
  TreeLimits limits;
  auto take = [&](std::string_view name, std::uint64_t& to) {
    const json::Value* value = taken.Find(name);
    if (value != nullptr && value->AsInteger().value_or(0) > 0)
      to = static_cast<std::uint64_t>(*value->AsInteger());
  };
  take("maxBytes", limits.max_bytes);
  take("maxFiles", limits.max_entries);
  return limits;
}

Status CheckEnding(const SessionEnding& ending, const TreeReader& reader) {
  if (ending.done.FindString("reason") == "session ended")
    return Error{ErrorKind::kUnavailable, "copy.cut_short",
                 "the session ended before the copy did"};
  if (!reader.ended())
    return Error{ErrorKind::kUnavailable, "copy.cut_short", "the copy was cut short"};
  return {};
}

Result<TreeSummary> CopyOut(SessionAnswer& session, const Place& target) {
  TreeMaker maker(target.dir.get(), target.name);
  TreeReader reader(LimitsOf(session.taken), &maker);
  SessionStreams streams;
  streams.output = [&reader](std::string_view bytes) { return reader.Write(bytes); };
  WRIT_ASSIGN(const SessionEnding ending, CarryStreams(session.channel, streams, std::nullopt));
  WRIT_TRY(CheckEnding(ending, reader));
  return reader.summary();
}

Result<TreeSummary> CopyIn(SessionAnswer& session, const Place& source) {
  WRIT_ASSIGN(Pipe pipe, MakePipe());
  const TreeLimits limits = LimitsOf(session.taken);
  Result<TreeSummary> sent = Error{};
  std::thread sender([&, out = std::move(pipe.write_end)]() mutable {
    sent = SendTree(source.dir.get(), source.name, source.name, limits,
                    [&out](std::string_view bytes) { return WriteAll(out.get(), bytes); });
    out.reset();
  });
  TreeReader reader(limits, nullptr);  // how it went there
  SessionStreams streams;
  streams.input = pipe.read_end.get();
  streams.output = [&reader](std::string_view bytes) { return reader.Write(bytes); };
  auto ending = CarryStreams(session.channel, streams, std::nullopt);
  pipe.read_end.reset();
  sender.join();
  if (!ending) return std::move(ending).error();
  WRIT_TRY(CheckEnding(*ending, reader));
  return sent;
}

void Copy(Context& context, const CopyCommand& command) {
  const std::optional<Remote> from = ParseRemote(command.source);
  const std::optional<Remote> to = ParseRemote(command.target);
  if (from.has_value() == to.has_value())
    return context.Fail(kUsage, {ErrorKind::kInvalid, "cli.copy_ends",
                                 "one of the two must be in a session, and the other here",
                                 "writ cp RUN:PATH TARGET, or writ cp SOURCE RUN:PATH"});
  auto place = from ? TargetPlace(command.target) : SourcePlace(command.source);
  if (!place) return context.Fail(place.error());
  runner::AccessRequest request;
  request.mode = runner::AccessRequest::Mode::kCopy;
  request.direction =
      from ? runner::AccessRequest::Direction::kOut : runner::AccessRequest::Direction::kIn;
  request.run_id = from ? from->run : to->run;
  request.path = from ? from->path : to->path;
  auto session = AskForSession(context, command.name, request);
  if (!session) return context.Fail(session.error());
  auto copied = from ? CopyOut(*session, *place) : CopyIn(*session, *place);
  if (!copied) return context.Fail(copied.error());
  for (const std::string& path : copied->left_out)
    context.Note("left out, neither a file nor a directory: " + TerminalSafe(path));
  if (!context.json)
    return context.Note("copied " + std::to_string(copied->files) + " files, " +
                        std::to_string(copied->bytes) + " bytes");
  json::Array left_out;
  for (const std::string& path : copied->left_out)
    left_out.emplace_back(json::ToWellFormedUtf8(path));
  context.PrintJson(json::Object{{"runId", request.run_id},
                                 {"direction", from ? "out" : "in"},
                                 {"files", copied->files},
                                 {"directories", copied->directories},
                                 {"bytes", copied->bytes},
                                 {"leftOut", std::move(left_out)},
                                 {"leftOutCount", copied->left_out_count}});
}

}  // namespace

void AddCopy(CLI::App& app, Context& context) {
  auto options = std::make_shared<CopyCommand>();
  CLI::App* copy = app.add_subcommand("cp", "Copy files into or out of a running session");
  copy->add_option("SOURCE", options->source, "RUN:PATH, or a file or directory here")->required();
  copy->add_option("TARGET", options->target, "A place here, or RUN:PATH")->required();
  copy->add_option("--name", options->name,
                   "Name of the runner's folder below --dir (default: whichever has the run)");
  copy->footer(
      "This works on the machine of the runner, as its user or root, and only where its operator "
      "granted it (grants.session.copy in runner.json, `writ run --allow-access copy`). Every copy "
      "is an event of the run's chain and stands in its receipt.\n\n"
      "Paths in the session are absolute as its job sees them, or from the workspace on; they are "
      "read and written as the job. Directories are copied with what is below them, into a "
      "directory that is there or under the name given. No symbolic link is followed or copied; "
      "owners, times and set-id bits are not carried.\n\n"
      "Examples:\n"
      "  writ cp run_1234:build/report.xml .\n"
      "  writ cp run_1234:/tmp/core ./core\n"
      "  writ cp fixtures run_1234:tests/");
  copy->callback([&context, options] { Copy(context, *options); });
}

}  // namespace writ::cli
