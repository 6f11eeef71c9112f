#include <charconv>
#include <optional>

#include "writ/workspace/patch.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

// Reads patch text line by line. Every method that fails leaves a sentence in `error`.
class PatchReader {
 public:
  PatchReader(std::string_view text, const PatchLimits& limits) : text_(text), limits_(limits) {}

  Result<std::vector<PatchFile>> Run() {
    std::vector<PatchFile> files;
    while (!AtEnd()) {
      if (!PeekLine().starts_with("diff --git ")) return Bad("does not start with \"diff --git\"");
      if (files.size() >= limits_.max_files) return Bad("is of more files than the limit");
      auto file = ReadFile();
      if (!file) return std::move(file).error();
      files.push_back(std::move(*file));
    }
    return files;
  }

 private:
  Error Bad(std::string_view why) const {
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "patch.malformed",
                 .message = "the diff at line " + std::to_string(line_) + " " + std::string(why)};
  }

  bool AtEnd() const { return pos_ >= text_.size(); }
  std::string_view PeekLine() const {
    std::size_t end = text_.find('\n', pos_);
    return text_.substr(pos_, end == std::string_view::npos ? end : end - pos_);
  }
  void SkipLine() {
    std::size_t end = text_.find('\n', pos_);
    pos_ = end == std::string_view::npos ? text_.size() : end + 1;
    ++line_;
  }

  static std::optional<std::uint32_t> ParseMode(std::string_view digits) {
    if (digits.size() != 6) return std::nullopt;
    std::uint32_t mode = 0;
    for (char c : digits) {
      if (c < '0' || c > '7') return std::nullopt;
      mode = mode * 8 + static_cast<std::uint32_t>(c - '0');
    }
    if ((mode & 0170000) == 0100000) return (mode & 0100) != 0 ? kModeExecutable : kModeRegular;
    if (mode == kModeSymlink || mode == kModeGitlink) return mode;
    return std::nullopt;
  }

  // "a/<name>" or a quoted form of it; the name without its first component.
  static std::optional<std::string> StripPrefix(std::string_view name) {
    std::size_t slash = name.find('/');
    if (slash == std::string_view::npos || slash + 1 >= name.size()) return std::nullopt;
    return std::string(name.substr(slash + 1));
  }

  // The name in a "diff --git" line where both halves tell the same one; nullopt otherwise.
  static std::optional<std::string> NameOfHeader(std::string_view rest) {
    if (rest.starts_with('"')) {
      std::size_t used = 0;
      auto first = UnquotePath(rest, used);
      if (!first || used >= rest.size() || rest[used] != ' ') return std::nullopt;
      auto second = WholeName(rest.substr(used + 1));
      auto a = StripPrefix(*first);
      auto b = second ? StripPrefix(*second) : std::nullopt;
      return a && b && *a == *b ? a : std::nullopt;
    }
    // The second half may still be quoted; if not, the halves are of one length.
    if (rest.size() % 2 == 0) return std::nullopt;
    std::size_t half = rest.size() / 2;
    if (rest[half] != ' ') return std::nullopt;
    auto a = StripPrefix(rest.substr(0, half));
    auto b = StripPrefix(rest.substr(half + 1));
    return a && b && *a == *b ? a : std::nullopt;
  }

  static std::optional<std::string> WholeName(std::string_view text) {
    if (!text.starts_with('"'))
      return text.empty() ? std::nullopt : std::optional(std::string(text));
    std::size_t used = 0;
    auto name = UnquotePath(text, used);
    if (!name || used != text.size()) return std::nullopt;
    return name;
  }

  // The name of a "--- " or "+++ " line: "/dev/null", or a prefixed name that a tab may end.
  static std::optional<std::string> NameOfLabel(std::string_view text, bool& is_null) {
    is_null = false;
    if (text.ends_with('\t')) text.remove_suffix(1);
    if (text == "/dev/null") {
      is_null = true;
      return std::string();
    }
    auto whole = WholeName(text);
    return whole ? StripPrefix(*whole) : std::nullopt;
  }

  static bool SplitIndex(std::string_view rest, PatchFile& file) {
    std::size_t dots = rest.find("..");
    if (dots == std::string_view::npos) return false;
    std::string_view old_id = rest.substr(0, dots);
    std::string_view tail = rest.substr(dots + 2);
    std::size_t space = tail.find(' ');
    std::string_view new_id = tail.substr(0, space);
    auto fits = [](std::string_view hex) {
      if (hex.size() < 4 || hex.size() > 40) return false;
      for (char c : hex)
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
      return true;
    };
    if (!fits(old_id) || !fits(new_id)) return false;
    file.old_id = old_id;
    file.new_id = new_id;
    if (space != std::string_view::npos) {
      auto mode = ParseMode(tail.substr(space + 1));
      if (!mode) return false;
      file.old_mode = file.new_mode = *mode;
    }
    return true;
  }

  Result<PatchFile> ReadFile() {
    PatchFile file;
    auto header_name = NameOfHeader(PeekLine().substr(std::string_view("diff --git ").size()));
    SkipLine();
    std::optional<std::string> old_name;
    std::optional<std::string> new_name;
    bool saw_old_label = false;
    for (; !AtEnd(); SkipLine()) {
      std::string_view line = PeekLine();
      auto take = [&line](std::string_view word) {
        if (!line.starts_with(word)) return false;
        line.remove_prefix(word.size());
        return true;
      };
      std::optional<std::uint32_t> mode;
      if (take("old mode ")) {
        if (!(mode = ParseMode(line))) return Bad("has a mode that git does not know");
        file.old_mode = *mode;
      } else if (take("new mode ")) {
        if (!(mode = ParseMode(line))) return Bad("has a mode that git does not know");
        file.new_mode = *mode;
      } else if (take("deleted file mode ")) {
        if (!(mode = ParseMode(line))) return Bad("has a mode that git does not know");
        file.change = PatchFile::Change::kDelete;
        file.old_mode = *mode;
      } else if (take("new file mode ")) {
        if (!(mode = ParseMode(line))) return Bad("has a mode that git does not know");
        file.change = PatchFile::Change::kAdd;
        file.new_mode = *mode;
      } else if (take("rename from ") || take("copy from ")) {
        if (!(old_name = WholeName(line))) return Bad("has a name that cannot be read");
      } else if (take("rename to ")) {
        file.change = PatchFile::Change::kRename;
        if (!(new_name = WholeName(line))) return Bad("has a name that cannot be read");
      } else if (take("copy to ")) {
        file.change = PatchFile::Change::kCopy;
        if (!(new_name = WholeName(line))) return Bad("has a name that cannot be read");
      } else if (take("similarity index ") || take("dissimilarity index ")) {
        continue;
      } else if (take("index ")) {
        if (!SplitIndex(line, file)) return Bad("has an index line that cannot be read");
      } else if (take("--- ")) {
        bool is_null = false;
        auto name = NameOfLabel(line, is_null);
        if (!name) return Bad("has a name that cannot be read");
        if (!is_null && !old_name) old_name = name;
        saw_old_label = true;
      } else if (saw_old_label && take("+++ ")) {
        bool is_null = false;
        auto name = NameOfLabel(line, is_null);
        if (!name) return Bad("has a name that cannot be read");
        if (!is_null && !new_name) new_name = name;
      } else {
        break;
      }
    }
    if (!AtEnd() && PeekLine() == "GIT binary patch") {
      SkipLine();
      WRIT_TRY(ReadBinary(file));
    } else {
      while (!AtEnd() && PeekLine().starts_with("@@ ")) WRIT_TRY(ReadHunk(file));
    }
    if (!AtEnd() && !PeekLine().starts_with("diff --git "))
      return Bad(PeekLine().starts_with("Binary files ")
                     ? "tells of a binary file without its content (made without --binary)"
                     : "is not part of a diff");
    WRIT_TRY(SettleNames(file, header_name, old_name, new_name));
    return file;
  }

  Status SettleNames(PatchFile& file, const std::optional<std::string>& header,
                     const std::optional<std::string>& old_name,
                     const std::optional<std::string>& new_name) const {
    using Change = PatchFile::Change;
    auto pick = [&](const std::optional<std::string>& told) { return told ? told : header; };
    if (file.change != Change::kAdd) {
      auto name = pick(old_name);
      if (!name) return Bad("ends a file whose old name is not told");
      file.old_path = *name;
    }
    if (file.change != Change::kDelete) {
      auto name = pick(new_name);
      if (!name) return Bad("ends a file whose new name is not told");
      file.new_path = *name;
    }
    if ((file.old_path + file.new_path).find('\0') != std::string::npos)
      return Bad("ends a file whose name holds a NUL");
    bool moves = file.change == Change::kRename || file.change == Change::kCopy;
    if (file.change == Change::kModify && file.old_path != file.new_path)
      return Bad("ends a file with two names that is no rename");
    if (moves && (!old_name || !new_name)) return Bad("ends a rename without both names");
    return {};
  }

  static bool ParseRange(std::string_view& text, std::uint64_t& start, std::uint64_t& count) {
    auto number = [&text](std::uint64_t& out) {
      auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), out);
      if (err != std::errc() || out > std::uint64_t{1} << 40) return false;
      text.remove_prefix(static_cast<std::size_t>(end - text.data()));
      return true;
    };
    if (!number(start)) return false;
    count = 1;
    if (text.starts_with(',')) {
      text.remove_prefix(1);
      return number(count);
    }
    return true;
  }

  Status ReadHunk(PatchFile& file) {
    std::string_view line = PeekLine();
    line.remove_prefix(3);
    PatchHunk hunk;
    bool ok = line.starts_with('-');
    if (ok) line.remove_prefix(1);
    ok = ok && ParseRange(line, hunk.old_start, hunk.old_count) && line.starts_with(" +");
    if (ok) line.remove_prefix(2);
    ok = ok && ParseRange(line, hunk.new_start, hunk.new_count) && line.starts_with(" @@");
    if (!ok) return Bad("has a hunk header that cannot be read");
    SkipLine();
    std::size_t begin = pos_;
    std::uint64_t old_left = hunk.old_count;
    std::uint64_t new_left = hunk.new_count;
    while (old_left > 0 || new_left > 0) {
      if (AtEnd()) return Bad("ends within a hunk");
      std::string_view body = PeekLine();
      char kind = body.empty() ? ' ' : body.front();
      bool takes_old = kind == ' ' || kind == '-';
      bool takes_new = kind == ' ' || kind == '+';
      if (kind == '\\' && pos_ > begin) {
        SkipLine();
        continue;
      }
      if ((!takes_old && !takes_new) || (takes_old && old_left == 0) ||
          (takes_new && new_left == 0))
        return Bad("has a line that does not fit its hunk");
      old_left -= takes_old ? 1 : 0;
      new_left -= takes_new ? 1 : 0;
      SkipLine();
    }
    if (!AtEnd() && PeekLine().starts_with("\\ ")) SkipLine();
    hunk.body = text_.substr(begin, pos_ - begin);
    file.hunks.push_back(hunk);
    return {};
  }

  Status ReadBinary(PatchFile& file) {
    for (int i = 0; i < 2 && !AtEnd(); ++i) {
      std::string_view line = PeekLine();
      BinaryHunk hunk;
      if (line.starts_with("literal ")) {
        line.remove_prefix(8);
      } else if (line.starts_with("delta ")) {
        line.remove_prefix(6);
        hunk.method = BinaryHunk::Method::kDelta;
      } else if (i == 1) {
        return {};  // the reverse part is optional
      } else {
        return Bad("has a binary part that is neither literal nor delta");
      }
      auto [end, err] = std::from_chars(line.data(), line.data() + line.size(), hunk.bytes);
      if (err != std::errc() || end != line.data() + line.size())
        return Bad("has a binary part without a size");
      if (hunk.bytes > limits_.max_file_bytes) return Bad("has a binary part over the limit");
      SkipLine();
      std::size_t begin = pos_;
      while (!AtEnd() && !PeekLine().empty()) SkipLine();
      if (AtEnd()) return Bad("ends within a binary part");
      hunk.lines = text_.substr(begin, pos_ - begin);
      SkipLine();
      file.binary.push_back(hunk);
    }
    if (file.binary.empty()) return Bad("ends within a binary part");
    return {};
  }

  std::string_view text_;
  const PatchLimits& limits_;
  std::size_t pos_ = 0;
  std::size_t line_ = 1;
};

}  // namespace

Result<std::vector<PatchFile>> ParsePatch(std::string_view patch, const PatchLimits& limits) {
  if (patch.size() > limits.max_patch_bytes)
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "patch.too_large",
                 .message = "the diff has " + std::to_string(patch.size()) +
                            " bytes, the limit is " + std::to_string(limits.max_patch_bytes)};
  if (!patch.empty() && patch.back() != '\n')
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "patch.malformed",
                 .message = "the diff ends within a line"};
  return PatchReader(patch, limits).Run();
}

}  // namespace writ::workspace
