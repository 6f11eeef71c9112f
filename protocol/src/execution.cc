#include "writ/protocol/execution.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "writ/protocol/words.h"

namespace writ::protocol {
namespace {

constexpr std::int64_t kDefaultTimeoutMs = 600000;
constexpr std::int64_t kLongestTimeoutMs = 30ll * 24 * 3600 * 1000;
// Below these no program starts; the kernel's least CPU quota is 1 ms of 100.
constexpr std::int64_t kLeastMemoryBytes = 4ll << 20;
constexpr std::int64_t kLeastCpuMillis = 10;
constexpr std::int64_t kLeastOpenFiles = 16;
constexpr std::int64_t kLeastIoRate = 64 << 10;  // below it nothing ever starts
constexpr std::int64_t kMostBytes = 1ll << 50;
constexpr std::int64_t kMostCpuMillis = 1ll << 20;
constexpr std::int64_t kMostProcesses = 1ll << 22;
constexpr std::int64_t kMostCharacters = 65535;  // of a terminal, each way

constexpr json::EnumName<Execution::Kind> kKindTable[] = {{Execution::Kind::kShell, "shell"},
                                                          {Execution::Kind::kArgv, "argv"},
                                                          {Execution::Kind::kAgent, "agent"}};
constexpr json::EnumName<StderrMode> kStderrTable[] = {{StderrMode::kMerge, "merge"},
                                                       {StderrMode::kCapture, "capture"}};

bool HasNoNul(std::string_view text) {
  return text.find('\0') == std::string_view::npos;
}
constexpr json::TextRule kArgument{
    .max_bytes = 128 * 1024, .pattern = HasNoNul, .pattern_words = "text without NUL"};
constexpr json::TextRule kSomeArgument{.min_bytes = 1,
                                       .max_bytes = 128 * 1024,
                                       .pattern = HasNoNul,
                                       .pattern_words = "text without NUL"};

bool IsImageReference(std::string_view text) {
  for (char c : text)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
          std::string_view("._:-").find(c) != std::string_view::npos))
      return false;
  return text.front() != '-' && text.front() != '.';
}
constexpr json::TextRule kImage{.min_bytes = 1,
                                .max_bytes = 128,
                                .pattern = IsImageReference,
                                .pattern_words = "the name or digest of an image"};
constexpr json::TextRule kGlob{.min_bytes = 1,
                               .max_bytes = 1024,
                               .pattern = IsArtifactGlob,
                               .pattern_words = "a glob over paths of the workspace"};

ExecutionEnv ReadEnv(json::ObjectReader& reader) {
  ExecutionEnv env;
  std::optional<json::ObjectReader> child = reader.OptionalChild("env");
  if (!child) return env;
  if (child->Has("inherit")) env.inherit = child->AllAs<EnvName>("inherit");
  if (child->Has("secrets")) {
    child->ForEachObject(
        "secrets",
        [&](json::ObjectReader& item) {
          ExecutionEnv::SecretMapping mapping;
          mapping.env = item.As<EnvName>("env");
          mapping.secret = item.As<SecretName>("secretName");
          item.RefuseUnknown();
          env.secrets.push_back(std::move(mapping));
        },
        1000);
  }
  if (child->Has("vars")) {
    child->ForEachMember("vars", [&](const std::string& name, const json::Value& value,
                                     const std::string& where) {
      const std::string* text = value.if_string();
      if (!EnvName::Parse(name)) {
        child->issues().Add("name.env", where, "must be named " + std::string(EnvRule::kWords));
      } else if (text == nullptr || !HasNoNul(*text) || text->size() > kArgument.max_bytes) {
        child->issues().Add("object.type", where, "must be a string without NUL, at most 128 KiB");
      } else {
        env.vars.emplace(name, *text);
      }
    });
  }
  env.egress_proxy = child->OptionalBool("egressProxy").value_or(true);
  child->RefuseUnknown();
  return env;
}

json::Value EnvToJson(const ExecutionEnv& env) {
  json::Object out;
  if (!env.inherit.empty()) {
    json::Array names;
    for (const EnvName& name : env.inherit) names.emplace_back(name);
    out.Set("inherit", std::move(names));
  }
  if (!env.vars.empty()) {
    json::Object vars;
    for (const auto& [name, value] : env.vars) vars.Set(name, value);
    out.Set("vars", std::move(vars));
  }
  if (!env.secrets.empty()) {
    json::Array mappings;
    for (const auto& mapping : env.secrets)
      mappings.push_back(json::Object{{"env", mapping.env}, {"secretName", mapping.secret}});
    out.Set("secrets", std::move(mappings));
  }
  if (!env.egress_proxy) out.Set("egressProxy", false);
  return out;
}

}  // namespace

json::Value ExecutionLimits::ToJson() const {
  json::Object out;
  out.SetOptional("memoryBytes", memory_bytes);
  out.SetOptional("cpuMillis", cpu_millis);
  out.SetOptional("cpuMs", cpu_ms);
  out.SetOptional("processes", processes);
  out.SetOptional("openFiles", open_files);
  out.SetOptional("diskBytes", disk_bytes);
  out.SetOptional("ioBytesPerSecond", io_bytes_per_second);
  return out;
}

ExecutionLimits ExecutionLimits::Read(json::ObjectReader reader) {
  ExecutionLimits out;
  out.memory_bytes = reader.OptionalInteger("memoryBytes", kLeastMemoryBytes, kMostBytes);
  out.cpu_millis = reader.OptionalInteger("cpuMillis", kLeastCpuMillis, kMostCpuMillis);
  out.cpu_ms = reader.OptionalInteger("cpuMs", 1, kLongestTimeoutMs * 1024);
  out.processes = reader.OptionalInteger("processes", 1, kMostProcesses);
  out.open_files = reader.OptionalInteger("openFiles", kLeastOpenFiles, kMostProcesses);
  out.disk_bytes = reader.OptionalInteger("diskBytes", 1, kMostBytes);
  out.io_bytes_per_second = reader.OptionalInteger("ioBytesPerSecond", kLeastIoRate, kMostBytes);
  reader.RefuseUnknown();
  return out;
}

json::Value AgentSpec::ToJson() const {
  json::Object out{{"kind", kind}};
  out.SetOptional("version", version);
  return out;
}

AgentSpec AgentSpec::Read(json::ObjectReader reader) {
  AgentSpec agent;
  agent.kind = reader.As<AgentKind>("kind");
  agent.version = reader.OptionalString("version", {.min_bytes = 1, .max_bytes = 128});
  return agent;
}

Execution Execution::Read(json::ObjectReader reader, const json::Value& raw) {
  Execution out;
  out.raw = raw;
  out.kind = reader.Enum("kind", kKindTable);
  switch (out.kind) {
    case Kind::kShell:
      out.script = reader.String("script", kSomeArgument);
      if (auto shell = reader.OptionalString("shell")) {
        out.shell = *shell;
        if (out.shell != "sh" && out.shell != "bash")
          reader.issues().Add("object.enum", reader.PointerOf("shell"), "must be one of sh, bash");
      }
      break;
    case Kind::kArgv:
      out.command = reader.String("command", kSomeArgument);
      out.args = reader.Strings("args", kArgument);
      break;
    case Kind::kAgent:
      out.agent = AgentSpec::Read(reader.Child("agent"));
      out.prompt = reader.String("prompt", kSomeArgument);
      break;
  }
  out.cwd = reader.OptionalAs<WorkspaceDir>("cwd");
  out.timeout_ms = reader.OptionalInteger("timeoutMs", 1, kLongestTimeoutMs);
  out.env = ReadEnv(reader);
  if (auto log = reader.OptionalChild("log")) {
    ExecutionLog spec;
    if (auto mode = log->OptionalString("stdout"); mode && *mode != "capture") {
      log->issues().Add("object.enum", log->PointerOf("stdout"), "must be one of capture");
    }
    spec.stderr_mode = log->OptionalEnum("stderr", kStderrTable).value_or(StderrMode::kMerge);
    spec.max_bytes = log->OptionalInteger("maxBytes", 1);
    log->RefuseUnknown();
    out.log = spec;
  }
  if (reader.Has("artifacts")) {
    out.artifacts = reader.Strings("artifacts", kGlob);
    if (out.artifacts.size() > kMaxArtifactGlobs)
      reader.issues().Add("object.range", reader.PointerOf("artifacts"),
                          "must have at most " + std::to_string(kMaxArtifactGlobs) + " items");
  }
  out.result = reader.OptionalAs<WorkspacePath>("result");
  if (auto limits = reader.OptionalChild("limits")) out.limits = ExecutionLimits::Read(*limits);
  out.idempotent = reader.OptionalBool("idempotent").value_or(false);
  out.image = reader.OptionalString("image", kImage);
  out.syscalls = reader.OptionalEnum("syscalls", kSyscallProfileTable);
  if (auto terminal = reader.OptionalChild("terminal")) {
    TerminalSize size;
    if (auto rows = terminal->OptionalInteger("rows", 1, kMostCharacters))
      size.rows = static_cast<std::uint16_t>(*rows);
    if (auto columns = terminal->OptionalInteger("columns", 1, kMostCharacters))
      size.columns = static_cast<std::uint16_t>(*columns);
    terminal->RefuseUnknown();
    out.terminal = size;
    if (out.log && out.log->stderr_mode == StderrMode::kCapture)
      reader.issues().Add("object.value", reader.PointerOf("terminal"),
                          "a terminal has one stream: log.stderr must not be capture");
  }
  reader.RefuseUnknown();
  return out;
}

Result<Execution> Execution::Parse(const json::Value& value) {
  json::Issues issues;
  Execution out = Read(json::ObjectReader(issues, value), value);
  WRIT_TRY(issues.ToStatus("the execution"));
  return out;
}

json::Value Execution::ToJson() const {
  if (raw.is_object()) return raw;
  json::Object out{{"kind", WordIn(kKindTable, kind)}};
  switch (kind) {
    case Kind::kShell:
      out.Set("script", script);
      if (shell != "sh") out.Set("shell", shell);
      break;
    case Kind::kArgv:
      out.Set("command", command);
      out.Set("args", json::Value::Texts(args));
      break;
    case Kind::kAgent:
      out.Set("agent", agent.ToJson());
      out.Set("prompt", prompt);
      break;
  }
  out.SetOptional("cwd", cwd);
  out.SetOptional("timeoutMs", timeout_ms);
  if (json::Value env_json = EnvToJson(env); !env_json.object().empty())
    out.Set("env", std::move(env_json));
  if (log) {
    json::Object spec{{"stdout", "capture"}, {"stderr", WordIn(kStderrTable, log->stderr_mode)}};
    spec.SetOptional("maxBytes", log->max_bytes);
    out.Set("log", std::move(spec));
  }
  if (!artifacts.empty()) out.Set("artifacts", json::Value::Texts(artifacts));
  out.SetOptional("result", result);
  if (json::Value most = limits.ToJson(); !most.object().empty())
    out.Set("limits", std::move(most));
  if (idempotent) out.Set("idempotent", true);
  out.SetOptional("image", image);
  if (syscalls) out.Set("syscalls", Word(*syscalls));
  if (terminal)
    out.Set("terminal", json::Object{{"rows", terminal->rows}, {"columns", terminal->columns}});
  return out;
}

Result<PreparedExecution> Prepare(const Execution& execution,
                                  std::optional<double> max_duration_min,
                                  const PrepareOptions& options) {
  PreparedExecution out;
  if (execution.cwd) out.cwd = execution.cwd->text();
  std::optional<std::int64_t> budget_ms;
  if (max_duration_min)
    budget_ms = std::max<std::int64_t>(1, std::llround(std::min(*max_duration_min, 1e6) * 60000));
  std::int64_t timeout = kDefaultTimeoutMs;
  if (execution.timeout_ms && budget_ms && options.timeout_rule == TimeoutRule::kSmallest) {
    timeout = std::min(*execution.timeout_ms, *budget_ms);
  } else if (execution.timeout_ms) {
    timeout = *execution.timeout_ms;
  } else if (budget_ms) {
    timeout = *budget_ms;
  }
  out.timeout = std::chrono::milliseconds(timeout);
  out.env = execution.env;
  if (execution.log) {
    out.log_max_bytes = execution.log->max_bytes;
    out.stderr_mode = execution.log->stderr_mode;
  }
  switch (execution.kind) {
    case Execution::Kind::kShell:
      out.is_shell = true;
      out.shell = execution.shell;
      out.script = execution.script;
      return out;
    case Execution::Kind::kArgv:
      out.cmd = execution.command;
      out.args = execution.args;
      return out;
    case Execution::Kind::kAgent:
      break;
  }
  const std::string& kind = execution.agent.kind.text();
  if (kind == "claude-code") {
    out.cmd = "claude";
    out.args = {"-p", execution.prompt, "--permission-mode", "acceptEdits"};
  } else if (kind == "codex") {
    out.cmd = "codex";
    out.args = {"exec", "--skip-git-repo-check", execution.prompt};
  } else if (kind == "pi") {
    out.cmd = "pi";
    out.args = {"--harness-only"};
  } else if (kind == "mock" && !options.mock_command.empty()) {
    out.cmd = options.mock_command[0];
    out.args.assign(options.mock_command.begin() + 1, options.mock_command.end());
    out.args.push_back(execution.prompt);
  } else if (kind == "command") {
    out.is_shell = true;
    out.shell = "sh";
    out.script = execution.prompt;
  } else {
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "execution.unknown_agent",
                 .message = "no command line is known for the agent kind \"" + kind + "\"",
                 .hint = "known kinds: claude-code, codex, pi, mock, command"};
  }
  return out;
}

json::Value PreparedExecution::ToJson() const {
  json::Object out{{"kind", is_shell ? "shell" : "argv"}};
  if (is_shell) {
    out.Set("script", script).Set("shell", shell);
  } else {
    out.Set("cmd", cmd).Set("args", json::Value::Texts(args));
  }
  out.Set("cwd", cwd).Set("timeoutMs", static_cast<std::int64_t>(timeout.count()));
  out.SetOptional("logMaxBytes", log_max_bytes);
  json::Object variables;
  for (const auto& [name, value] : env.vars) variables.Set(name, value);
  for (const auto& mapping : env.secrets)
    variables.Set(mapping.env.text(), "__WARRANT_SECRET__:" + mapping.secret.text());
  out.Set("env", std::move(variables)).Set("egressProxy", env.egress_proxy);
  return out;
}

Digest PreparedExecution::ExecutionHash() const {
  if (is_shell)
    return HashValue(
        json::Object{{"kind", "shell"}, {"shell", shell}, {"script", script}, {"cwd", cwd}});
  return HashValue(json::Object{
      {"kind", "argv"}, {"cmd", cmd}, {"args", json::Value::Texts(args)}, {"cwd", cwd}});
}

bool IsArtifactGlob(std::string_view glob) {
  if (glob.empty() || glob.size() > 1024) return false;
  if (glob.find('\0') != std::string_view::npos || glob.find('\\') != std::string_view::npos)
    return false;
  for (std::size_t begin = 0; begin <= glob.size();) {
    const std::size_t end = std::min(glob.find('/', begin), glob.size());
    const std::string_view part = glob.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

bool IsReservedEnvName(std::string_view name) {
  constexpr std::array kNames = {
      // the base environment that is ours
      "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "ENV", "BASH_ENV", "IFS",
      // proxies, whichever case the program reads
      "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY", "WS_PROXY", "WSS_PROXY",
      "NPM_CONFIG_PROXY", "NPM_CONFIG_HTTPS_PROXY", "NPM_CONFIG_NOPROXY",
      // certificate authorities
      "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
      "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_NO_VERIFY",
      "AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO", "PIP_CERT", "DENO_CERT", "NPM_CONFIG_CAFILE",
      "NODE_TLS_REJECT_UNAUTHORIZED", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "OPENSSL_CONF",
      "OPENSSL_MODULES"};
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (upper.starts_with("LD_") || upper.starts_with("WRIT_")) return true;
  return std::find(kNames.begin(), kNames.end(), upper) != kNames.end();
}

}  // namespace writ::protocol
