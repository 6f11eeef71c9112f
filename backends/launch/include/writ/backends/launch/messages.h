// What writ-launch and its backend say to each other, one message per SEQPACKET datagram.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "writ/base/result.h"

namespace writ::backends::launch {

inline constexpr std::size_t kMaxMessageBytes = 4096;

// Backend to launcher, once and first: the job to make ready. Comes with four descriptors: the plan
// on a sealed memfd, the status file, and the write ends of the job's stdout and stderr; and a
// fifth where the owner of a machine gets supplies (kInsideSuppliesFd).
struct JobMessage {};
inline constexpr std::size_t kJobDescriptors = 4;
// Launcher to backend: everything is ready for the job, and only its start is missing. Comes with
// descriptors: the proxy's listener where the job's network namespace has one, then one for each
// NamespacePlan::counted.
struct ReadyMessage {
  pid_t init = 0;         // pid 1 of the job's pid namespace, as the host counts; 0: there is none
  std::string machine{};  // what the owner of a machine says of its start (inside.h)
};
// Backend to launcher: start the job. Comes with one descriptor: the environment on a sealed memfd.
// With two more where the job has a terminal in a machine: what is typed there, and a SEQPACKET
// socket that brings one TerminalSize a datagram.
struct GoMessage {};
// Backend to launcher: end the job now (SIGTERM, grace, SIGKILL). Sent again: without further
// grace.
struct CancelMessage {};
// Backend to launcher: the same because of an output limit or a passed deadline; told apart in the
// outcome.
struct DeadlineMessage {};
struct OutputLimitMessage {};
// Backend to launcher: a limit that the backend watches was passed. Ends the job at once, without a
// grace in which it could go on.
struct LimitPassedMessage {};

// The job's program runs (exec has happened). Comes with the master and the slave of its terminal
// where the plan has one, and no machine.
struct StartedMessage {
  pid_t pid = 0;
};
// A step failed before exec; nothing of the job ever ran.
struct SetupFailedMessage {
  std::string stage;
  int err = 0;
};
struct RefusedMessage {
  pid_t pid = 0;
  std::string program;
  std::string address;
  std::string reason;
};
// The last message; the launcher leaves after it.
struct EndedMessage {
  enum class Cause : std::uint8_t {
    kItself,
    kTimeOut,
    kCancel,
    kDeadline,
    kOutputLimit,
    kOrphaned,
    kExecFailed,
    kLimitPassed,
    kMachineEnded  // the machine that the job ran in; `note` says how
  };
  Cause cause = Cause::kItself;
  std::uint8_t observed = 0;  // 1: code/signal are what wait(2) told
  std::uint8_t signalled = 0;
  std::int32_t code = 0;
  std::int32_t signal = 0;
  std::int32_t exec_errno = 0;  // of kExecFailed
  std::uint8_t tree_dead = 0;   // no descendant is left
  std::uint64_t duration_ns = 0;
  std::uint64_t user_us = 0;
  std::uint64_t system_us = 0;
  std::uint64_t max_resident_bytes = 0;
  std::uint64_t read_bytes = 0;  // from disks
  std::uint64_t written_bytes = 0;
  std::uint64_t refused_total = 0;
  std::uint64_t proxied_total = 0;
  // Of kLimitPassed where the job runs in a machine: which limit, counted from 1 in the order of
  // LimitKind; 0: the backend knows.
  std::uint8_t limit = 0;
  std::string note;  // one sentence, printable; may be empty
};

// Backend to launcher: put something beside the running job (entry_request.h). Comes with
// descriptors: the request on a sealed memfd, then its standard input, output and error, which are
// left out where the request has a terminal. `id` is the backend's, used once.
struct EnterMessage {
  std::uint64_t id = 0;
};
// Backend to launcher: send a signal to the process group of an entry that has not ended.
struct SignalEntryMessage {
  std::uint64_t id = 0;
  std::int32_t signal = 0;
};
// Launcher to backend: the entry runs. Comes with the master and the slave of its terminal.
struct EntryStartedMessage {
  std::uint64_t id = 0;
};
// It never ran, and no EntryEnded follows. Stage "exec": its program is missing or cannot be run.
struct EntryFailedMessage {
  std::uint64_t id = 0;
  std::string stage;
  std::int32_t err = 0;
};
// Its first process has ended; what that left goes on until the job ends.
struct EntryEndedMessage {
  std::uint64_t id = 0;
  std::uint8_t signalled = 0;
  std::int32_t code = 0;
  std::int32_t signal = 0;
};

// Backend to launcher: the machine of a running job is to stand still, or to go on. Each is
// answered by one StillMessage; one at a time.
struct PauseMessage {};
struct ResumeMessage {};
// Launcher to backend: whether it stands still now, and why it is not as it was asked to be; empty:
// it is.
struct StillMessage {
  std::uint8_t still = 0;
  std::string why;
};

using Message = std::variant<CancelMessage, DeadlineMessage, OutputLimitMessage, StartedMessage,
                             SetupFailedMessage, RefusedMessage, EndedMessage, LimitPassedMessage,
                             ReadyMessage, GoMessage, EnterMessage, SignalEntryMessage,
                             EntryStartedMessage, EntryFailedMessage, EntryEndedMessage, JobMessage,
                             PauseMessage, ResumeMessage, StillMessage>;

std::string EncodeMessage(const Message& message);
Result<Message> DecodeMessage(std::string_view bytes);

}  // namespace writ::backends::launch
