#include "writ/workspace/ignore_rules.h"

#include <cctype>

namespace writ::workspace {
namespace {

constexpr std::size_t kMaxRules = 10'000;
constexpr std::size_t kMaxIgnoreBytes = 1 << 20;
constexpr int kMaxSteps = 200'000;

bool InNamedClass(std::string_view name, unsigned char c) {
  if (name == "alnum") return std::isalnum(c) != 0;
  if (name == "alpha") return std::isalpha(c) != 0;
  if (name == "blank") return c == ' ' || c == '\t';
  if (name == "cntrl") return std::iscntrl(c) != 0;
  if (name == "digit") return std::isdigit(c) != 0;
  if (name == "graph") return std::isprint(c) != 0 && std::isspace(c) == 0;
  if (name == "lower") return std::islower(c) != 0;
  if (name == "print") return std::isprint(c) != 0;
  if (name == "punct") return std::ispunct(c) != 0;
  if (name == "space") return std::isspace(c) != 0;
  if (name == "upper") return std::isupper(c) != 0;
  if (name == "xdigit") return std::isxdigit(c) != 0;
  return false;
}

// Matches one byte against the class that starts after '['. Sets `next` past the ']'; false for a
// class that does not end.
bool MatchClass(std::string_view pattern, std::size_t start, unsigned char c, std::size_t& next,
                bool& matched) {
  std::size_t i = start;
  bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  matched = false;
  for (bool first = true;; first = false) {
    if (i >= pattern.size()) return false;
    if (pattern[i] == ']' && !first) break;
    if (pattern[i] == '[' && i + 1 < pattern.size() && pattern[i + 1] == ':') {
      std::size_t end = pattern.find(":]", i + 2);
      if (end == std::string_view::npos) return false;
      if (InNamedClass(pattern.substr(i + 2, end - i - 2), c)) matched = true;
      i = end + 2;
      continue;
    }
    if (pattern[i] == '\\' && ++i >= pattern.size()) return false;
    auto low = static_cast<unsigned char>(pattern[i++]);
    auto high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      ++i;
      if (pattern[i] == '\\' && ++i >= pattern.size()) return false;
      high = static_cast<unsigned char>(pattern[i++]);
    }
    if (low <= c && c <= high) matched = true;
  }
  next = i + 1;
  if (negated) matched = !matched;
  if (c == '/') matched = false;
  return true;
}

class Matcher {
 public:
  Matcher(std::string_view pattern, std::string_view text) : pattern_(pattern), text_(text) {}
  bool Run() { return Match(0, 0); }

 private:
  bool Star(std::size_t p, std::size_t t) {
    std::size_t run = p;
    while (run < pattern_.size() && pattern_[run] == '*') ++run;
    bool crosses = false;
    bool may_be_empty_directory = false;
    if (run - p >= 2) {
      bool at_start = p == 0 || pattern_[p - 1] == '/';
      bool at_end = run == pattern_.size() || pattern_[run] == '/';
      crosses = at_start && at_end;
      may_be_empty_directory = crosses && run < pattern_.size();
    }
    if (may_be_empty_directory && Match(run + 1, t)) return true;  // "**/" as nothing
    for (std::size_t end = t;; ++end) {
      if (Match(run, end)) return true;
      if (end >= text_.size() || (text_[end] == '/' && !crosses) || steps_ > kMaxSteps)
        return false;
    }
  }

  bool Match(std::size_t p, std::size_t t) {
    while (p < pattern_.size()) {
      if (++steps_ > kMaxSteps) return false;
      char c = pattern_[p];
      if (c == '*') {
        if (depth_ > 100) return false;
        ++depth_;
        bool found = Star(p, t);
        --depth_;
        return found;
      }
      if (t >= text_.size()) return false;
      if (c == '?') {
        if (text_[t] == '/') return false;
        ++p;
      } else if (c == '[') {
        bool matched = false;
        if (!MatchClass(pattern_, p + 1, static_cast<unsigned char>(text_[t]), p, matched) ||
            !matched)
          return false;
      } else {
        if (c == '\\' && ++p >= pattern_.size()) return false;
        if (pattern_[p] != text_[t]) return false;
        ++p;
      }
      ++t;
    }
    return t == text_.size();
  }

  std::string_view pattern_;
  std::string_view text_;
  int steps_ = 0;
  int depth_ = 0;
};

std::string_view LastComponent(std::string_view path) {
  std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

bool HasGlobCharacter(std::string_view pattern) {
  return pattern.find_first_of("*?[\\") != std::string_view::npos;
}

// Trailing spaces go unless a backslash guards them.
std::string_view TrimTrailingSpaces(std::string_view line) {
  std::size_t end = line.size();
  while (end > 0 && line[end - 1] == ' ') {
    std::size_t slashes = 0;
    while (end - 1 > slashes && line[end - 2 - slashes] == '\\') ++slashes;
    if (slashes % 2 == 1) break;
    --end;
  }
  return line.substr(0, end);
}

bool IsWithin(std::string_view directory, std::string_view path) {
  return directory.empty() || (path.size() > directory.size() && path.starts_with(directory) &&
                               path[directory.size()] == '/');
}

}  // namespace

bool GlobMatches(std::string_view pattern, std::string_view text) {
  return Matcher(pattern, text).Run();
}

bool PathGlobMatches(std::string_view pattern, std::string_view path) {
  return GlobMatches(pattern,
                     pattern.find('/') == std::string_view::npos ? LastComponent(path) : path);
}

void IgnoreRules::AddFile(std::string_view directory, std::string_view content) {
  content = content.substr(0, kMaxIgnoreBytes);
  if (content.starts_with("\xef\xbb\xbf")) content.remove_prefix(3);
  std::size_t pos = 0;
  std::size_t added = 0;
  while (pos < content.size() && added < kMaxRules) {
    std::size_t end = content.find('\n', pos);
    if (end == std::string_view::npos) end = content.size();
    std::string_view line = content.substr(pos, end - pos);
    pos = end + 1;
    if (line.ends_with('\r') && end < content.size()) line.remove_suffix(1);
    line = TrimTrailingSpaces(line);
    if (line.empty() || line.front() == '#') continue;
    Rule rule;
    rule.directory = directory;
    if (line.front() == '!') {
      rule.negated = true;
      line.remove_prefix(1);
    }
    if (line.ends_with('/')) {
      rule.directory_only = true;
      line.remove_suffix(1);
    }
    rule.anchored = line.find('/') != std::string_view::npos;
    if (line.starts_with('/')) line.remove_prefix(1);
    if (line.empty()) continue;
    rule.pattern = line;
    rule.literal = !HasGlobCharacter(line);
    rules_.push_back(std::move(rule));
    ++added;
  }
}

void IgnoreRules::LeaveTo(std::string_view directory) {
  while (!rules_.empty()) {
    const std::string& where = rules_.back().directory;
    if (where == directory || IsWithin(where, directory)) return;
    rules_.pop_back();
  }
}

IgnoreRules::Verdict IgnoreRules::Match(std::string_view path, Kind kind) const {
  std::string_view name = LastComponent(path);
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (rule->directory_only && kind != Kind::kDirectory) continue;
    if (!IsWithin(rule->directory, path)) continue;
    std::string_view below =
        rule->directory.empty() ? path : path.substr(rule->directory.size() + 1);
    std::string_view subject = rule->anchored ? below : name;
    bool matches = rule->literal ? rule->pattern == subject : GlobMatches(rule->pattern, subject);
    if (matches) return rule->negated ? Verdict::kIncluded : Verdict::kIgnored;
  }
  return Verdict::kNone;
}

}  // namespace writ::workspace
