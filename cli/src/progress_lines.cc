#include "progress_lines.h"

#include <unistd.h>

#include "duration.h"
#include "writ/protocol/json.h"

namespace writ::cli {
namespace {

constexpr std::size_t kLongestLine = 512;

std::string Text(std::string_view phase, std::uint64_t bytes, std::uint64_t files) {
  return std::string(phase) + ": " + FormatBytes(bytes) + ", " + std::to_string(files) +
         (files == 1 ? " file" : " files");
}

// From another machine: only what is one of ours is shown.
std::optional<std::string> TextOfLine(std::string_view line) {
  Result<json::Value> value = json::Parse(line, {.max_depth = 2, .max_bytes = kLongestLine});
  if (!value) return std::nullopt;
  const auto phase = value->FindString("phase");
  const json::Value* bytes = value->Find("bytes");
  const json::Value* files = value->Find("files");
  const auto count = bytes != nullptr ? bytes->AsInteger() : std::nullopt;
  const auto number = files != nullptr ? files->AsInteger() : std::nullopt;
  if (!phase || phase->size() > 32 || !count || *count < 0 || !number || *number < 0)
    return std::nullopt;
  return Text(TerminalSafe(std::string(*phase)), static_cast<std::uint64_t>(*count),
              static_cast<std::uint64_t>(*number));
}

}  // namespace

std::string ProgressText(const runner::Progress& progress) {
  return Text(runner::PhaseName(progress.phase), progress.bytes, progress.files);
}

ProgressLines::ProgressLines(const Context& context)
    : context_(context),
      pace_(::isatty(2) != 0 ? std::chrono::seconds(0) : std::chrono::seconds(10)) {}

void ProgressLines::Take(std::string_view bytes) {
  rest_ += bytes;
  const std::size_t end = rest_.rfind('\n');
  if (end == std::string::npos) {
    if (rest_.size() > kLongestLine) rest_.clear();
    return;
  }
  std::string_view lines = std::string_view(rest_).substr(0, end);
  const auto now = std::chrono::steady_clock::now();
  if (!last_ || now - *last_ >= pace_) {  // the newest
    if (auto text = TextOfLine(lines.substr(lines.rfind('\n') + 1))) {
      context_.Note("-- " + *text);
      last_ = now;
    }
  }
  rest_.erase(0, end + 1);
}

}  // namespace writ::cli
