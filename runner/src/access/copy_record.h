// CopyRecord: what a copy carried, for the chain: looks at the tree stream as it goes by.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "writ/base/tree_stream.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"

namespace writ::runner {

class CopyRecord final : private TreeVisitor {
 public:
  // `name`: of what is copied, with which every path has to begin: who takes "report" is not given
  // ".bashrc" beside it. Empty: whatever comes.
  CopyRecord(const TreeLimits& limits, std::string name)
      : reader_(limits, this), name_(std::move(name)) {}

  // An error where the stream is none or passes the limits; a failure that it tells is no error.
  Status Look(std::string_view bytes);
  const std::string& failure() const { return failure_; }  // its code; empty: none

  std::uint64_t files() const { return reader_.summary().files; }
  std::uint64_t bytes() const { return reader_.summary().bytes; }
  std::uint64_t left_out() const { return reader_.summary().left_out_count; }
  // Of the one file that was copied its bytes' hash; of a directory that of [{path,hash,bytes}].
  protocol::Digest ContentHash();

 private:
  Status OnDirectory(const std::string& path, mode_t mode) override;
  Status OnFile(const std::string& path, mode_t mode) override;
  Status OnBytes(std::string_view bytes) override;
  Status OnFileEnd() override;

  Status CheckName(std::string_view path) const;

  TreeReader reader_;
  std::string name_;
  json::Array list_;
  bool tree_ = false;
  std::string path_;
  std::uint64_t file_bytes_ = 0;
  protocol::Sha256Hasher hash_;  // of the file that goes by
  std::string failure_;
};

}  // namespace writ::runner
