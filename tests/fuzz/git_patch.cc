// Diff text: parsing and applying, text and binary.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "writ/workspace/patch.h"
#include "writ/workspace/quoted_path.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ::workspace;  // NOLINT: a program of its own
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // The old content comes first, up to a NUL.
  std::size_t nul = bytes.find('\0');
  std::string_view old_content = nul == std::string_view::npos ? "" : bytes.substr(0, nul);
  std::string_view patch = nul == std::string_view::npos ? bytes : bytes.substr(nul + 1);
  PatchLimits limits{.max_patch_bytes = 1 << 20, .max_file_bytes = 1 << 20, .max_files = 100};
  auto files = ParsePatch(patch, limits);
  if (!files) return 0;
  for (const PatchFile& file : *files) {
    std::string_view path = file.new_path.empty() ? file.old_path : file.new_path;
    if (path.empty()) std::abort();
    if (NeedsQuoting(path)) {
      std::size_t used = 0;
      if (UnquotePath(QuotePath(path), used) != path) std::abort();
    }
    auto applied = ApplyToContent(file, old_content, limits);
    if (applied && applied->size() > limits.max_file_bytes && file.ContentChanges()) std::abort();
  }
  return 0;
}
