// Random names, contents and edits of a tree, the same for the same seed and tree.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "harness.h"

namespace writ::workspace::test {

class RandomEditor {
 public:
  explicit RandomEditor(std::uint64_t seed) : random_(seed) {}

  std::size_t Below(std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_);
  }
  bool OneIn(std::size_t n) { return Below(n) == 0; }

  std::string Name() {
    static const std::vector<std::string> kNames = {"a",
                                                    "b.txt",
                                                    "c.c",
                                                    "sub",
                                                    "sub-dir",
                                                    "with space",
                                                    "trailing ",
                                                    "tab\there",
                                                    "new\nline",
                                                    "quote\"d",
                                                    "back\\slash",
                                                    "\xc3\xa4.txt",
                                                    "\xff\xfe",
                                                    "UPPER",
                                                    "upper",
                                                    "-dash",
                                                    ".hidden",
                                                    "x",
                                                    "long-name-of-a-file-that-is-here",
                                                    "a.b",
                                                    "a-b",
                                                    "git",
                                                    "con",
                                                    "*star*",
                                                    "[br]"};
    return kNames[Below(kNames.size())];
  }

  std::string Path() {
    std::string path = Name();
    for (std::size_t depth = Below(4); depth > 0; --depth) path = Name() + "/" + path;
    return path;
  }

  std::string Text() {
    std::string text;
    std::size_t lines = Below(60);
    for (std::size_t i = 0; i < lines; ++i) {
      static const char* kLines[] = {"int main() {",
                                     "}",
                                     "",
                                     "  return 0;",
                                     "alpha",
                                     "beta\r",
                                     "void Function(int a) {",
                                     "\tindented",
                                     "--- a/x",
                                     "+++ b/x",
                                     "@@ -1 +1 @@",
                                     "diff --git a/x b/x",
                                     "\\ No newline"};
      text += OneIn(4) ? "line " + std::to_string(Below(20)) : kLines[Below(13)];
      text += "\n";
    }
    if (OneIn(3) && !text.empty()) text.pop_back();
    return text;
  }

  std::string Binary() {
    std::string bytes(Below(3000), '\0');
    for (char& c : bytes) c = static_cast<char>(OneIn(3) ? 0 : Below(256));
    return bytes;
  }

  std::string Content() { return OneIn(4) ? Binary() : Text(); }

  // Like the old content, but a little different.
  std::string Touched(std::string content) {
    std::size_t edits = 1 + Below(3);
    for (std::size_t i = 0; i < edits; ++i) {
      std::size_t at = content.empty() ? 0 : Below(content.size());
      switch (Below(3)) {
        case 0:
          content.insert(at, OneIn(2) ? "inserted\n" : "x");
          break;
        case 1:
          content.erase(at, Below(30));
          break;
        default:
          content.append(OneIn(2) ? "\nappended" : "appended\n");
      }
    }
    return content;
  }

  // One random change of a tree. A path whose way is barred by a file is left alone.
  void Edit(const std::string& root) {
    std::vector<std::string> files = Files(root);
    std::size_t kind = Below(10);
    std::string path = files.empty() || kind < 3 ? root + "/" + Path() : files[Below(files.size())];
    std::error_code none;
    struct stat st {};
    bool there = ::lstat(path.c_str(), &st) == 0;
    if (kind < 3) {
      if (there) return;
      std::filesystem::create_directories(std::filesystem::path(path).parent_path(), none);
      if (none) return;
      if (OneIn(5)) {
        if (::symlink(OneIn(2) ? "a" : "../outside target", path.c_str()) != 0) return;
      } else {
        WriteRaw(path, Content(), OneIn(4) ? 0755 : 0644);
      }
    } else if (!there) {
      return;
    } else if (kind < 6 && S_ISREG(st.st_mode)) {
      WriteRaw(path, OneIn(4) ? Content() : Touched(ReadFileAt(path)), st.st_mode & 0777);
    } else if (kind == 6) {
      (void)::unlink(path.c_str());
    } else if (kind == 7 && S_ISREG(st.st_mode)) {
      (void)::chmod(path.c_str(), (st.st_mode ^ 0111) & 0777);
    } else if (kind == 8) {  // another kind of thing in its place
      (void)::unlink(path.c_str());
      if (S_ISLNK(st.st_mode)) {
        WriteRaw(path, Content(), 0644);
      } else if (OneIn(2)) {
        if (::symlink("elsewhere", path.c_str()) != 0) return;
      } else {
        std::filesystem::create_directories(path, none);
        WriteRaw(path + "/inner", Content(), 0644);
      }
    } else {  // a rename
      std::string to = root + "/" + Path();
      if (::lstat(to.c_str(), &st) == 0) return;
      std::filesystem::create_directories(std::filesystem::path(to).parent_path(), none);
      if (!none) (void)::rename(path.c_str(), to.c_str());
    }
  }

 private:
  static void WriteRaw(const std::string& path, const std::string& bytes, mode_t mode) {
    (void)::unlink(path.c_str());
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!fd) return;
    ASSERT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    ASSERT_EQ(::fchmod(fd.get(), mode), 0);
  }

  static std::vector<std::string> Files(const std::string& root) {
    std::vector<std::string> files;
    for (const auto& [path, what] : Snapshot(root)) files.push_back(root + "/" + path);
    return files;
  }

  std::mt19937_64 random_;
};

}  // namespace writ::workspace::test
