// What a host and a guest's agent say to each other, beside raw bytes.
//
//   stream      host sends                            guest answers
//   /hello      -                                     one Hello
//   /identity   one Identity                          one IdentityTaken
//   /job        frames: JobOrder, Go, Cancel, Kill,   frames: Prepared, Started, Refused, Ended,
//               Resize, Hold, SetClock                Held, ClockSet
//   /stdin      what is typed at the job's terminal   the head (200); where the order has one
//   /stdout     -                                     the job's bytes, to their end
//   /stderr     -                                     the same; ended at once where it is merged
//   /proxy      bytes of one connection               the head (200) once the job has connected
//   /changes    -                                     a tree stream (tree_stream.h)
//   /entry/...  what is put beside the job: entry_words.h
//   /metrics    -                                     one Metrics
//   /warm-up    one WarmUp, before any job                one WarmedUp, when it has ended
//   /quiesce    -                                     200: all is written; the channel starts anew
//
// Every stream is opened by the host. Reading is total and canonical: any bytes give a value whose
// encoding they are, or an error (fuzzed: tests/fuzz/microvm_messages.cc).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "writ/backends/limits.h"
#include "writ/backends/outcome.h"
#include "writ/backends/plan.h"
#include "writ/base/result.h"
#include "writ/base/terminal_size.h"

namespace writ::backends::microvm {

inline constexpr std::size_t kMaxOrderBytes = 64u << 20;  // host to guest; holds the home files
inline constexpr std::size_t kMaxWordBytes = 64u << 10;   // guest to host
inline constexpr std::size_t kTokenBytes = 32;

struct Hello {
  std::string token;  // the guest's, which only its own host knows: hex
  std::string agent;  // version
  std::string kernel;
  bool usable = false;
  std::string unusable_reason;
  std::string isolation;  // what holds a job inside, in words
};

// What must be the guest's own before a job runs in it (L33).
struct Identity {
  std::string entropy;            // 64 bytes of the host's
  std::uint64_t realtime_ns = 0;  // CLOCK_REALTIME
  std::string host_name;
  std::string machine_id;  // 32 hex digits
  std::string token;       // replaces the boot's: hex
};
struct IdentityTaken {
  std::uint64_t realtime_ns = 0;  // as the guest's clock says now
  bool reseeded = false;          // the kernel took the entropy and has reseeded
  std::string host_name;          // read back
  std::string machine_id;         // the same
};

struct JobOrder {
  std::string run_id;
  std::vector<std::string> argv;
  std::string cwd;
  std::string user_name;
  std::vector<HomeFile> home_files;
  std::vector<std::string> home_directories;
  std::vector<std::string> read_only_trees;  // absolute; found in the inputs in this order
  // The inputs' workspace/ lies above the base drive's, where these are, in this order.
  bool on_base = false;
  std::vector<std::string> base_trees;
  // One of read_only_trees: a tree stream that is carried out in the workspace before the job.
  std::string checkpoint;
  Limits limits;  // wall time and output are the host's affair
  Syscalls syscalls = DefaultSyscalls{};
  bool proxied = false;
  bool merged = false;   // stderr goes to stdout
  bool entries = false;  // something may be put beside it
  std::optional<TerminalSize> terminal;
};
struct Go {
  std::vector<std::string> environment;  // NAME=value, exactly what the job gets; holds secrets
};
struct Cancel {};
struct Kill {};
struct Resize {
  TerminalSize size;  // of the job's terminal
};
// Before the machine stands still: the job's processes are to wait. The answer is Held.
struct Hold {};
// After it stood still: CLOCK_REALTIME as it is now, and then the job goes on. The answer is
// ClockSet.
struct SetClock {
  std::uint64_t realtime_ns = 0;
};
using HostWord = std::variant<JobOrder, Go, Cancel, Kill, Resize, SetClock, Hold>;

struct Prepared {};
struct Started {};
struct Refused {
  std::string program;
  std::string address;
  std::string reason;
};
struct Ended {
  Outcome::Kind kind = Outcome::Kind::kLost;
  std::string reason;
  std::optional<ExitStatus> status;
  std::uint64_t duration_ns = 0;
  std::optional<LimitKind> limit;
  std::uint64_t refused_total = 0;
  std::uint64_t proxied_total = 0;
  std::uint64_t user_us = 0;
  std::uint64_t system_us = 0;
  std::uint64_t max_resident_bytes = 0;
  std::vector<std::string> leaks;
};
struct Held {
  bool whole = false;  // none of the job's processes runs
};
struct ClockSet {
  std::uint64_t realtime_ns = 0;  // as the guest's clock says now
};
using GuestWord = std::variant<Prepared, Started, Refused, Ended, ClockSet, Held>;

struct Metrics {
  std::uint64_t memory_total = 0;  // bytes
  std::uint64_t memory_available = 0;
  std::uint64_t cpu_us = 0;      // busy, all CPUs, since boot
  std::uint64_t disk_bytes = 0;  // in use in the writable layer
  std::uint64_t uptime_us = 0;
};

// A command of the operator's, run as root in the guest while it is made ready for a snapshot.
struct WarmUp {
  std::vector<std::string> argv;  // argv[0] is a path
};
struct WarmedUp {
  ExitStatus status;
  std::string output;  // the last kMaxWarmUpOutput bytes of both streams
};
inline constexpr std::size_t kMaxWarmUpOutput = 8u << 10;

// What stands in the initramfs of an image whose job is root of the guest (guest_layout.h).
struct RootJob {
  std::uint64_t uid = 0;
  std::uint64_t gid = 0;
  std::string cwd = "/";                 // absolute, in the root
  std::vector<std::string> environment;  // NAME=value, above what the job gets
};

std::string Encode(const Hello& hello);
std::string Encode(const Identity& identity);
std::string Encode(const IdentityTaken& taken);
std::string Encode(const Metrics& metrics);
std::string Encode(const WarmUp& command);
std::string Encode(const WarmedUp& warmed);
std::string Encode(const RootJob& job);
std::string Encode(const HostWord& word);
std::string Encode(const GuestWord& word);
Result<Hello> DecodeHello(std::string_view bytes);
Result<Identity> DecodeIdentity(std::string_view bytes);
Result<IdentityTaken> DecodeIdentityTaken(std::string_view bytes);
Result<Metrics> DecodeMetrics(std::string_view bytes);
Result<WarmUp> DecodeWarmUp(std::string_view bytes);
Result<WarmedUp> DecodeWarmedUp(std::string_view bytes);
Result<RootJob> DecodeRootJob(std::string_view bytes);
Result<HostWord> DecodeHostWord(std::string_view bytes);
Result<GuestWord> DecodeGuestWord(std::string_view bytes);

}  // namespace writ::backends::microvm
