#include "writ/backends/microvm/messages.h"

#include <utility>

#include "status_wire.h"
#include "writ/backends/launch/wire.h"

namespace writ::backends::microvm {
namespace {

using launch::Reader;
using launch::Writer;

constexpr std::uint64_t kMaxMode = 07777;
constexpr std::uint64_t kMaxMillis = 1ull << 50;
constexpr std::uint64_t kMaxCode = 255;
constexpr std::uint64_t kMaxSignal = 127;
constexpr std::uint64_t kMaxSize = 0xffff;
constexpr auto kLastKind = static_cast<std::uint64_t>(Outcome::Kind::kLost);
constexpr auto kLastLimit = static_cast<std::uint64_t>(LimitKind::kCpuShare);

template <typename T>
Result<T> Whole(const Reader& in, T value) {
  if (!in.AtEnd())
    return Error{ErrorKind::kInvalid, "microvm.message", "a message is not what was agreed"};
  return value;
}

void Put(Writer& out, bool value) {
  out.Number(value ? 1 : 0);
}
bool TakeBool(Reader& in) {
  return in.NumberAtMost(1) == 1;
}

void PutSize(Writer& out, const TerminalSize& size) {
  out.Number(size.rows);
  out.Number(size.columns);
}

TerminalSize TakeSize(Reader& in) {
  TerminalSize size;
  size.rows = static_cast<std::uint16_t>(in.NumberAtMost(kMaxSize));
  size.columns = static_cast<std::uint16_t>(in.NumberAtMost(kMaxSize));
  return size;
}

void PutLimits(Writer& out, const Limits& limits) {
  for (std::uint64_t n :
       {static_cast<std::uint64_t>(limits.term_grace.count()),
        static_cast<std::uint64_t>(limits.cpu_time.count()), limits.cpu_millis, limits.processes,
        limits.open_files, limits.file_bytes, limits.memory_bytes, limits.address_space_bytes,
        limits.disk_bytes, limits.disk_files})
    out.Number(n);
}

Limits TakeLimits(Reader& in) {
  Limits limits;
  limits.term_grace = std::chrono::milliseconds(in.NumberAtMost(kMaxMillis));
  limits.cpu_time = std::chrono::milliseconds(in.NumberAtMost(kMaxMillis));
  for (std::uint64_t* n :
       {&limits.cpu_millis, &limits.processes, &limits.open_files, &limits.file_bytes,
        &limits.memory_bytes, &limits.address_space_bytes, &limits.disk_bytes, &limits.disk_files})
    *n = in.Number();
  return limits;
}

void PutSyscalls(Writer& out, const Syscalls& syscalls) {
  out.Number(syscalls.index());
  const auto* all = std::get_if<AllSyscallsGrant>(&syscalls);
  out.Text(all != nullptr ? all->granted_by : std::string());
}

Syscalls TakeSyscalls(Reader& in) {
  const std::uint64_t profile = in.NumberAtMost(std::variant_size_v<Syscalls> - 1);
  std::string granted_by = in.Text();
  if (profile == 2) return AllSyscallsGrant{std::move(granted_by)};
  if (!granted_by.empty()) in.Fail();
  if (profile == 1) return BuildSyscalls{};
  return DefaultSyscalls{};
}

struct HostBody {
  Writer& out;
  void operator()(const JobOrder& order) const {
    out.Text(order.run_id);
    out.Texts(order.argv);
    out.Text(order.cwd);
    out.Text(order.user_name);
    out.Number(order.home_files.size());
    for (const HomeFile& file : order.home_files) {
      out.Text(file.path);
      out.Text(file.bytes);
      out.Number(file.mode);
    }
    out.Texts(order.home_directories);
    out.Texts(order.read_only_trees);
    out.Number(order.on_base ? 1 : 0);
    out.Texts(order.base_trees);
    out.Text(order.checkpoint);
    PutLimits(out, order.limits);
    PutSyscalls(out, order.syscalls);
    Put(out, order.proxied);
    Put(out, order.merged);
    Put(out, order.entries);
    Put(out, order.terminal.has_value());
    if (order.terminal) PutSize(out, *order.terminal);
  }
  void operator()(const Go& go) const { out.Texts(go.environment); }
  void operator()(const Cancel&) const {}
  void operator()(const Kill&) const {}
  void operator()(const Resize& resize) const { PutSize(out, resize.size); }
  void operator()(const SetClock& clock) const { out.Number(clock.realtime_ns); }
  void operator()(const Hold&) const {}
};

JobOrder TakeOrder(Reader& in) {
  constexpr std::uint64_t kLeastFile = 24;
  JobOrder order;
  order.run_id = in.Text();
  order.argv = in.Texts();
  order.cwd = in.Text();
  order.user_name = in.Text();
  const std::uint64_t files = in.Count(kLeastFile);
  for (std::uint64_t i = 0; i < files && in.ok(); ++i) {
    HomeFile file;
    file.path = in.Text();
    file.bytes = in.Text();
    file.mode = static_cast<mode_t>(in.NumberAtMost(kMaxMode));
    order.home_files.push_back(std::move(file));
  }
  order.home_directories = in.Texts();
  order.read_only_trees = in.Texts();
  order.on_base = in.NumberAtMost(1) == 1;
  order.base_trees = in.Texts();
  order.checkpoint = in.Text();
  order.limits = TakeLimits(in);
  order.syscalls = TakeSyscalls(in);
  order.proxied = TakeBool(in);
  order.merged = TakeBool(in);
  order.entries = TakeBool(in);
  if (TakeBool(in)) order.terminal = TakeSize(in);
  return order;
}

struct GuestBody {
  Writer& out;
  void operator()(const Prepared&) const {}
  void operator()(const Started&) const {}
  void operator()(const Refused& refused) const {
    out.Text(refused.program);
    out.Text(refused.address);
    out.Text(refused.reason);
  }
  void operator()(const Ended& ended) const {
    out.Number(static_cast<std::uint64_t>(ended.kind));
    out.Text(ended.reason);
    Put(out, ended.status.has_value());
    if (ended.status) PutStatus(out, *ended.status);
    out.Number(ended.duration_ns);
    out.Number(ended.limit ? static_cast<std::uint64_t>(*ended.limit) + 1 : 0);
    for (std::uint64_t n : {ended.refused_total, ended.proxied_total, ended.user_us,
                            ended.system_us, ended.max_resident_bytes})
      out.Number(n);
    out.Texts(ended.leaks);
  }
  void operator()(const ClockSet& clock) const { out.Number(clock.realtime_ns); }
  void operator()(const Held& held) const { Put(out, held.whole); }
};

Ended TakeEnded(Reader& in) {
  Ended ended;
  ended.kind = static_cast<Outcome::Kind>(in.NumberAtMost(kLastKind));
  ended.reason = in.Text();
  if (TakeBool(in)) ended.status = TakeStatus(in);
  ended.duration_ns = in.Number();
  if (const std::uint64_t limit = in.NumberAtMost(kLastLimit + 1); limit != 0)
    ended.limit = static_cast<LimitKind>(limit - 1);
  for (std::uint64_t* n : {&ended.refused_total, &ended.proxied_total, &ended.user_us,
                           &ended.system_us, &ended.max_resident_bytes})
    *n = in.Number();
  ended.leaks = in.Texts();
  return ended;
}

template <typename Body, typename Word>
std::string EncodeWord(const Word& word) {
  Writer out;
  out.Number(word.index());
  std::visit(Body{out}, word);
  return out.Take();
}

}  // namespace

void PutStatus(Writer& out, const ExitStatus& status) {
  Put(out, status.signalled);
  out.Number(static_cast<std::uint64_t>(status.signalled ? status.signal : status.code));
}

ExitStatus TakeStatus(Reader& in) {
  ExitStatus status;
  status.signalled = TakeBool(in);
  const auto number = static_cast<int>(in.NumberAtMost(status.signalled ? kMaxSignal : kMaxCode));
  (status.signalled ? status.signal : status.code) = number;
  if (status.signalled && number == 0) in.Fail();
  return status;
}

std::string Encode(const Hello& hello) {
  Writer out;
  for (const std::string* text : {&hello.token, &hello.agent, &hello.kernel}) out.Text(*text);
  Put(out, hello.usable);
  out.Text(hello.unusable_reason);
  out.Text(hello.isolation);
  return out.Take();
}

Result<Hello> DecodeHello(std::string_view bytes) {
  Reader in(bytes);
  Hello hello;
  for (std::string* text : {&hello.token, &hello.agent, &hello.kernel}) *text = in.Text();
  hello.usable = TakeBool(in);
  hello.unusable_reason = in.Text();
  hello.isolation = in.Text();
  return Whole(in, std::move(hello));
}

std::string Encode(const Identity& identity) {
  Writer out;
  out.Text(identity.entropy);
  out.Number(identity.realtime_ns);
  out.Text(identity.host_name);
  out.Text(identity.machine_id);
  out.Text(identity.token);
  return out.Take();
}

Result<Identity> DecodeIdentity(std::string_view bytes) {
  Reader in(bytes);
  Identity identity;
  identity.entropy = in.Text();
  identity.realtime_ns = in.Number();
  identity.host_name = in.Text();
  identity.machine_id = in.Text();
  identity.token = in.Text();
  return Whole(in, std::move(identity));
}

std::string Encode(const IdentityTaken& taken) {
  Writer out;
  out.Number(taken.realtime_ns);
  Put(out, taken.reseeded);
  out.Text(taken.host_name);
  out.Text(taken.machine_id);
  return out.Take();
}

Result<IdentityTaken> DecodeIdentityTaken(std::string_view bytes) {
  Reader in(bytes);
  IdentityTaken taken;
  taken.realtime_ns = in.Number();
  taken.reseeded = TakeBool(in);
  taken.host_name = in.Text();
  taken.machine_id = in.Text();
  return Whole(in, taken);
}

std::string Encode(const Metrics& metrics) {
  Writer out;
  for (std::uint64_t n : {metrics.memory_total, metrics.memory_available, metrics.cpu_us,
                          metrics.disk_bytes, metrics.uptime_us})
    out.Number(n);
  return out.Take();
}

Result<Metrics> DecodeMetrics(std::string_view bytes) {
  Reader in(bytes);
  Metrics metrics;
  for (std::uint64_t* n : {&metrics.memory_total, &metrics.memory_available, &metrics.cpu_us,
                           &metrics.disk_bytes, &metrics.uptime_us})
    *n = in.Number();
  return Whole(in, metrics);
}

std::string Encode(const WarmUp& command) {
  Writer out;
  out.Texts(command.argv);
  return out.Take();
}

Result<WarmUp> DecodeWarmUp(std::string_view bytes) {
  Reader in(bytes);
  WarmUp command;
  command.argv = in.Texts();
  if (command.argv.empty()) in.Fail();
  return Whole(in, std::move(command));
}

std::string Encode(const RootJob& job) {
  Writer out;
  out.Number(job.uid);
  out.Number(job.gid);
  out.Text(job.cwd);
  out.Texts(job.environment);
  return out.Take();
}

Result<RootJob> DecodeRootJob(std::string_view bytes) {
  constexpr std::uint64_t kMaxId = 65'533;
  Reader in(bytes);
  RootJob job;
  job.uid = in.NumberAtMost(kMaxId);
  job.gid = in.NumberAtMost(kMaxId);
  job.cwd = in.Text();
  job.environment = in.Texts();
  if (!job.cwd.starts_with('/')) in.Fail();
  return Whole(in, std::move(job));
}

std::string Encode(const WarmedUp& warmed) {
  Writer out;
  PutStatus(out, warmed.status);
  out.Text(warmed.output);
  return out.Take();
}

Result<WarmedUp> DecodeWarmedUp(std::string_view bytes) {
  Reader in(bytes);
  WarmedUp warmed;
  warmed.status = TakeStatus(in);
  warmed.output = in.Text();
  return Whole(in, std::move(warmed));
}

std::string Encode(const HostWord& word) {
  return EncodeWord<HostBody>(word);
}

Result<HostWord> DecodeHostWord(std::string_view bytes) {
  Reader in(bytes);
  switch (in.NumberAtMost(std::variant_size_v<HostWord> - 1)) {
    case 0: {
      HostWord word = TakeOrder(in);
      return Whole(in, std::move(word));
    }
    case 1: {
      HostWord word = Go{in.Texts()};
      return Whole(in, std::move(word));
    }
    case 2:
      return Whole(in, HostWord(Cancel{}));
    case 3:
      return Whole(in, HostWord(Kill{}));
    case 4: {
      HostWord word = Resize{TakeSize(in)};
      return Whole(in, std::move(word));
    }
    case 5: {
      HostWord word = SetClock{in.Number()};
      return Whole(in, std::move(word));
    }
    default:
      return Whole(in, HostWord(Hold{}));
  }
}

std::string Encode(const GuestWord& word) {
  return EncodeWord<GuestBody>(word);
}

Result<GuestWord> DecodeGuestWord(std::string_view bytes) {
  Reader in(bytes);
  switch (in.NumberAtMost(std::variant_size_v<GuestWord> - 1)) {
    case 0:
      return Whole(in, GuestWord(Prepared{}));
    case 1:
      return Whole(in, GuestWord(Started{}));
    case 2: {
      Refused refused;
      refused.program = in.Text();
      refused.address = in.Text();
      refused.reason = in.Text();
      return Whole(in, GuestWord(std::move(refused)));
    }
    case 3: {
      GuestWord word = TakeEnded(in);
      return Whole(in, std::move(word));
    }
    case 4: {
      GuestWord word = ClockSet{in.Number()};
      return Whole(in, std::move(word));
    }
    default: {
      GuestWord word = Held{TakeBool(in)};
      return Whole(in, std::move(word));
    }
  }
}

}  // namespace writ::backends::microvm
