#include "base85.h"
#include "git_delta.h"
#include "writ/workspace/patch.h"
#include "writ/workspace/quoted_path.h"
#include "zlib_stream.h"

namespace writ::workspace {
namespace {

std::string NameOf(const PatchFile& file) {
  return QuotePath(file.new_path.empty() ? file.old_path : file.new_path);
}

Error DoesNotApply(const PatchFile& file, std::string_view why) {
  return Error{.kind = ErrorKind::kConflict,
               .code = "patch.does_not_apply",
               .message = "the diff of '" + NameOf(file) + "' does not apply: " + std::string(why)};
}

// Walks the old content and the hunks side by side.
class TextApplier {
 public:
  TextApplier(const PatchFile& file, std::string_view old_content, std::uint64_t limit)
      : file_(file), old_(old_content), limit_(limit) {}

  Result<std::string> Run() {
    for (const PatchHunk& hunk : file_.hunks) {
      // "-N,0" stands after line N, any other range starts with line N.
      std::uint64_t first = hunk.old_count == 0 ? hunk.old_start + 1 : hunk.old_start;
      if (first == 0 || first < line_) return DoesNotApply(file_, "its hunks are not in order");
      while (line_ < first) {
        if (pos_ >= old_.size()) return DoesNotApply(file_, "the old content is shorter");
        CopyLine();
      }
      WRIT_TRY(ApplyBody(hunk.body));
      if (out_.size() > limit_) return DoesNotApply(file_, "the result is over the limit");
    }
    out_.append(old_.substr(pos_));
    if (out_.size() > limit_) return DoesNotApply(file_, "the result is over the limit");
    return std::move(out_);
  }

 private:
  void CopyLine() {
    std::size_t end = old_.find('\n', pos_);
    end = end == std::string_view::npos ? old_.size() : end + 1;
    out_.append(old_.substr(pos_, end - pos_));
    pos_ = end;
    ++line_;
  }

  Status ApplyBody(std::string_view body) {
    while (!body.empty()) {
      std::size_t end = body.find('\n');
      std::string_view line = body.substr(0, end + 1);  // with its newline
      body.remove_prefix(end + 1);
      if (line.front() == '\\') return DoesNotApply(file_, "a stray no-newline mark");
      char kind = line.front() == '\n' ? ' ' : line.front();
      std::string_view text = line.front() == '\n' ? line : line.substr(1);
      bool at_end_of_file = body.starts_with('\\');
      if (at_end_of_file) {
        text.remove_suffix(1);
        body.remove_prefix(body.find('\n') + 1);
      }
      if (kind != '+') {
        if (old_.substr(pos_, text.size()) != text)
          return DoesNotApply(file_, "line " + std::to_string(line_) + " is another one");
        if (at_end_of_file && pos_ + text.size() != old_.size())
          return DoesNotApply(file_, "the old content goes on after its stated end");
        pos_ += text.size();
        ++line_;
      }
      if (kind != '-') {
        if (!out_.empty() && out_.back() != '\n')
          return DoesNotApply(file_, "a line follows one without newline");
        out_.append(text);
      }
    }
    return {};
  }

  const PatchFile& file_;
  std::string_view old_;
  std::uint64_t limit_;
  std::string out_;
  std::size_t pos_ = 0;
  std::uint64_t line_ = 1;
};

Result<std::string> ApplyBinary(const PatchFile& file, std::string_view old_content,
                                std::uint64_t limit) {
  const BinaryHunk& hunk = file.binary.front();
  auto deflated = DecodeBase85Lines(hunk.lines);
  if (!deflated) return DoesNotApply(file, "its base85 lines are damaged");
  auto bytes = Inflate(*deflated, hunk.bytes);
  if (!bytes) return std::move(bytes).error().With("reading the binary part of " + NameOf(file));
  if (hunk.method == BinaryHunk::Method::kLiteral) return bytes;
  return ApplyGitDelta(old_content, *bytes, limit);
}

Error WrongId(const PatchFile& file, std::string_view which) {
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "patch.id_mismatch",
               .message = "the " + std::string(which) + " content of '" + NameOf(file) +
                          "' is not the one that the diff names"};
}

}  // namespace

bool IdHasPrefix(const ObjectId& id, std::string_view hex) {
  return hex.size() >= 4 && hex.size() <= 40 && id.Hex().starts_with(hex);
}

Result<std::string> ApplyToContent(const PatchFile& file, std::string_view old_content,
                                   const PatchLimits& limits) {
  // Without content of its own (mode change, plain rename) the content stays.
  if (!file.ContentChanges() && file.change != PatchFile::Change::kDelete &&
      file.change != PatchFile::Change::kAdd)
    return std::string(old_content);
  if (!file.old_id.empty() && file.change != PatchFile::Change::kAdd &&
      !IdHasPrefix(ObjectId::OfBlob(old_content), file.old_id))
    return WrongId(file, "old");
  Result<std::string> result = file.binary.empty()
                                   ? TextApplier(file, old_content, limits.max_file_bytes).Run()
                                   : ApplyBinary(file, old_content, limits.max_file_bytes);
  if (!result) return result;
  if (file.change == PatchFile::Change::kDelete) {
    if (!result->empty() && file.ContentChanges())
      return DoesNotApply(file, "a deletion leaves content behind");
    return std::string();
  }
  if (!file.new_id.empty() && !IdHasPrefix(ObjectId::OfBlob(*result), file.new_id))
    return WrongId(file, "new");
  return result;
}

}  // namespace writ::workspace
