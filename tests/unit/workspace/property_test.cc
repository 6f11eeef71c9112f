// Random histories and edits, against the real git: our capture, materialize, collect and pull
// against `git diff`, `git bundle`, `git apply` and `git checkout`. Seeds are fixed; WRIT_SEED
// names one more.
#include <cstdlib>
#include <sstream>

#include "harness.h"
#include "random_editor.h"
#include "writ/workspace/pull.h"

namespace writ::workspace::test {
namespace {

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
