// EntryRequest: one thing that is put into a running session beside its job - a command, or a copy
// of files that is made there. It reaches the launcher on a sealed memfd with Enter (messages.h),
// and is held by the very plan that holds the job: only what stands here is its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/terminal_size.h"
#include "writ/base/tree_stream.h"

namespace writ::backends::launch {

struct EntryRequest {
  enum class Kind : std::uint8_t {
    kCommand,  // argv, environment, cwd, terminal
    kCopyOut,  // sends `path` to its standard output (tree_stream.h)
    kCopyIn,   // makes what comes on its standard input at `path`; its own end goes to its output
    kCheckpoint,  // what has changed below `path`, the workspace: an answer of a machine's agent
  };
  Kind kind = Kind::kCommand;
  std::vector<std::string> argv;         // looked up as the job's is
  std::vector<std::string> environment;  // NAME=value, all of it
  std::string cwd;                       // absolute, as the job sees it
  std::optional<TerminalSize> terminal;  // all three streams are a terminal of the session's
  std::string path;                      // absolute, without "." and ".."; "/" itself is refused
  TreeLimits limits;
};

std::string EncodeEntryRequest(const EntryRequest& request);
// kInvalid for anything that EncodeEntryRequest would not write.
Result<EntryRequest> DecodeEntryRequest(std::string_view bytes);

}  // namespace writ::backends::launch
