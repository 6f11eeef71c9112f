#include "secret_source.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "writ/base/child.h"
#include "writ/base/clock.h"
#include "writ/base/file.h"
#include "writ/protocol/names.h"
#include "writ/protocol/reader.h"
#include "writ/protocol/secret_rules.h"

namespace writ::plane {
namespace {

using protocol::kMaxSecretBytes;

constexpr json::EnumName<SecretSource::Kind> kKindTable[] = {
    {SecretSource::Kind::kSealed, "sealed"},
    {SecretSource::Kind::kFile, "file"},
    {SecretSource::Kind::kEnvironment, "environment"},
    {SecretSource::Kind::kExecutable, "executable"},
};

Error Unavailable(std::string message, std::string hint = {}) {
  return Error{.kind = ErrorKind::kUnavailable,
               .code = "secret.unavailable",
               .message = std::move(message),
               .hint = std::move(hint)};
}

Secret Trimmed(std::string& bytes) {
  if (!bytes.empty() && bytes.back() == '\n') bytes.pop_back();
  return Secret::Consume(bytes);
}

Result<Secret> FromFile(const std::string& path) {
  auto bytes = ReadFile(path, kMaxSecretBytes);
  if (!bytes) return Unavailable("the secret's file cannot be read", bytes.error().message);
  return Trimmed(*bytes);
}

// Whatever a program has started in its session ends with it: while it is not reaped, its number
// is nobody else's.
class Session {
 public:
  explicit Session(Child& leader) : leader_(leader) {}
  ~Session() { End(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  // The leader's end; nullopt: it has not ended by itself in this time.
  Result<std::optional<ExitStatus>> Wait(std::chrono::milliseconds left) {
    pollfd ended{leader_.pidfd(), POLLIN, 0};
    int ready = 0;
    do {
      ready = ::poll(&ended, 1, static_cast<int>(left.count()));
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) return std::optional<ExitStatus>();
    End();
    return leader_.Wait(std::nullopt);
  }

 private:
  void End() const {
    if (leader_.running()) ::kill(-leader_.pid(), SIGKILL);
  }
  Child& leader_;
};

// Reads until end-of-file, the limit or the deadline. The output is a value: never part of an
// error.
Result<Secret> FromExecutable(const SecretSource& source) {
  WRIT_ASSIGN(Pipe pipe, MakePipe());
  SpawnOptions options;
  options.path = source.location;
  options.argv.push_back(source.location);
  options.argv.insert(options.argv.end(), source.args.begin(), source.args.end());
  options.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                 "LANG=C.UTF-8"};
  options.fds = {{pipe.write_end.get(), 1}};
  auto child = Child::Spawn(options);
  if (!child)
    return Unavailable("the secret's executable cannot be started", child.error().message);
  Session session(*child);
  pipe.write_end.reset();
  SystemClock clock;
  const auto deadline = clock.Monotonic() + source.deadline;
  auto left = [&] {
    auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock.Monotonic());
    return std::max(ms, std::chrono::milliseconds(0));
  };
  const std::string late = "the secret's executable did not end within " +
                           std::to_string(source.deadline.count()) + " ms";
  std::string bytes;
  bytes.reserve(kMaxSecretBytes + 4096);  // never moved, so nothing is left behind unwiped
  for (;;) {
    pollfd waiting{pipe.read_end.get(), POLLIN, 0};
    int ready = ::poll(&waiting, 1, static_cast<int>(left().count()));
    if (ready < 0 && errno == EINTR) continue;
    char chunk[4096];
    ssize_t n = ready > 0 ? ::read(pipe.read_end.get(), chunk, sizeof chunk) : -1;
    if (n > 0) bytes.append(chunk, static_cast<std::size_t>(n));
    explicit_bzero(chunk, sizeof chunk);
    if (n == 0) break;
    if (n < 0 || bytes.size() > kMaxSecretBytes) {
      const bool too_large = bytes.size() > kMaxSecretBytes;
      Secret wiped = Secret::Consume(bytes);
      if (too_large) return Unavailable("the secret's executable wrote more than 64 KiB");
      return Unavailable(late);
    }
  }
  Secret value = Trimmed(bytes);
  WRIT_ASSIGN(auto status, session.Wait(left()));
  if (!status) return Unavailable(late);
  if (status->signalled || status->code != 0) {
    return Unavailable("the secret's executable ended with status " +
                       std::to_string(status->ShellCode()));
  }
  return value;
}

}  // namespace

Result<Secret> FetchSecret(const SecretSource& source) {
  switch (source.kind) {
    case SecretSource::Kind::kSealed:
      break;  // the store's own: see Plane
    case SecretSource::Kind::kFile:
      return FromFile(source.location);
    case SecretSource::Kind::kEnvironment: {
      const char* value = std::getenv(source.location.c_str());
      if (value == nullptr) {
        return Unavailable("the variable " + source.location + " is not set for the plane");
      }
      return Secret(std::string_view(value));
    }
    case SecretSource::Kind::kExecutable:
      return FromExecutable(source);
  }
  return Unavailable("the secret has no source");
}

json::Value SourceToJson(const SecretSource& source) {
  json::Object out{{"kind", protocol::WordIn(kKindTable, source.kind)}};
  if (source.kind == SecretSource::Kind::kSealed) return out;
  out.Set("location", source.location);
  if (source.kind == SecretSource::Kind::kExecutable) {
    out.Set("args", json::Value::Texts(source.args));
    out.Set("deadlineMs", source.deadline.count());
  }
  return out;
}

Result<SecretSource> ParseSource(std::string_view text) {
  WRIT_ASSIGN(json::Value value, json::Parse(text));
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  SecretSource source;
  source.kind = reader.Enum("kind", kKindTable);
  source.location = reader.OptionalString("location").value_or("");
  source.args = reader.OptionalStrings("args").value_or(std::vector<std::string>{});
  source.deadline =
      std::chrono::milliseconds(reader.OptionalInteger("deadlineMs").value_or(10'000));
  WRIT_TRY(issues.ToStatus("the source of a secret"));
  return source;
}

Status CheckSource(const SecretSource& source) {
  auto refuse = [](std::string message) {
    return Error{
        .kind = ErrorKind::kInvalid, .code = "secret.source", .message = std::move(message)};
  };
  switch (source.kind) {
    case SecretSource::Kind::kSealed:
      return {};
    case SecretSource::Kind::kEnvironment:
      if (!protocol::EnvRule::Accepts(source.location)) {
        return refuse("the source must be " + std::string(protocol::EnvRule::kWords));
      }
      return {};
    case SecretSource::Kind::kExecutable:
      if (source.deadline < std::chrono::milliseconds(1) ||
          source.deadline > std::chrono::minutes(1)) {
        return refuse("the deadline must be between 1 ms and 60 s");
      }
      [[fallthrough]];
    case SecretSource::Kind::kFile:
      if (!source.location.starts_with('/') || source.location.find('\0') != std::string::npos ||
          !json::IsWellFormedUtf8(source.location)) {
        return refuse("the source must be an absolute path");
      }
      return {};
  }
  return refuse("the source has no known kind");
}

}  // namespace writ::plane
