#include "writ/backends/launch/launch_plan.h"

#include <cstdlib>
#include <limits>

#include "writ/backends/launch/wire.h"

namespace writ::backends::launch {
namespace {

constexpr std::uint64_t kMagic =
    0x35304c5452495257;  // "WRITL05" read as a number: another version is refused
constexpr std::uint64_t kMaxInt = std::numeric_limits<std::int32_t>::max();
constexpr std::uint64_t kMaxU32 = std::numeric_limits<std::uint32_t>::max();

void WriteStep(const ViewStep& step, Writer& out) {
  out.Number(static_cast<std::uint64_t>(step.kind));
  for (const std::string* text : {&step.target, &step.source, &step.upper, &step.work})
    out.Text(*text);
  out.Number(step.mode);
  out.Number(step.bytes);
  out.Number(step.inodes);
  out.Number(static_cast<std::uint64_t>(step.access));
  out.Number(static_cast<std::uint64_t>(step.if_missing));
  out.Number(static_cast<std::uint64_t>(step.lower_owner));
}

constexpr std::uint64_t kLeastStepBytes = 88;

ViewStep ReadStep(Reader& in) {
  ViewStep step;
  step.kind = static_cast<ViewStep::Kind>(
      in.NumberAtMost(static_cast<std::uint64_t>(ViewStep::Kind::kSeal)));
  for (std::string* text : {&step.target, &step.source, &step.upper, &step.work}) *text = in.Text();
  step.mode = static_cast<mode_t>(in.NumberAtMost(07777));
  step.bytes = in.Number();
  step.inodes = in.Number();
  step.access =
      static_cast<BindAccess>(in.NumberAtMost(static_cast<std::uint64_t>(BindAccess::kDevice)));
  step.if_missing =
      static_cast<IfMissing>(in.NumberAtMost(static_cast<std::uint64_t>(IfMissing::kSkip)));
  step.lower_owner =
      static_cast<LowerOwner>(in.NumberAtMost(static_cast<std::uint64_t>(LowerOwner::kRoot)));
  return step;
}

void WriteFilter(const std::vector<sock_filter>& program, Writer& out) {
  out.Number(program.size());
  for (const sock_filter& op : program) {
    out.Number(op.code | static_cast<std::uint64_t>(op.jt) << 16 |
               static_cast<std::uint64_t>(op.jf) << 24 | static_cast<std::uint64_t>(op.k) << 32);
  }
}

std::vector<sock_filter> ReadFilter(Reader& in) {
  std::vector<sock_filter> program;
  for (std::uint64_t n = in.Count(8); n > 0 && in.ok(); --n) {
    std::uint64_t word = in.Number();
    program.push_back(sock_filter{
        static_cast<std::uint16_t>(word & 0xffff), static_cast<std::uint8_t>((word >> 16) & 0xff),
        static_cast<std::uint8_t>((word >> 24) & 0xff), static_cast<std::uint32_t>(word >> 32)});
  }
  if (program.size() > BPF_MAXINSNS) in.Fail();
  return program;
}

void WriteNamespaces(const NamespacePlan& plan, Writer& out) {
  out.Number(plan.inside_uid);
  out.Number(plan.inside_gid);
  out.Text(plan.host_name);
  out.Number(static_cast<std::uint64_t>(plan.uptime));
  out.Number(plan.view.size());
  for (const ViewStep& step : plan.view) WriteStep(step, out);
  out.Texts(plan.counted);
  out.Texts(plan.runtime);
  out.Number(static_cast<std::uint64_t>(plan.container_kernel));
  out.Number(plan.ready_bound_ms);
  out.Number(plan.leave_bound_ms);
}

NamespacePlan ReadNamespaces(Reader& in) {
  NamespacePlan plan;
  plan.inside_uid = static_cast<uid_t>(in.NumberAtMost(kMaxU32));
  plan.inside_gid = static_cast<gid_t>(in.NumberAtMost(kMaxU32));
  plan.host_name = in.Text();
  plan.uptime = static_cast<Uptime>(in.NumberAtMost(static_cast<std::uint64_t>(Uptime::kFromZero)));
  for (std::uint64_t n = in.Count(kLeastStepBytes); n > 0 && in.ok(); --n)
    plan.view.push_back(ReadStep(in));
  plan.counted = in.Texts();
  plan.runtime = in.Texts();
  plan.container_kernel = static_cast<ContainerKernel>(
      in.NumberAtMost(static_cast<std::uint64_t>(ContainerKernel::kOwn)));
  plan.ready_bound_ms = in.Number();
  plan.leave_bound_ms = in.Number();
  return plan;
}

}  // namespace

std::string_view ViewStepName(ViewStep::Kind kind) {
  switch (kind) {
    case ViewStep::Kind::kDirectory:
      return "directory";
    case ViewStep::Kind::kSymlink:
      return "symlink";
    case ViewStep::Kind::kFile:
      return "file";
    case ViewStep::Kind::kBind:
      return "bind";
    case ViewStep::Kind::kTmpfs:
      return "tmpfs";
    case ViewStep::Kind::kProc:
      return "proc";
    case ViewStep::Kind::kDevpts:
      return "devpts";
    case ViewStep::Kind::kOverlay:
      return "overlay";
    case ViewStep::Kind::kMask:
      return "mask";
    case ViewStep::Kind::kSeal:
      return "seal";
  }
  std::abort();
}

std::string EncodeEnvironment(const std::vector<std::string>& entries) {
  Writer out;
  out.Texts(entries);
  return out.Take();
}

Result<std::vector<std::string>> DecodeEnvironment(std::string_view bytes) {
  Reader in(bytes);
  std::vector<std::string> entries = in.Texts();
  if (!in.AtEnd())
    return Error{ErrorKind::kInvalid, "launch.bad_environment", "the environment cannot be read"};
  return entries;
}

std::string EncodeLaunchPlan(const LaunchPlan& plan) {
  Writer out;
  out.Number(kMagic);
  out.Text(plan.born_in_cgroup);
  out.Texts(plan.cgroup_dirs);
  out.Text(plan.freezer);
  out.Number(plan.limits.size());
  for (const ResourceLimit& limit : plan.limits) {
    out.Number(static_cast<std::uint64_t>(limit.resource));
    out.Number(limit.value);
  }
  out.Number(static_cast<std::uint64_t>(plan.identity));
  out.Number(plan.uid);
  out.Number(plan.gid);
  out.Number(static_cast<std::uint64_t>(plan.keyring));
  out.Number(plan.namespaces ? 1 : 0);
  if (plan.namespaces) WriteNamespaces(*plan.namespaces, out);
  out.Text(plan.cwd);
  out.Number(static_cast<std::uint64_t>(plan.landlock.abi));
  out.Number(plan.landlock.paths.size());
  for (const LandlockPath& rule : plan.landlock.paths) {
    out.Text(rule.path);
    out.Number(static_cast<std::uint64_t>(rule.access));
    out.Number(static_cast<std::uint64_t>(rule.if_missing));
  }
  out.Number(static_cast<std::uint64_t>(plan.landlock.tcp));
  out.Number(plan.landlock.connect_port ? 1 : 0);
  out.Number(plan.landlock.connect_port.value_or(0));
  WriteFilter(plan.allow_list, out);
  WriteFilter(plan.filter, out);
  out.Number(plan.supervise_connect ? 1 : 0);
  out.Number(plan.proxy ? 1 : 0);
  out.Number(plan.proxy ? plan.proxy->ipv4 : 0);
  out.Number(plan.proxy ? plan.proxy->port : 0);
  out.Texts(plan.argv);
  out.Number(plan.terminal ? 1 : 0);
  out.Number(plan.terminal ? plan.terminal->rows : 0);
  out.Number(plan.terminal ? plan.terminal->columns : 0);
  out.Number(static_cast<std::uint64_t>(plan.entries));
  out.Number(plan.wall_timeout_ms);
  out.Number(plan.term_grace_ms);
  return out.Take();
}

Result<LaunchPlan> DecodeLaunchPlan(std::string_view bytes) {
  Reader in(bytes);
  LaunchPlan plan;
  if (in.Number() != kMagic) in.Fail();
  plan.born_in_cgroup = in.Text();
  plan.cgroup_dirs = in.Texts();
  plan.freezer = in.Text();
  for (std::uint64_t n = in.Count(16); n > 0 && in.ok(); --n) {
    ResourceLimit limit;
    limit.resource = static_cast<int>(in.NumberAtMost(kMaxInt));
    limit.value = in.Number();
    plan.limits.push_back(limit);
  }
  plan.identity =
      static_cast<IdentityStep>(in.NumberAtMost(static_cast<std::uint64_t>(IdentityStep::kCheck)));
  plan.uid = static_cast<uid_t>(in.NumberAtMost(kMaxU32));
  plan.gid = static_cast<gid_t>(in.NumberAtMost(kMaxU32));
  plan.keyring = static_cast<SessionKeyring>(
      in.NumberAtMost(static_cast<std::uint64_t>(SessionKeyring::kAsItIs)));
  if (in.NumberAtMost(1) == 1) plan.namespaces = ReadNamespaces(in);
  plan.cwd = in.Text();
  plan.landlock.abi = static_cast<int>(in.NumberAtMost(kMaxInt));
  for (std::uint64_t n = in.Count(24); n > 0 && in.ok(); --n) {
    LandlockPath rule;
    rule.path = in.Text();
    rule.access =
        static_cast<PathAccess>(in.NumberAtMost(static_cast<std::uint64_t>(PathAccess::kDevice)));
    rule.if_missing =
        static_cast<IfMissing>(in.NumberAtMost(static_cast<std::uint64_t>(IfMissing::kSkip)));
    plan.landlock.paths.push_back(std::move(rule));
  }
  plan.landlock.tcp =
      static_cast<TcpRules>(in.NumberAtMost(static_cast<std::uint64_t>(TcpRules::kNone)));
  const bool has_connect_port = in.NumberAtMost(1) == 1;
  auto connect_port = static_cast<std::uint16_t>(in.NumberAtMost(0xffff));
  if (has_connect_port) plan.landlock.connect_port = connect_port;
  plan.allow_list = ReadFilter(in);
  plan.filter = ReadFilter(in);
  plan.supervise_connect = in.NumberAtMost(1) == 1;
  const bool has_proxy = in.NumberAtMost(1) == 1;
  ProxyTarget proxy;
  proxy.ipv4 = static_cast<std::uint32_t>(in.NumberAtMost(kMaxU32));
  proxy.port = static_cast<std::uint16_t>(in.NumberAtMost(0xffff));
  if (has_proxy) plan.proxy = proxy;
  plan.argv = in.Texts();
  const bool has_terminal = in.NumberAtMost(1) == 1;
  TerminalSize size;
  size.rows = static_cast<std::uint16_t>(in.NumberAtMost(0xffff));
  size.columns = static_cast<std::uint16_t>(in.NumberAtMost(0xffff));
  if (has_terminal) plan.terminal = size;
  plan.entries =
      static_cast<Entries>(in.NumberAtMost(static_cast<std::uint64_t>(Entries::kAccepted)));
  plan.wall_timeout_ms = in.Number();
  plan.term_grace_ms = in.Number();
  if (plan.argv.empty()) in.Fail();
  if (!in.AtEnd())
    return Error{ErrorKind::kInvalid, "launch.bad_plan", "the launch plan cannot be read"};
  return plan;
}

}  // namespace writ::backends::launch
