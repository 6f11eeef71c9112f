// What a host and a guest's agent say of one thing that is put beside the guest's job.
//
//   stream         host sends                              guest answers
//   /entry/N       frames: EntryOrder, Signal, Resize      frames: Started, Ended; or Failed
//   /entry/N/in    its standard input, to its end          the head (200)
//   /entry/N/out   -                                       its standard output
//   /entry/N/err   -                                       the same; ended at once at a terminal
//
// N is the host's, in decimal, used once. The host resets all four when it has passed the end on:
// what the command has left behind writes into a closed pipe then, as beside any other job.
// Reading is total, and of the guest's words canonical, as that of messages.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "writ/backends/launch/entry_request.h"
#include "writ/backends/outcome.h"
#include "writ/base/result.h"
#include "writ/base/terminal_size.h"

namespace writ::backends::microvm {

inline constexpr std::size_t kMaxEntryOrderBytes = 1u << 20;

struct EntryOrder {
  launch::EntryRequest request;
};
struct EntrySignal {
  int signal = 0;
};
struct EntryResize {
  TerminalSize size;
};
using EntryHostWord = std::variant<EntryOrder, EntrySignal, EntryResize>;

struct EntryStarted {};
// It never ran.
struct EntryFailed {
  std::string stage;
  int err = 0;
};
// Its first process has ended, after it had written so much on each stream: the end is passed on
// when that has been. Without a status nobody saw the end: the session was over before it.
struct EntryEnded {
  std::optional<ExitStatus> status;
  std::uint64_t out_bytes = 0;
  std::uint64_t err_bytes = 0;
};
using EntryGuestWord = std::variant<EntryStarted, EntryFailed, EntryEnded>;

std::string Encode(const EntryHostWord& word);
std::string Encode(const EntryGuestWord& word);
Result<EntryHostWord> DecodeEntryHostWord(std::string_view bytes);
Result<EntryGuestWord> DecodeEntryGuestWord(std::string_view bytes);

}  // namespace writ::backends::microvm
