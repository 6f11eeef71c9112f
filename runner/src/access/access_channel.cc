// The two ends of a connection, and what is asked for by it.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "access/access_socket.h"
#include "writ/base/paths.h"
#include "writ/base/unix_socket.h"
#include "writ/protocol/execution.h"
#include "writ/runner/access.h"

namespace writ::runner {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kHeaderBytes = 5;
constexpr std::size_t kMaxArguments = 1000;
constexpr std::chrono::seconds kLastWords{2};
constexpr std::string_view kWords = "QiIwsAoecXF";

constexpr json::EnumName<AccessRequest::Mode> kModes[] = {
    {AccessRequest::Mode::kExec, "exec"},     {AccessRequest::Mode::kAttach, "attach"},
    {AccessRequest::Mode::kCopy, "copy"},     {AccessRequest::Mode::kPause, "pause"},
    {AccessRequest::Mode::kResume, "resume"}, {AccessRequest::Mode::kCheckpoint, "checkpoint"}};
constexpr json::EnumName<AccessRequest::Stream> kStreams[] = {
    {AccessRequest::Stream::kOutput, "stdout"}, {AccessRequest::Stream::kErrors, "stderr"}};
constexpr json::EnumName<AccessRequest::Direction> kDirections[] = {
    {AccessRequest::Direction::kIn, "in"}, {AccessRequest::Direction::kOut, "out"}};

template <typename E, std::size_t N>
std::string_view NameIn(const json::EnumName<E> (&table)[N], E value) {
  for (const auto& entry : table)
    if (entry.value == value) return entry.name;
  return {};
}

Error BadMessage() {
  return Error{ErrorKind::kInvalid, "access.bad_message",
               "the other side of the connection cannot be understood"};
}

}  // namespace

std::string_view AccessModeName(AccessRequest::Mode mode) {
  return NameIn(kModes, mode);
}

AccessChannel::AccessChannel(UniqueFd socket) : socket_(std::move(socket)) {
  ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
}

Status AccessChannel::Send(AccessWord word, std::string_view bytes, int hurry_fd) {
  std::string message(1, static_cast<char>(word));
  for (int i = 0; i < 4; ++i)
    message.push_back(static_cast<char>((bytes.size() >> (8 * i)) & 0xff));
  message.append(bytes);
  for (std::string_view rest = message; !rest.empty();) {
    const ssize_t n = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) rest.remove_prefix(static_cast<std::size_t>(n));
    if (n > 0 || errno == EINTR) continue;
    if (errno != EAGAIN)
      return SysError(errno, "access.gone", "the other side of the connection is gone");
    pollfd fds[2] = {{socket_.get(), POLLOUT, 0}, {bound_ ? -1 : hurry_fd, POLLIN, 0}};
    int wait = -1;
    if (bound_) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(*bound_ - steady_clock::now()).count();
      if (left <= 0)
        return Error{ErrorKind::kUnavailable, "access.gone", "the other side does not read"};
      wait = static_cast<int>(left);
    }
    ::poll(fds, 2, wait);
    if (fds[1].revents != 0) bound_ = steady_clock::now() + kLastWords;
  }
  return {};
}

Result<bool> AccessChannel::Fill() {
  char piece[16 * 1024];
  // A message at a time: what is not asked for waits in the socket.
  while (taken_.size() < kHeaderBytes + kMaxAccessPiece) {
    const ssize_t n = ::recv(socket_.get(), piece, sizeof piece, MSG_DONTWAIT);
    if (n > 0) taken_.append(piece, static_cast<std::size_t>(n));
    if (n > 0 || (n < 0 && errno == EINTR)) continue;
    if (n < 0 && errno == EAGAIN) return true;
    return false;
  }
  return true;
}

Result<std::optional<AccessMessage>> AccessChannel::Next() {
  if (taken_.size() < kHeaderBytes) return std::optional<AccessMessage>();
  std::size_t size = 0;
  for (std::size_t i = 0; i < 4; ++i)
    size |= static_cast<std::size_t>(static_cast<unsigned char>(taken_[1 + i])) << (8 * i);
  if (size > kMaxAccessPiece || kWords.find(taken_[0]) == std::string_view::npos)
    return BadMessage();
  if (taken_.size() < kHeaderBytes + size) return std::optional<AccessMessage>();
  AccessMessage message{static_cast<AccessWord>(taken_[0]), taken_.substr(kHeaderBytes, size)};
  taken_.erase(0, kHeaderBytes + size);
  return std::optional<AccessMessage>(std::move(message));
}

json::Value AccessRequest::ToJson() const {
  json::Object out{{"mode", NameIn(kModes, mode)}, {"runId", run_id}};
  switch (mode) {
    case Mode::kExec: {
      out.Set("argv", json::Value::Texts(argv));
      if (!cwd.empty()) out.Set("cwd", cwd);
      json::Object env;
      for (const auto& [name, value] : vars) env.Set(name, value);
      out.Set("vars", std::move(env));
      if (terminal)
        out.Set("terminal", json::Object{{"rows", terminal->rows}, {"columns", terminal->columns}});
      break;
    }
    case Mode::kAttach:
      out.Set("from", from).Set("stream", NameIn(kStreams, stream)).Set("input", input);
      break;
    case Mode::kCopy:
      out.Set("direction", NameIn(kDirections, direction)).Set("path", path);
      break;
    case Mode::kPause:
    case Mode::kResume:
    case Mode::kCheckpoint:
      break;
  }
  return out;
}

Result<AccessRequest> AccessRequest::Parse(std::string_view text) {
  WRIT_ASSIGN(json::Value value, json::Parse(text, {.max_depth = 8, .max_bytes = kMaxAccessPiece}));
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  AccessRequest out;
  out.mode = reader.Enum("mode", kModes);
  out.run_id = reader.String("runId", {.min_bytes = 1, .max_bytes = 200});
  switch (out.mode) {
    case Mode::kExec:
      out.argv = reader.Strings("argv");
      if (out.argv.empty() || out.argv.front().empty() || out.argv.size() > kMaxArguments)
        reader.issues().Add("object.range", "/argv",
                            "must have 1 to 1000 items, the first a program");
      out.cwd = reader.OptionalString("cwd", {.max_bytes = 4096}).value_or("");
      if (auto vars = reader.OptionalChild("vars")) {
        if (const json::Value* all = value.Find("vars"))
          for (const json::Member& member : all->object()) {
            if (!protocol::EnvName::Parse(member.name) ||
                protocol::IsReservedEnvName(member.name)) {
              issues.Add(
                  "object.value", "/vars",
                  "must not set " + member.name + ": proxy, CA, LD_* and PATH are the session's");
              continue;
            }
            out.vars[member.name] = vars->String(member.name, {.max_bytes = 32 * 1024});
          }
      }
      if (auto terminal = reader.OptionalChild("terminal")) {
        out.terminal =
            TerminalSize{static_cast<std::uint16_t>(terminal->Integer("rows", 1, 65535)),
                         static_cast<std::uint16_t>(terminal->Integer("columns", 1, 65535))};
        terminal->RefuseUnknown();
      }
      break;
    case Mode::kAttach:
      out.from = static_cast<std::uint64_t>(
          reader.OptionalInteger("from", 0, std::int64_t{1} << 50).value_or(0));
      out.stream = reader.OptionalEnum("stream", kStreams).value_or(Stream::kOutput);
      out.input = reader.OptionalBool("input").value_or(false);
      break;
    case Mode::kCopy:
      out.direction = reader.Enum("direction", kDirections);
      out.path = reader.String("path", {.min_bytes = 1, .max_bytes = 4096});
      break;
    case Mode::kPause:
    case Mode::kResume:
    case Mode::kCheckpoint:
      break;
  }
  reader.RefuseUnknown();
  WRIT_TRY(issues.ToStatus("the request for access"));
  return out;
}

Result<AccessChannel> OpenAccess(const std::string& state_dir) {
  const Error nobody{.kind = ErrorKind::kNotFound,
                     .code = "access.no_runner",
                     .message = "no runner in " + state_dir + " lets anybody into its sessions",
                     .hint = "writ runner status; grants.session in runner.json is off by default"};
  auto dir = OpenDirectory(state_dir);
  auto socket = dir ? ConnectToUnixPath(SocketPathIn(dir->get(), kAccessSocket))
                    : Result<UniqueFd>(dir.error());
  if (socket) return AccessChannel(std::move(*socket));
  if (socket.error().sys_errno != EACCES) return nobody;
  return Error{
      .kind = ErrorKind::kDenied,
      .code = "access.other_user",
      .message = "the sessions of the runner in " + state_dir + " are for its own user only",
      .hint = "ask as that user, or as root"};
}

Error AccessFailure(std::string_view text) {
  auto value = json::Parse(text, {.max_bytes = kMaxAccessPiece});
  Error error{ErrorKind::kUnavailable, "access.nonsense", "the runner's answer cannot be read"};
  if (!value) return error;
  auto take = [&](std::string_view name, std::string& to) {
    if (auto found = value->FindString(name)) to = std::string(*found);
  };
  take("code", error.code);
  take("message", error.message);
  take("hint", error.hint);
  if (error.code == "access.not_granted" || error.code == "job.entry_denied" ||
      error.code == "access.undisclosed" || error.code == "checkpoint.secret")
    error.kind = ErrorKind::kDenied;
  if (error.code == "access.no_pause" || error.code == "access.no_checkpoint")
    error.kind = ErrorKind::kUnsupported;
  if (error.code == "job.paused" || error.code == "job.not_paused" ||
      error.code == "job.not_running")
    error.kind = ErrorKind::kConflict;
  if (error.code == "access.no_such_run") error.kind = ErrorKind::kNotFound;
  return error;
}

}  // namespace writ::runner
