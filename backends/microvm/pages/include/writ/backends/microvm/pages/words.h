// What is said to a page server, one word a message over SOCK_SEQPACKET sockets.
//
// The owner of a machine (writ-vm) has one control connection for one clone:
//   Serve + 1 descriptor  ->  Ready, then Attached once the VMM has shown its memory
//   AskCounters           ->  Counters
//   GoesOn                ->  nothing
//   its end of the stream ->  Over (with the last counters), and the server forgets the clone
// Failed comes at any time and once: the clone is served no more, its faults are never answered,
// and the owner is to kill the VM. End-of-file without Over: the server is dead; the same.
// The runner has one connection for all:
//   OpenSnapshot + descriptors, AddClone + 1 descriptor, CloseSnapshot  ->  Done or Refused, in
//   order
// Reading is total and canonical: any bytes give a value whose encoding they are, or an error
// (fuzzed: tests/fuzz/pages_words.cc).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "writ/backends/microvm/pages/counters.h"
#include "writ/base/result.h"
#include "writ/protocol/digest.h"

namespace writ::backends::microvm::pages {

inline constexpr std::size_t kMaxWordBytes = 4096;

// ---- owner to server
struct Serve {
  enum class By { kListener, kStream };  // what the descriptor is
  By by = By::kStream;
  // The CPU that the faulting thread is held on: the serving thread goes there too.
  std::optional<std::uint32_t> cpu;
  // The machine stands still once it is restored: what it touches is watched from GoesOn on, and
  // shows nothing where that never comes.
  bool waits = false;
};
struct AskCounters {};
struct GoesOn {};  // before a machine that waits does
using OwnerWord = std::variant<Serve, AskCounters, GoesOn>;

// ---- server to owner
struct Ready {};
struct Attached {
  std::uint64_t pid = 0;  // of the VMM, in the server's namespace; 0: cannot be seen from there
  std::uint64_t regions = 0;
  std::uint64_t ram_bytes = 0;
};
struct Failed {
  ErrorKind kind = ErrorKind::kInternal;
  std::string code;
  std::string message;
};
struct Counters {
  FaultCounters counters;
};
struct Over {
  bool vmm_ended = false;  // else because the owner has ended the connection
  FaultCounters counters;
};
using ClonesWord = std::variant<Ready, Attached, Failed, Counters, Over>;

// ---- runner to server
// Descriptors: the snapshot's directory (for the working set; may be unwritable), the leaf table,
// the base, then for each overlay its memory and its bitmap.
struct OpenSnapshot {
  std::uint64_t id = 0;  // the runner's choice
  std::uint64_t memory_bytes = 0;
  protocol::Digest root;
};
struct AddClone {
  std::uint64_t snapshot = 0;
  std::uint64_t vmm_uid = 0;  // whoever connects as the VMM must have it
};
struct CloseSnapshot {
  std::uint64_t id = 0;  // its clones keep what they have
};
using RunnerWord = std::variant<OpenSnapshot, AddClone, CloseSnapshot>;

struct Done {};
using ServiceWord = std::variant<Done, Failed>;

std::string Encode(const OwnerWord& word);
std::string Encode(const ClonesWord& word);
std::string Encode(const RunnerWord& word);
std::string Encode(const ServiceWord& word);
// kInvalid "pages.word".
Result<OwnerWord> DecodeOwnerWord(std::string_view bytes);
Result<ClonesWord> DecodeClonesWord(std::string_view bytes);
Result<RunnerWord> DecodeRunnerWord(std::string_view bytes);
Result<ServiceWord> DecodeServiceWord(std::string_view bytes);

Failed ToFailed(const Error& error);
Error ToError(const Failed& failed);

}  // namespace writ::backends::microvm::pages
