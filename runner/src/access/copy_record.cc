#include "access/copy_record.h"

namespace writ::runner {

Status CopyRecord::Look(std::string_view bytes) {
  if (!failure_.empty()) return {};  // nothing follows that would count
  const bool was_over = reader_.ended();
  Status read = reader_.Write(bytes);
  if (read || was_over) return read;
  const Error& error = read.error();
  if (error.code == "copy.bad_stream" || error.code == "copy.too_large") return read;
  failure_ =
      json::ToWellFormedUtf8(error.code);  // the sender's own, passed on to who reads the stream
  return {};
}

protocol::Digest CopyRecord::ContentHash() {
  if (!tree_ && list_.size() == 1) {
    auto hash = protocol::Digest::Parse(list_.front().FindString("hash").value_or(""));
    if (hash) return *hash;
  }
  return protocol::HashValue(json::Value(list_));
}

Status CopyRecord::CheckName(std::string_view path) const {
  if (name_.empty() || path.substr(0, path.find('/')) == name_) return {};
  return Error{ErrorKind::kInvalid, "copy.bad_stream",
               "what comes has another name than what was asked for"};
}

Status CopyRecord::OnDirectory(const std::string& path, mode_t) {
  WRIT_TRY(CheckName(path));
  tree_ = true;
  return {};
}

Status CopyRecord::OnFile(const std::string& path, mode_t) {
  WRIT_TRY(CheckName(path));
  path_ = path;
  file_bytes_ = 0;
  hash_ = protocol::Sha256Hasher();
  return {};
}

Status CopyRecord::OnBytes(std::string_view bytes) {
  file_bytes_ += bytes.size();
  hash_.Update(bytes);
  return {};
}

Status CopyRecord::OnFileEnd() {
  list_.push_back(json::Object{
      {"path", json::ToWellFormedUtf8(path_)}, {"hash", hash_.Finish()}, {"bytes", file_bytes_}});
  return {};
}

}  // namespace writ::runner
