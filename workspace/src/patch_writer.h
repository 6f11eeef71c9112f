// Writes `git diff --binary --no-renames` text, byte for byte as git does with its defaults.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/workspace/object_id.h"

namespace writ::workspace {

struct PatchSide {
  std::uint32_t mode = kModeRegular;
  ObjectId id;
  std::string_view content;
};

enum class IdLength { kAbbreviated, kFull };

class PatchWriter {
 public:
  // How many digits of an id to print; asked for both ids of a text file's index line.
  using Abbreviate = std::function<std::size_t(const ObjectId&)>;
  explicit PatchWriter(Abbreviate abbreviate) : abbreviate_(std::move(abbreviate)) {}

  // Appends one file. A null side: not there. A change of type becomes a deletion and an addition.
  Status Append(std::string& out, std::string_view path, const PatchSide* old_side,
                const PatchSide* new_side, IdLength ids) const;

 private:
  Status AppendOne(std::string& out, std::string_view path, const PatchSide* old_side,
                   const PatchSide* new_side, IdLength ids) const;
  Abbreviate abbreviate_;
};

// git's own test: a NUL among the first 8000 bytes.
bool LooksBinary(std::string_view content);

}  // namespace writ::workspace
