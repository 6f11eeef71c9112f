#include "patch_writer.h"

#include <git2.h>

#include <cstdio>
#include <cstring>

#include "base85.h"
#include "git_library.h"
#include "writ/workspace/quoted_path.h"
#include "zlib_stream.h"

namespace writ::workspace {
namespace {

std::string ModeText(std::uint32_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%06o", mode);
  return text;
}

// A name with its prefix, quoted as a whole where it must be.
std::string Prefixed(std::string_view prefix, std::string_view path) {
  return QuotePath(std::string(prefix) + std::string(path));
}

// The two names of a header. Where no other line names the file, git cannot read an unquoted name
// with a space before a slash (not even its own), but it reads every quoted one.
std::string HeaderNames(std::string_view path, bool named_elsewhere) {
  if (named_elsewhere || NeedsQuoting(path) || path.find(" /") == std::string_view::npos)
    return Prefixed("a/", path) + " " + Prefixed("b/", path);
  return "\"a/" + std::string(path) + "\" \"b/" + std::string(path) + "\"";
}

// git ends a label with a tab where the name has a space, so that other tools find its end.
std::string Label(std::string_view prefix, std::string_view path) {
  std::string label = Prefixed(prefix, path);
  if (path.find(' ') != std::string_view::npos) label.push_back('\t');
  return label;
}

int OnHunk(const git_diff_delta*, const git_diff_hunk* hunk, void* payload) {
  static_cast<std::string*>(payload)->append(hunk->header, hunk->header_len);
  return 0;
}

int OnLine(const git_diff_delta*, const git_diff_hunk*, const git_diff_line* line, void* payload) {
  auto& out = *static_cast<std::string*>(payload);
  if (line->origin == GIT_DIFF_LINE_CONTEXT || line->origin == GIT_DIFF_LINE_ADDITION ||
      line->origin == GIT_DIFF_LINE_DELETION)
    out.push_back(line->origin);
  out.append(line->content, line->content_len);
  return 0;
}

Status AppendHunks(std::string& out, std::string_view old_content, std::string_view new_content) {
  git_diff_options options;
  ::git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
  options.flags = GIT_DIFF_FORCE_TEXT | GIT_DIFF_INDENT_HEURISTIC;
  if (::git_diff_buffers(old_content.data(), old_content.size(), nullptr, new_content.data(),
                         new_content.size(), nullptr, &options, nullptr, nullptr, OnHunk, OnLine,
                         &out) != 0)
    return GitError(ErrorKind::kInternal, "workspace.diff_failed", "cannot compare two contents");
  return {};
}

struct BinaryParts {
  std::string forward_delta;  // inflated; empty where libgit2 found none that pays
  std::string backward_delta;
  bool failed = false;
};

int OnBinary(const git_diff_delta*, const git_diff_binary* binary, void* payload) {
  auto& parts = *static_cast<BinaryParts*>(payload);
  auto take = [&parts](const git_diff_binary_file& file, std::string& delta) {
    if (file.type != GIT_DIFF_BINARY_DELTA) return;
    auto inflated = Inflate({file.data, file.datalen}, file.inflatedlen);
    if (inflated) {
      delta = std::move(*inflated);
    } else {
      parts.failed = true;
    }
  };
  take(binary->new_file, parts.forward_delta);
  take(binary->old_file, parts.backward_delta);
  return 0;
}

void AppendBinaryPart(std::string& out, std::string_view content, const std::string& delta) {
  std::string literal = DeflateFast(content);
  std::string deflated_delta = delta.empty() ? std::string() : DeflateFast(delta);
  bool use_delta = !delta.empty() && deflated_delta.size() < literal.size();
  out += use_delta ? "delta " + std::to_string(delta.size()) + "\n"
                   : "literal " + std::to_string(content.size()) + "\n";
  AppendBase85Lines(out, use_delta ? deflated_delta : literal);
  out += "\n";
}

Status AppendBinary(std::string& out, std::string_view old_content, std::string_view new_content) {
  BinaryParts parts;
  if (!old_content.empty() && !new_content.empty()) {
    git_diff_options options;
    ::git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
    options.flags = GIT_DIFF_FORCE_BINARY | GIT_DIFF_SHOW_BINARY;
    if (::git_diff_buffers(old_content.data(), old_content.size(), nullptr, new_content.data(),
                           new_content.size(), nullptr, &options, nullptr, OnBinary, nullptr,
                           nullptr, &parts) != 0 ||
        parts.failed)
      return GitError(ErrorKind::kInternal, "workspace.diff_failed", "cannot compare two contents");
  }
  out += "GIT binary patch\n";
  AppendBinaryPart(out, new_content, parts.forward_delta);
  AppendBinaryPart(out, old_content, parts.backward_delta);
  return {};
}

}  // namespace

bool LooksBinary(std::string_view content) {
  return content.substr(0, 8000).find('\0') != std::string_view::npos;
}

Status PatchWriter::Append(std::string& out, std::string_view path, const PatchSide* old_side,
                           const PatchSide* new_side, IdLength ids) const {
  bool both = old_side != nullptr && new_side != nullptr;
  if (both && (old_side->mode & 0170000) != (new_side->mode & 0170000)) {
    WRIT_TRY(AppendOne(out, path, old_side, nullptr, ids));
    return AppendOne(out, path, nullptr, new_side, ids);
  }
  return AppendOne(out, path, old_side, new_side, ids);
}

Status PatchWriter::AppendOne(std::string& out, std::string_view path, const PatchSide* old_side,
                              const PatchSide* new_side, IdLength ids) const {
  ObjectId none;
  const ObjectId& old_id = old_side != nullptr ? old_side->id : none;
  const ObjectId& new_id = new_side != nullptr ? new_side->id : none;
  std::string_view old_content = old_side != nullptr ? old_side->content : std::string_view();
  std::string_view new_content = new_side != nullptr ? new_side->content : std::string_view();
  bool binary = LooksBinary(old_content) || LooksBinary(new_content);
  bool has_text = old_id != new_id && !binary && !(old_content.empty() && new_content.empty());
  out += "diff --git " + HeaderNames(path, has_text) + "\n";
  if (old_side == nullptr) {
    out += "new file mode " + ModeText(new_side->mode) + "\n";
  } else if (new_side == nullptr) {
    out += "deleted file mode " + ModeText(old_side->mode) + "\n";
  } else if (old_side->mode != new_side->mode) {
    out += "old mode " + ModeText(old_side->mode) + "\nnew mode " + ModeText(new_side->mode) + "\n";
  }
  if (old_id == new_id) return {};
  auto digits = [&](const ObjectId& id) {
    return id.Hex().substr(0, binary || ids == IdLength::kFull ? 40 : abbreviate_(id));
  };
  out += "index " + digits(old_id) + ".." + digits(new_id);
  if (old_side != nullptr && new_side != nullptr && old_side->mode == new_side->mode)
    out += " " + ModeText(new_side->mode);
  out += "\n";
  if (binary) return AppendBinary(out, old_content, new_content);
  if (!has_text) return {};
  out += "--- " + (old_side != nullptr ? Label("a/", path) : std::string("/dev/null")) + "\n";
  out += "+++ " + (new_side != nullptr ? Label("b/", path) : std::string("/dev/null")) + "\n";
  return AppendHunks(out, old_content, new_content);
}

}  // namespace writ::workspace
