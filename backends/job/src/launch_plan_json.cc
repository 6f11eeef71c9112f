#include "writ/backends/job/launch_plan_json.h"

#include <arpa/inet.h>
#include <sys/resource.h>

#include <cstdio>

#include "writ/protocol/digest.h"

namespace writ::backends {
namespace {

using launch::BindAccess;
using launch::LaunchPlan;
using launch::LowerOwner;
using launch::ViewStep;

std::string Octal(mode_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode));
  return text;
}

std::string_view LimitWord(int resource) {
  switch (resource) {
    case RLIMIT_CORE:
      return "core";
    case RLIMIT_NOFILE:
      return "nofile";
    case RLIMIT_NPROC:
      return "nproc";
    case RLIMIT_FSIZE:
      return "fsize";
    case RLIMIT_AS:
      return "as";
    case RLIMIT_DATA:
      return "data";
    default:
      return "other";
  }
}

std::string_view AccessWord(PathAccess access) {
  switch (access) {
    case PathAccess::kRead:
      return "read";
    case PathAccess::kReadExecute:
      return "read-execute";
    case PathAccess::kReadWrite:
      return "read-write";
    case PathAccess::kDevice:
      return "device";
  }
  return "";
}

std::string_view AccessWord(BindAccess access) {
  switch (access) {
    case BindAccess::kReadOnly:
      return "read-only";
    case BindAccess::kReadWrite:
      return "read-write";
    case BindAccess::kDevice:
      return "device";
  }
  return "";
}

json::Value StepJson(const ViewStep& step) {
  json::Object out{{"step", launch::ViewStepName(step.kind)}, {"target", "/" + step.target}};
  using Kind = ViewStep::Kind;
  switch (step.kind) {
    case Kind::kDirectory:
      out.Set("mode", Octal(step.mode));
      break;
    case Kind::kSymlink:
      out.Set("to", json::ToWellFormedUtf8(step.source));
      break;
    case Kind::kFile:
      out.Set("mode", Octal(step.mode))
          .Set("bytes", step.source.size())
          .Set("sha256", protocol::Sha256(step.source));
      break;
    case Kind::kBind:
      out.Set("from", json::ToWellFormedUtf8(step.source)).Set("access", AccessWord(step.access));
      if (step.if_missing == IfMissing::kSkip) out.Set("ifMissing", "skip");
      break;
    case Kind::kTmpfs:
      out.Set("mode", Octal(step.mode)).Set("bytes", step.bytes).Set("inodes", step.inodes);
      break;
    case Kind::kOverlay:
      out.Set("lower", step.source).Set("upper", step.upper).Set("work", step.work);
      out.Set("lowerOwner", step.lower_owner == LowerOwner::kRoot ? "root, idmapped" : "job");
      break;
    case Kind::kProc:
    case Kind::kDevpts:
    case Kind::kMask:
    case Kind::kSeal:
      break;
  }
  return out;
}

json::Value NamespacesJson(const launch::NamespacePlan& plan) {
  json::Array view;
  for (const ViewStep& step : plan.view) view.push_back(StepJson(step));
  json::Object out{{"insideUid", plan.inside_uid},
                   {"insideGid", plan.inside_gid},
                   {"hostName", plan.host_name},
                   {"uptime", plan.uptime == launch::Uptime::kFromZero ? "from zero" : "host"},
                   {"view", std::move(view)},
                   {"counted", json::Value::Texts(plan.counted)}};
  if (!plan.runtime.empty()) {
    const bool own = plan.container_kernel == launch::ContainerKernel::kOwn;
    out.Set("runtime", json::Value::Texts(plan.runtime)).Set("kernel", own ? "own" : "host");
    if (plan.ready_bound_ms != 0) out.Set("readyBoundMs", plan.ready_bound_ms);
    if (plan.leave_bound_ms != 0) out.Set("leaveBoundMs", plan.leave_bound_ms);
  }
  return out;
}

json::Value LandlockJson(const LandlockRules& rules) {
  json::Array paths;
  for (const LandlockPath& path : rules.paths) {
    json::Object item{{"path", json::ToWellFormedUtf8(path.path)},
                      {"access", AccessWord(path.access)}};
    if (path.if_missing == IfMissing::kSkip) item.Set("ifMissing", "skip");
    paths.push_back(std::move(item));
  }
  json::Object out{{"abi", rules.abi},
                   {"paths", std::move(paths)},
                   {"tcp", rules.tcp == TcpRules::kNone ? "none" : "only-connect-port"}};
  if (rules.connect_port) out.Set("connectPort", *rules.connect_port);
  return out;
}

json::Value FilterJson(const std::vector<sock_filter>& program) {
  if (program.empty()) return nullptr;
  const std::string_view bytes(reinterpret_cast<const char*>(program.data()),
                               program.size() * sizeof(sock_filter));
  return json::Object{{"instructions", program.size()}, {"sha256", protocol::Sha256(bytes)}};
}

json::Value TerminalJson(const TerminalSize& size) {
  return json::Object{{"rows", size.rows}, {"columns", size.columns}};
}

json::Value ProxyJson(const launch::ProxyTarget& proxy) {
  char text[INET_ADDRSTRLEN] = {};
  const in_addr address{proxy.ipv4};
  ::inet_ntop(AF_INET, &address, text, sizeof text);
  return json::Object{{"address", std::string(text)}, {"port", proxy.port}};
}

}  // namespace

json::Value LaunchPlanJson(const LaunchPlan& plan) {
  json::Array limits;
  for (const launch::ResourceLimit& limit : plan.limits)
    limits.push_back(json::Object{{"resource", LimitWord(limit.resource)},
                                  {"number", limit.resource},
                                  {"value", limit.value}});
  json::Array argv;
  for (const std::string& word : plan.argv) argv.emplace_back(json::ToWellFormedUtf8(word));
  json::Object out{
      {"bornInCgroup", plan.born_in_cgroup},
      {"cgroups", json::Value::Texts(plan.cgroup_dirs)},
      {"freezer", plan.freezer},
      {"limits", std::move(limits)},
      {"identity",
       json::Object{
           {"step", plan.identity == launch::IdentityStep::kDrop ? "become" : "is already"},
           {"uid", plan.uid},
           {"gid", plan.gid}}},
      {"sessionKeyring",
       plan.keyring == launch::SessionKeyring::kNew ? "new" : "none on this host"},
      {"namespaces", plan.namespaces ? NamespacesJson(*plan.namespaces) : json::Value(nullptr)},
      {"cwd", json::ToWellFormedUtf8(plan.cwd)},
      {"landlock", LandlockJson(plan.landlock)},
      {"allowList", FilterJson(plan.allow_list)},
      {"filter", FilterJson(plan.filter)},
      {"superviseConnect", plan.supervise_connect},
      {"proxy", plan.proxy ? ProxyJson(*plan.proxy) : json::Value(nullptr)},
      {"argv", std::move(argv)},
      {"terminal", plan.terminal ? TerminalJson(*plan.terminal) : json::Value(nullptr)},
      {"entries", plan.entries == launch::Entries::kAccepted ? "accepted" : "refused"},
      {"wallTimeoutMs", plan.wall_timeout_ms},
      {"termGraceMs", plan.term_grace_ms}};
  return out;
}

json::Value CgroupPlanJson(const CgroupPlan& plan) {
  json::Array writes;
  for (const CgroupPlan::Write& write : plan.writes) {
    json::Object item{{"file", write.file}, {"value", write.value}};
    if (write.where == CgroupPlan::Write::Where::kIfThere) item.Set("ifMissing", "skip");
    writes.push_back(std::move(item));
  }
  return json::Object{{"directories", json::Value::Texts(plan.directories)},
                      {"writes", std::move(writes)}};
}

}  // namespace writ::backends
