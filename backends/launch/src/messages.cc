#include "writ/backends/launch/messages.h"

#include <utility>

#include "writ/backends/launch/wire.h"

namespace writ::backends::launch {
namespace {

// The tag is the position in the variant.
struct Body {
  Writer& out;
  void operator()(const CancelMessage&) const {}
  void operator()(const DeadlineMessage&) const {}
  void operator()(const OutputLimitMessage&) const {}
  void operator()(const LimitPassedMessage&) const {}
  void operator()(const GoMessage&) const {}
  void operator()(const JobMessage&) const {}
  void operator()(const PauseMessage&) const {}
  void operator()(const ResumeMessage&) const {}
  void operator()(const StillMessage& m) const {
    out.Number(m.still);
    out.Text(m.why);
  }
  void operator()(const ReadyMessage& m) const {
    out.Number(static_cast<std::uint64_t>(m.init));
    out.Text(m.machine);
  }
  void operator()(const StartedMessage& m) const { out.Number(static_cast<std::uint64_t>(m.pid)); }
  void operator()(const SetupFailedMessage& m) const {
    out.Text(m.stage);
    out.Number(static_cast<std::uint64_t>(m.err));
  }
  void operator()(const RefusedMessage& m) const {
    out.Number(static_cast<std::uint64_t>(m.pid));
    out.Text(m.program);
    out.Text(m.address);
    out.Text(m.reason);
  }
  void operator()(const EndedMessage& m) const {
    out.Number(static_cast<std::uint64_t>(m.cause));
    for (std::uint64_t n :
         {static_cast<std::uint64_t>(m.observed), static_cast<std::uint64_t>(m.signalled),
          static_cast<std::uint64_t>(m.code), static_cast<std::uint64_t>(m.signal),
          static_cast<std::uint64_t>(m.exec_errno), static_cast<std::uint64_t>(m.tree_dead),
          m.duration_ns, m.user_us, m.system_us, m.max_resident_bytes, m.read_bytes,
          m.written_bytes, m.refused_total, m.proxied_total})
      out.Number(n);
    out.Number(m.limit);
    out.Text(m.note);
  }
  void operator()(const EnterMessage& m) const { out.Number(m.id); }
  void operator()(const SignalEntryMessage& m) const {
    out.Number(m.id);
    out.Number(static_cast<std::uint64_t>(m.signal));
  }
  void operator()(const EntryStartedMessage& m) const { out.Number(m.id); }
  void operator()(const EntryFailedMessage& m) const {
    out.Number(m.id);
    out.Text(m.stage);
    out.Number(static_cast<std::uint64_t>(m.err));
  }
  void operator()(const EntryEndedMessage& m) const {
    out.Number(m.id);
    out.Number(m.signalled);
    out.Number(static_cast<std::uint64_t>(m.code));
    out.Number(static_cast<std::uint64_t>(m.signal));
  }
};

constexpr std::uint64_t kHighestSignal = 64;

EndedMessage ReadEnded(Reader& in) {
  constexpr std::uint64_t kMaxInt = 0x7fffffff;
  EndedMessage m;
  m.cause = static_cast<EndedMessage::Cause>(
      in.NumberAtMost(static_cast<std::uint64_t>(EndedMessage::Cause::kMachineEnded)));
  m.observed = static_cast<std::uint8_t>(in.NumberAtMost(1));
  m.signalled = static_cast<std::uint8_t>(in.NumberAtMost(1));
  m.code = static_cast<std::int32_t>(in.NumberAtMost(kMaxInt));
  m.signal = static_cast<std::int32_t>(in.NumberAtMost(kMaxInt));
  m.exec_errno = static_cast<std::int32_t>(in.NumberAtMost(kMaxInt));
  m.tree_dead = static_cast<std::uint8_t>(in.NumberAtMost(1));
  m.duration_ns = in.Number();
  m.user_us = in.Number();
  m.system_us = in.Number();
  m.max_resident_bytes = in.Number();
  m.read_bytes = in.Number();
  m.written_bytes = in.Number();
  m.refused_total = in.Number();
  m.proxied_total = in.Number();
  m.limit = static_cast<std::uint8_t>(in.NumberAtMost(0xff));
  m.note = in.Text();
  return m;
}

}  // namespace

std::string EncodeMessage(const Message& message) {
  Writer out;
  out.Number(message.index());
  std::visit(Body{out}, message);
  return out.Take();
}

Result<Message> DecodeMessage(std::string_view bytes) {
  Reader in(bytes);
  Message message;
  switch (in.Number()) {
    case 0:
      message = CancelMessage{};
      break;
    case 1:
      message = DeadlineMessage{};
      break;
    case 2:
      message = OutputLimitMessage{};
      break;
    case 3: {
      message = StartedMessage{static_cast<pid_t>(in.NumberAtMost(0x7fffffff))};
      break;
    }
    case 4: {
      SetupFailedMessage m;
      m.stage = in.Text();
      m.err = static_cast<int>(in.NumberAtMost(0x7fffffff));
      message = std::move(m);
      break;
    }
    case 5: {
      RefusedMessage m;
      m.pid = static_cast<pid_t>(in.NumberAtMost(0x7fffffff));
      m.program = in.Text();
      m.address = in.Text();
      m.reason = in.Text();
      message = std::move(m);
      break;
    }
    case 6:
      message = ReadEnded(in);
      break;
    case 7:
      message = LimitPassedMessage{};
      break;
    case 8: {
      ReadyMessage m;
      m.init = static_cast<pid_t>(in.NumberAtMost(0x7fffffff));
      m.machine = in.Text();
      message = std::move(m);
      break;
    }
    case 9:
      message = GoMessage{};
      break;
    case 10:
      message = EnterMessage{in.Number()};
      break;
    case 11: {
      SignalEntryMessage m;
      m.id = in.Number();
      m.signal = static_cast<std::int32_t>(in.NumberAtMost(kHighestSignal));
      message = m;
      break;
    }
    case 12:
      message = EntryStartedMessage{in.Number()};
      break;
    case 13: {
      EntryFailedMessage m;
      m.id = in.Number();
      m.stage = in.Text();
      m.err = static_cast<std::int32_t>(in.NumberAtMost(0x7fffffff));
      message = std::move(m);
      break;
    }
    case 14: {
      EntryEndedMessage m;
      m.id = in.Number();
      m.signalled = static_cast<std::uint8_t>(in.NumberAtMost(1));
      m.code = static_cast<std::int32_t>(in.NumberAtMost(0xff));
      m.signal = static_cast<std::int32_t>(in.NumberAtMost(kHighestSignal));
      message = m;
      break;
    }
    case 15:
      message = JobMessage{};
      break;
    case 16:
      message = PauseMessage{};
      break;
    case 17:
      message = ResumeMessage{};
      break;
    case 18: {
      StillMessage m;
      m.still = static_cast<std::uint8_t>(in.NumberAtMost(1));
      m.why = in.Text();
      message = std::move(m);
      break;
    }
    default:
      in.Fail();
  }
  if (!in.AtEnd())
    return Error{ErrorKind::kInvalid, "launch.bad_message",
                 "a message between launcher and backend cannot be read"};
  return message;
}

}  // namespace writ::backends::launch
