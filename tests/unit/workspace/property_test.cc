// Random histories and edits, against the real git: our capture, materialize, collect and pull
// against `git diff`, `git bundle`, `git apply` and `git checkout`. Seeds are fixed; WRIT_SEED
// names one more.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <sstream>

#include "harness.h"
#include "writ/workspace/pull.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

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
      fs::create_directories(fs::path(path).parent_path(), none);
      if (none) return;
      if (OneIn(5)) {
        (void)::symlink(OneIn(2) ? "a" : "../outside target", path.c_str());
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
        (void)::symlink("elsewhere", path.c_str());
      } else {
        fs::create_directories(path, none);
        WriteRaw(path + "/inner", Content(), 0644);
      }
    } else {  // a rename
      std::string to = root + "/" + Path();
      if (::lstat(to.c_str(), &st) == 0) return;
      fs::create_directories(fs::path(to).parent_path(), none);
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

std::vector<std::uint64_t> Seeds() {
  std::vector<std::uint64_t> seeds;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) seeds.push_back(seed);
  if (const char* more = std::getenv("WRIT_SEED"))
    seeds.push_back(std::strtoull(more, nullptr, 10));
  return seeds;
}

// The tree that `git apply --binary` makes of a diff on a checkout of the base.
std::map<std::string, std::string> AppliedByGit(const TempDir& dir, const std::string& repository,
                                                const std::string& name, const std::string& diff,
                                                const std::string& base = "HEAD") {
  std::string copy = dir.path() + "/" + name;
  Git(dir.path(), {"clone", "-q", "--no-checkout", repository, copy});
  Git(copy, {"checkout", "-q", "--detach", base});
  if (!diff.empty()) Git(copy, {"apply", "--binary", "-"}, diff);
  return Snapshot(copy);
}

// Where a folder's name ends in a space, git writes some headers that it cannot read; ours are
// quoted there. That is the one difference.
std::string WithoutOurQuotes(const std::string& diff) {
  std::string out;
  std::istringstream lines(diff);
  for (std::string line; std::getline(lines, line);) {
    bool ours = line.starts_with("diff --git \"a/") && line.find(" /") != std::string::npos &&
                line.find('\\') == std::string::npos;
    if (ours) std::erase(line, '"');
    out += line + "\n";
  }
  return out;
}

class WorkspaceProperty : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(WorkspaceProperty, CaptureMaterializeEditCollectAndPullAgreeWithGit) {
  SCOPED_TRACE("WRIT_SEED=" + std::to_string(GetParam()));
  TempDir dir;
  RandomEditor editor(GetParam());
  std::string repository = dir.path() + "/repo";
  MakeRepository(repository, {{"a", "first\n"}, {"dir/b.txt", "second\nline\n"}});
  for (std::size_t commits = editor.Below(4); commits > 0; --commits) {
    for (int i = 0; i < 12; ++i) editor.Edit(repository);
    CommitAll(repository, "more");
  }
  if (editor.OneIn(3)) Git(repository, {"gc", "-q"});

  // Dirty: some of it staged, all of it tracked, so that the diff has it.
  for (std::size_t edits = editor.Below(8); edits > 0; --edits) editor.Edit(repository);
  Git(repository, {"add", "-A"});
  if (editor.OneIn(2)) Git(repository, {"reset", "-q"});
  std::map<std::string, std::string> before = Snapshot(repository);

  auto captured = Capture({.repository = repository,
                           .allow_untracked = {"*"},
                           .denied_patterns = {"*.denied"},
                           .cache_directory = dir.path() + "/captured"});
  WRIT_ASSERT_OK(captured);
  BlobFolder blobs(dir.Sub("blobs"));
  blobs.PutAll(*captured);
  EXPECT_EQ(Snapshot(repository), before) << "capturing changed the checkout";

  // Our dirty diff is git's own, byte for byte.
  std::string git_diff = Git(repository, {"-c", "diff.renames=false", "diff", "--binary", "HEAD"});
  std::string our_diff;
  for (const CapturedBlob& blob : captured->blobs)
    if (blob.kind == CapturedBlob::Kind::kDirtyDiff) our_diff = blob.content;
  EXPECT_EQ(WithoutOurQuotes(our_diff), git_diff);

  // Our bundle is read by git.
  std::string bundle = blobs.PathOf(captured->manifest.bundle_hash);
  Git(repository, {"bundle", "verify", "-q", bundle});

  // What the manifest carries comes out as it was, but for what it cannot carry: execution bits of
  // untracked files, untracked links, and untracked names that no manifest can hold.
  std::map<std::string, std::string> expected = before;
  for (const Finding& finding : captured->findings)
    if (finding.code == "workspace.name_not_carried" || finding.code == "workspace.special_file")
      expected.erase(finding.path);
  for (const protocol::UntrackedFile& file : captured->manifest.untracked_files)
    expected[file.path.text()].replace(0, 4, "file");
  RunPlace place(dir.Sub("run"), dir.Sub("cache"));
  auto materialized = place.Materialize(captured->manifest, blobs);
  WRIT_ASSERT_OK(materialized);
  ASSERT_EQ(Snapshot(place.tree), expected);

  for (std::size_t edits = editor.Below(15); edits > 0; --edits) editor.Edit(place.tree);
  std::map<std::string, std::string> after = Snapshot(place.tree);
  auto collected = place.Collect(*materialized);
  WRIT_ASSERT_OK(collected);

  // git, in a clone with the same final files, sees the same diff; and git apply makes the tree.
  std::map<std::string, std::string> by_git =
      AppliedByGit(dir, repository, "applied", collected->diff);
  std::map<std::string, std::string> carried = after;
  EXPECT_EQ(by_git, carried);
  std::string peer = dir.path() + "/peer";
  Git(dir.path(), {"clone", "-q", bundle, peer});
  RunTool({"cp", "-r", "--no-target-directory", peer + "/.git", dir.path() + "/peer-git"}, "/");
  Git(place.tree,
      {"--git-dir=" + dir.path() + "/peer-git", "--work-tree=" + place.tree, "add", "-A"});
  std::string peer_diff =
      Git(place.tree, {"--git-dir=" + dir.path() + "/peer-git", "--work-tree=" + place.tree, "-c",
                       "diff.renames=false", "diff", "--binary", "--cached", "HEAD"});
  EXPECT_EQ(WithoutOurQuotes(collected->diff), peer_diff);

  // The delta takes the input to the final state.
  std::string input = dir.Sub("input");
  RunTool({"cp", "-a", place.tree + "/.git", input + "/.git"}, "/");
  RunPlace again(dir.Sub("run2"), dir.Sub("cache"));
  WRIT_ASSERT_OK(again.Materialize(captured->manifest, blobs));
  if (!collected->delta.empty()) Git(again.tree, {"apply", "--binary", "-"}, collected->delta);
  EXPECT_EQ(Snapshot(again.tree), carried);

  // Pull, twice: applied in place, then nothing more; whatever was not the run's stays.
  auto run_id = protocol::RunId::Parse("run_" + std::to_string(GetParam()));
  PullOptions pull{.repository = repository,
                   .manifest = &captured->manifest,
                   .delta = collected->delta,
                   .diff = collected->diff,
                   .run_id = *run_id,
                   .commit_time = 1'700'000'000};
  auto pulled = Pull(pull);
  WRIT_ASSERT_OK(pulled);
  auto pulled_again = Pull(pull);
  WRIT_ASSERT_OK(pulled_again);
  std::map<std::string, std::string> here = Snapshot(repository);
  if (pulled->outcome == PullResult::Outcome::kAppliedInPlace) {
    EXPECT_EQ(pulled_again->outcome, PullResult::Outcome::kAlreadyApplied);
    for (const ChangedFile& file : collected->changed) {
      if (!file.changed_by_job) continue;
      auto want = carried.find(file.path);
      auto have = here.find(file.path);
      ASSERT_EQ(want != carried.end(), have != here.end()) << file.path;
      if (want != carried.end()) {
        EXPECT_EQ(have->second, want->second) << file.path;
      }
    }
  } else if (pulled->outcome == PullResult::Outcome::kLandedOnBranch) {
    EXPECT_EQ(here, before) << pulled->reason;
    EXPECT_EQ(pulled_again->outcome, PullResult::Outcome::kAlreadyApplied);
    EXPECT_EQ(AppliedByGit(dir, repository, "branch", "", pulled->commit), carried);
    Git(repository, {"fsck", "--strict"});
  } else {
    EXPECT_TRUE(collected->delta.empty()) << pulled->reason;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, WorkspaceProperty, ::testing::ValuesIn(Seeds()));

}  // namespace
}  // namespace writ::workspace::test
