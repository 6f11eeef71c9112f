#include "writ/runner/config.h"

#include <unistd.h>

#include "config/operations.h"
#include "plan/network.h"
#include "plan/private_places.h"
#include "writ/egress/address.h"
#include "writ/egress/host_name.h"
#include "writ/protocol/execution.h"
#include "writ/protocol/keys.h"
#include "writ/protocol/names.h"
#include "writ/protocol/reader.h"
#include "writ/protocol/words.h"
#include "writ/runner/config_check.h"
#include "writ/runner/profiles.h"

namespace writ::runner {
namespace {

constexpr std::int64_t kMaxPoolAge = 24 * 3600;

// 0: not known.
std::uint64_t HostMemoryBytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0
             ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page)
             : 0;
}

using std::chrono::milliseconds;

Error Wrong(std::string code, std::string message, std::string hint = "") {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "runner.config." + std::move(code),
               .message = std::move(message),
               .hint = std::move(hint)};
}

void ReadMillis(json::ObjectReader& reader, std::string_view name, milliseconds& to,
                std::int64_t min, std::int64_t max) {
  if (auto value = reader.OptionalInteger(name, min, max)) to = milliseconds(*value);
}
void ReadCount(json::ObjectReader& reader, std::string_view name, std::uint64_t& to,
               std::int64_t min) {
  if (auto value = reader.OptionalInteger(name, min)) to = static_cast<std::uint64_t>(*value);
}
void ReadText(json::ObjectReader& reader, std::string_view name, std::string& to) {
  if (auto value = reader.OptionalString(name, {.max_bytes = 64 * 1024})) to = std::move(*value);
}
void ReadFlag(json::ObjectReader& reader, std::string_view name, bool& to) {
  if (auto value = reader.OptionalBool(name)) to = *value;
}
void ReadWords(json::ObjectReader& reader, std::string_view name,
               std::map<std::string, std::string>& to) {
  if (!reader.Has(name)) return;
  reader.ForEachMember(
      name, [&](const std::string& key, const json::Value& value, const std::string& pointer) {
        if (const std::string* text = value.if_string()) {
          to[key] = *text;
        } else {
          reader.issues().Add("object.type", pointer, "must be a string");
        }
      });
}

void ReadPlane(json::ObjectReader reader, RunnerConfig& config) {
  config.plane.url = reader.String("url", {.min_bytes = 1, .max_bytes = 2048});
  config.plane_key_pem = reader.String("keyPem", {.min_bytes = 1, .max_bytes = 4096});
  ReadText(reader, "caFile", config.plane.ca_file);
  ReadText(reader, "pinnedTlsKey", config.plane.pinned_key);
  ReadText(reader, "proxy", config.plane.proxy);
  ReadText(reader, "clientCertFile", config.plane.client_cert_file);
  ReadText(reader, "clientKeyFile", config.plane.client_key_file);
  reader.RefuseUnknown();
}

void ReadLimits(json::ObjectReader reader, OperatorLimits& limits) {
  ReadMillis(reader, "maxTimeoutMs", limits.max_timeout, 1, std::int64_t{366} * 86'400'000);
  ReadCount(reader, "defaultLogBytes", limits.default_log_bytes, 1024);
  ReadCount(reader, "maxLogBytes", limits.max_log_bytes, 1024);
  if (auto output = reader.OptionalChild("output")) {
    ReadCount(*output, "bytes", limits.output.bytes, 1024);
    if (auto word = output->OptionalString("onExceed", {.max_bytes = 32})) {
      if (*word == "kill" || *word == "truncate") {
        limits.output.on_exceed = *word == "kill" ? OnExceed::kKill : OnExceed::kTruncate;
      } else {
        output->issues().Add("object.value", "/limits/output/onExceed", "must be kill or truncate");
      }
    }
    output->RefuseUnknown();
  }
  ReadMillis(reader, "cpuMs", limits.cpu_time, 0, std::int64_t{366} * 86'400'000);
  ReadCount(reader, "cpuMillis", limits.cpu_millis, 0);
  ReadCount(reader, "ioBytesPerSecond", limits.io_bytes_per_second, 0);
  ReadCount(reader, "processes", limits.processes, 1);
  ReadCount(reader, "openFiles", limits.open_files, 16);
  ReadCount(reader, "memoryBytes", limits.memory_bytes, 0);
  ReadCount(reader, "fileBytes", limits.file_bytes, 0);
  ReadCount(reader, "diskBytes", limits.disk_bytes, 0);
  ReadCount(reader, "diskFiles", limits.disk_files, 0);
  ReadCount(reader, "maxChangedFiles", limits.max_changed_files, 1);
  ReadCount(reader, "maxDiffBytes", limits.max_diff_bytes, 1024);
  ReadCount(reader, "maxBlobBytes", limits.max_blob_bytes, 1024);
  ReadCount(reader, "copyBytes", limits.copy_bytes, 1024);
  ReadCount(reader, "copyFiles", limits.copy_files, 1);
  ReadCount(reader, "minFreeDiskBytes", limits.min_free_disk_bytes, 0);
  ReadCount(reader, "minFreeMemoryBytes", limits.min_free_memory_bytes, 0);
  reader.RefuseUnknown();
}

void ReadGrants(json::ObjectReader reader, OperatorGrants& grants) {
  ReadFlag(reader, "openNetwork", grants.open_network);
  ReadFlag(reader, "redactDiffs", grants.redact_diffs);
  ReadFlag(reader, "advisoryNetwork", grants.advisory_network);
  ReadFlag(reader, "unmeteredSpend", grants.unmetered_spend);
  ReadFlag(reader, "allSyscalls", grants.all_syscalls);
  if (auto session = reader.OptionalChild("session")) {
    ReadFlag(*session, "attach", grants.session.attach);
    ReadFlag(*session, "input", grants.session.input);
    ReadFlag(*session, "exec", grants.session.exec);
    ReadFlag(*session, "copy", grants.session.copy);
    ReadFlag(*session, "pause", grants.session.pause);
    ReadFlag(*session, "checkpoint", grants.session.checkpoint);
    session->RefuseUnknown();
  }
  reader.RefuseUnknown();
}

void ReadSyscalls(json::ObjectReader reader, SyscallPolicy& policy) {
  policy.profile =
      reader.OptionalEnum("profile", protocol::kSyscallProfileTable).value_or(policy.profile);
  if (auto list = reader.OptionalStrings("allow")) {
    policy.allow.clear();
    for (const std::string& word : *list) {
      if (auto profile = protocol::ParseSyscallProfile(word))
        policy.allow.push_back(*profile);
      else
        reader.issues().Add("object.enum", reader.PointerOf("allow"),
                            "must hold default, build or none");
    }
  }
  reader.RefuseUnknown();
}

void ReadPlaneLost(json::ObjectReader reader, PlaneLost& lost) {
  static constexpr json::EnumName<PlaneLost::Policy> kPolicies[] = {
      {PlaneLost::Policy::kKeepRunning, "keep-running"}, {PlaneLost::Policy::kStop, "stop"}};
  lost.policy = reader.Enum("policy", kPolicies);
  ReadMillis(reader, "stopAfterMs", lost.stop_after, 1'000, std::int64_t{366} * 86'400'000);
  reader.RefuseUnknown();
}

bool IsAbsolute(const std::string& path) {
  return path.size() > 1 && path[0] == '/' && path.find('\0') == std::string::npos;
}

}  // namespace

Result<RunnerConfig> ParseRunnerConfig(std::string_view text) {
  WRIT_ASSIGN(json::Value value, json::Parse(text, {.max_depth = 16, .max_bytes = 1 << 20}));
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  RunnerConfig config;
  ReadText(reader, "stateDir", config.state_dir);
  if (!config.state_dir.empty()) config.work_dir = config.state_dir + "/work";
  ReadText(reader, "workDir", config.work_dir);
  if (auto plane = reader.OptionalChild("plane")) ReadPlane(std::move(*plane), config);
  ReadText(reader, "pool", config.pool);
  if (auto slots = reader.OptionalInteger("slots", 1, 1024))
    config.slots = static_cast<unsigned>(*slots);
  if (auto range = reader.OptionalChild("uidRange")) {
    config.uid_range = UidRange{static_cast<uid_t>(range->Integer("first", 1, 4294967294)),
                                static_cast<std::uint32_t>(range->Integer("count", 1, 65536))};
    range->RefuseUnknown();
  }
  ReadText(reader, "egressProxy", config.egress_proxy);
  ReadText(reader, "launcher", config.launcher);
  ReadText(reader, "mockAgent", config.mock_agent);
  ReadText(reader, "defaultIsolation", config.default_isolation);
  ReadText(reader, "minimumIsolation", config.minimum_isolation);
  ReadWords(reader, "isolationWords", config.isolation_words);
  if (auto sandbox = reader.OptionalChild("sandbox")) {
    ReadText(*sandbox, "image", config.sandbox_image);
    sandbox->RefuseUnknown();
  }
  if (auto container = reader.OptionalChild("container")) {
    ReadText(*container, "image", config.container.image);
    ReadText(*container, "runtime", config.container.runtime);
    container->RefuseUnknown();
  }
  if (auto microvm = reader.OptionalChild("microvm")) {
    ReadText(*microvm, "vmm", config.microvm.vmm);
    ReadText(*microvm, "program", config.microvm.program);
    if (auto pool = microvm->OptionalChild("pool")) {
      auto& to = config.microvm.pool;
      to.clones = static_cast<std::uint32_t>(pool->Integer("clones", 0, kMaxPoolClones));
      if (auto bytes = pool->OptionalInteger("memoryBytes", 1))
        to.memory_bytes = static_cast<std::uint64_t>(*bytes);
      if (auto age = pool->OptionalInteger("maxAgeSeconds", 1, kMaxPoolAge))
        to.max_age = std::chrono::seconds(*age);
      pool->RefuseUnknown();
    }
    microvm->RefuseUnknown();
  }
  ReadWords(reader, "agentPaths", config.agent_paths);
  if (auto kinds = reader.OptionalChild("agentVars")) {
    for (const AgentProfile& profile : AllProfiles()) {
      const std::string kind(profile.kind);
      if (kinds->Has(kind)) ReadWords(*kinds, kind, config.agent_vars[kind]);
    }
    kinds->RefuseUnknown();
  }
  if (reader.Has("envAllow")) {
    for (const protocol::EnvName& name : reader.AllAs<protocol::EnvName>("envAllow"))
      config.env_allow.push_back(name.text());
  }
  if (auto list = reader.OptionalStrings("searchPath")) config.search_path = std::move(*list);
  if (reader.Has("hostOverrides")) {
    reader.ForEachObject(
        "hostOverrides",
        [&](json::ObjectReader& item) {
          config.host_overrides.push_back(
              {item.String("name", {.min_bytes = 1, .max_bytes = 253}), item.Strings("addresses")});
          item.RefuseUnknown();
        },
        1000);
  }
  if (auto list = reader.OptionalStrings("addressGrants")) config.address_grants = std::move(*list);
  if (auto list = reader.OptionalStrings("allowHosts")) config.allow_hosts = std::move(*list);
  if (auto capacity = reader.OptionalChild("capacity")) {
    ReadCount(*capacity, "cpuMillis", config.capacity.cpu_millis, 0);
    ReadCount(*capacity, "memoryBytes", config.capacity.memory_bytes, 0);
    ReadCount(*capacity, "diskBytes", config.capacity.disk_bytes, 0);
    capacity->RefuseUnknown();
  }
  if (auto limits = reader.OptionalChild("limits")) ReadLimits(*limits, config.limits);
  if (auto syscalls = reader.OptionalChild("syscalls"))
    ReadSyscalls(std::move(*syscalls), config.syscalls);
  if (auto grants = reader.OptionalChild("grants")) ReadGrants(*grants, config.grants);
  ReadMillis(reader, "pollIntervalMs", config.poll_interval, 10, 3'600'000);
  ReadMillis(reader, "longPollMs", config.long_poll, 0, 300'000);
  ReadMillis(reader, "callTimeoutMs", config.call_timeout, 100, 3'600'000);
  ReadMillis(reader, "transferTimeoutMs", config.transfer_timeout, 100, 86'400'000);
  ReadMillis(reader, "heartbeatMs", config.heartbeat, 100, 600'000);
  ReadMillis(reader, "cancelGraceMs", config.cancel_grace, 0, 3'600'000);
  if (auto lost = reader.OptionalChild("planeLost"))
    ReadPlaneLost(std::move(*lost), config.plane_lost);
  ReadOperations(reader, config);
  reader.RefuseUnknown();
  WRIT_TRY(issues.ToStatus("runner configuration"));
  return config;
}

std::string RunnerConfigJson(const RunnerConfig& c) {
  json::Object plane;
  auto text = [](json::Object& to, std::string_view name, const std::string& value) {
    if (!value.empty()) to.Set(name, value);
  };
  text(plane, "url", c.plane.url);
  text(plane, "keyPem", c.plane_key_pem);
  text(plane, "caFile", c.plane.ca_file);
  text(plane, "pinnedTlsKey", c.plane.pinned_key);
  text(plane, "proxy", c.plane.proxy);
  text(plane, "clientCertFile", c.plane.client_cert_file);
  text(plane, "clientKeyFile", c.plane.client_key_file);
  auto words = [](const std::map<std::string, std::string>& map) {
    json::Object out;
    for (const auto& [key, value] : map) out.Set(key, value);
    return out;
  };
  json::Object out{
      {"stateDir", c.state_dir}, {"workDir", c.work_dir}, {"pool", c.pool}, {"slots", c.slots}};
  // A file without a plane leaves it to its caller; half a plane would not be read back.
  if (plane.Contains("url") && plane.Contains("keyPem")) out.Set("plane", std::move(plane));
  if (c.uid_range)
    out.Set("uidRange", json::Object{{"first", c.uid_range->first}, {"count", c.uid_range->count}});
  out.Set("egressProxy", c.egress_proxy);
  text(out, "launcher", c.launcher);
  text(out, "mockAgent", c.mock_agent);
  out.Set("defaultIsolation", c.default_isolation);
  out.Set("minimumIsolation", c.minimum_isolation);
  out.Set("isolationWords", words(c.isolation_words));
  if (!c.sandbox_image.empty()) out.Set("sandbox", json::Object{{"image", c.sandbox_image}});
  json::Object container;
  text(container, "image", c.container.image);
  text(container, "runtime", c.container.runtime);
  if (!container.empty()) out.Set("container", std::move(container));
  json::Object microvm;
  text(microvm, "vmm", c.microvm.vmm);
  text(microvm, "program", c.microvm.program);
  if (const auto& pool = c.microvm.pool; pool.clones > 0)
    microvm.Set("pool", json::Object{{"clones", pool.clones},
                                     {"memoryBytes", pool.memory_bytes},
                                     {"maxAgeSeconds", pool.max_age.count()}});
  if (!microvm.empty()) out.Set("microvm", std::move(microvm));
  out.Set("agentPaths", words(c.agent_paths));
  json::Object agent_vars;
  for (const auto& [kind, vars] : c.agent_vars) agent_vars.Set(kind, words(vars));
  out.Set("agentVars", std::move(agent_vars));
  out.Set("envAllow", json::Value::Texts(c.env_allow));
  out.Set("searchPath", json::Value::Texts(c.search_path));
  json::Array overrides;
  for (const HostOverride& o : c.host_overrides)
    overrides.push_back(
        json::Object{{"name", o.name}, {"addresses", json::Value::Texts(o.addresses)}});
  out.Set("hostOverrides", std::move(overrides));
  out.Set("addressGrants", json::Value::Texts(c.address_grants));
  if (c.allow_hosts) out.Set("allowHosts", json::Value::Texts(*c.allow_hosts));
  out.Set("capacity", json::Object{{"cpuMillis", c.capacity.cpu_millis},
                                   {"memoryBytes", c.capacity.memory_bytes},
                                   {"diskBytes", c.capacity.disk_bytes}});
  const OperatorLimits& l = c.limits;
  out.Set(
      "limits",
      json::Object{
          {"maxTimeoutMs", l.max_timeout.count()},
          {"defaultLogBytes", l.default_log_bytes},
          {"maxLogBytes", l.max_log_bytes},
          {"output",
           json::Object{{"bytes", l.output.bytes},
                        {"onExceed", l.output.on_exceed == OnExceed::kKill ? "kill" : "truncate"}}},
          {"cpuMs", l.cpu_time.count()},
          {"cpuMillis", l.cpu_millis},
          {"ioBytesPerSecond", l.io_bytes_per_second},
          {"processes", l.processes},
          {"openFiles", l.open_files},
          {"memoryBytes", l.memory_bytes},
          {"fileBytes", l.file_bytes},
          {"diskBytes", l.disk_bytes},
          {"diskFiles", l.disk_files},
          {"maxChangedFiles", l.max_changed_files},
          {"maxDiffBytes", l.max_diff_bytes},
          {"maxBlobBytes", l.max_blob_bytes},
          {"copyBytes", l.copy_bytes},
          {"copyFiles", l.copy_files},
          {"minFreeDiskBytes", l.min_free_disk_bytes},
          {"minFreeMemoryBytes", l.min_free_memory_bytes}});
  json::Array profiles;
  for (protocol::SyscallProfile profile : c.syscalls.allow)
    profiles.emplace_back(protocol::Word(profile));
  out.Set("syscalls", json::Object{{"profile", protocol::Word(c.syscalls.profile)},
                                   {"allow", std::move(profiles)}});
  out.Set("grants",
          json::Object{{"openNetwork", c.grants.open_network},
                       {"redactDiffs", c.grants.redact_diffs},
                       {"advisoryNetwork", c.grants.advisory_network},
                       {"unmeteredSpend", c.grants.unmetered_spend},
                       {"allSyscalls", c.grants.all_syscalls},
                       {"session", json::Object{{"attach", c.grants.session.attach},
                                                {"input", c.grants.session.input},
                                                {"exec", c.grants.session.exec},
                                                {"copy", c.grants.session.copy},
                                                {"pause", c.grants.session.pause},
                                                {"checkpoint", c.grants.session.checkpoint}}}});
  out.Set("pollIntervalMs", c.poll_interval.count());
  out.Set("longPollMs", c.long_poll.count());
  out.Set("callTimeoutMs", c.call_timeout.count());
  out.Set("transferTimeoutMs", c.transfer_timeout.count());
  out.Set("heartbeatMs", c.heartbeat.count());
  out.Set("cancelGraceMs", c.cancel_grace.count());
  out.Set("planeLost",
          json::Object{
              {"policy", c.plane_lost.policy == PlaneLost::Policy::kStop ? "stop" : "keep-running"},
              {"stopAfterMs", c.plane_lost.stop_after.count()}});
  WriteOperations(c, out);
  return json::WritePretty(std::move(out)) + "\n";
}

namespace {

Status CheckWayToPlane(const RunnerConfig& c) {
  if (auto origin = ParseOriginUrl(c.plane.url); !origin) return std::move(origin).error();
  if (auto key = protocol::PublicKey::FromPem(c.plane_key_pem); !key)
    return std::move(key).error().With("while reading the pinned plane key");
  return {};
}

Status CheckOwnParts(const RunnerConfig& c) {
  for (const auto& [name, path] :
       {std::pair<const char*, const std::string&>{"stateDir", c.state_dir},
        {"workDir", c.work_dir},
        {"egressProxy", c.egress_proxy}})
    if (!IsAbsolute(path)) return Wrong("path", std::string(name) + " must be an absolute path");
  if (!c.mock_agent.empty() && !IsAbsolute(c.mock_agent))
    return Wrong("path", "mockAgent must be an absolute path");
  for (const auto& [kind, path] : c.agent_paths)
    if (!IsAbsolute(path)) return Wrong("path", "the path of agent " + kind + " must be absolute");
  for (const std::string& path : c.search_path)
    if (!IsAbsolute(path)) return Wrong("path", "searchPath must hold absolute paths");
  if (!protocol::PoolName::Parse(c.pool))
    return Wrong("pool", "the pool's name must match [A-Za-z0-9_.:-]{1,128}");
  if (c.slots < 1 || c.slots > 1024) return Wrong("slots", "slots must be from 1 to 1024");
  if (c.uid_range) {
    // 65534 is nobody, 65535 the 16-bit "no uid": both belong to others.
    std::uint64_t last = std::uint64_t{c.uid_range->first} + c.uid_range->count - 1;
    if (c.uid_range->first == 0 || c.uid_range->count == 0 || last >= 4294967295)
      return Wrong("uid_range", "uidRange must lie between 1 and 4294967294");
    if (c.uid_range->first <= 65535 && last >= 65534)
      return Wrong("uid_range", "uidRange must not contain 65534 and 65535");
    if (c.uid_range->count < c.slots + 1)
      return Wrong("uid_range",
                   "uidRange has " + std::to_string(c.uid_range->count) + " uids, and " +
                       std::to_string(c.slots) + " slots need one each and one for the proxies",
                   "raise uidRange.count or lower slots");
    if (c.uid_range->count < UidsNeeded(c))
      return Wrong("uid_range",
                   "uidRange has " + std::to_string(c.uid_range->count) + " uids, and with " +
                       std::to_string(PoolUidsOf(c)) + " for the machines of microvm.pool " +
                       std::to_string(UidsNeeded(c)) + " are needed",
                   "raise uidRange.count or lower microvm.pool.clones");
  } else if (geteuid() == 0) {
    return Wrong("uid_range", "a runner started by root needs a uidRange: no job runs as uid 0",
                 "for example {\"first\": 200000, \"count\": 64}");
  }
  if (const std::uint64_t host = HostMemoryBytes();
      c.microvm.pool.clones > 0 && host > 0 && c.microvm.pool.memory_bytes > host)
    return Wrong("pool_memory",
                 "microvm.pool.memoryBytes is " +
                     std::to_string(c.microvm.pool.memory_bytes >> 20) +
                     " MiB, and this machine has " + std::to_string(host >> 20) + " MiB in all",
                 "lower it: what waits takes memory from the runs");
  if (!protocol::ParseTier(c.default_isolation))
    return Wrong("isolation", "defaultIsolation must be process, sandbox, container or microvm");
  if (!protocol::ParseTier(c.minimum_isolation))
    return Wrong("isolation", "minimumIsolation must be process, sandbox, container or microvm");
  for (const auto& [word, tier] : c.isolation_words) {
    if (!protocol::ParseTier(tier))
      return Wrong("isolation",
                   "isolationWords must lead to process, sandbox, container or microvm");
    if (protocol::ParseTier(word) && word != tier)
      return Wrong("isolation",
                   "isolationWords must not give one of our own words another meaning");
  }
  if (!c.syscalls.Allows(c.syscalls.profile))
    return Wrong("syscalls", "syscalls.profile must be one of syscalls.allow");
  if (c.syscalls.Allows(protocol::SyscallProfile::kNone) && !c.grants.all_syscalls)
    return Wrong("syscalls", "syscalls.allow has none, which needs grants.allSyscalls",
                 "leave it out, or grant it: such jobs may use every system call of the kernel");
  for (const std::string& cidr : c.address_grants)
    if (!egress::Cidr::Parse(cidr))
      return Wrong("address", "addressGrants must hold ranges such as 10.0.0.0/8");
  for (const auto& [kind, vars] : c.agent_vars) {
    for (const auto& [name, value] : vars) {
      if (!protocol::EnvName::Parse(name) || protocol::IsReservedEnvName(name) ||
          value.find('\0') != std::string::npos)
        return Wrong("agent_vars", "agentVars of " + kind + " must not set " + name,
                     "leave proxy and CA variables, LD_* and PATH out of it");
    }
  }
  for (const std::string& host : c.allow_hosts.value_or(std::vector<std::string>()))
    if (auto entry = ParseOperatorHost(host); !entry)
      return std::move(entry).error().With("while reading allowHosts");
  for (const HostOverride& item : c.host_overrides)
    for (const std::string& address : item.addresses)
      if (!egress::IpAddress::Parse(address))
        return Wrong("address", "hostOverrides must lead to plain addresses");
  if (c.limits.default_log_bytes > c.limits.max_log_bytes)
    return Wrong("limits", "defaultLogBytes is above maxLogBytes");
  return CheckOperations(c);
}

}  // namespace

std::uint32_t PoolUidsOf(const RunnerConfig& c) {
  const std::uint32_t clones = c.microvm.pool.clones;
  return clones == 0 ? 0 : c.slots + clones * kPooledSnapshots;
}

std::uint32_t UidsNeeded(const RunnerConfig& c) {
  return c.slots + 1 + PoolUidsOf(c);
}

Status CheckRunnerConfig(const RunnerConfig& c) {
  WRIT_TRY(CheckOwnParts(c));
  return CheckWayToPlane(c);
}

Status CheckRunnerFile(const RunnerConfig& c) {
  WRIT_TRY(CheckOwnParts(c));
  if (!c.plane.url.empty() || !c.plane_key_pem.empty()) WRIT_TRY(CheckWayToPlane(c));
  return CheckOutOfView(c);
}

}  // namespace writ::runner
