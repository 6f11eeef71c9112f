// gitignore(5) patterns and glob matching, as `git add -A` would judge them. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace writ::workspace {

// git's wildmatch with WM_PATHNAME: '*' and '?' do not match '/', "**" between slashes does,
// [a-z], [!a] and [[:alpha:]] classes, backslash escapes. Bounded: a pattern that needs more than
// a fixed number of steps does not match.
bool GlobMatches(std::string_view pattern, std::string_view text);

// A requester's glob: without '/' it is matched against the last component of `path`, else against
// the whole path.
bool PathGlobMatches(std::string_view pattern, std::string_view path);

// The rules of one .gitignore file and those of its parents. Value type, cheap to extend.
class IgnoreRules {
 public:
  enum class Verdict { kNone, kIgnored, kIncluded };
  enum class Kind { kFile, kDirectory };

  // `directory`: where the file lies, "" for the root, else "a/b" without a final slash. A file
  // over 1 MiB or with more than 10,000 rules is cut there, as the rules are advisory.
  void AddFile(std::string_view directory, std::string_view content);
  // Drops the rules of directories that do not hold `directory`.
  void LeaveTo(std::string_view directory);
  // The last rule that matches wins. The caller does not ask about paths below an ignored
  // directory.
  Verdict Match(std::string_view path, Kind kind) const;
  bool empty() const { return rules_.empty(); }

 private:
  struct Rule {
    std::string directory{};
    std::string pattern{};
    bool negated = false;
    bool directory_only = false;
    bool anchored = false;  // matched against the path below `directory`, not the last component
    bool literal = false;
  };
  std::vector<Rule> rules_;
};

}  // namespace writ::workspace
