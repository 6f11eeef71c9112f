// Reading `git diff --binary` text and applying it to one file's content. Pure and bounded.
//
// Strict where git is lenient: a hunk applies exactly at the line that it names or not at all, for
// the content it was made from is always known here. Renames and copies of other writers are read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/workspace/object_id.h"

namespace writ::workspace {

struct PatchLimits {
  std::uint64_t max_patch_bytes = std::uint64_t{1} << 30;
  std::uint64_t max_file_bytes = std::uint64_t{1} << 30;  // one file's content after application
  std::size_t max_files = 1'000'000;
};

struct PatchHunk {
  std::uint64_t old_start = 0, old_count = 0, new_start = 0, new_count = 0;
  std::string_view body{};  // the lines with their ' ', '+', '-' and '\'
};

struct BinaryHunk {
  enum class Method { kLiteral, kDelta };
  Method method = Method::kLiteral;
  std::uint64_t bytes = 0;   // inflated
  std::string_view lines{};  // base85 lines
};

struct PatchFile {
  enum class Change { kModify, kAdd, kDelete, kRename, kCopy };
  Change change = Change::kModify;
  std::string old_path{};      // empty for kAdd
  std::string new_path{};      // empty for kDelete
  std::uint32_t old_mode = 0;  // 0: the patch does not say
  std::uint32_t new_mode = 0;
  std::string old_id{};  // hex, abbreviated or full; empty where the patch has no index line
  std::string new_id{};
  std::vector<PatchHunk> hunks{};
  std::vector<BinaryHunk> binary{};  // empty, or forward and perhaps reverse
  bool ContentChanges() const { return !hunks.empty() || !binary.empty(); }
};

// The views in the result point into `patch`, which must outlive it.
Result<std::vector<PatchFile>> ParsePatch(std::string_view patch, const PatchLimits& limits);

// The content after the patch. Checks every context and removed line, and the old and new ids where
// the patch tells them; kIntegrity ("patch.id_mismatch") or kConflict ("patch.does_not_apply").
Result<std::string> ApplyToContent(const PatchFile& file, std::string_view old_content,
                                   const PatchLimits& limits);

// True where `hex` (of 4 to 40 digits) is a prefix of `id`.
bool IdHasPrefix(const ObjectId& id, std::string_view hex);

}  // namespace writ::workspace
