#include "writ/backends/plan.h"
#include "writ/protocol/canonical.h"
#include "writ/protocol/json.h"

namespace writ::backends {
namespace {

json::Value WorkspaceJson(const Workspace& workspace) {
  if (const auto* plain = std::get_if<PlainWorkspace>(&workspace))
    return json::Object{{"dir", plain->dir}};
  const auto& mount = std::get<WorkspaceMount>(workspace);
  json::Object out{{"lower", mount.lower}, {"upper", mount.upper}, {"work", mount.work}};
  if (!mount.kept.empty()) out.Set("kept", mount.kept);
  return out;
}

json::Value NetworkJson(const Network& network) {
  if (std::holds_alternative<NoNetwork>(network)) return json::Object{{"mode", "none"}};
  if (std::holds_alternative<ProxiedNetwork>(network)) return json::Object{{"mode", "proxy"}};
  return json::Object{{"mode", "host"},
                      {"grantedBy", std::get<HostNetworkGrant>(network).granted_by}};
}

json::Value SyscallsJson(const Syscalls& syscalls) {
  json::Object out{{"profile", SyscallProfileName(syscalls)}};
  if (const auto* grant = std::get_if<AllSyscallsGrant>(&syscalls))
    out.Set("grantedBy", grant->granted_by);
  return out;
}

json::Value LimitsJson(const Limits& limits) {
  json::Object sources;
  for (const PlannedLimit& limit : PlannedLimits(limits))
    sources.Set(LimitName(limit.kind), LimitSourceName(limit.source));
  return json::Object{
      {"wallTimeoutMs", limits.wall_timeout.count()},
      {"termGraceMs", limits.term_grace.count()},
      {"outputHeadBytes", limits.output.head_bytes},
      {"outputTailBytes", limits.output.tail_bytes},
      {"endJobOverOutputBytes", limits.output.end_job_over_bytes},
      {"cpuMs", limits.cpu_time.count()},
      {"cpuMillis", limits.cpu_millis},
      {"ioBytesPerSecond", limits.io_bytes_per_second},
      {"processes", limits.processes},
      {"openFiles", limits.open_files},
      {"fileBytes", limits.file_bytes},
      {"memoryBytes", limits.memory_bytes},
      {"addressSpaceBytes", limits.address_space_bytes},
      {"diskBytes", limits.disk_bytes},
      {"diskFiles", limits.disk_files},
      {"coreBytes", 0},
      {"sources", std::move(sources)},
  };
}

json::Value RequireJson(const Requirements& require) {
  json::Object out{
      {"files", EnforcementName(require.files)},
      {"syscalls", EnforcementName(require.syscalls)},
      {"resources", EnforcementName(require.resources)},
      {"processes", EnforcementName(require.processes)},
      {"network",
       EnforcementName(require.advisory_network ? Enforcement::kAdvisory : Enforcement::kKernel)},
  };
  if (require.advisory_network)
    out.Set("advisoryNetworkGrantedBy", require.advisory_network->granted_by);
  return out;
}

json::Value EnvironmentJson(const Environment& env) {
  json::Object vars;
  for (const Variable& v : env.vars) vars.Set(v.name, v.value);
  json::Array secrets;
  for (const SecretVariable& v : env.secrets) secrets.emplace_back(v.name);
  return json::Object{{"vars", std::move(vars)}, {"secretNames", std::move(secrets)}};
}

json::Value HomeJson(const Plan& plan) {
  json::Array files;
  for (const HomeFile& f : plan.home_files)
    files.emplace_back(json::Object{{"path", f.path}, {"mode", f.mode}, {"bytes", f.bytes.size()}});
  return json::Object{{"files", std::move(files)},
                      {"directories", json::Value::Texts(plan.home_directories)}};
}

}  // namespace

std::string_view SyscallProfileName(const Syscalls& syscalls) {
  if (std::holds_alternative<AllSyscallsGrant>(syscalls)) return "none";
  return std::holds_alternative<BuildSyscalls>(syscalls) ? "build" : "default";
}

std::string PlanJson(const Plan& plan) {
  json::Object out{
      {"runId", plan.run_id},
      {"tier", TierName(plan.tier)},
      {"argv", json::Value::Texts(plan.argv)},
      {"env", EnvironmentJson(plan.env)},
      {"workspace", WorkspaceJson(plan.workspace)},
      {"cwd", plan.cwd},
      {"sessionDir", plan.session_dir},
      {"home", HomeJson(plan)},
      {"readOnlyTrees", json::Value::Texts(plan.read_only_trees)},
      {"identity", json::Object{{"uid", plan.identity.uid},
                                {"gid", plan.identity.gid},
                                {"userName", plan.identity.user_name}}},
      {"limits", LimitsJson(plan.limits)},
      {"network", NetworkJson(plan.network)},
      {"syscalls", SyscallsJson(plan.syscalls)},
      {"require", RequireJson(plan.require)},
      {"stderr", plan.stderr_to == StderrTo::kStdout ? "merge" : "capture"},
      {"stdin", "null"},
      {"terminal", plan.terminal ? "pty" : "none"},
  };
  if (plan.terminal)
    out.Set("terminalSize",
            json::Object{{"rows", plan.terminal->rows}, {"columns", plan.terminal->columns}});
  if (plan.entries) out.Set("entriesGrantedBy", plan.entries->granted_by);
  if (!plan.image.empty()) out.Set("image", plan.image);
  return json::CanonicalBytes(json::Value(std::move(out)));
}

}  // namespace writ::backends
